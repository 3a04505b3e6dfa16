// dapt bench
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>

#include "tool.h"

struct bench_arguments {
    struct tool_model_arguments common;
    uint64_t batch, sequence, steps;
    bool json;
};

static double tokens_per_second(const struct dapt_bench_result *r) {
    return (double)r->batch * (double)r->sequence / r->seconds;
}

static void print_table(FILE *out, const struct dapt_bench_result *r) {
    struct dapt_bench_row all = {.name = "all"};
    for (size_t i = 0; i < r->row_count; i++) {
        all.count += r->rows[i].count;
        all.seconds += r->rows[i].seconds;
        all.flops += r->rows[i].flops;
        all.bytes += r->rows[i].bytes;
    }
    fprintf(out, "device      %s: %s, %s\n", r->backend, r->device, r->driver);
    fprintf(out, "model       %.1f million parameters, new weights, %.2f GiB on the device\n",
            1e-6 * (double)r->parameters, (double)r->memory / (1024.0 * 1024 * 1024));
    fprintf(out, "step        %.3f ms (median of %u, best %.3f), %u x %u tokens, %.0f tokens/s\n",
            1e3 * r->seconds, r->steps, 1e3 * r->best_seconds, r->batch, r->sequence,
            tokens_per_second(r));
    if (r->kind != DAPT_DEVICE_CPU)
        fprintf(out, "host        %.3f ms of it on the calling thread\n", 1e3 * r->host_seconds);
    if (r->row_count == 0) {
        fprintf(out, "This device has no clocks: no times by operation.\n");
        return;
    }
    fprintf(out, "speed       %.1f GFLOP/s over the whole step\n\n", 1e-9 * all.flops / r->seconds);
    fprintf(out, "%-36s %5s %10s %6s %10s %8s\n", "op", "count", "ms", "share", "GFLOP/s", "GB/s");
    for (size_t i = 0; i <= r->row_count; i++) {
        const struct dapt_bench_row *row = i < r->row_count ? &r->rows[i] : &all;
        double over = row->seconds > 0 ? 1e-9 / row->seconds : 0,
               share = all.seconds > 0 ? 100 * row->seconds / all.seconds : 0;
        fprintf(out, "%-36s %5" PRIu32 " %10.3f %5.1f%% %10.1f %8.1f\n", row->name, row->count,
                1e3 * row->seconds, share, over * row->flops, over * row->bytes);
    }
}

static enum dapt_status print_json(const char *model, const struct dapt_bench_result *r) {
    cJSON *root = cJSON_CreateObject(), *rows = cJSON_AddArrayToObject(root, "ops");
    cJSON_AddStringToObject(root, "version", dapt_version());
    cJSON_AddStringToObject(root, "model", model);
    cJSON_AddStringToObject(root, "backend", r->backend);
    cJSON_AddStringToObject(root, "device", r->device);
    cJSON_AddStringToObject(root, "driver", r->driver);
    cJSON_AddNumberToObject(root, "parameters", (double)r->parameters);
    cJSON_AddNumberToObject(root, "memory", (double)r->memory);
    cJSON_AddNumberToObject(root, "batch", r->batch);
    cJSON_AddNumberToObject(root, "sequence", r->sequence);
    cJSON_AddNumberToObject(root, "steps", r->steps);
    cJSON_AddNumberToObject(root, "seconds", r->seconds);
    cJSON_AddNumberToObject(root, "best_seconds", r->best_seconds);
    cJSON_AddNumberToObject(root, "host_seconds", r->host_seconds);
    cJSON_AddNumberToObject(root, "tokens_per_second", tokens_per_second(r));
    for (size_t i = 0; i < r->row_count; i++) {
        const struct dapt_bench_row *row = &r->rows[i];
        cJSON *item = cJSON_CreateObject();
        cJSON_AddStringToObject(item, "op", row->name);
        cJSON_AddNumberToObject(item, "count", row->count);
        cJSON_AddNumberToObject(item, "seconds", row->seconds);
        cJSON_AddNumberToObject(item, "flops", row->flops);
        cJSON_AddNumberToObject(item, "bytes", row->bytes);
        cJSON_AddItemToArray(rows, item);
    }
    return tool_print_json(root);
}

static enum tool_exit run_bench(void *arguments) {
    const struct bench_arguments *a = arguments;
    struct dapt_context *context = NULL;
    struct dapt_bench_result result;
    struct tool_page page;
    struct dapt_bench_options options = {.model = a->common.plain.plain[0],
                                         .backend = a->common.backend,
                                         .device = a->common.device,
                                         .threads = (uint32_t)a->common.threads,
                                         .batch = (uint32_t)a->batch,
                                         .sequence = (uint32_t)a->sequence,
                                         .steps = (uint32_t)a->steps};
    enum dapt_status status = dapt_context_open(NULL, &context);
    if (!status) status = dapt_bench(context, &options, &result);
    if (!status && a->json)
        status = print_json(options.model, &result);
    else if (!status && tool_page_begin(&page)) {
        print_table(page.out, &result);
        tool_page_end(&page, stdout);
    }
    enum tool_exit code = tool_finish(status);
    dapt_context_close(&context);
    return code;
}

static const struct tool_option bench_options[] = {
    {"--batch", "N", "sequences of a step; default: 8", TOOL_COUNT,
     offsetof(struct bench_arguments, batch), 1, 65536, false},
    {"--sequence", "N", "tokens of a sequence; default: 1024, or the model's most", TOOL_COUNT,
     offsetof(struct bench_arguments, sequence), 2, 1 << 24, false},
    {"--steps", "N", "steps that are measured; default: 10", TOOL_COUNT,
     offsetof(struct bench_arguments, steps), 1, 100000, false},
    {"--json", NULL, "prints one JSON object", TOOL_FLAG, offsetof(struct bench_arguments, json), 0,
     0, false},
    {0},
};

const struct tool_command tool_bench = {
    .name = "bench",
    .plain = "MODEL",
    .summary = "how fast a device trains a model, and which operations take the time",
    .notes =
        "MODEL is a folder with config.json, or such a file; weights and tokens are random. The "
        "times by operation are of one further step, each operation alone: their sum is a little "
        "more than a step. GFLOP/s and GB/s: what the operation must do, read and write at least, "
        "over its time.",
    .options = bench_options,
    .shared = {tool_device_options},
    .size = sizeof(struct bench_arguments),
    .plain_least = 1,
    .plain_most = 1,
    .run = run_bench,
};
