// Kernels that take elements one by one: i runs over all n.
layout(local_size_x = 64) in;
#define EACH(i, n) uint i = gl_GlobalInvocationID.x; i < n; i += 64u * gl_NumWorkGroups.x
