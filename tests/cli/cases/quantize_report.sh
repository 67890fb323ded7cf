# Types compared on a page: nothing else stays.
gguf-convert "$DATA/demo-model" -o demo.gguf -q
gguf-quantize demo.gguf Q3_K Q8_0 q2_k 4.5bpw --report page.html --text "$DATA/demo-model/test.txt" --chunks 1 -q --json >report.json
python3 -c 'import json
j = json.load(open("report.json"))
for t in j["types"]: print(t["type"], t["best"], t["size_bytes"] > 0, t["kld_mean"] > 0, 0.5 < t["top1_agreement"] <= 1)
klds = [t["kld_mean"] for t in j["types"]]
print(j["output"], j["n_tokens"], klds == sorted(klds, reverse=True))'
ls
grep -c "<circle class=\"best\"" page.html
grep -o "<td>[^<]*</td>" page.html
t gguf-quantize demo.gguf Q4_0 --report page.html --text "$DATA/demo-model/test.txt" --chunks 1 -q
t gguf-quantize demo.gguf Q4_0 --report new.html
t gguf-quantize demo.gguf --report new.html --text x.txt
t gguf-quantize demo.gguf Q4_0 --report new.html --text x.txt --dry-run
t gguf-quantize demo.gguf Q4_1_0 --report new.html --text "$DATA/demo-model/test.txt" --chunks 1
t gguf-quantize demo.gguf 99bpw --report new.html --text "$DATA/demo-model/test.txt" --chunks 1
t gguf-quantize demo.gguf out.gguf Q4_0 --text x.txt
ls
