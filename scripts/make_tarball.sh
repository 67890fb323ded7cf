#!/usr/bin/env bash
# Build a tarball that runs on Linux from glibc 2.31 on (2020: Debian 11, Ubuntu 20.04, RHEL 9): commands, libgguf and the
# libraries that they need beside them, with their licences. It is built inside a Debian 11 root, which is made on the first call.
# Needs root, debootstrap and the network. The same commit gives the same tarball.
# usage: scripts/make_tarball.sh [OUTPUT-FOLDER]   (default: build/packages)
# environment: TARBALL_ROOT  where the Debian 11 root lies or is made (default: build/tarball-root)
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-build/packages}
mkdir -p "$out" build
root=$(realpath -m "${TARBALL_ROOT:-build/tarball-root}")
version=$(sed -n 's/^project(ggufkit VERSION \([0-9.]*\).*/\1/p' CMakeLists.txt)
machine=$(uname -m)
name=ggufkit-$version-linux-$machine
log=build/tarball.log
packages=(clang-13 make pkg-config zlib1g-dev libssl-dev libxxhash-dev libyaml-dev libopenblas-dev libpcre2-dev libutf8proc-dev
          libmicrohttpd-dev libcurl4-openssl-dev libedit-dev libvulkan-dev glslang-tools python3-venv patchelf
          ca-certificates)
: >"$log"
trap 'status=$?; [ $status -eq 0 ] || tail -n 30 "$log"; exit $status' EXIT

