// How each type of field is read and written.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/files.h"
#include "base/nearest.h"
#include "host/config_fields.h"
#include "host/config_forms.h"
#include "host/config_hints.h"
#include "host/json.h"
#include "host/module.h"

static const char *keep(struct dapt_config *config, const char *text) {
    return dapt_arena_copy(&config->arena, text, strlen(text));
}

enum dapt_status dapt_form_fail(const struct dapt_json *value, const char *expected) {
    char text[64];
    return dapt_json_fail(value, "expected %s, got %s", expected, dapt_json_excerpt(value, text));
}

// ------------------------------------------------------------------------------------------------------------ numbers

static enum dapt_status read_u32(struct dapt_config *config, const struct dapt_field *field,
                                 const struct dapt_json *value) {
    int64_t integer;
    enum dapt_status status = dapt_json_integer(value, (int64_t)field->minimum,
                                                (int64_t)field->maximum, &integer);
    if (!status) *(uint32_t *)dapt_form_slot(config, field) = (uint32_t)integer;
    return status;
}

static enum dapt_status write_u32(const struct dapt_config *config, const struct dapt_field *field,
                                  struct dapt_string *out) {
    return dapt_string_format(out, "%u", *(uint32_t *)dapt_form_slot(config, field));
}

static enum dapt_status read_u32_auto(struct dapt_config *config, const struct dapt_field *field,
                                      const struct dapt_json *value) {
    const char *text;
    if (dapt_json_kind(value) != DAPT_JSON_STRING) return read_u32(config, field, value);
    if (dapt_json_string(value, &text) || strcmp(text, "auto") != 0)
        return dapt_form_fail(value, "a whole number or \"auto\"");
    *(uint32_t *)dapt_form_slot(config, field) = DAPT_AUTO;
    return DAPT_OK;
}

static enum dapt_status write_u32_auto(const struct dapt_config *config,
                                       const struct dapt_field *field, struct dapt_string *out) {
    bool chosen = *(uint32_t *)dapt_form_slot(config, field) == DAPT_AUTO;
    return chosen ? dapt_json_write_string(out, "auto") : write_u32(config, field, out);
}

static enum dapt_status read_u64(struct dapt_config *config, const struct dapt_field *field,
                                 const struct dapt_json *value) {
    int64_t integer;
    enum dapt_status status = dapt_json_integer(value, (int64_t)field->minimum,
                                                (int64_t)field->maximum, &integer);
    if (!status) *(uint64_t *)dapt_form_slot(config, field) = (uint64_t)integer;
    return status;
}

static enum dapt_status write_u64(const struct dapt_config *config, const struct dapt_field *field,
                                  struct dapt_string *out) {
    uint64_t number = *(uint64_t *)dapt_form_slot(config, field);
    if (number == 0 && !field->fallback) return DAPT_OK;  // not given
    return dapt_string_format(out, "%llu", (unsigned long long)number);
}

// "50M": a decimal number and a power of 1000.
static bool amount(const char *text, double *number) {
    static const struct {
        char letter;
        double factor;
    } suffixes[] = {{'k', 1e3}, {'K', 1e3}, {'M', 1e6}, {'G', 1e9}, {'T', 1e12}};
    if (*text < '0' || *text > '9' || strspn(text, "0123456789.") > 15) return false;
    char *end;
    *number = strtod(text, &end);
    if ((size_t)(end - text) != strspn(text, "0123456789.")) return false;
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
        if (end[0] != suffixes[i].letter || end[1]) continue;
        *number = nearbyint(*number * suffixes[i].factor * 1e6) / 1e6;
        return true;
    }
    return *end == '\0';
}

static enum dapt_status read_amount(struct dapt_config *config, const struct dapt_field *field,
                                    const struct dapt_json *value) {
    if (dapt_json_kind(value) != DAPT_JSON_STRING) return read_u64(config, field, value);
    const char *text;
    double number;
    dapt_json_string(value, &text);
    if (!amount(text, &number) || number != floor(number)) {
        return dapt_form_fail(value, "an integer, or one like \"50M\" (k, M, G, T)");
    }
    if (!(number >= field->minimum && number <= field->maximum)) {
        return dapt_json_fail(value, "expected %.0f to %.0f, got \"%s\"", field->minimum,
                              field->maximum, text);
    }
    *(uint64_t *)dapt_form_slot(config, field) = (uint64_t)number;
    return DAPT_OK;
}

