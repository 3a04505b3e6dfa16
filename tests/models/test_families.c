// What families differ in: where the rows of fused tensors lie, which layers turn, what is refused.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/files.h"
#include "model/model.h"

#define SIZES                                                              \
    "\"hidden_size\":24,\"intermediate_size\":40,\"num_hidden_layers\":2," \
    "\"num_attention_heads\":3,\"vocab_size\":50,\"max_position_embeddings\":64"

static enum dapt_status open_model(const char *json, struct dapt_model **model) {
    struct dapt_json *config;
    assert_int_equal(dapt_json_parse("config.json", json, strlen(json), &config), DAPT_OK);
    return dapt_model_from_json(config, model);
}

static enum dapt_status put(void *flat, uint64_t offset, const float *values, uint64_t count) {
    memcpy((float *)flat + offset, values, count * sizeof *values);
    return DAPT_OK;
}

static enum dapt_status get(void *flat, uint64_t offset, float *values, uint64_t count) {
    memcpy(values, (float *)flat + offset, count * sizeof *values);
    return DAPT_OK;
}

static const struct dapt_parameter *find(const struct dapt_model *m, const char *name) {
    for (size_t i = 0; i < m->parameter_count; i++)
        if (strcmp(m->parameters[i].name, name) == 0) return &m->parameters[i];
    fail_msg("no parameter %s", name);
    return NULL;
}

// GPT-NeoX's files hold q, k and v head by head; the flat buffer all of q, then of k, then of v.
// What is saved and loaded again has the same bits.
static void rows_by_head_are_put_in_order(void **state) {
    (void)state;
    struct dapt_model *m;
    assert_int_equal(open_model("{\"model_type\":\"gpt_neox\"," SIZES ",\"rotary_pct\":0.5}", &m),
                     0);
    float *flat = calloc(m->flat_count, sizeof *flat), *again = calloc(m->flat_count, sizeof *flat);
    assert_int_equal(dapt_model_init(m, 7, put, flat), DAPT_OK);
    char folder[] = "/tmp/dapt-test-XXXXXX";
    assert_non_null(mkdtemp(folder));
    assert_int_equal(dapt_model_save(m, folder, get, flat), DAPT_OK);
    assert_int_equal(dapt_model_load(m, folder, put, again), DAPT_OK);
    assert_memory_equal(flat, again, m->flat_count * sizeof *flat);

    static const char name[] = "gpt_neox.layers.1.attention.query_key_value.weight";
    const struct dapt_parameter *p = find(m, name);
    struct dapt_safetensors *file;
    assert_int_equal(dapt_safetensors_open(folder, &file), DAPT_OK);
    const float *rows = (const float *)dapt_safetensors_find(file, name)->data;
    for (uint32_t head = 0; head < 3; head++)
        for (uint32_t part = 0; part < 3; part++)
            assert_memory_equal(rows + (size_t)(head * 3 + part) * 8 * 24,
                                flat + p->offset + (size_t)(part * 3 + head) * 8 * 24, 8 * 24 * 4);
    dapt_safetensors_close(&file);
    assert_int_equal(dapt_remove_tree(folder), 0);
    dapt_model_close(&m);
    free(flat);
    free(again);
}

static void layers_that_do_not_turn(void **state) {
    (void)state;
    struct dapt_model *m;
    assert_int_equal(open_model("{\"model_type\":\"smollm3\"," SIZES ",\"no_rope_layers\":[1,0],"
                                "\"use_sliding_window\":true,\"sliding_window\":8}",
                                &m),
                     0);
    assert_false(m->unrotated[0]);
    assert_true(m->unrotated[1]);
    assert_int_equal(m->windows[0], 8);
    assert_int_equal(m->windows[1], 0);
    dapt_model_close(&m);
    // Without the list: every fourth.
    assert_int_equal(open_model("{\"model_type\":\"smollm3\"," SIZES "}", &m), 0);
    assert_false(m->unrotated[1]);
    dapt_model_close(&m);
}

static void what_is_not_built_is_refused(void **state) {
    (void)state;
    static const struct {
        const char *json, *named;
    } cases[] = {
        {"{\"model_type\":\"stablelm\"," SIZES ",\"qk_layernorm\":true}", "qk_layernorm"},
        {"{\"model_type\":\"smollm3\"," SIZES ",\"no_rope_layers\":[1]}", "no_rope_layers"},
        {"{\"model_type\":\"smollm3\"," SIZES ",\"no_rope_layers\":7}", "no_rope_layers"},
        {"{\"model_type\":\"granite\"," SIZES ",\"logits_scaling\":0}", "logits_scaling"},
        {"{\"model_type\":\"gemma2\"," SIZES "}", "gemma2"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct dapt_model *m;
        assert_int_not_equal(open_model(cases[i].json, &m), DAPT_OK);
        if (!strstr(dapt_error(), cases[i].named)) fail_msg("%s", dapt_error());
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_by_head_are_put_in_order),
        cmocka_unit_test(layers_that_do_not_turn),
        cmocka_unit_test(what_is_not_built_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
