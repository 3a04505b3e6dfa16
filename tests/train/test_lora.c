// Runs that train adapters of low rank over a frozen model: train.lora.
#include <math.h>
#include <signal.h>

#include "command.h"
#include "format/safetensors.h"

#define ON_BASE(more) \
    "{\"model\": \"base\", \"train\": {\"lora\": {\"rank\": 4, \"alpha\": 8" more "}}}"

static char *base_folder(struct scratch *s) {
    return in_scratch(s, "base");
}

// A base of a few steps, so that its evaluation is not that of noise.
static int setup(void **state) {
    struct outcome o;
    if (scratch_setup(state)) return -1;
    struct scratch *s = *state;
    write_config(s, "first", "{\"train\": {\"steps\": 8}}");
    run_dapt(s, &o, "train", s->config, NULL);
    expect(&o, 0, NULL);
    assert_ok(dapt_rename(latest_checkpoint(s, "first"), base_folder(s)));
    return 0;
}

static char *file_of(struct scratch *s, const char *run, const char *name) {
    return dapt_path_join(&s->arena, latest_checkpoint(s, run), name);
}

// nats/token on the held-out text.
static double score(struct scratch *s, const char *model, const char *base) {
    struct outcome o;
    const char *set = dapt_arena_format(&s->arena, "held=%s", s->held);
    run_dapt(s, &o, "eval", in_scratch(s, model), "--json", "--sequence", "32", "--tokenizer",
             "bytes", "--data", set, base ? "--base" : NULL, base, NULL);
    expect(&o, 0, NULL);
    cJSON *json = cJSON_Parse(o.out);
    const cJSON *first = cJSON_GetObjectItem(cJSON_GetObjectItem(json, "sets"), "held");
    if (!first) fail_msg("no evaluation in %s", o.out);
    double nats = cJSON_GetObjectItem(first, "nats_per_token")->valuedouble;
    cJSON_Delete(json);
    return nats;
}

static void test_resumed(void **state) {
    struct scratch *s = *state;
    check_resume(s, "plain", ON_BASE(""));
    assert_false(dapt_is_file(file_of(s, "plain", "model.safetensors")));
    assert_false(dapt_is_file(file_of(s, "plain", "config.json")));
    struct dapt_safetensors *file;
    assert_ok(dapt_safetensors_open(file_of(s, "plain", "state.safetensors"), &file));
    // 2 layers of q, k, v, o, gate, up, down: rank 4 times rows and columns
    uint64_t wanted = 2 * 4 * (32 + 32 + 2 * (32 + 16) + 32 + 32 + 3 * (32 + 64));
    assert_int_equal(dapt_safetensors_find(file, "moment1")->count, wanted);
    assert_null(dapt_safetensors_find(file, "parameters"));
    dapt_safetensors_close(&file);
    cJSON *metrics = read_metrics(s, "plain");
    assert_int_equal(
        cJSON_GetObjectItem(cJSON_GetArrayItem(metrics, 0), "trained_parameters")->valuedouble,
        wanted);
    cJSON_Delete(metrics);
}

static void test_embeddings_and_types(void **state) {
    struct scratch *s = *state;
    check_resume(s, "embed",
                 "{\"model\": \"base\", \"checkpoint\": {\"dtype\": \"bfloat16\"}, \"train\": "
                 "{\"freeze\": [\"layers.0\"], \"lora\": {\"rslora\": true, \"embeddings\": 0.1, "
                 "\"targets\": [\"q_proj\", \"layers.*.mlp\"]}}}");
    struct dapt_safetensors *file;
    assert_ok(dapt_safetensors_open(file_of(s, "embed", "adapter_model.safetensors"), &file));
    assert_int_equal(dapt_safetensors_count(file), 2 * 4 * 2 + 2);  // tied: under both names
    assert_non_null(dapt_safetensors_find(file, "base_model.model.model.embed_tokens.weight"));
    assert_non_null(dapt_safetensors_find(file, "base_model.model.lm_head.weight"));
    dapt_safetensors_close(&file);
}

// Killed at some moments, resumed each time: the same end as a run that was not.
static void check_killed(struct scratch *s, const char *name, const char *more, const char *like) {
    struct outcome o;
    write_config(s, name, more);
    for (int i = 0; i < 5; i++)
        finish_dapt(s, start_dapt(s, "train", s->config, "--resume", NULL), 0.05 + 0.04 * i,
                    SIGKILL, &o);
    run_dapt(s, &o, "train", s->config, "--resume", NULL);
    expect(&o, 0, NULL);
    check_same_end(s, name, like);
}

