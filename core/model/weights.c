// Weights between Hugging Face folders and the flat buffer. What a file calls a tensor is kept: a
// checkpoint is written with the names, the order, the types and the sharding of the folder that
// the model came from, as they were when it was opened for training.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "base/threads.h"
#include "model/families.h"
#include "model/model.h"
#include "model/slots.h"
#include "model/weights.h"

#define PIECE DAPT_WEIGHTS_PIECE

bool dapt_weights_ends(const char *name, const char *ending) {
    size_t n = strlen(name), e = strlen(ending);
    return n >= e && strcmp(name + n - e, ending) == 0;
}

static bool is_buffer(const struct dapt_family *family, const char *name) {
    for (size_t i = 0; family->buffers && family->buffers[i]; i++)
        if (dapt_weights_ends(name, family->buffers[i])) return true;
    return false;
}

// What old files of BERT call "LayerNorm.gamma" and "LayerNorm.beta".
static const char *norm_name(const char *name, char text[512]) {
    bool gamma = dapt_weights_ends(name, "LayerNorm.gamma");
    if (!gamma && !dapt_weights_ends(name, "LayerNorm.beta")) return name;
    snprintf(text, 512, "%.*s%s", (int)(strrchr(name, '.') - name), name,
             gamma ? ".weight" : ".bias");
    return text;
}

// The parameter that a tied head's tensor stands for under the name of one of its own.
static const struct dapt_parameter *find_tied(const struct dapt_model *m, const char *name) {
    static const enum dapt_slot ties[][2] = {{DAPT_SLOT_HEAD, DAPT_SLOT_EMBED},
                                             {DAPT_SLOT_HEAD_OWN_BIAS, DAPT_SLOT_HEAD_BIAS}};
    const char *prefix = dapt_slot_prefix(m->family, DAPT_SLOT_HEAD);
    size_t length = strlen(prefix);
    for (size_t i = 0; m->tied && i < sizeof ties / sizeof *ties; i++) {
        const char *own = m->family->names[ties[i][0]];
        if (own && strncmp(name, prefix, length) == 0 && strcmp(name + length, own) == 0)
            return &m->parameters[m->slots[ties[i][1]]];
    }
    return NULL;
}

// GPT-2's files leave the prefix out; a tied output projection may be stored beside the embedding or
// instead of it.
const struct dapt_parameter *dapt_weights_find(const struct dapt_model *m, const char *given,
                                               size_t count) {
    char text[512];
    const char *prefix = m->family->prefix, *name = norm_name(given, text);
    const struct dapt_parameter *tied = find_tied(m, name);
    if (tied) return tied;
    for (size_t i = 0; i < count; i++) {
        const char *full = m->parameters[i].name;
        if (strcmp(full, name) == 0) return &m->parameters[i];
        if (strncmp(full, prefix, strlen(prefix)) == 0 && strcmp(full + strlen(prefix), name) == 0)
            return &m->parameters[i];
    }
    return NULL;
}

// Parameters from the first on that are the model's own, not its adapters'.
static size_t own_count(const struct dapt_model *m) {
    return m->adapters ? m->adapters->first : m->parameter_count;
}

const struct dapt_parameter *dapt_model_find(const struct dapt_model *m, const char *name) {
    return dapt_weights_find(m, name, own_count(m));
}

bool dapt_weights_written(const struct dapt_model *m, const struct dapt_parameter *p) {
    return !m->adapters || p->group == DAPT_GROUP_ADAPTERS ||
           (m->adapters->embeddings && p->group == DAPT_GROUP_EMBEDDINGS);
}

const char *dapt_weights_head(const struct dapt_model *m, struct dapt_arena *arena) {
    return dapt_arena_format(arena, "%s%s", dapt_slot_prefix(m->family, DAPT_SLOT_HEAD),
                             m->family->names[DAPT_SLOT_HEAD]);
}

enum dapt_status dapt_flat_put(void *flat, uint64_t offset, const float *values, uint64_t count) {
    memcpy((float *)flat + offset, values, count * sizeof *values);
    return DAPT_OK;
}

enum dapt_status dapt_flat_get(void *flat, uint64_t offset, float *values, uint64_t count) {
    memcpy(values, (const float *)flat + offset, count * sizeof *values);
    return DAPT_OK;
}

