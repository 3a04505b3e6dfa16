// Tasks against lm-evaluation-harness, the probe against scikit-learn on transformers' hidden
// states: what tests/peer/score_peer.py wrote of the model in tools/base. Then what is wrong with
// files.
#include <math.h>

#include "command.h"
#include "infer/probe.h"
#include "infer/score.h"

static struct dapt_modules *modules;

static const char *backend(void) {
    const char *name = getenv("DAPT_TEST_BACKEND");
    return name ? name : "cpu";
}

// On other devices, which may be slow, only what is computed there is looked at.
static bool on_cpu(void) {
    return strcmp(backend(), "cpu") == 0;
}

static char *in_source(struct scratch *s, const char *name) {
    char *path = dapt_path_join(&s->arena, getenv("DAPT_TEST_SOURCE"), name);
    assert_non_null(path);
    return path;
}

static char *in_tasks(struct scratch *s, const char *name) {
    return in_source(s, dapt_arena_format(&s->arena, "tests/train/score/%s", name));
}

static cJSON *parse(const char *text) {
    cJSON *json = cJSON_Parse(text);
    if (!json) fail_msg("no JSON: %s", text);
    return json;
}

static cJSON *expected(struct scratch *s, const char *name) {
    struct dapt_string text = {0};
    assert_ok(dapt_file_read(in_tasks(s, name), 1 << 20, &text));
    cJSON *json = parse(text.data);
    dapt_string_free(&text);
    return json;
}

static double number(const cJSON *object, const char *name) {
    const cJSON *item = cJSON_GetObjectItem(object, name);
    return cJSON_IsNumber(item) ? item->valuedouble : NAN;
}

static void close_to(const char *what, double ours, double theirs, double tolerance) {
    if (isnan(ours) && isnan(theirs)) return;  // no standard error
    if (!(fabs(ours - theirs) <= tolerance * (1 + fabs(theirs))))
        fail_msg("%s: %.9g, expected %.9g", what, ours, theirs);
}

// ------------------------------------------------------------------------------------------- tasks

static const char *const names[] = {"choice", "rolling", "delimiter", "cloze"};
#define NAMES (sizeof names / sizeof *names)
#define ELSEWHERE 2  // the first one that other devices score

static void open_session(struct scratch *s, struct dapt_session *session) {
    struct dapt_model_options options = {.model = in_source(s, "tools/base"), .backend = backend()};
    const struct dapt_engine_options engine = {.sequences = 1, .length = 1};
    assert_ok(dapt_session_open(modules, &options, session));
    assert_ok(dapt_session_engine(session, &options, &engine));
}

static struct dapt_likelihood *score(struct dapt_session *session, const char *path, uint64_t limit,
                                     struct dapt_task *task) {
    assert_ok(dapt_task_read(session, path, limit, session->model->max_positions, task));
    struct dapt_likelihood *made = calloc(task->request_count, sizeof *made);
    assert_non_null(made);
    assert_ok(dapt_score_requests(session, task, made));
    return made;
}

static void compare_sums(const struct dapt_task *task, const struct dapt_likelihood *made,
                         const cJSON *sums) {
    int r = 0;
    for (size_t k = 0; k < task->record_count; k++) {
        double sum = 0;
        bool whole = task->kind == DAPT_TASK_ROLLING;  // one sum a record
        for (size_t n = 0; n < task->records[k].count; n++) {
            sum += made[task->records[k].first + n].sum;
            if (whole && n + 1 < task->records[k].count) continue;
            const cJSON *item = cJSON_GetArrayItem(sums, r++);
            assert_non_null(item);
            close_to(task->path, sum, item->valuedouble, 1e-4);
            sum = 0;
        }
    }
    assert_true(r == cJSON_GetArraySize(sums) || !on_cpu());
}

