/* Tokenizers: text to token ids and back.
 *
 * The vocabulary travels as GGUF metadata: rt_vocab_import makes it from the files of a Hugging
 * Face folder, rt_tokenizer_new builds a tokenizer from it, be the file ours or llama.cpp's. What
 * the standard keys cannot say is kept under tokenizer.ggufkit.*: pre_tokenizer    string  the
 * pre-tokenizer as JSON, where tokenizer.ggml.pre has no name for it normalizer       string  the
 * normaliser as JSON ignore_merges    bool    where the model differs from what its pre-tokenizer's
 * name implies merges           u32[]   pairs of ids in order of rank, for BPE over characters
 *   fuse_unknown     bool    neighbouring unknown characters make one token
 *   byte_fallback    bool    unknown characters become the tokens of their bytes
 *   max_word_chars   u32     longer words are unknown to WordPiece, if not 100
 *   added_ids, added_flags  u32[]  added tokens and RT_ADDED_* of each, where any has flags
 *   user_defined     u32[]   pieces of a SentencePiece model that are never taken apart
 *   prefix_ids, suffix_ids  i32[]  the special tokens around a text, where bos and eos do not say
 * it end_ids          u32[]   all tokens that end a generation, where there are more than eos
 *   space_after_special bool false: SentencePiece's space prefix comes once, not after special
 * tokens
 */
#ifndef RUNTIME_TOKENIZER_TOKENIZER_H
#define RUNTIME_TOKENIZER_TOKENIZER_H

#include "libgguf/gguf.h"
#include "libgguf/map.h"

/* ---- importing ----------------------------------------------------------------------------------
 */

/* What an import found. Start as {0}; clear frees. */
typedef struct rt_vocab_report {
    char model[16];
    char pre[32]; /* "ggufkit" if no name is known for the expressions */
    uint32_t n_tokens;
    char **warnings;
    size_t n_warnings;
} rt_vocab_report;

void rt_vocab_report_clear(rt_vocab_report *report);

/* Read the tokenizer of a Hugging Face folder and set the tokenizer.* keys.
 *   folder          holds tokenizer.model or tokenizer.json; also read, if present:
 *                   tokenizer_config.json, special_tokens_map.json, added_tokens.json,
 *                   generation_config.json, config.json, chat_template.jinja, chat_template.json,
 *                   additional_chat_templates/
 *   n_vocab_config  rows of the embedding; ids without a text up to it are filled; 0 = unknown
 * Errors, with the file and, in tokenizer.model, the byte: GGUF_E_MISSING no tokenizer,
 * GGUF_E_IO, GGUF_E_FORMAT, GGUF_E_DUPLICATE, GGUF_E_TRUNCATED, GGUF_E_LIMIT, GGUF_E_UNSUPPORTED,
 * GGUF_E_NOMEM. After an error `meta` may hold some of the keys. */
gguf_code rt_vocab_import(const char *folder, uint32_t n_vocab_config, gguf_meta *meta,
                          rt_vocab_report *report, gguf_error *err);

/* The same for a folder whose files are in memory. Templates in additional_chat_templates are not
 * looked for. */
gguf_code rt_vocab_import_memory(const gguf_memory_file *files, size_t n_files,
                                 uint32_t n_vocab_config, gguf_meta *meta, rt_vocab_report *report,
                                 gguf_error *err);

/* ---- tokenizing ---------------------------------------------------------------------------------
 */

typedef struct rt_tokenizer rt_tokenizer;

/* Build from metadata; nothing of it is kept.
 * Errors: GGUF_E_MISSING, GGUF_E_TYPE, GGUF_E_FORMAT, GGUF_E_DUPLICATE, GGUF_E_LIMIT,
 * GGUF_E_UNSUPPORTED (tokenizer.ggml.model or .pre is not known), GGUF_E_NOMEM.
 * Threads: a tokenizer may be used from several threads. */
