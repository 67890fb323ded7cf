/* Inner loops of the CPU backend: against plain sums in double, and each variant against the
 * generic one, bit for bit. Sizes that are no multiple of the lanes included. */
#include "quant/quant.h"
#include "runtime/engine/cpu/cpu_kernels.h"
#include "unit.h"

#include <math.h>

enum { MAX_N = 131 };

static uint32_t random_state = 12345;

/* In [-1, 1). */
static float random_float(void) {
    random_state = random_state * 1664525u + 1013904223u;
    return (float)(int32_t)random_state * 0x1p-31f;
}

static void fill(float *x, size_t n, float scale) {
    for (size_t i = 0; i < n; i++) x[i] = random_float() * scale;
}

static void check_close(const float *got, const double *expected, size_t n, double bound) {
    for (size_t i = 0; i < n; i++)
        ck_assert_msg(fabs(got[i] - expected[i]) <= bound * (1 + fabs(expected[i])),
                      "element %zu is %.9g, expected %.9g", i, (double)got[i], expected[i]);
}

START_TEST(norm_and_sums) {
    const rt_cpu_kernels *variants[] = {&rt_cpu_kernels_generic, rt_cpu_kernels_get()};
    float x[MAX_N], w[MAX_N], out[2][MAX_N + 1];
    double expected[MAX_N];
    for (size_t n = 1; n <= MAX_N; n++) {
        fill(x, n, 10);
        fill(w, n, 2);
        double sum = 0;
        for (size_t i = 0; i < n; i++) sum += (double)x[i] * x[i];
        for (size_t i = 0; i < n; i++) expected[i] = x[i] / sqrt(sum / (double)n + 1e-5) * w[i];
        for (int v = 0; v < 2; v++) {
            out[v][n] = 77;
            variants[v]->norm_rms(x, w, 1e-5f, n, out[v]);
            ck_assert(out[v][n] == 77);
            check_close(out[v], expected, n, 1e-6);
            variants[v]->add(out[v], x, 1, n);
        }
        ck_assert_mem_eq(out[0], out[1], n * sizeof(float));
    }
}
END_TEST

/* The whole range of gates, far beyond what exp can hold. */
START_TEST(silu) {
    const rt_cpu_kernels *variants[] = {&rt_cpu_kernels_generic, rt_cpu_kernels_get()};
    float up[MAX_N], gate[2][MAX_N + 1];
    double expected[MAX_N];
    static const float scales[] = {1e-6f, 1, 20, 100, 1e30f};
    for (size_t round = 0; round < 200; round++) {
        size_t n = 1 + round % MAX_N;
        fill(up, n, 3);
        fill(gate[0], n, scales[round % 5]);
        memcpy(gate[1], gate[0], sizeof gate[0]);
        for (size_t i = 0; i < n; i++) {
            double g = gate[0][i];
            expected[i] = g / (1 + exp(-g)) * up[i];
        }
        for (int v = 0; v < 2; v++) {
            gate[v][n] = 77;
            variants[v]->activate(RT_ACT_SILU, gate[v], up, n);
            ck_assert(gate[v][n] == 77);
            check_close(gate[v], expected, n, 5e-7);
        }
        ck_assert_mem_eq(gate[0], gate[1], n * sizeof(float));
    }
}
END_TEST

/* Through zero, eps and the place where the series ends. */
START_TEST(xielu) {
    const rt_cpu_kernels *variants[] = {&rt_cpu_kernels_generic, rt_cpu_kernels_get()};
    static const rt_xielu p = {0.9f, 1.3f, 0.5f, -1e-6f};
    float x[2][77];
    double expected[77];
    for (int round = 0; round < 3; round++) {
        fill(x[0], 77, round == 0 ? 1e-3f : round == 1 ? 1 : 20);
        memcpy(x[1], x[0], sizeof x[0]);
        for (size_t i = 0; i < 77; i++) {
            double v = x[0][i], low = fmin(v, (double)p.eps);
            expected[i] = v > 0 ? (double)p.p * v * v + (double)p.beta * v
                                : (double)p.n * (expm1(low) - v) + (double)p.beta * v;
        }
        for (int v = 0; v < 2; v++) {
            variants[v]->xielu(&p, x[v], 77);
            check_close(x[v], expected, 77, 5e-7);
        }
        ck_assert_mem_eq(x[0], x[1], sizeof x[0]);
    }
}
END_TEST

