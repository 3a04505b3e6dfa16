#include "model/rope.h"

#include <math.h>
#include <string.h>

// What is read of one type of layers.
struct settings {
    const struct dapt_json *config, *from;  // where a missing key would stand
    const struct dapt_rope_options *options;
    double theta, share, factor, original;
};

// ------------------------------------------------------------------------------------------ reading

static bool holds(const struct dapt_json *value) {
    return dapt_json_kind(value) == DAPT_JSON_OBJECT && dapt_json_count(value) > 0;
}

static bool is_given(const struct dapt_json *object, const char *key) {
    return dapt_json_kind(dapt_json_member(object, key)) != DAPT_JSON_NULL;
}

static enum dapt_status need(const struct settings *s, const char *type, const char *key) {
    if (is_given(s->from, key)) return DAPT_OK;
    return dapt_json_fail(s->from, "rope type \"%s\" needs the key \"%s\", which is missing", type,
                          key);
}

// The object with the settings. Of one type of layers: "rope_parameters" has an object for each,
// and the "rope_scaling" of older files is of those that see everything; what stands otherwise
// there transformers passes over.
static enum dapt_status find_settings(const struct dapt_json *config,
                                      const struct dapt_rope_options *options,
                                      const struct dapt_json **from) {
    const struct dapt_json *scaling = dapt_json_member(config, "rope_scaling"),
                           *parameters = dapt_json_member(config, "rope_parameters");
    *from = holds(scaling) ? scaling : holds(parameters) ? parameters : NULL;
    if (!options->layer_type) return DAPT_OK;
    if (holds(scaling) && holds(parameters))
        return dapt_json_fail(scaling, "stands beside rope_parameters: expected one of them");
    if (holds(scaling) && !is_given(scaling, "rope_type"))
        return dapt_json_fail(scaling, "the key \"rope_type\" is missing");
    if (holds(parameters) && !is_given(parameters, "full_attention") &&
        !is_given(parameters, "sliding_attention"))
        return dapt_json_fail(parameters,
                              "expected \"full_attention\" and \"sliding_attention\", "
                              "each with settings of its own");
    if (holds(parameters)) *from = dapt_json_member(parameters, options->layer_type);
    if (holds(scaling) && options->local) *from = NULL;
    return DAPT_OK;
}

static enum dapt_status read_share(struct settings *s, const char *type) {
    const struct dapt_rope_options *o = s->options;
    const char *key = "partial_rotary_factor";
    double share = 1;
    enum dapt_status status = dapt_json_get_real(s->config, key, 1e-3, 1, &share);
    if (!status) status = dapt_json_get_real(s->from, key, 1e-3, 1, &share);
    if (o->share == 0) {  // a family of whole heads: transformers passes over it, or fails
        s->share = 1;
        if (!status && share != 1 && strcmp(type, "default") != 0)
            status = dapt_json_fail(
                s->config,
                "partial_rotary_factor %g with rope type \"%s\": models of this "
                "type turn whole heads",
                share, type);
        return status;
    }
    s->share = o->share;
    if (!status)
        status = dapt_json_get_real(s->config, o->share_key ? o->share_key : key, 1e-3, 1,
                                    &s->share);
    return status ? status : dapt_json_get_real(s->from, key, 1e-3, 1, &s->share);
}

static enum dapt_status read_common(struct settings *s, const char *type) {
    const struct dapt_rope_options *o = s->options;
    s->theta = o->theta ? o->theta : 10000;
    s->factor = 1;
    s->original = o->max_positions;
    const char *key = o->theta_key ? o->theta_key : "rope_theta";
    enum dapt_status status = dapt_json_get_real(s->config, key, 1, 1e15, &s->theta);
    if (!status) status = dapt_json_get_real(s->from, "rope_theta", 1, 1e15, &s->theta);
    if (!status) status = dapt_json_get_real(s->from, "factor", 1e-3, 1e6, &s->factor);
    if (!status)
        status = dapt_json_get_real(s->from, "original_max_position_embeddings", 1, 1e9,
                                    &s->original);
    // Phi-3 and others keep it at the top, where it comes first.
    if (o->original) s->original = o->original;
    if (!status)
        status = dapt_json_get_real(s->config, "original_max_position_embeddings", 1, 1e9,
                                    &s->original);
    return status ? status : read_share(s, type);
}

