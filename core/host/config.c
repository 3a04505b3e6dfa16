#include "host/config.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/files.h"
#include "base/nearest.h"
#include "host/config_fields.h"
#include "host/config_hints.h"
#include "host/json.h"

// --------------------------------------------------------------------------------------------------------- unknown keys

static bool is_group(const char *path) {
    size_t length = strlen(path);
    for (const struct dapt_field *field = dapt_fields; field->path; field++) {
        if (strncmp(field->path, path, length) == 0 && field->path[length] == '.') return true;
    }
    return false;
}

// What could stand at the level of `prefix` ("train." or ""): the fields' next parts.
static enum dapt_status fail_unknown(struct dapt_arena *arena, const struct dapt_json *member,
                                     const char *prefix) {
    const char *names[64] = {0};
    size_t count = 0, skip = strlen(prefix);
    struct dapt_string known = {0};
    for (const struct dapt_field *field = dapt_fields; field->path && count < 63; field++) {
        if (strncmp(field->path, prefix, skip) != 0) continue;
        const char *name = dapt_arena_copy(arena, field->path + skip,
                                           strcspn(field->path + skip, "."));
        if (!name || (count > 0 && strcmp(names[count - 1], name) == 0)) continue;
        names[count++] = name;
        dapt_string_format(&known, "%s%s", count > 1 ? ", " : "", name);
    }
    const char *name = dapt_json_name(member), *hint = dapt_config_hint(name);
    const char *meant = hint ? hint : dapt_nearest(name, names);
    enum dapt_status status;
    if (dapt_field_find(name))  // "train.batch"
        status = dapt_json_fail_name(member,
                                     "unknown key; objects hold objects here: \"%.*s\": "
                                     "{\"%s\": ...}",
                                     (int)strcspn(name, "."), name, strchr(name, '.') + 1);
    else if (meant)
        status = dapt_json_fail_name(member, "unknown key, did you mean \"%s\"?", meant);
    else
        status = dapt_json_fail_name(member, "unknown key (there are: %s)",
                                     known.data ? known.data : "");
    dapt_string_free(&known);
    return status;
}

static enum dapt_status check_keys(struct dapt_arena *arena, const struct dapt_json *object,
                                   const char *prefix) {
    if (dapt_json_kind(object) != DAPT_JSON_OBJECT) {
        char text[64];
        return dapt_json_fail(object, "expected an object, got %s",
                              dapt_json_excerpt(object, text));
    }
    enum dapt_status status = DAPT_OK;
    for (size_t i = 0; !status && i < dapt_json_count(object); i++) {
        const struct dapt_json *member = dapt_json_at(object, i);
        const char *path = dapt_arena_format(arena, "%s%s", prefix, dapt_json_name(member));
        if (!path) return DAPT_ERROR_MEMORY;
        if (strchr(dapt_json_name(member), '.') || (!dapt_field_find(path) && !is_group(path))) {
            status = fail_unknown(arena, member, prefix);
        } else if (is_group(path)) {
            const char *below = dapt_arena_format(arena, "%s.", path);
            status = below ? check_keys(arena, member, below) : DAPT_ERROR_MEMORY;
        }
    }
    return status;
}

// ------------------------------------------------------------------------------------------------------------ overrides

static enum dapt_status set_text(struct dapt_json *root, const char *name, const char *path,
                                 const char *text) {
    struct dapt_json *value;
    enum dapt_status status = dapt_json_parse(name, text, strlen(text), &value);
    return status ? status : dapt_json_set(root, path, value);
}

// A word that is no JSON is a string: --set run=runs/second
static enum dapt_status set_value(struct dapt_json *root, const char *name, const char *path,
                                  const char *text) {
    struct dapt_json *value;
    if (dapt_json_parse(name, text, strlen(text), &value) == DAPT_OK)
        return dapt_json_set(root, path, value);
    struct dapt_string quoted = {0};
    enum dapt_status status = dapt_json_write_string(&quoted, text);
    if (!status) status = set_text(root, name, path, quoted.data);
    dapt_string_free(&quoted);
    return status;
}

static enum dapt_status apply_set(struct dapt_json *root, const char *set) {
    static const char *const lengths[] = {"train.steps", "train.tokens", "train.epochs"};
    struct dapt_arena arena = {0};
    const char *equals = strchr(set, '=');
    if (!equals)
        return dapt_fail(DAPT_ERROR_INVALID, "--set %s: expected KEY=VALUE, as in train.steps=50",
                         set);
    const char *path = dapt_arena_copy(&arena, set, (size_t)(equals - set));
    const char *name = dapt_arena_format(&arena, "--set %s", set);
    enum dapt_status status = path && name ? set_value(root, name, path, equals + 1)
                                           : DAPT_ERROR_MEMORY;
    for (size_t i = 0; !status && i < 3; i++) {
        if (strcmp(path, lengths[i]) != 0) continue;
        for (size_t k = 0; !status && k < 3; k++) {
            if (k != i && dapt_json_find(root, lengths[k]))
                status = set_text(root, name, lengths[k], "null");
        }
    }
    dapt_arena_free(&arena);
    return status;
}

