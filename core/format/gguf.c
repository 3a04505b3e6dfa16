// Reading GGUF. Nothing of the file is believed before it was checked; after opening, every value
// and every tensor's data lies inside the map.
#include "format/gguf.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

#define KEYS_LIMIT ((uint64_t)1 << 16)
#define TENSORS_LIMIT ((uint64_t)1 << 20)
#define TEXTS_LIMIT ((uint64_t)1 << 24)  // strings of one array
#define NAME_LIMIT ((uint64_t)1 << 10)   // bytes of a key or a tensor's name

static const struct {
    const char *name;
    uint32_t size;  // bytes; 0: of no fixed size
} kinds[DAPT_GGUF_KINDS] = {
    [DAPT_GGUF_U8] = {"u8", 1},         [DAPT_GGUF_I8] = {"i8", 1},
    [DAPT_GGUF_U16] = {"u16", 2},       [DAPT_GGUF_I16] = {"i16", 2},
    [DAPT_GGUF_U32] = {"u32", 4},       [DAPT_GGUF_I32] = {"i32", 4},
    [DAPT_GGUF_F32] = {"f32", 4},       [DAPT_GGUF_BOOL] = {"bool", 1},
    [DAPT_GGUF_STRING] = {"string", 0}, [DAPT_GGUF_ARRAY] = {"array", 0},
    [DAPT_GGUF_U64] = {"u64", 8},       [DAPT_GGUF_I64] = {"i64", 8},
    [DAPT_GGUF_F64] = {"f64", 8},
};

struct dapt_gguf {
    struct dapt_arena arena;
    struct dapt_map map;
    const char *path;
    size_t at;  // byte that is read next
    struct dapt_gguf_value *values;
    struct dapt_gguf_tensor *tensors;  // in file order
    size_t value_count, tensor_count;
    const struct dapt_gguf_value **by_key;
    const struct dapt_gguf_tensor **by_name;
};

// ------------------------------------------------------------------------------------------ pieces

static enum dapt_status take(struct dapt_gguf *f, const char *what, void *out, size_t size) {
    if (size > f->map.size - f->at)
        return dapt_fail(DAPT_ERROR_INVALID,
                         "%s: the file ends at byte %zu, inside of %s: is it cut off?", f->path,
                         f->map.size, what);
    memcpy(out, f->map.data + f->at, size);
    f->at += size;
    return DAPT_OK;
}

// `limit`: of its length in bytes.
static enum dapt_status take_string(struct dapt_gguf *f, const char *what, uint64_t limit,
                                    const char **out) {
    uint64_t length = 0;
    enum dapt_status status = take(f, what, &length, sizeof length);
    if (status) return status;
    const char *text = (const char *)f->map.data + f->at;
    if (length > f->map.size - f->at || length > limit)
        return dapt_fail(DAPT_ERROR_INVALID,
                         "%s: %s claims %" PRIu64
                         " bytes at byte %zu, of which there %s: is the "
                         "file damaged?",
                         f->path, what, length, f->at,
                         length > limit ? "can't be so many" : "are fewer left");
    if (memchr(text, 0, length) || dapt_utf8_check(text, length) < length)
        return dapt_fail(DAPT_ERROR_INVALID, "%s: %s at byte %zu %s", f->path, what, f->at,
                         memchr(text, 0, length) ? "holds a NUL" : "is not UTF-8");
    *out = dapt_arena_copy(&f->arena, text, length);
    f->at += length;
    return *out ? DAPT_OK : DAPT_ERROR_MEMORY;
}

// ---------------------------------------------------------------------------------------- metadata

static enum dapt_status take_texts(struct dapt_gguf *f, struct dapt_gguf_value *v) {
    // Each takes eight bytes at least: no list is made that the file has no room for.
    if (v->count > TEXTS_LIMIT || v->count > (f->map.size - f->at) / 8)
        return dapt_fail(DAPT_ERROR_INVALID,
                         "%s: key '%s' claims %" PRIu64 " strings, more than the file has", f->path,
                         v->key, v->count);
    const char **texts = dapt_arena_alloc(&f->arena, (size_t)v->count * sizeof *texts);
    enum dapt_status status = texts ? DAPT_OK : DAPT_ERROR_MEMORY;
    for (uint64_t i = 0; i < v->count && !status; i++)
        status = take_string(f, v->key, UINT64_MAX, &texts[i]);
    v->texts = texts;
    return status;
}

