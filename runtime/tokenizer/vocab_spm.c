/* Importing tokenizer.model: SentencePiece's ModelProto in protobuf. */
#include "libgguf/cursor.h"
#include "runtime/tokenizer/vocab_internal.h"

#include <stdlib.h>
#include <string.h>

enum { MODEL_UNIGRAM = 1, MODEL_BPE = 2 };
enum { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

/* ---- protobuf ---------------------------------------------------------------------------- */

typedef struct field {
    uint32_t number;
    uint32_t wire;
    uint64_t value;      /* of varints and fixed sizes */
    const uint8_t *data; /* of bytes */
    uint64_t off;        /* where the field starts */
} field;

static uint64_t read_varint(gguf_cursor *c) {
    uint64_t value = 0, start = c->pos;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        const uint8_t *byte = gguf_cursor_take(c, 1, "a number");
        if (!byte) return 0;
        value |= (uint64_t)(*byte & 0x7F) << shift;
        if (!(*byte & 0x80)) return value;
    }
    gguf_cursor_fail(c, GGUF_E_FORMAT, start, "a number is longer than 10 bytes");
    return 0;
}

/* The next field; false at the end or after a failure. */
static bool next_field(gguf_cursor *c, field *f) {
    if (!gguf_cursor_left(c)) return false;
    f->off = c->pos;
    uint64_t tag = read_varint(c);
    *f = (field){(uint32_t)(tag >> 3), tag & 7, 0, NULL, f->off};
    switch (f->wire) {
    case WIRE_VARINT:
        f->value = read_varint(c);
        break;
    case WIRE_64:
        f->value = gguf_cursor_u64(c, "a field");
        break;
    case WIRE_32:
        f->value = gguf_cursor_u32(c, "a field");
        break;
    case WIRE_BYTES:
        f->value = read_varint(c);
        if (!c->code) f->data = gguf_cursor_take(c, f->value, "a field");
        break;
    default:
        gguf_cursor_fail(c, GGUF_E_FORMAT, f->off, "field of unknown kind %u", f->wire);
    }
    if (!c->code && !f->number) gguf_cursor_fail(c, GGUF_E_FORMAT, f->off, "field number 0");
    return !c->code;
}

/* A cursor over the bytes of a message field; positions stay those of the file. */
static gguf_cursor message(const gguf_cursor *outer, const field *f) {
    gguf_cursor c = *outer;
    c.pos = (uint64_t)(f->data - outer->base);
    c.len = c.pos + f->value;
    return c;
}

static gguf_code expect_wire(gguf_cursor *c, const field *f, uint32_t wire) {
    if (f->wire == wire) return GGUF_OK;
    return gguf_cursor_fail(c, GGUF_E_FORMAT, f->off, "field %u is of kind %u instead of %u",
                            f->number, f->wire, wire);
}

/* ---- messages ---------------------------------------------------------------------------- */

typedef struct piece {
    gguf_str text;
    float score;
    uint32_t type;
} piece;

typedef struct model {
    uint64_t n_pieces, text_bytes;
    bool has_trainer, has_normalizer;
    uint64_t model_type;
    int32_t unk_id, bos_id, eos_id, pad_id;
    bool suffix, escape;
} model;

static void read_piece(gguf_cursor *outer, const field *message_field, piece *p) {
    gguf_cursor c = message(outer, message_field);
    field f;
    *p = (piece){{"", 0}, 0, RT_TOKEN_NORMAL};
    while (next_field(&c, &f)) {
        uint32_t bits = (uint32_t)f.value;
        if (f.number == 1 && !expect_wire(&c, &f, WIRE_BYTES))
            p->text = (gguf_str){(const char *)f.data, f.value};
        if (f.number == 2 && !expect_wire(&c, &f, WIRE_32)) memcpy(&p->score, &bits, 4);
        if (f.number == 3 && !expect_wire(&c, &f, WIRE_VARINT)) p->type = bits;
    }
    if (!c.code && (p->type < RT_TOKEN_NORMAL || p->type > RT_TOKEN_BYTE))
        gguf_cursor_fail(&c, GGUF_E_FORMAT, message_field->off, "piece of unknown type %u",
                         p->type);
    if (!c.code && p->score != p->score)
        gguf_cursor_fail(&c, GGUF_E_NONFINITE, message_field->off, "piece with the score NaN");
    outer->code = c.code;
}

static void read_trainer(gguf_cursor *outer, const field *message_field, model *m) {
    gguf_cursor c = message(outer, message_field);
    field f;
    m->has_trainer = true;
    while (next_field(&c, &f)) {
        if (f.wire != WIRE_VARINT) continue;
        if (f.number == 3) m->model_type = f.value;
        if (f.number == 24) m->suffix = f.value;
        if (f.number == 40) m->unk_id = (int32_t)f.value;
        if (f.number == 41) m->bos_id = (int32_t)f.value;
        if (f.number == 42) m->eos_id = (int32_t)f.value;
        if (f.number == 43) m->pad_id = (int32_t)f.value;
    }
    outer->code = c.code;
}

