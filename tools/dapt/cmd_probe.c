// dapt probe
#include <stddef.h>
#include <stdio.h>

#include "tool.h"

struct probe_arguments {
    struct tool_model_arguments common;
    const char *train, *test;
    uint64_t sequence, seed;
    bool last, json;
};

static void print_text(const struct dapt_probe *p) {
    struct tool_page page;
    if (!tool_page_begin(&page)) return;
    const struct {
        const char *name;
        const struct dapt_probe_interval *interval;
    } rows[] = {{"macro-F1", &p->macro_f1}, {"micro-F1", &p->micro_f1}};
    fprintf(page.out, "%llu training texts, %llu test texts, %u labels, %u features, C %g\n",
            (unsigned long long)p->train, (unsigned long long)p->test, p->labels, p->width,
            p->strength);
    if (p->cut)
        fprintf(page.out, "%llu texts lost their end: the model has no room\n",
                (unsigned long long)p->cut);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        fprintf(page.out, "%-10s %.4f  (95 %%: %.4f to %.4f)\n", rows[i].name,
                rows[i].interval->value, rows[i].interval->low, rows[i].interval->high);
    tool_page_end(&page, stdout);
}

static void add_interval(cJSON *root, const char *name, const struct dapt_probe_interval *i) {
    cJSON *object = cJSON_AddObjectToObject(root, name);
    cJSON_AddNumberToObject(object, "value", i->value);
    cJSON_AddNumberToObject(object, "low", i->low);
    cJSON_AddNumberToObject(object, "high", i->high);
}

static enum dapt_status print_json(const struct probe_arguments *a, const struct dapt_probe *p) {
    cJSON *root = cJSON_CreateObject();
    cJSON_AddStringToObject(root, "model", a->common.plain.plain[0]);
    cJSON_AddStringToObject(root, "features", a->last ? "last" : "mean");
    cJSON_AddNumberToObject(root, "train", (double)p->train);
    cJSON_AddNumberToObject(root, "test", (double)p->test);
    cJSON_AddNumberToObject(root, "cut", (double)p->cut);
    cJSON_AddNumberToObject(root, "labels", p->labels);
    cJSON_AddNumberToObject(root, "width", p->width);
    cJSON_AddNumberToObject(root, "C", p->strength);
    add_interval(root, "macro_f1", &p->macro_f1);
    add_interval(root, "micro_f1", &p->micro_f1);
    cJSON_AddNumberToObject(root, "seconds", p->seconds);
    return tool_print_json(root);
}

static enum tool_exit run_probe(void *arguments) {
    const struct probe_arguments *a = arguments;
    if (!a->train) return tool_usage("probe: no training texts were named: --train FILE");
    if (!a->test) return tool_usage("probe: no test texts were named: --test FILE");
    struct dapt_context *context = NULL;
    struct dapt_probe result;
    const struct dapt_probe_options options = {.model = tool_model(&a->common),
                                               .train = a->train,
                                               .test = a->test,
                                               .last = a->last,
                                               .sequence = (uint32_t)a->sequence,
                                               .seed = a->seed};
    enum dapt_status status = dapt_context_open(NULL, &context);
    if (!status) status = dapt_probe(context, &options, &result);
    if (!status && a->json)
        status = print_json(a, &result);
    else if (!status)
        print_text(&result);
    enum tool_exit code = tool_finish(status);
    dapt_context_close(&context);
    return code;
}

static const struct tool_option probe_options[] = {
    {"--train", "FILE", "JSON Lines of {\"text\", \"label\"} to learn from", TOOL_TEXT,
     offsetof(struct probe_arguments, train), 0, 0, false},
    {"--test", "FILE", "the same, to be told", TOOL_TEXT, offsetof(struct probe_arguments, test), 0,
     0, false},
    {"--last", NULL, "features of the last token instead of the mean over all", TOOL_FLAG,
     offsetof(struct probe_arguments, last), 0, 0, false},
    {"--json", NULL, "prints one JSON object", TOOL_FLAG, offsetof(struct probe_arguments, json), 0,
     0, false},
    {"--sequence", "N", "tokens of a text, the rest left out; default: the model's positions",
     TOOL_COUNT, offsetof(struct probe_arguments, sequence), 1, 1 << 24, false},
    {"--seed", "N", "of what is left to chance; default: 0", TOOL_COUNT,
     offsetof(struct probe_arguments, seed), 0, 1e15, false},
    {0},
};

const struct tool_command tool_probe = {
    .name = "probe",
    .plain = "MODEL --train FILE --test FILE",
    .summary = "how well labels can be told from what a model makes of a text: F1",
    .notes =
        "A linear probe; the model stays as it is. Features: its last hidden state after the final "
        "norm, the mean over the text's tokens, standardised. Multinomial logistic regression; its "
        "penalty (1/C) is the one of six with the best macro-F1 on a fifth of the training texts. "
        "Intervals: 2,000 draws of the test texts.",
    .options = probe_options,
    .shared = {tool_device_options, tool_tokenizer_options},
    .size = sizeof(struct probe_arguments),
    .plain_least = 1,
    .plain_most = 1,
    .run = run_probe,
};