static enum dapt_status check_shape(const struct dapt_parameter *p,
                                    const struct dapt_file_tensor *t) {
    bool same = p->rank == t->rank && p->shape[0] == t->shape[0] &&
                (p->rank < 2 || p->shape[1] == t->shape[1]);
    if (same) return DAPT_OK;
    char have[64] = "";
    size_t used = 0;
    for (uint32_t i = 0; i < t->rank && used < sizeof have; i++)
        used += (size_t)snprintf(have + used, sizeof have - used, "%s%llu", i ? ", " : "",
                                 (unsigned long long)t->shape[i]);
    if (p->rank == 1)
        return dapt_fail(DAPT_ERROR_INVALID,
                         "%s: tensor %s has shape [%s]: config.json asks for [%llu]", t->file,
                         t->name, have, (unsigned long long)p->shape[0]);
    return dapt_fail(
        DAPT_ERROR_INVALID, "%s: tensor %s has shape [%s]: config.json asks for [%llu, %llu]",
        t->file, t->name, have, (unsigned long long)p->shape[0], (unsigned long long)p->shape[1]);
}

uint64_t dapt_parameter_place(const struct dapt_parameter *p, uint64_t at, uint64_t *count) {
    if (!p->parts) return p->offset + at;
    uint64_t run = at / p->run, inside = at % p->run, blocks = p->count / p->run / p->parts;
    if (*count > p->run - inside) *count = p->run - inside;
    return p->offset + (run % p->parts * blocks + run / p->parts) * p->run + inside;
}

enum dapt_status dapt_weights_take(const struct dapt_parameter *p, const struct dapt_file_tensor *t,
                                   float *piece, dapt_weights_put put, void *context) {
    enum dapt_status status = check_shape(p, t);
    for (uint64_t at = 0; put && at < p->count && !status; at += PIECE) {
        uint64_t n = p->count - at < PIECE ? p->count - at : PIECE;
        status = dapt_file_tensor_floats(t, at, n, piece);
        for (uint64_t i = 0; i < n && !status; i++)
            if (!isfinite(piece[i]))
                status = dapt_fail(DAPT_ERROR_INVALID,
                                   "%s: tensor %s: element %llu is not a finite number", t->file,
                                   t->name, (unsigned long long)(at + i));
        for (uint64_t i = 0, run; i < n && !status; i += run) {
            run = n - i;
            uint64_t to = dapt_parameter_place(p, at + i, &run);
            status = put(context, to, piece + i, run);
        }
        if (!status && dapt_cancelled())
            status = dapt_fail(DAPT_ERROR_CANCELLED, "stopped while loading weights");
    }
    return status;
}

// A tied projection stored beside the embedding must hold the same numbers: otherwise one of the
// two would be lost.
static enum dapt_status check_tied(const struct dapt_file_tensor *a,
                                   const struct dapt_file_tensor *b, float *piece) {
    bool same = a->count == b->count;
    float *second = piece + PIECE / 2;
    for (uint64_t at = 0; at < a->count && same; at += PIECE / 2) {
        uint64_t n = a->count - at < PIECE / 2 ? a->count - at : PIECE / 2;
        enum dapt_status status = dapt_file_tensor_floats(a, at, n, piece);
        if (!status) status = dapt_file_tensor_floats(b, at, n, second);
        if (status) return status;
        same = memcmp(piece, second, n * sizeof *piece) == 0;
    }
    if (same) return DAPT_OK;
    return dapt_fail(
        DAPT_ERROR_INVALID,
        "%s: %s and %s differ, but config.json says that they are tied (tie_word_embeddings)",
        a->file, a->name, b->name);
}

