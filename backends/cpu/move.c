// Copy and cast: between operands of any dtype.
#include "simd.h"

#define BLOCK 16384  // elements of a task

static void prepare(struct job *job) {
    flatten(job, 1, 1, BLOCK);
}

// Copies bits: the elements may be integers or 16-bit floats.
static void copy_task(struct job *job, int64_t task, unsigned thread) {
    (void)thread;
    struct block b = grid_block(job, task, job->out[0].rows, job->out[0].cols);
    for (int64_t row = b.row; row < b.row_end; row++)
        memcpy(view_at(&job->out[0], row, b.col), view_at(&job->in[0], row, b.col),
               (size_t)(b.col_end - b.col) * dtype_size(job->out[0].dtype));
}
static void copy_run(struct job *job) {
    job_loop(job, job->tasks, copy_task);
}
const struct op_row ISA(op_copy) = {prepare, copy_run};

#define LOOP(to_type, from_type)                                      \
    do {                                                              \
        const from_type *x = from;                                    \
        to_type *y = to;                                              \
        int64_t i = 0;                                                \
        for (; i + LANES <= n; i += LANES) store(y + i, load(x + i)); \
        if (i < n) store_part(y + i, load_part(x + i, n - i), n - i); \
        return;                                                       \
    } while (0)

// From one float type to another.
static void cast_elements(enum dapt_dtype from_dtype, const void *from, enum dapt_dtype to_dtype,
                          void *to, int64_t n) {
    switch (from_dtype * DAPT_DTYPE_COUNT + to_dtype) {
    case DAPT_F32 *DAPT_DTYPE_COUNT + DAPT_F16: LOOP(f16, float);
    case DAPT_F32 *DAPT_DTYPE_COUNT + DAPT_BF16: LOOP(bf16, float);
    case DAPT_F16 *DAPT_DTYPE_COUNT + DAPT_F32: LOOP(float, f16);
    case DAPT_BF16 *DAPT_DTYPE_COUNT + DAPT_F32: LOOP(float, bf16);
    case DAPT_F16 *DAPT_DTYPE_COUNT + DAPT_BF16: LOOP(bf16, f16);
    default: LOOP(f16, bf16);
    }
}

static void cast_task(struct job *job, int64_t task, unsigned thread) {
    (void)thread;
    const struct view *x = &job->in[0], *y = &job->out[0];
    struct block b = grid_block(job, task, y->rows, y->cols);
    for (int64_t row = b.row; row < b.row_end; row++)
        cast_elements(x->dtype, view_at(x, row, b.col), y->dtype, view_at(y, row, b.col),
                      b.col_end - b.col);
}
static void cast_run(struct job *job) {
    job_loop(job, job->tasks, job->in[0].dtype == job->out[0].dtype ? copy_task : cast_task);
}
const struct op_row ISA(op_cast) = {prepare, cast_run};
