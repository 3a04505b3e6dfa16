#include "host/json.h"

#include <cJSON.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/files.h"
#include "host/json_scan.h"

struct document {
    struct dapt_arena arena;
    const char *name;
    unsigned record;  // the text is this line of a file, from 1; 0: the file
    char *text;
    cJSON *tree;
    struct dapt_json *root;
    struct document *grafts;  // documents whose roots were set into this one
};

struct dapt_json {
    struct document *document;
    struct dapt_json *parent;
    const cJSON *value;
    const char *name;  // in an object
    struct dapt_json_place place;
    uint32_t index, count;        // among its siblings; of its children
    struct dapt_json **children;  // in the file's order
    struct dapt_json **sorted;    // members by name
};

// ---------------------------------------------------------------------------------------------------- making the tree

static int by_name(const void *a, const void *b) {
    return strcmp((*(struct dapt_json *const *)a)->name, (*(struct dapt_json *const *)b)->name);
}

// Also finds names that stand twice.
static enum dapt_status sort_members(struct dapt_json *object) {
    struct dapt_json **sorted = dapt_arena_alloc(&object->document->arena,
                                                 object->count * sizeof *sorted);
    if (!sorted) return DAPT_ERROR_MEMORY;
    if (object->count) memcpy(sorted, object->children, object->count * sizeof *sorted);
    if (object->count) qsort(sorted, object->count, sizeof *sorted, by_name);
    for (size_t i = 1; i < object->count; i++) {
        if (strcmp(sorted[i]->name, sorted[i - 1]->name) != 0) continue;
        const struct dapt_json *second = sorted[i]->index > sorted[i - 1]->index ? sorted[i]
                                                                                 : sorted[i - 1];
        return dapt_json_fail_name(second, "stands twice in this object");
    }
    object->sorted = sorted;
    return DAPT_OK;
}

// cJSON's tree and the scan's places, in the same order; `*next` is the first node not yet used.
static enum dapt_status build(struct dapt_json *node, const struct dapt_json_place *places,
                              size_t *next, size_t count) {
    if (!cJSON_IsArray(node->value) && !cJSON_IsObject(node->value)) return DAPT_OK;
    struct document *document = node->document;
    size_t children = 0;
    for (const cJSON *c = node->value->child; c; c = c->next) children++;
    node->count = (uint32_t)children;
    node->children = dapt_arena_alloc(&document->arena, children * sizeof *node->children);
    if (!node->children) return DAPT_ERROR_MEMORY;
    uint32_t index = 0;
    for (const cJSON *c = node->value->child; c; c = c->next) {
        if (*next >= count)
            return dapt_fail(DAPT_ERROR_INTERNAL, "%s: scan and parser disagree", document->name);
        struct dapt_json *child = document->root + *next;
        *child = (struct dapt_json){.document = document,
                                    .parent = node,
                                    .value = c,
                                    .place = places[*next],
                                    .name = cJSON_IsObject(node->value) ? c->string : NULL,
                                    .index = index};
        ++*next;
        node->children[index++] = child;
        enum dapt_status status = build(child, places, next, count);
        if (status) return status;
    }
    return cJSON_IsObject(node->value) ? sort_members(node) : DAPT_OK;
}

static void document_free(struct document *document) {
    while (document) {
        struct document *next = document->grafts;
        cJSON_Delete(document->tree);
        free(document->text);
        struct dapt_arena arena = document->arena;  // the document itself lies in it
        dapt_arena_free(&arena);
        document = next;
    }
}

void dapt_json_free(struct dapt_json **root) {
    if (*root) document_free((*root)->document);
    *root = NULL;
}

