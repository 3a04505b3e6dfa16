#include "train/fingerprint.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "host/config_fields.h"

enum dapt_status dapt_fingerprint_config(const struct dapt_config *config, cJSON **object) {
    struct dapt_string text = {0};
    enum dapt_status status = dapt_config_write(config, &text);
    *object = status ? NULL : cJSON_ParseWithLength(text.data, text.length);
    if (!status && !*object)
        status = dapt_fail(DAPT_ERROR_MEMORY, "no memory for the configuration");
    dapt_string_free(&text);
    return status;
}

// The value of a key such as "train.batch"; NULL: it is not there.
static cJSON *find(const cJSON *object, const char *path) {
    for (const char *dot;; path = dot + 1) {
        char part[64];
        dot = strchrnul(path, '.');
        snprintf(part, sizeof part, "%.*s", (int)(dot - path), path);
        cJSON *item = cJSON_GetObjectItemCaseSensitive(object, part);
        if (!item || !*dot) return item;
        object = item;
    }
}

static void remove_key(cJSON *object, const char *path) {
    const char *dot = strrchr(path, '.');
    char group[64] = "";
    if (dot) snprintf(group, sizeof group, "%.*s", (int)(dot - path), path);
    cJSON *holder = dot ? find(object, group) : object;
    if (cJSON_IsObject(holder))
        cJSON_DeleteItemFromObjectCaseSensitive(holder, dot ? dot + 1 : path);
}

enum dapt_status dapt_fingerprint_create(const struct dapt_config *config, cJSON **fingerprint) {
    enum dapt_status status = dapt_fingerprint_config(config, fingerprint);
    if (status) return status;
    for (const struct dapt_field *field = dapt_fields; field->path; field++)
        if (field->free) remove_key(*fingerprint, field->path);
    // Files and folders may move: what they hold is known by hash.
    remove_key(*fingerprint, "tokenizer.path");
    remove_key(*fingerprint, "model.random.config");
    if (cJSON_IsString(cJSON_GetObjectItemCaseSensitive(*fingerprint, "model")))
        remove_key(*fingerprint, "model");
    return DAPT_OK;
}

enum dapt_status dapt_fingerprint_tokenizer(const struct dapt_config *config, cJSON **tokenizer) {
    cJSON *object;
    enum dapt_status status = dapt_fingerprint_config(config, &object);
    if (status) return status;
    *tokenizer = cJSON_DetachItemFromObjectCaseSensitive(object, "tokenizer");
    cJSON_DeleteItemFromObjectCaseSensitive(*tokenizer, "path");  // its files lie in the checkpoint
    cJSON_Delete(object);
    return DAPT_OK;
}

enum dapt_status dapt_fingerprint_hash(const cJSON *fingerprint, char text[33]) {
    char *json = cJSON_PrintUnformatted(fingerprint);
    if (!json) return dapt_fail(DAPT_ERROR_MEMORY, "no memory for the text of a configuration");
    dapt_hash_text(dapt_hash_bytes(json, strlen(json)), text);
    cJSON_free(json);
    return DAPT_OK;
}

static enum dapt_status differs(const char *path, const cJSON *then, const cJSON *now) {
    char *a = then ? cJSON_PrintUnformatted(then) : NULL,
         *b = now ? cJSON_PrintUnformatted(now) : NULL;
    enum dapt_status status = dapt_fail(DAPT_ERROR_INVALID,
                                        "%s is %.80s now but was %.80s when the checkpoint was "
                                        "written; that would alter the course of the run: "
                                        "set it back, or start another run folder",
                                        path, b ? b : "not set", a ? a : "not set");
    cJSON_free(a);
    cJSON_free(b);
    return status;
}

static void join(const char *path, const char *name, char below[256]) {
    snprintf(below, 256, "%s%s%s", path, *path ? "." : "", name);
}

static enum dapt_status compare(const char *path, const cJSON *then, const cJSON *now);

