// Reading safetensors. Nothing of the file is believed before it was checked; after opening, every
// tensor's data lies inside its map.
#include "format/safetensors.h"

#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

static const size_t header_limit = 100u << 20;  // bytes, as the reference implementation has it
static const size_t index_limit = 256u << 20;

struct shard {
    struct dapt_map map;
    const char *path;
    const uint8_t *data;  // behind the header
    uint64_t size;        // of the data, bytes
};

struct pair {
    const char *key, *value;
};

struct dapt_safetensors {
    struct dapt_arena arena;
    struct shard *shards;
    size_t shard_count, shard_capacity;
    struct dapt_file_tensor *tensors;  // shard by shard, by place in the file
    size_t tensor_count, tensor_capacity;
    const struct dapt_file_tensor **by_name;
    struct pair *metadata;
    size_t metadata_count, metadata_capacity;
};

static int compare_name(const void *a, const void *b) {
    return strcmp((*(const struct dapt_file_tensor *const *)a)->name,
                  (*(const struct dapt_file_tensor *const *)b)->name);
}

// Names decide the order where tensors of no bytes share a place.
static int compare_place(const void *a, const void *b) {
    const struct dapt_file_tensor *x = a, *y = b;
    if (x->data != y->data) return (const char *)x->data < (const char *)y->data ? -1 : 1;
    bool x_empty = x->count == 0, y_empty = y->count == 0;
    return x_empty != y_empty ? (x_empty ? -1 : 1) : strcmp(x->name, y->name);
}

// JSON text that can be held in C strings without loss.
static enum dapt_status parse_json(const char *path, const char *what, const uint8_t *text,
                                   size_t length, cJSON **out) {
    if (dapt_utf8_check((const char *)text, length) < length)
        return dapt_fail(DAPT_ERROR_INVALID, "%s: %s is not UTF-8", path, what);
    if (memchr(text, 0, length) || memmem(text, length, "\\u0000", 6))
        return dapt_fail(DAPT_ERROR_INVALID, "%s: %s holds a NUL character", path, what);
    const char *end = NULL;
    cJSON *json = cJSON_ParseWithLengthOpts((const char *)text, length, &end, false);
    if (!json)
        return dapt_fail(DAPT_ERROR_INVALID, "%s: %s is not JSON (near byte %zu)", path, what,
                         end ? (size_t)(end - (const char *)text) : 0);
    *out = json;  // freed by the caller from here on
    for (size_t i = (size_t)(end - (const char *)text); i < length; i++)
        if (!memchr(" \t\r\n", text[i], 4))
            return dapt_fail(DAPT_ERROR_INVALID, "%s: %s goes on behind its JSON object (byte %zu)",
                             path, what, i);
    if (!cJSON_IsObject(json))
        return dapt_fail(DAPT_ERROR_INVALID, "%s: %s is not a JSON object", path, what);
    return DAPT_OK;
}

// A number that is a whole one, not negative, and exact in a double.
static bool get_whole(const cJSON *json, uint64_t *value) {
    if (!cJSON_IsNumber(json) || !(json->valuedouble >= 0 && json->valuedouble <= 0x1p53))
        return false;
    *value = (uint64_t)json->valuedouble;
    return (double)*value == json->valuedouble;
}

// The only member of that name; NULL when there is none or more than one.
static const cJSON *only_member(const cJSON *object, const char *name) {
    const cJSON *found = NULL;
    for (const cJSON *member = object->child; member; member = member->next)
        if (strcmp(member->string, name) == 0) {
            if (found) return NULL;
            found = member;
        }
    return found;
}

