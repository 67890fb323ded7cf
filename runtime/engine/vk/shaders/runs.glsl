// Layers with a state: the runs of a batch, in order. NO_SLOT: a sequence begins, the state is zero.
struct Run {
    uint from, to, row, n;
};
layout(buffer_reference, scalar, buffer_reference_align = 4) readonly buffer Runs { Run v[]; };
#define NO_SLOT 0xFFFFFFFFu
