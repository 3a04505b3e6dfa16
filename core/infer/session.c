#include "infer/session.h"

#include <stdlib.h>
#include <string.h>

#include "checkpoint/checkpoint.h"
#include "device/select.h"
#include "host/json_tree.h"

// ---------------------------------------------------------------------------------------- folders

static enum dapt_status newest_checkpoint(struct dapt_arena *arena, const char *run,
                                          const char *checkpoints, char **folder) {
    struct dapt_run_folder view = {
        .path = (char *)run, .checkpoints = (char *)checkpoints, .lock = -1};
    uint64_t *steps, latest;
    size_t count;
    enum dapt_status status = dapt_run_folder_steps(&view, &steps, &count);
    if (status) return status;
    if (count == 0) {
        status = dapt_fail(DAPT_ERROR_INVALID,
                           "%s: is the folder of a run that has no checkpoint yet", run);
    } else {
        if (dapt_run_folder_marked(run, "latest", &latest) != DAPT_OK) latest = steps[count - 1];
        *folder = dapt_run_folder_checkpoint(arena, &view, latest);
        if (*folder && !dapt_is_dir(*folder))
            *folder = dapt_run_folder_checkpoint(arena, &view, steps[count - 1]);
        if (!*folder) status = DAPT_ERROR_MEMORY;
    }
    free(steps);
    return status;
}

// RUN/latest and RUN/best: files that name a checkpoint. DAPT_END: `path` is none of them.
static enum dapt_status marked_checkpoint(struct dapt_arena *arena, const char *path,
                                          char **folder) {
    const char *slash = strrchr(path, '/'), *which = slash ? slash + 1 : path;
    if (strcmp(which, "latest") != 0 && strcmp(which, "best") != 0) return DAPT_END;
    char *run = dapt_arena_copy(arena, slash ? path : ".", slash ? (size_t)(slash - path + 1) : 1);
    char *checkpoints = run ? dapt_path_join(arena, run, "checkpoints") : NULL;
    if (!checkpoints) return DAPT_ERROR_MEMORY;
    if (!dapt_is_dir(checkpoints)) return DAPT_END;
    struct dapt_run_folder view = {.path = run, .checkpoints = checkpoints, .lock = -1};
    uint64_t step;
    enum dapt_status status = dapt_run_folder_marked(run, which, &step);
    if (status == DAPT_END)
        return dapt_fail(DAPT_ERROR_INVALID, "%s: the run has no %s checkpoint yet", path, which);
    if (status) return status;
    *folder = dapt_run_folder_checkpoint(arena, &view, step);
    if (!*folder) return DAPT_ERROR_MEMORY;
    if (dapt_is_dir(*folder)) return DAPT_OK;
    return dapt_fail(DAPT_ERROR_INVALID, "%s: names the checkpoint %s, which is not there", path,
                     *folder);
}

enum dapt_status dapt_session_folder(struct dapt_arena *arena, const char *path, char **folder) {
    // a model's, or of a tokenizer alone
    static const char *const marks[] = {"config.json", "adapter_config.json", "tokenizer.json",
                                        "vocab.txt", "vocab.json"};
    if (!dapt_is_dir(path)) {
        enum dapt_status status = marked_checkpoint(arena, path, folder);
        return status == DAPT_END ? dapt_model_missing(path, "a model, a checkpoint or a run")
                                  : status;
    }
    char *checkpoints = dapt_path_join(arena, path, "checkpoints");
    if (!checkpoints) return DAPT_ERROR_MEMORY;
    if (dapt_is_dir(checkpoints)) return newest_checkpoint(arena, path, checkpoints, folder);
    bool known = false;
    for (size_t i = 0; i < sizeof marks / sizeof *marks && !known; i++) {
        const char *file = dapt_path_join(arena, path, marks[i]);
        if (!file) return DAPT_ERROR_MEMORY;
        known = dapt_is_file(file);
    }
    if (!known) {
        return dapt_fail(DAPT_ERROR_INVALID,
                         "%s: holds no config.json; expected a model, a checkpoint or a run", path);
    }
    *folder = dapt_arena_copy(arena, path, strlen(path));
    return *folder ? DAPT_OK : DAPT_ERROR_MEMORY;
}

// ---------------------------------------------------------------------------------------- session

static enum dapt_status open_tokenizer(struct dapt_session *session, const char *wanted) {
    const char *plugin = wanted, *folder;
    const struct dapt_json *options = NULL;
    const cJSON *recorded = cJSON_GetObjectItemCaseSensitive(session->record, "tokenizer");
    if (!plugin && cJSON_IsObject(recorded)) {
        char *text = cJSON_PrintUnformatted(recorded);
        if (!text)
            return dapt_fail(DAPT_ERROR_MEMORY, "%s: no memory for run.json", session->folder);
        enum dapt_status status = dapt_json_parse("run.json: tokenizer", text, strlen(text),
                                                  &session->tokenizer_options);
        cJSON_free(text);
        if (!status) status = dapt_json_get_string(session->tokenizer_options, "plugin", &plugin);
        if (status) return status;
        options = session->tokenizer_options;
    }
    enum dapt_status status = dapt_model_tokenizer(&session->arena, session->folder, session->base,
                                                   &folder);
    return status ? status
                  : dapt_tokenizer_open(session->modules, plugin ? plugin : "hf", options, folder,
                                        &session->tokenizer);
}

