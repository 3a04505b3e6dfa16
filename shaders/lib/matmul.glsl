// What the matmul shaders share: operands, loads and the epilogue.
//   c [M,N] = act(op(a) op(b) + bias [N]) + residual [M,N], or c += ...
//   op(a) [M,K]: a [M,K] or, TRANSPOSE_A, [K,M]; op(b) [K,N]: b [K,N] or, TRANSPOSE_B, [N,K]
// Split-K: with several workgroups in z each sums k_chunk elements of K into its own slice of
// c [splits,M,N], without an epilogue; matmul_split_k_reduce.comp adds the slices.
#include "storage.glsl"
layout(constant_id = 22) const uint TYPE_A = F32;   // and of the residual
layout(constant_id = 23) const uint TYPE_B = F32;
layout(constant_id = 24) const uint TYPE_C = F32;

layout(push_constant, std430) uniform Push {
    InputWords a, b;
    Inputs bias;
    InputWords residual;
    Words c;
    InputWords2 a2, b2;   // the addresses of a, b and c again: not every driver casts them
    Words2 c2;
    InputWords4 a4, b4;
    Words4 c4;
    uint m, n, k, k_chunk;
    uint stride_a, stride_b, stride_residual, stride_c;
} p;

// x[at .. at + 3], with zeros from x[at + count] on.
vec4 load4(InputWords x, InputWords2 x2, InputWords4 x4, uint type, bool aligned, uint at, uint count) {
    if (aligned && count >= 4) {
        if (type != F32) return unpack_words(x2.at[at / 4], type);
        return uintBitsToFloat(x4.at[at / 4]);
    }
    vec4 v = vec4(0.0);
    if (count > 0) v.x = LOAD(x, type, at);
    if (count > 1) v.y = LOAD(x, type, at + 1);
    if (count > 2) v.z = LOAD(x, type, at + 2);
    if (count > 3) v.w = LOAD(x, type, at + 3);
    return v;
}

// What is fused behind the sum.
float epilogue(uint row, uint col, float value) {
    if (HAS_BIAS) value += p.bias.at[min(col, p.n - 1)];   // c may be padded
    value = act(value);
    if (HAS_RESIDUAL) value += LOAD(p.residual, TYPE_A, row * p.stride_residual + col);
    return value;
}

void store_sum(uint row, uint col, float value) {
    if (row >= p.m || col >= p.n) return;
    value = epilogue(row, col, value);
    uint at = (gl_WorkGroupID.z * p.m + row) * p.stride_c + col;
    if (ACCUMULATE) value = LOAD(p.c, TYPE_C, at) + value;
    store(p.c, TYPE_C, at, value);
}
