// The command line: one clear line and the right exit code for what is wrong.
#include <unistd.h>

#include "command.h"

// One line on standard error, beginning with the program's name.
static void expect_line(const struct outcome *o, int code, const char *part) {
    expect(o, code, part);
    if (strncmp(o->err, "dapt: ", 6) != 0 || strchr(o->err, '\n') != o->err + strlen(o->err) - 1) {
        fail_msg("not one line of ours: %s", o->err);
    }
}

static void test_usage(void **state) {
    static const struct {
        const char *words[4];
        const char *part;
    } cases[] = {
        {{"fly"}, "there is no command \"fly\"; `dapt help`"},
        {{"trian"}, "there is no command \"trian\", did you mean \"train\"?"},
        {{"help", "plugin"}, "did you mean \"plugins\"?"},
        {{"train", "a", "--resum"}, "unknown option --resum, did you mean --resume?"},
        {{"eval", "a", "--max-token=5"}, "unknown option --max-token, did you mean --max-tokens?"},
        {{"--fly"}, "unknown option --fly"},
        {{"train"}, "an argument is missing; usage: dapt train CONFIG"},
        {{"train", "a", "b"}, "one argument too many"},
        {{"train", "a", "--fly"}, "unknown option --fly"},
        {{"train", "a", "--set"}, "--set needs a value"},
        {{"train", "a", "--resume=yes"}, "--resume takes no value"},
        {{"eval", "a"}, "no data was named"},
        {{"eval", "a", "--data", "=x"}, "expected NAME=PATH"},
        {{"generate", "a"}, "no prompt was given"},
        {{"generate", "a", "--temperature", "hot"}, "--temperature is \"hot\", expected a number"},
        {{"generate", "a", "--temperature=nan"}, "--temperature is \"nan\""},
        {{"generate", "a", "--max-tokens", "-1"},
         "--max-tokens is \"-1\", expected a whole number"},
        {{"generate", "a", "--top-p", "1.5"}, "from 0 to 1"},
        {{"generate", "a", "--seed", "99999999999999999999999"}, "--seed"},
        {{"tokenize", "a"}, "an argument is missing"},
        {{"bench", "a", "--steps", "0"}, "--steps is \"0\", expected a whole number"},
        {{"help", "fly"}, "there is no command \"fly\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct outcome o;
        const char *const *w = cases[i].words;
        run_dapt(*state, &o, w[0], w[1], w[1] ? w[2] : NULL, w[1] && w[2] ? w[3] : NULL, NULL);
        expect_line(&o, 2, cases[i].part);
    }
}

static void test_failures(void **state) {
    struct scratch *s = *state;
    struct outcome o;
    char *empty = in_scratch(s, "empty");
    assert_ok(dapt_mkdirs(empty));
    run_dapt(s, &o, "train", in_scratch(s, "nowhere.json"), NULL);
    expect_line(&o, 1, "nowhere.json");
    assert_ok(dapt_file_write(in_scratch(s, "bad.json"), "{\"model\": }", 11));
    run_dapt(s, &o, "train", in_scratch(s, "bad.json"), NULL);
    expect_line(&o, 1, "bad.json:1:11");
    write_config(s, "x", "{\"trian\": {}}");
    run_dapt(s, &o, "train", s->config, NULL);
    expect_line(&o, 1, "trian");
    write_config(s, "x", "{\"train\": {\"batch\": \"many\"}}");
    run_dapt(s, &o, "train", s->config, NULL);
    expect_line(&o, 1, "train.batch");
    write_config(s, "x", "{\"data\": {\"domain\": \"missing.jsonl\"}}");
    run_dapt(s, &o, "train", s->config, NULL);
    expect(&o, 1, "missing.jsonl");
    write_config(s, "x", "{\"data\": {\"domain\": []}}");
    run_dapt(s, &o, "train", s->config, NULL);
    expect(&o, 1, "data.domain: the array is empty, expected a path");
    assert_ok(dapt_file_write(in_scratch(s, "blank.txt"), "\n \n", 3));
    write_config(s, "x", "{\"data\": {\"domain\": \"blank.txt\"}}");
    run_dapt(s, &o, "train", s->config, NULL);
    expect(&o, 1, "blank.txt (records that are empty: 1, bad: 0)");
    write_config(s, "x", "{\"train\": {\"schedule\": {\"plugin\": \"zigzag\"}}}");
    run_dapt(s, &o, "train", s->config, NULL);
    expect_line(&o, 1, "zigzag");
    write_config(s, "x", "{\"train\": {\"schedule\": {\"peek\": 1}}}");
    run_dapt(s, &o, "train", s->config, NULL);
    expect_line(&o, 1, "peek");
    write_config(s, "x", "{\"train\": {\"best\": \"other\"}}");
    run_dapt(s, &o, "train", s->config, NULL);
    expect(&o, 1, "train.best");
    write_config(s, "x", "{\"data\": {\"sequence\": 65}}");
    run_dapt(s, &o, "train", s->config, NULL);
    expect(&o, 1, "data.sequence is 65, but the model has 64 positions");
    write_config(s, "x", "{\"model\": {\"random\": {\"vocab_size\": 100}}}");
    run_dapt(s, &o, "train", s->config, NULL);
    expect(&o, 1, "is this the model's own tokenizer?");
    // So is a device that is not there.
    write_config(s, "x", "{\"backend\": {\"name\": \"abacus\"}, \"data\": {\"domain\": \"none\"}}");
    run_dapt(s, &o, "train", s->config, NULL);
    expect(&o, 1, "abacus");
    write_config(s, "x/y", NULL);
    assert_ok(dapt_file_write(in_scratch(s, "x"), "", 0));
    run_dapt(s, &o, "train", s->config, NULL);
    expect_line(&o, 1, "x: folder cannot be made: Not a directory");
    assert_int_equal(unlink(in_scratch(s, "x")), 0);
    // Weights that don't fit the model are found before the text is looked at.
    static const char shape[] =
        "{\"model_type\": \"llama\", \"hidden_size\": 32, \"intermediate_size\": 64, "
        "\"num_hidden_layers\": 2, \"num_attention_heads\": 4, \"vocab_size\": 258}";
    assert_ok(dapt_mkdirs(in_scratch(s, "hollow")));
    assert_ok(dapt_file_write(in_scratch(s, "hollow/config.json"), shape, strlen(shape)));
    write_config(s, "x", "{\"model\": \"hollow\", \"data\": {\"domain\": \"missing.jsonl\"}}");
    run_dapt(s, &o, "train", s->config, NULL);
    expect_line(&o, 1, "hollow holds neither model.safetensors nor");
    assert_ok(dapt_mkdirs(in_scratch(s, "hollow/checkpoints")));
    run_dapt(s, &o, "train", s->config, NULL);
    expect_line(&o, 1, "hollow: is the folder of a run");
    assert_false(dapt_is_dir(in_scratch(s, "x")));  // none of these began a run
    run_dapt(s, &o, "eval", empty, "--data", "a=b", "--data", "a=c", NULL);
    expect_line(&o, 2, "two sets are named \"a\"");
    run_dapt(s, &o, "eval", in_scratch(s, "gone"), "--data", "a=b", NULL);
    expect_line(&o, 1, "gone: no such folder");
    expect(&o, 1, "hf download ID --local-dir FOLDER");  // its folder is there: no name of a hub
    run_dapt(s, &o, "eval", "Qwen/Qwen2.5-0.5B", "--data", "a=b", NULL);
    expect_line(&o, 1, "hf download Qwen/Qwen2.5-0.5B --local-dir Qwen/Qwen2.5-0.5B");
    run_dapt(s, &o, "bench", "Qwen/Qwen2.5-0.5B", NULL);
    expect_line(&o, 1, "hf download Qwen/Qwen2.5-0.5B --local-dir Qwen/Qwen2.5-0.5B");
    write_config(s, "x", "{\"model\": \"Qwen/Qwen2.5-0.5B\"}");
    run_dapt(s, &o, "train", s->config, NULL);
    expect_line(&o, 1, "hf download Qwen/Qwen2.5-0.5B --local-dir /");
    run_dapt(s, &o, "eval", s->config, "--data", "a=b", NULL);
    expect_line(&o, 1, "is a file, expected a folder");
    run_dapt(s, &o, "generate", empty, "--prompt", "a", "--tokenizer", "bytes", NULL);
    expect_line(&o, 1, "empty: holds no config.json");
    assert_string_equal(o.out, "");  // not the prompt either
    run_dapt(s, &o, "generate", empty, "--prompt", "a\xff", NULL);
    expect_line(&o, 1, "the prompt is not UTF-8: byte 1 is 0xff");
    run_dapt(s, &o, "tokenize", empty, s->config, NULL);
    expect_line(&o, 1, "empty: holds no config.json");
    run_dapt(s, &o, "tokenize", empty, in_scratch(s, "gone"), NULL);
    expect_line(&o, 1, "gone");
    run_dapt(s, &o, "verify", empty, NULL);
    expect_line(&o, 1, "golden.safetensors");
}

// What stands in a run's folder names a model as the folder itself does.
static void test_marks(void **state) {
    struct scratch *s = *state;
    static const char *const names[] = {"marks", "marks/latest", "marks/best",
                                        "marks/checkpoints/step-000004"};
    struct outcome o;
    write_config(s, "marks", "{\"train\": {\"steps\": 4}}");
    run_dapt(s, &o, "train", s->config, NULL);
    expect(&o, 0, NULL);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        run_dapt(s, &o, "generate", in_scratch(s, names[i]), "--prompt", "a", "--max-tokens", "3",
                 NULL);
        expect(&o, 0, NULL);
        assert_string_equal(o.err, "");  // where there is no GPU too
    }
    assert_ok(dapt_remove_tree(in_scratch(s, "marks/best")));
    run_dapt(s, &o, "generate", in_scratch(s, "marks/best"), "--prompt", "a", NULL);
    expect_line(&o, 1, "marks/best: the run has no best checkpoint yet");
    assert_ok(dapt_file_write(in_scratch(s, "marks/best"), "step-000009\n", 12));
    run_dapt(s, &o, "eval", in_scratch(s, "marks/best"), "--data", "a=b", NULL);
    expect_line(&o, 1, "checkpoints/step-000009, which is not there");
    assert_ok(dapt_file_write(in_scratch(s, "marks/best"), "../../etc\n", 10));
    run_dapt(s, &o, "eval", in_scratch(s, "marks/best"), "--data", "a=b", NULL);
    expect_line(&o, 1, "holds \"../../etc\", expected the name of a checkpoint");
}

