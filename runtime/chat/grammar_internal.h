/* The automaton of a grammar. */
#ifndef RUNTIME_CHAT_GRAMMAR_INTERNAL_H
#define RUNTIME_CHAT_GRAMMAR_INTERNAL_H

#include "runtime/chat/grammar.h"

#include <pthread.h>
#include <stdatomic.h>

typedef enum rt_state_kind {
    RT_STATE_NEVER,
    RT_STATE_BYTE,  /* a byte from lo to hi, then a */
    RT_STATE_SPLIT, /* a or b */
    RT_STATE_CALL,  /* the rule that starts at b, then a */
    RT_STATE_RETURN /* the end of a rule */
} rt_state_kind;

typedef struct rt_state {
    uint8_t kind, lo, hi;
    uint32_t a, b;
} rt_state;

/* Sets of configurations, each a state and a stack, made as texts reach them. */
typedef struct rt_follow rt_follow;

struct rt_grammar {
    rt_state *states;
    size_t n_states;
    uint32_t start;
    char *marks;          /* special tokens within this text may spell it; or NULL */
    char *opening;        /* a prompt may end in this beginning of the text; or NULL */
    bool in_channels;     /* of whole answers (grammar_channels.h) */
    bool needs_call;      /* which are calls of tools */
    rt_grammar *wrapped;  /* this one in the final channel; made once, under the lock */
    uint8_t classes[256]; /* bytes that no state tells apart */
    unsigned n_classes;
    uint8_t samples[256]; /* a byte of each class */
    atomic_int n_refs;
    pthread_mutex_t lock; /* of follow */
    rt_follow *follow;
};

/* Work out the classes anew. */
void rt_grammar_classes(rt_grammar *g);

void rt_follow_free(rt_follow *f); /* accepts NULL */

#endif
