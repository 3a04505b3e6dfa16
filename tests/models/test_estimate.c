// What models that people have would take, by the engine's estimate.
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "engine/engine.h"
#include "host/loader.h"

static struct dapt_modules *modules;

#define MUST(call)                                         \
    do {                                                   \
        if (call) fail_msg("%s: %s", #call, dapt_error()); \
    } while (0)

static bool runs_all(struct dapt_device *device, const struct dapt_program *program,
                     const struct dapt_op *op) {
    (void)device, (void)program, (void)op;
    return true;
}

// On a device that runs every op in every type.
static uint64_t estimate(const char *config, const struct dapt_engine_options *options,
                         enum dapt_buffer_role role) {
    struct dapt_backend backend = *dapt_modules_backend(modules, "cpu");
    struct dapt_device_handle *device;
    struct dapt_json *json;
    struct dapt_model *model;
    uint64_t bytes[DAPT_BUFFER_ROLE_COUNT], all = 0;
    backend.supports = runs_all;
    MUST(dapt_device_open(dapt_host(), &backend, 0, NULL, &device));
    MUST(dapt_json_parse("test", config, strlen(config), &json));
    MUST(dapt_model_from_json(json, &model));
    MUST(dapt_engine_estimate(model, device, options, bytes));
    for (int r = 0; r < DAPT_BUFFER_ROLE_COUNT; r++) all += bytes[r];
    dapt_model_close(&model);
    dapt_device_close(&device);
    return role < DAPT_BUFFER_ROLE_COUNT ? bytes[role] : all;
}

// What people have: 1.1 billion parameters in 16 GB; and of GPT-2's activations 16 bits leave about half.
static void large_models_fit(void **state) {
    (void)state;
    static const char llama[] =
        "{\"model_type\":\"llama\",\"hidden_size\":2048,\"intermediate_size\":5632,"
        "\"num_hidden_layers\":22,\"num_attention_heads\":32,\"num_key_value_heads\":4,"
        "\"max_position_embeddings\":2048,\"vocab_size\":32000}",
                      gpt2[] =
                          "{\"model_type\":\"gpt2\",\"n_embd\":768,\"n_layer\":12,"
                          "\"n_head\":12,\"n_positions\":1024,\"vocab_size\":50257}";
    struct dapt_engine_options options = {.train = true,
                                          .sequences = 4,
                                          .length = 2048,
                                          .recompute = DAPT_RECOMPUTE_BLOCK,
                                          .precision = DAPT_PRECISION_BFLOAT16,
                                          .moments = DAPT_MOMENTS_8BIT};
    uint64_t all = estimate(llama, &options, DAPT_BUFFER_ROLE_COUNT);
    if (all > UINT64_C(13) << 30) fail_msg("%llu bytes", (unsigned long long)all);
    options = (struct dapt_engine_options){.train = true, .sequences = 8, .length = 1024};
    double whole = (double)estimate(gpt2, &options, DAPT_BUFFER_WORK);
    options.precision = DAPT_PRECISION_FLOAT16;
    double half = (double)estimate(gpt2, &options, DAPT_BUFFER_WORK);
    if (!(half < 0.58 * whole)) fail_msg("%g of %g bytes", half, whole);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(large_models_fit)};
    if (dapt_modules_load(NULL, &modules)) return 1;
    int failed = cmocka_run_group_tests_name("estimate", tests, NULL, NULL);
    dapt_modules_unload(&modules);
    return failed;
}
