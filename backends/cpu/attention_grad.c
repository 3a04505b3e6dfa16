// FlashAttention-2, backward (Dao 2023, algorithm 2; names in attention.h). For every pair of a
// tile of queries and a tile of keys, scores are computed again:
//   1. s = scale q k^T, capped; p = exp(s - lse)
//   2. dp = dy v^T, ds = p (dp - delta), delta = rowsum(dy y), times the derivative of the cap
//   3. dv += p^T dy, dk += ds^T (scale q)
//   4. dq += scale ds k
// Where pairs of a sequence and a key head keep all threads busy, one task does all of a pair
// (fused_task). Else one loop has a task for each tile of keys (dkv_task), a second one for each
// tile of queries (dq_task), and both do steps 1 and 2. Either way each sum has one owner and one
// order, so that the number of threads may choose and changes no bit.
#include "attention.h"

// dy, q [N,H,D], k, v [M,G,D], y [N,H,D], lse [N,H], first, last [N] -> dq [N,H,D], dk, dv [M,G,D]
enum operand {
    OPERAND_DY,
    OPERAND_Q,
    OPERAND_K,
    OPERAND_V,
    OPERAND_Y,
    OPERAND_LSE,
    OPERAND_FIRST,
    OPERAND_LAST
};
enum result { RESULT_DQ, RESULT_DK, RESULT_DV };

#define FUSED_PRODUCTS 5  // of a pair of tiles
#define SPLIT_PRODUCTS 7
#define MAX_FUSED_FLOATS (INT64_C(1) << 20)  // of dk and dv in the scratch of a thread

// A thread's scratch. padded: D rounded up to whole vectors.
struct scratch {
    float *q_t, *dy_t, *dq_t;  // [D][BR]
    float *q_rows, *dy_rows;   // [BR][padded]
    float *s, *ds;             // [BC][BR]: scores, then p; dp, then ds
    float *delta, *lse;        // [BR]
    float *k, *v;              // for rows_of()
    float *dk, *dv;            // [keys][padded]
};

static int64_t padded_D(int64_t D) {
    return ceil_div(D, LANES) * LANES;
}

static size_t scratch_floats(int64_t D, int64_t keys) {
    int64_t padded = ceil_div(D, MAX_LANES) * MAX_LANES;
    return (size_t)(3 * D * BR + 2 * BR * padded + 2 * BC * BR + 2 * BR + 2 * keys * padded +
                    2 * rows_scratch(D));
}

static struct scratch scratch_of(const struct job *job, unsigned thread, int64_t D, int64_t keys) {
    float *p = job_private(job, thread);
    int64_t padded = padded_D(D), t = D * BR;
    struct scratch w = {.q_t = p, .dy_t = p + t, .dq_t = p + 2 * t, .q_rows = p + 3 * t};
    w.dy_rows = w.q_rows + BR * padded;
    w.s = w.dy_rows + BR * padded;
    w.ds = w.s + BC * BR;
    w.delta = w.ds + BC * BR;
    w.lse = w.delta + BR;
    w.k = w.lse + BR;
    w.v = w.k + rows_scratch(D);
    w.dk = w.v + rows_scratch(D);
    w.dv = w.dk + keys * padded;
    return w;
}

// Whether one task for each pair of a sequence and a key head is the faster way.
static bool is_fused(const struct job *job, const struct attention *at) {
    int64_t padded = ceil_div(at->D, MAX_LANES) * MAX_LANES;  // as for any instruction set
    int64_t pairs = at->sequences * at->kv_heads, threads = job->device->threads;
    int64_t turns = ceil_div(pairs, threads);  // the last one with threads that are idle
    return turns * threads * FUSED_PRODUCTS < pairs * SPLIT_PRODUCTS &&
           2 * at->key_rows * padded <= MAX_FUSED_FLOATS;
}