// Takes an open file's tensors as the model's weights; `put` NULL: only looks at names and shapes.
static enum dapt_status take_tensors(const struct dapt_model *model, const char *folder,
                                     const struct dapt_safetensors *file, dapt_weights_put put,
                                     void *context) {
    const struct dapt_file_tensor **source = dapt_alloc(model->parameter_count, sizeof *source);
    float *piece = dapt_alloc_aligned(PIECE, sizeof *piece);
    enum dapt_status status = source && piece ? DAPT_OK : DAPT_ERROR_MEMORY;
    for (size_t i = 0; !status && i < dapt_safetensors_count(file); i++) {
        const struct dapt_file_tensor *t = dapt_safetensors_at(file, i);
        const struct dapt_parameter *p = dapt_model_find(model, t->name);
        if (!p && is_buffer(model->family, t->name)) continue;
        if (p && t->unlisted) {
            status = dapt_fail(DAPT_ERROR_INVALID,
                               "%s: holds tensor %s, which the index beside it does not name",
                               t->file, t->name);
            break;
        }
        if (!p) {
            status = dapt_fail(
                DAPT_ERROR_INVALID,
                "%s: tensor %s belongs to no part of a %s model with this config.json", t->file,
                t->name, model->family->type);
            break;
        }
        const struct dapt_file_tensor *twin = source[p - model->parameters];
        if (twin && !model->tied)
            status = dapt_fail(DAPT_ERROR_INVALID, "%s: %s and %s are the same parameter", t->file,
                               twin->name, t->name);
        else if (twin && put && !(status = check_shape(p, t)))
            status = check_tied(twin, t, piece);
        else if (!status)
            status = dapt_weights_take(p, t, piece, put, context);
        source[p - model->parameters] = t;
    }
    for (size_t i = 0; !status && i < own_count(model); i++) {
        if (!source[i])
            status = dapt_fail(
                DAPT_ERROR_INVALID,
                "%s: tensor %s is missing: a %s model with this config.json needs it", folder,
                model->parameters[i].name, model->family->type);
    }
    free(source);
    free(piece);
    return status;
}

enum dapt_status dapt_model_load(const struct dapt_model *model, const char *folder,
                                 dapt_weights_put put, void *context) {
    struct dapt_safetensors *file = NULL;
    const char *own = model->adapters ? model->folder : folder;
    enum dapt_status status = dapt_safetensors_open(own, &file);
    if (!status) status = take_tensors(model, own, file, put, context);
    dapt_safetensors_close(&file);
    bool base = !model->adapters || (!dapt_adapters_in(folder) && strcmp(folder, own) == 0);
    return status || base ? status : dapt_adapters_load(model, folder, put, context);
}

static float new_weight(const struct dapt_parameter *p, uint64_t seed, uint64_t stream,
                        uint64_t index) {
    if (p->init_bound > 0)
        return (float)(p->init_bound * (2 * dapt_random_uniform(seed, stream, index) - 1));
    if (p->init_scale > 0) return (float)(p->init_scale * dapt_random_normal(seed, stream, index));
    return p->init_fill;
}

enum dapt_status dapt_model_init(const struct dapt_model *model, uint64_t seed,
                                 dapt_weights_put put, void *context) {
    enum dapt_status status = DAPT_OK;
    float *piece = dapt_alloc_aligned(PIECE, sizeof *piece);
    if (!piece) return DAPT_ERROR_MEMORY;
    for (size_t i = model->folder ? own_count(model) : 0; i < model->parameter_count && !status;
         i++) {
        const struct dapt_parameter *p = &model->parameters[i];
        for (uint64_t at = 0; at < p->count && !status; at += PIECE) {
            uint64_t n = p->count - at < PIECE ? p->count - at : PIECE;
            for (uint64_t k = 0; k < n; k++) piece[k] = new_weight(p, seed, i, at + k);
            status = put(context, p->offset + at, piece, n);
        }
    }
    free(piece);
    return status;
}

// ------------------------------------------------------------------------------------------ keeping

// What stands beside the weights. Tokenizers bring their files along, whatever plugin reads them.
static const char *const file_names[] = {
    "config.json",  // of the model; the others: of the tokenizer's folder
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "tokenizer.model",
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
};
#define FILES (sizeof file_names / sizeof *file_names)
#define FILE_LIMIT ((size_t)1 << 30)

struct dapt_model_origin {
    struct dapt_arena arena;
    size_t count;  // of tensors in the files of weights, in their order; 0: new weights
    struct dapt_file_entry *entries;           // [count]
    const struct dapt_parameter **parameters;  // [count] NULL: a buffer
    void **buffers;                            // [count] a buffer's bytes; NULL: a parameter
    enum dapt_save_dtype dtype;
    enum dapt_file_dtype *written;    // [model->parameter_count] of each in the file
    struct dapt_string files[FILES];  // data NULL: there is none
};

