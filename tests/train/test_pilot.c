// dapt pilot: short runs, what is recommended by them, and the same bytes however often they were stopped.
#include <math.h>
#include <signal.h>
#include <unistd.h>

#include "command.h"

#define WITH(more)                                                                          \
    "{\"model\": \"base\", \"data\": {\"replay\": {\"from\": \"digits.jsonl\"}, \"eval\": " \
    "{\"held\": {\"path\": \"held.jsonl\", \"role\": \"domain\"}, \"digits\": {\"path\": "  \
    "\"digits-held.jsonl\", \"role\": \"general\"}}}, \"backend\": {\"name\": \"cpu\"}, "   \
    "\"train\": {\"steps\": 64, \"schedule\": {\"peak\": 0.003}" more "}}"
#define ARGUMENTS "--shares", "0.05,0.2,0.5", "--rates", "0.003,0.01", "--steps", "204"
#define RUNS 15

static void write_digits(struct scratch *s, const char *name, int first, int lines) {
    struct dapt_string text = {0};
    for (int line = first; line < first + lines; line++)
        assert_ok(dapt_string_format(&text, "{\"text\": \"%d plus %d is %d, as %d is.\"}\n", line,
                                     line * 7, line * 8, line * 13));
    assert_ok(dapt_file_write(in_scratch(s, name), text.data, text.length));
    dapt_string_free(&text);
}

// A base that knows the digits.
static int setup(void **state) {
    struct outcome o;
    if (scratch_setup(state)) return -1;
    struct scratch *s = *state;
    write_digits(s, "digits.jsonl", 0, 200);
    write_digits(s, "digits-held.jsonl", 200, 20);
    write_config(s, "first",
                 "{\"data\": {\"domain\": \"digits.jsonl\"}, \"train\": {\"steps\": 60}}");
    run_dapt(s, &o, "train", s->config, NULL);
    expect(&o, 0, NULL);
    assert_ok(dapt_rename(latest_checkpoint(s, "first"), in_scratch(s, "base")));
    write_config(s, "run", WITH(""));
    return 0;
}

static cJSON *read_json(struct scratch *s, const char *name) {
    struct dapt_string text = {0};
    assert_ok(dapt_file_read(in_scratch(s, name), 1 << 24, &text));
    cJSON *root = cJSON_Parse(text.data);
    assert_non_null(root);
    dapt_string_free(&text);
    return root;
}

static void keep(struct scratch *s, const char *from, const char *to) {
    assert_ok(dapt_copy_file(in_scratch(s, from), in_scratch(s, to)));
}

// Whole, and again: nothing is made twice, and what is there stays as it is.
static void test_whole(void **state) {
    struct scratch *s = *state;
    struct outcome o;
    char *out = in_scratch(s, "full.json");
    run_dapt(s, &o, "pilot", s->config, ARGUMENTS, "--out", out, NULL);
    cJSON *root = read_json(s, "run-pilot/pilot.json");
    bool extrapolates = cJSON_IsTrue(cJSON_GetObjectItem(root, "extrapolates"));
    expect(&o, extrapolates ? 0 : 1, extrapolates ? NULL : "cannot extrapolate");
    assert_non_null(strstr(o.out, "15 runs in "));
    assert_non_null(strstr(o.out, extrapolates ? "share   " : "cannot extrapolate: "));
    const cJSON *pilots = cJSON_GetObjectItem(root, "pilots"), *pilot;
    assert_int_equal(cJSON_GetArraySize(pilots), RUNS);
    double steps = 0;
    cJSON_ArrayForEach(pilot, pilots) {
        const cJSON *sets = cJSON_GetObjectItem(pilot, "sets");
        char *folder = dapt_arena_format(&s->arena, "run-pilot/%s",
                                         cJSON_GetObjectItem(pilot, "run")->valuestring);
        cJSON *ledger = read_json(s, dapt_arena_format(&s->arena, "%s/ledger.json", folder));
        const cJSON *held = cJSON_GetArrayItem(cJSON_GetObjectItem(ledger, "sets"), 0);
        assert_true(fabs(figure(cJSON_GetObjectItem(sets, "held"), "change") -
                         figure(held, "change")) < 1e-12);
        assert_true(figure(ledger, "step") == figure(pilot, "steps"));
        assert_false(
            dapt_is_dir(in_scratch(s, dapt_arena_format(&s->arena, "%s/checkpoints", folder))));
        steps += figure(pilot, "steps");
        cJSON_Delete(ledger);
    }
    assert_true(steps == 204);  // all of the budget, and no more
    cJSON_Delete(root);
    assert_int_equal(dapt_is_file(out), extrapolates);
    keep(s, "run-pilot/pilot.json", "whole-pilot.json");
    keep(s, "run-pilot/plan.json", "whole-plan.json");
    if (extrapolates) keep(s, "full.json", "whole-full.json");
    run_dapt(s, &o, "pilot", s->config, ARGUMENTS, NULL);
    expect(&o, 0, NULL);
    assert_non_null(strstr(o.out, "pilot 15/15"));
    assert_null(strstr(o.out, " s\npilot 2/15"));
    assert_true(
        same_file(in_scratch(s, "run-pilot/pilot.json"), in_scratch(s, "whole-pilot.json")));
    run_dapt(s, &o, "pilot", s->config, ARGUMENTS, "--json", NULL);
    expect(&o, 0, NULL);
    cJSON *printed = cJSON_Parse(o.out);
    assert_non_null(printed);
    cJSON_Delete(printed);
}