static void attention_grad_prepare(struct job *job) {
    struct attention at = attention_of(job, &job->in[OPERAND_Q], &job->in[OPERAND_K]);
    job->flag = is_fused(job, &at);
    job->count[0] = ceil_div(at.query_rows, BR);
    job->count[1] = ceil_div(at.key_rows, BC);
    job->private = scratch_floats(at.D, job->flag ? at.key_rows : BC) * sizeof(float);
}

// One tile of queries of one head: where it lies, and its mask.
struct query_tile {
    int64_t row, count, head, key_row, kv_head;
    struct mask mask;
};

static void load_query_tile(const struct job *job, const struct attention *at, struct query_tile *t,
                            bool rows, struct scratch *w) {
    const struct view *dy = &job->in[OPERAND_DY], *q = &job->in[OPERAND_Q],
                      *y = &job->in[OPERAND_Y];
    const element *dy_at = elements(dy) + t->row * dy->stride + t->head * at->D;
    const element *q_at = elements(q) + t->row * q->stride + t->head * at->D;
    const element *y_at = elements(y) + t->row * y->stride + t->head * at->D;
    const float *lse = job->in[OPERAND_LSE].data.f + t->row * at->heads + t->head;
    struct rows q_rows = rows_of(q_at, q->stride, t->count, at->D, w->k),
                dy_rows = rows_of(dy_at, dy->stride, t->count, at->D, w->v);
    transpose_queries(q_rows.data, q_rows.stride, t->count, at->D, at->scale, w->q_t);
    transpose_queries(dy_rows.data, dy_rows.stride, t->count, at->D, 1.0f, w->dy_t);
    for (int64_t i = 0; i < BR; i++) {
        int64_t from = i < t->count ? i : t->count - 1;
        w->delta[i] = dot(dy_at + from * dy->stride, y_at + from * y->stride, at->D);
        w->lse[i] = lse[from * at->heads];
    }
    if (!rows) return;
    // As rows for step 3, zero beyond the last query: those add nothing to dk and dv.
    int64_t padded = padded_D(at->D);
    memset(w->q_rows, 0, (size_t)(2 * BR * padded) * sizeof(float));
    for (int64_t i = 0; i < t->count; i++)
        for (int64_t d = 0; d < at->D; d++) {
            w->q_rows[i * padded + d] = at->scale * q_rows.data[i * q_rows.stride + d];
            w->dy_rows[i * padded + d] = dy_rows.data[i * dy_rows.stride + d];
        }
}

// Steps 1 and 2 for one vector of queries: s [keys] becomes p, dp becomes ds.
static inline __attribute__((always_inline)) void softmax_grad(const struct attention *at,
                                                               const struct mask *mask, bool all,
                                                               bool capped, int64_t key,
                                                               int64_t keys, int query,
                                                               struct scratch *w) {
    vf lse = load(w->lse + query), delta = load(w->delta + query);
    float *s = w->s + query, *ds = w->ds + query;
    for (int64_t j = 0; j < keys; j++) {
        vf z = load(s + j * BR), dcap = splat(1.0f);
        if (capped) {
            vf t = vtanh(z / at->softcap);
            dcap = 1.0f - t * t;
            z = at->softcap * t;
        }
        vf p = vexp(z - lse), d = load(ds + j * BR) - delta;
        if (!all) {
            vi seen = mask_at(mask, key + j, query);
            p = mask_zero(seen, p);
            d = mask_zero(seen, d);
        }
        store(s + j * BR, p);
        store(ds + j * BR, capped ? p * d * dcap : p * d);
    }
}