static double activation_of(rt_activation kind, double x) {
    switch (kind) {
    case RT_ACT_SILU:
        return x / (1 + exp(-x));
    case RT_ACT_GELU_TANH:
        return 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case RT_ACT_GELU_ERF:
        return 0.5 * x * (1 + erf(x / sqrt(2)));
    case RT_ACT_RELU_SQUARED:
        return x > 0 ? x * x : 0;
    case RT_ACT_RELU:
        return x > 0 ? x : 0;
    case RT_ACT_SIGMOID:
        return 1 / (1 + exp(-x));
    case RT_ACT_SOFTPLUS:
        return x > 40 ? x : log1p(exp(x));
    case RT_ACT_IDENTITY:
        return x;
    default:
        return fmin(x, 7) / (1 + exp(-1.702 * fmin(x, 7)));
    }
}

/* With a gate and without. */
START_TEST(activations) {
    const rt_cpu_kernels *variants[] = {&rt_cpu_kernels_generic, rt_cpu_kernels_get()};
    float x[MAX_N], up[MAX_N], out[2][MAX_N + 1];
    double expected[MAX_N];
    static const float scales[] = {1e-6f, 1, 4, 30, 1e4f};
    for (size_t round = 0; round < 300; round++) {
        rt_activation kind = (rt_activation)(round % (RT_ACT_SWIGLU_CLAMPED + 2));
        if (kind > RT_ACT_SWIGLU_CLAMPED) kind = RT_ACT_RELU;
        size_t n = 1 + round % MAX_N;
        bool gated = round % 2 == 0;
        fill(up, n, 10);
        fill(x, n, scales[round / 8 % 5]);
        for (size_t i = 0; i < n; i++) {
            double u = (double)up[i];
            if (kind == RT_ACT_SWIGLU_CLAMPED) u = fmax(fmin(u, 7), -7) + 1;
            expected[i] = activation_of(kind, (double)x[i]) * (gated ? u : 1);
        }
        for (int v = 0; v < 2; v++) {
            memcpy(out[v], x, n * sizeof *x);
            out[v][n] = 77;
            variants[v]->activate(kind, out[v], gated ? up : NULL, n);
            ck_assert(out[v][n] == 77);
            check_close(out[v], expected, n, 4e-6);
        }
        ck_assert_mem_eq(out[0], out[1], n * sizeof(float));
    }
}
END_TEST

START_TEST(clamped_and_scaled) {
    const rt_cpu_kernels *variants[] = {&rt_cpu_kernels_generic, rt_cpu_kernels_get()};
    float x[MAX_N + 1], out[2][MAX_N + 1];
    for (size_t n = 1; n <= MAX_N; n++) {
        fill(x, n, 10);
        float low = n % 3 ? -4 : -INFINITY, high = n % 2 ? 3 : INFINITY;
        for (int v = 0; v < 2; v++) {
            memcpy(out[v], x, n * sizeof *x);
            out[v][n] = 77;
            variants[v]->clamp(out[v], low, high, n);
            variants[v]->scale(out[v], 1.5f, n);
            ck_assert(out[v][n] == 77);
            for (size_t i = 0; i < n; i++)
                ck_assert(out[v][i] == fminf(fmaxf(x[i], low), high) * 1.5f);
        }
    }
}
END_TEST

