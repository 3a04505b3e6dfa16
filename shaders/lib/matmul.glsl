// What the matmul shaders share: operands, loads and the epilogue.
//   c [M,N] = act(op(a) op(b) + bias [N]) + residual [M,N], or c += ...
//   DERIVATIVE: c = (op(a) op(b) + bias) * act'(residual)
//   SUMS: sums [M] = sum over k of op(a), or sums [N] = sum over k of op(b), or sums += ... By the first
//     workgroups along the other dimension, in the order of k, as the factor lies in shared memory
//   op(a) [M,K]: a [M,K] or, TRANSPOSE_A, [K,M]; op(b) [K,N]: b [K,N] or, TRANSPOSE_B, [N,K]
// Split-K: with several workgroups in z each sums k_chunk elements of K into its own slice of
// c [splits,M,N], without an epilogue, and of sums; matmul_split_k_reduce.comp adds the slices.
#include "storage.glsl"
layout(constant_id = 22) const uint TYPE_A = F32;   // and of the residual
layout(constant_id = 23) const uint TYPE_B = F32;
layout(constant_id = 24) const uint TYPE_C = F32;
layout(constant_id = 25) const bool DERIVATIVE = false;
layout(constant_id = 26) const uint SUMS = 0;          // 1: of op(a), 2: of op(b)
layout(constant_id = 27) const bool ADD_SUMS = false;

layout(push_constant, std430) uniform Push {
    InputWords a, b;
    Inputs bias;
    InputWords residual;
    Words c;
    InputWords2 a2, b2;   // the addresses of a, b and c again: not every driver casts them
    Words2 c2;
    InputWords4 a4, b4;
    Words4 c4;
    Floats sums;
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
float finish(uint col, float value, float residual) {
    if (HAS_BIAS) value += p.bias.at[min(col, p.n - 1)];   // c may be padded
    if (DERIVATIVE) return value * act_grad(residual);
    value = act(value);
    return HAS_RESIDUAL ? value + residual : value;
}
float epilogue(uint row, uint col, float value) {
    return finish(col, value, HAS_RESIDUAL ? LOAD(p.residual, TYPE_A, row * p.stride_residual + col) : 0.0);
}

void store_sum(uint row, uint col, float value) {
    if (row >= p.m || col >= p.n) return;
    value = epilogue(row, col, value);
    uint at = (gl_WorkGroupID.z * p.m + row) * p.stride_c + col;
    if (ACCUMULATE) value = LOAD(p.c, TYPE_C, at) + value;
    store(p.c, TYPE_C, at, value);
}

// Whether this workgroup makes the sums of its rows of op(a), or columns of op(b).
bool makes_sums() {
    return SUMS != 0 && (SUMS == 1 ? gl_WorkGroupID.x : gl_WorkGroupID.y) == 0;
}
void store_factor_sum(uint i, float value) {
    uint size = SUMS == 1 ? p.m : p.n, at = gl_WorkGroupID.z * size + i;
    if (i < size) p.sums.at[at] = ADD_SUMS ? p.sums.at[at] + value : value;
}
