// Training from the command line: it learns, it tells the truth, it survives what goes wrong.
#include <math.h>
#include <unistd.h>

#include "command.h"
#include "format/safetensors.h"

static double number(const cJSON *object, const char *key) {
    const cJSON *item = cJSON_GetObjectItem(object, key);
    return cJSON_IsNumber(item) ? item->valuedouble : NAN;
}

static const cJSON *nth_event(const cJSON *metrics, const char *event, size_t n) {
    const cJSON *item;
    cJSON_ArrayForEach(item, metrics) {
        if (strcmp(cJSON_GetObjectItem(item, "event")->valuestring, event) == 0 && n-- == 0)
            return item;
    }
    fail_msg("metrics.jsonl: too few events \"%s\"", event);
    return NULL;
}

static void assert_keys(const cJSON *object, const char *keys) {
    char text[512] = "";
    const cJSON *item;
    cJSON_ArrayForEach(item, object) {
        size_t length = strlen(text);
        snprintf(text + length, sizeof text - length, "%s%s", length ? " " : "", item->string);
    }
    assert_string_equal(text, keys);
}

// The grammar of the corpus is learnt; every event is there, with its numbers.
static void test_learns(void **state) {
    struct scratch *s = *state;
    struct outcome o;
    write_config(s, "learn",
                 "{\"train\": {\"steps\": 200, \"evaluate_every\": 50, \"checkpoint_every\": 50}}");
    run_dapt(s, &o, "train", s->config, NULL);
    expect(&o, 0, NULL);
    cJSON *metrics = read_metrics(s, "learn");
    assert_int_equal(count_events(metrics, "start"), 1);
    assert_int_equal(count_events(metrics, "step"), 200);
    assert_int_equal(count_events(metrics, "evaluation"), 5);
    assert_int_equal(count_events(metrics, "checkpoint"), 4);
    assert_int_equal(count_events(metrics, "end"), 1);
    assert_int_equal(count_events(metrics, "skip"), 0);
    const cJSON *before = nth_event(metrics, "evaluation", 0),
                *after = nth_event(metrics, "evaluation", 4);
    assert_true(fabs(number(before, "nats_per_token") - log(258)) <
                0.3);  // new weights know nothing
    // Each word leaves three continuations, log(3) nats on some five letters: what is learnt of it
    // lies far below.
    if (!(number(after, "nats_per_token") < 1.5 &&
          number(nth_event(metrics, "step", 199), "loss") < 1.5)) {
        fail_msg("%g nats/token after training on a simple grammar",
                 number(after, "nats_per_token"));
    }
    // bits/byte as documented: nats per scored token * tokens / bytes / ln 2
    double bits = number(after, "nats_per_token") * number(after, "tokens") /
                  number(after, "bytes") / log(2);
    assert_true(fabs(number(after, "bits_per_byte") - bits) < 1e-9);
    assert_true(fabs(number(after, "perplexity") - exp(number(after, "nats_per_token"))) < 1e-9);
    double change = number(after, "bits_per_byte") - number(before, "bits_per_byte");
    assert_true(fabs(number(after, "bits_per_byte_change") - change) < 1e-9);
    assert_keys(
        nth_event(metrics, "start", 0),
        "event time step version backend device threads precision family objective parameters "
        "trained_parameters memory steps tokens_per_step config data corpora");
    assert_keys(nth_event(metrics, "step", 0),
                "event time step loss norm learning_rate weight_decay scored seconds since_start");
    assert_keys(nth_event(metrics, "step", 1),
                "event time step loss norm learning_rate weight_decay scored seconds");
    assert_keys(nth_event(metrics, "end", 0),
                "event time step updates skipped tokens best train_seconds tokens_per_second "
                "seconds passes");
    const cJSON *corpora = cJSON_GetObjectItem(nth_event(metrics, "start", 0), "corpora");
    assert_keys(cJSON_GetObjectItem(corpora, "domain"),
                "files documents bytes skipped tokens sequences cut padded split cached seconds");
    assert_true(number(cJSON_GetObjectItem(corpora, "domain"), "documents") == 200);
    assert_true(number(cJSON_GetObjectItem(corpora, "eval held"), "documents") == 20);
    cJSON_Delete(metrics);
    assert_non_null(strstr(o.out, "all trained"));
    assert_non_null(strstr(o.out, "change"));
    assert_true(dapt_is_file(in_scratch(s, "learn/config.json")) &&
                dapt_is_file(in_scratch(s, "learn/best")));
    // Two are kept, and the best of all, which here is among them.
    assert_false(dapt_is_dir(in_scratch(s, "learn/checkpoints/step-000100")));
    assert_true(dapt_is_dir(in_scratch(s, "learn/checkpoints/step-000150")));
    assert_true(dapt_is_dir(in_scratch(s, "learn/checkpoints/step-000200")));
}

