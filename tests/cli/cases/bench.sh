# gguf-bench: output formats, thresholds and comparisons. Speeds differ from run to run: names and counts are compared.
gguf-convert "$DATA/models/llama" -o m.gguf -q
bench() {
    gguf-bench "$@" -r 2 -t 1 -q 2>/dev/null
}
for format in json jsonl csv md table; do
    bench m.gguf -p 4,8 -n 2 -d 0,3 --pg 4,2 -o $format >out.$format
    echo "$format: exit $?, $(wc -l <out.$format) lines"
done
jq -r '.[] | "\(.n_prompt) \(.n_gen) \(.n_depth) \(.samples_ns | length) \(.samples_ts | length) \(.ttft_s != null) \(.itl_p50_s != null) \(.bandwidth_share != null) \(.arithmetic_share > 0)"' out.json
# The same fields everywhere; samples only in JSON.
jq -r '.[0] | keys_unsorted | join(",")' out.json | sed 's/,samples_ns,samples_ts$//' | diff - <(head -n 1 out.csv) && head -n 1 out.csv
jq -s -e 'map(.n_gen)' -c out.jsonl
jq -e 'all(.[]; .avg_ts > 0 and .ci95_ts > 0 and .peak_rss_bytes > 1000000 and .predicted_rss_bytes > 0 and .bandwidth_bytes_per_s > 1e8 and .n_cores >= 1)' out.json
# Pictures.
t gguf-bench m.gguf -p 4 -n 0 -r 1 -q --plot missing/p.svg
bench m.gguf -p 4 -n 2 -d 0,8 --plot p.svg --report p.html >/dev/null
echo "exit $?: $(grep -c '<polyline' p.svg) curves, $(grep -c '<rect' p.svg) bars, $(grep -c '<tr><td>' p.html) rows"
# Names of curves do not cover each other.
bench m.gguf -p 4,5,6 -n 2,3 -d 0,8 --force --plot p.svg >/dev/null
grep -o '<text x="510" y="[0-9.]*" fill' p.svg | cut -d '"' -f 4 | sort -n | awk 'NR > 1 && $1 - last < 11.8 {print "covered"} {last = $1} END {print NR, "names"}'
t gguf-bench m.gguf -p 4 -n 0 -r 1 -q --plot p.svg
t gguf-bench m.gguf --plot p.jpg
bench m.gguf -p 4 -n 2 -r 1 --plot p.png >/dev/null
echo "exit $?: $(head -c 8 p.png | od -An -c | tr -d ' ')"
tool=$(command -v gguf-bench)
PATH=/nowhere "$tool" m.gguf --plot q.png 2>&1
echo "exit $?"
# Thresholds.
gguf-bench m.gguf -p 4 -n 2 -r 1 -q -o csv --min-tg 1e9 --min-pp 1e9 --max-rss 1K 2>&1 >/dev/null | grep missed | sed -E 's/[0-9.]+ tokens/N tokens/; s/[0-9.]+ MiB/N MiB/'
echo "exit ${PIPESTATUS[0]}"
bench m.gguf -p 4 -n 2 --min-tg 0.001 --min-pp 0.001 --max-rss 1G >/dev/null
echo "exit $?"
t gguf-bench m.gguf -p 0 -n 0
t gguf-bench m.gguf -p 0 --min-pp 5
t gguf-bench m.gguf --pg 5
t gguf-bench m.gguf -n 1,x
t gguf-bench m.gguf missing.gguf -q
t gguf-bench m.gguf missing.gguf -q --json
# Comparisons: the same settings pair, and what each file has one value of may differ.
record() {
    jq -n -c --arg m "$1" --argjson t "$2" --argjson p "$3" --argjson n "$4" --argjson s "$5" \
        '{model_filename: $m, type_k: "f16", n_threads: $t, n_batch: 512, n_prompt: $p, n_gen: $n, n_depth: 0, samples_ts: $s}'
}
{ record dir/a.gguf 2 512 0 '[100, 101, 102]'; record a.gguf 2 0 128 '[20, 21, 20.5]'; record a.gguf 2 0 64 '[9]'; } >a.jsonl
{ record a.gguf 2 512 0 '[90, 91, 92]'; record a.gguf 2 0 128 '[20, 20.9, 20.6]'; record a.gguf 2 0 32 '[9]'; } | jq -s . >b.json
{ record b.gguf 4 512 0 '[120, 121]'; record b.gguf 4 512 0 '[122]'; } >c.jsonl
{ record a.gguf 2 512 0 '[120, 121]'; record c.gguf 2 512 0 '[122]'; } >d.jsonl
t gguf-bench compare a.jsonl b.json
t gguf-bench compare a.jsonl b.json --fail-on-regression -q
t gguf-bench compare b.json a.jsonl --fail-on-regression --significance 1e-9
t gguf-bench compare a.jsonl b.json --json -q
t gguf-bench compare a.jsonl c.jsonl
t gguf-bench compare a.jsonl d.jsonl
t gguf-bench compare c.jsonl d.jsonl
: >empty.json
echo '{"n_prompt": 1}' >other.json
echo '[{"samples_ts": [1, 0]}]' >zero.json
echo '{"samples_ts": [1]' >broken.json
for file in empty other zero broken missing; do t gguf-bench compare a.jsonl $file.json; done
t gguf-bench compare a.jsonl
# A reader that leaves ends the run; a full disk is an error.
bench m.gguf -p 4,5,6,7,8 -n 0 -o jsonl | head -n 1 | jq .n_prompt
echo "exit ${PIPESTATUS[0]}"
bench m.gguf -p 4 -n 0 -o csv >/dev/full
echo "exit $?"
# Ctrl-C: what was measured so far is a whole document.
gguf-convert "$DATA/demo-model" -o demo.gguf -q
gguf-bench demo.gguf -p 4 -n 2000 -d 0,500,1000,2000 -r 1000 -t 1 -q -o json >cut.json 2>err &
while [ ! -s cut.json ]; do sleep 0.05; done
kill -INT $!
wait $!
echo "interrupted: $?, $(jq 'length >= 1' cut.json), $(cat err | grep -v warning)"
# The form of activations is in every record, in the test's name, and in comparisons.
for form in default f32 q8; do bench m.gguf -p 4 -n 0 -o jsonl --precision $form >$form.jsonl; done
jq -r .precision default.jsonl f32.jsonl q8.jsonl
jq -c '.arithmetic_share > 0' default.jsonl f32.jsonl q8.jsonl
bench m.gguf -p 4 -n 0 --precision q8 | grep -o 'pp4 q8'
t gguf-bench m.gguf --precision f16
gguf-bench compare f32.jsonl q8.jsonl 2>&1 | grep -o '.*warning.*\|pp4 q8'
gguf-bench compare f32.jsonl q8.jsonl --json 2>err | jq -c '.pairs[] | [.precision_a, .precision_b]'
cat default.jsonl f32.jsonl >two.jsonl
gguf-bench compare two.jsonl f32.jsonl 2>&1 | grep -o '.*warning.*\|pp4 f32\|only in.*'
# Sweeps: every number of threads, every batch and type of the cache with every other; labels say what was swept, and nothing else.
bench m.gguf -p 4 -n 2 -t 1,2 -b 2,4 -ctk f16,q8_0 -o jsonl --plot sweep.svg | jq -c '[.n_threads, .n_batch, .type_k, .n_prompt]'
grep -o 'pp4 [^<]*' sweep.svg
gguf-bench m.gguf -p 4 -n 0 -r 2 -t 1,2 -q 2>/dev/null | grep -o 'pp4[^.]* '| tr -s ' ' | cut -d ' ' -f 1,2
grep -o 'height="[0-9]*" font' sweep.svg
t gguf-bench m.gguf -t 1,0
t gguf-bench m.gguf -b 2,
t gguf-bench m.gguf -ctk f16,q9
t gguf-bench quality m.gguf -f m.gguf -t 1,2
t gguf-bench compare a.jsonl b.jsonl -t 2