// Takes `text` (from malloc) over, on failure too.
static enum dapt_status make_document(const char *name, unsigned record, char *text, size_t length,
                                      struct dapt_json **root) {
    *root = NULL;
    struct dapt_json_place *places = NULL;
    size_t count = 0, next = 1;
    struct dapt_arena arena = {0};
    struct document *document = dapt_arena_alloc(&arena, sizeof *document);
    if (!document) {
        free(text);
        return DAPT_ERROR_MEMORY;
    }
    *document = (struct document){.arena = arena, .record = record, .text = text};
    enum dapt_status status = dapt_json_scan(name, record, text, length, &places, &count);
    if (status) goto end;
    status = DAPT_ERROR_MEMORY;
    document->name = dapt_arena_copy(&document->arena, name, strlen(name));
    document->root = dapt_arena_alloc(&document->arena, count * sizeof *document->root);
    if (!document->name || !document->root) goto end;
    size_t mark = length >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    document->tree = cJSON_ParseWithLength(text + mark, length - mark);
    if (!document->tree) {
        status = dapt_fail(DAPT_ERROR_MEMORY, "%s: could not be parsed: out of memory", name);
        goto end;
    }
    *document->root = (struct dapt_json){
        .document = document, .value = document->tree, .place = places[0]};
    status = build(document->root, places, &next, count);
    if (!status && next != count)
        status = dapt_fail(DAPT_ERROR_INTERNAL, "%s: scan and parser disagree", name);
end:
    free(places);
    if (status) {
        document_free(document);
    } else {
        *root = document->root;
    }
    return status;
}

enum dapt_status dapt_json_parse_line(const char *name, unsigned record, const char *text,
                                      size_t length, struct dapt_json **root) {
    *root = NULL;
    struct dapt_string copy = {0};
    enum dapt_status status = dapt_string_add(&copy, text, length);
    return status ? status : make_document(name, record, copy.data, copy.length, root);
}

enum dapt_status dapt_json_parse(const char *name, const char *text, size_t length,
                                 struct dapt_json **root) {
    return dapt_json_parse_line(name, 0, text, length, root);
}

enum dapt_status dapt_json_read(const char *path, size_t limit, struct dapt_json **root) {
    *root = NULL;
    struct dapt_string content;
    enum dapt_status status = dapt_file_read(path, limit, &content);
    return status ? status : make_document(path, 0, content.data, content.length, root);
}

// ----------------------------------------------------------------------------------------------------- looking around

enum dapt_json_kind dapt_json_kind(const struct dapt_json *value) {
    if (!value || cJSON_IsNull(value->value)) return DAPT_JSON_NULL;
    if (cJSON_IsBool(value->value)) return DAPT_JSON_BOOL;
    if (cJSON_IsNumber(value->value)) return DAPT_JSON_NUMBER;
    if (cJSON_IsString(value->value)) return DAPT_JSON_STRING;
    return cJSON_IsArray(value->value) ? DAPT_JSON_ARRAY : DAPT_JSON_OBJECT;
}

const char *dapt_json_kind_name(enum dapt_json_kind kind) {
    static const char *const names[] = {
        [DAPT_JSON_NULL] = "null",       [DAPT_JSON_BOOL] = "true or false",
        [DAPT_JSON_NUMBER] = "a number", [DAPT_JSON_STRING] = "a string",
        [DAPT_JSON_ARRAY] = "an array",  [DAPT_JSON_OBJECT] = "an object",
    };
    return names[kind];
}

size_t dapt_json_count(const struct dapt_json *value) {
    return value ? value->count : 0;
}

const struct dapt_json *dapt_json_at(const struct dapt_json *value, size_t index) {
    return value && index < value->count ? value->children[index] : NULL;
}

const char *dapt_json_name(const struct dapt_json *value) {
    return value ? value->name : NULL;
}

static struct dapt_json *member(const struct dapt_json *object, const char *name, size_t length) {
    if (!object || !object->sorted) return NULL;
    size_t low = 0, high = object->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const char *other = object->sorted[middle]->name;
        int order = strncmp(name, other, length);
        if (order == 0 && other[length]) order = -1;
        if (order == 0) return object->sorted[middle];
        if (order < 0) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return NULL;
}

const struct dapt_json *dapt_json_member(const struct dapt_json *object, const char *name) {
    return member(object, name, strlen(name));
}

const struct dapt_json *dapt_json_find(const struct dapt_json *object, const char *path) {
    while (object) {
        size_t length = strcspn(path, ".");
        object = member(object, path, length);
        if (!path[length]) break;
        path += length + 1;
    }
    return object;
}

// ------------------------------------------------------------------------------------------------------------- errors