START_TEST(streams) {
    const rt_cpu_kernels *variants[] = {&rt_cpu_kernels_generic, rt_cpu_kernels_get()};
    float x[4 * MAX_N], weights[4], out[2][MAX_N + 1], cut[2][MAX_N + 1];
    double mixed[MAX_N], above[MAX_N];
    for (size_t n = 1; n <= MAX_N; n++) {
        uint32_t n_in = 1 + n % 4;
        fill(x, 4 * n, 5);
        fill(weights, 4, 2);
        double mean = 0, squares = 0, around = 0;
        for (size_t i = 0; i < n; i++) mean += (double)x[i] / (double)n;
        for (size_t i = 0; i < n; i++) {
            squares += (double)x[i] * x[i] / (double)n;
            around += (x[i] - mean) * (x[i] - mean) / (double)n;
            mixed[i] = 0;
            for (uint32_t j = 0; j < n_in; j++) mixed[i] += (double)weights[j] * x[j * n + i];
        }
        for (size_t i = 0; i < n; i++) above[i] = fmax(x[i] - mean - 0.7 * sqrt(around), 0);
        for (int v = 0; v < 2; v++) {
            float square = variants[v]->mean_square(x, n);
            ck_assert(fabs(square - squares) <= 1e-6 * (1 + squares));
            out[v][n] = cut[v][n] = 77;
            variants[v]->mix(x, n, weights, n_in, n, out[v]);
            memcpy(cut[v], x, n * sizeof *x);
            variants[v]->cut(cut[v], 0.7f, n);
            ck_assert(out[v][n] == 77 && cut[v][n] == 77);
            check_close(out[v], mixed, n, 4e-6);
            check_close(cut[v], above, n, 3e-6);
        }
        ck_assert_mem_eq(out[0], out[1], n * sizeof(float));
        ck_assert_mem_eq(cut[0], cut[1], n * sizeof(float));
    }
}
END_TEST

START_TEST(layer_norm_and_soft_cap) {
    const rt_cpu_kernels *variants[] = {&rt_cpu_kernels_generic, rt_cpu_kernels_get()};
    float x[MAX_N], w[MAX_N], out[2][MAX_N + 1];
    double expected[MAX_N];
    for (size_t n = 1; n <= MAX_N; n++) {
        double mean = 0, squares = 0;
        fill(x, n, 10);
        fill(w, n, 2);
        for (size_t i = 0; i < n; i++) mean += (double)x[i] / (double)n;
        for (size_t i = 0; i < n; i++) squares += ((double)x[i] - mean) * ((double)x[i] - mean);
        for (size_t i = 0; i < n; i++)
            expected[i] = ((double)x[i] - mean) / sqrt(squares / (double)n + 1e-2) * (double)w[i];
        for (int v = 0; v < 2; v++) {
            out[v][n] = 77;
            variants[v]->norm_layer(x, w, 1e-2f, n, out[v]);
            ck_assert(out[v][n] == 77);
            check_close(out[v], expected, n, 2e-5);
        }
        ck_assert_mem_eq(out[0], out[1], n * sizeof(float));
        fill(x, n, n % 2 ? 200 : 1);
        for (size_t i = 0; i < n; i++) expected[i] = 30 * tanh((double)x[i] / 30);
        for (int v = 0; v < 2; v++) {
            memcpy(out[v], x, n * sizeof *x);
            variants[v]->soft_cap(out[v], 30, n);
            check_close(out[v], expected, n, 6e-6);
        }
        ck_assert_mem_eq(out[0], out[1], n * sizeof(float));
    }
}
END_TEST

START_TEST(all_finite_halves) {
    const rt_cpu_kernels *variants[] = {&rt_cpu_kernels_generic, rt_cpu_kernels_get()};
    gguf_error err = {0};
    static uint16_t halves[0xf801];
    static float expected[0xf801], got[0xf801];
    size_t n = 0;
    for (uint32_t h = 0; h < 0x10000; h++)
        if ((h & 0x7c00) != 0x7c00) halves[n++] = (uint16_t)h;
    ck_assert_uint_eq(n, 0xf800);
    unit_ok(quant_decode(GGUF_TYPE_F16, halves, 1, n, expected, &err), err);
    for (int v = 0; v < 2; v++) {
        memset(got, 0, sizeof got);
        variants[v]->load_f16(halves, n - 3, got);
        ck_assert_mem_eq(got, expected, (n - 3) * sizeof *got);
        ck_assert(got[n - 3] == 0);
    }
}
END_TEST

