// Matmul: c [M,N] = act(op(a) [M,K] op(b) [K,N] + bias [N]) + residual [M,N] [+ c].
//
// Three algorithms, chosen by shape alone:
//   tiles    c is divided into tiles; each is one GEMM, and its epilogue while it is in cache
//   split-K  few tiles but a large K (gradients of weights): K is divided too, and the partial sums
//            are added in order
//   skinny   very few rows of a (generation): every weight is read once, by kernels of this file
#include "common/half.h"
#include "simd.h"

#define SKINNY_ROWS 4
#define SKINNY_COLS 128  // of a task there
#define TILE_FLOATS 262144
#define MIN_TASKS 8  // tiles at least, where the matmul is large enough to be shared
#define MAX_SPLITS 8
#define MIN_SPLIT_K 256      // K of one split
#define MIN_EDGE 32          // of a tile
#define MIN_EDGE_LONG_K 192  // where K is large: splitting it is better than smaller tiles

enum algo { ALGO_TILES, ALGO_SPLIT_K, ALGO_SKINNY };

enum operand { OPERAND_A, OPERAND_B, OPERAND_BIAS, OPERAND_RESIDUAL };

// How bias, residual and the old c are fused with the GEMM.
struct fusion {
    bool accumulate;     // c is added to
    bool residual_here;  // residual is c itself
    bool activation;
    bool after;      // the epilogue adds residual and old c; else they are in c before the GEMM
    bool temporary;  // the GEMM needs a place of its own
};

static struct fusion fusion_of(const struct job *job) {
    struct fusion fusion = {.accumulate = (job->op.accumulate & 1) != 0,
                            .activation = job->op.u.matmul.activation != DAPT_ACT_NONE};
    const float *residual = job->in[OPERAND_RESIDUAL].data.f;
    fusion.residual_here = residual != NULL && residual == job->out[0].data.f;
    fusion.after = fusion.activation || (fusion.accumulate && fusion.residual_here);
    fusion.temporary = fusion.after && (fusion.accumulate || residual != NULL);
    return fusion;
}

static int64_t size_k(const struct job *job) {
    return job->op.u.matmul.transpose_a ? job->in[OPERAND_A].rows : job->in[OPERAND_A].cols;
}

// The step that divides a length evenly into steps of at most `limit`, rounded up to `unit`.
static int64_t even_step(int64_t length, int64_t limit, int64_t unit) {
    int64_t pieces = ceil_div(length, limit);
    return min_i64(length, ceil_div(ceil_div(length, pieces), unit) * unit);
}

static void choose_grid(struct job *job) {
    const struct view *c = &job->out[0];
    int64_t m = c->rows, n = c->cols, k = size_k(job);
    job->count[2] = 1;
    if (m <= SKINNY_ROWS && !job->op.u.matmul.transpose_a) {
        job->step[0] = m, job->step[1] = SKINNY_COLS, job->step[2] = k;
        job->count[0] = 1, job->count[1] = ceil_div(n, SKINNY_COLS);
        job->tasks = job->count[1];
        job->private = (size_t)SKINNY_ROWS * SKINNY_COLS * sizeof(float);
        job->at = ALGO_SKINNY;
        return;
    }
    int64_t limit_n = 512, limit_m = max_i64(64, TILE_FLOATS / min_i64(n, limit_n));
    int64_t least = k >= 4 * MIN_SPLIT_K ? MIN_EDGE_LONG_K : MIN_EDGE;
    // Halve the tiles until there are enough of them, as long as each is worth a call.
    for (;;) {
        job->step[1] = even_step(n, limit_n, MAX_LANES);
        job->step[0] = even_step(m, limit_m, MAX_LANES);
        job->count[0] = ceil_div(m, job->step[0]);
        job->count[1] = ceil_div(n, job->step[1]);
        if (job->count[0] * job->count[1] >= MIN_TASKS) break;
        bool rows = job->step[0] >= job->step[1];
        int64_t longer = rows ? job->step[0] : job->step[1];
        if (longer / 2 < least || job->step[0] * job->step[1] * k < (INT64_C(1) << 21)) break;
        if (rows)
            limit_m = ceil_div(longer, 2);
        else
            limit_n = ceil_div(longer, 2);
    }
    int64_t tiles = job->count[0] * job->count[1];
    job->step[2] = k;
    job->at = ALGO_TILES;
    if (tiles < MIN_TASKS && k >= 2 * MIN_SPLIT_K && m * n * k >= (INT64_C(1) << 21)) {
        int64_t splits = min_i64(min_i64(MAX_SPLITS, k / MIN_SPLIT_K), ceil_div(MIN_TASKS, tiles));
        job->step[2] = even_step(k, ceil_div(k, splits), MAX_LANES);
        job->count[2] = ceil_div(k, job->step[2]);
        job->shared = (size_t)(job->count[2] * m * n) * sizeof(float);
        job->at = ALGO_SPLIT_K;
    }
    job->tasks = tiles * job->count[2];
    if (job->at == ALGO_TILES && fusion_of(job).temporary)
        job->private = (size_t)(job->step[0] * job->step[1]) * sizeof(float);
}

