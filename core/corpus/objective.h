// Objectives: which tokens of a text are predicted, and what each place may look at to do so.
#ifndef DAPT_CORPUS_OBJECTIVE_H
#define DAPT_CORPUS_OBJECTIVE_H
#include "corpus/corpus.h"

struct dapt_objective_options {
    enum dapt_objective_kind kind;  // not AUTO: only who knows the model can say
    double rate;       // masked: share of the tokens that are predicted, more than 0, at most 1
    bool whole_words;  // masked: a word's tokens are chosen together
    const char *mask;  // masked: text of the mask token; NULL: "[MASK]" or "<mask>"
    uint64_t seed;     // masked: of the choice
};

struct dapt_objective;
// Asks the tokenizer for the mask token, which tokens are special (never predicted) and, for whole
// words, which continue a word: by decoding each, so that the marks of a kind of tokenizer ("##", a
// missing space) need not be known. A tokenizer without a mask token is an error. [main]
enum dapt_status dapt_objective_create(const struct dapt_objective_options *options,
                                       struct dapt_tokenizer *tokenizer,
                                       struct dapt_objective **objective);
void dapt_objective_destroy(struct dapt_objective **objective);
enum dapt_objective_kind dapt_objective_kind(
    const struct dapt_objective *objective);                     // NULL: causal
const char *dapt_objective_name(enum dapt_objective_kind kind);  // "causal", "masked"

// Tokens of one text that lie one behind the other in a row of a batch.
struct dapt_span {
    size_t begin;     // first place in the batch's arrays
    uint32_t row_at;  // the same within its sequence
    uint32_t length;  // places
    int32_t next;     // the token behind them in the same text; -1: none
    // What the choice of masked tokens is a function of, beside the seed: in training the sequence's
    // number in the run, in evaluation the token's place in the corpus.
    uint64_t stream, index;
};
// Sets targets, first and last of the span's places, which hold ids; hides what is to be predicted;
// counts batch->scored. `objective` NULL: causal. A pure function. [any thread]
void dapt_objective_apply(const struct dapt_objective *objective, const struct dapt_span *span,
                          struct dapt_batch *batch);
#endif
