# A GGUF file back to a Hugging Face folder, and that to the same GGUF tensors.
hashes() {
    gguf-inspect hash "$1" | sed "s#$1#F#" | sort
}
# Families whose tensors are transformed in different ways; the folder that comes back is as good as the first.
for model in llama3 mixtral qwen3 gemma3 phi3_longrope deepseek_v3 falcon_new mamba2 qwen3_next apertus \
    gpt_oss bert roberta; do
    gguf-convert "$DATA/models/$model" -o first.gguf --outtype f32 --force -q 2>.warnings
    gguf-convert first.gguf -o back --outtype f32 -q 2>.warnings || echo "$model: exit $?"
    gguf-convert back -o again.gguf --outtype f32 --force -q 2>.warnings
    diff <(hashes first.gguf) <(hashes again.gguf) >/dev/null && echo "$model: the same tensors"
    gguf-run first.gguf --tokens 1,2,3 --logits a.safetensors --force -q
    gguf-run again.gguf --tokens 1,2,3 --logits b.safetensors --force -q
    cmp a.safetensors b.safetensors && echo "$model: the same logits"
    rm -r back
done
# The files, the report, names of the class.
gguf-convert "$DATA/models/llama_tf4" -o f.gguf -q
t gguf-convert f.gguf -o folder
t ls folder
t cat folder/config.json folder/generation_config.json
t gguf-convert f.gguf --dry-run
gguf-convert f.gguf -o small --split-max-size 8K --json -q | grep -v seconds
ls small
# From a quantised file.
gguf-quantize f.gguf q.gguf Q8_0 -q 2>.warnings
t gguf-convert q.gguf -o from_q8 -q
# What is refused.
t gguf-convert f.gguf -o folder
t gguf-convert f.gguf -o other.gguf
t gguf-convert f.gguf -o x --outtype q8_0
t gguf-convert f.gguf -o x --imatrix f.gguf
cp f.gguf n.gguf
gguf-edit set n.gguf general.architecture=str:nothing --force -q 2>.warnings
t gguf-convert n.gguf -o x
# A tokenizer that tokenizer.json has no model for.
cp f.gguf rwkv.gguf
gguf-edit set rwkv.gguf tokenizer.ggml.model=str:rwkv --force -q 2>.warnings
t gguf-run rwkv.gguf --tokenize -p "a b"
t gguf-convert rwkv.gguf -o x
gguf-convert "$DATA/models/llama_lora" -o lora.gguf -q
t gguf-convert lora.gguf -o y
ls
