# --target-size and --target-bpw: never above, at most 0.5 % below, and what is refused.
gguf-convert "$DATA/demo-model" -o demo.gguf -q
for size in 2700000 3M 3.5MiB 4.2MB 5000000; do
    gguf-quantize demo.gguf out.gguf --target-size "$size" -q --force --json |
        python3 -c 'import json, sys
j = json.load(sys.stdin)
units = {"3M": 3 << 20, "3.5MiB": 7 << 19, "4.2MB": 4200000}
target = units.get(sys.argv[1]) or int(sys.argv[1])
a = j["allocation"]
gap = a["expected_kld"] / a["expected_kld_bound"] - 1
print(sys.argv[1], 0.995 * target <= j["size_bytes"] <= target, "gap below 1 %:", 0 <= gap + 1e-9 < 0.01)' "$size"
done
for bpw in 3 4.5 6.25; do
    gguf-quantize demo.gguf out.gguf --target-bpw "$bpw" -q --force --json |
        python3 -c 'import json, sys
j = json.load(sys.stdin)
print(sys.argv[1], 0.995 * float(sys.argv[1]) <= j["bpw"] <= float(sys.argv[1]))' "$bpw"
done
gguf-quantize demo.gguf one.gguf --target-bpw 4 -q -t 1
gguf-quantize demo.gguf two.gguf --target-bpw 4 -q -t 2
cmp one.gguf two.gguf && echo "threads do not matter"
gguf-quantize demo.gguf pinned.gguf --target-bpw 4 -q --tensor-type 'ffn_down=Q8_0'
gguf-inspect tensors pinned.gguf --tensor 'blk.0.ffn_down*' | awk '{print $1, $2}'
gguf-quantize demo.gguf parts.gguf --target-size 4M --split-max-tensors 20 -q
[ "$(cat parts-*.gguf | wc -c)" -le $((4 << 20)) ] && echo "shards within the target"
gguf-quantize demo.gguf no.gguf --target-size 1M -q 2>&1 | sed 's/leaves them [0-9]*/leaves them N/'
t gguf-quantize demo.gguf no.gguf --target-size 4M --target-bpw 4 -q
t gguf-quantize demo.gguf no.gguf Q4_K --pure --target-size 4M -q
t gguf-quantize demo.gguf no.gguf Q4_K_M --target-bpw 4.5
gguf-quantize demo.gguf dry.gguf --target-bpw 4.5 --dry-run | tail -1
# Below 4 bits codebooks are chosen too, those that demand importance where there is some.
gguf-imatrix demo.gguf -f "$DATA/demo-model/test.txt" --chunks 2 -o i.gguf -q 2>/dev/null
gguf-quantize demo.gguf low.gguf --target-bpw 2.6 --imatrix i.gguf -q
gguf-inspect tensors low.gguf | grep -q ' IQ[12]_' && echo "IQ1 or IQ2 with importance"
gguf-quantize demo.gguf plain.gguf --target-bpw 3.2 -q --force
gguf-inspect tensors plain.gguf | grep -q ' IQ[12]_' || echo "neither without"
gguf-inspect tensors plain.gguf | grep -q ' IQ3_S ' && echo "IQ3_S without"
