// An event is told once, and stands in metrics.jsonl and in what the callback gets.
#include <math.h>

#include "command.h"
#include "train/trainer.h"

static struct dapt_train_event told[4];
static char texts[4][256];  // of them: they last as long as the callback
static size_t told_count;

static void keep(void *user, const struct dapt_train_event *event) {
    (void)user;
    assert_true(told_count < sizeof told / sizeof *told);
    told[told_count] = *event;
    if (event->text) {
        snprintf(texts[told_count], sizeof texts[0], "%s", event->text);
        told[told_count].text = texts[told_count];
    }
    told_count++;
}

static struct dapt_trainer open_trainer(struct scratch *s) {
    static struct dapt_eval_set sets[] = {{"held", "domain", {0}}, {"new", "new", {0}}};
    static struct dapt_budget budget = {"domain", 0.125};
    static struct dapt_config config = {.data = {.eval = sets, .eval_count = 2},
                                        .train = {.budget = &budget, .budget_count = 1}};
    struct dapt_trainer t = {
        .reporter = {keep, NULL}, .config = &config, .step = 7, .setup = {.steps = 9}};
    assert_ok(dapt_run_folder_open(in_scratch(s, "run"), &t.run));
    assert_ok(dapt_metrics_open(in_scratch(s, "run/metrics.jsonl"), &t.metrics));
    told_count = 0;
    return t;
}

static void close_trainer(struct dapt_trainer *t) {
    dapt_metrics_close(&t->metrics);
    assert_ok(dapt_remove_tree(t->run.path));
    dapt_run_folder_close(&t->run);
}

// What was written, without the times.
static char *lines(struct scratch *s) {
    struct dapt_string text = {0};
    assert_ok(dapt_file_read(in_scratch(s, "run/metrics.jsonl"), 1 << 20, &text));
    char *kept = dapt_arena_format(&s->arena, "%s", text.data ? text.data : "");
    static const char mark[] = ",\"time\":\"2026-11-25T10:00:00.000Z\"";
    for (char *at = kept; (at = strstr(at, ",\"time\":"));)
        memmove(at, at + strlen(mark), strlen(at + strlen(mark)) + 1);
    dapt_string_free(&text);
    return kept;
}

static void expect_told(struct scratch *s, enum dapt_event_kind kind, struct dapt_event event,
                        const char *line) {
    struct dapt_trainer t = open_trainer(s);
    dapt_trainer_tell(&t, kind, &event);
    assert_string_equal(lines(s), line);
    assert_int_equal(told_count, kind <= DAPT_EVENT_END);
    if (told_count) {
        assert_int_equal(told[0].kind, kind);
        assert_true(told[0].step == 7 && told[0].steps == 9);
    }
    close_trainer(&t);
}

static void test_lines(void **state) {
    struct scratch *s = *state;
    struct dapt_event step = {.told = {.loss = 2.5, .norm = NAN, .learning_rate = 1e-4},
                              .weight_decay = 0.1,
                              .scored = 1738,
                              .seconds = 0.25};
    expect_told(
        s, DAPT_EVENT_STEP, step,
        "{\"event\":\"step\",\"step\":7,\"loss\":2.5,\"norm\":null,\"learning_rate\":0.0001,"
        "\"weight_decay\":0.1,\"scored\":1738,\"seconds\":0.25}\n");
    step.since_start = 0.5;
    expect_told(
        s, DAPT_EVENT_STEP, step,
        "{\"event\":\"step\",\"step\":7,\"loss\":2.5,\"norm\":null,\"learning_rate\":0.0001,"
        "\"weight_decay\":0.1,\"scored\":1738,\"seconds\":0.25,\"since_start\":0.5}\n");
    expect_told(s, DAPT_EVENT_SKIP,
                (struct dapt_event){.told = {.text = "loss inf", .bad_in_row = 3}},
                "{\"event\":\"skip\",\"step\":7,\"text\":\"loss inf\",\"in_row\":3}\n");
    expect_told(s, DAPT_EVENT_CHECKPOINT,
                (struct dapt_event){.told = {.text = "step-000007"}, .best = true, .seconds = 2},
                "{\"event\":\"checkpoint\",\"step\":7,\"name\":\"step-000007\",\"best\":true,"
                "\"seconds\":2}\n");
    expect_told(s, DAPT_EVENT_TROUBLE, (struct dapt_event){.told = {.text = "a \"disk\""}},
                "{\"event\":\"trouble\",\"step\":7,\"text\":\"a \\\"disk\\\"\"}\n");
    expect_told(s, DAPT_EVENT_STOP, (struct dapt_event){.told = {.text = "how to go on"}},
                "{\"event\":\"stop\",\"step\":7}\n");
    expect_told(s, DAPT_EVENT_FAILURE, (struct dapt_event){.told = {.text = "the device"}},
                "{\"event\":\"failure\",\"step\":7,\"text\":\"the device\"}\n");
    expect_told(s, DAPT_EVENT_REPLAY,
                (struct dapt_event){.set = {.name = "general"}, .share = 0.25},
                "{\"event\":\"replay\",\"step\":7,\"set\":\"general\",\"share\":0.25}\n");
    expect_told(s, DAPT_EVENT_ROUNDING,
                (struct dapt_event){.set = {.name = "held", .bits_per_byte = 1.5},
                                    .dtype = "bfloat16",
                                    .bits_float32 = 1.25},
                "{\"event\":\"rounding\",\"step\":7,\"set\":\"held\",\"dtype\":\"bfloat16\","
                "\"bits_per_byte\":1.5,\"bits_per_byte_float32\":1.25}\n");
}