// The resolved configuration of a run, read again, gives the same run.
static void test_resolved_config(void **state) {
    struct scratch *s = *state;
    struct outcome o;
    write_config(s, "first", NULL);
    run_dapt(s, &o, "train", s->config, NULL);
    expect(&o, 0, NULL);
    char *set = dapt_arena_format(&s->arena, "run=%s", in_scratch(s, "second"));
    run_dapt(s, &o, "train", in_scratch(s, "first/config.json"), "--set", set, NULL);
    expect(&o, 0, NULL);
    assert_true(
        same_file(dapt_path_join(&s->arena, latest_checkpoint(s, "first"), "state.safetensors"),
                  dapt_path_join(&s->arena, latest_checkpoint(s, "second"), "state.safetensors")));
}

// The options of plugins stand in it with their defaults, and decide the course as if given.
static void test_plugin_defaults(void **state) {
    struct scratch *s = *state;
    struct outcome o;
    struct dapt_string text;
    char *more = dapt_arena_format(
        &s->arena, "{\"data\": {\"domain\": {\"path\": \"%s\", \"source\": \"jsonl\"}}}", s->data);
    write_config(s, "defaults", more);
    run_dapt(s, &o, "train", s->config, NULL);
    expect(&o, 0, NULL);
    assert_ok(dapt_file_read(in_scratch(s, "defaults/config.json"), 1 << 20, &text));
    cJSON *config = cJSON_Parse(text.data);
    const cJSON *schedule = cJSON_GetObjectItem(cJSON_GetObjectItem(config, "train"), "schedule");
    assert_true(number(schedule, "peak") == 0.01);
    assert_true(number(schedule, "floor") == 0.1);
    assert_true(number(schedule, "start") == 0);
    const cJSON *entry = cJSON_GetArrayItem(
        cJSON_GetObjectItem(cJSON_GetObjectItem(config, "data"), "domain"), 0);
    assert_string_equal(cJSON_GetObjectItem(entry, "field")->valuestring, "text");
    cJSON_Delete(config);
    dapt_string_free(&text);
    run_dapt(s, &o, "train", in_scratch(s, "defaults/config.json"), "--resume", NULL);
    expect(&o, 0, NULL);
    write_config(s, "defaults", "{\"train\": {\"schedule\": {\"floor\": 0.1, \"start\": 0}}}");
    run_dapt(s, &o, "train", s->config, "--resume", NULL);
    expect(&o, 0, NULL);
    write_config(s, "defaults", "{\"train\": {\"schedule\": {\"floor\": 0.2}}}");
    run_dapt(s, &o, "train", s->config, "--resume", NULL);
    expect(&o, 1, "train.schedule.floor is 0.2 now but was 0.1");
}