enum dapt_status dapt_session_find(struct dapt_session *session, const char *path) {
    enum dapt_status status = dapt_session_folder(&session->arena, path, &session->folder);
    if (!status) {
        status = dapt_checkpoint_record(session->folder, &session->record);
        if (status == DAPT_END) status = DAPT_OK;
    }
    return status ? status : dapt_checkpoint_files(session->folder, session->record, false);
}

enum dapt_status dapt_session_open(const struct dapt_modules *modules,
                                   const struct dapt_model_options *options,
                                   struct dapt_session *session) {
    *session = (struct dapt_session){.modules = modules, .base = options->base};
    if (!options->model) return dapt_fail(DAPT_ERROR_INVALID, "no model was named");
    enum dapt_status status = dapt_session_find(session, options->model);
    return status ? status : open_tokenizer(session, options->tokenizer);
}

void dapt_session_close(struct dapt_session *session) {
    dapt_engine_destroy(&session->engine);
    dapt_device_close(&session->device);
    dapt_tokenizer_close(&session->tokenizer);
    dapt_model_close(&session->model);
    dapt_json_free(&session->tokenizer_options);
    cJSON_Delete(session->record);
    dapt_arena_free(&session->arena);
    *session = (struct dapt_session){0};
}

enum dapt_status dapt_session_model(struct dapt_session *session) {
    return session->model ? DAPT_OK
                          : dapt_model_open_on(session->folder, session->base, &session->model);
}

enum dapt_status dapt_session_engine(struct dapt_session *session,
                                     const struct dapt_model_options *options,
                                     const struct dapt_engine_options *engine_options) {
    enum dapt_status status = dapt_session_model(session);
    if (!status) status = dapt_checkpoint_files(session->folder, session->record, true);
    if (!status) status = dapt_checkpoint_base(session->record, session->model);
    if (!status) {
        struct dapt_device_wish wish = {.backend = options->backend,
                                        .device = options->device,
                                        .threads = options->threads,
                                        .quiet = true};
        status = dapt_select_device(session->modules, &wish, &session->device);
    }
    if (!status)
        status = dapt_engine_create(session->model, session->device, engine_options,
                                    &session->engine);
    if (!status) status = dapt_engine_load(session->engine, session->folder);
    return status;
}

enum dapt_status dapt_session_objective(const struct dapt_session *session,
                                        struct dapt_objective **objective) {
    const cJSON *course = cJSON_GetObjectItemCaseSensitive(session->record, "course"),
                *train = cJSON_GetObjectItemCaseSensitive(course, "train"),
                *seed = cJSON_GetObjectItemCaseSensitive(train, "seed"),
                *trained = cJSON_GetObjectItemCaseSensitive(train, "objective"),
                *rate = cJSON_GetObjectItemCaseSensitive(trained, "rate");
    bool masked = session->model->masked || dapt_json_has_text(trained, "kind", "masked");
    const struct dapt_objective_options options = {
        .kind = masked ? DAPT_OBJECTIVE_MASKED : DAPT_OBJECTIVE_CAUSAL,
        .rate = cJSON_IsNumber(rate) ? rate->valuedouble : 0.15,
        .whole_words = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(trained, "whole_words")),
        .mask = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(trained, "mask")),
        .seed = cJSON_IsNumber(seed) && seed->valuedouble >= 0 && seed->valuedouble < 0x1p53
                    ? (uint64_t)seed->valuedouble
                    : 0};
    return dapt_objective_create(&options, session->tokenizer, objective);
}

enum dapt_status dapt_session_causal(const struct dapt_session *session) {
    if (!session->model->masked) return DAPT_OK;
    return dapt_fail(
        DAPT_ERROR_UNSUPPORTED,
        "%s: is a masked language model, which fills in hidden tokens and can't go on "
        "with a text; `dapt train`, `dapt eval`, `dapt probe` and `dapt verify` take it",
        session->folder);
}

// What a template puts behind a text (an end-of-text token) must not stand before what follows it.
static void cut_suffix(struct dapt_ids *ids, const struct dapt_ids *plain) {
    for (size_t begin = 0; plain->count > 0 && begin + plain->count < ids->count; begin++) {
        if (memcmp(ids->ids + begin, plain->ids, plain->count * sizeof *plain->ids) != 0) continue;
        ids->count = begin + plain->count;
        return;
    }
}

enum dapt_status dapt_session_encode_open(struct dapt_session *session, const char *text,
                                          size_t length, struct dapt_ids *ids) {
    struct dapt_ids plain = {0};
    ids->count = 0;
    enum dapt_status status = dapt_tokenizer_encode(session->tokenizer, text, length,
                                                    DAPT_ENCODE_SPECIAL, ids);
    if (!status) status = dapt_tokenizer_encode(session->tokenizer, text, length, 0, &plain);
    if (!status) cut_suffix(ids, &plain);
    dapt_ids_free(&plain);
    return status;
}

int64_t dapt_session_first(const struct dapt_session *session) {
    int64_t first = dapt_tokenizer_special(session->tokenizer, DAPT_SPECIAL_BOS);
    return first < 0 ? dapt_tokenizer_special(session->tokenizer, DAPT_SPECIAL_EOS) : first;
}

uint32_t dapt_session_length(const struct dapt_model *model, uint32_t most) {
    return model->max_positions && model->max_positions < most ? model->max_positions : most;
}
