/* Files that are no language models: what each kind has to say about itself. */
#include "runtime/model/check_internal.h"

#include <stdio.h>
#include <string.h>

typedef struct owed {
    const char *key;
    gguf_value_type type; /* of the elements */
} owed;

static const owed imatrix_keys[] = {{"imatrix.datasets", GGUF_VALUE_STRING},
                                    {"imatrix.chunk_count", GGUF_VALUE_U32},
                                    {"imatrix.chunk_size", GGUF_VALUE_U32},
                                    {0}};
static const owed adapter_keys[] = {{"general.architecture", GGUF_VALUE_STRING},
                                    {"adapter.type", GGUF_VALUE_STRING},
                                    {"adapter.lora.alpha", GGUF_VALUE_F32},
                                    {0}};
static const owed vision_keys[] = {{"clip.vision.image_size", GGUF_VALUE_U32},
                                   {"clip.vision.patch_size", GGUF_VALUE_U32},
                                   {"clip.vision.embedding_length", GGUF_VALUE_U32},
                                   {"clip.vision.feed_forward_length", GGUF_VALUE_U32},
                                   {"clip.vision.block_count", GGUF_VALUE_U32},
                                   {"clip.vision.attention.head_count", GGUF_VALUE_U32},
                                   {0}};
static const owed audio_keys[] = {{"clip.audio.num_mel_bins", GGUF_VALUE_U32},
                                  {"clip.audio.embedding_length", GGUF_VALUE_U32},
                                  {"clip.audio.feed_forward_length", GGUF_VALUE_U32},
                                  {"clip.audio.block_count", GGUF_VALUE_U32},
                                  {"clip.audio.attention.head_count", GGUF_VALUE_U32},
                                  {0}};

static void check_owed(const gguf_meta *meta, const owed *keys, bool complete,
                       gguf_findings *found) {
    for (; keys->key; keys++) {
        const gguf_kv *kv = gguf_meta_find(meta, keys->key);
        if (!kv && complete)
            gguf_findings_add(found, GGUF_NO_OFFSET, "the key '%s' is missing", keys->key);
        if (kv && kv->elem_type != keys->type)
            gguf_findings_add(found, kv->off, "the key '%s' is %s, not %s", keys->key,
                              gguf_value_type_name(kv->elem_type),
                              gguf_value_type_name(keys->type));
    }
}

static bool is_true(const gguf_meta *meta, const char *key) {
    bool value = false;
    return gguf_kv_bool(gguf_meta_find(meta, key), &value) && value;
}

/* A projector has an encoder for pictures, for sound, or (older files) for text. */
static void check_projector(const gguf_meta *meta, bool complete, gguf_findings *found) {
    bool vision = is_true(meta, "clip.has_vision_encoder");
    bool audio = is_true(meta, "clip.has_audio_encoder");
    if (vision) check_owed(meta, vision_keys, complete, found);
    if (audio) check_owed(meta, audio_keys, complete, found);
    if (complete && !vision && !audio && !is_true(meta, "clip.has_text_encoder"))
        gguf_findings_add(found, GGUF_NO_OFFSET,
                          "none of 'clip.has_vision_encoder', 'clip.has_audio_encoder' and "
                          "'clip.has_text_encoder' is true");
}

bool rt_check_speaks(const gguf_meta *meta, gguf_str architecture) {
    static const char *const sizes[] = {"block_count", "context_length", "embedding_length",
                                        "vocab_size"};
    char key[192];
    if (gguf_meta_find(meta, "tokenizer.ggml.model") ||
        gguf_meta_find(meta, "tokenizer.ggml.tokens"))
        return true;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        int n = (int)(architecture.len < 100 ? architecture.len : 100);
        snprintf(key, sizeof key, "%.*s.%s", n, architecture.ptr, sizes[i]);
        if (gguf_meta_find(meta, key)) return true;
    }
    return false;
}

bool rt_check_part(const gguf_meta *meta, bool complete, gguf_findings *findings) {
    gguf_str type = {"model", 5}, architecture = {"", 0};
    gguf_kv_str(gguf_meta_find(meta, "general.type"), &type);
    gguf_kv_str(gguf_meta_find(meta, "general.architecture"), &architecture);
    if (gguf_str_eq(type, "imatrix"))
        check_owed(meta, imatrix_keys, complete, findings);
    else if (gguf_str_eq(type, "adapter"))
        check_owed(meta, adapter_keys, complete, findings);
    else if (gguf_str_eq(architecture, "clip") || gguf_str_eq(type, "mmproj"))
        check_projector(meta, complete, findings);
    else
        return !gguf_str_eq(type, "model");
    return true;
}
