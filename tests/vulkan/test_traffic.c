// The bytes of a training step: those that passes read and write, each operand of a pass once, of GPT-2
// 124M with 8 sequences of 1024 tokens, on a device with 24 GiB. Nothing runs, and no driver is needed:
// a backend that only lowers takes the programs. It prints them by op. Attention counts in the
// precision of the rest, whether its kernels have that type or not.
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/engine.h"
#include "graph/ops.h"
#include "lower.h"

#define MUST(call)                                         \
    do {                                                   \
        if (call) fail_msg("%s: %s", #call, dapt_error()); \
    } while (0)

static struct vk_adapter adapter = {.heap = UINT64_C(24) << 30};
static struct dapt_device device = {
    .adapter = &adapter, .limits = {.invocations = 256, .shared_memory = 32768, .groups = 65535}};
static double bytes[DAPT_OP_COUNT];  // of the programs so far
static bool micro_batch;             // whether that of a micro-batch is among them

// ------------------------------------------------------------------ what lower_*.c ask others

uint32_t vk_fastest_tile(struct vk_lowering *l, const struct vk_matmul_size *size,
                         const struct vk_tile *list, uint32_t count) {
    (void)l, (void)size, (void)list, (void)count;
    return 0;
}

struct vk_unit vk_matrix_unit(struct vk_lowering *l, enum dapt_dtype operands) {
    (void)l, (void)operands;
    return (struct vk_unit){0};
}

struct vk_unit vk_attention_unit(struct vk_lowering *l, enum dapt_dtype operands,
                                 int64_t head_size) {
    (void)l, (void)operands, (void)head_size;
    return (struct vk_unit){0};
}

// -------------------------------------------------------------------------- the backend that lowers

static enum dapt_status device_count(const struct dapt_host *host, uint32_t *count) {
    (void)host;
    *count = 1;
    return DAPT_OK;
}
static enum dapt_status device_info(const struct dapt_host *host, uint32_t index,
                                    struct dapt_device_info *info) {
    (void)host, (void)index;
    *info = (struct dapt_device_info){.name = "none", .memory = adapter.heap};
    return DAPT_OK;
}
static enum dapt_status device_open(const struct dapt_host *host, uint32_t index,
                                    const struct dapt_device_options *options,
                                    struct dapt_device **opened) {
    (void)index, (void)options;
    device.host = host;
    *opened = &device;
    return DAPT_OK;
}
static void device_close(struct dapt_device *d) {
    (void)d;
}
static enum dapt_status buffer_create(struct dapt_device *d, enum dapt_buffer_role role,
                                      uint64_t size, struct dapt_buffer **buffer) {
    static struct dapt_buffer any;
    (void)d, (void)role, (void)size;
    *buffer = &any;
    return DAPT_OK;
}
static void buffer_destroy(struct dapt_device *d, struct dapt_buffer *buffer) {
    (void)d, (void)buffer;
}
static enum dapt_status buffer_write(struct dapt_device *d, struct dapt_buffer *buffer,
                                     uint64_t offset, const void *data, uint64_t size) {
    (void)d, (void)buffer, (void)offset, (void)data, (void)size;
    return DAPT_OK;
}
static enum dapt_status buffer_read(struct dapt_device *d, struct dapt_buffer *buffer,
                                    uint64_t offset, void *data, uint64_t size) {
    (void)d, (void)buffer, (void)offset, (void)data, (void)size;
    return DAPT_OK;
}
static bool supports(struct dapt_device *d, const struct dapt_program *program,
                     const struct dapt_op *op) {
    (void)d, (void)program, (void)op;
    return true;
}
static enum dapt_status program_compile(struct dapt_device *d, const struct dapt_program *program,
                                        struct dapt_buffer *const *buffers,
                                        struct dapt_executable **executable) {
    struct vk_passes passes = {0};
    uint64_t scratch;
    (void)buffers;
    enum dapt_status status = vk_lower_program(d, program, NULL, &passes, &scratch);
    bool of_micro_batch = program->ops[0].opcode == DAPT_OP_EMBED,
         counts = !of_micro_batch || !micro_batch;
    micro_batch |= of_micro_batch;
    for (uint32_t i = 0; i < passes.count && status == DAPT_OK && counts; i++)
        bytes[program->ops[passes.at[i].op].opcode] += (double)vk_pass_bytes(&passes.at[i]);
    free(passes.at);
    *executable = (struct dapt_executable *)(void *)&device;  // not NULL
    return status;
}
static void program_destroy(struct dapt_device *d, struct dapt_executable *executable) {
    (void)d, (void)executable;
}
static enum dapt_status program_run(struct dapt_device *d, struct dapt_executable *executable) {
    (void)d, (void)executable;
    return DAPT_OK;
}
static enum dapt_status device_wait(struct dapt_device *d, double timeout) {
    (void)d, (void)timeout;
    return DAPT_OK;
}

static const struct dapt_backend lowers = {.struct_size = sizeof lowers,
                                           .name = "lowers",
                                           .summary = "only lowers",
                                           .device_count = device_count,
                                           .device_info = device_info,
                                           .device_open = device_open,
                                           .device_close = device_close,
                                           .buffer_create = buffer_create,
                                           .buffer_destroy = buffer_destroy,
                                           .buffer_write = buffer_write,
                                           .buffer_read = buffer_read,
                                           .supports = supports,
                                           .program_compile = program_compile,
                                           .program_destroy = program_destroy,
                                           .program_run = program_run,
                                           .device_wait = device_wait};

// ---------------------------------------------------------------------------------------- the tests

// Of the programs of one step: the first micro-batch, the norm, the update.
static double step_bytes(enum dapt_precision precision) {
    static const char config[] =
        "{\"model_type\":\"gpt2\",\"n_embd\":768,\"n_layer\":12,\"n_head\":12,"
        "\"n_positions\":1024,\"vocab_size\":50257}";
    struct dapt_json *json;
    struct dapt_model *model = NULL;
    struct dapt_device_handle *handle = NULL;
    struct dapt_engine *engine = NULL;
    struct dapt_engine_options options = {.train = true,
                                          .precision = precision,
                                          .sequences = 8,
                                          .length = 1024,
                                          .beta1 = 0.9f,
                                          .beta2 = 0.95f,
                                          .eps = 1e-8f};
    memset(bytes, 0, sizeof bytes);
    micro_batch = false;
    MUST(dapt_json_parse("test", config, strlen(config), &json));
    MUST(dapt_model_from_json(json, &model));
    MUST(dapt_device_open(dapt_host(), &lowers, 0, NULL, &handle));
    MUST(dapt_engine_create(model, handle, &options, &engine));
    dapt_engine_destroy(&engine);
    dapt_device_close(&handle);
    dapt_model_close(&model);
    double sum = 0;
    for (int i = 0; i < DAPT_OP_COUNT; i++) {
        if (bytes[i] > 0)
            printf("%-16s %8.3f GB\n", dapt_op_info((enum dapt_opcode)i)->name, 1e-9 * bytes[i]);
        sum += bytes[i];
    }
    printf("%-16s %8.3f GB\n", "all", 1e-9 * sum);
    return sum;
}

static void test_bytes(void **unused) {
    (void)unused;
    assert_true(step_bytes(DAPT_PRECISION_FLOAT32) < 52e9);
    assert_true(step_bytes(DAPT_PRECISION_BFLOAT16) < 29e9);
    assert_true(step_bytes(DAPT_PRECISION_FLOAT16) < 29e9);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_bytes)};
    return cmocka_run_group_tests_name("traffic", tests, NULL, NULL);
}
