// Programs: resolved into jobs once, then run again and again without any lookup.
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cpu.h"

struct dapt_executable {
    uint32_t count;
    struct job *jobs;
    uint64_t *nanoseconds;
};

static struct view resolve(const struct dapt_program *program, struct dapt_buffer *const *buffers,
                           uint32_t index) {
    if (index >= program->tensor_count) return (struct view){.data.f = NULL};
    const struct dapt_tensor *tensor = &program->tensors[index];
    struct view view = {.rows = tensor->shape[0],
                        .inner = 1,
                        .cols = 1,
                        .stride = tensor->stride,
                        .dtype = tensor->dtype};
    view.data.p = (buffers[tensor->buffer]->data + tensor->offset);
    if (tensor->rank > 1) view.cols = tensor->shape[tensor->rank - 1];
    for (uint32_t d = 1; d + 1 < tensor->rank; d++) view.inner *= tensor->shape[d];
    return view;
}

// Inputs that are weights, by bits: those of the table stay float32.
static const uint8_t weights[DAPT_OP_COUNT] = {[DAPT_OP_EMBED] = 1 << 0,
                                               [DAPT_OP_MATMUL] = 1 << 2,
                                               [DAPT_OP_ADD_BIAS] = 1 << 1,
                                               [DAPT_OP_RMS_NORM] = 1 << 1,
                                               [DAPT_OP_RMS_NORM_GRAD] = 1 << 2,
                                               [DAPT_OP_LAYER_NORM] = 1 << 1 | 1 << 2,
                                               [DAPT_OP_LM_LOSS] = 1 << 1 | 1 << 2,
                                               [DAPT_OP_LAYER_NORM_GRAD] = 1 << 2,
                                               [DAPT_OP_LM_LOSS_GRAD] = 1 << 1 | 1 << 2};

static enum dapt_dtype dtype_of(const struct dapt_program *program, uint32_t index) {
    return index < program->tensor_count ? program->tensors[index].dtype : DAPT_I32;
}

const struct op_row *cpu_op_row(const struct dapt_device *device,
                                const struct dapt_program *program, const struct dapt_op *op) {
    if ((uint32_t)op->opcode >= DAPT_OP_COUNT) return NULL;
    const struct op_row *any = (*device->ops[DAPT_F32])[op->opcode];
    if (op->opcode == DAPT_OP_CAST || op->opcode == DAPT_OP_COPY) return any;
    if (op->opcode == DAPT_OP_DEQUANTIZE)
        return dtype_blocks(dtype_of(program, op->inputs[0])) ? any : NULL;
    bool made = op->opcode == DAPT_OP_EMBED || op->opcode == DAPT_OP_FILL;
    enum dapt_dtype element = dtype_of(program, made ? op->outputs[0] : op->inputs[0]);
    if (element == DAPT_I32 || dtype_blocks(element)) return NULL;
    for (int i = 0; i < DAPT_OP_INPUTS + DAPT_OP_OUTPUTS; i++) {
        bool input = i < DAPT_OP_INPUTS, weight = input && (weights[op->opcode] >> i & 1);
        enum dapt_dtype dtype = dtype_of(program,
                                         input ? op->inputs[i] : op->outputs[i - DAPT_OP_INPUTS]);
        if (dtype != DAPT_F32 && dtype != DAPT_I32 && (weight || dtype != element)) return NULL;
    }
    // What is summed is of the type of activations.
    if (op->opcode == DAPT_OP_MATMUL && op->outputs[2] < program->tensor_count &&
        dtype_of(program, op->inputs[1]) != element)
        return NULL;
    return (*device->ops[element])[op->opcode];
}

