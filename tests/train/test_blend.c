// dapt blend: the models between a base and what was trained from it.
#include <math.h>

#include "command.h"
#include "format/safetensors.h"

#define ROLES                                                                           \
    "\"data\": {\"eval\": {\"held\": {\"path\": \"held.jsonl\", \"role\": \"domain\"}," \
    " \"digits\": {\"path\": \"digits.jsonl\", \"role\": \"general\"}}}"

static void near(double value, double wanted, double tolerance) {
    if (!(fabs(value - wanted) <= tolerance)) fail_msg("%.12g, expected %.12g", value, wanted);
}

static void write_digits(struct scratch *s) {
    struct dapt_string text = {0};
    for (int line = 0; line < 12; line++)
        assert_ok(dapt_string_format(&text, "{\"text\": \"%d plus %d is %d, as %d is.\"}\n", line,
                                     line * 7, line * 8, line * 13));
    assert_ok(dapt_file_write(in_scratch(s, "digits.jsonl"), text.data, text.length));
    dapt_string_free(&text);
}

static void train(struct scratch *s, const char *run, const char *more) {
    struct outcome o;
    write_config(s, run, more);
    run_dapt(s, &o, "train", s->config, NULL);
    expect(&o, 0, NULL);
}

static int setup(void **state) {
    if (scratch_setup(state)) return -1;
    struct scratch *s = *state;
    write_digits(s);
    train(s, "first", "{\"train\": {\"steps\": 8}}");
    assert_ok(dapt_rename(latest_checkpoint(s, "first"), in_scratch(s, "base")));
    train(s, "run", "{\"model\": \"base\", " ROLES "}");
    return 0;
}

// The sweep as JSON; the caller's to delete.
static cJSON *blend(struct scratch *s, const char *base, const char *adapted, const char *more,
                    const char *value, const char *out) {
    struct outcome o;
    run_dapt(s, &o, "blend", in_scratch(s, base), in_scratch(s, adapted), "--json",
             more ? more : "--batch", more ? value : "4", out ? "--out" : NULL,
             out ? in_scratch(s, out) : NULL, NULL);
    expect(&o, 0, NULL);
    cJSON *root = cJSON_Parse(o.out);
    if (!root) fail_msg("no JSON: %s", o.out);
    return root;
}

static const cJSON *set_at(const cJSON *root, int point, const char *name) {
    const cJSON *points = cJSON_GetObjectItem(root, "points");
    const cJSON *sets = cJSON_GetObjectItem(cJSON_GetArrayItem(points, point), "sets");
    const cJSON *set = cJSON_GetObjectItem(sets, name);
    assert_non_null(set);
    return set;
}

static bool same_weights(struct scratch *s, const char *a, const char *b) {
    return same_file(dapt_path_join(&s->arena, in_scratch(s, a), "model.safetensors"),
                     dapt_path_join(&s->arena, in_scratch(s, b), "model.safetensors"));
}

// The tensors' numbers, whatever the header says.
static double element(struct scratch *s, const char *folder, size_t tensor, size_t at) {
    struct dapt_safetensors *file;
    float value;
    assert_ok(dapt_safetensors_open(
        dapt_path_join(&s->arena, in_scratch(s, folder), "model.safetensors"), &file));
    const struct dapt_file_tensor *t = dapt_safetensors_at(file, tensor);
    assert_true(at < t->count);
    assert_ok(dapt_file_tensor_floats(t, at, 1, &value));
    dapt_safetensors_close(&file);
    return (double)value;
}

