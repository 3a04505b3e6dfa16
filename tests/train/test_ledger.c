// What a run gains and costs: figures by document, budgets and what they do, patience; the same after
// kills and resumes.
#include <math.h>
#include <signal.h>

#include "base/rng.h"
#include "checkpoint/checkpoint.h"
#include "command.h"

// General text that has nothing of the domain's, and a model that has learnt it.
static void write_general(const char *path, uint64_t seed, int lines) {
    struct dapt_string text = {0};
    for (int line = 0; line < lines; line++) {
        assert_ok(dapt_string_format(&text, "{\"text\": \""));
        uint64_t at = dapt_random_bits(seed, 1, (uint64_t)line) % 10;
        for (uint64_t i = 0; i < 40; i++) {
            assert_ok(dapt_string_format(&text, "%c", (char)('0' + at)));
            at = (at * 3 + 1 + dapt_random_bits(seed, 2 + (uint64_t)line, i) % 2) % 10;
        }
        assert_ok(dapt_string_format(&text, "\"}\n"));
    }
    assert_ok(dapt_file_write(path, text.data, text.length));
    dapt_string_free(&text);
}

static int setup(void **state) {
    struct outcome o;
    if (scratch_setup(state)) return -1;
    struct scratch *s = *state;
    write_general(in_scratch(s, "general.jsonl"), 3, 200);
    write_general(in_scratch(s, "general-held.jsonl"), 4, 30);
    write_config(
        s, "base",
        dapt_arena_format(&s->arena, "{\"data\": {\"domain\": \"%s\"}, \"train\": {\"steps\": 60}}",
                          in_scratch(s, "general.jsonl")));
    run_dapt(s, &o, "train", s->config, NULL);
    expect(&o, 0, NULL);
    return 0;
}

// Adapts that model: evaluations and checkpoints every other step, 5 % of replay; `train` is put into
// "train".
static void write_run(struct scratch *s, const char *run, const char *train) {
    write_config(
        s, run,
        dapt_arena_format(
            &s->arena,
            "{\"model\": null, \"data\": {\"eval\": {\"held\": {\"path\": \"%s\", \"role\": "
            "\"domain\"},"
            " \"digits\": {\"path\": \"%s\", \"role\": \"general\"}},"
            " \"replay\": {\"share\": 0.05, \"from\": \"%s\"}},"
            " \"train\": {\"evaluate_every\": 2, \"checkpoint_every\": 2, \"steps\": 16, "
            "\"schedule\": {\"peak\": 0.002}%s%s}}",
            s->held, in_scratch(s, "general-held.jsonl"), in_scratch(s, "general.jsonl"),
            *train ? ", " : "", train));
}

static char *base(struct scratch *s) {
    return dapt_arena_format(&s->arena, "model=%s", latest_checkpoint(s, "base"));
}

static void train(struct scratch *s, struct outcome *o, const char *set) {
    if (set)
        run_dapt(s, o, "train", s->config, "--set", base(s), "--resume", "--set", set, NULL);
    else
        run_dapt(s, o, "train", s->config, "--set", base(s), "--resume", NULL);
}

static const cJSON *last(const cJSON *metrics, const char *event) {
    const cJSON *item, *found = NULL;
    cJSON_ArrayForEach(item, metrics) if (strcmp(cJSON_GetObjectItem(item, "event")->valuestring,
                                                 event) == 0) found = item;
    return found;
}

static cJSON *read_ledger(struct scratch *s, const char *run) {
    struct dapt_string text;
    char *path = dapt_path_join(&s->arena, in_scratch(s, run), "ledger.json");
    assert_ok(dapt_file_read(path, 1 << 20, &text));
    cJSON *ledger = cJSON_ParseWithLength(text.data, text.length);
    assert_ok(dapt_record_check(ledger, path));
    dapt_string_free(&text);
    return ledger;
}

