// Output projection and cross-entropy, fused: never all logits in memory.
//   x [N,C], w [V,C], bias [V], targets [N], seed [1] -> loss [N], dx [N,C], dw [V,C], dbias [V]
//
// Chunks of the scored rows meet tiles of the vocabulary. For each chunk:
//   1. every tile of logits z = x w^T + bias: one GEMM, and while it is in cache the maximum m of
//      each row, and its sum l of exp(z - m); a gradient keeps the tile
//   2. m, l and log sum exp of every row from those of the tiles, and the loss
//   3. every tile again: logits become their gradient in place, which goes into dw, dbias and a
//      partial dx; a group of neighbouring tiles shares one partial dx
//   4. the partial dx are added in order
#include <math.h>

#include "simd.h"

enum operand { OPERAND_X, OPERAND_W, OPERAND_BIAS, OPERAND_TARGETS, OPERAND_SEED };
enum result { RESULT_LOSS, RESULT_DX, RESULT_DW, RESULT_DBIAS };

#define CHUNK_BYTES (INT64_C(64) << 20)  // of logits kept at a time
#define CHUNK_ROWS 1024
#define TILE_FLOATS (INT64_C(1) << 18)
#define MAX_GROUPS 16
#define ROW_BLOCK 16  // rows of a task in the loops over rows

// Where things lie in the job's shared scratch.
struct lm {
    int64_t rows, channels, vocabulary;
    int64_t chunk;          // rows of a chunk
    int64_t tile, tiles;    // columns of a tile, a multiple of MAX_LANES; how many
    int64_t group, groups;  // tiles of a group
    bool grad;
    int32_t *scored;            // [rows] indices of the scored rows
    float *x;                   // [chunk][channels] the scored rows of x
    float *m, *l;               // [tiles][chunk]
    float *target_logit, *lse;  // [chunk]
    float *dx;                  // [groups][chunk][channels]
    float *logits;              // [tiles][chunk][tile]
};

// One chunk while it is worked on.
struct chunk {
    struct lm lm;
    int64_t first, rows;  // its place among the scored rows
    struct blas_matrix x;
};

static int64_t even_step(int64_t length, int64_t limit, int64_t unit) {
    int64_t pieces = ceil_div(length, limit);
    return ceil_div(ceil_div(length, pieces), unit) * unit;
}

// `count` words from the scratch at base, of which *size bytes are taken.
static void *take(uint8_t *base, size_t *size, size_t count) {
    size_t at = *size;
    *size += (count * sizeof(float) + 63) & ~(size_t)63;
    return base != NULL ? base + at : NULL;
}

// What products round to: float32 is as good where no unit takes elements. The gradients of logits
// are too small for float16.
static enum dapt_dtype operands_of(const struct job *job) {
    enum dapt_dtype dtype = job->in[OPERAND_X].dtype;
    return dtype == DAPT_BF16 && job_takes(job, dtype, dtype, DAPT_F32) ? DAPT_BF16 : DAPT_F32;
}

// Whether scored rows of x are copied as floats.
static bool is_widened(const struct job *job) {
    return !job_takes(job, operands_of(job), job->in[OPERAND_X].dtype, DAPT_F32);
}

// The layout, and its size in bytes. base may be NULL.
static size_t lm_layout(const struct job *job, uint8_t *base, struct lm *lm) {
    const struct view *x = &job->in[OPERAND_X], *w = &job->in[OPERAND_W];
    *lm = (struct lm){.rows = x->rows, .channels = x->cols, .vocabulary = w->rows};
    lm->grad = job->op.opcode == DAPT_OP_LM_LOSS_GRAD;
    int64_t limit = CHUNK_BYTES / (int64_t)sizeof(float) / lm->vocabulary / MAX_LANES * MAX_LANES;
    limit = max_i64(64, min_i64(CHUNK_ROWS, limit));
    lm->chunk = even_step(x->rows, limit, MAX_LANES);
    int64_t cols = max_i64(128, min_i64(1024, TILE_FLOATS / lm->chunk));
    // A small vocabulary still makes a few tiles.
    cols = min_i64(cols, max_i64(64, ceil_div(lm->vocabulary, 8)));
    lm->tile = even_step(lm->vocabulary, cols, MAX_LANES);
    lm->tiles = ceil_div(lm->vocabulary, lm->tile);
    lm->group = ceil_div(lm->tiles, MAX_GROUPS);
    lm->groups = ceil_div(lm->tiles, lm->group);
    size_t size = 0, chunk = (size_t)lm->chunk, channels = (size_t)lm->channels,
           tiles = (size_t)lm->tiles;
    lm->scored = take(base, &size, (size_t)lm->rows);
    lm->x = take(base, &size, chunk * channels);
    lm->m = take(base, &size, tiles * chunk);
    lm->l = take(base, &size, tiles * chunk);
    lm->target_logit = take(base, &size, chunk);
    lm->lse = take(base, &size, chunk);
    bool dx = job->out[RESULT_DX].data.f != NULL;
    lm->dx = take(base, &size, dx ? (size_t)lm->groups * chunk * channels : 0);
    lm->logits = take(base, &size, lm->grad ? tiles * (size_t)lm->tile * chunk : 0);
    return size;
}

