// Sums over the invocations of a workgroup, in an order that does not depend on the subgroup size.
// WIDTH is a power of two.
shared float partial_sums[WIDTH * HEIGHT];

// Over x, as a tree: all invocations of one y receive their sum. To be called by all of the
// workgroup.
float sum_width(float value) {
    if (WIDTH == 1) return value;
    uint x = gl_LocalInvocationID.x, at = gl_LocalInvocationID.y * WIDTH + x;
    partial_sums[at] = value;
    barrier();
    for (uint step = WIDTH / 2; step > 0; step /= 2) {
        if (x < step) partial_sums[at] += partial_sums[at + step];
        barrier();
    }
    float sum = partial_sums[at - x];
    barrier();
    return sum;
}

// Over y, in order: the invocations of y = 0 receive the sum.
float sum_height(float value) {
    if (HEIGHT == 1) return value;
    uint x = gl_LocalInvocationID.x, y = gl_LocalInvocationID.y;
    partial_sums[y * WIDTH + x] = value;
    barrier();
    float sum = 0.0;
    if (y == 0)
        for (uint i = 0; i < HEIGHT; i++) sum += partial_sums[i * WIDTH + x];
    barrier();
    return sum;
}
