#include "checkpoint/checkpoint.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/hash.h"
#include "format/safetensors.h"

#define PIECE (1u << 20)           // elements moved at a time
#define RECORD_LIMIT (256u << 20)  // bytes of a run.json

// ----------------------------------------------------------------------------------------- record

enum dapt_status dapt_record_seal(cJSON *record) {
    char hash[33];
    char *text = cJSON_PrintUnformatted(record);
    if (!text) return dapt_fail(DAPT_ERROR_MEMORY, "no memory for a record");
    dapt_hash_text(dapt_hash_bytes(text, strlen(text)), hash);
    cJSON_free(text);
    return cJSON_AddStringToObject(record, "checksum", hash)
               ? DAPT_OK
               : dapt_fail(DAPT_ERROR_MEMORY, "no memory for run.json");
}

enum dapt_status dapt_record_check(cJSON *record, const char *path) {
    char hash[33];
    cJSON *checksum = cJSON_DetachItemFromObjectCaseSensitive(record, "checksum");
    char *text = cJSON_PrintUnformatted(record);
    enum dapt_status status = DAPT_OK;
    if (!text) status = dapt_fail(DAPT_ERROR_MEMORY, "%s: no memory", path);
    if (!status) dapt_hash_text(dapt_hash_bytes(text, strlen(text)), hash);
    if (!status && (!cJSON_IsString(checksum) || strcmp(checksum->valuestring, hash) != 0)) {
        status = dapt_fail(DAPT_ERROR_INVALID, "%s: is damaged (its checksum does not fit)", path);
    }
    cJSON_free(text);
    cJSON_Delete(checksum);
    return status;
}

// DAPT_END: there is none. What cannot be looked at may well be there: an error.
static enum dapt_status find_file(const char *path) {
    struct stat info;
    if (stat(path, &info) == 0)
        return S_ISREG(info.st_mode) ? DAPT_OK : dapt_fail(DAPT_END, "%s: is not a file", path);
    if (errno == ENOENT || errno == ENOTDIR) return dapt_fail(DAPT_END, "%s: is missing", path);
    return dapt_fail_errno("%s", path);
}

enum dapt_status dapt_checkpoint_record(const char *folder, cJSON **record) {
    struct dapt_arena arena = {0};
    struct dapt_string text = {0};
    *record = NULL;
    char *path = dapt_path_join(&arena, folder, "run.json");
    enum dapt_status status = path ? find_file(path) : DAPT_ERROR_MEMORY;
    if (!status) status = dapt_file_read(path, RECORD_LIMIT, &text);
    if (!status) {
        *record = cJSON_ParseWithLength(text.data, text.length);
        if (!cJSON_IsObject(*record))
            status = dapt_fail(DAPT_ERROR_INVALID, "%s: is damaged (no JSON object)", path);
    }
    if (!status) status = dapt_record_check(*record, path);
    if (status) {
        cJSON_Delete(*record);
        *record = NULL;
    }
    dapt_string_free(&text);
    dapt_arena_free(&arena);
    return status;
}

// ---------------------------------------------------------------------------------------- writing

struct state_source {
    struct dapt_engine *engine;
    const enum dapt_engine_state *states;
    const char *const *names;
    const struct dapt_file_entry *entries;
};

static enum dapt_status check_moments(const struct state_source *source, size_t index,
                                      uint64_t count) {
    float *piece = dapt_alloc_aligned(PIECE, sizeof *piece);
    enum dapt_status status = piece ? DAPT_OK : DAPT_ERROR_MEMORY;
    for (uint64_t begin = 0; !status && begin < count; begin += PIECE) {
        uint64_t n = count - begin < PIECE ? count - begin : PIECE;
        status = dapt_engine_read(source->engine, source->states[index], begin, n, piece);
        if (!status) status = dapt_check_finite(source->names[index], begin, piece, n);
    }
    free(piece);
    return status;
}

