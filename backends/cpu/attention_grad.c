// The gradient of attention. For a tile of queries and a tile of keys, scores are computed again:
//   P = exp(z - lse), dP = dy v^T, dS = P (dP - sum(dy y)) dz/ds
//   dv += P^T dy, dk += dS^T (scale q), dq += scale dS k
// Where there are many pairs of a sequence and a key head, a task owns one and does all at once.
// Where there are few, one loop owns tiles of keys (dk, dv) and a second one tiles of queries (dq).
// Either way each sum has one owner and one order.
#include "attention.h"

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

#define ENOUGH_PAIRS 16
#define WHOLE_FLOATS \
    (INT64_C(1) << 20)  // of dk and dv in a thread's scratch, at most, to do all at once

// A thread's scratch. _t: [size][QUERIES]; rows: [QUERIES][padded]; tiles: [KEYS][QUERIES]; dk, dv:
// [keys][padded].
struct scratch {
    float *q_t, *dy_t, *dq_t, *q_rows, *dy_rows, *scores, *slopes, *delta, *lse, *dk, *dv;
};

static int64_t padded_size(int64_t size) {
    return ceil_div(size, LANES) * LANES;
}

static size_t scratch_floats(int64_t size, int64_t keys) {
    int64_t padded = ceil_div(size, MAX_LANES) * MAX_LANES;
    return (size_t)(3 * size * QUERIES + 2 * QUERIES * padded + 2 * KEYS * QUERIES + 2 * QUERIES +
                    2 * keys * padded);
}

static struct scratch scratch_of(const struct job *job, unsigned thread, int64_t size,
                                 int64_t keys) {
    float *p = job_private(job, thread);
    int64_t padded = padded_size(size), t = size * QUERIES;
    struct scratch s = {.q_t = p, .dy_t = p + t, .dq_t = p + 2 * t, .q_rows = p + 3 * t};
    s.dy_rows = s.q_rows + QUERIES * padded;
    s.scores = s.dy_rows + QUERIES * padded;
    s.slopes = s.scores + KEYS * QUERIES;
    s.delta = s.slopes + KEYS * QUERIES;
    s.lse = s.delta + QUERIES;
    s.dk = s.lse + QUERIES;
    s.dv = s.dk + keys * padded;
    return s;
}

static void attention_grad_prepare(struct job *job) {
    struct attention at = attention_of(job, &job->in[OPERAND_Q], &job->in[OPERAND_K]);
    int64_t padded = ceil_div(at.size, MAX_LANES) * MAX_LANES;
    job->flag = at.sequences * at.groups >= ENOUGH_PAIRS &&
                2 * at.key_rows * padded <= WHOLE_FLOATS;
    job->count[0] = ceil_div(at.query_rows, QUERIES);
    job->count[1] = ceil_div(at.key_rows, KEYS);
    job->private = scratch_floats(at.size, job->flag ? at.key_rows : KEYS) * sizeof(float);
}

// One tile of queries of one head: where it lies, and what it sees.
struct queries {
    int64_t row, count, head, key_row, group;
    struct seen seen;
};

static void load_queries(const struct job *job, const struct attention *at, struct queries *t,
                         bool rows, struct scratch *s) {
    const struct view *dy = &job->in[OPERAND_DY], *q = &job->in[OPERAND_Q],
                      *y = &job->in[OPERAND_Y];
    const float *dy_at = dy->data.f + t->row * dy->stride + t->head * at->size;
    const float *q_at = q->data.f + t->row * q->stride + t->head * at->size;
    const float *y_at = y->data.f + t->row * y->stride + t->head * at->size;
    const float *lse = job->in[OPERAND_LSE].data.f + t->row * at->heads + t->head;
    transpose_queries(q_at, q->stride, t->count, at->size, at->scale, s->q_t);
    transpose_queries(dy_at, dy->stride, t->count, at->size, 1.0f, s->dy_t);
    for (int64_t i = 0; i < QUERIES; i++) {
        int64_t from = i < t->count ? i : t->count - 1;
        s->delta[i] = dot(dy_at + from * dy->stride, y_at + from * y->stride, at->size);
        s->lse[i] = lse[from * at->heads];
    }
    if (!rows) return;
    // As rows, zero beyond the last query: those add nothing to dk and dv.
    int64_t padded = padded_size(at->size);
    memset(s->q_rows, 0, (size_t)(2 * QUERIES * padded) * sizeof(float));
    for (int64_t i = 0; i < t->count; i++)
        for (int64_t d = 0; d < at->size; d++) {
            s->q_rows[i * padded + d] = at->scale * q_at[i * q->stride + d];
            s->dy_rows[i * padded + d] = dy_at[i * dy->stride + d];
        }
}

