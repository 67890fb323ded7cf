# Checkpoints as users have them: flags, indexes and configs that are stale, codes without scales, other names.
R="$DATA/reports" M="$DATA/models"
copy() {
    rm -rf "$2" && cp -rL "$1" "$2" && chmod -R u+w "$2"
}
# Two files that differ in name and source only.
same() {
    gguf-inspect diff "$1" "$2" | grep -v -e general.name -e ggufkit.source -e general.basename -e general.finetune
}

# ---- the data decides
t gguf-convert "$R/tied-flag-different-head" -o tied.gguf
gguf-inspect tensors tied.gguf | grep -c output.weight
copy "$M/llama_linear" left && sed -i '1s/{/{"quantization_config": {"quant_method": "bitsandbytes", "load_in_8bit": true},/' left/config.json
t gguf-convert left -o left.gguf -q
copy "$M/ct_int8" coded && sed -i 's/"quant_method": "compressed-tensors"/"quant_method": "bitsandbytes"/' coded/config.json
t gguf-convert coded -o x.gguf

# ---- indexes
t gguf-convert "$R/stale-index" -o index.gguf
copy "$M/llama" shards && rm shards/model.safetensors.index.json
t gguf-convert shards -o shards.gguf
rm shards/model-00001-of-00002.safetensors
t gguf-convert shards -o x.gguf
copy "$M/llama" absent && sed -i 's/model-00002-of-00002/model-00003-of-00003/' absent/model.safetensors.index.json
t gguf-convert absent -o x.gguf
copy "$M/llama" extra && sed -i 's/"weight_map": {/"weight_map": {"vision.weight": "vision.safetensors",/' extra/model.safetensors.index.json
t gguf-convert extra -o extra.gguf
same shards.gguf extra.gguf

# ---- two values for one fact
copy "$R/config-with-nan" two
sed -i 's/"rms_norm_eps"/"rope_theta": 10000, "rope_scaling": {"rope_type": "yarn", "factor": 4}, "rms_norm_eps"/' two/config.json
t gguf-convert two -o two.gguf
gguf-inspect meta two.gguf | grep rope
copy "$R/outer-names" inner && sed -i '1s/{/{"vocab_size": 300,/' inner/config.json
t gguf-convert inner -o inner.gguf -q

# ---- fields that change the computation
edited() { # NAME FIELDS: the same model with these fields in its config
    copy "$M/llama_linear" "$1" && sed -i "1s/{/{$2,/; /\"$(echo "$2" | cut -d'"' -f2)\"/{2,\$d}" "$1/config.json"
    t gguf-convert "$1" -o "$1.gguf" -q
}
edited act '"hidden_act": "gelu"'
edited act2 '"hidden_act": "xielu"'
edited bias '"attention_bias": true'
edited part '"partial_rotary_factor": 0.5'
edited scale '"scale_emb": 12'
edited alibi '"alibi": true'
copy "$M/stablelm" erf && sed -i 's/"hidden_act": "silu"/"hidden_act": "gelu_new"/' erf/config.json
t gguf-convert erf -o x.gguf -q
copy "$M/starcoder2" erf2 && sed -i 's/gelu_pytorch_tanh/gelu/' erf2/config.json
t gguf-convert erf2 -o erf2.gguf -q

# ---- JSON as Python writes it
t gguf-convert "$R/config-with-nan" -o nan.gguf
copy "$R/config-with-nan" eps && sed -i 's/1e-06/NaN/' eps/config.json
t gguf-convert eps -o x.gguf

