#include "unicode.h"

#include <stdlib.h>
#include <string.h>
#include <threads.h>
#include <utf8proc.h>

uint8_t hf_classes[0x110000];
// Bit `form`: this character may change, or change its neighbours, under that normal form.
static uint8_t unstable[0x110000];
static once_flag tables_once = ONCE_FLAG_INIT;
static bool tables_good;

enum { UNNORMALIZED = 0x80, ALL_FORMS = 1 << HF_NFC | 1 << HF_NFD | 1 << HF_NFKC | 1 << HF_NFKD };

static const struct hf_range spaces[] = {
    {0x09, 0x0d},     {0x20, 0x20},     {0x85, 0x85},     {0xa0, 0xa0},     {0x1680, 0x1680},
    {0x2000, 0x200a}, {0x2028, 0x2029}, {0x202f, 0x202f}, {0x205f, 0x205f}, {0x3000, 0x3000}};
// Alphabetic, yet neither letters, letter numbers nor marks; then the two joiners, which \w has
// too.
static const struct hf_range other_word[] = {
    {0x24b6, 0x24e9}, {0x1f130, 0x1f149}, {0x1f150, 0x1f169}, {0x1f170, 0x1f189}, {0x200c, 0x200d}};
static const struct hf_range chinese[] = {
    {0x4e00, 0x9fff},   {0x3400, 0x4dbf},   {0x20000, 0x2a6df}, {0x2a700, 0x2b73f},
    {0x2b740, 0x2b81f}, {0x2b920, 0x2ceaf}, {0xf900, 0xfaff},   {0x2f800, 0x2fa1f}};

static bool is_word(unsigned category) {
    return (category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_NL) ||
           category == UTF8PROC_CATEGORY_PC;
}

static void set_ranges(uint8_t *table, const struct hf_range *ranges, size_t count, uint8_t bit) {
    for (size_t i = 0; i < count; i++)
        for (uint32_t code = ranges[i].first; code <= ranges[i].last; code++) table[code] |= bit;
}

static void classes_build(void) {
    for (uint32_t code = 0; code < 0x110000; code++) {
        hf_classes[code] =
            is_word((unsigned)utf8proc_get_property((utf8proc_int32_t)code)->category) ? HF_WORD
                                                                                       : 0;
    }
    set_ranges(hf_classes, spaces, sizeof spaces / sizeof *spaces, HF_SPACE);
    set_ranges(hf_classes, other_word, sizeof other_word / sizeof *other_word, HF_WORD);
    for (const struct hf_range_list *list = hf_library_classes; list->ranges; list++)
        set_ranges(hf_classes, list->ranges, list->count, list->class);
}

