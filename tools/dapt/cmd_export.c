// dapt export
#include <stddef.h>

#include "tool.h"

struct export_arguments {
    struct tool_arguments plain;
    const char *type;
    bool force;
};

static enum tool_exit run_export(void *arguments) {
    const struct export_arguments *a = arguments;
    const struct dapt_export_options options = {.model = a->plain.plain[0],
                                                .file = a->plain.plain[1],
                                                .type = a->type,
                                                .replace = a->force};
    struct dapt_exchanged e = {.bytes = 0};
    enum dapt_status status = dapt_export(&options, &e);
    if (!status) tool_print_exchanged(options.file, &e);
    return tool_finish(status);
}

static const struct tool_option export_options[] = {
    {"--type", "TYPE", "of the matrices: F32, F16, BF16 or Q8_0; default: as MODEL has them",
     TOOL_TEXT, offsetof(struct export_arguments, type), 0, 0, false},
    {"--force", NULL, "replaces FILE.gguf where it is there already", TOOL_FLAG,
     offsetof(struct export_arguments, force), 0, 0, false},
    {0},
};

const struct tool_command tool_export = {
    .name = "export",
    .plain = "MODEL FILE.gguf",
    .summary = "writes a model as a GGUF file, for llama.cpp and what is built on it",
    .notes =
        "With the tokenizer and the chat template. Other types: llama-quantize makes them of "
        "an F16, BF16 or F32 file.",
    .options = export_options,
    .size = sizeof(struct export_arguments),
    .plain_least = 2,
    .plain_most = 2,
    .run = run_export,
};