static double sum(const cJSON *list) {
    const cJSON *item;
    double all = 0;
    cJSON_ArrayForEach(item, list) all += item->valuedouble;
    return all;
}

static void test_figures(void **state) {
    struct scratch *s = *state;
    struct outcome o;
    write_run(s, "plain", "");
    train(s, &o, NULL);
    expect(&o, 0, NULL);
    assert_non_null(strstr(o.out, "95 % interval"));
    assert_non_null(strstr(o.out, "digits (general) WORSE by"));
    cJSON *ledger = read_ledger(s, "plain"), *metrics = read_metrics(s, "plain");
    const cJSON *set;
    cJSON_ArrayForEach(set, cJSON_GetObjectItem(ledger, "sets")) {
        const cJSON *units = cJSON_GetObjectItem(set, "units"),
                    *course = cJSON_GetObjectItem(set, "course");
        double scored = figure(set, "scored");
        assert_true(sum(cJSON_GetObjectItem(units, "scored")) == scored);
        assert_true(sum(cJSON_GetObjectItem(units, "tokens")) == figure(set, "tokens"));
        assert_true(sum(cJSON_GetObjectItem(units, "bytes")) == figure(set, "bytes"));
        assert_float_equal(sum(cJSON_GetObjectItem(units, "nats_before")) / scored,
                           figure(set, "nats_before"), 1e-12);
        assert_float_equal(sum(cJSON_GetObjectItem(units, "nats_after")) / scored,
                           figure(set, "nats_after"), 1e-12);
        assert_true(figure(set, "low") < figure(set, "change"));
        assert_true(figure(set, "change") < figure(set, "high"));
        assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(course, "step")), 9);
    }
    const cJSON *digits = last(metrics, "evaluation");
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(digits, "role")), "general");
    set = cJSON_GetArrayItem(cJSON_GetObjectItem(ledger, "sets"), 1);
    assert_true(figure(digits, "change_low") == figure(set, "low"));
    assert_true(figure(digits, "change_low") > 0.3);  // what the budgets below rely on
    cJSON_Delete(ledger);
    cJSON_Delete(metrics);
}

// Whatever is trained, the best checkpoint is inside.
static void test_best_inside(void **state) {
    struct scratch *s = *state;
    struct outcome o;
    for (int seed = 1; seed <= 3; seed++) {
        char *run = dapt_arena_format(&s->arena, "best%d", seed);
        write_run(
            s, run,
            dapt_arena_format(&s->arena, "\"seed\": %d, \"budget\": {\"general\": 0.2}", seed));
        train(s, &o, NULL);
        expect(&o, 0, NULL);
        cJSON *metrics = read_metrics(s, run);
        double best = figure(last(metrics, "end"), "best");
        bool found = false, outside = false;
        const cJSON *item;
        cJSON_ArrayForEach(item, metrics) {
            const cJSON *role = cJSON_GetObjectItem(item, "role");
            if (!role || strcmp(role->valuestring, "general") != 0) continue;
            assert_true(figure(item, "budget") == 0.2);
            bool inside = figure(item, "bits_per_byte_change") <= 0.2;
            outside |= !inside;
            if (figure(item, "step") != best) continue;
            found = true;
            assert_true(inside);
        }
        assert_true(found && outside && best > 0 && best < 16);
        char *name = dapt_arena_format(&s->arena, "step-%06.0f", best);
        struct dapt_string mark;
        assert_ok(dapt_file_read(dapt_path_join(&s->arena, in_scratch(s, run), "best"), 64, &mark));
        assert_non_null(strstr(mark.data, name));
        dapt_string_free(&mark);
        cJSON_Delete(metrics);
    }
    // A tighter one on a resume: what is the best no longer is.
    train(s, &o, "train.budget.general=0.0001");
    expect(&o, 0, NULL);
    assert_non_null(
        strstr(o.out, "best: none, as no checkpoint is inside train.budget; one may be with"));
    assert_false(dapt_is_file(in_scratch(s, "best3/best")));
}

