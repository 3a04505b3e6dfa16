// What shaders of products share: the operands, how they are read, and what happens to a finished
// sum. A line is a row of op(a) or a column of op(b); its elements are the terms.
// Four numbers at once, where address and stride are multiples of 16 bytes.
layout(buffer_reference, std430, buffer_reference_align = 16) readonly buffer Vectors { vec4 at[]; };
layout(buffer_reference, std430, buffer_reference_align = 16) buffer Results { vec4 at[]; };

layout(push_constant, std430) uniform Push {
    Inputs a, b, bias, residual;
    Floats c;
    Vectors a_fours, b_fours;   // a, b and c once more: not every driver casts addresses
    Results c_fours;
    uint m, n, k, chunk;
    uint stride_a, stride_b, stride_residual, stride_c;
} p;

// Numbers at .. at + 3 of x, zeros from `count` on.
vec4 fetch(Inputs x, Vectors fours, bool aligned, uint at, uint count) {
    if (aligned && count >= 4) return fours.at[at / 4];
    vec4 v = vec4(0.0);
    if (count > 0) v.x = x.at[at];
    if (count > 1) v.y = x.at[at + 1];
    if (count > 2) v.z = x.at[at + 2];
    if (count > 3) v.w = x.at[at + 3];
    return v;
}

float finish(uint row, uint col, float value) {
    if (HAS_BIAS) value += p.bias.at[col];
    value = act(value);
    if (HAS_RESIDUAL) value += p.residual.at[row * p.stride_residual + col];
    return value;
}

void store(uint row, uint col, float value) {
    if (row >= p.m || col >= p.n) return;
    value = finish(row, col, value);
    uint at = (gl_WorkGroupID.z * p.m + row) * p.stride_c + col;
    p.c.at[at] = ACCUMULATE ? p.c.at[at] + value : value;
}
