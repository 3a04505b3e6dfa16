#include "device/certificate.h"

#include <string.h>

#include "base/files.h"
#include "base/hash.h"
#include "host/module.h"
#include "checkpoint/checkpoint.h"
#include "device/select.h"
#include "host/json_tree.h"

#define FORMAT "dapt.device/1"
#define LIMIT (1u << 20)  // bytes of a certificate

// --------------------------------------------------------------------------------------- the cache

static enum dapt_status hash_module(const struct dapt_modules *modules, const char *backend,
                                    struct dapt_hasher *hasher) {
    for (size_t i = 0; i < dapt_modules_count(modules); i++) {
        struct dapt_module_info info;
        struct dapt_hash hash;
        dapt_modules_at(modules, i, &info);
        if (strcmp(info.kind, DAPT_BACKEND_KIND) != 0 || strcmp(info.id, backend) != 0) continue;
        enum dapt_status status = dapt_hash_file(info.path, &hash);
        if (!status) dapt_hasher_add(hasher, &hash, sizeof hash);
        return status;
    }
    return dapt_fail(DAPT_ERROR_INTERNAL, "backend %s has no module", backend);
}

// Everything that decides the figures. "": unknown, so that nothing can be kept.
static void make_key(const struct dapt_modules *modules, const struct dapt_device_handle *device,
                     char key[33]) {
    const struct dapt_device_info *info = dapt_device_info(device);
    const char *const parts[] = {
        FORMAT,     dapt_version(), dapt_device_backend(device)->name,
        info->name, info->uuid,     info->driver,
        info->api,  info->variant,
    };
    struct dapt_hasher *hasher = NULL;
    key[0] = '\0';
    if (!info->variant[0] || !info->uuid[0] || dapt_hasher_create(&hasher)) return;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        dapt_hasher_add_string(hasher, parts[i]);
    enum dapt_status status = hash_module(modules, dapt_device_backend(device)->name, hasher);
    if (!status) status = hash_module(modules, "cpu", hasher);
    if (!status) dapt_hash_text(dapt_hasher_value(hasher), key);
    dapt_hasher_destroy(&hasher);
}

static char *cache_path(struct dapt_arena *arena, const char *key) {
    char *folder = dapt_cache_dir(arena);
    return folder ? dapt_arena_format(arena, "%s/device-%s.json", folder, key) : NULL;
}

static bool all_hold(const cJSON *certificate) {
    return cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(certificate, "ok"));
}

cJSON *dapt_certificate_find(const struct dapt_modules *modules,
                             struct dapt_device_handle *device) {
    struct dapt_arena arena = {0};
    struct dapt_string text = {0};
    cJSON *found = NULL;
    char key[33];
    make_key(modules, device, key);
    char *path = key[0] ? cache_path(&arena, key) : NULL;
    if (path && dapt_is_file(path) && dapt_file_read(path, LIMIT, &text) == DAPT_OK)
        found = cJSON_ParseWithLength(text.data, text.length);
    bool fits = cJSON_IsObject(found) && dapt_json_has_text(found, "format", FORMAT) &&
                dapt_json_has_text(found, "key", key) && all_hold(found) &&
                dapt_record_check(found, path) == DAPT_OK;
    if (!fits) {
        cJSON_Delete(found);
        found = NULL;
    }
    dapt_string_free(&text);
    dapt_arena_free(&arena);
    return found;
}

enum dapt_status dapt_certificate_write(const cJSON *certificate, const char *path) {
    cJSON *copy = cJSON_Duplicate(certificate, true);
    enum dapt_status status = copy ? dapt_record_write(copy, path)
                                   : dapt_fail(DAPT_ERROR_MEMORY, "no memory for %s", path);
    cJSON_Delete(copy);
    return status;
}

void dapt_certificate_store(const cJSON *certificate) {
    struct dapt_arena arena = {0};
    const cJSON *key = cJSON_GetObjectItemCaseSensitive(certificate, "key");
    char *folder = dapt_cache_dir(&arena);
    if (folder && cJSON_IsString(key) && key->valuestring[0] && all_hold(certificate)) {
        char *path = cache_path(&arena, key->valuestring);
        if (!path || dapt_private_dir(folder, true) != DAPT_OK ||
            dapt_certificate_write(certificate, path) != DAPT_OK)
            dapt_log(DAPT_LOG_DEBUG, "the certificate is not kept: %s", dapt_error());
    }
    dapt_arena_free(&arena);
}

// ------------------------------------------------------------------------------------- the figures