static void add_path(const struct dapt_json *value, struct dapt_string *path) {
    if (!value->parent) return;
    add_path(value->parent, path);
    if (value->name) {
        dapt_string_format(path, "%s%s", path->length ? "." : "", value->name);
    } else {
        dapt_string_format(path, "[%u]", value->index);
    }
}

static enum dapt_status fail_at(const struct dapt_json *value, size_t offset, const char *format,
                                va_list arguments) {
    char reason[1024];
    vsnprintf(reason, sizeof reason, format, arguments);
    const struct document *document = value->document;
    struct dapt_string where = {0};
    unsigned line, column;
    dapt_json_where(document->text, document->record, offset, &line, &column);
    if (document->name[0] == '-') {
        dapt_string_format(&where, "%s: ", document->name);  // an argument of the command line
    } else {
        dapt_string_format(&where, "%s:%u:%u: ", document->name, line, column);
    }
    struct dapt_string path = {0};
    add_path(value, &path);
    if (path.length) dapt_string_format(&where, "%s: ", path.data);
    dapt_fail(DAPT_ERROR_INVALID, "%s%s", where.data ? where.data : "", reason);
    dapt_string_free(&path);
    dapt_string_free(&where);
    return DAPT_ERROR_INVALID;
}

enum dapt_status dapt_json_fail(const struct dapt_json *value, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fail_at(value, value->place.start, format, arguments);
    va_end(arguments);
    return DAPT_ERROR_INVALID;
}

enum dapt_status dapt_json_fail_name(const struct dapt_json *value, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fail_at(value, value->place.name, format, arguments);
    va_end(arguments);
    return DAPT_ERROR_INVALID;
}

const char *dapt_json_excerpt(const struct dapt_json *value, char text[64]) {
    enum dapt_json_kind kind = dapt_json_kind(value);
    if (!value) return "nothing";
    if (kind == DAPT_JSON_ARRAY || kind == DAPT_JSON_OBJECT) return dapt_json_kind_name(kind);
    size_t length = value->place.end - value->place.start;
    const char *start = value->document->text + value->place.start;
    if (length <= 48) {
        snprintf(text, 64, "%.*s", (int)length, start);
        return text;
    }
    length = 44;
    while (length > 0 && ((unsigned char)start[length] & 0xc0) == 0x80) length--;
    snprintf(text, 64, "%.*s...", (int)length, start);
    return text;
}

// ------------------------------------------------------------------------------------------------------------- values

static enum dapt_status fail_kind(const struct dapt_json *value, const char *expected) {
    char text[64];
    if (!value) return dapt_fail(DAPT_ERROR_INVALID, "expected %s, found nothing", expected);
    return dapt_json_fail(value, "expected %s, got %s", expected, dapt_json_excerpt(value, text));
}

enum dapt_status dapt_json_string(const struct dapt_json *value, const char **text) {
    if (dapt_json_kind(value) != DAPT_JSON_STRING) return fail_kind(value, "a string");
    *text = value->value->valuestring;
    return DAPT_OK;
}

enum dapt_status dapt_json_number(const struct dapt_json *value, double *number) {
    if (dapt_json_kind(value) != DAPT_JSON_NUMBER) return fail_kind(value, "a number");
    if (!isfinite(value->value->valuedouble))
        return fail_kind(value, "a number that a double can hold");
    *number = value->value->valuedouble;
    return DAPT_OK;
}

// Digits are read from the text: a double holds integers up to 2^53 only.
static bool to_integer(const struct dapt_json *value, int64_t *integer) {
    if (dapt_json_kind(value) != DAPT_JSON_NUMBER) return false;
    const char *start = value->document->text + value->place.start;
    size_t length = value->place.end - value->place.start;
    if (!memchr(start, '.', length) && !memchr(start, 'e', length) && !memchr(start, 'E', length)) {
        errno = 0;
        *integer = strtoll(start, NULL, 10);  // the text ends in NUL, the number before it
        return errno == 0;
    }
    double number = value->value->valuedouble;
    if (!(fabs(number) <= 0x1p53) || number != floor(number)) return false;
    *integer = (int64_t)number;
    return true;
}

