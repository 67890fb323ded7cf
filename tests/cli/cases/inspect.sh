# gguf-inspect: every verb on a small model, and what verify, hash and diff say of a damaged copy.
gguf-convert "$DATA/models/mistral" -o a.gguf -q
gguf-quantize a.gguf b.gguf Q8_0 -q
t gguf-inspect summary a.gguf --json
t gguf-inspect meta a.gguf --filter 'general.*'
t gguf-inspect meta a.gguf --filter 'general.a*' --json
t gguf-inspect tensors a.gguf --tensor 'blk\.1\.attn_[qk]'
t gguf-inspect tensors a.gguf --filter '*norm*' --json
t gguf-inspect tokens a.gguf --filter '<*>'
t gguf-inspect tokens a.gguf --filter '<s>' --json
t gguf-inspect hash b.gguf --tensor norm --algo sha256
gguf-inspect hash a.gguf >manifest
t gguf-inspect hash a.gguf --check manifest
t gguf-inspect hash b.gguf --check manifest
t gguf-inspect hash a.gguf --check a.gguf
t gguf-inspect verify a.gguf --manifest manifest
t gguf-inspect diff a.gguf a.gguf
t gguf-inspect diff a.gguf b.gguf --filter '*attn_q*'
t gguf-inspect diff a.gguf b.gguf --filter '*1.attn_q*' --values
t gguf-inspect diff a.gguf b.gguf --filter '*1.attn_q*' --values --json
t gguf-inspect stats b.gguf --tensor 'blk\.1\.(attn_q|attn_norm)' --plot p.svg
t gguf-inspect stats b.gguf --tensor 'blk\.1\.attn_norm' --json
t gguf-inspect stats b.gguf --plot p.svg --tensor x
t gguf-inspect report b.gguf
t gguf-inspect report b.gguf -o r.html
grep -c 'None: the file is whole and sound' r.html
head -c 30000 b.gguf >cut.gguf
t gguf-inspect report cut.gguf -o cut.html --filter '*attn_q*'
grep -e 'cut off' -e 'not whole' cut.html | sed 's/<[^>]*>/ /g'
grep -c '</svg>' r.html
grep -ciE 'https?://|<script|@import|url\(' r.html
cp a.gguf bad.gguf
printf '\377\177' | dd of=bad.gguf bs=1 seek=$(($(stat -c %s bad.gguf) - 64)) conv=notrunc status=none
printf xyz >>bad.gguf
t gguf-inspect verify bad.gguf
t gguf-inspect verify bad.gguf --json
t gguf-inspect hash bad.gguf --check manifest
t gguf-inspect diff a.gguf bad.gguf
head -c 2000 a.gguf >cut.gguf
t gguf-inspect verify cut.gguf
t gguf-inspect verify manifest
t gguf-inspect verify missing.gguf
t gguf-inspect tensors a.gguf --tensor '('
t gguf-inspect hash a.gguf --algo md5
t gguf-inspect diff a.gguf
t gguf-inspect --completion ksh
for shell in bash zsh fish; do gguf-inspect --completion $shell >completion.$shell && wc -l completion.$shell; done
bash -n completion.bash && echo fine
mkfifo pipe
t timeout 10 gguf-inspect pipe
gguf-inspect tokens a.gguf 2>closed | head -n 1 >/dev/null
wc -c <closed
# A filter that takes nothing is no empty file.
for verb in meta tensors tokens stats hash; do t gguf-inspect $verb a.gguf --filter nothing.like.it; done
t gguf-inspect stats a.gguf --tensor '^nothing$'
t gguf-inspect tensors a.gguf --tensor '^nothing$' --json
t gguf-inspect a.gguf --filter nothing.like.it --json
t gguf-inspect diff a.gguf b.gguf --tensor '^nothing$'
t gguf-inspect report a.gguf -o none.html --filter nothing.like.it
# One value as it is.
gguf-convert "$DATA/models/llama3" -o get.gguf -q
t gguf-inspect get get.gguf general.architecture
t gguf-inspect get get.gguf llama.context_length --json
t gguf-inspect get get.gguf llama.context_lenght
t gguf-inspect get get.gguf
t gguf-inspect get get.gguf general.name --max-array 3
gguf-inspect get get.gguf tokenizer.ggml.tokens | wc -l
gguf-edit set get.gguf 'x.text=string:two
lines' -q
t gguf-inspect get get.gguf x.text
# The report has types as people count, not as they come in the file.
gguf-convert "$DATA/demo-model" -o demo.gguf -q
gguf-quantize demo.gguf demo-q.gguf Q4_K_M -q
gguf-inspect report demo-q.gguf -o types.html -q
sed -n '/Size by type/,/<\/table>/s/<tr><th>\([^<]*\).*/\1/p' types.html