static enum dapt_status produce_state(void *context, size_t index, uint64_t begin, uint64_t size,
                                      void *bytes) {
    const struct state_source *source = context;
    if (source->entries[index].dtype == DAPT_FILE_U8)
        return dapt_engine_read_moments(source->engine, source->states[index], begin, size, bytes);
    uint64_t element = dapt_file_dtype_size(DAPT_FILE_F32);
    if (begin % element || size % element)
        return dapt_fail(DAPT_ERROR_INTERNAL, "state.safetensors: a piece that cuts a number");
    uint64_t first = begin / element, count = size / element;
    enum dapt_status status = dapt_engine_read(source->engine, source->states[index], first, count,
                                               bytes);
    return status ? status : dapt_check_finite(source->names[index], first, bytes, count);
}

// Whether the model's files in `folder` hold every bit of the parameters.
static enum dapt_status holds_float32(const char *folder, bool *exact) {
    struct dapt_safetensors *file = NULL;
    enum dapt_status status = dapt_safetensors_open(folder, &file);
    *exact = true;
    for (size_t i = 0; !status && i < dapt_safetensors_count(file); i++) {
        if (dapt_safetensors_at(file, i)->dtype != DAPT_FILE_F32) *exact = false;
    }
    dapt_safetensors_close(&file);
    return status;
}

static enum dapt_status write_state(const char *folder, struct dapt_engine *engine,
                                    const struct dapt_model *model) {
    static const enum dapt_engine_state states[] = {DAPT_STATE_MOMENT1, DAPT_STATE_MOMENT2,
                                                    DAPT_STATE_PARAM};
    const char *const metadata[] = {"format", "dapt.state/1", NULL};
    static const char *const names[] = {"moment1", "moment2", "parameters"};
    struct dapt_file_entry entries[3];
    bool packed = dapt_engine_moments(engine) == DAPT_MOMENTS_8BIT, exact;
    for (size_t i = 0; i < 3; i++) {
        bool bytes = packed && states[i] != DAPT_STATE_PARAM;
        entries[i] = (struct dapt_file_entry){
            .name = names[i],
            .dtype = bytes ? DAPT_FILE_U8 : DAPT_FILE_F32,
            .rank = 1,
            .shape = {bytes ? dapt_engine_moment_bytes(engine) : model->trained_count}};
    }
    struct state_source source = {
        .engine = engine, .states = states, .names = names, .entries = entries};
    enum dapt_status status = DAPT_OK;
    for (size_t i = 0; packed && !status && i < 2; i++)
        status = check_moments(&source, i, model->trained_count);
    if (status) return status;
    if (model->adapters)
        exact = !dapt_model_rounds(model);
    else
        status = holds_float32(folder, &exact);
    if (status) return status;
    return dapt_safetensors_write(folder, "state", entries, exact ? 2 : 3, metadata, 0,
                                  produce_state, &source);
}

static enum dapt_status add_checksums(cJSON *record, const char *folder) {
    struct dapt_arena arena = {0};
    struct dapt_paths names;  // sorted, so that the record's text depends on nothing else
    char text[33];
    cJSON *files = cJSON_AddObjectToObject(record, "files");
    enum dapt_status status = files ? dapt_list_folder(&arena, folder, &names) : DAPT_ERROR_MEMORY;
    for (size_t i = 0; !status && i < names.count; i++) {
        struct dapt_hash hash;
        char *path = dapt_path_join(&arena, folder, names.paths[i]);
        if (path && !dapt_is_file(path)) continue;
        status = path ? dapt_hash_file(path, &hash) : DAPT_ERROR_MEMORY;
        if (status) break;
        dapt_hash_text(hash, text);
        if (!cJSON_AddStringToObject(files, names.paths[i], text))
            status = dapt_fail(DAPT_ERROR_MEMORY, "no memory for run.json");
    }
    dapt_arena_free(&arena);
    return status;
}

static enum dapt_status hash_record(const char *checkpoint, char text[33]) {
    struct dapt_arena arena = {0};
    struct dapt_hash hash;
    char *path = dapt_path_join(&arena, checkpoint, "run.json");
    enum dapt_status status = path ? dapt_hash_file(path, &hash) : DAPT_ERROR_MEMORY;
    if (!status) dapt_hash_text(hash, text);
    dapt_arena_free(&arena);
    return status;
}

