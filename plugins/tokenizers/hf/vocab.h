// Texts of tokens and their ids, both ways.
#ifndef HF_VOCAB_H
#define HF_VOCAB_H
#include "json.h"

struct hf_vocab {
    struct hf_text arena;
    struct hf_token {
        uint32_t offset, length;  // in the arena; length HF_NONE: no such id
    } * tokens;                   // by id
    size_t capacity;
    uint32_t size;  // greatest id + 1
    uint32_t count;
    uint32_t longest;       // bytes
    uint32_t *slots, mask;  // open addressing: id + 1, 0 is free
};

// From an object of text: id. Ids and texts must be unique.
enum dapt_status hf_vocab_load(const struct dapt_host *host, const cJSON *object,
                               struct hf_vocab *vocab);
enum dapt_status hf_vocab_add(const struct dapt_host *host, struct hf_vocab *vocab,
                              const char *text, size_t length, uint32_t id);
uint32_t hf_vocab_find(const struct hf_vocab *vocab, const char *text,
                       size_t length);  // HF_NONE: none
// NULL: no such id.
const char *hf_vocab_text(const struct hf_vocab *vocab, uint32_t id, size_t *length);
void hf_vocab_free(struct hf_vocab *vocab);
#endif