gguf_code rt_tokenizer_new(const gguf_meta *meta, rt_tokenizer **out, gguf_error *err);
void rt_tokenizer_free(rt_tokenizer *tok); /* accepts NULL */

/* Start as {0}; clear frees. */
typedef struct rt_ids {
    int32_t *data;
    size_t n, room;
} rt_ids;

void rt_ids_clear(rt_ids *ids);
/* Room for n more; false when out of memory. */
bool rt_ids_reserve(rt_ids *ids, size_t n);

typedef enum rt_tokenize_flags {
    RT_TOKENIZE_ADD_SPECIAL = 1,  /* what the tokenizer itself puts around a text, such as bos */
    RT_TOKENIZE_PARSE_SPECIAL = 2 /* special tokens written in the text are recognised */
} rt_tokenize_flags;

/* Append the ids of a text; bytes that are not UTF-8 count as U+FFFD. Text that no token covers is
 * left out if the vocabulary has no unknown token.
 * Errors: GGUF_E_LIMIT (too long, an expression that backtracks too much), GGUF_E_NOMEM. */
gguf_code rt_tokenize(const rt_tokenizer *tok, const char *text, size_t len, unsigned flags,
                      rt_ids *out, gguf_error *err);
/* Append the ids of two texts that a model reads together, such as a question and a document: what
 * the tokenizer puts around a text, around each, except that the second has no bos: in its place
 * RoBERTa's kind repeats what ends the first (<s> a </s></s> b </s>), BERT's has nothing ([CLS] a
 * [SEP] b [SEP]). Errors: those of rt_tokenize. */
gguf_code rt_tokenize_pair(const rt_tokenizer *tok, const char *first, size_t n_first,
                           const char *second, size_t n_second, rt_ids *out, gguf_error *err);

/* ---- back to text -------------------------------------------------------------------------------
 */

/* Whether the texts of the last of [n] tokens end with this one. */
bool rt_tokens_end_with(const rt_tokenizer *tok, const int32_t *ids, size_t n, gguf_str text);

/* The bytes that a token stands for in running text; a character may be spread over several tokens.
 * Empty if the id is out of range. Valid as long as the tokenizer. */
gguf_str rt_token_text(const rt_tokenizer *tok, int32_t id);

/* The token as the vocabulary spells it. */
gguf_str rt_token_piece(const rt_tokenizer *tok, int32_t id);

/* True for tokens that are no text: control and unknown. */
bool rt_token_is_special(const rt_tokenizer *tok, int32_t id);

/* Join tokens; the space that the tokenizer put before the text is taken away.
 *   skip_special  leave out special tokens
 *   out, len      *out is malloc'ed with a NUL behind its end; the caller frees it
 * Errors: GGUF_E_NOMEM. */
gguf_code rt_detokenize(const rt_tokenizer *tok, const int32_t *ids, size_t n, bool skip_special,
                        char **out, size_t *len, gguf_error *err);

/* ---- facts ------------------------------------------------------------------------------- */

typedef enum rt_special {
    RT_SPECIAL_BOS,
    RT_SPECIAL_EOS,
    RT_SPECIAL_EOT,
    RT_SPECIAL_EOM,
    RT_SPECIAL_UNKNOWN,
    RT_SPECIAL_SEPARATOR,
    RT_SPECIAL_PADDING,
    RT_SPECIAL_MASK,
    RT_N_SPECIAL
} rt_special;

size_t rt_tokenizer_n_tokens(const rt_tokenizer *tok);
int32_t rt_tokenizer_special(const rt_tokenizer *tok, rt_special which); /* -1 = none */
bool rt_tokenizer_adds_bos(const rt_tokenizer *tok);
bool rt_tokenizer_is_end(const rt_tokenizer *tok, int32_t id); /* a generation stops here */
/* The id of a token by its text in running text or its spelling; -1 if there is none. */
int32_t rt_tokenizer_find(const rt_tokenizer *tok, gguf_str text);

#endif
