#version 460
#extension GL_GOOGLE_include_directive : require
// activation(x) * y; kind is an rt_activation.
#include "common.glsl"
#include "each.glsl"
OPERAND(0, , float, x)
OPERAND(1, readonly, float, y)
layout(constant_id = 0) const uint kind = 0;
layout(push_constant, scalar) uniform P { uint at[6]; uint n, has_y; float p, m, beta, eps; };

// (1 + erf(x / sqrt 2)) / 2 by Abramowitz and Stegun 7.1.26, off by 1.5e-7 at most.
float normal(float x) {
    float z = x * 0.70710678, size = abs(z), t = 1.0 / (1.0 + 0.3275911 * size), sum = 1.061405429;
    sum = sum * t - 1.453152027;
    sum = sum * t + 1.421413741;
    sum = sum * t - 0.284496736;
    sum = sum * t + 0.254829592;
    float e = 1.0 - sum * t * exp(-(size * size));
    return 0.5 * (1.0 + (z < 0.0 ? -e : e));
}

// e^x - 1 - x for x <= 0: near zero by its series, where the difference would be lost.
float exp_beyond(float x) {
    if (x <= -0.5) return exp(x) - 1.0 - x;
    float sum = 1.0 / 362880.0;
    sum = sum * x + 1.0 / 40320.0;
    sum = sum * x + 1.0 / 5040.0;
    sum = sum * x + 1.0 / 720.0;
    sum = sum * x + 1.0 / 120.0;
    sum = sum * x + 1.0 / 24.0;
    sum = sum * x + 1.0 / 6.0;
    sum = sum * x + 0.5;
    return sum * x * x;
}

float xielu(float x) {
    float low = min(x, eps);
    return (x > 0.0 ? p * x * x : m * (exp_beyond(low) + (low - x))) + beta * x;
}

float activated(float x) {
    switch (kind) {
    case 0: return x * sigmoid(x);
    case 1: return x * sigmoid(1.59576912 * (x + 0.044715 * x * x * x));
    case 2: return x * normal(x);
    case 3: return max(x, 0.0) * max(x, 0.0);
    case 4: return sigmoid(x);
    case 5: return softplus(x);
    case 7: return min(x, 7.0) * sigmoid(1.702 * min(x, 7.0));
    case 8: return xielu(x);
    case 9: return max(x, 0.0);
    }
    return x;
}

void main() {
    for (EACH(i, n)) {
        float factor = has_y != 0u ? y[at[1] + i] : 1.0;
        if (kind == 7u && has_y != 0u) factor = clamp(factor, -7.0, 7.0) + 1.0;
        x[at[0] + i] = activated(x[at[0] + i]) * factor;
    }
}
