// dapt devices, dapt plugins
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>

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
static const char *const dtypes[DAPT_DTYPE_COUNT] = {
    [DAPT_F32] = "float32", [DAPT_F16] = "float16", [DAPT_BF16] = "bfloat16",
    [DAPT_I32] = "int32",   [DAPT_INT8] = "int8",   [DAPT_NF4] = "nf4"};
static const struct {
    uint32_t bit;
    const char *name;
} features[] = {
    {DAPT_FEATURE_F16, "float16"},
    {DAPT_FEATURE_BF16, "bfloat16"},
    {DAPT_FEATURE_I8, "int8"},
    {DAPT_FEATURE_I8_DOT, "int8 dot products"},
};
#define FEATURES (sizeof features / sizeof features[0])

static const char *kind_name(enum dapt_device_kind kind) {
    return (size_t)kind < sizeof kinds / sizeof kinds[0] ? kinds[kind] : "?";
}

static const char *dtype_name(enum dapt_dtype dtype) {
    return (unsigned)dtype < DAPT_DTYPE_COUNT ? dtypes[dtype] : "?";
}

// ---------------------------------------------------------------------------------------- devices

#define LEFT "            %-10s "

static void print_types(FILE *out, const struct dapt_device_info *info) {
    const char *comma = "";
    fprintf(out, LEFT, "trains in");
    for (size_t d = 0; d < DAPT_DTYPE_COUNT; d++) {
        if (!(info->dtypes >> d & 1)) continue;
        fprintf(out, "%s%s", comma, dtypes[d]);
        comma = ", ";
    }
    comma = "; its hardware also has ";
    for (size_t f = 0; f < FEATURES; f++) {
        if (!(info->features & features[f].bit)) continue;
        fprintf(out, "%s%s", comma, features[f].name);
        comma = ", ";
    }
    const char *why, *precision = dapt_device_precision(info, &why);
    fprintf(out, "\n" LEFT "auto is %s, %s\n", "precision", precision, why);
}

static void print_matrices(FILE *out, const struct dapt_device_info *info) {
    for (uint32_t i = 0; i < info->matrix_count; i++) {
        const struct dapt_matrix_shape *m = &info->matrix[i];
        fprintf(out, LEFT "%" PRIu32 " x %" PRIu32 " x %" PRIu32 ", %s to %s\n",
                i ? "" : "matrices", m->m, m->n, m->k, dtype_name(m->ab), dtype_name(m->c));
    }
    if (info->products[0]) fprintf(out, LEFT "16-bit %s\n", "products", info->products);
}

static void print_limits(FILE *out, const struct dapt_device_info *info) {
    const char *comma = "";
    if (info->subgroup_max) {
        fprintf(out, LEFT "%" PRIu32, "subgroups", info->subgroup_min);
        if (info->subgroup_min != info->subgroup_max)
            fprintf(out, " to %" PRIu32, info->subgroup_max);
        fprintf(out, " invocations\n");
    }
    if (info->workgroup) {
        fprintf(out, LEFT "%" PRIu32 " invocations, ", "workgroups", info->workgroup);
        tool_print_bytes(out, info->shared_memory);
        fprintf(out, " shared\n");
    }
    fprintf(out, LEFT, "memory");
    if (info->memory) {
        tool_print_bytes(out, info->memory);
        comma = "; ";
    }
    if (info->max_buffer && info->max_buffer != info->memory) {
        fprintf(out, "%sone buffer: ", comma);
        tool_print_bytes(out, info->max_buffer);
        comma = "; ";
    }
    if (info->max_allocation && info->max_allocation < info->max_buffer) {
        fprintf(out, "%sone allocation: ", comma);
        tool_print_bytes(out, info->max_allocation);
        comma = "; ";
    }
    fprintf(out, "%s\n", *comma ? "" : "unknown");
}

static bool print_device(void *user, const char *backend, uint32_t index,
                         const struct dapt_device_info *info, const char *error) {
    FILE *out = user;
    if (!info) {
        fprintf(out, "%-8s -  not usable: %s\n", backend, error);
        return true;
    }
    fprintf(out, "%-8s %" PRIu32 "  %s (%s)\n", backend, index, info->name, kind_name(info->kind));
    if (info->vendor[0]) fprintf(out, LEFT "%s\n", "vendor", info->vendor);
    if (info->driver[0])
        fprintf(out, LEFT "%s%s%s\n", "driver", info->driver, info->api[0] ? ", " : "", info->api);
    if (info->threads) fprintf(out, LEFT "%" PRIu32 "\n", "threads", info->threads);
    print_limits(out, info);
    print_types(out, info);
    print_matrices(out, info);
    if (info->uuid[0]) fprintf(out, LEFT "%s\n", "uuid", info->uuid);
    return true;
}

