// A cache of words and their ids, of fixed size: what a handle has met lately. One thread.
#ifndef HF_WORDS_H
#define HF_WORDS_H
#include <string.h>

#include "base.h"

enum {
    HF_WORD_SHORT = 16,     // bytes of a word in the first table,
    HF_WORD_SHORT_IDS = 3,  // and its ids
    HF_WORD_LONG = 46,      // in the second one
    HF_WORD_LONG_IDS = 20,
    HF_WORD_SHORT_BITS = 15,  // log2 of the buckets, two words each
    HF_WORD_LONG_BITS = 12,
    HF_WORD_HUGE =
        1 << 13,  // bytes at most in the third, for rules and tables drawn with characters
    HF_WORD_HUGE_BITS = 8
};

struct hf_word_short {
    uint64_t low, high;  // the word's bytes, see hf_word_key
    uint8_t length, count;
    uint32_t ids[HF_WORD_SHORT_IDS];
};
struct hf_word_long {
    uint8_t length, count;
    char text[HF_WORD_LONG];
    uint32_t ids[HF_WORD_LONG_IDS];
};
struct hf_word_huge {
    char *text;
    uint32_t *ids;
    size_t length, count, text_capacity, id_capacity;
};
struct hf_words {
    struct hf_word_short (*shorts)[2];  // the later used one first; length 0: free
    struct hf_word_long *longs;
    struct hf_word_huge *huges;
};

bool hf_words_create(struct hf_words *words);
void hf_words_free(struct hf_words *words);

// 1 to 16 bytes as two numbers that, with the length, tell words apart.
static inline void hf_word_key(const char *text, size_t length, uint64_t *low, uint64_t *high) {
    if (length >= 8) {
        memcpy(low, text, 8);
        memcpy(high, text + length - 8, 8);
    } else if (length >= 4) {
        uint32_t a, b;
        memcpy(&a, text, 4);
        memcpy(&b, text + length - 4, 4);
        *low = a | (uint64_t)b << 32;
        *high = 0;
    } else {
        *low = (uint64_t)(unsigned char)text[0] | (uint64_t)(unsigned char)text[length / 2] << 8 |
               (uint64_t)(unsigned char)text[length - 1] << 16;
        *high = 0;
    }
}

static inline size_t hf_word_bucket(uint64_t low, uint64_t high, size_t length) {
    uint64_t hash = (low ^ length * UINT64_C(0x9e3779b97f4a7c15)) * UINT64_C(0xd6e8feb86659fd93);
    hash = (hash ^ hash >> 32 ^ high) * UINT64_C(0xd6e8feb86659fd93);
    return (size_t)(hash >> (64 - HF_WORD_SHORT_BITS));
}

// Appends the ids of a word of 1..HF_WORD_SHORT bytes; false: not there. The caller reserved
// HF_WORD_SHORT_IDS.
static inline bool hf_words_short(const struct hf_words *words, const char *text, size_t length,
                                  struct hf_ids *ids) {
    uint64_t low, high;
    hf_word_key(text, length, &low, &high);
    struct hf_word_short *bucket = words->shorts[hf_word_bucket(low, high, length)];
    for (int i = 0; i < 2; i++) {
        if (bucket[i].low != low || bucket[i].high != high || bucket[i].length != length) continue;
        memcpy(ids->data + ids->count, bucket[i].ids, sizeof bucket[i].ids);
        ids->count += bucket[i].count;
        return true;
    }
    return false;
}

// The same for longer words; makes room itself (without memory, the word is not there).
bool hf_words_long(const struct hf_words *words, const char *text, size_t length,
                   struct hf_ids *ids);
// Remembers a word if it fits; empties nothing but the place it takes.
void hf_words_put(struct hf_words *words, const char *text, size_t length, const uint32_t *ids,
                  size_t count);
#endif
