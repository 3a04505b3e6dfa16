// The same bits whatever happens on the way: stopped and resumed, killed at any moment, damaged on
// the disk.
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/rng.h"
#include "command.h"

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

// Weights, optimizer state and record of the two runs' last checkpoints, byte for byte.
static void assert_same_end(struct scratch *s, const char *a, const char *b) {
    static const char *const files[] = {"model.safetensors", "state.safetensors", "config.json"};
    char *x = latest_checkpoint(s, a), *y = latest_checkpoint(s, b);
    assert_string_equal(strrchr(x, '/'), strrchr(y, '/'));
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        if (!same_file(dapt_path_join(&s->arena, x, files[i]),
                       dapt_path_join(&s->arena, y, files[i]))) {
            fail_msg("%s differs between %s and %s", files[i], x, y);
        }
    }
}

// The run that nothing happened to; made once.
static double reference(struct scratch *s) {
    static double took;
    struct outcome o;
    if (took > 0) return took;
    write_config(s, "whole", NULL);
    double begin = seconds();
    run_dapt(s, &o, "train", s->config, NULL);
    expect(&o, 0, NULL);
    took = seconds() - begin;
    assert_non_null(strstr(latest_checkpoint(s, "whole"), "step-000024"));
    return took;
}

static void test_same_run_twice(void **state) {
    struct scratch *s = *state;
    struct outcome o;
    reference(s);
    write_config(s, "again", NULL);
    run_dapt(s, &o, "train", s->config, NULL);
    expect(&o, 0, NULL);
    assert_same_end(s, "whole", "again");
    // The records hold neither times nor places: they are the same too, and with them the chain.
    assert_true(same_file(dapt_path_join(&s->arena, latest_checkpoint(s, "whole"), "run.json"),
                          dapt_path_join(&s->arena, latest_checkpoint(s, "again"), "run.json")));
}

// Copies a run's checkpoint of `step` as the only one of another run: as if the run had ended
// there.
static void begin_from(struct scratch *s, const char *from, const char *to, const char *step) {
    static const char *const files[] = {"model.safetensors", "state.safetensors", "config.json",
                                        "run.json"};
    char *source = dapt_arena_format(&s->arena, "%s/checkpoints/%s", in_scratch(s, from), step);
    char *target = dapt_arena_format(&s->arena, "%s/checkpoints/%s", in_scratch(s, to), step);
    assert_ok(dapt_mkdirs(target));
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        assert_ok(dapt_copy_file(dapt_path_join(&s->arena, source, files[i]),
                                 dapt_path_join(&s->arena, target, files[i])));
    }
}

// k steps, then the rest in another process, from several checkpoints; with other values for what
// does not decide the course.
static void test_resume_from_each(void **state) {
    struct scratch *s = *state;
    struct outcome o;
    reference(s);
    write_config(s, "all", "{\"train\": {\"keep\": 100, \"checkpoint_every\": 5}}");
    run_dapt(s, &o, "train", s->config, NULL);
    expect(&o, 0, NULL);
    static const char *const steps[] = {"step-000005", "step-000010", "step-000020", "step-000024"};
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        char *run = dapt_arena_format(&s->arena, "part%zu", i);
        begin_from(s, "all", run, steps[i]);
        write_config(s, run,
                     "{\"train\": {\"evaluate_every\": 3, \"checkpoint_every\": 7, \"keep\": 1}, "
                     "\"backend\": {\"threads\": 2}}");
        run_dapt(s, &o, "train", s->config, "--resume", NULL);
        expect(&o, 0, NULL);
        if (i < 3) assert_same_end(s, "whole", run);
    }
}

// Rounded weights in the model's files: the exact ones lie beside the optimizer's state.
static void test_resume_bf16(void **state) {
    struct scratch *s = *state;
    struct outcome o;
    static const char more[] =
        "{\"model\": {\"random\": {\"torch_dtype\": \"bfloat16\"}}, \"train\": {\"keep\": 100}}";
    write_config(s, "bf16", more);
    run_dapt(s, &o, "train", s->config, NULL);
    expect(&o, 0, NULL);
    begin_from(s, "bf16", "bf16-part", "step-000012");
    write_config(s, "bf16-part", more);
    run_dapt(s, &o, "train", s->config, "--resume", NULL);
    expect(&o, 0, NULL);
    assert_same_end(s, "bf16", "bf16-part");
    struct dapt_map map;
    assert_ok(dapt_map_open(
        dapt_path_join(&s->arena, latest_checkpoint(s, "bf16"), "model.safetensors"), &map));
    assert_non_null(memmem(map.data, map.size, "\"BF16\"", 6));
    dapt_map_close(&map);
}

