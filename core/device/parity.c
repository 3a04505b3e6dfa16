#include "device/parity.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/rng.h"
#include "base/threads.h"
#include "graph/blocks.h"
#include "graph/cases.h"
#include "engine/engine.h"

// How far results may differ, relative to the value plus the root mean square of the output.
//
// Both devices compute in float32 (unit roundoff 6e-8) and add in other orders. Sums here have up
// to 300 terms or so, of either sign: an error grows like the root of the number of terms, and is
// measured against the output's root mean square; that gives 1e-6. exp, log, tanh and erf may be off
// by a few units in the last place and as much as the argument moves them, 2 + 2 |x| units by
// Vulkan's rules: 1e-6 again, and a few times that behind a softmax of wide scores. 5e-5 leaves room
// for both, and is far below what a mistake does: one wrong element of a thousand is at least 0.03.
// What only moves numbers must not change a bit.
#define TOLERANCE 5e-5

// Twenty steps: AdamW divides by the root of the second moment, so that a gradient that is nearly
// zero, all rounding, moves its weight as far as any other. Where the sign of one such gradient
// differs, its weight parts by twice the learning rate: 6e-3, which among these 26,000 weights of
// 0.02 is 2e-3 of all; losses and norms hardly notice. Measured on two software devices: 1e-7 of the
// loss, 2e-7 of the norm, 6e-7 of the parameters. A wrong operation is off by more than 1e-3 at once.
#define TOLERANCE_LOSS 1e-4
#define TOLERANCE_NORM 1e-3
#define TOLERANCE_PARAMETERS 2e-3

static double tolerance_of(enum dapt_opcode opcode) {
    static const bool exact[DAPT_OP_COUNT] = {
        [DAPT_OP_EMBED] = true, [DAPT_OP_SCATTER_ROWS] = true, [DAPT_OP_COPY] = true,
        [DAPT_OP_CAST] = true,  [DAPT_OP_FILL] = true,         [DAPT_OP_DEQUANTIZE] = true};
    return exact[opcode] ? 0 : TOLERANCE;
}

// -------------------------------------------------------------------------------------- operations

// All cases as one program over two buffers. Contents are a pure function of the table of cases.
enum { INPUTS, OUTPUTS };  // buffers

struct bench {
    struct dapt_op *ops;  // labelled: "matmul of 33 x 65"
    size_t count;
    struct dapt_tensor *tensors;
    size_t tensor_count, tensor_capacity;
    uint8_t *image[2];  // what the buffers hold before the run
    uint64_t size[2];   // bytes
    struct dapt_arena arena;
};

#define ALIGNMENT UINT64_C(256)
#define GAP 3  // elements

