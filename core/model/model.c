#include "model/model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "model/families.h"
#include "model/slots.h"
#include "model/weights.h"

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
    double eps = f->eps, range = f->init_range ? f->init_range : 0.02;
    enum dapt_status status = get_count(c, f->keys.hidden, 1u << 20, &m->hidden);
    if (!status) status = get_count(c, f->keys.layers, 4096, &m->layers);
    if (!status) status = get_count(c, f->keys.heads, 4096, &m->heads);
    if (!status) status = get_count(c, "vocab_size", 1u << 24, &m->vocab);
    const struct dapt_json *kv = f->keys.kv_heads ? dapt_json_member(c, f->keys.kv_heads) : NULL;
    m->kv_heads = f->kv_heads && !kv ? f->kv_heads : m->heads;  // null: as many as heads
    if (!status && f->keys.kv_heads) status = get_count(c, f->keys.kv_heads, 4096, &m->kv_heads);
    m->feed_forward = f->feed_forward_factor * m->hidden;
    if (!status) status = get_count(c, f->keys.feed_forward, 1u << 22, &m->feed_forward);
    m->max_positions = f->positions;
    if (!status) status = get_count(c, f->keys.positions, 1u << 28, &m->max_positions);
    if (!status) status = dapt_json_get_real(c, f->keys.eps, 1e-30, 1, &eps);
    if (!status) status = dapt_json_get_real(c, "initializer_range", 0, 1e3, &range);
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
        status = dapt_json_fail(kv ? kv : c, "%u heads are no multiple of %u key heads (\"%s\"%s)",
                                m->heads, m->kv_heads, f->keys.kv_heads,
                                kv ? "" : ", which is missing");
    return status;
}

