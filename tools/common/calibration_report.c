/* What people and scripts read. */
#include "tools/common/calibration_report.h"

#include <math.h>

#define N_WORST 3

uint64_t calibration_report_n_unfed(const quant_plan *plan, const quant_output_error *errors) {
    uint64_t n = 0;
    for (size_t i = 0; i < plan->n_tensors; i++)
        if (plan->tensors[i].calibrated) n += errors[i].n_unfed;
    return n;
}

/* The tensor with the largest error below `below`, or n_tensors. */
static size_t find_worst(const quant_plan *plan, const quant_output_error *errors, double below) {
    size_t worst = plan->n_tensors;
    for (size_t i = 0; i < plan->n_tensors; i++)
        if (plan->tensors[i].calibrated && errors[i].kept < below &&
            (worst == plan->n_tensors || errors[i].kept > errors[worst].kept))
            worst = i;
    return worst;
}

static void print_gain(tool *t, const quant_plan *plan, const quant_output_error *errors) {
    double sum = 0;
    size_t n = 0;
    for (size_t i = 0; i < plan->n_tensors; i++)
        if (plan->tensors[i].compensate && errors[i].kept > 0 && errors[i].rounded > 0) {
            sum += log(errors[i].kept / errors[i].rounded);
            n++;
        }
    if (n)
        tool_note(t, "%zu tensor%s compensated: output errors %.2f times those of rounding", n,
                  tool_s(n), exp(sum / (double)n));
}

void calibration_report_print(tool *t, const quant_plan *plan, const quant_output_error *errors) {
    double below = HUGE_VAL;
    print_gain(t, plan, errors);
    for (int i = 0; i < N_WORST; i++) {
        size_t worst = find_worst(plan, errors, below);
        if (worst == plan->n_tensors) break;
        const quant_output_error *e = &errors[worst];
        below = e->kept;
        tool_note(t, "%s %s as %s: %.5f, by rounding alone %.5f",
                  i ? "               " : "largest errors:", plan->tensors[worst].out.name.ptr,
                  gguf_type_name(plan->tensors[worst].out.type), e->kept, e->rounded);
    }
}

void calibration_report_json(json_t *row, const quant_output_error *error) {
    json_object_set_new(row, "samples", json_integer((json_int_t)error->n_samples));
    json_object_set_new(row, "fallbacks", json_integer((json_int_t)error->n_unfed));
    json_object_set_new(row, "output_error_rounded", tool_json_real(error->rounded));
    json_object_set_new(row, "output_error", tool_json_real(error->kept));
}
