#include "model/model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "model/families.h"

static const struct {
    const char *name;
    enum dapt_activation kind;
} activations[] = {
    {"gelu", DAPT_ACT_GELU},
    {"gelu_new", DAPT_ACT_GELU_TANH},
    {"gelu_pytorch_tanh", DAPT_ACT_GELU_TANH},
    {"gelu_fast", DAPT_ACT_GELU_TANH},
    {"silu", DAPT_ACT_SILU},
    {"swish", DAPT_ACT_SILU},
    {"relu", DAPT_ACT_RELU},
};

// A required or, with *value preset above 0, optional count.
static enum dapt_status get_count(const struct dapt_json *config, const char *key, uint32_t maximum,
                                  uint32_t *value) {
    int64_t n = *value;
    enum dapt_status status = dapt_json_get_integer(config, key, 1, maximum, &n);
    if (!status && n < 1)
        status = dapt_json_fail(config,
                                "the key \"%s\" is missing: expected a whole number from 1 to %u",
                                key, maximum);
    *value = (uint32_t)n;
    return status;
}

static enum dapt_status read_sizes(struct dapt_model *m) {
    const struct dapt_family *f = m->family;
    const struct dapt_json *c = m->config;
    double eps = f->eps, range = 0.02;
    enum dapt_status status = get_count(c, f->keys.hidden, 1u << 20, &m->hidden);
    if (!status) status = get_count(c, f->keys.layers, 4096, &m->layers);
    if (!status) status = get_count(c, f->keys.heads, 4096, &m->heads);
    if (!status) status = get_count(c, "vocab_size", 1u << 24, &m->vocab);
    m->kv_heads = m->heads;
    if (!status && f->keys.kv_heads) status = get_count(c, f->keys.kv_heads, 4096, &m->kv_heads);
    m->feed_forward = f->gated ? 0 : 4 * m->hidden;
    if (!status) status = get_count(c, f->keys.feed_forward, 1u << 22, &m->feed_forward);
    m->max_positions = f->positions;
    if (!status) status = get_count(c, f->keys.positions, 1u << 28, &m->max_positions);
    if (!status) status = dapt_json_get_number(c, f->keys.eps, &eps);
    if (!status && !(eps > 0 && eps < 1))
        status = dapt_json_fail(dapt_json_member(c, f->keys.eps),
                                "expected a number between 0 and 1");
    if (!status) status = dapt_json_get_number(c, "initializer_range", &range);
    m->norm_eps = (float)eps;
    m->init_range = (float)range;
    if (status) return status;

    m->head_size = f->head_size ? f->head_size : m->hidden / m->heads;
    bool given = f->keys.head_size &&
                 dapt_json_kind(dapt_json_member(c, f->keys.head_size)) != DAPT_JSON_NULL;
    if (given) status = get_count(c, f->keys.head_size, 1024, &m->head_size);
    if (!status && !given && !f->head_size && m->hidden % m->heads)
        status = dapt_json_fail(dapt_json_member(c, f->keys.heads), "%u heads do not divide %s %u",
                                m->heads, f->keys.hidden, m->hidden);
    if (!status && m->heads % m->kv_heads)
        status = dapt_json_fail(dapt_json_member(c, f->keys.kv_heads),
                                "%u heads are no multiple of %u key heads", m->heads, m->kv_heads);
    return status;
}

static enum dapt_status read_bias(const struct dapt_model *m, enum dapt_bias_rule rule,
                                  const char *key, bool *bias) {
    *bias = rule == DAPT_BIAS_ALWAYS;
    return rule == DAPT_BIAS_CONFIG ? dapt_json_get_bool(m->config, key, bias) : DAPT_OK;
}

// A special token's id. One outside of the vocabulary is none: files keep GPT-2's 50256 over small
// vocabularies, and -1. The tokenizer's own ids are what training goes by.
static enum dapt_status read_id(const struct dapt_model *m, const struct dapt_json *value,
                                int64_t *id) {
    int64_t number = -1;
    enum dapt_status status = dapt_json_kind(value) == DAPT_JSON_NULL
                                  ? DAPT_OK
                                  : dapt_json_integer(value, INT32_MIN, INT32_MAX, &number);
    *id = number >= 0 && number < m->vocab ? number : -1;
    return status;
}