enum dapt_status dapt_json_integer(const struct dapt_json *value, int64_t minimum, int64_t maximum,
                                   int64_t *integer) {
    int64_t number;
    if (to_integer(value, &number) && number >= minimum && number <= maximum) {
        *integer = number;
        return DAPT_OK;
    }
    char expected[96];
    if (minimum == INT64_MIN && maximum == INT64_MAX) {
        snprintf(expected, sizeof expected, "an integer");
    } else if (maximum == INT64_MAX) {
        snprintf(expected, sizeof expected, "an integer of at least %lld", (long long)minimum);
    } else {
        snprintf(expected, sizeof expected, "an integer from %lld to %lld", (long long)minimum,
                 (long long)maximum);
    }
    return fail_kind(value, expected);
}

enum dapt_status dapt_json_bool(const struct dapt_json *value, bool *truth) {
    if (dapt_json_kind(value) != DAPT_JSON_BOOL) return fail_kind(value, "true or false");
    *truth = cJSON_IsTrue(value->value);
    return DAPT_OK;
}

// NULL for null, too.
static const struct dapt_json *given(const struct dapt_json *object, const char *name) {
    const struct dapt_json *value = dapt_json_member(object, name);
    return dapt_json_kind(value) == DAPT_JSON_NULL ? NULL : value;
}

enum dapt_status dapt_json_get_string(const struct dapt_json *object, const char *name,
                                      const char **text) {
    const struct dapt_json *value = given(object, name);
    return value ? dapt_json_string(value, text) : DAPT_OK;
}

enum dapt_status dapt_json_get_number(const struct dapt_json *object, const char *name,
                                      double *number) {
    const struct dapt_json *value = given(object, name);
    return value ? dapt_json_number(value, number) : DAPT_OK;
}

enum dapt_status dapt_json_get_real(const struct dapt_json *object, const char *name,
                                    double minimum, double maximum, double *number) {
    const struct dapt_json *value = given(object, name);
    enum dapt_status status = value ? dapt_json_number(value, number) : DAPT_OK;
    if (!status && value && !(*number >= minimum && *number <= maximum))
        status = dapt_json_fail(value, "is %g, expected a number from %g to %g", *number, minimum,
                                maximum);
    return status;
}

enum dapt_status dapt_json_get_integer(const struct dapt_json *object, const char *name,
                                       int64_t minimum, int64_t maximum, int64_t *integer) {
    const struct dapt_json *value = given(object, name);
    return value ? dapt_json_integer(value, minimum, maximum, integer) : DAPT_OK;
}

enum dapt_status dapt_json_get_bool(const struct dapt_json *object, const char *name, bool *truth) {
    const struct dapt_json *value = given(object, name);
    return value ? dapt_json_bool(value, truth) : DAPT_OK;
}

enum dapt_status dapt_json_need(const struct dapt_json *object, const char *name,
                                enum dapt_json_kind kind, const struct dapt_json **result) {
    *result = NULL;
    if (!object) return dapt_fail(DAPT_ERROR_INVALID, "\"%s\" is missing", name);
    if (dapt_json_kind(object) != DAPT_JSON_OBJECT) return fail_kind(object, "an object");
    const struct dapt_json *value = dapt_json_member(object, name);
    if (!value)
        return dapt_json_fail(object, "\"%s\" is missing here, expected %s", name,
                              dapt_json_kind_name(kind));
    if (dapt_json_kind(value) != kind) return fail_kind(value, dapt_json_kind_name(kind));
    *result = value;
    return DAPT_OK;
}

// ------------------------------------------------------------------------------------------------------------ writing

enum dapt_status dapt_json_write_string(struct dapt_string *out, const char *text) {
    enum dapt_status status = dapt_string_add(out, "\"", 1);
    while (!status && *text) {
        size_t plain = 0;
        while (text[plain] && text[plain] != '"' && text[plain] != '\\' &&
               (unsigned char)text[plain] >= 0x20)
            plain++;
        status = dapt_string_add(out, text, plain);
        text += plain;
        if (status || !*text) break;
        unsigned char c = (unsigned char)*text++;
        const char *shorts = "\"\"\\\\\nn\tt\rr",
                   *row = shorts;  // pairs: character, letter of its escape
        while (*row && *row != (char)c) row += 2;
        status = *row ? dapt_string_format(out, "\\%c", row[1])
                      : dapt_string_format(out, "\\u%04x", c);
    }
    return status ? status : dapt_string_add(out, "\"", 1);
}