// A file that is no module, in a folder of plugins: told, and in nobody's way.
static void test_plugin_folder(void **state) {
    struct scratch *s = *state;
    struct outcome o;
    char *folder = in_scratch(s, "plugins");
    assert_ok(dapt_mkdirs(folder));
    assert_ok(dapt_file_write(in_scratch(s, "plugins/junk.so"), "junk", 4));
    setenv("DAPT_PLUGIN_PATH", folder, 1);
    run_dapt(s, &o, "devices", NULL);
    expect(&o, 0, "plugins/junk.so: is not a shared object (ELF); the module is left out");
    setenv("DAPT_PLUGIN_PATH", in_scratch(s, "plugins/junk.so"), 1);
    run_dapt(s, &o, "devices", NULL);
    expect_line(&o, 1, "plugins/junk.so: is not a shared object (ELF)");  // named itself
    unsetenv("DAPT_PLUGIN_PATH");
    write_config(s, "x", "{\"plugins\": [\"plugins\"], \"train\": {\"steps\": 1}}");
    run_dapt(s, &o, "plan", s->config, NULL);
    expect(&o, 0, "plugins/junk.so: is not a shared object (ELF); the module is left out");
    run_dapt(s, &o, "plan", s->config, "--set", "run=config.json", NULL);
    expect(&o, 1, "config.json: is there, and is no folder");
    run_dapt(s, &o, "plan", s->config, "--set", "train.schedule.plugin=junk", NULL);
    expect(&o, 1, "no schedule \"junk\" was found (there are: ");
    assert_non_null(strstr(o.err, "; left out: "));
    run_dapt(s, &o, "plan", s->config, "--set", "train.schedule.plugin=cosin", NULL);
    expect(&o, 1, "no schedule \"cosin\" was found, did you mean \"cosine\"?");
    run_dapt(s, &o, "plan", s->config, "--backend", "vulcan", NULL);
    expect(&o, 1, "no backend \"vulcan\" was found, did you mean \"vulkan\"?");
    run_dapt(s, &o, "plan", s->config, "--set", "train.schedule.lr=1", NULL);
    expect(&o, 1, "train.schedule.lr: unknown option, did you mean \"peak\"?");
}

