// A GGUF file of a Hugging Face folder: the keys of its architecture, its tokenizer, and a tensor
// for each parameter. What llama.cpp would compute otherwise is refused by name.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/threads.h"
#include "format/gguf.h"
#include "model/exchange.h"
#include "model/exchange_table.h"
#include "model/slots.h"

#define EXTRA 2  // tensors that stand for keys of config.json

struct extra {
    const char *name;
    float *values;
    uint64_t count;
};

struct export {
    const struct dapt_model *model;
    const struct dapt_exchange_family *row;
    const struct dapt_block_type *type;  // of matrices
    struct dapt_arena arena;
    struct dapt_gguf_metadata keys;
    const struct dapt_file_tensor **sources;  // [parameters of the model]
    struct dapt_gguf_entry *entries;          // [parameters + EXTRA]
    struct dapt_exchange_move *moves;         // [the same]; tensor NULL: of an extra
    size_t count;
    struct extra extras[EXTRA];
    size_t extra_count;
};

// -------------------------------------------------------------------------------------------- keys

// The key of this architecture; NULL without memory, which the metadata keeps.
static const char *key_of(struct export *ex, const char *name) {
    const char *key = dapt_arena_format(&ex->arena, "%s.%s", ex->row->architecture, name);
    if (!key) ex->keys.status = DAPT_ERROR_MEMORY;
    return key ? key : "";
}

static void put_u32(struct export *ex, const char *name, uint64_t value) {
    dapt_gguf_put_u32(&ex->keys, key_of(ex, name), (uint32_t)value);
}

static void put_f32(struct export *ex, const char *name, double value) {
    dapt_gguf_put_f32(&ex->keys, key_of(ex, name), (float)value);
}

static void put_sizes(struct export *ex) {
    const struct dapt_model *m = ex->model;
    put_u32(ex, "vocab_size", m->vocab);
    put_u32(ex, "block_count", m->layers);
    put_u32(ex, "context_length", m->max_positions);
    put_u32(ex, "embedding_length", m->hidden);
    put_u32(ex, "feed_forward_length", m->feed_forward);
    put_u32(ex, "attention.head_count", m->heads);
    put_u32(ex, "attention.head_count_kv", m->kv_heads);
    put_u32(ex, "attention.key_length", m->head_size);
    put_u32(ex, "attention.value_length", m->head_size);
    put_f32(
        ex,
        m->family->layer_norm ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon",
        (double)m->norm_eps);
    if (m->ropes[0].size) put_u32(ex, "rope.dimension_count", m->ropes[0].size);
    if (m->family->keys.parallel)
        dapt_gguf_put_bool(&ex->keys, key_of(ex, "use_parallel_residual"), m->parallel);
}

static enum dapt_status put_reals(struct export *ex) {
    enum dapt_status status = DAPT_OK;
    for (const struct dapt_exchange_key *key = dapt_exchange_keys; key->gguf && !status; key++) {
        const char *name = dapt_exchange_name(key, ex->model->family);
        double value = key->fallback;
        if (key->kind != DAPT_EXCHANGE_REAL || !name) continue;
        status = dapt_json_get_number(ex->model->config, name, &value);
        if (!status && value != 0) put_f32(ex, key->gguf, value);
    }
    return status;
}

// The factor of q.k that llama.cpp takes is the root of this.
static enum dapt_status check_scale(const struct export *ex) {
    const struct dapt_model *m = ex->model;
    const char *key = m->family->keys.query_scale;
    double expected = m->layers == ex->row->odd_layers ? m->hidden / m->heads : m->head_size,
           given = m->family->query_scale;
    if (!key) return DAPT_OK;
    enum dapt_status status = dapt_json_get_number(m->config, key, &given);
    if (!status && given != expected)
        status = dapt_json_fail(m->config, "%s %g: llama.cpp takes %g for such a model", key, given,
                                expected);
    return status;
}

static enum dapt_status put_windows(struct export *ex) {
    const struct dapt_model *m = ex->model;
    uint32_t pattern = m->family->window_interval;
    bool phi = strcmp(ex->row->type, "phi3") == 0;
    int32_t size = 0;
    for (uint32_t l = 0; l < m->layers; l++)
        if (m->windows[l] && (uint32_t)m->windows[l] < m->max_positions) size = m->windows[l];
    if (size && !pattern && !phi)
        return dapt_json_fail(dapt_json_member(m->config, m->family->keys.window),
                              "llama.cpp computes %s models without windows of attention",
                              ex->row->architecture);
    for (uint32_t l = 0; l < m->layers && pattern; l++)
        if ((m->windows[l] != 0) != ((l + 1) % pattern != 0))
            return dapt_json_fail(m->config,
                                  "layer %u: llama.cpp has windows in all but each %u-th layer", l,
                                  pattern);
    if (size) put_u32(ex, "attention.sliding_window", (uint64_t)size);
    for (uint32_t l = 0; l < m->layers && m->unrotated; l++)
        if (m->unrotated[l] != ((l + 1) % 4 == 0))
            return dapt_json_fail(m->config, "layer %u: llama.cpp turns all but each fourth layer",
                                  l);
    return DAPT_OK;
}

