#include "infer/paired.h"

#include <math.h>
#include <stdlib.h>

// The document's unit: neighbours share one where there are more documents than units.
static size_t unit_of(size_t count, uint64_t documents, uint64_t document) {
    return documents <= count ? (size_t)document
                              : (size_t)((double)document / (double)documents * (double)count);
}

enum dapt_status dapt_paired_create(const struct dapt_corpus *corpus, struct dapt_paired **units,
                                    size_t *count) {
    uint64_t documents = dapt_corpus_report(corpus)->documents;
    *count = documents < DAPT_PAIRED_UNITS ? (size_t)documents : DAPT_PAIRED_UNITS;
    *units = dapt_alloc(*count + 1, sizeof **units);
    if (!*units) return DAPT_ERROR_MEMORY;
    for (uint64_t d = 0; d < documents; d++) {
        const struct dapt_corpus_document document = dapt_corpus_document(corpus, d);
        struct dapt_paired *unit = &(*units)[unit_of(*count, documents, d)];
        unit->tokens += (double)document.tokens;
        unit->bytes += (double)document.bytes;
        unit->before = unit->after = NAN;
    }
    return DAPT_OK;
}

enum dapt_status dapt_paired_score(struct dapt_engine *engine, const struct dapt_corpus *corpus,
                                   struct dapt_batch *batch, const char *name,
                                   struct dapt_paired *units, size_t count,
                                   struct dapt_evaluation *result) {
    uint64_t documents = dapt_corpus_report(corpus)->documents;
    struct dapt_document_loss *losses = dapt_alloc(documents, sizeof *losses);
    if (!losses) return DAPT_ERROR_MEMORY;
    enum dapt_status status = dapt_evaluate_corpus(engine, corpus, batch, name, result, losses);
    for (size_t u = 0; !status && u < count; u++) units[u].after = units[u].scored = 0;
    for (uint64_t d = 0; !status && d < documents; d++) {
        struct dapt_paired *unit = &units[unit_of(count, documents, d)];
        unit->after += losses[d].nats;
        unit->scored += (double)losses[d].scored;
    }
    free(losses);
    return status;
}
