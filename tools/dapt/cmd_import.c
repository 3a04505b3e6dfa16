// dapt import
#include <stddef.h>

#include "tool.h"

struct import_arguments {
    struct tool_arguments plain;
    const char *dtype;
};

static enum tool_exit run_import(void *arguments) {
    const struct import_arguments *a = arguments;
    const struct dapt_import_options options = {
        .file = a->plain.plain[0], .folder = a->plain.plain[1], .dtype = a->dtype};
    struct dapt_exchanged e = {.bytes = 0};
    enum dapt_status status = dapt_import(&options, &e);
    if (!status) tool_print_exchanged(options.folder, &e);
    return tool_finish(status);
}

static const struct tool_option import_options[] = {
    {"--dtype", "DTYPE",
     "float32, bfloat16 or float16; default: as the file where that is one of them, else float32",
     TOOL_TEXT, offsetof(struct import_arguments, dtype), 0, 0, false},
    {0},
};

const struct tool_command tool_import = {
    .name = "import",
    .plain = "FILE.gguf FOLDER",
    .summary = "makes a Hugging Face folder of a GGUF file, for training",
    .notes =
        "Weights of the types F32, F16, BF16, Q8_0, Q4_0 to Q5_1, Q2_K to Q6_K and IQ4_NL; with "
        "the tokenizer and the chat template. float32 holds every quantised weight as it is; "
        "bfloat16 halves the folder and rounds. FOLDER must be new or empty.",
    .options = import_options,
    .size = sizeof(struct import_arguments),
    .plain_least = 2,
    .plain_most = 2,
    .run = run_import,
};
