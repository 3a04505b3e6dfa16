#include "host/json_scan.h"

#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

#define MAX_DEPTH 128
#define MAX_NUMBER 60  // characters; cJSON copies a number into 64

struct scan {
    const char *name;
    unsigned record;
    const char *text;
    size_t length, at;
    struct dapt_json_place *places;
    size_t count, capacity;
    int depth;
};

void dapt_json_where(const char *text, unsigned record, size_t offset, unsigned *line,
                     unsigned *column) {
    *line = record ? record : 1;
    *column = 1;
    if (offset >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) text += 3, offset -= 3;
    for (size_t i = 0; i < offset; i++) {
        if (text[i] == '\n') {
            ++*line;
            *column = 1;
        } else if (((unsigned char)text[i] & 0xc0) != 0x80) {
            ++*column;
        }
    }
}

static enum dapt_status fail_at(struct scan *s, size_t offset, const char *reason) {
    unsigned line, column;
    dapt_json_where(s->text, s->record, offset, &line, &column);
    return dapt_fail(DAPT_ERROR_INVALID, "%s:%u:%u: %s", s->name, line, column, reason);
}

static enum dapt_status fail_expected(struct scan *s, const char *expected) {
    unsigned line, column;
    dapt_json_where(s->text, s->record, s->at, &line, &column);
    if (s->at >= s->length) {
        return dapt_fail(DAPT_ERROR_INVALID, "%s:%u:%u: expected %s, but the %s ends here", s->name,
                         line, column, expected, s->record ? "line" : "file");
    }
    int size = 1;  // one character, whole
    while (size < 4 && s->at + (size_t)size < s->length &&
           ((unsigned char)s->text[s->at + (size_t)size] & 0xc0) == 0x80)
        size++;
    return dapt_fail(DAPT_ERROR_INVALID, "%s:%u:%u: expected %s, found '%.*s'", s->name, line,
                     column, expected, size, s->text + s->at);
}

static int peek(const struct scan *s) {
    return s->at < s->length ? (unsigned char)s->text[s->at] : -1;
}

static enum dapt_status skip_space(struct scan *s) {
    int c;
    while ((c = peek(s)) == ' ' || c == '\t' || c == '\n' || c == '\r') s->at++;
    return c == '/' ? fail_at(s, s->at, "comments are not JSON") : DAPT_OK;
}

static int hex4(const struct scan *s, size_t at) {
    int value = 0;
    for (size_t i = at; i < at + 4; i++) {
        int c = i < s->length ? (unsigned char)s->text[i] : 0;
        int digit = c >= '0' && c <= '9'                 ? c - '0'
                    : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10
                                                         : -1;
        if (digit < 0) return -1;
        value = value * 16 + digit;
    }
    return value;
}

static enum dapt_status scan_escape(struct scan *s) {
    size_t start = s->at++;
    int c = peek(s);
    s->at++;
    if (c > 0 && strchr("\"\\/bfnrt", c)) return DAPT_OK;
    if (c != 'u')
        return fail_at(s, start, "a backslash here must be followed by one of \"\\/bfnrtu");
    int unit = hex4(s, s->at);
    if (unit < 0) return fail_at(s, start, "\\u must be followed by four hexadecimal digits");
    s->at += 4;
    if (unit == 0) return fail_at(s, start, "a NUL character is not allowed in a string");
    if (unit < 0xd800 || unit > 0xdfff) return DAPT_OK;
    bool pair = unit <= 0xdbff && s->at + 1 < s->length && s->text[s->at] == '\\' &&
                s->text[s->at + 1] == 'u';
    int low = pair ? hex4(s, s->at + 2) : -1;
    if (low < 0xdc00 || low > 0xdfff) return fail_at(s, start, "half of a surrogate pair");
    s->at += 6;
    return DAPT_OK;
}

static enum dapt_status scan_string(struct scan *s) {
    size_t start = s->at++;
    for (;;) {
        int c = peek(s);
        if (c < 0) return fail_at(s, start, "this string does not end");
        if (c == '"') break;
        if (c == '\\') {
            enum dapt_status status = scan_escape(s);
            if (status) return status;
            continue;
        }
        if (c < 0x20)
            return fail_at(s, s->at,
                           c == '\n'
                               ? "a string may not go over the end of its line"
                               : "a control character in a string must be written as \\u00XX");
        s->at++;
    }
    s->at++;
    return DAPT_OK;
}

