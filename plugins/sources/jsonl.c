// JSON Lines: a line is a record, one of its strings the document.
#include <cjson/cJSON.h>
#include <stdarg.h>
#include <stdatomic.h>
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
    char path[400];  // for messages
    uint64_t line;
    cJSON *record;  // holds the text of the document handed out
};

// Whether [text, end) is one JSON object, nothing behind it.
static bool is_record(const char *text, const char *end) {
    const char *stop = NULL;
    cJSON *value = cJSON_ParseWithLengthOpts(text, (size_t)(end - text), &stop, false);
    bool object = cJSON_IsObject(value);
    cJSON_Delete(value);
    while (object && stop < end && memchr(" \t\r", *stop, 3)) stop++;
    return object && stop == end;
}

// By content: the first line is an object, and the second one begins one. Endings only help where that
// cannot be told, as the line is longer than what is seen of it.
static int jsonl_probe(const char *path_z, const void *head, size_t size) {
    const char *ending = strrchr(path_z, '.'), *first = head, *end = first + size;
    bool named = ending &&
                 (strcasecmp(ending, ".jsonl") == 0 || strcasecmp(ending, ".ndjson") == 0 ||
                  strcasecmp(ending, ".jsonlines") == 0 || strcasecmp(ending, ".jl") == 0);
    while (first < end && memchr(" \t\r\n\xef\xbb\xbf", *first, 7)) first++;
    bool object = first < end && *first == '{';
    if (named) return object || first == end ? 95 : 50;
    const char *line = object ? memchr(first, '\n', (size_t)(end - first)) : NULL;
    bool whole = object && is_record(first, line ? line : end);
    while (line && line < end && memchr(" \t\r\n", *line, 4)) line++;
    if (whole && (!line || line == end || *line == '{')) return 92;
    return object && !line && ending && strcasecmp(ending, ".json") == 0 ? 60 : 0;
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
    snprintf(jsonl->path, sizeof jsonl->path, "%s", path_z);
    enum dapt_status status = reader_open(&jsonl->reader, host, path_z);
    if (status) {
        jsonl_close(jsonl);
        jsonl = NULL;
    }
    *handle = jsonl;
    return status;
}

// The last member of that name, as everywhere else.
static const cJSON *member(const cJSON *object, const char *name, size_t length) {
    const cJSON *found = NULL;
    for (const cJSON *each = object->child; each; each = each->next)
        if (strncmp(each->string, name, length) == 0 && each->string[length] == 0) found = each;
    return found;
}

// Follows a dotted path. A member whose own name holds the dots comes first.
static const cJSON *find(const cJSON *object, const char *path) {
    const cJSON *whole = member(object, path, strlen(path));
    for (const char *dot = strchr(path, '.'); !whole && dot; dot = strchr(dot + 1, '.')) {
        const cJSON *within = member(object, path, (size_t)(dot - path));
        if (cJSON_IsObject(within)) whole = find(within, dot + 1);
    }
    return whole;
}