static enum dapt_status read_number(struct dapt_config *config, const struct dapt_field *field,
                                    const struct dapt_json *value) {
    double number;
    enum dapt_status status = dapt_json_number(value, &number);
    if (status) return status;
    if (!(number >= field->minimum && number <= field->maximum)) {
        char text[64];
        return dapt_json_fail(value, "expected a number from %g to %g, got %s", field->minimum,
                              field->maximum, dapt_json_excerpt(value, text));
    }
    *(double *)dapt_form_slot(config, field) = number;
    return DAPT_OK;
}

static enum dapt_status write_number(const struct dapt_config *config,
                                     const struct dapt_field *field, struct dapt_string *out) {
    double number = *(double *)dapt_form_slot(config, field);
    return number == 0 && !field->fallback ? DAPT_OK : dapt_json_write_number(out, number);
}

static enum dapt_status read_bool(struct dapt_config *config, const struct dapt_field *field,
                                  const struct dapt_json *value) {
    return dapt_json_bool(value, dapt_form_slot(config, field));
}

static enum dapt_status write_bool(const struct dapt_config *config, const struct dapt_field *field,
                                   struct dapt_string *out) {
    return dapt_string_format(out, "%s", *(bool *)dapt_form_slot(config, field) ? "true" : "false");
}

static enum dapt_status read_betas(struct dapt_config *config, const struct dapt_field *field,
                                   const struct dapt_json *value) {
    double *betas[2] = {&config->train.optimizer.beta1, &config->train.optimizer.beta2};
    (void)field;
    if (dapt_json_kind(value) != DAPT_JSON_ARRAY || dapt_json_count(value) != 2)
        return dapt_form_fail(value, "an array of two numbers");
    for (size_t i = 0; i < 2; i++) {
        const struct dapt_json *element = dapt_json_at(value, i);
        enum dapt_status status = dapt_json_number(element, betas[i]);
        if (status) return status;
        if (!(*betas[i] >= 0 && *betas[i] < 1))
            return dapt_form_fail(element, "a number of at least 0 and below 1");
    }
    return DAPT_OK;
}

static enum dapt_status write_betas(const struct dapt_config *config,
                                    const struct dapt_field *field, struct dapt_string *out) {
    (void)field;
    enum dapt_status status = dapt_string_add(out, "[", 1);
    if (!status) status = dapt_json_write_number(out, config->train.optimizer.beta1);
    if (!status) status = dapt_string_add(out, ", ", 2);
    if (!status) status = dapt_json_write_number(out, config->train.optimizer.beta2);
    return status ? status : dapt_string_add(out, "]", 1);
}

// ------------------------------------------------------------------------------------------------------------- strings

static enum dapt_status read_text(struct dapt_config *config, const struct dapt_json *value,
                                  const char **place) {
    const char *text;
    enum dapt_status status = dapt_json_string(value, &text);
    if (status) return status;
    if (!*text) return dapt_form_fail(value, "a string that is not empty");
    *place = keep(config, text);
    return *place ? DAPT_OK : DAPT_ERROR_MEMORY;
}

static enum dapt_status read_string(struct dapt_config *config, const struct dapt_field *field,
                                    const struct dapt_json *value) {
    return read_text(config, value, dapt_form_slot(config, field));
}

static enum dapt_status write_string(const struct dapt_config *config,
                                     const struct dapt_field *field, struct dapt_string *out) {
    const char *text = *(const char **)dapt_form_slot(config, field);
    return text ? dapt_json_write_string(out, text) : DAPT_OK;
}

// A device's number is kept as its digits.
static enum dapt_status read_one_device(struct dapt_config *config, const struct dapt_json *value,
                                        const char **device) {
    char digits[24];
    int64_t number;
    if (dapt_json_kind(value) == DAPT_JSON_STRING) return read_text(config, value, device);
    if (dapt_json_kind(value) != DAPT_JSON_NUMBER)
        return dapt_form_fail(value, "a device's number, name or UUID, or an array of these");
    enum dapt_status status = dapt_json_integer(value, 0, 999999999, &number);
    if (status) return status;
    snprintf(digits, sizeof digits, "%lld", (long long)number);
    *device = keep(config, digits);
    return *device ? DAPT_OK : DAPT_ERROR_MEMORY;
}

