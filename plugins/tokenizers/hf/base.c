#include "base.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum dapt_status hf_fail(const struct dapt_host *host, enum dapt_status status, const char *format,
                         ...) {
    char line[600];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    for (char *p = line; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f) *p = '?';
    return host->fail(host, status, line);
}

enum dapt_status hf_out_of_memory(const struct dapt_host *host) {
    return hf_fail(host, DAPT_ERROR_MEMORY, "out of memory in the tokenizer");
}

bool hf_grow(void *data, size_t *capacity, size_t need, size_t size) {
    if (need <= *capacity) return true;
    size_t wanted = *capacity < 16 ? 16 : *capacity + *capacity / 2;
    if (wanted < need) wanted = need;
    if (wanted > PTRDIFF_MAX / size) return false;
    void *old, *grown;
    memcpy(&old, data, sizeof old);
    grown = realloc(old, wanted * size);
    if (!grown) return false;
    memcpy(data, &grown, sizeof grown);
    *capacity = wanted;
    return true;
}

bool hf_text_reserve(struct hf_text *text, size_t extra) {
    if (extra > PTRDIFF_MAX - text->length) return false;
    return hf_grow(&text->data, &text->capacity, text->length + extra, 1);
}

bool hf_text_append(struct hf_text *text, const void *data, size_t length) {
    if (!length) return true;
    if (!hf_text_reserve(text, length)) return false;
    memcpy(text->data + text->length, data, length);
    text->length += length;
    return true;
}

bool hf_text_append_char(struct hf_text *text, uint32_t code) {
    if (!hf_text_reserve(text, 4)) return false;
    text->length += hf_utf8_put(code, text->data + text->length);
    return true;
}

bool hf_path_join(struct hf_text *text, const char *folder_z, const char *name_z) {
    text->length = 0;
    return hf_text_append(text, folder_z, strlen(folder_z)) && hf_text_append(text, "/", 1) &&
           hf_text_append(text, name_z, strlen(name_z) + 1);
}

void hf_text_free(struct hf_text *text) {
    free(text->data);
    *text = (struct hf_text){0};
}

bool hf_ids_reserve(struct hf_ids *ids, size_t extra) {
    if (extra > PTRDIFF_MAX - ids->count) return false;
    return hf_grow(&ids->data, &ids->capacity, ids->count + extra, sizeof *ids->data);
}

bool hf_ids_append(struct hf_ids *ids, const uint32_t *data, size_t count) {
    if (!count) return true;
    if (!hf_ids_reserve(ids, count)) return false;
    memcpy(ids->data + ids->count, data, count * sizeof *data);
    ids->count += count;
    return true;
}

bool hf_ids_push(struct hf_ids *ids, uint32_t id) {
    return hf_ids_append(ids, &id, 1);
}

void hf_ids_free(struct hf_ids *ids) {
    free(ids->data);
    *ids = (struct hf_ids){0};
}

size_t hf_utf8_put(uint32_t code, char out[4]) {
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (char)(0xc0 | code >> 6);
        out[1] = (char)(0x80 | (code & 0x3f));
        return 2;
    }
    if (code < 0x10000) {
        out[0] = (char)(0xe0 | code >> 12);
        out[1] = (char)(0x80 | (code >> 6 & 0x3f));
        out[2] = (char)(0x80 | (code & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | code >> 18);
    out[1] = (char)(0x80 | (code >> 12 & 0x3f));
    out[2] = (char)(0x80 | (code >> 6 & 0x3f));
    out[3] = (char)(0x80 | (code & 0x3f));
    return 4;
}

// Bytes of the character or of the ill-formed part at p (n > 0 bytes there); *good tells which.
static size_t utf8_step(const unsigned char *p, size_t n, bool *good) {
    unsigned low = 0x80, high = 0xbf;
    size_t need;
    *good = false;
    if (p[0] < 0x80) {
        *good = true;
        return 1;
    }
    if (p[0] < 0xc2 || p[0] > 0xf4) return 1;
    need = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
    if (p[0] == 0xe0) low = 0xa0;
    if (p[0] == 0xed) high = 0x9f;
    if (p[0] == 0xf0) low = 0x90;
    if (p[0] == 0xf4) high = 0x8f;
    for (size_t i = 1; i < need; i++) {
        if (i >= n || p[i] < low || p[i] > high) return i;
        low = 0x80;
        high = 0xbf;
    }
    *good = true;
    return need;
}

size_t hf_ascii_prefix(const char *text, size_t length) {
    size_t i = 0;
    for (; i + 8 <= length; i += 8) {
        uint64_t word;
        memcpy(&word, text + i, 8);
        if (word & UINT64_C(0x8080808080808080)) break;
    }
    while (i < length && !((unsigned char)text[i] & 0x80)) i++;
    return i;
}

size_t hf_utf8_valid(const char *text, size_t length, size_t *ascii) {
    size_t i = hf_ascii_prefix(text, length);
    *ascii = i;
    while (i < length) {
        bool good;
        size_t step = utf8_step((const unsigned char *)text + i, length - i, &good);
        if (!good) return i;
        i += step;
        if (i < length && !((unsigned char)text[i] & 0x80))
            i += hf_ascii_prefix(text + i, length - i);
    }
    return i;
}

bool hf_utf8_lossy(const char *text, size_t length, struct hf_text *out) {
    while (length) {
        size_t ascii, valid = hf_utf8_valid(text, length, &ascii);
        if (!hf_text_append(out, text, valid)) return false;
        text += valid;
        length -= valid;
        if (!length) break;
        bool good;
        size_t bad = utf8_step((const unsigned char *)text, length, &good);
        if (!hf_text_append(out, "\xef\xbf\xbd", 3)) return false;
        text += bad;
        length -= bad;
    }
    return true;
}

uint64_t hf_hash(const void *data, size_t length) {
    const char *p = data;
    uint64_t hash = length * UINT64_C(0x9e3779b97f4a7c15);
    for (; length >= 8; p += 8, length -= 8) {
        uint64_t word;
        memcpy(&word, p, 8);
        hash = (hash ^ word) * UINT64_C(0xd6e8feb86659fd93);
        hash ^= hash >> 32;
    }
    uint64_t last = 0;
    if (length) memcpy(&last, p, length);
    hash = (hash ^ last) * UINT64_C(0xd6e8feb86659fd93);
    hash ^= hash >> 32;
    hash *= UINT64_C(0xd6e8feb86659fd93);
    return hash ^ hash >> 29;
}

bool hf_starts(const char *text, size_t length, const char *prefix, size_t prefix_length) {
    return length >= prefix_length && !memcmp(text, prefix, prefix_length);
}
