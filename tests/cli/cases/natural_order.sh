# Layers are listed in the order of their numbers, whatever order the file has; other tensors stay where they are.
u32() { printf "\\x$(printf %02x $(($1 % 256)))\\x$(printf %02x $(($1 / 256)))\0\0"; }
u64() { u32 "$1"; printf '\0\0\0\0'; }
# A file with one F32 value for each name.
file_of() {
    printf GGUF; u32 3; u64 $#; u64 0
    local n=0 name
    for name in "$@"; do
        u64 ${#name}; printf %s "$name"; u32 1; u64 1; u32 0; u64 $n
        n=$((n + 32))
    done
}
make() {
    local out=$1
    shift
    file_of "$@" >"$out"
    # Up to the alignment, then the values.
    truncate -s $((($(stat -c %s "$out") + 31) / 32 * 32 + 32 * $#)) "$out"
}
make a.gguf output.weight blk.0.a blk.1.a blk.10.a blk.10.b blk.2.a blk.2.b x.9 x.10 token_embd.weight v1.2.10 v1.2.9
make b.gguf output.weight blk.11.a blk.3.a
gguf-inspect tensors a.gguf | awk '{print $1}'
gguf-inspect stats a.gguf --filter 'blk*' | awk '/F32/ {print $1}'
gguf-inspect diff a.gguf b.gguf | awk '{print $1, $2}'
gguf-inspect report a.gguf -o r.html -q
grep -o '<tr><td>[a-z0-9._]*' r.html | sed 's/.*>//'
# For scripts the file's own order.
gguf-inspect tensors a.gguf --json --filter 'blk*' | grep -o '"name": *"[^"]*"'
