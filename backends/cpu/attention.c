// FlashAttention-2, forward (Dao 2023, algorithm 1; names in attention.h): a tile of queries meets
// tiles of keys one after another, with an online softmax (Milakov and Gimelshein 2018). Scores
// exist only as one tile. For each tile of keys:
//   1. s = scale q k^T, capped and masked
//   2. m_new = max(m, rowmax(s)); p = exp(s - m_new); alpha = exp(m - m_new)
//   3. l = alpha l + rowsum(p)
//   4. o = alpha o + p v
// At the end y = o / l, lse = m + log(l).
#include <math.h>

#include "attention.h"

// q [N,H,D], k, v [M,G,D], first, last [N] -> y [N,H,D], lse [N,H]; G: heads of keys
enum operand { OPERAND_Q, OPERAND_K, OPERAND_V, OPERAND_FIRST, OPERAND_LAST };
#define DECODE_ROWS 4  // sequences of so few query rows (generation) are computed row by row

// A thread's scratch.
struct scratch {
    float *q, *o;          // [D][BR]
    float *s;              // [BC][BR]: scores, then p
    float *m, *l, *alpha;  // [BR]
    float *k, *v;          // for rows_of()
};

static struct scratch scratch_of(const struct job *job, unsigned thread, int64_t D) {
    float *p = job_private(job, thread);
    struct scratch w = {.q = p};
    w.o = w.q + D * BR;
    w.s = w.o + D * BR;
    w.m = w.s + BC * BR;
    w.l = w.m + BR;
    w.alpha = w.l + BR;
    w.k = w.alpha + BR;
    w.v = w.k + rows_scratch(D);
    return w;
}

static void attention_prepare(struct job *job) {
    struct attention at = attention_of(job, &job->in[OPERAND_Q], &job->in[OPERAND_K]);
    job->flag = at.query_rows <= DECODE_ROWS;
    job->count[0] = job->flag ? 1 : ceil_div(at.query_rows, BR);
    job->tasks = at.sequences * at.heads * job->count[0];
    size_t floats = (size_t)(2 * at.D * BR + BC * BR + 3 * BR + 2 * rows_scratch(at.D));
    job->private = (job->flag ? (size_t)at.D + BC : floats) * sizeof(float);
}

// Vectors of queries that are computed together, so that their maxima do not wait for each other.
#define UNROLL 2

// Steps 1 (cap and mask), 2 and 3 for UNROLL vectors of queries: s [keys] becomes p; m, l and alpha
// are updated.
static inline __attribute__((always_inline)) void online_softmax(const struct attention *at,
                                                                 const struct mask *mask, bool all,
                                                                 bool capped, int64_t key,
                                                                 int64_t keys, int query,
                                                                 struct scratch *w) {
    float *s = w->s + query;
    vf m_old[UNROLL], m_new[UNROLL], shift[UNROLL], sum[UNROLL];
    for (int u = 0; u < UNROLL; u++) m_old[u] = m_new[u] = load(w->m + query + u * LANES);
    for (int64_t j = 0; j < keys; j++)
        for (int u = 0; u < UNROLL; u++) {
            float *s_j = s + j * BR + u * LANES;
            vf z = load(s_j);
            if (capped) z = at->softcap * vtanh(z / at->softcap);
            if (!all) z = vselect(mask_at(mask, key + j, query + u * LANES), z, splat(-INFINITY));
            if (capped || !all) store(s_j, z);
            m_new[u] = vmax(z, m_new[u]);
        }
    // While a query has seen no key m is -inf; any finite shift then gives p = 0, and no NaN.
    for (int u = 0; u < UNROLL; u++)
        shift[u] = vselect(m_new[u] == splat(-INFINITY), (vf){0}, m_new[u]), sum[u] = (vf){0};
    for (int64_t j = 0; j < keys; j++)
        for (int u = 0; u < UNROLL; u++) {
            float *s_j = s + j * BR + u * LANES;
            vf p = vexp(load(s_j) - shift[u]);
            store(s_j, p);
            sum[u] += p;
        }
    for (int u = 0; u < UNROLL; u++) {
        int i = query + u * LANES;
        vf alpha = vexp(m_old[u] - shift[u]);
        store(w->m + i, m_new[u]);
        store(w->alpha + i, alpha);
        store(w->l + i, load(w->l + i) * alpha + sum[u]);
    }
}

