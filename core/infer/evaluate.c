#include "infer/evaluate.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/threads.h"
#include "corpus/objective.h"

// bits/byte = nats per scored token * tokens of the documents / bytes of the documents / ln 2. The
// tokens that are not scored (the first of each document or sequence, which nothing predicts; those
// of the cut end) count as if they cost the mean. Tokens and bytes are those of the documents that
// were read, all of each: where a set was limited to so many tokens, of those up to the limit.
static void fill_means(double nats, struct dapt_evaluation *result) {
    result->nats_per_token = nats / (double)result->scored;
    result->perplexity = exp(result->nats_per_token);
    result->bits_per_byte = result->nats_per_token * (double)result->tokens /
                            (double)result->bytes / M_LN2;
}

// On a terminal, at once and then twice a second.
static void tell_progress(const char *name, uint64_t done, uint64_t all, double *last) {
    char line[256];
    if (dapt_seconds() - *last < 0.5) return;
    *last = dapt_seconds();
    snprintf(line, sizeof line, "evaluation of %.100s  %llu of %llu sequences", name,
             (unsigned long long)done, (unsigned long long)all);
    dapt_log_status(line);
}

static void add_documents(const struct dapt_batch *batch, const float *losses,
                          struct dapt_document_loss *documents) {
    for (size_t i = 0; i < (size_t)batch->sequences * batch->length; i++) {
        if (batch->targets[i] < 0) continue;
        documents[batch->documents[i]].nats += (double)losses[i];
        documents[batch->documents[i]].scored++;
    }
}

// Losses of a round of batches, one of each rank: [ranks][places + 1], the last of each telling whether
// that rank was asked to stop.
struct round {
    struct dapt_engine *engine;
    struct dapt_ranks *ranks;
    const struct dapt_corpus *corpus;
    struct dapt_batch *batch;
    uint32_t size;
    size_t each;    // places + 1
    float *losses;  // [size][each]
};

static enum dapt_status open_round(struct round *r) {
    r->ranks = dapt_engine_ranks(r->engine);
    r->size = dapt_ranks_count(r->ranks);
    r->each = (size_t)r->batch->sequences * r->batch->length + 1;
    r->losses = dapt_alloc(r->size * r->each, sizeof *r->losses);
    return r->losses ? DAPT_OK : DAPT_ERROR_MEMORY;
}

// The batches from sequence `index` on.
static enum dapt_status run_round(struct round *r, const char *name, uint64_t index) {
    uint32_t rank = dapt_ranks_index(r->ranks);
    float *own = r->losses + rank * r->each;
    bool cancelled = dapt_cancelled();
    enum dapt_status status = DAPT_OK;
    index += (uint64_t)rank * r->batch->sequences;
    dapt_corpus_eval_batch(r->corpus, index, r->batch);
    if (!cancelled && index < dapt_corpus_report(r->corpus)->sequences)
        status = dapt_engine_losses(r->engine, r->batch, own);
    own[r->each - 1] = cancelled;
    if (!status) status = dapt_ranks_gather_each(r->ranks, r->losses, r->each * sizeof *own);
    if (status) return dapt_fail_in(status, "evaluation of %s", name);
    for (uint32_t i = 0; i < r->size; i++)
        if (r->losses[(i + 1) * r->each - 1] > 0)
            return dapt_fail(DAPT_ERROR_CANCELLED, "evaluation of %s was stopped", name);
    return DAPT_OK;
}

// All ranks add all batches, in the order of the file: the same bits on any number of them.
static double add_round(struct round *r, uint64_t index, double nats,
                        struct dapt_evaluation *result, struct dapt_document_loss *documents) {
    struct dapt_batch *b = r->batch;
    for (uint32_t i = 0; i < r->size; i++, index += b->sequences) {
        const float *losses = r->losses + i * r->each;
        if (r->size > 1) dapt_corpus_eval_batch(r->corpus, index, b);
        for (size_t k = 0; k + 1 < r->each; k++)
            nats += b->targets[k] >= 0 ? (double)losses[k] : 0.0;
        if (documents) add_documents(b, losses, documents);
        result->scored += b->scored;
    }
    return nats;
}

enum dapt_status dapt_evaluate_corpus(struct dapt_engine *engine, const struct dapt_corpus *corpus,
                                      struct dapt_batch *batch, const char *name,
                                      struct dapt_evaluation *result,
                                      struct dapt_document_loss *documents) {
    const struct dapt_corpus_report *report = dapt_corpus_report(corpus);
    *result = (struct dapt_evaluation){
        .name = name,
        .documents = report->documents,
        .bytes = report->bytes,
        .tokens = report->tokens,
        .sequences = report->sequences,
        .masked = dapt_objective_kind(dapt_corpus_objective(corpus)) == DAPT_OBJECTIVE_MASKED,
        .nats_before = NAN,
        .bits_before = NAN,
        .change_low = NAN,
        .change_high = NAN};
    struct round round = {.engine = engine, .corpus = corpus, .batch = batch};
    double nats = 0, begin = dapt_seconds(), told = 0;
    enum dapt_status status = open_round(&round);
    uint64_t each = (uint64_t)round.size * batch->sequences;
    if (documents) memset(documents, 0, report->documents * sizeof *documents);
    for (uint64_t index = 0; !status && index < report->sequences; index += each) {
        tell_progress(name, index, report->sequences, &told);
        status = run_round(&round, name, index);
        if (!status) nats = add_round(&round, index, nats, result, documents);
    }
    if (!status && (result->scored == 0 || result->bytes == 0)) {
        status = dapt_fail(DAPT_ERROR_INVALID, "%s: holds no token that can be scored", name);
    }
    if (!status) fill_means(nats, result);
    dapt_log_status(NULL);
    result->seconds = dapt_seconds() - begin;
    free(round.losses);
    return status;
}