static enum dapt_status take_kind(struct dapt_gguf *f, const char *key, enum dapt_gguf_kind *kind) {
    uint32_t number = 0;
    enum dapt_status status = take(f, key, &number, sizeof number);
    if (!status && number >= DAPT_GGUF_KINDS)
        status = dapt_fail(DAPT_ERROR_INVALID,
                           "%s: key '%s' is of type %u, which GGUF does not have", f->path, key,
                           number);
    *kind = status ? DAPT_GGUF_U8 : (enum dapt_gguf_kind)number;
    return status;
}

static enum dapt_status take_value(struct dapt_gguf *f, struct dapt_gguf_value *v) {
    enum dapt_status status = take_string(f, "a key of the metadata", NAME_LIMIT, &v->key);
    if (!status) status = take_kind(f, v->key, &v->kind);
    v->count = 1;
    v->array = !status && v->kind == DAPT_GGUF_ARRAY;
    if (v->array) {
        status = take_kind(f, v->key, &v->kind);
        if (!status && v->kind == DAPT_GGUF_ARRAY)
            status = dapt_fail(DAPT_ERROR_UNSUPPORTED,
                               "%s: key '%s' is an array of arrays, which dapt does not read",
                               f->path, v->key);
        if (!status) status = take(f, v->key, &v->count, sizeof v->count);
    }
    if (status) return status;
    if (v->kind == DAPT_GGUF_STRING) return take_texts(f, v);
    uint64_t size = kinds[v->kind].size;
    if (v->count > (f->map.size - f->at) / size)
        return dapt_fail(DAPT_ERROR_INVALID,
                         "%s: key '%s' claims %" PRIu64
                         " numbers, more than the file has: is it cut "
                         "off?",
                         f->path, v->key, v->count);
    v->data = f->map.data + f->at;
    f->at += (size_t)(v->count * size);
    return DAPT_OK;
}

// ----------------------------------------------------------------------------------------- tensors

static enum dapt_status take_shape(struct dapt_gguf *f, struct dapt_gguf_tensor *t) {
    uint32_t id = 0;
    enum dapt_status status = take(f, t->name, &t->rank, sizeof t->rank);
    if (!status && (t->rank == 0 || t->rank > DAPT_GGUF_MAX_RANK))
        status = dapt_fail(DAPT_ERROR_INVALID,
                           "%s: tensor '%s' has %u dimensions, expected 1 to %d", f->path, t->name,
                           t->rank, DAPT_GGUF_MAX_RANK);
    t->count = 1;
    for (uint32_t i = t->rank; i-- > 0 && !status;) {
        status = take(f, t->name, &t->shape[i], sizeof t->shape[i]);
        if (!status &&
            (t->shape[i] == 0 || __builtin_mul_overflow(t->count, t->shape[i], &t->count)))
            status = dapt_fail(DAPT_ERROR_INVALID, "%s: tensor '%s' has an impossible shape",
                               f->path, t->name);
    }
    if (!status) status = take(f, t->name, &id, sizeof id);
    if (status) return status;
    t->type = dapt_block_type_find(id);
    if (t->type && t->type->decode) return DAPT_OK;
    char number[16];
    snprintf(number, sizeof number, "%u", id);
    return dapt_fail(DAPT_ERROR_UNSUPPORTED,
                     "%s: tensor '%s' is of type %s, which dapt does not read; take a file of F16, "
                     "BF16, Q8_0, Q4_0 to Q5_1, or Q2_K to Q6_K",
                     f->path, t->name, t->type ? t->type->name : number);
}

// `offset`: of its data behind the tensor list.
static enum dapt_status take_tensor(struct dapt_gguf *f, struct dapt_gguf_tensor *t,
                                    uint64_t alignment, uint64_t *offset) {
    enum dapt_status status = take_string(f, "a tensor's name", NAME_LIMIT, &t->name);
    if (!status) status = take_shape(f, t);
    if (!status) status = take(f, t->name, offset, sizeof *offset);
    if (status) return status;
    if (t->shape[t->rank - 1] % t->type->length)
        return dapt_fail(DAPT_ERROR_INVALID,
                         "%s: tensor '%s' has rows of %" PRIu64
                         " elements, which are no whole blocks "
                         "of %u, as type %s has them",
                         f->path, t->name, t->shape[t->rank - 1], t->type->length, t->type->name);
    if (*offset % alignment)
        return dapt_fail(DAPT_ERROR_INVALID,
                         "%s: tensor '%s' begins at byte %" PRIu64
                         " of the data, no multiple of %" PRIu64,
                         f->path, t->name, *offset, alignment);
    return DAPT_OK;
}