// Whether all of `rows` are finite: 0 * x is 0 for those alone.
static bool all_finite(const float *rows, int64_t count, int64_t stride, int64_t D) {
    vf sum = {0};
    for (int64_t i = 0; i < count; i++) {
        const float *row = rows + i * stride;
        int64_t d = 0;
        for (; d + LANES <= D; d += LANES) sum += 0.0f * load(row + d);
        if (d < D) sum += 0.0f * load_part(row + d, D - d);
    }
    return hsum(sum) == 0.0f;
}

// o [D][BR] += transpose(v [keys][D]) p [keys][BR], but only over the keys that a query sees: p = 0
// hides a row of v only where it is finite.
static void add_masked(const struct mask *mask, int64_t key, int64_t keys, const float *v,
                       int64_t stride, int64_t D, const float *p, float *o) {
    for (int64_t j = 0; j < keys; j++)
        for (int i = 0; i < BR; i += LANES) {
            vi seen = mask_at(mask, key + j, i);
            vf p_j = load(p + j * BR + i);
            for (int64_t d = 0; d < D; d++) {
                float *o_d = o + d * BR + i;
                store(o_d, load(o_d) + mask_zero(seen, p_j * v[j * stride + d]));
            }
        }
}

// Steps 1 to 4 for one tile of keys. `started`: o holds the sum of earlier tiles.
static void forward_tile(const struct attention *at, const struct mask *mask, int64_t key,
                         int64_t keys, struct rows k, struct rows v, bool started,
                         struct scratch *w) {
    tile_multiply(keys, BR, at->D, (struct tile_a){k.data, k.stride, 1}, w->q, BR, w->s, BR, false);
    bool all = mask_all(mask, key, keys), capped = at->softcap > 0;
    for (int i = 0; i < BR; i += UNROLL * LANES) {
        if (capped)
            online_softmax(at, mask, false, true, key, keys, i, w);
        else if (all)
            online_softmax(at, mask, true, false, key, keys, i, w);
        else
            online_softmax(at, mask, false, false, key, keys, i, w);
    }
    if (started)
        for (int i = 0; i < BR; i += LANES) {
            vf alpha = load(w->alpha + i);
            for (int64_t d = 0; d < at->D; d++)
                store(w->o + d * BR + i, load(w->o + d * BR + i) * alpha);
        }
    if (all || all_finite(v.data, keys, v.stride, at->D)) {
        tile_multiply(at->D, BR, keys, (struct tile_a){v.data, 1, v.stride}, w->s, BR, w->o, BR,
                      started);
        return;
    }
    if (!started) memset(w->o, 0, (size_t)(at->D * BR) * sizeof(float));
    add_masked(mask, key, keys, v.data, v.stride, at->D, w->s, w->o);
}

static void attention_task(struct job *job, int64_t task, unsigned thread) {
    const struct view *q = &job->in[OPERAND_Q], *k = &job->in[OPERAND_K], *v = &job->in[OPERAND_V];
    const struct view *y = &job->out[0];
    struct attention at = attention_of(job, q, k);
    // The tiles that see the most keys (the last ones of a causal mask) go first.
    int64_t tile = job->count[0] - 1 - task % job->count[0], head = task / job->count[0] % at.heads;
    int64_t sequence = task / job->count[0] / at.heads, kv_head = head / (at.heads / at.kv_heads);
    int64_t row = sequence * at.query_rows + tile * BR;
    int64_t count = min_i64(BR, at.query_rows - tile * BR);
    struct scratch w = scratch_of(job, thread, at.D);
    struct mask mask;
    mask_of(&at, job->in[OPERAND_FIRST].data.i + row, job->in[OPERAND_LAST].data.i + row, count,
            &mask);
    struct rows queries = rows_of(elements(q) + row * q->stride + head * at.D, q->stride, count,
                                  at.D, w.k);
    transpose_queries(queries.data, queries.stride, count, at.D, at.scale, w.q);
    for (int i = 0; i < BR; i++) w.m[i] = -INFINITY, w.l[i] = 0.0f;
    const element *keys = elements(k) + sequence * at.key_rows * k->stride + kv_head * at.D;
    const element *values = elements(v) + sequence * at.key_rows * v->stride + kv_head * at.D;
    bool started = false;
    for (int64_t key = mask.min_low / BC * BC; key <= mask.max_high; key += BC) {
        int64_t n = min_i64(BC, at.key_rows - key);
        if (!mask_any(&mask, key, n)) continue;
        forward_tile(&at, &mask, key, n, rows_of(keys + key * k->stride, k->stride, n, at.D, w.k),
                     rows_of(values + key * v->stride, v->stride, n, at.D, w.v), started, &w);
        started = true;
    }
    float *lse = job->out[1].data.f + row * at.heads + head;
    for (int64_t i = 0; i < count; i++) {
        element *to = elements(y) + (row + i) * y->stride + head * at.D;
        bool nothing = mask.low[i] > mask.high[i];
        float over = 1.0f / w.l[i];
        lse[i * at.heads] = nothing ? -INFINITY : w.m[i] + logf(w.l[i]);
        for (int64_t d = 0; d < at.D; d++) put(to + d, nothing ? 0.0f : w.o[d * BR + i] * over);
    }
}

