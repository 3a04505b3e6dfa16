// RMS norm and layer norm, their gradients, and sums over rows.
//   x, y, dy, dx [N,C] or [N,H,C], weight, bias, dweight, dbias [C], mean, rstd [rows]
//
// Sums over rows (column_sum, dweight, dbias) take two passes: each block of rows is summed into
// one row of `parts` [blocks,C]; then the parts are added in order.
#include "simd.h"

#define BLOCK 16384
#define MAX_PARTS 64

static element *row_of(const struct view *v, int64_t row) {
    return elements(v) + row / v->inner * v->stride + row % v->inner * v->cols;
}
static int64_t row_count(const struct view *v) {
    return v->rows * v->inner;
}

// Rows of a block of whole ones; where each becomes a part of a sum over rows, at most MAX_PARTS blocks.
static int64_t block_rows(int64_t rows, int64_t cols, bool parts) {
    int64_t step = max_i64(1, BLOCK / max_i64(cols, 1));
    return parts ? max_i64(step, ceil_div(rows, MAX_PARTS)) : step;
}

// Blocks of whole rows: step[0] rows each, count[0] blocks.
static void grid_whole_rows(struct job *job, int64_t rows, int64_t cols, bool parts) {
    job->step[0] = block_rows(rows, cols, parts);
    job->count[0] = ceil_div(rows, job->step[0]);
    job->tasks = job->count[0];
}

// ---------------------------------------------------------------------------------- sums over rows

struct reduction {
    const float *parts;
    int64_t count, stride;
    float *y;
    bool accumulate;
};

static void reduce_task(struct job *job, int64_t task, unsigned thread) {
    (void)thread;
    const struct reduction *r = job->extra;
    int64_t end = min_i64(job->length, (task + 1) * BLOCK), c = task * BLOCK;
    for (; c + LANES <= end; c += LANES) {
        vf sum = r->accumulate ? load(r->y + c) : (vf){0};
        for (int64_t p = 0; p < r->count; p++) sum += load(r->parts + p * r->stride + c);
        store(r->y + c, sum);
    }
    for (; c < end; c++) {
        float sum = r->accumulate ? r->y[c] : 0.0f;
        for (int64_t p = 0; p < r->count; p++) sum += r->parts[p * r->stride + c];
        r->y[c] = sum;
    }
}

void ISA(reduce_parts)(struct job *job, const float *parts, int64_t count, int64_t stride, float *y,
                       int64_t length, bool accumulate) {
    struct reduction r = {parts, count, stride, y, accumulate};
    job->extra = &r;
    job->length = length;
    job_loop(job, ceil_div(length, BLOCK), reduce_task);
    job->extra = NULL;
}

static int64_t rows_of_part(const struct view *x) {
    return block_rows(x->rows, x->cols, true);
}
size_t ISA(sum_rows_scratch)(const struct view *x) {
    return (size_t)(ceil_div(x->rows, rows_of_part(x)) * x->cols) * sizeof(float);
}

struct row_sum {
    const struct view *x;
    float *parts;
};
static void sum_rows_task(struct job *job, int64_t task, unsigned thread) {
    (void)thread;
    const struct row_sum *sum = job->extra;
    const struct view *x = sum->x;
    float *part = sum->parts + task * x->cols;
    memset(part, 0, (size_t)x->cols * sizeof *part);
    int64_t step = rows_of_part(x), end = min_i64(x->rows, (task + 1) * step);
    for (int64_t n = task * step; n < end; n++) {
        const element *row = elements(x) + n * x->stride;
        int64_t c = 0;
        for (; c + LANES <= x->cols; c += LANES) store(part + c, load(part + c) + load(row + c));
        for (; c < x->cols; c++) part[c] += get(row + c);
    }
}
void ISA(sum_rows)(struct job *job, const struct view *x, float *parts, float *y, bool accumulate) {
    struct row_sum sum = {x, parts};
    int64_t count = ceil_div(x->rows, rows_of_part(x));
    job->extra = &sum;
    job_loop(job, count, sum_rows_task);
    ISA(reduce_parts)(job, parts, count, x->cols, y, x->cols, accumulate);
}

static void column_sum_prepare(struct job *job) {
    job->shared = ISA(sum_rows_scratch)(&job->in[0]);
}
static void column_sum_run(struct job *job) {
    ISA(sum_rows)
    (job, &job->in[0], job_shared(job), job->out[0].data.f, (job->op.accumulate & 1) != 0);
}
const struct op_row ISA(op_column_sum) = {column_sum_prepare, column_sum_run};

// ---------------------------------------------------------------------------------------- rms_norm

static void norm_prepare(struct job *job) {
    grid_whole_rows(job, row_count(&job->in[0]), job->in[0].cols, false);
}

