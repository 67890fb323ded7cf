# Input that gives fluent nonsense: blocks that are not finite, more tokens than trained, nothing to generate.
gguf-convert "$DATA/demo-model" -o demo.gguf -q
gguf-quantize demo.gguf q.gguf Q4_K_M -q
# spoil TENSOR BLOCK: the file of one model with an infinite scale in that block.
spoil() {
    python3 - "$1" "$2" <<'END'
import json, subprocess, sys
document = json.loads(subprocess.run(["gguf-inspect", "q.gguf", "--json"], capture_output=True).stdout)
tensor = next(t for t in document["tensors"] if t["name"] == sys.argv[1])
block_bytes, place = {"Q4_K": (144, 2), "Q6_K": (210, 208)}[tensor["type"]]
data = bytearray(open("q.gguf", "rb").read())
start = len(data) - max(-(-(t["offset"] + t["size_bytes"]) // 32) * 32 for t in document["tensors"])
at = start + tensor["offset"] + int(sys.argv[2]) * block_bytes + place
data[at:at + 2] = b"\x00\x7c"
open("bad.gguf", "wb").write(data)
END
}
head -c 6000 "$DATA/demo-model/test.txt" >test.txt
echo '{"context": "And God said, Let there be", "choices": ["light", "dark"], "label": 0}' >c.jsonl
for tensor in blk.1.attn_q.weight blk.0.ffn_down.weight token_embd.weight; do
    spoil $tensor 11
    t gguf-run bad.gguf -p "And" -n 30 --temp 0
done
spoil blk.1.ffn_up.weight 12
t gguf-run bad.gguf -p "And" -n 30 --temp 0 --json
t gguf-run bad.gguf -p "And" -n 30 --temp 0 --no-repack -t 1
t gguf-run bad.gguf --tokens 3 --logits l.safetensors
t gguf-bench quality bad.gguf -f test.txt --ctx 128 -q
t gguf-bench quality q.gguf -f test.txt --base bad.gguf --ctx 128 -q
t gguf-bench quality bad.gguf --choices c.jsonl -q
gguf-bench bad.gguf -p 16 -n 4 -r 1 -q 2>&1 >/dev/null
gguf-bench bad.gguf -p 16 -n 4 -r 1 -q --no-repack 2>&1 >/dev/null
t gguf-imatrix bad.gguf -f test.txt -o no.gguf --ctx 128 -q
t gguf-quantize bad.gguf no.gguf Q4_0 --allow-requantize -q
t gguf-inspect verify bad.gguf
ls no.gguf l.safetensors 2>&1
# More tokens in a row than the model was trained with.
gguf-convert "$DATA/models/llama" -o llama.gguf -q
long() {
    "$@" 2>&1 >/dev/null | grep -o 'warning.*'
}
long gguf-run llama.gguf -p "And" -n 600 --temp 0
long gguf-run llama.gguf --tokens "$(seq -s, 1 513)" --logits long.safetensors
long gguf-bench quality llama.gguf -f test.txt --ctx 513 --chunks 1 -q
long gguf-bench llama.gguf -p 8 -n 4,8 -d 0,505 -r 1 -q
long gguf-bench llama.gguf -p 8 -n 4 -r 1 -q || echo "512 are enough"
# What takes whole texts and generates none is measured on prompts, unless generation was asked for.
gguf-convert "$DATA/models/bert" -o bert.gguf -q
gguf-bench bert.gguf -r 1 -q --json | jq -c 'map([.n_prompt, .n_gen])'
t gguf-bench bert.gguf -r 1 -p 0 -n 4 -q
t gguf-bench bert.gguf -r 1 -q --min-tg 5
t gguf-bench bert.gguf -r 1 -p 200 -n 0 -q