// The folder that the model came from goes while it is trained: checkpoints are none the worse.
static void test_model_goes(void **state) {
    struct scratch *s = *state;
    struct outcome o;
    static const char *const files[] = {"config.json", "model.safetensors", "tokenizer.json"};
    char *base = in_scratch(s, "base"), *checkpoint = latest_checkpoint(s, "first");
    static const char more[] =
        "{\"model\": \"base\", \"data\": {\"eval\": null}, \"train\": {\"steps\": 400, "
        "\"checkpoint_every\": 0}}";
    assert_ok(dapt_mkdirs(base));
    for (size_t i = 0; i < 2; i++)
        assert_ok(dapt_copy_file(dapt_path_join(&s->arena, checkpoint, files[i]),
                                 dapt_path_join(&s->arena, base, files[i])));
    assert_ok(dapt_file_write(in_scratch(s, "base/tokenizer.json"), "{}", 2));
    write_config(s, "stays", more);
    run_dapt(s, &o, "train", s->config, NULL);
    expect(&o, 0, NULL);
    write_config(s, "goes", more);
    pid_t child = start_dapt(s, "train", s->config, NULL);
    char *metrics = in_scratch(s, "goes/metrics.jsonl");
    for (int i = 0; i < 100000 && !dapt_is_file(metrics); i++) usleep(500);
    assert_ok(dapt_remove_tree(base));
    finish_dapt(s, child, 0, 0, &o);
    expect(&o, 0, NULL);
    for (size_t i = 0; i < 3; i++)
        assert_true(same_file(dapt_path_join(&s->arena, latest_checkpoint(s, "stays"), files[i]),
                              dapt_path_join(&s->arena, latest_checkpoint(s, "goes"), files[i])));
}

// A checkpoint and a run are models: eval gives what training gave, generate and tokenize know the
// tokenizer.
static void test_commands_on_a_run(void **state) {
    struct scratch *s = *state;
    struct outcome o;
    char *run = in_scratch(s, "learn");
    cJSON *metrics = read_metrics(s, "learn");
    double trained = number(nth_event(metrics, "evaluation", 4), "nats_per_token");
    cJSON_Delete(metrics);
    char *data = dapt_arena_format(&s->arena, "held=%s", s->held);
    run_dapt(s, &o, "eval", run, "--json", "--data", data, "--cache", in_scratch(s, "cache"),
             "--batch", "4", NULL);
    expect(&o, 0, NULL);
    cJSON *result = cJSON_Parse(o.out);
    double evaluated = number(cJSON_GetObjectItem(cJSON_GetObjectItem(result, "sets"), "held"),
                              "nats_per_token");
    assert_true(fabs(evaluated - trained) < 1e-9);
    cJSON_Delete(result);

    struct outcome a, b, c;
    run_dapt(s, &a, "generate", run, "--prompt", "the bone", "--max-tokens", "40", "--temperature",
             "0.8", "--seed", "5", NULL);
    run_dapt(s, &b, "generate", run, "--prompt", "the bone", "--max-tokens", "40", "--temperature",
             "0.8", "--seed", "5", NULL);
    run_dapt(s, &c, "generate", run, "--prompt", "the bone", "--max-tokens", "40", "--temperature",
             "0.8", "--seed", "6", NULL);
    expect(&a, 0, NULL);
    assert_string_equal(a.out, b.out);
    assert_string_not_equal(a.out, c.out);
    assert_int_equal(strncmp(a.out, "the bone", 8), 0);
    assert_true(strlen(a.out) > 8 + 10);
    run_dapt(s, &o, "generate", run, "--prompt", "the bone", "--max-tokens", "60", NULL);
    expect(&o, 0, "dapt: stopped after 56 tokens: the model has 64 positions, prompt included\n");
    run_dapt(s, &o, "generate", run, "--prompt", "the bone", "--max-tokens", "56", NULL);
    expect(&o, 0, NULL);
    assert_null(strstr(o.err, "stopped after"));  // all that were asked for
    static const char bad[] = "{\"text\": \"a\"}\n{\"text\":";
    assert_ok(dapt_file_write(in_scratch(s, "bad.jsonl"), bad, strlen(bad)));
    run_dapt(s, &o, "eval", run, "--data", in_scratch(s, "bad.jsonl"), NULL);
    expect(&o, 1, "bad.jsonl:2: ");
    assert_null(strstr(o.err, "skip_errors"));  // a key of configurations

    assert_ok(dapt_file_write(in_scratch(s, "abc"), "a\xc3\xa9\n", 4));
    run_dapt(s, &o, "tokenize", latest_checkpoint(s, "learn"), in_scratch(s, "abc"), NULL);
    expect(&o, 0, NULL);
    assert_string_equal(o.out, "97 195 169 10\n");
}

