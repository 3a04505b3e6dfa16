// A Hugging Face folder of a GGUF file: the keys become a config.json, which the model's parameters
// are found by; then each is filled from the tensor of its slot.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/threads.h"
#include "format/gguf.h"
#include "model/exchange.h"
#include "model/exchange_table.h"

#define PIECE ((uint64_t)1 << 18)  // elements at a time

struct import {
    const struct dapt_gguf *file;
    const char *path;
    const struct dapt_exchange_family *row;
    bool *used;                                // [tensors of the file]
    enum dapt_file_dtype dtype, vector_dtype;  // as they are written
};

static const char *dtype_name(enum dapt_file_dtype dtype) {
    return dtype == DAPT_FILE_F32 ? "float32" : dtype == DAPT_FILE_F16 ? "float16" : "bfloat16";
}

// What stands outside of the architecture's own keys.
static enum dapt_status begin(struct import *im) {
    const char *architecture = NULL, *type = "model";
    int64_t splits = 0;
    enum dapt_status status = dapt_gguf_get_string(im->file, "general.architecture", &architecture);
    if (!status) status = dapt_gguf_get_string(im->file, "general.type", &type);
    if (!status) status = dapt_gguf_get_integer(im->file, "split.count", 0, 65535, &splits);
    if (!status && !architecture)
        status = dapt_fail(DAPT_ERROR_INVALID, "%s: the key 'general.architecture' is missing",
                           im->path);
    if (!status && strcmp(type, "model") != 0)
        status = dapt_fail(DAPT_ERROR_UNSUPPORTED,
                           "%s: general.type is \"%.32s\", expected \"model\"", im->path, type);
    if (!status && splits > 1)
        status = dapt_fail(DAPT_ERROR_UNSUPPORTED,
                           "%s: is one of %" PRId64
                           " parts; join them first: llama-gguf-split --merge "
                           "FIRST-PART WHOLE.gguf",
                           im->path, splits);
    if (!status && !(im->row = dapt_exchange_find(im->path, architecture)))
        status = DAPT_ERROR_UNSUPPORTED;
    if (status) return status;
    im->used = dapt_alloc(dapt_gguf_tensor_count(im->file) + 1, sizeof *im->used);
    return im->used ? DAPT_OK : DAPT_ERROR_MEMORY;
}

// float16 or bfloat16 where all matrices are; what is quantised, float32 holds as it is.
static enum dapt_file_dtype choose_dtype(const struct dapt_gguf *file, enum dapt_save_dtype asked) {
    static const enum dapt_file_dtype dtypes[] = {[DAPT_SAVE_F32] = DAPT_FILE_F32,
                                                  [DAPT_SAVE_BF16] = DAPT_FILE_BF16,
                                                  [DAPT_SAVE_F16] = DAPT_FILE_F16};
    const struct dapt_block_type *type = NULL;
    if (asked != DAPT_SAVE_MODEL) return dtypes[asked];
    for (size_t i = 0; i < dapt_gguf_tensor_count(file); i++) {
        const struct dapt_gguf_tensor *t = dapt_gguf_tensor_at(file, i);
        if (t->rank < 2) continue;
        if (type && t->type != type) return DAPT_FILE_F32;
        type = t->type;
    }
    if (!type) return DAPT_FILE_F32;
    return strcmp(type->name, "BF16") == 0  ? DAPT_FILE_BF16
           : strcmp(type->name, "F16") == 0 ? DAPT_FILE_F16
                                            : DAPT_FILE_F32;
}

// ----------------------------------------------------------------------------------------- weights

struct filling {
    const struct import *im;
    const struct dapt_model *model;
    struct dapt_file_entry *entries;          // [parameters of the model]
    const struct dapt_gguf_tensor **tensors;  // [the same]
    struct dapt_exchange_move *moves;         // [the same]
    size_t last;                              // the one that is being written
    float *piece;
};

static enum dapt_status read_blocks(const void *tensor, uint64_t begin, uint64_t count,
                                    float *out) {
    const struct dapt_gguf_tensor *t = tensor;
    dapt_blocks_decode(t->type, t->data, begin, count, out);
    return DAPT_OK;
}

static enum dapt_status check_shape(const struct import *im, const struct dapt_gguf_tensor *t,
                                    const struct dapt_exchange_order *o,
                                    const struct dapt_parameter *p) {
    uint64_t rows = p->rank == 2 ? o->rows : p->count;
    if (t->rank == p->rank && t->shape[0] == rows && (p->rank == 1 || t->shape[1] == o->cols))
        return DAPT_OK;
    return dapt_fail(DAPT_ERROR_INVALID,
                     "%s: tensor '%s' has %u dimensions, the outermost of %" PRIu64
                     ": the keys ask for [%" PRIu64 "%s%.0" PRIu64 "]",
                     im->path, t->name, t->rank, t->shape[0], rows, p->rank == 2 ? ", " : "",
                     p->rank == 2 ? o->cols : 0);
}