// "backend": "cpu" is short for "backend": {"name": "cpu"}.
static enum dapt_status widen_backend(struct dapt_json *root, const char *name) {
    const struct dapt_json *backend = dapt_json_member(root, "backend");
    if (dapt_json_kind(backend) != DAPT_JSON_STRING) return DAPT_OK;
    struct dapt_string text = {0};
    enum dapt_status status = dapt_string_format(&text, "{\"name\": ");
    if (!status) status = dapt_json_write(backend, &text);
    if (!status) status = dapt_string_add(&text, "}", 1);
    if (!status) status = set_text(root, name, "backend", text.data);
    dapt_string_free(&text);
    return status;
}

// -------------------------------------------------------------------------------------------------------------- reading

static enum dapt_status read_default(struct dapt_config *config, const struct dapt_field *field) {
    struct dapt_json *value;
    enum dapt_status status = dapt_json_parse(field->path, field->fallback, strlen(field->fallback),
                                              &value);
    if (!status) status = dapt_field_forms[field->type].read(config, field, value);
    dapt_json_free(&value);
    return status;
}

enum dapt_status dapt_field_default(const struct dapt_field *field,
                                    const struct dapt_modules *modules, struct dapt_string *out) {
    struct dapt_config config = {.modules = modules};
    if (!field->fallback) return DAPT_OK;
    enum dapt_status status = read_default(&config, field);
    if (!status) status = dapt_field_forms[field->type].write(&config, field, out);
    dapt_arena_free(&config.arena);
    return status;
}

enum dapt_status dapt_config_choose(const char *key, const char *text, unsigned *choice) {
    const struct dapt_field *field = dapt_field_find(key);
    struct dapt_string known = {0};
    if (dapt_field_choose(field, text, choice)) return DAPT_OK;
    enum dapt_status status = dapt_field_choices(field, &known);
    if (!status)
        status = dapt_fail(DAPT_ERROR_INVALID, "%s is \"%s\", expected %s", strrchr(key, '.') + 1,
                           text, known.data);
    dapt_string_free(&known);
    return status;
}

static enum dapt_status read_fields(struct dapt_config *config) {
    enum dapt_status status = DAPT_OK;
    for (const struct dapt_field *field = dapt_fields; !status && field->path; field++) {
        const struct dapt_json *value = dapt_json_find(config->json, field->path);
        bool nothing = dapt_json_kind(value) == DAPT_JSON_NULL &&
                       !field->fallback;  // null: as if it were not there
        if (value && !nothing) {
            status = dapt_field_forms[field->type].read(config, field, value);
        } else if (field->required) {
            status = dapt_json_fail(config->json, "\"%s\" is missing (%s)", field->path,
                                    field->help);
        } else if (field->fallback) {
            status = read_default(config, field);
        }
    }
    return status;
}

// Points at a field where it stands in the file.
static const struct dapt_json *place(const struct dapt_config *config, const char *path) {
    const struct dapt_json *value = dapt_json_find(config->json, path);
    return value ? value : config->json;
}

static enum dapt_status check_length(struct dapt_config *config) {
    bool steps = config->train.steps > 0, tokens = config->train.tokens > 0,
         epochs = config->train.epochs > 0;
    if (steps + tokens + epochs > 1) {
        const char *second = epochs ? "train.epochs" : "train.tokens",
                   *first = steps ? "train.steps" : "train.tokens";
        return dapt_json_fail(place(config, second),
                              "only one of steps, tokens and epochs may be given, %s is there too",
                              first);
    }
    if (steps + tokens + epochs == 0) config->train.epochs = 1;
    return DAPT_OK;
}

// `name` at `at` is none of a set, nor of a role where those are asked for too.
static enum dapt_status fail_no_set(struct dapt_config *config, const struct dapt_json *at,
                                    const char *name, bool roles) {
    size_t count = config->data.eval_count, known = 0;
    struct dapt_string list = {0};
    const char **names = dapt_arena_alloc(&config->arena, (2 * count + 1) * sizeof *names);
    if (!names) return DAPT_ERROR_MEMORY;
    for (size_t i = 0; i < (roles ? 2 : 1) * count; i++) {
        const struct dapt_eval_set *set = &config->data.eval[i % count];
        if (i >= count && strcmp(set->role, set->name) == 0) continue;
        names[known] = i < count ? set->name : set->role;
        dapt_string_format(&list, "%s%s", known ? ", " : "", names[known]);
        known++;
    }
    const char *nearest = dapt_nearest(name, names);
    enum dapt_status status = dapt_json_fail(
        at, "\"%s\" is not a name %sin data.eval%s%s%s (there are: %s)", name,
        roles ? "or role " : "", nearest ? ", did you mean \"" : "", nearest ? nearest : "",
        nearest ? "\"?" : "", list.length ? list.data : "none");
    dapt_string_free(&list);
    return status;
}

