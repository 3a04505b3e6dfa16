#include "words.h"

#include <stdlib.h>

bool hf_words_create(struct hf_words *words) {
    words->shorts = aligned_alloc(64, sizeof *words->shorts << HF_WORD_SHORT_BITS);
    words->longs = calloc((size_t)1 << HF_WORD_LONG_BITS, sizeof *words->longs);
    words->huges = calloc((size_t)1 << HF_WORD_HUGE_BITS, sizeof *words->huges);
    if (words->shorts) memset(words->shorts, 0, sizeof *words->shorts << HF_WORD_SHORT_BITS);
    bool whole = words->shorts && words->longs && words->huges;
    if (!whole) hf_words_free(words);
    return whole;
}

void hf_words_free(struct hf_words *words) {
    for (size_t i = 0; words->huges && i < (size_t)1 << HF_WORD_HUGE_BITS; i++) {
        free(words->huges[i].text);
        free(words->huges[i].ids);
    }
    free(words->huges);
    free(words->shorts);
    free(words->longs);
    *words = (struct hf_words){0};
}

static struct hf_word_long *long_place(const struct hf_words *words, const char *text,
                                       size_t length) {
    return &words->longs[hf_hash(text, length) >> (64 - HF_WORD_LONG_BITS)];
}

static struct hf_word_huge *huge_place(const struct hf_words *words, const char *text,
                                       size_t length) {
    return &words->huges[hf_hash(text, length) >> (64 - HF_WORD_HUGE_BITS)];
}

static bool huge_get(const struct hf_words *words, const char *text, size_t length,
                     struct hf_ids *ids) {
    if (length > HF_WORD_HUGE) return false;
    const struct hf_word_huge *word = huge_place(words, text, length);
    if (word->length != length || memcmp(word->text, text, length)) return false;
    return hf_ids_append(ids, word->ids, word->count);
}

static void huge_put(struct hf_words *words, const char *text, size_t length, const uint32_t *ids,
                     size_t count) {
    if (length > HF_WORD_HUGE) return;
    struct hf_word_huge *word = huge_place(words, text, length);
    word->length = 0;
    if (!hf_grow(&word->text, &word->text_capacity, length, 1) ||
        !hf_grow(&word->ids, &word->id_capacity, count, sizeof *ids))
        return;
    memcpy(word->text, text, length);
    if (count) memcpy(word->ids, ids, count * sizeof *ids);
    word->length = length;
    word->count = count;
}

bool hf_words_long(const struct hf_words *words, const char *text, size_t length,
                   struct hf_ids *ids) {
    if (length > HF_WORD_LONG) return huge_get(words, text, length, ids);
    const struct hf_word_long *word = long_place(words, text, length);
    if (word->length != length || memcmp(word->text, text, length)) return false;
    return hf_ids_append(ids, word->ids, word->count);
}

void hf_words_put(struct hf_words *words, const char *text, size_t length, const uint32_t *ids,
                  size_t count) {
    if (!length) return;
    if (length <= HF_WORD_SHORT && count <= HF_WORD_SHORT_IDS) {
        struct hf_word_short word = {.length = (uint8_t)length, .count = (uint8_t)count};
        hf_word_key(text, length, &word.low, &word.high);
        if (count) memcpy(word.ids, ids, count * sizeof *ids);
        struct hf_word_short *bucket = words->shorts[hf_word_bucket(word.low, word.high, length)];
        bucket[1] = bucket[0];
        bucket[0] = word;
    } else if (length <= HF_WORD_LONG && count <= HF_WORD_LONG_IDS) {
        struct hf_word_long *word = long_place(words, text, length);
        word->length = (uint8_t)length;
        word->count = (uint8_t)count;
        memcpy(word->text, text, length);
        memcpy(word->ids, ids, count * sizeof *ids);
    } else if (length > HF_WORD_LONG) {
        huge_put(words, text, length, ids, count);
    }
}