// A checkpoint whose files are not those that were written is not used, but for the optimizer's
// state, which no command needs; without run.json it is a folder like any other.
static void test_checked(void **state) {
    struct scratch *s = *state;
    struct outcome o;
    char *folder = in_scratch(s, "checked"), *from = latest_checkpoint(s, "first");
    static const char *const files[] = {"run.json", "config.json", "model.safetensors"};
    char *data = dapt_arena_format(&s->arena, "held=%s", s->held);
    assert_ok(dapt_mkdirs(folder));
    for (size_t i = 0; i < 3; i++)
        assert_ok(dapt_copy_file(dapt_path_join(&s->arena, from, files[i]),
                                 dapt_path_join(&s->arena, folder, files[i])));
    for (int round = 0; round < 4; round++) {  // 0, 3: as they were, no record; 1, 2: damaged
        char *path = dapt_path_join(&s->arena, folder, files[round < 3 ? round : 0]);
        struct dapt_string text;
        assert_ok(dapt_file_read(path, 16 << 20, &text));
        // A digit of a number in config.json; the last weight.
        char *place = round == 1 ? strstr(text.data, "32") + 1 : text.data + text.length - 3;
        if (round == 1 || round == 2) *place ^= 1;
        if (round < 3)
            assert_ok(dapt_file_write(path, text.data, text.length));
        else
            assert_int_equal(unlink(path), 0);
        char *line = dapt_arena_format(&s->arena, "dapt: %s: is damaged", path);
        bool damaged = round == 1 || round == 2;
        run_dapt(s, &o, "eval", folder, "--tokenizer", "bytes", "--data", data, NULL);
        expect(&o, damaged, damaged ? line : NULL);
        run_dapt(s, &o, "generate", folder, "--tokenizer", "bytes", "--prompt", "the", NULL);
        expect(&o, damaged, damaged ? line : NULL);
        run_dapt(s, &o, "tokenize", folder, s->config, "--tokenizer", "bytes", NULL);
        expect(&o, round == 1, round == 1 ? line : NULL);  // it needs no weights
        write_config(
            s, "from",
            dapt_arena_format(&s->arena, "{\"model\": \"%s\", \"train\": {\"steps\": 1}}", folder));
        run_dapt(s, &o, "train", s->config, NULL);
        expect(&o, damaged, damaged ? line : NULL);
        if (!damaged) assert_non_null(strstr(o.out, "1 step of 128 tokens"));
        if (!damaged) assert_null(strstr(o.out, " left"));
        assert_ok(dapt_remove_tree(in_scratch(s, "from")));
        if (round == 1) {
            *place ^= 1;
            assert_ok(dapt_file_write(path, text.data, text.length));
        }
        dapt_string_free(&text);
    }
}

// A step that is not finite changes nothing and is counted; too many in a row end the run.
static void test_not_finite(void **state) {
    struct scratch *s = *state;
    struct outcome o;
    // A decay that multiplies the weights by -999 each step: finite at first, then not.
    write_config(s, "wild",
                 "{\"data\": {\"eval\": null}, \"train\": {\"steps\": 60, \"max_bad_steps\": 5, "
                 "\"checkpoint_every\": 0,"
                 " \"optimizer\": {\"weight_decay\": 1000, \"decay\": \"all\"},"
                 " \"schedule\": {\"plugin\": \"constant\", \"peak\": 1, \"warmup\": 0}}}");
    run_dapt(s, &o, "train", s->config, NULL);
    expect(&o, 1, "5 steps in a row changed nothing");
    cJSON *metrics = read_metrics(s, "wild");
    size_t skips = count_events(metrics, "skip");
    assert_true(skips >= 5 && count_events(metrics, "step") >= 2);
    assert_true(number(nth_event(metrics, "skip", skips - 1), "in_row") == 5);
    assert_int_equal(count_events(metrics, "end"), 0);
    cJSON_Delete(metrics);
}