static enum dapt_status read_devices(struct dapt_config *config, const struct dapt_field *field,
                                     const struct dapt_json *value) {
    bool many = dapt_json_kind(value) == DAPT_JSON_ARRAY;
    size_t count = many ? dapt_json_count(value) : 1;
    if (!count) return dapt_form_fail(value, "at least one device");
    const char **devices = dapt_arena_alloc(&config->arena, (count + 1) * sizeof *devices);
    enum dapt_status status = devices ? DAPT_OK : DAPT_ERROR_MEMORY;
    for (size_t i = 0; !status && i < count; i++)
        status = read_one_device(config, many ? dapt_json_at(value, i) : value, &devices[i]);
    if (!status) *(const char *const **)dapt_form_slot(config, field) = devices;
    return status;
}

static enum dapt_status write_devices(const struct dapt_config *config,
                                      const struct dapt_field *field, struct dapt_string *out) {
    const char *const *devices = *(const char *const **)dapt_form_slot(config, field);
    if (!devices) return DAPT_OK;
    return devices[1] ? dapt_form_write_texts(devices, out)
                      : dapt_json_write_string(out, devices[0]);
}

// ------------------------------------------------------------------------------------------------------------- choices

_Static_assert(sizeof(enum dapt_packing) == sizeof(unsigned), "members of choices are read alike");

static enum dapt_status read_choice(struct dapt_config *config, const struct dapt_field *field,
                                    const struct dapt_json *value) {
    const char *text;
    if (dapt_json_kind(value) == DAPT_JSON_STRING && !dapt_json_string(value, &text) &&
        dapt_field_choose(field, text, dapt_form_slot(config, field)))
        return DAPT_OK;
    struct dapt_string known = {0};
    enum dapt_status status = dapt_field_choices(field, &known);
    if (!status) status = dapt_form_fail(value, known.data);
    dapt_string_free(&known);
    return status;
}

static enum dapt_status write_choice(const struct dapt_config *config,
                                     const struct dapt_field *field, struct dapt_string *out) {
    return dapt_json_write_string(out, field->choices[*(unsigned *)dapt_form_slot(config, field)]);
}

// --------------------------------------------------------------------------------------------------------------- paths

enum dapt_status dapt_form_path(struct dapt_config *config, const struct dapt_json *value,
                                const char **path) {
    const char *text;
    enum dapt_status status = dapt_json_string(value, &text);
    if (status) return status;
    if (!*text) return dapt_form_fail(value, "a path");
    const char *home = getenv("HOME");
    bool below_home = text[0] == '~' && text[1] == '/' && home && home[0] == '/';
    *path = dapt_path_join(&config->arena, below_home ? home : config->folder,
                           below_home ? text + 2 : text);
    return *path ? DAPT_OK : DAPT_ERROR_MEMORY;
}

static enum dapt_status read_path(struct dapt_config *config, const struct dapt_field *field,
                                  const struct dapt_json *value) {
    return dapt_form_path(config, value, dapt_form_slot(config, field));
}

// A list of texts; paths are made absolute.
enum dapt_status dapt_form_read_texts(struct dapt_config *config, const struct dapt_json *value,
                                      enum dapt_field_type type, const char *const **list) {
    bool paths = type == DAPT_FIELD_PATHS;
    if (dapt_json_kind(value) != DAPT_JSON_ARRAY)
        return dapt_form_fail(value, dapt_field_forms[type].name);
    size_t count = dapt_json_count(value);
    const char **texts = dapt_arena_alloc(&config->arena, (count + 1) * sizeof *texts);
    enum dapt_status status = texts ? DAPT_OK : DAPT_ERROR_MEMORY;
    for (size_t i = 0; !status && i < count; i++) {
        const struct dapt_json *item = dapt_json_at(value, i);
        const char *text;
        status = paths ? dapt_form_path(config, item, &texts[i]) : dapt_json_string(item, &text);
        if (paths || status) continue;
        if (!*text) return dapt_form_fail(item, "a text");
        texts[i] = keep(config, text);
        status = texts[i] ? DAPT_OK : DAPT_ERROR_MEMORY;
    }
    *list = texts;
    return status;
}

static enum dapt_status read_list_of_texts(struct dapt_config *config,
                                           const struct dapt_field *field,
                                           const struct dapt_json *value) {
    return dapt_form_read_texts(config, value, field->type, dapt_form_slot(config, field));
}

enum dapt_status dapt_form_write_texts(const char *const *texts, struct dapt_string *out) {
    enum dapt_status status = dapt_string_add(out, "[", 1);
    for (size_t i = 0; !status && texts && texts[i]; i++) {
        if (i) status = dapt_string_add(out, ", ", 2);
        if (!status) status = dapt_json_write_string(out, texts[i]);
    }
    return status ? status : dapt_string_add(out, "]", 1);
}