// --------------------------------------------------------------------------------------- the types
//
// Each changes the frequencies 1 / theta^(2i / size), in float, as transformers computes them.

static enum dapt_status apply_none(const struct settings *s, struct dapt_rope *rope) {
    (void)s, (void)rope;
    return DAPT_OK;
}

static enum dapt_status apply_linear(const struct settings *s, struct dapt_rope *rope) {
    for (uint32_t i = 0; i < rope->size / 2; i++)
        rope->frequency[i] = (float)((double)rope->frequency[i] / s->factor);
    return DAPT_OK;
}

// Other frequencies hold beyond the model's own positions, where no sequence of ours goes.
static enum dapt_status apply_dynamic(const struct settings *s, struct dapt_rope *rope) {
    rope->limit = s->options->max_positions;
    return DAPT_OK;
}

// Long waves are stretched, short ones kept, with a ramp between (Llama 3.1).
static enum dapt_status apply_llama3(const struct settings *s, struct dapt_rope *rope) {
    double low = 1, high = 4;
    enum dapt_status status = dapt_json_get_real(s->from, "low_freq_factor", 1e-6, 1e6, &low);
    if (!status) status = dapt_json_get_real(s->from, "high_freq_factor", 1e-6, 1e6, &high);
    if (!status && !(high > low))
        status = dapt_json_fail(dapt_json_member(s->from, "high_freq_factor"),
                                "is %g, expected more than low_freq_factor, %g", high, low);
    for (uint32_t i = 0; i < rope->size / 2 && !status; i++) {
        double frequency = rope->frequency[i], turns = s->original * frequency / (2 * M_PI);
        double smooth = fmin(1, fmax(0, (turns - low) / (high - low)));
        rope->frequency[i] = (float)((1 - smooth) * frequency / s->factor + smooth * frequency);
    }
    return status;
}

// The dimension whose wave turns so often within the original length (Peng et al. 2023).
static double yarn_dimension(const struct settings *s, const struct dapt_rope *rope, double turns) {
    return rope->size * log(s->original / (turns * 2 * M_PI)) / (2 * log(s->theta));
}

static double yarn_scale(double factor, double weight) {
    return factor <= 1 ? 1 : 0.1 * weight * log(factor) + 1;
}

static enum dapt_status apply_yarn(const struct settings *s, struct dapt_rope *rope) {
    double fast = 32, slow = 1, weight = 0, weight_all = 0, scale = 0;
    bool truncate = true;
    enum dapt_status status = dapt_json_get_real(s->from, "beta_fast", 0, 1e6, &fast);
    if (!status) status = dapt_json_get_real(s->from, "beta_slow", 0, 1e6, &slow);
    if (!status) status = dapt_json_get_real(s->from, "mscale", 0, 1e3, &weight);
    if (!status) status = dapt_json_get_real(s->from, "mscale_all_dim", 0, 1e3, &weight_all);
    if (!status) status = dapt_json_get_real(s->from, "attention_factor", 0, 1e3, &scale);
    if (!status) status = dapt_json_get_bool(s->from, "truncate", &truncate);
    if (status) return status;
    if (!is_given(s->from, "attention_factor"))
        scale = weight > 0 && weight_all > 0
                    ? yarn_scale(s->factor, weight) / yarn_scale(s->factor, weight_all)
                    : yarn_scale(s->factor, 1);
    double low = yarn_dimension(s, rope, fast > 0 ? fast : 32),
           high = yarn_dimension(s, rope, slow > 0 ? slow : 1);
    low = fmax(truncate ? floor(low) : low, 0);
    high = fmin(truncate ? ceil(high) : high, rope->size - 1.0);
    if (low == high) high += 0.001;
    for (uint32_t i = 0; i < rope->size / 2; i++) {
        double stretched = fmin(1, fmax(0, (i - low) / (high - low)));
        double frequency = rope->frequency[i];
        rope->frequency[i] = (float)(frequency / s->factor * stretched +
                                     frequency * (1 - stretched));
    }
    rope->scale = (float)scale;
    return DAPT_OK;
}

