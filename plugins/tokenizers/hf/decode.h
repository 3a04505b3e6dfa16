// Decoders: from the texts of tokens to text.
#ifndef HF_DECODE_H
#define HF_DECODE_H
#include "normalize.h"

struct hf_decoder;  // immutable

// The texts of tokens, one after the other in `text`.
struct hf_token_texts {
    struct hf_text text;
    struct hf_span *spans;
    size_t count, capacity;
};
struct hf_decode_scratch {
    struct hf_token_texts lists[2];  // the caller fills the first
    struct hf_text bytes;
    struct hf_matcher *matcher;
};

// NULL or JSON null: tokens are joined with spaces.
enum dapt_status hf_decoder_load(const struct dapt_host *host, const cJSON *object,
                                 struct hf_decoder **decoder);
void hf_decoder_free(struct hf_decoder *decoder);
bool hf_token_texts_add(struct hf_token_texts *list, const char *text, size_t length);
// Decodes scratch->lists[0]; *out is its result, to be joined without anything between.
enum dapt_status hf_decode(const struct hf_decoder *decoder, const struct dapt_host *host,
                           struct hf_decode_scratch *scratch, const struct hf_text **out);
void hf_decode_scratch_free(struct hf_decode_scratch *scratch);
#endif
