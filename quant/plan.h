/* A plan: the complete list of output tensors, each with its source, transforms, type, place and
 * size, before any weight is read. quant_execute carries any plan out. */
#ifndef QUANT_PLAN_H
#define QUANT_PLAN_H

#include "libgguf/gguf.h"
#include "libgguf/pool.h"
#include "libgguf/ranks.h"
#include "quant/compensate.h"
#include "quant/quant.h"

#include <stdatomic.h>

/* What a planner knows of a tensor; recipes match these. */
typedef struct quant_tags {
    const char *role; /* last part of the GGUF name, e.g. "attn_v"; "" = none */
    int32_t layer;    /* -1 = not part of a layer */
    bool keep;        /* never quantised: norms, biases, routers, small tables */
    bool pinned;      /* the user chose its type */
    bool is_draft;    /* of a layer behind the last one, which proposes tokens */
    bool is_output;   /* the output projection, or the embedding that stands in for it */
} quant_tags;

/* What a planner knows of the whole model. */
typedef struct quant_model_tags {
    uint32_t n_layers;
    uint32_t n_experts; /* 0 = dense */
    uint32_t gqa;       /* query heads per key head; at least 1 */
} quant_model_tags;

/* Bytes in a file, or in memory if `memory` is set. */
typedef struct quant_bytes {
    int fd; /* -1: `path` is opened for each read */
    uint64_t off;
    const void *memory;
    uint64_t n_bytes;
    const char *path; /* lives as long as the plan; NULL: that of the tensor's source */
} quant_bytes;

/* A table of units of 4 bytes (or 1), rows of n_inner units behind one another. */
typedef struct quant_grid {
    quant_bytes bytes; /* n_bytes 0: absent */
    uint64_t n_inner;
} quant_grid;

/* Unsigned integers of n_bits, packed without gaps, lowest bits first, into units along one axis of
 * a matrix. */
typedef struct quant_packed {
    quant_grid grid;
    unsigned n_bits;
    unsigned unit_bytes;  /* 1 or 4 */
    bool along_rows;      /* successive codes of a stream belong to successive rows, not columns */
    bool stream_is_inner; /* the units of one stream lie behind one another */
    bool pairs_interleaved; /* eight codes of 4 bits lie in the order 0 2 4 6 1 3 5 7 */
    uint8_t flip;           /* bits to invert: 0x80 makes signed bytes unsigned */
} quant_packed;

/* Integers with a scale and a zero per row and group of columns: (code - zero) * scale. */
typedef struct quant_affine {
    uint64_t n_rows, n_cols; /* of the stored matrix */
    quant_packed codes;
    quant_packed zeros; /* [n_rows][n_groups]; absent: `zero` */
    uint32_t zero;      /* added to the stored zeros, or the only one */
    quant_grid scales;  /* of scale_type */
    uint32_t scale_type;
    bool groups_inner;    /* scales [n_rows][n_groups], not [n_groups][n_rows] */
    bool one_scale;       /* for the whole matrix */
    quant_bytes group_of; /* I32 [n_cols], or absent: column / group_cols */
    uint64_t group_cols, n_groups;
} quant_affine;

/* A matrix as it is stored, whole or as part of a larger one. */
typedef struct quant_source {
    const char *path; /* lives as long as the plan */
    int fd;           /* -1: `path` is opened for each read, where there are many files */
    uint64_t off;
    const void *memory;
    uint64_t n_bytes;
    uint64_t first;     /* element of the source at row 0, column 0 */
    quant_bytes scales; /* of a coding that has some; none = all ones */
    const quant_affine
        *affine; /* of QUANT_CODING_AFFINE, which has no bytes of its own; not owned */
} quant_source;

/* How numbers lie in a source; all but the first become source_type while they are read. */
typedef enum quant_coding {
    QUANT_CODING_PLAIN, /* as rows of source_type */
    QUANT_CODING_E4M3,  /* FP8 times the scale of its block; becomes F32 */
    QUANT_CODING_E5M2,
    /* 32 elements in 16 bytes, neighbours in one byte, the first in its low half; scales are E8M0
     * bytes; becomes MXFP4, bit for bit. */
    QUANT_CODING_MXFP4,
    QUANT_CODING_AFFINE, /* see quant_affine; becomes F32 */
    /* Put together from parts of other tensors, see quant/patches.h; becomes F32. */
    QUANT_CODING_PATCHES,
    /* Numbers that no kernel decodes: F64, I8 to I64, as scaling.type says; become F32. */
    QUANT_CODING_NUMBER
} quant_coding;

