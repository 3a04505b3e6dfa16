#include "model/slots.h"

#include <math.h>
#include <string.h>

#include "model/families.h"

// What a dimension is as long as.
enum extent { NONE, HIDDEN, VOCAB, POSITIONS, QUERY, KEY, QKV, FEED, GATE_UP, Q_NORM, K_NORM };

static uint64_t extent(const struct dapt_model *m, enum extent extent) {
    uint64_t q = (uint64_t)m->heads * m->head_size, kv = (uint64_t)m->kv_heads * m->head_size;
    bool whole = m->family->qk_norm == DAPT_QK_NORM_WHOLE;
    const uint64_t extents[] = {
        [HIDDEN] = m->hidden,
        [VOCAB] = m->vocab,
        [POSITIONS] = m->max_positions,
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
enum condition { ALWAYS, UNTIED, BIAS_QKV, BIAS_OUT, BIAS_MLP, OWN_NORM };

static bool holds(const struct dapt_model *m, enum condition condition) {
    switch (condition) {
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
    enum extent rows, cols;
    enum condition when;
    float fill;    // of new vectors
    bool follows;  // lies right behind the slot before it: one matmul reads both
    bool adds;     // its product is added to the residual stream
} rules[DAPT_SLOT_COUNT] = {
    [DAPT_SLOT_EMBED] = {.rows = VOCAB, .cols = HIDDEN},
    [DAPT_SLOT_POSITION] = {.rows = POSITIONS, .cols = HIDDEN},
    [DAPT_SLOT_FINAL_NORM] = {.rows = HIDDEN, .fill = 1},
    [DAPT_SLOT_FINAL_NORM_BIAS] = {.rows = HIDDEN},
    [DAPT_SLOT_HEAD] = {.rows = VOCAB, .cols = HIDDEN, .when = UNTIED},
    [DAPT_SLOT_NORM1] = {.rows = HIDDEN, .fill = 1},
    [DAPT_SLOT_NORM1_BIAS] = {.rows = HIDDEN},
    [DAPT_SLOT_QKV] = {.rows = QKV, .cols = HIDDEN},
    [DAPT_SLOT_Q] = {.rows = QUERY, .cols = HIDDEN},
    [DAPT_SLOT_K] = {.rows = KEY, .cols = HIDDEN, .follows = true},
    [DAPT_SLOT_V] = {.rows = KEY, .cols = HIDDEN, .follows = true},
    [DAPT_SLOT_QKV_BIAS] = {.rows = QKV, .when = BIAS_QKV},
    [DAPT_SLOT_Q_BIAS] = {.rows = QUERY, .when = BIAS_QKV},
    [DAPT_SLOT_K_BIAS] = {.rows = KEY, .when = BIAS_QKV, .follows = true},
    [DAPT_SLOT_V_BIAS] = {.rows = KEY, .when = BIAS_QKV, .follows = true},
    [DAPT_SLOT_Q_NORM] = {.rows = Q_NORM, .fill = 1},
    [DAPT_SLOT_K_NORM] = {.rows = K_NORM, .fill = 1},
    [DAPT_SLOT_OUT] = {.rows = HIDDEN, .cols = QUERY, .adds = true},
    [DAPT_SLOT_OUT_BIAS] = {.rows = HIDDEN, .when = BIAS_OUT},
    [DAPT_SLOT_POST_NORM1] = {.rows = HIDDEN, .fill = 1},
    [DAPT_SLOT_POST_NORM1_BIAS] = {.rows = HIDDEN},
    [DAPT_SLOT_NORM2] = {.rows = HIDDEN, .when = OWN_NORM, .fill = 1},
    [DAPT_SLOT_NORM2_BIAS] = {.rows = HIDDEN, .when = OWN_NORM},
    [DAPT_SLOT_GATE_UP] = {.rows = GATE_UP, .cols = HIDDEN},
    [DAPT_SLOT_GATE] = {.rows = FEED, .cols = HIDDEN},
    [DAPT_SLOT_UP] = {.rows = FEED, .cols = HIDDEN, .follows = true},
    [DAPT_SLOT_GATE_BIAS] = {.rows = FEED, .when = BIAS_MLP},
    [DAPT_SLOT_UP_BIAS] = {.rows = FEED, .when = BIAS_MLP, .follows = true},
    [DAPT_SLOT_DOWN] = {.rows = HIDDEN, .cols = FEED, .adds = true},
    [DAPT_SLOT_DOWN_BIAS] = {.rows = HIDDEN, .when = BIAS_MLP},
    [DAPT_SLOT_POST_NORM2] = {.rows = HIDDEN, .fill = 1},
    [DAPT_SLOT_POST_NORM2_BIAS] = {.rows = HIDDEN},
};

static enum dapt_status add_parameter(struct dapt_model *m, enum dapt_slot slot, uint32_t row) {
    struct dapt_parameter *p = &m->parameters[m->parameter_count];
    const char *prefix = slot == DAPT_SLOT_HEAD ? "" : m->family->prefix,
               *rest = m->family->names[slot], *mark = strstr(rest, "%u");
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
    p->decay = cols != 0;
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

static enum dapt_status lay_out(struct dapt_model *m) {
    uint64_t end = 0;
    for (int decay = 1; decay >= 0; decay--) {
        for (size_t i = 0; i < ((size_t)m->layers + 1) * DAPT_SLOT_COUNT; i++) {
            struct dapt_parameter *p = m->slots[i] == DAPT_NONE ? NULL
                                                                : &m->parameters[m->slots[i]];
            if (!p || p->decay != decay) continue;
            if (!rules[i % DAPT_SLOT_COUNT].follows) end = (end + 15) / 16 * 16;
            p->offset = end;
            end += p->count;
        }
        end = (end + 15) / 16 * 16;
        if (decay) m->decay_count = end;
    }
    m->flat_count = end;
    return DAPT_OK;
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
    return lay_out(m);
}