static void lm_prepare(struct job *job) {
    struct lm lm;
    job->shared = lm_layout(job, NULL, &lm);
    job->private = lm.grad ? 0 : (size_t)(lm.tile * lm.chunk) * sizeof(float);
}

static int32_t target_of(const struct job *job, const struct chunk *chunk, int64_t row) {
    return job->in[OPERAND_TARGETS].data.i[chunk->lm.scored[chunk->first + row]];
}

// --------------------------------------------------------------------------- 1: logits of one tile

// One row of a tile: adds bias, scale and cap to the logits; *m and *l receive their maximum and
// sum of exp(z - m).
static void softmax_partials(const struct job *job, int64_t col, int64_t cols, int64_t padded,
                             float *z, float *m, float *l) {
    const float *bias = job->in[OPERAND_BIAS].data.f;
    float scale = job->op.u.lm.scale, cap = job->op.u.lm.softcap;
    if (bias != NULL)
        for (int64_t c = 0; c < cols; c++) z[c] += bias[col + c];
    if (cap > 0)
        for (int64_t c = 0; c < padded; c += LANES)
            store(z + c, cap * vtanh(load(z + c) * (scale / cap)));
    else if (scale != 1.0f)
        for (int64_t c = 0; c < padded; c += LANES) store(z + c, load(z + c) * scale);
    for (int64_t c = cols; c < padded; c++) z[c] = -INFINITY;
    vf max = splat(-INFINITY), sums[2] = {{0}};
    for (int64_t c = 0; c < padded; c += LANES) max = vmax(load(z + c), max);
    *m = hmax(max);
    float shift = *m == -INFINITY ? 0.0f : *m;
    for (int64_t c = 0; c < padded; c += LANES) sums[c / LANES & 1] += vexp(load(z + c) - shift);
    *l = hsum(sums[0] + sums[1]);
}

static void tile_task(struct job *job, int64_t task, unsigned thread) {
    const struct chunk *chunk = job->extra;
    const struct lm *lm = &chunk->lm;
    const struct view *w = &job->in[OPERAND_W];
    int64_t col = task * lm->tile, cols = min_i64(lm->tile, lm->vocabulary - col);
    float *logits = lm->grad ? lm->logits + task * lm->chunk * lm->tile : job_private(job, thread);
    struct blas_matrix w_t = {w->data.f + col * w->stride, w->stride, true, DAPT_F32};
    job_multiply(job, thread, operands_of(job), chunk->rows, cols, lm->channels, chunk->x, w_t,
                 0.0f, logits, lm->tile);
    for (int64_t row = 0; row < chunk->rows; row++) {
        float *z = logits + row * lm->tile;
        int64_t at = task * lm->chunk + row;
        softmax_partials(job, col, cols, ceil_div(cols, LANES) * LANES, z, &lm->m[at], &lm->l[at]);
        int64_t target = target_of(job, chunk, row) - col;
        if (target >= 0 && target < cols) lm->target_logit[row] = z[target];
    }
}

// --------------------------------------------------------------------------------- 2: loss of rows

