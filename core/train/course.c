#include "train/course.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

// Keys that don't decide the course.
static const char *const free_keys[] = {
    "plugins",
    "run",
    "tokenizer.path",
    "model.random.config",
    "data.domain",
    "data.replay.from",
    "data.eval",
    "data.eval_tokens",
    "data.cache",
    "data.skip_errors",
    "train.steps",
    "train.tokens",
    "train.epochs",
    "train.micro_batch",
    "train.evaluate_every",
    "train.checkpoint_every",
    "train.keep",
    "train.best",
    "train.recompute",
    "train.max_bad_steps",
    "checkpoint.dtype",
    "backend.name",
    "backend.device",
    "backend.threads",
};

static enum dapt_status config_object(const struct dapt_config *config, cJSON **object) {
    struct dapt_string text = {0};
    enum dapt_status status = dapt_config_write(config, &text);
    *object = status ? NULL : cJSON_ParseWithLength(text.data, text.length);
    if (!status && !*object)
        status = dapt_fail(DAPT_ERROR_MEMORY, "no memory for the configuration");
    dapt_string_free(&text);
    return status;
}

static void remove_key(cJSON *object, const char *path) {
    const char *dot;
    while (object && (dot = strchr(path, '.'))) {
        char part[64];
        snprintf(part, sizeof part, "%.*s", (int)(dot - path), path);
        object = cJSON_GetObjectItemCaseSensitive(object, part);
        path = dot + 1;
    }
    if (cJSON_IsObject(object)) cJSON_DeleteItemFromObjectCaseSensitive(object, path);
}

enum dapt_status dapt_course_create(const struct dapt_config *config, cJSON **course) {
    enum dapt_status status = config_object(config, course);
    if (status) return status;
    for (size_t i = 0; i < sizeof free_keys / sizeof free_keys[0]; i++)
        remove_key(*course, free_keys[i]);
    // A folder may move; what its config.json means is known by the model's hash.
    if (cJSON_IsString(cJSON_GetObjectItemCaseSensitive(*course, "model")))
        remove_key(*course, "model");
    return DAPT_OK;
}

enum dapt_status dapt_course_tokenizer(const struct dapt_config *config, cJSON **tokenizer) {
    cJSON *object;
    enum dapt_status status = config_object(config, &object);
    if (status) return status;
    *tokenizer = cJSON_DetachItemFromObjectCaseSensitive(object, "tokenizer");
    cJSON_DeleteItemFromObjectCaseSensitive(*tokenizer, "path");  // its files lie in the checkpoint
    cJSON_Delete(object);
    return DAPT_OK;
}

enum dapt_status dapt_course_hash(const cJSON *course, char text[33]) {
    char *json = cJSON_PrintUnformatted(course);
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

static enum dapt_status compare(const char *path, const cJSON *then, const cJSON *now);

static enum dapt_status compare_objects(const char *path, const cJSON *then, const cJSON *now) {
    char below[256];
    const cJSON *item;
    enum dapt_status status = DAPT_OK;
    cJSON_ArrayForEach(item, now) {
        snprintf(below, sizeof below, "%s%s%s", path, *path ? "." : "", item->string);
        if (!status)
            status = compare(below, cJSON_GetObjectItemCaseSensitive(then, item->string), item);
    }
    cJSON_ArrayForEach(item, then) {
        snprintf(below, sizeof below, "%s%s%s", path, *path ? "." : "", item->string);
        if (!status && !cJSON_GetObjectItemCaseSensitive(now, item->string))
            status = differs(below, item, NULL);
    }
    return status;
}

static enum dapt_status compare(const char *path, const cJSON *then, const cJSON *now) {
    if (cJSON_IsObject(then) && cJSON_IsObject(now)) return compare_objects(path, then, now);
    return then && now && cJSON_Compare(then, now, true) ? DAPT_OK : differs(path, then, now);
}

enum dapt_status dapt_course_compare(const cJSON *then, const cJSON *now) {
    return compare("", then, now);
}

enum dapt_status dapt_course_steps(uint64_t then, uint64_t now, const char *const *sets) {
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