/* Element (row, column) is number first + row * row_stride + column * col_stride of the source:
 * parts of fused matrices, interleaved rows, transposition. Zeros: rows of n_cols, no gaps. */
typedef struct quant_view {
    uint64_t row_stride, col_stride;
} quant_view;

/* Which row (or column) of a matrix stands where: runs that lie apart. Run (i, j) of a part begins
 * at first + i * outer_stride + j * inner_stride. */
typedef struct quant_order_part {
    uint64_t first, n_outer, n_inner, outer_stride, inner_stride, run;
} quant_order_part;

#define QUANT_MAX_ORDER_PARTS 3

/* Parts one behind the other; none: as they are stored. */
typedef struct quant_order {
    quant_order_part parts[QUANT_MAX_ORDER_PARTS];
    uint32_t n_parts;
} quant_order;

/* One scale per block of the stored matrix. Blocks at the right and lower edge may be cut. */
typedef struct quant_scaling {
    uint64_t n_cols; /* of the stored matrix */
    uint64_t block_rows, block_cols;
    uint32_t type; /* GGUF type of the scales; unused for MXFP4 */
} quant_scaling;

typedef enum quant_step_op {
    /* Per head of d rows: out row 2i + j = in row j * d/2 + i, for adjacent RoPE pairs.
     * arg: number of heads. */
    QUANT_STEP_PERMUTE_HEADS,
    /* Add `arg` to every number, in f32. */
    QUANT_STEP_ADD,
    /* -exp of every number, in f32. */
    QUANT_STEP_NEG_EXP,
    /* exp of every number, in f32. */
    QUANT_STEP_EXP,
    /* Multiply every number, in f32, with the one whose bits `arg` has. */
    QUANT_STEP_SCALE
} quant_step_op;

typedef struct quant_step {
    quant_step_op op;
    uint64_t arg;
} quant_step;

#define QUANT_MAX_STEPS 4

/* Added to the numbers that are read, in f32: scale * rows * cols. Source: LoRA, see
 * rt_import_merge_lora. */
typedef struct quant_low_rank {
    const float *rows; /* [n_rows of the tensor][rank] */
    const float *cols; /* [rank][n_cols] */
    uint32_t rank;
    float scale;
    const struct quant_low_rank *next;
} quant_low_rank;

typedef struct quant_patches quant_patches;

typedef struct quant_plan_tensor {
    gguf_tensor out; /* name, type, dims; data_off and n_bytes by quant_plan_finish */
    quant_tags tags;
    quant_source source; /* of all rows */
    /* [out.dims[2]] instead, one per matrix, or [out.dims[1]], one per vector; not owned; or NULL
     */
    const quant_source *stack;
    const quant_patches *patches; /* of QUANT_CODING_PATCHES; not owned */
    quant_coding coding;
    quant_view view;
    quant_order row_order, col_order; /* of each matrix of the view */
    uint64_t n_stored_rows; /* of a single matrix: those behind are zeros; 0: all are stored */
    quant_scaling scaling;
    uint32_t source_type;    /* GGUF type of the numbers as they are read */
    uint64_t n_rows, n_cols; /* of all matrices together, e.g. 4096 x 1 for a permuted bias */
    quant_step steps[QUANT_MAX_STEPS];
    uint32_t n_steps;
    const float *row_factors; /* [n_rows], behind the steps; not owned; NULL: all are 1 */
    bool has_scale;           /* its numbers stand for products with those of the tensor NAME.scale
                                 beside it: in row_factors until the scales are settled */
    const quant_low_rank *added; /* after the steps; not owned; or NULL */
    quant_effort effort;         /* of the encoder */
    const float *imp;            /* [n_mats][n_cols] column importance, or NULL; not owned */
    bool demands_imp;            /* the type is of no use without it */
    uint32_t stage;              /* tensors are executed in this order */
    bool calibrated;             /* gets Hessians before its stage begins */
    bool compensate;             /* rounded with feedback where its Hessian has factors */
    const quant_hessian *const *hessians; /* [n_mats], any may be NULL; not owned */
    const bool
        *ready; /* [n_mats] those that this pass of the stage rounds; NULL = all; not owned */
} quant_plan_tensor;

