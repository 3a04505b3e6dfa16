// How well labels can be told from what a model makes of texts: behind dapt_probe().
#ifndef DAPT_INFER_PROBE_H
#define DAPT_INFER_PROBE_H
#include "dapt/dapt.h"
#include "infer/session.h"

enum dapt_status dapt_probe_files(const struct dapt_modules *modules,
                                  const struct dapt_probe_options *options,
                                  struct dapt_probe *result);

// Labelled texts as a model sees them.
struct dapt_labelled {
    struct dapt_ids ids;  // of all texts, one behind the other, with the tokenizer's template
    size_t *ends;         // [count] of each in ids
    uint32_t *labels;     // [count] numbers of names
    size_t count, ends_capacity, labels_capacity;
    uint64_t cut;  // texts that lost their end
};
// The names of labels, numbered as they first came.
struct dapt_label_names {
    struct dapt_arena arena;
    const char **names;
    size_t count, capacity;
};
// Reads a JSON Lines file of {"text", "label"}, labels being strings or numbers; of each text the
// first `length` tokens. Half-read ones are closed too.
enum dapt_status dapt_labelled_read(struct dapt_session *session, const char *path, uint32_t length,
                                    struct dapt_label_names *names, struct dapt_labelled *texts);
void dapt_labelled_close(struct dapt_labelled *texts);  // a zeroed struct is fine
// features [count, hidden]: the mean of the stream after the final norm over a text's tokens, or
// the last token's.
enum dapt_status dapt_labelled_features(struct dapt_session *session,
                                        const struct dapt_labelled *texts, bool last,
                                        double *features);
#endif
