// The options of one use of one plugin.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/nearest.h"
#include "host/config_hints.h"
#include "host/json.h"
#include "host/loader.h"
#include "host/module.h"

struct value {
    const char *text;
    double number;
    int64_t integer;
    bool truth;
};

struct dapt_options {
    struct dapt_arena arena;
    const struct dapt_option *table;
    struct value *values;
    size_t count;
};

static bool bounded(const struct dapt_option *row) {
    return row->minimum < row->maximum;
}

static bool in_range(const struct dapt_option *row, double number) {
    return number - number == 0 &&
           (!bounded(row) || (number >= row->minimum && number <= row->maximum));
}

bool dapt_option_default(const struct dapt_option *row, double *number, int64_t *integer,
                         bool *truth) {
    const char *text = row->default_value;
    char *end = NULL;
    switch (row->type) {
    case DAPT_OPTION_STRING: return true;
    case DAPT_OPTION_NUMBER:
        *number = strtod(text, &end);
        return end != text && !*end && in_range(row, *number);
    case DAPT_OPTION_INTEGER:
        *integer = strtoll(text, &end, 10);
        return end != text && !*end && in_range(row, (double)*integer);
    case DAPT_OPTION_BOOL:
        *truth = strcmp(text, "true") == 0;
        return *truth || strcmp(text, "false") == 0;
    }
    return false;
}

enum dapt_status dapt_option_write_default(const struct dapt_option *row, struct dapt_string *out) {
    double number = 0;
    int64_t integer = 0;
    bool truth = false;
    if (!dapt_option_default(row, &number, &integer, &truth))
        return dapt_fail(DAPT_ERROR_INTERNAL, "option \"%s\": its default does not fit its type",
                         row->name);
    switch (row->type) {
    case DAPT_OPTION_STRING: return dapt_json_write_string(out, row->default_value);
    case DAPT_OPTION_NUMBER: return dapt_json_write_number(out, number);
    case DAPT_OPTION_INTEGER: return dapt_string_format(out, "%lld", (long long)integer);
    case DAPT_OPTION_BOOL: return dapt_string_format(out, "%s", truth ? "true" : "false");
    }
    return DAPT_ERROR_INTERNAL;
}

static enum dapt_status read_value(struct dapt_options *options, const struct dapt_option *row,
                                   const struct dapt_json *json, struct value *value) {
    char text[64];
    const char *string;
    enum dapt_status status = DAPT_OK;
    switch (row->type) {
    case DAPT_OPTION_STRING:
        status = dapt_json_string(json, &string);
        if (!status) value->text = dapt_arena_copy(&options->arena, string, strlen(string));
        return status ? status : value->text ? DAPT_OK : DAPT_ERROR_MEMORY;
    case DAPT_OPTION_NUMBER:
        status = dapt_json_number(json, &value->number);
        if (!status && !in_range(row, value->number)) {
            status = dapt_json_fail(json, "expected a number from %g to %g, got %s", row->minimum,
                                    row->maximum, dapt_json_excerpt(json, text));
        }
        return status;
    case DAPT_OPTION_INTEGER:
        status = dapt_json_integer(json, INT64_MIN, INT64_MAX, &value->integer);
        if (!status && !in_range(row, (double)value->integer)) {
            status = dapt_json_fail(json, "expected an integer from %.0f to %.0f, got %s",
                                    row->minimum, row->maximum, dapt_json_excerpt(json, text));
        }
        return status;
    case DAPT_OPTION_BOOL: return dapt_json_bool(json, &value->truth);
    }
    return DAPT_ERROR_INTERNAL;
}

static bool listed(const char *name, const char *const *names) {
    for (; names && *names; names++) {
        if (strcmp(name, *names) == 0) return true;
    }
    return false;
}

static const struct dapt_option *find(const struct dapt_option *table, const char *name) {
    for (; table && table->name; table++) {
        if (strcmp(table->name, name) == 0) return table;
    }
    return NULL;
}

static enum dapt_status check_names(struct dapt_options *options, const struct dapt_json *json,
                                    const char *const *skip) {
    for (size_t i = 0; i < dapt_json_count(json); i++) {
        const struct dapt_json *member = dapt_json_at(json, i);
        const char *name = dapt_json_name(member);
        if (listed(name, skip) || find(options->table, name)) continue;
        const char *names[DAPT_MAX_OPTIONS + 1] = {0};
        for (size_t k = 0; k < options->count && k < DAPT_MAX_OPTIONS; k++)
            names[k] = options->table[k].name;
        const char *hint = dapt_config_hint(name), *dot = hint ? strrchr(hint, '.') : NULL;
        const char *nearest = dot && listed(dot + 1, names) ? dot + 1 : dapt_nearest(name, names);
        if (nearest)
            return dapt_json_fail_name(member, "unknown option, did you mean \"%s\"?", nearest);
        struct dapt_string known = {0};
        for (const char **n = names; *n; n++)
            dapt_string_format(&known, "%s%s", n == names ? "" : ", ", *n);
        enum dapt_status status =
            known.length ? dapt_json_fail_name(member, "unknown option (there are: %s)", known.data)
                         : dapt_json_fail_name(member, "unknown option: there are none here");
        dapt_string_free(&known);
        return status;
    }
    return DAPT_OK;
}