// The files, and sequences as they are trained on; what other people's text holds drives no terminal and
// passes for no line of ours.
static void test_preview(void **state) {
    struct scratch *s = *state;
    struct outcome o;
    assert_ok(dapt_mkdirs(in_scratch(s, "texts")));
    static const char text[] = "--- fake:1, 3 tokens\n\033[31mred\x07 \xc2\x9b caf\xc3\xa9\n";
    assert_ok(dapt_file_write(in_scratch(s, "texts/a.txt"), text, strlen(text)));
    assert_ok(dapt_file_write(in_scratch(s, "texts/LICENSE.md"), "Do what you like.\n", 18));
    write_config(
        s, "seen",
        dapt_arena_format(&s->arena, "{\"data\": {\"domain\": \"%s\"}}", in_scratch(s, "texts")));
    run_dapt(s, &o, "preview", s->config, "-n", "4", NULL);
    expect(&o, 0, NULL);
    assert_non_null(strstr(o.out, "LICENSE.md, "));
    assert_non_null(strstr(o.out, "=== sequence 3\n"));
    assert_null(strstr(o.out, "=== sequence 4\n"));
    assert_non_null(strstr(o.out, "\n    --- fake:1, 3 tokens\n"));
    assert_null(strstr(o.out, "\n--- fake"));
    assert_non_null(strstr(o.out, "\\x1b[31mred\\x07"));
    assert_null(strpbrk(o.out, "\033\x07"));
    assert_false(dapt_is_dir(in_scratch(s, "seen")));  // nothing was begun
    run_dapt(s, &o, "preview", s->config, "-n", "4", "--json", NULL);
    expect(&o, 0, NULL);
    cJSON *root = cJSON_Parse(o.out);
    const cJSON *sequences = cJSON_GetObjectItem(root, "sequences"), *sequence, *part, *files;
    assert_int_equal(cJSON_GetArraySize(sequences), 4);
    cJSON_ArrayForEach(sequence, sequences) {
        double tokens = cJSON_GetObjectItem(sequence, "padding")->valuedouble;
        cJSON_ArrayForEach(part, cJSON_GetObjectItem(sequence, "parts")) {
            tokens += cJSON_GetObjectItem(part, "tokens")->valuedouble;
        }
        assert_true(tokens == 32);
    }
    double bytes = 0;
    cJSON_ArrayForEach(files, cJSON_GetObjectItem(root, "files")) {
        if (strcmp(cJSON_GetObjectItem(files, "set")->valuestring, "domain") == 0)
            bytes += cJSON_GetObjectItem(files, "bytes")->valuedouble;
    }
    assert_true(bytes == (double)strlen(text) + 18);
    cJSON_Delete(root);
    run_dapt(s, &o, "preview", s->config, "-n", "0", NULL);
    expect(&o, 2, "-n is \"0\"");
}