static enum dapt_status read_shape(const char *path, const cJSON *json,
                                   struct dapt_file_tensor *tensor) {
    const cJSON *shape = only_member(json, "shape");
    if (!cJSON_IsArray(shape))
        return dapt_fail(DAPT_ERROR_INVALID, "%s: tensor '%s': one array \"shape\" was expected",
                         path, tensor->name);
    tensor->count = 1;
    bool empty = false;
    for (const cJSON *size = shape->child; size; size = size->next) {
        if (tensor->rank == DAPT_FILE_MAX_RANK)
            return dapt_fail(DAPT_ERROR_INVALID, "%s: tensor '%s' has more than %d dimensions",
                             path, tensor->name, DAPT_FILE_MAX_RANK);
        uint64_t *at = &tensor->shape[tensor->rank++];
        if (!get_whole(size, at))
            return dapt_fail(DAPT_ERROR_INVALID,
                             "%s: tensor '%s': a size in \"shape\" is not a whole number", path,
                             tensor->name);
        empty = empty || *at == 0;
        if (*at && __builtin_mul_overflow(tensor->count, *at, &tensor->count))
            return dapt_fail(DAPT_ERROR_INVALID, "%s: tensor '%s': \"shape\" has too many elements",
                             path, tensor->name);
    }
    if (empty) tensor->count = 0;
    return DAPT_OK;
}

static enum dapt_status read_tensor(struct dapt_safetensors *file, const struct shard *shard,
                                    const cJSON *json) {
    const char *path = shard->path;
    if (dapt_grow(&file->tensors, &file->tensor_capacity, file->tensor_count + 1,
                  sizeof *file->tensors))
        return DAPT_ERROR_MEMORY;
    struct dapt_file_tensor *tensor = &file->tensors[file->tensor_count];
    *tensor = (struct dapt_file_tensor){
        .name = dapt_arena_copy(&file->arena, json->string, strlen(json->string)), .file = path};
    if (!tensor->name) return DAPT_ERROR_MEMORY;
    if (!cJSON_IsObject(json))
        return dapt_fail(DAPT_ERROR_INVALID, "%s: tensor '%s' is not described by an object", path,
                         tensor->name);

    const cJSON *dtype = only_member(json, "dtype");
    if (!cJSON_IsString(dtype))
        return dapt_fail(DAPT_ERROR_INVALID, "%s: tensor '%s': one string \"dtype\" was expected",
                         path, tensor->name);
    while (tensor->dtype < DAPT_FILE_DTYPE_COUNT &&
           strcmp(dapt_file_dtype_name(tensor->dtype), dtype->valuestring))
        tensor->dtype++;
    if (tensor->dtype == DAPT_FILE_DTYPE_COUNT)
        return dapt_fail(DAPT_ERROR_UNSUPPORTED,
                         "%s: tensor '%s' has dtype '%.40s', which dapt does not read", path,
                         tensor->name, dtype->valuestring);

    enum dapt_status status = read_shape(path, json, tensor);
    if (status) return status;
    const cJSON *offsets = only_member(json, "data_offsets");
    uint64_t begin = 0, end = 0, size = 0;
    if (!cJSON_IsArray(offsets) || cJSON_GetArraySize(offsets) != 2 ||
        !get_whole(offsets->child, &begin) || !get_whole(offsets->child->next, &end))
        return dapt_fail(DAPT_ERROR_INVALID,
                         "%s: tensor '%s': \"data_offsets\" of two whole numbers was expected",
                         path, tensor->name);
    if (begin > end || end > shard->size)
        return dapt_fail(DAPT_ERROR_INVALID,
                         "%s: tensor '%s': data_offsets [%llu, %llu] do not lie in the file's %llu "
                         "bytes of data",
                         path, tensor->name, (unsigned long long)begin, (unsigned long long)end,
                         (unsigned long long)shard->size);
    if (__builtin_mul_overflow(tensor->count, (uint64_t)dapt_file_dtype_size(tensor->dtype),
                               &size) ||
        size != end - begin)
        return dapt_fail(
            DAPT_ERROR_INVALID,
            "%s: tensor '%s': data_offsets span %llu bytes, its shape and dtype %s others", path,
            tensor->name, (unsigned long long)(end - begin), dapt_file_dtype_name(tensor->dtype));
    tensor->data = shard->data + begin;
    file->tensor_count++;
    return DAPT_OK;
}

