/* Processes that share the work of one command, as a launcher (mpirun, srun) started them: ranks 0
 * to n - 1. A process that no launcher started is alone: its ranks are NULL, which every function
 * here takes. Others load the module that carries the ranks (ranks_ops.h).
 *
 * Collective functions are called by all ranks in the same order. A rank that failed passes its
 * failure to the next one that it comes to, all ranks get it there, and from then on every
 * collective function returns it without waiting for anybody. What is not collective may only be
 * called between two of them, and ends with GGUF_E_CANCELLED once another rank failed.
 *
 * A rank of which nothing was heard for GGUFKIT_RANK_TIMEOUT seconds (120) ends the whole job.
 * Threads: one at a time, but for gguf_ranks_progress. */
#ifndef LIBGGUF_RANKS_H
#define LIBGGUF_RANKS_H

#include "libgguf/error.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct gguf_ranks gguf_ranks;

/* Join the others; *out is NULL where there are none.
 *   stop  is set when another rank failed, and outlives the ranks
 * Errors: GGUF_E_UNSUPPORTED a launcher started several processes, and there is no such module. */
gguf_code gguf_ranks_join(atomic_bool *stop, gguf_ranks **out, gguf_error *err);

/* Collective: wait for all, unless nobody can be waited for, and leave. Frees the handle. */
void gguf_ranks_leave(gguf_ranks *ranks);

uint32_t gguf_ranks_own(const gguf_ranks *ranks); /* 0 if alone */
uint32_t gguf_ranks_n(const gguf_ranks *ranks);   /* 1 if alone */

/* Collective: the failure of any rank, that of the lowest one first; one that was only stopped
 * counts last. The message names the rank and its machine. */
gguf_code gguf_ranks_agree(gguf_ranks *ranks, gguf_code code, gguf_error *err);

/* Collective, once all agree on `code`: what rank `from` has in `bytes` goes to all. */
gguf_code gguf_ranks_spread(gguf_ranks *ranks, gguf_code code, uint32_t from, void *bytes, size_t n,
                            gguf_error *err);

/* Collective, once all agree on `code`: *value becomes the largest of all ranks. */
gguf_code gguf_ranks_max(gguf_ranks *ranks, gguf_code code, uint64_t *value, gguf_error *err);

/* From one rank to another, in order. What is sent is copied: the call does not wait for the one
 * that receives. */
gguf_code gguf_ranks_send(gguf_ranks *ranks, uint32_t to, const void *bytes, size_t n,
                          gguf_error *err);
gguf_code gguf_ranks_receive(gguf_ranks *ranks, uint32_t from, void *bytes, size_t n,
                             gguf_error *err);

/* How far this rank is; rank 0 gets the sum of what all ranks said lately, others what they gave.
 * Threads: safe. */
uint64_t gguf_ranks_progress(gguf_ranks *ranks, uint64_t done);

#endif
