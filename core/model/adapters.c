// Low-rank adapters of a model in memory: which matrices get them, what they come to.
#include <math.h>
#include <string.h>

#include "base/hash.h"
#include "base/threads.h"
#include "model/families.h"
#include "model/slots.h"
#include "model/weights.h"

// ---------------------------------------------------------------------------------------- targets

static bool can_adapt(const struct dapt_model *m, size_t slot) {
    return slot >= DAPT_SLOT_COUNT && m->slots[slot] != DAPT_NONE &&
           m->parameters[m->slots[slot]].rank == 2;
}

static enum dapt_status fail_target(const struct dapt_model *m, const char *pattern,
                                    const char *where, struct dapt_arena *arena) {
    struct dapt_string list = {0};
    enum dapt_status status = DAPT_OK;
    const char *file = "";
    for (size_t i = DAPT_SLOT_COUNT; i < 2 * DAPT_SLOT_COUNT && !status; i++) {
        const char *name = can_adapt(m, i) ? dapt_slot_name(arena, i) : NULL;
        if (!name) continue;
        if (!*file) file = m->parameters[m->slots[i]].name;
        status = dapt_string_format(&list, " %s", name + strlen("layers.0."));
    }
    if (!status)
        status = dapt_fail(DAPT_ERROR_INVALID,
                           "%s.targets: \"%s\" matches no matrix of the layers of this %s model; "
                           "there are layers.0-%u:%s (or names as in its files, such as %s)",
                           where, pattern, m->family->type, m->layers - 1, list.data, file);
    dapt_string_free(&list);
    return status;
}

// Marks what a pattern matches, as it stands or behind anything: "q_proj" is enough.
static enum dapt_status mark(const struct dapt_model *m, const char *pattern, const char *where,
                             bool *targets, struct dapt_arena *arena) {
    const char *behind = dapt_arena_format(arena, "*.%s", pattern);
    bool found = false;
    if (!behind) return DAPT_ERROR_MEMORY;
    for (size_t i = 0; i < dapt_slots_count(m); i++) {
        if (!can_adapt(m, i)) continue;
        if (!dapt_slot_matches(m, pattern, i, arena) && !dapt_slot_matches(m, behind, i, arena))
            continue;
        targets[i] = found = true;
    }
    return found ? DAPT_OK : fail_target(m, pattern, where, arena);
}

// ----------------------------------------------------------------------------------------- adding

void dapt_adapters_own_embeddings(struct dapt_model *m, double rate) {
    static const enum dapt_slot own[] = {DAPT_SLOT_EMBED, DAPT_SLOT_HEAD};
    m->adapters->embeddings = true;
    if (rate > 0) m->adapters->embeddings_rate = (float)rate;
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) {
        if (m->slots[own[i]] == DAPT_NONE) continue;
        struct dapt_parameter *p = &m->parameters[m->slots[own[i]]];
        p->group = DAPT_GROUP_EMBEDDINGS;
        p->trained = rate > 0;
    }
    dapt_slots_lay_out(m);
}

static enum dapt_dtype base_dtype(const struct dapt_lora *lora) {
    static const enum dapt_dtype dtypes[] = {[DAPT_BASE_F32] = DAPT_F32,
                                             [DAPT_BASE_BF16] = DAPT_BF16,
                                             [DAPT_BASE_INT8] = DAPT_INT8,
                                             [DAPT_BASE_NF4] = DAPT_NF4};
    return dtypes[lora->base];
}

enum dapt_status dapt_adapters_add(struct dapt_model *m, const struct dapt_lora *lora,
                                   const bool *targets) {
    struct dapt_adapters *adapters = m->adapters = dapt_arena_alloc(&m->arena, sizeof *adapters);
    if (!adapters) return DAPT_ERROR_MEMORY;
    double rank = lora->rank;
    *adapters = (struct dapt_adapters){
        .rank = lora->rank,
        .rslora = lora->rslora,
        .alpha = (float)lora->alpha,
        .dropout = lora->dropout,
        .factor = (float)(lora->alpha / (lora->rslora ? sqrt(rank) : rank)),
        .embeddings_rate = 1,
        .base = base_dtype(lora)};
    for (size_t i = 0; i < m->parameter_count; i++) m->parameters[i].trained = false;
    enum dapt_status status = dapt_slots_adapt(m, targets);
    if (!status && lora->embeddings > 0) dapt_adapters_own_embeddings(m, lora->embeddings);
    return status;
}

enum dapt_status dapt_model_adapt(struct dapt_model *model, const struct dapt_lora *lora,
                                  const char *where) {
    struct dapt_arena arena = {0};
    bool *targets = dapt_arena_alloc(&arena, dapt_slots_count(model) * sizeof *targets);
    enum dapt_status status = targets ? DAPT_OK : DAPT_ERROR_MEMORY;
    for (size_t i = 0; !status && i < dapt_slots_count(model); i++)
        targets[i] = !lora->targets && can_adapt(model, i);
    for (size_t i = 0; !status && lora->targets && lora->targets[i]; i++)
        status = mark(model, lora->targets[i], where, targets, &arena);
    if (!status) status = dapt_adapters_add(model, lora, targets);
    dapt_arena_free(&arena);
    return status;
}

