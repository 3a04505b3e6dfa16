#include "infer/records.h"

#include <string.h>

#include "host/input.h"

// Compares with each: there are few.
size_t dapt_space_first(const char *text) {
    static const char *const wide[] = {
        "\xc2\x85",     "\xc2\xa0",     "\xe1\x9a\x80", "\xe2\x80\x80", "\xe2\x80\x81",
        "\xe2\x80\x82", "\xe2\x80\x83", "\xe2\x80\x84", "\xe2\x80\x85", "\xe2\x80\x86",
        "\xe2\x80\x87", "\xe2\x80\x88", "\xe2\x80\x89", "\xe2\x80\x8a", "\xe2\x80\xa8",
        "\xe2\x80\xa9", "\xe2\x80\xaf", "\xe2\x81\x9f", "\xe3\x80\x80"};
    unsigned char c = (unsigned char)text[0];
    if (c < 0x80) return c == ' ' || (c >= 0x09 && c <= 0x0d) || (c >= 0x1c && c <= 0x1f);
    for (size_t i = 0; i < sizeof wide / sizeof *wide; i++)
        if (strncmp(text, wide[i], strlen(wide[i])) == 0) return strlen(wide[i]);
    return 0;
}

size_t dapt_space_last(const char *text, size_t length) {
    for (size_t size = 1; size <= 3 && size <= length; size++)
        if (dapt_space_first(text + length - size) == size) return size;
    return 0;
}

enum dapt_status dapt_record_string(const struct dapt_json *record, const char *name, bool empty,
                                    const char **text) {
    const struct dapt_json *member;
    enum dapt_status status = dapt_json_need(record, name, DAPT_JSON_STRING, &member);
    if (!status) status = dapt_json_string(member, text);
    if (!status && !empty && !(*text)[0])
        status = dapt_json_fail(member, "is empty, expected a text");
    return status;
}

static enum dapt_status read_all(const char *path, struct dapt_string *text) {
    struct dapt_input *input;
    char piece[1 << 14];
    int64_t size = 0;
    enum dapt_status status = dapt_input_open(path, &input);
    while (!status && (size = dapt_input_read(input, piece, sizeof piece)) > 0)
        status = dapt_string_add(text, piece, (size_t)size);
    dapt_input_close(&input);
    return size < 0 ? DAPT_ERROR_INVALID : status;
}

static enum dapt_status take_line(const char *path, unsigned line, const char *text, size_t length,
                                  dapt_record_take take, void *user) {
    struct dapt_json *record;
    enum dapt_status status = dapt_json_parse_line(path, line, text, length, &record);
    if (!status && dapt_json_kind(record) != DAPT_JSON_OBJECT) {
        char excerpt[64];
        status = dapt_json_fail(record, "expected an object a line, got %s",
                                dapt_json_excerpt(record, excerpt));
    }
    if (!status) status = take(user, record);
    dapt_json_free(&record);
    return status;
}

enum dapt_status dapt_records_read(const char *path, uint64_t limit, const char *expected,
                                   dapt_record_take take, void *user) {
    struct dapt_string text = {0};
    uint64_t count = 0;
    unsigned line = 1;
    enum dapt_status status = read_all(path, &text);
    const char *end = text.data + text.length;
    for (const char *at = text.data, *next; !status && at && at < end; at = next, line++) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        size_t length = (size_t)((newline ? newline : end) - at);
        next = newline ? newline + 1 : end;
        while (length > 0 && memchr(" \t\r", at[length - 1], 3)) length--;
        if (length == 0) continue;
        status = take_line(path, line, at, length, take, user);
        if (++count == limit) break;
    }
    if (!status && count == 0)
        status = dapt_fail(DAPT_ERROR_INVALID, "%s: holds no record; expected lines such as %s",
                           path, expected);
    dapt_string_free(&text);
    return status;
}
