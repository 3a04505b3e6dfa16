// Hand-written splitters for the patterns that nearly every byte-level tokenizer uses; tested to
// cut exactly where PCRE2 does.
#ifndef HF_SPLIT_FAST_H
#define HF_SPLIT_FAST_H
#include "base.h"

// The end of the piece that begins at `from` (< length) of valid UTF-8.
typedef size_t (*hf_splitter)(const char *text, size_t from, size_t length);

extern const char hf_gpt2_pattern[];  // what pre-tokenizer ByteLevel means by "use_regex"
size_t hf_split_gpt2(const char *text, size_t from, size_t length);

// The splitter for exactly this pattern, or NULL.
hf_splitter hf_splitter_for(const char *pattern, size_t length);
#endif
