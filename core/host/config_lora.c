// The form of train.lora.
#include <string.h>

#include "host/config_forms.h"
#include "host/json.h"

// "all-linear" is NULL.
static enum dapt_status read_targets(struct dapt_config *config, const struct dapt_json *value,
                                     struct dapt_lora *lora) {
    const char *text = "";
    if (!value) return DAPT_OK;
    if (dapt_json_kind(value) == DAPT_JSON_STRING) dapt_json_string(value, &text);
    if (strcmp(text, "all-linear") == 0) return DAPT_OK;
    if (dapt_json_kind(value) != DAPT_JSON_ARRAY || !dapt_json_count(value))
        return dapt_form_fail(value, "\"all-linear\" or an array of patterns");
    return dapt_form_read_texts(config, value, DAPT_FIELD_STRINGS, &lora->targets);
}

// false, or a factor.
static enum dapt_status read_embeddings(const struct dapt_json *value, double *factor) {
    bool truth = true;
    if (!value) return DAPT_OK;
    if (dapt_json_kind(value) == DAPT_JSON_BOOL) dapt_json_bool(value, &truth);
    if (!truth) return DAPT_OK;
    if (dapt_json_kind(value) != DAPT_JSON_NUMBER || dapt_json_number(value, factor) ||
        !(*factor >= 1e-6 && *factor <= 1e6))
        return dapt_form_fail(value, "false, or a factor of the learning rate from 1e-6 to 1e6");
    return DAPT_OK;
}

static const char *const base_types[] = {[DAPT_BASE_F32] = "float32",
                                         [DAPT_BASE_BF16] = "bfloat16",
                                         [DAPT_BASE_INT8] = "int8",
                                         [DAPT_BASE_NF4] = "nf4"};

static enum dapt_status read_base(const struct dapt_json *value, enum dapt_base_type *base) {
    const char *text = "";
    if (!value) return DAPT_OK;
    if (dapt_json_kind(value) == DAPT_JSON_STRING) dapt_json_string(value, &text);
    for (size_t i = 0; i < sizeof base_types / sizeof *base_types; i++) {
        if (strcmp(text, base_types[i]) != 0) continue;
        *base = (enum dapt_base_type)i;
        return DAPT_OK;
    }
    return dapt_form_fail(value, "\"float32\", \"bfloat16\", \"int8\" or \"nf4\"");
}

enum dapt_status dapt_form_read_lora(struct dapt_config *config, const struct dapt_field *field,
                                     const struct dapt_json *value) {
    static const char *const keys[] = {"rank",    "alpha",      "targets", "rslora",
                                       "dropout", "embeddings", "base",    NULL};
    int64_t rank = 8;
    struct dapt_lora *lora = dapt_arena_alloc(&config->arena, sizeof *lora);
    (void)field;
    if (!lora) return DAPT_ERROR_MEMORY;
    if (dapt_json_kind(value) != DAPT_JSON_OBJECT)
        return dapt_form_fail(value, "an object such as {\"rank\": 16, \"alpha\": 32}");
    *lora = (struct dapt_lora){.alpha = 8};
    enum dapt_status status = dapt_form_only(value, keys);
    if (!status) status = dapt_json_get_integer(value, "rank", 1, 4096, &rank);
    if (!status) status = dapt_json_get_real(value, "alpha", 1e-6, 1e6, &lora->alpha);
    if (!status) status = dapt_json_get_bool(value, "rslora", &lora->rslora);
    if (!status) status = dapt_json_get_number(value, "dropout", &lora->dropout);
    if (!status && !(lora->dropout >= 0 && lora->dropout <= 0.99))
        status = dapt_form_fail(dapt_json_member(value, "dropout"), "a share from 0 to 0.99");
    if (!status) status = read_targets(config, dapt_json_member(value, "targets"), lora);
    if (!status) status = read_embeddings(dapt_json_member(value, "embeddings"), &lora->embeddings);
    if (!status) status = read_base(dapt_json_member(value, "base"), &lora->base);
    lora->rank = (uint32_t)rank;
    config->train.lora = lora;
    return status;
}

enum dapt_status dapt_form_write_lora(const struct dapt_config *config,
                                      const struct dapt_field *field, struct dapt_string *out) {
    const struct dapt_lora *lora = config->train.lora;
    (void)field;
    if (!lora) return DAPT_OK;
    enum dapt_status status = dapt_string_format(out, "{\"rank\": %u, \"alpha\": ", lora->rank);
    if (!status) status = dapt_json_write_number(out, lora->alpha);
    if (!status) status = dapt_string_format(out, ", \"targets\": ");
    if (!status)
        status = lora->targets ? dapt_form_write_texts(lora->targets, out)
                               : dapt_string_format(out, "\"all-linear\"");
    if (!status)
        status = dapt_string_format(
            out, ", \"rslora\": %s, \"dropout\": ", lora->rslora ? "true" : "false");
    if (!status) status = dapt_json_write_number(out, lora->dropout);
    if (!status) status = dapt_string_format(out, ", \"embeddings\": ");
    if (!status)
        status = lora->embeddings > 0 ? dapt_json_write_number(out, lora->embeddings)
                                      : dapt_string_format(out, "false");
    // Left out where it is as in runs that were begun before there were others.
    if (!status && lora->base != DAPT_BASE_F32)
        status = dapt_string_format(out, ", \"base\": \"%s\"", base_types[lora->base]);
    return status ? status : dapt_string_add(out, "}", 1);
}
