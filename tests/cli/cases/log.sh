# Messages and progress on a stream that is no terminal: lines of text, and with --log-json objects.
gguf-convert "$DATA/demo-model" -o demo.gguf -q
cat >lines.py <<'END'
import json, re, sys
last = {}
for line in map(json.loads, sys.stdin):
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("time"))
    level = line.pop("level")
    if level == "progress":
        assert 0 < line["done"] <= line["total"] and line.get("rate_per_s", 1) > 0 and line.get("left_s", 0) >= 0
        last.setdefault(line["command"], []).append(int(10 * line["done"] / line["total"]))
        unit = line.get("unit")
    else:
        print(level, json.dumps(line, ensure_ascii=False))
for command, tenths in last.items():
    print("progress of", command, "in", unit, "- sorted, once each, to the end:", tenths == sorted(set(tenths)), tenths[-1])
END
tenths() {
    grep -o '([0-9]* %)' | tr -d '(%) ' | python3 -c 'import sys
shares = list(map(int, sys.stdin.read().split()))
print(len(shares) <= 10, shares == sorted(shares), len({s // 10 for s in shares}) == len(shares), shares[-1])'
}
gguf-quantize demo.gguf q.gguf Q4_0 --progress always 2>progress.txt >/dev/null
tenths <progress.txt
grep -c $'\r' progress.txt
sed 's/:.*//' progress.txt | sort -u
gguf-quantize demo.gguf q.gguf Q4_0 --force 2>&1 >/dev/null | grep -c % # auto: none
gguf-quantize demo.gguf q.gguf Q4_0 --force --progress always --log-json 2>&1 >/dev/null | python3 lines.py
gguf-quantize demo.gguf q.gguf Q4_0 --force --progress always --log-json -q 2>&1 >/dev/null | python3 lines.py
head -c 3000 "$DATA/demo-model/test.txt" >test.txt
gguf-bench quality q.gguf -f test.txt --ctx 64 --max-ppl 1 --log-json --progress always 2>log >/dev/null
echo "exit $?"
python3 lines.py <log | sed -E 's/perplexity [0-9.]+/perplexity N/'
gguf-imatrix demo.gguf -f test.txt --ctx 64 -o i.gguf --log-json --progress always -q 2>&1 >/dev/null | python3 lines.py
# Errors, those of the command line too; what a file says is text in JSON and escaped otherwise.
gguf-inspect missing.gguf --log-json 2>&1 | python3 lines.py
gguf-inspect --no-such --log-json 2>&1 | python3 lines.py
head -c 2000 demo.gguf >cut.gguf
gguf-inspect cut.gguf --log-json 2>&1 | python3 lines.py
name=$(printf 'a\u202eb\u2066c\u0085d.gguf')
gguf-inspect "$name" --log-json 2>&1 | python3 -c 'import json, sys; print(ascii(json.loads(sys.stdin.read())["file"]))'
gguf-inspect "$name"  2>&1
# What a command starts says it in the same form.
gguf-bench fit hf://org/none --log-json 2>&1 | python3 lines.py | cut -c 1-40
