# Types that few files have: written, checked, read again, run.
copy_model llama model
gguf-convert model -o m.gguf -q
for type in NVFP4 Q1_0 Q2_0; do
    t gguf-quantize m.gguf $type.gguf $type -q
    gguf-inspect tensors $type.gguf | grep -E "ffn_down|token_embd|output.weight"
    t gguf-inspect verify $type.gguf
    t gguf-quantize $type.gguf again.gguf F16 --allow-requantize --force -q
    gguf-inspect hash again.gguf | grep blk.1.ffn_down
done
t gguf-quantize m.gguf no.gguf NVFP5
