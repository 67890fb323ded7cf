/* Means, intervals and tests. */
#ifndef TOOLS_BENCH_STATISTICS_H
#define TOOLS_BENCH_STATISTICS_H

#include <stddef.h>

typedef struct bench_moments {
    double mean, deviation; /* the sample's: n - 1 below */
    double
        ci95; /* half the width of the mean's interval, t(0.975, n - 1) s / sqrt(n); NaN: n < 2 */
} bench_moments;

bench_moments bench_moments_of(const double *values, size_t n);

/* The value that `share` of them do not exceed (nearest rank). Sorts them; NaN for none. */
double bench_percentile(double *values, size_t n, double share);

/* P(T <= t) of Student's distribution with df > 0 degrees of freedom, and its inverse. */
double bench_student_cdf(double t, double df);
double bench_student_quantile(double share, double df);

/* b against a, by Welch's t test on the logarithms (samples of unequal variance; B. L. Welch,
 * Biometrika 34, 1947), so that the interval is one of the ratio. */
typedef struct bench_comparison {
    double mean_a, mean_b;     /* geometric */
    double ratio;              /* of these, b / a */
    double ratio_lo, ratio_hi; /* 95 % interval; NaN with fewer than two samples */
    double p;                  /* two-sided; NaN likewise */
} bench_comparison;

/* All values are positive, n_a and n_b at least 1. */
bench_comparison bench_compare_samples(const double *a, size_t n_a, const double *b, size_t n_b);

#endif
