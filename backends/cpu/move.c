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

// From one float type to another.
static void cast_elements(enum dapt_dtype from_dtype, const void *from, enum dapt_dtype to_dtype,
                          void *to, int64_t n) {
    switch (from_dtype * DAPT_DTYPE_COUNT + to_dtype) {
    case DAPT_F32 *DAPT_DTYPE_COUNT + DAPT_F16: convert((f16 *)to, (const float *)from, n); break;
    case DAPT_F32 *DAPT_DTYPE_COUNT + DAPT_BF16: convert((bf16 *)to, (const float *)from, n); break;
    case DAPT_F16 *DAPT_DTYPE_COUNT + DAPT_F32: convert((float *)to, (const f16 *)from, n); break;
    case DAPT_BF16 *DAPT_DTYPE_COUNT + DAPT_F32: convert((float *)to, (const bf16 *)from, n); break;
    case DAPT_F16 *DAPT_DTYPE_COUNT + DAPT_BF16: convert((bf16 *)to, (const f16 *)from, n); break;
    default: convert((f16 *)to, (const bf16 *)from, n); break;
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