static enum dapt_status place_tensor(const struct dapt_gguf *f, struct dapt_gguf_tensor *t,
                                     uint64_t begin, uint64_t offset) {
    uint64_t blocks = t->count / t->type->length, size = 0,
             room = f->map.size > begin ? f->map.size - begin : 0;
    if (__builtin_mul_overflow(blocks, (uint64_t)t->type->size, &size) || offset > room ||
        size > room - offset)
        return dapt_fail(DAPT_ERROR_INVALID,
                         "%s: tensor '%s' (%s) ends beyond the file's %zu bytes: is it cut off?",
                         f->path, t->name, t->type->name, f->map.size);
    t->data = f->map.data + begin + offset;
    return DAPT_OK;
}

// ------------------------------------------------------------------------------------------ orders

static int compare_key(const void *a, const void *b) {
    return strcmp((*(const struct dapt_gguf_value *const *)a)->key,
                  (*(const struct dapt_gguf_value *const *)b)->key);
}

static int compare_name(const void *a, const void *b) {
    return strcmp((*(const struct dapt_gguf_tensor *const *)a)->name,
                  (*(const struct dapt_gguf_tensor *const *)b)->name);
}

static int compare_place(const void *a, const void *b) {
    const uint8_t *x = (*(const struct dapt_gguf_tensor *const *)a)->data,
                  *y = (*(const struct dapt_gguf_tensor *const *)b)->data;
    return (x > y) - (x < y);
}

static enum dapt_status sort_keys(struct dapt_gguf *f) {
    f->by_key = dapt_arena_alloc(&f->arena, (f->value_count + 1) * sizeof *f->by_key);
    if (!f->by_key) return DAPT_ERROR_MEMORY;
    for (size_t i = 0; i < f->value_count; i++) f->by_key[i] = &f->values[i];
    qsort(f->by_key, f->value_count, sizeof *f->by_key, compare_key);
    for (size_t i = 1; i < f->value_count; i++)
        if (compare_key(&f->by_key[i - 1], &f->by_key[i]) == 0)
            return dapt_fail(DAPT_ERROR_INVALID, "%s: key '%s' is there twice", f->path,
                             f->by_key[i]->key);
    return DAPT_OK;
}

// By name; before that by place, to see that no two share data.
static enum dapt_status sort_tensors(struct dapt_gguf *f) {
    f->by_name = dapt_arena_alloc(&f->arena, (f->tensor_count + 1) * sizeof *f->by_name);
    if (!f->by_name) return DAPT_ERROR_MEMORY;
    for (size_t i = 0; i < f->tensor_count; i++) f->by_name[i] = &f->tensors[i];
    qsort(f->by_name, f->tensor_count, sizeof *f->by_name, compare_place);
    for (size_t i = 1; i < f->tensor_count; i++) {
        const struct dapt_gguf_tensor *a = f->by_name[i - 1], *b = f->by_name[i];
        if (a->data + dapt_blocks_size(a->type, a->count) > b->data)
            return dapt_fail(DAPT_ERROR_INVALID, "%s: the data of tensors '%s' and '%s' overlap",
                             f->path, a->name, b->name);
    }
    qsort(f->by_name, f->tensor_count, sizeof *f->by_name, compare_name);
    for (size_t i = 1; i < f->tensor_count; i++)
        if (compare_name(&f->by_name[i - 1], &f->by_name[i]) == 0)
            return dapt_fail(DAPT_ERROR_INVALID, "%s: tensor '%s' is there twice", f->path,
                             f->by_name[i]->name);
    return DAPT_OK;
}

// ----------------------------------------------------------------------------------------- opening