static enum dapt_status match(struct import *im, struct filling *f, enum dapt_slot slot,
                              uint32_t layer, size_t index) {
    const struct dapt_parameter *p = &f->model->parameters[index];
    const struct dapt_gguf_tensor *t = dapt_exchange_tensor_in(im->file, slot, layer);
    char name_there[DAPT_EXCHANGE_NAME];
    dapt_exchange_tensor(slot, layer, name_there);
    if (!t)
        return dapt_fail(DAPT_ERROR_INVALID, "%s: the tensor '%s' is missing: a %s model needs it",
                         im->path, name_there, im->row->architecture);
    im->used[t - dapt_gguf_tensor_at(im->file, 0)] = true;
    f->tensors[index] = t;
    f->moves[index] = (struct dapt_exchange_move){
        .order = dapt_exchange_order_of(f->model, im->row, slot, p),
        .tensor = t,
        .read = read_blocks};
    f->entries[index] = (struct dapt_file_entry){
        .name = p->name,
        .dtype = p->rank == 1 ? im->vector_dtype : im->dtype,
        .rank = p->rank,
        .shape = {p->shape[0], p->shape[1]}};
    return check_shape(im, t, &f->moves[index].order, p);
}

// A tensor for each parameter, a parameter for each tensor.
static enum dapt_status match_all(struct import *im, struct filling *f) {
    enum dapt_status status = DAPT_OK;
    for (size_t i = 0; i < ((size_t)f->model->layers + 1) * DAPT_SLOT_COUNT && !status; i++)
        if (f->model->slots[i] != DAPT_NONE)
            status = match(im, f, (enum dapt_slot)(i % DAPT_SLOT_COUNT),
                           (uint32_t)(i / DAPT_SLOT_COUNT) - (i >= DAPT_SLOT_COUNT),
                           f->model->slots[i]);
    for (size_t i = 0; i < dapt_gguf_tensor_count(im->file) && !status; i++)
        if (!im->used[i])
            status = dapt_fail(DAPT_ERROR_UNSUPPORTED,
                               "%s: tensor '%s' belongs to no part of a %s model that is built",
                               im->path, dapt_gguf_tensor_at(im->file, i)->name,
                               im->row->architecture);
    return status;
}

static enum dapt_status produce(void *context, size_t index, uint64_t begin, uint64_t size,
                                void *bytes) {
    struct filling *f = context;
    enum dapt_file_dtype dtype = f->entries[index].dtype;
    const char *name_there = f->tensors[index]->name;
    uint64_t width = dapt_file_dtype_size(dtype), first = begin / width, count = size / width;
    if (index != f->last) {
        free(f->moves[f->last].whole);
        f->moves[f->last].whole = NULL;
        f->last = index;
    }
    for (uint64_t at = 0; at < count; at += PIECE) {
        uint64_t n = count - at < PIECE ? count - at : PIECE;
        enum dapt_status status = dapt_exchange_take(&f->moves[index], first + at, n, f->piece);
        if (!status) status = dapt_check_finite(name_there, first + at, f->piece, n);
        if (!status && dtype == DAPT_FILE_F16)
            status = dapt_check_half(name_there, first + at, f->piece, n,
                                     "ask for --dtype bfloat16 or float32");
        if (status) return dapt_fail_in(status, "%s", f->im->path);
        dapt_floats_to_file(f->piece, n, dtype, (uint8_t *)bytes + at * width);
        if (dapt_cancelled()) return dapt_fail(DAPT_ERROR_CANCELLED, "stopped while importing");
    }
    return DAPT_OK;
}

static enum dapt_status write_weights(struct import *im, const struct dapt_model *model,
                                      const char *folder) {
    static const char *const metadata[] = {"format", "pt", NULL};
    struct filling f = {.im = im, .model = model};
    size_t count = model->parameter_count;
    f.entries = dapt_alloc(count, sizeof *f.entries);
    f.tensors = dapt_alloc(count, sizeof *f.tensors);
    f.moves = dapt_alloc(count, sizeof *f.moves);
    f.piece = dapt_alloc_aligned(PIECE, sizeof *f.piece);
    bool made = f.entries && f.tensors && f.moves && f.piece;
    enum dapt_status status = made ? match_all(im, &f) : DAPT_ERROR_MEMORY;
    if (!status)
        status = dapt_safetensors_write(folder, "model", f.entries, count, metadata, 0, produce,
                                        &f);
    if (f.moves) free(f.moves[f.last].whole);
    free(f.piece);
    free(f.moves);
    free(f.tensors);
    free(f.entries);
    return status;
}