enum dapt_status cpu_program_compile(struct dapt_device *device, const struct dapt_program *program,
                                     struct dapt_buffer *const *buffers,
                                     struct dapt_executable **result) {
    *result = NULL;
    struct dapt_executable *executable = calloc(1, sizeof *executable);
    enum dapt_status status = DAPT_OK;
    if (executable != NULL) {
        executable->count = program->op_count;
        executable->jobs = calloc(program->op_count + 1u, sizeof *executable->jobs);
        executable->nanoseconds = calloc(program->op_count + 1u, sizeof *executable->nanoseconds);
    }
    if (executable == NULL || executable->jobs == NULL || executable->nanoseconds == NULL) {
        status = backend_fail(device->host, DAPT_ERROR_MEMORY,
                              "cpu: no memory for a program of %u operations", program->op_count);
        goto done;
    }
    size_t shared = 0, private = 0;
    for (uint32_t i = 0; i < program->op_count; i++) {
        struct job *job = &executable->jobs[i];
        job->op = program->ops[i];
        job->row = cpu_op_row(device, program, &job->op);
        if (job->row == NULL) {
            status = backend_fail(device->host, DAPT_ERROR_UNSUPPORTED,
                                  "cpu: operation %u (%s) has code %d or dtypes unknown here", i,
                                  job->op.label != NULL ? job->op.label : "no label",
                                  (int)job->op.opcode);
            goto done;
        }
        job->device = device;
        for (int k = 0; k < DAPT_OP_INPUTS; k++)
            job->in[k] = resolve(program, buffers, job->op.inputs[k]);
        for (int k = 0; k < DAPT_OP_OUTPUTS; k++)
            job->out[k] = resolve(program, buffers, job->op.outputs[k]);
        job->row->prepare(job);
        job->shared = (job->shared + 63) & ~(size_t)63;
        // Private areas of two threads never share a cache line, nor the same offset in their
        // pages.
        job->private = job->private > 0 ? ((job->private + 63) & ~(size_t)63) + 192 : 0;
        if (job->shared > shared) shared = job->shared;
        if (job->private > private) private = job->private;
    }
    status = cpu_scratch(device, shared, private);
done:
    if (status < 0) {
        cpu_program_destroy(device, executable);
        return status;
    }
    *result = executable;
    return DAPT_OK;
}

void cpu_program_destroy(struct dapt_device *device, struct dapt_executable *executable) {
    (void)device;
    if (executable == NULL) return;
    free(executable->jobs);
    free(executable->nanoseconds);
    free(executable);
}

static uint64_t clock_now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * UINT64_C(1000000000) + (uint64_t)time.tv_nsec;
}

enum dapt_status cpu_program_run(struct dapt_device *device, struct dapt_executable *executable) {
    (void)device;
    unsigned mode = pool_flush_denormals(POOL_FLUSH);
    uint64_t before = clock_now();
    for (uint32_t i = 0; i < executable->count; i++) {
        struct job *job = &executable->jobs[i];
        job->row->run(job);
        uint64_t after = clock_now();
        executable->nanoseconds[i] = after - before;
        before = after;
    }
    pool_flush_denormals(mode);
    return DAPT_OK;
}

enum dapt_status cpu_timings(struct dapt_device *device, struct dapt_executable *executable,
                             uint64_t *nanoseconds) {
    (void)device;
    memcpy(nanoseconds, executable->nanoseconds, executable->count * sizeof *nanoseconds);
    return DAPT_OK;
}

// ----------------------------------------------------------------------------------- what jobs use

struct loop {
    struct job *job;
    void (*work)(struct job *job, int64_t task, unsigned thread);
};

static void loop_task(void *context, int64_t task, unsigned thread) {
    const struct loop *loop = context;
    loop->work(loop->job, task, thread);
}

void job_loop(struct job *job, int64_t tasks,
              void (*work)(struct job *job, int64_t task, unsigned thread)) {
    struct loop loop = {job, work};
    job->device->loops++;
    pool_run(job->device->pool, tasks, loop_task, &loop);
}

void *job_shared(const struct job *job) {
    return job->device->scratch;
}

void *job_private(const struct job *job, unsigned thread) {
    return job->device->scratch + job->device->shared + thread * job->device->private;
}

#define UNIT_MIN_SIZE 16  // of M, N and K, below which packing costs more than it saves

static bool is_float32(enum dapt_dtype operands, enum dapt_dtype a, enum dapt_dtype b) {
    return operands == DAPT_F32 && a == DAPT_F32 && b == DAPT_F32;
}

bool job_takes(const struct job *job, enum dapt_dtype operands, enum dapt_dtype a,
               enum dapt_dtype b) {
#if defined(DAPT_CPU_UNIT)
    if (unit_takes(job->device->unit, operands, a, b)) return true;
#endif
    (void)job;
    return is_float32(operands, a, b);
}

void job_multiply(const struct job *job, unsigned thread, enum dapt_dtype operands, int64_t m,
                  int64_t n, int64_t k, struct blas_matrix a, struct blas_matrix b, float beta,
                  float *c, int64_t c_stride) {
#if defined(DAPT_CPU_UNIT)
    const struct dapt_device *device = job->device;
    bool small = m < UNIT_MIN_SIZE || n < UNIT_MIN_SIZE || k < UNIT_MIN_SIZE;
    if (unit_takes(device->unit, operands, a.dtype, b.dtype) &&
        !(small && is_float32(operands, a.dtype, b.dtype))) {
        unit_multiply(device->unit, device->unit_workspace + thread * unit_workspace(),
                      device->loops, operands, m, n, k, a, b, beta, c, c_stride);
        return;
    }
#endif
    (void)job, (void)thread, (void)operands;
    blas_multiply(m, n, k, a, b, beta, c, c_stride);
}