static enum dapt_status read_parts(struct dapt_model *m) {
    const struct dapt_family *f = m->family;
    const struct dapt_json *c = m->config;
    const char *name = f->activation;
    m->tied = f->tied;
    enum dapt_status status = dapt_json_get_string(c, f->keys.activation, &name);
    if (!status) status = dapt_json_get_bool(c, "tie_word_embeddings", &m->tied);
    if (!status) status = read_bias(m, f->bias_qkv, f->keys.attention_bias, &m->bias_qkv);
    if (!status) status = read_bias(m, f->bias_out, f->keys.attention_bias, &m->bias_out);
    if (!status) status = read_bias(m, f->bias_mlp, f->keys.mlp_bias, &m->bias_mlp);
    for (size_t i = 0; i < sizeof activations / sizeof *activations; i++)
        if (strcmp(activations[i].name, name) == 0) m->activation = activations[i].kind;
    if (!status && !m->activation)
        status = dapt_json_fail(dapt_json_member(c, f->keys.activation),
                                "activation \"%.32s\" is not known", name);
    // Llama 3 has a list of the latter; the first ends a text.
    const struct dapt_json *ends = dapt_json_member(c, "eos_token_id");
    if (dapt_json_kind(ends) == DAPT_JSON_ARRAY) ends = dapt_json_at(ends, 0);
    if (!status) status = read_id(m, dapt_json_member(c, "bos_token_id"), &m->bos);
    return status ? status : read_id(m, ends, &m->eos);
}

// Keys that change the result in a way that is not built: they must be absent or have the value
// given here.
static enum dapt_status refuse_others(const struct dapt_model *m) {
    static const struct {
        const char *key;
        bool fine;
    } flags[] = {{"scale_attn_weights", true},
                 {"scale_attn_by_inverse_layer_idx", false},
                 {"add_cross_attention", false},
                 {"is_encoder_decoder", false}};
    const struct dapt_json *c = m->config;
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        bool value = flags[i].fine;
        enum dapt_status status = dapt_json_get_bool(c, flags[i].key, &value);
        if (!status && value != flags[i].fine)
            status = dapt_json_fail(dapt_json_member(c, flags[i].key), "only %s is supported",
                                    flags[i].fine ? "true" : "false");
        if (status) return status;
    }
    const struct dapt_json *quantized = dapt_json_member(c, "quantization_config");
    if (dapt_json_kind(quantized) != DAPT_JSON_NULL)
        return dapt_json_fail(
            quantized,
            "a quantized model can't be trained: take the folder of the unquantized one");
    static const char *const dropouts[] = {"resid_pdrop", "embd_pdrop", "attn_pdrop",
                                           "attention_dropout"};
    for (size_t i = 0; i < sizeof dropouts / sizeof *dropouts; i++) {
        double p = 0;
        if (!dapt_json_get_number(c, dropouts[i], &p) && p > 0) {
            dapt_log(DAPT_LOG_DEBUG,
                     "%s %g of config.json is not applied: training is without dropout",
                     dropouts[i], p);
            break;
        }
    }
    return DAPT_OK;
}

// One of "layer_types", or the rule that stands for it in older files.
static enum dapt_status read_windows(struct dapt_model *m) {
    const struct dapt_family *f = m->family;
    const struct dapt_json *c = m->config, *types = dapt_json_member(c, "layer_types");
    m->windows = dapt_arena_alloc(&m->arena, m->layers * sizeof *m->windows);
    if (!m->windows) return DAPT_ERROR_MEMORY;
    if (!f->keys.window) return DAPT_OK;
    bool use = !f->keys.use_window;
    enum dapt_status status = use ? DAPT_OK : dapt_json_get_bool(c, f->keys.use_window, &use);
    const struct dapt_json *window = dapt_json_member(c, f->keys.window);
    int64_t size = f->window,
            first = f->keys.use_window ? 28 : 0;  // Qwen: only layers from max_window_layers on
    if (window && dapt_json_kind(window) == DAPT_JSON_NULL) use = false;
    if (!status) status = dapt_json_get_integer(c, f->keys.window, 1, INT32_MAX, &size);
    if (!status && f->keys.use_window)
        status = dapt_json_get_integer(c, "max_window_layers", 0, INT32_MAX, &first);
    if (!status && dapt_json_kind(types) == DAPT_JSON_ARRAY && dapt_json_count(types) != m->layers)
        status = dapt_json_fail(types, "expected %u entries, one a layer", m->layers);
    for (uint32_t l = 0; l < m->layers && !status; l++) {
        bool slides = use && l >= first;
        if (dapt_json_kind(types) == DAPT_JSON_ARRAY) {
            const char *type = "";
            status = dapt_json_string(dapt_json_at(types, l), &type);
            if (!status && strcmp(type, "full_attention") != 0 &&
                strcmp(type, "sliding_attention") != 0)
                status = dapt_json_fail(dapt_json_at(types, l),
                                        "expected \"full_attention\" or \"sliding_attention\"");
            slides = use && strcmp(type, "sliding_attention") == 0;
        }
        m->windows[l] = slides ? (int32_t)size : 0;
    }
    return status;
}