/* One output file: tensors [first, first + n_tensors) of the plan. */
typedef struct quant_shard {
    size_t first, n_tensors;
    uint8_t *header;
    uint64_t header_bytes, data_bytes;
} quant_shard;

/* How tensors are spread over output files; zeros = one file. */
typedef struct quant_split {
    uint64_t max_bytes;   /* of tensor data in a file */
    uint32_t max_tensors; /* in a file */
    bool as_source;       /* as out.shard of each tensor says */
} quant_split;

/* The format of the output files. */
typedef enum quant_format {
    QUANT_FORMAT_GGUF,
    QUANT_FORMAT_SAFETENSORS /* without metadata; F32, F16 and BF16 */
} quant_format;

typedef struct quant_plan {
    gguf_meta *meta; /* owned */
    quant_format format;
    quant_plan_tensor *tensors;
    size_t n_tensors, room;
    quant_model_tags model;
    uint32_t alignment;
    quant_split split;
    quant_shard *shards; /* by quant_plan_finish, as out.shard and out.data_off are */
    uint32_t n_shards;
    void **owned; /* memory that lives as long as the plan */
    size_t n_owned;
} quant_plan;

/* Start with alignment 32, an empty metadata set and no tensors. Errors: GGUF_E_NOMEM. */
gguf_code quant_plan_init(quant_plan *plan, gguf_error *err);
void quant_plan_clear(quant_plan *plan); /* accepts a zeroed plan */

/* Append a tensor; its name is copied into the plan. */
gguf_code quant_plan_add(quant_plan *plan, const quant_plan_tensor *tensor, gguf_error *err);
/* Memory that is freed with the plan; NULL when out of memory. */
void *quant_plan_alloc(quant_plan *plan, size_t n_bytes);
/* Sort by layer, then name, as other tools order their files. */
void quant_plan_sort(quant_plan *plan);
/* When types are known: tensors that keep theirs are copied with their scales beside them, the
 * scales of others (NAME.scale, NAME.input_scale) are in their numbers and leave the plan. */
void quant_plan_settle_scales(quant_plan *plan);
/* Check every tensor (source and output agree, types known), spread them over the files, place them
 * and encode the headers. What changes afterwards needs it once more. */
gguf_code quant_plan_finish(quant_plan *plan, gguf_error *err);

/* Encode the headers again after values of metadata changed. Errors: GGUF_E_USAGE a header has
 * another length now. */
gguf_code quant_plan_reencode(quant_plan *plan, gguf_error *err);

/* The name of one of n_shards files: `path` itself if there is one, otherwise
 * NAME-0000N-of-0000M with its ending, .safetensors or .gguf.
 * Errors: GGUF_E_USAGE it does not fit into `room`. */
gguf_code quant_shard_path(const char *path, uint32_t n_shards, uint32_t no, char *out, size_t room,
                           gguf_error *err);

uint64_t quant_plan_file_bytes(const quant_plan *plan); /* of all files */
uint64_t quant_plan_data_bytes(const quant_plan *plan); /* of the tensors in them */
/* 8 * tensor bytes / elements. */
double quant_plan_bpw(const quant_plan *plan);

/* ---- execution --------------------------------------------------------------------------- */

/* What a tensor lost, over all its elements. */
typedef struct quant_loss {
    double rmse;          /* sqrt(mean (w - w^)^2) */
    double weighted_rmse; /* sqrt(sum imp (w - w^)^2 / sum imp); equal to rmse without importance */
} quant_loss;

/* What a calibrated tensor lost at its output: squared error over squared output, expected over the
 * inputs of the calibration. Measured on one row of QUANT_OUTPUT_STRIDE. */
typedef struct quant_output_error {
    double rounded;     /* if it were rounded by importance alone */
    double kept;        /* as it is written */
    uint64_t n_samples; /* rows of input; of a stack, the fewest that a matrix saw */
    uint64_t n_unfed;   /* matrices of a tensor to be compensated that had too few for it */
} quant_output_error;

