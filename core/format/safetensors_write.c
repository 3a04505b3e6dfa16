// Writing safetensors: header first, then the data, tensor after tensor, in bounded memory.
#include <cjson/cJSON.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "format/safetensors.h"

static const uint64_t chunk_size = 4u << 20;  // bytes; a multiple of every element size

struct write_job {
    const char *folder, *stem;
    const struct dapt_file_entry *entries;
    uint64_t *sizes;     // bytes of each tensor's data
    const char **files;  // name of the file that each tensor is in
    size_t count;
    const char *const *metadata;
    dapt_file_produce produce;
    void *context;
    uint8_t *chunk;
    struct dapt_arena arena;
};

static enum dapt_status add_json_string(struct dapt_string *json, const char *text) {
    cJSON *value = cJSON_CreateStringReference(text);
    char *printed = value ? cJSON_PrintUnformatted(value) : NULL;
    enum dapt_status status = printed ? dapt_string_add(json, printed, strlen(printed))
                                      : dapt_fail(DAPT_ERROR_MEMORY,
                                                  "no memory for a safetensors header");
    cJSON_free(printed);
    cJSON_Delete(value);
    return status;
}

static enum dapt_status add_metadata(const struct write_job *job, struct dapt_string *json) {
    enum dapt_status status = dapt_string_format(json, "\"__metadata__\":{");
    for (const char *const *pair = job->metadata; *pair && !status; pair += 2) {
        if (pair != job->metadata) status = dapt_string_add(json, ",", 1);
        if (!status) status = add_json_string(json, pair[0]);
        if (!status) status = dapt_string_add(json, ":", 1);
        if (!status) status = add_json_string(json, pair[1]);
    }
    return status ? status : dapt_string_add(json, "}", 1);
}

static enum dapt_status add_entry(const struct dapt_file_entry *entry, uint64_t begin, uint64_t end,
                                  struct dapt_string *json) {
    enum dapt_status status = add_json_string(json, entry->name);
    if (!status)
        status = dapt_string_format(json, ":{\"dtype\":\"%s\",\"shape\":[",
                                    dapt_file_dtype_name(entry->dtype));
    for (uint32_t d = 0; d < entry->rank && !status; d++)
        status = dapt_string_format(json, "%s%" PRIu64, d ? "," : "", entry->shape[d]);
    if (status) return status;
    return dapt_string_format(json, "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", begin, end);
}

static enum dapt_status write_header(const struct write_job *job, size_t first, size_t end,
                                     struct dapt_writer *writer) {
    struct dapt_string json = {0};
    uint64_t offset = 0;
    enum dapt_status status = dapt_string_add(&json, "{", 1);
    if (!status && job->metadata && *job->metadata) status = add_metadata(job, &json);
    for (size_t i = first; i < end && !status; offset += job->sizes[i++]) {
        if (json.length > 1) status = dapt_string_add(&json, ",", 1);
        if (!status) status = add_entry(&job->entries[i], offset, offset + job->sizes[i], &json);
    }
    if (!status) status = dapt_string_add(&json, "}", 1);
    while (!status && json.length % 8) status = dapt_string_add(&json, " ", 1);
    uint64_t length = json.length;
    if (!status) status = dapt_writer_write(writer, &length, sizeof length);
    if (!status) status = dapt_writer_write(writer, json.data, json.length);
    dapt_string_free(&json);
    return status;
}

static enum dapt_status write_shard(struct write_job *job, size_t first, size_t end) {
    struct dapt_writer *writer = NULL;
    char *path = dapt_path_join(&job->arena, job->folder, job->files[first]);
    if (!path) return DAPT_ERROR_MEMORY;
    enum dapt_status status = dapt_writer_open(path, &writer);
    if (!status) status = write_header(job, first, end, writer);
    for (size_t i = first; i < end && !status; i++)
        for (uint64_t begin = 0; begin < job->sizes[i] && !status; begin += chunk_size) {
            uint64_t rest = job->sizes[i] - begin, size = rest < chunk_size ? rest : chunk_size;
            status = job->produce(job->context, i, begin, size, job->chunk);
            if (!status) status = dapt_writer_write(writer, job->chunk, size);
        }
    if (!status) status = dapt_writer_commit(&writer);
    dapt_writer_abort(&writer);
    return status;
}

static int compare_entry(const void *a, const void *b) {
    return strcmp((*(const struct dapt_file_entry *const *)a)->name,
                  (*(const struct dapt_file_entry *const *)b)->name);
}

// Lists the entries by name, refusing names that a reader would refuse.
static enum dapt_status sort_entries(const struct write_job *job,
                                     const struct dapt_file_entry **sorted) {
    for (size_t i = 0; i < job->count; i++) sorted[i] = &job->entries[i];
    qsort(sorted, job->count, sizeof *sorted, compare_entry);
    for (size_t i = 0; i < job->count; i++)
        if (strcmp(sorted[i]->name, "__metadata__") == 0 ||
            (i && strcmp(sorted[i]->name, sorted[i - 1]->name) == 0))
            return dapt_fail(DAPT_ERROR_INVALID,
                             "writing %s/%s.safetensors: two tensors are called '%s'", job->folder,
                             job->stem, sorted[i]->name);
    return DAPT_OK;
}