// Twenty kills at random moments, resumed each time. A run that ends before its kill is compared
// and begun again.
static void test_kills(void **state) {
    struct scratch *s = *state;
    struct outcome o;
    double whole = reference(s);
    size_t finished = 0;
    write_config(s, "killed", "{\"train\": {\"checkpoint_every\": 1}}");
    for (uint64_t kill_number = 0; kill_number < 20; kill_number++) {
        // The first ones fall on start-up and first steps, later ones anywhere in a run.
        double delay = whole * dapt_random_uniform(2026, 1, kill_number) *
                       (kill_number < 10 ? 0.4 : 1.2);
        pid_t child = start_dapt(s, "train", s->config, "--resume", NULL);
        finish_dapt(s, child, delay, SIGKILL, &o);
        if (o.code == 128 + SIGKILL) continue;
        expect(&o, 0, NULL);
        assert_same_end(s, "whole", "killed");
        assert_ok(dapt_remove_tree(in_scratch(s, "killed")));
        finished++;
        kill_number -= finished < 200;  // this one killed nothing
    }
    run_dapt(s, &o, "train", s->config, "--resume", NULL);
    expect(&o, 0, NULL);
    assert_same_end(s, "whole", "killed");
    cJSON_Delete(read_metrics(s, "killed"));
    // Nothing that a kill left half done stays.
    DIR *dir = opendir(dapt_path_join(&s->arena, in_scratch(s, "killed"), "checkpoints"));
    assert_non_null(dir);
    for (const struct dirent *entry; (entry = readdir(dir));) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            assert_int_equal(entry->d_name[0], 's');
    }
    closedir(dir);
}

static void flip_byte(const char *path, double where) {
    struct dapt_string content;
    assert_ok(dapt_file_read(path, 64 << 20, &content));
    size_t at = (size_t)((double)(content.length - 1) * where);
    while (memchr(" \t\n", content.data[at], 3)) at++;  // JSON's white space says nothing
    content.data[at] ^= 0x10;
    assert_ok(dapt_file_write(path, content.data, content.length));
    dapt_string_free(&content);
}

// A checkpoint with one wrong byte, or a file cut or missing, is put aside; the one before it is
// used, and the end is the same.
static void test_damage(void **state) {
    struct scratch *s = *state;
    struct outcome o;
    static const struct {
        const char *file;
        double where;
    } damages[] = {
        {"model.safetensors", 0.7}, {"state.safetensors", 0.5}, {"state.safetensors", 0},
        {"run.json", 0.3},          {"config.json", 0.5},       {"state.safetensors", -1},
        {"run.json", -1},           {"model.safetensors", -2},
    };
    reference(s);
    for (size_t i = 0; i < sizeof damages / sizeof damages[0]; i++) {
        char *run = dapt_arena_format(&s->arena, "damaged%zu", i);
        begin_from(s, "all", run, "step-000010");
        begin_from(s, "all", run, "step-000015");
        char *path = dapt_arena_format(&s->arena, "%s/checkpoints/step-000015/%s",
                                       in_scratch(s, run), damages[i].file);
        if (damages[i].where >= 0)
            flip_byte(path, damages[i].where);
        else if (damages[i].where > -1.5)
            assert_int_equal(unlink(path), 0);
        else
            assert_int_equal(truncate(path, 100), 0);
        write_config(s, run, "{\"data\": {\"eval\": null}}");
        run_dapt(s, &o, "train", s->config, "--resume", NULL);
        expect(&o, 0, "step-000015 is not whole");
        assert_non_null(strstr(o.err, damages[i].file));
        assert_non_null(strstr(o.out, "step-000010, step 10 of 24"));
        assert_same_end(s, "whole", run);
    }
}

