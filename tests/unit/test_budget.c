/* Size budgets: against trying every selection, at large sizes against the bound, and refusals. */
#include "quant/budget.h"
#include "tests/unit/unit.h"

#define N_ITEMS   7
#define N_CHOICES 4

static uint32_t state = 1;

static uint32_t next_random(void) {
    state = state * 1664525u + 1013904223u;
    return state >> 8;
}

/* Larger choices do less damage, as types do; sizes are multiples of `grain`. */
static void random_choices(quant_choice *choices, size_t n, uint64_t grain) {
    uint64_t size = grain * (1 + next_random() % 50);
    double damage = 1 + next_random() % 1000;
    for (size_t c = 0; c < n; c++) {
        choices[c] = (quant_choice){.type = (uint32_t)c, .n_bytes = size, .damage = damage};
        size += grain * (1 + next_random() % 50);
        damage *= 0.1 + 0.8 * (next_random() % 1000) / 1000.0;
    }
}

static double best_of_all(quant_choice choices[N_ITEMS][N_CHOICES], uint64_t max_bytes) {
    double best = -1;
    for (unsigned code = 0; code < 1u << (2 * N_ITEMS); code++) {
        uint64_t n_bytes = 0;
        double damage = 0;
        for (unsigned i = 0; i < N_ITEMS; i++) {
            const quant_choice *c = &choices[i][code >> (2 * i) & 3];
            n_bytes += c->n_bytes;
            damage += c->damage;
        }
        if (n_bytes <= max_bytes && (best < 0 || damage < best)) best = damage;
    }
    return best;
}

START_TEST(no_selection_is_better) {
    quant_choice choices[N_ITEMS][N_CHOICES];
    quant_budget_item items[N_ITEMS];
    quant_budget_result result;
    gguf_error err = {0};
    for (int round = 0; round < 60; round++) {
        uint64_t least = 0, most = 0;
        for (size_t i = 0; i < N_ITEMS; i++) {
            random_choices(choices[i], N_CHOICES, 96);
            items[i] = (quant_budget_item){.choices = choices[i], .n_choices = N_CHOICES};
            least += choices[i][0].n_bytes;
            most += choices[i][N_CHOICES - 1].n_bytes;
        }
        uint64_t max_bytes = least + (most - least) * (uint64_t)(round % 11) / 10 + 7;
        unit_ok(quant_budget_solve(items, N_ITEMS, max_bytes, &result, &err), err);
        double best = best_of_all(choices, max_bytes);
        ck_assert(result.n_bytes <= max_bytes);
        ck_assert_double_eq_tol(result.damage, best, 1e-9 * best);
        ck_assert(result.bound <= best * (1 + 1e-9));
    }
}
END_TEST

/* Odd sizes cannot be counted in whole units; the gap to the bound stays small. */
START_TEST(large_models_come_close_to_the_bound) {
    enum { N = 600 };
    static quant_choice choices[N][8];
    static quant_budget_item items[N];
    quant_budget_result result;
    gguf_error err = {0};
    uint64_t least = 0, most = 0;
    for (size_t i = 0; i < N; i++) {
        random_choices(choices[i], 8, 1000003 + i);
        items[i] = (quant_budget_item){.choices = choices[i], .n_choices = 8};
        least += choices[i][0].n_bytes;
        most += choices[i][7].n_bytes;
    }
    uint64_t max_bytes = least + (most - least) / 3;
    unit_ok(quant_budget_solve(items, N, max_bytes, &result, &err), err);
    ck_assert(result.n_bytes <= max_bytes);
    ck_assert((double)result.n_bytes > 0.999 * (double)max_bytes);
    ck_assert(result.damage >= result.bound);
    ck_assert(result.damage < 1.005 * result.bound);
}
END_TEST

START_TEST(too_small_targets_are_refused) {
    const quant_choice one[] = {{.type = 2, .n_bytes = 100, .damage = 1}};
    quant_budget_item items[] = {{.choices = one, .n_choices = 1}};
    quant_budget_result result;
    gguf_error err = {0};
    unit_fails(quant_budget_solve(items, 1, 99, &result, &err), GGUF_E_USAGE, "at least 100 bytes",
               err);
    err = (gguf_error){0};
    unit_ok(quant_budget_solve(items, 1, 100, &result, &err), err);
    ck_assert_uint_eq(result.n_bytes, 100);
    ck_assert(result.damage == 1 && result.bound == 1);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("budget");
    TCase *tests = tcase_create("budget");
    tcase_add_test(tests, no_selection_is_better);
    tcase_add_test(tests, large_models_come_close_to_the_bound);
    tcase_add_test(tests, too_small_targets_are_refused);
    suite_add_tcase(suite, tests);
    return unit_run(suite);
}