/* Weights of logits, some of them not finite. */
START_TEST(logits) {
    const rt_cpu_kernels *variants[] = {&rt_cpu_kernels_generic, rt_cpu_kernels_get()};
    float x[MAX_N], out[2][MAX_N + 1];
    double expected[MAX_N];
    for (size_t n = 1; n <= MAX_N; n++) {
        float max = -INFINITY, scale = 0.5f + (float)(n % 3);
        fill(x, n, 20);
        x[n / 2] = n % 3 == 0 ? NAN : n % 3 == 1 ? INFINITY : -INFINITY;
        for (size_t i = 0; i < n; i++) max = isfinite(x[i]) && x[i] > max ? x[i] : max;
        for (int v = 0; v < 2; v++) ck_assert(variants[v]->max_finite(x, n) == max);
        if (max == -INFINITY) continue;
        for (size_t i = 0; i < n; i++)
            expected[i] = isfinite(x[i]) ? exp(((double)x[i] - (double)max) * (double)scale) : 0;
        for (int v = 0; v < 2; v++) {
            out[v][n] = 77;
            variants[v]->weights_of(x, max, scale, n, out[v]);
            ck_assert(out[v][n] == 77);
            check_close(out[v], expected, n, 4e-6);
        }
        ck_assert_mem_eq(out[0], out[1], n * sizeof(float));
    }
}
END_TEST

/* ---- attention ----------------------------------------------------------------------------------
 */

enum { N_PAGES = 3, N_KEYS = N_PAGES * RT_KV_PAGE_TOKENS, MAX_DIM = 80 };

typedef struct attention_case {
    uint32_t n_k, n_v, n;                        /* n queries */
    uint32_t first[RT_QUERIES], end[RT_QUERIES]; /* visible keys of all pages */
    uint64_t seen[RT_QUERIES][N_PAGES];          /* a bit for each of these that counts */
    float cap, sink;                             /* sink: -INFINITY = none */
    float k[N_KEYS * MAX_DIM], v[N_KEYS * MAX_DIM], q[RT_QUERIES * MAX_DIM];
} attention_case;

static bool counts(const attention_case *c, uint32_t i, uint32_t p) {
    return c->seen[i][p / RT_KV_PAGE_TOKENS] >> p % RT_KV_PAGE_TOKENS & 1;
}

static void plain_attention(const attention_case *c, uint32_t i, float scale, double *out) {
    double weights[N_KEYS], max = -INFINITY, sum = 0;
    for (uint32_t p = c->first[i]; p < c->end[i]; p++) {
        double score = 0;
        for (uint32_t d = 0; d < c->n_k; d++)
            score += (double)c->q[i * c->n_k + d] * c->k[p * c->n_k + d];
        weights[p] = c->cap == 0 ? score * scale : c->cap * tanh(score * scale / c->cap);
        if (!counts(c, i, p)) weights[p] = -INFINITY;
        max = fmax(max, weights[p]);
    }
    max = fmax(max, c->sink);
    sum = exp(c->sink - max);
    for (uint32_t p = c->first[i]; p < c->end[i]; p++) sum += exp(weights[p] - max);
    for (uint32_t d = 0; d < c->n_v; d++) {
        out[d] = 0;
        for (uint32_t p = c->first[i]; p < c->end[i]; p++)
            out[d] += exp(weights[p] - max) / sum * c->v[p * c->n_v + d];
    }
}

/* The page that starts at key `start`, in strips. */
static rt_kv_page page_of(const rt_cpu_kernels *kernels, const attention_case *c, uint32_t start,
                          float scale) {
    static float k[RT_KV_PAGE_TOKENS * MAX_DIM], v[RT_KV_PAGE_TOKENS * MAX_DIM];
    for (uint32_t r = 0; r < RT_KV_PAGE_TOKENS; r += RT_STRIP)
        kernels->transpose(c->k + (start + r) * c->n_k, c->n_k, k + r * c->n_k);
    for (uint32_t r = 0; r < RT_KV_PAGE_TOKENS; r++)
        for (uint32_t d = 0; d < c->n_v; d++)
            v[d / RT_STRIP * RT_STRIP * RT_KV_PAGE_TOKENS + r * RT_STRIP + d % RT_STRIP] =
                c->v[(start + r) * c->n_v + d];
    return (rt_kv_page){k, v, c->n_k, c->n_v, scale, c->cap};
}

