// dapt generate
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "tool.h"

struct generate_arguments {
    struct tool_model_arguments common;
    const char *prompt;
    uint64_t max_tokens, top_k, seed;
    double temperature, top_p;
    bool ignore_end, continuation, stats;
};

// What is left to print before the continuation; nothing is printed of a text that fails at once.
struct output {
    const char *prompt;
    bool begun;
};

static bool print_text(void *user, const char *text, size_t length) {
    struct output *output = user;
    const char *prompt = output->begun ? "" : output->prompt;
    output->begun = true;
    return tool_emit(NULL, prompt, strlen(prompt)) && tool_emit(NULL, text, length);
}

static enum tool_exit run_generate(void *arguments) {
    const struct generate_arguments *a = arguments;
    struct dapt_context *context = NULL;
    struct dapt_generated generated;
    if (!a->prompt) return tool_usage("generate: no prompt was given: --prompt TEXT");
    struct dapt_generate_options options = {.model = tool_model(&a->common),
                                            .prompt = a->prompt,
                                            .max_tokens = (uint32_t)a->max_tokens,
                                            .temperature = a->temperature,
                                            .top_k = (uint32_t)a->top_k,
                                            .top_p = a->top_p,
                                            .seed = a->seed,
                                            .ignore_end = a->ignore_end};
    struct output output = {.prompt = a->continuation ? "" : a->prompt};
    enum dapt_status status = dapt_context_open(NULL, &context);
    if (!status) status = dapt_generate(context, &options, print_text, &output, &generated);
    if (!status && !output.begun) print_text(&output, "", 0);
    if (output.begun) putchar('\n');
    if (!status && generated.positions) {
        fflush(stdout);
        fprintf(stderr,
                "dapt: stopped after %u tokens: the model has %u positions, prompt included\n",
                generated.tokens, generated.positions);
    }
    if (!status && a->stats) {
        fflush(stdout);
        fprintf(stderr, "%u prompt tokens in %.3f s; %u tokens in %.3f s (%.1f tokens/s)%s\n",
                generated.prompt_tokens, generated.prompt_seconds, generated.tokens,
                generated.seconds, generated.seconds > 0 ? generated.tokens / generated.seconds : 0,
                generated.ended ? "; the text ended" : "");
    }
    enum tool_exit result = tool_finish(status);
    dapt_context_close(&context);
    return result;
}

static const struct tool_option generate_options[] = {
    {"--prompt", "TEXT", "the text to continue", TOOL_TEXT,
     offsetof(struct generate_arguments, prompt), 0, 0, false},
    {"--max-tokens", "N", "tokens to generate; default: 100", TOOL_COUNT,
     offsetof(struct generate_arguments, max_tokens), 1, 1e9, false},
    {"--temperature", "T", "0 (the default): the most likely token each time", TOOL_REAL,
     offsetof(struct generate_arguments, temperature), 0, 1e6, false},
    {"--top-k", "K", "samples among the K most likely tokens; 0: all", TOOL_COUNT,
     offsetof(struct generate_arguments, top_k), 0, 1e9, false},
    {"--top-p", "P", "samples among the most likely tokens that together reach probability P",
     TOOL_REAL, offsetof(struct generate_arguments, top_p), 0, 1, false},
    {"--seed", "S", "same seed, same text", TOOL_COUNT, offsetof(struct generate_arguments, seed),
     0, 18446744073709549568.0, false},
    {"--ignore-end", NULL, "continues after an end-of-text token", TOOL_FLAG,
     offsetof(struct generate_arguments, ignore_end), 0, 0, false},
    {"--continuation", NULL, "leaves the prompt out of the output", TOOL_FLAG,
     offsetof(struct generate_arguments, continuation), 0, 0, false},
    {"--stats", NULL, "tells counts and speed on standard error", TOOL_FLAG,
     offsetof(struct generate_arguments, stats), 0, 0, false},
    {0},
};

const struct tool_command tool_generate = {
    .name = "generate",
    .plain = "MODEL --prompt TEXT",
    .summary = "continues a text",
    .options = generate_options,
    .shared = {tool_device_options, tool_tokenizer_options},
    .size = sizeof(struct generate_arguments),
    .plain_least = 1,
    .plain_most = 1,
    .run = run_generate,
};