static void loss_task(struct job *job, int64_t task, unsigned thread) {
    (void)thread;
    const struct chunk *chunk = job->extra;
    const struct lm *lm = &chunk->lm;
    int64_t end = min_i64(chunk->rows, (task + 1) * ROW_BLOCK);
    for (int64_t row = task * ROW_BLOCK; row < end; row++) {
        float m = -INFINITY, l = 0.0f;
        for (int64_t t = 0; t < lm->tiles; t++) m = fmaxf(m, lm->m[t * lm->chunk + row]);
        float shift = m == -INFINITY ? 0.0f : m;
        for (int64_t t = 0; t < lm->tiles; t++)
            l += lm->l[t * lm->chunk + row] * expf(lm->m[t * lm->chunk + row] - shift);
        lm->lse[row] = m + logf(l);
        job->out[RESULT_LOSS].data.f[lm->scored[chunk->first + row]] = (m - lm->target_logit[row]) +
                                                                       logf(l);
    }
}

// ------------------------------------------------------------------------------------ 3: gradients

// Logits z of one tile become d(sum of seed * loss) / d(x w^T + bias).
static void logit_grad_tile(const struct job *job, const struct chunk *chunk, int64_t col,
                            int64_t cols, float *logits) {
    const struct lm *lm = &chunk->lm;
    float cap = job->op.u.lm.softcap, factor = *job->in[OPERAND_SEED].data.f * job->op.u.lm.scale;
    for (int64_t row = 0; row < chunk->rows; row++) {
        float *z = logits + row * lm->tile;
        float lse = lm->lse[row];
        int64_t target = target_of(job, chunk, row) - col;
        bool here = target >= 0 && target < cols;
        float target_dcap = here && cap > 0 ? 1.0f - z[target] / cap * (z[target] / cap) : 1.0f;
        for (int64_t c = 0; c < cols; c += LANES) {
            vf v = load(z + c), p = factor * vexp(v - lse);
            if (cap > 0) p *= 1.0f - v / cap * (v / cap);
            store(z + c, p);
        }
        if (here) z[target] -= factor * target_dcap;
    }
}

static void group_task(struct job *job, int64_t task, unsigned thread) {
    const struct chunk *chunk = job->extra;
    const struct lm *lm = &chunk->lm;
    const struct view *w = &job->in[OPERAND_W], *dw = &job->out[RESULT_DW];
    float *dbias = job->out[RESULT_DBIAS].data.f, *dx = lm->dx + task * lm->chunk * lm->channels;
    bool add_dw = chunk->first > 0 || (job->op.accumulate & 1u << RESULT_DW) != 0;
    bool add_dbias = chunk->first > 0 || (job->op.accumulate & 1u << RESULT_DBIAS) != 0;
    int64_t end = min_i64(lm->tiles, (task + 1) * lm->group);
    for (int64_t t = task * lm->group; t < end; t++) {
        int64_t col = t * lm->tile, cols = min_i64(lm->tile, lm->vocabulary - col);
        float *logits = lm->logits + t * lm->chunk * lm->tile;
        logit_grad_tile(job, chunk, col, cols, logits);
        for (int64_t c = 0; dbias != NULL && c < cols; c++) {
            float sum = add_dbias ? dbias[col + c] : 0.0f;
            for (int64_t row = 0; row < chunk->rows; row++) sum += logits[row * lm->tile + c];
            dbias[col + c] = sum;
        }
        struct blas_matrix dz_t = {logits, lm->tile, true, DAPT_F32},
                           dz = {logits, lm->tile, false, DAPT_F32};
        if (dw->data.f != NULL)
            job_multiply(job, thread, operands_of(job), cols, lm->channels, chunk->rows, dz_t,
                         chunk->x, add_dw ? 1.0f : 0.0f, dw->data.f + col * dw->stride, dw->stride);
        if (job->out[RESULT_DX].data.f == NULL) continue;
        struct blas_matrix weights = {w->data.f + col * w->stride, w->stride, false, DAPT_F32};
        job_multiply(job, thread, operands_of(job), chunk->rows, lm->channels, cols, dz, weights,
                     t > task * lm->group ? 1.0f : 0.0f, dx, lm->channels);
    }
}

