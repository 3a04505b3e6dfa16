// What the matmul shaders share: operands, loads and the epilogue.
//   c [M,N] = act(op(a) op(b) + bias [N]) + residual [M,N], or c += ...
//   op(a) [M,K]: a [M,K] or, TRANSPOSE_A, [K,M]; op(b) [K,N]: b [K,N] or, TRANSPOSE_B, [N,K]
// Split-K: with several workgroups in z each sums k_chunk elements of K into its own slice of
// c [splits,M,N], without an epilogue; matmul_split_k_reduce.comp adds the slices.

layout(push_constant, std430) uniform Push {
    Inputs a, b, bias, residual;
    Floats c;
    Inputs4 a4, b4;   // the addresses of a, b and c again: not every driver casts them
    Floats4 c4;
    uint m, n, k, k_chunk;
    uint stride_a, stride_b, stride_residual, stride_c;
} p;

// x[at .. at + 3], with zeros from x[at + count] on.
vec4 load4(Inputs x, Inputs4 x4, bool aligned, uint at, uint count) {
    if (aligned && count >= 4) return x4.at[at / 4];
    vec4 v = vec4(0.0);
    if (count > 0) v.x = x.at[at];
    if (count > 1) v.y = x.at[at + 1];
    if (count > 2) v.z = x.at[at + 2];
    if (count > 3) v.w = x.at[at + 3];
    return v;
}

// What is fused behind the sum.
float epilogue(uint row, uint col, float value) {
    if (HAS_BIAS) value += p.bias.at[col];
    value = act(value);
    if (HAS_RESIDUAL) value += p.residual.at[row * p.stride_residual + col];
    return value;
}

void store(uint row, uint col, float value) {
    if (row >= p.m || col >= p.n) return;
    value = epilogue(row, col, value);
    uint at = (gl_WorkGroupID.z * p.m + row) * p.stride_c + col;
    p.c.at[at] = ACCUMULATE ? p.c.at[at] + value : value;
}
