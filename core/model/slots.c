#include "model/slots.h"

#include <math.h>
#include <string.h>

#include "model/families.h"

// What a dimension is as long as.
enum extent {
    NONE,
    HIDDEN,
    VOCAB,
    POSITIONS,
    TYPES,
    QUERY,
    KEY,
    QKV,
    FEED,
    GATE_UP,
    Q_NORM,
    K_NORM
};

static uint64_t extent(const struct dapt_model *m, enum extent extent) {
    uint64_t q = (uint64_t)m->heads * m->head_size, kv = (uint64_t)m->kv_heads * m->head_size;
    bool whole = m->family->qk_norm == DAPT_QK_NORM_WHOLE;
    const uint64_t extents[] = {
        [HIDDEN] = m->hidden,
        [VOCAB] = m->vocab,
        [POSITIONS] = (uint64_t)m->first_position + m->max_positions,
        [TYPES] = m->types,
        [QUERY] = q,
        [KEY] = kv,
        [QKV] = q + 2 * kv,
        [FEED] = m->feed_forward,
        [GATE_UP] = 2 * (uint64_t)m->feed_forward,
        [Q_NORM] = whole ? q : m->head_size,
        [K_NORM] = whole ? kv : m->head_size,
    };
    return extents[extent];
}

// When a tensor that the family has is there.
enum condition { ALWAYS, TIED, UNTIED, BIAS_QKV, BIAS_OUT, BIAS_MLP, OWN_NORM };

static bool holds(const struct dapt_model *m, enum condition condition) {
    switch (condition) {
    case TIED: return m->tied;
    case UNTIED: return !m->tied;
    case BIAS_QKV: return m->bias_qkv;
    case BIAS_OUT: return m->bias_out;
    case BIAS_MLP: return m->bias_mlp;
    case OWN_NORM: return !(m->parallel && m->family->shared_norm);
    default: return true;
    }
}

