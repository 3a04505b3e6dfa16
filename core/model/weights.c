// Weights between Hugging Face folders and the flat buffer. What a file calls a tensor is kept: a
// checkpoint is written with the names, the order, the types and the sharding of the folder that
// the model came from.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "base/threads.h"
#include "model/families.h"
#include "model/model.h"

#define PIECE ((uint64_t)1 << 20)  // elements converted at a time

static bool ends_with(const char *name, const char *ending) {
    size_t n = strlen(name), e = strlen(ending);
    return n >= e && strcmp(name + n - e, ending) == 0;
}

static bool is_buffer(const struct dapt_family *family, const char *name) {
    for (size_t i = 0; family->buffers && family->buffers[i]; i++)
        if (ends_with(name, family->buffers[i])) return true;
    return false;
}

// The parameter that a file's tensor belongs to, or NULL. Files may leave the prefix out (GPT-2's
// do); a tied output projection may be stored under its own name, beside the embedding or instead
// of it.
static const struct dapt_parameter *find_parameter(const struct dapt_model *m, const char *name) {
    const char *prefix = m->family->prefix, *head = m->family->names[DAPT_SLOT_HEAD];
    if (m->tied && strcmp(name, head) == 0) return &m->parameters[m->slots[DAPT_SLOT_EMBED]];
    for (size_t i = 0; i < m->parameter_count; i++) {
        const char *full = m->parameters[i].name;
        if (strcmp(full, name) == 0) return &m->parameters[i];
        if (strncmp(full, prefix, strlen(prefix)) == 0 && strcmp(full + strlen(prefix), name) == 0)
            return &m->parameters[i];
    }
    return NULL;
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

static enum dapt_status load_tensor(const struct dapt_parameter *p,
                                    const struct dapt_file_tensor *t, float *piece,
                                    dapt_weights_put put, void *context) {
    enum dapt_status status = check_shape(p, t);
    for (uint64_t at = 0; put && at < p->count && !status; at += PIECE) {
        uint64_t n = p->count - at < PIECE ? p->count - at : PIECE;
        status = dapt_file_tensor_floats(t, at, n, piece);
        for (uint64_t i = 0; i < n && !status; i++)
            if (!isfinite(piece[i]))
                status = dapt_fail(DAPT_ERROR_INVALID,
                                   "%s: tensor %s: element %llu is not a finite number", t->file,
                                   t->name, (unsigned long long)(at + i));
        if (!status) status = put(context, p->offset + at, piece, n);
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

static enum dapt_status fail_stranger(const struct dapt_model *m,
                                      const struct dapt_file_tensor *t) {
    return dapt_fail(DAPT_ERROR_INVALID,
                     "%s: tensor %s belongs to no part of a %s model with this config.json",
                     t->file, t->name, m->family->type);
}

static enum dapt_status fail_missing(const struct dapt_model *m, const char *folder, size_t i) {
    return dapt_fail(DAPT_ERROR_INVALID,
                     "%s: tensor %s is missing: a %s model with this config.json needs it", folder,
                     m->parameters[i].name, m->family->type);
}

enum dapt_status dapt_model_load(const struct dapt_model *model, const char *folder,
                                 dapt_weights_put put, void *context) {
    struct dapt_safetensors *file = NULL;
    const struct dapt_file_tensor **source = dapt_alloc(model->parameter_count, sizeof *source);
    float *piece = dapt_alloc_aligned(PIECE, sizeof *piece);
    enum dapt_status status = source && piece ? dapt_safetensors_open(folder, &file)
                                              : DAPT_ERROR_MEMORY;
    for (size_t i = 0; !status && i < dapt_safetensors_count(file); i++) {
        const struct dapt_file_tensor *t = dapt_safetensors_at(file, i);
        const struct dapt_parameter *p = find_parameter(model, t->name);
        if (!p && is_buffer(model->family, t->name)) continue;
        if (!p) {
            status = fail_stranger(model, t);
            break;
        }
        const struct dapt_file_tensor *twin = source[p - model->parameters];
        if (twin && !model->tied)
            status = dapt_fail(DAPT_ERROR_INVALID, "%s: %s and %s are the same parameter", t->file,
                               twin->name, t->name);
        else if (twin && put && !(status = check_shape(p, t)))
            status = check_tied(twin, t, piece);
        else if (!status)
            status = load_tensor(p, t, piece, put, context);
        source[p - model->parameters] = t;
    }
    for (size_t i = 0; !status && i < model->parameter_count; i++)
        if (!source[i]) status = fail_missing(model, folder, i);
    dapt_safetensors_close(&file);
    free(source);
    free(piece);
    return status;
}

enum dapt_status dapt_model_init(const struct dapt_model *model, uint64_t seed,
                                 dapt_weights_put put, void *context) {
    enum dapt_status status = DAPT_OK;
    float *piece = dapt_alloc_aligned(PIECE, sizeof *piece);
    if (!piece) return DAPT_ERROR_MEMORY;
    for (size_t i = 0; i < model->parameter_count && !status; i++) {
        const struct dapt_parameter *p = &model->parameters[i];
        for (uint64_t at = 0; at < p->count && !status; at += PIECE) {
            uint64_t n = p->count - at < PIECE ? p->count - at : PIECE;
            for (uint64_t k = 0; k < n; k++)
                piece[k] = p->init_scale > 0
                               ? (float)(p->init_scale * dapt_random_normal(seed, i, at + k))
                               : p->init_fill;
            status = put(context, p->offset + at, piece, n);
        }
    }
    free(piece);
    return status;
}

// ------------------------------------------------------------------------------------------ saving

struct saving {
    const struct dapt_file_entry *entries;
    const struct dapt_parameter **parameters;   // [count] NULL: a buffer, copied from the source
    const struct dapt_file_tensor **originals;  // [count]
    float *piece;
    dapt_weights_get get;
    void *context;
};

static enum dapt_status produce(void *context, size_t index, uint64_t begin, uint64_t size,
                                void *bytes) {
    struct saving *s = context;
    enum dapt_file_dtype dtype = s->entries[index].dtype;
    if (!s->parameters[index]) {
        memcpy(bytes, (const uint8_t *)s->originals[index]->data + begin, size);
        return DAPT_OK;
    }
    uint64_t width = dapt_file_dtype_size(dtype), first = begin / width, count = size / width;
    for (uint64_t at = 0; at < count; at += PIECE) {
        uint64_t n = count - at < PIECE ? count - at : PIECE;
        enum dapt_status status = s->get(s->context, s->parameters[index]->offset + first + at,
                                         s->piece, n);
        if (!status)
            status = dapt_floats_to_file(s->piece, n, dtype, (uint8_t *)bytes + at * width);
        if (status) return status;
    }
    return DAPT_OK;
}

static bool writable(enum dapt_file_dtype dtype) {
    return dtype == DAPT_FILE_F32 || dtype == DAPT_FILE_F16 || dtype == DAPT_FILE_BF16;
}

// As in the folder that the model came from, which someone may have changed since it was loaded:
// what is written must still be the whole model and nothing else.
static enum dapt_status entries_of_file(const struct dapt_model *m,
                                        const struct dapt_safetensors *file,
                                        struct dapt_file_entry *entries, struct saving *s) {
    bool *there = dapt_alloc(m->parameter_count, sizeof *there);
    enum dapt_status status = there ? DAPT_OK : DAPT_ERROR_MEMORY;
    for (size_t i = 0; !status && i < dapt_safetensors_count(file); i++) {
        const struct dapt_file_tensor *t = dapt_safetensors_at(file, i);
        const struct dapt_parameter *p = find_parameter(m, t->name);
        s->originals[i] = t;
        s->parameters[i] = p;
        entries[i] = (struct dapt_file_entry){
            .name = t->name,
            .dtype = t->dtype,
            .rank = t->rank,
            .new_file = i > 0 && t->file != dapt_safetensors_at(file, i - 1)->file};
        if (p && !writable(t->dtype)) entries[i].dtype = DAPT_FILE_F32;
        memcpy(entries[i].shape, t->shape, sizeof entries[i].shape);
        if (p) {
            status = check_shape(p, t);
            there[p - m->parameters] = true;
        } else if (!is_buffer(m->family, t->name)) {
            status = fail_stranger(m, t);
        }
    }
    for (size_t i = 0; !status && i < m->parameter_count; i++)
        if (!there[i]) status = fail_missing(m, m->folder, i);
    free(there);
    return status;
}

static enum dapt_status entries_of_family(const struct dapt_model *m,
                                          struct dapt_file_entry *entries, struct saving *s) {
    const char *name = "float32";
    enum dapt_status status = dapt_json_get_string(m->config, "torch_dtype", &name);
    if (!status) status = dapt_json_get_string(m->config, "dtype", &name);
    if (status) return status;
    enum dapt_file_dtype dtype = strcmp(name, "bfloat16") == 0  ? DAPT_FILE_BF16
                                 : strcmp(name, "float16") == 0 ? DAPT_FILE_F16
                                                                : DAPT_FILE_F32;
    for (size_t i = 0; i < m->parameter_count; i++) {
        const struct dapt_parameter *p = &m->parameters[i];
        s->parameters[i] = p;
        entries[i] = (struct dapt_file_entry){
            .name = p->name, .dtype = dtype, .rank = p->rank, .shape = {p->shape[0], p->shape[1]}};
    }
    return DAPT_OK;
}

static enum dapt_status copy_beside(const char *from, const char *to) {
    static const char *const names[] = {"tokenizer.json",
                                        "tokenizer_config.json",
                                        "special_tokens_map.json",
                                        "added_tokens.json",
                                        "vocab.json",
                                        "merges.txt",
                                        "vocab.txt",
                                        "tokenizer.model",
                                        "chat_template.jinja",
                                        "chat_template.json",
                                        "generation_config.json"};
    struct dapt_arena scratch = {0};
    enum dapt_status status = DAPT_OK;
    for (size_t i = 0; i < sizeof names / sizeof *names && !status; i++) {
        char *source = dapt_path_join(&scratch, from, names[i]),
             *target = dapt_path_join(&scratch, to, names[i]);
        if (!source || !target)
            status = DAPT_ERROR_MEMORY;
        else if (dapt_is_file(source))
            status = dapt_copy_file(source, target);
    }
    dapt_arena_free(&scratch);
    return status;
}

static enum dapt_status save_config(const struct dapt_model *m, const char *folder) {
    struct dapt_arena scratch = {0};
    struct dapt_string text = {0};
    char *target = dapt_path_join(&scratch, folder, "config.json"),
         *source = m->folder ? dapt_path_join(&scratch, m->folder, "config.json") : NULL;
    enum dapt_status status = target && (source || !m->folder) ? DAPT_OK : DAPT_ERROR_MEMORY;
    if (!status && source) {
        status = dapt_copy_file(source, target);
    } else if (!status) {
        // transformers chooses the class by "architectures"; new models may leave it to the family.
        bool named = dapt_json_kind(dapt_json_member(m->config, "architectures")) ==
                     DAPT_JSON_ARRAY;
        struct dapt_string body = {0};
        status = dapt_json_write(m->config, &body);
        if (!status && named)
            status = dapt_string_add(&text, body.data, body.length);
        else if (!status)
            status = dapt_string_format(&text, "{\"architectures\":[\"%s\"],%s",
                                        m->family->architecture, body.data + 1);
        dapt_string_free(&body);
        if (!status) status = dapt_file_write(target, text.data, text.length);
    }
    dapt_string_free(&text);
    dapt_arena_free(&scratch);
    return status;
}

enum dapt_status dapt_model_save(const struct dapt_model *model, const char *folder,
                                 const char *tokenizer_folder, dapt_weights_get get,
                                 void *context) {
    struct dapt_safetensors *file = NULL;
    enum dapt_status status = model->folder ? dapt_safetensors_open(model->folder, &file) : DAPT_OK;
    if (status) return dapt_fail_in(status, "writing %s like the model it came from", folder);
    size_t count = file ? dapt_safetensors_count(file) : model->parameter_count;
    struct dapt_file_entry *entries = dapt_alloc(count, sizeof *entries);
    struct saving s = {.entries = entries, .get = get, .context = context};
    s.parameters = dapt_alloc(count, sizeof *s.parameters);
    s.originals = dapt_alloc(count, sizeof *s.originals);
    s.piece = dapt_alloc_aligned(PIECE, sizeof *s.piece);
    if (!entries || !s.parameters || !s.originals || !s.piece) status = DAPT_ERROR_MEMORY;
    if (!status)
        status = file ? entries_of_file(model, file, entries, &s)
                      : entries_of_family(model, entries, &s);
    static const char *const metadata[] = {"format", "pt", NULL};
    if (!status)
        status = dapt_safetensors_write(folder, "model", entries, count, metadata, 0, produce, &s);
    if (!status) status = save_config(model, folder);
    if (!status && (tokenizer_folder || model->folder))
        status = copy_beside(tokenizer_folder ? tokenizer_folder : model->folder, folder);
    dapt_safetensors_close(&file);
    free(entries);
    free(s.parameters);
    free(s.originals);
    free(s.piece);
    return status;
}
