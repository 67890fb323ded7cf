# Sizing: from a file, its shards, a folder and a config alone; devices; what is refused.
copy_model deepseek_v3 latent
gguf-convert latent -o latent.gguf -q
gguf-quantize latent.gguf small.gguf Q4_0 -q 2>/dev/null
gguf-convert latent -o shard.gguf --split-max-tensors 20 -q
t gguf-bench fit latent.gguf --device "rtx 4090" --explain
t gguf-bench fit "$DATA/models/gemma3" --device "m4 max 36" --type Q8_0 --ctx 300 --parallel 2 -b 64
t gguf-bench fit "$DATA/models/bert" --vram 1G --kv-type f32

# The same sizes from a file, from its shards, from the folder and from its config; and as gguf-quantize makes them.
sizes() {
    gguf-bench fit "$@" --vram 1G -q --json | python3 -c '
import json, sys
d = json.load(sys.stdin)["devices"][0]
print(d["weights_bytes"], d["kv_bytes"], d["compute_bytes"], d["fits"])'
}
sizes latent.gguf
sizes shard-00001-of-*.gguf
sizes latent
sizes latent/config.json
sizes latent/config.json --type Q4_0
sizes small.gguf

# As if quantised: to the byte what gguf-quantize writes, for every recipe.
for recipe in F32 F16 BF16 Q8_0 Q6_K Q5_K_M Q5_K_S Q5_1 Q5_0 Q4_K_M Q4_K_S Q4_1 Q4_0 IQ4_NL IQ4_XS MXFP4_MOE \
    Q3_K_L Q3_K_M Q3_K_S Q2_K; do
    gguf-quantize latent.gguf as.gguf $recipe -q --force 2>/dev/null
    [ "$(sizes as.gguf)" = "$(sizes latent --type $recipe)" ] || echo "$recipe: another size"
done

# This machine: measured, so only what does not depend on it.
gguf-bench fit latent.gguf --device "This Machine" --json | python3 -c '
import json, sys
d = json.load(sys.stdin)["devices"][0]
print(d["device"], d["fits"], d["expected_tg_per_s"] > 0, d["expected_pp_per_s"] > 0, d["predicted_rss_bytes"] <= d["total_bytes"],
      0 < d["lookup_rss_bytes"] < d["predicted_rss_bytes"])'

# Devices of one's own; names; a device that is too small.
cat >mine.yaml <<'YAML'
kind: unified
source: the label on the box
devices:
  - {name: my box, memory_gib: 1, bandwidth_gb_per_s: 100, fp16_tflops: 2}
  - {name: my other box, memory_gib: 0.0001, bandwidth_gb_per_s: 100}
YAML
t gguf-bench fit latent.gguf --hardware mine.yaml
t gguf-bench fit latent.gguf --hardware mine.yaml --device other
sed -i s/memory_gib/memory/ mine.yaml
t gguf-bench fit latent.gguf --hardware mine.yaml
t gguf-bench fit latent.gguf --device "rtx 4990"
t gguf-bench fit latent.gguf --device abacus --json
t gguf-bench fit latent.gguf --vram 1G --device 4090

# What is not a model, or not enough of one.
t gguf-bench fit latent.gguf small.gguf
t gguf-bench -q fit latent.gguf
t gguf-bench fit missing.gguf --vram 1G
echo '{}' >empty.json
t gguf-bench fit empty.json --vram 1G
echo '{"architectures": ["LlamaForCausalLM"]}' >bare.json
t gguf-bench fit bare.json --vram 1G
t gguf-bench fit "$DATA/models/llama_lora" --vram 1G
t gguf-bench fit latent.gguf --vram 1G --type Q9
t gguf-bench fit latent.gguf --vram 1G --ctx 0
t gguf-bench fit latent.gguf --vram 1G --parallel 65536 --ctx 200000000

# Without a model: the known ones that fit, the best first.
t gguf-bench fit --vram 12G
t gguf-bench fit --vram 10M
t gguf-bench fit --ram 24G --type Q8_0 --ctx 65536 -q
t gguf-bench fit --device 4090 --vram 12G
t gguf-bench fit --vram 12G --ram 12G
t gguf-bench fit --device "rtx 40"
t gguf-bench fit --vram 12G --explain
gguf-bench fit --vram 24G -v --json | python3 -c '
import json, sys
models = json.load(sys.stdin)["models"]
classes = [2 if not m["fits"] else m["bits_per_weight"] < 4 for m in models]
print(len(models) > 20, classes == sorted(classes), set(classes) == {0, 1, 2}, all(m["source"].startswith("https://") for m in models))
params = {m["name"]: m["n_params"] for m in models}
# What their authors publish.
print(params["llama3.1-8b"], params["llama3.2-1b"], params["gemma2-2b"], params["qwen3-30b-a3b"], params["gpt-oss-20b"])
print([m["name"] for m in models if m["pull"]])'
gguf-bench fit --json -q | python3 -c 'import json, sys; print(json.load(sys.stdin)["device"]["name"])'

# Several cards, memory beside them, and files below a size.
mkdir moe
cat >moe/config.json <<'JSON'
{"architectures": ["Qwen3MoeForCausalLM"], "vocab_size": 151936, "hidden_size": 2048,"intermediate_size": 6144, "moe_intermediate_size": 768, "num_hidden_layers": 48,"num_attention_heads": 32, "num_key_value_heads": 4, "head_dim": 128,"num_experts": 128, "num_experts_per_tok": 8, "norm_topk_prob": true,"max_position_embeddings": 40960,"rms_norm_eps": 1e-6, "dtype": "bfloat16", "tie_word_embeddings": false}
JSON
t gguf-bench fit moe/config.json --vram 12G,24G --type Q8_0 -q
t gguf-bench fit moe/config.json --device 4090 --ram 64G --type Q8_0 --size 24G -q
t gguf-bench fit moe/config.json --vram 4G --size 1G -q
t gguf-bench fit --vram 24G --size 5G -q
t gguf-bench fit latent.gguf --vram 24G,
t gguf-bench fit latent.gguf --device "m4 max 36" --ram 64G
t gguf-bench fit --vram 8G --size 5G --type Q8_0
gguf-bench fit latent --vram 1G --type Q4_0 -q --json | python3 -c '
import json, os, sys
d = json.load(sys.stdin)["devices"][0]
print("file_bytes is near:", 0 <= os.path.getsize("small.gguf") - d["file_bytes"] < 4096)'