static enum dapt_status fill_values(struct dapt_options *options, const struct dapt_json *json) {
    for (size_t i = 0; i < options->count; i++) {
        const struct dapt_option *row = &options->table[i];
        struct value *value = &options->values[i];
        const struct dapt_json *member = dapt_json_member(json, row->name);
        if (member) {
            enum dapt_status status = read_value(options, row, member, value);
            if (status) return status;
        } else if (row->default_value) {
            value->text = row->default_value;
            if (!dapt_option_default(row, &value->number, &value->integer, &value->truth)) {
                return dapt_fail(DAPT_ERROR_INTERNAL,
                                 "option \"%s\": its default \"%s\" does not fit its type",
                                 row->name, row->default_value);
            }
        } else if (json) {
            return dapt_json_fail(json, "\"%s\" is missing (%s)", row->name, row->help);
        } else {
            return dapt_fail(DAPT_ERROR_INVALID, "option \"%s\" must be given (%s)", row->name,
                             row->help);
        }
    }
    return DAPT_OK;
}

enum dapt_status dapt_options_create(const struct dapt_option *table, const struct dapt_json *json,
                                     const char *const *skip, struct dapt_options **options) {
    struct dapt_options *o = *options = dapt_alloc(1, sizeof *o);
    if (!o) return DAPT_ERROR_MEMORY;
    o->table = table;
    while (table && table[o->count].name) o->count++;
    o->values = dapt_arena_alloc(&o->arena, o->count * sizeof *o->values);
    enum dapt_status status = o->values ? DAPT_OK : DAPT_ERROR_MEMORY;
    if (!status && json && dapt_json_kind(json) != DAPT_JSON_OBJECT) {
        char text[64];
        status = dapt_json_fail(json, "expected an object, got %s", dapt_json_excerpt(json, text));
    }
    if (!status) status = check_names(o, json, skip);
    if (!status) status = fill_values(o, json);
    if (status) dapt_options_destroy(options);
    return status;
}

void dapt_options_destroy(struct dapt_options **options) {
    if (!*options) return;
    dapt_arena_free(&(*options)->arena);
    free(*options);
    *options = NULL;
}

void dapt_options_hash(const struct dapt_options *options, struct dapt_hasher *hasher) {
    for (size_t i = 0; options && i < options->count; i++) {
        const struct dapt_option *row = &options->table[i];
        const struct value *value = &options->values[i];
        char text[48] = "";
        if (row->type == DAPT_OPTION_NUMBER) snprintf(text, sizeof text, "%.17g", value->number);
        if (row->type == DAPT_OPTION_INTEGER)
            snprintf(text, sizeof text, "%lld", (long long)value->integer);
        if (row->type == DAPT_OPTION_BOOL) snprintf(text, sizeof text, "%d", value->truth);
        dapt_hasher_add_string(hasher, row->name);
        dapt_hasher_add_string(hasher, row->type == DAPT_OPTION_STRING ? value->text : text);
    }
}

// A plugin that asks for what its own table lacks has a bug: it is told, and gets a harmless value.
static const struct value *get(const struct dapt_options *options, const char *name,
                               enum dapt_option_type type) {
    static const struct value nothing = {.text = ""};
    const struct dapt_option *row = options && name ? find(options->table, name) : NULL;
    if (row && row->type == type) return &options->values[row - options->table];
    dapt_log(DAPT_LOG_ERROR,
             "a plugin asked for the option \"%s\", which is not in its table with that type",
             name ? name : "");
    return &nothing;
}

const char *dapt_option_string(const struct dapt_options *options, const char *name) {
    return get(options, name, DAPT_OPTION_STRING)->text;
}

double dapt_option_number(const struct dapt_options *options, const char *name) {
    return get(options, name, DAPT_OPTION_NUMBER)->number;
}

int64_t dapt_option_integer(const struct dapt_options *options, const char *name) {
    return get(options, name, DAPT_OPTION_INTEGER)->integer;
}

bool dapt_option_bool(const struct dapt_options *options, const char *name) {
    return get(options, name, DAPT_OPTION_BOOL)->truth;
}
