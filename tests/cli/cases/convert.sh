# Folders as people have them, whole and not.
M="$DATA/models"
cat >meta.yaml <<'YAML'
name: My Model
license: mit
tags: [one, two]
languages: [en]
base_model: Example/Base-7B
quantized_by: me
custom.answer: u32:42
general.sampling.temp: f32:0.5
YAML
t gguf-convert "$M/llama_linear" -o m.gguf --metadata meta.yaml --override general.author=str:Somebody --override llama.context_length=u32:99 -q
gguf-inspect meta m.gguf | grep -v "^tokenizer"
printf 'nmae: typing error\n' >wrong.yaml
t gguf-convert "$M/llama_linear" -o x.gguf --metadata wrong.yaml
printf 'my.key: 3\n' >wrong.yaml
t gguf-convert "$M/llama_linear" -o x.gguf --metadata wrong.yaml
t gguf-convert "$M/llama_linear" -o x.gguf --metadata missing.yaml
t gguf-convert "$M/llama_linear" -o x.gguf --override general.author
t gguf-convert "$M/llama_tf4" -o tf4.gguf -q
gguf-inspect meta tf4.gguf | grep "^general"
# One pass to a quantised file; recipe and importance matrix are named in it.
t gguf-convert "$M/gemma2_wide" -o q.gguf --outtype q4_k_m
gguf-inspect meta q.gguf | grep "^ggufkit"
# What is not there.
mkdir empty && t gguf-convert empty -o x.gguf
mkdir bare && cp "$M/llama_linear/config.json" bare && t gguf-convert bare -o x.gguf
mkdir shard && cp -L "$M"/llama/* shard && rm shard/model-00002-of-*.safetensors && t gguf-convert shard -o x.gguf
mkdir weights && cp "$M/llama_linear/model.safetensors" weights && t gguf-convert weights -o x.gguf
t gguf-convert "$M/llama_linear/model.safetensors" --dry-run -q -t 1
t gguf-convert "$M/llama_linear/config.json" -o x.gguf
mkdir notok && cp "$M"/llama_linear/{config.json,model.safetensors} notok && t gguf-convert notok -o x.gguf
# Adapters.
t gguf-convert "$M/llama_lora" -o lora.gguf
gguf-inspect meta lora.gguf
mkdir alone && cp "$M"/llama_lora/* alone && t gguf-convert alone -o x.gguf
t gguf-convert alone -o a.gguf --base "$M/llama_linear" -q
t gguf-convert alone -o x.gguf --base "$M/qwen3"
t ls
t gguf-convert "$DATA/models/llama_linear" -o wide.gguf --override general.alignment=u32:256 -q
gguf-inspect wide.gguf | sed -n 2p
t gguf-inspect verify wide.gguf
t gguf-convert "$DATA/models/llama_linear" -o x.gguf --override general.alignment=u32:33
t gguf-convert "$DATA/models/llama_linear" -o x.gguf --override general.alignment=u64:64
# Embeddings have more rows than the tokenizer has tokens, whether or not a key says how many.
for m in llama qwen3_5; do
  mkdir "rows_$m" && cp -L "$M/$m"/{config.json,tokenizer*} "rows_$m" && sed -i 's/"vocab_size": *640/"vocab_size":648/' "rows_$m/config.json"
  t gguf-convert "rows_$m" --vocab-only -o "rows_$m.gguf" -q
  gguf-inspect "rows_$m.gguf" | grep '^vocabulary'
done