// `rows` and `cols` in "[out, in]" order; cols NONE: a vector.
static const struct rule {
    const char *name;  // dapt's own, the same in all families; of a layer behind "layers.N."
    enum extent rows, cols;
    enum condition when;
    float fill;    // of new vectors
    bool follows;  // lies right behind the slot before it: one matmul reads both
    bool adds;     // its product is added to the residual stream
} rules[DAPT_SLOT_COUNT] = {
    [DAPT_SLOT_EMBED] = {"embed", .rows = VOCAB, .cols = HIDDEN},
    [DAPT_SLOT_POSITION] = {"embed_positions", .rows = POSITIONS, .cols = HIDDEN},
    [DAPT_SLOT_TYPE] = {"embed_types", .rows = TYPES, .cols = HIDDEN},
    [DAPT_SLOT_EMBED_NORM] = {"embed_norm", .rows = HIDDEN, .fill = 1},
    [DAPT_SLOT_EMBED_NORM_BIAS] = {"embed_norm.bias", .rows = HIDDEN},
    [DAPT_SLOT_FINAL_NORM] = {"final_norm", .rows = HIDDEN, .fill = 1},
    [DAPT_SLOT_FINAL_NORM_BIAS] = {"final_norm.bias", .rows = HIDDEN},
    [DAPT_SLOT_HEAD] = {"head", .rows = VOCAB, .cols = HIDDEN, .when = UNTIED},
    [DAPT_SLOT_HEAD_DENSE] = {"head.dense", .rows = HIDDEN, .cols = HIDDEN},
    [DAPT_SLOT_HEAD_DENSE_BIAS] = {"head.dense.bias", .rows = HIDDEN},
    [DAPT_SLOT_HEAD_NORM] = {"head.norm", .rows = HIDDEN, .fill = 1},
    [DAPT_SLOT_HEAD_NORM_BIAS] = {"head.norm.bias", .rows = HIDDEN},
    [DAPT_SLOT_HEAD_BIAS] = {"head.bias", .rows = VOCAB, .when = TIED},
    [DAPT_SLOT_HEAD_OWN_BIAS] = {"head.bias", .rows = VOCAB, .when = UNTIED},
    [DAPT_SLOT_NORM1] = {"norm1", .rows = HIDDEN, .fill = 1},
    [DAPT_SLOT_NORM1_BIAS] = {"norm1.bias", .rows = HIDDEN},
    [DAPT_SLOT_QKV] = {"attention.qkv", .rows = QKV, .cols = HIDDEN},
    [DAPT_SLOT_Q] = {"attention.q", .rows = QUERY, .cols = HIDDEN},
    [DAPT_SLOT_K] = {"attention.k", .rows = KEY, .cols = HIDDEN, .follows = true},
    [DAPT_SLOT_V] = {"attention.v", .rows = KEY, .cols = HIDDEN, .follows = true},
    [DAPT_SLOT_QKV_BIAS] = {"attention.qkv.bias", .rows = QKV, .when = BIAS_QKV},
    [DAPT_SLOT_Q_BIAS] = {"attention.q.bias", .rows = QUERY, .when = BIAS_QKV},
    [DAPT_SLOT_K_BIAS] = {"attention.k.bias", .rows = KEY, .when = BIAS_QKV, .follows = true},
    [DAPT_SLOT_V_BIAS] = {"attention.v.bias", .rows = KEY, .when = BIAS_QKV, .follows = true},
    [DAPT_SLOT_Q_NORM] = {"attention.q_norm", .rows = Q_NORM, .fill = 1},
    [DAPT_SLOT_K_NORM] = {"attention.k_norm", .rows = K_NORM, .fill = 1},
    [DAPT_SLOT_OUT] = {"attention.out", .rows = HIDDEN, .cols = QUERY, .adds = true},
    [DAPT_SLOT_OUT_BIAS] = {"attention.out.bias", .rows = HIDDEN, .when = BIAS_OUT},
    [DAPT_SLOT_POST_NORM1] = {"post_norm1", .rows = HIDDEN, .fill = 1},
    [DAPT_SLOT_POST_NORM1_BIAS] = {"post_norm1.bias", .rows = HIDDEN},
    [DAPT_SLOT_NORM2] = {"norm2", .rows = HIDDEN, .when = OWN_NORM, .fill = 1},
    [DAPT_SLOT_NORM2_BIAS] = {"norm2.bias", .rows = HIDDEN, .when = OWN_NORM},
    [DAPT_SLOT_GATE_UP] = {"mlp.gate_up", .rows = GATE_UP, .cols = HIDDEN},
    [DAPT_SLOT_GATE] = {"mlp.gate", .rows = FEED, .cols = HIDDEN},
    [DAPT_SLOT_UP] = {"mlp.up", .rows = FEED, .cols = HIDDEN, .follows = true},
    [DAPT_SLOT_GATE_BIAS] = {"mlp.gate.bias", .rows = FEED, .when = BIAS_MLP},
    [DAPT_SLOT_UP_BIAS] = {"mlp.up.bias", .rows = FEED, .when = BIAS_MLP, .follows = true},
    [DAPT_SLOT_DOWN] = {"mlp.down", .rows = HIDDEN, .cols = FEED, .adds = true},
    [DAPT_SLOT_DOWN_BIAS] = {"mlp.down.bias", .rows = HIDDEN, .when = BIAS_MLP},
    [DAPT_SLOT_POST_NORM2] = {"post_norm2", .rows = HIDDEN, .fill = 1},
    [DAPT_SLOT_POST_NORM2_BIAS] = {"post_norm2.bias", .rows = HIDDEN},
    [DAPT_SLOT_SUM_NORM1] = {"sum_norm1", .rows = HIDDEN, .fill = 1},
    [DAPT_SLOT_SUM_NORM1_BIAS] = {"sum_norm1.bias", .rows = HIDDEN},
    [DAPT_SLOT_SUM_NORM2] = {"sum_norm2", .rows = HIDDEN, .fill = 1},
    [DAPT_SLOT_SUM_NORM2_BIAS] = {"sum_norm2.bias", .rows = HIDDEN},
};

