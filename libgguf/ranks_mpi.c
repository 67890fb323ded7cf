/* Ranks by MPI: a module, see ranks_ops.h. Nobody waits inside MPI, where a core would be burnt and
 * a rank that is gone waited for forever: requests are polled. A thread of every rank tells rank 0,
 * and rank 0 tells all, that it is there, how far it is and whether it failed. */
#include "libgguf/ranks_ops.h"

#include <mpi.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BEAT_SECONDS    0.5
#define POLL_NS         20000000L /* of the thread, */
#define SENDING_NS      1000000L  /* and while messages wait for MPI's attention */
#define DEFAULT_TIMEOUT 120
#define MAX_PART        ((size_t)1 << 30) /* of a message: counts are ints */

enum { TAG_BEAT = 1, TAG_DATA = 2 };

typedef struct beat {
    uint64_t done;
    uint64_t failed;
} beat;

/* A message on its way; its bytes are behind it. */
typedef struct sending {
    struct sending *next;
    MPI_Request request;
    uint8_t bytes[];
} sending;

typedef struct mpi_ranks {
    gguf_ranks base;
    int own, n; /* as in base */
    MPI_Comm work, watch;
    atomic_bool *stop;
    double timeout_s;
    char host[MPI_MAX_PROCESSOR_NAME];
    sending *sent;
    bool ended; /* all know of `failure` */
    gguf_code code;
    gguf_error failure; /* what is said of `code`, if anything */
    pthread_t thread;
    atomic_bool quits, failed; /* this rank, or for rank 0 any */
    atomic_bool sends;
    atomic_uint_fast64_t done; /* of this rank */
    atomic_uint_fast64_t others;
    uint64_t *done_of; /* [n] of rank 0 */
    double *heard;     /* [n] when; the others have only that of rank 0 */
} mpi_ranks;

