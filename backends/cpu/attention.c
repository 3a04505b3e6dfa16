// Attention, forward: tiles of queries against tiles of keys with a running softmax. Scores exist
// only as one tile.
#include <math.h>

#include "attention.h"

enum operand { OPERAND_Q, OPERAND_K, OPERAND_V, OPERAND_FIRST, OPERAND_LAST };
#define FEW_QUERIES 4  // so few rows of a sequence (generation) are taken one by one

// A thread's scratch: [size][QUERIES] of q and of the result, a tile of scores, and three rows.
struct scratch {
    float *q, *y, *scores, *top, *sum, *factor;
};

static struct scratch scratch_of(const struct job *job, unsigned thread, int64_t size) {
    float *p = job_private(job, thread);
    struct scratch s = {.q = p};
    s.y = s.q + size * QUERIES;
    s.scores = s.y + size * QUERIES;
    s.top = s.scores + KEYS * QUERIES;
    s.sum = s.top + QUERIES;
    s.factor = s.sum + QUERIES;
    return s;
}

static void attention_prepare(struct job *job) {
    struct attention at = attention_of(job, &job->in[OPERAND_Q], &job->in[OPERAND_K]);
    job->flag = at.query_rows <= FEW_QUERIES;
    job->count[0] = job->flag ? 1 : ceil_div(at.query_rows, QUERIES);
    job->tasks = at.sequences * at.heads * job->count[0];
    size_t floats = (size_t)(2 * at.size * QUERIES + KEYS * QUERIES + 3 * QUERIES);
    job->private = (job->flag ? (size_t)at.size + KEYS : floats) * sizeof(float);
}

// Vectors of queries side by side, so that the chain of one maximum does not hold up the loop.
#define PAIR 2

// A pair of vectors of queries: scores [keys] -> exp(score - top), with the running top and sum
// brought up to date.
static inline __attribute__((always_inline)) void soften(const struct attention *at,
                                                         const struct seen *seen, bool all,
                                                         bool capped, int64_t key, int64_t keys,
                                                         int query, struct scratch *s) {
    float *scores = s->scores + query;
    vf old[PAIR], top[PAIR], base[PAIR], sum[PAIR];
    for (int u = 0; u < PAIR; u++) old[u] = top[u] = load(s->top + query + u * LANES);
    for (int64_t j = 0; j < keys; j++)
        for (int u = 0; u < PAIR; u++) {
            float *place = scores + j * QUERIES + u * LANES;
            vf z = load(place);
            if (capped) z = at->softcap * vtanh(z / at->softcap);
            if (!all) z = vselect(seen_mask(seen, key + j, query + u * LANES), z, splat(-INFINITY));
            if (capped || !all) store(place, z);
            top[u] = vmax(z, top[u]);
        }
    // Where nothing was seen yet top is -inf: any finite number in its place gives zeros and no
    // NaN.
    for (int u = 0; u < PAIR; u++)
        base[u] = vselect(top[u] == splat(-INFINITY), (vf){0}, top[u]), sum[u] = (vf){0};
    for (int64_t j = 0; j < keys; j++)
        for (int u = 0; u < PAIR; u++) {
            float *place = scores + j * QUERIES + u * LANES;
            vf e = vexp(load(place) - base[u]);
            store(place, e);
            sum[u] += e;
        }
    for (int u = 0; u < PAIR; u++) {
        int at_query = query + u * LANES;
        vf factor = vexp(old[u] - base[u]);
        store(s->top + at_query, top[u]);
        store(s->factor + at_query, factor);
        store(s->sum + at_query, load(s->sum + at_query) * factor + sum[u]);
    }
}

// Whether all of `rows` are finite. 0 * x is 0, but for what is not.
static bool all_finite(const float *rows, int64_t count, int64_t stride, int64_t size) {
    vf sum = {0};
    for (int64_t i = 0; i < count; i++) {
        const float *row = rows + i * stride;
        int64_t d = 0;
        for (; d + LANES <= size; d += LANES) sum += 0.0f * load(row + d);
        if (d < size) sum += 0.0f * load_part(row + d, size - d);
    }
    return hsum(sum) == 0.0f;
}

