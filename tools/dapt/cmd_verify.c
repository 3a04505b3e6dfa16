// dapt verify
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "tool.h"

struct verify_arguments {
    struct tool_model_arguments common;
    double tolerance;
};
struct tally {
    size_t rows, failed;
    double worst;
    bool begun;
};

static void print_row(void *user, const struct dapt_verify_row *row) {
    struct tally *tally = user;
    if (!tally->begun) printf("%-10s %-56s %12s\n", "what", "name", "rel. error");
    tally->begun = true;
    printf("%-10s %-56s %12.3e  %s\n", row->what, row->name, row->error, row->ok ? "ok" : "OFF");
    tally->rows++;
    tally->failed += !row->ok;
    if (!(row->error <= tally->worst)) tally->worst = row->error;  // a NaN is the worst
}

static enum tool_exit run_verify(void *arguments) {
    const struct verify_arguments *a = arguments;
    struct dapt_context *context = NULL;
    struct tally tally = {0};
    struct dapt_verify_options options = {.folder = a->common.plain.plain[0],
                                          .backend = a->common.backend,
                                          .device = a->common.device,
                                          .threads = (uint32_t)a->common.threads,
                                          .tolerance = a->tolerance};
    enum dapt_status status = dapt_context_open(NULL, &context);
    if (!status) status = dapt_verify(context, &options, print_row, &tally);
    if (tally.rows > 0)
        printf("%zu of %zu hold, worst %.3e\n", tally.rows - tally.failed, tally.rows, tally.worst);
    enum tool_exit result = tool_finish(status);
    dapt_context_close(&context);
    return result;
}

static const struct tool_option verify_options[] = {
    {"--tolerance", "E", "largest relative error that holds; default: 1e-4", TOOL_REAL,
     offsetof(struct verify_arguments, tolerance), 1e-12, 1, false},
    {0},
};

const struct tool_command tool_verify = {
    .name = "verify",
    .plain = "FOLDER",
    .summary = "compares a model's golden values with what is computed here",
    .notes =
        "FOLDER holds a model, golden.safetensors and golden.json. Compared: logits, loss, every\n"
        "gradient, and the losses of the golden AdamW steps. Exit code 0 only if all hold.",
    .options = verify_options,
    .shared = {tool_device_options},
    .size = sizeof(struct verify_arguments),
    .plain_least = 1,
    .plain_most = 1,
    .run = run_verify,
};