static enum dapt_status check_best(struct dapt_config *config) {
    const char *best = config->train.best;
    bool found = !best;
    for (size_t i = 0; i < config->data.eval_count && !found; i++)
        found = strcmp(config->data.eval[i].name, best) == 0;
    return found ? DAPT_OK : fail_no_set(config, place(config, "train.best"), best, false);
}

static enum dapt_status check_budget(struct dapt_config *config) {
    for (size_t b = 0; b < config->train.budget_count; b++) {
        const char *name = config->train.budget[b].name;
        bool found = false;
        for (size_t i = 0; i < config->data.eval_count && !found; i++)
            found = strcmp(config->data.eval[i].name, name) == 0 ||
                    strcmp(config->data.eval[i].role, name) == 0;
        if (!found)
            return fail_no_set(config, dapt_json_member(place(config, "train.budget"), name), name,
                               true);
    }
    if (config->train.on_budget != DAPT_ON_BUDGET_RAISE_REPLAY) return DAPT_OK;
    if (config->data.replay.from.count == 0 || config->data.replay.share == 0)
        return dapt_json_fail(place(config, "train.on_budget"),
                              "\"raise-replay\" multiplies the share of replay, but %s",
                              config->data.replay.from.count == 0
                                  ? "data.replay.from is missing: the text to take it from"
                                  : "data.replay.share is 0");
    return DAPT_OK;
}

static enum dapt_status check_patience(struct dapt_config *config) {
    if (config->train.patience == 0) return DAPT_OK;
    if (config->data.eval_count == 0)
        return dapt_json_fail(place(config, "train.patience"),
                              "data.eval is missing, expected a text that decides");
    if (config->train.evaluate_every == 0)
        return dapt_json_fail(place(config, "train.patience"),
                              "train.evaluate_every is 0: nothing is evaluated on the way");
    return DAPT_OK;
}

// What no field can say alone.
static enum dapt_status check_together(struct dapt_config *config) {
    uint32_t batch = config->train.batch, micro = config->train.micro_batch;
    if (micro > 0 && micro != DAPT_AUTO && batch % micro != 0) {
        return dapt_json_fail(place(config, "train.micro_batch"),
                              "expected a divisor of train.batch (%u), got %u", batch, micro);
    }
    if (config->data.replay.share > 0 && config->data.replay.from.count == 0) {
        return dapt_json_fail(place(config, "data.replay.share"),
                              "data.replay.from is missing, expected the text to take it from");
    }
    enum dapt_status status = check_best(config);
    if (!status) status = check_budget(config);
    if (!status) status = check_patience(config);
    if (status) return status;
    if (!config->tokenizer.path) config->tokenizer.path = config->model;
    return check_length(config);
}

static enum dapt_status find_folder(struct dapt_config *config, const char *path) {
    char full[PATH_MAX];
    if (!realpath(path, full)) return dapt_fail_errno("%s", path);
    char *slash = strrchr(full, '/');
    config->folder = dapt_arena_copy(&config->arena, full,
                                     slash > full ? (size_t)(slash - full) : 1);
    return config->folder ? DAPT_OK : DAPT_ERROR_MEMORY;
}

enum dapt_status dapt_config_read(const char *path, const char *const *sets,
                                  struct dapt_config **config) {
    struct dapt_config *c = *config = dapt_alloc(1, sizeof *c);
    if (!c) return DAPT_ERROR_MEMORY;
    enum dapt_status status = find_folder(c, path);
    if (!status) {
        status = dapt_json_read(path, DAPT_JSON_LIMIT, &c->json);
        if (status) dapt_config_hint_format(status, path);
    }
    if (!status && dapt_json_kind(c->json) == DAPT_JSON_OBJECT)
        status = widen_backend(c->json, path);
    for (; !status && sets && *sets; sets++) status = apply_set(c->json, *sets);
    if (!status && dapt_json_kind(c->json) == DAPT_JSON_OBJECT)
        status = widen_backend(c->json, path);
    if (!status) status = check_keys(&c->arena, c->json, "");
    if (!status) status = read_fields(c);
    if (!status) status = check_together(c);
    if (status) dapt_config_free(config);
    return status;
}

void dapt_config_free(struct dapt_config **config) {
    struct dapt_config *c = *config;
    *config = NULL;
    if (!c) return;
    dapt_json_free(&c->json);
    dapt_arena_free(&c->arena);
    free(c);
}