inside() { chroot "$root" /usr/bin/env -i PATH=/venv/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@" >>"$log" 2>&1; }

echo "root: $root"
if [ ! -x "$root/usr/bin/dpkg" ]; then
    command -v debootstrap >/dev/null || { echo "debootstrap is not installed" >&2; exit 1; }
    debootstrap --variant=minbase bullseye "$root" http://deb.debian.org/debian >>"$log" 2>&1
fi
cp /etc/resolv.conf "$root/etc/resolv.conf"
if ! inside dpkg-query -W "${packages[@]}"; then
    inside apt-get update -qq
    inside apt-get install -y -qq --no-install-recommends "${packages[@]}"
fi
# Debian 11's CMake is too old; the one of PyPI runs there. It is fetched from out here, with the certificates of this machine.
if [ ! -x "$root/venv/bin/cmake" ]; then
    python3 -m pip download -q --no-deps --only-binary :all: --python-version 3.9 --platform "manylinux2014_$machine" \
        -d "$root/wheels" 'cmake<4' >>"$log" 2>&1
    inside python3 -m venv /venv
    inside /venv/bin/pip install -q --no-index --find-links /wheels cmake
fi
# Its jansson too: 2.14 is Debian 12's, linked in.
jansson=jansson_2.14.orig.tar.gz
if [ ! -f "$root/usr/local/lib/libjansson.a" ]; then
    curl -sSfo "$root/$jansson" "http://deb.debian.org/debian/pool/main/j/jansson/$jansson"
    echo "c739578bf6b764aa0752db9a2fdadcfe921c78f1228c7ec0bb47fa804c55d17b  $root/$jansson" | sha256sum -c --quiet -
    rm -rf "$root/jansson"
    mkdir "$root/jansson"
    tar -xzf "$root/$jansson" -C "$root/jansson" --strip-components 1
    inside cmake -S /jansson -B /jansson/build -DCMAKE_C_COMPILER=clang-13 -DCMAKE_BUILD_TYPE=Release -DCMAKE_POSITION_INDEPENDENT_CODE=ON \
        -DJANSSON_BUILD_SHARED_LIBS=OFF -DJANSSON_BUILD_DOCS=OFF -DJANSSON_WITHOUT_TESTS=ON -DCMAKE_INSTALL_LIBDIR=lib
    inside cmake --build /jansson/build --target install
fi

echo "build"
rm -rf "$root/src" "$root/stage" "$root/build"
mkdir -p "$root/src" "$root/stage"
git ls-files -z -- CMakeLists.txt LICENSE README.md CHANGELOG.md docs configs libgguf quant runtime tools scripts |
    tar --null -T - -c | tar -x -C "$root/src"
# gcc 10 knows no __builtin_shufflevector, and clang 16 crashes on a kernel of AVX-512.
inside cmake -S /src -B /build -DCMAKE_C_COMPILER=clang-13 -DGGUFKIT_TESTS=OFF -DCMAKE_BUILD_TYPE=Release -DCMAKE_INSTALL_PREFIX=/ggufkit \
    -DCMAKE_INSTALL_LIBDIR=lib "-DCMAKE_INSTALL_RPATH=\$ORIGIN/../lib"
inside cmake --build /build -j "${JOBS:-$(nproc)}"
inside env DESTDIR=/stage cmake --install /build --strip

# The libraries of the commands that no system is sure to have; those of glibc are the system's.
echo "libraries"
cat >"$root/collect.sh" <<'INSIDE'
set -eu
cd /stage/ggufkit
licences=share/doc/ggufkit/licences
mkdir -p "$licences"
echo "Libraries in lib/, and the Debian 11 packages with their sources (deb.debian.org, snapshot.debian.org):" >"$licences/SOURCES"
ldd bin/* lib/libgguf.so.0 | sed -n 's/.* => \(\/[^ ]*\) .*/\1/p' | sort -u |
    grep -Ev '/(libc|libm|libpthread|libdl|librt|libresolv|libutil|ld-linux[^/]*|libgguf)\.so' | while read -r library; do
    file=lib/$(basename "$library")
    cp -L "$library" "$file"
    patchelf --force-rpath --set-rpath '$ORIGIN' "$file"
    package=$(dpkg -S "$(realpath "$library")" 2>/dev/null | head -n 1 | cut -d: -f1)
    [ -n "$package" ] || package=$(dpkg -S "*/$(basename "$(realpath "$library")")" | head -n 1 | cut -d: -f1)
    cp -L "/usr/share/doc/$package/copyright" "$licences/$package"
    dpkg-query -W -f="$(basename "$library")  \${source:Package} \${source:Version}\n" "$package" >>"$licences/SOURCES"
done
cp /jansson/LICENSE "$licences/jansson"
echo "linked in: jansson 2.14 (deb.debian.org/debian/pool/main/j/jansson)" >>"$licences/SOURCES"
# The texts that copyright files refer to.
cp -L /usr/share/common-licenses/LGPL-2.1 /usr/share/common-licenses/LGPL-3 /usr/share/common-licenses/LGPL-2 \
    /usr/share/common-licenses/GPL-2 /usr/share/common-licenses/GPL-3 /usr/share/common-licenses/Apache-2.0 "$licences/"
INSIDE
inside sh /collect.sh
cat >"$root/stage/ggufkit/README.txt" <<TEXT
ggufkit $version for Linux on $machine, from glibc 2.31 on.

Unpack it anywhere and call bin/gguf-inspect and the others, or put bin/ into PATH. Manual pages are in share/man, completion
scripts in share, documents in share/doc/ggufkit. Devices need a Vulkan driver of the system (libvulkan.so.1).

ggufkit has the licence share/doc/ggufkit/copyright (MIT). The libraries in lib/ are Debian 11's, unchanged but for the path
where they look for each other; share/doc/ggufkit/licences has the licence of each, and SOURCES says which source it is of.
Some of them (libmicrohttpd and others) are under the LGPL: you may replace any by one of your own with the same name, since the
commands load them from lib/ when they start.
TEXT
epoch=$(git log -1 --format=%ct)
tarball=$out/$name.tar.xz
tar -C "$root/stage/ggufkit" --sort=name --mtime="@$epoch" --owner=0 --group=0 --numeric-owner --transform "s,^\./,$name/," -c . | xz -6 -T 2 >"$tarball"
rm -rf "$root/stage" "$root/src" "$root/build" "$root/collect.sh"
echo "$tarball: $(stat -c %s "$tarball") bytes"
