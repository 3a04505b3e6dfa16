// The evaluations of a run: when they are due, of all sets, before and after.
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "base/threads.h"
#include "infer/evaluate.h"
#include "train/trainer.h"

bool dapt_trainer_evaluation_due(const struct dapt_trainer *t) {
    uint64_t every = t->config->train.evaluate_every;
    if (t->config->data.eval_count == 0 || t->evaluated == t->step) return false;
    return t->step == 0 || t->step == t->setup.steps || (every && t->step % every == 0);
}

// All sets, of the weights as a checkpoint would hold them: what is told is what the files score. The
// base model is what it is.
static enum dapt_status evaluate_sets(struct dapt_trainer *t, struct dapt_evaluation *fresh) {
    enum dapt_status status = t->step ? dapt_engine_round(t->setup.engine) : DAPT_OK;
    for (size_t i = 0; !status && i < t->config->data.eval_count; i++)
        status = dapt_ledger_score(t, i, &fresh[i]);
    if (!t->step || status == DAPT_ERROR_DEVICE) return status;
    struct dapt_string reason = {0};  // putting the exact weights back must not replace it
    if (status) dapt_string_format(&reason, "%s", dapt_error());
    enum dapt_status back = dapt_engine_unround(t->setup.engine);
    if (!back && status) dapt_fail(status, "%s", reason.data ? reason.data : "no memory");
    dapt_string_free(&reason);
    return back ? back : status;
}

// What rounding to the files' dtype costs, on the set that decides: told where it is more than a
// hundredth of the change, after the first evaluation of trained weights and at the end.
static enum dapt_status tell_rounding(struct dapt_trainer *t) {
    const char *dtype = dapt_model_rounds(t->setup.model);
    const struct dapt_evaluation *deciding = dapt_trainer_deciding(t);
    if (!dtype || !deciding || t->step == 0) return DAPT_OK;
    if (t->rounding_told && t->step < t->setup.steps) return DAPT_OK;
    t->rounding_told = true;
    struct dapt_evaluation exact;
    enum dapt_status status = dapt_evaluate_corpus(t->setup.engine,
                                                   t->setup.evals[deciding - t->evaluations],
                                                   t->batches[0], deciding->name, &exact, NULL);
    if (status) return status;
    double cost = deciding->bits_per_byte - exact.bits_per_byte,
           change = exact.bits_per_byte - deciding->bits_before;
    dapt_trainer_tell(t, DAPT_EVENT_ROUNDING,
                      &(struct dapt_event){
                          .set = *deciding, .dtype = dtype, .bits_float32 = exact.bits_per_byte});
    if (!isfinite(change) || !(fabs(cost) > 0.01 * fabs(change))) return DAPT_OK;
    dapt_report_note(&t->reporter,
                     "step %" PRIu64
                     "  rounding to %s costs %.4f of the change of %+.4f bits/byte "
                     "on %s; to keep all of it: \"checkpoint\": {\"dtype\": \"float32\"}",
                     t->step, dtype, cost, change, deciding->name);
    return DAPT_OK;
}

enum dapt_status dapt_trainer_evaluate(struct dapt_trainer *t) {
    double begin = dapt_seconds();
    size_t count = t->config->data.eval_count;
    struct dapt_evaluation *fresh = dapt_alloc(count, sizeof *fresh);
    if (!fresh) return DAPT_ERROR_MEMORY;
    enum dapt_status status = evaluate_sets(t, fresh);
    if (!status) status = dapt_ledger_enter(t, fresh);
    if (!status) {
        for (size_t i = 0; i < count; i++) t->evaluations[i] = fresh[i];
        t->evaluated = t->step;
        t->evaluate_seconds = dapt_seconds() - begin;
        dapt_trainer_tell(t, DAPT_EVENT_EVALUATION,
                          &(struct dapt_event){
                              .told = {.evaluations = t->evaluations, .evaluation_count = count}});
        status = tell_rounding(t);
        if (!status) status = dapt_trainer_judge(t);
        // Told, as a checkpoint that can't be written is: training goes on.
        if (!status && dapt_trainer_leads(t) && dapt_ledger_write(t))
            dapt_trainer_trouble(t, dapt_error());
    }
    free(fresh);
    return status;
}
