// dapt.h: each function checks its arguments and calls the room that does the work.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/crash.h"
#include "base/nearest.h"
#include "base/terminal.h"
#include "base/threads.h"
#include "base/utf8.h"
#include "dapt/dapt.h"
#include "device/certificate.h"
#include "device/select.h"
#include "device/bench.h"
#include "infer/evaluate.h"
#include "infer/generate.h"
#include "infer/merge.h"
#include "infer/probe.h"
#include "infer/score.h"
#include "infer/session.h"
#include "model/exchange.h"
#include "report/report.h"
#include "train/trainer.h"
#include "infer/verify.h"

struct dapt_context {
    struct dapt_modules *modules;
};

const char *dapt_last_error(void) {
    return dapt_error();
}

void dapt_set_log_level(enum dapt_log_level most_verbose) {
    dapt_log_level(most_verbose);
}

void dapt_handle_crashes(void) {
    dapt_crash_handle();
}

void dapt_interrupt(void) {
    dapt_cancel();
}

void dapt_interrupt_reset(void) {
    dapt_cancel_reset();
}

uint64_t dapt_step_under_way(void) {
    return dapt_step_noted();
}

size_t dapt_text_columns(int fd) {
    return dapt_terminal_columns(fd);
}

enum dapt_status dapt_text_wrap(const char *text, size_t columns, size_t hang, dapt_emit_text emit,
                                void *user) {
    struct dapt_string wrapped = {0};
    enum dapt_status status = dapt_wrap(text, columns, hang, &wrapped);
    if (!status) emit(user, wrapped.data, wrapped.length);
    dapt_string_free(&wrapped);
    return status;
}

const char *dapt_text_nearest(const char *name, const char *const *names) {
    return dapt_nearest(name, names);
}

const char *dapt_text_perplexity(double perplexity, char text[16]) {
    if (!isfinite(perplexity))
        snprintf(text, 16, "-");
    else
        snprintf(text, 16, perplexity < 1e6 ? "%.2f" : "%.3e", perplexity);
    return text;
}

// ---------------------------------------------------------------------------------------- context

enum dapt_status dapt_context_open(const char *const *folders, struct dapt_context **context) {
    *context = dapt_alloc(1, sizeof **context);
    if (!*context) return DAPT_ERROR_MEMORY;
    enum dapt_status status = dapt_modules_load(folders, &(*context)->modules);
    if (status) dapt_context_close(context);
    return status;
}

void dapt_context_close(struct dapt_context **context) {
    if (!*context) return;
    dapt_modules_unload(&(*context)->modules);
    free(*context);
    *context = NULL;
}

size_t dapt_plugin_count(const struct dapt_context *context) {
    return dapt_modules_count(context->modules);
}

enum dapt_status dapt_plugin_at(const struct dapt_context *context, size_t index,
                                struct dapt_plugin *plugin) {
    struct dapt_module_info info;
    size_t count = dapt_modules_count(context->modules);
    if (index >= count)
        return dapt_fail(DAPT_ERROR_INVALID, "plugin %zu of %zu: no such plugin", index, count);
    dapt_modules_at(context->modules, index, &info);
    *plugin = (struct dapt_plugin){.path = info.path,
                                   .kind = info.kind,
                                   .id = info.id,
                                   .version = info.version,
                                   .summary = info.summary,
                                   .options = info.options};
    return DAPT_OK;
}

enum dapt_status dapt_devices(const struct dapt_context *context, dapt_each_device each,
                              void *user) {
    dapt_list_devices(context->modules, each, user);
    return DAPT_OK;
}

const char *dapt_device_precision(const struct dapt_device_info *info, const char **why) {
    return dapt_precision_name(dapt_precision_of(info, why));
}

struct cached_listener {
    dapt_each_cached each;
    void *user;
};