static double now_s(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void nap(long ns) {
    const struct timespec time = {0, ns};
    nanosleep(&time, NULL);
}

/* ---- who is there ------------------------------------------------------------------------ */

static void send_beat(mpi_ranks *r, int to) {
    const beat b = {atomic_load(&r->done), atomic_load(&r->failed)};
    MPI_Request request;
    MPI_Isend(&b, sizeof b, MPI_BYTE, to, TAG_BEAT, r->watch, &request);
    /* So short a message is on its way at once. */
    for (int there = 0; !there && !atomic_load(&r->quits);) {
        MPI_Test(&request, &there, MPI_STATUS_IGNORE);
        if (!there) nap(POLL_NS / 10);
        if (now_s() - r->heard[to] > r->timeout_s) break;
    }
    if (request != MPI_REQUEST_NULL) MPI_Request_free(&request);
}

static bool take_beat(mpi_ranks *r) {
    MPI_Status status;
    int there = 0;
    beat b;
    MPI_Iprobe(MPI_ANY_SOURCE, TAG_BEAT, r->watch, &there, &status);
    if (!there) return false;
    MPI_Recv(&b, sizeof b, MPI_BYTE, status.MPI_SOURCE, TAG_BEAT, r->watch, MPI_STATUS_IGNORE);
    r->heard[status.MPI_SOURCE] = now_s();
    if (r->own == 0) {
        uint64_t sum = 0;
        r->done_of[status.MPI_SOURCE] = b.done;
        for (int i = 1; i < r->n; i++) sum += r->done_of[i];
        atomic_store(&r->others, sum);
    }
    if (!b.failed) return true;
    atomic_store(r->stop, true);
    if (r->own == 0) atomic_store(&r->failed, true); /* and so it is told to all */
    return true;
}

static void end_job(const mpi_ranks *r, int silent) {
    fprintf(stderr, "ggufkit: nothing was heard of rank %d for %.0f seconds; the job ends\n",
            silent, r->timeout_s);
    MPI_Abort(MPI_COMM_WORLD, gguf_code_exit_status(GGUF_E_IO));
}

static void *watch(void *ctx) {
    mpi_ranks *r = ctx;
    int first = r->own ? 0 : 1, end = r->own ? 1 : r->n;
    bool told_failure = false;
    for (double last = 0; !atomic_load(&r->quits);) {
        while (take_beat(r)) continue;
        double now = now_s();
        bool news = atomic_load(&r->failed) && !told_failure;
        if (now - last >= BEAT_SECONDS || news) {
            for (int i = first; i < end; i++) send_beat(r, i);
            told_failure = told_failure || news;
            last = now;
        }
        for (int i = first; i < end; i++)
            if (now - r->heard[i] > r->timeout_s) end_job(r, i);
        nap(atomic_load(&r->sends) ? SENDING_NS : POLL_NS);
    }
    return NULL;
}

/* ---- joining ----------------------------------------------------------------------------- */

static gguf_code start(mpi_ranks *r, gguf_error *err) {
    const char *timeout = getenv("GGUFKIT_RANK_TIMEOUT");
    double now = now_s();
    r->timeout_s = timeout && strtod(timeout, NULL) > 0 ? strtod(timeout, NULL) : DEFAULT_TIMEOUT;
    r->done_of = calloc((size_t)r->n, sizeof *r->done_of);
    r->heard = calloc((size_t)r->n, sizeof *r->heard);
    if (!r->done_of || !r->heard) return gguf_fail_memory(err);
    for (int i = 0; i < r->n; i++) r->heard[i] = now;
    int n_host;
    MPI_Get_processor_name(r->host, &n_host);
    MPI_Comm_dup(MPI_COMM_WORLD, &r->work);
    MPI_Comm_dup(MPI_COMM_WORLD, &r->watch);
    if (pthread_create(&r->thread, NULL, watch, r) == 0) return GGUF_OK;
    return gguf_fail(err, GGUF_E_NOMEM, NULL, GGUF_NO_OFFSET, "cannot start a thread");
}

/* ---- waiting ----------------------------------------------------------------------------- */

/* Messages that have arrived need their copies no longer. */
static void free_sent(mpi_ranks *r, bool all) {
    for (sending **at = &r->sent; *at;) {
        sending *s = *at;
        int there = 0;
        MPI_Test(&s->request, &there, MPI_STATUS_IGNORE);
        if (!there && all) {
            MPI_Cancel(&s->request);
            MPI_Request_free(&s->request);
        } else if (!there) {
            at = &s->next;
            continue;
        }
        *at = s->next;
        free(s);
    }
    atomic_store(&r->sends, r->sent != NULL);
}

/* Soon, or after naps that become longer. False: another rank failed before. */
static bool wait_for(mpi_ranks *r, MPI_Request *request, bool until_stopped) {
    double began = now_s();
    for (int there = 0;;) {
        MPI_Test(request, &there, MPI_STATUS_IGNORE);
        if (there) return true;
        if (until_stopped && atomic_load(r->stop)) return false;
        double waited = now_s() - began;
        if (waited > 100e-6) nap(waited < 0.01 ? 10000L : waited < 1 ? 200000L : 2000000L);
    }
}

/* ---- agreeing ---------------------------------------------------------------------------- */

/* The lowest rank with a failure of its own, or that was stopped; -1: all are well. */
static int first_failure(const int *codes, int n, bool *same) {
    int found = -1;
    *same = true;
    for (int i = 0; i < n; i++) {
        *same = *same && codes[i] == codes[0];
        bool better = found < 0 || (codes[found] == GGUF_E_CANCELLED && codes[i] != codes[found]);
        if (codes[i] != GGUF_OK && better) found = i;
    }
    return found;
}

static void spread_failure(mpi_ranks *r, int from, bool same, const gguf_error *own) {
    MPI_Request request;
    size_t n = own ? strlen(own->message) : 0;
    if (r->own == from && own) r->failure = *own;
    if (r->own == from && n && !same)
        snprintf(r->failure.message + n, sizeof r->failure.message - n, " (rank %d, on %s)", r->own,
                 r->host);
    MPI_Ibcast(&r->failure, sizeof r->failure, MPI_BYTE, from, r->work, &request);
    wait_for(r, &request, false);
}

static gguf_code agree(gguf_ranks *ranks, gguf_code code, gguf_error *err) {
    mpi_ranks *r = (mpi_ranks *)ranks;
    if (!r->ended) {
        int own = (int)code, *codes = calloc((size_t)r->n, sizeof *codes);
        MPI_Request request;
        bool same;
        if (!codes) MPI_Abort(MPI_COMM_WORLD, gguf_code_exit_status(GGUF_E_NOMEM));
        if (code) atomic_store(&r->failed, true);
        MPI_Iallgather(&own, 1, MPI_INT, codes, 1, MPI_INT, r->work, &request);
        wait_for(r, &request, false);
        free_sent(r, false);
        int from = first_failure(codes, r->n, &same);
        r->ended = from >= 0;
        r->code = r->ended ? (gguf_code)codes[from] : GGUF_OK;
        free(codes);
        if (!r->ended) return GGUF_OK;
        spread_failure(r, from, same, err);
    }
    if (err) *err = r->failure;
    return r->code;
}

static void spread(gguf_ranks *ranks, uint32_t from, void *bytes, size_t n) {
    mpi_ranks *r = (mpi_ranks *)ranks;
    uint8_t *at = bytes;
    for (size_t part; n > 0; at += part, n -= part) {
        MPI_Request request;
        part = n < MAX_PART ? n : MAX_PART;
        MPI_Ibcast(at, (int)part, MPI_BYTE, (int)from, r->work, &request);
        wait_for(r, &request, false);
    }
}

static void largest(gguf_ranks *ranks, uint64_t *value) {
    mpi_ranks *r = (mpi_ranks *)ranks;
    MPI_Request request;
    uint64_t own = *value;
    MPI_Iallreduce(&own, value, 1, MPI_UINT64_T, MPI_MAX, r->work, &request);
    wait_for(r, &request, false);
}

static void leave(gguf_ranks *ranks) {
    mpi_ranks *r = (mpi_ranks *)ranks;
    MPI_Request request;
    MPI_Ibarrier(r->work, &request);
    wait_for(r, &request, false);
    atomic_store(&r->quits, true);
    pthread_join(r->thread, NULL);
    free_sent(r, true);
    MPI_Ibarrier(r->work, &request);
    wait_for(r, &request, false);
    while (take_beat(r)) continue;
    MPI_Comm_free(&r->work);
    MPI_Comm_free(&r->watch);
    MPI_Finalize();
    free(r->done_of);
    free(r->heard);
    free(r);
}

/* ---- messages ---------------------------------------------------------------------------- */

static gguf_code fail_stopped(gguf_error *err) {
    return gguf_fail(err, GGUF_E_CANCELLED, NULL, GGUF_NO_OFFSET, "interrupted");
}

static gguf_code send_bytes(gguf_ranks *ranks, uint32_t to, const void *bytes, size_t n,
                            gguf_error *err) {
    mpi_ranks *r = (mpi_ranks *)ranks;
    const uint8_t *at = bytes;
    if (atomic_load(r->stop)) return fail_stopped(err);
    free_sent(r, false);
    for (size_t part; n > 0; at += part, n -= part) {
        part = n < MAX_PART ? n : MAX_PART;
        sending *s = malloc(sizeof *s + part);
        if (!s) return gguf_fail_memory(err);
        memcpy(s->bytes, at, part);
        s->next = r->sent;
        r->sent = s;
        MPI_Isend(s->bytes, (int)part, MPI_BYTE, (int)to, TAG_DATA, r->work, &s->request);
    }
    atomic_store(&r->sends, r->sent != NULL);
    return GGUF_OK;
}

static gguf_code receive_bytes(gguf_ranks *ranks, uint32_t from, void *bytes, size_t n,
                               gguf_error *err) {
    mpi_ranks *r = (mpi_ranks *)ranks;
    uint8_t *at = bytes;
    for (size_t part; n > 0; at += part, n -= part) {
        MPI_Request request;
        part = n < MAX_PART ? n : MAX_PART;
        MPI_Irecv(at, (int)part, MPI_BYTE, (int)from, TAG_DATA, r->work, &request);
        if (wait_for(r, &request, true)) continue;
        /* What arrives in this moment would go to memory that the caller gives up. */
        MPI_Cancel(&request);
        MPI_Wait(&request, MPI_STATUS_IGNORE);
        return fail_stopped(err);
    }
    return GGUF_OK;
}

static uint64_t progress(gguf_ranks *ranks, uint64_t done) {
    mpi_ranks *r = (mpi_ranks *)ranks;
    atomic_store(&r->done, done);
    return done + atomic_load(&r->others);
}

/* ---- joining ----------------------------------------------------------------------------- */

static const gguf_ranks_ops ops = {leave,      agree,         spread,  largest,
                                   send_bytes, receive_bytes, progress};

gguf_code ggufkit_ranks_join(atomic_bool *stop, gguf_ranks **out, gguf_error *err) {
    int has, n, own;
    *out = NULL;
    MPI_Init_thread(NULL, NULL, MPI_THREAD_MULTIPLE, &has);
    MPI_Comm_size(MPI_COMM_WORLD, &n);
    MPI_Comm_rank(MPI_COMM_WORLD, &own);
    if (n == 1) {
        MPI_Finalize();
        return GGUF_OK;
    }
    mpi_ranks *r = calloc(1, sizeof *r);
    gguf_code code = GGUF_OK;
    if (has != MPI_THREAD_MULTIPLE)
        code = gguf_fail(err, GGUF_E_UNSUPPORTED, NULL, GGUF_NO_OFFSET,
                         "this MPI does not let several threads communicate");
    else if (!r)
        code = gguf_fail_memory(err);
    if (!code) {
        r->base = (gguf_ranks){&ops, (uint32_t)own, (uint32_t)n};
        r->own = own;
        r->n = n;
        r->stop = stop;
        code = start(r, err);
    }
    if (code) {
        fprintf(stderr, "ggufkit: rank %d cannot join: %s\n", own, err ? err->message : "");
        MPI_Abort(MPI_COMM_WORLD, gguf_code_exit_status(code));
    }
    *out = r ? &r->base : NULL;
    return code;
}
