// dapt report
#include <stddef.h>
#include <stdio.h>

#include "tool.h"

struct report_arguments {
    struct tool_arguments plain;
    const char *output, *tensorboard;
};

static enum tool_exit run_report(void *arguments) {
    const struct report_arguments *a = arguments;
    const char *runs[sizeof a->plain.plain / sizeof *a->plain.plain + 1] = {NULL};
    for (size_t i = 0; i < a->plain.plain_count; i++) runs[i] = a->plain.plain[i];
    const char *output = a->output ? a->output : "report.html";
    enum dapt_status status = dapt_report_write(&(struct dapt_report_options){
        .runs = runs, .output = output, .tensorboard = a->tensorboard});
    if (!status) {
        tool_print_plain(stdout, output);
        putchar('\n');
    }
    return tool_finish(status);
}

static const struct tool_option report_options[] = {
    {"--output", "FILE", "the page; default: report.html", TOOL_TEXT,
     offsetof(struct report_arguments, output), 0, 0, false},
    {"--tensorboard", "FOLDER", "also writes each run's scalars there, for TensorBoard", TOOL_TEXT,
     offsetof(struct report_arguments, tensorboard), 0, 0, false},
    {0},
};

const struct tool_command tool_report = {
    .name = "report",
    .plain = "RUN [RUN...]",
    .summary = "writes a page on a run, or on several side by side",
    .notes =
        "RUN is the folder of a run, which may be under way, stopped or failed. The page is one "
        "HTML "
        "file without scripts or anything from outside: what was gained on the domain and what it "
        "cost elsewhere, with intervals; curves, data, checkpoints, events, configuration.",
    .options = report_options,
    .size = sizeof(struct report_arguments),
    .plain_least = 1,
    .plain_most = 8,
    .run = run_report,
};
