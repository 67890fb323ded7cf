/* Importing the ids of special tokens, what is added around a text, and the ends of a generation.
 * Where files disagree: tokenizer_config.json, special_tokens_map.json, tokenizer.model,
 * generation_config.json, config.json, in this order. */
#include "runtime/tokenizer/json_spec.h"
#include "runtime/tokenizer/vocab_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* In the order of the keys in the file. */
static const struct {
    rt_special which;
    const char *name; /* in Hugging Face's files: NAME_token, NAME_token_id */
    const char *key;  /* in GGUF: KEY_token_id */
} special_names[] = {
    {RT_SPECIAL_BOS, "bos", "bos"},         {RT_SPECIAL_EOS, "eos", "eos"},
    {RT_SPECIAL_UNKNOWN, "unk", "unknown"}, {RT_SPECIAL_SEPARATOR, "sep", "seperator"},
    {RT_SPECIAL_PADDING, "pad", "padding"}, {RT_SPECIAL_MASK, "mask", "mask"},
    {RT_SPECIAL_EOT, "eot", "eot"},
};
#define N_NAMES (sizeof special_names / sizeof *special_names)

typedef enum answer { ANSWER_UNKNOWN, ANSWER_NO, ANSWER_YES } answer;

typedef struct specials {
    int32_t ids[RT_N_SPECIAL]; /* -1: none */
    answer add_bos, add_eos, add_sep;
    rt_frame frame;
} specials;

/* ---- ids --------------------------------------------------------------------------------- */

/* The text of a special token in a file: "text" or {"content": "text"}. */
static gguf_str token_text(const rt_vocab *im, rt_vocab_file file, const char *name) {
    char key[32];
    snprintf(key, sizeof key, "%s_token", name);
    const json_t *value = json_object_get(im->files[file], key);
    if (json_is_object(value)) value = json_object_get(value, "content");
    return json_is_string(value) ? rt_json_str(value) : (gguf_str){NULL, 0};
}

static int32_t id_from_text(const rt_vocab *im, const char *name) {
    gguf_str text = token_text(im, RT_FILE_TOKENIZER_CONFIG, name);
    int32_t id = text.ptr ? rt_vocab_find(im, text) : -1;
    if (id >= 0) return id;
    text = token_text(im, RT_FILE_SPECIAL_TOKENS, name);
    return text.ptr ? rt_vocab_find(im, text) : -1;
}

/* A number, or the first of a list of numbers, in a model's configuration. */
static int32_t id_from_config(rt_vocab *im, rt_vocab_file file, const char *name) {
    char key[32];
    uint64_t id;
    snprintf(key, sizeof key, "%s_token_id", name);
    const json_t *value = json_object_get(im->files[file], key);
    if (!value) value = json_object_get(json_object_get(im->files[file], "text_config"), key);
    if (json_is_array(value)) value = json_array_get(value, 0);
    if (!gguf_json_u64(value, &id)) return -1;
    if (id < im->n) return (int32_t)id;
    rt_vocab_warn(im, "%s %llu is beyond the %u tokens and left out", key, (unsigned long long)id,
                  im->n);
    return -1;
}

static void find_ids(rt_vocab *im, specials *sp) {
    for (size_t i = 0; i < N_NAMES; i++) {
        const char *name = special_names[i].name;
        int32_t *id = &sp->ids[special_names[i].which];
        *id = id_from_text(im, name);
        if (*id < 0 && im->model_ids[special_names[i].which] < (int32_t)im->n)
            *id = im->model_ids[special_names[i].which];
        if (*id < 0) *id = id_from_config(im, RT_FILE_GENERATION_CONFIG, name);
        if (*id < 0) *id = id_from_config(im, RT_FILE_CONFIG, name);
    }
    sp->ids[RT_SPECIAL_EOM] = -1;
}

/* BERT's names for the first and the last token. */
static void find_cls_and_sep(const rt_vocab *im, specials *sp) {
    if (sp->ids[RT_SPECIAL_BOS] < 0) sp->ids[RT_SPECIAL_BOS] = id_from_text(im, "cls");
    if (sp->ids[RT_SPECIAL_EOS] < 0) sp->ids[RT_SPECIAL_EOS] = id_from_text(im, "sep");
}

/* ---- the frame of a text ----------------------------------------------------------------- */

static int64_t token_id(const json_t *value) {
    uint64_t id;
    return gguf_json_u64(value, &id) && id < RT_MAX_TOKENS ? (int64_t)id : -1;
}

