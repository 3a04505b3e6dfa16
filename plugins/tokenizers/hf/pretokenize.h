// Pre-tokenizers: where a text is cut into words.
#ifndef HF_PRETOKENIZE_H
#define HF_PRETOKENIZE_H
#include "normalize.h"
#include "split_fast.h"

struct hf_pretokenizer;  // immutable

struct hf_piece {
    size_t start, length;  // in the text
    bool first;            // begins where the original text began
};
struct hf_pieces {
    struct hf_piece *items;
    size_t count, capacity;
};

struct hf_pretokenize_scratch {
    struct hf_text texts[2];
    struct hf_pieces pieces[2];
    struct hf_cut *cuts;  // of one piece
    size_t cut_count, cut_capacity;
    struct hf_matcher *matcher;
};

// NULL or JSON null: *pretokenizer becomes NULL; a text is one word then.
enum dapt_status hf_pretokenizer_load(const struct dapt_host *host, const cJSON *object,
                                      struct hf_pretokenizer **pretokenizer);
void hf_pretokenizer_free(struct hf_pretokenizer *pretokenizer);

// Does it end by mapping to the byte-level alphabet? Then that last mapping can be left to the
// model:
bool hf_pretokenizer_ends_in_bytes(const struct hf_pretokenizer *pretokenizer);
void hf_pretokenizer_skip_mapping(struct hf_pretokenizer *pretokenizer);
// Is all that it does (with the mapping skipped) one of the hand-written splits? *prefix_space:
// after putting a space before a text that begins without one.
bool hf_pretokenizer_fast(const struct hf_pretokenizer *pretokenizer, hf_splitter *split,
                          bool *prefix_space);

// Cuts a text; `first` says that it begins the original. *out, *pieces live in the scratch (or are
// the text) until the next call.
enum dapt_status hf_pretokenize(const struct hf_pretokenizer *pretokenizer,
                                const struct dapt_host *host,
                                struct hf_pretokenize_scratch *scratch, const char *text,
                                size_t length, bool first, const char **out,
                                const struct hf_pieces **pieces);
void hf_pretokenize_scratch_free(struct hf_pretokenize_scratch *scratch);
#endif