// -------------------------------------------------------------------------------------- the folder

static enum dapt_status write_text(const char *folder, const char *file, const char *text,
                                   size_t length) {
    struct dapt_arena arena = {0};
    char *path = dapt_path_join(&arena, folder, file);
    enum dapt_status status = path ? dapt_file_write(path, text, length) : DAPT_ERROR_MEMORY;
    dapt_arena_free(&arena);
    return status;
}

// What ends a text: that of config.json, and that of a turn where a chat has one of its own.
static enum dapt_status write_generation(struct import *im, const struct dapt_model *model,
                                         const char *folder) {
    char text[128];
    int64_t turn = model->eos;
    enum dapt_status status = dapt_gguf_get_integer(im->file, "tokenizer.ggml.eot_token_id", 0,
                                                    model->vocab - 1, &turn);
    if (status || model->eos < 0) return status;
    int length = snprintf(text, sizeof text, "{\n  \"eos_token_id\": [%" PRId64, model->eos);
    if (turn != model->eos)
        length += snprintf(text + length, sizeof text - (size_t)length, ", %" PRId64, turn);
    length += snprintf(text + length, sizeof text - (size_t)length, "]\n}\n");
    return write_text(folder, "generation_config.json", text, (size_t)length);
}

static enum dapt_status fill_folder(struct import *im, const char *folder,
                                    struct dapt_exchange_summary *summary) {
    struct dapt_json *json = NULL;
    struct dapt_model *model = NULL;
    struct dapt_string text = {0};
    char title[512];
    snprintf(title, sizeof title, "%s, as config.json", im->path);
    enum dapt_status status = dapt_exchange_config(im->file, im->row, dtype_name(im->dtype),
                                                   im->used, &text);
    if (!status) status = dapt_json_parse(title, text.data, text.length, &json);
    if (!status) status = dapt_model_from_json(json, &model);
    if (!status) status = write_text(folder, "config.json", text.data, text.length);
    if (!status) status = write_generation(im, model, folder);
    if (!status) status = dapt_exchange_tokenizer_in(im->file, model->vocab, folder);
    if (!status) status = write_weights(im, model, folder);
    if (!status) {
        summary->parameters = model->weight_count;
        snprintf(summary->type, sizeof summary->type, "%s", model->family->type);
        snprintf(summary->dtype, sizeof summary->dtype, "%s", dtype_name(im->dtype));
    }
    dapt_string_free(&text);
    dapt_model_close(&model);
    return status;
}

// Fills a folder beside the one that is wanted, which then takes its name.
static enum dapt_status write_folder(struct import *im, const char *folder,
                                     struct dapt_exchange_summary *summary) {
    struct dapt_arena arena = {0};
    struct dapt_paths inside = {0};
    size_t length = strlen(folder);
    while (length > 1 && folder[length - 1] == '/') length--;
    char *part = dapt_arena_format(&arena, "%.*s.part-%ld", (int)length, folder, (long)getpid());
    enum dapt_status status = part ? DAPT_OK : DAPT_ERROR_MEMORY;
    bool there = dapt_is_dir(folder);
    if (!status && there) status = dapt_list_folder(&arena, folder, &inside);
    if (!status && (inside.count || access(folder, F_OK) == 0) && !(there && !inside.count))
        status = dapt_fail(DAPT_ERROR_INVALID,
                           "%s is there already: name a new folder, or remove it first", folder);
    if (!status) status = dapt_mkdirs(part);
    if (!status) status = fill_folder(im, part, summary);
    if (!status) status = dapt_rename(part, folder);  // an empty folder gives way
    if (status) dapt_discard(status, part);
    dapt_arena_free(&arena);
    return status;
}

enum dapt_status dapt_model_import(const char *file, const char *folder, enum dapt_save_dtype dtype,
                                   struct dapt_exchange_summary *summary) {
    struct import im = {.path = file};
    struct dapt_gguf *gguf = NULL;
    enum dapt_status status = dapt_gguf_open(file, &gguf);
    im.file = gguf;
    if (!status) status = begin(&im);
    if (!status) im.dtype = choose_dtype(gguf, dtype);
    im.vector_dtype = dtype == DAPT_SAVE_MODEL ? DAPT_FILE_F32 : im.dtype;
    if (!status) status = write_folder(&im, folder, summary);
    free(im.used);
    dapt_gguf_close(&gguf);
    return status;
}