static enum dapt_status read_bias(const struct dapt_model *m, enum dapt_bias_rule rule,
                                  const char *key, bool *bias) {
    *bias = rule == DAPT_BIAS_ALWAYS || rule == DAPT_BIAS_CONFIG_ON;
    return rule >= DAPT_BIAS_CONFIG ? dapt_json_get_bool(m->config, key, bias) : DAPT_OK;
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

static enum dapt_status read_activation(const struct dapt_model *m, const char *name,
                                        enum dapt_activation *activation) {
    for (size_t i = 0; i < sizeof activations / sizeof *activations; i++)
        if (strcmp(activations[i].name, name) == 0) *activation = activations[i].kind;
    return *activation ? DAPT_OK
                       : dapt_json_fail(dapt_json_member(m->config, m->family->keys.activation),
                                        "activation \"%.32s\" is not known", name);
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
    if (!status) status = read_activation(m, name, &m->activation);
    if (!status)
        status = read_activation(m, f->head_activation ? f->head_activation : name,
                                 &m->head_activation);
    // Llama 3 has a list of the latter; the first ends a text.
    const struct dapt_json *ends = dapt_json_member(c, "eos_token_id");
    if (dapt_json_kind(ends) == DAPT_JSON_ARRAY) ends = dapt_json_at(ends, 0);
    if (!status) status = read_id(m, dapt_json_member(c, "bos_token_id"), &m->bos);
    return status ? status : read_id(m, ends, &m->eos);
}

// What only encoders have; decoders may carry these keys without meaning anything by them.
static enum dapt_status read_encoder(struct dapt_model *m) {
    const struct dapt_family *f = m->family;
    const struct dapt_json *c = m->config;
    const char *positions = "absolute";
    int64_t pad = f->pad;
    bool decoder = false;
    m->masked = f->masked;
    m->types = f->types;
    if (!f->masked) return DAPT_OK;
    enum dapt_status status = get_count(c, "type_vocab_size", 1u << 16, &m->types);
    if (!status) status = dapt_json_get_bool(c, "is_decoder", &decoder);
    if (!status && decoder)
        status = dapt_json_fail(dapt_json_member(c, "is_decoder"),
                                "only false is supported: %s models are trained as encoders",
                                f->type);
    if (!status) status = dapt_json_get_string(c, "position_embedding_type", &positions);
    if (!status && strcmp(positions, "absolute") != 0)
        status = dapt_json_fail(dapt_json_member(c, "position_embedding_type"),
                                "only \"absolute\" is supported");
    if (status || !f->pad) return status;
    status = dapt_json_get_integer(c, "pad_token_id", 0, 1 << 24, &pad);
    m->first_position = (uint32_t)pad + 1;
    if (!status && m->first_position >= m->max_positions)
        status = dapt_json_fail(dapt_json_member(c, f->keys.positions),
                                "is %u, but positions begin behind pad_token_id, which is %u",
                                m->max_positions, m->first_position - 1);
    m->max_positions -= m->first_position;
    return status;
}

// Keys that change the result in a way that is not built: they must be absent or have the value
// given here.
static enum dapt_status refuse_others(const struct dapt_model *m) {
    static const struct {
        const char *key;
        bool fine;
    } flags[] = {{"scale_attn_weights", true},   {"scale_attn_by_inverse_layer_idx", false},
                 {"add_cross_attention", false}, {"is_encoder_decoder", false},
                 {"qk_layernorm", false},        {"use_bidirectional_attention", false}};
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
    static const char *const dropouts[] = {"resid_pdrop",         "embd_pdrop",
                                           "attn_pdrop",          "attention_dropout",
                                           "hidden_dropout_prob", "attention_probs_dropout_prob"};
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

// A factor that must be usable; `*value` is kept where the family or the file has no such key.
static enum dapt_status read_scale(const struct dapt_model *m, const char *key, float *value) {
    double number = *value;
    enum dapt_status status = key ? dapt_json_get_real(m->config, key, 1e-6, 1e6, &number)
                                  : DAPT_OK;
    *value = (float)number;
    return status;
}

// A softcap: the default where the key is missing, none where it is null.
static enum dapt_status read_cap(const struct dapt_model *m, const char *key, const char *name,
                                 double missing, float *cap) {
    const struct dapt_json *value = dapt_json_member(m->config, name);
    if (!key && dapt_json_kind(value) != DAPT_JSON_NULL)
        return dapt_json_fail(value, "models of type \"%s\" have no such cap: expected null",
                              m->family->type);
    *cap = value ? 0 : (float)missing;
    return read_scale(m, key, cap);
}

static enum dapt_status read_scales(struct dapt_model *m) {
    const struct dapt_family *f = m->family;
    float divisor = 1, query = (float)f->query_scale;
    m->embedding_scale = f->root_embedding ? sqrtf((float)m->hidden) : 1;
    m->residual_scale = 1;
    // A family with a key of its own for it takes 1 where the key is not there.
    m->attention_scale = f->keys.attention_scale ? 1 : 1.0f / sqrtf((float)m->head_size);
    m->parallel = f->parallel;
    enum dapt_status status = read_scale(m, f->keys.embedding_scale, &m->embedding_scale);
    if (!status) status = read_scale(m, f->keys.attention_scale, &m->attention_scale);
    if (!status) status = read_scale(m, f->keys.query_scale, &query);
    if (query > 0) m->attention_scale = (float)(1 / sqrt(query));
    if (!status) status = read_scale(m, f->keys.residual_scale, &m->residual_scale);
    if (!status) status = read_scale(m, f->keys.logit_divisor, &divisor);
    m->logit_scale = 1 / divisor;
    if (!status)
        status = read_cap(m, f->keys.attention_cap, "attn_logit_softcapping", f->attention_cap,
                          &m->attention_cap);
    if (!status)
        status = read_cap(m, f->keys.logit_cap, "final_logit_softcapping", f->logit_cap,
                          &m->logit_cap);
    if (!status && f->keys.parallel)
        status = dapt_json_get_bool(m->config, f->keys.parallel, &m->parallel);
    return status;
}

// Which layers' q and k do not turn ("NoPE", Kazemnejad et al. 2023).
static enum dapt_status read_unrotated(struct dapt_model *m) {
    const struct dapt_family *f = m->family;
    if (!f->keys.rope_layers) return DAPT_OK;
    const struct dapt_json *layers = dapt_json_member(m->config, f->keys.rope_layers);
    bool listed = dapt_json_kind(layers) == DAPT_JSON_ARRAY;
    int64_t interval = f->rope_interval;
    enum dapt_status status = dapt_json_get_integer(m->config, "no_rope_layer_interval", 1, 4096,
                                                    &interval);
    if (!status && layers && !listed && dapt_json_kind(layers) != DAPT_JSON_NULL)
        status = dapt_json_fail(layers, "expected an array of 0 and 1, one a layer");
    if (!status && listed && dapt_json_count(layers) != m->layers)
        status = dapt_json_fail(layers, "expected %u entries, one a layer", m->layers);
    m->unrotated = dapt_arena_alloc(&m->arena, m->layers * sizeof *m->unrotated);
    if (!m->unrotated) return DAPT_ERROR_MEMORY;
    for (uint32_t l = 0; l < m->layers && !status; l++) {
        int64_t turns = (l + 1) % interval != 0;
        if (listed) status = dapt_json_integer(dapt_json_at(layers, l), 0, 1, &turns);
        m->unrotated[l] = !turns;
    }
    return status;
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
    // Qwen: only layers from max_window_layers on. SmolLM3: only layers that do not turn. Gemma:
    // all but each so-manieth. The others: all.
    bool still = f->keys.rope_layers != NULL, from = f->keys.use_window && !still;
    int64_t size = f->window, first = from ? 28 : 0, interval = f->window_interval;
    if (dapt_json_kind(window) == DAPT_JSON_NULL && (window || !f->window)) use = false;
    if (!use && interval)
        return dapt_json_fail(window, "is null, expected the window of sliding layers");
    if (!status) status = dapt_json_get_integer(c, f->keys.window, 1, INT32_MAX, &size);
    if (!status && f->keys.window_interval)
        status = dapt_json_get_integer(c, f->keys.window_interval, 1, 4096, &interval);
    if (!status && from)
        status = dapt_json_get_integer(c, "max_window_layers", 0, INT32_MAX, &first);
    if (!status && dapt_json_kind(types) == DAPT_JSON_ARRAY && dapt_json_count(types) != m->layers)
        status = dapt_json_fail(types, "expected %u entries, one a layer", m->layers);
    for (uint32_t l = 0; l < m->layers && !status; l++) {
        bool slides = use && l >= first && (!still || m->unrotated[l]) &&
                      (!interval || (l + 1) % interval);
        if (dapt_json_kind(types) == DAPT_JSON_ARRAY) {
            const char *type = "";
            status = dapt_json_string(dapt_json_at(types, l), &type);
            if (!status && strcmp(type, "full_attention") != 0 &&
                strcmp(type, "sliding_attention") != 0)
                status = dapt_json_fail(dapt_json_at(types, l),
                                        "expected \"full_attention\" or \"sliding_attention\"");
            bool typed = use && strcmp(type, "sliding_attention") == 0;
            if (!status && typed != slides && !f->keys.use_window && !interval)
                status = dapt_json_fail(dapt_json_at(types, l),
                                        "layers of model_type \"%s\" are all alike, and \"%s\" is "
                                        "%s: this is another model",
                                        f->type, f->keys.window, use ? "given" : "not given");
            slides = typed;
        }
        m->windows[l] = slides ? (int32_t)size : 0;
    }
    return status;
}

// The tables of layers that see everything and of those with a window, as far as there are any.
static enum dapt_status read_ropes_by_type(struct dapt_model *m, struct dapt_rope_options options) {
    static const char *const types[DAPT_ROPES] = {"full_attention", "sliding_attention"};
    enum dapt_status status = DAPT_OK;
    uint32_t count = 0;
    for (int local = 0; local < DAPT_ROPES && !status; local++) {
        bool any = false;
        for (uint32_t l = 0; l < m->layers; l++) {
            if ((m->windows[l] != 0) != local) continue;
            m->rope_of[l] = count;
            any = true;
        }
        options.layer_type = types[local];
        options.local = local;
        if (local) options.theta = m->family->local_theta;
        if (local) options.theta_key = m->family->keys.local_theta;
        if (any) status = dapt_rope_read(m->config, &options, &m->arena, &m->ropes[count++]);
    }
    return status;
}

static enum dapt_status read_ropes(struct dapt_model *m) {
    const struct dapt_rope_options options = {.head_size = m->head_size,
                                              .max_positions = m->max_positions,
                                              .theta = m->family->rope_theta,
                                              .original = m->family->rope_original,
                                              .share = m->family->rope_share,
                                              .share_key = m->family->keys.rope_share,
                                              .theta_key = m->family->keys.rope_theta};
    m->rope_of = dapt_arena_alloc(&m->arena, m->layers * sizeof *m->rope_of);
    if (!m->rope_of) return DAPT_ERROR_MEMORY;
    if (m->family->learned_positions) return DAPT_OK;
    if (m->family->local_theta > 0) return read_ropes_by_type(m, options);
    return dapt_rope_read(m->config, &options, &m->arena, &m->ropes[0]);
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
    if (!status) status = read_encoder(m);
    if (!status) status = refuse_others(m);
    if (!status) status = read_scales(m);
    if (!status) status = read_unrotated(m);
    if (!status) status = read_windows(m);
    if (!status) status = read_ropes(m);
    if (!status) status = dapt_slots_place(m);
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
    return dapt_model_open_on(folder, NULL, model);
}

enum dapt_status dapt_model_open_whole(const char *folder, struct dapt_model **model) {
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
                                m->head_size,  m->feed_forward, m->vocab,    m->ropes[0].size,
                                m->tied,       m->bias_qkv,     m->bias_out, m->bias_mlp,
                                m->activation, m->weight_count};
    dapt_hasher_add_string(hasher, m->family->type);
    dapt_hasher_add(hasher, numbers, sizeof numbers);
    dapt_hasher_add(hasher, &m->norm_eps, sizeof m->norm_eps);
    dapt_hasher_add(hasher, m->windows, m->layers * sizeof *m->windows);
    for (int i = 0; i < DAPT_ROPES; i++) {
        const struct dapt_rope *rope = &m->ropes[i];
        dapt_hasher_add(hasher, rope->frequency, rope->size / 2 * sizeof *rope->frequency);
        if (rope->size && rope->scale != 1)
            dapt_hasher_add(hasher, &rope->scale, sizeof rope->scale);
    }
    if (m->family->keys.parallel) dapt_hasher_add(hasher, &m->parallel, sizeof m->parallel);
    if (m->unrotated) dapt_hasher_add(hasher, m->unrotated, m->layers * sizeof *m->unrotated);
    if (m->family->keys.attention_scale) {
        const float scales[] = {m->embedding_scale, m->attention_scale, m->residual_scale,
                                m->logit_scale};
        dapt_hasher_add(hasher, scales, sizeof scales);
    }
    if (m->family->keys.query_scale) {
        const float caps[] = {m->attention_scale, m->attention_cap, m->logit_cap};
        dapt_hasher_add(hasher, caps, sizeof caps);
    }
    if (m->first_position) dapt_hasher_add(hasher, &m->first_position, sizeof m->first_position);
    if (m->adapters) {
        dapt_hasher_add(hasher, &m->adapters->rank, sizeof m->adapters->rank);
        dapt_hasher_add(hasher, &m->adapters->factor, sizeof m->adapters->factor);
        for (size_t i = m->adapters->first; i < m->parameter_count; i++)
            dapt_hasher_add_string(hasher, m->parameters[i].name);
    }
    *hash = dapt_hasher_value(hasher);
    dapt_hasher_destroy(&hasher);
    return DAPT_OK;
}

double dapt_model_flops(const struct dapt_model *m, uint32_t length) {
    double matrices = 0, head = (double)m->vocab * m->hidden;
    for (size_t i = 0; i < (size_t)m->parameter_count; i++) {
        const struct dapt_parameter *p = &m->parameters[i];
        bool table = i == m->slots[DAPT_SLOT_EMBED] || i == m->slots[DAPT_SLOT_POSITION] ||
                     i == m->slots[DAPT_SLOT_TYPE] || i == m->slots[DAPT_SLOT_HEAD];
        if (p->rank == 2 && !table) matrices += (double)p->count;
    }
    double attention = 0;
    for (uint32_t l = 0; l < m->layers; l++) {
        double seen = m->masked ? length : length / 2.0;
        if (m->windows[l] && (uint32_t)m->windows[l] < length) seen = m->windows[l];
        attention += 4 * seen * m->heads * m->head_size;
    }
    return 2 * (matrices + head) + attention;
}