static void tell_cached(void *context, const char *folder, const struct dapt_cache_entry *e) {
    const struct cached_listener *listener = context;
    struct dapt_cached cached = {0};
    if (e)
        cached = (struct dapt_cached){e->path,   e->text,    e->size,   e->documents,
                                      e->tokens, e->seconds, e->in_use, e->removed};
    listener->each(listener->user, folder, e ? &cached : NULL);
}

enum dapt_status dapt_cache(const struct dapt_cache_options *options, dapt_each_cached each,
                            void *user) {
    struct cached_listener listener = {each, user};
    return dapt_cache_list(options->folder, options->purge, options->days, tell_cached, &listener);
}

// ------------------------------------------------------------------------------------------- GGUF

static enum dapt_status tell_exchanged(const struct dapt_exchange_summary *summary,
                                       const char *path, struct dapt_exchanged *exchanged) {
    size_t size;
    int fd;
    enum dapt_status status = dapt_file_open(path, &fd, &size);
    if (status) return status;
    close(fd);
    *exchanged = (struct dapt_exchanged){.parameters = summary->parameters, .bytes = size};
    memcpy(exchanged->model_type, summary->type, sizeof exchanged->model_type);
    memcpy(exchanged->dtype, summary->dtype, sizeof exchanged->dtype);
    return DAPT_OK;
}

enum dapt_status dapt_import(const struct dapt_import_options *options,
                             struct dapt_exchanged *exchanged) {
    struct dapt_exchange_summary summary;
    unsigned choice = DAPT_SAVE_MODEL;  // not to be asked for: no folder says what it is
    if (options->dtype && (dapt_config_choose("checkpoint.dtype", options->dtype, &choice) ||
                           choice == DAPT_SAVE_MODEL))
        return dapt_fail(DAPT_ERROR_INVALID,
                         "dtype \"%.32s\": expected float32, bfloat16 or float16", options->dtype);
    enum dapt_save_dtype dtype = (enum dapt_save_dtype)choice;
    enum dapt_status status = dapt_model_import(options->file, options->folder, dtype, &summary);
    if (status) return status;
    struct dapt_arena arena = {0};
    char *path = dapt_path_join(&arena, options->folder, "model.safetensors");
    status = path ? tell_exchanged(&summary, path, exchanged) : DAPT_ERROR_MEMORY;
    dapt_arena_free(&arena);
    return status;
}

enum dapt_status dapt_export(const struct dapt_export_options *options,
                             struct dapt_exchanged *exchanged) {
    struct dapt_exchange_summary summary;
    struct dapt_arena arena = {0};
    char *folder;
    enum dapt_status status = dapt_session_folder(&arena, options->model, &folder);
    if (!status)
        status = dapt_model_export(folder, options->file, options->type, options->replace,
                                   &summary);
    if (!status) status = tell_exchanged(&summary, options->file, exchanged);
    dapt_arena_free(&arena);
    return status;
}

// ---------------------------------------------------------------------------------- configuration

static enum dapt_status describe(void (*print)(FILE *out, const struct dapt_modules *modules),
                                 dapt_emit_text emit, void *user) {
    char *text = NULL;
    size_t length = 0;
    struct dapt_modules *modules = NULL;
    FILE *out = open_memstream(&text, &length);
    if (!out) return dapt_fail(DAPT_ERROR_MEMORY, "no memory for a text");
    enum dapt_status status = dapt_modules_load(NULL, &modules);
    if (!status) print(out, modules);
    bool whole = fclose(out) == 0;
    if (!status && !whole) status = dapt_fail(DAPT_ERROR_MEMORY, "no memory for a text");
    if (!status) emit(user, text, length);
    dapt_modules_unload(&modules);
    free(text);
    return status;
}

static void print_schema(FILE *out, const struct dapt_modules *modules) {
    (void)modules;
    dapt_config_schema(out);
}

enum dapt_status dapt_config_describe(dapt_emit_text emit, void *user) {
    return describe(dapt_config_help, emit, user);
}

enum dapt_status dapt_config_describe_schema(dapt_emit_text emit, void *user) {
    return describe(print_schema, emit, user);
}