static gguf_code add_to_frame(rt_vocab *im, rt_frame *frame, bool behind, int64_t id) {
    size_t *n = behind ? &frame->n_suffix : &frame->n_prefix;
    int32_t *ids = behind ? frame->suffix : frame->prefix;
    if (id < 0 || id >= (int64_t)im->n)
        return rt_vocab_fail(im, GGUF_E_FORMAT,
                             "the post-processor adds a token that does not exist");
    if (*n == 16)
        return rt_vocab_fail(im, GGUF_E_LIMIT, "the post-processor adds more than 16 tokens");
    ids[(*n)++] = (int32_t)id;
    return GGUF_OK;
}

static gguf_code read_template(rt_vocab *im, const json_t *processor, rt_frame *frame) {
    const json_t *single = json_object_get(processor, "single"),
                 *tokens = json_object_get(processor, "special_tokens");
    size_t i, k;
    json_t *item, *value;
    bool behind = false;
    frame->known = true;
    json_array_foreach(single, i, item) {
        behind |= json_object_get(item, "Sequence") != NULL;
        const char *name = rt_spec_text(json_object_get(item, "SpecialToken"), "id", NULL);
        if (!name) continue;
        const json_t *ids = json_object_get(json_object_get(tokens, name), "ids");
        if (!json_array_size(ids))
            return rt_vocab_fail(im, GGUF_E_FORMAT, "the template token '%.100s' has no ids", name);
        json_array_foreach(ids, k, value) {
            gguf_code code = add_to_frame(im, frame, behind, token_id(value));
            if (code) return code;
        }
    }
    return GGUF_OK;
}

/* BertProcessing and RobertaProcessing: ["text", id] for cls and sep. */
static gguf_code read_pair(rt_vocab *im, const json_t *processor, rt_frame *frame) {
    const json_t *cls = json_array_get(json_object_get(processor, "cls"), 1),
                 *sep = json_array_get(json_object_get(processor, "sep"), 1);
    frame->known = true;
    gguf_code code = add_to_frame(im, frame, false, token_id(cls));
    return code ? code : add_to_frame(im, frame, true, token_id(sep));
}

static gguf_code read_processor(rt_vocab *im, const json_t *processor, rt_frame *frame,
                                unsigned depth) {
    const char *type = rt_spec_text(processor, "type", "");
    const json_t *list = json_object_get(processor, "processors");
    gguf_code code = GGUF_OK;
    if (strcmp(type, "TemplateProcessing") == 0) return read_template(im, processor, frame);
    if (strcmp(type, "BertProcessing") == 0 || strcmp(type, "RobertaProcessing") == 0)
        return read_pair(im, processor, frame);
    if (strcmp(type, "Sequence") == 0 && depth < 8) {
        for (size_t i = 0; !code && i < json_array_size(list); i++)
            code = read_processor(im, json_array_get(list, i), frame, depth + 1);
        return code;
    }
    if (!type[0] || strcmp(type, "ByteLevel") == 0) return GGUF_OK;
    return rt_vocab_fail(im, GGUF_E_UNSUPPORTED, "post-processor type '%s'", type);
}

gguf_code rt_vocab_read_frame(rt_vocab *im, rt_frame *frame) {
    rt_vocab_path(im, "tokenizer.json");
    return read_processor(im, json_object_get(im->files[RT_FILE_TOKENIZER], "post_processor"),
                          frame, 0);
}

/* Whether something stands between two texts of a pair, and whether that is a separator. */
static answer separator_answer(const rt_vocab *im, const specials *sp) {
    const json_t *processor = json_object_get(im->files[RT_FILE_TOKENIZER], "post_processor");
    const json_t *list = json_object_get(processor, "processors");
    for (size_t i = 0; i < json_array_size(list); i++)
        if (json_object_get(json_array_get(list, i), "pair")) processor = json_array_get(list, i);
    const json_t *pair = json_object_get(processor, "pair");
    size_t i, first = SIZE_MAX, last = SIZE_MAX;
    json_t *item;
    if (strcmp(rt_spec_text(processor, "type", ""), "RobertaProcessing") == 0) return ANSWER_YES;
    json_array_foreach(pair, i, item) {
        if (!json_object_get(item, "Sequence")) continue;
        if (first == SIZE_MAX)
            first = i;
        else
            last = i;
    }
    if (last == SIZE_MAX || last == first + 1) return ANSWER_UNKNOWN;
    const char *name =
        rt_spec_text(json_object_get(json_array_get(pair, first + 1), "SpecialToken"), "id", "");
    int32_t id = rt_vocab_find(im, gguf_str_of(name));
    bool separates =
        id >= 0 && (id == sp->ids[RT_SPECIAL_SEPARATOR] || id == sp->ids[RT_SPECIAL_EOS]);
    return (separates && !sp->frame.n_suffix) || last > first + 2 ? ANSWER_YES : ANSWER_NO;
}

