# Drafts: the same answers with them and without, and what is refused.
gguf-convert "$DATA/demo-model" -o demo.gguf --outtype q8_0 -q
gguf-convert "$DATA/models/mamba2" -o mamba.gguf --outtype q8_0 -q
gguf-convert "$DATA/models/llama" -o llama.gguf --outtype q8_0 -q
answer() {
    gguf-run demo.gguf -t 2 -p "And the king said unto them" -n 100 --json "$@" | jq -c '[.ids, .text, .finish_reason]'
}
for sampling in "--temp 0" "--temp 1 --seed 4 --repeat-penalty 1.2"; do
    answer $sampling --lookup off >without
    for drafts in "" "--lookup on --draft-max 3" "--draft demo.gguf" "--lookup off -md demo.gguf --draft-n 64"; do
        answer $sampling $drafts >with
        cmp with without && echo "the same with ${drafts:-what is usual}"
    done
done
printf 'Who art thou?\nAnd thou?\n' >talk
gguf-run demo.gguf -q --temp 0 -n 30 --lookup off <talk >without 2>&1
gguf-run demo.gguf -q --temp 0 -n 30 --draft demo.gguf <talk >with 2>&1
cmp with without && echo "the same chat"
# A full context that moves on, and a text that an encoder read.
gguf-convert "$DATA/models/t5" -o t5.gguf --outtype f32 -q
for model in demo t5; do
    shift=$([ $model = demo ] && echo "--ctx 128 --shift")
    for lookup in off on; do
        gguf-run $model.gguf -p "a b c a b c" -n 200 $shift -q --temp 0 --json --lookup $lookup | jq -c .ids >$lookup
    done
    cmp off on && echo "the same ids of $model: $(jq length on)"
done
gguf-run demo.gguf -p "And it came to pass" -n 200 --temp 0 --lookup off --draft demo.gguf --json | jq '.n_accepted > 0 and .n_accepted <= .n_drafted'
# Layers with states go back to before the drafts, and evaluate those once more that were right.
for lookup in off on; do
    gguf-run mamba.gguf -p "a b c a b c" -n 200 -q --temp 0 --json --lookup $lookup | jq -c .ids >$lookup
done
cmp off on && echo "the same ids of mamba: $(jq length on)"
gguf-run mamba.gguf -p "a b c a b c" -n 200 -q --temp 0 --json | jq .n_drafted
t gguf-run mamba.gguf -p x -n 2 --draft demo.gguf
t gguf-run demo.gguf -p x -n 2 --draft mamba.gguf
t gguf-run demo.gguf -p x -n 2 --draft llama.gguf
t gguf-run demo.gguf -p x -n 2 --draft missing.gguf
t gguf-run demo.gguf -p x --lookup maybe
t gguf-run demo.gguf -p x --draft-max 0
t gguf-run demo.gguf -p x --draft-max 65
t gguf-run demo.gguf -p x --draft-max 4 --lookup off
t gguf-run demo.gguf -p x --tokenize --lookup on
t gguf-serve demo.gguf --draft llama.gguf
t gguf-serve demo.gguf --draft-max 4 --lookup off