// Which tensor is in which file; by name, as others write it.
static enum dapt_status write_index(struct write_job *job,
                                    const struct dapt_file_entry *const *sorted) {
    struct dapt_string json = {0};
    uint64_t total = 0;
    for (size_t i = 0; i < job->count; i++) total += job->sizes[i];
    enum dapt_status status = dapt_string_format(
        &json, "{\n  \"metadata\": {\n    \"total_size\": %" PRIu64 "\n  },\n  \"weight_map\": {",
        total);
    for (size_t i = 0; i < job->count && !status; i++) {
        status = dapt_string_format(&json, "%s\n    ", i ? "," : "");
        if (!status) status = add_json_string(&json, sorted[i]->name);
        if (!status) status = dapt_string_add(&json, ": ", 2);
        if (!status) status = add_json_string(&json, job->files[sorted[i] - job->entries]);
    }
    if (!status) status = dapt_string_format(&json, "\n  }\n}\n");
    char *path = dapt_arena_format(&job->arena, "%s/%s.safetensors.index.json", job->folder,
                                   job->stem);
    if (!status) status = path ? dapt_file_write(path, json.data, json.length) : DAPT_ERROR_MEMORY;
    dapt_string_free(&json);
    return status;
}

// The end of the shard that begins with tensor `first`: as many as fit, at least one.
static size_t shard_end(const struct write_job *job, size_t first, uint64_t limit) {
    uint64_t size = job->sizes[first];
    size_t end = first + 1;
    while (end < job->count && !job->entries[end].new_file &&
           (limit == 0 || size + job->sizes[end] <= limit))
        size += job->sizes[end++];
    return end;
}

static enum dapt_status name_files(struct write_job *job, uint64_t limit, size_t *shards) {
    *shards = 0;
    for (size_t first = 0; first < job->count; first = shard_end(job, first, limit)) ++*shards;
    size_t shard = 0;
    for (size_t first = 0, end; first < job->count; first = end) {
        end = shard_end(job, first, limit);
        char *name = *shards == 1 ? dapt_arena_format(&job->arena, "%s.safetensors", job->stem)
                                  : dapt_arena_format(&job->arena, "%s-%05zu-of-%05zu.safetensors",
                                                      job->stem, ++shard, *shards);
        if (!name) return DAPT_ERROR_MEMORY;
        for (size_t i = first; i < end; i++) job->files[i] = name;
    }
    return DAPT_OK;
}

static enum dapt_status measure(struct write_job *job) {
    uint64_t total = 0;
    for (size_t i = 0; i < job->count; i++) {
        const struct dapt_file_entry *entry = &job->entries[i];
        uint64_t size = dapt_file_dtype_size(entry->dtype);
        bool over = size == 0 || entry->rank > DAPT_FILE_MAX_RANK;
        for (uint32_t d = 0; d < entry->rank && !over; d++)
            over = __builtin_mul_overflow(size, entry->shape[d], &size);
        if (over || __builtin_add_overflow(total, size, &total))
            return dapt_fail(DAPT_ERROR_INTERNAL,
                             "writing tensor '%s': its dtype, rank or size is out of range",
                             entry->name);
        job->sizes[i] = size;
    }
    return DAPT_OK;
}

enum dapt_status dapt_safetensors_write(const char *folder, const char *stem,
                                        const struct dapt_file_entry *entries, size_t count,
                                        const char *const *metadata, uint64_t shard_size,
                                        dapt_file_produce produce, void *context) {
    struct write_job job = {.folder = folder,
                            .stem = stem,
                            .entries = entries,
                            .count = count,
                            .metadata = metadata,
                            .produce = produce,
                            .context = context};
    size_t shards = 0;
    const struct dapt_file_entry **sorted = dapt_alloc(count + 1, sizeof *sorted);
    job.sizes = dapt_alloc(count + 1, sizeof *job.sizes);
    job.files = dapt_alloc(count + 1, sizeof *job.files);
    job.chunk = dapt_alloc_aligned(chunk_size, 1);
    enum dapt_status status = sorted && job.sizes && job.files && job.chunk ? DAPT_OK
                                                                            : DAPT_ERROR_MEMORY;
    if (!status && count == 0)
        status = dapt_fail(DAPT_ERROR_INTERNAL, "writing %s/%s.safetensors: no tensors", folder,
                           stem);
    if (!status) status = sort_entries(&job, sorted);
    if (!status) status = measure(&job);
    if (!status) status = name_files(&job, shard_size, &shards);
    for (size_t first = 0, end; first < count && !status; first = end) {
        end = shard_end(&job, first, shard_size);
        status = write_shard(&job, first, end);
    }
    if (!status && shards > 1) status = write_index(&job, sorted);
    dapt_arena_free(&job.arena);
    free(job.chunk);
    free(job.files);
    free(job.sizes);
    free(sorted);
    return status;
}