// What many files have is told of one of them.
static void test_told_once(void **state) {
    struct scratch *s = *state;
    static const char line[] = "{\"text\": \"half \\ud800 a pair\"}\n";
    struct outcome o;
    char name[32];
    assert_ok(dapt_mkdirs(in_scratch(s, "halves")));
    for (int i = 0; i < 3; i++) {
        snprintf(name, sizeof name, "halves/%d.jsonl", i);
        assert_ok(dapt_file_write(in_scratch(s, name), line, sizeof line - 1));
    }
    char *more = dapt_arena_format(&s->arena, "{\"data\": {\"domain\": [\"%s\", \"%s\"]}}", s->data,
                                   in_scratch(s, "halves"));
    write_config(s, "told", more);
    run_dapt(s, &o, "plan", s->config, NULL);
    expect(&o, 0, NULL);
    const char *told = strstr(o.err, "U+FFFD");
    assert_non_null(told);
    assert_null(strstr(told + 1, "U+FFFD"));
}

static void test_cache(void **state) {
    struct scratch *s = *state;
    struct outcome o;
    run_dapt(s, &o, "cache", "--cache", in_scratch(s, "nowhere"), NULL);
    expect(&o, 0, NULL);
    assert_non_null(strstr(o.out, "0 texts, 0 B, in "));
    write_config(s, "kept", "{\"train\": {\"steps\": 1}}");
    run_dapt(s, &o, "plan", s->config, "--ranks", "4", "--machines", "2", NULL);
    expect(&o, 0, NULL);
    assert_non_null(strstr(o.out, "ranks           4 on 2 machines, each with a device like this"));
    assert_non_null(strstr(o.out, "between ranks (10 Gbit/s between machines, "));
    const char *kept = strstr(o.out, "tokenised text is kept in ");
    assert_non_null(kept);
    kept += strlen("tokenised text is kept in ");
    char *cache = dapt_arena_copy(&s->arena, kept, strcspn(kept, ";"));
    run_dapt(s, &o, "cache", "--cache", cache, NULL);
    expect(&o, 0, NULL);
    assert_non_null(strstr(o.out, s->data));
    run_dapt(s, &o, "cache", "--cache", cache, "--purge", "--older", "1", NULL);
    expect(&o, 0, NULL);
    assert_non_null(strstr(o.out, "removed 0 texts"));
    run_dapt(s, &o, "cache", "--cache", cache, "--purge", "--json", NULL);
    expect(&o, 0, NULL);
    cJSON *root = cJSON_Parse(o.out), *text;
    assert_true(cJSON_GetArraySize(cJSON_GetObjectItem(root, "texts")) >= 2);
    cJSON_ArrayForEach(text, cJSON_GetObjectItem(root, "texts"))
        assert_true(cJSON_IsTrue(cJSON_GetObjectItem(text, "removed")));
    cJSON_Delete(root);
    run_dapt(s, &o, "cache", "--cache", cache, NULL);
    expect(&o, 0, NULL);
    assert_non_null(strstr(o.out, "0 texts"));
}