// ------------------------------------------------------------------------------ 16-bit operands

// Both operands are rounded, whole, to dense copies in the job's scratch, behind the partial sums;
// all algorithms then take those.

static size_t partial_sums(const struct job *job) {
    const struct view *c = &job->out[0];
    return job->at == ALGO_SPLIT_K ? (size_t)(job->count[2] * c->rows * c->cols) : 0;
}

static struct view factor(const struct job *job, enum operand which) {
    struct view v = job->in[which];
    if (job->op.u.matmul.operands == DAPT_F32) return v;
    const struct view *a = &job->in[OPERAND_A];
    v.data.f = (float *)job_shared(job) + partial_sums(job);
    if (which == OPERAND_B) v.data.f += a->rows * a->cols;
    v.stride = v.cols;
    return v;
}

// One row of a, then of b.
static void round_task(struct job *job, int64_t task, unsigned thread) {
    (void)thread;
    enum operand which = task < job->in[OPERAND_A].rows ? OPERAND_A : OPERAND_B;
    int64_t row = which == OPERAND_A ? task : task - job->in[OPERAND_A].rows;
    const struct view *from = &job->in[which], to = factor(job, which);
    const float *x = from->data.f + row * from->stride;
    float *y = to.data.f + row * to.stride;
    bool f16 = job->op.u.matmul.operands == DAPT_F16;
    for (int64_t i = 0; i < from->cols; i++)
        y[i] = f16 ? f16_to_float(float_to_f16(x[i])) : bf16_to_float(float_to_bf16(x[i]));
}

static void matmul_prepare(struct job *job) {
    const struct view *a = &job->in[OPERAND_A], *b = &job->in[OPERAND_B];
    choose_grid(job);
    if (job->op.u.matmul.operands == DAPT_F32) return;
    size_t floats = partial_sums(job) + (size_t)(a->rows * a->cols + b->rows * b->cols);
    job->shared = floats * sizeof(float);
}

// ---------------------------------------------------------------------------------------- epilogue

// c = act(t + bias) + residual [+ c] for one block of c; t may be c, and may hold the bias already.
static inline __attribute__((always_inline)) void epilogue_kind(const struct job *job,
                                                                enum dapt_activation kind,
                                                                const float *bias, struct block b,
                                                                const float *t, int64_t t_stride) {
    const struct view *c = &job->out[0], *residual = &job->in[OPERAND_RESIDUAL];
    bool accumulate = (job->op.accumulate & 1) != 0;
    int64_t length = b.col_end - b.col;
    for (int64_t row = b.row; row < b.row_end; row++) {
        const float *from = t + (row - b.row) * t_stride;
        float *to = c->data.f + row * c->stride + b.col;
        const float *add = residual->data.f != NULL
                               ? residual->data.f + row * residual->stride + b.col
                               : NULL;
        for (int64_t i = 0; i < length; i += LANES) {
            int64_t rest = length - i;
            bool part = rest < LANES;
            vf v = part ? load_part(from + i, rest) : load(from + i);
            if (bias != NULL)
                v += part ? load_part(bias + b.col + i, rest) : load(bias + b.col + i);
            v = activate(kind, v);
            if (add != NULL) v += part ? load_part(add + i, rest) : load(add + i);
            if (accumulate) v += part ? load_part(to + i, rest) : load(to + i);
            if (part)
                store_part(to + i, v, rest);
            else
                store(to + i, v);
        }
    }
}