static enum dapt_status read_rope(struct dapt_model *m) {
    const struct dapt_rope_options options = {.head_size = m->head_size,
                                              .max_positions = m->max_positions};
    if (m->family->learned_positions) return DAPT_OK;
    return dapt_rope_read(m->config, &options, &m->arena, &m->rope);
}

// -------------------------------------------------------------------------------------- parameters

// Rows and columns of a slot's tensor in "[out, in]" order; cols 0: a vector.
static void slot_shape(const struct dapt_model *m, enum dapt_slot slot, uint64_t *rows,
                       uint64_t *cols) {
    uint64_t h = m->hidden, q = (uint64_t)m->heads * m->head_size,
             kv = (uint64_t)m->kv_heads * m->head_size, f = m->feed_forward;
    // clang-format off
    const uint64_t shapes[DAPT_SLOT_COUNT][2] = {
        [DAPT_SLOT_EMBED] = {m->vocab, h}, [DAPT_SLOT_POSITION] = {m->max_positions, h},
        [DAPT_SLOT_FINAL_NORM] = {h}, [DAPT_SLOT_FINAL_NORM_BIAS] = {h},
        [DAPT_SLOT_HEAD] = {m->vocab, h}, [DAPT_SLOT_NORM1] = {h},
        [DAPT_SLOT_NORM1_BIAS] = {h}, [DAPT_SLOT_QKV] = {q + 2 * kv, h},
        [DAPT_SLOT_Q] = {q, h}, [DAPT_SLOT_K] = {kv, h},
        [DAPT_SLOT_V] = {kv, h}, [DAPT_SLOT_QKV_BIAS] = {q + 2 * kv},
        [DAPT_SLOT_Q_BIAS] = {q}, [DAPT_SLOT_K_BIAS] = {kv},
        [DAPT_SLOT_V_BIAS] = {kv}, [DAPT_SLOT_Q_NORM] = {m->head_size},
        [DAPT_SLOT_K_NORM] = {m->head_size}, [DAPT_SLOT_OUT] = {h, q},
        [DAPT_SLOT_OUT_BIAS] = {h}, [DAPT_SLOT_NORM2] = {h},
        [DAPT_SLOT_NORM2_BIAS] = {h}, [DAPT_SLOT_GATE] = {f, h},
        [DAPT_SLOT_UP] = {f, h}, [DAPT_SLOT_GATE_BIAS] = {f},
        [DAPT_SLOT_UP_BIAS] = {f}, [DAPT_SLOT_DOWN] = {h, f},
        [DAPT_SLOT_DOWN_BIAS] = {h},
    };
    // clang-format on
    *rows = shapes[slot][0];
    *cols = shapes[slot][1];
}

static bool has_slot(const struct dapt_model *m, enum dapt_slot slot) {
    if (!m->family->names[slot]) return false;
    switch (slot) {
    case DAPT_SLOT_HEAD: return !m->tied;
    case DAPT_SLOT_QKV_BIAS:
    case DAPT_SLOT_Q_BIAS:
    case DAPT_SLOT_K_BIAS:
    case DAPT_SLOT_V_BIAS: return m->bias_qkv;
    case DAPT_SLOT_OUT_BIAS: return m->bias_out;
    case DAPT_SLOT_GATE_BIAS:
    case DAPT_SLOT_UP_BIAS:
    case DAPT_SLOT_DOWN_BIAS: return m->bias_mlp;
    default: return true;
    }
}

static bool is_norm_weight(enum dapt_slot slot) {
    return slot == DAPT_SLOT_FINAL_NORM || slot == DAPT_SLOT_NORM1 || slot == DAPT_SLOT_NORM2 ||
           slot == DAPT_SLOT_Q_NORM || slot == DAPT_SLOT_K_NORM;
}

