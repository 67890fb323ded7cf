# kill -9 at any moment of an edit in place: after the next edit's recovery the file is whole, old or new.
gguf-convert "$DATA/models/llama3" -o m.gguf -q
gguf-edit set m.gguf ggufkit.test=str:"$(printf '%2000s' x)" -q
gguf-edit set m.gguf ggufkit.test=str:0 -q
gguf-quantize m.gguf f32.gguf F32 -q
tail -c 600000 f32.gguf | sha256sum >old.sum
broken=0
for round in $(seq 1 40); do
    gguf-edit set m.gguf ggufkit.test="$round" -q 2>/dev/null &
    edit=$!
    sleep "0.00$((round % 10))"
    { kill -9 $edit; wait $edit; } 2>/dev/null
    gguf-edit set m.gguf ggufkit.other=u32:"$round" -q || broken=$((broken + 1))
    value=$(gguf-inspect meta m.gguf | sed -n 's/^ggufkit.test .*"\(.*\)"/\1/p')
    [ "$value" -ge 0 ] && [ "$value" -le "$round" ] || broken=$((broken + 1))
done
rm -f m.gguf.header-journal.part
gguf-quantize m.gguf f32.gguf F32 -q --force
tail -c 600000 f32.gguf | sha256sum | cmp - old.sum && echo "tensors: unchanged"
echo "broken: $broken"
t ls
