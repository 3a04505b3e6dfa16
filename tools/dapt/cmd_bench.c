// dapt bench
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>

#include "tool.h"

struct bench_arguments {
    struct tool_model_arguments common;
    uint64_t batch, sequence, steps;
    uint64_t peaks;
    bool recompute, gradients, estimate, json;
    const char *precision;
};

static double tokens_per_second(const struct dapt_bench_result *r) {
    return (double)r->batch * (double)r->sequence / r->seconds;
}

static struct dapt_bench_row add_up(const struct dapt_bench_result *r) {
    struct dapt_bench_row all = {.name = "all"};
    for (size_t i = 0; i < r->row_count; i++) {
        all.count += r->rows[i].count;
        all.seconds += r->rows[i].seconds;
        all.flops += r->rows[i].flops;
        all.bytes += r->rows[i].bytes;
    }
    return all;
}

static double product_flops(const struct dapt_bench_peaks *p) {
    return 2.0 * p->size * p->size * p->size / p->product_seconds;
}
static double copy_speed(const struct dapt_bench_peaks *p) {
    return 2.0 * (double)p->copy_bytes / p->copy_seconds;
}

static void print_estimate(FILE *out, const struct dapt_bench_result *r) {
    fprintf(out, "device      %s: %s, %s\n", r->backend, r->device, r->driver);
    fprintf(out, "model       %.1f million parameters\n", 1e-6 * (double)r->parameters);
    fprintf(out, "memory      ");
    tool_print_bytes(out, r->memory);
    fprintf(out, " for %u x %u tokens", r->batch, r->sequence);
    if (r->available) {
        fprintf(out, "; the device has ");
        tool_print_bytes(out, r->available);
    }
    fputc('\n', out);
}

static void print_table(FILE *out, const struct dapt_bench_result *r) {
    const struct dapt_bench_row all = add_up(r);
    fprintf(out, "device      %s: %s, %s\n", r->backend, r->device, r->driver);
    fprintf(out, "model       %.1f million parameters, new weights, %.2f GiB on the device\n",
            1e-6 * (double)r->parameters, (double)r->memory / (1024.0 * 1024 * 1024));
    fprintf(out, "step        %.3f ms (median of %u, best %.3f), %u x %u tokens, %.0f tokens/s\n",
            1e3 * r->seconds, r->steps, 1e3 * r->best_seconds, r->batch, r->sequence,
            tokens_per_second(r));
    if (r->kind != DAPT_DEVICE_CPU)
        fprintf(out, "host        %.3f ms of it on the calling thread\n", 1e3 * r->host_seconds);
    if (r->peaks.size)
        fprintf(out, "peaks       product of %u cubed %.1f GFLOP/s, copy %.1f GB/s\n",
                r->peaks.size, 1e-9 * product_flops(&r->peaks), 1e-9 * copy_speed(&r->peaks));
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

static void add_peaks(cJSON *root, const struct dapt_bench_peaks *p) {
    const struct {
        const char *name;
        double value;
    } numbers[] = {
        {"size", p->size},
        {"product_seconds", p->product_seconds},
        {"product_runs", p->product_runs},
        {"product_flops_per_second", product_flops(p)},
        {"copy_bytes", (double)p->copy_bytes},
        {"copy_seconds", p->copy_seconds},
        {"copy_runs", p->copy_runs},
        {"copy_bytes_per_second", copy_speed(p)},
    };
    cJSON *peaks = cJSON_AddObjectToObject(root, "peaks");
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        cJSON_AddNumberToObject(peaks, numbers[i].name, numbers[i].value);
}

static void add_speed(cJSON *root, const struct dapt_bench_result *r) {
    const struct dapt_bench_row all = add_up(r);
    cJSON_AddNumberToObject(root, "steps", r->steps);
    cJSON_AddNumberToObject(root, "seconds", r->seconds);
    cJSON_AddNumberToObject(root, "best_seconds", r->best_seconds);
    cJSON_AddNumberToObject(root, "host_seconds", r->host_seconds);
    cJSON_AddNumberToObject(root, "tokens_per_second", tokens_per_second(r));
    if (r->row_count > 0) {
        cJSON_AddNumberToObject(root, "flops", all.flops);
        cJSON_AddNumberToObject(root, "bytes", all.bytes);
    }
    if (r->peaks.size) add_peaks(root, &r->peaks);
}

static enum dapt_status print_json(const struct dapt_bench_options *options,
                                   const struct dapt_bench_result *r) {
    cJSON *root = cJSON_CreateObject(), *rows = cJSON_AddArrayToObject(root, "ops");
    cJSON_AddStringToObject(root, "version", dapt_version());
    cJSON_AddStringToObject(root, "model", options->model);
    cJSON_AddStringToObject(root, "backend", r->backend);
    cJSON_AddStringToObject(root, "device", r->device);
    cJSON_AddStringToObject(root, "driver", r->driver);
    cJSON_AddNumberToObject(root, "parameters", (double)r->parameters);
    cJSON_AddNumberToObject(root, "memory", (double)r->memory);
    if (r->available) cJSON_AddNumberToObject(root, "available", (double)r->available);
    cJSON_AddNumberToObject(root, "batch", r->batch);
    cJSON_AddNumberToObject(root, "sequence", r->sequence);
    cJSON_AddStringToObject(root, "precision", options->precision ? options->precision : "float32");
    cJSON_AddBoolToObject(root, "recompute", options->recompute);
    cJSON_AddBoolToObject(root, "update", !options->gradients);
    if (!options->estimate) add_speed(root, r);
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
                                         .steps = (uint32_t)a->steps,
                                         .recompute = a->recompute,
                                         .gradients = a->gradients,
                                         .estimate = a->estimate,
                                         .peaks = (uint32_t)a->peaks,
                                         .precision = a->precision};
    enum dapt_status status = dapt_context_open(NULL, &context);
    if (!status) status = dapt_bench(context, &options, &result);
    if (!status && a->json)
        status = print_json(&options, &result);
    else if (!status && tool_page_begin(&page)) {
        (a->estimate ? print_estimate : print_table)(page.out, &result);
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
    {"--recompute", NULL, "computes blocks anew in the backward pass: less memory", TOOL_FLAG,
     offsetof(struct bench_arguments, recompute), 0, 0, false},
    {"--precision", "NAME", "float32, bfloat16 or float16; default: float32", TOOL_TEXT,
     offsetof(struct bench_arguments, precision), 0, 0, false},
    {"--gradients", NULL, "measures forward and backward alone, without the update", TOOL_FLAG,
     offsetof(struct bench_arguments, gradients), 0, 0, false},
    {"--estimate", NULL, "only says what memory it takes: nothing runs", TOOL_FLAG,
     offsetof(struct bench_arguments, estimate), 0, 0, false},
    {"--peaks", "N", "measures a product of N x N x N and a copy on the device, too", TOOL_COUNT,
     offsetof(struct bench_arguments, peaks), 16, 16384, false},
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