static const struct {
    const char *name;  // of transformers
    enum dapt_file_dtype dtype;
} save_dtypes[] = {[DAPT_SAVE_MODEL] = {"model", DAPT_FILE_F32},
                   [DAPT_SAVE_F32] = {"float32", DAPT_FILE_F32},
                   [DAPT_SAVE_BF16] = {"bfloat16", DAPT_FILE_BF16},
                   [DAPT_SAVE_F16] = {"float16", DAPT_FILE_F16}};

// Other names: DAPT_SAVE_MODEL.
static enum dapt_save_dtype find_save_dtype(const char *name) {
    size_t i = sizeof save_dtypes / sizeof *save_dtypes;
    while (--i && strcmp(save_dtypes[i].name, name) != 0) continue;
    return (enum dapt_save_dtype)i;
}

static bool writable(enum dapt_file_dtype dtype) {
    return dtype == DAPT_FILE_F32 || dtype == DAPT_FILE_F16 || dtype == DAPT_FILE_BF16;
}

// What a parameter is written as, which was read as `dtype`.
static enum dapt_file_dtype written_dtype(enum dapt_save_dtype save, enum dapt_file_dtype dtype) {
    if (save != DAPT_SAVE_MODEL) return save_dtypes[save].dtype;
    return writable(dtype) ? dtype : DAPT_FILE_F32;
}

// Of new weights: as config.json says.
static enum dapt_status new_dtype(const struct dapt_model *m, enum dapt_save_dtype save,
                                  enum dapt_file_dtype *dtype) {
    const char *name = "float32";
    enum dapt_status status = dapt_json_get_string(m->config, "torch_dtype", &name);
    if (!status) status = dapt_json_get_string(m->config, "dtype", &name);
    *dtype = written_dtype(save, save_dtypes[find_save_dtype(name)].dtype);
    return status;
}

// A tensor that take_tensors() found to be a parameter or a buffer.
static enum dapt_status keep_tensor(const struct dapt_model *m, const struct dapt_file_tensor *t,
                                    bool new_file, struct dapt_model_origin *o, size_t i) {
    const struct dapt_parameter *p = dapt_model_find(m, t->name);
    o->parameters[i] = p;
    o->entries[i] = (struct dapt_file_entry){
        .name = dapt_arena_copy(&o->arena, t->name, strlen(t->name)),
        .dtype = p ? written_dtype(o->dtype, t->dtype) : t->dtype,
        .rank = t->rank,
        .new_file = new_file};
    if (p) o->written[p - m->parameters] = o->entries[i].dtype;
    memcpy(o->entries[i].shape, t->shape, sizeof t->shape);
    if (!o->entries[i].name) return DAPT_ERROR_MEMORY;
    if (p) return DAPT_OK;
    size_t size = (size_t)t->count * dapt_file_dtype_size(t->dtype);
    o->buffers[i] = dapt_arena_alloc(&o->arena, size);
    if (!o->buffers[i]) return DAPT_ERROR_MEMORY;
    memcpy(o->buffers[i], t->data, size);
    return DAPT_OK;
}

static enum dapt_status keep_tensors(const struct dapt_model *m, struct dapt_model_origin *o) {
    struct dapt_safetensors *file = NULL;
    enum dapt_status status = dapt_safetensors_open(m->folder, &file);
    if (!status) status = take_tensors(m, m->folder, file, NULL, NULL);
    size_t count = o->count = status ? 0 : dapt_safetensors_count(file);
    o->entries = dapt_arena_alloc(&o->arena, count * sizeof *o->entries);
    o->parameters = dapt_arena_alloc(&o->arena, count * sizeof *o->parameters);
    o->buffers = dapt_arena_alloc(&o->arena, count * sizeof *o->buffers);
    if (!status && (!o->entries || !o->parameters || !o->buffers)) status = DAPT_ERROR_MEMORY;
    for (size_t i = 0; !status && i < count; i++) {
        const struct dapt_file_tensor *t = dapt_safetensors_at(file, i);
        bool new_file = i > 0 && t->file != dapt_safetensors_at(file, i - 1)->file;
        status = keep_tensor(m, t, new_file, o, i);
    }
    dapt_safetensors_close(&file);
    return status;
}

