#!/usr/bin/env bash
# Use a tarball of scripts/make_tarball.sh inside a root that has glibc and little else, and look whether it carries what it must.
# usage: check_tarball.sh TARBALL ROOT SOURCE      ROOT: e.g. of debootstrap --variant=minbase bullseye; needs root
set -eu
tarball=$1 root=$(realpath "$2") source=$(realpath "$3")
scratch=$(mktemp -d "$root/tmp/tarball.XXXXXX")
trap 'rm -rf "$scratch"; [ -z "${mounted:-}" ] || umount "$root/proc"' EXIT
# The loader finds a program's folder by /proc.
[ -e "$root/proc/self" ] || { mount -t proc proc "$root/proc" && mounted=yes; }
tar -xJf "$tarball" -C "$scratch"
cp -r "$source/tests/data/demo-model" "$scratch/demo-model"
head -c 20000 "$scratch/demo-model/calib.txt" >"$scratch/text.txt"
cat >"$scratch/use.sh" <<'INSIDE'
set -eu
cd "$(dirname "$0")"
tree=$(echo "$PWD"/ggufkit-*)
PATH=$tree/bin:$PATH
# Nothing is missing, and what comes from the system is glibc alone.
ldd "$tree"/bin/* "$tree"/lib/*.so.* | grep 'not found' && exit 1
ldd "$tree"/bin/* "$tree"/lib/*.so.* | sed -n 's/.* => \([^ ]*\) .*/\1/p' | sort -u | grep -v "^$tree/" |
    grep -Ev '/(libc|libm|libpthread|libdl|librt|libresolv|libutil)\.so' && exit 1
for program in "$tree"/bin/*; do "$program" --version; done
gguf-convert demo-model -o m.gguf -q
gguf-imatrix m.gguf -f text.txt --chunks 4 -o i.gguf -q 2>/dev/null
gguf-quantize m.gguf q.gguf Q4_K_M --imatrix i.gguf -q
gguf-inspect verify q.gguf
gguf-bench quality q.gguf -f text.txt --chunks 2 --base m.gguf | grep KLD.mean
gguf-run q.gguf -p "And God said" -n 8 --temp 0
gguf-bench devices || echo "no device: exit $?" # one of the system, or none
gguf-pull --list
gguf-serve q.gguf --port 0 -q >line & server=$!
while [ ! -s line ] && kill -0 $server; do sleep 0.1; done
grep 'listening on http' line
kill -TERM $server
wait $server
INSIDE
chroot "$root" env -i PATH=/usr/bin:/bin HOME=/tmp GGUFKIT_MODELS=/tmp/none sh -e "/tmp/${scratch##*/}/use.sh"

# The licence of every library, and the source that it is of.
tree=$(echo "$scratch"/ggufkit-*)
for library in "$tree"/lib/*.so.*; do
    name=${library##*/}
    case $name in libgguf.so.*) continue ;; esac
    package=$(sed -n "s/^$name  \([^ ]*\) .*/\1/p" "$tree/share/doc/ggufkit/licences/SOURCES")
    [ -n "$package" ] || { echo "SOURCES lacks $name"; exit 1; }
done
for file in jansson LGPL-2.1 SOURCES; do [ -s "$tree/share/doc/ggufkit/licences/$file" ]; done
[ -s "$tree/share/doc/ggufkit/copyright" ] && [ -s "$tree/README.txt" ]
echo "tarball: unpacked and used"
