/* The text of an answer, divided into what the model thinks and what it says. Reasoning stands in
 * channels (channels.h), or at the beginning of the answer between two markers such as <think> and
 * </think>, which are special tokens in some models and plain text in others. */
#ifndef RUNTIME_CHAT_ANSWER_TEXT_H
#define RUNTIME_CHAT_ANSWER_TEXT_H

#include "runtime/chat/channels.h"
#include "runtime/chat/text_stream.h"
#include "runtime/tokenizer/tokenizer.h"

/* Around the reasoning; those of a model are in the table of tools.h. */
#define RT_MAX_DROP 4
typedef struct rt_reasoning_markers {
    const char *open, *close;      /* NULL: the model has none */
    const char *drop[RT_MAX_DROP]; /* [n_drop] texts around what it says that are not part of it */
    size_t n_drop;
} rt_reasoning_markers;

/* Whether a prompt leaves the reasoning open: the answer begins inside. */
bool rt_reasoning_is_open(const rt_reasoning_markers *markers, gguf_str prompt);

typedef struct rt_answer_text_opts {
    rt_reasoning_markers markers;
    bool split;        /* reasoning is kept apart; otherwise the markers stay in the text */
    bool inside;       /* the answer begins inside the reasoning */
    bool trim;         /* no spaces at the start of the text */
    bool show_special; /* special tokens are part of the text, which is not divided */
    gguf_str marks;    /* special tokens within this text are text: those of calls */
    bool call_channel; /* calls in channels are text, with their headers (tools.h) */
    bool goes_on;      /* the prompt began what comes first: spaces at its start are part of it */
    rt_channels channels;     /* where the answer begins in them */
    const char *const *stops; /* [n_stops], not empty; they end what the model says */
    size_t n_stops;
} rt_answer_text_opts;

typedef enum rt_answer_state {
    RT_ANSWER_BEGINS,
    RT_ANSWER_THINKS,
    RT_ANSWER_THOUGHT, /* white space before the text */
    RT_ANSWER_SPEAKS
} rt_answer_state;

typedef struct rt_answer_text {
    rt_text_stream said, thought;
    rt_answer_text_opts opts;
    rt_answer_state state;
    rt_channels channels;
    rt_text_stream whole;  /* characters before they are divided */
    gguf_dynbuf undecided; /* of them those that may belong to a marker */
    bool ended;
} rt_answer_text;

/* Where an answer to a prompt begins in channels. In the header of a message it does so only where
 * it is held to that, with call_channel. */
void rt_answer_text_follow(rt_answer_text_opts *opts, const rt_tokenizer *tok,
                           const int32_t *prompt, size_t n);

/* opts->stops are kept by the caller until the end. Clear frees. */
void rt_answer_text_init(rt_answer_text *t, const rt_answer_text_opts *opts);
void rt_answer_text_clear(rt_answer_text *t);

void rt_answer_text_add(rt_answer_text *t, const rt_tokenizer *tok, int32_t id);
/* The same with text, which may end within a character. */
void rt_answer_text_put(rt_answer_text *t, gguf_str text);
/* No more tokens come. */
void rt_answer_text_end(rt_answer_text *t);

/* What is new and cannot be taken back; valid until the next call. */
gguf_str rt_answer_text_take_thought(rt_answer_text *t);
gguf_str rt_answer_text_take_said(rt_answer_text *t);

/* The marker that the answer may begin with; NULL: it is not divided, or has begun. */
const char *rt_answer_text_opens(const rt_answer_text *t);
/* What comes next belongs to the reasoning. */
bool rt_answer_text_thinks(const rt_answer_text *t);
/* A stop text came. */
bool rt_answer_text_stopped(const rt_answer_text *t);
/* Text was lost: GGUF_E_NOMEM. */
gguf_code rt_answer_text_code(const rt_answer_text *t);

#endif
