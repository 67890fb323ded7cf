# kill -9 at any moment, then --resume: the same bytes. Ctrl-C leaves files only with --resume.
gguf-convert "$DATA/demo-model" -o demo.gguf -q
gguf-quantize demo.gguf expected.gguf Q4_K_M -q
different=0
for round in $(seq 1 20); do
    gguf-quantize demo.gguf out.gguf Q4_K_M -q --resume -t $((1 + round % 2)) 2>/dev/null &
    run=$!
    sleep "0.0$((round % 10))"
    { kill -9 $run; wait $run; } 2>/dev/null
    [ -f out.gguf ] && [ ! -f out.gguf.part.journal ] || gguf-quantize demo.gguf out.gguf Q4_K_M -q --resume
    cmp out.gguf expected.gguf || different=$((different + 1))
    rm -f out.gguf*
done
echo "quantize, different: $different"
for round in $(seq 1 10); do
    gguf-convert "$DATA/demo-model" -o again.gguf -q --resume --split-max-tensors 9 2>/dev/null &
    run=$!
    sleep "0.0$((round % 5))"
    { kill -9 $run; wait $run; } 2>/dev/null
    [ -f again-00007-of-00007.gguf ] && [ ! -f again.gguf.part.journal ] ||
        gguf-convert "$DATA/demo-model" -o again.gguf -q --resume --split-max-tensors 9
    gguf-edit merge again-00001-of-00007.gguf -o merged.gguf -q
    cmp merged.gguf demo.gguf || different=$((different + 1))
    rm -f again* merged*
done
echo "convert in shards, different: $different"
rm -f demo-*.gguf
gguf-quantize demo.gguf shards.gguf Q8_0 -q --split-max-size 3M --manifest manifest.txt
t gguf-quantize shards-00001-of-00002.gguf kept.gguf Q4_0 -q --keep-split --allow-requantize
t ls
t gguf-inspect verify shards-00001-of-00002.gguf --manifest manifest.txt
t gguf-quantize demo.gguf shards.gguf Q8_0 -q --split-max-size 3M
t gguf-quantize demo.gguf out.gguf Q8_0 -q --split-max-tensors 0