// "previous": the newest checkpoint of an earlier step, and the hash of its record; null for the
// first.
static enum dapt_status add_chain(cJSON *record, const struct dapt_run_folder *run, uint64_t step) {
    struct dapt_arena arena = {0};
    uint64_t *steps, previous = UINT64_MAX;
    size_t count;
    char name[32], hash[33];
    enum dapt_status status = dapt_run_folder_steps(run, &steps, &count);
    if (status) return status;
    for (size_t i = 0; i < count && steps[i] < step; i++) previous = steps[i];
    if (previous == UINT64_MAX) {
        cJSON_AddNullToObject(record, "previous");
    } else {
        char *folder = dapt_run_folder_checkpoint(&arena, run, previous);
        dapt_run_folder_name(previous, name);
        status = folder ? hash_record(folder, hash) : DAPT_ERROR_MEMORY;
        cJSON *object = status ? NULL : cJSON_AddObjectToObject(record, "previous");
        if (object) {
            cJSON_AddStringToObject(object, "checkpoint", name);
            cJSON_AddStringToObject(object, "record", hash);
        }
    }
    free(steps);
    dapt_arena_free(&arena);
    return status;
}

enum dapt_status dapt_record_write(cJSON *record, const char *path) {
    enum dapt_status status = dapt_record_seal(record);
    char *text = status ? NULL : cJSON_Print(record);
    if (!status && !text) status = dapt_fail(DAPT_ERROR_MEMORY, "no memory for %s", path);
    if (!status) status = dapt_file_write(path, text, strlen(text));
    cJSON_free(text);
    return status;
}

static enum dapt_status write_record(const char *folder, cJSON *record) {
    struct dapt_arena arena = {0};
    char *path = dapt_path_join(&arena, folder, "run.json");
    enum dapt_status status = path ? dapt_record_write(record, path) : DAPT_ERROR_MEMORY;
    dapt_arena_free(&arena);
    return status;
}

static enum dapt_status fill(const char *folder, struct dapt_run_folder *run, uint64_t step,
                             struct dapt_engine *engine, const struct dapt_model *model,
                             cJSON *record) {
    enum dapt_status status = dapt_remove_tree(folder);
    if (!status && mkdir(folder, 0777) != 0)  // not its parents: a run folder is never made again
        status = dapt_fail_errno("%s: folder cannot be made", folder);
    if (!status) status = dapt_engine_save(engine, folder);
    if (!status) status = write_state(folder, engine, model);
    if (!status) status = add_checksums(record, folder);
    if (!status) status = add_chain(record, run, step);
    if (!status) status = write_record(folder, record);
    if (!status) status = dapt_sync_dir(folder);
    return status;
}

enum dapt_status dapt_checkpoint_write(struct dapt_run_folder *run, uint64_t step,
                                       struct dapt_engine *engine, const struct dapt_model *model,
                                       cJSON *record) {
    struct dapt_arena arena = {0};
    char name[32];
    dapt_run_folder_name(step, name);
    char *final = dapt_path_join(&arena, run->checkpoints, name);
    char *part = dapt_arena_format(&arena, "%s/.part-%s", run->checkpoints, name);
    enum dapt_status status = !record || !final || !part
                                  ? dapt_fail(DAPT_ERROR_MEMORY, "no memory for a checkpoint")
                                  : DAPT_OK;
    if (!status) status = dapt_run_folder_check(run);
    if (!status) status = fill(part, run, step, engine, model, record);
    if (!status && dapt_is_dir(final)) status = dapt_run_folder_remove(run, name);
    if (!status) status = dapt_rename(part, final);
    if (status) {
        dapt_fail_in(status, "checkpoint %s", name);
        dapt_discard_tree(part);
    }
    cJSON_Delete(record);
    dapt_arena_free(&arena);
    return status;
}

enum dapt_status dapt_checkpoint_prune(struct dapt_run_folder *run, uint32_t keep) {
    uint64_t *steps, best = UINT64_MAX;
    size_t count;
    enum dapt_status status = dapt_run_folder_steps(run, &steps, &count);
    if (status) return status;
    if (keep == 0) keep = 1;
    if (dapt_run_folder_marked(run->path, "best", &best) != DAPT_OK) best = UINT64_MAX;
    for (size_t i = 0; !status && i + keep < count; i++) {
        char name[32];
        if (steps[i] == best) continue;
        dapt_run_folder_name(steps[i], name);
        status = dapt_run_folder_remove(run, name);
    }
    free(steps);
    return status;
}

