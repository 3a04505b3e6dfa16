// dapt eval
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include "tool.h"

struct eval_arguments {
    struct tool_model_arguments common;
    struct tool_list data;
    const char *source, *packing, *cache;
    uint64_t sequence, batch, max_tokens;
    bool no_special, json;
};

static void print_table(const struct dapt_evaluation *results, size_t count) {
    struct tool_page page;
    if (!tool_page_begin(&page)) return;
    fprintf(page.out, "%-12s %9s %10s %10s %11s %11s %11s\n", "set", "bits/byte", "nats/token",
            "perplexity", "bytes", "tokens", "scored");
    for (size_t i = 0; i < count; i++) {
        const struct dapt_evaluation *e = &results[i];
        char perplexity[16];
        fprintf(page.out, "%-12s %9.4f %10.4f %10s %11llu %11llu %11llu\n", e->name,
                e->bits_per_byte, e->nats_per_token,
                dapt_text_perplexity(e->perplexity, perplexity), (unsigned long long)e->bytes,
                (unsigned long long)e->tokens, (unsigned long long)e->scored);
    }
    if (count > 0 && results[0].masked) fprintf(page.out, "%s\n", DAPT_MASKED_FIGURES);
    tool_page_end(&page, stdout);
}

static enum dapt_status print_json(const char *model, const struct dapt_evaluation *results,
                                   size_t count) {
    cJSON *root = cJSON_CreateObject();
    cJSON_AddStringToObject(root, "model", model);
    cJSON *sets = cJSON_AddObjectToObject(root, "sets");
    for (size_t i = 0; i < count; i++) {
        const struct dapt_evaluation *e = &results[i];
        cJSON *set = cJSON_AddObjectToObject(sets, e->name);
        cJSON_AddBoolToObject(set, "masked", e->masked);
        cJSON_AddNumberToObject(set, "nats_per_token", e->nats_per_token);
        cJSON_AddNumberToObject(set, "perplexity", e->perplexity);
        cJSON_AddNumberToObject(set, "bits_per_byte", e->bits_per_byte);
        cJSON_AddNumberToObject(set, "documents", (double)e->documents);
        cJSON_AddNumberToObject(set, "bytes", (double)e->bytes);
        cJSON_AddNumberToObject(set, "tokens", (double)e->tokens);
        cJSON_AddNumberToObject(set, "scored", (double)e->scored);
        cJSON_AddNumberToObject(set, "sequences", (double)e->sequences);
        cJSON_AddNumberToObject(set, "seconds", e->seconds);
    }
    return tool_print_json(root);
}

static enum tool_exit run_eval(void *arguments) {
    const struct eval_arguments *a = arguments;
    struct tool_sets sets;
    if (a->data.count == 0) return tool_usage("eval: no data was named: --data NAME=PATH");
    enum tool_exit result = tool_sets_parse("eval", &a->data, &sets);
    struct dapt_evaluation *results = calloc(a->data.count, sizeof *results);
    if (result == TOOL_OK && !results) result = tool_usage("no memory for the arguments");
    if (result == TOOL_OK) {
        struct dapt_context *context = NULL;
        struct dapt_evaluate_options options = {.model = tool_model(&a->common),
                                                .data = sets.data,
                                                .data_count = sets.count,
                                                .source = a->source,
                                                .sequence = (uint32_t)a->sequence,
                                                .batch = (uint32_t)a->batch,
                                                .packing = a->packing,
                                                .no_special = a->no_special,
                                                .max_tokens = a->max_tokens,
                                                .cache = a->cache};
        enum dapt_status status = dapt_context_open(NULL, &context);
        if (!status) status = dapt_evaluate(context, &options, results);
        if (!status && a->json)
            status = print_json(a->common.plain.plain[0], results, sets.count);
        else if (!status)
            print_table(results, sets.count);
        result = tool_finish(status);
        dapt_context_close(&context);
    }
    free(results);
    tool_sets_free(&sets);
    return result;
}

static const struct tool_option eval_options[] = {
    {"--data", "NAME=PATH", "a set: a file, a folder or a glob; may be given several times",
     TOOL_LIST, offsetof(struct eval_arguments, data), 0, 0, false},
    {"--json", NULL, "prints one JSON object", TOOL_FLAG, offsetof(struct eval_arguments, json), 0,
     0, false},
    {"--sequence", "N",
     "tokens of a sequence; default: as the checkpoint was trained, or the model's most up to 1024",
     TOOL_COUNT, offsetof(struct eval_arguments, sequence), 2, 1 << 24, false},
    {"--batch", "N", "sequences at a time; default: 8", TOOL_COUNT,
     offsetof(struct eval_arguments, batch), 1, 65536, false},
    {"--packing", "HOW", "documents (attention stays in a document) or concatenate", TOOL_TEXT,
     offsetof(struct eval_arguments, packing), 0, 0, false},
    {"--no-special", NULL, "leaves the tokenizer's template (BOS, ...) out", TOOL_FLAG,
     offsetof(struct eval_arguments, no_special), 0, 0, false},
    {"--max-tokens", "N",
     "the first so many tokens of each set, no more (the document that passes them is cut)",
     TOOL_COUNT, offsetof(struct eval_arguments, max_tokens), 1, 1e15, false},
    {"--source", "ID", "source plugin; default: by looking at the files", TOOL_TEXT,
     offsetof(struct eval_arguments, source), 0, 0, false},
    {"--cache", "FOLDER", "folder of token shards", TOOL_TEXT,
     offsetof(struct eval_arguments, cache), 0, 0, false},
    {0},
};

const struct tool_command tool_eval = {
    .name = "eval",
    .plain = "MODEL --data NAME=PATH ...",
    .summary = "how well a model predicts texts: nats/token, bits/byte",
    .notes =
        "bits/byte = nats/token / ln 2 * tokens / bytes, over whole documents: the tokens that are "
        "not scored (the first of each document or sequence, the cut end) count as if they cost "
        "the mean. Of a masked language model hidden tokens are scored, the same ones each time, "
        "predicted from all others of their text.",
    .options = eval_options,
    .shared = {tool_device_options, tool_tokenizer_options},
    .size = sizeof(struct eval_arguments),
    .plain_least = 1,
    .plain_most = 1,
    .run = run_eval,
};