static enum dapt_status write_list_of_texts(const struct dapt_config *config,
                                            const struct dapt_field *field,
                                            struct dapt_string *out) {
    return dapt_form_write_texts(*(const char *const **)dapt_form_slot(config, field), out);
}

// --------------------------------------------------------------------------------------------------- objects of plugins

static bool listed(const char *name, const char *const *names) {
    for (; *names; names++) {
        if (strcmp(name, *names) == 0) return true;
    }
    return false;
}

enum dapt_status dapt_form_write_name(struct dapt_string *out, const char *lead, const char *name) {
    enum dapt_status status = dapt_string_add(out, lead, strlen(lead));
    if (!status) status = dapt_json_write_string(out, name);
    return status ? status : dapt_string_add(out, ": ", 2);
}

enum dapt_status dapt_form_write_pair(struct dapt_string *out, const char *lead, const char *name,
                                      const char *text) {
    enum dapt_status status = dapt_form_write_name(out, lead, name);
    return status ? status : dapt_json_write_string(out, text);
}

// The members of `object` that are not listed, each with ", " before it.
static enum dapt_status write_others(const struct dapt_json *object, const char *const *names,
                                     struct dapt_string *out) {
    enum dapt_status status = DAPT_OK;
    for (size_t i = 0; !status && i < dapt_json_count(object); i++) {
        const struct dapt_json *member = dapt_json_at(object, i);
        if (listed(dapt_json_name(member), names)) continue;
        status = dapt_form_write_name(out, ", ", dapt_json_name(member));
        if (!status) status = dapt_json_write(member, out);
    }
    return status;
}

enum dapt_status dapt_form_write_options(const struct dapt_config *config, const char *kind,
                                         const char *id, const struct dapt_json *object,
                                         const char *const *names, struct dapt_string *out) {
    enum dapt_status status = write_others(object, names, out);
    const struct dapt_plugin_descriptor *plugin =
        config->modules && id ? dapt_modules_plugin(config->modules, kind, id) : NULL;
    const struct dapt_option *row = plugin ? plugin->options : NULL;
    for (; !status && row && row->name; row++) {
        if (!row->default_value || dapt_json_member(object, row->name)) continue;
        status = dapt_form_write_name(out, ", ", row->name);
        if (!status) status = dapt_option_write_default(row, out);
    }
    return status;
}

static const char *const tokenizer_keys[] = {"plugin", "path", NULL};
static const char *const schedule_keys[] = {"plugin", NULL};

enum dapt_status dapt_form_string(struct dapt_config *config, const struct dapt_json *object,
                                  const char *name, const char **text) {
    const struct dapt_json *member = dapt_json_member(object, name);
    if (!member) return DAPT_OK;
    enum dapt_status status = dapt_json_string(member, text);
    if (status) return status;
    if (!**text) return dapt_form_fail(member, "a string that is not empty");
    *text = keep(config, *text);
    return *text ? DAPT_OK : DAPT_ERROR_MEMORY;
}

// The object itself, NULL when it says nothing: a default's document does not outlive the reading.
static const struct dapt_json *object_options(const struct dapt_json *object) {
    return dapt_json_count(object) ? object : NULL;
}

static enum dapt_status read_tokenizer(struct dapt_config *config, const struct dapt_field *field,
                                       const struct dapt_json *value) {
    (void)field;
    if (dapt_json_kind(value) != DAPT_JSON_OBJECT)
        return dapt_form_fail(value, "an object such as {\"plugin\": \"hf\"}");
    config->tokenizer.plugin = "hf";
    config->tokenizer.options = object_options(value);
    enum dapt_status status = dapt_form_string(config, value, "plugin", &config->tokenizer.plugin);
    const struct dapt_json *path = dapt_json_member(value, "path");
    if (!status && path) status = dapt_form_path(config, path, &config->tokenizer.path);
    return status;
}

static enum dapt_status write_tokenizer(const struct dapt_config *config,
                                        const struct dapt_field *field, struct dapt_string *out) {
    (void)field;
    enum dapt_status status = dapt_form_write_pair(out, "{", "plugin", config->tokenizer.plugin);
    if (!status && config->tokenizer.path)
        status = dapt_form_write_pair(out, ", ", "path", config->tokenizer.path);
    if (!status)
        status = dapt_form_write_options(config, DAPT_TOKENIZER_1, config->tokenizer.plugin,
                                         config->tokenizer.options, tokenizer_keys, out);
    return status ? status : dapt_string_add(out, "}", 1);
}