const char *dapt_slot_prefix(const struct dapt_family *family, enum dapt_slot slot) {
    if (slot < DAPT_SLOT_HEAD || slot > DAPT_SLOT_HEAD_OWN_BIAS) return family->prefix;
    return family->head_prefix ? family->head_prefix : "";
}

static enum dapt_status add_parameter(struct dapt_model *m, enum dapt_slot slot, uint32_t row) {
    struct dapt_parameter *p = &m->parameters[m->parameter_count];
    const char *prefix = dapt_slot_prefix(m->family, slot), *rest = m->family->names[slot],
               *mark = strstr(rest, "%u");
    p->name = mark ? dapt_arena_format(&m->arena, "%s%.*s%u%s", prefix, (int)(mark - rest), rest,
                                       row - 1, mark + 2)
                   : dapt_arena_format(&m->arena, "%s%s", prefix, rest);
    if (!p->name) return DAPT_ERROR_MEMORY;
    const struct rule *rule = &rules[slot];
    uint64_t rows = extent(m, rule->rows), cols = extent(m, rule->cols);
    bool swap = m->family->input_major && slot >= DAPT_SLOT_FIRST_OF_LAYER;
    p->rank = cols ? 2 : 1;
    p->shape[0] = cols && swap ? cols : rows;
    p->shape[1] = cols && swap ? rows : cols;
    p->count = cols ? rows * cols : rows;
    p->trained = true;
    p->group = cols ? DAPT_GROUP_MATRICES : DAPT_GROUP_VECTORS;
    p->init_fill = rule->fill * (1 - m->family->norm_offset);
    p->init_scale = cols ? m->init_range : 0;
    // What adds to the residual stream starts smaller, so that its sum does not grow with depth
    // (Radford et al. 2019).
    if (rule->adds) p->init_scale /= sqrtf(2.0f * (float)m->layers);
    if (rule->rows == QKV && m->family->head_interleaved) {
        p->parts = 3;
        p->run = m->head_size * (cols ? cols : 1);
    }
    m->slots[(size_t)row * DAPT_SLOT_COUNT + slot] = (uint32_t)m->parameter_count++;
    m->weight_count += p->count;
    return DAPT_OK;
}

static enum dapt_group group_of(const struct dapt_parameter *p) {
    return p->trained ? p->group : p->base ? DAPT_GROUP_BASE : DAPT_GROUP_FROZEN;
}

static struct dapt_parameter *at(const struct dapt_model *m, const uint32_t *table, size_t slot) {
    return table[slot] == DAPT_NONE ? NULL : &m->parameters[table[slot]];
}

static bool together(const struct dapt_model *m, const uint32_t *table, size_t slot, int count) {
    for (int i = 1; i < count; i++) {
        const struct dapt_parameter *p = at(m, table, slot + (size_t)i - 1),
                                    *next = at(m, table, slot + (size_t)i);
        if (p && next && group_of(p) != group_of(next)) return false;
    }
    return true;
}

bool dapt_slots_together(const struct dapt_model *m, size_t slot, int count) {
    return together(m, m->slots, slot, count);
}

bool dapt_slots_adjoin(const struct dapt_model *m, const uint32_t *parameters, int count) {
    for (int i = 1; i < count; i++) {
        const struct dapt_parameter *p = &m->parameters[parameters[i - 1]],
                                    *next = &m->parameters[parameters[i]];
        if (p->trained != next->trained || next->offset != p->offset + p->count) return false;
    }
    return true;
}

// Groups begin at multiples of 16.
static uint64_t round_up(uint64_t end, const struct dapt_parameter_group *group) {
    uint64_t unit = group->dtype == DAPT_F32 ? 16 : DAPT_BLOCK;
    return group->begin + (end - group->begin + unit - 1) / unit * unit;
}