// Does the character come back unchanged from decomposition and composition?
static bool composes_back(int32_t code, int options) {
    int32_t codes[64];
    int bound = 0;
    utf8proc_ssize_t n = utf8proc_decompose_char(code, codes, 32, UTF8PROC_STABLE | options,
                                                 &bound);
    if (n < 0 || n > 32) {
        tables_good = false;
        return false;
    }
    n = utf8proc_normalize_utf32(codes, n, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    return n == 1 && codes[0] == code;
}

// What a character's own decomposition says; also marks characters that compose with the one before
// them.
static void unstable_decomposition(int32_t code, const utf8proc_property_t *property) {
    int32_t codes[64];
    int bound = 0;
    utf8proc_ssize_t n = utf8proc_decompose_char(code, codes, 32,
                                                 UTF8PROC_STABLE | UTF8PROC_DECOMPOSE, &bound);
    if (n < 0 || n > 32) {
        tables_good = false;
        return;
    }
    unstable[code] |= 1 << HF_NFKD;
    if (property->decomp_type) {  // only by compatibility
        unstable[code] |= 1 << HF_NFKC;
        return;
    }
    unstable[code] |= 1 << HF_NFD;
    if (!composes_back(code, UTF8PROC_DECOMPOSE)) unstable[code] |= 1 << HF_NFC | 1 << HF_NFKC;
    if (!composes_back(code, UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT)) unstable[code] |= 1 << HF_NFKC;
    for (utf8proc_ssize_t i = 1; i < n; i++) unstable[codes[i]] |= 1 << HF_NFC | 1 << HF_NFKC;
}

static void unstable_build(void) {
    set_ranges(unstable, hf_library_unnormalized.ranges, hf_library_unnormalized.count,
               UNNORMALIZED);
    for (int32_t code = 0xa0; code < 0x110000; code++) {
        if (code == 0xd800) code = 0xe000;
        const utf8proc_property_t *property = utf8proc_get_property(code);
        if (property->combining_class && !(unstable[code] & UNNORMALIZED))
            unstable[code] |= ALL_FORMS;
        if (code >= 0xac00 && code <= 0xd7a3)
            unstable[code] |= 1 << HF_NFD | 1 << HF_NFKD;
        else if (property->decomp_seqindex != UINT16_MAX && !(unstable[code] & UNNORMALIZED))
            unstable_decomposition(code, property);
    }
    for (uint32_t code = 0x1160; code <= 0x11ff; code++)  // Hangul vowels and final consonants
        unstable[code] |= 1 << HF_NFC | 1 << HF_NFKC;
}

static void tables_build(void) {
    tables_good = true;
    classes_build();
    unstable_build();
}

bool hf_unicode_ready(void) {
    call_once(&tables_once, tables_build);
    return tables_good;
}

static int combining_class(int32_t code) {
    if (unstable[code] & UNNORMALIZED) return 0;
    return utf8proc_get_property(code)->combining_class;
}

static void merge_runs(int32_t *to, const int32_t *from, size_t middle, size_t n) {
    size_t i = 0, j = middle;
    for (size_t k = 0; k < n; k++) {
        bool second = i >= middle || (j < n && combining_class(from[j]) < combining_class(from[i]));
        to[k] = second ? from[j++] : from[i++];
    }
}

// Canonical order of one run of marks: a stable merge sort (a run may be as long as the document).
static void marks_sort(int32_t *codes, size_t n, int32_t *spare) {
    if (n < 2) return;
    if (n <= 16) {
        for (size_t i = 1; i < n; i++)
            for (size_t j = i; j > 0 && combining_class(codes[j - 1]) > combining_class(codes[j]);
                 j--) {
                int32_t code = codes[j];
                codes[j] = codes[j - 1];
                codes[j - 1] = code;
            }
        return;
    }
    marks_sort(codes, n / 2, spare);
    marks_sort(codes + n / 2, n - n / 2, spare);
    memcpy(spare, codes, n * sizeof *codes);
    merge_runs(codes, spare, n / 2, n);
}

static void canonical_order(int32_t *codes, size_t n, int32_t *spare) {
    for (size_t i = 0; i < n;) {
        if (!combining_class(codes[i])) {
            i++;
            continue;
        }
        size_t end = i;
        while (end < n && combining_class(codes[end])) end++;
        marks_sort(codes + i, end - i, spare);
        i = end;
    }
}

// Appends the normal form of a part that begins with a stable character or at the text's start.
static bool normalize_part(enum hf_form form, const char *text, size_t length, struct hf_text *out,
                           struct hf_form_scratch *scratch) {
    bool compat = form == HF_NFKC || form == HF_NFKD, compose = form == HF_NFC || form == HF_NFKC;
    int options = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | (compat ? UTF8PROC_COMPAT : 0);
    size_t count = 0;
    for (size_t i = 0; i < length;) {
        int bound = 0;
        int32_t code = (int32_t)hf_utf8_next(text, &i);
        if (!hf_grow(&scratch->codes, &scratch->capacity, (count + 32) * 2, sizeof *scratch->codes))
            return false;
        if (unstable[code] & UNNORMALIZED) {
            scratch->codes[count++] = code;
            continue;
        }
        utf8proc_ssize_t n = utf8proc_decompose_char(code, scratch->codes + count, 32, options,
                                                     &bound);
        if (n < 0 || n > 32) return false;  // the longest decomposition there is has 18
        count += (size_t)n;
    }
    canonical_order(scratch->codes, count, scratch->codes + scratch->capacity / 2);
    if (compose)
        count = (size_t)utf8proc_normalize_utf32(scratch->codes, (utf8proc_ssize_t)count,
                                                 UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    for (size_t i = 0; i < count; i++)
        if (!hf_text_append_char(out, (uint32_t)scratch->codes[i])) return false;
    return true;
}

// The next character at or after `from` that is unstable, or `length`; *stable is the start of the
// last stable one before it (or `from`).
static size_t find_unstable(uint8_t bit, const char *text, size_t from, size_t length,
                            size_t *stable) {
    size_t i = from;
    *stable = from;
    while (i < length) {
        size_t ascii = hf_ascii_prefix(text + i, length - i);
        if (ascii) {
            i += ascii;
            *stable = i - 1;
            continue;
        }
        size_t start = i;
        if (unstable[hf_utf8_next(text, &i)] & bit) return start;
        *stable = start;
    }
    return length;
}

bool hf_normal_form(enum hf_form form, const char *text, size_t length, struct hf_text *out,
                    bool *changed, struct hf_form_scratch *scratch) {
    uint8_t bit = (uint8_t)(1u << form);
    size_t done = 0, stable, found = find_unstable(bit, text, 0, length, &stable);
    *changed = found < length;
    if (!*changed) return true;
    if (!hf_text_reserve(out, length)) return false;
    while (found < length) {
        size_t end = found;
        while (end < length) {
            size_t next = end;
            if (!(unstable[hf_utf8_next(text, &next)] & bit)) break;
            end = next;
        }
        if (!hf_text_append(out, text + done, stable - done)) return false;
        if (!normalize_part(form, text + stable, end - stable, out, scratch)) return false;
        done = end;
        found = find_unstable(bit, text, done, length, &stable);
    }
    return hf_text_append(out, text + done, length - done);
}

// Capitals that are younger (Unicode 16 and 17) than many an utf8proc, which leaves them alone.
static const struct {
    uint32_t first, last, lower;  // of the first; the others follow
} young[] = {{0x1c89, 0x1c89, 0x1c8a},   {0xa7cb, 0xa7cb, 0x264},  {0xa7cc, 0xa7cc, 0xa7cd},
             {0xa7ce, 0xa7ce, 0xa7cf},   {0xa7d2, 0xa7d2, 0xa7d3}, {0xa7d4, 0xa7d4, 0xa7d5},
             {0xa7da, 0xa7da, 0xa7db},   {0xa7dc, 0xa7dc, 0x19b},  {0x10d50, 0x10d65, 0x10d70},
             {0x16ea0, 0x16eb8, 0x16ebb}};

static uint32_t lower_of(uint32_t code) {
    uint32_t lower = (uint32_t)utf8proc_tolower((utf8proc_int32_t)code);
    for (size_t i = 0; lower == code && i < sizeof young / sizeof *young; i++)
        if (code >= young[i].first && code <= young[i].last)
            lower = young[i].lower + (code - young[i].first);
    return lower;
}

bool hf_lower(const char *text, size_t length, struct hf_text *out) {
    if (!hf_text_reserve(out, length)) return false;
    for (size_t i = 0; i < length;) {
        unsigned char c = (unsigned char)text[i];
        if (c < 0x80) {
            char lower = (char)(c >= 'A' && c <= 'Z' ? c + 32 : c);
            if (!hf_text_append(out, &lower, 1)) return false;
            i++;
            continue;
        }
        uint32_t code = hf_utf8_next(text, &i);
        if (code == 0x130) {  // the only one whose lower case has two characters
            if (!hf_text_append(out, "i\xcc\x87", 3)) return false;
        } else if (!hf_text_append_char(out, lower_of(code))) {
            return false;
        }
    }
    return true;
}

bool hf_is_chinese(uint32_t code) {
    for (size_t i = 0; i < sizeof chinese / sizeof *chinese; i++)
        if (code >= chinese[i].first && code <= chinese[i].last) return true;
    return false;
}
