# Adapters take part in what a model computes, and can be merged into it.
M="$DATA/models"
gguf-convert "$M/llama_linear" -o base.gguf --outtype f32 -q
gguf-convert "$M/llama_lora" -o lora.gguf -q
logits() { gguf-run "$@" --tokens 1,5,9,44,77,3,100,200 --logits x.safetensors --exact --force -q; }
# F32 of two files: how far they are apart, of the largest.
apart() {
    paste <(tail -c +$(($(od -An -t u8 -N 8 "$1") + 9)) "$1" | od -An -v -w4 -t f4) <(tail -c +$(($(od -An -t u8 -N 8 "$2") + 9)) "$2" | od -An -v -w4 -t f4) |
        awk -v limit="$3" '{ d = $1 - $2; if (d < 0) d = -d; if (d > far) far = d; m = $1 < 0 ? -$1 : $1; if (m > most) most = m }
            END { print (far <= limit * most ? "within " limit : "apart by " far / most) }'
}
logits base.gguf && mv x.safetensors base.logits
logits base.gguf --lora lora.gguf:0.05 && mv x.safetensors lora.logits
apart base.logits lora.logits 0.5
logits base.gguf --lora lora.gguf:0.05 --lora lora.gguf:-0.05 && apart base.logits x.safetensors 1e-4
logits base.gguf --lora lora.gguf:0 && apart base.logits x.safetensors 0
t gguf-edit merge-lora base.gguf lora.gguf:0.05 -o merged.gguf
logits merged.gguf && apart lora.logits x.safetensors 1e-5
t gguf-edit merge-lora base.gguf lora.gguf -o merged.gguf
t gguf-edit merge-lora base.gguf lora.gguf -o small.gguf --type Q8_0 --json
t gguf-edit merge-lora base.gguf base.gguf -o no.gguf
t gguf-edit merge-lora base.gguf lora.gguf:x -o no.gguf
t gguf-edit merge-lora base.gguf lora.gguf
t gguf-edit merge-lora base.gguf lora.gguf -o lora.gguf --force
# What is no adapter of this model.
gguf-convert "$M/qwen3" -o qwen3.gguf -q
t gguf-run base.gguf --lora base.gguf -p x
t gguf-run qwen3.gguf --lora lora.gguf -p x
t gguf-run base.gguf --lora lora.gguf:x -p x
t gguf-run base.gguf --lora no.gguf -p x
gguf-convert "$M/llama" -o other.gguf -q
t gguf-run other.gguf --lora lora.gguf -p x
t gguf-run base.gguf --tokenize -p x --lora lora.gguf
gguf-edit unset lora.gguf adapter.lora.alpha -o plain.gguf -q --force
logits base.gguf --lora lora.gguf:0.05 && mv x.safetensors with.logits
logits base.gguf --lora plain.gguf:0.15 && apart with.logits x.safetensors 1e-6
# A matrix of another model, with the adapter or without: not the same.
head -c 3000 "$DATA/demo-model/calib.txt" >text.txt
gguf-imatrix base.gguf -f text.txt -o with.gguf --ctx 64 --lora lora.gguf:0.05 -q 2>/dev/null
t gguf-imatrix base.gguf -f text.txt -o with.gguf --ctx 64 --resume
gguf-bench base.gguf --lora lora.gguf:0.05 -p 4 -n 2 -r 1 --json -q 2>/dev/null | jq -c '[.[].lora]'
gguf-bench quality base.gguf -f text.txt --ctx 32 --lora lora.gguf:0 --base base.gguf --json -q | jq -c '[.lora, .kld.mean < 1e-6]'
# A server answers with the adapter as gguf-run does.
served() {
    rm -f listening
    gguf-serve "$@" --port 0 -q -t 1 >listening 2>/dev/null &
    server=$!
    for _ in $(seq 1 200); do [ -s listening ] && break; sleep 0.05; done
    body='{"prompt": [1, 5, 9, 44], "max_tokens": 12, "temperature": 0, "logprobs": 1}'
    exec 3<>"/dev/tcp/127.0.0.1/$(sed -n 's/.*:\([0-9]*\)$/\1/p' listening)"
    printf 'POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s' "${#body}" "$body" >&3
    sed '1,/^\r$/d' <&3 | jq -c '.choices[0].logprobs.token_logprobs | map(. * 1000 | round)'
    exec 3>&-
    kill -TERM $server && wait $server
}
served base.gguf >base.text
served base.gguf --lora lora.gguf:0.05 >with.text
gguf-edit merge-lora base.gguf lora.gguf:0.05 -o merged.gguf --force -q
served merged.gguf >merged.text
[ -s with.text ] && cmp with.text merged.text && ! cmp -s with.text base.text && echo "the adapter takes part"
t gguf-serve base.gguf --lora no.gguf