/* Say the frame in terms of bos and eos. */
static void explain_frame(const rt_vocab *im, specials *sp) {
    const rt_frame *frame = &sp->frame;
    int32_t *bos = &sp->ids[RT_SPECIAL_BOS], *eos = &sp->ids[RT_SPECIAL_EOS];
    bool no_config = !im->files[RT_FILE_TOKENIZER_CONFIG];
    if (frame->n_prefix) {
        if (no_config) *bos = frame->prefix[0];
        sp->add_bos = frame->prefix[0] == *bos ? ANSWER_YES : ANSWER_NO;
    } else if ((im->known && im->known->add_bos) || (im->kind == RT_MODEL_BPE && !im->byte_level)) {
        sp->add_bos = ANSWER_NO; /* readers would take it for granted */
    }
    if (frame->n_suffix) {
        int32_t last = frame->suffix[frame->n_suffix - 1];
        if (*eos >= 0 && last != *eos && sp->ids[RT_SPECIAL_EOT] < 0)
            sp->ids[RT_SPECIAL_EOT] = *eos;
        *eos = last;
        sp->add_eos = ANSWER_YES;
    } else if (im->kind == RT_MODEL_UNIGRAM) {
        sp->add_eos = ANSWER_NO;
    }
    sp->add_sep = separator_answer(im, sp);
}

/* add_bos_token and add_eos_token of tokenizer_config.json overrule the post-processor. */
static void apply_setting(const rt_vocab *im, const char *key, int32_t id, answer *out,
                          int32_t *ids, size_t *n) {
    const json_t *value = json_object_get(im->files[RT_FILE_TOKENIZER_CONFIG], key);
    if (!json_is_boolean(value)) return;
    *out = json_is_true(value) ? ANSWER_YES : ANSWER_NO;
    if (json_is_true(value) && id >= 0 && !*n) ids[(*n)++] = id;
    if (json_is_false(value) && *n == 1 && ids[0] == id) *n = 0;
}

static void apply_settings(const rt_vocab *im, specials *sp) {
    rt_frame *frame = &sp->frame;
    size_t none = 16;
    apply_setting(im, "add_bos_token", sp->ids[RT_SPECIAL_BOS], &sp->add_bos, frame->prefix,
                  &frame->n_prefix);
    apply_setting(im, "add_eos_token", sp->ids[RT_SPECIAL_EOS], &sp->add_eos, frame->suffix,
                  &frame->n_suffix);
    apply_setting(im, "add_sep_token", -1, &sp->add_sep, NULL, &none);
}

/* Whether bos and eos alone make the frame, as a reader understands the standard keys. */
static bool is_explained(const rt_vocab *im, const specials *sp, bool behind) {
    const rt_frame *frame = &sp->frame;
    size_t n = behind ? frame->n_suffix : frame->n_prefix;
    const int32_t *ids = behind ? frame->suffix : frame->prefix;
    int32_t id = sp->ids[behind ? RT_SPECIAL_EOS : RT_SPECIAL_BOS];
    if (im->kind == RT_MODEL_WORDPIECE) {
        if (behind) id = sp->ids[RT_SPECIAL_SEPARATOR];
        return n == 1 && ids[0] == id;
    }
    bool adds = (behind ? sp->add_eos : sp->add_bos) == ANSWER_YES;
    return adds && id >= 0 ? n == 1 && ids[0] == id : n == 0;
}

/* ---- writing ----------------------------------------------------------------------------- */

static void write_answer(rt_vocab *im, const char *key, answer value) {
    if (value != ANSWER_UNKNOWN) gguf_meta_set_bool(im->meta, key, value == ANSWER_YES);
}