// ---------------------------------------------------------------------------------------- decoding

// Steps 1 to 4 for one query and one tile of keys. s: BC floats.
static void decode_tile(const struct attention *at, const element *q, int64_t keys,
                        const element *k, int64_t k_stride, const element *v, int64_t v_stride,
                        float *s, float *o, float *m, float *l) {
    for (int64_t j = 0; j < BC; j++)
        s[j] = j < keys ? at->scale * dot(q, k + j * k_stride, at->D) : -INFINITY;
    vf max = splat(-INFINITY), sum = {0};
    for (int64_t j = 0; j < BC; j += LANES) {
        vf z = load(s + j);
        if (at->softcap > 0)
            z = vselect(z == splat(-INFINITY), z, at->softcap * vtanh(z / at->softcap));
        store(s + j, z);
        max = vmax(z, max);
    }
    float m_new = hmax(max);
    if (*m > m_new || *m != *m) m_new = *m;
    float shift = m_new == -INFINITY ? 0.0f : m_new, alpha = expf(*m - shift);
    for (int64_t j = 0; j < BC; j += LANES) {
        vf p = vexp(load(s + j) - shift);
        store(s + j, p);
        sum += p;
    }
    *l = *l * alpha + hsum(sum);
    *m = m_new;
    for (int64_t d = 0; d < at->D; d += LANES) {
        int64_t rest = at->D - d;
        bool part = rest < LANES;
        vf acc = alpha * (part ? load_part(o + d, rest) : load(o + d));
        for (int64_t j = 0; j < keys; j++)
            acc += s[j] *
                   (part ? load_part(v + j * v_stride + d, rest) : load(v + j * v_stride + d));
        if (part)
            store_part(o + d, acc, rest);
        else
            store(o + d, acc);
    }
}

static void decode_task(struct job *job, int64_t task, unsigned thread) {
    const struct view *q = &job->in[OPERAND_Q], *k = &job->in[OPERAND_K], *v = &job->in[OPERAND_V];
    const struct view *y = &job->out[0];
    struct attention at = attention_of(job, q, k);
    int64_t head = task % at.heads, sequence = task / at.heads,
            kv_head = head / (at.heads / at.kv_heads);
    const element *keys = elements(k) + sequence * at.key_rows * k->stride + kv_head * at.D;
    const element *values = elements(v) + sequence * at.key_rows * v->stride + kv_head * at.D;
    float *s = job_private(job, thread), *o = s + BC;
    for (int64_t i = 0; i < at.query_rows; i++) {
        int64_t row = sequence * at.query_rows + i;
        int64_t last = job->in[OPERAND_LAST].data.i[row], high = min_i64(last, at.key_rows - 1);
        int64_t low = max_i64(job->in[OPERAND_FIRST].data.i[row], 0);
        if (at.window > 0) low = max_i64(low, last - at.window + 1);
        float m = -INFINITY, l = 0.0f;
        memset(o, 0, (size_t)at.D * sizeof *o);
        for (int64_t key = low; key <= high; key += BC)
            decode_tile(&at, elements(q) + row * q->stride + head * at.D,
                        min_i64(BC, high + 1 - key), keys + key * k->stride, k->stride,
                        values + key * v->stride, v->stride, s, o, &m, &l);
        element *to = elements(y) + row * y->stride + head * at.D;
        for (int64_t d = 0; d < at.D; d++) put(to + d, low > high ? 0.0f : o[d] / l);
        job->out[1].data.f[row * at.heads + head] = low > high ? -INFINITY : m + logf(l);
    }
}

static void attention_run(struct job *job) {
    job_loop(job, job->tasks, job->flag ? decode_task : attention_task);
}
const struct op_row ISA(op_attention) = {attention_prepare, attention_run};