// What cannot be read just now may be whole: it stays where it is, and nothing is trained over it.
static void test_unreadable(void **state) {
    struct scratch *s = *state;
    struct outcome o;
    static const char *const files[] = {"state.safetensors", "run.json"};
    reference(s);
    write_config(s, "unreadable", NULL);
    begin_from(s, "all", "unreadable", "step-000010");
    begin_from(s, "all", "unreadable", "step-000015");
    for (size_t i = 0; i < 2; i++) {
        char *path = dapt_arena_format(
            &s->arena, "%s/%s", in_scratch(s, "unreadable/checkpoints/step-000015"), files[i]);
        char *away = dapt_arena_format(&s->arena, "%s.away", path);
        assert_ok(dapt_rename(path, away));
        assert_int_equal(symlink(files[i], path), 0);  // a loop
        run_dapt(s, &o, "train", s->config, "--resume", NULL);
        expect(&o, 1, "dapt: resume: a checkpoint cannot be read: ");
        assert_non_null(strstr(o.err, path));
        assert_null(strstr(o.err, "put aside"));
        assert_ok(dapt_rename(away, path));
    }
    run_dapt(s, &o, "train", s->config, "--resume", NULL);
    expect(&o, 0, NULL);
    assert_non_null(strstr(o.out, "step-000015, step 15 of 24"));
    assert_same_end(s, "whole", "unreadable");
}

// Writes run.json with one member replaced and a checksum that fits.
static void forge(const char *path, const char *key, const char *value) {
    struct dapt_string content;
    char hash[33];
    assert_ok(dapt_file_read(path, 1 << 20, &content));
    cJSON *record = cJSON_Parse(content.data), *member = cJSON_Parse(value);
    assert_true(record && member);
    cJSON_DeleteItemFromObject(record, "checksum");
    cJSON_DeleteItemFromObject(record, key);
    cJSON_AddItemToObject(record, key, member);
    char *text = cJSON_PrintUnformatted(record);
    dapt_hash_text(dapt_hash_bytes(text, strlen(text)), hash);
    cJSON_AddStringToObject(record, "checksum", hash);
    cJSON_free(text);
    text = cJSON_Print(record);
    assert_ok(dapt_file_write(path, text, strlen(text)));
    cJSON_free(text);
    cJSON_Delete(record);
    dapt_string_free(&content);
}

