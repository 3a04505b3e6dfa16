#include "command.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/rng.h"

#define WORDS 24

char *in_scratch(struct scratch *scratch, const char *name) {
    char *path = dapt_path_join(&scratch->arena, scratch->folder, name);
    assert_non_null(path);
    return path;
}

// Sentences of a small grammar: easy to learn, not trivial.
static void write_corpus(const char *path, uint64_t seed, int lines) {
    static const char *const words[WORDS] = {
        "the",  "bone",   "of",      "a",      "hand",  "joins", "two",    "nerves",
        "and",  "muscle", "under",   "skin",   "blood", "flows", "to",     "each",
        "cell", "which",  "divides", "slowly", "in",    "long",  "fibres", "again"};
    struct dapt_string text = {0};
    for (int line = 0; line < lines; line++) {
        uint64_t word = dapt_random_bits(seed, 1, (uint64_t)line) % WORDS;
        assert_ok(dapt_string_format(&text, "{\"text\": \""));
        for (uint64_t i = 0; i < 12; i++) {
            assert_ok(dapt_string_format(&text, "%s%s", i ? " " : "", words[word]));
            word = (word * 5 + 7 + dapt_random_bits(seed, 2 + (uint64_t)line, i) % 3) % WORDS;
        }
        assert_ok(dapt_string_format(&text, ".\"}\n"));
    }
    assert_ok(dapt_file_write(path, text.data, text.length));
    dapt_string_free(&text);
}

int scratch_setup(void **state) {
    struct scratch *s = calloc(1, sizeof *s);
    const char *base = getenv("TMPDIR");
    assert_non_null(s);
    s->folder = dapt_arena_format(&s->arena, "%s/dapt-test-XXXXXX", base ? base : "/tmp");
    assert_non_null(mkdtemp(s->folder));
    s->data = in_scratch(s, "train.jsonl");
    s->held = in_scratch(s, "held.jsonl");
    s->config = in_scratch(s, "config.json");
    write_corpus(s->data, 1, 200);
    write_corpus(s->held, 2, 20);
    *state = s;
    return 0;
}

int scratch_teardown(void **state) {
    struct scratch *s = *state;
    assert_ok(dapt_remove_tree(s->folder));
    dapt_arena_free(&s->arena);
    free(s);
    return 0;
}

// ---------------------------------------------------------------------------------- configuration

// RFC 7386: members replace, objects merge, null removes.
static void merge(cJSON *into, const cJSON *patch) {
    const cJSON *item;
    cJSON_ArrayForEach(item, patch) {
        cJSON *old = cJSON_GetObjectItemCaseSensitive(into, item->string);
        if (cJSON_IsObject(item) && cJSON_IsObject(old)) {
            merge(old, item);
        } else {
            cJSON_DeleteItemFromObjectCaseSensitive(into, item->string);
            if (!cJSON_IsNull(item))
                cJSON_AddItemToObject(into, item->string, cJSON_Duplicate(item, true));
        }
    }
}

void write_config(struct scratch *scratch, const char *run, const char *more) {
    struct dapt_string text = {0};
    assert_ok(dapt_string_format(
        &text,
        "{\"model\": {\"random\": {\"model_type\": \"llama\", \"hidden_size\": 32, "
        "\"intermediate_size\": 64,"
        " \"num_hidden_layers\": 2, \"num_attention_heads\": 4, \"num_key_value_heads\": 2, "
        "\"vocab_size\": 258,"
        " \"max_position_embeddings\": 64, \"tie_word_embeddings\": true}},"
        " \"tokenizer\": {\"plugin\": \"bytes\"},"
        " \"data\": {\"domain\": \"%s\", \"eval\": {\"held\": \"%s\"}, \"sequence\": 32, "
        "\"cache\": \"cache\"},"
        " \"train\": {\"batch\": 4, \"steps\": 24, \"seed\": 7, \"evaluate_every\": 8, "
        "\"checkpoint_every\": 4, \"keep\": 2,"
        " \"schedule\": {\"plugin\": \"cosine\", \"peak\": 0.01, \"warmup\": 0.1}},"
        " \"backend\": {\"threads\": 2}, \"run\": \"%s\"}",
        scratch->data, scratch->held, run));
    cJSON *config = cJSON_Parse(text.data), *patch = more ? cJSON_Parse(more) : NULL;
    assert_non_null(config);
    assert_true(!more || patch);
    merge(config, patch);
    char *merged = cJSON_Print(config);
    assert_ok(dapt_file_write(scratch->config, merged, strlen(merged)));
    cJSON_free(merged);
    cJSON_Delete(config);
    cJSON_Delete(patch);
    dapt_string_free(&text);
}

