// What attention and its gradient share: how a tile of queries meets a tile of keys.
//
// Everything is computed for QUERIES queries of one head side by side in the lanes of vectors:
// scores as [key][query], results as [channel][query]. Rows of keys and values are read where they
// are.
#ifndef DAPT_CPU_ATTENTION_H
#define DAPT_CPU_ATTENTION_H
#include "tile.h"

#if defined(__SSE__)
#include <xmmintrin.h>
#endif

#define QUERIES 64
#define KEYS 64

// The sizes of an attention op. T: rows of a sequence.
struct attention {
    int64_t sequences, query_rows, key_rows, heads, groups, size, window;
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

// Which keys (low .. high, both included) each of a tile's queries sees, and the ends of these
// ranges over the tile. Lanes beyond the last query repeat it.
struct seen {
    _Alignas(64) int32_t low[QUERIES], high[QUERIES];
    int32_t least_low, most_low, least_high, most_high;
};

static inline void seen_of(const struct attention *at, const int32_t *first, const int32_t *last,
                           int64_t count, struct seen *seen) {
    for (int64_t i = 0; i < QUERIES; i++) {
        int64_t from = i < count ? i : count - 1;
        int64_t low = max_i64(first[from], 0), high = min_i64(last[from], at->key_rows - 1);
        if (at->window > 0) low = max_i64(low, (int64_t)last[from] - at->window + 1);
        if (low > high) low = at->key_rows, high = -1;  // sees nothing
        seen->low[i] = (int32_t)low;
        seen->high[i] = (int32_t)high;
    }
    seen->least_low = seen->most_low = seen->low[0];
    seen->least_high = seen->most_high = seen->high[0];
    for (int i = 1; i < QUERIES; i++) {
        if (seen->low[i] < seen->least_low) seen->least_low = seen->low[i];
        if (seen->low[i] > seen->most_low) seen->most_low = seen->low[i];
        if (seen->high[i] < seen->least_high) seen->least_high = seen->high[i];
        if (seen->high[i] > seen->most_high) seen->most_high = seen->high[i];
    }
}
static inline bool seen_any(const struct seen *seen, int64_t key, int64_t count) {
    return key <= seen->most_high && key + count > seen->least_low;
}
static inline bool seen_all(const struct seen *seen, int64_t key, int64_t count) {
    return key >= seen->most_low && key + count - 1 <= seen->least_high;
}
static inline vi seen_mask(const struct seen *seen, int64_t key, int query) {
    vi j = splat_i((int32_t)key);
    return (load_i(seen->low + query) <= j) & (load_i(seen->high + query) >= j);
}

#if defined(__SSE__)
// Four rows' columns d .. d+3 as columns query .. query+3 of to.
static inline void transpose_four(const float *const row[4], int64_t d, __m128 factor, float *to) {
    __m128 v0 = _mm_loadu_ps(row[0] + d), v1 = _mm_loadu_ps(row[1] + d);
    __m128 v2 = _mm_loadu_ps(row[2] + d), v3 = _mm_loadu_ps(row[3] + d);
    _MM_TRANSPOSE4_PS(v0, v1, v2, v3);
    _mm_storeu_ps(to, _mm_mul_ps(v0, factor));
    _mm_storeu_ps(to + QUERIES, _mm_mul_ps(v1, factor));
    _mm_storeu_ps(to + 2 * QUERIES, _mm_mul_ps(v2, factor));
    _mm_storeu_ps(to + 3 * QUERIES, _mm_mul_ps(v3, factor));
}
#endif

// to [size][QUERIES] = factor * rows, transposed; lanes beyond `count` repeat the last row.
static inline void transpose_queries(const float *rows, int64_t stride, int64_t count, int64_t size,
                                     float factor, float *to) {
    for (int64_t i = 0; i < QUERIES; i += 4) {
        const float *row[4];
        for (int64_t k = 0; k < 4; k++) row[k] = rows + min_i64(i + k, count - 1) * stride;
        int64_t d = 0;
#if defined(__SSE__)
        for (; d + 4 <= size; d += 4)
            transpose_four(row, d, _mm_set1_ps(factor), to + d * QUERIES + i);
#endif
        for (; d < size; d++)
            for (int64_t k = 0; k < 4; k++) to[d * QUERIES + i + k] = factor * row[k][d];
    }
}

static inline float dot(const float *a, const float *b, int64_t length) {
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
