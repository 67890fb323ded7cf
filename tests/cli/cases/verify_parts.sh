# verify asks a file that is no language model for what its kind owes, and for nothing else. A vocabulary
# without tensors is made into one of each kind.
copy_model llama3 hf
gguf-convert hf -o vocab.gguf --vocab-only -q
gguf-edit unset vocab.gguf $(gguf-inspect meta vocab.gguf | awk '{print $1}' | grep -E '^(tokenizer|llama|general)[.]') -o bare.gguf --force -q 2>/dev/null
kind() { # NAME KEY...: a file with these keys and no others
    local name=$1
    shift
    gguf-edit set bare.gguf "$@" -o "$name.gguf" --force -q 2>/dev/null
    t gguf-inspect verify "$name.gguf"
}
kind flux general.architecture=str:flux general.file_type=u32:1
kind unknown general.architecture=str:newllm newllm.embedding_length=u32:64
kind llama general.architecture=str:llama
kind clip general.architecture=str:clip
kind vision general.architecture=str:clip clip.has_vision_encoder=bool:true clip.vision.image_size=u32:224 \
    clip.vision.patch_size=u32:14 clip.vision.embedding_length=u32:64 clip.vision.feed_forward_length=u32:128 \
    clip.vision.block_count=u32:2 clip.vision.attention.head_count=u32:2
kind mmproj general.architecture=str:clip general.type=str:mmproj clip.has_vision_encoder=bool:true clip.vision.image_size=f32:224
kind audio general.architecture=str:clip general.type=str:mmproj clip.has_audio_encoder=bool:true
kind adapter general.type=str:adapter general.architecture=str:llama adapter.type=str:lora
kind imatrix general.type=str:imatrix imatrix.chunk_count=u32:1
kind nothing my.key=u32:1
gguf-convert "$DATA/models/llama_lora" -o lora.gguf -q
t gguf-inspect verify lora.gguf
gguf-convert hf -o m.gguf -q
gguf-imatrix m.gguf -f "$DATA/demo-model/test.txt" --chunks 1 -o im.gguf -q
t gguf-inspect verify im.gguf
t gguf-inspect verify m.gguf
# What gguf-edit would break of this is refused without --force.
t gguf-edit unset m.gguf general.architecture
t gguf-edit unset m.gguf general.architecture --dry-run
t gguf-edit set m.gguf llama.block_count=str:two
t gguf-edit rename m.gguf llama.embedding_length llama.width
t gguf-edit set m.gguf llama.context_length=u32:0
t gguf-edit set m.gguf tokenizer.ggml.bos_token_id=u32:100000
t gguf-edit unset im.gguf imatrix.chunk_count
t gguf-inspect verify m.gguf
t gguf-edit unset m.gguf general.architecture --force -o x.gguf
# Read-only, in place and by copy.
chmod 444 m.gguf
sum=$(sha256sum <m.gguf)
t gguf-edit set m.gguf general.name=str:a
t gguf-edit set m.gguf general.name=str:"$(printf '%5000s' '' | tr ' ' a)" --dry-run
[ "$sum" = "$(sha256sum <m.gguf)" ] && echo "unchanged"
t gguf-edit set m.gguf general.name=str:a --force
stat -c %a m.gguf
