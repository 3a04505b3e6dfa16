// How sure a change is: a 95 % interval of the change in bits/byte between two models on the same
// documents.
#ifndef DAPT_INFER_INTERVAL_H
#define DAPT_INFER_INTERVAL_H
#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

// A document as both models scored it.
struct dapt_paired {
    double before, after;          // nats
    double scored, tokens, bytes;  // tokens scored, and all of it: see evaluate.c
};

struct dapt_interval {
    double change, low, high;  // bits/byte; low and high NaN: fewer than two documents
};

#define DAPT_INTERVAL_RESAMPLES 2000

// Paired bootstrap (Efron and Tibshirani 1993, chapters 8 and 14): documents are drawn with replacement,
// each with both its figures, and the change is that of the sums, as it is of the whole. Documents, not
// tokens: the tokens of one are alike. Documents without a scored token are left out. The middle 95 %,
// widened for few documents. The same figures and seed, the same interval.
enum dapt_status dapt_interval_change(const struct dapt_paired *documents, size_t count,
                                      uint64_t seed, struct dapt_interval *interval);
#endif
