// core/host/config.h: defaults, errors with their place, overrides, round trips, damage.
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/files.h"
#include "base/rng.h"
#include "host/config.h"
#include "host/config_fields.h"
#include "host/json.h"

static char folder[] = "/tmp/dapt-test-config-XXXXXX", path[64];
static struct dapt_config *config;

static int enter(void **state) {
    (void)state;
    if (!mkdtemp(folder)) return -1;
    snprintf(path, sizeof path, "%s/c.json", folder);
    return 0;
}

static int leave(void **state) {
    (void)state;
    return dapt_remove_tree(folder);
}

static void put(const char *text, size_t length) {
    unlink(path);  // some file systems write out at once what is truncated and written again
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, length, file), length);
    fclose(file);
}

static void read_ok(const char *text, const char *const *sets) {
    put(text, strlen(text));
    if (dapt_config_read(path, sets, &config)) fail_msg("%s: %s", text, dapt_error());
}

static void refused(const char *text, const char *set, const char *reason) {
    const char *const sets[] = {set, NULL};
    put(text, strlen(text));
    config = (struct dapt_config *)8;
    assert_int_equal(dapt_config_read(path, sets, &config), DAPT_ERROR_INVALID);
    assert_null(config);
    const char *message = dapt_error(), *start = strstr(message, "c.json:");
    if (start && !set) message = start;
    if (strncmp(message, reason, strlen(reason)) != 0)
        fail_msg("expected \"%s\", got \"%s\"", reason, message);
}

#define SMALL "{\"model\": \"m\", \"data\": {\"domain\": \"d.txt\"}}"

static void in_folder(const char *value, const char *name) {
    char full[256];
    snprintf(full, sizeof full, "%s/%s", folder, name);
    assert_string_equal(value, full);
}

static void test_defaults(void **state) {
    (void)state;
    read_ok(SMALL, NULL);
    in_folder(config->model, "m");
    in_folder(config->tokenizer.path, "m");
    assert_string_equal(config->tokenizer.plugin, "hf");
    assert_null(config->tokenizer.options);
    assert_int_equal(config->data.domain.count, 1);
    in_folder(config->data.domain.entries[0].path, "d.txt");
    assert_true(config->data.domain.entries[0].weight == 1);
    assert_null(config->data.domain.entries[0].options);
    assert_int_equal(config->data.eval_count, 0);
    assert_int_equal(config->data.sequence, 1024);
    assert_int_equal(config->data.packing, DAPT_PACK_DOCUMENTS);
    assert_null(config->data.cache);
    assert_int_equal(config->train.batch, 8);
    assert_int_equal(config->train.micro_batch, 0);
    assert_true(config->train.steps == 0 && config->train.tokens == 0 && config->train.epochs == 1);
    assert_true(config->train.clip == 1 && config->train.optimizer.weight_decay == 0.1);
    assert_true(config->train.optimizer.beta1 == 0.9 && config->train.optimizer.beta2 == 0.95);
    assert_true(config->train.optimizer.eps == 1e-8);
    assert_int_equal(config->train.optimizer.decay, DAPT_DECAY_MATRICES);
    assert_int_equal(config->train.optimizer.moments, DAPT_MOMENTS_FLOAT32);
    assert_int_equal(config->backend.optimizer_memory, DAPT_OPTIMIZER_ON_DEVICE);
    assert_string_equal(config->train.schedule.plugin, "cosine");
    assert_int_equal(config->train.evaluate_every, 100);
    assert_int_equal(config->train.checkpoint_every, 500);
    assert_int_equal(config->train.keep, 2);
    assert_int_equal(config->train.max_bad_steps, 10);
    assert_int_equal(config->train.recompute, DAPT_RECOMPUTE_NONE);
    assert_int_equal(config->backend.precision, DAPT_PRECISION_FLOAT32);
    assert_int_equal(config->train.budget_count, 0);
    assert_int_equal(config->train.on_budget, DAPT_ON_BUDGET_KEEP_BEST);
    assert_true(config->train.raise_replay.factor == 2 && config->train.raise_replay.limit == 0.5);
    assert_int_equal(config->train.patience, 0);
    assert_null(config->train.lora);
    assert_null(config->base);
    assert_int_equal(config->train.objective.kind, DAPT_OBJECTIVE_AUTO);
    assert_int_equal(config->checkpoint.dtype, DAPT_SAVE_MODEL);
    assert_string_equal(config->backend.name, "auto");
    assert_null(config->backend.devices);
    assert_non_null(config->plugins);
    assert_null(config->plugins[0]);
    in_folder(config->run, "run");
    dapt_config_free(&config);
    dapt_config_free(&config);
}

