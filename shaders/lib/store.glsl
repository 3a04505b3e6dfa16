// How matmul shaders with tiles store their sums. Constants: ALIGNED_C, and WHOLE where tiles have no
// edges.

// Four neighbouring elements of a row of c.
void store4(uint row, uint col, vec4 v) {
    if (!WHOLE && (row >= p.m || col >= p.n)) return;
    if (ALIGNED_C) {
        [[unroll]] for (uint j = 0; j < 4; j++) v[j] = epilogue(row, col + j, v[j]);
        uint at = ((gl_WorkGroupID.z * p.m + row) * p.stride_c + col) / 4;
        p.c4.at[at] = ACCUMULATE ? p.c4.at[at] + v : v;
    } else {
        [[unroll]] for (uint j = 0; j < 4; j++) store(row, col + j, v[j]);
    }
}
