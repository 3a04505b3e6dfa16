// Element-wise ops: add, scale, fill, add_bias, activate, gate and their gradients.
#include "simd.h"

#define BLOCK 16384  // elements of a task

struct values {
    vf v[2];
};
typedef struct values (*element_function)(const struct job *job, const vf *in);

// y = f(x) over one block; every call has constants for `inputs`, `outputs` and `f`.
static inline __attribute__((always_inline)) void each(struct job *job, int64_t task, int inputs,
                                                       int outputs, element_function f) {
    struct block b = grid_block(job, task, job->out[0].rows, job->out[0].cols);
    for (int64_t row = b.row; row < b.row_end; row++) {
        const element *in[3];
        element *out[2];
        for (int i = 0; i < inputs; i++) in[i] = elements(&job->in[i]) + row * job->in[i].stride;
        for (int i = 0; i < outputs; i++)
            out[i] = elements(&job->out[i]) + row * job->out[i].stride;
        int64_t col = b.col;
        for (; col + LANES <= b.col_end; col += LANES) {
            vf x[3] = {{0}};
            for (int i = 0; i < inputs; i++) x[i] = load(in[i] + col);
            struct values y = f(job, x);
            for (int i = 0; i < outputs; i++) store(out[i] + col, y.v[i]);
        }
        if (col == b.col_end) continue;
        int64_t rest = b.col_end - col;
        vf x[3] = {{0}};
        for (int i = 0; i < inputs; i++) x[i] = load_part(in[i] + col, rest);
        struct values y = f(job, x);
        for (int i = 0; i < outputs; i++) store_part(out[i] + col, y.v[i], rest);
    }
}

static void run_tasks(struct job *job,
                      void (*work)(struct job *job, int64_t task, unsigned thread)) {
    job_loop(job, job->tasks, work);
}

// -------------------------------------------------------------------------------------- add, scale

static inline struct values add(const struct job *job, const vf *in) {
    (void)job;
    return (struct values){{in[0] + in[1]}};
}
static void add_task(struct job *job, int64_t task, unsigned thread) {
    (void)thread;
    each(job, task, 2, 1, add);
}
static void add_prepare(struct job *job) {
    flatten(job, 2, 1, BLOCK);
}
static void add_run(struct job *job) {
    run_tasks(job, add_task);
}
const struct op_row ISA(op_add) = {add_prepare, add_run};

static inline struct values scale(const struct job *job, const vf *in) {
    return (struct values){{in[0] * job->op.u.scale.factor}};
}
static void scale_task(struct job *job, int64_t task, unsigned thread) {
    (void)thread;
    each(job, task, 1, 1, scale);
}
static inline struct values scale_capped(const struct job *job, const vf *in) {
    float cap = job->op.u.scale.softcap;
    return (struct values){{cap * vtanh(in[0] * job->op.u.scale.factor / cap)}};
}
static void scale_capped_task(struct job *job, int64_t task, unsigned thread) {
    (void)thread;
    each(job, task, 1, 1, scale_capped);
}
static void one_prepare(struct job *job) {
    flatten(job, 1, 1, BLOCK);
}
static void scale_run(struct job *job) {
    run_tasks(job, job->op.u.scale.softcap > 0 ? scale_capped_task : scale_task);
}
const struct op_row ISA(op_scale) = {one_prepare, scale_run};

// ------------------------------------------------------------------------------------------- fill

static inline struct values fill(const struct job *job, const vf *in) {
    (void)in;
    return (struct values){{splat(job->op.u.fill.value)}};
}
static void fill_task(struct job *job, int64_t task, unsigned thread) {
    (void)thread;
    each(job, task, 0, 1, fill);
}
static void fill_prepare(struct job *job) {
    flatten(job, 0, 1, BLOCK);
}
static void fill_run(struct job *job) {
    run_tasks(job, fill_task);
}
const struct op_row ISA(op_fill) = {fill_prepare, fill_run};

// ---------------------------------------------------------------------------------------- add_bias

