// The table of commands, and what is told of them.
#include <string.h>

#include "tool.h"

extern const struct tool_command tool_train, tool_plan, tool_eval, tool_generate, tool_tokenize,
    tool_verify, tool_bench, tool_devices, tool_plugins, tool_cache, tool_preview, tool_score,
    tool_probe, tool_import, tool_export, tool_merge, tool_report, tool_blend, tool_pilot;

const struct tool_command *const tool_commands[] = {
    &tool_train, &tool_plan,    &tool_pilot,   &tool_preview,  &tool_report,
    &tool_eval,  &tool_score,   &tool_probe,   &tool_generate, &tool_tokenize,
    &tool_blend, &tool_merge,   &tool_import,  &tool_export,   &tool_verify,
    &tool_bench, &tool_devices, &tool_plugins, &tool_cache,    NULL,
};

const struct tool_code tool_codes[] = {
    {TOOL_OK, "done; of a comparison: everything holds"},
    {TOOL_FAILURE, "failed; the last line on standard error says why"},
    {TOOL_USAGE, "the command line is wrong"},
    {TOOL_DEVICE,
     "the device failed: it was lost, hangs, or has too little memory; training goes "
     "on from its last checkpoint with --resume, on this device or another"},
    {TOOL_LOST,
     "a rank of a run of several is gone or does not answer; the others ended, and training goes "
     "on from its "
     "last checkpoint with --resume, on as many ranks or another number"},
    {TOOL_INTERRUPTED,
     "stopped by Ctrl-C, SIGTERM, SIGUSR1 or SIGHUP; training wrote a checkpoint and goes "
     "on with --resume"},
    {0, NULL},
};

const char tool_about[] = "continues the pretraining of a language model on your own text";
const char tool_model_about[] =
    "MODEL is a Hugging Face folder, a checkpoint, the folder of a run (its latest checkpoint), or "
    "RUN/best; of a model, or of adapters, which stand for the model that they belong to with "
    "them.";

const struct tool_command *tool_find_command(const char *name) {
    for (const struct tool_command *const *command = tool_commands; *command; command++)
        if (strcmp((*command)->name, name) == 0) return *command;
    return NULL;
}

const struct tool_option *tool_option_at(const struct tool_command *command, size_t k) {
    const struct tool_option *tables[] = {command->options, command->shared[0], command->shared[1]};
    for (size_t t = 0; t < sizeof tables / sizeof tables[0]; t++)
        for (const struct tool_option *option = tables[t]; option && option->name; option++)
            if (k-- == 0) return option;
    return NULL;
}