// Pilots calm enough for a law: the full run's configuration is the one that was given, with what they
// recommend, and trains. It is never replaced.
static void test_written(void **state) {
    struct scratch *s = *state;
    struct outcome o;
    char *out = in_scratch(s, "calm.json");
    write_config(s, "calm", WITH(", \"batch\": 16, \"budget\": {\"digits\": 1}, \"patience\": 9"));
    const char *words[] = {"--steps", "1440", "--rates", "0.002"};
    run_dapt(s, &o, "pilot", s->config, "--set", "train.steps=512", "--shares", "0.1,0.2,0.4",
             words[0], words[1], words[2], words[3], "--out", out, NULL);
    expect(&o, 0, NULL);
    assert_non_null(strstr(o.out, "written         "));
    cJSON *root = read_json(s, "calm-pilot/pilot.json"), *config = read_json(s, "calm.json");
    const cJSON *recommended = cJSON_GetObjectItem(root, "recommended"),
                *share = cJSON_GetObjectItem(recommended, "share"),
                *train = cJSON_GetObjectItem(config, "train"),
                *replay = cJSON_GetObjectItem(cJSON_GetObjectItem(config, "data"), "replay");
    assert_true(figure(share, "low") <= figure(share, "value"));
    assert_true(figure(share, "value") <= figure(share, "high"));
    assert_true(fabs(figure(replay, "share") - figure(share, "value")) < 1e-12);
    assert_true(figure(train, "steps") == figure(recommended, "steps"));
    assert_true(figure(train, "patience") == 9);
    assert_true(figure(cJSON_GetObjectItem(train, "schedule"), "peak") == 0.002);
    cJSON_Delete(root);
    cJSON_Delete(config);
    run_dapt(s, &o, "train", out, "--set", "train.steps=4", NULL);
    expect(&o, 0, NULL);
    assert_true(dapt_is_dir(in_scratch(s, "calm/checkpoints")));
    assert_ok(dapt_file_write(out, "{}", 2));
    run_dapt(s, &o, "pilot", s->config, "--set", "train.steps=512", "--shares", "0.1,0.2,0.4",
             words[0], words[1], words[2], words[3], "--out", out, NULL);
    expect(&o, 1, "is there already, and is never replaced");
    write_config(s, "run", WITH(""));
}