enum dapt_status dapt_model_adapt_on(struct dapt_model *model, const struct dapt_lora *lora,
                                     const char *where) {
    const struct dapt_adapters *adapters = model->adapters;
    if (lora->rank != adapters->rank || (float)lora->alpha != adapters->alpha ||
        lora->rslora != adapters->rslora || lora->targets)
        return dapt_fail(DAPT_ERROR_INVALID,
                         "%s: the adapters of %s have rank %u, alpha %g, %s, and their own "
                         "targets: say the same, without targets, or leave it out",
                         where, adapters->folder, adapters->rank, (double)adapters->alpha,
                         adapters->rslora ? "rslora" : "no rslora");
    model->adapters->dropout = lora->dropout;
    model->adapters->base = base_dtype(lora);
    dapt_slots_lay_out(model);
    if (lora->embeddings > 0) dapt_adapters_own_embeddings(model, lora->embeddings);
    return DAPT_OK;
}

// ---------------------------------------------------------------------------------------- merging

// W + factor B A; W [out, in], or [in, out] where the family's matrices are so.
static void merge_one(const struct dapt_model *m, size_t slot, float *flat) {
    const struct dapt_parameter *w = &m->parameters[m->slots[slot]],
                                *pa = &m->parameters[m->adapters->a[slot]],
                                *pb = &m->parameters[m->adapters->b[slot]];
    uint64_t rank = pa->shape[0], in = pa->shape[1], out = pb->shape[0];
    float *to = flat + w->offset;
    const float *a = flat + pa->offset, *b = flat + pb->offset;
    bool swap = m->family->input_major;
    for (uint64_t o = 0; o < out; o++)
        for (uint64_t k = 0; k < rank; k++) {
            float factor = m->adapters->factor * b[o * rank + k];
            const float *row = a + k * in;
            for (uint64_t i = 0; i < in && !swap; i++) to[o * in + i] += factor * row[i];
            for (uint64_t i = 0; i < in && swap; i++) to[i * out + o] += factor * row[i];
        }
}

enum dapt_status dapt_model_merge(struct dapt_model *m, float *flat) {
    for (size_t i = 0; i < dapt_slots_count(m); i++) {
        if (m->adapters->a[i] == DAPT_NONE) continue;
        if (dapt_cancelled()) return dapt_fail(DAPT_ERROR_CANCELLED, "stopped while merging");
        merge_one(m, i, flat);
    }
    m->parameter_count = m->adapters->first;
    m->adapters = NULL;
    m->weight_count = 0;
    for (size_t i = 0; i < m->parameter_count; i++) m->weight_count += m->parameters[i].count;
    return DAPT_OK;
}

// ----------------------------------------------------------------------------------------- reports

uint64_t dapt_model_written(const struct dapt_model *m) {
    uint64_t count = 0;
    for (size_t i = 0; i < m->parameter_count; i++)
        if (dapt_weights_written(m, &m->parameters[i])) count += m->parameters[i].count;
    return count;
}

static void hash_tensor(struct dapt_hasher *hasher, const struct dapt_file_tensor *t) {
    const uint64_t kind[] = {t->dtype, t->rank};
    dapt_hasher_add_string(hasher, t->name);
    dapt_hasher_add(hasher, kind, sizeof kind);
    dapt_hasher_add(hasher, t->shape, t->rank * sizeof *t->shape);
    dapt_hasher_add(hasher, t->data, t->count * dapt_file_dtype_size(t->dtype));
}

enum dapt_status dapt_model_base_hash(const struct dapt_model *m, struct dapt_hash *hash) {
    struct dapt_hasher *hasher = NULL;
    struct dapt_safetensors *file = NULL;
    struct dapt_arena arena = {0};
    struct dapt_hash config;
    char *path = dapt_path_join(&arena, m->folder, "config.json");
    enum dapt_status status = path ? dapt_hash_file(path, &config) : DAPT_ERROR_MEMORY;
    if (!status) status = dapt_hasher_create(&hasher);
    if (!status) status = dapt_safetensors_open(m->folder, &file);
    if (!status) dapt_hasher_add(hasher, &config, sizeof config);
    for (size_t i = 0; !status && i < dapt_safetensors_count(file); i++)
        hash_tensor(hasher, dapt_safetensors_at(file, i));
    if (!status) *hash = dapt_hasher_value(hasher);
    dapt_safetensors_close(&file);
    dapt_hasher_destroy(&hasher);
    dapt_arena_free(&arena);
    return status;
}