static void add_bias_prepare(struct job *job) {
    grid_rows(job, job->out[0].rows, job->out[0].cols, BLOCK);
}
static void add_bias_task(struct job *job, int64_t task, unsigned thread) {
    (void)thread;
    const struct view *x = &job->in[0], *y = &job->out[0];
    const float *bias = job->in[1].data.f;
    struct block b = grid_block(job, task, y->rows, y->cols);
    for (int64_t row = b.row; row < b.row_end; row++) {
        const element *from = elements(x) + row * x->stride;
        element *to = elements(y) + row * y->stride;
        int64_t c = b.col;
        for (; c + LANES <= b.col_end; c += LANES) store(to + c, load(from + c) + load(bias + c));
        for (; c < b.col_end; c++) put(to + c, get(from + c) + bias[c]);
    }
}
static void add_bias_run(struct job *job) {
    run_tasks(job, add_bias_task);
}
const struct op_row ISA(op_add_bias) = {add_bias_prepare, add_bias_run};

// --------------------------------------------------------------------------- activations and gates
//
// One function for each kind, so that the kind is a constant in the loop.

#define FOR_KINDS(make)                                                                  \
    make(DAPT_ACT_NONE) make(DAPT_ACT_GELU) make(DAPT_ACT_GELU_TANH) make(DAPT_ACT_SILU) \
        make(DAPT_ACT_RELU)

#define MAKE(kind)                                                                          \
    static inline struct values activate_##kind(const struct job *job, const vf *in) {      \
        (void)job;                                                                          \
        return (struct values){{activate(kind, in[0])}};                                    \
    }                                                                                       \
    static inline struct values activate_grad_##kind(const struct job *job, const vf *in) { \
        (void)job;                                                                          \
        return (struct values){{in[0] * activate_grad(kind, in[1])}};                       \
    }                                                                                       \
    static inline struct values gate_##kind(const struct job *job, const vf *in) {          \
        (void)job;                                                                          \
        return (struct values){{activate(kind, in[0]) * in[1]}};                            \
    }                                                                                       \
    static inline struct values gate_grad_##kind(const struct job *job, const vf *in) {     \
        (void)job;                                                                          \
        return (struct values){                                                             \
            {in[0] * in[2] * activate_grad(kind, in[1]), in[0] * activate(kind, in[1])}};   \
    }                                                                                       \
    static void activate_task_##kind(struct job *job, int64_t task, unsigned thread) {      \
        (void)thread;                                                                       \
        each(job, task, 1, 1, activate_##kind);                                             \
    }                                                                                       \
    static void activate_grad_task_##kind(struct job *job, int64_t task, unsigned thread) { \
        (void)thread;                                                                       \
        each(job, task, 2, 1, activate_grad_##kind);                                        \
    }                                                                                       \
    static void gate_task_##kind(struct job *job, int64_t task, unsigned thread) {          \
        (void)thread;                                                                       \
        each(job, task, 2, 1, gate_##kind);                                                 \
    }                                                                                       \
    static void gate_grad_task_##kind(struct job *job, int64_t task, unsigned thread) {     \
        (void)thread;                                                                       \
        each(job, task, 3, 2, gate_grad_##kind);                                            \
    }
FOR_KINDS(MAKE)
#undef MAKE

typedef void (*task_function)(struct job *job, int64_t task, unsigned thread);
struct kind_row {
    task_function activate, activate_grad, gate, gate_grad;
};
#define MAKE(kind)                                                               \
    [kind] = {activate_task_##kind, activate_grad_task_##kind, gate_task_##kind, \
              gate_grad_task_##kind},
static const struct kind_row kinds[DAPT_ACT_COUNT] = {FOR_KINDS(MAKE)};
#undef MAKE

static void activate_run(struct job *job) {
    run_tasks(job, kinds[job->op.u.activation.kind].activate);
}
const struct op_row ISA(op_activate) = {one_prepare, activate_run};

static void activate_grad_run(struct job *job) {
    run_tasks(job, kinds[job->op.u.activation.kind].activate_grad);
}
const struct op_row ISA(op_activate_grad) = {add_prepare, activate_grad_run};

static void gate_run(struct job *job) {
    run_tasks(job, kinds[job->op.u.activation.kind].gate);
}
const struct op_row ISA(op_gate) = {add_prepare, gate_run};

static void gate_grad_prepare(struct job *job) {
    flatten(job, 3, 2, BLOCK);
}
static void gate_grad_run(struct job *job) {
    run_tasks(job, kinds[job->op.u.activation.kind].gate_grad);
}
const struct op_row ISA(op_gate_grad) = {gate_grad_prepare, gate_grad_run};