static enum dapt_status check_activation(const struct export *ex) {
    const struct dapt_model *m = ex->model;
    bool silu = strcmp(m->family->activation, "silu") == 0;
    if (m->activation != DAPT_ACT_RELU && (m->activation == DAPT_ACT_SILU) == silu) return DAPT_OK;
    return dapt_json_fail(dapt_json_member(m->config, m->family->keys.activation),
                          "llama.cpp computes %s models with %s", ex->row->architecture,
                          m->family->activation);
}

// --------------------------------------------------------------------------------------- positions

// The object with rotary settings, as rope.c finds it; of layers without a window where there are
// two.
static const struct dapt_json *rope_object(const struct dapt_json *config) {
    const struct dapt_json *o = dapt_json_member(config, "rope_scaling");
    if (dapt_json_count(o) == 0) o = dapt_json_member(config, "rope_parameters");
    const struct dapt_json *full = dapt_json_member(o, "full_attention");
    return full ? full : o;
}

static enum dapt_status add_factors(struct export *ex, const char *name, uint64_t count,
                                    const struct dapt_json *list) {
    struct extra *extra = &ex->extras[ex->extra_count++];
    *extra = (struct extra){.name = name,
                            .count = count,
                            .values = dapt_arena_alloc(&ex->arena, count * sizeof(float))};
    if (!extra->values) return DAPT_ERROR_MEMORY;
    enum dapt_status status = DAPT_OK;
    if (list && dapt_json_count(list) != count)
        status = dapt_json_fail(list, "expected %" PRIu64 " numbers", count);
    for (uint64_t i = 0; list && i < count && !status; i++) {
        double value = 1;
        status = dapt_json_number(dapt_json_at(list, i), &value);
        extra->values[i] = (float)value;
    }
    return status;
}

static enum dapt_status put_llama3(struct export *ex, const struct dapt_json *from) {
    const struct dapt_rope *rope = &ex->model->ropes[0];
    double low = 1, high = 4;
    enum dapt_status status = dapt_json_get_number(from, "low_freq_factor", &low);
    if (!status) status = dapt_json_get_number(from, "high_freq_factor", &high);
    if (!status) status = add_factors(ex, "rope_freqs.weight", rope->size / 2, NULL);
    if (!status)
        dapt_exchange_llama3(rope->size, rope->theta, rope->factor, low, high, rope->original,
                             ex->extras[0].values);
    return status;
}

static enum dapt_status put_longrope(struct export *ex, const struct dapt_json *rope) {
    const struct dapt_model *m = ex->model;
    enum dapt_status status = add_factors(ex, "rope_factors_long.weight", m->ropes[0].size / 2,
                                          dapt_json_member(rope, "long_factor"));
    if (!status)
        status = add_factors(ex, "rope_factors_short.weight", m->ropes[0].size / 2,
                             dapt_json_member(rope, "short_factor"));
    put_u32(ex, "rope.scaling.original_context_length", m->ropes[0].limit);
    put_f32(ex, "rope.scaling.attn_factor", (double)m->ropes[0].scale);
    return status;
}

static enum dapt_status put_rope(struct export *ex) {
    static const char original[] = "original_max_position_embeddings";
    const struct dapt_rope *rope = &ex->model->ropes[0];
    const struct dapt_json *config = ex->model->config, *from = rope_object(config);
    const char *type = "default";
    if (!rope->size) return DAPT_OK;
    enum dapt_status status = dapt_json_get_string(from, "type", &type);
    if (!status) status = dapt_json_get_string(from, "rope_type", &type);
    if (status) return status;
    put_f32(ex, "rope.freq_base", rope->theta);
    if (strcmp(type, "default") == 0) return DAPT_OK;
    if (strcmp(type, "llama3") == 0) return put_llama3(ex, from);
    if (strcmp(type, "longrope") == 0) return put_longrope(ex, from);
    if (strcmp(type, "linear") != 0 && strcmp(type, "yarn") != 0)
        return dapt_json_fail(from, "rope type \"%.32s\" has no counterpart in GGUF", type);
    dapt_gguf_put_string(&ex->keys, key_of(ex, "rope.scaling.type"), type);
    put_f32(ex, "rope.scaling.factor", rope->factor);
    if (dapt_json_member(from, original) || dapt_json_member(config, original))
        put_u32(ex, "rope.scaling.original_context_length", (uint64_t)rope->original);
    return DAPT_OK;
}

