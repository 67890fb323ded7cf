#!/usr/bin/env bash
# Install to an empty folder and use libgguf from there as a stranger would: with pkg-config, with CMake, statically.
# usage: check_install.sh BUILD SOURCE COMPILER
set -eu
build=$1 source=$2 compiler=$3
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cmake --install "$build" --prefix "$scratch/usr" >/dev/null
libdir=$(dirname "$(find "$scratch/usr" -name libgguf.so)")
# The pkg-config file names the folder that it was installed to, not the configured one.
export PKG_CONFIG_PATH=$libdir/pkgconfig LD_LIBRARY_PATH=$libdir
flags=$(pkg-config --cflags --libs libgguf)
[ "$(realpath "$(pkg-config --variable=includedir libgguf)")" = "$(realpath "$scratch/usr/include")" ]
cp "$source/docs/examples/list_tensors.c" "$scratch/"
cd "$scratch"
# shellcheck disable=SC2086
"$compiler" -std=c11 -Wall -Wextra -Werror list_tensors.c -o with_pkgconfig $flags
# shellcheck disable=SC2046
"$compiler" -std=c11 list_tensors.c -o static "-I$scratch/usr/include" "$libdir/libgguf.a" \
    -lz -lcrypto -lxxhash -lyaml -ljansson -lpcre2-8 -lm -lpthread
cat >CMakeLists.txt <<'CMAKE'
cmake_minimum_required(VERSION 3.25)
project(example C)
find_package(libgguf REQUIRED)
add_executable(with_cmake list_tensors.c)
target_link_libraries(with_cmake PRIVATE libgguf::gguf)
CMAKE
cmake -S . -B b "-DCMAKE_PREFIX_PATH=$scratch/usr" "-DCMAKE_C_COMPILER=$compiler" >/dev/null
cmake --build b >/dev/null
cp "$source/tests/data/models/llama/tokenizer.model" no.gguf
for program in ./with_pkgconfig ./static b/with_cmake; do
    "$scratch/usr/bin/gguf-convert" "$source/tests/data/models/llama" -o m.gguf -q --force
    "$program" m.gguf sample.gguf >out.txt
    grep -q '^blk.0.attn_q.weight BF16 8192$' out.txt
    "$program" sample.gguf | grep -q '^sample.weight F32 16$'
    if "$program" no.gguf 2>/dev/null; then exit 1; fi
    "$program" 2>usage.txt && exit 1
    grep -q '^usage: .* FILE.gguf' usage.txt
done
# The exported symbols are those of the list, neither more nor fewer.
nm -D --defined-only "$libdir/libgguf.so" | awk '$2 == "T" {sub(/@.*/, "", $3); print $3}' | sort >have.txt
sed -n 's/^ *\(gguf_[a-z0-9_]*\);/\1/p' "$source/libgguf/libgguf.map" | sort >want.txt
diff want.txt have.txt
# What was installed can be removed again, and nothing else goes.
touch "$scratch/usr/include/other.h"
"${CMAKE_COMMAND:-cmake}" -DMANIFEST="$build/install_manifest.txt" -P "$source/scripts/uninstall.cmake" >removed.txt
[ "$(find "$scratch/usr" ! -type d)" = "$scratch/usr/include/other.h" ]
[ ! -e "$scratch/usr/include/libgguf" ]
echo "install: libgguf works from an installed copy"
