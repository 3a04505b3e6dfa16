// A file in pieces: what stands between one mark and the next, or the file's end. Holds one piece
// at a time.
#ifndef DAPT_SOURCES_READER_H
#define DAPT_SOURCES_READER_H
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dapt/plugin.h"

struct reader {
    const struct dapt_host *host;
    struct dapt_input *input;
    char *data;
    size_t begin, end, capacity;  // of what was read and not yet handed out
    bool unix_lines;              // "\r\n" becomes "\n"
    bool ended;
};

static inline enum dapt_status reader_more(struct reader *r) {
    size_t held = r->end - r->begin;
    if (r->begin && held) memmove(r->data, r->data + r->begin, held);
    r->begin = 0;
    r->end = held;
    if (r->capacity - held < 1u << 16) {
        size_t capacity = r->capacity ? 2 * r->capacity : 1u << 18;
        char *data = realloc(r->data, capacity);
        if (!data)
            return r->host->fail(r->host, DAPT_ERROR_MEMORY, "no memory for a longer document");
        r->data = data;
        r->capacity = capacity;
    }
    int64_t count = r->host->read_input(r->input, r->data + held, r->capacity - held);
    if (count < 0) return DAPT_ERROR_IO;
    r->ended = count == 0;
    r->end += (size_t)count;
    if (r->unix_lines && count) {
        char *to = r->data + (held ? held - 1 : 0);
        for (const char *from = to; from < r->data + r->end; from++)
            if (!(*from == '\r' && from + 1 < r->data + r->end && from[1] == '\n')) *to++ = *from;
        r->end = (size_t)(to - r->data);
    }
    return DAPT_OK;
}

// Opens the file and steps over a byte order mark.
static inline enum dapt_status reader_open(struct reader *r, const struct dapt_host *host,
                                           const char *path_z) {
    r->host = host;
    r->input = host->open_input(host, path_z);
    if (!r->input) return DAPT_ERROR_IO;
    while (!r->ended && r->end < 3) {
        enum dapt_status status = reader_more(r);
        if (status) return status;
    }
    if (r->end >= 3 && memcmp(r->data, "\xef\xbb\xbf", 3) == 0) r->begin = 3;
    return DAPT_OK;
}

static inline void reader_close(struct reader *r) {
    if (r->input) r->host->close_input(r->input);
    free(r->data);
}

// The bytes up to the next `mark` (length 0: up to the file's end), which is stepped over. They may
// be changed and stay until the next call. A piece above `limit` bytes is stepped over as well and
// is DAPT_ERROR_INVALID.
static inline enum dapt_status reader_next(struct reader *r, const char *mark, size_t length,
                                           size_t limit, char **piece, size_t *size) {
    bool too_long = false;
    for (size_t seen = 0;;) {
        char *text = r->data + r->begin;
        size_t held = r->end - r->begin;
        char *found = length && held > seen ? memmem(text + seen, held - seen, mark, length) : NULL;
        if (found || r->ended) {
            if (!found && held == 0 && !too_long) return DAPT_END;
            *piece = text;
            *size = found ? (size_t)(found - text) : held;
            r->begin += *size + (found ? length : 0);
            if (!too_long && *size <= limit) return DAPT_OK;
            char line[128];
            snprintf(line, sizeof line, "is longer than %zu MiB", limit >> 20);
            return r->host->fail(r->host, DAPT_ERROR_INVALID, line);
        }
        size_t kept = length ? length - 1 : 0;  // may be the start of a mark
        seen = held > kept ? held - kept : 0;
        if (held > limit) {
            too_long = true;
            r->begin += seen;
            seen = 0;
        }
        enum dapt_status status = reader_more(r);
        if (status) return status;
    }
}
#endif