/* Pages that no query sees are passed too, as other queries of a chunk may see them. */
static void paged_attention(const rt_cpu_kernels *kernels, const attention_case *c, float scale,
                            float *out) {
    rt_softmax states[RT_QUERIES];
    for (uint32_t i = 0; i < c->n; i++)
        states[i] = (rt_softmax){c->sink, c->sink == -INFINITY ? 0 : 1};
    memset(out, 0, c->n * c->n_v * sizeof *out);
    for (uint32_t start = 0; start < N_KEYS; start += RT_KV_PAGE_TOKENS) {
        rt_kv_page page = page_of(kernels, c, start, scale);
        rt_queries qs = {.q = c->q, .state = states, .acc = out, .n = c->n};
        for (uint32_t i = 0; i < c->n; i++) {
            qs.seen[i] = c->seen[i][start / RT_KV_PAGE_TOKENS];
            uint32_t end = c->end[i] > start ? c->end[i] - start : 0;
            qs.first[i] = c->first[i] > start ? c->first[i] - start : 0;
            qs.end[i] = end < RT_KV_PAGE_TOKENS ? end : RT_KV_PAGE_TOKENS;
        }
        kernels->attend(&page, &qs);
    }
    for (uint32_t i = 0; i < c->n * c->n_v; i++) out[i] /= states[i / c->n_v].sum;
}

static void check_attention(const attention_case *c, double tolerance) {
    double expected[MAX_DIM];
    float out[RT_QUERIES * MAX_DIM], again[RT_QUERIES * MAX_DIM];
    const size_t n_bytes = c->n * c->n_v * sizeof(float);
    paged_attention(&rt_cpu_kernels_generic, c, 0.3f, out);
    paged_attention(rt_cpu_kernels_get(), c, 0.3f, again);
    ck_assert_mem_eq(out, again, n_bytes);
    for (uint32_t i = 0; i < c->n; i++) {
        static attention_case alone;
        plain_attention(c, i, 0.3f, expected);
        check_close(out + i * c->n_v, expected, c->n_v, tolerance);
        alone = *c; /* neighbours change nothing */
        alone.n = 1;
        alone.first[0] = c->first[i];
        alone.end[0] = c->end[i];
        memcpy(alone.seen[0], c->seen[i], sizeof c->seen[i]);
        memcpy(alone.q, c->q + i * c->n_k, c->n_k * sizeof(float));
        paged_attention(rt_cpu_kernels_get(), &alone, 0.3f, again);
        ck_assert_mem_eq(out + i * c->n_v, again, c->n_v * sizeof(float));
    }
}

/* All keys, or every second one or so and the first that is visible. */
static void draw_seen(attention_case *c, uint32_t i, bool all) {
    for (uint32_t page = 0; page < N_PAGES; page++) {
        float drawn = random_float();
        uint64_t bits = (uint64_t)random_state << 32 | ~random_state >> 3;
        c->seen[i][page] = all ? UINT64_MAX : drawn < 0 ? 0 : bits;
    }
    c->seen[i][c->first[i] / RT_KV_PAGE_TOKENS] |= UINT64_C(1) << c->first[i] % RT_KV_PAGE_TOKENS;
}