// Killed, or asked to stop, in the middle of pilots and between them: the same bytes in the end.
static void test_killed(void **state) {
    struct scratch *s = *state;
    struct outcome o;
    char *out = in_scratch(s, "full.json");
    bool written = dapt_is_file(out);
    int stopped = 0;
    assert_ok(dapt_rename(in_scratch(s, "run-pilot"), in_scratch(s, "whole")));
    if (written) assert_int_equal(unlink(out), 0);
    for (int i = 0; i < 8; i++) {
        int with = i % 3 == 2 ? SIGINT : SIGKILL;
        finish_dapt(s, start_dapt(s, "pilot", s->config, ARGUMENTS, "--out", out, NULL),
                    0.15 + 0.07 * i, with, &o);
        stopped += o.code == 128 + SIGKILL || o.code == 130;
        // Without a word: before the program listens to it.
        if (o.code == 130 && o.err[0]) expect(&o, 130, "the same command goes on from there");
    }
    if (stopped < 4) fail_msg("only %d of 8 were stopped on their way", stopped);
    run_dapt(s, &o, "pilot", s->config, ARGUMENTS, "--out", out, NULL);
    expect(&o, written ? 0 : 1, NULL);
    static const char *const files[][2] = {{"run-pilot/pilot.json", "whole-pilot.json"},
                                           {"run-pilot/plan.json", "whole-plan.json"},
                                           {"full.json", "whole-full.json"}};
    for (size_t i = 0; i < 2 + (size_t)written; i++)
        if (!same_file(in_scratch(s, files[i][0]), in_scratch(s, files[i][1])))
            fail_msg("%s is another one after being stopped", files[i][0]);
}

// A time becomes steps once: the plan that was recorded is the one that is told and kept.
static void test_time(void **state) {
    struct scratch *s = *state;
    struct outcome o;
    char *plan = in_scratch(s, "timed-pilot/plan.json"), told[64];
    write_config(s, "timed", WITH(""));
    for (int i = 0; i < 2; i++) {
        pid_t child = start_dapt(s, "pilot", s->config, "--time", "300s", "--set",
                                 "train.steps=1000000", "--shares", "0.1,0.2,0.4", NULL);
        for (int tries = 0; tries < 1200 && !dapt_is_file(plan); tries++) usleep(50000);
        finish_dapt(s, child, i ? 1.5 : 0, SIGKILL, &o);
        assert_true(dapt_is_file(plan));
        if (i == 0) keep(s, "timed-pilot/plan.json", "timed-plan.json");
    }
    assert_true(same_file(plan, in_scratch(s, "timed-plan.json")));
    cJSON *root = read_json(s, "timed-plan.json");
    assert_true(figure(root, "unit") * 3 * (2 * 3 + 13) * figure(root, "step_seconds") <= 300);
    snprintf(told, sizeof told, "steps of %.3g s", figure(root, "step_seconds"));
    if (o.out[0] && !strstr(o.out, told)) fail_msg("expected %s in %s", told, o.out);
    cJSON_Delete(root);
    write_config(s, "run", WITH(""));
}

// A damaged ledger is made again, from its run.
static void test_damaged(void **state) {
    struct scratch *s = *state;
    struct outcome o;
    char *ledger = in_scratch(s, "run-pilot/share-0.2-rate-0.01-steps-8/ledger.json");
    assert_true(dapt_is_file(ledger));
    assert_ok(dapt_file_write(ledger, "{\"step\": 8, \"steps\": 8}", 23));
    run_dapt(s, &o, "pilot", s->config, ARGUMENTS, NULL);
    expect(&o, 0, NULL);
    assert_true(
        same_file(in_scratch(s, "run-pilot/pilot.json"), in_scratch(s, "whole-pilot.json")));
}

static void refuse(struct scratch *s, const char *option, const char *value, int code,
                   const char *part) {
    struct outcome o;
    run_dapt(s, &o, "pilot", s->config, option, value, NULL);
    expect(&o, code, part);
    if (strchr(o.err, '\n') != o.err + strlen(o.err) - 1) fail_msg("not one line: %s", o.err);
}

