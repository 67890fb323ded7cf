# kill -9 at any moment, then --resume with other threads and memory: the same bytes, and what the
# journal has is not done again. Ctrl-C leaves files only with --resume.
gguf-convert "$DATA/demo-model" -o demo.gguf -q
gguf-quantize demo.gguf expected.gguf Q4_K_M -q
# kill_writing JOURNAL PID BYTES: once the journal has so many bytes; a run that ends before is left alone.
kill_writing() {
    while kill -0 "$2" 2>/dev/null && [ "$(stat -c %s "$1" 2>/dev/null || echo 0)" -lt "$3" ]; do :; done
    { kill -9 "$2"; wait "$2"; } 2>/dev/null
}
# go_on JOURNAL COMMAND...: finish a run that was killed. What its journal vouched for is not done again.
go_on() {
    local size
    size=$(stat -c %s "$1" 2>/dev/null || echo 0)
    "${@:2}" --json >result.json || echo "exit $?"
    if grep -q '"resumed_bytes": [1-9]' result.json; then resumed=$((resumed + 1)); else
        [ "$size" -lt 600 ] || redone=$((redone + 1))
    fi
}
different=0 resumed=0 redone=0
for round in $(seq 1 20); do
    gguf-quantize demo.gguf out.gguf Q4_K_M -q --json --resume -t $((1 + round % 2)) >/dev/null 2>&1 &
    kill_writing out.gguf.part.journal $! $((round % 5 * 600))
    [ -f out.gguf ] && [ ! -f out.gguf.part.journal ] ||
        go_on out.gguf.part.journal gguf-quantize demo.gguf out.gguf Q4_K_M -q --resume -t $((1 + round % 3)) --max-memory $((round % 3 + 1))M
    cmp out.gguf expected.gguf || different=$((different + 1))
    rm -f out.gguf*
done
echo "quantize, different: $different, done again: $redone, resumed: $([ $resumed -ge 3 ] && echo yes || echo "$resumed")"
resumed=0 redone=0
for round in $(seq 1 10); do
    gguf-convert "$DATA/demo-model" -o again.gguf -q --json --resume --split-max-tensors 9 >/dev/null 2>&1 &
    kill_writing again.gguf.part.journal $! $((round % 5 * 600))
    [ -f again-00007-of-00007.gguf ] && [ ! -f again.gguf.part.journal ] ||
        go_on again.gguf.part.journal gguf-convert "$DATA/demo-model" -o again.gguf -q --resume --split-max-tensors 9 -t 3
    gguf-edit merge again-00001-of-00007.gguf -o merged.gguf -q
    cmp merged.gguf demo.gguf || different=$((different + 1))
    rm -f again* merged*
done
echo "convert in shards, different: $different, done again: $redone"
rm -f demo-*.gguf result.json
rm -f demo-*.gguf
gguf-quantize demo.gguf shards.gguf Q8_0 -q --split-max-size 3M --manifest manifest.txt
t gguf-quantize shards-00001-of-00002.gguf kept.gguf Q4_0 -q --keep-split --allow-requantize
t ls
t gguf-inspect verify shards-00001-of-00002.gguf --manifest manifest.txt
t gguf-quantize demo.gguf shards.gguf Q8_0 -q --split-max-size 3M
t gguf-quantize demo.gguf out.gguf Q8_0 -q --split-max-tensors 0
