// dapt cache
#include <stddef.h>
#include <stdio.h>

#include "tool.h"

struct cache_arguments {
    struct tool_arguments plain;
    const char *cache;
    bool purge, json;
    double older;  // days
};

struct listing {
    const struct cache_arguments *arguments;
    FILE *out;    // a page, or
    cJSON *root;  // JSON
    uint64_t count, bytes, used;
    char folder[4096];
};

static void print_age(FILE *out, double seconds) {
    static const struct {
        double seconds;
        const char *name;
    } units[] = {{86400, "days"}, {3600, "hours"}, {60, "min"}, {1, "s"}};
    size_t u = 0;
    while (u + 1 < sizeof units / sizeof *units && seconds < 2 * units[u].seconds) u++;
    char text[32];
    snprintf(text, sizeof text, "%.0f %s", seconds / units[u].seconds, units[u].name);
    fprintf(out, "%10s", text);
}

static void add_json(cJSON *root, const struct dapt_cached *cached) {
    cJSON *list = cJSON_GetObjectItemCaseSensitive(root, "texts"), *item = cJSON_CreateObject();
    cJSON_AddStringToObject(item, "path", cached->path);
    cJSON_AddStringToObject(item, "text", cached->text);
    cJSON_AddNumberToObject(item, "bytes", (double)cached->size);
    cJSON_AddNumberToObject(item, "documents", (double)cached->documents);
    cJSON_AddNumberToObject(item, "tokens", (double)cached->tokens);
    cJSON_AddNumberToObject(item, "seconds_since_use", cached->seconds);
    cJSON_AddBoolToObject(item, "in_use", cached->in_use);
    cJSON_AddBoolToObject(item, "removed", cached->removed);
    cJSON_AddItemToArray(list, item);
}

static void print_entry(FILE *out, const struct dapt_cached *cached) {
    struct tool_short size;
    fprintf(out, "%10s %12llu %14llu ", tool_bytes(cached->size, &size),
            (unsigned long long)cached->documents, (unsigned long long)cached->tokens);
    print_age(out, cached->seconds);
    fprintf(out, "  ");
    tool_print_plain(out, *cached->text ? cached->text : cached->path);
    fprintf(out, "%s\n", cached->in_use ? " (in use)" : "");
}

static void take(void *user, const char *folder, const struct dapt_cached *cached) {
    struct listing *l = user;
    snprintf(l->folder, sizeof l->folder, "%s", folder);
    if (!cached || cached->seconds < l->arguments->older * 86400) return;
    l->used += l->arguments->purge && cached->in_use;
    if (l->root) add_json(l->root, cached);
    if (l->arguments->purge && !cached->removed) return;
    if (!l->root && !l->count)
        fprintf(l->out, "%10s %12s %14s %10s  %s\n", "size", "documents", "tokens", "unused for",
                "text");
    if (!l->root) print_entry(l->out, cached);
    l->count++;
    l->bytes += cached->size;
}

static void print_end(const struct listing *l) {
    fprintf(l->out, "%s%llu text%s, ", l->arguments->purge ? "removed " : "",
            (unsigned long long)l->count, l->count == 1 ? "" : "s");
    tool_print_bytes(l->out, l->bytes);
    fprintf(l->out, ", in ");
    tool_print_plain(l->out, l->folder);
    if (l->used) fprintf(l->out, "; kept %llu in use", (unsigned long long)l->used);
    fputc('\n', l->out);
}

static enum tool_exit run_cache(void *arguments) {
    const struct cache_arguments *a = arguments;
    struct tool_page page = {0};
    struct listing listing = {.arguments = a};
    const struct dapt_cache_options options = {
        .folder = a->cache, .purge = a->purge, .days = a->older};
    if (a->json) {
        listing.root = cJSON_CreateObject();
        cJSON_AddArrayToObject(listing.root, "texts");
    } else if (!tool_page_begin(&page)) {
        return TOOL_FAILURE;
    }
    listing.out = page.out;
    enum dapt_status status = dapt_cache(&options, take, &listing);
    if (!a->json) {
        if (!status) print_end(&listing);
        tool_page_end(&page, stdout);
        return tool_finish(status);
    }
    cJSON_AddStringToObject(listing.root, "folder", listing.folder);
    cJSON_AddNumberToObject(listing.root, "bytes", (double)listing.bytes);
    if (status)
        cJSON_Delete(listing.root);
    else
        status = tool_print_json(listing.root);
    return tool_finish(status);
}

static const struct tool_option cache_options[] = {
    {"--purge", NULL, "removes them, but for those that a process uses just now", TOOL_FLAG,
     offsetof(struct cache_arguments, purge), 0, 0, false},
    {"--older", "DAYS", "only those that were not used for so many days", TOOL_REAL,
     offsetof(struct cache_arguments, older), 0, 1e6, false},
    {"--cache", "FOLDER", "the folder, where data.cache names one; default: the usual one",
     TOOL_TEXT, offsetof(struct cache_arguments, cache), 0, 0, false},
    {"--json", NULL, "prints one JSON object", TOOL_FLAG, offsetof(struct cache_arguments, json), 0,
     0, false},
    {0},
};

const struct tool_command tool_cache = {
    .name = "cache",
    .plain = "",
    .summary = "lists the tokenised texts that are kept for further runs, or removes them",
    .notes =
        "Removing is always safe: what is missing is made again. Each line names the data that "
        "the text was read from. Other files of the folder are neither told nor removed.",
    .options = cache_options,
    .size = sizeof(struct cache_arguments),
    .run = run_cache,
};