static void test_stop(void **state) {
    struct scratch *s = *state;
    struct outcome o;
    write_run(s, "stop", "\"budget\": {\"digits\": 0.2}, \"on_budget\": \"stop\"");
    for (int time = 0; time < 2; time++) {  // the second time there is nothing to do
        train(s, &o, NULL);
        expect(&o, 0, NULL);
        assert_non_null(strstr(o.out, " by train.budget: digits has lost "));
    }
    assert_non_null(strstr(o.out, "the run is complete"));
    cJSON *metrics = read_metrics(s, "stop");
    double step = figure(last(metrics, "end"), "step");
    assert_non_null(cJSON_GetObjectItem(last(metrics, "end"), "ended"));
    assert_true(step < 16 && step == figure(last(metrics, "checkpoint"), "step"));
    cJSON_Delete(metrics);
    train(s, &o, "train.budget.digits=9");  // and with a larger one it goes on
    expect(&o, 0, NULL);
    assert_non_null(strstr(latest_checkpoint(s, "stop"), "step-000016"));
}

static void test_patience(void **state) {
    struct scratch *s = *state;
    struct outcome o;
    // By the general set, which only gets worse.
    write_run(s, "tired", "\"patience\": 3, \"best\": \"digits\"");
    for (int time = 0; time < 2; time++) {
        train(s, &o, NULL);
        expect(&o, 0, NULL);
        assert_non_null(strstr(
            o.out,
            "ended at step 6 of 16 by train.patience: digits was no better in 3 evaluations"));
    }
    assert_non_null(strstr(latest_checkpoint(s, "tired"), "step-000006"));
}

// Evaluations, raises and steps as metrics.jsonl has them in the end, without times: of what stands there
// twice the later.
static char *course(struct scratch *s, const char *run) {
    static const char *const times[] = {"time", "seconds", "since_start"};
    cJSON *metrics = read_metrics(s, run), *kept = cJSON_CreateObject();
    for (cJSON *item; (item = cJSON_DetachItemFromArray(metrics, 0));) {
        const char *event = cJSON_GetObjectItem(item, "event")->valuestring;
        const cJSON *set = cJSON_GetObjectItem(item, "set");
        bool wanted = strcmp(event, "evaluation") == 0 || strcmp(event, "replay") == 0 ||
                      strcmp(event, "step") == 0;
        char key[128];
        snprintf(key, sizeof key, "%05.0f %s %s", figure(item, "step"), event,
                 set ? set->valuestring : "");
        for (size_t i = 0; i < 3; i++) cJSON_DeleteItemFromObject(item, times[i]);
        cJSON_DeleteItemFromObjectCaseSensitive(kept, wanted ? key : "");
        if (wanted)
            cJSON_AddItemToObject(kept, key, item);
        else
            cJSON_Delete(item);
    }
    struct dapt_string text = {0};
    for (int step = 0; step <= 16; step++) {  // in order: killed runs have them in another
        char prefix[16];
        const cJSON *item;
        snprintf(prefix, sizeof prefix, "%05d ", step);
        static const char *const kinds[] = {"step", "evaluation held", "evaluation digits",
                                            "replay"};
        for (size_t k = 0; k < 4; k++) cJSON_ArrayForEach(item, kept) {
                if (strncmp(item->string, prefix, 6) != 0 ||
                    strncmp(item->string + 6, kinds[k], strlen(kinds[k])) != 0)
                    continue;
                char *line = cJSON_PrintUnformatted(item);
                assert_ok(dapt_string_format(&text, "%s\n", line));
                cJSON_free(line);
            }
    }
    char *copy = dapt_arena_copy(&s->arena, text.data, text.length);
    dapt_string_free(&text);
    cJSON_Delete(metrics);
    cJSON_Delete(kept);
    return copy;
}