// to [size][QUERIES] += transpose(rows [keys][size]) weights [keys][QUERIES], over the keys that a
// query sees: a weight of 0 hides a row that is finite, and only that.
static void add_seen_rows(const struct seen *seen, int64_t key, int64_t keys, const float *rows,
                          int64_t stride, int64_t size, const float *weights, float *to) {
    for (int64_t j = 0; j < keys; j++)
        for (int i = 0; i < QUERIES; i += LANES) {
            vi mask = seen_mask(seen, key + j, i);
            vf weight = load(weights + j * QUERIES + i);
            for (int64_t d = 0; d < size; d++) {
                float *place = to + d * QUERIES + i;
                store(place, load(place) + mask_zero(mask, weight * rows[j * stride + d]));
            }
        }
}

static void add_tile(const struct attention *at, const struct seen *seen, int64_t key, int64_t keys,
                     const float *k, int64_t k_stride, const float *v, int64_t v_stride,
                     bool started, struct scratch *s) {
    tile_multiply(keys, QUERIES, at->size, (struct tile_a){k, k_stride, 1}, s->q, QUERIES,
                  s->scores, QUERIES, false);
    bool all = seen_all(seen, key, keys), capped = at->softcap > 0;
    for (int i = 0; i < QUERIES; i += PAIR * LANES) {
        if (capped)
            soften(at, seen, false, true, key, keys, i, s);
        else if (all)
            soften(at, seen, true, false, key, keys, i, s);
        else
            soften(at, seen, false, false, key, keys, i, s);
    }
    if (started)
        for (int i = 0; i < QUERIES; i += LANES) {
            vf factor = load(s->factor + i);
            for (int64_t d = 0; d < at->size; d++)
                store(s->y + d * QUERIES + i, load(s->y + d * QUERIES + i) * factor);
        }
    if (all || all_finite(v, keys, v_stride, at->size)) {
        tile_multiply(at->size, QUERIES, keys, (struct tile_a){v, 1, v_stride}, s->scores, QUERIES,
                      s->y, QUERIES, started);
        return;
    }
    if (!started) memset(s->y, 0, (size_t)(at->size * QUERIES) * sizeof(float));
    add_seen_rows(seen, key, keys, v, v_stride, at->size, s->scores, s->y);
}

static void attention_task(struct job *job, int64_t task, unsigned thread) {
    const struct view *q = &job->in[OPERAND_Q], *k = &job->in[OPERAND_K], *v = &job->in[OPERAND_V];
    const struct view *y = &job->out[0];
    struct attention at = attention_of(job, q, k);
    // The tiles with the most keys (the last ones, where attention is causal) go first.
    int64_t tile = job->count[0] - 1 - task % job->count[0], head = task / job->count[0] % at.heads;
    int64_t sequence = task / job->count[0] / at.heads, group = head / (at.heads / at.groups);
    int64_t row = sequence * at.query_rows + tile * QUERIES;
    int64_t count = min_i64(QUERIES, at.query_rows - tile * QUERIES);
    struct scratch s = scratch_of(job, thread, at.size);
    struct seen seen;
    seen_of(&at, job->in[OPERAND_FIRST].data.i + row, job->in[OPERAND_LAST].data.i + row, count,
            &seen);
    transpose_queries(q->data.f + row * q->stride + head * at.size, q->stride, count, at.size,
                      at.scale, s.q);
    for (int i = 0; i < QUERIES; i++) s.top[i] = -INFINITY, s.sum[i] = 0.0f;
    const float *keys = k->data.f + sequence * at.key_rows * k->stride + group * at.size;
    const float *values = v->data.f + sequence * at.key_rows * v->stride + group * at.size;
    bool started = false;
    for (int64_t key = seen.least_low / KEYS * KEYS; key <= seen.most_high; key += KEYS) {
        int64_t n = min_i64(KEYS, at.key_rows - key);
        if (!seen_any(&seen, key, n)) continue;
        add_tile(&at, &seen, key, n, keys + key * k->stride, k->stride, values + key * v->stride,
                 v->stride, started, &s);
        started = true;
    }
    float *lse = job->out[1].data.f + row * at.heads + head;
    for (int64_t i = 0; i < count; i++) {
        float *to = y->data.f + (row + i) * y->stride + head * at.size;
        bool nothing = seen.low[i] > seen.high[i];
        float factor = 1.0f / s.sum[i];
        lse[i * at.heads] = nothing ? -INFINITY : s.top[i] + logf(s.sum[i]);
        for (int64_t d = 0; d < at.size; d++)
            to[d] = nothing ? 0.0f : s.y[d * QUERIES + i] * factor;
    }
}