// A factor for each frequency; the long ones hold for longer sequences than the original (Ding et al.
// 2024).
static enum dapt_status apply_longrope(const struct settings *s, struct dapt_rope *rope) {
    const struct dapt_json *factors = dapt_json_member(s->from, "short_factor");
    double scale = 0, factor = is_given(s->from, "factor")
                                   ? s->factor
                                   : s->options->max_positions / s->original;
    if (dapt_json_kind(factors) != DAPT_JSON_ARRAY || dapt_json_count(factors) != rope->size / 2)
        return dapt_json_fail(factors, "expected an array of %u numbers, one for each frequency",
                              rope->size / 2);
    enum dapt_status status = dapt_json_get_real(s->from, "attention_factor", 0, 1e3, &scale);
    if (!is_given(s->from, "attention_factor"))
        scale = factor <= 1 ? 1 : sqrt(1 + log(factor) / log(s->original));
    for (uint32_t i = 0; i < rope->size / 2 && !status; i++) {
        double each = 1;
        status = dapt_json_number(dapt_json_at(factors, i), &each);
        if (!status && !(each >= 1e-3 && each <= 1e6))
            status = dapt_json_fail(dapt_json_at(factors, i),
                                    "is %g, expected a number from 0.001 to 1e+06", each);
        rope->frequency[i] = (float)((double)rope->frequency[i] / each);
    }
    rope->scale = (float)scale;
    rope->limit = (uint32_t)s->original;
    return status;
}

static const struct {
    const char *name;
    const char *needs[3];  // keys without which it is not defined
    enum dapt_status (*apply)(const struct settings *s, struct dapt_rope *rope);
} types[] = {
    {"default", {NULL}, apply_none},
    {"linear", {"factor"}, apply_linear},
    {"dynamic", {"factor"}, apply_dynamic},
    {"llama3", {"factor", "low_freq_factor", "high_freq_factor"}, apply_llama3},
    {"yarn", {"factor"}, apply_yarn},
    {"longrope", {"short_factor", "long_factor"}, apply_longrope},
};
#define TYPES (sizeof types / sizeof types[0])

enum dapt_status dapt_rope_read(const struct dapt_json *config,
                                const struct dapt_rope_options *options, struct dapt_arena *arena,
                                struct dapt_rope *rope) {
    struct settings s = {.config = config, .options = options};
    const char *name = "default";
    size_t type = 0;
    enum dapt_status status = find_settings(config, options, &s.from);
    if (!status) status = dapt_json_get_string(s.from, "type", &name);
    if (!status) status = dapt_json_get_string(s.from, "rope_type", &name);
    if (status) return status;
    while (type < TYPES && strcmp(types[type].name, name) != 0) type++;
    if (type == TYPES)
        return dapt_json_fail(
            s.from,
            "rope type \"%.32s\" is not supported; supported are default, linear, "
            "dynamic, llama3, yarn, longrope",
            name);
    if (options->original && types[type].apply != apply_none && types[type].apply != apply_longrope)
        return dapt_json_fail(
            s.from, "rope type \"%s\" is not one of this model_type's: default, longrope", name);
    for (int i = 0; i < 3 && types[type].needs[i] && !status; i++)
        status = need(&s, name, types[type].needs[i]);
    if (!status) status = read_common(&s, name);
    if (status) return status;
    *rope = (struct dapt_rope){.size = (uint32_t)(options->head_size * s.share),
                               .scale = 1,
                               .theta = s.theta,
                               .factor = s.factor,
                               .original = s.original};
    if (rope->size < 2 || rope->size % 2)
        return dapt_json_fail(config, "%u rotary dimensions a head: expected an even number",
                              rope->size);
    rope->frequency = dapt_arena_alloc(arena, rope->size / 2 * sizeof *rope->frequency);
    if (!rope->frequency) return DAPT_ERROR_MEMORY;
    for (uint32_t i = 0; i < rope->size / 2; i++)
        rope->frequency[i] = (float)(1.0 / pow(s.theta, 2.0 * i / rope->size));
    return types[type].apply(&s, rope);
}

void dapt_rope_table(const struct dapt_rope *rope, uint32_t positions, uint32_t stride,
                     float *table) {
    uint32_t half = rope->size / 2;
    for (uint32_t p = 0; p < positions; p++)
        for (uint32_t i = 0; i < half; i++) {
            float angle = (float)p * rope->frequency[i];
            table[(size_t)p * stride + i] = (float)cos((double)angle) * rope->scale;
            table[(size_t)p * stride + half + i] = (float)sin((double)angle) * rope->scale;
        }
}