// Magic, version, numbers of tensors and of keys.
static enum dapt_status read_head(struct dapt_gguf *f, uint64_t counts[2]) {
    char magic[4] = "";
    uint32_t version = 0;
    enum dapt_status status = take(f, "the head", magic, sizeof magic);
    if (!status && memcmp(magic, "GGUF", 4) != 0)
        return dapt_fail(DAPT_ERROR_INVALID,
                         "%s: does not begin with \"GGUF\": is this a GGUF file?", f->path);
    if (!status) status = take(f, "the head", &version, sizeof version);
    if (!status && version != 2 && version != 3)
        return dapt_fail(DAPT_ERROR_UNSUPPORTED,
                         version && version % 65536 == 0
                             ? "%s: is a big-endian GGUF file%.0u; expected little-endian"
                             : "%s: is GGUF version %u; expected 2 or 3",
                         f->path, version);
    if (!status) status = take(f, "the head", counts, 2 * sizeof *counts);
    // Of the shortest there can be: a key of 13 bytes, a tensor of 32.
    if (!status && (counts[0] > TENSORS_LIMIT || counts[0] > f->map.size / 32 ||
                    counts[1] > KEYS_LIMIT || counts[1] > f->map.size / 13))
        status = dapt_fail(DAPT_ERROR_INVALID,
                           "%s: claims %" PRIu64 " tensors and %" PRIu64
                           " keys: is the file damaged?",
                           f->path, counts[0], counts[1]);
    return status;
}

static enum dapt_status read_tensors(struct dapt_gguf *f, uint64_t count) {
    int64_t alignment = 32;
    enum dapt_status status = dapt_gguf_get_integer(f, "general.alignment", 1, 1 << 20, &alignment);
    if (!status && (alignment & (alignment - 1)))
        status = dapt_fail(DAPT_ERROR_INVALID,
                           "%s: general.alignment is %" PRId64 ", expected a power of two", f->path,
                           alignment);
    uint64_t *offsets = dapt_alloc((size_t)count + 1, sizeof *offsets);
    f->tensors = dapt_arena_alloc(&f->arena, ((size_t)count + 1) * sizeof *f->tensors);
    if (!status && (!offsets || !f->tensors)) status = DAPT_ERROR_MEMORY;
    for (; f->tensor_count < count && !status; f->tensor_count++)
        status = take_tensor(f, &f->tensors[f->tensor_count], (uint64_t)alignment,
                             &offsets[f->tensor_count]);
    uint64_t mask = (uint64_t)alignment - 1, begin = (f->at + mask) & ~mask;
    for (size_t i = 0; i < f->tensor_count && !status; i++)
        status = place_tensor(f, &f->tensors[i], begin, offsets[i]);
    free(offsets);
    return status ? status : sort_tensors(f);
}

enum dapt_status dapt_gguf_open(const char *path, struct dapt_gguf **out) {
    *out = NULL;
    uint64_t counts[2] = {0, 0};
    struct dapt_gguf *f = dapt_alloc(1, sizeof *f);
    if (!f) return DAPT_ERROR_MEMORY;
    f->path = dapt_arena_copy(&f->arena, path, strlen(path));
    enum dapt_status status = f->path ? dapt_map_open(path, &f->map) : DAPT_ERROR_MEMORY;
    if (!status) status = read_head(f, counts);
    if (!status) f->values = dapt_arena_alloc(&f->arena, (counts[1] + 1) * sizeof *f->values);
    if (!status && !f->values) status = DAPT_ERROR_MEMORY;
    for (; f->value_count < counts[1] && !status; f->value_count++)
        status = take_value(f, &f->values[f->value_count]);
    if (!status) status = sort_keys(f);
    if (!status) status = read_tensors(f, counts[0]);
    if (status) dapt_gguf_close(&f);
    *out = f;
    return status;
}

void dapt_gguf_close(struct dapt_gguf **file) {
    if (!*file) return;
    dapt_map_close(&(*file)->map);
    dapt_arena_free(&(*file)->arena);
    free(*file);
    *file = NULL;
}

// ------------------------------------------------------------------------------------------ asking

const char *dapt_gguf_path(const struct dapt_gguf *file) {
    return file->path;
}

size_t dapt_gguf_value_count(const struct dapt_gguf *file) {
    return file->value_count;
}

const struct dapt_gguf_value *dapt_gguf_value_at(const struct dapt_gguf *file, size_t index) {
    return &file->values[index];
}

const struct dapt_gguf_value *dapt_gguf_value(const struct dapt_gguf *file, const char *key) {
    const struct dapt_gguf_value wanted = {.key = key}, *at = &wanted;
    const struct dapt_gguf_value **found = bsearch(&at, file->by_key, file->value_count,
                                                   sizeof *file->by_key, compare_key);
    return found ? *found : NULL;
}

