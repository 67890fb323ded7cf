#!/usr/bin/env bash
# Build the kernels and their tests for 64-bit ARM and run them under qemu-user.
# usage: tests/kernels/cross/run.sh FOLDER     exit 77 where the packages are missing: skipped is not passed
set -euo pipefail
cd "$(dirname "$0")/../../.."
out=$1
for need in aarch64-linux-gnu-gcc qemu-aarch64; do
    command -v "$need" >/dev/null || { echo "skipped: NEON kernels, $need is not installed"; exit 77; }
done
mkdir -p "$out"
flags=(-std=c11 -O3 -DNDEBUG -Wall -Wextra -Werror -Wshadow -Wno-format-extra-args -Wno-format-zero-length
    -ffp-contract=off -fno-math-errno -fno-trapping-math -D_GNU_SOURCE -DTEST_GOLDEN="\"$PWD/tests/golden/quant\""
    -I. -Itests/kernels/cross)
# compile EXTENSION SOURCE...
objects=()
compile() {
    local source
    for source in "${@:2}"; do
        objects+=("$out/$(basename "$source" .c).o")
        aarch64-linux-gnu-gcc "${flags[@]}" -march=armv8.2-a+"$1" -c -o "${objects[-1]}" "$source"
    done
}
compile dotprod quant/kernels/arm/*_neondot.c
compile i8mm quant/kernels/arm/*_neoni8mm.c
aarch64-linux-gnu-gcc "${flags[@]}" -static -o "$out/test_kernels_neon" \
    quant/kernels/{types,encode,finite,matmul,repack,cpu,dispatch,levels,codebooks,books}.c quant/kernels/ref_*.c \
    quant/kernels/arm/*_neon.c "${objects[@]}" \
    libgguf/{error,header_layout}.c tests/kernels/*.c -lm -lpthread
# With the extensions dotprod and i8mm, without either, and the products also with dotprod alone; side by side.
pids=()
failed=0
for cpu in max cortex-a72 neoverse-n1; do
    [ "$cpu" != neoverse-n1 ] || export CK_RUN_CASE=products
    qemu-aarch64 -cpu "$cpu" "$out/test_kernels_neon" >"$out/$cpu.log" 2>&1 &
    pids+=($!)
done
for pid in "${pids[@]}"; do wait "$pid" || failed=1; done
tail -n +1 "$out"/{max,cortex-a72,neoverse-n1}.log
exit $failed
