// What every part of this tokenizer stands on: errors, growable arrays, UTF-8.
//
// Functions that return bool return false only when memory is short; the caller turns that into
// hf_out_of_memory().
#ifndef HF_BASE_H
#define HF_BASE_H
#include "dapt/plugin.h"

#define HF_NONE UINT32_MAX    // no id
#define HF_MAX_ID (1u << 22)  // ids of a file are below it
#define HF_PRINTF(text, first) __attribute__((format(printf, text, first)))

// Records one line (control characters of quoted text become '?') and returns `status`.
enum dapt_status hf_fail(const struct dapt_host *host, enum dapt_status status, const char *format,
                         ...) HF_PRINTF(3, 4);
enum dapt_status hf_out_of_memory(const struct dapt_host *host);

struct hf_text {
    char *data;
    size_t length, capacity;
};
bool hf_text_reserve(struct hf_text *text, size_t extra);
bool hf_text_append(struct hf_text *text, const void *data, size_t length);
bool hf_text_append_char(struct hf_text *text, uint32_t code);
void hf_text_free(struct hf_text *text);
// Replaces what `text` held by FOLDER/NAME, a C string whose NUL is counted.
bool hf_path_join(struct hf_text *text, const char *folder_z, const char *name_z);

struct hf_ids {
    uint32_t *data;
    size_t count, capacity;
};
bool hf_ids_reserve(struct hf_ids *ids, size_t extra);
bool hf_ids_append(struct hf_ids *ids, const uint32_t *data, size_t count);
bool hf_ids_push(struct hf_ids *ids, uint32_t id);
void hf_ids_free(struct hf_ids *ids);

// Makes room for `need` elements of `size` bytes; `data` points to the array's pointer.
bool hf_grow(void *data, size_t *capacity, size_t need, size_t size);

// A range of bytes in a text.
struct hf_span {
    size_t start, length;
};

// The character at *position of valid UTF-8, which moves behind it.
static inline uint32_t hf_utf8_next(const char *text, size_t *position) {
    const unsigned char *p = (const unsigned char *)text + *position;
    if (p[0] < 0x80) {
        *position += 1;
        return p[0];
    }
    if (p[0] < 0xe0) {
        *position += 2;
        return (uint32_t)(p[0] & 0x1f) << 6 | (p[1] & 0x3f);
    }
    if (p[0] < 0xf0) {
        *position += 3;
        return (uint32_t)(p[0] & 0x0f) << 12 | (uint32_t)(p[1] & 0x3f) << 6 | (p[2] & 0x3f);
    }
    *position += 4;
    return (uint32_t)(p[0] & 0x07) << 18 | (uint32_t)(p[1] & 0x3f) << 12 |
           (uint32_t)(p[2] & 0x3f) << 6 | (p[3] & 0x3f);
}

// The start of the character that ends before `position` (> 0) of valid UTF-8.
static inline size_t hf_utf8_before(const char *text, size_t position) {
    do {
        position--;
    } while (((unsigned char)text[position] & 0xc0) == 0x80);
    return position;
}

// Bytes of the character (returns its length, 1..4) written to `out`.
size_t hf_utf8_put(uint32_t code, char out[4]);
// How many leading bytes are valid UTF-8, and how many of those are ASCII up to the first that is
// not.
size_t hf_utf8_valid(const char *text, size_t length, size_t *ascii);
// How many leading bytes are ASCII.
size_t hf_ascii_prefix(const char *text, size_t length);
// Appends the text with each ill-formed sequence (maximal subpart) replaced by U+FFFD.
bool hf_utf8_lossy(const char *text, size_t length, struct hf_text *out);

// The byte-level alphabet (GPT-2): printable bytes stand for themselves, the others for U+0100 to
// U+0143.
static inline uint32_t hf_byte_char(unsigned byte) {
    if (byte <= 0x20) return 0x100 + byte;
    if (byte >= 0x7f && byte <= 0xa0) return 0x121 + (byte - 0x7f);
    return byte == 0xad ? 0x143 : byte;
}
// Back again; -1: not of that alphabet.
static inline int hf_char_byte(uint32_t code) {
    if (code >= 0x100 && code <= 0x120) return (int)code - 0x100;
    if (code >= 0x121 && code <= 0x142) return (int)code - 0x121 + 0x7f;
    if (code == 0x143) return 0xad;
    return code <= 0xff && hf_byte_char(code) == code ? (int)code : -1;
}

uint64_t hf_hash(const void *data, size_t length);

// Does the text begin with / end with?
bool hf_starts(const char *text, size_t length, const char *prefix, size_t prefix_length);
#endif