static enum dapt_status read_metadata(struct dapt_safetensors *file, const char *path,
                                      const cJSON *json) {
    if (!cJSON_IsObject(json))
        return dapt_fail(DAPT_ERROR_INVALID, "%s: \"__metadata__\" is not an object", path);
    for (const cJSON *member = json->child; member; member = member->next) {
        if (!cJSON_IsString(member))
            return dapt_fail(DAPT_ERROR_INVALID, "%s: \"__metadata__\": '%s' is not a string", path,
                             member->string);
        if (dapt_grow(&file->metadata, &file->metadata_capacity, file->metadata_count + 1,
                      sizeof *file->metadata))
            return DAPT_ERROR_MEMORY;
        struct pair *pair = &file->metadata[file->metadata_count];
        pair->key = dapt_arena_copy(&file->arena, member->string, strlen(member->string));
        pair->value = dapt_arena_copy(&file->arena, member->valuestring,
                                      strlen(member->valuestring));
        if (!pair->key || !pair->value) return DAPT_ERROR_MEMORY;
        file->metadata_count++;
    }
    return DAPT_OK;
}

// The data must be covered exactly: neither overlaps nor holes, as the format's own check has it.
static enum dapt_status check_cover(const struct shard *shard, struct dapt_file_tensor *tensors,
                                    size_t count) {
    if (count) qsort(tensors, count, sizeof *tensors, compare_place);
    const uint8_t *reached = shard->data;
    for (size_t i = 0; i < count; i++) {
        const struct dapt_file_tensor *tensor = &tensors[i];
        const uint8_t *begin = tensor->data;
        if (begin < reached)
            return dapt_fail(DAPT_ERROR_INVALID, "%s: the data of tensors '%s' and '%s' overlap",
                             shard->path, tensors[i - 1].name, tensor->name);
        if (begin > reached)
            return dapt_fail(DAPT_ERROR_INVALID,
                             "%s: %zu bytes before tensor '%s' belong to no tensor", shard->path,
                             (size_t)(begin - reached), tensor->name);
        reached = begin + tensor->count * dapt_file_dtype_size(tensor->dtype);
    }
    uint64_t rest = shard->size - (uint64_t)(reached - shard->data);
    if (rest)
        return dapt_fail(DAPT_ERROR_INVALID, "%s: the last %llu bytes belong to no tensor",
                         shard->path, (unsigned long long)rest);
    return DAPT_OK;
}

static enum dapt_status read_header(struct dapt_safetensors *file, struct shard *shard) {
    uint64_t length = 0;
    const struct dapt_map *map = &shard->map;
    if (map->size < sizeof length)
        return dapt_fail(DAPT_ERROR_INVALID, "%s: %zu bytes are too few for a safetensors file",
                         shard->path, map->size);
    memcpy(&length, map->data, sizeof length);
    if (length > header_limit)
        return dapt_fail(DAPT_ERROR_INVALID,
                         "%s: the header claims %llu bytes, more than the %zu allowed: is this a "
                         "safetensors file?",
                         shard->path, (unsigned long long)length, header_limit);
    if (length > map->size - sizeof length)
        return dapt_fail(
            DAPT_ERROR_INVALID,
            "%s: the header claims %llu bytes, the file ends after %zu: is it cut off?",
            shard->path, (unsigned long long)length, map->size - sizeof length);
    const uint8_t *header = map->data + sizeof length;
    if (length == 0 || header[0] != '{')
        return dapt_fail(DAPT_ERROR_INVALID,
                         "%s: the header does not start with '{': is this a safetensors file?",
                         shard->path);
    shard->data = header + length;
    shard->size = map->size - sizeof length - length;

    cJSON *json = NULL;
    size_t first = file->tensor_count;
    bool metadata = false;
    enum dapt_status status = parse_json(shard->path, "the header", header, length, &json);
    for (const cJSON *member = status ? NULL : json->child; member && !status;
         member = member->next) {
        if (strcmp(member->string, "__metadata__")) {
            status = read_tensor(file, shard, member);
        } else if (metadata) {
            status = dapt_fail(DAPT_ERROR_INVALID, "%s: \"__metadata__\" stands there twice",
                               shard->path);
        } else {
            metadata = true;
            status = read_metadata(file, shard->path, member);
        }
    }
    cJSON_Delete(json);
    return status ? status
                  : check_cover(shard, file->tensors ? file->tensors + first : NULL,
                                file->tensor_count - first);
}

