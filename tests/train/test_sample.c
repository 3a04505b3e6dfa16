// Drawing tokens, cutting text at whole characters, names of checkpoints, comparing courses.
#include <math.h>

#include "command.h"
#include "checkpoint/checkpoint.h"
#include "train/fingerprint.h"
#include "infer/generate.h"
#include "checkpoint/runfolder.h"

enum { vocab = 50, draws = 20000 };

// Frequencies of many draws against the probabilities that the options leave, within five standard
// deviations (and never what was cut off).
static void check_draws(double temperature, uint32_t top_k, double top_p) {
    struct dapt_candidate scratch[vocab];
    struct dapt_sampler sampler = {.temperature = temperature,
                                   .top_k = top_k,
                                   .top_p = top_p,
                                   .seed = 11,
                                   .candidates = scratch};
    float logits[vocab];
    double p[vocab], total = 0;
    int counts[vocab] = {0};
    for (int i = 0; i < vocab; i++) {
        logits[i] = (float)(3 * sin(i * 1.7));
        p[i] = exp((double)logits[i] / temperature);
        total += p[i];
    }
    double sum = 0, kept = 0;  // by falling probability, until top_k or top_p are reached
    bool taken[vocab] = {0};
    for (uint32_t n = 0; n < vocab && (top_k == 0 || n < top_k); n++) {
        int best = -1;
        for (int i = 0; i < vocab; i++) {
            if (!taken[i] && (best < 0 || p[i] > p[best])) best = i;
        }
        taken[best] = true;
        kept += p[best];
    }
    double limit = top_p > 0 && top_p < 1 ? top_p * kept : INFINITY;
    bool nucleus[vocab] = {0};
    kept = 0;
    while (sum < limit) {
        int best = -1;
        for (int i = 0; i < vocab; i++) {
            if (taken[i] && !nucleus[i] && (best < 0 || p[i] > p[best])) best = i;
        }
        if (best < 0) break;
        nucleus[best] = true;
        sum += p[best];
        kept += p[best];
    }
    for (uint64_t k = 0; k < draws; k++) counts[dapt_sample(&sampler, logits, vocab, k)]++;
    for (int i = 0; i < vocab; i++) {
        double expected = nucleus[i] ? p[i] / kept * draws : 0;
        if (!(fabs(counts[i] - expected) <= 5 * sqrt(expected) + (nucleus[i] ? 3 : 0))) {
            fail_msg("id %d: %d draws, expected %.1f (temperature %g, top_k %u, top_p %g)", i,
                     counts[i], expected, temperature, top_k, top_p);
        }
    }
    assert_true(total > 0);
}

static void test_draws(void **state) {
    (void)state;
    check_draws(1, 0, 0);
    check_draws(0.5, 0, 1);
    check_draws(2, 7, 0);
    check_draws(1, 1, 0);
    check_draws(1, 0, 0.6);
    check_draws(1.3, 20, 0.8);
    check_draws(1, 1000, 0.01);
}

static void test_greedy(void **state) {
    (void)state;
    struct dapt_sampler sampler = {0};
    float logits[] = {-INFINITY, 2, 5, 5, -1};
    assert_int_equal(dapt_sample(&sampler, logits, 5, 0), 2);  // the lower of equals
}

static void test_whole_characters(void **state) {
    (void)state;
    static const struct {
        const char *text;
        size_t whole;
    } cases[] = {
        {"", 0},
        {"a", 1},
        {"a\xc3", 1},
        {"a\xc3\xa9", 3},
        {"\xe2\x82", 0},
        {"\xe2\x82\xac", 3},
        {"x\xf0\x9f\x98", 1},
        {"x\xf0\x9f\x98\x80", 5},
        {"\x80\x80\x80\x80", 4},
        {"\xff", 1},
        {"a\x80", 2},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(dapt_whole_characters(cases[i].text, strlen(cases[i].text)),
                         cases[i].whole);
    }
}

