/* Steps on numbers, and back. */
#ifndef QUANT_STEPS_H
#define QUANT_STEPS_H

#include "quant/plan.h"

#include <math.h>
#include <string.h>

static inline float quant_step_factor(const quant_step *step) {
    uint32_t bits = (uint32_t)step->arg;
    float factor;
    memcpy(&factor, &bits, sizeof factor);
    return factor;
}

/* What a step makes of a number; one that moves rows leaves it. Through double, so that every C
 * library gives the same bits. */
static inline float quant_step_apply(const quant_step *step, float value) {
    switch (step->op) {
    case QUANT_STEP_ADD:
        return value + (float)step->arg;
    case QUANT_STEP_NEG_EXP:
        return -(float)exp((double)value);
    case QUANT_STEP_EXP:
        return (float)exp((double)value);
    case QUANT_STEP_SCALE:
        return value * quant_step_factor(step);
    default:
        return value;
    }
}

/* The number of which a step makes this one, as nearly as f32 tells it. */
static inline float quant_step_undo(const quant_step *step, float value) {
    switch (step->op) {
    case QUANT_STEP_ADD:
        return value - (float)step->arg;
    case QUANT_STEP_NEG_EXP:
        return (float)log(-(double)value);
    case QUANT_STEP_EXP:
        return (float)log((double)value);
    case QUANT_STEP_SCALE:
        return value / quant_step_factor(step);
    default:
        return value;
    }
}

#endif