// At both ends the figures and intervals are the run's own, and the folders have the ends' bits.
static void test_ends(void **state) {
    struct scratch *s = *state;
    static const char *const sets[] = {"held", "digits"};
    cJSON *root = blend(s, "base", "run", NULL, NULL, NULL);
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(root, "points")), 11);
    struct dapt_string text = {0};
    assert_ok(dapt_file_read(in_scratch(s, "run/ledger.json"), 1 << 24, &text));
    cJSON *ledger = cJSON_Parse(text.data);
    for (int i = 0; i < 2; i++) {
        const cJSON *told = cJSON_GetArrayItem(cJSON_GetObjectItem(ledger, "sets"), i),
                    *first = set_at(root, 0, sets[i]), *last = set_at(root, 10, sets[i]);
        assert_string_equal(cJSON_GetObjectItem(told, "name")->valuestring, sets[i]);
        near(figure(first, "bits_per_byte"), figure(told, "bits_before"), 1e-6);
        near(figure(first, "change"), 0, 0);
        near(figure(last, "bits_per_byte"), figure(told, "bits_after"), 1e-6);
        near(figure(last, "low"), figure(told, "low"), 1e-6);
        near(figure(last, "high"), figure(told, "high"), 1e-6);
        assert_true(figure(last, "low") < figure(last, "high"));
    }
    cJSON_Delete(ledger);
    cJSON_Delete(root);
    dapt_string_free(&text);
    cJSON_Delete(blend(s, "base", "run", "--alpha", "0", "at-0"));
    cJSON_Delete(blend(s, "base", "run/best", "--alpha", "1", "at-1"));
    cJSON_Delete(blend(s, "base", "run/checkpoints/step-000024/", "--alpha", "1", NULL));
    assert_true(same_weights(s, "at-0", "base"));
    assert_ok(dapt_rename(latest_checkpoint(s, "run"), in_scratch(s, "run-end")));
    assert_true(same_weights(s, "at-1", "run-end"));
    assert_true(same_file(in_scratch(s, "at-1/config.json"), in_scratch(s, "base/config.json")));
    assert_ok(dapt_rename(in_scratch(s, "run-end"), in_scratch(s, "run/checkpoints/step-000024")));
}

// What is written is the formula, and scores what the sweep says.
static void test_between(void **state) {
    struct scratch *s = *state;
    struct outcome o;
    cJSON *root = blend(s, "base", "run", "--alpha", "0.3", "between");
    size_t different = 0;
    for (size_t tensor = 0; tensor < 8; tensor++)
        for (size_t at = 0; at < 16; at++) {
            double a = element(s, "base", tensor, at),
                   b = element(s, "run/checkpoints/step-000024", tensor, at);
            different += a != b;
            assert_true(element(s, "between", tensor, at) == (double)(float)(a + 0.3 * (b - a)));
        }
    assert_true(different > 64);
    char *set = dapt_arena_format(&s->arena, "held=%s", s->held);
    run_dapt(s, &o, "eval", in_scratch(s, "between"), "--tokenizer", "bytes", "--sequence", "32",
             "--json", "--data", set, NULL);
    expect(&o, 0, NULL);
    cJSON *scored = cJSON_Parse(o.out);
    near(figure(cJSON_GetObjectItem(cJSON_GetObjectItem(scored, "sets"), "held"), "nats_per_token"),
         figure(set_at(root, 0, "held"), "nats_per_token"), 1e-6);
    cJSON_Delete(scored);
    cJSON_Delete(root);
}

// Adapters: alpha scales what they add. Its ends are the base, and what `dapt merge` writes.
static void test_adapters(void **state) {
    struct scratch *s = *state;
    struct outcome o;
    train(s, "lora",
          "{\"model\": \"base\", \"train\": {\"lora\": {\"rank\": 4, \"embeddings\": 0.1}}, " ROLES
          "}");
    run_dapt(s, &o, "merge", in_scratch(s, "lora"), in_scratch(s, "lora-merged"), NULL);
    expect(&o, 0, NULL);
    cJSON_Delete(blend(s, "base", "lora", "--alpha", "0", "lora-0"));
    cJSON_Delete(blend(s, "base", "lora", "--alpha", "1", "lora-1"));
    cJSON *root = blend(s, "base", "lora", "--alpha", "0:1:0.5", "lora-best");
    assert_true(same_weights(s, "lora-0", "base"));
    assert_true(same_weights(s, "lora-1", "lora-merged"));
    double middle = figure(set_at(root, 1, "held"), "nats_per_token");
    assert_true(middle < figure(set_at(root, 0, "held"), "nats_per_token") - 1e-4);
    cJSON_Delete(root);
}

