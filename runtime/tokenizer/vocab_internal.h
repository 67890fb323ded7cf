/* One import of a tokenizer folder, shared by the vocab_*.c files. */
#ifndef RUNTIME_TOKENIZER_VOCAB_INTERNAL_H
#define RUNTIME_TOKENIZER_VOCAB_INTERNAL_H

#include "libgguf/json.h"
#include "runtime/tokenizer/tokenizer_internal.h"

/* Ids without a text; filling them takes time but no other path. */
#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
#define RT_MAX_HOLES (1u << 8)
#else
#define RT_MAX_HOLES (1u << 20)
#endif

/* Files of the folder that are JSON objects; NULL if absent. */
typedef enum rt_vocab_file {
    RT_FILE_TOKENIZER,         /* tokenizer.json */
    RT_FILE_TOKENIZER_CONFIG,  /* tokenizer_config.json */
    RT_FILE_SPECIAL_TOKENS,    /* special_tokens_map.json */
    RT_FILE_ADDED_TOKENS,      /* added_tokens.json */
    RT_FILE_GENERATION_CONFIG, /* generation_config.json */
    RT_FILE_CONFIG,            /* config.json */
    RT_N_FILES
} rt_vocab_file;

/* The tokens around a text. */
typedef struct rt_frame {
    int32_t prefix[16], suffix[16];
    size_t n_prefix, n_suffix;
    bool known; /* the tokenizer states it */
} rt_frame;

#define RT_MAX_BEYOND 64

typedef struct rt_vocab {
    const char *folder;             /* NULL: the files are in memory */
    const gguf_memory_file *memory; /* [n_memory] */
    size_t n_memory;
    uint32_t n_vocab_config;
    gguf_meta *meta;
    rt_vocab_report *report;
    gguf_error *err;
    json_t *files[RT_N_FILES];
    char path[4096];   /* of the file that is read */
    char *model_bytes; /* tokenizer.model */
    size_t model_n_bytes;

    /* the vocabulary; a text whose ptr is NULL is a hole */
    gguf_str *texts;
    float *scores;
    int32_t *types;
    uint8_t *flags; /* RT_ADDED_*, with RT_ADDED_LISTED for added tokens */
    uint8_t *user_defined;
    uint32_t n;
    /* added tokens that have no row in the embedding and are left out, the first of them */
    gguf_str beyond[RT_MAX_BEYOND];
    size_t n_beyond;
    uint64_t last_beyond;
    char *arena; /* texts that are in none of the files */
    size_t arena_used, arena_room;
    gguf_index by_text;

    rt_model_kind kind;
    bool has_scores, byte_level, add_dummy_prefix, remove_extra_spaces, is_sentencepiece;
    int32_t model_ids[RT_N_SPECIAL]; /* as tokenizer.model says, or -1 */
    gguf_str charsmap;
    const rt_known_pre *known;
} rt_vocab;

/* Write the path of a file of the folder to im->path. */
gguf_code rt_vocab_path(rt_vocab *im, const char *name);
bool rt_vocab_exists(rt_vocab *im, const char *name); /* sets the path too */
/* Read the file that rt_vocab_exists was just asked for; `text` is malloc'ed with a NUL behind its
 * end, `json` the caller's reference. */
gguf_code rt_vocab_load_text(rt_vocab *im, size_t max_bytes, char **text, size_t *n_bytes);
gguf_code rt_vocab_load_json(rt_vocab *im, json_t **json);
gguf_code rt_vocab_fail(rt_vocab *im, gguf_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
gguf_code rt_vocab_no_memory(rt_vocab *im);
void rt_vocab_warn(rt_vocab *im, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Room for ids 0 ... n - 1, of which n_texts have a text of together text_bytes bytes.
 * Errors: GGUF_E_LIMIT (too many holes), GGUF_E_NOMEM. */
gguf_code rt_vocab_reserve(rt_vocab *im, uint64_t n, uint64_t n_texts, uint64_t text_bytes);
/* Errors: GGUF_E_FORMAT (id out of range), GGUF_E_DUPLICATE (it has another text). */
gguf_code rt_vocab_token(rt_vocab *im, uint64_t id, gguf_str text, rt_token_type type, float score);
/* Whether an added token has no row in the embedding. The model cannot read it, and readers refuse
 * a file with more tokens than rows: it is left out. */
bool rt_vocab_is_beyond(const rt_vocab *im, uint64_t id);
void rt_vocab_leave_out(rt_vocab *im, uint64_t id, gguf_str text);
/* A copy in the arena with a prefix; the room was reserved. */
gguf_str rt_vocab_text(rt_vocab *im, const char *prefix, gguf_str text);
/* Fill the holes and index the texts. Errors: GGUF_E_DUPLICATE, GGUF_E_NOMEM. */
gguf_code rt_vocab_finish_tokens(rt_vocab *im);
int32_t rt_vocab_find(const rt_vocab *im, gguf_str text); /* or -1 */
gguf_str rt_json_str(const json_t *value);                /* of a JSON string */
bool rt_vocab_looks_special(gguf_str text);

/* The models; each sets tokenizer.ggml.model up to and including the merges. */
gguf_code rt_vocab_read_json(rt_vocab *im);
gguf_code rt_vocab_read_spm(rt_vocab *im);
void rt_vocab_write_tokens(rt_vocab *im, const char *model, const char *pre);

/* Ids of special tokens, what is added around a text, chat templates, ends of a generation. */
gguf_code rt_vocab_read_special(rt_vocab *im);
gguf_code rt_vocab_read_frame(rt_vocab *im, rt_frame *frame); /* from tokenizer.json */
gguf_code rt_vocab_read_templates(rt_vocab *im);

#endif
