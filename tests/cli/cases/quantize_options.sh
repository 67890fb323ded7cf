# Options that llama-quantize has.
gguf-convert "$DATA/demo-model" -o m-f16.gguf --outtype f16 -q
gguf-imatrix m-f16.gguf -f "$DATA/demo-model/test.txt" --chunks 2 -o i.gguf -q 2>&1
types() {
    gguf-inspect tensors "$1" | grep -e output.weight -e blk.0.attn_q.weight -e blk.0.ffn_up.weight | awk '{print $1, $2}'
}

# ---- an output that is not named
t gguf-quantize m-f16.gguf Q4_0 -q
ls
t gguf-quantize m-f16.gguf Q4_0 -q
t gguf-quantize m-f16.gguf Q4_9
t gguf-quantize m-f16.gguf x.gguf

# ---- a rehearsal looks at the output's place too
t gguf-quantize m-f16.gguf Q4_0 --dry-run
t gguf-quantize m-f16.gguf nowhere/x.gguf Q4_0 --dry-run
gguf-quantize m-f16.gguf x.gguf Q4_0 --dry-run | tail -1

# ---- output.weight
gguf-convert "$DATA/models/mistral" -o own.gguf --outtype f16 -q
t gguf-quantize own.gguf leave.gguf Q4_0 --leave-output-tensor -q
types leave.gguf
t gguf-quantize m-f16.gguf x.gguf Q4_0 --leave-output-tensor --output-tensor-type Q8_0
gguf-convert "$DATA/models/gemma3" -o tied.gguf -q
t gguf-quantize tied.gguf x.gguf Q8_0 --leave-output-tensor

# ---- entries of the importance matrix
gguf-quantize m-f16.gguf all.gguf Q4_0 --imatrix i.gguf -q 2>/dev/null
gguf-quantize m-f16.gguf none.gguf Q4_0 -q
for way in include exclude; do
    gguf-quantize m-f16.gguf $way.gguf Q4_0 --imatrix i.gguf --$way-weights attn_q --$way-weights ffn_up -q 2>/dev/null
    gguf-inspect get $way.gguf quantize.imatrix.entries_count
done
# Rounded with importance, or without: blk.0.attn_q, blk.0.attn_k.
for name in attn_q attn_k; do
    for way in all none include exclude; do
        gguf-inspect hash $way.gguf | grep "blk.0.$name.weight" | awk '{print $2}' >$way.$name
    done
done
cmp include.attn_q all.attn_q && cmp include.attn_k none.attn_k && cmp exclude.attn_q none.attn_q && cmp exclude.attn_k all.attn_k && ! cmp -s all.attn_q none.attn_q && echo as asked
t gguf-quantize m-f16.gguf x.gguf Q4_0 --imatrix i.gguf --include-weights attn_q --include-weights absent
t gguf-quantize m-f16.gguf x.gguf Q4_0 --imatrix i.gguf --include-weights a --exclude-weights b
t gguf-quantize m-f16.gguf x.gguf Q4_0 --exclude-weights b

# ---- keys
t gguf-quantize m-f16.gguf keys.gguf Q4_0 --override-kv general.name=str:Other --override-kv llama.context_length=int:99 --override-kv own.share=float:0.5 -q
for key in general.name llama.context_length own.share; do gguf-inspect meta keys.gguf --filter $key; done
t gguf-quantize m-f16.gguf x.gguf Q4_0 --override-kv llama.context_length=int:a
t gguf-quantize m-f16.gguf x.gguf Q4_0 --override own.key=3
ls