static enum dapt_status add_parameter(struct dapt_model *m, enum dapt_slot slot, uint32_t row) {
    struct dapt_parameter *p = &m->parameters[m->parameter_count];
    const char *prefix = slot == DAPT_SLOT_HEAD ? "" : m->family->prefix,
               *rest = m->family->names[slot], *mark = strstr(rest, "%u");
    p->name = mark ? dapt_arena_format(&m->arena, "%s%.*s%u%s", prefix, (int)(mark - rest), rest,
                                       row - 1, mark + 2)
                   : dapt_arena_format(&m->arena, "%s%s", prefix, rest);
    if (!p->name) return DAPT_ERROR_MEMORY;
    uint64_t rows, cols;
    slot_shape(m, slot, &rows, &cols);
    bool swap = m->family->input_major && slot >= DAPT_SLOT_FIRST_OF_LAYER;
    p->rank = cols ? 2 : 1;
    p->shape[0] = cols && swap ? cols : rows;
    p->shape[1] = cols && swap ? rows : cols;
    p->count = cols ? rows * cols : rows;
    p->decay = cols != 0;
    p->init_fill = is_norm_weight(slot) ? 1 : 0;
    p->init_scale = cols ? m->init_range : 0;
    // What adds to the residual stream starts smaller, so that its sum does not grow with depth
    // (Radford et al. 2019).
    if (slot == DAPT_SLOT_OUT || slot == DAPT_SLOT_DOWN)
        p->init_scale /= sqrtf(2.0f * (float)m->layers);
    m->slots[(size_t)row * DAPT_SLOT_COUNT + slot] = (uint32_t)m->parameter_count++;
    m->weight_count += p->count;
    return DAPT_OK;
}

// Whether this slot's tensor lies right behind that of the slot before it, in one matrix.
static bool follows(enum dapt_slot slot) {
    return slot == DAPT_SLOT_K || slot == DAPT_SLOT_V || slot == DAPT_SLOT_K_BIAS ||
           slot == DAPT_SLOT_V_BIAS || slot == DAPT_SLOT_UP || slot == DAPT_SLOT_UP_BIAS;
}

static enum dapt_status lay_out(struct dapt_model *m) {
    uint64_t end = 0;
    for (int decay = 1; decay >= 0; decay--) {
        for (size_t i = 0; i < ((size_t)m->layers + 1) * DAPT_SLOT_COUNT; i++) {
            struct dapt_parameter *p = m->slots[i] == DAPT_NONE ? NULL
                                                                : &m->parameters[m->slots[i]];
            if (!p || p->decay != decay) continue;
            if (!follows(i % DAPT_SLOT_COUNT)) end = (end + 15) / 16 * 16;
            p->offset = end;
            end += p->count;
        }
        end = (end + 15) / 16 * 16;
        if (decay) m->decay_count = end;
    }
    m->flat_count = end;
    return DAPT_OK;
}

static enum dapt_status list_parameters(struct dapt_model *m) {
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
            enum dapt_status status = here && has_slot(m, slot) ? add_parameter(m, slot, row)
                                                                : DAPT_OK;
            if (status) return status;
        }
    return lay_out(m);
}

// ----------------------------------------------------------------------------------------- opening

enum dapt_status dapt_model_from_json(struct dapt_json *config, struct dapt_model **model) {
    *model = NULL;
    const struct dapt_json *type;
    const char *name;
    struct dapt_model *m = dapt_alloc(1, sizeof *m);
    if (!m) {
        dapt_json_free(&config);
        return DAPT_ERROR_MEMORY;
    }
    m->config = config;
    enum dapt_status status = dapt_json_need(config, "model_type", DAPT_JSON_STRING, &type);
    if (!status) status = dapt_json_string(type, &name);
    if (!status && !(m->family = dapt_family_find(name)))
        status = dapt_json_fail(type, "%s", dapt_error());
    if (!status) status = read_sizes(m);
    if (!status) status = read_parts(m);
    if (!status) status = refuse_others(m);
    if (!status) status = read_windows(m);
    if (!status) status = read_rope(m);
    if (!status) status = list_parameters(m);
    if (status) dapt_model_close(&m);
    *model = m;
    return status;
}

