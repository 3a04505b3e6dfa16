// dapt devices, dapt plugins
#include <cjson/cJSON.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "tool.h"

struct list_arguments {
    struct tool_arguments plain;
    bool json;
};

static const char *const kinds[] = {
    [DAPT_DEVICE_CPU] = "cpu",           [DAPT_DEVICE_INTEGRATED] = "integrated",
    [DAPT_DEVICE_DISCRETE] = "discrete", [DAPT_DEVICE_VIRTUAL] = "virtual",
    [DAPT_DEVICE_SOFTWARE] = "software",
};
static const char *const dtypes[] = {
    [DAPT_F32] = "float32", [DAPT_F16] = "float16", [DAPT_BF16] = "bfloat16"};

static const char *kind_name(enum dapt_device_kind kind) {
    return (size_t)kind < sizeof kinds / sizeof kinds[0] ? kinds[kind] : "?";
}

// ---------------------------------------------------------------------------------------- devices

static bool print_device(void *user, const char *backend, uint32_t index,
                         const struct dapt_device_info *info, const char *error) {
    size_t *count = user;
    ++*count;
    if (!info) {
        printf("%-8s %u  not usable: %s\n", backend, index, error);
        return true;
    }
    printf("%-8s %u  %s (%s)", backend, index, info->name, kind_name(info->kind));
    if (info->memory) printf(", %.1f GiB", (double)info->memory / (1024.0 * 1024 * 1024));
    if (info->threads) printf(", %u threads", info->threads);
    for (size_t d = 0; d < sizeof dtypes / sizeof dtypes[0]; d++) {
        if (info->dtypes >> d & 1) printf(", %s", dtypes[d]);
    }
    if (info->driver[0]) printf(", %s", info->driver);
    printf("\n");
    return true;
}

static bool add_device(void *user, const char *backend, uint32_t index,
                       const struct dapt_device_info *info, const char *error) {
    cJSON *item = cJSON_CreateObject();
    cJSON_AddStringToObject(item, "backend", backend);
    cJSON_AddNumberToObject(item, "index", index);
    if (!info) {
        cJSON_AddStringToObject(item, "error", error);
        return cJSON_AddItemToArray(user, item);
    }
    cJSON_AddStringToObject(item, "name", info->name);
    cJSON_AddStringToObject(item, "vendor", info->vendor);
    cJSON_AddStringToObject(item, "driver", info->driver);
    cJSON_AddStringToObject(item, "uuid", info->uuid);
    cJSON_AddStringToObject(item, "kind", kind_name(info->kind));
    cJSON_AddNumberToObject(item, "memory", (double)info->memory);
    cJSON_AddNumberToObject(item, "max_buffer", (double)info->max_buffer);
    cJSON_AddNumberToObject(item, "threads", info->threads);
    cJSON *list = cJSON_AddArrayToObject(item, "dtypes");
    for (size_t d = 0; d < sizeof dtypes / sizeof dtypes[0]; d++) {
        if (info->dtypes >> d & 1) cJSON_AddItemToArray(list, cJSON_CreateString(dtypes[d]));
    }
    return cJSON_AddItemToArray(user, item);
}

static enum dapt_status print_json(cJSON *list) {
    char *text = cJSON_Print(list);
    if (text) puts(text);
    cJSON_free(text);
    cJSON_Delete(list);
    return text ? DAPT_OK : DAPT_ERROR_MEMORY;
}

static enum tool_exit run_devices(void *arguments) {
    const struct list_arguments *a = arguments;
    struct dapt_context *context = NULL;
    size_t count = 0;
    enum dapt_status status = dapt_context_open(NULL, &context);
    if (!status && a->json) {
        cJSON *list = cJSON_CreateArray();
        status = dapt_devices(context, add_device, list);
        enum dapt_status printed = print_json(list);
        if (!status) status = printed;
    } else if (!status) {
        status = dapt_devices(context, print_device, &count);
        if (!status && count == 0)
            puts(
                "no device: no backend was found, or none has one; `dapt plugins` lists the "
                "backends");
    }
    enum tool_exit result = tool_finish(status);
    dapt_context_close(&context);
    return result;
}