static void test_names(void **state) {
    (void)state;
    char name[32];
    uint64_t step;
    dapt_run_folder_name(500, name);
    assert_string_equal(name, "step-000500");
    assert_true(dapt_run_folder_parse("step-12345678", &step) && step == 12345678);
    static const char *const bad[] = {"step-",
                                      "step-5",
                                      "step-0000500",
                                      "step-00050x",
                                      "step--00050",
                                      "damaged-step-000500",
                                      "step-000500/..",
                                      "step-99999999999999999999999",
                                      "",
                                      "../step-000500",
                                      "step-+00500",
                                      "step- 00500"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(dapt_run_folder_parse(bad[i], &step));
}

static cJSON *course_of(const char *members) {
    char text[512];
    snprintf(text, sizeof text, "{%s}", members);
    cJSON *course = cJSON_Parse(text);
    assert_non_null(course);
    return course;
}

static void test_course(void **state) {
    (void)state;
    static const struct {
        const char *then, *now, *part;
    } cases[] = {
        {"\"train\": {\"clip\": 1, \"batch\": 3}", "\"train\": {\"batch\": 3, \"clip\": 1}", NULL},
        {"\"train\": {\"clip\": 1}", "\"train\": {\"clip\": 2}",
         "train.clip is 2 now but was 1 when the checkpoint was written; that would alter the "
         "course of the run: set it back, or start another run folder"},
        {"\"train\": {\"optimizer\": {\"betas\": [0.1, 0.2]}}",
         "\"train\": {\"optimizer\": {\"betas\": [0.1, 0.3]}}",
         "train.optimizer.betas is [0.1,0.3] now but was [0.1,0.2]"},
        {"\"tokenizer\": {\"plugin\": \"x\", \"a\": 1}", "\"tokenizer\": {\"plugin\": \"x\"}",
         "tokenizer.a is not set now but was 1"},
        {"\"tokenizer\": {\"plugin\": \"x\"}", "\"tokenizer\": {\"plugin\": \"x\", \"a\": []}",
         "tokenizer.a is [] now but was not set"},
        {"\"model\": {\"random\": 1}", "\"model\": {\"random\": {}}", "model.random is {} now"},
        // What a resume may change, whatever it was.
        {"\"train\": {\"keep\": 1}, \"run\": 5", "\"train\": {\"keep\": 2}", NULL},
        // A key that is newer than the record counts as its default.
        {"", "\"train\": {\"clip\": 1.0, \"optimizer\": {\"betas\": [0.9, 0.95], \"eps\": 1e-8}}",
         NULL},
        {"", "\"train\": {\"schedule\": {\"plugin\": \"cosine\"}}", NULL},
        {"\"train\": {}", "\"train\": {\"clip\": 2}", "train.clip is 2 now but was 1 when"},
        {"", "\"data\": {\"packing\": \"concatenate\"}",
         "data.packing is \"concatenate\" now but was \"documents\""},
        {"", "\"train\": {\"objective\": {\"mask\": \"x\"}}",
         "train.objective.mask is \"x\" now but was not set"},
        // One that nobody knows may have meant anything, except those that never did.
        {"\"train\": {\"new\": {\"a\": [1]}}", "", "train.new.a is not set now but was [1]"},
        {"\"train\": 5", "", "train is not set now but was 5"},
        {"\"train\": {\"optimizer\": {\"kind\": \"adamw\"}}, \"backend\": {\"precision\": 0}", "",
         NULL},
        {"\"backend\": {\"precision\": \"f32\"}", "\"backend\": {\"precision\": \"float32\"}",
         NULL},
        {"\"backend\": {\"precision\": \"auto\"}", "\"backend\": {\"precision\": \"bfloat16\"}",
         "backend.precision is \"bfloat16\" now but was \"float32\""},
        {"\"backend\": {\"precision\": \"float16\"}", "\"backend\": {\"precision\": \"float32\"}",
         "backend.precision is \"float32\" now but was \"float16\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        cJSON *then = course_of(cases[i].then), *now = course_of(cases[i].now);
        enum dapt_status status = dapt_fingerprint_compare(then, now, NULL);
        if (!cases[i].part)
            assert_ok(status);
        else if (status != DAPT_ERROR_INVALID || !strstr(dapt_error(), cases[i].part))
            fail_msg("%s", dapt_error());
        cJSON_Delete(then);
        cJSON_Delete(now);
    }
    const char *const sets[] = {"train.epochs=2", NULL};
    dapt_log_level(DAPT_LOG_ERROR);
    assert_ok(dapt_fingerprint_steps(5, 5, NULL));
    assert_ok(dapt_fingerprint_steps(5, 6, sets));
    assert_int_equal(dapt_fingerprint_steps(5, 6, NULL), DAPT_ERROR_INVALID);
}

// The last two and the best stay; what a killed run left goes at the next start.
static void test_prune(void **state) {
    struct scratch *s;
    struct dapt_run_folder run;
    uint64_t *steps, best;
    size_t count;
    (void)state;
    assert_int_equal(scratch_setup((void **)&s), 0);
    char *path = in_scratch(s, "run");
    static const char *const left[] = {"run/checkpoints/.part-step-000006",
                                       "run/checkpoints/.gone-step-000001"};
    for (int i = 0; i < 2; i++) assert_ok(dapt_mkdirs(in_scratch(s, left[i])));
    static const char *const files[] = {"run/.latest.tmp-12-0", "run/.ledger.json.tmp-12-1"};
    for (int i = 0; i < 2; i++) assert_ok(dapt_file_write(in_scratch(s, files[i]), "x", 1));
    assert_int_equal(dapt_run_folder_marked(path, "best", &best), DAPT_END);
    assert_ok(dapt_run_folder_open(path, &run));
    for (int i = 0; i < 2; i++) assert_false(dapt_is_dir(in_scratch(s, left[i])));
    for (int i = 0; i < 2; i++) assert_false(dapt_is_file(in_scratch(s, files[i])));
    for (uint64_t step = 1; step <= 5; step++) {
        assert_ok(dapt_mkdirs(dapt_run_folder_checkpoint(&s->arena, &run, step)));
    }
    assert_ok(dapt_run_folder_mark(&run, "best", 2));
    assert_ok(dapt_checkpoint_prune(&run, 2));
    assert_ok(dapt_run_folder_steps(&run, &steps, &count));
    assert_int_equal(count, 3);
    assert_true(steps[0] == 2 && steps[1] == 4 && steps[2] == 5);
    free(steps);
    assert_ok(dapt_checkpoint_prune(&run, 0));  // never none at all
    assert_ok(dapt_run_folder_steps(&run, &steps, &count));
    assert_true(count == 2 && steps[0] == 2 && steps[1] == 5);
    free(steps);
    assert_ok(dapt_file_write(in_scratch(s, "run/best"), "../../x", 7));
    assert_int_equal(dapt_run_folder_marked(path, "best", &best), DAPT_ERROR_INVALID);
    dapt_run_folder_close(&run);
    assert_int_equal(scratch_teardown((void **)&s), 0);
}

static enum dapt_status ones(void *context, uint64_t offset, float *values, uint64_t count) {
    (void)context;
    (void)offset;
    for (uint64_t i = 0; i < count; i++) values[i] = 1;
    return DAPT_OK;
}

static void save_llama(struct scratch *s, int layers, const char *folder) {
    struct dapt_json *config;
    struct dapt_model *model;
    char *text = dapt_arena_format(
        &s->arena,
        "{\"model_type\": \"llama\", \"hidden_size\": 8, \"intermediate_size\": 16, "
        "\"num_hidden_layers\": %d, \"num_attention_heads\": 2, \"vocab_size\": 10}",
        layers);
    assert_ok(dapt_json_parse("test", text, strlen(text), &config));
    assert_ok(dapt_model_from_json(config, &model));
    assert_ok(dapt_mkdirs(in_scratch(s, folder)));
    assert_ok(dapt_model_save(model, in_scratch(s, folder), ones, NULL));
    dapt_model_close(&model);
}

// A model is written like the one in the folder that it came from, as that was when it was kept,
// whatever it holds by now.
static void test_changed_folder(void **state) {
    struct scratch *s;
    struct dapt_model *model;
    (void)state;
    assert_int_equal(scratch_setup((void **)&s), 0);
    save_llama(s, 2, "two");
    save_llama(s, 1, "one");
    save_llama(s, 3, "three");
    static const char *const files[] = {"config.json", "model.safetensors", "vocab.txt"};
    assert_ok(dapt_file_write(in_scratch(s, "two/vocab.txt"), "", 0));
    assert_ok(dapt_mkdirs(in_scratch(s, "kept")));
    for (size_t i = 0; i < 3; i++) {
        assert_ok(dapt_copy_file(in_scratch(s, dapt_arena_format(&s->arena, "two/%s", files[i])),
                                 in_scratch(s, dapt_arena_format(&s->arena, "kept/%s", files[i]))));
    }
    assert_ok(dapt_model_open(in_scratch(s, "two"), &model));
    assert_int_equal(dapt_model_save(model, in_scratch(s, "out"), ones, NULL), DAPT_ERROR_INTERNAL);
    assert_ok(dapt_model_keep(model, NULL, DAPT_SAVE_MODEL));
    static const char *const others[] = {"one", "three", NULL};
    for (size_t i = 0; i < 3; i++) {
        char *out = dapt_arena_format(&s->arena, "out%zu", i);
        assert_ok(dapt_mkdirs(in_scratch(s, out)));
        assert_ok(dapt_model_save(model, in_scratch(s, out), ones, NULL));
        for (size_t k = 0; k < 3; k++)
            assert_true(
                same_file(in_scratch(s, dapt_arena_format(&s->arena, "%s/%s", out, files[k])),
                          in_scratch(s, dapt_arena_format(&s->arena, "kept/%s", files[k]))));
        assert_false(
            dapt_is_file(in_scratch(s, dapt_arena_format(&s->arena, "%s/vocab.json", out))));
        for (size_t k = 0; others[i] && k < 2; k++)
            assert_ok(dapt_copy_file(
                in_scratch(s, dapt_arena_format(&s->arena, "%s/%s", others[i], files[k])),
                in_scratch(s, dapt_arena_format(&s->arena, "two/%s", files[k]))));
        if (i == 1) assert_ok(dapt_remove_tree(in_scratch(s, "two")));
    }
    // What is kept is looked at: a folder that lacks a tensor, or holds a strange one.
    static const char *const parts[] = {"model.layers.1.", "model.layers.2."};
    for (size_t i = 0; i < 2; i++) {
        assert_ok(dapt_copy_file(
            in_scratch(s, dapt_arena_format(&s->arena, "%s/model.safetensors", others[i])),
            in_scratch(s, "kept/model.safetensors")));
        struct dapt_model *wrong;
        assert_ok(dapt_model_open(in_scratch(s, "kept"), &wrong));
        assert_int_equal(dapt_model_keep(wrong, NULL, DAPT_SAVE_MODEL), DAPT_ERROR_INVALID);
        assert_non_null(strstr(dapt_error(), parts[i]));
        dapt_model_close(&wrong);
    }
    dapt_model_close(&model);
    assert_int_equal(scratch_teardown((void **)&s), 0);
}

static enum dapt_status copy_tensor(void *context, size_t index, uint64_t begin, uint64_t size,
                                    void *bytes) {
    const struct dapt_file_tensor *t = dapt_safetensors_at(context, index);
    memcpy(bytes, (const char *)t->data + begin, size);
    return DAPT_OK;
}

// Shards come back as they were, though the second tensor would fit into the first file.
static void test_shards(void **state) {
    struct scratch *s;
    struct dapt_model *model;
    struct dapt_safetensors *file;
    struct dapt_file_entry entries[64] = {0};
    (void)state;
    assert_int_equal(scratch_setup((void **)&s), 0);
    save_llama(s, 2, "whole");
    assert_ok(dapt_safetensors_open(in_scratch(s, "whole"), &file));
    size_t count = dapt_safetensors_count(file);
    assert_true(count > 4 && count <= 64);
    for (size_t i = 0; i < count; i++) {
        const struct dapt_file_tensor *t = dapt_safetensors_at(file, i);
        entries[i] = (struct dapt_file_entry){
            .name = t->name, .dtype = t->dtype, .rank = t->rank, .new_file = i == 1 || i == 4};
        memcpy(entries[i].shape, t->shape, sizeof t->shape);
    }
    assert_ok(dapt_mkdirs(in_scratch(s, "cut")));
    assert_ok(dapt_safetensors_write(in_scratch(s, "cut"), "model", entries, count, NULL, 0,
                                     copy_tensor, file));
    dapt_safetensors_close(&file);
    assert_ok(dapt_copy_file(in_scratch(s, "whole/config.json"), in_scratch(s, "cut/config.json")));
    assert_ok(dapt_model_open(in_scratch(s, "cut"), &model));
    assert_ok(dapt_model_keep(model, NULL, DAPT_SAVE_MODEL));
    assert_ok(dapt_mkdirs(in_scratch(s, "out")));
    assert_ok(dapt_model_save(model, in_scratch(s, "out"), ones, NULL));
    assert_true(dapt_is_file(in_scratch(s, "out/model-00003-of-00003.safetensors")));
    assert_true(same_file(in_scratch(s, "cut/model.safetensors.index.json"),
                          in_scratch(s, "out/model.safetensors.index.json")));
    dapt_model_close(&model);
    assert_int_equal(scratch_teardown((void **)&s), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_draws),
        cmocka_unit_test(test_greedy),
        cmocka_unit_test(test_whole_characters),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_course),
        cmocka_unit_test(test_prune),
        cmocka_unit_test(test_changed_folder),
        cmocka_unit_test(test_shards),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
