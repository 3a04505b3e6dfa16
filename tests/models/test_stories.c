// Trained models: the cross-entropy of every token and the ten largest logits as a float64
// reference gives them, and greedy text.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <cjson/cJSON.h>

#include "base/files.h"
#include "infer/generate.h"
#include "infer/session.h"

static struct dapt_modules *modules;
static struct dapt_arena arena;
static const char *folder;  // data/models

struct bed {
    struct dapt_session session;
    struct dapt_batch *batch;
    float *losses, *logits;
};

// A model for one sequence of `length` tokens.
static void make_bed(struct bed *bed, const char *model, uint32_t length) {
    struct dapt_model_options options = {.model = dapt_path_join(&arena, folder, model),
                                         .backend = getenv("DAPT_TEST_BACKEND")};
    struct dapt_engine_options engine = {.sequences = 1, .length = length};
    *bed = (struct bed){0};
    if (dapt_session_open(modules, &options, &bed->session)) fail_msg("%s", dapt_error());
    if (dapt_session_engine(&bed->session, &options, &engine)) fail_msg("%s", dapt_error());
    if (dapt_batch_create(1, length, &bed->batch)) fail_msg("%s", dapt_error());
    bed->losses = calloc(length, sizeof(float));
    bed->logits = calloc((size_t)length * bed->session.model->vocab, sizeof(float));
    assert_true(bed->losses && bed->logits);
}

static void drop_bed(struct bed *bed) {
    free(bed->losses);
    free(bed->logits);
    dapt_batch_destroy(&bed->batch);
    dapt_session_close(&bed->session);
}

static void check_case(const char *model, const cJSON *entry) {
    const cJSON *ids = cJSON_GetObjectItem(entry, "ids"), *ce = cJSON_GetObjectItem(entry, "ce"),
                *top = cJSON_GetObjectItem(entry, "top");
    uint32_t length = (uint32_t)cJSON_GetArraySize(ids);
    struct bed bed;
    make_bed(&bed, model, length);
    assert_int_equal(cJSON_GetArraySize(ce), (int)length - 1);
    bed.batch->scored = length - 1;
    for (uint32_t t = 0; t < length; t++) {
        bed.batch->ids[t] = cJSON_GetArrayItem(ids, (int)t)->valueint;
        bed.batch->targets[t] = t + 1 < length ? cJSON_GetArrayItem(ids, (int)t + 1)->valueint : -1;
        bed.batch->positions[t] = bed.batch->last[t] = (int32_t)t;
        bed.batch->first[t] = 0;
    }
    assert_int_equal(dapt_engine_losses(bed.session.engine, bed.batch, bed.losses), DAPT_OK);
    assert_int_equal(dapt_engine_logits(bed.session.engine, bed.batch, bed.logits), DAPT_OK);
    for (uint32_t t = 0; t + 1 < length; t++) {
        double expected = cJSON_GetArrayItem(ce, (int)t)->valuedouble;
        if (!(fabs((double)bed.losses[t] - expected) <= 1e-4))
            fail_msg("%s, token %u: %g, expected %g", model, t, (double)bed.losses[t], expected);
    }
    const float *last = bed.logits + (size_t)(length - 1) * bed.session.model->vocab;
    const cJSON *pair;
    assert_true(cJSON_GetArraySize(top) == 10);
    cJSON_ArrayForEach(pair, top) {
        double expected = cJSON_GetArrayItem(pair, 1)->valuedouble;
        assert_true(fabs((double)last[cJSON_GetArrayItem(pair, 0)->valueint] - expected) <=
                    1e-4 * (1 + fabs(expected)));
    }
    drop_bed(&bed);
}

static void test_reference(void **state) {
    static const struct {
        const char *key, *model;
    } models[] = {{"stories260K", "stories260k"}, {"tinystories-656k", "tinystories-656k"}};
    struct dapt_string text;
    (void)state;
    assert_int_equal(
        dapt_file_read(dapt_path_join(&arena, folder, "golden/causal-lm.json"), 1 << 20, &text),
        DAPT_OK);
    cJSON *root = cJSON_Parse(text.data);
    assert_non_null(root);
    for (size_t i = 0; i < 2; i++) {
        const cJSON *list = cJSON_GetObjectItemCaseSensitive(root, models[i].key), *entry;
        assert_true(cJSON_GetArraySize(list) >= 4);
        cJSON_ArrayForEach(entry, list) check_case(models[i].model, entry);
    }
    cJSON_Delete(root);
    dapt_string_free(&text);
}

static bool collect(void *user, const char *text, size_t length) {
    return dapt_string_add(user, text, length) == DAPT_OK;
}

static void generate(const char *prompt, uint32_t tokens, struct dapt_string *text) {
    struct dapt_generate_options options = {
        .model = {.model = dapt_path_join(&arena, folder, "stories260k")},
        .prompt = prompt,
        .max_tokens = tokens};
    struct dapt_generated generated;
    *text = (struct dapt_string){0};
    if (dapt_generate_text(modules, &options, collect, text, &generated))
        fail_msg("%s", dapt_error());
    assert_int_equal(generated.tokens, tokens);
}

// The text that the model's author shows.
static void test_greedy(void **state) {
    (void)state;
    static const char expected[] =
        ", there was a little girl named Lily. She loved to play outside in the park. One day, she "
        "saw a big, red ball.";
    struct dapt_string text;
    generate("Once upon a time", 100, &text);
    if (strncmp(text.data, expected, strlen(expected)) != 0) fail_msg("greedy text: %s", text.data);
    dapt_string_free(&text);
}

static int open_modules(void **state) {
    (void)state;
    if (dapt_modules_load(NULL, &modules)) fail_msg("%s", dapt_error());
    return 0;
}

static int close_modules(void **state) {
    (void)state;
    dapt_modules_unload(&modules);
    dapt_arena_free(&arena);
    return 0;
}

int main(void) {
    const char *data = getenv("DAPT_TEST_DATA");
    folder = dapt_path_join(&arena, data ? data : ".", "data/models");
    if (!dapt_is_dir(folder)) {
        printf("skipped: no trained models: %s is not there\n", folder);
        return 77;
    }
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_reference),
                                       cmocka_unit_test(test_greedy)};
    return cmocka_run_group_tests(tests, open_modules, close_modules);
}