// What is added to every weight. Without an offset -0 rather than 0: that leaves each bit of them.
static float weight_offset(const struct job *job) {
    return job->op.u.norm.weight_offset != 0.0f ? job->op.u.norm.weight_offset : -0.0f;
}

static void rms_norm_task(struct job *job, int64_t task, unsigned thread) {
    (void)thread;
    const struct view *x = &job->in[0], *y = &job->out[0];
    const float *weight = job->in[1].data.f, offset = weight_offset(job);
    float *rstd = job->out[1].data.f;
    int64_t cols = x->cols, whole = cols / LANES * LANES, rest = cols - whole;
    int64_t end = min_i64(row_count(x), (task + 1) * job->step[0]);
    for (int64_t n = task * job->step[0]; n < end; n++) {
        const element *from = row_of(x, n);
        element *to = row_of(y, n);
        vf sum[2] = {{0}};
        int64_t c = 0;
        for (; c + 2 * LANES <= whole; c += 2 * LANES) {
            vf a = load(from + c), b = load(from + c + LANES);
            sum[0] += a * a;
            sum[1] += b * b;
        }
        if (c < whole) sum[0] += load(from + c) * load(from + c);
        vf last = rest > 0 ? load_part(from + whole, rest) : (vf){0};
        sum[1] += last * last;
        float r = 1.0f / __builtin_sqrtf(hsum(sum[0] + sum[1]) / (float)cols + job->op.u.norm.eps);
        rstd[n] = r;
        for (c = 0; c < whole; c += LANES)
            store(to + c, load(from + c) * r * (offset + load(weight + c)));
        if (rest > 0)
            store_part(to + whole, last * r * (offset + load_part(weight + whole, rest)), rest);
    }
}
static void rms_norm_run(struct job *job) {
    job_loop(job, job->tasks, rms_norm_task);
}
const struct op_row ISA(op_rms_norm) = {norm_prepare, rms_norm_run};

// -------------------------------------------------------------------------------------- layer_norm

static void layer_norm_task(struct job *job, int64_t task, unsigned thread) {
    (void)thread;
    const struct view *x = &job->in[0], *y = &job->out[0];
    const float *weight = job->in[1].data.f, *bias = job->in[2].data.f;
    float *mean = job->out[1].data.f, *rstd = job->out[2].data.f;
    int64_t cols = x->cols, whole = cols / LANES * LANES, rest = cols - whole;
    int64_t end = min_i64(row_count(x), (task + 1) * job->step[0]);
    for (int64_t n = task * job->step[0]; n < end; n++) {
        const element *from = row_of(x, n);
        element *to = row_of(y, n);
        vf sum = {0}, square = {0};
        for (int64_t c = 0; c < whole; c += LANES) sum += load(from + c);
        if (rest > 0) sum += load_part(from + whole, rest);
        float mu = hsum(sum) / (float)cols;
        for (int64_t c = 0; c < whole; c += LANES) {
            vf d = load(from + c) - mu;
            square += d * d;
        }
        float variance = 0.0f;
        for (int64_t c = whole; c < cols; c++)
            variance += (get(from + c) - mu) * (get(from + c) - mu);
        variance = (variance + hsum(square)) / (float)cols;
        float r = 1.0f / __builtin_sqrtf(variance + job->op.u.norm.eps);
        mean[n] = mu;
        rstd[n] = r;
        for (int64_t c = 0; c < whole; c += LANES) {
            vf v = (load(from + c) - mu) * r * load(weight + c);
            store(to + c, bias != NULL ? v + load(bias + c) : v);
        }
        for (int64_t c = whole; c < cols; c++) {
            float v = (get(from + c) - mu) * r * weight[c];
            put(to + c, bias != NULL ? v + bias[c] : v);
        }
    }
}
static void layer_norm_run(struct job *job) {
    job_loop(job, job->tasks, layer_norm_task);
}
const struct op_row ISA(op_layer_norm) = {norm_prepare, layer_norm_run};

// --------------------------------------------------------------------------------------- gradients

