// What a run may cost: which checkpoints are inside the budget, what happens where it is broken, and
// what ends a run before its last step.
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "train/trainer.h"

double dapt_trainer_budget(const struct dapt_trainer *t, size_t i) {
    return dapt_config_budget(t->config, &t->config->data.eval[i]);
}

static double change_of(const struct dapt_evaluation *e) {
    return e->bits_per_byte - e->bits_before;
}

// By the figure itself, not by its interval: what is called the best does not even seem to cost more.
bool dapt_trainer_inside(const struct dapt_trainer *t, uint64_t step) {
    for (size_t i = 0; i < t->config->data.eval_count; i++) {
        double budget = dapt_trainer_budget(t, i);
        if (isfinite(budget) && !(dapt_ledger_change(t, i, step) <= budget)) return false;
    }
    return true;
}

// The first set that has certainly lost more than it may: the lower end of the interval lies above; of a
// single document, which has none, the change itself.
static const struct dapt_evaluation *broken(const struct dapt_trainer *t) {
    if (t->step == 0 || t->evaluated != t->step) return NULL;
    for (size_t i = 0; i < t->config->data.eval_count; i++) {
        const struct dapt_evaluation *e = &t->evaluations[i];
        double least = isfinite(e->change_low) ? e->change_low : change_of(e);
        if (least > dapt_trainer_budget(t, i)) return e;
    }
    return NULL;
}

static bool stops(const struct dapt_trainer *t) {
    return t->config->train.on_budget == DAPT_ON_BUDGET_STOP && broken(t);
}

static bool tired(const struct dapt_trainer *t) {
    uint32_t patience = t->config->train.patience;
    return patience && t->evaluated == t->step && t->stale >= patience;
}

bool dapt_trainer_finished(const struct dapt_trainer *t) {
    return t->step == t->setup.steps || stops(t) || tired(t);
}

const char *dapt_trainer_ending(const struct dapt_trainer *t, struct dapt_string *text) {
    const struct dapt_evaluation *e = broken(t);
    if (t->step == t->setup.steps) return NULL;
    if (stops(t))
        dapt_string_format(text, "train.budget: %s has lost %.4f bits/byte, where %g is allowed",
                           e->name, change_of(e),
                           dapt_trainer_budget(t, (size_t)(e - t->evaluations)));
    else if (tired(t))
        dapt_string_format(text,
                           "train.patience: %s was no better in %" PRIu64 " evaluations in a row",
                           dapt_trainer_deciding(t)->name, t->stale);
    return text->data;
}

// ------------------------------------------------------------------------------------------ acting

static void count_patience(struct dapt_trainer *t) {
    const struct dapt_evaluation *e = dapt_trainer_deciding(t);
    if (t->judged != DAPT_NEVER && t->step <= t->judged) return;  // sets were changed: made again
    t->judged = t->step;
    if (isfinite(e->nats_per_token) && !(e->nats_per_token >= t->lowest)) {
        t->lowest = dapt_json_round(e->nats_per_token);
        t->stale = 0;
    } else if (t->step > 0) {
        t->stale++;
    }
}

static enum dapt_status raise_replay(struct dapt_trainer *t, const struct dapt_evaluation *e) {
    double before, after;
    struct dapt_mix_position position;
    enum dapt_status status = dapt_setup_raise(&t->setup, t->step, &before, &after);
    if (status || after == before) return status;
    // The mix may stand at this very step, with the share that it had.
    dapt_mix_position(t->setup.mix, &position);
    status = dapt_mix_restore(t->setup.mix, &position);
    if (status) return status;
    dapt_report_note(&t->reporter,
                     "step %" PRIu64
                     "  %s is over its budget: replay rises from %.3g to %.3g of "
                     "the sequences",
                     t->step, e->name, before, after);
    dapt_trainer_tell(t, DAPT_EVENT_REPLAY, &(struct dapt_event){.set = *e, .share = after});
    return DAPT_OK;
}

enum dapt_status dapt_trainer_judge(struct dapt_trainer *t) {
    const struct dapt_evaluation *e = broken(t);
    count_patience(t);
    if (!e || t->step == t->setup.steps ||
        t->config->train.on_budget != DAPT_ON_BUDGET_RAISE_REPLAY)
        return DAPT_OK;
    return raise_replay(t, e);
}