typedef struct quant_execute_opts {
    gguf_ranks *ranks; /* that quant_execute is called by, with the same plan; NULL: this process
                          alone */
    uint64_t max_memory_bytes; /* for buffers; at least one row per thread is always used */
    bool replace;              /* an existing output */
    bool resume; /* go on with what an interrupted run of the same plan left, and leave it so */
    uint64_t inputs_hash;    /* of what decides the output beside the plan, such as the tokens of a
                                calibration: a run with another hash is not gone on with */
    uint64_t *resumed_bytes; /* set to what an interrupted run had written of this part; may be
                                NULL */
    const atomic_bool *cancel; /* polled; may be NULL */
    void (*progress)(void *ctx, uint64_t done_bytes, uint64_t total_bytes); /* may be NULL */
    void *progress_ctx;
    quant_loss *loss; /* [n_tensors], filled if not NULL (costs a decode of every block) */
    quant_output_error *output_error; /* [n_tensors], filled before `seal` if not NULL */
    quant_compensate_opts compensate;
    /* Called before each stage, in order: sets importance and Hessians of its tensors. `needed`:
     * something of the stage is still to be written, by any rank. With *more, which is false
     * before, the matrices that are `ready` are rounded and it is called again for others. May be
     * NULL. */
    gguf_code (*provide)(void *ctx, uint32_t stage, bool needed, gguf_pool *pool, bool *more,
                         gguf_error *err);
    void *provide_ctx;
    /* Called when all data is written, by all ranks; what rank 0's does counts: may change values
     * of the plan's metadata that keep their length, such as hashes. May be NULL. */
    gguf_code (*seal)(void *ctx, gguf_pool *pool, gguf_error *err);
    void *seal_ctx;
} quant_execute_opts;

quant_execute_opts quant_execute_defaults(void);

/* ---- several processes ---- */

/* One plan carried out by n_parts processes, each of which made the same plan with the same
 * options: part 0 opens first and creates the files, the others join it; each runs its part, which
 * the plan alone decides, and notes what it wrote in a journal of its own beside the output. When
 * all have run, part 0 commits. quant_execute is part 0 of 1. */
typedef struct quant_job quant_job;

/* plan and opts must outlive the job. Errors: those of quant_execute; GGUF_E_MISSING there are no
 * files to join, GGUF_E_IO they are not those of a job with several parts; GGUF_E_USAGE part >=
 * n_parts. */
gguf_code quant_job_open(quant_plan *plan, const char *path, uint32_t part, uint32_t n_parts,
                         const quant_execute_opts *opts, quant_job **out, gguf_error *err);

/* Write the part, and flush it. */
gguf_code quant_job_run(quant_job *job, gguf_pool *pool, gguf_error *err);

/* Check that all parts are there, put together what they lost, seal and give the files their names.
 * Of part 0 only. Frees the job, also on failure. Errors: GGUF_E_CHECK a part is missing. */
gguf_code quant_job_commit(quant_job *job, gguf_pool *pool, gguf_error *err);

/* Part 0: remove the files, or leave them for another run if opts->resume is set. Other parts:
 * leave what was written to part 0, unless the run failed. Accepts NULL. */
void quant_job_close(quant_job *job);

/* Buffer bytes that quant_execute will use. */
uint64_t quant_execute_memory(const quant_plan *plan, const quant_execute_opts *opts,
                              unsigned n_threads);

/* Write the plan's file, or its shards: PATH without .gguf, then -0000N-of-0000M.gguf. The bytes do
 * not depend on the number of threads, nor on interruptions; a run goes on with what another one
 * left, whatever the number of threads and the memory of either. With several ranks each does a
 * part, and rank 0 commits; losses and output errors are known to rank 0.
 * Errors: of sources and of the output file, GGUF_E_NONFINITE, GGUF_E_CANCELLED, GGUF_E_NOMEM;
 * GGUF_E_CHECK if resume is set and what was left belongs to another plan. No output is left
 * behind; with resume, PATH.part and its journal stay, also when the process is killed. */
gguf_code quant_execute(quant_plan *plan, const char *path, gguf_pool *pool,
                        const quant_execute_opts *opts, gguf_error *err);

#endif
