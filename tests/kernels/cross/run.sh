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
flags=(-std=c11 -O3 -DNDEBUG -Wall -Wextra -Werror -Wshadow -Wno-format-extra-args -Wno-format-zero-length
    -ffp-contract=off -fno-math-errno -fno-trapping-math -D_GNU_SOURCE -DTEST_GOLDEN="\"$PWD/tests/golden/quant\""
    -I. -Itests/kernels/cross)
for source in quant/arm/*_neondot.c; do
    aarch64-linux-gnu-gcc "${flags[@]}" -march=armv8.2-a+dotprod -c -o "$out/$(basename "$source" .c).o" "$source"
done
aarch64-linux-gnu-gcc "${flags[@]}" -static -o "$out/test_kernels_neon" \
    quant/{types,encode,matmul,cpu,dispatch,levels,codebooks}.c quant/ref_*.c quant/arm/*_neon.c "$out"/*_neondot.o \
    libgguf/{error,layout}.c tests/kernels/*.c -lm -lpthread
# With the extension dotprod and without.
for cpu in max cortex-a72; do qemu-aarch64 -cpu "$cpu" "$out/test_kernels_neon"; done