static enum dapt_status compare_objects(const char *path, const cJSON *then, const cJSON *now) {
    char below[256];
    const cJSON *item;
    enum dapt_status status = DAPT_OK;
    cJSON_ArrayForEach(item, now) {
        join(path, item->string, below);
        if (!status)
            status = compare(below, cJSON_GetObjectItemCaseSensitive(then, item->string), item);
    }
    cJSON_ArrayForEach(item, then) {
        join(path, item->string, below);
        if (!status && !cJSON_GetObjectItemCaseSensitive(now, item->string))
            status = differs(below, item, NULL);
    }
    return status;
}

static enum dapt_status compare(const char *path, const cJSON *then, const cJSON *now) {
    if (cJSON_IsObject(then) && cJSON_IsObject(now)) return compare_objects(path, then, now);
    return then && now && cJSON_Compare(then, now, true) ? DAPT_OK : differs(path, then, now);
}

// Before it was one of today's choices, backend.precision was in records and nothing read it.
static bool is_unread_value(const struct dapt_field *field, const cJSON *value) {
    unsigned choice;
    return strcmp(field->path, "backend.precision") == 0 &&
           (!cJSON_IsString(value) || !dapt_field_choose(field, value->valuestring, &choice) ||
            choice == DAPT_PRECISION_AUTO);
}

// A key that the record lacks is newer than the run, which did what the default says.
static enum dapt_status compare_field(const struct dapt_field *field, const cJSON *then,
                                      const cJSON *now, const struct dapt_modules *modules) {
    const cJSON *was = find(then, field->path), *is = find(now, field->path);
    struct dapt_string text = {0};
    cJSON *fallback = NULL;
    if (was && is_unread_value(field, was)) was = NULL;
    if (!was && !is) return DAPT_OK;
    enum dapt_status status = was ? DAPT_OK : dapt_field_default(field, modules, &text);
    if (!status && text.length && !(fallback = cJSON_ParseWithLength(text.data, text.length)))
        status = dapt_fail(DAPT_ERROR_MEMORY, "no memory for the default of %s", field->path);
    if (!status) status = compare(field->path, was ? was : fallback, is);
    cJSON_Delete(fallback);
    dapt_string_free(&text);
    return status;
}

// A key that nothing ever read: records from when a configuration still had it are as good.
static bool is_unread(const char *path) {
    return strcmp(path, "train.optimizer.kind") == 0;
}

// What no row knows was written by a newer version, and may have decided anything.
static enum dapt_status refuse_unknown(const char *path, const cJSON *then) {
    const cJSON *item;
    enum dapt_status status = DAPT_OK;
    cJSON_ArrayForEach(item, then) {
        char below[256];
        join(path, item->string, below);
        if (status || dapt_field_find(below) || is_unread(below)) continue;
        status = cJSON_IsObject(item) ? refuse_unknown(below, item) : differs(below, item, NULL);
    }
    return status;
}

enum dapt_status dapt_fingerprint_compare(const cJSON *then, const cJSON *now,
                                          const struct dapt_modules *modules) {
    enum dapt_status status = DAPT_OK;
    for (const struct dapt_field *field = dapt_fields; !status && field->path; field++)
        if (!field->free) status = compare_field(field, then, now, modules);
    return status ? status : refuse_unknown("", then);
}

enum dapt_status dapt_fingerprint_steps(uint64_t then, uint64_t now, const char *const *sets) {
    static const char *const keys[] = {"train.steps=", "train.tokens=", "train.epochs="};
    if (then == now) return DAPT_OK;
    for (size_t i = 0; sets && sets[i]; i++) {
        for (size_t k = 0; k < sizeof keys / sizeof keys[0]; k++) {
            if (strncmp(sets[i], keys[k], strlen(keys[k])) != 0) continue;
            dapt_log(DAPT_LOG_WARNING,
                     "the run was planned for %" PRIu64 " and now for %" PRIu64
                     " steps: from here on its schedule is another one",
                     then, now);
            return DAPT_OK;
        }
    }
    return dapt_fail(
        DAPT_ERROR_INVALID,
        "the run was planned for %" PRIu64 " and now for %" PRIu64
        " steps, which changes its schedule; if that is meant, say --set train.steps=%" PRIu64,
        then, now, now);
}