// What a model's id of the Hugging Face hub ("Qwen/Qwen2.5-0.5B") is taken for: a path, made
// absolute perhaps. NULL where the path shows that it was meant as one.
static const char *hub_id(struct dapt_arena *arena, const char *path) {
    const char *name = strrchr(path, '/'), *owner = name;
    if (!name) return path[0] == '.' ? NULL : path;
    while (owner > path && owner[-1] != '/') owner--;
    char *folder = dapt_arena_copy(arena, path, (size_t)(name - path));
    bool plausible = folder && owner < name && *owner != '.' && *owner != '~' && name[1] &&
                     !dapt_is_dir(folder);
    return plausible ? owner : NULL;
}

enum dapt_status dapt_model_missing(const char *path, const char *expected) {
    struct dapt_arena arena = {0};
    enum dapt_status status;
    if (dapt_is_file(path)) {
        status = dapt_fail(DAPT_ERROR_INVALID, "model %s: is a file, expected a folder: %s", path,
                           expected);
    } else {
        const char *id = hub_id(&arena, path);
        status = dapt_fail(DAPT_ERROR_INVALID,
                           "model %s: no such folder; expected %s; one of the Hugging Face hub "
                           "comes by: hf download %s --local-dir %s",
                           path, expected, id ? id : "ID", id ? path : "FOLDER");
    }
    dapt_arena_free(&arena);
    return status;
}

enum dapt_status dapt_model_open(const char *folder, struct dapt_model **model) {
    *model = NULL;
    struct dapt_arena scratch = {0};
    struct dapt_json *config = NULL;
    char *path = dapt_path_join(&scratch, folder, "config.json");
    enum dapt_status status = path ? DAPT_OK : DAPT_ERROR_MEMORY;
    if (!status && !dapt_is_dir(folder))
        status = dapt_model_missing(folder, "one with config.json and model.safetensors");
    if (!status) status = dapt_json_read(path, DAPT_JSON_LIMIT, &config);
    if (!status) status = dapt_model_from_json(config, model);
    if (!status &&
        !((*model)->folder = dapt_arena_copy(&(*model)->arena, folder, strlen(folder)))) {
        dapt_model_close(model);
        status = DAPT_ERROR_MEMORY;
    }
    dapt_arena_free(&scratch);
    return status;
}

void dapt_model_close(struct dapt_model **model) {
    if (!model || !*model) return;
    dapt_json_free(&(*model)->config);
    dapt_model_origin_free(&(*model)->origin);
    dapt_arena_free(&(*model)->arena);
    free(*model);
    *model = NULL;
}

enum dapt_status dapt_model_hash(const struct dapt_model *m, struct dapt_hash *hash) {
    struct dapt_hasher *hasher = NULL;
    enum dapt_status status = dapt_hasher_create(&hasher);
    if (status) return status;
    const uint64_t numbers[] = {m->layers,     m->hidden,       m->heads,    m->kv_heads,
                                m->head_size,  m->feed_forward, m->vocab,    m->rope.size,
                                m->tied,       m->bias_qkv,     m->bias_out, m->bias_mlp,
                                m->activation, m->weight_count};
    dapt_hasher_add_string(hasher, m->family->type);
    dapt_hasher_add(hasher, numbers, sizeof numbers);
    dapt_hasher_add(hasher, &m->norm_eps, sizeof m->norm_eps);
    dapt_hasher_add(hasher, m->windows, m->layers * sizeof *m->windows);
    dapt_hasher_add(hasher, m->rope.frequency, m->rope.size / 2 * sizeof *m->rope.frequency);
    if (m->rope.size && m->rope.scale != 1)
        dapt_hasher_add(hasher, &m->rope.scale, sizeof m->rope.scale);
    *hash = dapt_hasher_value(hasher);
    dapt_hasher_destroy(&hasher);
    return DAPT_OK;
}

double dapt_model_flops(const struct dapt_model *m, uint32_t length) {
    double matrices = 0, head = (double)m->vocab * m->hidden;
    for (size_t i = 0; i < (size_t)m->parameter_count; i++) {
        const struct dapt_parameter *p = &m->parameters[i];
        bool table = i == m->slots[DAPT_SLOT_EMBED] || i == m->slots[DAPT_SLOT_POSITION] ||
                     i == m->slots[DAPT_SLOT_HEAD];
        if (p->rank == 2 && !table) matrices += (double)p->count;
    }
    double attention = 0;
    for (uint32_t l = 0; l < m->layers; l++) {
        double seen = m->windows[l] && (uint32_t)m->windows[l] < length ? m->windows[l]
                                                                        : length / 2.0;
        attention += 4 * seen * m->heads * m->head_size;
    }
    return 2 * (matrices + head) + attention;
}