enum dapt_status dapt_json_write_number(struct dapt_string *out, double number) {
    char text[40];
    if (!isfinite(number)) return dapt_string_add(out, "null", 4);
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, number);
        if (strtod(text, NULL) == number) break;
    }
    return dapt_string_add(out, text, strlen(text));
}

enum dapt_status dapt_json_write(const struct dapt_json *value, struct dapt_string *out) {
    enum dapt_json_kind kind = dapt_json_kind(value);
    if (!value) return dapt_string_add(out, "null", 4);
    if (kind == DAPT_JSON_STRING) return dapt_json_write_string(out, value->value->valuestring);
    if (kind != DAPT_JSON_ARRAY && kind != DAPT_JSON_OBJECT) {
        return dapt_string_add(out, value->document->text + value->place.start,
                               value->place.end - value->place.start);
    }
    bool object = kind == DAPT_JSON_OBJECT;
    enum dapt_status status = dapt_string_add(out, object ? "{" : "[", 1);
    for (size_t i = 0; !status && i < value->count; i++) {
        const struct dapt_json *child = value->children[i];
        if (i) status = dapt_string_add(out, ", ", 2);
        if (!status && object) status = dapt_json_write_string(out, child->name);
        if (!status && object) status = dapt_string_add(out, ": ", 2);
        if (!status) status = dapt_json_write(child, out);
    }
    return status ? status : dapt_string_add(out, object ? "}" : "]", 1);
}

// ------------------------------------------------------------------------------------------------------------ setting

// Adds `child` to an object or puts it in place of the member of that name.
static enum dapt_status put_member(struct dapt_json *object, struct dapt_json *child) {
    struct dapt_json *old = member(object, child->name, strlen(child->name));
    struct dapt_arena *arena = &object->document->arena;
    uint32_t count = object->count + !old;
    struct dapt_json **children = dapt_arena_alloc(arena, count * sizeof *children);
    if (!children) return DAPT_ERROR_MEMORY;
    if (object->count) memcpy(children, object->children, object->count * sizeof *children);
    child->parent = object;
    child->index = old ? old->index : object->count;
    children[child->index] = child;
    object->children = children;
    object->count = count;
    return sort_members(object);
}

static struct dapt_json *empty_object(struct document *document, const char *name, size_t length) {
    static const cJSON object = {.type = cJSON_Object};
    struct dapt_json *node = dapt_arena_alloc(&document->arena, sizeof *node);
    char *copy = dapt_arena_copy(&document->arena, name, length);
    if (!node || !copy) return NULL;
    *node = (struct dapt_json){.document = document, .value = &object, .name = copy};
    return node;
}

enum dapt_status dapt_json_set(struct dapt_json *root, const char *path, struct dapt_json *value) {
    struct document *document = value->document;  // from here on one of the root's
    struct document *last = document;
    while (last->grafts) last = last->grafts;
    last->grafts = root->document->grafts;
    root->document->grafts = document;
    struct dapt_json *object = root;
    const char *whole = path;
    for (;;) {
        if (dapt_json_kind(object) != DAPT_JSON_OBJECT)
            return dapt_json_fail(
                value, "%s: a part of its path is there already and is not an object", whole);
        size_t length = strcspn(path, ".");
        if (length == 0)
            return dapt_json_fail(value, "expected a key such as train.steps before '='");
        bool end = path[length] == '\0';
        struct dapt_json *next = end ? NULL : member(object, path, length);
        if (end) {
            value->name = dapt_arena_copy(&document->arena, path, length);
            return value->name ? put_member(object, value) : DAPT_ERROR_MEMORY;
        }
        if (!next) {
            next = empty_object(document, path, length);
            enum dapt_status status = next ? put_member(object, next) : DAPT_ERROR_MEMORY;
            if (status) return status;
        }
        object = next;
        path += length + 1;
    }
}