static enum dapt_status open_shard(struct dapt_safetensors *file, const char *path) {
    if (dapt_grow(&file->shards, &file->shard_capacity, file->shard_count + 1,
                  sizeof *file->shards))
        return DAPT_ERROR_MEMORY;
    struct shard *shard = &file->shards[file->shard_count];
    *shard = (struct shard){.path = dapt_arena_copy(&file->arena, path, strlen(path))};
    if (!shard->path) return DAPT_ERROR_MEMORY;
    enum dapt_status status = dapt_map_open(path, &shard->map);
    if (status) return status;
    file->shard_count++;
    return read_header(file, shard);
}

static enum dapt_status sort_names(struct dapt_safetensors *file) {
    file->by_name = dapt_alloc(file->tensor_count + 1, sizeof *file->by_name);
    if (!file->by_name) return DAPT_ERROR_MEMORY;
    for (size_t i = 0; i < file->tensor_count; i++) file->by_name[i] = &file->tensors[i];
    qsort(file->by_name, file->tensor_count, sizeof *file->by_name, compare_name);
    for (size_t i = 1; i < file->tensor_count; i++) {
        const struct dapt_file_tensor *a = file->by_name[i - 1], *b = file->by_name[i];
        if (strcmp(a->name, b->name) == 0)
            return dapt_fail(DAPT_ERROR_INVALID,
                             a->file == b->file ? "%s: tensor '%s' is there twice%.0s"
                                                : "%s: tensor '%s' is also in %s",
                             a->file, a->name, b->file);
    }
    return DAPT_OK;
}

static int compare_pair(const void *a, const void *b) {
    const struct pair *x = a, *y = b;
    int order = strcmp(x->value, y->value);
    return order ? order : strcmp(x->key, y->key);
}

static const char *base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

// What the index names must be there, each in the file that it names. What only a shard holds is marked:
// whether it matters is for those to say who know the tensors.
static enum dapt_status check_index(struct dapt_safetensors *file, const char *path,
                                    const struct pair *map, size_t count) {
    for (size_t i = 0; i < count; i++) {
        const struct dapt_file_tensor *tensor = dapt_safetensors_find(file, map[i].key);
        const char *base = tensor ? base_name(tensor->file) : "";
        if (!tensor || strcmp(base, map[i].value))
            return dapt_fail(DAPT_ERROR_INVALID, "%s: tensor '%s' should be in %s, but is %s%s",
                             path, map[i].key, map[i].value, tensor ? "in " : "not there", base);
        if (i && strcmp(map[i].key, map[i - 1].key) == 0)
            return dapt_fail(DAPT_ERROR_INVALID, "%s: tensor '%s' is named twice", path,
                             map[i].key);
    }
    if (count == file->tensor_count) return DAPT_OK;
    for (size_t i = 0; i < file->tensor_count; i++) {
        struct dapt_file_tensor *tensor = &file->tensors[i];
        struct pair pair = {tensor->name, base_name(tensor->file)};
        tensor->unlisted = !bsearch(&pair, map, count, sizeof pair, compare_pair);
    }
    return DAPT_OK;
}

static bool plain_name(const char *name) {
    return name[0] && name[0] != '.' && !strpbrk(name, "/\\");
}

static enum dapt_status read_weight_map(const char *path, const cJSON *json, struct pair **out,
                                        size_t *count) {
    const cJSON *weights = only_member(json, "weight_map");
    if (!cJSON_IsObject(weights) || !weights->child)
        return dapt_fail(DAPT_ERROR_INVALID,
                         "%s: an object \"weight_map\" with tensors was expected", path);
    struct pair *map = dapt_alloc((size_t)cJSON_GetArraySize(weights), sizeof *map);
    *out = map;
    if (!map) return DAPT_ERROR_MEMORY;
    for (const cJSON *member = weights->child; member; member = member->next) {
        if (!cJSON_IsString(member) || !plain_name(member->valuestring))
            return dapt_fail(DAPT_ERROR_INVALID,
                             "%s: tensor '%s': the name of a file beside the index was expected",
                             path, member->string);
        map[(*count)++] = (struct pair){member->string, member->valuestring};
    }
    qsort(map, *count, sizeof *map, compare_pair);
    return DAPT_OK;
}