// Micro-batches give the same course up to rounding; a size that does not divide the batch is
// refused.
static void test_micro_batches(void **state) {
    struct scratch *s = *state;
    struct outcome o;
    double losses[2];
    static const char *const more[] = {
        "{\"train\": {\"micro_batch\": 4}}",
        "{\"train\": {\"micro_batch\": 2, \"recompute\": \"block\"}}"};
    for (int i = 0; i < 2; i++) {
        char *run = dapt_arena_format(&s->arena, "micro%d", i);
        write_config(s, run, more[i]);
        run_dapt(s, &o, "train", s->config, NULL);
        expect(&o, 0, NULL);
        cJSON *metrics = read_metrics(s, run);
        losses[i] = number(nth_event(metrics, "step", 23), "loss");
        cJSON_Delete(metrics);
    }
    assert_true(fabs(losses[0] - losses[1]) < 1e-3);
    write_config(s, "micro3", "{\"train\": {\"micro_batch\": 3}}");
    run_dapt(s, &o, "train", s->config, NULL);
    expect(&o, 1, "train.micro_batch: expected a divisor of train.batch (4), got 3");
}

// A disk that fills up: told, training goes on, the end fails with a reason, and nothing
// half-written stays.
static void test_full_disk(void **state) {
    struct scratch *s = *state;
    struct outcome o;
    write_config(s, "full", NULL);
    limit_files(s, 100000);
    run_dapt(s, &o, "train", s->config, NULL);
    expect(&o, 1, "checkpoint step-000004");
    assert_non_null(strstr(o.err, "training goes on"));
    assert_non_null(strstr(o.err, "dapt: checkpoint step-000024"));
    assert_non_null(strstr(o.err, "--resume trains it again"));
    cJSON *metrics = read_metrics(s, "full");
    assert_int_equal(count_events(metrics, "step"), 24);
    assert_int_equal(count_events(metrics, "trouble"), 5);
    cJSON_Delete(metrics);
    assert_false(dapt_is_dir(in_scratch(s, "full/checkpoints/.part-step-000024")));
    run_dapt(s, &o, "train", s->config, "--resume", NULL);
    expect(&o, 0, NULL);
    write_config(s, "config.json/run", NULL);  // below a file
    run_dapt(s, &o, "train", s->config, NULL);
    expect(&o, 1, "the run folder");
}

// A line that a power cut left unfinished is taken off; the others stay.
static void test_torn_metrics(void **state) {
    struct scratch *s = *state;
    struct outcome o;
    char *path = in_scratch(s, "torn/metrics.jsonl");
    assert_ok(dapt_mkdirs(in_scratch(s, "torn")));
    static const char text[] = "{\"event\": \"old\", \"time\": \"then\"}\n{\"event\": \"st";
    assert_ok(dapt_file_write(path, text, strlen(text)));
    write_config(s, "torn", "{\"train\": {\"steps\": 2}}");
    run_dapt(s, &o, "train", s->config, NULL);
    expect(&o, 0, "unfinished last line");
    cJSON *metrics = read_metrics(s, "torn");
    assert_int_equal(count_events(metrics, "old"), 1);
    assert_int_equal(count_events(metrics, "step"), 2);
    cJSON_Delete(metrics);
}

static void test_plan(void **state) {
    struct scratch *s = *state;
    struct outcome o;
    write_config(s, "planned", NULL);
    run_dapt(s, &o, "plan", s->config, "--set", "train.steps=77", NULL);
    expect(&o, 0, NULL);
    assert_non_null(strstr(o.out, "77 steps"));
    assert_false(dapt_is_dir(in_scratch(s, "planned")));
}

