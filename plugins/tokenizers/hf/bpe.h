// Byte pair encoding: a word becomes symbols (characters, or bytes), and the pair of neighbours
// that was learned first is joined until none is left.
#ifndef HF_BPE_H
#define HF_BPE_H
#include "vocab.h"
#include "words.h"

struct hf_merge {
    uint32_t left, right;  // HF_NONE: a free place of the table
    uint32_t rank, id;     // when it was learned; what the pair becomes
};

// What is known of a character: its token, and its place among characters that stand at a joint of
// a merge.
struct hf_char {
    uint32_t id;           // + 1; 0: no token
    uint16_t left, right;  // + 1; 0: never at the end of a left part / start of a right part
};

struct hf_bpe {
    const struct hf_vocab *vocab;
    struct hf_merge *merges;
    uint32_t merge_shift, merge_mask;
    struct hf_text prefix, suffix, unk_token;
    bool has_unk, ignore_merges, byte_fallback, fuse_unk;
    bool bytes;              // words are bytes, to be read through the byte-level alphabet
    uint32_t unk;            // HF_NONE: unk_token is not in the vocabulary
    uint32_t fallback[256];  // tokens <0x00>..<0xFF>
    uint32_t byte_ids[256];  // tokens of the byte-level alphabet
    struct hf_char *chars;   // by code point
    uint32_t char_count;
    uint8_t *joints;  // bits: joints of merges, left_count x right_count
    size_t right_count;
    bool cuttable;  // a word may be cut where no merge can reach across
    bool all_fallback;
};

// One thread's buffers.
struct hf_bpe_scratch {
    struct hf_words words;
    struct hf_ids symbols;
    struct hf_bpe_node *nodes;
    uint64_t *heap;
    size_t node_capacity, heap_capacity;
    struct hf_text text;
};

enum dapt_status hf_bpe_load(const struct dapt_host *host, const cJSON *model,
                             const struct hf_vocab *vocab, struct hf_bpe *bpe);
// From now on words are raw bytes, as if each had been mapped to the byte-level alphabet. False:
// this model can't (the mapping must be done for it).
bool hf_bpe_use_bytes(struct hf_bpe *bpe);
// For models that don't take bytes: where words may be cut.
enum dapt_status hf_bpe_find_joints(struct hf_bpe *bpe, const struct dapt_host *host);
void hf_bpe_free(struct hf_bpe *bpe);

// Appends the ids of a word (any length; n log n, and linear where it can be cut).
enum dapt_status hf_bpe_encode(const struct hf_bpe *bpe, const struct dapt_host *host,
                               struct hf_bpe_scratch *scratch, const char *word, size_t length,
                               struct hf_ids *ids);
void hf_bpe_scratch_free(struct hf_bpe_scratch *scratch);

// bpe_merge.c: joins symbols in place; returns how many are left, SIZE_MAX when out of memory.
size_t hf_bpe_merge(const struct hf_bpe *bpe, struct hf_bpe_scratch *scratch, uint32_t *symbols,
                    size_t count);

static inline const struct hf_merge *hf_bpe_find(const struct hf_bpe *bpe, uint32_t left,
                                                 uint32_t right) {
    uint64_t hash = ((uint64_t)left << 32 | right) * UINT64_C(0x9e3779b97f4a7c15);
    uint32_t at = (uint32_t)(hash >> bpe->merge_shift);
    for (;; at = (at + 1) & bpe->merge_mask) {
        const struct hf_merge *merge = &bpe->merges[at];
        if (merge->left == left && merge->right == right) return merge;
        if (merge->left == HF_NONE) return NULL;
    }
}
#endif
