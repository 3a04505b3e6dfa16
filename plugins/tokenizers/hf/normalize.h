// Normalizers: what happens to a text before it is cut into words.
#ifndef HF_NORMALIZE_H
#define HF_NORMALIZE_H
#include "json.h"
#include "regex.h"
#include "unicode.h"

struct hf_normalizer;  // immutable

// One thread's buffers.
struct hf_normalize_scratch {
    struct hf_text buffers[2], lower;
    struct hf_form_scratch form;
    struct hf_matcher *matcher;
    // The last text lost its first character: what is left does not begin the original.
    bool head_lost;
};

// NULL or a null JSON value: *normalizer becomes NULL, which leaves texts as they are.
enum dapt_status hf_normalizer_load(const struct dapt_host *host, const cJSON *object,
                                    struct hf_normalizer **normalizer);
void hf_normalizer_free(struct hf_normalizer *normalizer);
// *out is the text itself or lies in the scratch, until the next call. Valid UTF-8 in, valid UTF-8
// out.
enum dapt_status hf_normalize(const struct hf_normalizer *normalizer, const struct dapt_host *host,
                              struct hf_normalize_scratch *scratch, const char *text, size_t length,
                              const char **out, size_t *out_length);
void hf_normalize_scratch_free(struct hf_normalize_scratch *scratch);

// A "pattern" member: {"String": ...} or {"Regex": ...}. *literal tells which; both outputs may be
// wanted.
enum dapt_status hf_pattern_load(const struct dapt_host *host, const char *where,
                                 const cJSON *object, struct hf_text *pattern, bool *literal,
                                 struct hf_regex **regex);
// Appends the text with every match replaced.
enum dapt_status hf_replace(const struct hf_regex *regex, struct hf_matcher *matcher,
                            const struct dapt_host *host, const char *text, size_t length,
                            const struct hf_text *content, struct hf_text *out, bool *changed);
#endif