// scores -> P, slopes -> dS, for one vector of queries.
static inline __attribute__((always_inline)) void slopes_of(const struct attention *at,
                                                            const struct seen *seen, bool all,
                                                            bool capped, int64_t key, int64_t keys,
                                                            int query, struct scratch *s) {
    vf lse = load(s->lse + query), delta = load(s->delta + query);
    float *scores = s->scores + query, *slopes = s->slopes + query;
    for (int64_t j = 0; j < keys; j++) {
        vf z = load(scores + j * QUERIES), slope = splat(1.0f);
        if (capped) {
            vf t = vtanh(z / at->softcap);
            slope = 1.0f - t * t;
            z = at->softcap * t;
        }
        vf p = vexp(z - lse), d = load(slopes + j * QUERIES) - delta;
        if (!all) {
            vi mask = seen_mask(seen, key + j, query);
            p = mask_zero(mask, p);
            d = mask_zero(mask, d);
        }
        store(scores + j * QUERIES, p);
        store(slopes + j * QUERIES, capped ? p * d * slope : p * d);
    }
}

// Keys key .. key+keys-1. dk, dv: their rows of the sums, or NULL; dq: whether to add to dq_t.
static void meet(const struct job *job, const struct attention *at, const struct queries *t,
                 int64_t key, int64_t keys, struct scratch *s, float *dk, float *dv, bool dq) {
    const struct view *k = &job->in[OPERAND_K], *v = &job->in[OPERAND_V];
    const float *k_at = k->data.f + (t->key_row + key) * k->stride + t->group * at->size;
    const float *v_at = v->data.f + (t->key_row + key) * v->stride + t->group * at->size;
    int64_t padded = padded_size(at->size);
    tile_multiply(keys, QUERIES, at->size, (struct tile_a){k_at, k->stride, 1}, s->q_t, QUERIES,
                  s->scores, QUERIES, false);
    tile_multiply(keys, QUERIES, at->size, (struct tile_a){v_at, v->stride, 1}, s->dy_t, QUERIES,
                  s->slopes, QUERIES, false);
    bool all = seen_all(&t->seen, key, keys), capped = at->softcap > 0;
    for (int i = 0; i < QUERIES; i += LANES) {
        if (capped)
            slopes_of(at, &t->seen, false, true, key, keys, i, s);
        else if (all)
            slopes_of(at, &t->seen, true, false, key, keys, i, s);
        else
            slopes_of(at, &t->seen, false, false, key, keys, i, s);
    }
    if (dv != NULL) {
        struct tile_a p = {s->scores, QUERIES, 1}, ds = {s->slopes, QUERIES, 1};
        tile_multiply(keys, padded, t->count, p, s->dy_rows, padded, dv, padded, true);
        tile_multiply(keys, padded, t->count, ds, s->q_rows, padded, dk, padded, true);
    }
    if (dq)
        tile_multiply(at->size, QUERIES, keys, (struct tile_a){k_at, 1, k->stride}, s->slopes,
                      QUERIES, s->dq_t, QUERIES, true);
}

static void queries_of(const struct job *job, const struct attention *at, int64_t sequence,
                       int64_t head, int64_t tile, struct queries *t) {
    t->row = sequence * at->query_rows + tile * QUERIES;
    t->count = min_i64(QUERIES, at->query_rows - tile * QUERIES);
    t->head = head;
    t->group = head / (at->heads / at->groups);
    t->key_row = sequence * at->key_rows;
    seen_of(at, job->in[OPERAND_FIRST].data.i + t->row, job->in[OPERAND_LAST].data.i + t->row,
            t->count, &t->seen);
}

static void store_dq(const struct job *job, const struct attention *at, const struct queries *t,
                     const float *dq_t) {
    const struct view *dq = &job->out[RESULT_DQ];
    for (int64_t i = 0; i < t->count; i++) {
        float *to = dq->data.f + (t->row + i) * dq->stride + t->head * at->size;
        for (int64_t d = 0; d < at->size; d++) to[d] = at->scale * dq_t[d * QUERIES + i];
    }
}