static enum dapt_status put_keys(struct export *ex) {
    static const struct {
        const char *name;
        uint32_t number;
    } kinds[] = {{"F32", 0}, {"F16", 1}, {"Q8_0", 7}, {"BF16", 32}};
    const char *folder = ex->model->folder;
    size_t end = strlen(folder), begin;
    while (end > 1 && folder[end - 1] == '/') end--;
    for (begin = end; begin > 0 && folder[begin - 1] != '/';) begin--;
    char *title = dapt_arena_copy(&ex->arena, folder + begin, end - begin);
    if (!title) return DAPT_ERROR_MEMORY;
    dapt_gguf_put_string(&ex->keys, "general.architecture", ex->row->architecture);
    dapt_gguf_put_string(&ex->keys, "general.type", "model");
    dapt_gguf_put_string(&ex->keys, "general.name", title);
    dapt_gguf_put_u32(&ex->keys, "general.quantization_version", 2);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(kinds[i].name, ex->type->name) == 0)
            dapt_gguf_put_u32(&ex->keys, "general.file_type", kinds[i].number);
    put_sizes(ex);
    enum dapt_status status = check_activation(ex);
    if (!status) status = check_scale(ex);
    if (!status) status = put_reals(ex);
    if (!status) status = put_windows(ex);
    if (!status) status = put_rope(ex);
    if (!status) status = dapt_exchange_tokenizer_out(ex->model, folder, &ex->keys);
    return status ? status : ex->keys.status;
}

// ----------------------------------------------------------------------------------------- weights

static enum dapt_status read_source(const void *tensor, uint64_t begin, uint64_t count,
                                    float *out) {
    return dapt_file_tensor_floats(tensor, begin, count, out);
}

// The type of a tensor: vectors and positions are float32; rows that are no whole blocks, float16.
static const struct dapt_block_type *choose_type(const struct export *ex, enum dapt_slot slot,
                                                 const struct dapt_parameter *p,
                                                 const struct dapt_exchange_order *order) {
    if (p->rank == 1 || slot == DAPT_SLOT_POSITION) return dapt_block_type_named("F32");
    return order->cols % ex->type->length ? dapt_block_type_named("F16") : ex->type;
}

static enum dapt_status add_tensor(struct export *ex, enum dapt_slot slot, uint32_t layer,
                                   size_t index) {
    const struct dapt_parameter *p = &ex->model->parameters[index];
    char name[DAPT_EXCHANGE_NAME];
    dapt_exchange_tensor(slot, layer, name);
    struct dapt_exchange_order order = dapt_exchange_order_of(ex->model, ex->row, slot, p);
    struct dapt_gguf_entry *e = &ex->entries[ex->count];
    *e = (struct dapt_gguf_entry){.name = dapt_arena_copy(&ex->arena, name, strlen(name)),
                                  .type = choose_type(ex, slot, p, &order),
                                  .rank = p->rank,
                                  .shape = {p->rank == 2 ? order.rows : p->count, order.cols}};
    ex->moves[ex->count++] = (struct dapt_exchange_move){
        .order = order, .out = true, .tensor = ex->sources[index], .read = read_source};
    return e->name ? DAPT_OK : DAPT_ERROR_MEMORY;
}

static enum dapt_status list_tensors(struct export *ex) {
    const struct dapt_model *m = ex->model;
    enum dapt_status status = DAPT_OK;
    for (size_t i = 0; i < ex->extra_count; i++)
        ex->entries[ex->count++] = (struct dapt_gguf_entry){.name = ex->extras[i].name,
                                                            .type = dapt_block_type_named("F32"),
                                                            .rank = 1,
                                                            .shape = {ex->extras[i].count}};
    for (size_t i = 0; i < dapt_slots_count(m) && !status; i++)
        if (m->slots[i] != DAPT_NONE)
            status = add_tensor(ex, (enum dapt_slot)(i % DAPT_SLOT_COUNT),
                                (uint32_t)(i / DAPT_SLOT_COUNT) - (i >= DAPT_SLOT_COUNT),
                                m->slots[i]);
    return status;
}

