// How matmul shaders with tiles store their sums. Constants: ALIGNED_C, of the residual too, and WHOLE
// where tiles have no edges.

// Four neighbours of the residual, from one of a multiple of 4 on.
vec4 residual4(uint row, uint col) {
    uint at = row * p.stride_residual + col;
    if (!HAS_RESIDUAL) return vec4(0.0);
    if (TYPE_A != F32) return unpack_words(uvec2(p.residual.at[at / 2], p.residual.at[at / 2 + 1]), TYPE_A);
    return uintBitsToFloat(uvec4(p.residual.at[at], p.residual.at[at + 1], p.residual.at[at + 2], p.residual.at[at + 3]));
}

// Four neighbouring elements of a row of c.
void store4(uint row, uint col, vec4 v) {
    if (!WHOLE && (row >= p.m || col >= p.n)) return;
    if (ALIGNED_C) {
        vec4 residual = residual4(row, col);
        [[unroll]] for (uint j = 0; j < 4; j++) v[j] = finish(col + j, v[j], residual[j]);
        uint at = ((gl_WorkGroupID.z * p.m + row) * p.stride_c + col) / 4;
        if (TYPE_C == F32) {
            if (ACCUMULATE) v = uintBitsToFloat(p.c4.at[at]) + v;
            p.c4.at[at] = floatBitsToUint(v);
        } else {
            if (ACCUMULATE) v = unpack_words(p.c2.at[at], TYPE_C) + v;
            p.c2.at[at] = pack_words(v, TYPE_C);
        }
    } else {
        [[unroll]] for (uint j = 0; j < 4; j++) store_sum(row, col + j, v[j]);
    }
}