// A record that is whole but says impossible things: one clear line, no crash.
static void test_forged(void **state) {
    struct scratch *s = *state;
    struct outcome o;
    static const struct {
        const char *key, *value, *part;
    } cases[] = {
        {"step", "-5", "\"step\" is not a count"},
        {"step", "\"x\"", "\"step\" is not a count"},
        {"step", "1e300", "\"step\" is not a count"},
        {"step", "12", "do not fit together"},
        {"steps", "null", "\"steps\" is not a count"},
        {"updates", "[[]]", "\"updates\" is not a count"},
        {"course", "null", "\"course\" is not an object"},
        {"course", "[1]", "\"course\" is not an object"},
        {"data", "5", "data.domain"},
        {"model", "5", "config.json"},
        {"format", "\"dapt.run/9\"", "another version"},
        {"files", "{\"state.safetensors\": 3}", "not whole"},
        {"files", "{\"state.safetensors\": \"\", \"../../../config.json\": \"0\"}", "not whole"},
        {"files", "[]", "names no state.safetensors"},
        {"mix", "7", "\"step\" is not a count"},
        {"mix", "{\"step\": 1, \"replay\": 0, \"fraction\": 0}", "of another step"},
        {"replay", "\"x\"", "data.replay.from holds other text"},
        {"evaluations", "\"x\"", NULL},
        {"evaluations", "[1, {\"name\": \"held\", \"nats_before\": \"x\"}, {\"name\": 3}]", NULL},
        {"evaluated", "{}", NULL},
        {"best", "-1", NULL},
        {"previous", "{\"checkpoint\": \"../..\", \"record\": 1}", NULL},
        {"previous", "{\"checkpoint\": \"step-000005\", \"record\": \"x\"}", NULL},
        {"tokenizer", "7", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *run = dapt_arena_format(&s->arena, "forged%zu", i);
        begin_from(s, "all", run, "step-000020");
        forge(
            dapt_arena_format(&s->arena, "%s/checkpoints/step-000020/run.json", in_scratch(s, run)),
            cases[i].key, cases[i].value);
        write_config(s, run, NULL);
        run_dapt(s, &o, "train", s->config, "--resume", NULL);
        expect(&o, cases[i].part ? 1 : 0, cases[i].part);
        if (!cases[i].part) assert_same_end(s, "whole", run);
    }
}

// The record's course with `key` of its "train" taken out, or set where there is a value.
static char *course_with(struct scratch *s, const char *record, const char *key,
                         const char *value) {
    struct dapt_string text;
    assert_ok(dapt_file_read(record, 1 << 20, &text));
    cJSON *object = cJSON_Parse(text.data);
    cJSON *course = cJSON_GetObjectItem(object, "course");
    cJSON *train = cJSON_GetObjectItem(course, "train");
    cJSON_DeleteItemFromObject(train, key);
    if (value) cJSON_AddItemToObject(train, key, cJSON_Parse(value));
    char *printed = cJSON_PrintUnformatted(course);
    char *kept = dapt_arena_format(&s->arena, "%s", printed);
    cJSON_free(printed);
    cJSON_Delete(object);
    dapt_string_free(&text);
    return kept;
}

// A key with a default that is newer than the run: the run did what the default says.
static void test_newer_key(void **state) {
    struct scratch *s = *state;
    struct outcome o;
    begin_from(s, "all", "older", "step-000020");
    char *record = in_scratch(s, "older/checkpoints/step-000020/run.json");
    forge(record, "course", course_with(s, record, "clip", NULL));
    write_config(s, "older", "{\"train\": {\"clip\": 2}}");
    run_dapt(s, &o, "train", s->config, "--resume", NULL);
    expect(&o, 1, "train.clip is 2 now but was 1 when the checkpoint was written");
    write_config(s, "older", NULL);
    run_dapt(s, &o, "train", s->config, "--resume", NULL);
    expect(&o, 0, NULL);
    assert_same_end(s, "whole", "older");
    // The other way round: a run of a newer version, in which a key may have meant anything.
    begin_from(s, "all", "newer", "step-000020");
    record = in_scratch(s, "newer/checkpoints/step-000020/run.json");
    forge(record, "course", course_with(s, record, "melt", "true"));
    write_config(s, "newer", NULL);
    run_dapt(s, &o, "train", s->config, "--resume", NULL);
    expect(&o, 1, "train.melt is not set now but was true when the checkpoint was written");
    // Of the versions that had keys which nothing read.
    forge(record, "course", course_with(s, record, "melt", NULL));
    forge(record, "course", course_with(s, record, "optimizer", "{\"kind\": \"adamw\"}"));
    run_dapt(s, &o, "train", s->config, "--resume", NULL);
    expect(&o, 0, NULL);
    assert_same_end(s, "whole", "newer");
}

static void test_all_damaged(void **state) {
    struct scratch *s = *state;
    struct outcome o;
    begin_from(s, "all", "hopeless", "step-000010");
    flip_byte(in_scratch(s, "hopeless/checkpoints/step-000010/model.safetensors"), 0.9);
    write_config(s, "hopeless", NULL);
    run_dapt(s, &o, "train", s->config, "--resume", NULL);
    expect(&o, 1, "none of its checkpoints (1) is whole");
}

// Waits until the run has done `step` steps.
static void await_step(struct scratch *s, const char *run, int step) {
    char *path = dapt_path_join(&s->arena, in_scratch(s, run), "metrics.jsonl");
    char *line = dapt_arena_format(&s->arena, "\"step\":%d,\"loss\"", step);
    for (double end = seconds() + 60; seconds() < end; usleep(500)) {
        struct dapt_string text = {0};
        bool there = dapt_is_file(path) && dapt_file_read(path, 16 << 20, &text) == DAPT_OK &&
                     text.data && strstr(text.data, line);
        dapt_string_free(&text);
        if (there) return;
    }
    fail_msg("%s: step %d was never reached", path, step);
}

// Ctrl-C: a checkpoint of the step that was under way, how to go on, exit code 130; then the same
// bits as without.
static void test_interrupt(void **state) {
    struct scratch *s = *state;
    struct outcome o;
    static const char more[] =
        "{\"data\": {\"eval\": null}, \"train\": {\"steps\": 600, \"checkpoint_every\": 0}}";
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGUSR1};
    signal(SIGHUP, SIG_DFL);  // under nohup it is ignored, by what is started too
    write_config(s, "long", more);
    run_dapt(s, &o, "train", s->config, NULL);
    expect(&o, 0, NULL);
    for (size_t i = 0; i < 4; i++) {
        char *run = dapt_arena_format(&s->arena, "interrupted%zu", i);
        write_config(s, run, more);
        pid_t child = start_dapt(s, "train", s->config, "--set", "train.clip=1.0", "--set",
                                 "data.eval={}", NULL);
        await_step(s, run, 20);
        finish_dapt(s, child, 0, signals[i], &o);
        expect(&o, 130, NULL);
        // The command that goes on means this run: with the same --set, as a shell takes them.
        assert_non_null(strstr(o.out, " --set train.clip=1.0 --set 'data.eval={}' --resume"));
        cJSON *metrics = read_metrics(s, run);
        assert_int_equal(count_events(metrics, "stop"), 1);
        assert_int_equal(count_events(metrics, "checkpoint"), 1);
        cJSON_Delete(metrics);
        run_dapt(s, &o, "train", s->config, "--resume", NULL);
        expect(&o, 0, NULL);
        assert_same_end(s, "long", run);
    }
}

