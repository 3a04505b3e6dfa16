// Embedding: gather of rows, its gradient, scatter_rows; and rotary positions (RoPE).
//   table [V,C], rows [N], x, y [N,C]; rope: x, y [N,H,D], table [P,R], positions [N]
#include "simd.h"

#define BLOCK 16384

static void copy_elements(element *to, const element *from, int64_t count) {
    memcpy(to, from, (size_t)count * sizeof *to);
}

// ----------------------------------------------------------------------------- embed, scatter_rows

static void embed_prepare(struct job *job) {
    grid_rows(job, job->out[0].rows, job->out[0].cols, BLOCK);
}
static void embed_task(struct job *job, int64_t task, unsigned thread) {
    (void)thread;
    const struct view *table = &job->in[0], *y = &job->out[0];
    const int32_t *rows = job->in[1].data.i;
    struct block b = grid_block(job, task, y->rows, y->cols);
    for (int64_t n = b.row; n < b.row_end; n++)
        convert(elements(y) + n * y->stride + b.col,
                table->data.f + rows[n] * table->stride + b.col, b.col_end - b.col);
}
static void embed_run(struct job *job) {
    job_loop(job, job->tasks, embed_task);
}
const struct op_row ISA(op_embed) = {embed_prepare, embed_run};

static void scatter_prepare(struct job *job) {
    grid_rows(job, job->in[0].rows, job->in[0].cols, BLOCK);
}
static void scatter_task(struct job *job, int64_t task, unsigned thread) {
    (void)thread;
    const struct view *x = &job->in[0], *table = &job->out[0];
    const int32_t *rows = job->in[1].data.i;
    struct block b = grid_block(job, task, x->rows, x->cols);
    for (int64_t n = b.row; n < b.row_end; n++)
        copy_elements(elements(table) + rows[n] * table->stride + b.col,
                      elements(x) + n * x->stride + b.col, b.col_end - b.col);
}
static void scatter_run(struct job *job) {
    job_loop(job, job->tasks, scatter_task);
}
const struct op_row ISA(op_scatter_rows) = {scatter_prepare, scatter_run};

// -------------------------------------------------------------------------------------- embed_grad
//
// A task owns a range of table rows and finds them among all N: each row has one owner, and its sum
// runs in the order of n.

static void embed_grad_prepare(struct job *job) {
    const struct view *table = &job->out[0];
    job->step[0] = ceil_div(table->rows, min_i64(table->rows, 32));
    job->count[0] = ceil_div(table->rows, job->step[0]);
    job->step[1] = min_i64(table->cols, 1024);
    job->count[1] = ceil_div(table->cols, job->step[1]);
    job->tasks = job->count[0] * job->count[1];
}
static void embed_grad_task(struct job *job, int64_t task, unsigned thread) {
    (void)thread;
    const struct view *dy = &job->in[0], *table = &job->out[0];
    const int32_t *rows = job->in[1].data.i;
    struct block b = grid_block(job, task, table->rows, table->cols);
    int64_t width = b.col_end - b.col;
    if ((job->op.accumulate & 1) == 0)
        for (int64_t v = b.row; v < b.row_end; v++)
            memset(table->data.f + v * table->stride + b.col, 0, (size_t)width * sizeof(float));
    for (int64_t n = 0; n < dy->rows; n++) {
        if (rows[n] < b.row || rows[n] >= b.row_end) continue;
        float *to = table->data.f + rows[n] * table->stride + b.col;
        const element *from = elements(dy) + n * dy->stride + b.col;
        int64_t c = 0;
        for (; c + LANES <= width; c += LANES) store(to + c, load(to + c) + load(from + c));
        for (; c < width; c++) to[c] += get(from + c);
    }
}
static void embed_grad_run(struct job *job) {
    job_loop(job, job->tasks, embed_grad_task);
}
const struct op_row ISA(op_embed_grad) = {embed_grad_prepare, embed_grad_run};

// -------------------------------------------------------------------------------------------- rope