// Every sum of log p as the harness has it; and the same bits when only some records are scored.
static void test_sums(void **state) {
    struct scratch *s = *state;
    struct dapt_session session;
    cJSON *all = expected(s, "expected.json");
    open_session(s, &session);
    for (size_t i = on_cpu() ? 0 : ELSEWHERE; i < NAMES; i++) {
        struct dapt_task task, part;
        char *path = in_tasks(s, dapt_arena_format(&s->arena, "%s.jsonl", names[i]));
        struct dapt_likelihood *made = score(&session, path, on_cpu() ? 0 : 3, &task);
        compare_sums(&task, made, cJSON_GetObjectItem(cJSON_GetObjectItem(all, names[i]), "sums"));
        if (on_cpu()) {
            struct dapt_likelihood *some = score(&session, path, 3, &part);
            assert_memory_equal(made, some, part.request_count * sizeof *some);
            free(some);
            dapt_task_close(&part);
        }
        free(made);
        dapt_task_close(&task);
    }
    cJSON_Delete(all);
    dapt_session_close(&session);
}

static void test_figures(void **state) {
    struct scratch *s = *state;
    struct outcome o;
    cJSON *all = expected(s, "expected.json");
    run_dapt(s, &o, "score", in_source(s, "tools/base"), "--json", "--backend", backend(), "--task",
             in_tasks(s, "choice.jsonl"), in_tasks(s, "rolling.jsonl"),
             in_tasks(s, "delimiter.jsonl"), in_tasks(s, "cloze.jsonl"), NULL);
    expect(&o, 0, NULL);
    cJSON *root = parse(o.out);
    const cJSON *tasks = cJSON_GetObjectItem(root, "tasks");
    assert_int_equal(cJSON_GetArraySize(tasks), NAMES);
    for (size_t i = 0; i < NAMES; i++) {
        const cJSON *ours = cJSON_GetObjectItem(cJSON_GetArrayItem(tasks, (int)i), "metrics"),
                    *theirs = cJSON_GetObjectItem(cJSON_GetObjectItem(all, names[i]), "metrics"),
                    *metric;
        assert_int_equal(cJSON_GetArraySize(ours), cJSON_GetArraySize(theirs));
        cJSON_ArrayForEach(metric, theirs) {
            const cJSON *mine = cJSON_GetObjectItem(ours, metric->string);
            bool drawn = strcmp(metric->string, "perplexity") == 0;  // error by chance
            close_to(metric->string, number(mine, "value"), number(metric, "value"), 1e-4);
            close_to(metric->string, number(mine, "error"), number(metric, "error"),
                     drawn ? 0.05 : 1e-6);
        }
    }
    assert_int_equal(number(cJSON_GetArrayItem(tasks, 0), "cut"), 12);
    cJSON_Delete(root);
    cJSON_Delete(all);
    run_dapt(s, &o, "score", in_source(s, "tools/base"), "--backend", backend(), "--limit", "2",
             "--task", in_tasks(s, "cloze.jsonl"), NULL);
    expect(&o, 0, NULL);
    assert_non_null(strstr(o.out, "cloze                     2 acc "));
}

// ------------------------------------------------------------------------------------------- probe

static void check_features(struct dapt_session *session, const struct dapt_labelled *texts,
                           bool last, const cJSON *theirs) {
    size_t width = session->model->hidden;
    double *features = calloc(texts->count * width, sizeof *features);
    assert_non_null(features);
    assert_ok(dapt_labelled_features(session, texts, last, features));
    for (int i = 0; i < cJSON_GetArraySize(theirs); i++) {
        const cJSON *row = cJSON_GetArrayItem(theirs, i);
        assert_int_equal(cJSON_GetArraySize(row), width);
        for (size_t c = 0; c < width; c++)
            close_to(last ? "last" : "mean", features[(size_t)i * width + c],
                     cJSON_GetArrayItem(row, (int)c)->valuedouble, 1e-4);
    }
    free(features);
}