static enum dapt_status keep_file(const char *folder, size_t which, struct dapt_model_origin *o) {
    char *path = dapt_path_join(&o->arena, folder, file_names[which]);
    if (!path) return DAPT_ERROR_MEMORY;
    return dapt_is_file(path) ? dapt_file_read(path, FILE_LIMIT, &o->files[which]) : DAPT_OK;
}

// The written dtype of each parameter where none is in a file yet.
static enum dapt_status keep_new(const struct dapt_model *m, struct dapt_model_origin *o) {
    enum dapt_file_dtype dtype;
    enum dapt_status status = new_dtype(m, o->dtype, &dtype);
    for (size_t i = 0; !status && i < m->parameter_count; i++) o->written[i] = dtype;
    return status;
}

enum dapt_status dapt_model_keep(struct dapt_model *model, const char *tokenizer_folder,
                                 enum dapt_save_dtype dtype) {
    dapt_model_origin_free(&model->origin);
    struct dapt_model_origin *o = model->origin = dapt_alloc(1, sizeof *o);
    if (!o) return DAPT_ERROR_MEMORY;
    o->dtype = dtype;
    o->written = dapt_arena_alloc(&o->arena, model->parameter_count * sizeof *o->written);
    enum dapt_status status = o->written ? DAPT_OK : DAPT_ERROR_MEMORY;
    if (!tokenizer_folder) tokenizer_folder = model->folder;
    if (!status) status = model->folder ? keep_tensors(model, o) : keep_new(model, o);
    for (size_t i = own_count(model); !status && i < model->parameter_count; i++)
        o->written[i] = save_dtypes[dtype].dtype;  // the base's dtype is no matter of adapters
    if (!status && model->folder) status = keep_file(model->folder, 0, o);
    for (size_t i = 1; !status && tokenizer_folder && i < FILES; i++)
        status = keep_file(tokenizer_folder, i, o);
    if (status) dapt_model_origin_free(&model->origin);
    return status;
}

void dapt_model_origin_free(struct dapt_model_origin **origin) {
    struct dapt_model_origin *o = *origin;
    *origin = NULL;
    if (!o) return;
    for (size_t i = 0; i < FILES; i++) dapt_string_free(&o->files[i]);
    dapt_arena_free(&o->arena);
    free(o);
}

const char *dapt_model_rounds(const struct dapt_model *model) {
    const char *name = NULL;
    for (size_t i = 0; model->origin && i < model->parameter_count; i++) {
        if (!dapt_weights_written(model, &model->parameters[i])) continue;
        if (model->origin->written[i] == DAPT_FILE_BF16) return save_dtypes[DAPT_SAVE_BF16].name;
        if (model->origin->written[i] == DAPT_FILE_F16) name = save_dtypes[DAPT_SAVE_F16].name;
    }
    return name;
}

enum dapt_status dapt_model_round(const struct dapt_model *model, uint64_t offset, uint64_t count,
                                  float *values) {
    enum dapt_status status = DAPT_OK;
    for (size_t i = 0; !status && model->origin && i < model->parameter_count; i++) {
        const struct dapt_parameter *p = &model->parameters[i];
        uint64_t begin = p->offset > offset ? p->offset : offset,
                 end = p->offset + p->count < offset + count ? p->offset + p->count
                                                             : offset + count;
        if (begin < end && dapt_weights_written(model, p))
            status = dapt_floats_round(values + (begin - offset), end - begin,
                                       model->origin->written[i]);
    }
    return status;
}

// ------------------------------------------------------------------------------------------- saving

struct saving {
    size_t count;
    const struct dapt_file_entry *entries;
    const struct dapt_parameter *const *parameters;  // [count] NULL: a buffer
    void *const *buffers;                            // [count]
    float *piece;
    dapt_weights_get get;
    void *context;
};

