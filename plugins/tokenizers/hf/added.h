// Added tokens: texts that are found before anything is cut, each with an id of its own.
#ifndef HF_ADDED_H
#define HF_ADDED_H
#include "normalize.h"
#include "vocab.h"

struct hf_added_token {
    uint32_t id;
    bool single_word, lstrip, rstrip, normalized, special;
    bool skipped;  // when special tokens are left out
    // in hf_added.shown: what it decodes to, which is what was searched for
    struct hf_span shown;
};

// Finds the longest of a set of texts at each place.
struct hf_added_trie {
    struct hf_added_node {
        uint32_t child, sibling;  // 0: none (0 is the root)
        uint32_t token;           // HF_NONE: no text ends here
        unsigned char byte;
    } * nodes;
    size_t count, capacity;
    uint32_t roots[256];  // node of each first byte, 0: none
    int only;             // the only first byte there is, or -1
    bool empty;
};

struct hf_added {
    struct hf_added_token *tokens;
    size_t count, capacity;
    struct hf_vocab texts;  // of added tokens alone
    uint32_t *by_id;        // [texts.size] index in tokens, HF_NONE: none
    struct hf_text shown;
    struct hf_added_trie raw, normalized;  // searched before and after normalisation
};

// `vocab` is the model's; ids of the file must be those that Hugging Face tokenizers would give. A
// token without one gets that.
enum dapt_status hf_added_load(const struct dapt_host *host, const cJSON *list,
                               const struct hf_vocab *vocab, const struct hf_normalizer *normalizer,
                               struct hf_normalize_scratch *scratch, struct hf_added *added);
void hf_added_free(struct hf_added *added);
// The added token with this id, or NULL.
const struct hf_added_token *hf_added_at(const struct hf_added *added, uint32_t id);

// The next token at or after *search, which moves on; `done` is where the token before ended. The
// match, with the whitespace that the token takes along, is [*start, *stop).
bool hf_added_next(const struct hf_added *added, const struct hf_added_trie *trie, const char *text,
                   size_t length, size_t *search, size_t done, size_t *start, size_t *stop,
                   uint32_t *id);
#endif