/* Means of channels by softmax, number by number. */
START_TEST(pooled_blocks) {
    enum { N_BLOCK = 5 };
    const rt_cpu_kernels *variants[] = {&rt_cpu_kernels_generic, rt_cpu_kernels_get()};
    float values[N_BLOCK * MAX_N], scores[N_BLOCK * MAX_N], ape[N_BLOCK * MAX_N];
    static float state[2][3 * MAX_N + 1], mean[MAX_N];
    double expected[MAX_N];
    for (size_t n = 1; n <= MAX_N; n++) {
        fill(values, N_BLOCK * n, 3);
        fill(scores, N_BLOCK * n, n % 3 ? 4 : 150);
        fill(ape, N_BLOCK * n, 1);
        for (size_t i = 0; i < n; i++) {
            double most = -INFINITY, sum = 0, acc = 0;
            for (size_t t = i; t < N_BLOCK * n; t += n) most = fmax(most, scores[t] + ape[t]);
            for (size_t t = i; t < N_BLOCK * n; t += n) {
                double weight = exp(scores[t] + ape[t] - most);
                sum += weight;
                acc += weight * values[t];
            }
            expected[i] = acc / sum;
        }
        for (int v = 0; v < 2; v++) {
            memset(state[v], 0, sizeof state[v]);
            state[v][3 * n] = 77;
            for (size_t t = 0; t < N_BLOCK * n; t += n)
                variants[v]->pool(values + t, scores + t, ape + t, n, state[v]);
            for (size_t i = 0; i < n; i++) mean[i] = state[v][2 * n + i] / state[v][n + i];
            check_close(mean, expected, n, 3e-5);
            ck_assert(state[v][3 * n] == 77);
        }
        ck_assert_mem_eq(state[0], state[1], 3 * n * sizeof(float));
    }
}
END_TEST

START_TEST(index_scores) {
    const rt_cpu_kernels *variants[] = {&rt_cpu_kernels_generic, rt_cpu_kernels_get()};
    float q[5 * 40], weights[5], keys[9 * 40], out[2][9];
    double expected[9];
    for (uint32_t round = 0; round < 60; round++) {
        uint32_t dim = 1 + round % 40, n = 1 + round % 5;
        bool weighted = round % 2 == 0;
        if (!weighted) n = 1;
        fill(q, n * dim, 2);
        fill(weights, n, 2);
        fill(keys, 9 * dim, 2);
        for (uint32_t r = 0; r < 9; r++) {
            expected[r] = 0;
            for (uint32_t h = 0; h < n; h++) {
                double score = 0;
                for (uint32_t d = 0; d < dim; d++)
                    score += (double)q[h * dim + d] * keys[r * dim + d];
                expected[r] += weighted ? weights[h] * fmax(score, 0) : score;
            }
        }
        for (int v = 0; v < 2; v++) {
            variants[v]->index_scores(q, weighted ? weights : NULL, n, dim, keys, 9, out[v]);
            check_close(out[v], expected, 9, 2e-5);
        }
        ck_assert_mem_eq(out[0], out[1], sizeof out[0]);
    }
}
END_TEST

START_TEST(attention) {
    static attention_case c;
    static const uint32_t dims[] = {16, 32, 48, 64, 80};
    for (uint32_t round = 0; round < 400; round++) {
        c.n_k = round % 11 == 0 ? 8 : dims[round % 5];
        c.n_v = dims[round / 5 % 5];
        c.n = 1 + round / 7 % RT_QUERIES;
        for (uint32_t i = 0; i < c.n; i++) {
            c.end[i] = 1 + (round * 37 + i * (round % 6 ? 1 : 60)) % N_KEYS;
            c.first[i] = round % 3 == 0 ? 0 : (round * 11 + i) % c.end[i];
            draw_seen(&c, i, round % 5 < 3);
        }
        c.cap = round % 4 == 1 ? 5 : 0;
        c.sink = round % 2 ? random_float() * 3 : -INFINITY;
        fill(c.k, N_KEYS * MAX_DIM, 2);
        fill(c.v, N_KEYS * MAX_DIM, 1);
        fill(c.q, RT_QUERIES * MAX_DIM, round % 7 == 0 ? 200 : 3);
        check_attention(&c, round % 7 == 0 ? 5e-4 : 5e-6);
    }
}
END_TEST

int main(void) {
    Suite *suite = suite_create("runtime_kernels");
    TCase *tc = tcase_create("kernels");
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, norm_and_sums);
    tcase_add_test(tc, silu);
    tcase_add_test(tc, xielu);
    tcase_add_test(tc, activations);
    tcase_add_test(tc, clamped_and_scaled);
    tcase_add_test(tc, streams);
    tcase_add_test(tc, layer_norm_and_soft_cap);
    tcase_add_test(tc, logits);
    tcase_add_test(tc, all_finite_halves);
    tcase_add_test(tc, pooled_blocks);
    tcase_add_test(tc, index_scores);
    tcase_add_test(tc, attention);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