static void read_normalizer(rt_vocab *im, gguf_cursor *outer, const field *message_field,
                            model *m) {
    gguf_cursor c = message(outer, message_field);
    field f;
    m->has_normalizer = true;
    while (next_field(&c, &f)) {
        if (f.number == 2 && !expect_wire(&c, &f, WIRE_BYTES))
            im->charsmap = (gguf_str){(const char *)f.data, f.value};
        if (f.number == 3) im->add_dummy_prefix = f.value;
        if (f.number == 4) im->remove_extra_spaces = f.value;
        if (f.number == 5) m->escape = f.value;
    }
    outer->code = c.code;
}

static gguf_cursor whole_file(const rt_vocab *im) {
    return (gguf_cursor){.base = (const uint8_t *)im->model_bytes,
                         .len = im->model_n_bytes,
                         .file = im->path,
                         .err = im->err};
}

/* The first pass: count pieces, read the other messages. */
static gguf_code read_model(rt_vocab *im, model *m) {
    gguf_cursor c = whole_file(im);
    field f;
    piece p;
    while (next_field(&c, &f)) {
        if (f.number > 3) continue;
        if (expect_wire(&c, &f, WIRE_BYTES)) break;
        if (f.number == 2) read_trainer(&c, &f, m);
        if (f.number == 3) read_normalizer(im, &c, &f, m);
        if (f.number != 1) continue;
        read_piece(&c, &f, &p);
        m->n_pieces++;
        m->text_bytes += p.text.len;
    }
    if (!c.code && !m->n_pieces)
        gguf_cursor_fail(&c, GGUF_E_TRUNCATED, c.pos, "the model holds no pieces");
    if (!c.code && !m->has_trainer)
        gguf_cursor_fail(&c, GGUF_E_TRUNCATED, c.pos, "the model ends before its trainer_spec");
    if (!c.code && !m->has_normalizer)
        gguf_cursor_fail(&c, GGUF_E_TRUNCATED, c.pos, "the model ends before its normalizer_spec");
    return c.code;
}

static gguf_code add_pieces(rt_vocab *im) {
    gguf_cursor c = whole_file(im);
    field f;
    piece p;
    uint32_t id = 0;
    gguf_code code = GGUF_OK;
    while (!code && next_field(&c, &f)) {
        if (f.number != 1) continue;
        read_piece(&c, &f, &p);
        /* llama.cpp's files say "normal" of user-defined pieces; a key of ours lists them */
        im->user_defined[id] = p.type == RT_TOKEN_USER_DEFINED;
        rt_token_type type = im->user_defined[id] ? RT_TOKEN_NORMAL : (rt_token_type)p.type;
        code = rt_vocab_token(im, id++, p.text, type, p.score);
    }
    return code;
}

/* ---- tokens added beside the model ------------------------------------------------------- */

/* An entry of tokenizer_config.json or added_tokens.json; it replaces the piece of its number. */
static gguf_code add_token(rt_vocab *im, uint64_t id, gguf_str text, bool special) {
    bool control = special || rt_vocab_looks_special(text);
    if (id >= im->n)
        return rt_vocab_fail(im, GGUF_E_FORMAT, "added token %llu is out of range",
                             (unsigned long long)id);
    im->texts[id].ptr = NULL;
    im->user_defined[id] = false;
    gguf_code code =
        rt_vocab_token(im, id, text, control ? RT_TOKEN_CONTROL : RT_TOKEN_USER_DEFINED, -1000.0f);
    if (code || control) return code;
    char *at = im->arena + im->arena_used; /* what is looked for in the text has plain spaces */
    size_t n = 0;
    for (size_t i = 0; i < text.len; n++) {
        bool space = text.len - i >= 3 && memcmp(text.ptr + i, RT_META_SPACE, 3) == 0;
        at[n] = space ? ' ' : text.ptr[i];
        i += space ? 3 : 1;
    }
    im->arena_used += n;
    im->texts[id] = (gguf_str){at, n};
    return GGUF_OK;
}

typedef gguf_code (*added_fn)(rt_vocab *im, uint64_t id, gguf_str text, bool special, void *ctx);

