// dapt merge
#include <stddef.h>

#include "tool.h"

struct merge_arguments {
    struct tool_model_arguments common;
    const char *dtype;
};

static enum tool_exit run_merge(void *arguments) {
    const struct merge_arguments *a = arguments;
    const struct dapt_merge_options options = {.model = a->common.plain.plain[0],
                                               .folder = a->common.plain.plain[1],
                                               .base = a->common.base,
                                               .dtype = a->dtype};
    return tool_finish(dapt_merge(&options));
}

static const struct tool_option merge_options[] = {
    TOOL_BASE_OPTION,
    {"--dtype", "NAME", "float32, bfloat16 or float16; default: as the base has it", TOOL_TEXT,
     offsetof(struct merge_arguments, dtype), 0, 0, false},
    {0},
};

const struct tool_command tool_merge = {
    .name = "merge",
    .plain = "ADAPTER FOLDER",
    .summary = "writes a plain model: that of adapters with them merged into its matrices",
    .notes =
        "ADAPTER is a folder of adapters (LoRA), a checkpoint or a run that trained such. FOLDER "
        "is made.",
    .options = merge_options,
    .size = sizeof(struct merge_arguments),
    .plain_least = 2,
    .plain_most = 2,
    .run = run_merge,
};