static void test_end(void **state) {
    struct scratch *s = *state;
    static const struct dapt_event_pass passes[] = {{"domain", 1.5}, {"replay[1]", INFINITY}};
    struct dapt_event event = {.told = {.text = "done"},
                               .updates = 6,
                               .skipped = 1,
                               .tokens = 768,
                               .best_step = 4,
                               .train_seconds = 3,
                               .tokens_per_second = 256,
                               .seconds = 4,
                               .passes = passes,
                               .pass_count = 2};
    expect_told(
        s, DAPT_EVENT_END, event,
        "{\"event\":\"end\",\"step\":7,\"updates\":6,\"skipped\":1,\"tokens\":768,\"best\":4,"
        "\"train_seconds\":3,\"tokens_per_second\":256,\"seconds\":4,\"passes\":[{\"source\":"
        "\"domain\",\"passes\":1.5},{\"source\":\"replay[1]\",\"passes\":null}]}\n");
    assert_true(told[0].tokens_per_second == 0);  // of a step only
    event.best_step = DAPT_NEVER;
    event.pass_count = 0;
    event.ended = "train.patience";
    expect_told(
        s, DAPT_EVENT_END, event,
        "{\"event\":\"end\",\"step\":7,\"updates\":6,\"skipped\":1,\"tokens\":768,"
        "\"train_seconds\":3,\"tokens_per_second\":256,\"seconds\":4,\"passes\":[],\"ended\":"
        "\"train.patience\"}\n");
}

// A line a set, and all of them told at once.
static void test_evaluation(void **state) {
    struct scratch *s = *state;
    static const struct dapt_evaluation sets[] = {
        {.name = "held",
         .nats_per_token = 2,
         .perplexity = 7.5,
         .bits_per_byte = 1.5,
         .bits_before = 2,
         .scored = 10,
         .role = "domain",
         .documents = 4,
         .change_low = -0.75,
         .change_high = -0.25,
         .tokens = 11,
         .bytes = 12,
         .seconds = 0.5},
        {.name = "new", .bits_before = NAN, .change_low = NAN, .change_high = NAN}};
    struct dapt_event event = {.told = {.evaluations = sets, .evaluation_count = 2}};
    expect_told(
        s, DAPT_EVENT_EVALUATION, event,
        "{\"event\":\"evaluation\",\"step\":7,\"set\":\"held\",\"masked\":false,\"nats_per_token\":"
        "2,"
        "\"perplexity\":7.5,\"bits_per_byte\":1.5,\"bits_per_byte_change\":-0.5,\"scored\":10,"
        "\"tokens\":11,\"bytes\":12,\"seconds\":0.5,\"role\":\"domain\",\"documents\":4,\"change_"
        "low\":"
        "-0.75,\"change_high\":-0.25,\"budget\":0.125}\n"
        "{\"event\":\"evaluation\",\"step\":7,\"set\":\"new\",\"masked\":false,\"nats_per_token\":"
        "0,"
        "\"perplexity\":0,\"bits_per_byte\":0,\"bits_per_byte_change\":null,\"scored\":0,"
        "\"tokens\":0,\"bytes\":0,\"seconds\":0,\"documents\":0,\"change_low\":null,\"change_"
        "high\":null}"
        "\n");
    assert_ptr_equal(told[0].evaluations, sets);
}

// That the file cannot be written is told once, before what could not be.
static void test_no_file(void **state) {
    struct scratch *s = *state;
    struct dapt_trainer t = open_trainer(s);
    assert_ok(dapt_rename(in_scratch(s, "run"), in_scratch(s, "moved")));
    for (int i = 0; i < 2; i++) dapt_trainer_trouble(&t, "mine");
    assert_int_equal(told_count, 3);
    assert_int_equal(told[0].kind, DAPT_TRAIN_TROUBLE);
    assert_string_equal(told[1].text, "mine");
    assert_string_equal(told[2].text, "mine");
    // What went wrong before stands, though the file's own reason comes after it.
    dapt_fail(DAPT_ERROR_IO, "mine too");
    dapt_trainer_trouble(&t, dapt_error());
    assert_string_equal(told[3].text, "mine too");
    assert_ok(dapt_rename(in_scratch(s, "moved"), in_scratch(s, "run")));
    close_trainer(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_end),
        cmocka_unit_test(test_evaluation),
        cmocka_unit_test(test_no_file),
    };
    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