static void dx_task(struct job *job, int64_t task, unsigned thread) {
    (void)thread;
    const struct chunk *chunk = job->extra;
    const struct lm *lm = &chunk->lm;
    int64_t end = min_i64(chunk->rows, (task + 1) * ROW_BLOCK), channels = lm->channels;
    for (int64_t row = task * ROW_BLOCK; row < end; row++) {
        const float *part = lm->dx + row * channels;
        element *to = elements(&job->out[RESULT_DX]) +
                      lm->scored[chunk->first + row] * job->out[RESULT_DX].stride;
        int64_t c = 0, step = lm->chunk * channels;
        for (; c + LANES <= channels; c += LANES) {
            vf sum = load(part + c);
            for (int64_t g = 1; g < lm->groups; g++) sum += load(part + g * step + c);
            store(to + c, sum);
        }
        for (; c < channels; c++) {
            float sum = part[c];
            for (int64_t g = 1; g < lm->groups; g++) sum += part[g * step + c];
            put(to + c, sum);
        }
    }
}

// --------------------------------------------------------------------------------------- the whole

static void gather_task(struct job *job, int64_t task, unsigned thread) {
    (void)thread;
    const struct chunk *chunk = job->extra;
    const struct view *x = &job->in[OPERAND_X];
    int64_t end = min_i64(chunk->rows, (task + 1) * ROW_BLOCK);
    bool widened = is_widened(job);
    for (int64_t row = task * ROW_BLOCK; row < end; row++) {
        const element *from = elements(x) + chunk->lm.scored[chunk->first + row] * x->stride;
        if (!widened) {
            memcpy((element *)(void *)chunk->lm.x + row * x->cols, from,
                   (size_t)x->cols * sizeof *from);
            continue;
        }
        convert(chunk->lm.x + row * x->cols, from, x->cols);
    }
}

// Lists the scored rows; the others get loss and dx of 0.
static int64_t find_scored(struct job *job, const struct lm *lm) {
    const int32_t *targets = job->in[OPERAND_TARGETS].data.i;
    const struct view *dx = &job->out[RESULT_DX];
    int64_t count = 0;
    for (int64_t n = 0; n < lm->rows; n++) {
        if (targets[n] >= 0) {
            lm->scored[count++] = (int32_t)n;
            continue;
        }
        job->out[RESULT_LOSS].data.f[n] = 0.0f;
        if (dx->data.f != NULL)
            memset(elements(dx) + n * dx->stride, 0, (size_t)lm->channels * sizeof(element));
    }
    return count;
}

static void clear_grads(struct job *job) {
    const struct view *dw = &job->out[RESULT_DW], *dbias = &job->out[RESULT_DBIAS];
    if (dw->data.f != NULL && (job->op.accumulate & 1u << RESULT_DW) == 0)
        for (int64_t v = 0; v < dw->rows; v++)
            memset(dw->data.f + v * dw->stride, 0, (size_t)dw->cols * sizeof(float));
    if (dbias->data.f != NULL && (job->op.accumulate & 1u << RESULT_DBIAS) == 0)
        memset(dbias->data.f, 0, (size_t)dbias->rows * sizeof(float));
}

static void lm_run(struct job *job) {
    const struct view *x = &job->in[OPERAND_X];
    struct chunk chunk;
    lm_layout(job, job_shared(job), &chunk.lm);
    const struct lm *lm = &chunk.lm;
    int64_t count = find_scored(job, lm);
    if (count == 0 && lm->grad) clear_grads(job);
    job->extra = &chunk;
    for (chunk.first = 0; chunk.first < count; chunk.first += lm->chunk) {
        chunk.rows = min_i64(lm->chunk, count - chunk.first);
        chunk.x = (struct blas_matrix){view_at(x, chunk.first, 0), x->stride, false, x->dtype};
        int64_t blocks = ceil_div(chunk.rows, ROW_BLOCK);
        if (count < lm->rows || is_widened(job)) {
            job_loop(job, blocks, gather_task);
            chunk.x = (struct blas_matrix){lm->x, lm->channels, false,
                                           is_widened(job) ? DAPT_F32 : x->dtype};
        }
        job_loop(job, lm->tiles, tile_task);
        job_loop(job, blocks, loss_task);
        if (!lm->grad) continue;
        job_loop(job, lm->groups, group_task);
        if (job->out[RESULT_DX].data.f != NULL) job_loop(job, blocks, dx_task);
    }
    job->extra = NULL;
}
const struct op_row ISA(op_lm_loss) = {lm_prepare, lm_run};
const struct op_row ISA(op_lm_loss_grad) = {lm_prepare, lm_run};
