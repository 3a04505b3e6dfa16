// What the two passes of FlashAttention-2 share (Dao 2023): attention.c is the forward pass
// (algorithm 1), attention_grad.c the backward pass (algorithm 2). The names are the paper's:
//   Br x Bc  rows of a tile of queries, rows of a tile of keys: BR, BC
//   D        head size (d in the paper)
//   s, p     scores and probabilities of one tile; dp, ds: their gradients
//   m, l     running maximum and sum of a row of scores; alpha: exp(m_old - m_new)
//   o        output before the division by l; y is the output O, lse the row's logsumexp L
//   delta    rowsum(dy * y), D in the paper
// Vectors hold one value of several queries: tiles of scores are stored transposed, as
// [key][query], and outputs as [channel][query]. Rows of k and v are read where they are, or, in 16
// bits, as floats in scratch.
#ifndef DAPT_CPU_ATTENTION_H
#define DAPT_CPU_ATTENTION_H
#include "tile.h"

#if defined(__SSE__)
#include <xmmintrin.h>
#endif

#define BR 64
#define BC 64

// The sizes of an attention op: rows of one sequence, heads of queries and of keys (grouped-query
// attention), head size.
struct attention {
    int64_t sequences, query_rows, key_rows, heads, kv_heads, D, window;
    float scale, softcap;
};

static inline struct attention attention_of(const struct job *job, const struct view *q,
                                            const struct view *k) {
    int64_t sequences = job->op.u.attention.sequences;
    return (struct attention){sequences,
                              q->rows / sequences,
                              k->rows / sequences,
                              q->inner,
                              k->inner,
                              q->cols,
                              job->op.u.attention.window,
                              job->op.u.attention.scale,
                              job->op.u.attention.softcap};
}

// The mask of a tile of queries: query i sees the keys low[i] .. high[i], both included. Lanes
// beyond the last query repeat it.
struct mask {
    _Alignas(64) int32_t low[BR], high[BR];
    int32_t min_low, max_low, min_high, max_high;
};

static inline void mask_of(const struct attention *at, const int32_t *first, const int32_t *last,
                           int64_t count, struct mask *mask) {
    for (int64_t i = 0; i < BR; i++) {
        int64_t from = i < count ? i : count - 1;
        int64_t low = max_i64(first[from], 0), high = min_i64(last[from], at->key_rows - 1);
        if (at->window > 0) low = max_i64(low, (int64_t)last[from] - at->window + 1);
        if (low > high) low = at->key_rows, high = -1;  // sees nothing
        mask->low[i] = (int32_t)low;
        mask->high[i] = (int32_t)high;
    }
    mask->min_low = mask->max_low = mask->low[0];
    mask->min_high = mask->max_high = mask->high[0];
    for (int i = 1; i < BR; i++) {
        if (mask->low[i] < mask->min_low) mask->min_low = mask->low[i];
        if (mask->low[i] > mask->max_low) mask->max_low = mask->low[i];
        if (mask->high[i] < mask->min_high) mask->min_high = mask->high[i];
        if (mask->high[i] > mask->max_high) mask->max_high = mask->high[i];
    }
}
// Whether any query of the tile sees any of `count` keys from `key` on (else the tile is skipped),
// and whether all see all (then the tile needs no mask).
static inline bool mask_any(const struct mask *mask, int64_t key, int64_t count) {
    return key <= mask->max_high && key + count > mask->min_low;
}
static inline bool mask_all(const struct mask *mask, int64_t key, int64_t count) {
    return key >= mask->max_low && key + count - 1 <= mask->min_high;
}
static inline vi mask_at(const struct mask *mask, int64_t key, int query) {
    vi j = splat_i((int32_t)key);
    return (load_i(mask->low + query) <= j) & (load_i(mask->high + query) >= j);
}

#if defined(__SSE__)
// Columns d .. d+3 of four rows, transposed into `to`.
static inline void transpose_four(const float *const row[4], int64_t d, __m128 factor, float *to) {
    __m128 v0 = _mm_loadu_ps(row[0] + d), v1 = _mm_loadu_ps(row[1] + d);
    __m128 v2 = _mm_loadu_ps(row[2] + d), v3 = _mm_loadu_ps(row[3] + d);
    _MM_TRANSPOSE4_PS(v0, v1, v2, v3);
    _mm_storeu_ps(to, _mm_mul_ps(v0, factor));
    _mm_storeu_ps(to + BR, _mm_mul_ps(v1, factor));
    _mm_storeu_ps(to + 2 * BR, _mm_mul_ps(v2, factor));
    _mm_storeu_ps(to + 3 * BR, _mm_mul_ps(v3, factor));
}
#endif

// to [D][BR] = factor * transpose(rows [count][D]); lanes beyond `count` repeat the last row.
static inline void transpose_queries(const float *rows, int64_t stride, int64_t count, int64_t D,
                                     float factor, float *to) {
    for (int64_t i = 0; i < BR; i += 4) {
        const float *row[4];
        for (int64_t k = 0; k < 4; k++) row[k] = rows + min_i64(i + k, count - 1) * stride;
        int64_t d = 0;
#if defined(__SSE__)
        for (; d + 4 <= D; d += 4) transpose_four(row, d, _mm_set1_ps(factor), to + d * BR + i);
#endif
        for (; d < D; d++)
            for (int64_t k = 0; k < 4; k++) to[d * BR + i + k] = factor * row[k][d];
    }
}

// Rows of D floats.
struct rows {
    const float *data;
    int64_t stride;
};

// Rows of an operand as floats: where they are, or in scratch [count][D].
static inline struct rows rows_of(const element *from, int64_t stride, int64_t count, int64_t D,
                                  float *scratch) {
    if (ELEMENT_IS_FLOAT) return (struct rows){(const float *)(const void *)from, stride};
    for (int64_t i = 0; i < count; i++) convert(scratch + i * D, from + i * stride, D);
    return (struct rows){scratch, D};
}
// Floats of such scratch for the rows of a tile.
static inline int64_t rows_scratch(int64_t D) {
    return ELEMENT_IS_FLOAT ? 0 : BC * D;
}

static inline float dot(const element *a, const element *b, int64_t length) {
    vf sum[2] = {{0}};
    int64_t i = 0;
    for (; i + 2 * LANES <= length; i += 2 * LANES) {
        sum[0] += load(a + i) * load(b + i);
        sum[1] += load(a + i + LANES) * load(b + i + LANES);
    }
    if (i + LANES <= length) sum[0] += load(a + i) * load(b + i), i += LANES;
    if (i < length) sum[1] += load_part(a + i, length - i) * load_part(b + i, length - i);
    return hsum(sum[0] + sum[1]);
}
#endif