static enum dapt_status produce(void *context, size_t index, uint64_t begin, uint64_t count,
                                float *values) {
    struct export *ex = context;
    const struct dapt_gguf_entry *e = &ex->entries[index];
    if (index < ex->extra_count) {
        memcpy(values, ex->extras[index].values + begin, (size_t)count * sizeof *values);
        return DAPT_OK;
    }
    enum dapt_status status = dapt_exchange_take(&ex->moves[index], begin, count, values);
    if (!status) status = dapt_check_finite(e->name, begin, values, count);
    if (!status && strcmp(e->type->name, "F16") == 0)
        status = dapt_check_half(e->name, begin, values, count, "ask for --type BF16 or F32");
    if (!status && dapt_cancelled())
        status = dapt_fail(DAPT_ERROR_CANCELLED, "stopped while exporting");
    return status;
}

// The type of the first matrix of the folder, where none was asked for.
static enum dapt_status choose(struct export *ex, const struct dapt_safetensors *weights,
                               const char *type) {
    for (size_t i = 0; i < dapt_safetensors_count(weights) && !type; i++) {
        const struct dapt_file_tensor *t = dapt_safetensors_at(weights, i);
        if (t->rank == 2) type = dapt_file_dtype_name(t->dtype);
    }
    ex->type = dapt_block_type_named(type ? type : "F32");
    if (ex->type && ex->type->encode) return DAPT_OK;
    return dapt_fail(DAPT_ERROR_INVALID,
                     "type \"%.32s\" is not written; F32, F16, BF16 and Q8_0 are", type);
}

static enum dapt_status write_file(struct export *ex, const char *file, const char *type) {
    const struct dapt_model *m = ex->model;
    struct dapt_safetensors *weights = NULL;
    size_t most = m->parameter_count + EXTRA;
    enum dapt_status status = dapt_model_load(m, m->folder, NULL, NULL);
    if (!status) status = dapt_safetensors_open(m->folder, &weights);
    ex->sources = dapt_arena_alloc(&ex->arena, most * sizeof *ex->sources);
    ex->entries = dapt_arena_alloc(&ex->arena, most * sizeof *ex->entries);
    ex->moves = dapt_arena_alloc(&ex->arena, most * sizeof *ex->moves);
    if (!status && (!ex->sources || !ex->entries || !ex->moves)) status = DAPT_ERROR_MEMORY;
    for (size_t i = 0; !status && i < dapt_safetensors_count(weights); i++) {
        const struct dapt_file_tensor *t = dapt_safetensors_at(weights, i);
        const struct dapt_parameter *p = dapt_model_find(m, t->name);
        if (p) ex->sources[p - m->parameters] = t;
    }
    if (!status) status = choose(ex, weights, type);
    if (!status) status = put_keys(ex);
    if (!status) status = list_tensors(ex);
    if (!status) status = dapt_gguf_write(file, &ex->keys, ex->entries, ex->count, produce, ex);
    for (size_t i = 0; i < ex->count; i++) free(ex->moves[i].whole);
    dapt_safetensors_close(&weights);
    return status;
}

enum dapt_status dapt_model_export(const char *folder, const char *file, const char *type,
                                   bool replace, struct dapt_exchange_summary *summary) {
    struct export ex = {0};
    struct dapt_model *model = NULL;
    enum dapt_status status = DAPT_OK;
    if (!replace && access(file, F_OK) == 0)
        status = dapt_fail(DAPT_ERROR_INVALID, "%s is there already: --force replaces it", file);
    if (!status) status = dapt_model_open(folder, &model);
    if (!status && model->adapters)
        status = dapt_fail(
            DAPT_ERROR_UNSUPPORTED,
            "%s: holds adapters; `dapt merge %s FOLDER` makes a model of them, which "
            "`dapt export` takes",
            folder, folder);
    ex.model = model;
    if (!status && !(ex.row = dapt_exchange_of_type(model->family->type)))
        status = dapt_fail(DAPT_ERROR_UNSUPPORTED,
                           "%s: models of model_type \"%s\" are not written as GGUF", folder,
                           model->family->type);
    if (!status) status = write_file(&ex, file, type);
    if (!status) {
        summary->parameters = model->weight_count;
        snprintf(summary->type, sizeof summary->type, "%s", model->family->type);
        snprintf(summary->dtype, sizeof summary->dtype, "%s", ex.type->name);
    }
    dapt_gguf_metadata_free(&ex.keys);
    dapt_arena_free(&ex.arena);
    dapt_model_close(&model);
    return status;
}
