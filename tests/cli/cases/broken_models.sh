# Model folders with one mistake each: the right status, one line, no output.
broken() {
    t gguf-convert "$1" -o out.gguf
}
copy_model mistral no_config && rm no_config/config.json
broken no_config
copy_model mistral no_weights && rm no_weights/model.safetensors
broken no_weights
copy_model mistral no_tokenizer && rm no_tokenizer/tokenizer.json
broken no_tokenizer
copy_model mistral unknown_arch && sed -i 's/MistralForCausalLM/MarvelForCausalLM/' unknown_arch/config.json
broken unknown_arch
copy_model mistral bad_json && sed -i '3s/.*/oops/' bad_json/config.json
broken bad_json
copy_model mistral wrong_shape && sed -i 's/"hidden_size": 64/"hidden_size": 72/' wrong_shape/config.json
broken wrong_shape
copy_model mistral no_key && sed -i '/"num_hidden_layers"/d' no_key/config.json
broken no_key
copy_model mistral more_layers && sed -i 's/"num_hidden_layers": 3/"num_hidden_layers": 4/' more_layers/config.json
broken more_layers
copy_model mistral renamed && sed -i 's/layers.1.input_layernorm/layers.1.input_layernorX/' renamed/model.safetensors
broken renamed
copy_model mistral extra && sed -i 's/"num_hidden_layers": 3/"num_hidden_layers": 2/' extra/config.json
t gguf-convert extra -o extra.gguf
copy_model mistral nan && printf '\300\177' | dd of=nan/model.safetensors bs=1 seek=100000 conv=notrunc status=none
broken nan
t gguf-convert nan -o out.gguf --outtype q8_0
copy_model mistral cut && truncate -s 300000 cut/model.safetensors
broken cut
copy_model llama shard && rm shard/model-00002-of-00002.safetensors
broken shard
copy_model llama3 rope && sed -i 's/"rope_type": "llama3"/"rope_type": "spiral"/' rope/config.json
broken rope
mkdir empty
broken empty
t ls -p
