/* The levels and their search trees. */
#include "quant/kernels/levels.h"

const int8_t quant_iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                     1,    13,   25,  38,  53,  69,  89,  113};
const int8_t quant_mxfp4_values[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};
const uint8_t quant_mxfp4_codes[16] = {15, 15, 14, 13, 12, 11, 10, 9, 0, 1, 2, 3, 4, 5, 6, 7};

const quant_levels quant_iq4_levels = {
    .level = {-127.0f, -104.0f, -83.0f, -65.0f, -49.0f, -35.0f, -22.0f, -10.0f, 1.0f, 13.0f, 25.0f,
              38.0f, 53.0f, 69.0f, 89.0f, 113.0f},
    .tree = {0.0f, -4.5f, -57.0f, 45.5f, -93.5f, -28.5f, 19.0f, 79.0f, -115.5f, -74.0f, -42.0f,
             -16.0f, 7.0f, 31.5f, 61.0f, 101.0f},
};

const quant_levels quant_mxfp4_levels = {
    .level = {-12.0f, -12.0f, -8.0f, -6.0f, -4.0f, -3.0f, -2.0f, -1.0f, 0.0f, 1.0f, 2.0f, 3.0f,
              4.0f, 6.0f, 8.0f, 12.0f},
    .tree = {0.0f, -0.5f, -5.0f, 3.5f, -10.0f, -2.5f, 1.5f, 7.0f, -12.0f, -7.0f, -3.5f, -1.5f, 0.5f,
             2.5f, 5.0f, 10.0f},
};

const quant_levels quant_sign_levels = {
    .level = {-1.0f, -1.0f, -1.0f, -1.0f, -1.0f, -1.0f, -1.0f, -1.0f, -1.0f, -1.0f, -1.0f, -1.0f,
              -1.0f, -1.0f, -1.0f, 1.0f},
};