// One row of both gradients. xh = (x - mean) * rstd, g = dy * (offset + weight):
//   dx = rstd * (g - [centred] mean(g) - xh * mean(g * xh)); weight_sum += dy * xh; bias_sum += dy
// weight_sum and bias_sum may be NULL.
static inline __attribute__((always_inline)) void grad_row(
    const element *dy, const element *x, const float *weight, float offset, float mean, float rstd,
    bool centred, bool accumulate, int64_t cols, element *dx, float *weight_sum, float *bias_sum) {
    int64_t whole = cols / LANES * LANES, rest = cols - whole;
    vf sum_g = {0}, sum_gx = {0};
    for (int64_t c = 0; c <= whole; c += LANES) {
        if (c == whole && rest == 0) break;
        bool part = c == whole;
        vf d = part ? load_part(dy + c, rest) : load(dy + c);
        vf w = offset + (part ? load_part(weight + c, rest) : load(weight + c));
        vf xh = ((part ? load_part(x + c, rest) : load(x + c)) - mean) * rstd;
        vf g = d * w;
        if (centred) sum_g += g;
        sum_gx += g * xh;
        vf dw = d * xh;
        if (!part) {
            store(weight_sum + c, load(weight_sum + c) + dw);
            if (bias_sum != NULL) store(bias_sum + c, load(bias_sum + c) + d);
        } else {
            store_part(weight_sum + c, load_part(weight_sum + c, rest) + dw, rest);
            if (bias_sum != NULL) store_part(bias_sum + c, load_part(bias_sum + c, rest) + d, rest);
        }
    }
    float mean_g = centred ? hsum(sum_g) / (float)cols : 0.0f;
    float mean_gx = hsum(sum_gx) / (float)cols;
    for (int64_t c = 0; c <= whole; c += LANES) {
        if (c == whole && rest == 0) break;
        bool part = c == whole;
        vf d = part ? load_part(dy + c, rest) : load(dy + c);
        vf w = offset + (part ? load_part(weight + c, rest) : load(weight + c));
        vf xh = ((part ? load_part(x + c, rest) : load(x + c)) - mean) * rstd;
        vf v = rstd * (d * w - mean_g - xh * mean_gx);
        if (accumulate) v += part ? load_part(dx + c, rest) : load(dx + c);
        if (part)
            store_part(dx + c, v, rest);
        else
            store(dx + c, v);
    }
}

static void norm_grad_prepare(struct job *job) {
    const struct view *x = &job->in[1];
    grid_whole_rows(job, row_count(x), x->cols, true);
    job->shared = (size_t)(job->count[0] * x->cols) * 2 *
                  sizeof(float);  // parts of dweight, then of dbias
}

static void rms_norm_grad_task(struct job *job, int64_t task, unsigned thread) {
    (void)thread;
    const struct view *dy = &job->in[0], *x = &job->in[1], *dx = &job->out[0];
    const float *weight = job->in[2].data.f, *rstd = job->in[3].data.f, offset = weight_offset(job);
    float *part = (float *)job_shared(job) + task * x->cols;
    memset(part, 0, (size_t)x->cols * sizeof *part);
    bool accumulate = (job->op.accumulate & 1) != 0;
    int64_t end = min_i64(row_count(x), (task + 1) * job->step[0]);
    for (int64_t n = task * job->step[0]; n < end; n++)
        grad_row(row_of(dy, n), row_of(x, n), weight, offset, 0.0f, rstd[n], false, accumulate,
                 x->cols, row_of(dx, n), part, NULL);
}
static void rms_norm_grad_run(struct job *job) {
    int64_t cols = job->in[1].cols;
    job_loop(job, job->tasks, rms_norm_grad_task);
    if (job->out[1].data.f != NULL) ISA(reduce_parts)
    (job, job_shared(job), job->count[0], cols, job->out[1].data.f, cols,
     (job->op.accumulate & 2) != 0);
}
const struct op_row ISA(op_rms_norm_grad) = {norm_grad_prepare, rms_norm_grad_run};

static void layer_norm_grad_task(struct job *job, int64_t task, unsigned thread) {
    (void)thread;
    const struct view *dy = &job->in[0], *x = &job->in[1], *dx = &job->out[0];
    const float *weight = job->in[2].data.f, *mean = job->in[3].data.f, *rstd = job->in[4].data.f;
    float *part = (float *)job_shared(job) + task * x->cols;
    float *bias_part = job->out[2].data.f != NULL ? part + job->count[0] * x->cols : NULL;
    memset(part, 0, (size_t)x->cols * sizeof *part);
    if (bias_part != NULL) memset(bias_part, 0, (size_t)x->cols * sizeof *part);
    bool accumulate = (job->op.accumulate & 1) != 0;
    int64_t end = min_i64(row_count(x), (task + 1) * job->step[0]);
    for (int64_t n = task * job->step[0]; n < end; n++)
        grad_row(row_of(dy, n), row_of(x, n), weight, -0.0f, mean[n], rstd[n], true, accumulate,
                 x->cols, row_of(dx, n), part, bias_part);
}
static void layer_norm_grad_run(struct job *job) {
    int64_t cols = job->in[1].cols;
    const float *parts = job_shared(job);
    job_loop(job, job->tasks, layer_norm_grad_task);
    if (job->out[1].data.f != NULL) ISA(reduce_parts)
    (job, parts, job->count[0], cols, job->out[1].data.f, cols, (job->op.accumulate & 2) != 0);
    if (job->out[2].data.f != NULL) ISA(reduce_parts)
    (job, parts + job->count[0] * cols, job->count[0], cols, job->out[2].data.f, cols,
     (job->op.accumulate & 4) != 0);
}
const struct op_row ISA(op_layer_norm_grad) = {norm_grad_prepare, layer_norm_grad_run};