static void rope_prepare(struct job *job) {
    grid_rows(job, job->out[0].rows, job->out[0].inner * job->out[0].cols, BLOCK);
    job->step[0] *= job->count[1];  // rows are not cut
    job->count[0] = ceil_div(job->out[0].rows, job->step[0]);
    job->count[1] = 1;
    job->tasks = job->count[0];
}

// Half a head may be shorter than a vector: then vectors of four.
typedef float v4 __attribute__((vector_size(16)));
typedef float v4_unaligned __attribute__((vector_size(16), aligned(4), may_alias));

static inline v4 load4_float(const float *p) {
    return *(const v4_unaligned *)p;
}
static inline void store4_float(float *p, v4 v) {
    *(v4_unaligned *)p = v;
}
static inline v4 load4_f16(const f16 *p) {
    return (v4){get(p), get(p + 1), get(p + 2), get(p + 3)};
}
static inline void store4_f16(f16 *p, v4 v) {
    for (int i = 0; i < 4; i++) put(p + i, v[i]);
}
static inline v4 load4_bf16(const bf16 *p) {
    return (v4){get(p), get(p + 1), get(p + 2), get(p + 3)};
}
static inline void store4_bf16(bf16 *p, v4 v) {
    for (int i = 0; i < 4; i++) put(p + i, v[i]);
}
#define load4(p) BY_TYPE(load4, p)(p)
#define store4(p, v) BY_TYPE(store4, p)(p, v)

// One head: pairs `half` apart. x and y may be the same.
static void rotate_halves(const element *x, element *y, const float *cosine, const float *sine,
                          float sign, int64_t half) {
    int64_t i = 0;
    for (; i + LANES <= half; i += LANES) {
        vf a = load(x + i), b = load(x + half + i), c = load(cosine + i), s = sign * load(sine + i);
        store(y + i, a * c - b * s);
        store(y + half + i, a * s + b * c);
    }
    for (; i + 4 <= half; i += 4) {
        v4 a = load4(x + i), b = load4(x + half + i), c = load4(cosine + i),
           s = sign * load4(sine + i);
        store4(y + i, a * c - b * s);
        store4(y + half + i, a * s + b * c);
    }
    for (; i < half; i++) {
        float a = get(x + i), b = get(x + half + i), c = cosine[i], s = sign * sine[i];
        put(y + i, a * c - b * s);
        put(y + half + i, a * s + b * c);
    }
}

static void rotate_pairs(const element *x, element *y, const float *cosine, const float *sine,
                         float sign, int64_t half) {
    for (int64_t i = 0; i < half; i++) {
        float a = get(x + 2 * i), b = get(x + 2 * i + 1), c = cosine[i], s = sign * sine[i];
        put(y + 2 * i, a * c - b * s);
        put(y + 2 * i + 1, a * s + b * c);
    }
}

static void rope_task(struct job *job, int64_t task, unsigned thread) {
    (void)thread;
    const struct view *x = &job->in[0], *table = &job->in[1], *y = &job->out[0];
    const int32_t *positions = job->in[2].data.i;
    int64_t rotated = table->cols, half = rotated / 2;
    float sign = job->op.u.rope.inverse ? -1.0f : 1.0f;
    int64_t end = min_i64(y->rows, (task + 1) * job->step[0]);
    for (int64_t n = task * job->step[0]; n < end; n++) {
        const float *cosine = table->data.f + positions[n] * table->stride, *sine = cosine + half;
        for (int64_t h = 0; h < y->inner; h++) {
            const element *from = elements(x) + n * x->stride + h * x->cols;
            element *to = elements(y) + n * y->stride + h * y->cols;
            if (job->op.u.rope.interleaved)
                rotate_pairs(from, to, cosine, sine, sign, half);
            else
                rotate_halves(from, to, cosine, sine, sign, half);
            if (to != from && rotated < y->cols)
                copy_elements(to + rotated, from + rotated, y->cols - rotated);
        }
    }
}
static void rope_run(struct job *job) {
    job_loop(job, job->tasks, rope_task);
}
const struct op_row ISA(op_rope) = {rope_prepare, rope_run};
