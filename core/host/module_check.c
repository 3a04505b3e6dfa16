// Checks of what a module's tables say, before anything in them is called.
#include <stdint.h>
#include <string.h>

#include "host/module.h"

static bool is_id(const char *text) {
    size_t length = strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-_");
    return length > 0 && length <= 64 && text[length] == '\0';
}

static bool is_line(const char *text) {
    return text && strnlen(text, 201) <= 200 && !strpbrk(text, "\n\r");
}

// Interfaces are structs of function pointers only: `count` words, none of which may be NULL.
static const struct {
    const char *kind;
    size_t functions;
} kinds[] = {
    {DAPT_SOURCE_1, sizeof(struct dapt_source_1) / sizeof(void (*)(void))},
    {DAPT_TOKENIZER_1, sizeof(struct dapt_tokenizer_1) / sizeof(void (*)(void))},
    {DAPT_SCHEDULE_1, sizeof(struct dapt_schedule_1) / sizeof(void (*)(void))},
};

static size_t functions_of(const char *kind) {
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (strcmp(kinds[i].kind, kind) == 0) return kinds[i].functions;
    }
    return 0;
}

bool dapt_module_kind_known(const char *kind) {
    return functions_of(kind) > 0;
}

// Which function is NULL; `count` when none is.
static size_t missing_function(const void *table, size_t count) {
    for (size_t i = 0; i < count; i++) {
        void (*function)(void);
        memcpy(&function, (const char *)table + i * sizeof function, sizeof function);
        if (!function) return i;
    }
    return count;
}

static enum dapt_status check_option(const char *id, const struct dapt_option *row) {
    static const char *const ours[] = {"path", "plugin", "source",
                                       "weight"};  // keys of the host beside them
    if (!is_id(row->name)) {
        return dapt_fail(DAPT_ERROR_INVALID,
                         "\"%s\": the option name \"%.64s\" is not of a-z, 0-9, '-', '_'", id,
                         row->name);
    }
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++) {
        if (strcmp(row->name, ours[i]) == 0) {
            return dapt_fail(DAPT_ERROR_INVALID,
                             "\"%s\": the option name \"%s\" belongs to the host", id, row->name);
        }
    }
    if ((unsigned)row->type > DAPT_OPTION_BOOL) {
        return dapt_fail(DAPT_ERROR_INVALID, "\"%s\": option \"%s\" has the unknown type %u", id,
                         row->name, (unsigned)row->type);
    }
    if (!is_line(row->help)) {
        return dapt_fail(DAPT_ERROR_INVALID, "\"%s\": option \"%s\" has no help of one line", id,
                         row->name);
    }
    if (!(row->minimum <= row->maximum)) {
        return dapt_fail(DAPT_ERROR_INVALID,
                         "\"%s\": option \"%s\" has a minimum above its maximum", id, row->name);
    }
    double number;
    int64_t integer;
    bool truth;
    if (row->default_value && !dapt_option_default(row, &number, &integer, &truth)) {
        return dapt_fail(
            DAPT_ERROR_INVALID,
            "\"%s\": option \"%s\": its default \"%.64s\" does not fit its type and range", id,
            row->name, row->default_value);
    }
    return DAPT_OK;
}

static enum dapt_status check_options(const struct dapt_plugin_descriptor *d) {
    for (size_t i = 0; d->options && d->options[i].name; i++) {
        if (i == DAPT_MAX_OPTIONS) {
            return dapt_fail(
                DAPT_ERROR_INVALID,
                "\"%s\": more than %d options (no row with a NULL name ends the table?)", d->id,
                DAPT_MAX_OPTIONS);
        }
        enum dapt_status status = check_option(d->id, &d->options[i]);
        if (status) return status;
        for (size_t k = 0; k < i; k++) {
            if (strcmp(d->options[i].name, d->options[k].name) == 0) {
                return dapt_fail(DAPT_ERROR_INVALID, "\"%s\": option \"%s\" stands twice", d->id,
                                 d->options[i].name);
            }
        }
    }
    return DAPT_OK;
}

