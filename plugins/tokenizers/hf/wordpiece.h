// WordPiece (BERT): the longest token that begins a word, then the longest that goes on, and so
// forth; a word that can't be had so is unknown as a whole. A place of a word costs as much as the
// longest beginning of a token that stands there, however long other tokens are.
#ifndef HF_WORDPIECE_H
#define HF_WORDPIECE_H
#include "vocab.h"
#include "words.h"

struct hf_wordpiece {
    const struct hf_vocab *vocab;
    struct hf_text prefix, unk_token;
    uint32_t unk;  // HF_NONE: not in the vocabulary
    uint32_t max_chars;
    uint32_t *order;  // [vocab->count] ids in the order of their texts
    // Of that order, what begins with a byte: at a word's start, and inside of it (behind the
    // prefix).
    struct hf_stretch {
        uint32_t begin, end;
    } first[2][256];
};

struct hf_wordpiece_scratch {
    struct hf_words words;
};

enum dapt_status hf_wordpiece_load(const struct dapt_host *host, const cJSON *model,
                                   const struct hf_vocab *vocab, struct hf_wordpiece *model_out);
void hf_wordpiece_free(struct hf_wordpiece *model);
enum dapt_status hf_wordpiece_encode(const struct hf_wordpiece *model, const struct dapt_host *host,
                                     struct hf_wordpiece_scratch *scratch, const char *word,
                                     size_t length, struct hf_ids *ids);
void hf_wordpiece_scratch_free(struct hf_wordpiece_scratch *scratch);
#endif