// The rate at which pilots diverge is a result: told, chosen by nobody, not fitted, and known when the same
// command goes on. Weights that decay too fast are what makes them diverge here.
static void test_diverged(void **state) {
    struct scratch *s = *state;
    struct outcome o;
    write_config(s, "wild", WITH(", \"max_bad_steps\": 2, \"optimizer\": {\"weight_decay\": 500}"));
#define WILD "pilot", s->config, "--shares", "0.05,0.2,0.5", "--rates", "0.001,1", "--steps", "204"
    finish_dapt(s, start_dapt(s, WILD, NULL), 0.6, SIGKILL, &o);
    run_dapt(s, &o, WILD, NULL);
    expect(&o, 0, NULL);
    assert_non_null(strstr(o.out, "rate 1  8 steps  diverged at step "));
    assert_non_null(strstr(o.out, "\nrate            0.001 (95 % interval 0.001 to 0.001"));
    cJSON *root = read_json(s, "wild-pilot/pilot.json");
    const cJSON *pilot;
    int diverged = 0;
    cJSON_ArrayForEach(pilot, cJSON_GetObjectItem(root, "pilots")) {
        bool wild = figure(pilot, "rate") == 1;
        assert_int_equal(cJSON_IsTrue(cJSON_GetObjectItem(pilot, "fitted")), !wild);
        assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(pilot, "sets")), wild ? 0 : 2);
        if (wild) assert_in_range((uint64_t)figure(pilot, "diverged"), 1, 8);
        diverged += wild;
    }
    assert_int_equal(diverged, 3);
    cJSON_Delete(root);
    keep(s, "wild-pilot/pilot.json", "whole-wild.json");
    run_dapt(s, &o, WILD, NULL);
    expect(&o, 0, NULL);
    if (strstr(o.out, " s\n")) fail_msg("a pilot was made again: %s", o.out);
    assert_true(
        same_file(in_scratch(s, "wild-pilot/pilot.json"), in_scratch(s, "whole-wild.json")));
    assert_ok(dapt_remove_tree(in_scratch(s, "wild-pilot")));
    run_dapt(s, &o, WILD, NULL);
    expect(&o, 0, NULL);
    assert_true(
        same_file(in_scratch(s, "wild-pilot/pilot.json"), in_scratch(s, "whole-wild.json")));
#undef WILD
    run_dapt(s, &o, "pilot", s->config, "--set", "run=wilder", "--shares", "0.05,0.2,0.5",
             "--rates", "0.9,1", "--steps", "204", NULL);
    expect(&o, 1, "pilots diverged at every rate, from 0.9 to 1: try lower ones (--rates)");
}

static void test_refusals(void **state) {
    struct scratch *s = *state;
    refuse(s, "--steps", "300", 1, "planned with another value of --shares");
    write_config(s, "run", WITH(", \"seed\": 8"));
    refuse(s, "--steps", "300", 1, "planned with another value of the configuration");
    write_config(s, "other", WITH(""));
    refuse(s, "--steps", "30", 1, "the pilots' budget is too small: 24 runs");
    refuse(s, "--time", "soon", 2, "--time is \"soon\"");
    refuse(s, "--shares", "0.1,much", 2, "--shares is \"0.1,much\", expected numbers");
    refuse(s, "--shares", "0.1,0.1", 1, "0.1 was given twice");
    refuse(s, "--rates", "-1", 1, "rates: -1, expected");
    refuse(s, "--out", in_scratch(s, "held.jsonl"), 1, "is there already");
    refuse(s, "--set", "train.steps=20", 1, "needs no pilots");
    write_config(s, "other", "{\"data\": {\"replay\": {\"from\": \"digits.jsonl\"}}}");
    refuse(s, "--steps", "300", 1, "no set of data.eval has the role \"general\"");
    write_config(s, "other", NULL);
    refuse(s, "--steps", "300", 1, "data.replay.from is missing");
    assert_false(dapt_is_dir(in_scratch(s, "other-pilot")));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole),    cmocka_unit_test(test_written),
        cmocka_unit_test(test_killed),   cmocka_unit_test(test_time),
        cmocka_unit_test(test_damaged),  cmocka_unit_test(test_diverged),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests_name("pilot", tests, setup, scratch_teardown);
}