/* Visit the added tokens of both files. */
static gguf_code each_added(rt_vocab *im, added_fn fn, void *ctx) {
    const char *key;
    json_t *value,
        *list = json_object_get(im->files[RT_FILE_TOKENIZER_CONFIG], "added_tokens_decoder");
    uint64_t id;
    gguf_code code = GGUF_OK;
    json_object_foreach(im->files[RT_FILE_ADDED_TOKENS], key, value) {
        rt_vocab_path(im, "added_tokens.json");
        if (!gguf_json_u64(value, &id))
            return rt_vocab_fail(im, GGUF_E_FORMAT, "token '%s' without a number", key);
        if ((code = fn(im, id, gguf_str_of(key), false, ctx))) return code;
    }
    rt_vocab_path(im, "tokenizer_config.json");
    json_object_foreach(list, key, value) {
        char *end;
        const json_t *content = json_object_get(value, "content");
        id = strtoull(key, &end, 10);
        if (*end || end == key || !json_is_string(content))
            return rt_vocab_fail(im, GGUF_E_FORMAT,
                                 "added token '%.50s' without a number or a text", key);
        code =
            fn(im, id, rt_json_str(content), json_is_true(json_object_get(value, "special")), ctx);
        if (code) return code;
    }
    return code;
}

typedef struct added_size {
    uint64_t n, n_ids, text_bytes;
} added_size;

static gguf_code measure_added(rt_vocab *im, uint64_t id, gguf_str text, bool special, void *ctx) {
    added_size *size = ctx;
    (void)special;
    if (rt_vocab_is_beyond(im, id)) return GGUF_OK;
    size->n++;
    size->text_bytes += text.len;
    if (id >= size->n_ids && id < UINT32_MAX) size->n_ids = id + 1;
    return GGUF_OK;
}

static gguf_code put_added(rt_vocab *im, uint64_t id, gguf_str text, bool special, void *ctx) {
    (void)ctx;
    if (!rt_vocab_is_beyond(im, id)) return add_token(im, id, text, special);
    rt_vocab_leave_out(im, id, text);
    return GGUF_OK;
}

/* ---- the import -------------------------------------------------------------------------- */

static gguf_code check_supported(rt_vocab *im, const model *m) {
    if (m->model_type != MODEL_BPE && m->model_type != MODEL_UNIGRAM)
        return rt_vocab_fail(im, GGUF_E_UNSUPPORTED, "SentencePiece model type %llu",
                             (unsigned long long)m->model_type);
    if (m->suffix || !m->escape)
        return rt_vocab_fail(im, GGUF_E_UNSUPPORTED, "white space as a suffix, or not escaped");
    return GGUF_OK;
}

static void set_model_ids(rt_vocab *im, const model *m) {
    im->model_ids[RT_SPECIAL_UNKNOWN] = m->unk_id;
    im->model_ids[RT_SPECIAL_BOS] = m->bos_id;
    im->model_ids[RT_SPECIAL_EOS] = m->eos_id;
    im->model_ids[RT_SPECIAL_PADDING] = m->pad_id;
}

static void write_unigram_keys(rt_vocab *im) {
    if (im->kind == RT_MODEL_UNIGRAM)
        gguf_meta_set_bool(im->meta, "tokenizer.ggml.add_space_prefix", im->add_dummy_prefix);
    if (im->kind == RT_MODEL_UNIGRAM || im->remove_extra_spaces)
        gguf_meta_set_bool(im->meta, "tokenizer.ggml.remove_extra_whitespaces",
                           im->remove_extra_spaces);
    if (im->charsmap.len)
        gguf_meta_set_array(im->meta, "tokenizer.ggml.precompiled_charsmap", GGUF_VALUE_U8,
                            im->charsmap.len, im->charsmap.ptr);
}

gguf_code rt_vocab_read_spm(rt_vocab *im) {
    model m = {.model_type = MODEL_UNIGRAM, .bos_id = 1, .eos_id = 2, .pad_id = -1, .escape = true};
    added_size added = {0};
    im->add_dummy_prefix = im->remove_extra_spaces = im->has_scores = im->is_sentencepiece = true;
    rt_vocab_path(im, "tokenizer.model");
    gguf_code code = read_model(im, &m);
    if (!code) code = check_supported(im, &m);
    if (!code) code = each_added(im, measure_added, &added);
    rt_vocab_path(im, "tokenizer.model");
    if (!code)
        code = rt_vocab_reserve(im, added.n_ids > m.n_pieces ? added.n_ids : m.n_pieces,
                                m.n_pieces + added.n, m.text_bytes + added.text_bytes);
    if (!code) code = add_pieces(im);
    if (!code) code = each_added(im, put_added, NULL);
    rt_vocab_path(im, "tokenizer.model");
    if (!code) code = rt_vocab_finish_tokens(im);
    if (code) return code;
    im->kind = m.model_type == MODEL_BPE ? RT_MODEL_SPM : RT_MODEL_UNIGRAM;
    set_model_ids(im, &m);
    rt_vocab_write_tokens(im, im->kind == RT_MODEL_SPM ? "llama" : "t5", "default");
    write_unigram_keys(im);
    return GGUF_OK;
}