static void test_killed(void **state) {
    check_killed(*state, "killed", ON_BASE(""), "plain");
}

#define DROPPED ", \"dropout\": 0.3"

static bool same_adapters(struct scratch *s, const char *a, const char *b) {
    return same_file(file_of(s, a, "adapter_model.safetensors"),
                     file_of(s, b, "adapter_model.safetensors"));
}

static void train(struct scratch *s, const char *name, const char *more, const char *set) {
    struct outcome o;
    write_config(s, name, more);
    run_dapt(s, &o, "train", s->config, "--set", set, NULL);
    expect(&o, 0, NULL);
}

// Of the first step: at first B is 0, and what dropout changes is the gradients alone.
static double first_norm(struct scratch *s, const char *run) {
    cJSON *metrics = read_metrics(s, run);
    const cJSON *event = NULL, *norm = NULL;
    cJSON_ArrayForEach(event, metrics) {
        const char *name = cJSON_GetObjectItem(event, "event")->valuestring;
        if (!norm && strcmp(name, "step") == 0) norm = cJSON_GetObjectItem(event, "norm");
    }
    if (!norm) fail_msg("%s: no step with a norm", run);
    double value = norm->valuedouble;
    cJSON_Delete(metrics);
    return value;
}

// What is dropped is a function of seed, step, and place in the step's batch: not of where a run
// stopped, what is computed again, or how the batch is divided.
static void test_dropout(void **state) {
    struct scratch *s = *state;
    check_resume(s, "dropped", ON_BASE(DROPPED));
    assert_false(same_adapters(s, "dropped", "plain"));
    check_killed(s, "dropped-killed", ON_BASE(DROPPED), "dropped");
    train(s, "dropped-again", ON_BASE(DROPPED), "train.recompute=block");
    assert_true(same_adapters(s, "dropped", "dropped-again"));
    train(s, "dropped-singly", ON_BASE(DROPPED), "train.micro_batch=1");
    double whole = first_norm(s, "dropped"), singly = first_norm(s, "dropped-singly");
    assert_true(fabs(whole - singly) < 1e-5 * whole);
    assert_true(fabs(whole - first_norm(s, "plain")) > 1e-3 * whole);
    train(s, "none-dropped", ON_BASE(", \"dropout\": 0"), "train.recompute=none");
    check_same_end(s, "none-dropped", "plain");
    // peft reads how much it was; an evaluation drops nothing.
    struct dapt_string config = {0};
    assert_ok(dapt_file_read(file_of(s, "dropped", "adapter_config.json"), 1 << 20, &config));
    assert_non_null(strstr(config.data, "\"lora_dropout\": 0.3,"));
    dapt_string_free(&config);
    double once = score(s, "dropped", NULL);
    assert_true(once == score(s, "dropped", NULL) && once < score(s, "base", NULL) - 0.001);
}

// The last evaluation of a run, in nats/token.
static double last_nats(struct scratch *s, const char *run) {
    cJSON *metrics = read_metrics(s, run);
    const cJSON *event = NULL;
    double nats = NAN;
    cJSON_ArrayForEach(event, metrics) {
        if (strcmp(cJSON_GetObjectItem(event, "event")->valuestring, "evaluation") == 0)
            nats = figure(event, "nats_per_token");
    }
    cJSON_Delete(metrics);
    return nats;
}

// A base in fewer bits: what it is rounded to follows from its folder, and adapters make up for it.
// What reads them afterwards has the base as it is.
static void test_base(void **state) {
    static const struct {
        const char *type;
        double off;  // what rounding may change, in nats/token
        const char *told;
    } types[] = {
        {"bfloat16", 2e-4, "base            bf16: 18,432 numbers of its matrices in 36.0 KiB"},
        {"int8", 2e-4, "base            int8: 18,432 numbers of its matrices in 19.1 KiB"},
        {"nf4", 5e-3, "base            nf4: 18,432 numbers of its matrices in 10.1 KiB"}};
    struct scratch *s = *state;
    struct outcome o;
    double plain = last_nats(s, "plain");
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        const char *more = dapt_arena_format(&s->arena, ON_BASE(", \"base\": \"%s\""),
                                             types[i].type);
        check_resume(s, types[i].type, more);
        assert_false(same_adapters(s, types[i].type, "plain"));
        run_dapt(s, &o, "plan", s->config, NULL);
        expect(&o, 0, NULL);
        assert_non_null(strstr(o.out, "trained         tensors (parameters): adapters alone; "));
        assert_non_null(strstr(o.out, types[i].told));
        double inside = last_nats(s, types[i].type), outside = score(s, types[i].type, NULL);
        assert_true(inside != outside && fabs(inside - outside) < types[i].off);
        assert_true(fabs(inside - plain) < types[i].off);
    }
}