static enum dapt_status open_index(struct dapt_safetensors *file, const char *path) {
    struct dapt_string text = {0};
    cJSON *json = NULL;
    struct pair *map = NULL;
    size_t count = 0;
    const char *slash = strrchr(path, '/');
    enum dapt_status status = dapt_file_read(path, index_limit, &text);
    if (!status)
        status = parse_json(path, "the index", (const uint8_t *)text.data, text.length, &json);
    if (!status) status = read_weight_map(path, json, &map, &count);
    for (size_t i = 0; i < count && !status; i++) {
        if (i && strcmp(map[i].value, map[i - 1].value) == 0) continue;
        char *shard = slash ? dapt_arena_format(&file->arena, "%.*s/%s", (int)(slash - path), path,
                                                map[i].value)
                            : dapt_arena_format(&file->arena, "%s", map[i].value);
        status = shard ? open_shard(file, shard) : DAPT_ERROR_MEMORY;
        if (status) dapt_fail_in(status, "%s", path);
    }
    if (!status) status = sort_names(file);
    if (!status) status = check_index(file, path, map, count);
    free(map);
    cJSON_Delete(json);
    dapt_string_free(&text);
    return status;
}

static enum dapt_status open_folder(struct dapt_safetensors *file, const char *path, bool *index,
                                    char **out) {
    *out = dapt_arena_format(&file->arena, "%s/model.safetensors", path);
    if (!*out) return DAPT_ERROR_MEMORY;
    *index = !dapt_is_file(*out);
    if (!*index) return DAPT_OK;
    *out = dapt_arena_format(&file->arena, "%s/model.safetensors.index.json", path);
    if (!*out) return DAPT_ERROR_MEMORY;
    if (dapt_is_file(*out)) return DAPT_OK;
    return dapt_fail(DAPT_ERROR_INVALID,
                     "%s holds neither model.safetensors nor model.safetensors.index.json", path);
}

enum dapt_status dapt_safetensors_open(const char *path, struct dapt_safetensors **out) {
    *out = NULL;
    struct dapt_safetensors *file = dapt_alloc(1, sizeof *file);
    if (!file) return DAPT_ERROR_MEMORY;
    size_t length = strlen(path);
    bool index = length >= 5 && strcmp(path + length - 5, ".json") == 0;
    char *inside = NULL;
    enum dapt_status status = DAPT_OK;
    if (dapt_is_dir(path)) status = open_folder(file, path, &index, &inside);
    if (!status && index)
        status = open_index(file, inside ? inside : path);
    else if (!status && !(status = open_shard(file, inside ? inside : path)))
        status = sort_names(file);
    if (status) dapt_safetensors_close(&file);
    *out = file;
    return status;
}

void dapt_safetensors_close(struct dapt_safetensors **file) {
    if (!*file) return;
    for (size_t i = 0; i < (*file)->shard_count; i++) dapt_map_close(&(*file)->shards[i].map);
    free((*file)->shards);
    free((*file)->tensors);
    free((*file)->by_name);
    free((*file)->metadata);
    dapt_arena_free(&(*file)->arena);
    free(*file);
    *file = NULL;
}

size_t dapt_safetensors_count(const struct dapt_safetensors *file) {
    return file->tensor_count;
}

const struct dapt_file_tensor *dapt_safetensors_at(const struct dapt_safetensors *file,
                                                   size_t index) {
    return &file->tensors[index];
}

const struct dapt_file_tensor *dapt_safetensors_find(const struct dapt_safetensors *file,
                                                     const char *name) {
    const struct dapt_file_tensor key = {.name = name}, *at = &key;
    const struct dapt_file_tensor **found = bsearch(&at, file->by_name, file->tensor_count,
                                                    sizeof *file->by_name, compare_name);
    return found ? *found : NULL;
}

const char *dapt_safetensors_metadata(const struct dapt_safetensors *file, const char *key) {
    for (size_t i = 0; i < file->metadata_count; i++)
        if (strcmp(file->metadata[i].key, key) == 0) return file->metadata[i].value;
    return NULL;
}
