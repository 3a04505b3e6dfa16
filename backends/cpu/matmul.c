// Matmul: c [M,N] = act(op(a) [M,K] op(b) [K,N] + bias [N]) + residual [M,N] [+ c], or with the
// derivative at the residual; and sums over the rows of one factor.
//
// Three algorithms, chosen by shape alone:
//   tiles    c is divided into tiles; each is one GEMM, and its epilogue while it is in cache
//   split-K  few tiles but a large K (gradients of weights): K is divided too, and the partial sums
//            are added in order
//   skinny   very few rows of a (generation): every weight is read once, by kernels of this file
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
enum result { RESULT_C, RESULT_SUM_A, RESULT_SUM_B };

// How bias, residual and the old c are fused with the GEMM.
struct fusion {
    bool accumulate;     // c is added to
    bool residual_here;  // residual is c itself
    bool activation;     // or its derivative
    bool narrow;         // c is in 16 bits
    bool after;          // the epilogue adds residual and old c; else they are in c before the GEMM
    bool temporary;      // the GEMM needs a place of its own
};

static struct fusion fusion_of(const struct job *job) {
    struct fusion fusion = {
        .accumulate = (job->op.accumulate & 1) != 0,
        .activation = job->op.u.matmul.activation != DAPT_ACT_NONE || job->op.u.matmul.derivative};
    const void *residual = job->in[OPERAND_RESIDUAL].data.p;
    fusion.residual_here = residual != NULL && residual == job->out[0].data.p;
    fusion.narrow = job->out[0].dtype != DAPT_F32;
    fusion.after = fusion.activation || (fusion.accumulate && fusion.residual_here) ||
                   fusion.narrow;
    fusion.temporary = fusion.after && (fusion.accumulate || residual != NULL || fusion.narrow);
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

// Operands that the GEMM does not take as they are become, whole, dense copies in float32, rounded,
// in the job's scratch behind the partial sums. The skinny kernels round b themselves.

static size_t partial_sums(const struct job *job) {
    const struct view *c = &job->out[0];
    return job->at == ALGO_SPLIT_K ? (size_t)(job->count[2] * c->rows * c->cols) : 0;
}

static bool is_copied(const struct job *job, enum operand which) {
    enum dapt_dtype operands = job->op.u.matmul.operands, dtype = job->in[which].dtype;
    if (job->at == ALGO_SKINNY)
        return dtype != DAPT_F32 || (which == OPERAND_A && operands != DAPT_F32);
    return !job_takes(job, operands, job->in[OPERAND_A].dtype, job->in[OPERAND_B].dtype);
}

static size_t copied_floats(const struct job *job, enum operand which) {
    return is_copied(job, which) ? (size_t)(job->in[which].rows * job->in[which].cols) : 0;
}

static struct view factor(const struct job *job, enum operand which) {
    struct view v = job->in[which];
    if (!is_copied(job, which)) return v;
    v.data.f = (float *)job_shared(job) + partial_sums(job);
    if (which == OPERAND_B) v.data.f += copied_floats(job, OPERAND_A);
    v.stride = v.cols;
    v.dtype = DAPT_F32;
    return v;
}

// What GEMM and kernels round factors to: nothing that is not a copy.
static enum dapt_dtype rounded_to(const struct job *job) {
    return is_copied(job, OPERAND_B) ? DAPT_F32 : job->op.u.matmul.operands;
}

static inline vf round_to(enum dapt_dtype dtype, vf v) {
    return dtype == DAPT_F16    ? widen_f16(narrow_f16(v))
           : dtype == DAPT_BF16 ? widen_bf16(narrow_bf16(v))
                                : v;
}

static void copy_row(const struct view *x, int64_t row, enum dapt_dtype dtype, float *to) {
    const float *wide = x->data.f + row * x->stride;
    const element *narrow = elements(x) + row * x->stride;
    for (int64_t i = 0; i < x->cols; i += LANES) {
        int64_t rest = x->cols - i;
        vf v;
        if (x->dtype == DAPT_F32)
            v = rest < LANES ? load_part(wide + i, rest) : load(wide + i);
        else
            v = rest < LANES ? load_part(narrow + i, rest) : load(narrow + i);
        v = round_to(dtype, v);
        if (rest < LANES)
            store_part(to + i, v, rest);
        else
            store(to + i, v);
    }
}

// One row of a, then of b.
static void copy_task(struct job *job, int64_t task, unsigned thread) {
    (void)thread;
    int64_t before = is_copied(job, OPERAND_A) ? job->in[OPERAND_A].rows : 0;
    enum operand which = task < before ? OPERAND_A : OPERAND_B;
    int64_t row = which == OPERAND_A ? task : task - before;
    const struct view to = factor(job, which);
    copy_row(&job->in[which], row, job->op.u.matmul.operands, to.data.f + row * to.stride);
}

static void copy_factors(struct job *job) {
    int64_t rows = 0;
    for (enum operand which = OPERAND_A; which <= OPERAND_B; which++)
        if (is_copied(job, which)) rows += job->in[which].rows;
    if (rows > 0) job_loop(job, rows, copy_task);
}

static size_t scratch_floats(const struct job *job) {
    return partial_sums(job) + copied_floats(job, OPERAND_A) + copied_floats(job, OPERAND_B);
}

// Sums over the rows of a factor, as gradients of biases are: what column_sum does, in scratch behind the
// rest. Here, unlike on a GPU, nothing is gained within the product: its tiles read a factor in pieces.
static void sum_factors(struct job *job) {
    float *parts = (float *)job_shared(job) + scratch_floats(job);
    for (enum result r = RESULT_SUM_A; r <= RESULT_SUM_B; r++)
        if (job->out[r].data.p != NULL) ISA(sum_rows)
    (job, &job->in[r - RESULT_SUM_A], parts, job->out[r].data.f,
     (job->op.accumulate >> r & 1) != 0);
}

static void matmul_prepare(struct job *job) {
    choose_grid(job);
    job->shared = scratch_floats(job) * sizeof(float);
    for (enum result r = RESULT_SUM_A; r <= RESULT_SUM_B; r++)
        if (job->out[r].data.p != NULL)
            job->shared += ISA(sum_rows_scratch)(&job->in[r - RESULT_SUM_A]);
}

// ---------------------------------------------------------------------------------------- epilogue

// `rest` elements (at most LANES are taken) of c: floats or, narrow, elements.
static inline vf load_c(const void *row, int64_t i, int64_t rest, bool narrow) {
    const float *wide = (const float *)row + i;
    const element *half = (const element *)row + i;
    if (narrow) return rest < LANES ? load_part(half, rest) : load(half);
    return rest < LANES ? load_part(wide, rest) : load(wide);
}
static inline void store_c(void *row, int64_t i, vf v, int64_t rest, bool narrow) {
    float *wide = (float *)row + i;
    element *half = (element *)row + i;
    if (narrow && rest < LANES)
        store_part(half, v, rest);
    else if (narrow)
        store(half, v);
    else if (rest < LANES)
        store_part(wide, v, rest);
    else
        store(wide, v);
}

// c = act(t + bias) + residual [+ c], or (t + bias) * act'(residual) with `derivative`, for one block
// of c; t may be c, and may hold the bias already.
static inline __attribute__((always_inline)) void epilogue_block(const struct job *job,
                                                                 enum dapt_activation kind,
                                                                 bool derivative, bool narrow,
                                                                 const float *bias, struct block b,
                                                                 const float *t, int64_t t_stride) {
    const struct view *c = &job->out[0], *residual = &job->in[OPERAND_RESIDUAL];
    bool accumulate = (job->op.accumulate & 1) != 0;
    int64_t length = b.col_end - b.col;
    for (int64_t row = b.row; row < b.row_end; row++) {
        const float *from = t + (row - b.row) * t_stride;
        void *to = view_at(c, row, b.col);
        const element *add = residual->data.p != NULL
                                 ? elements(residual) + row * residual->stride + b.col
                                 : NULL;
        for (int64_t i = 0; i < length; i += LANES) {
            int64_t rest = length - i;
            vf v = load_c(from, i, rest, false);
            if (bias != NULL) v += load_c(bias + b.col, i, rest, false);
            if (derivative) {
                v *= activate_grad(kind, load_c(add, i, rest, true));
            } else {
                v = activate(kind, v);
                if (add != NULL) v += load_c(add, i, rest, true);
            }
            if (accumulate) v += load_c(to, i, rest, narrow);
            store_c(to, i, v, rest, narrow);
        }
    }
}

static inline __attribute__((always_inline)) void epilogue_kind(const struct job *job,
                                                                enum dapt_activation kind,
                                                                const float *bias, struct block b,
                                                                const float *t, int64_t t_stride) {
    bool narrow = !ELEMENT_IS_FLOAT && job->out[0].dtype != DAPT_F32;
    if (job->op.u.matmul.derivative && narrow)
        epilogue_block(job, kind, true, true, bias, b, t, t_stride);
    else if (job->op.u.matmul.derivative)
        epilogue_block(job, kind, true, false, bias, b, t, t_stride);
    else if (narrow)
        epilogue_block(job, kind, false, true, bias, b, t, t_stride);
    else
        epilogue_block(job, kind, false, false, bias, b, t, t_stride);
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
         add = !fusion.after && residual->data.p != NULL && !fusion.residual_here;
    if (bias == NULL && !add) return keep;
    int64_t length = b.col_end - b.col;
    for (int64_t row = b.row; row < b.row_end; row++) {
        float *to = t + (row - b.row) * t_stride;
        const element *from = add ? elements(residual) + row * residual->stride + b.col : NULL;
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
    return (struct blas_matrix){t ? view_at(&a, k, row) : view_at(&a, row, k), a.stride, t,
                                a.dtype};
}
static struct blas_matrix slice_b(const struct job *job, int64_t col, int64_t k) {
    struct view b = factor(job, OPERAND_B);
    bool t = job->op.u.matmul.transpose_b;
    return (struct blas_matrix){t ? view_at(&b, col, k) : view_at(&b, k, col), b.stride, t,
                                b.dtype};
}

static void tile_task(struct job *job, int64_t task, unsigned thread) {
    const struct view *c = &job->out[0];
    struct fusion fusion = fusion_of(job);
    struct block b = grid_block(job, task, c->rows, c->cols);
    int64_t rows = b.row_end - b.row, cols = b.col_end - b.col;
    float *to = fusion.temporary ? job_private(job, thread) : view_at(c, b.row, b.col);
    int64_t stride = fusion.temporary ? cols : c->stride;
    bool add = preload_c(job, fusion, b, to, stride);
    job_multiply(job, thread, rounded_to(job), rows, cols, job->step[2], slice_a(job, b.row, 0),
                 slice_b(job, b.col, 0), add ? 1.0f : 0.0f, to, stride);
    if (fusion.after) epilogue(job, NULL, b, to, stride);
}

static void split_k_task(struct job *job, int64_t task, unsigned thread) {
    const struct view *c = &job->out[0];
    struct block b = grid_block(job, task / job->count[2], c->rows, c->cols);
    int64_t part = task % job->count[2], from = part * job->step[2];
    int64_t length = min_i64(size_k(job), from + job->step[2]) - from;
    float *to = (float *)job_shared(job) + part * c->rows * c->cols + b.row * c->cols + b.col;
    job_multiply(job, thread, rounded_to(job), b.row_end - b.row, b.col_end - b.col, length,
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

static inline __attribute__((always_inline)) float dot(enum dapt_dtype operands, const float *a,
                                                       const float *b, int64_t length) {
    vf sum[4] = {{0}};
    int64_t i = 0;
    for (; i + 4 * LANES <= length; i += 4 * LANES)
        for (int u = 0; u < 4; u++)
            sum[u] += load(a + i + u * LANES) * round_to(operands, load(b + i + u * LANES));
    for (; i + LANES <= length; i += LANES) sum[0] += load(a + i) * round_to(operands, load(b + i));
    if (i < length)
        sum[1] += load_part(a + i, length - i) * round_to(operands, load_part(b + i, length - i));
    return hsum((sum[0] + sum[1]) + (sum[2] + sum[3]));
}

static inline float round_one(enum dapt_dtype dtype, float x) {
    return dtype == DAPT_F16    ? f16_to_float(float_to_f16(x))
           : dtype == DAPT_BF16 ? bf16_to_float(float_to_bf16(x))
                                : x;
}

// t [cols] = a [K] b [K,cols], eight rows of b at a time.
static inline __attribute__((always_inline)) void multiply_row(enum dapt_dtype operands,
                                                               const float *a, const float *b,
                                                               int64_t stride, int64_t k, float *t,
                                                               int64_t cols) {
    memset(t, 0, (size_t)cols * sizeof *t);
    for (int64_t r = 0; r < k; r += 8) {
        int64_t count = min_i64(8, k - r);
        const float *row = b + r * stride;
        int64_t c = 0;
        for (; count == 8 && c + LANES <= cols; c += LANES) {
            vf s = load(t + c);
            for (int u = 0; u < 8; u++)
                s += a[r + u] * round_to(operands, load(row + u * stride + c));
            store(t + c, s);
        }
        for (; c < cols; c++)
            for (int64_t u = 0; u < count; u++)
                t[c] += a[r + u] * round_one(operands, row[u * stride + c]);
    }
}

// t [rows][SKINNY_COLS] = a [rows,K] op(b) [K,cols]
static inline __attribute__((always_inline)) void multiply_rows(enum dapt_dtype operands,
                                                                struct blas_matrix a,
                                                                struct blas_matrix b, int64_t rows,
                                                                int64_t cols, int64_t k, float *t) {
    const float *x = a.data, *w = b.data;
    for (int64_t row = 0; row < rows && !b.transposed; row++)
        multiply_row(operands, x + row * a.stride, w, b.stride, k, t + row * SKINNY_COLS, cols);
    for (int64_t col = 0; col < cols && b.transposed; col++)
        for (int64_t row = 0; row < rows; row++)
            t[row * SKINNY_COLS + col] = dot(operands, x + row * a.stride, w + col * b.stride, k);
}

static void skinny_task(struct job *job, int64_t task, unsigned thread) {
    const struct view *c = &job->out[0];
    struct block b = {0, c->rows, task * SKINNY_COLS, min_i64(c->cols, (task + 1) * SKINNY_COLS)};
    int64_t cols = b.col_end - b.col, k = job->step[2];
    struct blas_matrix x = slice_a(job, 0, 0), w = slice_b(job, b.col, 0);
    float *t = job_private(job, thread);
    switch (rounded_to(job)) {
    case DAPT_F16: multiply_rows(DAPT_F16, x, w, c->rows, cols, k, t); break;
    case DAPT_BF16: multiply_rows(DAPT_BF16, x, w, c->rows, cols, k, t); break;
    default: multiply_rows(DAPT_F32, x, w, c->rows, cols, k, t); break;
    }
    epilogue(job, job->in[OPERAND_BIAS].data.f, b, t, SKINNY_COLS);
}

static void matmul_run(struct job *job) {
    const struct view *c = &job->out[0];
    sum_factors(job);
    copy_factors(job);
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