static void store_keys(const struct job *job, const struct attention *at, int64_t row,
                       int64_t group, int64_t keys, const struct scratch *s) {
    int64_t padded = padded_size(at->size);
    for (int side = 0; side < 2; side++) {
        const struct view *out = &job->out[side == 0 ? RESULT_DK : RESULT_DV];
        const float *from = side == 0 ? s->dk : s->dv;
        for (int64_t j = 0; j < keys; j++)
            memcpy(out->data.f + (row + j) * out->stride + group * at->size, from + j * padded,
                   (size_t)at->size * sizeof(float));
    }
}

// Everything of one (sequence, key head).
static void whole_task(struct job *job, int64_t task, unsigned thread) {
    struct attention at = attention_of(job, &job->in[OPERAND_Q], &job->in[OPERAND_K]);
    int64_t group = task % at.groups, sequence = task / at.groups, shared = at.heads / at.groups;
    int64_t padded = padded_size(at.size);
    struct scratch s = scratch_of(job, thread, at.size, at.key_rows);
    memset(s.dk, 0, (size_t)(2 * at.key_rows * padded) * sizeof(float));
    for (int64_t head = group * shared; head < (group + 1) * shared; head++)
        for (int64_t tile = 0; tile < job->count[0]; tile++) {
            struct queries t;
            queries_of(job, &at, sequence, head, tile, &t);
            memset(s.dq_t, 0, (size_t)(at.size * QUERIES) * sizeof(float));
            if (t.seen.most_high >= 0) load_queries(job, &at, &t, true, &s);
            for (int64_t key = t.seen.least_low / KEYS * KEYS; key <= t.seen.most_high;
                 key += KEYS) {
                int64_t n = min_i64(KEYS, at.key_rows - key);
                if (seen_any(&t.seen, key, n))
                    meet(job, &at, &t, key, n, &s, s.dk + key * padded, s.dv + key * padded, true);
            }
            store_dq(job, &at, &t, s.dq_t);
        }
    store_keys(job, &at, sequence * at.key_rows, group, at.key_rows, &s);
}

static void keys_task(struct job *job, int64_t task, unsigned thread) {
    struct attention at = attention_of(job, &job->in[OPERAND_Q], &job->in[OPERAND_K]);
    int64_t key = task % job->count[1] * KEYS, group = task / job->count[1] % at.groups;
    int64_t sequence = task / job->count[1] / at.groups, shared = at.heads / at.groups;
    int64_t n = min_i64(KEYS, at.key_rows - key);
    struct scratch s = scratch_of(job, thread, at.size, KEYS);
    memset(s.dk, 0, (size_t)(2 * KEYS * padded_size(at.size)) * sizeof(float));
    for (int64_t head = group * shared; head < (group + 1) * shared; head++)
        for (int64_t tile = 0; tile < job->count[0]; tile++) {
            struct queries t;
            queries_of(job, &at, sequence, head, tile, &t);
            if (!seen_any(&t.seen, key, n)) continue;
            load_queries(job, &at, &t, true, &s);
            meet(job, &at, &t, key, n, &s, s.dk, s.dv, false);
        }
    store_keys(job, &at, sequence * at.key_rows + key, group, n, &s);
}

static void queries_task(struct job *job, int64_t task, unsigned thread) {
    struct attention at = attention_of(job, &job->in[OPERAND_Q], &job->in[OPERAND_K]);
    int64_t tile = job->count[0] - 1 - task % job->count[0], head = task / job->count[0] % at.heads;
    struct scratch s = scratch_of(job, thread, at.size, KEYS);
    struct queries t;
    queries_of(job, &at, task / job->count[0] / at.heads, head, tile, &t);
    memset(s.dq_t, 0, (size_t)(at.size * QUERIES) * sizeof(float));
    if (t.seen.most_high >= 0) load_queries(job, &at, &t, false, &s);
    for (int64_t key = t.seen.least_low / KEYS * KEYS; key <= t.seen.most_high; key += KEYS) {
        int64_t n = min_i64(KEYS, at.key_rows - key);
        if (seen_any(&t.seen, key, n)) meet(job, &at, &t, key, n, &s, NULL, NULL, true);
    }
    store_dq(job, &at, &t, s.dq_t);
}

static void attention_grad_run(struct job *job) {
    struct attention at = attention_of(job, &job->in[OPERAND_Q], &job->in[OPERAND_K]);
    if (job->flag) {
        job_loop(job, at.sequences * at.groups, whole_task);
        return;
    }
    job_loop(job, at.sequences * at.groups * job->count[1], keys_task);
    job_loop(job, at.sequences * at.heads * job->count[0], queries_task);
}
const struct op_row ISA(op_attention_grad) = {attention_grad_prepare, attention_grad_run};
