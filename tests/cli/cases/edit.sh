# Changing files: in place where it fits, as a copy where not; the tensors stay as they are.
gguf-convert "$DATA/models/llama3" -o m.gguf -q
cp m.gguf old.gguf
tensors() {
    gguf-inspect "$1" --json -q | jq -S '.tensors | map(del(.offset))' | sha256sum
    gguf-quantize "$1" f32.gguf F32 -q --force
    tail -c 600000 f32.gguf | sha256sum
}
tensors old.gguf >old.sum
t gguf-edit
t gguf-edit paint m.gguf
t gguf-edit set m.gguf general.name=X --dry-run
cmp m.gguf old.gguf && echo "dry run: unchanged"
t gguf-edit set m.gguf general.name=X my.flag=bool:true my.list=i16[]:1,-2,3 my.words=str[]:a,b my.scale=f32:0.5
gguf-inspect meta m.gguf | grep -E '^(my|general.name)'
t gguf-edit set m.gguf my.scale=0.25
t gguf-edit set m.gguf my.byte=u8:256
t gguf-edit set m.gguf my.new=5
t gguf-edit set m.gguf nonsense
t gguf-edit rename m.gguf my.scale my.factor
t gguf-edit rename m.gguf my.scale my.factor
t gguf-edit unset m.gguf my.flag my.list my.words
t gguf-edit unset m.gguf my.flag
printf '{%% for m in messages %%}{{ m.content }}{%% endfor %%}' >t.jinja
t gguf-edit set-template m.gguf t.jinja
t gguf-edit set-template m.gguf missing.jinja
gguf-inspect meta m.gguf | grep -E '^(my|general.name|tokenizer.chat)'
tensors m.gguf | cmp - old.sum && echo "tensors: unchanged"
t gguf-edit set m.gguf general.name=Y -o copy.gguf
t gguf-edit set m.gguf general.name=Y -o copy.gguf
t gguf-edit split old.gguf part
t gguf-edit split old.gguf part --max-tensors 12
t gguf-edit split old.gguf part --max-size 100K --dry-run
t gguf-edit split old.gguf part --max-size 100K --dry-run --json
t gguf-inspect part-00002-of-00003.gguf
t gguf-edit merge part-00001-of-00003.gguf -o merged.gguf
cmp merged.gguf old.gguf && echo "merged: equal"
gguf-quantize part-00001-of-00003.gguf q.gguf Q8_0 -q && gguf-quantize old.gguf q2.gguf Q8_0 -q
cmp q.gguf q2.gguf && echo "quantised from shards: equal"
rm part-00002-of-00003.gguf
t gguf-inspect part-00001-of-00003.gguf
for type in F16 Q8_0 Q5_1 Q4_K_M Q6_K; do
    gguf-convert "$DATA/demo-model" -o little.gguf --outtype $type -q --force
    gguf-edit swap-endian little.gguf -o big.gguf --force -q
    gguf-edit swap-endian big.gguf -o back.gguf --force -q
    cmp -s little.gguf big.gguf && echo "not swapped"
    cmp little.gguf back.gguf && echo "$type: swapped and back"
done
t gguf-run big.gguf -p x
t gguf-edit set m.gguf
# The alignment is what the tensors have; the error names the file.
t gguf-edit set m.gguf general.alignment=u32:64
t gguf-edit set m.gguf general.alignment=u64:32
t gguf-edit set m.gguf general.alignment=u32:32 -o same.gguf
t gguf-inspect verify same.gguf
# A template that does not parse is set with a warning, one that is no text is not.
printf '{%% if %%}' >bad.jinja
t gguf-edit set-template m.gguf bad.jinja
t gguf-edit set-template m.gguf merged.gguf
# What verify would find in the tensors under the new keys, and numbers that are none.
cp old.gguf judged.gguf
t gguf-edit set judged.gguf llama.block_count=u32:7
t gguf-edit set judged.gguf llama.attention.head_count_kv=u32:3
t gguf-edit set judged.gguf llama.rope.freq_base=f32:nan
t gguf-edit set judged.gguf llama.attention.layer_norm_rms_epsilon=f32:-1
cmp judged.gguf old.gguf && echo "not changed"