static const char whole[] =
    "{\"model\": \"models/small\",\n"
    " \"tokenizer\": {\"plugin\": \"bytes\", \"path\": \"/t\", \"special\": true},\n"
    " \"data\": {\"domain\": [\"a-*.jsonl.zst\", {\"path\": \"books/\", \"source\": \"text\", "
    "\"weight\": 0.5, \"split\": \"blank\"}],\n"
    "  \"replay\": {\"share\": 0.25, \"from\": [\"general/*.jsonl\"]},\n"
    "  \"eval\": {\"domain\": \"h.jsonl\", \"general\": [\"g1\", {\"path\": \"g2\", \"field\": "
    "\"body\", \"role\": \"control\"}], \"o\": {\"path\": \"/o\"}},\n"
    "  \"sequence\": 256, \"packing\": \"concatenate\", \"cache\": \"cache\", \"eval_tokens\": "
    "\"60k\", \"skip_errors\": 0.01},\n"
    " \"train\": {\"batch\": 64, \"micro_batch\": 8, \"tokens\": \"1.5M\", \"seed\": "
    "9007199254740991, \"clip\": 0.5,\n"
    "  \"optimizer\": {\"weight_decay\": 0.05, \"betas\": [0.8, 0.99], "
    "\"eps\": 1e-6, \"decay\": \"all\", \"moments\": \"8-bit\"},\n"
    "  \"schedule\": {\"plugin\": \"wsd\", \"peak\": 1e-3, \"warmup\": 0.02},\n"
    "  \"objective\": {\"kind\": \"masked\", \"rate\": 0.4, \"whole_words\": true, \"mask\": "
    "\"<m>\"},\n"
    "  \"evaluate_every\": 0, \"checkpoint_every\": 7, \"keep\": 5, \"best\": \"general\", "
    "\"budget\": {\"control\": 0.05, \"o\": 0}, \"on_budget\": \"raise-replay\", \"raise_replay\": "
    "{\"factor\": 1.5, \"limit\": 0.25},\n"
    "  \"recompute\": \"block\", \"max_bad_steps\": 3,\n"
    "  \"lora\": {\"rank\": 16, \"alpha\": 32, \"targets\": [\"q_proj\", \"*.mlp\"], \"rslora\": "
    "true, "
    "\"embeddings\": 0.5, \"dropout\": 0.25}},\n"
    " \"checkpoint\": {\"dtype\": \"bfloat16\"},\n"
    " \"backend\": {\"name\": \"cpu\", \"device\": 1, \"precision\": \"auto\", \"threads\": 2, "
    "\"optimizer_memory\": \"host\"},\n"
    " \"plugins\": [\"p\", \"/q\"], \"run\": \"runs/x\"}\n";