static void test_features(void **state) {
    struct scratch *s = *state;
    struct dapt_session session;
    struct dapt_label_names labels = {0};
    struct dapt_labelled texts;
    cJSON *theirs = expected(s, "labelled/expected.json");
    open_session(s, &session);
    assert_ok(
        dapt_labelled_read(&session, in_tasks(s, "labelled/train.jsonl"), 256, &labels, &texts));
    assert_int_equal(labels.count, 5);
    texts.count = (size_t)cJSON_GetArraySize(cJSON_GetObjectItem(theirs, "mean"));
    check_features(&session, &texts, false, cJSON_GetObjectItem(theirs, "mean"));
    if (on_cpu()) check_features(&session, &texts, true, cJSON_GetObjectItem(theirs, "last"));
    dapt_labelled_close(&texts);
    free(labels.names);
    dapt_arena_free(&labels.arena);
    dapt_session_close(&session);
    cJSON_Delete(theirs);
}

static void test_probe(void **state) {
    struct scratch *s = *state;
    struct outcome o;
    cJSON *theirs = expected(s, "labelled/expected.json"), *runs[2];
    static const char *const figures[] = {"macro_f1", "micro_f1"};
    for (int i = 0; i < 2; i++) {
        run_dapt(s, &o, "probe", in_source(s, "tools/base"), "--json", "--backend", backend(),
                 "--threads", i ? "2" : "1", "--train", in_tasks(s, "labelled/train.jsonl"),
                 "--test", in_tasks(s, "labelled/test.jsonl"), NULL);
        expect(&o, 0, NULL);
        runs[i] = parse(o.out);
        close_to("C", number(runs[i], "C"), number(theirs, "C"), 0);
        for (int k = 0; k < 2; k++) {
            const cJSON *interval = cJSON_GetObjectItem(runs[i], figures[k]);
            double value = number(interval, "value");
            close_to(figures[k], value, number(theirs, figures[k]), 0.01);  // a text of 80 at most
            assert_true(number(interval, "low") < value && value < number(interval, "high"));
        }
        cJSON_DeleteItemFromObject(runs[i], "seconds");
    }
    assert_true(cJSON_Compare(runs[0], runs[1], true));
    cJSON_Delete(runs[0]);
    cJSON_Delete(runs[1]);
    cJSON_Delete(theirs);
}

// --------------------------------------------------------------------------------------- bad input

#define GOOD "{\"context\": \"a\", \"choices\": [\"b\", \"c\"], \"answer\": 1}\n"