size_t dapt_gguf_tensor_count(const struct dapt_gguf *file) {
    return file->tensor_count;
}

const struct dapt_gguf_tensor *dapt_gguf_tensor_at(const struct dapt_gguf *file, size_t index) {
    return &file->tensors[index];
}

const struct dapt_gguf_tensor *dapt_gguf_tensor(const struct dapt_gguf *file, const char *name) {
    const struct dapt_gguf_tensor wanted = {.name = name}, *at = &wanted;
    const struct dapt_gguf_tensor **found = bsearch(&at, file->by_name, file->tensor_count,
                                                    sizeof *file->by_name, compare_name);
    return found ? *found : NULL;
}

double dapt_gguf_number(const struct dapt_gguf_value *v, uint64_t index) {
    const uint8_t *at = v->data + index * kinds[v->kind].size;
    union {
        uint16_t u16;
        int16_t i16;
        uint32_t u32;
        int32_t i32;
        float f32;
        uint64_t u64;
        int64_t i64;
        double f64;
    } n = {.u64 = 0};
    memcpy(&n, at, kinds[v->kind].size);
    switch (v->kind) {
    case DAPT_GGUF_U8: return at[0];
    case DAPT_GGUF_I8: return (int8_t)at[0];
    case DAPT_GGUF_BOOL: return at[0] != 0;
    case DAPT_GGUF_U16: return n.u16;
    case DAPT_GGUF_I16: return n.i16;
    case DAPT_GGUF_U32: return n.u32;
    case DAPT_GGUF_I32: return n.i32;
    case DAPT_GGUF_F32: return (double)n.f32;
    case DAPT_GGUF_U64: return (double)n.u64;
    case DAPT_GGUF_I64: return (double)n.i64;
    case DAPT_GGUF_F64: return n.f64;
    default: return NAN;
    }
}

static enum dapt_status fail_kind(const struct dapt_gguf *file, const struct dapt_gguf_value *v,
                                  const char *expected) {
    return dapt_fail(DAPT_ERROR_INVALID, "%s: key '%s' is %s%s, expected %s", file->path, v->key,
                     v->array ? "an array of " : "", kinds[v->kind].name, expected);
}

enum dapt_status dapt_gguf_get_real(const struct dapt_gguf *file, const char *key, double minimum,
                                    double maximum, double *result) {
    const struct dapt_gguf_value *v = dapt_gguf_value(file, key);
    if (!v) return DAPT_OK;
    if (v->array || v->kind == DAPT_GGUF_STRING || v->kind == DAPT_GGUF_BOOL)
        return fail_kind(file, v, "a number");
    double number = dapt_gguf_number(v, 0);
    if (!(number >= minimum && number <= maximum))
        return dapt_fail(DAPT_ERROR_INVALID, "%s: key '%s' is %g, expected a number from %g to %g",
                         file->path, key, number, minimum, maximum);
    *result = number;
    return DAPT_OK;
}

enum dapt_status dapt_gguf_get_integer(const struct dapt_gguf *file, const char *key,
                                       int64_t minimum, int64_t maximum, int64_t *result) {
    const struct dapt_gguf_value *v = dapt_gguf_value(file, key);
    if (v && (v->kind == DAPT_GGUF_F32 || v->kind == DAPT_GGUF_F64))
        return fail_kind(file, v, "a whole number");
    double number = (double)*result;
    enum dapt_status status = dapt_gguf_get_real(file, key, (double)minimum, (double)maximum,
                                                 &number);
    if (v && !status) *result = (int64_t)number;
    return status;
}

enum dapt_status dapt_gguf_get_bool(const struct dapt_gguf *file, const char *key, bool *result) {
    const struct dapt_gguf_value *v = dapt_gguf_value(file, key);
    if (v && (v->array || v->kind != DAPT_GGUF_BOOL)) return fail_kind(file, v, "a bool");
    if (v) *result = v->data[0] != 0;
    return DAPT_OK;
}

enum dapt_status dapt_gguf_get_string(const struct dapt_gguf *file, const char *key,
                                      const char **result) {
    const struct dapt_gguf_value *v = dapt_gguf_value(file, key);
    if (v && (v->array || v->kind != DAPT_GGUF_STRING)) return fail_kind(file, v, "a string");
    if (v) *result = v->texts[0];
    return DAPT_OK;
}