static size_t skip_digits(struct scan *s) {
    size_t start = s->at;
    while (peek(s) >= '0' && peek(s) <= '9') s->at++;
    return s->at - start;
}

static enum dapt_status scan_number(struct scan *s) {
    size_t start = s->at;
    if (peek(s) == '-') s->at++;
    bool zero = peek(s) == '0';
    size_t digits = skip_digits(s);
    if (digits == 0) return fail_expected(s, "a digit");
    if (zero && digits > 1) return fail_at(s, start, "a number may not start with 0");
    if (peek(s) == '.') {
        s->at++;
        if (skip_digits(s) == 0) return fail_expected(s, "a digit after the point");
    }
    if (peek(s) == 'e' || peek(s) == 'E') {
        s->at++;
        if (peek(s) == '+' || peek(s) == '-') s->at++;
        if (skip_digits(s) == 0) return fail_expected(s, "a digit in the exponent");
    }
    if (s->at - start > MAX_NUMBER) return fail_at(s, start, "a number of more than 60 characters");
    return DAPT_OK;
}

static enum dapt_status scan_word(struct scan *s) {
    static const char *const words[] = {"true", "false", "null"};
    for (size_t i = 0; i < 3; i++) {
        size_t length = strlen(words[i]);
        if (s->length - s->at >= length && memcmp(s->text + s->at, words[i], length) == 0) {
            s->at += length;
            return DAPT_OK;
        }
    }
    return fail_expected(s, "a value");
}

static enum dapt_status scan_value(struct scan *s, size_t name);

// The inside of [] or {}, brackets included.
static enum dapt_status scan_container(struct scan *s, bool object) {
    if (++s->depth > MAX_DEPTH) return fail_at(s, s->at, "nested deeper than 128 levels");
    const int end = object ? '}' : ']';
    s->at++;
    enum dapt_status status = skip_space(s);
    for (bool first = true; !status && (peek(s) != end || !first); first = false) {
        size_t name = s->at;
        if (!first && peek(s) == end) {
            return fail_at(
                s, s->at,
                object ? "a comma may not stand before '}'" : "a comma may not stand before ']'");
        }
        if (object) {
            if (peek(s) != '"')
                return fail_expected(s, first ? "a name in quotes or '}'" : "a name in quotes");
            if ((status = scan_string(s)) || (status = skip_space(s))) return status;
            if (peek(s) != ':') return fail_expected(s, "':' after the name");
            s->at++;
            if ((status = skip_space(s))) return status;
        }
        if ((status = scan_value(s, object ? name : s->at)) || (status = skip_space(s)))
            return status;
        if (peek(s) == end) break;
        if (peek(s) != ',') return fail_expected(s, object ? "',' or '}'" : "',' or ']'");
        s->at++;
        status = skip_space(s);
    }
    if (status) return status;
    s->at++;
    s->depth--;
    return DAPT_OK;
}

static enum dapt_status scan_value(struct scan *s, size_t name) {
    enum dapt_status status = dapt_grow(&s->places, &s->capacity, s->count + 1, sizeof *s->places);
    if (status) return status;
    size_t index = s->count++;
    s->places[index] = (struct dapt_json_place){(uint32_t)name, (uint32_t)s->at, 0};
    int c = peek(s);
    if (c == '{' || c == '[') {
        status = scan_container(s, c == '{');
    } else if (c == '"') {
        status = scan_string(s);
    } else if (c == '-' || (c >= '0' && c <= '9')) {
        status = scan_number(s);
    } else {
        status = scan_word(s);
    }
    s->places[index].end = (uint32_t)s->at;
    return status;
}

enum dapt_status dapt_json_scan(const char *name, unsigned record, const char *text, size_t length,
                                struct dapt_json_place **places, size_t *count) {
    struct scan s = {.name = name, .record = record, .text = text, .length = length};
    *places = NULL;
    *count = 0;
    if (length >= UINT32_MAX) return dapt_fail(DAPT_ERROR_INVALID, "%s: larger than 4 GiB", name);
    size_t broken = dapt_utf8_check(text, length);
    if (broken < length) return fail_at(&s, broken, "not valid UTF-8");
    if (length >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) s.at = 3;
    enum dapt_status status = skip_space(&s);
    if (!status) status = scan_value(&s, s.at);
    if (!status) status = skip_space(&s);
    if (!status && s.at < s.length)
        status = fail_expected(&s, record ? "the end of the line" : "the end of the file");
    if (status) {
        free(s.places);
        return status;
    }
    *places = s.places;
    *count = s.count;
    return DAPT_OK;
}
