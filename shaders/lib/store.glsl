// How matmul shaders with tiles store their sums. Constants: ALIGNED_C, and WHOLE where tiles have no
// edges.

// Four neighbouring elements of a row of c.
void store4(uint row, uint col, vec4 v) {
    if (!WHOLE && (row >= p.m || col >= p.n)) return;
    if (ALIGNED_C) {
        [[unroll]] for (uint j = 0; j < 4; j++) v[j] = epilogue(row, col + j, v[j]);
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
