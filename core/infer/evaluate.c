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
    size_t places = (size_t)batch->sequences * batch->length;
    double nats = 0, begin = dapt_seconds(), told = 0;
    enum dapt_status status = DAPT_OK;
    float *losses = dapt_alloc(places, sizeof *losses);
    if (!losses) return DAPT_ERROR_MEMORY;
    if (documents) memset(documents, 0, report->documents * sizeof *documents);
    for (uint64_t index = 0; !status && index < report->sequences; index += batch->sequences) {
        tell_progress(name, index, report->sequences, &told);
        dapt_corpus_eval_batch(corpus, index, batch);
        if (dapt_cancelled())
            status = dapt_fail(DAPT_ERROR_CANCELLED, "evaluation of %s was stopped", name);
        else if ((status = dapt_engine_losses(engine, batch, losses)))
            dapt_fail_in(status, "evaluation of %s", name);
        for (size_t i = 0; !status && i < places; i++)
            nats += batch->targets[i] >= 0 ? (double)losses[i] : 0.0;
        if (!status && documents) add_documents(batch, losses, documents);
        result->scored += batch->scored;
    }
    if (!status && (result->scored == 0 || result->bytes == 0)) {
        status = dapt_fail(DAPT_ERROR_INVALID, "%s: holds no token that can be scored", name);
    }
    if (!status) fill_means(nats, result);
    dapt_log_status(NULL);
    result->seconds = dapt_seconds() - begin;
    free(losses);
    return status;
}