static void test_information(void **state) {
    struct scratch *s = *state;
    struct outcome o;
    static const char *const commands[] = {"train",    "plan",   "preview", "eval",    "generate",
                                           "tokenize", "verify", "bench",   "devices", "plugins",
                                           "cache",    "import", "export",  "merge",   "score",
                                           "probe",    "report"};
    run_dapt(s, &o, "--version", NULL);
    expect(&o, 0, NULL);
    assert_int_equal(strncmp(o.out, "dapt ", 5), 0);
    run_dapt(s, &o, "help", NULL);
    expect(&o, 0, NULL);
    assert_non_null(strstr(o.out, "exit codes:"));
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        struct outcome a, b;
        assert_non_null(strstr(o.out, commands[i]));
        run_dapt(s, &a, "help", commands[i], NULL);
        run_dapt(s, &b, commands[i], "--help", NULL);
        assert_null(strstr(strchr(a.out, ':'), "  ["));  // "usage: dapt devices [OPTION ...]"
        expect(&a, 0, NULL);
        expect(&b, 0, NULL);
        assert_string_equal(a.out, b.out);
        for (const char *line = a.out; *line; line = strchr(line, '\n') + 1)
            assert_true(strcspn(line, "\n") <= 80);
    }
    run_dapt(s, &o, NULL);
    expect(&o, 2, "usage:");
    run_dapt(s, &o, "train", "--help-config", NULL);
    expect(&o, 0, NULL);
    assert_non_null(strstr(o.out, "train.schedule"));
    assert_non_null(strstr(o.out, "\n        peak "));  // of the plugins
    for (const char *line = o.out; line && *line; line = strchr(line, '\n') + 1)
        assert_true(strcspn(line, "\n") <= 80);
    run_dapt(s, &o, "train", "--schema", NULL);
    expect(&o, 0, NULL);
    cJSON *schema = cJSON_Parse(o.out);
    assert_non_null(cJSON_GetObjectItem(schema, "$schema"));
    cJSON_Delete(schema);
    run_dapt(s, &o, "plugins", "--json", NULL);
    expect(&o, 0, NULL);
    cJSON *plugins = cJSON_Parse(o.out);
    assert_true(cJSON_GetArraySize(plugins) >= 8);
    cJSON_Delete(plugins);
    run_dapt(s, &o, "devices", "--json", NULL);
    expect(&o, 0, NULL);
    cJSON *devices = cJSON_Parse(o.out);
    assert_true(cJSON_GetArraySize(devices) >= 1);
    cJSON_Delete(devices);
}

static cJSON *bench_json(struct scratch *s, const char *config, const char *option,
                         const char *value) {
    struct outcome o;
    run_dapt(s, &o, "bench", config, "--backend", "cpu", "--batch", "2", "--steps", "2", "--json",
             option, value, NULL);
    expect(&o, 0, NULL);
    cJSON *root = cJSON_Parse(o.out);
    assert_non_null(root);
    return root;
}

