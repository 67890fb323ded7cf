# gguf-bench quality: two models at once, a saved base, positions, multiple choice.
gguf-convert "$DATA/demo-model" -o base.gguf -q
gguf-quantize base.gguf q.gguf Q4_0 -q
head -c 20000 "$DATA/demo-model/test.txt" >test.txt
quality() {
    gguf-bench quality "$@" -f test.txt --ctx 128 --chunks 12 -q
}
quality q.gguf --base base.gguf --json >two.json
quality base.gguf --save-base f.base --json | jq -c keys
quality q.gguf --base f.base --json >saved.json
jq -c 'keys' two.json
# The saved base gives what the model gives, within its sampling error.
jq -n -c --slurpfile a two.json --slurpfile b saved.json '$a[0] as $a | $b[0] as $b |
    [($b.kld_mean / $a.kld_mean - 1 | fabs < 0.05), ($b.top1_agreement == $a.top1_agreement), ($b.ppl == $a.ppl),
     ($b.base_ppl / $a.base_ppl - 1 | fabs < 1e-6), ($b.delta_p_rms / $a.delta_p_rms - 1 | fabs < 1e-5),
     ($a.kld_mean > 0), ($a.n_tokens == 756), ($a.n_chunks == 12)]'
jq -c '.positions | length, .[0].first, .[7].last, all(.kld_stderr > 0 and .ppl_stderr > 0)' two.json
quality q.gguf --base f.base -v | sed -E 's/[0-9]+\.[0-9]+/N/g'
# Gates: exit 1 and a line for what is missed.
few() {
    gguf-bench quality "$@" -f test.txt --ctx 64 -q
}
few base.gguf --save-base few.base --chunks 2 >/dev/null
few q.gguf --base few.base --json --chunks 2 >few.json
gate() {
    echo "\$ quality $*"
    few q.gguf --chunks 2 "$@" 2>missed >/dev/null
    echo "exit $?"
    sed -E 's/[0-9]+\.[0-9]+/N/g' missed
}
gate --max-ppl 100000
gate --max-ppl 1.5
gate --base few.base --max-kld 9 --min-top1 0.01
gate --base few.base --max-kld 0.000001 --min-top1 0.9999
gate --base few.base --against few.json
jq '.kld_mean = 0 | .kld_stderr = 0 | .ppl = 1 | .ppl_stderr = 0 | .top1_agreement = 1 | .top1_stderr = 0' few.json >better.json
gate --base few.base --against better.json --json
gate --against few.json
gate --base few.base --against better.json --chunks 1
gate --max-kld 1
gate --min-top1 95 --base few.base
echo '{}' >empty.json
t gguf-bench quality q.gguf -f test.txt --against empty.json
t gguf-bench q.gguf --max-ppl 3
# Refused.
t gguf-bench quality base.gguf -f test.txt --save-base f.base
t gguf-bench quality q.gguf -f test.txt --ctx 256 --base f.base
t gguf-bench quality q.gguf -f "$DATA/demo-model/calib.txt" --ctx 128 --base f.base
head -c 1000 f.base >cut.base
t gguf-bench quality q.gguf -f test.txt --ctx 128 --base cut.base
: >empty.base
t gguf-bench quality q.gguf -f test.txt --base empty.base
t gguf-bench quality q.gguf -f test.txt --base test.txt
t gguf-bench quality q.gguf -f test.txt --base missing.base
: >empty.txt
t gguf-bench quality q.gguf -f empty.txt
t gguf-bench quality q.gguf --base base.gguf --choices x
ls *.base*
# Multiple choice: texts of the training data against shuffled ones.
cat >c.jsonl <<'J'
{"context": "And the LORD spake unto", "choices": ["Moses, saying,", "saying, Moses", "unto and the"], "label": 0}
{"query": "In the beginning God created the", "choices": ["and created God the", "heaven and the earth"], "label": 1}
{"ctx": "And God said, Let there be", "endings": ["light: and there was light", "was there and light light:"], "label": "0"}

{"context": "", "choices": ["unto the the", "And the LORD"], "gold": 1}
J
t gguf-bench quality base.gguf --choices c.jsonl
t gguf-bench quality base.gguf --choices c.jsonl --json
quality base.gguf --choices c.jsonl --json | jq -c keys
refuse() {
    echo "$1" >bad.jsonl
    t gguf-bench quality base.gguf --choices bad.jsonl
}
refuse '{"context": "x", "choices": ["a"], "label": 0}'
refuse '{"context": "x", "choices": ["a", ""], "label": 0}'
refuse '{"context": "x", "choices": ["a", 5], "label": 0}'
refuse '{"context": "x", "choices": ["a", "\u0000"], "label": 0}'
refuse '{"context": "x", "choices": ["a", "b"], "label": 2}'
refuse '{"context": "x", "choices": ["a", "b"], "label": "one"}'
refuse '{"choices": ["a", "b"], "label": 0}'
refuse '{"context": "x"'
refuse '[]'
refuse ''
# The default measures the file; --engine says what activations in 8 bits add.
quality q.gguf --precision f32 --json | jq -c --slurpfile a two.json '[.precision, .ppl != $a[0].ppl, (.ppl / $a[0].ppl - 1 | fabs < 1e-4)]'
quality q.gguf --precision default --json | jq -c --slurpfile a two.json '[.precision, (.ppl / $a[0].ppl - 1 | fabs > 1e-4)]'
quality q.gguf --precision f32 --save-base exact.base -q >engine.txt
quality q.gguf --base exact.base --engine --json | jq -c '[.kld_mean < 1e-6, .engine_kld_mean > 1e-5, .engine_kld_mean < 0.01, .engine_top1_agreement > 0.9]'
quality q.gguf --engine | sed -E 's/[0-9]+\.[0-9]+/N/g'
t gguf-bench quality q.gguf --choices c.jsonl --engine
quality q.gguf --precision f32 | head -n 1
# So it is for gguf-run.
for form in default f32 bf16; do gguf-run q.gguf --tokens 1,2,3,4 --logits $form.safetensors --precision $form -q; done
gguf-run q.gguf --tokens 1,2,3,4 --logits exact.safetensors --exact --kv-type f16 -q
cmp f32.safetensors exact.safetensors && cmp default.safetensors bf16.safetensors && ! cmp -s default.safetensors f32.safetensors && echo "--precision f32 is exact"
t gguf-run q.gguf --precision half
