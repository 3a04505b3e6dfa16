// dapt score
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include "tool.h"

struct score_arguments {
    struct tool_model_arguments common;
    struct tool_list tasks;
    uint64_t limit, sequence;
    bool json;
};

static void print_table(const struct dapt_score *results, size_t count) {
    struct tool_page page;
    if (!tool_page_begin(&page)) return;
    fprintf(page.out, "%-16s %10s %-16s %10s %10s  %s\n", "kind", "records", "metric", "value",
            "error", "task");
    for (size_t i = 0; i < count; i++) {
        const struct dapt_score *s = &results[i];
        for (size_t m = 0; m < s->metric_count; m++) {
            const struct dapt_score_metric *metric = &s->metrics[m];
            char error[16] = "-";
            if (isfinite(metric->error)) snprintf(error, sizeof error, "%.4f", metric->error);
            fprintf(page.out, "%-16s %10llu %-16s %10.4f %10s  ", s->kind,
                    (unsigned long long)s->records, metric->name, metric->value, error);
            tool_print_plain(page.out, s->task);
            fputc('\n', page.out);
        }
        if (s->cut)
            fprintf(page.out, "%llu of %llu texts lost their beginning: the model has no room\n",
                    (unsigned long long)s->cut, (unsigned long long)s->texts);
    }
    tool_page_end(&page, stdout);
}

static enum dapt_status print_json(const char *model, const struct dapt_score *results,
                                   size_t count) {
    cJSON *root = cJSON_CreateObject();
    cJSON_AddStringToObject(root, "model", model);
    cJSON *tasks = cJSON_AddArrayToObject(root, "tasks");
    for (size_t i = 0; i < count; i++) {
        const struct dapt_score *s = &results[i];
        cJSON *task = cJSON_CreateObject();
        cJSON_AddItemToArray(tasks, task);
        cJSON_AddStringToObject(task, "task", s->task);
        cJSON_AddStringToObject(task, "kind", s->kind);
        cJSON_AddNumberToObject(task, "records", (double)s->records);
        cJSON_AddNumberToObject(task, "texts", (double)s->texts);
        cJSON_AddNumberToObject(task, "cut", (double)s->cut);
        cJSON *metrics = cJSON_AddObjectToObject(task, "metrics");
        for (size_t m = 0; m < s->metric_count; m++) {
            cJSON *metric = cJSON_AddObjectToObject(metrics, s->metrics[m].name);
            cJSON_AddNumberToObject(metric, "value", s->metrics[m].value);
            cJSON_AddNumberToObject(metric, "error", s->metrics[m].error);  // NaN: null
        }
        cJSON_AddNumberToObject(task, "seconds", s->seconds);
    }
    return tool_print_json(root);
}

static enum tool_exit run_score(void *arguments) {
    const struct score_arguments *a = arguments;
    if (a->tasks.count == 0) return tool_usage("score: no task was named: --task FILE");
    struct dapt_context *context = NULL;
    struct dapt_score *results = calloc(a->tasks.count, sizeof *results);
    if (!results) return tool_usage("no memory for the arguments");
    const struct dapt_score_options options = {.model = tool_model(&a->common),
                                               .tasks = a->tasks.items,
                                               .task_count = a->tasks.count,
                                               .limit = a->limit,
                                               .sequence = (uint32_t)a->sequence};
    enum dapt_status status = dapt_context_open(NULL, &context);
    if (!status) status = dapt_score(context, &options, results);
    if (!status && a->json)
        status = print_json(a->common.plain.plain[0], results, a->tasks.count);
    else if (!status)
        print_table(results, a->tasks.count);
    enum tool_exit result = tool_finish(status);
    dapt_context_close(&context);
    free(results);
    return result;
}

static const struct tool_option score_options[] = {
    {"--task", "FILE", "a task, as JSON Lines (below); may be given several times", TOOL_LIST,
     offsetof(struct score_arguments, tasks), 0, 0, false},
    {"--json", NULL, "prints one JSON object", TOOL_FLAG, offsetof(struct score_arguments, json), 0,
     0, false},
    {"--limit", "N", "the first so many records of each task", TOOL_COUNT,
     offsetof(struct score_arguments, limit), 1, 1e15, false},
    {"--sequence", "N", "tokens that a text may have; default: the model's positions", TOOL_COUNT,
     offsetof(struct score_arguments, sequence), 2, 1 << 24, false},
    {0},
};

const struct tool_command tool_score = {
    .name = "score",
    .plain = "MODEL --task FILE ...",
    .summary = "how a model does on tasks: accuracy, perplexity, as lm-evaluation-harness counts",
    .notes =
        "A task holds records of one kind, an object a line.\n"
        "{\"context\": TEXT, \"choices\": [TEXT, ...], \"answer\": INDEX}: acc is the share of "
        "records "
        "whose right choice has the largest sum of log p after the context; acc_norm of that sum "
        "over the choice's characters, acc_bytes over its bytes.\n"
        "{\"context\": TEXT, \"continuation\": TEXT}: acc is the share of records whose every "
        "token of "
        "the continuation is the likeliest, perplexity exp(-mean of the sums of log p).\n"
        "{\"text\": TEXT}: perplexity by word and by byte, bits by byte, of all texts together.\n"
        "Between context and choice stands one space, between context and continuation nothing; "
        "\"target_delimiter\": TEXT in a record says otherwise. Spaces at the context's end belong "
        "to "
        "what follows. An empty context is the beginning-of-text token. What has no room in the "
        "model loses its beginning. error: the standard error.",
    .options = score_options,
    .shared = {tool_device_options, tool_tokenizer_options},
    .size = sizeof(struct score_arguments),
    .plain_least = 1,
    .plain_most = 1,
    .run = run_score,
};