// ---------------------------------------------------------------------------------------- reading

static enum dapt_status check_file(struct dapt_arena *arena, const char *folder,
                                   const cJSON *item) {
    struct dapt_hash hash, expected;
    if (strchr(item->string, '/') || !cJSON_IsString(item) ||
        !dapt_hash_parse(item->valuestring, &expected)) {
        return dapt_fail(DAPT_ERROR_INVALID, "%s: run.json: \"files\" is not a list of checksums",
                         folder);
    }
    char *path = dapt_path_join(arena, folder, item->string);
    enum dapt_status status = path ? find_file(path) : DAPT_ERROR_MEMORY;
    if (status == DAPT_END) status = DAPT_ERROR_INVALID;
    if (!status) status = dapt_hash_file(path, &hash);
    if (!status && (hash.low != expected.low || hash.high != expected.high)) {
        status = dapt_fail(DAPT_ERROR_INVALID, "%s: is damaged (its checksum does not fit)", path);
    }
    return status;
}

static enum dapt_status check_chain(struct dapt_arena *arena, const char *folder,
                                    const cJSON *record) {
    const cJSON *previous = cJSON_GetObjectItemCaseSensitive(record, "previous");
    const cJSON *name = cJSON_GetObjectItemCaseSensitive(previous, "checkpoint");
    const cJSON *expected = cJSON_GetObjectItemCaseSensitive(previous, "record");
    uint64_t step;
    char hash[33];
    if (!cJSON_IsString(name) || !cJSON_IsString(expected) ||
        !dapt_run_folder_parse(name->valuestring, &step))
        return DAPT_OK;
    char *other = dapt_arena_format(arena, "%s/../%s", folder, name->valuestring);
    if (!other) return DAPT_ERROR_MEMORY;
    if (!dapt_is_dir(other) || hash_record(other, hash) != DAPT_OK)
        return DAPT_OK;  // removed since, or its own trouble
    if (strcmp(hash, expected->valuestring) == 0) return DAPT_OK;
    // The checkpoint itself is whole; only its past was altered. That is worth telling and no
    // reason to lose it.
    dapt_log(DAPT_LOG_WARNING, "%s: its predecessor %s is not the one it was trained from", folder,
             name->valuestring);
    return DAPT_OK;
}

enum dapt_status dapt_checkpoint_check(const char *folder, cJSON **record) {
    struct dapt_arena arena = {0};
    enum dapt_status status = dapt_checkpoint_record(folder, record);
    if (status == DAPT_END) status = DAPT_ERROR_INVALID;
    if (status) return status;
    const cJSON *files = cJSON_GetObjectItemCaseSensitive(*record, "files"), *item;
    if (!cJSON_GetObjectItemCaseSensitive(files, "state.safetensors")) {
        status = dapt_fail(DAPT_ERROR_INVALID, "%s: run.json names no state.safetensors", folder);
    }
    cJSON_ArrayForEach(item, files) {
        if (!status) status = check_file(&arena, folder, item);
    }
    if (!status) status = check_chain(&arena, folder, *record);
    if (status) {
        cJSON_Delete(*record);
        *record = NULL;
    }
    dapt_arena_free(&arena);
    return status;
}

enum dapt_status dapt_checkpoint_files(const char *folder, const cJSON *record, bool weights) {
    struct dapt_arena arena = {0};
    enum dapt_status status = DAPT_OK;
    const cJSON *files = cJSON_GetObjectItemCaseSensitive(record, "files"), *item;
    if (!cJSON_IsObject(files)) files = NULL;
    cJSON_ArrayForEach(item, files) {
        const char *end = strrchr(item->string, '.');
        bool tensors = end && strcmp(end, ".safetensors") == 0;
        if (status || tensors != weights || strcmp(item->string, "state.safetensors") == 0)
            continue;
        status = check_file(&arena, folder, item);
    }
    if (status == DAPT_ERROR_INVALID)
        dapt_fail(status, "%s; without its run.json the folder is taken as it is", dapt_error());
    dapt_arena_free(&arena);
    return status;
}

