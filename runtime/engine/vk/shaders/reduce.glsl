// Sums over a workgroup of LANES invocations, which all get the result.
shared float partial[LANES];

float sum_lanes(float x) {
    uint lane = gl_LocalInvocationIndex;
    barrier();
    partial[lane] = x;
    barrier();
    for (uint apart = LANES / 2u; apart > 0u; apart /= 2u) {
        if (lane < apart) partial[lane] += partial[lane + apart];
        barrier();
    }
    return partial[0];
}