// What alters the course is refused by name; what was meant outright is not.
static void test_other_course(void **state) {
    struct scratch *s = *state;
    struct outcome o;
    static const struct {
        const char *more, *part;
    } cases[] = {
        {"{\"train\": {\"batch\": 8}}", "train.batch"},
        {"{\"train\": {\"seed\": 8}}", "train.seed"},
        {"{\"data\": {\"sequence\": 16}}", "data.sequence"},
        {"{\"data\": {\"packing\": \"concatenate\"}}", "data.packing"},
        {"{\"train\": {\"optimizer\": {\"weight_decay\": 0.2}}}", "train.optimizer.weight_decay"},
        {"{\"train\": {\"schedule\": {\"peak\": 0.02}}}", "train.schedule.peak"},
        {"{\"train\": {\"clip\": 2}}", "train.clip"},
        {"{\"train\": {\"steps\": 30}}", "--set train.steps=30"},
        {"{\"model\": {\"random\": {\"hidden_size\": 64}}}", "model.random.hidden_size"},
    };
    begin_from(s, "all", "other", "step-000010");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        write_config(s, "other", cases[i].more);
        run_dapt(s, &o, "train", s->config, "--resume", NULL);
        expect(&o, 1, cases[i].part);
    }
    char *more = dapt_arena_format(&s->arena, "{\"data\": {\"domain\": \"%s\"}}", s->held);
    write_config(s, "other", more);
    run_dapt(s, &o, "train", s->config, "--resume", NULL);
    expect(&o, 1, "data.domain holds other text");
    write_config(s, "other", NULL);
    run_dapt(s, &o, "train", s->config, NULL);
    expect(&o, 1, "--resume");
    run_dapt(s, &o, "train", s->config, "--resume", "--set", "train.steps=14", NULL);
    expect(&o, 0, "planned for 24 and now for 14");
    assert_non_null(strstr(latest_checkpoint(s, "other"), "step-000014"));
}

static void assert_mark(struct scratch *s, const char *run, const char *which, const char *step) {
    struct dapt_string text;
    assert_ok(dapt_file_read(dapt_path_join(&s->arena, in_scratch(s, run), which), 100, &text));
    text.data[strcspn(text.data, "\n")] = '\0';
    assert_string_equal(text.data, step);
    dapt_string_free(&text);
}

// A kill right behind the last checkpoint: RUN/latest and RUN/best were still to be written.
static void test_marks(void **state) {
    struct scratch *s = *state;
    struct outcome o;
    begin_from(s, "all", "marks", "step-000024");
    write_config(s, "marks", NULL);
    run_dapt(s, &o, "train", s->config, "--resume", NULL);
    expect(&o, 0, NULL);
    assert_mark(s, "marks", "latest", "step-000024");
    assert_mark(s, "marks", "best", "step-000024");
    // An evaluation that was stopped, and is made up for when the checkpoint is there already.
    begin_from(s, "all", "late", "step-000020");
    write_config(s, "late", NULL);
    run_dapt(s, &o, "train", s->config, "--resume", "--set", "train.steps=20", NULL);
    expect(&o, 0, NULL);
    assert_mark(s, "late", "best", "step-000020");
}

