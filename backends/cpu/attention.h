// What attention and its gradient share: how a tile of queries meets a tile of keys.
//
// Everything is computed for QUERIES queries of one head side by side in the lanes of vectors:
// scores as [key][query], results as [channel][query]. Rows of keys and values are read where they
// are.
#ifndef DAPT_CPU_ATTENTION_H
#define DAPT_CPU_ATTENTION_H
#include "tile.h"

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

// to [size][QUERIES] = factor * rows, transposed; lanes beyond `count` repeat the last row.
static inline void transpose_queries(const float *rows, int64_t stride, int64_t count, int64_t size,
                                     float factor, float *to) {
    for (int64_t i = 0; i < QUERIES; i++) {
        const float *row = rows + (i < count ? i : count - 1) * stride;
        for (int64_t d = 0; d < size; d++) to[d * QUERIES + i] = factor * row[d];
    }
}
#endif