// A peak that is not given follows the model's size; a run keeps the one that it began with.
static void test_peak(void **state) {
    struct scratch *s = *state;
    struct outcome o;
    static const char none[] = "{\"train\": {\"schedule\": null, \"keep\": 9}}";
    write_config(s, "peak", none);
    run_dapt(s, &o, "train", s->config, NULL);
    expect(&o, 0, NULL);
    assert_non_null(strstr(o.out, "learning rate   0.003 at its peak, as none is given"));
    run_dapt(s, &o, "train", s->config, "--resume", NULL);
    expect(&o, 0, NULL);
    assert_null(strstr(o.out, "learning rate "));  // now it is
    // Of the time when it was 1e-4 for all.
    write_config(s, "peak-old", none);
    run_dapt(s, &o, "train", s->config, "--set", "train.schedule.peak=1e-4", NULL);
    expect(&o, 0, NULL);
    run_dapt(s, &o, "train", s->config, "--resume", NULL);
    expect(&o, 0, NULL);
    char *model = dapt_arena_format(&s->arena, "model=%s", latest_checkpoint(s, "peak"));
    write_config(s, "peak-on", "{\"model\": null, \"train\": {\"schedule\": null, \"steps\": 2}}");
    run_dapt(s, &o, "train", s->config, "--set", model, NULL);
    expect(&o, 0, NULL);
    assert_non_null(strstr(o.out, "learning rate   0.001 at its peak, as none is given: a third"));
}

// Sets a tensor of a model's file to zeros.
static void clear(const char *folder, const char *name) {
    struct dapt_arena arena = {0};
    struct dapt_string content;
    struct dapt_safetensors *file;
    char *path = dapt_path_join(&arena, folder, "model.safetensors");
    assert_ok(dapt_safetensors_open(path, &file));
    const struct dapt_file_tensor *tensor = dapt_safetensors_find(file, name);
    assert_non_null(tensor);
    assert_ok(dapt_file_read(path, 16 << 20, &content));
    size_t size = tensor->count * dapt_file_dtype_size(tensor->dtype);
    char *at = memmem(content.data, content.length, tensor->data, size);
    assert_non_null(at);
    memset(at, 0, size);
    dapt_safetensors_close(&file);
    assert_ok(dapt_file_write(path, content.data, content.length));
    dapt_string_free(&content);
    dapt_arena_free(&arena);
}

// A tensor that no gradient reaches is named; one that is reached once another has moved is none.
static void test_unreached(void **state) {
    struct scratch *s = *state;
    struct outcome o;
    write_config(s, "dead-base", "{\"train\": {\"steps\": 1}}");
    run_dapt(s, &o, "train", s->config, NULL);
    expect(&o, 0, NULL);
    char *folder = latest_checkpoint(s, "dead-base");
    char *model = dapt_arena_format(&s->arena, "model=%s", folder);
    assert_int_equal(unlink(dapt_path_join(&s->arena, folder, "run.json")), 0);
    clear(folder, "model.layers.1.mlp.up_proj.weight");
    write_config(s, "asleep", "{\"model\": null}");
    run_dapt(s, &o, "train", s->config, "--set", model, NULL);
    expect(&o, 0, NULL);
    clear(folder, "model.layers.1.mlp.gate_proj.weight");
    write_config(s, "dead", "{\"model\": null}");
    run_dapt(s, &o, "train", s->config, "--set", model, NULL);
    expect(&o, 1, "is trained, but its gradient was zero everywhere in the first two steps");
    assert_non_null(strstr(o.err, "model.layers.1."));
    run_dapt(s, &o, "train", s->config, "--set", model, "--set",
             "train.freeze=[\"layers.1.mlp.*\", \"layers.1.norm2\"]", NULL);
    expect(&o, 0, NULL);
    assert_non_null(strstr(o.out, "\ntrained         "));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_learns),
        cmocka_unit_test(test_resolved_config),
        cmocka_unit_test(test_plugin_defaults),
        cmocka_unit_test(test_model_goes),
        cmocka_unit_test(test_checked),
        cmocka_unit_test(test_commands_on_a_run),
        cmocka_unit_test(test_not_finite),
        cmocka_unit_test(test_micro_batches),
        cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_torn_metrics),
        cmocka_unit_test(test_plan),
        cmocka_unit_test(test_peak),
        cmocka_unit_test(test_unreached),
    };
    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
