# Nothing is ignored in silence: what has no effect is an error, or in a recipe file a warning, that names it.
gguf-convert "$DATA/models/llama" -o m.gguf --outtype f16 -q
gguf-convert "$DATA/models/llama_embedding" -o tied.gguf --outtype f16 -q
gguf-convert "$DATA/demo-model" -o demo.gguf -q # rows of whole blocks of 256
echo "the cat sat on the mat and saw the dog" >text

# Patterns of tensors: those of llama-quantize's examples, types in any case.
types() { gguf-inspect tensors out.gguf --tensor "$1" | awk '{print $1, $2}'; }
gguf-quantize m.gguf out.gguf Q4_0 --tensor-type '\.(\d*[13579])\.attn_k=q8_0' -q --force 2>/dev/null && types attn_k
gguf-quantize m.gguf out.gguf q4_0 --tensor-type 'blk\.\d+\.ffn_down=Q5_0' -q --force 2>/dev/null && types ffn_down
gguf-quantize m.gguf out.gguf Q4_0 --tensor-type 'ATTN_V=q8_0' --tensor-type '(?<!x)attn_q\b=q5_1' -q --force 2>/dev/null && types 'attn_[qv]'
t gguf-quantize m.gguf no.gguf Q4_0 --tensor-type 'blk\.99\..*=q8_0'
t gguf-quantize m.gguf no.gguf Q4_0 --tensor-type 'attn_norm=q8_0'
t gguf-quantize m.gguf no.gguf Q4_0 --tensor-type 'attn_k=q8_0' --tensor-type 'blk.0.attn_k=q5_0'
t gguf-quantize m.gguf no.gguf Q4_0 --tensor-type '(=q8_0'
t gguf-quantize m.gguf no.gguf Q4_0 --tensor-type '(.+)+(.+)+(.+)+[^\w.]$=q8_0'
t gguf-quantize m.gguf no.gguf Q4_0 --tensor-type 'attn_k=q8_9'
t gguf-quantize m.gguf no.gguf Q4_0 --tensor-type 'attn_k'
t gguf-quantize tied.gguf no.gguf Q4_0 --output-tensor-type q8_0

# Names of types as llama-quantize has them; with --pure the type alone.
what() { gguf-inspect meta out.gguf --filter general.file_type; types 'blk\.0\.(attn_v|ffn_down)|^(output|token_embd)\.weight'; }
for type in Q4_K 15 Q3_K Q5_K; do
    gguf-quantize demo.gguf out.gguf $type -q --force && what
done
for type in Q4_K_S Q4_K 17 MXFP4_MOE IQ4_NL; do
    echo "--pure $type" && gguf-quantize demo.gguf out.gguf $type --pure -q --force && what
done
t gguf-quantize m.gguf no.gguf Q4_KM
t gguf-quantize m.gguf no.gguf IQ2_XXS
t gguf-quantize m.gguf no.gguf MXFP4
t gguf-quantize m.gguf no.gguf 19
t gguf-quantize m.gguf no.gguf QQ --pure

# Rules of a recipe.
cat >recipe.yaml <<'YAML'
default: Q4_0
rules:
  - {role: attn_v, type: Q8_0}
  - {role: attn_vv, type: Q8_0}
  - {role: [attn_k, attn_v], layers: 90-, type: Q5_0}
  - {name: "blk.0.attn_v.weight", type: Q5_1}
  - {role: moe, type: Q8_0, optional: true}
YAML
t gguf-quantize m.gguf out.gguf --recipe recipe.yaml --force
t gguf-quantize m.gguf out.gguf Q4_K_M --force -q
for field in 'rol: attn_v' 'optional: perhaps' 'output: maybe' 'by: layer' 'by: tensor, where: more' 'role: [[a]]'; do
    printf 'default: Q4_0\nrules:\n  - {%s, type: Q8_0}\n' "$field" >bad.yaml
    t gguf-quantize m.gguf no.gguf --recipe bad.yaml
done