// The estimate is what is then taken, and evaluations; recomputing takes less; gradients alone do less.
static void check_options(struct scratch *s, const char *config) {
    cJSON *full = bench_json(s, config, NULL, NULL),
          *estimate = bench_json(s, config, "--estimate", NULL),
          *less = bench_json(s, config, "--recompute", NULL),
          *gradients = bench_json(s, config, "--gradients", NULL),
          *peaks = bench_json(s, config, "--peaks", "32"),
          *adapters = bench_json(s, config, "--lora", "2"), *rates;
    double more = figure(estimate, "memory") - figure(full, "memory");
    assert_true(more >= 0 && more <= 4096);  // the losses of an evaluation
    assert_null(cJSON_GetObjectItem(estimate, "seconds"));
    assert_true(figure(less, "memory") < figure(full, "memory"));
    assert_true(figure(less, "flops") > figure(full, "flops"));
    assert_true(figure(gradients, "bytes") < figure(full, "bytes"));
    assert_true(cJSON_IsFalse(cJSON_GetObjectItem(gradients, "update")));
    assert_null(cJSON_GetObjectItem(full, "peaks"));
    assert_non_null(rates = cJSON_GetObjectItem(peaks, "peaks"));
    assert_true(figure(rates, "product_flops_per_second") > 0);
    assert_true(figure(rates, "copy_bytes_per_second") > 0);
    // No gradients of weights and no moments but the adapters' own.
    assert_true(figure(adapters, "lora") == 2 && figure(full, "lora") == 0);
    assert_true(figure(adapters, "parameters") > figure(full, "parameters"));
    assert_true(figure(adapters, "flops") < 0.9 * figure(full, "flops"));
    cJSON *const all[] = {full, estimate, less, gradients, peaks, adapters};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) cJSON_Delete(all[i]);
}

// Every operation of a step is in a row, and the rows are of one step: what they do is what the
// model's size says.
static void test_bench(void **state) {
    struct scratch *s = *state;
    struct outcome o;
    static const char shape[] =
        "{\"model_type\": \"llama\", \"hidden_size\": 32, \"intermediate_size\": 64, "
        "\"num_hidden_layers\": 2, \"num_attention_heads\": 4, \"vocab_size\": 258, "
        "\"max_position_embeddings\": 64}";
    char *config = in_scratch(s, "shape.json");
    assert_ok(dapt_file_write(config, shape, strlen(shape)));
    run_dapt(s, &o, "bench", config, "--backend", "cpu", "--batch", "2", "--steps", "2", NULL);
    expect(&o, 0, NULL);
    assert_non_null(strstr(o.out, "2 x 64 tokens"));  // the model's most
    assert_non_null(strstr(o.out, "attention_grad"));
    run_dapt(s, &o, "bench", config, "--backend", "cpu", "--batch", "2", "--steps", "2", "--json",
             NULL);
    expect(&o, 0, NULL);
    cJSON *root = cJSON_Parse(o.out), *row;
    double products = 0, seconds = cJSON_GetObjectItem(root, "seconds")->valuedouble;
    cJSON_ArrayForEach(row, cJSON_GetObjectItem(root, "ops")) {
        const char *name = cJSON_GetObjectItem(row, "op")->valuestring;
        if (strncmp(name, "matmul ", 7) == 0)
            products += cJSON_GetObjectItem(row, "flops")->valuedouble;
    }
    // Forward and two gradients of each of the layers' 2 * (4 * 32 * 32 + 3 * 32 * 64) weights.
    assert_true(products == 3.0 * 2 * 128 * 2 * (4 * 32 * 32 + 3 * 32 * 64));
    assert_true(seconds > 0 && seconds >= cJSON_GetObjectItem(root, "best_seconds")->valuedouble);
    cJSON_Delete(root);
    check_options(s, config);
    run_dapt(s, &o, "bench", config, "--backend", "cpu", "--sequence", "65", NULL);
    expect_line(&o, 1, "65 tokens: expected 2 to 64");
    run_dapt(s, &o, "bench", in_scratch(s, "gone"), NULL);
    expect_line(&o, 1, "gone");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bench),         cmocka_unit_test(test_usage),
        cmocka_unit_test(test_preview),       cmocka_unit_test(test_cache),
        cmocka_unit_test(test_failures),      cmocka_unit_test(test_information),
        cmocka_unit_test(test_plugin_folder), cmocka_unit_test(test_marks),
        cmocka_unit_test(test_told_once),
    };
    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
