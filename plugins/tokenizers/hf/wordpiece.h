// WordPiece (BERT): the longest token that begins a word, then the longest that goes on, and so
// forth; a word that can't be had so is unknown as a whole.
#ifndef HF_WORDPIECE_H
#define HF_WORDPIECE_H
#include "vocab.h"
#include "words.h"

struct hf_wordpiece {
    const struct hf_vocab *vocab;
    struct hf_text prefix, unk_token;
    uint32_t unk;  // HF_NONE: not in the vocabulary
    uint32_t max_chars;
};

struct hf_wordpiece_scratch {
    struct hf_words words;
    struct hf_text text;
};

enum dapt_status hf_wordpiece_load(const struct dapt_host *host, const cJSON *model,
                                   const struct hf_vocab *vocab, struct hf_wordpiece *model_out);
void hf_wordpiece_free(struct hf_wordpiece *model);
enum dapt_status hf_wordpiece_encode(const struct hf_wordpiece *model, const struct dapt_host *host,
                                     struct hf_wordpiece_scratch *scratch, const char *word,
                                     size_t length, struct hf_ids *ids);
void hf_wordpiece_scratch_free(struct hf_wordpiece_scratch *scratch);
#endif