// ---------------------------------------------------------------------------------------- command

static pid_t spawn(struct scratch *scratch, char **words) {
    const char *build = getenv("DAPT_TEST_BUILD");
    if (!build) fail_msg("DAPT_TEST_BUILD is not set: run this through meson test");
    char *program = dapt_path_join(&scratch->arena, build, "tools/dapt/dapt");
    char *out = in_scratch(scratch, "stdout"), *err = in_scratch(scratch, "stderr");
    words[0] = program;
    struct rlimit limit = {.rlim_cur = scratch->file_limit, .rlim_max = RLIM_INFINITY};
    pid_t child = fork();
    if (child != 0) {
        scratch->file_limit = 0;
        return child;
    }
    if (limit.rlim_cur &&
        (signal(SIGXFSZ, SIG_IGN) == SIG_ERR || setrlimit(RLIMIT_FSIZE, &limit) != 0))
        _exit(125);
    int in = open("/dev/null", O_RDONLY), o = open(out, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    int e = open(err, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    if (in < 0 || o < 0 || e < 0 || dup2(in, 0) < 0 || dup2(o, 1) < 0 || dup2(e, 2) < 0) _exit(126);
    execv(program, words);
    _exit(127);
}

void limit_files(struct scratch *scratch, uint64_t bytes) {
    scratch->file_limit = bytes;
}

static void collect_words(va_list list, char **words, size_t size) {
    size_t count = 1;
    for (char *word; (word = va_arg(list, char *));) {
        assert_true(count + 1 < size);
        words[count++] = word;
    }
    words[count] = NULL;
}

pid_t start_dapt(struct scratch *scratch, ...) {
    char *words[40];
    va_list list;
    va_start(list, scratch);
    collect_words(list, words, 40);
    va_end(list);
    pid_t child = spawn(scratch, words);
    assert_true(child > 0);
    return child;
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static char *read_output(struct scratch *scratch, const char *name) {
    struct dapt_string text;
    assert_ok(dapt_file_read(in_scratch(scratch, name), 16 << 20, &text));
    char *copy = dapt_arena_copy(&scratch->arena, text.data, text.length);
    dapt_string_free(&text);
    return copy;
}

void finish_dapt(struct scratch *scratch, pid_t child, double delay, int signal_number,
                 struct outcome *outcome) {
    int status;
    double end = now() + delay;
    for (;;) {
        pid_t done = waitpid(child, &status, signal_number ? WNOHANG : 0);
        if (done == child) break;
        if (done < 0 && errno != EINTR) fail_msg("waitpid: %s", strerror(errno));
        if (signal_number && now() >= end) {
            kill(child, signal_number);
            signal_number = 0;
        } else if (signal_number) {
            usleep(200);
        }
    }
    outcome->code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    outcome->out = read_output(scratch, "stdout");
    outcome->err = read_output(scratch, "stderr");
}

void run_dapt(struct scratch *scratch, struct outcome *outcome, ...) {
    char *words[40];
    va_list list;
    va_start(list, outcome);
    collect_words(list, words, 40);
    va_end(list);
    pid_t child = spawn(scratch, words);
    assert_true(child > 0);
    finish_dapt(scratch, child, 0, 0, outcome);
}

void expect(const struct outcome *outcome, int code, const char *part) {
    if (outcome->code == code && (!part || strstr(outcome->err, part))) return;
    fail_msg("exit code %d instead of %d; expected \"%s\" in:\n%s\nstandard output:\n%s",
             outcome->code, code, part ? part : "", outcome->err, outcome->out);
}

void expect_refusals(struct scratch *scratch, const struct refusal *cases, size_t count) {
    struct outcome o;
    for (size_t i = 0; i < count; i++) {
        write_config(scratch, "refused", cases[i].more);
        run_dapt(scratch, &o, "train", scratch->config, NULL);
        expect(&o, 1, cases[i].line);
    }
}

// ------------------------------------------------------------------------------------------ files

bool same_file(const char *a, const char *b) {
    struct dapt_map x, y;
    assert_ok(dapt_map_open(a, &x));
    assert_ok(dapt_map_open(b, &y));
    bool same = x.size == y.size && memcmp(x.data, y.data, x.size) == 0;
    dapt_map_close(&x);
    dapt_map_close(&y);
    return same;
}

char *latest_checkpoint(struct scratch *scratch, const char *run) {
    struct dapt_string text;
    char *folder = in_scratch(scratch, run);
    assert_ok(dapt_file_read(dapt_path_join(&scratch->arena, folder, "latest"), 100, &text));
    text.data[strcspn(text.data, "\n")] = '\0';
    char *path = dapt_arena_format(&scratch->arena, "%s/checkpoints/%s", folder, text.data);
    dapt_string_free(&text);
    return path;
}

cJSON *read_metrics(struct scratch *scratch, const char *run) {
    struct dapt_string text;
    cJSON *list = cJSON_CreateArray();
    char *folder = in_scratch(scratch, run);
    assert_ok(
        dapt_file_read(dapt_path_join(&scratch->arena, folder, "metrics.jsonl"), 16 << 20, &text));
    assert_true(text.length > 0 && text.data[text.length - 1] == '\n');
    for (char *line = text.data, *end; (end = strchr(line, '\n')); line = end + 1) {
        *end = '\0';
        cJSON *object = cJSON_ParseWithOpts(line, NULL, true);
        if (!cJSON_IsObject(object) || !cJSON_GetObjectItem(object, "event") ||
            !cJSON_GetObjectItem(object, "time")) {
            fail_msg("metrics.jsonl: not an event: %s", line);
        }
        cJSON_AddItemToArray(list, object);
    }
    dapt_string_free(&text);
    return list;
}

size_t count_events(const cJSON *metrics, const char *event) {
    size_t count = 0;
    const cJSON *item;
    cJSON_ArrayForEach(item, metrics) {
        count += strcmp(cJSON_GetObjectItem(item, "event")->valuestring, event) == 0;
    }
    return count;
}

double figure(const cJSON *object, const char *key) {
    const cJSON *item = cJSON_GetObjectItem(object, key);
    if (!cJSON_IsNumber(item)) fail_msg("no number \"%s\"", key);
    return item->valuedouble;
}

void check_same_end(struct scratch *s, const char *a, const char *b) {
    static const char *const files[] = {"model.safetensors", "adapter_model.safetensors",
                                        "state.safetensors", "run.json"};
    bool adapters = dapt_is_file(
        dapt_path_join(&s->arena, latest_checkpoint(s, a), "adapter_config.json"));
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
        if (i != !adapters &&
            !same_file(dapt_path_join(&s->arena, latest_checkpoint(s, a), files[i]),
                       dapt_path_join(&s->arena, latest_checkpoint(s, b), files[i])))
            fail_msg("%s differs between %s and %s", files[i], a, b);
}

void check_resume(struct scratch *s, const char *name, const char *more) {
    struct outcome o;
    char *stopped = dapt_arena_format(&s->arena, "%s-stopped", name);
    write_config(s, name, more);
    run_dapt(s, &o, "train", s->config, "--set", "train.keep=9", NULL);
    expect(&o, 0, NULL);
    assert_ok(dapt_mkdirs(in_scratch(s, dapt_arena_format(&s->arena, "%s/checkpoints", stopped))));
    assert_ok(dapt_rename(
        in_scratch(s, dapt_arena_format(&s->arena, "%s/checkpoints/step-000012", name)),
        in_scratch(s, dapt_arena_format(&s->arena, "%s/checkpoints/step-000012", stopped))));
    write_config(s, stopped, more);
    run_dapt(s, &o, "train", s->config, "--resume", NULL);
    expect(&o, 0, NULL);
    check_same_end(s, name, stopped);
}
