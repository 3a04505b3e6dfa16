// Families against the golden values of a reference implementation: logits, loss, every gradient,
// six AdamW steps. And that the comparison notices what is wrong.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/files.h"
#include "format/safetensors.h"
#include "infer/verify.h"
#include "part.h"

static const char *const families[] = {
    "gpt2", "llama", "llama3_rope_tied", "mistral_window", "qwen2",  "qwen3", "smollm3",
    "phi3", "olmo2", "gpt_neox",         "gemma2",         "gemma3", "bert",  "roberta"};
#define FAMILIES (sizeof families / sizeof families[0])
static struct dapt_modules *modules;
static struct dapt_arena arena;
static const char *goldens;

struct tally {
    size_t rows, logits, loss, gradients, steps;
    double worst, worst_loss;
};

static void count_row(void *user, const struct dapt_verify_row *row) {
    struct tally *t = user;
    t->rows++;
    t->logits += strcmp(row->what, "logits") == 0;
    t->loss += strcmp(row->what, "loss") == 0;
    t->gradients += strcmp(row->what, "gradient") == 0;
    t->steps += strcmp(row->what, "step") == 0;
    bool loss = strcmp(row->what, "loss") == 0 || strcmp(row->what, "step") == 0;
    if (!(row->error <= t->worst)) t->worst = row->error;
    if (loss && !(row->error <= t->worst_loss)) t->worst_loss = row->error;
    if (!row->ok) print_message("%s %s: relative error %g\n", row->what, row->name, row->error);
}

// In 16 bits gradients that nearly cancel have few digits left: `tolerance` 0 is float32's.
static enum dapt_status verify_in(const char *folder, const char *precision, double tolerance,
                                  struct tally *tally) {
    struct dapt_verify_options options = {.folder = folder,
                                          .backend = getenv("DAPT_TEST_BACKEND"),
                                          .precision = precision,
                                          .tolerance = tolerance};
    *tally = (struct tally){0};
    return dapt_verify_folder(modules, &options, count_row, tally);
}

static enum dapt_status verify(const char *folder, struct tally *tally) {
    return verify_in(folder, NULL, 0, tally);
}

// The losses, also those of the golden AdamW steps, are within 1e-2 in 16 bits.
static void check_halves(const char *folder, const char *name) {
    static const char *const precisions[] = {"bfloat16", "float16"};
    if (getenv("DAPT_TEST_FLOAT32")) return;
    for (size_t p = 0; p < 2; p++) {
        struct tally tally;
        if (verify_in(folder, precisions[p], 0.5, &tally)) fail_msg("%s", dapt_error());
        print_message("%-18s %-8s worst loss %.2e, worst of all %.2e\n", name, precisions[p],
                      tally.worst_loss, tally.worst);
        if (!(tally.worst_loss < 1e-2))
            fail_msg("%s in %s: loss off by %g", name, precisions[p], tally.worst_loss);
    }
}

static void test_families(void **state) {
    (void)state;
    if (!dapt_is_dir(goldens)) {
        print_message("skipped: no golden values: %s is not there\n", goldens);
        skip();
    }
    for (size_t i = 0; i < FAMILIES; i++) {
        struct tally tally;
        if (!is_in_part(i, FAMILIES)) continue;
        char *folder = dapt_path_join(&arena, goldens, families[i]);
        if (verify(folder, &tally)) fail_msg("%s", dapt_error());
        assert_int_equal(tally.logits, 1);
        assert_int_equal(tally.loss, 1);
        assert_true(tally.gradients >= 15);
        assert_int_equal(tally.steps, 6);
        print_message("%-18s %zu comparisons, worst %.2e\n", families[i], tally.rows, tally.worst);
        check_halves(folder, families[i]);
    }
}

// Small goldens of our own, which are there without the optional test data.
static void test_own(void **state) {
    (void)state;
    static const char *const own[] = {"starcoder2",     "stablelm",      "granite",
                                      "smollm3_window", "gemma2_capped", "gemma3_local",
                                      "bert_own_head",  "roberta_relu"};
    const char *source = getenv("DAPT_TEST_SOURCE");
    if (!source) {
        print_message("skipped: DAPT_TEST_SOURCE is not set\n");
        skip();
    }
    const size_t count = sizeof own / sizeof own[0];
    for (size_t i = 0; i < count; i++) {
        struct tally tally;
        if (!is_in_part(i, count)) continue;
        char *folder = dapt_path_join(&arena, source, "tests/models/goldens");
        folder = dapt_path_join(&arena, folder, own[i]);
        if (verify(folder, &tally)) fail_msg("%s", dapt_error());
        assert_int_equal(tally.steps, 6);
        check_halves(folder, own[i]);
    }
}

// One number of one tensor replaced: the comparison must fail, and also when the number is a NaN.
static void test_notices(void **state) {
    (void)state;
    if (!dapt_is_dir(goldens)) {
        print_message("skipped: no golden values: %s is not there\n", goldens);
        skip();
    }
    static const struct {
        const char *tensor;
        float value;
    } changes[] = {
        {"logits", 100},
        {"loss", 1},
        {"losses", 1},
        {"grad.transformer.h.1.mlp.c_fc.bias", 0.5f},
        {"grad.transformer.wte.weight", 1},
        {"logits", __builtin_nanf("")},
        {"losses", __builtin_nanf("")},
        {"grad.transformer.ln_f.bias", __builtin_nanf("")},
    };
    char scratch[] = "/tmp/dapt-test-XXXXXX";
    assert_non_null(mkdtemp(scratch));
    char *from = dapt_path_join(&arena, goldens, "gpt2"),
         *golden = dapt_path_join(&arena, scratch, "golden.safetensors");
    static const char *const files[] = {"config.json", "model.safetensors", "golden.json",
                                        "golden.safetensors"};
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(dapt_copy_file(dapt_path_join(&arena, from, files[i]),
                                        dapt_path_join(&arena, scratch, files[i])),
                         0);
    }
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        struct dapt_safetensors *file;
        struct dapt_string content;
        struct tally tally;
        char *original = dapt_path_join(&arena, from, "golden.safetensors");
        assert_int_equal(dapt_file_read(original, 64 << 20, &content), 0);
        assert_int_equal(dapt_safetensors_open(original, &file), 0);
        const struct dapt_file_tensor *tensor = dapt_safetensors_find(file, changes[i].tensor);
        assert_non_null(tensor);
        char *place = memmem(content.data, content.length, tensor->data, tensor->count * 4);
        assert_non_null(place);
        memcpy(place + tensor->count / 2 * 4, &changes[i].value, 4);
        dapt_safetensors_close(&file);
        assert_int_equal(dapt_file_write(golden, content.data, content.length), 0);
        dapt_string_free(&content);
        if (verify(scratch, &tally) != DAPT_ERROR_INVALID ||
            !strstr(dapt_error(), "off by more than")) {
            fail_msg("%s = %g went unnoticed", changes[i].tensor, (double)changes[i].value);
        }
    }
    assert_int_equal(dapt_remove_tree(scratch), 0);
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
    goldens = dapt_path_join(&arena, data ? data : ".", "goldens");
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_own), cmocka_unit_test(test_families),
                                       cmocka_unit_test(test_notices)};
    return cmocka_run_group_tests(tests, open_modules, close_modules);
}
