#include "split_fast.h"

#include <string.h>

#include "unicode.h"

const char hf_gpt2_pattern[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
static const char llama3_pattern[] =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| "
    "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
    "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
static const char qwen2_pattern[] =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| "
    "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
    "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

enum {
    MAIN = HF_LETTER | HF_NUMBER | HF_SPACE
};  // the classes these patterns tell apart; 0 is "other"

static inline unsigned class_at(const char *text, size_t at, size_t *next) {
    *next = at;
    return hf_class(hf_utf8_next(text, next)) & MAIN;
}

// The end of the run of this class from `at`.
static inline size_t run_end(const char *text, size_t at, size_t length, unsigned wanted) {
    while (at < length) {
        unsigned char c = (unsigned char)text[at];
        if (c < 0x80) {
            if ((hf_classes[c] & MAIN) != wanted) return at;
            at++;
        } else {
            size_t next;
            if (class_at(text, at, &next) != wanted) return at;
            at = next;
        }
    }
    return at;
}

// \s+(?!\S)|\s+ : the run, but for its last character when something follows and the run has more
// than one.
static size_t space_end(const char *text, size_t from, size_t end, size_t length) {
    if (end == length) return end;
    size_t last = hf_utf8_before(text, end);
    return last > from ? last : end;
}

// 's 't 're 've 'm 'll 'd behind the apostrophe at `at`: bytes of the letters, or 0.
static inline size_t contraction(const char *text, size_t at, size_t length) {
    size_t left = length - at - 1;
    if (!left) return 0;
    char a = text[at + 1], b = left > 1 ? text[at + 2] : 0;
    if (a == 's' || a == 't' || a == 'm' || a == 'd') return 1;
    if ((a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l')) return 2;
    return 0;
}

size_t hf_split_gpt2(const char *text, size_t from, size_t length) {
    size_t next, at = from;
    if (text[from] == '\'') {
        size_t letters = contraction(text, from, length);
        if (letters) return from + 1 + letters;
    }
    if (text[from] == ' ' && from + 1 < length) at++;
    unsigned class = class_at(text, at, &next);
    if (class == HF_SPACE)
        return space_end(text, from, run_end(text, next, length, HF_SPACE), length);
    return run_end(text, next, length, class);
}

static inline char ascii_lower(char c) {
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

// The same without regard to case. U+017F, the long s, is an s then.
static inline size_t contraction_any_case(const char *text, size_t at, size_t length) {
    size_t left = length - at - 1;
    if (!left) return 0;
    char a = ascii_lower(text[at + 1]), b = left > 1 ? ascii_lower(text[at + 2]) : 0;
    if (a == 's' || a == 't' || a == 'm' || a == 'd') return 1;
    if ((a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l')) return 2;
    if (left > 1 && text[at + 1] == '\xc5' && text[at + 2] == '\xbf') return 2;
    return 0;
}

static inline bool is_newline(char c) {
    return c == '\n' || c == '\r';
}

// The last newline of text[from..end) gives the end of \s*[\r\n]+, or 0.
static size_t after_last_newline(const char *text, size_t from, size_t end) {
    for (size_t i = end; i > from; i--)
        if (is_newline(text[i - 1])) return i;
    return 0;
}

static size_t other_end(const char *text, size_t at, size_t length) {
    at = run_end(text, at, length, 0);
    while (at < length && is_newline(text[at])) at++;
    return at;
}

static inline size_t split_cl100k(const char *text, size_t from, size_t length, int digits) {
    size_t next, second;
    if (text[from] == '\'') {
        size_t letters = contraction_any_case(text, from, length);
        if (letters) return from + 1 + letters;
    }
    unsigned class = class_at(text, from, &next);
    if (class == HF_LETTER) return run_end(text, next, length, HF_LETTER);
    if (class == HF_NUMBER) {
        size_t at = next;
        for (int i = 1; i < digits && at < length; i++) {
            if (class_at(text, at, &second) != HF_NUMBER) break;
            at = second;
        }
        return at;
    }
    unsigned following = next < length ? class_at(text, next, &second) : HF_SPACE;
    if (following == HF_LETTER && !is_newline(text[from]))
        return run_end(text, second, length, HF_LETTER);
    if (!class) return other_end(text, next, length);
    if (text[from] == ' ' && !following) return other_end(text, second, length);
    size_t end = run_end(text, next, length, HF_SPACE);
    size_t newline = after_last_newline(text, from, end);
    return newline ? newline : space_end(text, from, end, length);
}

static size_t split_llama3(const char *text, size_t from, size_t length) {
    return split_cl100k(text, from, length, 3);
}

static size_t split_qwen2(const char *text, size_t from, size_t length) {
    return split_cl100k(text, from, length, 1);
}

hf_splitter hf_splitter_for(const char *pattern, size_t length) {
    static const struct {
        const char *pattern;
        hf_splitter split;
    } table[] = {{hf_gpt2_pattern, hf_split_gpt2},
                 {llama3_pattern, split_llama3},
                 {qwen2_pattern, split_qwen2}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (strlen(table[i].pattern) == length && !memcmp(table[i].pattern, pattern, length))
            return table[i].split;
    return NULL;
}