// A set that holds another text now, and one that was not there: what they gave at step 0 is not
// known, so no change from it is told; and no earlier checkpoint is the best one by them.
static void test_other_sets(void **state) {
    struct scratch *s = *state;
    struct outcome o;
    begin_from(s, "all", "sets", "step-000020");
    char *more = dapt_arena_format(&s->arena,
                                   "{\"data\": {\"eval\": {\"held\": \"%s\", \"also\": \"%s\"}}}",
                                   s->data, s->held);
    write_config(s, "sets", more);
    run_dapt(s, &o, "train", s->config, "--resume", NULL);
    expect(&o, 0, NULL);
    assert_same_end(s, "whole", "sets");
    assert_mark(s, "sets", "best", "step-000024");
    cJSON *metrics = read_metrics(s, "sets");
    const cJSON *event;
    cJSON_ArrayForEach(event, metrics) {
        if (strcmp(cJSON_GetObjectItem(event, "event")->valuestring, "evaluation") != 0) continue;
        assert_true(cJSON_IsNumber(cJSON_GetObjectItem(event, "bits_per_byte")));
        assert_true(cJSON_IsNull(cJSON_GetObjectItem(event, "bits_per_byte_change")));
    }
    assert_int_equal(count_events(metrics, "evaluation"), 2);
    cJSON_Delete(metrics);
    assert_null(strstr(o.out, "nan"));
}

// A config.json whose weights have the same shapes but mean another model.
static void test_other_model(void **state) {
    struct scratch *s = *state;
    struct outcome o;
    static const char shape[] =
        "{\"model_type\": \"llama\", \"hidden_size\": 32, \"intermediate_size\": 64, "
        "\"num_hidden_layers\": 2, \"num_attention_heads\": 4, \"vocab_size\": 258, "
        "\"tie_word_embeddings\": true, \"rope_theta\": %s}";
    static const char *const thetas[] = {"10000", "1e4", "500000"};
    static const char more[] =
        "{\"model\": {\"random\": {\"config\": \"shape.json\", \"model_type\": null, "
        "\"hidden_size\": null, \"intermediate_size\": null, \"num_hidden_layers\": null, "
        "\"num_attention_heads\": null, \"num_key_value_heads\": null, \"vocab_size\": null, "
        "\"max_position_embeddings\": null, \"tie_word_embeddings\": null}}, "
        "\"train\": {\"steps\": 4}}";
    for (size_t i = 0; i < 3; i++) {
        char *text = dapt_arena_format(&s->arena, shape, thetas[i]);
        assert_ok(dapt_file_write(in_scratch(s, "shape.json"), text, strlen(text)));
        write_config(s, "meaning", more);
        run_dapt(s, &o, "train", s->config, "--resume", NULL);
        expect(&o, i < 2 ? 0 : 1, i < 2 ? NULL : "means another model");
    }
}

static void test_two_at_once(void **state) {
    struct scratch *s = *state;
    struct outcome o;
    write_config(s, "locked", NULL);
    assert_ok(dapt_mkdirs(in_scratch(s, "locked")));
    int fd = open(in_scratch(s, "locked/.lock"), O_RDWR | O_CREAT, 0666);
    assert_true(fd >= 0);
    pid_t child = fork();  // a lock of another process
    if (child == 0) {
        if (flock(fd, LOCK_EX) != 0) _exit(1);
        pause();
        _exit(0);
    }
    usleep(50000);
    run_dapt(s, &o, "train", s->config, NULL);
    kill(child, SIGKILL);
    finish_dapt(s, child, 0, 0, &(struct outcome){0});
    close(fd);
    expect(&o, 1, "another process is training");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_run_twice), cmocka_unit_test(test_resume_from_each),
        cmocka_unit_test(test_resume_bf16),    cmocka_unit_test(test_kills),
        cmocka_unit_test(test_damage),         cmocka_unit_test(test_forged),
        cmocka_unit_test(test_newer_key),      cmocka_unit_test(test_all_damaged),
        cmocka_unit_test(test_interrupt),      cmocka_unit_test(test_other_course),
        cmocka_unit_test(test_two_at_once),    cmocka_unit_test(test_marks),
        cmocka_unit_test(test_other_sets),     cmocka_unit_test(test_other_model),
        cmocka_unit_test(test_unreadable),
    };
    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