// Rounded ends keep their bits; an end that a narrower dtype cannot hold makes the folder float32.
static void test_rounded(void **state) {
    struct scratch *s = *state;
    struct dapt_safetensors *file;
    train(s, "half", "{\"model\": \"base\", \"checkpoint\": {\"dtype\": \"bfloat16\"}, " ROLES "}");
    cJSON_Delete(blend(s, "base", "half", "--alpha", "0", "half-0"));
    assert_true(same_weights(s, "half-0", "base"));
    assert_ok(dapt_rename(latest_checkpoint(s, "half"), in_scratch(s, "half-base")));
    train(s, "halves", "{\"model\": \"half-base\", \"train\": {\"steps\": 4}, " ROLES "}");
    cJSON_Delete(blend(s, "half-base", "halves", "--alpha", "0", "halves-0"));
    assert_true(same_weights(s, "halves-0", "half-base"));
    cJSON_Delete(blend(s, "half-base", "halves", "--alpha", "0.5", "halves-5"));
    assert_ok(dapt_safetensors_open(in_scratch(s, "halves-5/model.safetensors"), &file));
    assert_int_equal(dapt_safetensors_at(file, 0)->dtype, DAPT_FILE_BF16);
    dapt_safetensors_close(&file);
}

// Inside a budget the best domain, whatever it costs below that; without one the least sum.
static void test_choice(void **state) {
    struct scratch *s = *state;
    cJSON *root = blend(s, "base", "run", NULL, NULL, NULL);
    double costs[11], gains[11], least = INFINITY, sum = 0;
    for (int i = 0; i < 11; i++) {
        costs[i] = figure(set_at(root, i, "digits"), "change");
        gains[i] = figure(set_at(root, i, "held"), "change");
        if (gains[i] + costs[i] < least) {
            least = gains[i] + costs[i];
            sum = i / 10.0;
        }
    }
    near(figure(root, "chosen"), sum, 1e-12);
    cJSON_Delete(root);
    double budget = costs[10] > 0 ? costs[10] / 2 : 0, best = INFINITY;
    int wanted = -1;
    for (int i = 0; i < 11; i++)
        if (costs[i] <= budget && gains[i] < best) {
            best = gains[i];
            wanted = i;
        }
    root = blend(s, "base", "run", "--budget",
                 dapt_arena_format(&s->arena, "general=%.17g", budget), NULL);
    near(figure(root, "chosen"), wanted / 10.0, 1e-12);
    cJSON_Delete(root);
}

// Curves and a table in one file, in which nothing runs; names of folders are text.
static void test_page(void **state) {
    struct scratch *s = *state;
    struct dapt_string text = {0};
    char *page = in_scratch(s, "page.html");
    assert_ok(dapt_rename(in_scratch(s, "run"), in_scratch(s, "a<b")));
    cJSON_Delete(blend(s, "base", "a<b", "--page", page, NULL));
    assert_ok(dapt_rename(in_scratch(s, "a<b"), in_scratch(s, "run")));
    assert_ok(dapt_file_read(page, 1 << 20, &text));
    size_t rows = 0, figures = 0;
    for (const char *at = text.data; (at = strstr(at, "<th scope=\"row\">")); at++) rows++;
    for (const char *at = text.data; (at = strstr(at, "class=\"canvas\"")); at++) figures++;
    assert_int_equal(rows, 11 * 2);
    assert_int_equal(figures, 1);
    assert_non_null(strstr(text.data, "a&lt;b"));
    assert_non_null(strstr(text.data, " at alpha 1"));
    assert_non_null(strstr(text.data, "(chosen)"));
    assert_null(strstr(text.data, "<script"));
    assert_null(strstr(text.data, " at step "));
    dapt_string_free(&text);
}

static void refuse(struct scratch *s, const char *base, const char *adapted, const char *option,
                   const char *value, int code, const char *part) {
    struct outcome o;
    run_dapt(s, &o, "blend", in_scratch(s, base), in_scratch(s, adapted), option, value, NULL);
    expect(&o, code, part);
    if (strchr(o.err, '\n') != o.err + strlen(o.err) - 1) fail_msg("not one line: %s", o.err);
}

