// What the tokenizer asks of Unicode: classes of characters (mostly tables of our own), normal
// forms and lower case (utf8proc's data).
#ifndef HF_UNICODE_H
#define HF_UNICODE_H
#include "base.h"

enum hf_class {
    // From unicode_tables.c but for HF_SPACE and HF_WORD:
    HF_LETTER = 1,        // \p{L}
    HF_NUMBER = 2,        // \p{N}
    HF_SPACE = 4,         // White_Space: \s
    HF_WORD = 8,          // \w: alphabetic, marks, decimal digits, connectors, joiners
    HF_PUNCTUATION = 16,  // \p{P} and all ASCII punctuation ($+<=>^`|~ too)
    HF_CONTROL = 32,      // what BERT takes away: Cc, Cf, Co, without \t \n \r
    HF_MARK = 64,         // \p{M}
    HF_NONSPACING = 128   // \p{Mn}
};

// Builds the tables below once for the process; false when utf8proc failed on its own data. [any]
bool hf_unicode_ready(void);

extern uint8_t hf_classes[0x110000];
static inline uint8_t hf_class(uint32_t code) {
    return hf_classes[code];
}

struct hf_range {
    uint32_t first, last;
};
struct hf_range_list {
    uint8_t class;
    const struct hf_range *ranges;
    size_t count;
};
// unicode_tables.c; the first list ends with NULL ranges.
extern const struct hf_range_list hf_library_classes[], hf_library_unnormalized;

enum hf_form { HF_NFC, HF_NFD, HF_NFKC, HF_NFKD };

struct hf_form_scratch {
    int32_t *codes;
    size_t capacity;
};
// Appends the normal form of valid UTF-8 to `out`; leaves `out` as it was and *changed false when
// the text is in that form already. Linear in the length, but for runs of combining marks, which
// cost n log n.
bool hf_normal_form(enum hf_form form, const char *text, size_t length, struct hf_text *out,
                    bool *changed, struct hf_form_scratch *scratch);
// Appends the text in lower case, character by character (no context).
bool hf_lower(const char *text, size_t length, struct hf_text *out);
bool hf_is_chinese(uint32_t code);  // the blocks that BERT's normalizer sets apart
#endif