static void test_merged(void **state) {
    struct scratch *s = *state;
    static const char *const runs[] = {"plain", "embed"};
    struct outcome o;
    double base = score(s, "base", NULL);
    for (int i = 0; i < 2; i++) {
        char *folder = dapt_arena_format(&s->arena, "merged-%s", runs[i]);
        run_dapt(s, &o, "merge", in_scratch(s, runs[i]), in_scratch(s, folder), NULL);
        expect(&o, 0, NULL);
        double adapted = score(s, runs[i], NULL), merged = score(s, folder, NULL);
        if (!(adapted < base - 0.001)) fail_msg("%s: %.6f, its base %.6f", runs[i], adapted, base);
        if (!(fabs(merged - adapted) < 1e-4))
            fail_msg("%s: %.6f as adapters, %.6f merged", runs[i], adapted, merged);
    }
    run_dapt(s, &o, "merge", in_scratch(s, "plain"), in_scratch(s, "merged-plain"), NULL);
    expect(&o, 1, "is there already");
    run_dapt(s, &o, "merge", base_folder(s), in_scratch(s, "other"), NULL);
    expect(&o, 1, "holds no adapters");
    run_dapt(s, &o, "merge", in_scratch(s, "plain"), in_scratch(s, "half"), "--dtype", "bfloat16",
             NULL);
    expect(&o, 0, NULL);
    assert_true(fabs(score(s, "half", NULL) - score(s, "plain", NULL)) < 0.02);
}

// A folder of adapters is where a run may begin; its base may have moved.
static void test_continued(void **state) {
    struct scratch *s = *state;
    struct outcome o;
    char *adapters = file_of(s, "plain", ".");
    const char *more = dapt_arena_format(&s->arena, "{\"model\": \"%s\"}", adapters);
    check_resume(s, "further", more);
    assert_true(score(s, "further", NULL) < score(s, "plain", NULL));
    write_config(s, "deeper", more);
    run_dapt(s, &o, "train", s->config, "--set", "train.lora.rank=2", NULL);
    expect(&o, 1, "train.lora: the adapters of ");
    assert_ok(dapt_rename(base_folder(s), in_scratch(s, "moved")));
    run_dapt(s, &o, "eval", in_scratch(s, "plain"), "--data", "a=b", NULL);
    expect(&o, 1, "is no folder here: say where the base model lies by --base");
    score(s, "plain", in_scratch(s, "moved"));
    write_config(s, "elsewhere", more);
    run_dapt(s, &o, "train", s->config, "--set", "base=moved", NULL);
    expect(&o, 0, NULL);
    assert_ok(dapt_rename(in_scratch(s, "moved"), base_folder(s)));
}

static void test_another_base(void **state) {
    struct scratch *s = *state;
    struct outcome o;
    write_config(s, "second", "{\"train\": {\"steps\": 4, \"seed\": 8}}");
    run_dapt(s, &o, "train", s->config, NULL);
    expect(&o, 0, NULL);
    const char *other = latest_checkpoint(s, "second");
    write_config(s, "plain", ON_BASE(""));
    run_dapt(s, &o, "train", s->config, "--resume", "--set",
             dapt_arena_format(&s->arena, "model=%s", other), NULL);
    expect(&o, 1, "is not the base that the run's adapters were trained on");
    const char *set = dapt_arena_format(&s->arena, "held=%s", s->held);
    run_dapt(s, &o, "eval", in_scratch(s, "plain"), "--base", other, "--data", set, NULL);
    expect(&o, 1, "is not the base that these adapters were trained on");
}

