#!/usr/bin/env bash
# Build the kernels and their tests for 64-bit ARM and run them under qemu-user.
# usage: tests/kernels/cross/run.sh FOLDER     exit 0 also where the packages are missing, which is printed
set -euo pipefail
cd "$(dirname "$0")/../../.."
out=$1
for need in aarch64-linux-gnu-gcc qemu-aarch64; do
    command -v "$need" >/dev/null || { echo "skipped: NEON kernels, $need is not installed"; exit 0; }
done
mkdir -p "$out"
aarch64-linux-gnu-gcc -std=c11 -O3 -DNDEBUG -Wall -Wextra -Werror -Wshadow -Wno-format-extra-args -Wno-format-zero-length \
    -ffp-contract=off -fno-math-errno -fno-trapping-math -D_GNU_SOURCE -DTEST_GOLDEN="\"$PWD/tests/golden/quant\"" \
    -I. -Itests/kernels/cross -static -o "$out/test_kernels_neon" \
    quant/{types,encode,matmul,cpu,dispatch,levels,codebooks}.c quant/ref_*.c quant/arm/*_neon.c \
    libgguf/{error,layout}.c tests/kernels/*.c -lm -lpthread
qemu-aarch64 "$out/test_kernels_neon"