enum dapt_status dapt_checkpoint_base(const cJSON *record, const struct dapt_model *model) {
    const cJSON *then = cJSON_GetObjectItemCaseSensitive(record, "base");
    struct dapt_hash hash;
    char text[33];
    if (!cJSON_IsString(then) || !model->adapters) return DAPT_OK;
    enum dapt_status status = dapt_model_base_hash(model, &hash);
    if (!status) dapt_hash_text(hash, text);
    if (!status && strcmp(text, then->valuestring) != 0)
        status = dapt_fail(
            DAPT_ERROR_INVALID,
            "%s: is not the base that these adapters were trained on: its config.json "
            "or weights differ; name the folder of the one that they belong to",
            model->folder);
    return status;
}

// Moments of 8 bits, byte for byte.
static enum dapt_status restore_bytes(const struct dapt_file_tensor *tensor,
                                      enum dapt_engine_state state, struct dapt_engine *engine) {
    enum dapt_status status = DAPT_OK;
    for (uint64_t begin = 0; !status && begin < tensor->count; begin += PIECE) {
        uint64_t n = tensor->count - begin < PIECE ? tensor->count - begin : PIECE;
        status = dapt_engine_write_moments(engine, state, begin, n,
                                           (const uint8_t *)tensor->data + begin);
    }
    return status;
}

static enum dapt_status restore_state(const struct dapt_safetensors *file, const char *folder,
                                      const char *name, enum dapt_engine_state state,
                                      struct dapt_engine *engine, uint64_t count) {
    const struct dapt_file_tensor *tensor = dapt_safetensors_find(file, name);
    if (!tensor)
        return dapt_fail(DAPT_ERROR_INVALID, "%s/state.safetensors: holds no '%s'", folder, name);
    bool packed = state != DAPT_STATE_PARAM && dapt_engine_moments(engine) == DAPT_MOMENTS_8BIT;
    enum dapt_file_dtype dtype = packed ? DAPT_FILE_U8 : DAPT_FILE_F32;
    if (packed) count = dapt_engine_moment_bytes(engine);
    if (tensor->count != count || tensor->dtype != dtype) {
        return dapt_fail(DAPT_ERROR_INVALID,
                         "%s/state.safetensors: '%s' has %" PRIu64
                         " numbers of type %s, expected %" PRIu64
                         " of %s: it belongs to another model",
                         folder, name, tensor->count, dapt_file_dtype_name(tensor->dtype), count,
                         dapt_file_dtype_name(dtype));
    }
    if (packed) return restore_bytes(tensor, state, engine);
    float *piece = dapt_alloc_aligned(PIECE, sizeof *piece);
    enum dapt_status status = piece ? DAPT_OK : DAPT_ERROR_MEMORY;
    for (uint64_t begin = 0; !status && begin < count; begin += PIECE) {
        uint64_t n = count - begin < PIECE ? count - begin : PIECE;
        status = dapt_file_tensor_floats(tensor, begin, n, piece);
        if (!status) status = dapt_engine_write(engine, state, begin, n, piece);
    }
    free(piece);
    return status;
}

enum dapt_status dapt_checkpoint_restore(const char *folder, struct dapt_engine *engine,
                                         const struct dapt_model *model) {
    struct dapt_arena arena = {0};
    struct dapt_safetensors *file = NULL;
    char *path = dapt_path_join(&arena, folder, "state.safetensors");
    enum dapt_status status = path ? dapt_safetensors_open(path, &file) : DAPT_ERROR_MEMORY;
    bool exact = !status && dapt_safetensors_find(file, "parameters");
    uint64_t count = model->trained_count;
    // Frozen parameters, and all where every bit is there, come from the model's own files.
    if (!status && (!exact || count < model->flat_count)) status = dapt_engine_load(engine, folder);
    if (!status && exact)
        status = restore_state(file, folder, "parameters", DAPT_STATE_PARAM, engine, count);
    if (!status) status = restore_state(file, folder, "moment1", DAPT_STATE_MOMENT1, engine, count);
    if (!status) status = restore_state(file, folder, "moment2", DAPT_STATE_MOMENT2, engine, count);
    dapt_safetensors_close(&file);
    dapt_arena_free(&arena);
    return status;
}
