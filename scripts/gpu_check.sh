#!/usr/bin/env bash
# On a machine with a GPU: list devices, run the device tests on the real driver, and measure the given models on it and
# on the CPU. The results go to build/gpu_check. usage: scripts/gpu_check.sh [MODEL.gguf...]
set -euo pipefail
cd "$(dirname "$0")/.."
out=build/gpu_check
mkdir -p "$out"
cmake -S . -B build >"$out/cmake.log"
cmake --build build -j "$(nproc)" >"$out/build.log" 2>&1 || { tail -n 40 "$out/build.log"; exit 1; }
build/gguf-bench devices --json | tee "$out/devices.json"
command -v vulkaninfo >/dev/null && vulkaninfo >"$out/vulkaninfo.txt" 2>&1 || echo "vulkaninfo is not installed (vulkan-tools)"
GGUFKIT_TEST_DEVICE=1 ctest --test-dir build -L device --output-on-failure | tee "$out/tests.txt"
for model in "$@"; do
    name=$(basename "$model" .gguf)
    for kv in f16 q8_0; do
        build/gguf-bench "$model" -ngl all --kv-type "$kv" -p 512 -n 128 -r 3 -o json >"$out/$name-$kv.json"
    done
    build/gguf-bench "$model" -ngl all -p 0 -n 64 -d 4096 -r 3 -o json >"$out/$name-depth.json"
    build/gguf-bench "$model" -p 512 -n 32 -r 2 -o json >"$out/$name-cpu.json"
    jq -r '.[] | [.model_filename, .device, .type_k, .n_prompt, .n_gen, .n_depth, .avg_ts, .vram_predicted_bytes,
                  .vram_allocated_bytes, .vram_used_bytes, .upload_s] | @tsv' "$out/$name"-*.json
done | tee "$out/speed.tsv"
