#!/usr/bin/env bash
# Install what building (and, with --tests, testing) needs, from Debian packages. Does nothing when all is there.
set -euo pipefail
packages=(gcc cmake make pkg-config zlib1g-dev libssl-dev libxxhash-dev libyaml-dev libopenblas-dev libpcre2-dev
          libutf8proc-dev libjansson-dev libmicrohttpd-dev libcurl4-openssl-dev libedit-dev libhwloc-dev
          librsvg2-bin jq libvulkan-dev glslang-tools)
if [ "${1:-}" = --tests ]; then
    packages+=(check libsubunit-dev clang libclang-rt-dev clang-format python3 python3-venv openssl dpkg-dev fakeroot groff
               gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user chromium
               mesa-vulkan-drivers vulkan-validationlayers openmpi-bin libopenmpi-dev iproute2 procps)
fi
missing=()
for package in "${packages[@]}"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0
sudo=
[ "$(id -u)" -eq 0 ] || sudo=sudo
export DEBIAN_FRONTEND=noninteractive
$sudo apt-get update -qq
$sudo apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
