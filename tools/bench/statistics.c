/* Student's distribution by the incomplete beta function, and what stands on it. */
#include "tools/bench/statistics.h"

#include <math.h>
#include <stdlib.h>

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double bench_percentile(double *values, size_t n, double share) {
    if (!n) return NAN;
    qsort(values, n, sizeof *values, compare_doubles);
    size_t rank = (size_t)ceil(share * (double)n);
    return values[rank ? rank - 1 : 0];
}

/* The continued fraction of the incomplete beta function, from its front (modified Lentz). */
static double beta_fraction(double a, double b, double x) {
    const double tiny = 1e-300;
    double c = 1, d = 1 - (a + b) * x / (a + 1);
    d = 1 / (fabs(d) < tiny ? tiny : d);
    double result = d;
    for (int m = 1; m <= 500; m++) {
        double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
        double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
        double step = 1;
        for (int half = 0; half < 2; half++) {
            double term = half ? odd : even;
            d = 1 + term * d;
            c = 1 + term / c;
            d = 1 / (fabs(d) < tiny ? tiny : d);
            if (fabs(c) < tiny) c = tiny;
            step = c * d;
            result *= step;
        }
        if (fabs(step - 1) < 1e-15) break;
    }
    return result;
}

/* I_x(a, b). */
static double incomplete_beta(double a, double b, double x) {
    if (x <= 0 || x >= 1) return x <= 0 ? 0 : 1;
    double front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x));
    if (x < (a + 1) / (a + b + 2)) return front * beta_fraction(a, b, x) / a;
    return 1 - front * beta_fraction(b, a, 1 - x) / b;
}

double bench_student_cdf(double t, double df) {
    double tail = 0.5 * incomplete_beta(df / 2, 0.5, df / (df + t * t));
    return t > 0 ? 1 - tail : tail;
}

double bench_student_quantile(double share, double df) {
    double low = -1, high = 1;
    while (bench_student_cdf(low, df) > share && low > -1e12) low *= 2;
    while (bench_student_cdf(high, df) < share && high < 1e12) high *= 2;
    for (int i = 0; i < 200 && high - low > 1e-12 * fabs(high); i++) {
        double middle = (low + high) / 2;
        if (bench_student_cdf(middle, df) < share)
            low = middle;
        else
            high = middle;
    }
    return (low + high) / 2;
}

bench_moments bench_moments_of(const double *values, size_t n) {
    double sum = 0, squares = 0;
    for (size_t i = 0; i < n; i++) sum += values[i];
    double mean = sum / (double)n;
    for (size_t i = 0; i < n; i++) squares += (values[i] - mean) * (values[i] - mean);
    if (n < 2) return (bench_moments){mean, 0, NAN};
    double deviation = sqrt(squares / (double)(n - 1));
    double t = bench_student_quantile(0.975, (double)(n - 1));
    return (bench_moments){mean, deviation, t * deviation / sqrt((double)n)};
}

/* Mean and the mean's variance of the logarithms; two passes. */
static void log_moments(const double *values, size_t n, double *mean, double *variance) {
    double sum = 0, squares = 0;
    for (size_t i = 0; i < n; i++) sum += log(values[i]);
    *mean = sum / (double)n;
    for (size_t i = 0; i < n; i++) squares += pow(log(values[i]) - *mean, 2);
    *variance = n > 1 ? squares / (double)(n - 1) / (double)n : 0;
}

bench_comparison bench_compare_samples(const double *a, size_t n_a, const double *b, size_t n_b) {
    double mean_a, mean_b, var_a, var_b;
    log_moments(a, n_a, &mean_a, &var_a);
    log_moments(b, n_b, &mean_b, &var_b);
    double diff = mean_b - mean_a, error = sqrt(var_a + var_b);
    bench_comparison result = {exp(mean_a), exp(mean_b), exp(diff), NAN, NAN, NAN};
    if (n_a < 2 || n_b < 2) return result;
    if (error == 0) {
        result.ratio_lo = result.ratio_hi = result.ratio;
        result.p = diff == 0;
        return result;
    }
    double df = pow(var_a + var_b, 2) /
                (var_a * var_a / (double)(n_a - 1) + var_b * var_b / (double)(n_b - 1));
    double t = bench_student_quantile(0.975, df);
    result.ratio_lo = exp(diff - t * error);
    result.ratio_hi = exp(diff + t * error);
    result.p = 2 * bench_student_cdf(-fabs(diff) / error, df);
    return result;
}
