# The same bytes from any number of threads and any instruction set.
gguf-convert "$DATA/demo-model" -o demo.gguf -q
wide=scalar # or what the machine has beside it
if grep -qw avx2 /proc/cpuinfo; then wide=avx2; fi
if [ "$(uname -m)" = aarch64 ]; then wide=neon; fi
gguf-imatrix demo.gguf -f "$DATA/demo-model/calib.txt" -o imatrix.gguf --ctx 64 --chunks 4 -q -t 1
gguf-imatrix demo.gguf -f "$DATA/demo-model/calib.txt" -o imatrix2.gguf --ctx 64 --chunks 4 -q -t 2
cmp imatrix.gguf imatrix2.gguf && echo "imatrix: equal"
for type in Q8_0 Q4_0 Q5_0 Q4_K_S Q4_K_M Q5_K_M Q6_K; do
    gguf-quantize demo.gguf a.gguf $type --imatrix imatrix.gguf -q -t 1 --force
    gguf-quantize demo.gguf b.gguf $type --imatrix imatrix.gguf -q -t 2 --force --max-memory 1M
    GGUF_ISA=scalar gguf-quantize demo.gguf c.gguf $type --imatrix imatrix.gguf -q -t 2 --force
    GGUF_ISA=$wide gguf-quantize demo.gguf d.gguf $type --imatrix imatrix.gguf -q -t 2 --force
    # One pass from safetensors gives the same file as two steps.
    gguf-convert "$DATA/demo-model" -o e.gguf --outtype $type --imatrix imatrix.gguf -q --force
    cmp a.gguf b.gguf && cmp a.gguf c.gguf && cmp a.gguf d.gguf && cmp a.gguf e.gguf && echo "$type: equal"
done
# So do the other efforts.
for type in Q2_K Q4_K_M; do
    gguf-quantize demo.gguf normal.gguf $type --imatrix imatrix.gguf -q --force
    for effort in fast best; do
        gguf-quantize demo.gguf a.gguf $type --imatrix imatrix.gguf --effort $effort -q -t 1 --force
        GGUF_ISA=scalar gguf-quantize demo.gguf b.gguf $type --imatrix imatrix.gguf --effort $effort -q -t 2 --force
        gguf-convert "$DATA/demo-model" -o c.gguf --outtype $type --imatrix imatrix.gguf --effort $effort -q --force
        cmp a.gguf b.gguf && cmp a.gguf c.gguf && ! cmp -s a.gguf normal.gguf && echo "$type $effort: equal"
        gguf-inspect meta a.gguf | grep effort
    done
done
t gguf-quantize demo.gguf no.gguf Q4_K_M --effort most -q
t gguf-convert "$DATA/demo-model" -o no.gguf --outtype Q4_K_M --effort most -q
