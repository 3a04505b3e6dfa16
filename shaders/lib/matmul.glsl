// What shaders of products share: the operands, and what happens to a finished sum.
layout(push_constant, std430) uniform Push {
    Inputs a, b, bias, residual;
    Floats c;
    uint m, n, k, chunk;
    uint stride_a, stride_b, stride_residual, stride_c;
} p;

void store(uint row, uint col, float value) {
    if (row >= p.m || col >= p.n) return;
    if (HAS_BIAS) value += p.bias.at[col];
    value = act(value);
    if (HAS_RESIDUAL) value += p.residual.at[row * p.stride_residual + col];
    uint at = (gl_WorkGroupID.z * p.m + row) * p.stride_c + col;
    p.c.at[at] = ACCUMULATE ? p.c.at[at] + value : value;
}