// The parameters of one group in a table of slots, from `end` on; returns where they end. B's are
// used one by one.
static uint64_t place(struct dapt_model *m, const uint32_t *table, bool joins,
                      struct dapt_parameter_group *group, enum dapt_group which, uint64_t end) {
    for (size_t i = 0; table && i < dapt_slots_count(m); i++) {
        struct dapt_parameter *p = at(m, table, i);
        if (!p || group_of(p) != which) continue;
        bool behind = joins && rules[i % DAPT_SLOT_COUNT].follows && together(m, table, i - 1, 2);
        if (!behind) end = round_up(end, group);
        p->offset = end;
        end += p->count;
        group->count += p->count;
        group->tensors++;
    }
    return end;
}

// Matrices of the layers, as far as the runs in which files hold them are whole blocks: they are
// rounded piece by piece.
static void mark_base(struct dapt_model *m) {
    enum dapt_dtype base = m->adapters ? m->adapters->base : DAPT_F32;
    for (size_t i = DAPT_SLOT_COUNT; i < dapt_slots_count(m); i++) {
        struct dapt_parameter *p = at(m, m->slots, i);
        if (!p) continue;
        bool whole = (p->parts ? p->run : p->count) % DAPT_BLOCK == 0;
        p->base = base != DAPT_F32 && p->rank == 2 && whole;
    }
}

const struct dapt_parameter_group *dapt_model_base_group(const struct dapt_model *m) {
    for (size_t i = 0; i < m->group_count; i++)
        if (!m->groups[i].trained && m->groups[i].dtype != DAPT_F32) return &m->groups[i];
    return NULL;
}

uint64_t dapt_model_byte(const struct dapt_model *m, uint64_t offset) {
    const struct dapt_parameter_group *base = dapt_model_base_group(m);
    uint64_t element = dapt_dtype_size(DAPT_F32);
    if (offset < m->trained_count) return offset * element;
    if (!base) return (offset - m->trained_count) * element;
    if (offset < base->end) return dapt_dtype_bytes(base->dtype, offset - base->begin);
    uint64_t before = dapt_dtype_bytes(base->dtype, base->end - base->begin);
    return (before + 63) / 64 * 64 + (offset - base->end) * element;
}

void dapt_slots_lay_out(struct dapt_model *m) {
    static const char *const roles[DAPT_GROUPS] = {"matrices", "vectors", "embeddings",
                                                   "adapters", "base",    "frozen"};
    const struct dapt_adapters *adapters = m->adapters;
    uint64_t end = 0;
    mark_base(m);
    m->group_count = 0;
    m->trained_count = 0;
    for (enum dapt_group g = 0; g < DAPT_GROUPS; g++) {
        struct dapt_parameter_group group = {
            .role = roles[g],
            .begin = end,
            .trained = g < DAPT_GROUP_BASE,
            .decay = g < DAPT_GROUP_BASE && g != DAPT_GROUP_VECTORS,
            .rate = g == DAPT_GROUP_EMBEDDINGS && adapters ? adapters->embeddings_rate : 1,
            .dtype = g == DAPT_GROUP_BASE && adapters ? adapters->base : DAPT_F32};
        end = place(m, m->slots, true, &group, g, end);
        end = place(m, adapters ? adapters->a : NULL, true, &group, g, end);
        end = place(m, adapters ? adapters->b : NULL, false, &group, g, end);
        group.end = end = round_up(end, &group);
        if (group.trained) m->trained_count = end;
        if (group.tensors) m->groups[m->group_count++] = group;
    }
    m->flat_count = end;
}

// A name of a matrix with "lora_A" or "lora_B" in the place of its end.
static const char *adapter_name(struct dapt_model *m, const struct dapt_parameter *w,
                                const char *end) {
    const char *dot = strrchr(w->name, '.');
    bool weight = dot && strcmp(dot, ".weight") == 0;
    return dapt_arena_format(&m->arena, "%.*s.%s.weight",
                             (int)(weight ? (size_t)(dot - w->name) : strlen(w->name)), w->name,
                             end);
}