static void epilogue(const struct job *job, const float *bias, struct block b, const float *t,
                     int64_t t_stride) {
    switch (job->op.u.matmul.activation) {
    case DAPT_ACT_GELU: epilogue_kind(job, DAPT_ACT_GELU, bias, b, t, t_stride); break;
    case DAPT_ACT_GELU_TANH: epilogue_kind(job, DAPT_ACT_GELU_TANH, bias, b, t, t_stride); break;
    case DAPT_ACT_SILU: epilogue_kind(job, DAPT_ACT_SILU, bias, b, t, t_stride); break;
    case DAPT_ACT_RELU: epilogue_kind(job, DAPT_ACT_RELU, bias, b, t, t_stride); break;
    default: epilogue_kind(job, DAPT_ACT_NONE, bias, b, t, t_stride); break;
    }
}

// Writes to `t` what the GEMM adds to (beta = 1): always the bias, so that fusing an activation
// changes no bit; residual and old c unless they come after the activation. False: nothing, beta =
// 0.
static bool preload_c(const struct job *job, struct fusion fusion, struct block b, float *t,
                      int64_t t_stride) {
    const struct view *residual = &job->in[OPERAND_RESIDUAL];
    const float *bias = job->in[OPERAND_BIAS].data.f;
    bool keep = !fusion.after && (fusion.accumulate || fusion.residual_here),
         add = !fusion.after && residual->data.f != NULL && !fusion.residual_here;
    if (bias == NULL && !add) return keep;
    int64_t length = b.col_end - b.col;
    for (int64_t row = b.row; row < b.row_end; row++) {
        float *to = t + (row - b.row) * t_stride;
        const float *from = add ? residual->data.f + row * residual->stride + b.col : NULL;
        for (int64_t i = 0; i < length; i += LANES) {
            int64_t rest = length - i;
            bool part = rest < LANES;
            vf v = {0};
            if (keep) v = part ? load_part(to + i, rest) : load(to + i);
            if (bias != NULL)
                v += part ? load_part(bias + b.col + i, rest) : load(bias + b.col + i);
            if (from != NULL) v += part ? load_part(from + i, rest) : load(from + i);
            if (part)
                store_part(to + i, v, rest);
            else
                store(to + i, v);
        }
    }
    return true;
}

// ---------------------------------------------------------------------------------- tiles, split-K

// op(a) from row `row` on, op(b) from column `col` on, both from element k of K on.
static struct blas_matrix slice_a(const struct job *job, int64_t row, int64_t k) {
    struct view a = factor(job, OPERAND_A);
    bool t = job->op.u.matmul.transpose_a;
    return (struct blas_matrix){a.data.f + (t ? k * a.stride + row : row * a.stride + k), a.stride,
                                t};
}
static struct blas_matrix slice_b(const struct job *job, int64_t col, int64_t k) {
    struct view b = factor(job, OPERAND_B);
    bool t = job->op.u.matmul.transpose_b;
    return (struct blas_matrix){b.data.f + (t ? col * b.stride + k : k * b.stride + col), b.stride,
                                t};
}

static void tile_task(struct job *job, int64_t task, unsigned thread) {
    const struct view *c = &job->out[0];
    struct fusion fusion = fusion_of(job);
    struct block b = grid_block(job, task, c->rows, c->cols);
    int64_t rows = b.row_end - b.row, cols = b.col_end - b.col;
    float *to = fusion.temporary ? job_private(job, thread) : c->data.f + b.row * c->stride + b.col;
    int64_t stride = fusion.temporary ? cols : c->stride;
    bool add = preload_c(job, fusion, b, to, stride);
    job_multiply(job, thread, rows, cols, job->step[2], slice_a(job, b.row, 0),
                 slice_b(job, b.col, 0), add ? 1.0f : 0.0f, to, stride);
    if (fusion.after) epilogue(job, NULL, b, to, stride);
}

static void split_k_task(struct job *job, int64_t task, unsigned thread) {
    const struct view *c = &job->out[0];
    struct block b = grid_block(job, task / job->count[2], c->rows, c->cols);
    int64_t part = task % job->count[2], from = part * job->step[2];
    int64_t length = min_i64(size_k(job), from + job->step[2]) - from;
    float *to = (float *)job_shared(job) + part * c->rows * c->cols + b.row * c->cols + b.col;
    job_multiply(job, thread, b.row_end - b.row, b.col_end - b.col, length,
                 slice_a(job, b.row, from), slice_b(job, b.col, from), 0.0f, to, c->cols);
}