static enum dapt_status add_tensor(struct bench *b, struct dapt_tensor t, bool gap, int buffer,
                                   uint32_t *index) {
    if (gap && t.rank > 1) t.stride += GAP;
    t.buffer = (uint32_t)buffer;
    t.offset = b->size[buffer];
    b->size[buffer] += (dapt_tensor_span(&t) + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    enum dapt_status status = dapt_grow(&b->tensors, &b->tensor_capacity, b->tensor_count + 1,
                                        sizeof *b->tensors);
    if (status) return status;
    *index = (uint32_t)b->tensor_count;
    b->tensors[b->tensor_count++] = t;
    return DAPT_OK;
}

// "7 x 33": the shape of the first output.
static enum dapt_status add_label(struct bench *b, struct dapt_op *op) {
    const struct dapt_tensor *t = &b->tensors[op->outputs[0]];
    char text[64] = "";
    for (uint32_t i = 0; i < t->rank; i++) {
        size_t length = strlen(text);
        snprintf(text + length, sizeof text - length, "%s%" PRIi64, i ? " x " : "", t->shape[i]);
    }
    op->label = dapt_arena_format(&b->arena, "%s of %s", dapt_op_info(op->opcode)->name, text);
    return op->label ? DAPT_OK : DAPT_ERROR_MEMORY;
}

static enum dapt_status add_case(struct bench *b, const struct dapt_case *c) {
    struct dapt_op *op = &b->ops[b->count++];
    struct dapt_tensor tensors[DAPT_CASE_OPERANDS];
    enum dapt_status status = DAPT_OK;
    if (c->row->dtype != DAPT_F32)
        return dapt_fail(DAPT_ERROR_INTERNAL, "certificate: a case of %s, expected f32",
                         dapt_dtype_name(c->row->dtype));
    dapt_case_make(c, op, tensors);
    const struct dapt_op_info *info = dapt_op_info(op->opcode);
    for (int slot = 0; slot < DAPT_CASE_OPERANDS && !status; slot++) {
        uint32_t *index = dapt_op_slot(op, slot);
        if (*index == DAPT_NONE) continue;
        bool gap = c->row->gaps && (dapt_op_operand(info, slot)->flags & DAPT_OPERAND_STRIDED);
        status = add_tensor(b, tensors[slot], gap, slot < DAPT_OP_INPUTS ? INPUTS : OUTPUTS, index);
    }
    return status ? status : add_label(b, op);
}

static enum dapt_status fill_blocks(const struct dapt_tensor *t, const struct dapt_case *c,
                                    int slot, uint64_t stream, void *bytes) {
    int64_t count = dapt_tensor_count(t);
    float *values = dapt_alloc((size_t)count, sizeof *values);
    if (!values) return DAPT_ERROR_MEMORY;
    dapt_case_fill(c, slot, stream, count, values);
    enum dapt_status status = dapt_floats_pack(values, (uint64_t)count, t->dtype, bytes);
    free(values);
    return status;
}

static enum dapt_status fill_case(struct bench *b, struct dapt_op *op, const struct dapt_case *c) {
    enum dapt_status status = DAPT_OK;
    for (int slot = 0; slot < DAPT_CASE_OPERANDS && !status; slot++) {
        uint32_t index = *dapt_op_slot(op, slot);
        if (index == DAPT_NONE) continue;
        const struct dapt_tensor *t = &b->tensors[index];
        uint8_t *at = b->image[t->buffer] + t->offset;
        if (dapt_dtype_blocks(t->dtype)) {
            status = fill_blocks(t, c, slot, index, at);
            continue;
        }
        int64_t count = (int64_t)(dapt_tensor_span(t) / dapt_dtype_size(t->dtype));  // gaps too
        dapt_case_fill(c, slot, index, count, at);
    }
    return status;
}

static void close_bench(struct bench *b) {
    free(b->ops);
    free(b->tensors);
    for (int i = 0; i < 2; i++) free(b->image[i]);
    dapt_arena_free(&b->arena);
    *b = (struct bench){0};
}

static enum dapt_status open_bench(struct bench *b) {
    const enum dapt_case_use use = DAPT_CASE_CERTIFY;
    size_t count = 0, k = 0;
    *b = (struct bench){0};
    for (struct dapt_case c = {0}; dapt_case_next(&c, use);) count++;
    b->ops = dapt_alloc(count, sizeof *b->ops);
    enum dapt_status status = b->ops ? DAPT_OK : DAPT_ERROR_MEMORY;
    for (struct dapt_case c = {0}; !status && dapt_case_next(&c, use);) status = add_case(b, &c);
    for (int i = 0; i < 2 && !status; i++)
        if (!(b->image[i] = dapt_alloc(b->size[i], 1))) status = DAPT_ERROR_MEMORY;
    for (struct dapt_case c = {0}; !status && dapt_case_next(&c, use);)
        status = fill_case(b, &b->ops[k++], &c);
    return status;
}

// Runs all cases in one program and reads the outputs. Cases that the device does not support are
// left out: their outputs stay as they were.
static enum dapt_status run_cases(struct dapt_device_handle *device, const struct bench *b,
                                  uint8_t *outputs, bool *supported) {
    static const enum dapt_buffer_role roles[] = {DAPT_BUFFER_BATCH, DAPT_BUFFER_RESULT};
    struct dapt_buffer_info infos[2];
    struct dapt_buffer_handle *buffers[2] = {0};
    struct dapt_executable_handle *run = NULL;
    struct dapt_op *ops = dapt_alloc(b->count, sizeof *ops);
    enum dapt_status status = ops ? DAPT_OK : DAPT_ERROR_MEMORY;
    for (int i = 0; i < 2; i++) infos[i] = (struct dapt_buffer_info){roles[i], b->size[i]};
    struct dapt_program program = {.buffer_count = 2,
                                   .tensor_count = (uint32_t)b->tensor_count,
                                   .buffers = infos,
                                   .tensors = b->tensors,
                                   .ops = ops};
    for (size_t k = 0; k < b->count && !status; k++) {
        supported[k] = dapt_device_supports(device, &program, &b->ops[k]);
        if (supported[k]) ops[program.op_count++] = b->ops[k];
    }
    for (int i = 0; i < 2 && !status; i++) {
        status = dapt_buffer_create(device, roles[i], b->size[i], &buffers[i]);
        if (!status) status = dapt_buffer_write(buffers[i], 0, b->image[i], b->size[i]);
    }
    if (!status) status = dapt_program_compile(device, &program, buffers, &run);
    if (!status) status = dapt_program_run(run);
    if (!status) status = dapt_device_wait(device, 0);
    if (!status) status = dapt_buffer_read(buffers[OUTPUTS], 0, outputs, b->size[OUTPUTS]);
    dapt_program_destroy(&run);
    for (int i = 0; i < 2; i++) dapt_buffer_destroy(&buffers[i]);
    free(ops);
    return status;
}

// A NaN counts as worse than any number.
static double worse(double a, double b) {
    return isnan(a) || a > b ? a : b;
}

// What differs in kind (a NaN, an infinity) is infinitely far off.
static double element_error(float ours, float theirs, double scale) {
    if (!isfinite(theirs) || !isfinite(ours))
        return (isnan(ours) && isnan(theirs)) || ours == theirs ? 0 : INFINITY;
    double difference = fabs((double)ours - (double)theirs);
    return difference == 0 ? 0 : difference / (fabs((double)theirs) + scale);
}

// Between rows lies what the operation must leave alone.
static double compare_output(const struct dapt_tensor *t, const uint8_t *ours,
                             const uint8_t *theirs, const uint8_t *before) {
    const float *a = (const float *)(const void *)(ours + t->offset),
                *b = (const float *)(const void *)(theirs + t->offset);
    int64_t dense = dapt_tensor_row(t), finite = 0;
    double squares = 0, error = 0;
    for (int64_t r = 0; r < t->shape[0]; r++) {
        for (int64_t i = 0; i < dense; i++) {
            double value = (double)b[r * t->stride + i];
            if (!isfinite(value)) continue;
            squares += value * value;
            finite++;
        }
    }
    double scale = finite ? sqrt(squares / (double)finite) : 0;
    for (int64_t r = 0; r < t->shape[0]; r++) {
        for (int64_t i = 0; i < dense; i++)
            error = worse(element_error(a[r * t->stride + i], b[r * t->stride + i], scale), error);
        size_t end = (size_t)(r * t->stride + dense) * sizeof(float),
               gap = (size_t)(t->stride - dense) * sizeof(float);
        bool last = r + 1 == t->shape[0];
        if (!last && memcmp((const uint8_t *)a + end, before + t->offset + end, gap) != 0)
            error = INFINITY;
    }
    return error;
}

// Moments in 8 bits: how far units differ. What lies at the edge of two codes may have either.
static double compare_moments(const struct dapt_tensor *t, bool second, const uint8_t *ours,
                              const uint8_t *theirs) {
    double error = 0;
    for (int64_t b = 0; b < t->shape[0]; b++) {
        uint64_t at = t->offset + (uint64_t)b * DAPT_MOMENT_WORDS * sizeof(uint32_t);
        float units[2];
        memcpy(&units[0], ours + at + DAPT_MOMENT_BLOCK, sizeof units[0]);
        memcpy(&units[1], theirs + at + DAPT_MOMENT_BLOCK, sizeof units[1]);
        error = worse(element_error(units[0], units[1], 0), error);
        for (uint64_t i = at; i < at + DAPT_MOMENT_BLOCK; i++) {
            int mask = second ? 255 : 127, distance = abs((ours[i] & mask) - (theirs[i] & mask));
            bool sign = ((ours[i] ^ theirs[i]) & ~mask) && (ours[i] & mask);
            if (distance > 1 || sign) error = INFINITY;
        }
    }
    return error;
}

static double compare_operand(const struct bench *b, const struct dapt_op *op, int i,
                              uint8_t *const outputs[2]) {
    const struct dapt_tensor *t = &b->tensors[op->outputs[i]];
    return dapt_op_info(op->opcode)->out[i].class == DAPT_CLASS_PACKED
               ? compare_moments(t, i == 2, outputs[0], outputs[1])
               : compare_output(t, outputs[0], outputs[1], b->image[OUTPUTS]);
}

static void add_row(struct dapt_parity *p, const struct dapt_verify_row *row) {
    struct dapt_verify_row *r = &p->rows[p->count++];
    *r = *row;
    r->ok = row->error <= row->tolerance;  // false for a NaN
    p->failed += !r->ok;
}

static void compare_cases(const struct bench *b, uint8_t *const outputs[2], const bool *supported,
                          struct dapt_parity *p) {
    for (int opcode = 0; opcode < DAPT_OP_COUNT; opcode++) {
        struct dapt_verify_row row = {.what = "op",
                                      .name = dapt_op_info((enum dapt_opcode)opcode)->name,
                                      .tolerance = tolerance_of((enum dapt_opcode)opcode)};
        for (size_t k = 0; k < b->count; k++) {
            const struct dapt_op *op = &b->ops[k];
            if (op->opcode != (enum dapt_opcode)opcode) continue;
            row.cases++;
            if (!supported[k]) row.error = INFINITY;
            for (int i = 0; i < DAPT_OP_OUTPUTS && supported[k]; i++)
                if (op->outputs[i] != DAPT_NONE)
                    row.error = worse(compare_operand(b, op, i, outputs), row.error);
        }
        if (row.cases == 0) row.error = INFINITY;  // an opcode that nobody looked at
        add_row(p, &row);
    }
}

static enum dapt_status check_operations(struct dapt_device_handle *const devices[2],
                                         struct dapt_parity *p) {
    struct bench b;
    uint8_t *outputs[2] = {0};
    bool *supported[2] = {0};
    enum dapt_status status = open_bench(&b);
    for (int i = 0; i < 2 && !status; i++) {
        outputs[i] = dapt_alloc_aligned(b.size[OUTPUTS], 1);
        supported[i] = dapt_alloc(b.count, sizeof *supported[i]);
        if (!outputs[i] || !supported[i]) status = DAPT_ERROR_MEMORY;
        if (!status) status = run_cases(devices[i], &b, outputs[i], supported[i]);
    }
    if (!status) compare_cases(&b, outputs, supported[0], p);
    for (int i = 0; i < 2; i++) {
        free(outputs[i]);
        free(supported[i]);
    }
    close_bench(&b);
    return status;
}

// ---------------------------------------------------------------------------------------- training

#define SEQUENCES 2u
#define LENGTH 24u
#define MICROS 2u
#define SEED UINT64_C(20)

// Grouped heads, documents, two micro-batches: every program that training runs. Sizes are odd.
static const char shape[] =
    "{\"model_type\": \"llama\", \"hidden_size\": 40, \"intermediate_size\": 72, "
    "\"num_hidden_layers\": 2, \"num_attention_heads\": 4, \"num_key_value_heads\": 2, "
    "\"vocab_size\": 131, \"max_position_embeddings\": 24, \"tie_word_embeddings\": true}";

// Text that can be learned: the next id follows from the last one, but for some noise.
static void fill_batch(struct dapt_batch *b, uint64_t step) {
    uint32_t id = 1;
    b->scored = 0;
    for (uint32_t i = 0; i < SEQUENCES * LENGTH; i++) {
        uint32_t t = i % LENGTH, first = t < 11 ? 0 : 11;  // two documents in a sequence
        b->ids[i] = (int32_t)id;
        id = (id * 5 + 7 + (uint32_t)(dapt_random_bits(SEED, step, i) % 3)) % 131;
        b->targets[i] = t + 1 == first + 11 || t + 1 == LENGTH ? -1 : (int32_t)id;
        b->positions[i] = (int32_t)(t - first);
        b->first[i] = (int32_t)first;
        b->last[i] = (int32_t)t;
        b->scored += b->targets[i] >= 0;
    }
}

struct steps {  // what a device made of the steps
    double loss[DAPT_PARITY_STEPS], norm[DAPT_PARITY_STEPS];
    float *parameters;
};

static enum dapt_status one_step(struct dapt_engine *engine, uint64_t number,
                                 struct dapt_batch *const batches[MICROS],
                                 struct dapt_engine_result *result) {
    struct dapt_engine_step step = {.learning_rate = 3e-3, .weight_decay = 0.1, .clip = 1};
    for (uint32_t m = 0; m < MICROS; m++) {
        fill_batch(batches[m], number * MICROS + m);
        step.scored += batches[m]->scored;
    }
    enum dapt_status status = dapt_engine_begin(engine, &step);
    for (uint32_t m = 0; m < MICROS && !status; m++) status = dapt_engine_micro(engine, batches[m]);
    return status ? status : dapt_engine_finish(engine, number, result);
}

static enum dapt_status run_steps(struct dapt_device_handle *device, const struct dapt_model *model,
                                  struct steps *steps) {
    struct dapt_engine_options options = {.train = true,
                                          .sequences = SEQUENCES,
                                          .length = LENGTH,
                                          .beta1 = 0.9f,
                                          .beta2 = 0.95f,
                                          .eps = 1e-8f};
    struct dapt_engine *engine = NULL;
    struct dapt_batch *batches[MICROS] = {0};
    struct dapt_engine_result result;
    enum dapt_status status = dapt_engine_create(model, device, &options, &engine);
    for (uint32_t m = 0; m < MICROS && !status; m++)
        status = dapt_batch_create(SEQUENCES, LENGTH, &batches[m]);
    if (!status) status = dapt_engine_init(engine, SEED);
    for (uint64_t i = 0; i < DAPT_PARITY_STEPS && !status; i++) {
        status = one_step(engine, i + 1, batches, &result);
        steps->loss[i] = result.loss;
        steps->norm[i] = result.norm;
    }
    steps->parameters = dapt_alloc(model->flat_count, sizeof *steps->parameters);
    if (!status && !steps->parameters) status = DAPT_ERROR_MEMORY;
    if (!status)
        status = dapt_engine_read(engine, DAPT_STATE_PARAM, 0, model->flat_count,
                                  steps->parameters);
    for (uint32_t m = 0; m < MICROS; m++) dapt_batch_destroy(&batches[m]);
    dapt_engine_destroy(&engine);
    return status;
}

static void compare_runs(const struct steps runs[2], uint64_t parameters, struct dapt_parity *p) {
    struct dapt_verify_row loss = {"train", "loss", 0, false, TOLERANCE_LOSS, DAPT_PARITY_STEPS},
                           norm = {"train", "norm", 0, false, TOLERANCE_NORM, DAPT_PARITY_STEPS},
                           weights = {"train", "parameters", 0, false, TOLERANCE_PARAMETERS, 1};
    const struct steps *a = &runs[0], *b = &runs[1];
    double difference2 = 0, size2 = 0;
    for (int i = 0; i < DAPT_PARITY_STEPS; i++) {
        loss.error = worse(fabs(a->loss[i] - b->loss[i]) / fabs(b->loss[i]), loss.error);
        norm.error = worse(fabs(a->norm[i] - b->norm[i]) / fabs(b->norm[i]), norm.error);
    }
    for (uint64_t i = 0; i < parameters; i++) {
        double d = (double)a->parameters[i] - (double)b->parameters[i];
        difference2 += d * d;
        size2 += (double)b->parameters[i] * (double)b->parameters[i];
    }
    weights.error = sqrt(difference2 / size2);
    add_row(p, &loss);
    add_row(p, &norm);
    add_row(p, &weights);
}

static enum dapt_status check_training(struct dapt_device_handle *const devices[2],
                                       struct dapt_parity *p) {
    struct dapt_json *config = NULL;
    struct dapt_model *model = NULL;
    struct steps runs[2] = {0};
    enum dapt_status status = dapt_json_parse("parity", shape, sizeof shape - 1, &config);
    if (!status) status = dapt_model_from_json(config, &model);
    for (int i = 0; i < 2 && !status; i++) status = run_steps(devices[i], model, &runs[i]);
    if (!status) compare_runs(runs, model->flat_count, p);
    for (int i = 0; i < 2; i++) free(runs[i].parameters);
    dapt_model_close(&model);
    return status;
}

enum dapt_status dapt_parity_run(struct dapt_device_handle *device,
                                 struct dapt_device_handle *reference, struct dapt_parity *parity) {
    struct dapt_device_handle *const devices[2] = {device, reference};
    double begin = dapt_seconds();
    *parity = (struct dapt_parity){0};
    enum dapt_status status = check_operations(devices, parity);
    if (!status) status = check_training(devices, parity);
    parity->seconds = dapt_seconds() - begin;
    return status;
}
