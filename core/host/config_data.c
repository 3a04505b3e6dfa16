// Texts in a configuration: where documents come from, the sets that are scored, and what they may cost.
#include <math.h>
#include <string.h>

#include "host/config_forms.h"
#include "host/json.h"
#include "host/loader.h"

static const char *const entry_keys[] = {"path", "source", "weight", "role", NULL};

static enum dapt_status read_entry(struct dapt_config *config, const struct dapt_json *value,
                                   struct dapt_data_entry *entry) {
    *entry = (struct dapt_data_entry){.weight = 1};
    if (dapt_json_kind(value) == DAPT_JSON_STRING)
        return dapt_form_path(config, value, &entry->path);
    if (dapt_json_kind(value) != DAPT_JSON_OBJECT)
        return dapt_form_fail(value, "a path or an object such as {\"path\": ...}");
    const struct dapt_json *path, *weight = dapt_json_member(value, "weight");
    enum dapt_status status = dapt_json_need(value, "path", DAPT_JSON_STRING, &path);
    if (!status) status = dapt_form_path(config, path, &entry->path);
    if (!status) status = dapt_form_string(config, value, "source", &entry->source);
    if (!status && weight) status = dapt_json_number(weight, &entry->weight);
    if (!status && !(entry->weight > 0 && entry->weight <= 1e6))
        status = dapt_form_fail(weight, "a number above 0, at most 1e6");
    entry->options = value;
    return status;
}

static enum dapt_status read_list(struct dapt_config *config, const struct dapt_json *value,
                                  struct dapt_data_list *list) {
    bool array = dapt_json_kind(value) == DAPT_JSON_ARRAY;
    list->count = array ? dapt_json_count(value) : 1;
    if (list->count == 0) return dapt_json_fail(value, "the array is empty, expected a path");
    list->entries = dapt_arena_alloc(&config->arena, list->count * sizeof *list->entries);
    enum dapt_status status = list->entries ? DAPT_OK : DAPT_ERROR_MEMORY;
    for (size_t i = 0; !status && i < list->count; i++) {
        status = read_entry(config, array ? dapt_json_at(value, i) : value, &list->entries[i]);
    }
    return status;
}

// `role`: of an evaluation set; NULL: of no set.
static enum dapt_status write_list(const struct dapt_config *config,
                                   const struct dapt_data_list *list, const char *role,
                                   struct dapt_string *out) {
    enum dapt_status status = dapt_string_add(out, "[", 1);
    for (size_t i = 0; !status && i < list->count; i++) {
        const struct dapt_data_entry *entry = &list->entries[i];
        status = dapt_form_write_pair(out, i ? ", {" : "{", "path", entry->path);
        if (!status && entry->source)
            status = dapt_form_write_pair(out, ", ", "source", entry->source);
        if (!status) status = dapt_string_format(out, ", \"weight\": ");
        if (!status) status = dapt_json_write_number(out, entry->weight);
        if (!status && role) status = dapt_form_write_pair(out, ", ", "role", role);
        if (!status)
            status = dapt_form_write_options(config, DAPT_SOURCE_1, entry->source, entry->options,
                                             entry_keys, out);
        if (!status) status = dapt_string_add(out, "}", 1);
    }
    return status ? status : dapt_string_add(out, "]", 1);
}

enum dapt_status dapt_form_read_data(struct dapt_config *config, const struct dapt_field *field,
                                     const struct dapt_json *value) {
    struct dapt_data_list *list = dapt_form_slot(config, field);
    enum dapt_status status = read_list(config, value, list);
    for (size_t i = 0; !status && i < list->count; i++)
        if (dapt_json_member(list->entries[i].options, "role"))
            status = dapt_json_fail(dapt_json_member(list->entries[i].options, "role"),
                                    "only the sets of data.eval have a role");
    return status;
}

enum dapt_status dapt_form_write_data(const struct dapt_config *config,
                                      const struct dapt_field *field, struct dapt_string *out) {
    const struct dapt_data_list *list = dapt_form_slot(config, field);
    return list->count ? write_list(config, list, NULL, out) : DAPT_OK;
}

// Names become keys of metrics and columns of tables.
static bool is_set_name(const char *name) {
    size_t length = strspn(name,
                           "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-");
    return length > 0 && length <= 40 && !name[length];
}

#define A_NAME "a name is of letters, digits, '_', '.' and '-', at most 40"

// The one that its entries name; else its own name.
static enum dapt_status find_role(struct dapt_config *config, struct dapt_eval_set *set) {
    set->role = NULL;
    for (size_t i = 0; i < set->data.count; i++) {
        const char *before = set->role;
        const struct dapt_json *options = set->data.entries[i].options,
                               *role = dapt_json_member(options, "role");
        enum dapt_status status = dapt_form_string(config, options, "role", &set->role);
        if (status) return status;
        if (role && !is_set_name(set->role)) return dapt_json_fail(role, A_NAME);
        if (role && before && strcmp(before, set->role) != 0)
            return dapt_json_fail(role, "a set has one role, \"%s\" stands before it", before);
    }
    if (!set->role) set->role = set->name;
    return DAPT_OK;
}