static void write_bert_keys(rt_vocab *im) {
    const json_t *normalizer = json_object_get(im->files[RT_FILE_TOKENIZER], "normalizer");
    const json_t *lower = json_object_get(normalizer, "lowercase"),
                 *strip = json_object_get(normalizer, "strip_accents");
    if (im->kind != RT_MODEL_WORDPIECE ||
        strcmp(rt_spec_text(normalizer, "type", ""), "BertNormalizer") != 0)
        return;
    if (json_is_boolean(lower))
        gguf_meta_set_bool(im->meta, "tokenizer.ggml.normalizer.lowercase", json_is_true(lower));
    if (json_is_boolean(strip))
        gguf_meta_set_bool(im->meta, "tokenizer.ggml.normalizer.strip_accents",
                           json_is_true(strip));
}

static void write_specials(rt_vocab *im, const specials *sp) {
    char key[64];
    for (size_t i = 0; i < N_NAMES; i++) {
        int32_t id = sp->ids[special_names[i].which];
        snprintf(key, sizeof key, "tokenizer.ggml.%s_token_id", special_names[i].key);
        if (id >= 0) gguf_meta_set_u32(im->meta, key, (uint32_t)id);
    }
    write_answer(im, "tokenizer.ggml.add_bos_token", sp->add_bos);
    write_answer(im, "tokenizer.ggml.add_eos_token", sp->add_eos);
    write_answer(im, "tokenizer.ggml.add_sep_token", sp->add_sep);
    write_bert_keys(im);
}

static void write_frame(rt_vocab *im, const specials *sp) {
    const rt_frame *frame = &sp->frame;
    if (!frame->known) return;
    if (!is_explained(im, sp, false))
        gguf_meta_set_array(im->meta, "tokenizer.ggufkit.prefix_ids", GGUF_VALUE_I32,
                            frame->n_prefix, frame->prefix);
    if (!is_explained(im, sp, true))
        gguf_meta_set_array(im->meta, "tokenizer.ggufkit.suffix_ids", GGUF_VALUE_I32,
                            frame->n_suffix, frame->suffix);
}

static void add_end(const rt_vocab *im, const json_t *value, uint32_t *ids, size_t *n, size_t max) {
    uint64_t id;
    if (!gguf_json_u64(value, &id) || id >= im->n) return;
    for (size_t i = 0; i < *n; i++)
        if (ids[i] == id) return;
    if (*n < max) ids[(*n)++] = (uint32_t)id;
}

/* A generation may end at several tokens; the standard key has room for one. */
static void write_ends(rt_vocab *im, const specials *sp) {
    static const rt_vocab_file files[] = {RT_FILE_GENERATION_CONFIG, RT_FILE_CONFIG};
    uint32_t ids[256];
    size_t n = 0;
    if (sp->ids[RT_SPECIAL_EOS] >= 0) ids[n++] = (uint32_t)sp->ids[RT_SPECIAL_EOS];
    for (size_t f = 0; f < 2; f++) {
        const json_t *value = json_object_get(im->files[files[f]], "eos_token_id");
        if (!json_is_array(value)) add_end(im, value, ids, &n, 256);
        for (size_t i = 0; i < json_array_size(value); i++)
            add_end(im, json_array_get(value, i), ids, &n, 256);
    }
    if (n > 1) gguf_meta_set_array(im->meta, "tokenizer.ggufkit.end_ids", GGUF_VALUE_U32, n, ids);
}

static void write_space_keys(rt_vocab *im) {
    const json_t *config = im->files[RT_FILE_TOKENIZER_CONFIG];
    bool spm = im->kind == RT_MODEL_SPM || (im->kind == RT_MODEL_BPE && !im->byte_level);
    if (spm && !im->add_dummy_prefix)
        gguf_meta_set_bool(im->meta, "tokenizer.ggml.add_space_prefix", false);
    if (im->kind == RT_MODEL_SPM && im->add_dummy_prefix &&
        json_is_false(json_object_get(config, "legacy")))
        gguf_meta_set_bool(im->meta, "tokenizer.ggufkit.space_after_special", false);
}

gguf_code rt_vocab_read_special(rt_vocab *im) {
    specials sp = {0};
    gguf_code code = GGUF_OK;
    find_ids(im, &sp);
    find_cls_and_sep(im, &sp);
    if (!im->is_sentencepiece) {
        if ((code = rt_vocab_read_frame(im, &sp.frame))) return code;
        explain_frame(im, &sp);
        sp.frame.known = true;
    }
    apply_settings(im, &sp);
    write_specials(im, &sp);
    if ((code = rt_vocab_read_templates(im))) return code;
    write_space_keys(im);
    write_frame(im, &sp);
    write_ends(im, &sp);
    return GGUF_OK;
}
