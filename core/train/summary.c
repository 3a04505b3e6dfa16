// How a run ends: what was done, which checkpoint is the best, what became of each set.
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/threads.h"
#include "train/trainer.h"

// The best checkpoint by name, and what became of each set since before the first step.
static void add_verdict(const struct dapt_trainer *t, struct dapt_string *text) {
    const struct dapt_evaluation *deciding = dapt_trainer_deciding(t);
    if (t->best == t->step) {
        dapt_string_format(text, "\nbest: this one, by %s", deciding->name);
    } else if (t->best != DAPT_NEVER) {
        dapt_string_format(text,
                           "\nbest: step-%06" PRIu64
                           " (%s/best), %.4f nats/token on %s; the last has "
                           "%.4f",
                           t->best, t->run.path, t->best_value, deciding->name,
                           deciding->nats_per_token);
    }
    if (t->best == DAPT_NEVER && deciding && t->config->train.budget_count)
        dapt_string_format(text, "\nbest: none, as no checkpoint is inside train.budget");
    bool first = true;
    for (size_t i = 0; i < t->config->data.eval_count; i++) {
        const struct dapt_evaluation *e = &t->evaluations[i];
        double change = e->bits_per_byte - e->bits_before;
        if (!isfinite(e->bits_before)) continue;
        dapt_string_format(text, "%s %s ", first ? "\nsince before training:" : ",", e->name);
        if (e->role && strcmp(e->role, e->name) != 0) dapt_string_format(text, "(%s) ", e->role);
        first = false;
        if (!isfinite(change))
            dapt_string_format(text, "WORSE (no finite loss)");
        else if (fabs(change) < 5e-5)  // the table's four decimals do not show it
            dapt_string_format(text, "as it was");
        else
            dapt_string_format(text, "%s by %.4f bits/byte (%+.1f %%)",
                               change < 0 ? "better" : "WORSE", fabs(change),
                               100 * change / e->bits_before);
    }
}

// How often the run has gone over each source's text. Freed by the caller; NULL: none is known.
static struct dapt_event_pass *count_passes(struct dapt_trainer *t, size_t *count) {
    uint32_t sources = dapt_mix_source_count(t->setup.mix);
    struct dapt_event_pass *passes = dapt_mix_seek(t->setup.mix, t->step)
                                         ? NULL
                                         : dapt_alloc(sources, sizeof *passes);
    *count = passes ? sources : 0;
    for (uint32_t i = 0; i < *count; i++) {
        struct dapt_mix_source source = dapt_mix_source(t->setup.mix, i);
        const char *corpus = source.replay ? "replay" : "domain";
        struct dapt_event_pass *pass = &passes[i];
        pass->passes = source.sequences ? (double)source.taken / (double)source.sequences : 0;
        if (source.entry == DAPT_MIX_ALL)
            snprintf(pass->source, sizeof pass->source, "%s", corpus);
        else
            snprintf(pass->source, sizeof pass->source, "%s[%" PRIu32 "]", corpus, source.entry);
    }
    return passes;
}

static void add_done(const struct dapt_trainer *t, double tokens, double seconds,
                     struct dapt_string *text) {
    struct dapt_small_text steps, count, rate, training, all;
    uint64_t done = t->step - t->started;
    char scaling[80] = "";
    if (t->scale.overflows)
        snprintf(scaling, sizeof scaling, " (%" PRIu64 " of them for the scale of the loss)",
                 t->scale.overflows);
    if (done == 0) {
        dapt_string_format(
            text, "the run is complete: %s; the model is in %s/checkpoints/step-%06" PRIu64,
            dapt_counted_text(t->step, "step", &steps), t->run.path, t->step);
        return;
    }
    dapt_string_format(text,
                       "%s, %s in %s (%s tokens/s), %s in all; %" PRIu64
                       " skipped%s; the model is in "
                       "%s/checkpoints/step-%06" PRIu64,
                       dapt_counted_text(done, "step", &steps),
                       dapt_counted_text((uint64_t)tokens, "token", &count),
                       dapt_duration_text(t->train_seconds, &training),
                       dapt_count_text((uint64_t)(tokens / t->train_seconds), &rate),
                       dapt_duration_text(seconds, &all), t->skipped, scaling, t->run.path,
                       t->step);
}

void dapt_trainer_end(struct dapt_trainer *t) {
    struct dapt_string text = {0};
    size_t pass_count;
    struct dapt_event_pass *passes = count_passes(t, &pass_count);
    double tokens = (double)(t->step - t->started) * t->config->train.batch *
                    t->config->data.sequence;
    double seconds = dapt_seconds() - t->begin;
    struct dapt_string why = {0};
    const char *ended = dapt_trainer_ending(t, &why);
    add_done(t, tokens, seconds, &text);
    if (ended)
        dapt_string_format(&text, "\nended at step %" PRIu64 " of %" PRIu64 " by %s", t->step,
                           t->setup.steps, ended);
    add_verdict(t, &text);
    for (size_t i = 0; i < pass_count; i++)
        dapt_string_format(&text, "%s %.3g over %s", i ? "," : "\npasses:", passes[i].passes,
                           passes[i].source);
    dapt_trainer_tell(t, DAPT_EVENT_END,
                      &(struct dapt_event){
                          .told = {.text = text.data,
                                   .evaluations = t->evaluations,
                                   .evaluation_count = t->config->data.eval_count},
                          .updates = t->updates,
                          .skipped = t->skipped,
                          .tokens = t->tokens,
                          .best_step = t->best,
                          .ended = ended,
                          .train_seconds = t->train_seconds,
                          .tokens_per_second = t->train_seconds > 0 ? tokens / t->train_seconds : 0,
                          .seconds = seconds,
                          .passes = passes,
                          .pass_count = pass_count});
    free(passes);
    dapt_string_free(&why);
    dapt_string_free(&text);
}