static unsigned escaped(const char *digits) {
    unsigned code = 0;
    for (int i = 0; i < 4; i++) {
        unsigned char c = (unsigned char)digits[i];
        code = code << 4 | (unsigned)(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
    }
    return code;
}

// A line does not end in NUL: nothing looks behind its end.
static bool is_escape(const char *at, const char *end) {
    if (end - at < 6 || at[0] != '\\' || at[1] != 'u') return false;
    for (int i = 2; i < 6; i++)
        if (!memchr("0123456789abcdefABCDEF", at[i], 22)) return false;
    return true;
}

// Within a string: half a surrogate pair, or a NUL, that no text can hold becomes U+FFFD. Returns where to
// go on.
static char *mend_escape(char *at, const char *end, size_t *mended) {
    if (at + 1 >= end || !is_escape(at, end)) return at + 2;
    unsigned code = escaped(at + 2);
    if (code >= 0xd800 && code < 0xdc00 && is_escape(at + 6, end) && escaped(at + 8) >= 0xdc00 &&
        escaped(at + 8) < 0xe000)
        return at + 12;
    if (code == 0 || (code >= 0xd800 && code < 0xe000)) {
        memcpy(at + 2, "fffd", 4);
        ++*mended;
    }
    return at + 6;
}

// What Python writes and JSON has not, in place: NaN and infinities, which stand for no text, become 0.
static void mend(char *line, size_t length, size_t *mended) {
    static const char *const words[] = {"NaN", "-Infinity", "Infinity"};
    const char *end = line + length;
    bool string = false;
    for (char *at = line; at < end;) {
        if (string && *at == '\\') {
            at = mend_escape(at, end, mended);
            continue;
        }
        if (*at == '"') string = !string;
        for (size_t i = 0; !string && i < sizeof words / sizeof words[0]; i++) {
            size_t size = strlen(words[i]);
            if ((size_t)(end - at) < size || memcmp(at, words[i], size) != 0) continue;
            memset(at, ' ', size);
            *at = '0';
        }
        at++;
    }
}

__attribute__((format(printf, 2, 3))) static enum dapt_status bad(const struct jsonl *jsonl,
                                                                  const char *format, ...) {
    char reason[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(reason, sizeof reason, format, arguments);
    va_end(arguments);
    return jsonl->reader.host->fail(jsonl->reader.host, DAPT_ERROR_INVALID, reason);
}

// " (it has: id, title, body)"
static void list_fields(const cJSON *record, char *text, size_t size) {
    size_t used = (size_t)snprintf(text, size, "; its fields are");
    for (const cJSON *each = record->child; each && used + 40 < size; each = each->next)
        used += (size_t)snprintf(text + used, size - used, "%s \"%.30s\"", used > 16 ? "," : "",
                                 each->string);
    if (!record->child) snprintf(text, size, "; it is empty");
}

// Said once, as a corpus may have it in each of thousands of files: the text is not quite what the file says.
static void tell_mended(const struct jsonl *jsonl) {
    static atomic_flag told = ATOMIC_FLAG_INIT;
    char line[600];
    if (atomic_flag_test_and_set(&told)) return;
    snprintf(
        line, sizeof line,
        "%s:%llu: the text holds half a surrogate pair or a NUL, which no text can; U+FFFD stands "
        "for it, here and wherever else",
        jsonl->path, (unsigned long long)jsonl->line);
    jsonl->reader.host->log(jsonl->reader.host, DAPT_LOG_WARNING, line);
}

static enum dapt_status read_record(struct jsonl *jsonl, char *line, size_t length,
                                    struct dapt_document *document) {
    const char *end = NULL;
    size_t mended = 0;
    if (memchr(line, 0, length)) return bad(jsonl, "holds a NUL character");
    mend(line, length, &mended);
    jsonl->record = cJSON_ParseWithLengthOpts(line, length, &end, false);
    while (jsonl->record && end < line + length && memchr(" \t\r", *end, 3)) end++;
    size_t column = (size_t)(end ? end - line : 0) + 1;
    if (!jsonl->record) return bad(jsonl, "is not JSON, near column %zu", column);
    if (end < line + length) return bad(jsonl, "goes on behind its JSON value, column %zu", column);
    if (!cJSON_IsObject(jsonl->record)) return bad(jsonl, "is not a JSON object");
    const cJSON *text = find(jsonl->record, jsonl->field), *id = find(jsonl->record, jsonl->id);
    if (!text) {
        char fields[300];
        list_fields(jsonl->record, fields, sizeof fields);
        return bad(jsonl, "has no field \"%.60s\"%s; name one as \"field\"", jsonl->field, fields);
    }
    if (!cJSON_IsString(text)) return bad(jsonl, "field \"%.100s\" is not a string", jsonl->field);
    document->text = text->valuestring;
    document->length = strlen(text->valuestring);
    if (mended && strstr(text->valuestring, "\xef\xbf\xbd")) tell_mended(jsonl);
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
    .version = "2",
    .summary = "JSON Lines: one field of one object a line",
    .options = options_table,
    .implementation = &jsonl_source,
}};

DAPT_EXPORT const struct dapt_plugin_entry dapt_plugin_entry = {DAPT_PLUGIN_ABI, 1, descriptors};
