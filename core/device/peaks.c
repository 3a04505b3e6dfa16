#include "device/peaks.h"

#include <stdlib.h>

#include "base/memory.h"
#include "base/rng.h"
#include "base/statistics.h"
#include "base/threads.h"
#include "graph/ops.h"

#define WARM_RUNS 3  // the first ones compile, measure and record
#define MOST_RUNS 10
#define LEAST_RUNS 3
#define SECONDS 4.0     // after so many no further run begins
#define COPIES 8        // in a row, as one alone is too short for the host's clock
#define COPY_HEIGHT 4   // of the product's matrix: more than caches hold
#define NUMBERS 65536u  // of one operand that differ
#define STREAM_PEAKS 18

// Numbers of [-1, 1): some devices compute zeros faster.
static enum dapt_status fill(struct dapt_buffer_handle *buffer, uint64_t stream) {
    float *numbers = dapt_alloc(NUMBERS, sizeof *numbers);
    uint64_t size = dapt_buffer_size(buffer), piece = NUMBERS * sizeof *numbers;
    enum dapt_status status = numbers ? DAPT_OK : DAPT_ERROR_MEMORY;
    for (uint32_t i = 0; numbers && i < NUMBERS; i++)
        numbers[i] = (float)(dapt_random_bits(stream, STREAM_PEAKS, i) >> 40) * 0x1p-23f - 1;
    for (uint64_t at = 0; !status && at < size; at += piece)
        status = dapt_buffer_write(buffer, at, numbers, size - at < piece ? size - at : piece);
    free(numbers);
    return status;
}

// The median of up to MOST_RUNS runs.
static enum dapt_status time_runs(struct dapt_device_handle *device,
                                  struct dapt_executable_handle *executable, uint32_t *runs,
                                  double *seconds) {
    double times[MOST_RUNS], begin = 0;
    enum dapt_status status = DAPT_OK;
    *runs = 0;
    for (uint32_t i = 0; i < WARM_RUNS + MOST_RUNS && !status; i++) {
        double start = dapt_seconds();
        if (i == WARM_RUNS) begin = start;
        if (*runs >= LEAST_RUNS && start - begin > SECONDS) break;
        if (dapt_cancelled()) return dapt_fail(DAPT_ERROR_CANCELLED, "stopped");
        status = dapt_program_run(executable);
        if (!status) status = dapt_device_wait(device, 0);
        if (i >= WARM_RUNS) times[(*runs)++] = dapt_seconds() - start;
    }
    if (status) return status;
    dapt_sort_numbers(times, *runs);
    *seconds = times[*runs / 2];
    return DAPT_OK;
}

// A program over `count` tensors, each dense and in a buffer of its own.
static enum dapt_status time_ops(struct dapt_device_handle *device, struct dapt_tensor *tensors,
                                 uint32_t count, const struct dapt_op *ops, uint32_t op_count,
                                 uint32_t *runs, double *seconds) {
    struct dapt_buffer_info infos[3];
    struct dapt_buffer_handle *buffers[3] = {0};
    struct dapt_executable_handle *executable = NULL;
    struct dapt_program program = {count, count, op_count, infos, tensors, ops};
    enum dapt_status status = DAPT_OK;
    for (uint32_t i = 0; i < count && !status; i++) {
        infos[i] = (struct dapt_buffer_info){DAPT_BUFFER_WORK, dapt_tensor_span(&tensors[i])};
        status = dapt_buffer_create(device, infos[i].role, infos[i].size, &buffers[i]);
        if (!status) status = fill(buffers[i], i);
    }
    if (!status) status = dapt_program_compile(device, &program, buffers, &executable);
    if (!status) status = time_runs(device, executable, runs, seconds);
    dapt_program_destroy(&executable);
    for (uint32_t i = 0; i < count; i++) dapt_buffer_destroy(&buffers[i]);
    return status;
}

static struct dapt_op new_op(enum dapt_opcode opcode) {
    struct dapt_op op = {.opcode = opcode};
    for (int i = 0; i < DAPT_OP_INPUTS; i++) op.inputs[i] = DAPT_NONE;
    for (int i = 0; i < DAPT_OP_OUTPUTS; i++) op.outputs[i] = DAPT_NONE;
    return op;
}

static struct dapt_tensor new_tensor(int64_t rows, int64_t columns, uint32_t buffer) {
    return (struct dapt_tensor){DAPT_F32, 2, {rows, columns, 1, 1}, columns, buffer, 0};
}

static enum dapt_status time_product(struct dapt_device_handle *device,
                                     struct dapt_bench_peaks *peaks) {
    struct dapt_tensor tensors[3];
    struct dapt_op op = new_op(DAPT_OP_MATMUL);
    for (uint32_t i = 0; i < 3; i++) tensors[i] = new_tensor(peaks->size, peaks->size, i);
    op.inputs[0] = 0, op.inputs[1] = 1, op.outputs[0] = 2;
    op.u.matmul.transpose_b = true;
    return time_ops(device, tensors, 3, &op, 1, &peaks->product_runs, &peaks->product_seconds);
}

// There and back again.
static enum dapt_status time_copy(struct dapt_device_handle *device,
                                  struct dapt_bench_peaks *peaks) {
    struct dapt_tensor tensors[2];
    struct dapt_op ops[COPIES];
    uint64_t most = dapt_device_info(device)->max_buffer, row = 4 * (uint64_t)peaks->size,
             rows = (uint64_t)COPY_HEIGHT * peaks->size;
    if (most && rows * row > most) rows = most / row;
    for (uint32_t i = 0; i < 2; i++) tensors[i] = new_tensor((int64_t)rows, peaks->size, i);
    for (uint32_t i = 0; i < COPIES; i++) {
        ops[i] = new_op(DAPT_OP_COPY);
        ops[i].inputs[0] = i % 2, ops[i].outputs[0] = 1 - i % 2;
    }
    enum dapt_status status = time_ops(device, tensors, 2, ops, COPIES, &peaks->copy_runs,
                                       &peaks->copy_seconds);
    peaks->copy_bytes = rows * row;
    peaks->copy_seconds /= COPIES;
    return status;
}

enum dapt_status dapt_peaks_measure(struct dapt_device_handle *device,
                                    struct dapt_bench_peaks *peaks) {
    enum dapt_status status = time_product(device, peaks);
    return status ? status : time_copy(device, peaks);
}