static void test_every_key(void **state) {
    (void)state;
    read_ok(whole, NULL);
    in_folder(config->model, "models/small");
    assert_string_equal(config->tokenizer.plugin, "bytes");
    assert_string_equal(config->tokenizer.path, "/t");
    assert_non_null(dapt_json_member(config->tokenizer.options, "special"));
    assert_int_equal(config->data.domain.count, 2);
    in_folder(config->data.domain.entries[0].path, "a-*.jsonl.zst");
    in_folder(config->data.domain.entries[1].path, "books/");
    assert_string_equal(config->data.domain.entries[1].source, "text");
    assert_true(config->data.domain.entries[1].weight == 0.5);
    assert_non_null(dapt_json_member(config->data.domain.entries[1].options, "split"));
    assert_true(config->data.replay.share == 0.25);
    assert_int_equal(config->data.replay.from.count, 1);
    assert_int_equal(config->data.eval_count, 3);
    assert_string_equal(config->data.eval[1].name, "general");
    assert_string_equal(config->data.eval[0].role, "domain");
    assert_string_equal(config->data.eval[1].role, "control");
    assert_int_equal(config->train.budget_count, 2);
    assert_string_equal(config->train.budget[0].name, "control");
    assert_true(config->train.budget[0].bits == 0.05 && config->train.budget[1].bits == 0);
    assert_int_equal(config->train.on_budget, DAPT_ON_BUDGET_RAISE_REPLAY);
    assert_true(config->train.raise_replay.factor == 1.5);
    assert_true(config->train.raise_replay.limit == 0.25);
    assert_int_equal(config->data.eval[1].data.count, 2);
    assert_string_equal(config->data.eval[2].data.entries[0].path, "/o");
    assert_int_equal(config->data.sequence, 256);
    assert_int_equal(config->data.packing, DAPT_PACK_CONCATENATE);
    in_folder(config->data.cache, "cache");
    assert_int_equal(config->data.eval_tokens, 60000);
    assert_true(config->data.skip_errors == 0.01);
    assert_int_equal(config->train.objective.kind, DAPT_OBJECTIVE_MASKED);
    assert_true(config->train.objective.rate == 0.4);
    assert_true(config->train.objective.whole_words);
    assert_string_equal(config->train.objective.mask, "<m>");
    assert_int_equal(config->train.batch, 64);
    assert_int_equal(config->train.micro_batch, 8);
    assert_int_equal(config->train.tokens, 1500000);
    assert_true(config->train.epochs == 0 && config->train.steps == 0);
    assert_true(config->train.seed == UINT64_C(9007199254740991));
    assert_true(config->train.clip == 0.5 && config->train.optimizer.beta2 == 0.99);
    assert_int_equal(config->train.optimizer.decay, DAPT_DECAY_ALL);
    assert_int_equal(config->train.optimizer.moments, DAPT_MOMENTS_8BIT);
    assert_int_equal(config->backend.optimizer_memory, DAPT_OPTIMIZER_ON_HOST);
    assert_string_equal(config->train.schedule.plugin, "wsd");
    assert_non_null(dapt_json_member(config->train.schedule.options, "peak"));
    assert_int_equal(config->train.evaluate_every, 0);
    assert_string_equal(config->train.best, "general");
    assert_int_equal(config->train.recompute, DAPT_RECOMPUTE_BLOCK);
    assert_int_equal(config->backend.precision, DAPT_PRECISION_AUTO);
    assert_int_equal(config->train.lora->rank, 16);
    assert_true(config->train.lora->alpha == 32 && config->train.lora->embeddings == 0.5);
    assert_true(config->train.lora->rslora && config->train.lora->dropout == 0.25);
    assert_string_equal(config->train.lora->targets[1], "*.mlp");
    assert_null(config->train.lora->targets[2]);
    assert_int_equal(config->checkpoint.dtype, DAPT_SAVE_BF16);
    assert_string_equal(config->backend.name, "cpu");
    assert_string_equal(config->backend.devices[0], "1");
    assert_null(config->backend.devices[1]);
    assert_int_equal(config->backend.threads, 2);
    in_folder(config->plugins[0], "p");
    assert_string_equal(config->plugins[1], "/q");
    assert_null(config->plugins[2]);
    dapt_config_free(&config);
}

static void test_model_forms(void **state) {
    (void)state;
    read_ok(
        "{\"model\": {\"random\": {\"model_type\": \"llama\"}, \"tokenizer\": \"t\"}, \"data\": "
        "{\"domain\": \"d\"}}",
        NULL);
    assert_null(config->model);
    assert_null(config->model_config);
    assert_non_null(dapt_json_member(config->model_random, "model_type"));
    in_folder(config->tokenizer.path, "t");
    dapt_config_free(&config);
    static const char *const forms[] = {"{\"config\": \"a/config.json\"}", "\"a/config.json\""};
    for (size_t i = 0; i < 2; i++) {
        char text[256];
        snprintf(text, sizeof text, "{\"model\": {\"random\": %s}, \"data\": {\"domain\": \"d\"}}",
                 forms[i]);
        read_ok(text, NULL);
        assert_true(!config->model && !config->model_random);
        in_folder(config->model_config, "a/config.json");
        dapt_config_free(&config);
    }
}