static enum dapt_status read_schedule(struct dapt_config *config, const struct dapt_field *field,
                                      const struct dapt_json *value) {
    (void)field;
    if (dapt_json_kind(value) != DAPT_JSON_OBJECT)
        return dapt_form_fail(value, "an object such as {\"plugin\": \"cosine\", \"peak\": 1e-4}");
    config->train.schedule.plugin = "cosine";
    config->train.schedule.options = object_options(value);
    return dapt_form_string(config, value, "plugin", &config->train.schedule.plugin);
}

static enum dapt_status write_schedule(const struct dapt_config *config,
                                       const struct dapt_field *field, struct dapt_string *out) {
    (void)field;
    enum dapt_status status = dapt_form_write_pair(out, "{", "plugin",
                                                   config->train.schedule.plugin);
    if (!status)
        status = dapt_form_write_options(config, DAPT_SCHEDULE_1, config->train.schedule.plugin,
                                         config->train.schedule.options, schedule_keys, out);
    return status ? status : dapt_string_add(out, "}", 1);
}

// --------------------------------------------------------------------------------------------------------------- model

enum dapt_status dapt_form_only(const struct dapt_json *object, const char *const *names) {
    for (size_t i = 0; i < dapt_json_count(object); i++) {
        const struct dapt_json *member = dapt_json_at(object, i);
        const char *name = dapt_json_name(member);
        if (listed(name, names)) continue;
        const char *hint = dapt_config_hint(name);
        const char *nearest = hint ? hint : dapt_nearest(name, names);
        if (nearest)
            return dapt_json_fail_name(member, "unknown key, did you mean \"%s\"?", nearest);
        return dapt_json_fail_name(member, "unknown key, not expected here");
    }
    return DAPT_OK;
}

static enum dapt_status read_random(struct dapt_config *config, const struct dapt_json *random) {
    static const char *const keys[] = {"config", NULL};
    if (dapt_json_kind(random) == DAPT_JSON_STRING)
        return dapt_form_path(config, random, &config->model_config);
    if (dapt_json_kind(random) != DAPT_JSON_OBJECT)
        return dapt_form_fail(random, "an object with config.json's keys, or its path");
    const struct dapt_json *path = dapt_json_member(random, "config");
    if (!path) {
        config->model_random = random;
        return DAPT_OK;
    }
    enum dapt_status status = dapt_form_only(random, keys);
    return status ? status : dapt_form_path(config, path, &config->model_config);
}

static enum dapt_status read_model(struct dapt_config *config, const struct dapt_field *field,
                                   const struct dapt_json *value) {
    static const char *const keys[] = {"random", "tokenizer", NULL};
    (void)field;
    if (dapt_json_kind(value) == DAPT_JSON_STRING)
        return dapt_form_path(config, value, &config->model);
    if (dapt_json_kind(value) != DAPT_JSON_OBJECT)
        return dapt_form_fail(value, "a folder, or {\"random\": ...}");
    const struct dapt_json *random = dapt_json_member(value, "random"),
                           *tokenizer = dapt_json_member(value, "tokenizer");
    enum dapt_status status = dapt_form_only(value, keys);
    if (!status && !random)
        status = dapt_json_fail(value, "\"random\" is missing: what the new model is to look like");
    if (!status) status = read_random(config, random);
    if (!status && tokenizer) status = dapt_form_path(config, tokenizer, &config->tokenizer.path);
    return status;
}

static enum dapt_status write_model(const struct dapt_config *config,
                                    const struct dapt_field *field, struct dapt_string *out) {
    (void)field;
    if (config->model) return dapt_json_write_string(out, config->model);
    enum dapt_status status;
    if (config->model_config) {
        status = dapt_form_write_pair(out, "{\"random\": {", "config", config->model_config);
        return status ? status : dapt_string_add(out, "}}", 2);
    }
    status = dapt_string_format(out, "{\"random\": ");
    if (!status) status = dapt_json_write(config->model_random, out);
    return status ? status : dapt_string_add(out, "}", 1);
}

#define TEXTS "\"type\": \"array\", \"items\": {\"type\": \"string\", \"minLength\": 1}"
#define LIST "\"$ref\": \"#/$defs/list\""

