// Inside of the pre-tokenizers: what loading and running share.
#ifndef HF_PRETOKENIZE_STEPS_H
#define HF_PRETOKENIZE_STEPS_H
#include "pretokenize.h"

enum { HF_STEPS_MAX = 256 };

enum hf_behavior {
    HF_ISOLATED,
    HF_REMOVED,
    HF_MERGED_WITH_PREVIOUS,
    HF_MERGED_WITH_NEXT,
    HF_CONTIGUOUS
};
enum hf_scheme { HF_PREPEND_ALWAYS, HF_PREPEND_FIRST, HF_PREPEND_NEVER };

struct hf_cut {
    size_t start, end;
    bool match;
};

struct hf_step;
// Fills scratch->cuts with matches and what is between, in order, covering the piece (offsets from
// its start).
typedef enum dapt_status (*hf_find_cuts)(const struct hf_step *step, const struct dapt_host *host,
                                         struct hf_pretokenize_scratch *scratch, const char *text,
                                         size_t length);
// Rewrites one piece's text; appends to `out`.
typedef bool (*hf_rewrite)(const struct hf_step *step, const char *text, size_t length, bool first,
                           struct hf_text *out);

// First the rewriting, then the cutting, then the mapping to bytes' characters; each may be absent.
struct hf_step {
    hf_rewrite rewrite;
    hf_find_cuts find;
    bool map_bytes;
    enum hf_behavior behavior;
    bool invert;
    struct hf_regex *regex;
    hf_splitter split;
    uint8_t classes;             // characters that are matches of their own
    struct hf_text replacement;  // Metaspace
    enum hf_scheme scheme;
    bool prefix_space;  // ByteLevel
};

struct hf_pretokenizer {
    struct hf_step steps[HF_STEPS_MAX];
    size_t count;
};

enum dapt_status hf_cuts_regex(const struct hf_step *step, const struct dapt_host *host,
                               struct hf_pretokenize_scratch *scratch, const char *text,
                               size_t length);
enum dapt_status hf_cuts_fast(const struct hf_step *step, const struct dapt_host *host,
                              struct hf_pretokenize_scratch *scratch, const char *text,
                              size_t length);
enum dapt_status hf_cuts_class(const struct hf_step *step, const struct dapt_host *host,
                               struct hf_pretokenize_scratch *scratch, const char *text,
                               size_t length);
// Runs of \w, and runs of neither \w nor \s, are matches.
enum dapt_status hf_cuts_words(const struct hf_step *step, const struct dapt_host *host,
                               struct hf_pretokenize_scratch *scratch, const char *text,
                               size_t length);
bool hf_rewrite_metaspace(const struct hf_step *step, const char *text, size_t length, bool first,
                          struct hf_text *out);
bool hf_rewrite_prefix_space(const struct hf_step *step, const char *text, size_t length,
                             bool first, struct hf_text *out);
#endif