# ---- outer names
t gguf-convert "$R/outer-names" -o outer.gguf
gguf-convert "$M/gemma3_vision" -o plain.gguf -q 2>/dev/null
same outer.gguf plain.gguf
gguf-convert "$M/llama_linear" -o linear.gguf -q
copy "$M/llama_linear" wrapped && sed -i 's/"model\./"outer./g' wrapped/model.safetensors
t gguf-convert wrapped -o wrapped.gguf
same wrapped.gguf linear.gguf
mkdir pair && cp -L "$M"/llama_linear/*.json pair
sed 's/"model\./"first./g' "$M/llama_linear/model.safetensors" >pair/model-00001-of-00002.safetensors
sed 's/"model\./"other./g; s/"lm_head\./"lm_tail./' "$M/llama_linear/model.safetensors" >pair/model-00002-of-00002.safetensors
t gguf-convert pair -o x.gguf
copy "$M/llama_linear" strange && sed -i 's/embed_tokens/token_embed_/' strange/model.safetensors
t gguf-convert strange -o x.gguf

# ---- experts in one tensor
t gguf-convert "$R/fused-experts" -o fused.gguf
gguf-convert "$M/olmoe" -o olmoe.gguf -q
same fused.gguf olmoe.gguf

# ---- integers are no numbers
t gguf-convert "$R/int8-weights-no-config" -o x.gguf
copy "$R/int8-weights-no-config" unnamed && sed -i 's/\.SCB"/.XCB"/g' unnamed/model.safetensors
t gguf-convert unnamed -o x.gguf
copy "$M/ct_int8" noconf && sed -i 's/"quantization_config"/"quantizatiom_config"/' noconf/config.json
t gguf-convert noconf -o x.gguf
copy "$M/gptq4" unread && sed -i 's/\.qzeros"/.biases"/g' unread/model.safetensors
t gguf-convert unread -o x.gguf
copy "$M/gptq4" noconf && sed -i 's/"quantization_config"/"quantizatiom_config"/' noconf/config.json
t gguf-convert noconf -o x.gguf
printf '{"bits": 4, "group_size": 16, "desc_act": true}' >noconf/quantize_config.json
t gguf-convert noconf -o gptq.gguf -q
gguf-convert "$M/gptq4" -o gptq4.gguf -q
same gptq.gguf gptq4.gguf
copy "$M/fp8_tensor" noscale && sed -i 's/q_proj.weight_scale/q_proj.weight_scalx/' noscale/model.safetensors
t gguf-convert noscale -o x.gguf

# ---- what verify would refuse
t gguf-convert "$R/tokens-beyond-rows" -o rows.gguf
t gguf-inspect verify rows.gguf
t gguf-run rows.gguf -p 'a<|new0|>' -q --tokenize
copy "$R/tokens-beyond-rows" template && sed -i '1s/{/{"chat_template": "<|new3|>{{ messages[0].content }}",/' template/tokenizer_config.json
t gguf-convert template -o x.gguf
t gguf-convert template -o x.gguf --vocab-only
copy "$R/tokens-beyond-rows" ends && sed -i 's/"eos_token": ".*"/"eos_token": "<|new1|>"/' ends/tokenizer_config.json
t gguf-convert ends -o x.gguf
copy "$R/tokens-beyond-rows" vocab && sed -i 's/"vocab_size": 900/"vocab_size": 890/' vocab/config.json
t gguf-convert vocab -o x.gguf --vocab-only
t gguf-convert "$M/llama_linear" -o x.gguf --override llama.embedding_length=u32:40
t gguf-convert "$M/llama_linear" -o x.gguf --override llama.block_count=str:three
gguf-edit set linear.gguf llama.vocab_size=u32:10 -q --force
t gguf-quantize linear.gguf x.gguf Q8_0
copy "$M/bert" unigram && cp "$DATA/tokenizers/spm-unigram/tokenizer_config.json" "$DATA/tokenizers/spm-unigram/tokenizer.model" unigram && rm unigram/tokenizer.json
t gguf-convert unigram -o unigram.gguf -q
t gguf-inspect verify unigram.gguf
gguf-inspect meta unigram.gguf | grep -e token_type_count -e ggml.model
mkdir bare && cp "$DATA"/tokenizers/spm-unigram/tokenizer* bare
t gguf-convert bare --vocab-only -o bare.gguf
t gguf-inspect verify bare.gguf

# ---- a hub's cache
mkdir -p hub/models--Org--Base-7B/snapshots
copy "$M/llama_linear" hub/models--Org--Base-7B/snapshots/c1899de289a04d12100db370d81485cdf75e47ca
t gguf-convert hub/models--Org--Base-7B/snapshots/c1899de289a04d12100db370d81485cdf75e47ca -o hub.gguf -q
gguf-inspect meta hub.gguf | grep -e general.name -e general.organization

# ---- descriptions
A="$DATA/../../configs/arch/llama.yaml"
sed 's/permute_heads: attention.head_count$/permute_head: attention.head_count/' "$A" >arch.yaml
t gguf-convert "$M/llama_linear" -o x.gguf --arch-file arch.yaml
sed 's/type: u32, from: hidden_size/type: u16, from: hidden_size/' "$A" >arch.yaml
t gguf-convert "$M/llama_linear" -o x.gguf --arch-file arch.yaml
sed 's/^ignore:/ignored:/' "$A" >arch.yaml
t gguf-convert "$M/llama_linear" -o x.gguf --arch-file arch.yaml

# ---- a LoRA on the head
mkdir head
cat >head/adapter_config.json <<'JSON'
{"peft_type": "LORA", "r": 2, "lora_alpha": 4, "bias": "none"}
JSON
H='{"base_model.model.lm_head.lora_A.weight":{"dtype":"F32","shape":[2,96],"data_offsets":[0,768]},"base_model.model.lm_head.lora_B.weight":{"dtype":"F32","shape":[900,2],"data_offsets":[768,7968]}}'
{ printf "\\x$(printf %02x ${#H})\0\0\0\0\0\0\0%s" "$H"; head -c 7968 /dev/zero; } >head/adapter_model.safetensors
t gguf-convert head --base "$R/config-with-nan" -o head.gguf
t gguf-convert head --base "$R/tied-flag-different-head" -o head2.gguf -q
copy "$R/tied-flag-different-head" tied && rm tied/model.safetensors
t gguf-convert head --base tied -o x.gguf

# ---- token ids as gguf-run gives them
cp -rL "$DATA/tokenizers/spm-llama" spm
gguf-convert spm --vocab-only -o spm.gguf -q
ids=$(gguf-run spm.gguf -p 'a<s>b' --tokenize --no-special | tr -s ' ' ,)
printf '[{"text": "a<s>b", "ids": [%s]}]' "$ids" >cases.json
t cat cases.json
t gguf-convert spm --check-tokenizer cases.json
t ls -d x.gguf
copy "$M/step3p5" shares && jq '.text_config.partial_rotary_factors[0] = 0.25' "$M/step3p5/config.json" >shares/config.json
t gguf-convert shares -o x.gguf -q
