// Sums over the invocations of a workgroup, in a fixed order whatever the subgroup size. WIDTH is a
// power of two.
shared float reduce_part[WIDTH * HEIGHT];

// Over x: all invocations of one y receive the sum of theirs. Every invocation of the workgroup
// takes part.
float sum_width(float value) {
    if (WIDTH == 1) return value;
    uint x = gl_LocalInvocationID.x, at = gl_LocalInvocationID.y * WIDTH + x;
    reduce_part[at] = value;
    barrier();
    for (uint step = WIDTH / 2; step > 0; step /= 2) {
        if (x < step) reduce_part[at] += reduce_part[at + step];
        barrier();
    }
    float sum = reduce_part[at - x];
    barrier();
    return sum;
}

// Over y, in its order: invocations of y = 0 receive the sum.
float sum_height(float value) {
    if (HEIGHT == 1) return value;
    uint x = gl_LocalInvocationID.x, y = gl_LocalInvocationID.y;
    reduce_part[y * WIDTH + x] = value;
    barrier();
    float sum = 0.0;
    if (y == 0)
        for (uint i = 0; i < HEIGHT; i++) sum += reduce_part[i * WIDTH + x];
    barrier();
    return sum;
}