// ---------------------------------------------------------------------------------------- plugins

static const char *const option_types[] = {
    [DAPT_OPTION_STRING] = "string",
    [DAPT_OPTION_NUMBER] = "number",
    [DAPT_OPTION_INTEGER] = "integer",
    [DAPT_OPTION_BOOL] = "bool",
};

static void print_plugin(const struct dapt_plugin *plugin) {
    printf("%-18s %-14s %-8s %s\n", plugin->kind, plugin->id, plugin->version,
           plugin->summary ? plugin->summary : "");
    printf("%-18s   %s\n", "", plugin->path);
    for (const struct dapt_option *o = plugin->options; o && o->name; o++) {
        printf("%-18s   %s: %s, %s%s; %s\n", "", o->name, option_types[o->type],
               o->default_value ? "default " : "must be given",
               o->default_value ? o->default_value : "", o->help ? o->help : "");
    }
}

static cJSON *plugin_json(const struct dapt_plugin *plugin) {
    cJSON *item = cJSON_CreateObject();
    cJSON_AddStringToObject(item, "kind", plugin->kind);
    cJSON_AddStringToObject(item, "id", plugin->id);
    cJSON_AddStringToObject(item, "version", plugin->version);
    cJSON_AddStringToObject(item, "summary", plugin->summary ? plugin->summary : "");
    cJSON_AddStringToObject(item, "path", plugin->path);
    cJSON *options = cJSON_AddArrayToObject(item, "options");
    for (const struct dapt_option *o = plugin->options; o && o->name; o++) {
        cJSON *option = cJSON_CreateObject();
        cJSON_AddStringToObject(option, "name", o->name);
        cJSON_AddStringToObject(option, "type", option_types[o->type]);
        if (o->default_value) cJSON_AddStringToObject(option, "default", o->default_value);
        cJSON_AddStringToObject(option, "help", o->help ? o->help : "");
        cJSON_AddItemToArray(options, option);
    }
    return item;
}

static enum tool_exit run_plugins(void *arguments) {
    const struct list_arguments *a = arguments;
    struct dapt_context *context = NULL;
    struct dapt_plugin plugin;
    cJSON *list = a->json ? cJSON_CreateArray() : NULL;
    enum dapt_status status = dapt_context_open(NULL, &context);
    size_t count = status ? 0 : dapt_plugin_count(context);
    for (size_t i = 0; !status && i < count; i++) {
        status = dapt_plugin_at(context, i, &plugin);
        if (!status && list)
            cJSON_AddItemToArray(list, plugin_json(&plugin));
        else if (!status)
            print_plugin(&plugin);
    }
    if (!status && list)
        status = print_json(list);
    else
        cJSON_Delete(list);
    if (!status && count == 0 && !a->json)
        puts("no plugin was found; is the installation whole? DAPT_PLUGIN_PATH may name folders");
    enum tool_exit result = tool_finish(status);
    dapt_context_close(&context);
    return result;
}

static const struct tool_option list_options[] = {
    {"--json", NULL, "prints a JSON array", TOOL_FLAG, offsetof(struct list_arguments, json), 0, 0,
     false},
    {0},
};

const struct tool_command tool_devices = {
    .name = "devices",
    .plain = "",
    .summary = "lists the devices of all backends",
    .options = list_options,
    .size = sizeof(struct list_arguments),
    .run = run_devices,
};
const struct tool_command tool_plugins = {
    .name = "plugins",
    .plain = "",
    .summary = "lists the backends and plugins that were found, and their options",
    .notes =
        "Searched: the configuration's \"plugins\", DAPT_PLUGIN_PATH, the installation (lib/dapt "
        "beside\n"
        "bin), the build folder.",
    .options = list_options,
    .size = sizeof(struct list_arguments),
    .run = run_plugins,
};