static void test_errors_name_their_place(void **state) {
    (void)state;
#define WITH(more) "{\"model\": \"m\", \"data\": {\"domain\": \"d\"},\n " more "}"
#define DATA(more) "{\"model\": \"m\",\n \"data\": {\"domain\": \"d\", " more "}}"
    static const struct {
        const char *text, *reason;
    } cases[] = {
        {"", "c.json:1:1: expected a value, but the file ends here"},
        {"[]", "c.json:1:1: expected an object, got an array"},
        {"{}", "c.json:1:1: \"model\" is missing"},
        {"{\"model\": \"m\"}", "c.json:1:1: \"data.domain\" is missing"},
        {"{\"model\": \"\", \"data\": {\"domain\": \"d\"}}",
         "c.json:1:11: model: expected a path, got \"\""},
        {"{\"model\": 5}", "c.json:1:11: model: expected a folder, or {\"random\": ...}, got 5"},
        {"{\"model\": {\"rnadom\": 5}}",
         "c.json:1:12: model.rnadom: unknown key, did you mean \"random\"?"},
        {"{\"model\": {\"tokenizer\": \"x\"}}", "c.json:1:11: model: \"random\" is missing"},
        {"{\"model\": {\"random\": 7}}",
         "c.json:1:22: model.random: expected an object with config.json's keys, or its path, got "
         "7"},
        {WITH("\"train\": {\"batch\": \"8\"}"),
         "c.json:2:21: train.batch: expected an integer from 1 to 65536, got \"8\""},
        {WITH("\"train\": {\"batch\": 0}"),
         "c.json:2:21: train.batch: expected an integer from 1 to 65536, got 0"},
        {WITH("\"train\": {\"batch\": 1.5}"),
         "c.json:2:21: train.batch: expected an integer from 1 to 65536, got 1.5"},
        {WITH("\"train\": {\"batch\": null}"),
         "c.json:2:21: train.batch: expected an integer from 1 to 65536, got null"},
        {WITH("\"train\": {\"bacth\": 8}"),
         "c.json:2:12: train.bacth: unknown key, did you mean \"batch\"?"},
        {WITH("\"train\": {\"learning_rate\": 8}"),
         "c.json:2:12: train.learning_rate: unknown key, did you mean \"train.schedule.peak\"?"},
        {WITH("\"lr\": 8"), "c.json:2:2: lr: unknown key, did you mean \"train.schedule.peak\"?"},
        {WITH("\"seed\": 8"), "c.json:2:2: seed: unknown key, did you mean \"train.seed\"?"},
        {WITH("\"train\": {\"zzzzzzzz\": 8}"),
         "c.json:2:12: train.zzzzzzzz: unknown key (there are: batch, micro_batch, "},
        {WITH("\"train.batch\": 8"),
         "c.json:2:2: train.batch: unknown key; objects hold objects here: \"train\": "
         "{\"batch\": ...}"},
        {WITH("\"trian\": {}"), "c.json:2:2: trian: unknown key, did you mean \"train\"?"},
        {WITH("\"train\": 8"), "c.json:2:11: train: expected an object, got 8"},
        {WITH("\"train\": {\"batch\": 8, \"batch\": 9}"),
         "c.json:2:24: train.batch: stands twice in this object"},
        {WITH("\"train\": {\"batch\": 8, \"micro_batch\": 3}"),
         "c.json:2:39: train.micro_batch: expected a divisor of train.batch (8), got 3"},
        {WITH("\"train\": {\"steps\": 8, \"epochs\": 1}"),
         "c.json:2:34: train.epochs: only one of steps, tokens and epochs may be given, "
         "train.steps is there too"},
        {WITH("\"train\": {\"steps\": -1}"),
         "c.json:2:21: train.steps: expected an integer from 1 to 1000000000000, got -1"},
        {WITH("\"train\": {\"tokens\": \"50Q\"}"),
         "c.json:2:22: train.tokens: expected an integer, or one like \"50M\" (k, M, G, T), got "
         "\"50Q\""},
        {WITH("\"train\": {\"tokens\": \"1.5\"}"),
         "c.json:2:22: train.tokens: expected an integer, or one like"},
        {WITH("\"train\": {\"tokens\": \"-5M\"}"),
         "c.json:2:22: train.tokens: expected an integer, or one like"},
        {WITH("\"train\": {\"tokens\": \"9999T\"}"),
         "c.json:2:22: train.tokens: expected 1 to 1000000000000, got \"9999T\""},
        {WITH("\"train\": {\"epochs\": 0}"),
         "c.json:2:22: train.epochs: expected a number from 1e-06 to 1e+06, got 0"},
        {WITH("\"train\": {\"clip\": 1e999}"),
         "c.json:2:20: train.clip: expected a number that a double can hold, got 1e999"},
        {WITH("\"train\": {\"optimizer\": {\"betas\": [0.9]}}"),
         "c.json:2:35: train.optimizer.betas: expected an array of two numbers, got an array"},
        {WITH("\"train\": {\"optimizer\": {\"betas\": [0.9, 1]}}"),
         "c.json:2:41: train.optimizer.betas[1]: expected a number of at least 0 and below 1, got "
         "1"},
        {WITH("\"train\": {\"optimizer\": {\"decay\": \"none\"}}"),
         "c.json:2:35: train.optimizer.decay: expected \"matrices\" or \"all\", got \"none\""},
        {WITH("\"train\": {\"schedule\": \"cosine\"}"),
         "c.json:2:24: train.schedule: expected an object such as"},
        {WITH("\"train\": {\"best\": \"x\"}"),
         "c.json:2:20: train.best: \"x\" is not a name in data.eval (there are: none)"},
        {"{\"model\": \"m\", \"data\": {\"domain\": \"d\", \"eval\": {\"general\": \"g\"}},\n"
         "\"train\": {\"best\": \"genral\"}}",
         "c.json:2:19: train.best: \"genral\" is not a name in data.eval, did you mean "
         "\"general\"? "
         "(there are: general)"},
        {"model: m\n",
         "c.json:1:1: expected a value, found 'm'; it looks like YAML, a configuration "
         "is JSON: python3 -c"},
        {"# mine\n[data]\n", "c.json:1:1: expected a value, found '#'; it looks like TOML"},
        {"model = 'm'\n", "c.json:1:1: expected a value, found 'm'; it looks like TOML"},
        {"[1, 2", "c.json:1:6: expected ',' or ']', but the file ends here"},
        {WITH("\"train\": {\"optimizer\": {\"kind\": \"adamw\"}}"),
         "c.json:2:26: train.optimizer.kind: unknown key (there are: weight_decay, betas, eps, "
         "decay, moments)"},
        {WITH("\"backend\": {\"precision\": \"f32\"}"),
         "c.json:2:27: backend.precision: expected \"float32\" or \"bfloat16\" or \"float16\" or "
         "\"auto\", got \"f32\""},
        {WITH("\"checkpoint\": {\"dtype\": null}"),
         "c.json:2:26: checkpoint.dtype: expected \"model\" or \"float32\" or \"bfloat16\" or "
         "\"float16\", got null"},
        {WITH("\"backend\": 3"), "c.json:2:13: backend: expected an object, got 3"},
        {WITH("\"backend\": {\"device\": -1}"),
         "c.json:2:24: backend.device: expected an integer from 0 to 999999999, got -1"},
        {WITH("\"backend\": {\"device\": [0, []]}"),
         "c.json:2:28: backend.device[1]: expected a device's number, name or UUID, or an array of "
         "these, got an array"},
        {WITH("\"backend\": {\"device\": []}"),
         "c.json:2:24: backend.device: expected at least one device, got an array"},
        {WITH("\"backend\": \"\""),
         "c.json:1:10: backend.name: expected a string that is not empty, got \"\""},
        {WITH("\"plugins\": \"p\""), "c.json:2:13: plugins: expected an array of paths, got \"p\""},
        {WITH("\"run\": null}"), "c.json:2:14: expected the end of the file, found '}'"},
        {DATA("\"domains\": 5"),
         "c.json:2:26: data.domains: unknown key, did you mean \"domain\"?"},
        {DATA("\"sequence\": true"),
         "c.json:2:38: data.sequence: expected an integer from 2 to 1048576, got true"},
        {DATA("\"packing\": \"tight\""),
         "c.json:2:37: data.packing: expected \"documents\" or \"concatenate\", got \"tight\""},
        {DATA("\"replay\": {\"share\": 0.1}"),
         "c.json:2:46: data.replay.share: data.replay.from is missing, expected the text to take "
         "it "
         "from"},
        {DATA("\"eval\": {\"a b\": \"x\"}"), "c.json:2:35: data.eval.a b: a name is of letters"},
        {DATA("\"eval\": {\"a\": []}"),
         "c.json:2:40: data.eval.a: the array is empty, expected a path"},
        {DATA("\"eval\": {\"a\": [{\"weight\": 1}]}"),
         "c.json:2:41: data.eval.a[0]: \"path\" is missing here, expected a string"},
        {DATA("\"eval\": {\"a\": [{\"path\": \"x\", \"weight\": -1}]}"),
         "c.json:2:65: data.eval.a[0].weight: expected a number above 0, at most 1e6, got -1"},
        {DATA("\"eval\": {\"a\": [{\"path\": \"x\", \"source\": 1}]}"),
         "c.json:2:65: data.eval.a[0].source: expected a string, got 1"},
        {DATA("\"eval\": {\"a\": {\"path\": \"x\", \"role\": 5}}"),
         "c.json:2:62: data.eval.a.role: expected a string, got 5"},
        {DATA("\"eval\": {\"a\": {\"path\": \"x\", \"role\": \"a b\"}}"),
         "c.json:2:62: data.eval.a.role: a name is of letters"},
        {DATA("\"eval\": {\"a\": [{\"path\": \"x\", \"role\": \"b\"}, {\"path\": \"y\", "
              "\"role\": \"c\"}]}"),
         "c.json:2:91: data.eval.a[1].role: a set has one role, \"b\" stands before it"},
        {"{\"model\": \"m\", \"data\": {\"domain\": {\"path\": \"x\", \"role\": \"general\"}}}",
         "c.json:1:57: data.domain.role: only the sets of data.eval have a role"},
        {WITH("\"train\": {\"budget\": 0.1}"),
         "c.json:2:22: train.budget: expected an object such as {\"general\": 0.05}, got 0.1"},
        {WITH("\"train\": {\"budget\": {\"general\": -1}}"),
         "c.json:2:34: train.budget.general: expected bits/byte from 0 to 100, got -1"},
        {WITH("\"train\": {\"budget\": {\"general\": 0.1}}"),
         "c.json:2:34: train.budget.general: \"general\" is not a name or role in data.eval (there "
         "are: none)"},
        {"{\"model\": \"m\", \"data\": {\"domain\": \"d\", \"eval\": {\"g\": {\"path\": \"g\", "
         "\"role\": \"general\"}}},\n"
         "\"train\": {\"budget\": {\"genral\": 0.1}}}",
         "c.json:2:32: train.budget.genral: \"genral\" is not a name or role in data.eval, did you "
         "mean \"general\"? (there are: g, general)"},
        {WITH("\"train\": {\"on_budget\": \"halt\"}"),
         "c.json:2:25: train.on_budget: expected \"keep-best\" or \"stop\" or \"raise-replay\", "
         "got \"halt\""},
        {WITH("\"train\": {\"on_budget\": \"raise-replay\"}"),
         "c.json:2:25: train.on_budget: \"raise-replay\" multiplies the share of replay, but "
         "data.replay.from is missing"},
        {"{\"model\": \"m\", \"data\": {\"domain\": \"d\", \"replay\": {\"from\": \"g\"}},\n"
         "\"train\": {\"on_budget\": \"raise-replay\"}}",
         "c.json:2:24: train.on_budget: \"raise-replay\" multiplies the share of replay, but "
         "data.replay.share is 0"},
        {WITH("\"train\": {\"raise_replay\": {\"factor\": 1}}"),
         "c.json:2:39: train.raise_replay.factor: expected a number from 1.01 to 100, got 1"},
        {WITH("\"train\": {\"patience\": 3}"),
         "c.json:2:24: train.patience: data.eval is missing, expected a text that decides"},
        {"{\"model\": \"m\", \"data\": {\"domain\": \"d\", \"eval\": {\"g\": \"g\"}},\n"
         "\"train\": {\"evaluate_every\": 0, \"patience\": 3}}",
         "c.json:2:44: train.patience: train.evaluate_every is 0"},
        {"{\"model\": \"m\", \"data\": {\"domain\": [\"a\", 7]}}",
         "c.json:1:41: data.domain[1]: expected a path or an object such as {\"path\": ...}, got "
         "7"},
        {"{\"model\": \"m\\u0000\"}", "c.json:1:13: a NUL character is not allowed in a string"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        refused(cases[i].text, NULL, cases[i].reason);
    assert_int_equal(dapt_config_read("/nowhere/c.json", NULL, &config), DAPT_ERROR_IO);
    assert_string_equal(dapt_error(), "/nowhere/c.json: No such file or directory");
    assert_int_equal(dapt_config_read(folder, NULL, &config), DAPT_ERROR_INVALID);
    assert_null(config);
}

static void test_sets(void **state) {
    (void)state;
    const char *const sets[] = {"train.steps=50",
                                "run=runs/second",
                                "train.schedule.peak=1e-4",
                                "backend.threads=3",
                                "data.eval={\"x\": \"y\"}",
                                "train.best=x",
                                "model=/other",
                                NULL};
    read_ok(
        "{\"model\": \"m\", \"data\": {\"domain\": \"d\"}, \"train\": {\"epochs\": 3}, "
        "\"backend\": \"cpu\"}",
        sets);
    assert_int_equal(config->train.steps, 50);
    assert_true(config->train.epochs == 0);
    in_folder(config->run, "runs/second");
    double peak = 0;
    assert_int_equal(dapt_json_get_number(config->train.schedule.options, "peak", &peak), DAPT_OK);
    assert_true(peak == 1e-4);
    assert_string_equal(config->backend.name, "cpu");
    assert_int_equal(config->backend.threads, 3);
    assert_string_equal(config->train.best, "x");
    assert_string_equal(config->model, "/other");
    dapt_config_free(&config);
    const char *const name[] = {"backend=vulkan", NULL};
    read_ok(SMALL, name);
    assert_string_equal(config->backend.name, "vulkan");
    dapt_config_free(&config);
    refused(SMALL, "train.batch", "--set train.batch: expected KEY=VALUE");
    refused(
        SMALL, "train.batch=many",
        "--set train.batch=many: train.batch: expected an integer from 1 to 65536, got \"many\"");
    refused(SMALL, "train.bacth=8",
            "--set train.bacth=8: train.bacth: unknown key, did you mean \"batch\"?");
    refused(SMALL, "model.x=8",
            "--set model.x=8: model.x: a part of its path is there already and is not an object");
    refused(SMALL, "=8", "--set =8: expected a key such as train.steps before '='");
    refused(SMALL, "data.domain=\xff", "--set data.domain=");
}

static char *written(const struct dapt_config *c) {
    struct dapt_string text = {0};
    assert_int_equal(dapt_config_write(c, &text), DAPT_OK);
    return text.data;
}

static void round_trip(const char *text, const char *const *sets) {
    read_ok(text, sets);
    char *first = written(config);
    dapt_config_free(&config);
    char kept[64];
    strcpy(kept, path);
    snprintf(path, sizeof path, "%s/sub/c.json", folder);  // what was resolved may lie anywhere
    char below[64];
    snprintf(below, sizeof below, "%s/sub", folder);
    assert_int_equal(dapt_mkdirs(below), DAPT_OK);
    read_ok(first, NULL);
    strcpy(path, kept);
    char *second = written(config);
    dapt_config_free(&config);
    assert_string_equal(first, second);
    free(first);
    free(second);
}

static void test_round_trip(void **state) {
    (void)state;
    const char *const sets[] = {"train.schedule.floor=0.25", "train.epochs=0.125",
                                "data.eval.domain={\"path\": \"q\", \"z\": [1, 2.50]}", NULL};
    round_trip(whole, NULL);
    round_trip(whole, sets);
    round_trip(SMALL, NULL);
    round_trip(
        "{\"model\": {\"random\": {\"model_type\": \"llama\", \"x\": [1.0, {}]}, \"tokenizer\": "
        "\"t\"}, \"data\": {\"domain\": \"d\\\"q\"}}",
        NULL);
    round_trip(
        "{\"model\": {\"random\": \"c.json\"}, \"tokenizer\": {\"plugin\": \"bytes\"}, \"data\": "
        "{\"domain\": \"d\"}, \"backend\": \"x\"}",
        NULL);
    read_ok(whole, sets);
    char *text = written(config);  // spelled as it was given
    assert_non_null(strstr(text, "\"z\": [1, 2.50]"));
    assert_non_null(strstr(text, "\"peak\": 1e-3"));
    free(text);
    dapt_config_free(&config);
}

// Whatever is cut or bent: an error with its place, or a configuration that survives a round trip.
static void try_text(const char *text, size_t length, size_t *accepted) {
    put(text, length);
    if (dapt_config_read(path, NULL, &config)) {
        assert_null(config);
        assert_non_null(strstr(dapt_error(), "c.json:"));
        return;
    }
    ++*accepted;
    char *out = written(config);
    dapt_config_free(&config);
    struct dapt_json *json;
    assert_int_equal(dapt_json_parse("w", out, strlen(out), &json), DAPT_OK);
    dapt_json_free(&json);
    free(out);
}

static void test_damage(void **state) {
    (void)state;
    size_t accepted = 0;
    for (size_t length = 0; length < sizeof whole - 3; length++) try_text(whole, length, &accepted);
    assert_int_equal(accepted, 0);
    for (uint64_t round = 0; round < 8000; round++) {
        char copy[sizeof whole];
        memcpy(copy, whole, sizeof whole);
        for (uint64_t k = 0; k <= round % 3; k++) {
            uint64_t bits = dapt_random_bits(3, round, k);
            static const char likely[] = "{}[]\",:0189-.eE tn";
            copy[bits % (sizeof whole - 1)] = bits & 1 << 20
                                                  ? (char)(bits >> 40)
                                                  : likely[(bits >> 40) % (sizeof likely - 1)];
        }
        try_text(copy, sizeof whole - 1, &accepted);
    }
    if (accepted <= 100) fail_msg("%zu", accepted);
}

static char *printed(void (*print)(FILE *)) {
    char *text = NULL;
    size_t size;
    FILE *file = open_memstream(&text, &size);
    print(file);
    fclose(file);
    return text;
}

static void print_help(FILE *out) {
    dapt_config_help(out, NULL);
}

static void test_help_and_schema(void **state) {
    (void)state;
    char *help = printed(print_help), *schema = printed(dapt_config_schema);
    struct dapt_json *json;
    if (dapt_json_parse("schema", schema, strlen(schema), &json)) fail_msg("%s", dapt_error());
    const struct dapt_json *root = dapt_json_find(json, "$defs.config");
    for (const struct dapt_field *field = dapt_fields; field->path; field++) {
        char line[96];
        snprintf(line, sizeof line, "\n%s: ", field->path);
        if (!strstr(help, line)) fail_msg("%s is not in the help", field->path);
        const struct dapt_json *at = root;
        for (const char *p = field->path; p; p = strchr(p, '.') ? strchr(p, '.') + 1 : NULL) {
            char name[64];
            snprintf(name, sizeof name, "%.*s", (int)strcspn(p, "."), p);
            const struct dapt_json *either = dapt_json_member(at, "anyOf");
            at = dapt_json_member(
                dapt_json_member(either ? dapt_json_at(either, 1) : at, "properties"), name);
        }
        if (!dapt_json_member(at, "description")) fail_msg("%s is not in the schema", field->path);
    }
    assert_int_equal(dapt_json_count(dapt_json_find(root, "required")), 2);
    dapt_json_free(&json);
    free(help);
    free(schema);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),    cmocka_unit_test(test_every_key),
        cmocka_unit_test(test_model_forms), cmocka_unit_test(test_errors_name_their_place),
        cmocka_unit_test(test_sets),        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_damage),      cmocka_unit_test(test_help_and_schema),
    };
    return cmocka_run_group_tests_name("config", tests, enter, leave);
}