// A and B of one matrix. Where the rows of W lie by head in files, those of B do so too.
static enum dapt_status add_adapter(struct dapt_model *m, size_t slot) {
    const struct dapt_parameter *w = at(m, m->slots, slot);
    uint64_t rank = m->adapters->rank, out = w->shape[m->family->input_major],
             in = w->shape[!m->family->input_major];
    struct dapt_parameter a = {.name = adapter_name(m, w, "lora_A"),
                               .shape = {rank, in},
                               .init_bound = 1 / sqrtf((float)in)},
                          b = {.name = adapter_name(m, w, "lora_B"),
                               .shape = {out, rank},
                               .parts = w->parts,
                               .run = w->run / in * rank};
    a.rank = b.rank = 2;
    a.trained = b.trained = true;
    a.group = b.group = DAPT_GROUP_ADAPTERS;
    a.count = rank * in;
    b.count = out * rank;
    m->adapters->a[slot] = (uint32_t)m->parameter_count;
    m->parameters[m->parameter_count++] = a;
    m->adapters->b[slot] = (uint32_t)m->parameter_count;
    m->parameters[m->parameter_count++] = b;
    m->adapters->count++;
    m->weight_count += a.count + b.count;
    return a.name && b.name ? DAPT_OK : DAPT_ERROR_MEMORY;
}

enum dapt_status dapt_slots_adapt(struct dapt_model *m, const bool *targets) {
    struct dapt_adapters *adapters = m->adapters;
    size_t slots = dapt_slots_count(m), count = m->parameter_count;
    struct dapt_parameter *more = dapt_arena_alloc(&m->arena, 3 * count * sizeof *more);
    adapters->a = dapt_arena_alloc(&m->arena, slots * sizeof *adapters->a);
    adapters->b = dapt_arena_alloc(&m->arena, slots * sizeof *adapters->b);
    if (!more || !adapters->a || !adapters->b) return DAPT_ERROR_MEMORY;
    memcpy(more, m->parameters, count * sizeof *more);
    memset(adapters->a, 0xff, slots * sizeof *adapters->a);
    memset(adapters->b, 0xff, slots * sizeof *adapters->b);
    m->parameters = more;
    adapters->first = count;
    enum dapt_status status = DAPT_OK;
    for (size_t i = 0; i < slots && !status; i++)
        if (targets[i]) status = add_adapter(m, i);
    dapt_slots_lay_out(m);
    return status;
}

const char *dapt_slot_name(struct dapt_arena *arena, size_t slot) {
    const char *name = rules[slot % DAPT_SLOT_COUNT].name;
    size_t row = slot / DAPT_SLOT_COUNT;
    return row ? dapt_arena_format(arena, "layers.%zu.%s", row - 1, name) : name;
}

enum dapt_status dapt_slots_place(struct dapt_model *m) {
    size_t rows = (size_t)m->layers + 1;
    double estimate = (double)rows * ((double)m->hidden * m->feed_forward * 3 +
                                      (double)m->hidden * m->head_size * m->heads * 4) +
                      2.0 * m->vocab * m->hidden;
    if (estimate > 1e13)
        return dapt_json_fail(m->config, "%.3g parameters: not a model that anyone has", estimate);
    m->parameters = dapt_arena_alloc(&m->arena, rows * DAPT_SLOT_COUNT * sizeof *m->parameters);
    m->slots = dapt_arena_alloc(&m->arena, rows * DAPT_SLOT_COUNT * sizeof *m->slots);
    if (!m->parameters || !m->slots) return DAPT_ERROR_MEMORY;
    memset(m->slots, 0xff, rows * DAPT_SLOT_COUNT * sizeof *m->slots);
    for (uint32_t row = 0; row < rows; row++)
        for (int slot = 0; slot < DAPT_SLOT_COUNT; slot++) {
            bool here = (row > 0) == (slot >= DAPT_SLOT_FIRST_OF_LAYER);
            enum dapt_status status = here && m->family->names[slot] && holds(m, rules[slot].when)
                                          ? add_parameter(m, slot, row)
                                          : DAPT_OK;
            if (status) return status;
        }
    dapt_slots_lay_out(m);
    return DAPT_OK;
}