# Options that need another, or that another makes useless.
t gguf-quantize m.gguf no.gguf Q4_0 8
t gguf-quantize m.gguf no.gguf Q4_0 --samples 10
t gguf-quantize m.gguf no.gguf Q4_0 --method round
t gguf-quantize m.gguf no.gguf Q4_0 --damp 0.1
t gguf-quantize m.gguf no.gguf Q4_0 --calibrate text --method round --damp 0.1
t gguf-quantize m.gguf no.gguf Q4_0 --require-imatrix
t gguf-quantize m.gguf no.gguf Q4_0 --recipe recipe.yaml
t gguf-quantize m.gguf no.gguf --recipe recipe.yaml --pure
t gguf-quantize m.gguf no.gguf Q4_0 --keep-split --split-max-tensors 3
t gguf-quantize m.gguf no.gguf COPY --tensor-type attn_k=q8_0
t gguf-quantize m.gguf no.gguf COPY --effort best
t gguf-quantize m.gguf no.gguf F32 --effort best
t gguf-convert "$DATA/models/llama" -o no.gguf --outtype bf16 --imatrix m.gguf
t gguf-convert "$DATA/models/llama" -o no.gguf --imatrix m.gguf
t gguf-convert "$DATA/models/llama" -o no.gguf --vocab-only --outtype q8_0
t gguf-convert "$DATA/models/llama" --check-tokenizer list.json -o no.gguf
t gguf-convert "$DATA/models/llama" -o no.gguf --base "$DATA/models/llama"
t gguf-convert --list-archs "$DATA/models/llama"
t gguf-convert --list-archs -o no.gguf
t gguf-imatrix m.gguf -f text -o no.gguf --plot p.svg
t gguf-imatrix --merge a b -o no.gguf --ctx 5
t gguf-imatrix --show a --save-every 3
t gguf-imatrix --show a b
t gguf-imatrix m.gguf -f text -o no.dat --format dat --resume
t gguf-run m.gguf --tokenize -p x --temp 1
t gguf-run m.gguf --tokens 1,2 --logits l.safetensors -n 5
t gguf-run m.gguf -p x --no-history
t gguf-run m.gguf -p x --template-vars '{}'
t gguf-run m.gguf --render chat.json --seed 1
t gguf-run m.gguf -p x --exact --precision bf16
t gguf-run m.gguf -p x --exact --no-repack
t gguf-run m.gguf --no-special </dev/null
t gguf-bench m.gguf --json -o csv
t gguf-bench m.gguf --precision f32 --no-repack
t gguf-bench quality m.gguf --choices c.jsonl --chunks 2
t gguf-bench fit m.gguf --vram 1G --explain --json
t gguf-bench fit m.gguf --vram 12
t gguf-quantize m.gguf no.gguf --target-size 4
t gguf-run m.gguf --tokens 1,2 --logits l.safetensors --json

gguf-convert "$DATA/models/mamba2" -o mamba2.gguf -q
gguf-convert "$DATA/models/bert" -o bert.gguf -q
t gguf-run mamba2.gguf -p x -n 1 --kv-type f32
t gguf-bench fit mamba2.gguf --vram 1G --kv-type q8_0
t gguf-bench quality mamba2.gguf -f text --kv-type q8_0
t gguf-run m.gguf -p sat -n 1 --temp 0 --top-k 3 --seed 2 --repeat-last-n 3
t gguf-inspect hash m.gguf --manifest text
t gguf-inspect hash m.gguf --check text --algo sha256
gguf-bench bert.gguf -n 4 -r 1 2>&1 | tail -n 1

# What a rehearsal does not do, and what it reads all the same.
t gguf-quantize m.gguf dry.gguf Q4_0 --dry-run --manifest f --resume -q | grep -v '^1>'
t gguf-quantize m.gguf dry.gguf Q4_0 --dry-run --calibrate nowhere -q
t gguf-imatrix m.gguf -f m.gguf -o no.gguf

# Names of shards are asked before the model reads a text for a calibration.
gguf-edit split m.gguf set --max-tensors 10 -q
yes "the cat sat on the mat and saw the dog" | head -n 400 >long
t gguf-quantize m.gguf set.gguf Q4_0 --calibrate long --split-max-tensors 10 -q
t gguf-quantize m.gguf nowhere/set.gguf Q4_0 --calibrate long --split-max-tensors 10 -q

# The instruction set.
t env GGUF_ISA=foo gguf-quantize m.gguf no.gguf Q4_0
case $(uname -m) in aarch64) other=avx2 ;; *) other=neon ;; esac
GGUF_ISA=$other gguf-run m.gguf -p x 2>&1 | sed -E "s/'(neon|avx2)'/'OTHER'/; s/has [a-z0-9]+\)/has BEST)/"
t env GGUF_ISA=scalar gguf-quantize m.gguf out.gguf Q4_0 -q --force

# Filters.
t gguf-inspect tensors m.gguf --tensor 'attn_z'
t gguf-inspect stats m.gguf --tensor 'attn_z'
t gguf-inspect diff m.gguf tied.gguf --filter 'nothing*' --tensor 'attn_k'
# One value is NaN: no small relative error hides it.
cp tied.gguf nan.gguf && printf '\300\177' | dd of=nan.gguf bs=1 seek=$(($(stat -c %s nan.gguf) - 2)) conv=notrunc status=none
t gguf-inspect diff tied.gguf nan.gguf --values
t gguf-inspect hash m.gguf --tensor '(.+)+(.+)+(.+)+[^\w.]$'
gguf-inspect tensors m.gguf --tensor '^blk\.\d\.attn_k\.weight$' | wc -l

# Near names.
t gguf-inspect tensros m.gguf
t gguf-edit unste m.gguf x
t gguf-bench qualty m.gguf -f text
t gguf-run m.gguf --tmp 1
t gguf-run m.gguf --te 1
t gguf-run m.gguf -Z
t gguf-run m.gguf --chat=yes
t gguf-bench fit m.gguf --device 4080x
t gguf-bench fit m.gguf --type Q4KM
printf '/staats\n' | gguf-run m.gguf 2>&1 | grep did
printf '/set tmp 1\n' | gguf-run m.gguf 2>&1 | grep did
# Types and mixes that are of no use without importance; the embedding does without.
t gguf-convert "$DATA/models/gemma2_wide" -o few.gguf --outtype iq2_xs -q
t gguf-convert "$DATA/models/gemma2_wide" -o few.gguf --outtype Q2_K_S -q
t gguf-convert "$DATA/models/gemma2_wide" -o few.gguf --outtype tq2_0 -q