// Steps 1 to 4 for the keys key .. key+keys-1. dk, dv: their rows of the sums; NULL: no step 3.
// dq: whether to do step 4, into dq_t.
static void backward_tile(const struct job *job, const struct attention *at,
                          const struct query_tile *t, int64_t key, int64_t keys, struct scratch *w,
                          float *dk, float *dv, bool dq) {
    const struct view *k = &job->in[OPERAND_K], *v = &job->in[OPERAND_V];
    struct rows k_rows = rows_of(elements(k) + (t->key_row + key) * k->stride + t->kv_head * at->D,
                                 k->stride, keys, at->D, w->k);
    struct rows v_rows = rows_of(elements(v) + (t->key_row + key) * v->stride + t->kv_head * at->D,
                                 v->stride, keys, at->D, w->v);
    int64_t padded = padded_D(at->D);
    tile_multiply(keys, BR, at->D, (struct tile_a){k_rows.data, k_rows.stride, 1}, w->q_t, BR, w->s,
                  BR, false);
    tile_multiply(keys, BR, at->D, (struct tile_a){v_rows.data, v_rows.stride, 1}, w->dy_t, BR,
                  w->ds, BR, false);
    bool all = mask_all(&t->mask, key, keys), capped = at->softcap > 0;
    for (int i = 0; i < BR; i += LANES) {
        if (capped)
            softmax_grad(at, &t->mask, false, true, key, keys, i, w);
        else if (all)
            softmax_grad(at, &t->mask, true, false, key, keys, i, w);
        else
            softmax_grad(at, &t->mask, false, false, key, keys, i, w);
    }
    if (dv != NULL) {
        struct tile_a p = {w->s, BR, 1}, ds = {w->ds, BR, 1};
        tile_multiply(keys, padded, t->count, p, w->dy_rows, padded, dv, padded, true);
        tile_multiply(keys, padded, t->count, ds, w->q_rows, padded, dk, padded, true);
    }
    if (dq)
        tile_multiply(at->D, BR, keys, (struct tile_a){k_rows.data, 1, k_rows.stride}, w->ds, BR,
                      w->dq_t, BR, true);
}

static void query_tile_of(const struct job *job, const struct attention *at, int64_t sequence,
                          int64_t head, int64_t tile, struct query_tile *t) {
    t->row = sequence * at->query_rows + tile * BR;
    t->count = min_i64(BR, at->query_rows - tile * BR);
    t->head = head;
    t->kv_head = head / (at->heads / at->kv_heads);
    t->key_row = sequence * at->key_rows;
    mask_of(at, job->in[OPERAND_FIRST].data.i + t->row, job->in[OPERAND_LAST].data.i + t->row,
            t->count, &t->mask);
}

static void store_dq(const struct job *job, const struct attention *at, const struct query_tile *t,
                     const float *dq_t) {
    const struct view *dq = &job->out[RESULT_DQ];
    for (int64_t i = 0; i < t->count; i++) {
        element *to = elements(dq) + (t->row + i) * dq->stride + t->head * at->D;
        for (int64_t d = 0; d < at->D; d++) put(to + d, at->scale * dq_t[d * BR + i]);
    }
}

static void store_dkv(const struct job *job, const struct attention *at, int64_t row,
                      int64_t kv_head, int64_t keys, const struct scratch *w) {
    int64_t padded = padded_D(at->D);
    for (int side = 0; side < 2; side++) {
        const struct view *out = &job->out[side == 0 ? RESULT_DK : RESULT_DV];
        const float *from = side == 0 ? w->dk : w->dv;
        for (int64_t j = 0; j < keys; j++) {
            element *to = elements(out) + (row + j) * out->stride + kv_head * at->D;
            convert(to, from + j * padded, at->D);
        }
    }
}