static void test_refusals(void **state) {
    struct scratch *s = *state;
    char *set = dapt_arena_format(&s->arena, "held=%s", s->held);
    train(s, "wide",
          "{\"model\": {\"random\": {\"intermediate_size\": 48}}, \"train\": {\"steps\": 2}}");
    refuse(s, "base", "wide", NULL, NULL, 1, "a feed-forward size of 64");
    train(s, "untied",
          "{\"model\": {\"random\": {\"tie_word_embeddings\": false}}, \"train\": {\"steps\": 2}}");
    refuse(s, "base", "untied", NULL, NULL, 1, "tied to its embedding");
    train(s, "words",
          "{\"model\": {\"random\": {\"vocab_size\": 260}}, \"train\": {\"steps\": 2}}");
    refuse(s, "base", "words", NULL, NULL, 1, "a vocabulary of 258");
    train(s, "turned",
          "{\"model\": {\"random\": {\"rope_theta\": 500}}, \"train\": {\"steps\": 2}}");
    refuse(s, "base", "turned", NULL, NULL, 1, "have the same shape, but settings");
    train(s, "qwen",
          "{\"model\": {\"random\": {\"model_type\": \"qwen2\"}}, \"train\": {\"steps\": 2}}");
    refuse(s, "base", "qwen", NULL, NULL, 1, "the architecture llama");
    refuse(s, "base", "base", NULL, NULL, 1, "is no run whose evaluation sets could be taken");
    refuse(s, "base", "gone", "--data", set, 1, "gone: no such folder");
    refuse(s, "base", "run", "--budget", "control=0.1", 1, "no set has that name or role");
    refuse(s, "base", "run", "--budget", "general", 2, "expected NAME=BITS");
    refuse(s, "base", "run", "--alpha", "much", 2, "expected a number, or FROM:TO:STEP");
    refuse(s, "base", "run", "--alpha", "7", 1, "expected a number from -1 to 2");
    refuse(s, "base", "run", "--out", in_scratch(s, "base"), 1, "is there already");
    refuse(s, "lora", "run", NULL, NULL, 1, "expected a plain model");
}

// The same ids must be the same texts: a folder whose vocabulary has two of them exchanged.
static void test_tokenizers(void **state) {
    struct scratch *s = *state;
    const char *data = getenv("DAPT_TEST_DATA");
    char *model = data ? dapt_arena_format(&s->arena, "%s/data/models/stories260k", data) : NULL;
    if (!model || !dapt_is_dir(model)) {
        print_message("skipped: no stories260k in %s\n", data ? data : "DAPT_TEST_DATA");
        skip();
    }
    static const char *const files[] = {"config.json", "model.safetensors",
                                        "tokenizer_config.json"};
    struct dapt_string text = {0};
    char *other = in_scratch(s, "other"), *a, *b;
    assert_ok(dapt_mkdirs(other));
    for (size_t i = 0; i < 3; i++)
        assert_ok(dapt_copy_file(dapt_path_join(&s->arena, model, files[i]),
                                 dapt_path_join(&s->arena, other, files[i])));
    assert_ok(dapt_file_read(dapt_path_join(&s->arena, model, "tokenizer.json"), 1 << 24, &text));
    a = strstr(text.data, "\"<0x41>\"");
    b = strstr(text.data, "\"<0x42>\"");
    assert_true(a && b);
    a[5] = '2';
    b[5] = '1';
    assert_ok(dapt_file_write(dapt_path_join(&s->arena, other, "tokenizer.json"), text.data,
                              text.length));
    dapt_string_free(&text);
    struct outcome o;
    run_dapt(s, &o, "blend", model, other, "--data", dapt_arena_format(&s->arena, "x=%s", s->held),
             NULL);
    expect(&o, 1, "a tokenizer whose token 68 is A");
    expect(&o, 1, other);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ends),     cmocka_unit_test(test_between),
        cmocka_unit_test(test_adapters), cmocka_unit_test(test_rounded),
        cmocka_unit_test(test_choice),   cmocka_unit_test(test_page),
        cmocka_unit_test(test_refusals), cmocka_unit_test(test_tokenizers),
    };
    return cmocka_run_group_tests_name("blend", tests, setup, scratch_teardown);
}