static void check_killed(struct scratch *s, const char *name, const char *options) {
    struct outcome o;
    char *killed = dapt_arena_format(&s->arena, "%s-killed", name);
    write_run(s, name, options);
    train(s, &o, NULL);
    expect(&o, 0, NULL);
    write_run(s, killed, options);
    for (uint64_t i = 0; i < 8; i++) {
        pid_t child = start_dapt(s, "train", s->config, "--set", base(s), "--resume", NULL);
        finish_dapt(s, child, 0.02 + 0.12 * dapt_random_uniform(9, 1, i), SIGKILL, &o);
    }
    train(s, &o, NULL);
    expect(&o, 0, NULL);
    check_same_end(s, name, killed);
    assert_true(same_file(dapt_path_join(&s->arena, in_scratch(s, name), "ledger.json"),
                          dapt_path_join(&s->arena, in_scratch(s, killed), "ledger.json")));
    assert_string_equal(course(s, name), course(s, killed));
}

static void test_killed(void **state) {
    struct scratch *s = *state;
    check_killed(s, "halted", "\"budget\": {\"general\": 0.25}, \"on_budget\": \"stop\"");
    check_killed(s, "raised",
                 "\"budget\": {\"general\": 0.1}, \"on_budget\": \"raise-replay\", "
                 "\"raise_replay\": {\"factor\": 3, \"limit\": 0.4}, \"patience\": 12");
    cJSON *metrics = read_metrics(s, "raised"), *ledger = read_ledger(s, "raised");
    const cJSON *raise = last(metrics, "replay");
    assert_true(figure(raise, "share") == 0.4);
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(raise, "set")), "digits");
    assert_int_equal(count_events(metrics, "replay"), 2);  // 0.15, 0.4
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(ledger, "raises")), 2);
    // It helps: less is lost than without.
    cJSON *plain = read_ledger(s, "plain");
    const cJSON *with = cJSON_GetArrayItem(cJSON_GetObjectItem(ledger, "sets"), 1),
                *without = cJSON_GetArrayItem(cJSON_GetObjectItem(plain, "sets"), 1);
    assert_true(figure(with, "change") < figure(without, "change"));
    cJSON_Delete(plain);
    cJSON_Delete(ledger);
    cJSON_Delete(metrics);
}

// A resume of a run that knows nothing of documents, or with a set that is new.
static void test_unknown(void **state) {
    struct scratch *s = *state;
    struct outcome o;
    write_run(s, "plain", "\"budget\": {\"other\": 0.1}");
    char *eval = dapt_arena_format(&s->arena, "data.eval.other=%s", s->data);
    run_dapt(s, &o, "train", s->config, "--set", base(s), "--resume", "--set", eval, NULL);
    expect(&o, 1, "train.budget: what other was at step 0 is not known");
}

// One document: its change is told, and that there is no interval.
static void test_single(void **state) {
    struct scratch *s = *state;
    struct outcome o;
    static const char text[] = "the bone of a hand joins two nerves and muscle under the skin";
    char *one = in_scratch(s, "one.txt");
    assert_ok(dapt_file_write(one, text, sizeof text - 1));
    write_config(s, "single",
                 dapt_arena_format(&s->arena, "{\"data\": {\"eval\": {\"one\": \"%s\"}}}", one));
    run_dapt(s, &o, "train", s->config, NULL);
    expect(&o, 0, NULL);
    assert_non_null(strstr(o.out, "one is a single document: no interval"));
    cJSON *metrics = read_metrics(s, "single");
    assert_true(cJSON_IsNull(cJSON_GetObjectItem(last(metrics, "evaluation"), "change_low")));
    cJSON_Delete(metrics);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_figures), cmocka_unit_test(test_best_inside),
        cmocka_unit_test(test_stop),    cmocka_unit_test(test_patience),
        cmocka_unit_test(test_killed),  cmocka_unit_test(test_unknown),
        cmocka_unit_test(test_single),
    };
    return cmocka_run_group_tests(tests, setup, scratch_teardown);
}