// All gradients of one sequence and key head.
static void fused_task(struct job *job, int64_t task, unsigned thread) {
    struct attention at = attention_of(job, &job->in[OPERAND_Q], &job->in[OPERAND_K]);
    int64_t kv_head = task % at.kv_heads, sequence = task / at.kv_heads,
            heads_per_kv = at.heads / at.kv_heads;
    int64_t padded = padded_D(at.D);
    struct scratch w = scratch_of(job, thread, at.D, at.key_rows);
    memset(w.dk, 0, (size_t)(2 * at.key_rows * padded) * sizeof(float));
    for (int64_t head = kv_head * heads_per_kv; head < (kv_head + 1) * heads_per_kv; head++)
        for (int64_t tile = 0; tile < job->count[0]; tile++) {
            struct query_tile t;
            query_tile_of(job, &at, sequence, head, tile, &t);
            memset(w.dq_t, 0, (size_t)(at.D * BR) * sizeof(float));
            if (t.mask.max_high >= 0) load_query_tile(job, &at, &t, true, &w);
            for (int64_t key = t.mask.min_low / BC * BC; key <= t.mask.max_high; key += BC) {
                int64_t n = min_i64(BC, at.key_rows - key);
                if (mask_any(&t.mask, key, n))
                    backward_tile(job, &at, &t, key, n, &w, w.dk + key * padded,
                                  w.dv + key * padded, true);
            }
            store_dq(job, &at, &t, w.dq_t);
        }
    store_dkv(job, &at, sequence * at.key_rows, kv_head, at.key_rows, &w);
}

// dk and dv of one tile of keys.
static void dkv_task(struct job *job, int64_t task, unsigned thread) {
    struct attention at = attention_of(job, &job->in[OPERAND_Q], &job->in[OPERAND_K]);
    int64_t key = task % job->count[1] * BC, kv_head = task / job->count[1] % at.kv_heads;
    int64_t sequence = task / job->count[1] / at.kv_heads, heads_per_kv = at.heads / at.kv_heads;
    int64_t n = min_i64(BC, at.key_rows - key);
    struct scratch w = scratch_of(job, thread, at.D, BC);
    memset(w.dk, 0, (size_t)(2 * BC * padded_D(at.D)) * sizeof(float));
    for (int64_t head = kv_head * heads_per_kv; head < (kv_head + 1) * heads_per_kv; head++)
        for (int64_t tile = 0; tile < job->count[0]; tile++) {
            struct query_tile t;
            query_tile_of(job, &at, sequence, head, tile, &t);
            if (!mask_any(&t.mask, key, n)) continue;
            load_query_tile(job, &at, &t, true, &w);
            backward_tile(job, &at, &t, key, n, &w, w.dk, w.dv, false);
        }
    store_dkv(job, &at, sequence * at.key_rows + key, kv_head, n, &w);
}

// dq of one tile of queries.
static void dq_task(struct job *job, int64_t task, unsigned thread) {
    struct attention at = attention_of(job, &job->in[OPERAND_Q], &job->in[OPERAND_K]);
    int64_t tile = job->count[0] - 1 - task % job->count[0], head = task / job->count[0] % at.heads;
    struct scratch w = scratch_of(job, thread, at.D, BC);
    struct query_tile t;
    query_tile_of(job, &at, task / job->count[0] / at.heads, head, tile, &t);
    memset(w.dq_t, 0, (size_t)(at.D * BR) * sizeof(float));
    if (t.mask.max_high >= 0) load_query_tile(job, &at, &t, false, &w);
    for (int64_t key = t.mask.min_low / BC * BC; key <= t.mask.max_high; key += BC) {
        int64_t n = min_i64(BC, at.key_rows - key);
        if (mask_any(&t.mask, key, n)) backward_tile(job, &at, &t, key, n, &w, NULL, NULL, true);
    }
    store_dq(job, &at, &t, w.dq_t);
}

static void attention_grad_run(struct job *job) {
    struct attention at = attention_of(job, &job->in[OPERAND_Q], &job->in[OPERAND_K]);
    if (job->flag) {
        job_loop(job, at.sequences * at.kv_heads, fused_task);
        return;
    }
    job_loop(job, at.sequences * at.kv_heads * job->count[1], dkv_task);
    job_loop(job, at.sequences * at.heads * job->count[0], dq_task);
}
const struct op_row ISA(op_attention_grad) = {attention_grad_prepare, attention_grad_run};
