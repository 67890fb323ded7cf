# --calibrate: less damage than rounding, the same bytes for any number of threads and after kill -9.
gguf-convert "$DATA/demo-model" -o demo.gguf -q
head -c 40000 "$DATA/demo-model/calib.txt" >calib.txt
head -c 6000 "$DATA/demo-model/test.txt" >test.txt
kld() {
    gguf-bench quality "$1" -f test.txt --base demo.gguf --ctx 256 --json |
        python3 -c 'import json, sys; print(json.load(sys.stdin)["kld_mean"])'
}
for type in Q2_K Q4_K_M; do
    gguf-quantize demo.gguf round.gguf $type --calibrate calib.txt --method round --samples 2048 -q --force
    gguf-quantize demo.gguf less.gguf $type --calibrate calib.txt --samples 2048 -q --force
    python3 -c 'import sys; a, b = map(float, sys.argv[2:]); print(sys.argv[1], "below 0.7 of rounding:", a < 0.7 * b)' \
        $type "$(kld less.gguf)" "$(kld round.gguf)"
done
gguf-inspect meta less.gguf | grep -E 'calibration.(method|dataset|tokens|damp|effort)'
gguf-inspect less.gguf | grep -A 1 calibration | sed 's/most [0-9.e-]*/most N/'
cat >report.py <<'END'
import json, sys
document = json.load(sys.stdin)
report = {key.split(".")[2]: value["value"] for key, value in document["metadata"].items() if ".calibration." in key}
types = {tensor["name"]: tensor["type"] for tensor in document["tensors"]}
rows = list(zip(*(report[key] for key in ("tensors", "types", "samples", "fallbacks", "error_rounded", "error"))))
print(len(rows), "tensors reported,", sum(types[row[0]] != row[1] for row in rows), "with another type,",
      sum(row[2] != int(sys.argv[1]) for row in rows), "with other samples,", sum(row[3] for row in rows), "fallbacks,",
      sum(not 0 < row[5] < row[4] for row in rows), "not below rounding")
END
gguf-inspect --json --max-array 1000 less.gguf | python3 report.py 2048
gguf-quantize demo.gguf dry.gguf Q4_K_M --calibrate calib.txt --samples 2048 --dry-run --json |
    python3 -c 'import json, os, sys; print("dry run:", json.load(sys.stdin)["size_bytes"] == os.path.getsize("less.gguf"))'
gguf-quantize demo.gguf json.gguf Q4_K_M --calibrate calib.txt --samples 2048 --method round --json -q |
    python3 -c 'import json, sys
rows = [t for t in json.load(sys.stdin)["tensors"] if "output_error" in t]
print(len(rows), "in JSON, rounding:", all(t["output_error"] == t["output_error_rounded"] > 0 and t["samples"] == 2048 for t in rows))'
gguf-quantize less.gguf json.gguf Q8_0 --allow-requantize --force -q
gguf-inspect meta json.gguf | grep calibration || echo "not taken along: the report of another quantisation"
gguf-quantize demo.gguf one.gguf Q4_K_M --calibrate calib.txt --samples 2048 -t 1 --progress always 2>progress.txt
python3 - <<'END'
import re
shown = [(what, int(share)) for what, share in re.findall(r"(layer \d|head)[^(]*\((\d+) %\)", open("progress.txt").read())]
shares = [share for what, share in shown]
print("progress:", shares == sorted(shares), len(set(shares)) > 3, shown[-1][0], shares[-1] > 80, len({what for what, share in shown}) > 3)
END
cmp one.gguf less.gguf && echo "threads do not matter"
gguf-quantize demo.gguf out.gguf Q4_K_M --calibrate calib.txt --samples 2048 -q --resume 2>/dev/null &
run=$!
sleep 1
{ kill -9 $run; wait $run; } 2>/dev/null
[ -f out.gguf ] || gguf-quantize demo.gguf out.gguf Q4_K_M --calibrate calib.txt --samples 2048 -q --resume
cmp out.gguf less.gguf && echo "resumed: the same"
gguf-quantize demo.gguf target.gguf --target-size 3M --calibrate calib.txt --samples 1024 -q
[ "$(stat -c %s target.gguf)" -le $((3 << 20)) ] && echo "with a target: not above it"
gguf-quantize "$DATA/demo-model" folder.gguf Q4_K_M --calibrate calib.txt --samples 2048 -q
gguf-inspect diff folder.gguf less.gguf | grep -v source
# Experts with the tokens routed to them, latent attention with a matrix per head.
for model in qwen3_moe_wide deepseek_wide; do
    gguf-convert "$DATA/models/$model" -o wide.gguf -q --force
    for method in round compensate; do
        gguf-quantize wide.gguf $method.gguf Q4_K_M --calibrate calib.txt --samples 2048 --method $method -q --force
        gguf-bench quality $method.gguf -f test.txt --base wide.gguf --ctx 128 --json >$method.json
    done
    python3 -c 'import json, sys
a, b = (json.load(open(f))["kld_mean"] for f in ("compensate.json", "round.json"))
print(sys.argv[1], "below rounding:", a < 0.9 * b)' $model
done
# Another text of the same name does not go on with what the first one left.
: >empty.txt
mkdir other && tail -c 30000 calib.txt >other/calib.txt
gguf-quantize demo.gguf mixed.gguf Q4_K_M --calibrate calib.txt --samples 2048 --json --resume >/dev/null 2>&1 &
run=$!
while kill -0 $run 2>/dev/null && [ "$(stat -c %s mixed.gguf.part.journal 2>/dev/null || echo 0)" -lt 600 ]; do :; done
{ kill -9 $run; wait $run; } 2>/dev/null
t gguf-quantize demo.gguf mixed.gguf Q4_K_M --calibrate other/calib.txt --samples 2048 --json --resume
gguf-quantize demo.gguf mixed.gguf Q4_K_M --calibrate calib.txt --samples 2048 --json --resume -t 3 2>/dev/null >mixed.json
jq '.resumed_bytes > 0, .warnings' mixed.json
cmp mixed.gguf less.gguf && echo "the same text: the same bytes"
head -c 200 calib.txt >short.txt
t gguf-quantize demo.gguf no.gguf Q4_K_M --calibrate short.txt -q
t gguf-quantize demo.gguf no.gguf Q4_K_M --calibrate empty.txt -q
t gguf-quantize demo.gguf no.gguf Q4_K_M --calibrate missing.txt -q
t gguf-quantize demo.gguf no.gguf Q4_K_M --calibrate calib.txt --method gptq -q
t gguf-quantize demo.gguf no.gguf Q4_K_M --calibrate calib.txt --imatrix x -q
t ls *.gguf
