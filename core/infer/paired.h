// The documents of an evaluation set as a paired bootstrap draws them: what each cost before, and after.
#ifndef DAPT_INFER_PAIRED_H
#define DAPT_INFER_PAIRED_H
#include "infer/evaluate.h"
#include "infer/interval.h"

// Documents are kept one by one up to this many; of more, neighbours are put together, and drawn as one.
#define DAPT_PAIRED_UNITS 4096

// `*units` [*count], freed by the caller: tokens and bytes of the corpus' documents, figures NaN.
enum dapt_status dapt_paired_create(const struct dapt_corpus *corpus, struct dapt_paired **units,
                                    size_t *count);
// dapt_evaluate_corpus(), by documents: fills `after` and `scored` of each unit.
enum dapt_status dapt_paired_score(struct dapt_engine *engine, const struct dapt_corpus *corpus,
                                   struct dapt_batch *batch, const char *name,
                                   struct dapt_paired *units, size_t count,
                                   struct dapt_evaluation *result);
#endif
