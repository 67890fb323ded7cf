# Vectors of texts, alone and in a list; what is no embedding model, no text, no option.
gguf-convert "$DATA/models/bert_sentence" -o bert.gguf -q
gguf-convert "$DATA/models/qwen3_embedding" -o qwen3.gguf -q
gguf-convert "$DATA/demo-model" -o demo.gguf -q
printf 'hello world\nsecond text\r\n\nthird' >texts.txt
grep . texts.txt >filled.txt
for pair in bert:texts.txt qwen3:filled.txt; do
    model=${pair%:*} file=${pair#*:}
    gguf-run $model.gguf --embed -f $file >all.txt
    while IFS= read -r line; do gguf-run $model.gguf --embed -p "${line%$'\r'}"; done < <(cat $file; echo) >each.txt
    cmp all.txt each.txt && echo "$model: the same vectors alone and in a list, $(wc -l <all.txt)"
    awk '{ sum = 0; for (i = 1; i <= NF; i++) sum += $i * $i; if (sum < 0.99999 || sum > 1.00001) print "length", sum }' all.txt
done
gguf-run bert.gguf --embed -f texts.txt --json | jq -c '[.n_embd, (.texts | length), (.texts[0].embedding | length), .texts[0].n_tokens]'
t gguf-run bert.gguf --embed -f texts.txt -o vectors.safetensors --json
t gguf-run bert.gguf --embed -f texts.txt -o vectors.safetensors
t gguf-run qwen3.gguf --embed -f texts.txt
t gguf-run bert.gguf --embed
t gguf-run bert.gguf --embed -p x --temp 1
t gguf-run bert.gguf --rank question -p x
t gguf-run demo.gguf --embed -p x
t gguf-run demo.gguf -p x -o vectors.safetensors
: >empty.txt
t gguf-run bert.gguf --embed -f empty.txt
t gguf-run bert.gguf --embed -f texts.txt --ctx 2
# A model with an encoder and a decoder: the encoder makes vectors, and texts are answered.
gguf-convert "$DATA/models/t5" -o t5.gguf -q
t gguf-run t5.gguf --embed -p "the house"
t gguf-run t5.gguf --embed --pooling median -p "the house"
gguf-run t5.gguf --embed --pooling mean -p "the house" | wc -w
t gguf-run t5.gguf -p "the house of a hero" -n 5 --temp 0
t gguf-run t5.gguf --chat -p "the house"
t gguf-run t5.gguf --tokens 5,6 --logits logits.safetensors
t gguf-run bert.gguf --tokens 5,6 --decoder-tokens 7 --logits logits.safetensors
t gguf-run t5.gguf --tokens 5,6 --decoder-tokens 3,7 --logits logits.safetensors --json
t gguf-serve t5.gguf --port 0
t gguf-inspect verify t5.gguf