// --------------------------------------------------------------------------------------- commands

enum dapt_status dapt_train(const struct dapt_train_options *options) {
    if (!options->config) return dapt_fail(DAPT_ERROR_INVALID, "no configuration was named");
    return dapt_trainer_run(options);
}

enum dapt_status dapt_report_write(const struct dapt_report_options *options) {
    if (!options->runs || !options->runs[0])
        return dapt_fail(DAPT_ERROR_INVALID, "no run was named");
    if (!options->output) return dapt_fail(DAPT_ERROR_INVALID, "no file was named for the report");
    return dapt_report_page(options->runs, options->output, options->tensorboard);
}

enum dapt_status dapt_generate(struct dapt_context *context,
                               const struct dapt_generate_options *options, dapt_emit_text emit,
                               void *user, struct dapt_generated *generated) {
    struct dapt_generated unused;
    return dapt_generate_text(context->modules, options, emit, user,
                              generated ? generated : &unused);
}

enum dapt_status dapt_score(struct dapt_context *context, const struct dapt_score_options *options,
                            struct dapt_score *results) {
    return dapt_score_tasks(context->modules, options, results);
}

enum dapt_status dapt_probe(struct dapt_context *context, const struct dapt_probe_options *options,
                            struct dapt_probe *result) {
    if (!options->train || !options->test)
        return dapt_fail(DAPT_ERROR_INVALID,
                         "probe: a file of training texts and one of test "
                         "texts are needed");
    return dapt_probe_files(context->modules, options, result);
}

enum dapt_status dapt_verify(struct dapt_context *context,
                             const struct dapt_verify_options *options,
                             dapt_verify_callback callback, void *user) {
    if (!options->folder) return dapt_certificate_verify(context->modules, options, callback, user);
    return dapt_verify_folder(context->modules, options, callback, user);
}

enum dapt_status dapt_bench(struct dapt_context *context, const struct dapt_bench_options *options,
                            struct dapt_bench_result *result) {
    if (!options->model) return dapt_fail(DAPT_ERROR_INVALID, "no model was named");
    return dapt_bench_model(context->modules, options, result);
}

enum dapt_status dapt_tokenize(struct dapt_context *context, const struct dapt_model_options *model,
                               const char *text, size_t length, bool special, dapt_emit_ids emit,
                               void *user) {
    struct dapt_session session;
    struct dapt_ids ids = {0};
    size_t good = dapt_utf8_check(text, length);
    if (good < length)
        return dapt_fail(DAPT_ERROR_INVALID, "the text is not UTF-8: byte %zu is 0x%02x", good,
                         (unsigned char)text[good]);
    enum dapt_status status = dapt_session_open(context->modules, model, &session);
    if (!status) {
        status = dapt_tokenizer_encode(session.tokenizer, text, length,
                                       special ? DAPT_ENCODE_SPECIAL : 0, &ids);
    }
    if (!status) emit(user, ids.ids, ids.count);
    dapt_ids_free(&ids);
    dapt_session_close(&session);
    return status;
}

enum dapt_status dapt_merge(const struct dapt_merge_options *options) {
    if (!options->model) return dapt_fail(DAPT_ERROR_INVALID, "no adapters were named");
    if (!options->folder) return dapt_fail(DAPT_ERROR_INVALID, "no folder to write was named");
    return dapt_merge_folder(options);
}

// ------------------------------------------------------------------------------------- evaluation

// How to cut the documents: as asked; else as the checkpoint was trained; else as a configuration
// would by default.
struct cutting {
    uint32_t sequence, batch;
    enum dapt_packing packing;
    bool special;
};