const struct dapt_field_form dapt_field_forms[DAPT_FIELD_TYPE_COUNT] = {
    [DAPT_FIELD_U32] = {read_u32, write_u32, "integer", "\"type\": \"integer\""},
    [DAPT_FIELD_U32_AUTO] = {read_u32_auto, write_u32_auto, "integer or \"auto\"",
                             "\"anyOf\": [{\"type\": \"integer\"}, {\"const\": \"auto\"}]"},
    [DAPT_FIELD_U64] = {read_u64, write_u64, "integer", "\"type\": \"integer\""},
    [DAPT_FIELD_AMOUNT] =
        {read_amount, write_u64, "integer or \"50M\"",
         "\"type\": [\"integer\", \"string\"], \"pattern\": \"^[0-9.]+[kKMGT]?$\""},
    [DAPT_FIELD_NUMBER] = {read_number, write_number, "number", "\"type\": \"number\""},
    [DAPT_FIELD_BOOL] = {read_bool, write_bool, "true or false", "\"type\": \"boolean\""},
    [DAPT_FIELD_STRING] = {read_string, write_string, "string",
                           "\"type\": \"string\", \"minLength\": 1"},
    [DAPT_FIELD_DEVICES] = {read_devices, write_devices, "number, string or array of these",
                            "\"type\": [\"integer\", \"string\", \"array\"], \"minLength\": 1, "
                            "\"minItems\": 1, \"items\": {\"type\": [\"integer\", "
                            "\"string\"], \"minLength\": 1}"},
    [DAPT_FIELD_CHOICE] = {read_choice, write_choice, "string", "\"type\": \"string\""},
    [DAPT_FIELD_PATH] = {read_path, write_string, "path", "\"type\": \"string\", \"minLength\": 1"},
    [DAPT_FIELD_PATHS] = {read_list_of_texts, write_list_of_texts, "an array of paths", TEXTS},
    [DAPT_FIELD_STRINGS] = {read_list_of_texts, write_list_of_texts, "an array of strings", TEXTS},
    [DAPT_FIELD_BETAS] = {read_betas, write_betas, "array of two numbers",
                          "\"type\": \"array\", \"minItems\": 2, \"maxItems\": 2, \"items\": "
                          "{\"type\": \"number\", \"minimum\": 0, "
                          "\"exclusiveMaximum\": 1}"},
    [DAPT_FIELD_LORA] =
        {dapt_form_read_lora, dapt_form_write_lora, "object",
         "\"type\": \"object\", \"properties\": {\"rank\": {\"type\": \"integer\"}, \"alpha\": "
         "{\"type\": \"number\"}, \"targets\": {\"type\": [\"string\", \"array\"]}, \"rslora\": "
         "{\"type\": \"boolean\"}, \"dropout\": {\"type\": \"number\"}, \"embeddings\": {\"type\": "
         "[\"boolean\", \"number\"]}, \"base\": {\"enum\": [\"float32\", \"bfloat16\", \"int8\", "
         "\"nf4\"]}}, \"additionalProperties\": false"},
    [DAPT_FIELD_MODEL] = {read_model, write_model, "folder or object",
                          "\"anyOf\": [{\"type\": \"string\", \"minLength\": 1}, {\"type\": "
                          "\"object\", \"properties\": {\"random\": {\"type\": "
                          "[\"object\", \"string\"]}, \"tokenizer\": {\"type\": \"string\"}}, "
                          "\"required\": [\"random\"], "
                          "\"additionalProperties\": false}]"},
    [DAPT_FIELD_TOKENIZER] = {read_tokenizer, write_tokenizer, "object",
                              "\"type\": \"object\", \"properties\": {\"plugin\": {\"type\": "
                              "\"string\"}, \"path\": {\"type\": \"string\"}}"},
    [DAPT_FIELD_SCHEDULE] =
        {read_schedule, write_schedule, "object",
         "\"type\": \"object\", \"properties\": {\"plugin\": {\"type\": \"string\"}}"},
    [DAPT_FIELD_DATA] = {dapt_form_read_data, dapt_form_write_data,
                         "path, object or array of these", LIST},
    [DAPT_FIELD_EVAL] =
        {dapt_form_read_eval, dapt_form_write_eval, "object",
         "\"type\": \"object\", \"propertyNames\": {\"pattern\": \"^[A-Za-z0-9_.-]{1,40}$\"}, "
         "\"additionalProperties\": {" LIST "}"},
    [DAPT_FIELD_BUDGET] = {dapt_form_read_budget, dapt_form_write_budget, "object",
                           "\"type\": \"object\", \"additionalProperties\": {\"type\": "
                           "\"number\", \"minimum\": 0, \"maximum\": 100}"},
};
