// Patterns of tokenizer.json. They are written for Oniguruma (Ruby's syntax); this translates what
// PCRE2 spells differently (\s, \w, \h, scripts) and refuses what it can't say, so that a pattern
// never means something else.
#ifndef HF_REGEX_H
#define HF_REGEX_H
#include "base.h"

struct hf_regex;    // compiled; immutable, for any number of threads
struct hf_matcher;  // one thread's state

// `where` names the component in errors. Exactly one of them: a literal text, or a regular
// expression.
enum dapt_status hf_regex_compile(const struct dapt_host *host, const char *where,
                                  const char *pattern, size_t length, bool literal,
                                  struct hf_regex **regex);
// May it match nothing at all?
bool hf_regex_matches_empty(const struct hf_regex *regex);
void hf_regex_free(struct hf_regex *regex);
// Appends the PCRE2 form of an Oniguruma pattern.
enum dapt_status hf_regex_translate(const struct dapt_host *host, const char *where,
                                    const char *pattern, size_t length, struct hf_text *out);

// NULL: memory.
struct hf_matcher *hf_matcher_create(void);
void hf_matcher_free(struct hf_matcher *matcher);

// Matches in order, as Oniguruma's iterator finds them: an empty match right behind the last match
// does not count.
struct hf_find {
    size_t position;  // where to search on; starts at 0
    size_t last_end;  // of the last match
    bool matched;     // there was one
};
// DAPT_OK and a match, DAPT_END, or an error (a pattern that needs too many steps).
enum dapt_status hf_regex_next(const struct hf_regex *regex, struct hf_matcher *matcher,
                               const struct dapt_host *host, const char *text, size_t length,
                               struct hf_find *find, size_t *start, size_t *end);
#endif