static enum dapt_status choose_cutting(const struct dapt_evaluate_options *options,
                                       const struct dapt_session *session,
                                       struct cutting *cutting) {
    const cJSON *course = cJSON_GetObjectItemCaseSensitive(session->record, "course");
    const cJSON *data = cJSON_GetObjectItemCaseSensitive(course, "data");
    const cJSON *sequence = cJSON_GetObjectItemCaseSensitive(data, "sequence");
    const cJSON *packing = cJSON_GetObjectItemCaseSensitive(data, "packing");
    const char *wanted = options->packing ? options->packing : cJSON_GetStringValue(packing);
    unsigned choice = DAPT_PACK_DOCUMENTS;
    enum dapt_status status = wanted ? dapt_config_choose("data.packing", wanted, &choice)
                                     : DAPT_OK;
    if (status) return status;
    *cutting = (struct cutting){.sequence = options->sequence,
                                .batch = options->batch ? options->batch : 8,
                                .packing = (enum dapt_packing)choice};
    bool recorded = cJSON_IsNumber(sequence) && sequence->valuedouble >= 1 &&
                    sequence->valuedouble <= (double)INT32_MAX;
    if (!cutting->sequence && recorded) cutting->sequence = (uint32_t)sequence->valuedouble;
    if (!cutting->sequence) cutting->sequence = dapt_session_length(session->model, 1024);
    cutting->special = !options->no_special &&
                       !cJSON_IsFalse(cJSON_GetObjectItemCaseSensitive(data, "special"));
    if (cutting->sequence < 2 ||
        cutting->sequence > dapt_session_length(session->model, INT32_MAX)) {
        return dapt_fail(DAPT_ERROR_INVALID,
                         "sequences of %u tokens: expected 2 to %u, the positions of the model",
                         cutting->sequence, dapt_session_length(session->model, INT32_MAX));
    }
    return DAPT_OK;
}

static enum dapt_status evaluate_set(const struct dapt_session *session,
                                     const struct dapt_evaluate_options *options,
                                     const struct cutting *cutting,
                                     const struct dapt_objective *objective,
                                     const struct dapt_named_data *data, struct dapt_batch *batch,
                                     struct dapt_evaluation *result) {
    struct dapt_data_entry entry = {.path = data->path, .source = options->source, .weight = 1};
    struct dapt_data_list list = {.entries = &entry, .count = 1};
    struct dapt_corpus_options corpus_options = {.modules = session->modules,
                                                 .tokenizer = session->tokenizer,
                                                 .sequence = cutting->sequence,
                                                 .packing = cutting->packing,
                                                 .special = cutting->special,
                                                 .cache = options->cache,
                                                 .max_tokens = options->max_tokens,
                                                 .vocab = session->model->vocab,
                                                 .threads = options->model.threads,
                                                 .name = data->name,
                                                 .objective = objective};
    struct dapt_corpus *corpus = NULL;
    enum dapt_status status = dapt_corpus_open(&list, &corpus_options, &corpus);
    if (!status)
        status = dapt_evaluate_corpus(session->engine, corpus, batch, data->name, result, NULL);
    dapt_corpus_close(&corpus);
    return status;
}

enum dapt_status dapt_evaluate(struct dapt_context *context,
                               const struct dapt_evaluate_options *options,
                               struct dapt_evaluation *results) {
    struct dapt_session session;
    struct dapt_batch *batch = NULL;
    struct dapt_objective *objective = NULL;
    struct cutting cutting;
    enum dapt_status status = dapt_session_open(context->modules, &options->model, &session);
    if (!status) status = dapt_session_model(&session);
    if (!status) status = choose_cutting(options, &session, &cutting);
    if (!status) status = dapt_session_objective(&session, &objective);
    if (!status) status = dapt_batch_create(cutting.batch, cutting.sequence, &batch);
    if (!status) {
        struct dapt_engine_options engine = {.sequences = cutting.batch,
                                             .length = cutting.sequence};
        status = dapt_session_engine(&session, &options->model, &engine);
    }
    for (size_t i = 0; !status && i < options->data_count; i++) {
        status = evaluate_set(&session, options, &cutting, objective, &options->data[i], batch,
                              &results[i]);
    }
    dapt_batch_destroy(&batch);
    dapt_objective_destroy(&objective);
    dapt_session_close(&session);
    return status;
}
