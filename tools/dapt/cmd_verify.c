// dapt verify
#include <stddef.h>
#include <stdio.h>

#include "tool.h"

struct verify_arguments {
    struct tool_model_arguments common;
    double tolerance;
    const char *output, *precision;
};
struct tally {
    size_t rows, failed;
    double worst;
    bool begun;
};

static void print_row(void *user, const struct dapt_verify_row *row) {
    struct tally *tally = user;
    if (!tally->begun) printf("%-8s %-44s %10s %8s\n", "what", "name", "rel. error", "at most");
    tally->begun = true;
    printf("%-8s %-44s %10.3e %8.0e  %s\n", row->what, row->name, row->error, row->tolerance,
           row->ok ? "ok" : "OFF");
    tally->rows++;
    tally->failed += !row->ok;
    if (!(row->error <= tally->worst)) tally->worst = row->error;  // a NaN is the worst
}

static enum tool_exit run_verify(void *arguments) {
    const struct verify_arguments *a = arguments;
    struct dapt_context *context = NULL;
    struct tally tally = {0};
    struct dapt_verify_options options = {.folder = a->common.plain.plain[0],
                                          .base = a->common.base,
                                          .backend = a->common.backend,
                                          .device = a->common.device,
                                          .threads = (uint32_t)a->common.threads,
                                          .tolerance = a->tolerance,
                                          .output = a->output,
                                          .precision = a->precision};
    if (options.folder && options.output)
        return tool_usage("verify: --output is for the comparison of a device, without a FOLDER");
    if (!options.folder && options.tolerance > 0)
        return tool_usage("verify: --tolerance is for golden values, with a FOLDER");
    if (!options.folder && options.precision)
        return tool_usage("verify: --precision is for golden values, with a FOLDER");
    enum dapt_status status = dapt_context_open(NULL, &context);
    if (!status) status = dapt_verify(context, &options, print_row, &tally);
    if (tally.rows > 0)
        printf("%zu of %zu hold, worst %.3e\n", tally.rows - tally.failed, tally.rows, tally.worst);
    enum tool_exit result = tool_finish(status);
    dapt_context_close(&context);
    return result;
}

static const struct tool_option verify_options[] = {
    TOOL_BASE_OPTION,
    {"--tolerance", "E", "largest relative error that holds; default: 1e-4", TOOL_REAL,
     offsetof(struct verify_arguments, tolerance), 1e-12, 1, false},
    {"--precision", "NAME", "float32, bfloat16 or float16, with a FOLDER; default: float32",
     TOOL_TEXT, offsetof(struct verify_arguments, precision), 0, 0, false},
    {"--output", "FILE", "without FOLDER: writes the figures to a file, as JSON", TOOL_TEXT,
     offsetof(struct verify_arguments, output), 0, 0, false},
    {0},
};

const struct tool_command tool_verify = {
    .name = "verify",
    .plain = "[FOLDER]",
    .summary = "compares what is computed here with golden values, or a device with the cpu",
    .notes =
        "FOLDER holds a model, golden.safetensors and golden.json. Compared: logits, loss, every "
        "gradient, and the losses of the golden AdamW steps. Without FOLDER every operation, "
        "forward and gradient, and 20 steps of a small model on the device are compared with the "
        "cpu. Exit code 0 only if all hold.",
    .options = verify_options,
    .shared = {tool_device_options},
    .size = sizeof(struct verify_arguments),
    .plain_most = 1,
    .run = run_verify,
};