static void add_lists(cJSON *item, const struct dapt_device_info *info) {
    cJSON *list = cJSON_AddArrayToObject(item, "dtypes");
    for (size_t d = 0; d < DAPT_DTYPE_COUNT; d++)
        if (info->dtypes >> d & 1) cJSON_AddItemToArray(list, cJSON_CreateString(dtypes[d]));
    list = cJSON_AddArrayToObject(item, "features");
    for (size_t f = 0; f < FEATURES; f++)
        if (info->features & features[f].bit)
            cJSON_AddItemToArray(list, cJSON_CreateString(features[f].name));
    list = cJSON_AddArrayToObject(item, "matrices");
    for (uint32_t i = 0; i < info->matrix_count; i++) {
        const struct dapt_matrix_shape *m = &info->matrix[i];
        cJSON *shape = cJSON_CreateObject();
        cJSON_AddNumberToObject(shape, "m", m->m);
        cJSON_AddNumberToObject(shape, "n", m->n);
        cJSON_AddNumberToObject(shape, "k", m->k);
        cJSON_AddStringToObject(shape, "ab", dtype_name(m->ab));
        cJSON_AddStringToObject(shape, "c", dtype_name(m->c));
        cJSON_AddItemToArray(list, shape);
    }
}

static bool add_device(void *user, const char *backend, uint32_t index,
                       const struct dapt_device_info *info, const char *error) {
    cJSON *item = cJSON_CreateObject();
    cJSON_AddStringToObject(item, "backend", backend);
    if (!info) {
        cJSON_AddStringToObject(item, "error", error);
        return cJSON_AddItemToArray(user, item);
    }
    const char *why;
    const struct {
        const char *key, *text;
    } texts[] = {
        {"name", info->name},
        {"vendor", info->vendor},
        {"driver", info->driver},
        {"api", info->api},
        {"kind", kind_name(info->kind)},
        {"uuid", info->uuid},
        {"products", info->products},
        {"auto_precision", dapt_device_precision(info, &why)},
    };
    const struct {
        const char *key;
        uint64_t value;
    } numbers[] = {
        {"memory", info->memory},
        {"max_buffer", info->max_buffer},
        {"max_allocation", info->max_allocation},
        {"threads", info->threads},
        {"subgroup_min", info->subgroup_min},
        {"subgroup_max", info->subgroup_max},
        {"workgroup", info->workgroup},
        {"shared_memory", info->shared_memory},
    };
    cJSON_AddNumberToObject(item, "index", index);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        cJSON_AddStringToObject(item, texts[i].key, texts[i].text);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        cJSON_AddNumberToObject(item, numbers[i].key, (double)numbers[i].value);
    add_lists(item, info);
    return cJSON_AddItemToArray(user, item);
}

static enum tool_exit run_devices(void *arguments) {
    const struct list_arguments *a = arguments;
    struct dapt_context *context = NULL;
    struct tool_page page;
    enum dapt_status status = dapt_context_open(NULL, &context);
    if (!status && a->json) {
        cJSON *list = cJSON_CreateArray();
        status = dapt_devices(context, add_device, list);
        enum dapt_status printed = tool_print_json(list);
        if (!status) status = printed;
    } else if (!status && tool_page_begin(&page)) {
        status = dapt_devices(context, print_device, page.out);
        if (!status && ftell(page.out) == 0)
            fputs(
                "no device: no backend was found, or none has one; `dapt plugins` lists the "
                "backends\n",
                page.out);
        tool_page_end(&page, stdout);
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

static void print_plugin(FILE *out, const struct dapt_plugin *plugin) {
    fprintf(out, "%-16s %s %s\n    %s\n    %s\n", plugin->kind, plugin->id, plugin->version,
            plugin->summary ? plugin->summary : "", plugin->path);
    for (const struct dapt_option *o = plugin->options; o && o->name; o++) {
        fprintf(out, "      %s: %s, %s%s; %s\n", o->name, option_types[o->type],
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
    struct tool_page page;
    cJSON *list = a->json ? cJSON_CreateArray() : NULL;
    if (!tool_page_begin(&page)) return TOOL_FAILURE;
    enum dapt_status status = dapt_context_open(NULL, &context);
    size_t count = status ? 0 : dapt_plugin_count(context);
    for (size_t i = 0; !status && i < count; i++) {
        status = dapt_plugin_at(context, i, &plugin);
        if (!status && list)
            cJSON_AddItemToArray(list, plugin_json(&plugin));
        else if (!status)
            print_plugin(page.out, &plugin);
    }
    if (!status && list)
        status = tool_print_json(list);
    else
        cJSON_Delete(list);
    if (!status && count == 0 && !a->json)
        fputs("no plugin was found; is the installation whole? DAPT_PLUGIN_PATH may name folders\n",
              page.out);
    tool_page_end(&page, stdout);
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
    .notes =
        "A device is named by its number in its backend, by its name or a part of it, or by its "
        "UUID. Unnamed, a discrete GPU comes before an integrated one, that before a virtual one "
        "and the cpu; a software device is taken only where it or its backend is named.",
    .options = list_options,
    .ranks = true,
    .size = sizeof(struct list_arguments),
    .run = run_devices,
};
const struct tool_command tool_plugins = {
    .name = "plugins",
    .plain = "",
    .summary = "lists the backends and plugins that were found, and their options",
    .notes =
        "Searched: the configuration's \"plugins\", DAPT_PLUGIN_PATH, the installation (lib/dapt "
        "beside bin), the build folder.",
    .options = list_options,
    .ranks = true,
    .size = sizeof(struct list_arguments),
    .run = run_plugins,
};
