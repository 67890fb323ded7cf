#!/usr/bin/env bash
# Build the Debian packages, install them with dpkg into an empty root, use them from there, and remove them again.
# usage: check_packages.sh BUILD SOURCE COMPILER      exit 77: no dpkg here
set -eu
build=$1 source=$2 compiler=$3
command -v dpkg-deb >/dev/null && command -v dpkg-shlibdeps >/dev/null || exit 77
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
root=$scratch/root
packages="ggufkit libgguf-dev libgguf0"
[ ! -e "$build/ggufkit_mpi.so" ] || packages="ggufkit ggufkit-mpi libgguf-dev libgguf0"
cpack --config "$build/CPackConfig.cmake" -G DEB -B "$scratch" >"$scratch/log" || { cat "$scratch/log"; exit 1; }
ls "$scratch"/*.deb | xargs -n 1 basename | sed 's/_.*//' | sort | tr '\n' ' ' | grep -qx "$packages "

# What they need is here, since the build needed it; what they say of each other is the same version.
for deb in "$scratch"/*.deb; do
    dpkg-deb -f "$deb" Depends | tr ',' '\n' | sed 's/ *(.*//; s/^ *//' | while read -r name; do
        [ "$name" = libgguf0 ] || [ "$name" = ggufkit ] || dpkg-query -W -f='${Status}\n' "$name" | grep -q 'ok installed' || { echo "$deb needs $name"; exit 1; }
    done
done
dpkg-deb -f "$scratch"/libgguf-dev_*.deb Depends | grep -q '^libgguf0 (= '

mkdir -p "$root/var/lib/dpkg/info" "$root/var/lib/dpkg/updates"
: >"$root/var/lib/dpkg/status"
# Scripts of packages run outside of the empty root, which has no shell; the ldconfig that they call is ours.
mkdir "$scratch/stub"
printf '#!/bin/sh\necho called >>"%s/ldconfig"\n' "$scratch" >"$scratch/stub/ldconfig"
chmod +x "$scratch/stub/ldconfig"
dpkg_root() {
    PATH=$scratch/stub:$PATH fakeroot dpkg --root="$root" --force-script-chrootless --force-depends --force-not-root --force-bad-path --log=/dev/null "$@" >"$scratch/log" 2>&1 || { cat "$scratch/log"; exit 1; }
}
dpkg_root -i "$scratch"/*.deb
grep -q called "$scratch/ldconfig"
export LD_LIBRARY_PATH=$root/usr/lib PATH=$root/usr/bin:$PATH
cd "$scratch"
gguf-convert "$source/tests/data/models/llama" -o m.gguf -q
gguf-inspect m.gguf | grep -q llama
"$compiler" "$source/docs/examples/list_tensors.c" -o list "-I$root/usr/include" "-L$root/usr/lib" -lgguf
./list m.gguf | grep -q '^blk.0.attn_q.weight BF16 8192$'

# A manual page for every command, which the formatter takes and which has every option of --help.
for program in "$root"/usr/bin/gguf-*; do
    name=${program##*/}
    page=$root/usr/share/man/man1/$name.1
    if command -v groff >/dev/null; then
        groff -man -Tascii -ww -P-c "$page" 2>faults >/dev/null
        [ ! -s faults ] || { cat faults; exit 1; }
    fi
    "$program" --help | grep -o -- '--[a-z][a-z-]*' | sort -u | while read -r option; do
        sed 's/\\-/-/g' "$page" | grep -q -- "$option" || { echo "$name: the page lacks $option"; exit 1; }
    done
    [ -s "$root/usr/share/bash-completion/completions/$name" ]
done
grep -q '^\.SH "FIT"' "$root/usr/share/man/man1/gguf-bench.1"
for package in $packages; do grep -q 'MIT License' "$root/usr/share/doc/$package/copyright"; done

dpkg_root -P $packages
[ -z "$(find "$root/usr" ! -type d)" ] || { find "$root/usr" ! -type d; exit 1; }
echo "packages: installed, used and removed"