static void test_refused(void **state) {
    static const struct refusal cases[] = {
        {ON_BASE(", \"targets\": [\"query\"]"),
         "train.lora.targets: \"query\" matches no matrix of the layers of this llama model; there "
         "are layers.0-1: attention.q"},
        {ON_BASE(", \"targets\": [\"embed\"]"), "\"embed\" matches no matrix of the layers"},
        {ON_BASE(", \"targets\": []"), "train.lora.targets: expected \"all-linear\" or an array"},
        {ON_BASE(", \"dropout\": 1"), "train.lora.dropout: expected a share from 0 to 0.99, got 1"},
        {ON_BASE(", \"dropout\": true"), "train.lora.dropout: expected a number"},
        {ON_BASE(", \"base\": \"fp4\""),
         "train.lora.base: expected \"float32\", \"bfloat16\", \"int8\" or \"nf4\", got \"fp4\""},
        {ON_BASE(", \"embeddings\": true"), "train.lora.embeddings: expected false, or a factor"},
        {ON_BASE(", \"lora_alpha\": 1"),
         "train.lora.lora_alpha: unknown key, did you mean \"train.lora.alpha\"?"},
        {"{\"train\": {\"lora\": {}}}", "train.lora: \"model\" is of new weights"},
        {"{\"model\": \"base\", \"train\": {\"lora\": {}, \"freeze\": [\"*\"]}}",
         "all parameters are frozen"},
        {"{\"model\": \"base\", \"train\": {\"lora\": true}}", "train.lora: expected an object"},
    };
    expect_refusals(*state, cases, sizeof cases / sizeof *cases);
}

// What peft's adapter_config.json may say that would change the result.
static void test_foreign(void **state) {
    struct scratch *s = *state;
    struct outcome o;
    static const struct {
        const char *member, *line;
    } cases[] = {
        {"\"use_dora\": true", "use_dora: changes what is computed and is not built"},
        {"\"lora_bias\": true", "lora_bias: changes what is computed"},
        {"\"rank_pattern\": {\"q_proj\": 2}", "rank_pattern: changes what is computed"},
        {"\"bias\": \"all\"", "bias: is \"all\", expected \"none\""},
        {"\"peft_type\": \"IA3\"", "peft_type: is \"IA3\", expected \"LORA\""},
        {"\"fan_in_fan_out\": true", "fan_in_fan_out: is true, but"},
        {"\"init_lora_weights\": \"pissa\"", "changes the weights of the base"},
        {"\"r\": 5", "has shape [4, 32]"},
    };
    char *folder = in_scratch(s, "foreign");
    char *file = dapt_path_join(&s->arena, folder, "adapter_model.safetensors");
    assert_ok(dapt_mkdirs(folder));
    assert_ok(dapt_copy_file(file_of(s, "plain", "adapter_model.safetensors"), file));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct dapt_string text = {0};
        assert_ok(dapt_string_format(&text,
                                     "{\"base_model_name_or_path\": \"../base\", %s%s, "
                                     "\"lora_alpha\": 8, \"use_qalora\": false}",
                                     cases[i].member,
                                     strstr(cases[i].member, "\"r\"") ? "" : ", \"r\": 4"));
        assert_ok(dapt_file_write(dapt_path_join(&s->arena, folder, "adapter_config.json"),
                                  text.data, text.length));
        dapt_string_free(&text);
        run_dapt(s, &o, "eval", folder, "--tokenizer", "bytes", "--data",
                 dapt_arena_format(&s->arena, "held=%s", s->held), NULL);
        expect(&o, 1, cases[i].line);
    }
    static const char plain[] =
        "{\"base_model_name_or_path\": \"../base\", \"r\": 4, "
        "\"lora_alpha\": 8, \"target_modules\": \"all-linear\"}";
    assert_ok(dapt_file_write(dapt_path_join(&s->arena, folder, "adapter_config.json"), plain,
                              strlen(plain)));
    assert_true(fabs(score(s, "foreign", NULL) - score(s, "plain", NULL)) < 1e-6);
    assert_ok(dapt_file_write(file, "damaged", 7));
    run_dapt(s, &o, "eval", folder, "--tokenizer", "bytes", "--data", "a=b", NULL);
    expect(&o, 1, "adapter_model.safetensors");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_resumed),   cmocka_unit_test(test_embeddings_and_types),
        cmocka_unit_test(test_killed),    cmocka_unit_test(test_dropout),
        cmocka_unit_test(test_base),      cmocka_unit_test(test_merged),
        cmocka_unit_test(test_continued), cmocka_unit_test(test_another_base),
        cmocka_unit_test(test_refused),   cmocka_unit_test(test_foreign),
    };
    return cmocka_run_group_tests(tests, setup, scratch_teardown);
}