// ------------------------------------------------------------------------------------- few queries

// One tile of keys for one query; y, *top and *sum run on. scores: KEYS floats.
static void add_keys(const struct attention *at, const float *q, int64_t keys, const float *k,
                     int64_t k_stride, const float *v, int64_t v_stride, float *scores, float *y,
                     float *top, float *sum) {
    for (int64_t j = 0; j < KEYS; j++)
        scores[j] = j < keys ? at->scale * dot(q, k + j * k_stride, at->size) : -INFINITY;
    vf most = splat(-INFINITY), total = {0};
    for (int64_t j = 0; j < KEYS; j += LANES) {
        vf z = load(scores + j);
        if (at->softcap > 0)
            z = vselect(z == splat(-INFINITY), z, at->softcap * vtanh(z / at->softcap));
        store(scores + j, z);
        most = vmax(z, most);
    }
    float new_top = hmax(most);
    if (*top > new_top || *top != *top) new_top = *top;
    float base = new_top == -INFINITY ? 0.0f : new_top, factor = expf(*top - base);
    for (int64_t j = 0; j < KEYS; j += LANES) {
        vf e = vexp(load(scores + j) - base);
        store(scores + j, e);
        total += e;
    }
    *sum = *sum * factor + hsum(total);
    *top = new_top;
    for (int64_t d = 0; d < at->size; d += LANES) {
        int64_t rest = at->size - d;
        bool part = rest < LANES;
        vf acc = factor * (part ? load_part(y + d, rest) : load(y + d));
        for (int64_t j = 0; j < keys; j++)
            acc += scores[j] *
                   (part ? load_part(v + j * v_stride + d, rest) : load(v + j * v_stride + d));
        if (part)
            store_part(y + d, acc, rest);
        else
            store(y + d, acc);
    }
}

static void few_task(struct job *job, int64_t task, unsigned thread) {
    const struct view *q = &job->in[OPERAND_Q], *k = &job->in[OPERAND_K], *v = &job->in[OPERAND_V];
    const struct view *y = &job->out[0];
    struct attention at = attention_of(job, q, k);
    int64_t head = task % at.heads, sequence = task / at.heads,
            group = head / (at.heads / at.groups);
    const float *keys = k->data.f + sequence * at.key_rows * k->stride + group * at.size;
    const float *values = v->data.f + sequence * at.key_rows * v->stride + group * at.size;
    float *scores = job_private(job, thread), *result = scores + KEYS;
    for (int64_t i = 0; i < at.query_rows; i++) {
        int64_t row = sequence * at.query_rows + i;
        int64_t last = job->in[OPERAND_LAST].data.i[row], high = min_i64(last, at.key_rows - 1);
        int64_t low = max_i64(job->in[OPERAND_FIRST].data.i[row], 0);
        if (at.window > 0) low = max_i64(low, last - at.window + 1);
        float top = -INFINITY, sum = 0.0f;
        memset(result, 0, (size_t)at.size * sizeof *result);
        for (int64_t key = low; key <= high; key += KEYS)
            add_keys(&at, q->data.f + row * q->stride + head * at.size,
                     min_i64(KEYS, high + 1 - key), keys + key * k->stride, k->stride,
                     values + key * v->stride, v->stride, scores, result, &top, &sum);
        float *to = y->data.f + row * y->stride + head * at.size;
        for (int64_t d = 0; d < at.size; d++) to[d] = low > high ? 0.0f : result[d] / sum;
        job->out[1].data.f[row * at.heads + head] = low > high ? -INFINITY : top + logf(sum);
    }
}

static void attention_run(struct job *job) {
    job_loop(job, job->tasks, job->flag ? few_task : attention_task);
}
const struct op_row ISA(op_attention) = {attention_prepare, attention_run};
