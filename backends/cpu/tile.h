// A GEMM for small matrices in cache, for attention: c [M,N] (+)= a [M,K] b [K,N].
//
// a is read element by element and may have any two strides, so its transpose is free; b and c are
// rows of vectors. tile_block is the microkernel: its rows of c are accumulators in registers.
#ifndef DAPT_CPU_TILE_H
#define DAPT_CPU_TILE_H
#include "simd.h"

#if VECTOR_BYTES == 64 || defined(__aarch64__)
#define TILE_VECTORS 4  // of a row of c; with four rows 16 of 32 registers
#else
#define TILE_VECTORS 2
#endif

// Element (i, r) of [M,K] is at data[i * row + r * k].
struct tile_a {
    const float *data;
    int64_t row, k;
};

static inline __attribute__((always_inline)) void tile_block(const int rows, const int vectors,
                                                             int64_t k, struct tile_a a,
                                                             const float *b, int64_t b_stride,
                                                             float *c, int64_t c_stride,
                                                             bool accumulate) {
    vf acc[4][TILE_VECTORS];
#pragma GCC unroll 4
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (int j = 0; j < vectors; j++)
            acc[i][j] = accumulate ? load(c + i * c_stride + j * LANES) : (vf){0};
    for (int64_t r = 0; r < k; r++) {
        vf b_r[TILE_VECTORS];
#pragma GCC unroll 4
        for (int j = 0; j < vectors; j++) b_r[j] = load(b + r * b_stride + j * LANES);
#pragma GCC unroll 4
        for (int i = 0; i < rows; i++) {
            vf a_i = splat(a.data[i * a.row + r * a.k]);
#pragma GCC unroll 4
            for (int j = 0; j < vectors; j++) acc[i][j] += a_i * b_r[j];
        }
    }
#pragma GCC unroll 4
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (int j = 0; j < vectors; j++) store(c + i * c_stride + j * LANES, acc[i][j]);
}

static inline __attribute__((always_inline)) void tile_rows(const int vectors, int64_t m, int64_t k,
                                                            struct tile_a a, const float *b,
                                                            int64_t b_stride, float *c,
                                                            int64_t c_stride, bool accumulate) {
    for (; m >= 4; m -= 4, a.data += 4 * a.row, c += 4 * c_stride)
        tile_block(4, vectors, k, a, b, b_stride, c, c_stride, accumulate);
    for (; m > 0; m--, a.data += a.row, c += c_stride)
        tile_block(1, vectors, k, a, b, b_stride, c, c_stride, accumulate);
}

// n is a multiple of LANES.
static __attribute__((noinline)) void tile_multiply(int64_t m, int64_t n, int64_t k,
                                                    struct tile_a a, const float *b,
                                                    int64_t b_stride, float *c, int64_t c_stride,
                                                    bool accumulate) {
    int64_t j = 0;
    for (; j + TILE_VECTORS * LANES <= n; j += TILE_VECTORS * LANES)
        tile_rows(TILE_VECTORS, m, k, a, b + j, b_stride, c + j, c_stride, accumulate);
#if TILE_VECTORS == 4
    for (; j + 2 * LANES <= n; j += 2 * LANES)
        tile_rows(2, m, k, a, b + j, b_stride, c + j, c_stride, accumulate);
#endif
    for (; j < n; j += LANES) tile_rows(1, m, k, a, b + j, b_stride, c + j, c_stride, accumulate);
}
#endif