static void test_bad_tasks(void **state) {
    struct scratch *s = *state;
    static const struct {
        const char *text, *part;
    } cases[] = {
        {"", "task.jsonl: holds no record; expected lines such as {\"context\""},
        {"\n  \n", "task.jsonl: holds no record"},
        {GOOD "\n{\"context\": \"a\"}\n", "task.jsonl:3:1: has none of \"choices\""},
        {GOOD "[1]\n", "task.jsonl:2:1: expected an object a line, got an array"},
        {GOOD "{\"context\": \"a\n", "task.jsonl:2:"},
        {GOOD "{\"text\": \"a\"}\n", "task.jsonl:2:1: has \"text\", expected \"choices\" as in"},
        {"{\"choices\": [\"b\"], \"answer\": 0}", "task.jsonl:1:1: \"context\" is missing here"},
        {"{\"context\": \"a\", \"choices\": [\"b\"]}", "task.jsonl:1:1: \"answer\" is missing"},
        {"{\"context\": \"a\", \"choices\": [\"b\"], \"answer\": 1}",
         "task.jsonl:1:46: answer: expected an integer from 0 to 0, got 1"},
        {"{\"context\": \"a\", \"choices\": [], \"answer\": 0}",
         "choices: is empty, expected texts"},
        {"{\"context\": \"a\", \"choices\": [\"b\", 2], \"answer\": 0}",
         "choices[1]: expected a string, got 2"},
        {"{\"context\": \"a\", \"choices\": [\"b\", \"\"], \"answer\": 0}", "choices[1]: is empty"},
        {"{\"context\": \"a\", \"continuation\": \"\"}", "continuation: is empty, expected a text"},
        {"{\"text\": \"\"}", "task.jsonl:1:10: text: is empty, expected a text"},
    };
    struct outcome o;
    char *path = in_scratch(s, "task.jsonl");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_ok(dapt_file_write(path, cases[i].text, strlen(cases[i].text)));
        run_dapt(s, &o, "score", in_source(s, "tools/base"), "--task", path, NULL);
        expect(&o, 1, cases[i].part);
        assert_ptr_equal(strchr(o.err, '\n'), o.err + strlen(o.err) - 1);
    }
    run_dapt(s, &o, "score", in_source(s, "tools/base"), NULL);
    expect(&o, 2, "score: no task was named: --task FILE");
    run_dapt(s, &o, "score", in_source(s, "tools/base"), "--task", in_scratch(s, "gone"), NULL);
    expect(&o, 1, "gone");
    run_dapt(s, &o, "score", in_source(s, "tools/base"), "--task", in_tasks(s, "cloze.jsonl"),
             "--sequence", "257", NULL);
    expect(&o, 1, "texts of 257 tokens: expected 1 to 256, the positions of the model");
    run_dapt(s, &o, "score", in_source(s, "tools/base"), "--task", in_tasks(s, "choice.jsonl"),
             "--sequence", "2", NULL);
    expect(&o, 1, "tokens, expected at most the model's 2");
}

static void test_bad_labels(void **state) {
    struct scratch *s = *state;
    static const struct {
        const char *text, *part;
    } cases[] = {
        {"", "train.jsonl: holds no record; expected lines such as {\"text\""},
        {"{\"text\": \"a\"}", "train.jsonl:1:1: \"label\" is missing here, expected a string"},
        {"{\"text\": \"a\", \"label\": true}", "label: expected a string, got true"},
        {"{\"label\": \"a\"}", "train.jsonl:1:1: \"text\" is missing here"},
        {"{\"text\": \"a\", \"label\": 1}\n{\"text\": \"\", \"label\": 2}",
         "train.jsonl:2:10: text: is empty, expected a text"},
        {"{\"text\": \"a\", \"label\": 1}\n{\"text\": \"b\", \"label\": 1}",
         "all texts have the label \"1\", expected at least two labels"},
    };
    struct outcome o;
    char *path = in_scratch(s, "train.jsonl"), *test = in_tasks(s, "labelled/test.jsonl");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_ok(dapt_file_write(path, cases[i].text, strlen(cases[i].text)));
        run_dapt(s, &o, "probe", in_source(s, "tools/base"), "--train", path, "--test", test, NULL);
        expect(&o, 1, cases[i].part);
        assert_ptr_equal(strchr(o.err, '\n'), o.err + strlen(o.err) - 1);
    }
    run_dapt(s, &o, "probe", in_source(s, "tools/base"), "--train", path, NULL);
    expect(&o, 2, "probe: no test texts were named: --test FILE");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sums),      cmocka_unit_test(test_features),
        cmocka_unit_test(test_figures),   cmocka_unit_test(test_probe),
        cmocka_unit_test(test_bad_tasks), cmocka_unit_test(test_bad_labels),
    };
    const struct CMUnitTest elsewhere[] = {
        cmocka_unit_test(test_sums),
        cmocka_unit_test(test_features),
    };
    if (dapt_modules_load(NULL, &modules)) {
        fprintf(stderr, "%s\n", dapt_error());
        return 1;
    }
    int failed = on_cpu()
                     ? cmocka_run_group_tests_name("score", tests, scratch_setup, scratch_teardown)
                     : cmocka_run_group_tests_name("score", elsewhere, scratch_setup,
                                                   scratch_teardown);
    dapt_modules_unload(&modules);
    return failed;
}