// Numbers that are none, or that the file's dtype has no room for, are not written.
static enum dapt_status check_piece(struct saving *s, size_t index, uint64_t first,
                                    uint64_t count) {
    const struct dapt_file_entry *entry = &s->entries[index];
    enum dapt_status status = dapt_check_finite(entry->name, first, s->piece, count);
    if (!status && entry->dtype == DAPT_FILE_F16)
        status = dapt_check_half(entry->name, first, s->piece, count,
                                 "set checkpoint.dtype to \"bfloat16\" or \"float32\"");
    return status;
}

static enum dapt_status produce(void *context, size_t index, uint64_t begin, uint64_t size,
                                void *bytes) {
    struct saving *s = context;
    enum dapt_file_dtype dtype = s->entries[index].dtype;
    if (!s->parameters[index]) {
        memcpy(bytes, (const uint8_t *)s->buffers[index] + begin, size);
        return DAPT_OK;
    }
    uint64_t width = dapt_file_dtype_size(dtype), first = begin / width, count = size / width;
    for (uint64_t at = 0; at < count; at += PIECE) {
        uint64_t n = count - at < PIECE ? count - at : PIECE;
        enum dapt_status status = DAPT_OK;
        for (uint64_t i = 0, run; i < n && !status; i += run) {
            run = n - i;
            uint64_t from = dapt_parameter_place(s->parameters[index], first + at + i, &run);
            status = s->get(s->context, from, s->piece + i, run);
        }
        if (!status) status = check_piece(s, index, first + at, n);
        if (!status)
            status = dapt_floats_to_file(s->piece, n, dtype, (uint8_t *)bytes + at * width);
        if (status) return status;
    }
    return DAPT_OK;
}

// New weights: every parameter, in the order of the family.
static enum dapt_status list_parameters(const struct dapt_model *m, struct dapt_arena *arena,
                                        struct saving *s) {
    enum dapt_file_dtype dtype;
    struct dapt_file_entry *entries = dapt_arena_alloc(arena, m->parameter_count * sizeof *entries);
    const struct dapt_parameter **parameters = dapt_arena_alloc(
        arena, m->parameter_count * sizeof *parameters);
    enum dapt_status status = entries && parameters ? DAPT_OK : DAPT_ERROR_MEMORY;
    if (!status) status = new_dtype(m, m->origin ? m->origin->dtype : DAPT_SAVE_MODEL, &dtype);
    if (status) return status;
    for (size_t i = 0; i < m->parameter_count; i++) {
        const struct dapt_parameter *p = parameters[i] = &m->parameters[i];
        entries[i] = (struct dapt_file_entry){
            .name = p->name, .dtype = dtype, .rank = p->rank, .shape = {p->shape[0], p->shape[1]}};
    }
    s->entries = entries;
    s->parameters = parameters;
    s->count = m->parameter_count;
    return DAPT_OK;
}

// Adapters and what belongs to them, under the names that peft gives them: a tied matrix twice, as it
// keeps embedding and head apart.
static enum dapt_status list_adapters(const struct dapt_model *m, struct dapt_arena *arena,
                                      struct saving *s) {
    size_t most = m->parameter_count + 1;
    struct dapt_file_entry *entries = dapt_arena_alloc(arena, most * sizeof *entries);
    const struct dapt_parameter **parameters = dapt_arena_alloc(arena, most * sizeof *parameters);
    const char *head = dapt_weights_head(m, arena);
    if (!entries || !parameters || !head) return DAPT_ERROR_MEMORY;
    for (size_t i = 0; i < m->parameter_count; i++) {
        const struct dapt_parameter *p = &m->parameters[i];
        const char *names[] = {p->name, m->tied && i == m->slots[DAPT_SLOT_EMBED] ? head : NULL};
        for (int k = 0; k < 2 && names[k] && dapt_weights_written(m, p); k++) {
            const char *name = dapt_arena_format(arena, DAPT_ADAPTER_PREFIX "%s", names[k]);
            if (!name) return DAPT_ERROR_MEMORY;
            parameters[s->count] = p;
            entries[s->count++] = (struct dapt_file_entry){.name = name,
                                                           .dtype = m->origin->written[i],
                                                           .rank = p->rank,
                                                           .shape = {p->shape[0], p->shape[1]}};
        }
    }
    s->entries = entries;
    s->parameters = parameters;
    return DAPT_OK;
}