static enum dapt_status check_descriptor(const struct dapt_plugin_descriptor *d, unsigned index) {
    if (!d->kind || !d->id || !d->version || !d->summary || !d->implementation) {
        return dapt_fail(DAPT_ERROR_INVALID, "descriptor %u: %s is NULL", index,
                         !d->kind      ? "kind"
                         : !d->id      ? "id"
                         : !d->version ? "version"
                         : !d->summary ? "summary"
                                       : "implementation");
    }
    if (!is_id(d->id)) {
        return dapt_fail(
            DAPT_ERROR_INVALID,
            "descriptor %u: the id \"%.64s\" is not of a-z, 0-9, '-', '_' (at most 64)", index,
            d->id);
    }
    if (!is_line(d->version) || !is_line(d->summary)) {
        return dapt_fail(DAPT_ERROR_INVALID,
                         "\"%s\": version and summary must be one line of at most 200 bytes",
                         d->id);
    }
    size_t functions = functions_of(d->kind);
    if (functions == 0) return DAPT_OK;  // of a later host: the loader passes over it
    size_t missing = missing_function(d->implementation, functions);
    if (missing < functions) {
        return dapt_fail(DAPT_ERROR_INVALID, "\"%s\": function %zu of its %s is NULL", d->id,
                         missing + 1, d->kind);
    }
    return check_options(d);
}

enum dapt_status dapt_module_check_plugin(const struct dapt_plugin_entry *entry) {
    if (entry->count == 0 || entry->count > DAPT_MAX_DESCRIPTORS) {
        return dapt_fail(DAPT_ERROR_INVALID, "has %u descriptors, expected 1 to %d", entry->count,
                         DAPT_MAX_DESCRIPTORS);
    }
    if (!entry->descriptors)
        return dapt_fail(DAPT_ERROR_INVALID, "its list of descriptors is NULL");
    for (uint32_t i = 0; i < entry->count; i++) {
        const struct dapt_plugin_descriptor *d = &entry->descriptors[i];
        enum dapt_status status = check_descriptor(d, i);
        if (status) return status;
        for (uint32_t k = 0; k < i; k++) {
            const struct dapt_plugin_descriptor *other = &entry->descriptors[k];
            if (strcmp(d->kind, other->kind) == 0 && strcmp(d->id, other->id) == 0) {
                return dapt_fail(DAPT_ERROR_INVALID, "lists \"%s\" (%.64s) twice", d->id, d->kind);
            }
        }
    }
    return DAPT_OK;
}

// `functions` of them, from `first` on, must be there.
static enum dapt_status check_table(uint32_t size, size_t expected, const char *name,
                                    const char *summary, const void *first, size_t functions) {
    if (size != expected)
        return dapt_fail(DAPT_ERROR_INVALID,
                         "its table has %u bytes, expected %zu: it was built with another core",
                         size, expected);
    if (!name || !is_id(name))
        return dapt_fail(DAPT_ERROR_INVALID, "its name is not of a-z, 0-9, '-', '_'");
    if (!is_line(summary))
        return dapt_fail(DAPT_ERROR_INVALID, "\"%s\": has no summary of one line", name);
    size_t missing = missing_function(first, functions);
    if (missing < functions)
        return dapt_fail(DAPT_ERROR_INVALID, "\"%s\": function %zu of its table is NULL", name,
                         missing + 1);
    return DAPT_OK;
}

enum dapt_status dapt_module_check_backend(const struct dapt_backend_entry *entry) {
    const struct dapt_backend *b = entry->backend;
    if (!b) return dapt_fail(DAPT_ERROR_INVALID, "its backend is NULL");
    size_t first = offsetof(struct dapt_backend, device_count),
           end = offsetof(struct dapt_backend, program_read);
    return check_table(b->struct_size, sizeof *b, b->name, b->summary, (const char *)b + first,
                       (end - first) / sizeof(void (*)(void)));
}

enum dapt_status dapt_module_check_comm(const struct dapt_comm_entry *entry) {
    const struct dapt_comm *c = entry->comm;
    if (!c) return dapt_fail(DAPT_ERROR_INVALID, "its comm is NULL");
    size_t first = offsetof(struct dapt_comm, open);
    enum dapt_status status = check_table(c->struct_size, sizeof *c, c->id, c->summary,
                                          (const char *)c + first,
                                          (sizeof *c - first) / sizeof(void (*)(void)));
    if (!status && !is_line(c->version))
        status = dapt_fail(DAPT_ERROR_INVALID, "\"%s\": has no version of one line", c->id);
    return status;
}
