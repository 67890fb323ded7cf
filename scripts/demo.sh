#!/usr/bin/env bash
# The main job on the demo model: safetensors -> GGUF -> importance matrix -> quantised -> inspected -> measured.
# usage: scripts/demo.sh [OUTPUT-FOLDER]   (default: build/demo)
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-build/demo}
model=tests/data/demo-model

say() { printf '\n== %s\n' "$*"; }

say "Install what is missing, build"
scripts/install_deps.sh
mkdir -p build
cmake -S . -B build -DGGUFKIT_TESTS=OFF >build/cmake.log || { cat build/cmake.log; exit 1; }
cmake --build build -j "$(nproc)" >build/build.log 2>&1 || { tail -n 60 build/build.log; exit 1; }
rm -rf "$out"
mkdir -p "$out"

say "Convert: safetensors to GGUF in the source's precision"
build/gguf-convert "$model" -o "$out/BF16.gguf"
say "Calibrate: which columns of the weights matter"
build/gguf-imatrix "$out/BF16.gguf" -f "$model/calib.txt" --ctx 256 -o "$out/imatrix.gguf"
say "Quantise"
for type in Q8_0 Q5_K_M Q4_K_M Q4_0; do
    build/gguf-quantize "$out/BF16.gguf" "$out/$type.gguf" "$type" --imatrix "$out/imatrix.gguf"
done
build/gguf-quantize "$out/BF16.gguf" "$out/Q4_K_M-plain.gguf" Q4_K_M
say "Inspect"
build/gguf-inspect "$out/Q4_K_M.gguf"
say "Run"
build/gguf-run "$out/Q4_K_M.gguf" -p "And the LORD said unto" -n 24 --temp 0

say "Measure: quality on test.txt (256-token chunks, begin token first), speed, memory"
table=$out/table.md
{
    echo "| model | size | bits per weight | perplexity | KLD | prompt t/s | generation t/s | memory predicted | measured |"
    echo "|---|--:|--:|--:|--:|--:|--:|--:|--:|"
} >"$table"
for name in BF16 Q8_0 Q5_K_M Q4_K_M Q4_K_M-plain Q4_0; do
    file=$out/$name.gguf
    build/gguf-bench quality "$file" -f "$model/test.txt" --base "$out/BF16.gguf" --ctx 256 --json --quiet >"$out/$name-quality.json"
    build/gguf-bench "$file" -p 256 -n 64 -r 3 -o json --quiet >"$out/$name-speed.json"
    build/gguf-inspect "$file" --json --quiet >"$out/$name-inspect.json"
    jq -rn --arg name "$name" --slurpfile q "$out/$name-quality.json" --slurpfile s "$out/$name-speed.json" \
        --slurpfile i "$out/$name-inspect.json" '
        def fixed($d): . * pow(10; $d) | round | tostring
            | if length <= $d then "0" * ($d + 1 - length) + . else . end | .[:-$d] + "." + .[-$d:];
        ($i[0].tensors | map(.size_bytes) | add) as $bytes
        | ($i[0].tensors | map(.shape | reduce .[] as $d (1; . * $d)) | add) as $elements
        | ($s[0] | map(select(.n_prompt > 0))[0]) as $prompt | ($s[0] | map(select(.n_gen > 0))[0]) as $gen
        | "| \($name | if endswith("-plain") then rtrimstr("-plain") + ", no imatrix" else . end)"
        + " | \($i[0].size_bytes / 1048576 | fixed(2)) MiB | \(8 * $bytes / $elements | fixed(2))"
        + " | \($q[0].ppl | fixed(3)) | \($q[0].kld_mean | fixed(5))"
        + " | \($prompt.avg_ts | fixed(1)) | \($gen.avg_ts | fixed(1))"
        + " | \($gen.predicted_rss_bytes / 1048576 | fixed(1)) MiB | \($gen.peak_rss_bytes / 1048576 | fixed(1)) MiB |"' >>"$table"
done
say "Result (also in $table)"
column -t -s'|' -o'|' "$table" 2>/dev/null || cat "$table"