static void add_rows(cJSON *object, const struct dapt_parity *parity) {
    cJSON *rows = cJSON_AddArrayToObject(object, "rows");
    for (size_t i = 0; rows && i < parity->count; i++) {
        const struct dapt_verify_row *row = &parity->rows[i];
        cJSON *item = cJSON_CreateObject();
        cJSON_AddStringToObject(item, "what", row->what);
        cJSON_AddStringToObject(item, "name", row->name);
        cJSON_AddNumberToObject(item, "cases", row->cases);
        dapt_json_add_number(item, "error", row->error);
        cJSON_AddNumberToObject(item, "tolerance", row->tolerance);
        cJSON_AddBoolToObject(item, "ok", row->ok);
        cJSON_AddItemToArray(rows, item);
    }
}

static cJSON *make_object(const struct dapt_modules *modules,
                          const struct dapt_device_handle *device,
                          const struct dapt_device_handle *reference,
                          const struct dapt_parity *parity) {
    const struct dapt_device_info *info = dapt_device_info(device);
    char key[33];
    make_key(modules, device, key);
    const struct {
        const char *name, *text;
    } texts[] = {
        {"format", FORMAT},
        {"key", key},
        {"version", dapt_version()},
        {"backend", dapt_device_backend(device)->name},
        {"device", info->name},
        {"vendor", info->vendor},
        {"driver", info->driver},
        {"api", info->api},
        {"uuid", info->uuid},
        {"variant", info->variant},
        {"reference", dapt_device_info(reference)->driver},
    };
    cJSON *object = cJSON_CreateObject();
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        cJSON_AddStringToObject(object, texts[i].name, texts[i].text);
    cJSON_AddBoolToObject(object, "ok", parity->failed == 0);
    dapt_json_add_number(object, "seconds", parity->seconds);
    add_rows(object, parity);
    return object;
}

enum dapt_status dapt_certificate_make(const struct dapt_modules *modules,
                                       struct dapt_device_handle *device,
                                       struct dapt_parity *parity, cJSON **certificate) {
    struct dapt_device_handle *reference = NULL;
    struct dapt_device_wish cpu = {.backend = "cpu"};
    *certificate = NULL;
    if (strcmp(dapt_device_backend(device)->name, "cpu") == 0)
        return dapt_fail(
            DAPT_ERROR_INVALID,
            "the cpu backend is what devices are compared with; name another one, or a "
            "folder with golden values");
    enum dapt_status status = dapt_select_device(modules, &cpu, &reference);
    if (!status) status = dapt_parity_run(device, reference, parity);
    if (!status && !(*certificate = make_object(modules, device, reference, parity)))
        status = dapt_fail(DAPT_ERROR_MEMORY, "no memory for a certificate");
    dapt_device_close(&reference);
    return status;
}

enum dapt_status dapt_certificate_print(const struct dapt_parity *parity,
                                        struct dapt_string *text) {
    enum dapt_status status = DAPT_OK;
    const char *comma = "";
    for (size_t i = 0; i < parity->count && !status; i++) {
        const struct dapt_verify_row *row = &parity->rows[i];
        if (row->ok) continue;
        status = dapt_string_format(text, "%s%s is off by %.2g (at most %.2g)", comma, row->name,
                                    row->error, row->tolerance);
        comma = ", ";
    }
    return status;
}

enum dapt_status dapt_certificate_verify(const struct dapt_modules *modules,
                                         const struct dapt_verify_options *options,
                                         dapt_verify_callback callback, void *user) {
    struct dapt_device_wish wish = {
        .backend = options->backend, .device = options->device, .threads = options->threads};
    struct dapt_device_handle *device = NULL;
    struct dapt_parity parity = {0};
    cJSON *certificate = NULL;
    enum dapt_status status = dapt_select_device(modules, &wish, &device);
    if (!status) status = dapt_certificate_make(modules, device, &parity, &certificate);
    for (size_t i = 0; callback && !status && i < parity.count; i++)
        callback(user, &parity.rows[i]);
    if (!status) dapt_certificate_store(certificate);
    if (!status && options->output) status = dapt_certificate_write(certificate, options->output);
    if (!status && parity.failed > 0)
        status = dapt_fail(
            DAPT_ERROR_INVALID,
            "device %s does not compute what the cpu computes: %zu of %zu rows are off",
            dapt_device_info(device)->name, parity.failed, parity.count);
    cJSON_Delete(certificate);
    dapt_device_close(&device);
    return status;
}
