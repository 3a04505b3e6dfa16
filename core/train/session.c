#include "train/session.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/threads.h"
#include "host/module.h"
#include "train/checkpoint.h"

// ---------------------------------------------------------------------------------------- devices

// The k-th backend among the modules, or NULL.
static const struct dapt_backend *backend_at(const struct dapt_modules *modules, size_t k) {
    for (size_t i = 0; i < dapt_modules_count(modules); i++) {
        struct dapt_module_info info;
        dapt_modules_at(modules, i, &info);
        if (strcmp(info.kind, DAPT_BACKEND_KIND) == 0 && k-- == 0)
            return dapt_modules_backend(modules, info.id);
    }
    return NULL;
}

enum dapt_status dapt_session_devices(const struct dapt_modules *modules, dapt_each_device each,
                                      void *user) {
    const struct dapt_backend *backend;
    bool more = true;
    for (size_t k = 0; more && (backend = backend_at(modules, k)); k++) {
        uint32_t count = 0;
        if (backend->device_count(dapt_host(), &count) != DAPT_OK) {
            more = each(user, backend->name, 0, NULL, dapt_error());
        }
        for (uint32_t i = 0; more && i < count; i++) {
            struct dapt_device_info info = {0};
            bool known = backend->device_info(dapt_host(), i, &info) == DAPT_OK;
            more = each(user, backend->name, i, known ? &info : NULL, known ? NULL : dapt_error());
        }
    }
    return DAPT_OK;
}

struct choice {
    const struct dapt_modules *modules;
    uint32_t index;
    int rank;
    const char *name;
};

static bool weigh(void *user, const char *backend, uint32_t index,
                  const struct dapt_device_info *info, const char *error) {
    static const int ranks[] = {
        [DAPT_DEVICE_SOFTWARE] = 1,   [DAPT_DEVICE_CPU] = 2,      [DAPT_DEVICE_VIRTUAL] = 3,
        [DAPT_DEVICE_INTEGRATED] = 4, [DAPT_DEVICE_DISCRETE] = 5,
    };
    struct choice *choice = user;
    if (error) dapt_log(DAPT_LOG_DEBUG, "backend %s: %s", backend, error);
    bool ranked = info && index == choice->index &&
                  (size_t)info->kind < sizeof ranks / sizeof ranks[0];
    if (ranked && ranks[info->kind] > choice->rank) {
        choice->rank = ranks[info->kind];
        choice->name = backend;
    }
    return true;
}

enum dapt_status dapt_session_device(const struct dapt_modules *modules, const char *name,
                                     uint32_t index, uint32_t threads,
                                     struct dapt_device_handle **device) {
    struct choice choice = {.modules = modules, .index = index};
    *device = NULL;
    if (!name || strcmp(name, "auto") == 0) {
        enum dapt_status status = dapt_session_devices(modules, weigh, &choice);
        if (status) return status;
        if (!choice.name) {
            return dapt_fail(DAPT_ERROR_DEVICE,
                             "no backend offers a device %" PRIu32
                             "; `dapt devices` lists what there is",
                             index);
        }
        name = choice.name;
    }
    const struct dapt_backend *backend = dapt_modules_backend(modules, name);
    if (!backend) return DAPT_ERROR_INVALID;
    // Only the core looks at what a container may use of its machine's processors.
    struct dapt_device_options options = {.threads = threads ? threads : dapt_processors()};
    return dapt_device_open(dapt_host(), backend, index, &options, device);
}

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

enum dapt_status dapt_session_folder(struct dapt_arena *arena, const char *path, char **folder) {
    if (!dapt_is_dir(path)) {
        return dapt_fail(DAPT_ERROR_INVALID,
                         "%s: no such folder; expected a model, a checkpoint or a run", path);
    }
    char *checkpoints = dapt_path_join(arena, path, "checkpoints");
    if (!checkpoints) return DAPT_ERROR_MEMORY;
    if (dapt_is_dir(checkpoints)) return newest_checkpoint(arena, path, checkpoints, folder);
    char *config = dapt_path_join(arena, path, "config.json");
    char *tokenizer = dapt_path_join(arena, path, "tokenizer.json");
    if (!config || !tokenizer) return DAPT_ERROR_MEMORY;
    if (!dapt_is_file(config) && !dapt_is_file(tokenizer)) {
        return dapt_fail(DAPT_ERROR_INVALID,
                         "%s: holds no config.json; expected a model, a checkpoint or a run", path);
    }
    *folder = dapt_arena_copy(arena, path, strlen(path));
    return *folder ? DAPT_OK : DAPT_ERROR_MEMORY;
}

// ---------------------------------------------------------------------------------------- session

static enum dapt_status open_tokenizer(struct dapt_session *session, const char *wanted) {
    const char *plugin = wanted;
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
    return dapt_tokenizer_open(session->modules, plugin ? plugin : "hf", options, session->folder,
                               &session->tokenizer);
}

enum dapt_status dapt_session_open(const struct dapt_modules *modules,
                                   const struct dapt_model_options *options,
                                   struct dapt_session *session) {
    *session = (struct dapt_session){.modules = modules};
    if (!options->model) return dapt_fail(DAPT_ERROR_INVALID, "no model was named");
    enum dapt_status status = dapt_session_folder(&session->arena, options->model,
                                                  &session->folder);
    if (!status) {
        status = dapt_checkpoint_record(session->folder, &session->record);
        if (status == DAPT_END) status = DAPT_OK;
    }
    if (!status) status = open_tokenizer(session, options->tokenizer);
    return status;
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
    return session->model ? DAPT_OK : dapt_model_open(session->folder, &session->model);
}

enum dapt_status dapt_session_engine(struct dapt_session *session,
                                     const struct dapt_model_options *options,
                                     const struct dapt_engine_options *engine_options) {
    enum dapt_status status = dapt_session_model(session);
    if (!status) {
        status = dapt_session_device(session->modules, options->backend, options->device,
                                     options->threads, &session->device);
    }
    if (!status)
        status = dapt_engine_create(session->model, session->device, engine_options,
                                    &session->engine);
    if (!status) status = dapt_engine_load(session->engine, session->folder);
    return status;
}

uint32_t dapt_session_length(const struct dapt_model *model, uint32_t most) {
    return model->max_positions && model->max_positions < most ? model->max_positions : most;
}