static enum dapt_status save_weights(const struct dapt_model *m, const char *folder,
                                     dapt_weights_get get, void *context) {
    static const char *const metadata[] = {"format", "pt", NULL};
    const struct dapt_model_origin *o = m->origin;
    struct dapt_arena arena = {0};
    struct saving s = {.get = get, .context = context};
    s.piece = dapt_alloc_aligned(PIECE, sizeof *s.piece);
    enum dapt_status status = s.piece ? DAPT_OK : DAPT_ERROR_MEMORY;
    if (!status && m->adapters) {
        status = list_adapters(m, &arena, &s);
    } else if (!status && m->folder) {
        s.count = o->count;
        s.entries = o->entries;
        s.parameters = o->parameters;
        s.buffers = o->buffers;
    } else if (!status) {
        status = list_parameters(m, &arena, &s);
    }
    if (!status)
        status = dapt_safetensors_write(folder, m->adapters ? "adapter_model" : "model", s.entries,
                                        s.count, metadata, 0, produce, &s);
    free(s.piece);
    dapt_arena_free(&arena);
    return status;
}

// The config.json of new weights, or of a model that is written in another dtype than it had: a
// member a line, with numbers as they were written (transformers may refuse 30 where 30.0 stood).
// transformers chooses the class by "architectures"; it may be left to the family.
static enum dapt_status save_config(const struct dapt_model *m, const char *path) {
    const struct dapt_json *config = m->config;
    enum dapt_save_dtype dtype = m->origin ? m->origin->dtype : DAPT_SAVE_MODEL;
    bool named = dapt_json_kind(dapt_json_member(config, "architectures")) == DAPT_JSON_ARRAY,
         newer = dapt_json_member(config, "dtype") != NULL;
    struct dapt_string text = {0};
    enum dapt_status status = DAPT_OK;
    for (size_t i = 0; !status && i < dapt_json_count(config); i++) {
        const struct dapt_json *member = dapt_json_at(config, i);
        const char *name = dapt_json_name(member);
        bool retyped = dtype != DAPT_SAVE_MODEL &&
                       (strcmp(name, "dtype") == 0 || strcmp(name, "torch_dtype") == 0);
        if (retyped || (!named && strcmp(name, "architectures") == 0)) continue;
        status = dapt_string_add(&text, text.length ? ",\n  " : "{\n  ", 4);
        if (!status) status = dapt_json_write_string(&text, name);
        if (!status) status = dapt_string_add(&text, ": ", 2);
        if (!status) status = dapt_json_write(member, &text);
    }
    if (!status && !named)
        status = dapt_string_format(&text, ",\n  \"architectures\": [\"%s\"]",
                                    m->family->architecture);
    if (!status && dtype != DAPT_SAVE_MODEL)
        status = dapt_string_format(&text, ",\n  \"%s\": \"%s\"", newer ? "dtype" : "torch_dtype",
                                    save_dtypes[dtype].name);
    if (!status) status = dapt_string_add(&text, "\n}\n", 3);
    if (!status) status = dapt_file_write(path, text.data, text.length);
    dapt_string_free(&text);
    return status;
}

enum dapt_status dapt_model_save(const struct dapt_model *model, const char *folder,
                                 dapt_weights_get get, void *context) {
    struct dapt_arena arena = {0};
    const struct dapt_model_origin *o = model->origin;
    if (model->folder && !o)
        return dapt_fail(DAPT_ERROR_INTERNAL, "model %s: was not kept for saving", model->folder);
    enum dapt_status status = save_weights(model, folder, get, context);
    for (size_t i = 0; !status && i < FILES; i++) {
        bool adapters = i == 0 && model->adapters;
        char *path = dapt_path_join(&arena, folder, adapters ? DAPT_ADAPTER_CONFIG : file_names[i]);
        if (!path)
            status = DAPT_ERROR_MEMORY;
        else if (adapters)
            status = dapt_adapters_write_config(model, path);
        else if (i == 0 && (!model->folder || o->dtype != DAPT_SAVE_MODEL))
            status = save_config(model, path);
        else if (o && o->files[i].data)
            status = dapt_file_write(path, o->files[i].data, o->files[i].length);
    }
    dapt_arena_free(&arena);
    return status;
}
