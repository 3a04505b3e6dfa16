// JSON Lines: a line is a record, one of its strings the document.
#include <cjson/cJSON.h>
#include <stdarg.h>
#include <strings.h>

#include "reader.h"

static const size_t longest = 256u << 20;  // bytes of a line

static const struct dapt_option options_table[] = {
    {.name = "field",
     .type = DAPT_OPTION_STRING,
     .default_value = "text",
     .help =
         "the string that is the document; members of members as a dotted path: \"article.body\""},
    {.name = "id",
     .type = DAPT_OPTION_STRING,
     .default_value = "id",
     .help = "the string that names the document; likewise a dotted path"},
    {0},
};

struct jsonl {
    struct reader reader;
    const char *field, *id;
    uint64_t line;
    cJSON *record;  // holds the text of the document handed out
};

static int jsonl_probe(const char *path_z, const void *head, size_t size) {
    const char *ending = strrchr(path_z, '.'), *first = head;
    for (; size && memchr(" \t\r\n\xef\xbb\xbf", *first, 7); size--) first++;
    bool object = size && *first == '{';
    if (ending && (strcasecmp(ending, ".jsonl") == 0 || strcasecmp(ending, ".ndjson") == 0))
        return object || size == 0 ? 95 : 50;
    return object && ending && strcasecmp(ending, ".json") == 0 ? 60 : 0;
}

static void jsonl_close(void *handle) {
    struct jsonl *jsonl = handle;
    if (!jsonl) return;
    reader_close(&jsonl->reader);
    cJSON_Delete(jsonl->record);
    free(jsonl);
}

static enum dapt_status jsonl_open(const struct dapt_host *host, const struct dapt_options *options,
                                   const char *path_z, void **handle) {
    struct jsonl *jsonl = calloc(1, sizeof *jsonl);
    if (!jsonl) return host->fail(host, DAPT_ERROR_MEMORY, "no memory to open a file");
    jsonl->field = host->option_string(options, "field");
    jsonl->id = host->option_string(options, "id");
    enum dapt_status status = reader_open(&jsonl->reader, host, path_z);
    if (status) {
        jsonl_close(jsonl);
        jsonl = NULL;
    }
    *handle = jsonl;
    return status;
}

// Follows a dotted path. A member whose own name holds the dots comes first.
static const cJSON *find(const cJSON *object, const char *path) {
    const cJSON *whole = cJSON_GetObjectItemCaseSensitive(object, path);
    for (const char *dot = strchr(path, '.'); !whole && dot; dot = strchr(dot + 1, '.'))
        for (const cJSON *member = object->child; member && !whole; member = member->next)
            if (cJSON_IsObject(member) &&
                strncmp(member->string, path, (size_t)(dot - path)) == 0 &&
                member->string[dot - path] == 0)
                whole = find(member, dot + 1);
    return whole;
}

// cJSON ends a string at an escaped NUL; such a line is refused rather than cut.
static bool escapes_nul(const char *line, size_t length) {
    for (const char *at = line, *end = line + length;
         (at = memmem(at, (size_t)(end - at), "\\u0000", 6)); at++) {
        const char *first = at;
        while (first > line && first[-1] == '\\') first--;
        if ((at - first) % 2 == 0) return true;
    }
    return false;
}

__attribute__((format(printf, 2, 3))) static enum dapt_status bad(const struct jsonl *jsonl,
                                                                  const char *format, ...) {
    char reason[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(reason, sizeof reason, format, arguments);
    va_end(arguments);
    return jsonl->reader.host->fail(jsonl->reader.host, DAPT_ERROR_INVALID, reason);
}

static enum dapt_status read_record(struct jsonl *jsonl, const char *line, size_t length,
                                    struct dapt_document *document) {
    const char *end = NULL;
    if (memchr(line, 0, length) || escapes_nul(line, length))
        return bad(jsonl, "holds a NUL character");
    jsonl->record = cJSON_ParseWithLengthOpts(line, length, &end, false);
    while (jsonl->record && end < line + length && memchr(" \t\r", *end, 3)) end++;
    size_t column = (size_t)(end ? end - line : 0) + 1;
    if (!jsonl->record) return bad(jsonl, "is not JSON, near column %zu", column);
    if (end < line + length) return bad(jsonl, "goes on behind its JSON value, column %zu", column);
    if (!cJSON_IsObject(jsonl->record)) return bad(jsonl, "is not a JSON object");
    const cJSON *text = find(jsonl->record, jsonl->field), *id = find(jsonl->record, jsonl->id);
    if (!text) return bad(jsonl, "has no field \"%.100s\"", jsonl->field);
    if (!cJSON_IsString(text)) return bad(jsonl, "field \"%.100s\" is not a string", jsonl->field);
    document->text = text->valuestring;
    document->length = strlen(text->valuestring);
    if (cJSON_IsString(id)) {
        document->id = id->valuestring;
        document->id_length = strlen(id->valuestring);
    }
    return DAPT_OK;
}

static enum dapt_status jsonl_next(void *handle, struct dapt_document *document) {
    struct jsonl *jsonl = handle;
    char *line;
    size_t length;
    cJSON_Delete(jsonl->record);
    jsonl->record = NULL;
    for (;;) {
        *document = (struct dapt_document){.record = ++jsonl->line};
        enum dapt_status status = reader_next(&jsonl->reader, "\n", 1, longest, &line, &length);
        if (status) return status;
        size_t blank = 0;
        while (blank < length && memchr(" \t\r", line[blank], 3)) blank++;
        if (blank < length) return read_record(jsonl, line, length, document);
    }
}

static const struct dapt_source_1 jsonl_source = {jsonl_probe, jsonl_open, jsonl_next, jsonl_close};

static const struct dapt_plugin_descriptor descriptors[] = {{
    .kind = DAPT_SOURCE_1,
    .id = "jsonl",
    .version = "1",
    .summary = "JSON Lines: one field of one object a line",
    .options = options_table,
    .implementation = &jsonl_source,
}};

DAPT_EXPORT const struct dapt_plugin_entry dapt_plugin_entry = {DAPT_PLUGIN_ABI, 1, descriptors};