static enum dapt_status read_set(struct dapt_config *config, const struct dapt_json *value,
                                 struct dapt_eval_set *set) {
    const char *name = dapt_json_name(value);
    if (!is_set_name(name)) return dapt_json_fail_name(value, A_NAME);
    set->name = dapt_arena_copy(&config->arena, name, strlen(name));
    enum dapt_status status = set->name ? read_list(config, value, &set->data) : DAPT_ERROR_MEMORY;
    return status ? status : find_role(config, set);
}

enum dapt_status dapt_form_read_eval(struct dapt_config *config, const struct dapt_field *field,
                                     const struct dapt_json *value) {
    (void)field;
    if (dapt_json_kind(value) != DAPT_JSON_OBJECT)
        return dapt_form_fail(value, "an object such as {\"domain\": \"heldout.txt\"}");
    size_t count = config->data.eval_count = dapt_json_count(value);
    config->data.eval = dapt_arena_alloc(&config->arena, count * sizeof *config->data.eval);
    enum dapt_status status = config->data.eval ? DAPT_OK : DAPT_ERROR_MEMORY;
    for (size_t i = 0; !status && i < count; i++)
        status = read_set(config, dapt_json_at(value, i), &config->data.eval[i]);
    return status;
}

enum dapt_status dapt_form_write_eval(const struct dapt_config *config,
                                      const struct dapt_field *field, struct dapt_string *out) {
    (void)field;
    enum dapt_status status = dapt_string_add(out, "{", 1);
    for (size_t i = 0; !status && i < config->data.eval_count; i++) {
        const struct dapt_eval_set *set = &config->data.eval[i];
        status = dapt_form_write_name(out, i ? ", " : "", set->name);
        if (!status) status = write_list(config, &set->data, set->role, out);
    }
    return status ? status : dapt_string_add(out, "}", 1);
}

enum dapt_status dapt_form_read_budget(struct dapt_config *config, const struct dapt_field *field,
                                       const struct dapt_json *value) {
    if (dapt_json_kind(value) != DAPT_JSON_OBJECT)
        return dapt_form_fail(value, "an object such as {\"general\": 0.05}");
    size_t count = config->train.budget_count = dapt_json_count(value);
    struct dapt_budget *budget = config->train.budget = dapt_arena_alloc(
        &config->arena, (count + 1) * sizeof *budget);
    enum dapt_status status = budget ? DAPT_OK : DAPT_ERROR_MEMORY;
    for (size_t i = 0; !status && i < count; i++) {
        const struct dapt_json *member = dapt_json_at(value, i);
        const char *name = dapt_json_name(member);
        budget[i].name = dapt_arena_copy(&config->arena, name, strlen(name));
        status = budget[i].name ? dapt_json_number(member, &budget[i].bits) : DAPT_ERROR_MEMORY;
        if (!status && !(budget[i].bits >= field->minimum && budget[i].bits <= field->maximum))
            status = dapt_form_fail(member, "bits/byte from 0 to 100");
    }
    return status;
}

enum dapt_status dapt_form_write_budget(const struct dapt_config *config,
                                        const struct dapt_field *field, struct dapt_string *out) {
    (void)field;
    enum dapt_status status = dapt_string_add(out, "{", 1);
    for (size_t i = 0; !status && i < config->train.budget_count; i++) {
        status = dapt_form_write_name(out, i ? ", " : "", config->train.budget[i].name);
        if (!status) status = dapt_json_write_number(out, config->train.budget[i].bits);
    }
    return status ? status : dapt_string_add(out, "}", 1);
}

// --------------------------------------------------------------------------------- what sets are for

size_t dapt_config_deciding(const struct dapt_config *config) {
    const char *wanted = config->train.best;
    for (size_t i = 0; i < config->data.eval_count; i++) {
        const struct dapt_eval_set *set = &config->data.eval[i];
        if (strcmp(wanted ? wanted : "domain", wanted ? set->name : set->role) == 0) return i;
    }
    return wanted ? config->data.eval_count : 0;
}

double dapt_config_budget(const struct dapt_config *config, const struct dapt_eval_set *set) {
    double bits = INFINITY;
    for (size_t b = 0; b < config->train.budget_count; b++) {
        const struct dapt_budget *budget = &config->train.budget[b];
        if (strcmp(budget->name, set->name) == 0 || strcmp(budget->name, set->role) == 0)
            bits = fmin(bits, budget->bits);
    }
    return bits;
}
