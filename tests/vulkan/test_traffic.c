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
#include "lowers.h"

#define MUST(call)                                         \
    do {                                                   \
        if (call) fail_msg("%s: %s", #call, dapt_error()); \
    } while (0)

static struct vk_adapter adapter = {.heap = UINT64_C(24) << 30,
                                    .info = {.name = "none", .memory = UINT64_C(24) << 30}};
static double bytes[DAPT_OP_COUNT];  // of the programs so far
static bool micro_batch;             // whether that of a micro-batch is among them

uint32_t vk_fastest_tile(struct vk_lowering *l, const struct vk_matmul_size *size,
                         const struct vk_tile *list, uint32_t count) {
    (void)l, (void)size, (void)list, (void)count;
    return 0;
}

void lowered(const struct dapt_program *program, const struct vk_passes *passes) {
    bool of_micro_batch = program->ops[0].opcode == DAPT_OP_EMBED,
         counts = !of_micro_batch || !micro_batch;
    micro_batch |= of_micro_batch;
    for (uint32_t i = 0; i < passes->count && counts; i++)
        bytes[program->ops[passes->at[i].op].opcode] += (double)vk_pass_bytes(&passes->at[i]);
}

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
    device.adapter = &adapter;
    device.limits = (struct vk_limits){.invocations = 256, .shared_memory = 32768, .groups = 65535};
    assert_true(step_bytes(DAPT_PRECISION_FLOAT32) < 44.2e9);
    assert_true(step_bytes(DAPT_PRECISION_BFLOAT16) < 24.9e9);
    assert_true(step_bytes(DAPT_PRECISION_FLOAT16) < 24.9e9);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_bytes)};
    return cmocka_run_group_tests_name("traffic", tests, NULL, NULL);
}