#define REDUCE_FLOATS 8192

static void split_k_reduce_task(struct job *job, int64_t task, unsigned thread) {
    (void)thread;
    const struct view *c = &job->out[0];
    int64_t rows = max_i64(1, REDUCE_FLOATS / c->cols), total = c->rows * c->cols;
    struct block b = {task * rows, min_i64(c->rows, (task + 1) * rows), 0, c->cols};
    float *sum = (float *)job_shared(job);
    for (int64_t i = b.row * c->cols; i < b.row_end * c->cols; i++) {
        float s = sum[i];
        for (int64_t p = 1; p < job->count[2]; p++) s += sum[p * total + i];
        sum[i] = s;
    }
    epilogue(job, job->in[OPERAND_BIAS].data.f, b, sum + b.row * c->cols, c->cols);
}

// ------------------------------------------------------------------------------------------ skinny

static float dot(const float *a, const float *b, int64_t length) {
    vf sum[4] = {{0}};
    int64_t i = 0;
    for (; i + 4 * LANES <= length; i += 4 * LANES)
        for (int u = 0; u < 4; u++) sum[u] += load(a + i + u * LANES) * load(b + i + u * LANES);
    for (; i + LANES <= length; i += LANES) sum[0] += load(a + i) * load(b + i);
    if (i < length) sum[1] += load_part(a + i, length - i) * load_part(b + i, length - i);
    return hsum((sum[0] + sum[1]) + (sum[2] + sum[3]));
}

// t [cols] = a [K] b [K,cols], eight rows of b at a time.
static void multiply_row(const float *a, const struct blas_matrix *b, int64_t k, float *t,
                         int64_t cols) {
    memset(t, 0, (size_t)cols * sizeof *t);
    for (int64_t r = 0; r < k; r += 8) {
        int64_t count = min_i64(8, k - r);
        const float *row = b->data + r * b->stride;
        int64_t c = 0;
        for (; count == 8 && c + LANES <= cols; c += LANES) {
            vf s = load(t + c);
            for (int u = 0; u < 8; u++) s += a[r + u] * load(row + u * b->stride + c);
            store(t + c, s);
        }
        for (; c < cols; c++)
            for (int64_t u = 0; u < count; u++) t[c] += a[r + u] * row[u * b->stride + c];
    }
}

static void skinny_task(struct job *job, int64_t task, unsigned thread) {
    const struct view *c = &job->out[0];
    struct block b = {0, c->rows, task * SKINNY_COLS, min_i64(c->cols, (task + 1) * SKINNY_COLS)};
    int64_t cols = b.col_end - b.col, k = job->step[2];
    struct blas_matrix weights = slice_b(job, b.col, 0);
    float *t = job_private(job, thread);
    for (int64_t row = 0; row < c->rows && !weights.transposed; row++)
        multiply_row(slice_a(job, row, 0).data, &weights, k, t + row * SKINNY_COLS, cols);
    for (int64_t col = 0; col < cols && weights.transposed; col++)
        for (int64_t row = 0; row < c->rows; row++)
            t[row * SKINNY_COLS + col] = dot(slice_a(job, row, 0).data,
                                             weights.data + col * weights.stride, k);
    epilogue(job, job->in[OPERAND_BIAS].data.f, b, t, SKINNY_COLS);
}

static void matmul_run(struct job *job) {
    const struct view *c = &job->out[0];
    if (job->op.u.matmul.operands != DAPT_F32)
        job_loop(job, job->in[OPERAND_A].rows + job->in[OPERAND_B].rows, round_task);
    switch ((enum algo)job->at) {
    case ALGO_SKINNY: job_loop(job, job->tasks, skinny_task); break;
    case ALGO_TILES: job_loop(job, job->tasks, tile_task); break;
    case ALGO_SPLIT_K:
        job_loop(job, job->tasks, split_k_task);
        job_loop(job, ceil_div(c->rows, max_i64(1, REDUCE_FLOATS / c->cols)), split_k_reduce_task);
        break;
    }
}
const struct op_row ISA(op_matmul) = {matmul_prepare, matmul_run};
