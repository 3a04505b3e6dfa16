// How a run ends: what was done, which checkpoint is the best, what became of each set.
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

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
    bool first = true;
    for (size_t i = 0; i < t->config->data.eval_count; i++) {
        const struct dapt_evaluation *e = &t->evaluations[i];
        double change = e->bits_per_byte - e->bits_before;
        if (!isfinite(e->bits_before)) continue;
        dapt_string_format(text, "%s %s ", first ? "\nsince before training:" : ",", e->name);
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

// How often the run has gone over each source's text.
static void add_passes(struct dapt_trainer *t, struct dapt_string *text, cJSON *event) {
    cJSON *list = cJSON_AddArrayToObject(event, "passes");
    if (dapt_mix_seek(t->setup.mix, t->step)) return;
    for (uint32_t i = 0; i < dapt_mix_source_count(t->setup.mix); i++) {
        struct dapt_mix_source source = dapt_mix_source(t->setup.mix, i);
        double passes = source.sequences ? (double)source.taken / (double)source.sequences : 0;
        const char *corpus = source.replay ? "replay" : "domain";
        char name[64];
        if (source.entry == DAPT_MIX_ALL)
            snprintf(name, sizeof name, "%s", corpus);
        else
            snprintf(name, sizeof name, "%s[%" PRIu32 "]", corpus, source.entry);
        dapt_string_format(text, "%s %.3g over %s", i ? "," : "\npasses:", passes, name);
        cJSON *item = cJSON_CreateObject();
        cJSON_AddStringToObject(item, "source", name);
        dapt_json_add_number(item, "passes", passes);
        cJSON_AddItemToArray(list, item);
    }
}

void dapt_trainer_end(struct dapt_trainer *t) {
    struct dapt_string text = {0};
    struct dapt_small_text steps, tokens, rate, seconds, all;
    uint64_t done = t->step - t->started;
    double count = (double)done * t->config->train.batch * t->config->data.sequence;
    cJSON *event = dapt_trainer_event(t, "end");
    cJSON_AddNumberToObject(event, "updates", (double)t->updates);
    cJSON_AddNumberToObject(event, "skipped", (double)t->skipped);
    cJSON_AddNumberToObject(event, "tokens", (double)t->tokens);
    if (t->best != DAPT_NEVER) cJSON_AddNumberToObject(event, "best", (double)t->best);
    dapt_json_add_number(event, "train_seconds", t->train_seconds);
    dapt_json_add_number(event, "tokens_per_second",
                         t->train_seconds > 0 ? count / t->train_seconds : 0);
    dapt_json_add_number(event, "seconds", dapt_seconds() - t->begin);
    if (done == 0) {
        dapt_string_format(
            &text, "the run is complete: %s; the model is in %s/checkpoints/step-%06" PRIu64,
            dapt_counted_text(t->step, "step", &steps), t->run.path, t->step);
    } else {
        dapt_string_format(&text,
                           "%s, %s in %s (%s tokens/s), %s in all; %" PRIu64
                           " skipped; the model is in "
                           "%s/checkpoints/step-%06" PRIu64,
                           dapt_counted_text(done, "step", &steps),
                           dapt_counted_text((uint64_t)count, "token", &tokens),
                           dapt_duration_text(t->train_seconds, &seconds),
                           dapt_count_text((uint64_t)(count / t->train_seconds), &rate),
                           dapt_duration_text(dapt_seconds() - t->begin, &all), t->skipped,
                           t->run.path, t->step);
    }
    add_verdict(t, &text);
    add_passes(t, &text, event);
    dapt_trainer_log(t, event);
    dapt_metrics_sync(t->metrics);
    dapt_report(&t->reporter,
                &(struct dapt_train_event){.kind = DAPT_TRAIN_END,
                                           .step = t->step,
                                           .steps = t->setup.steps,
                                           .text = text.data,
                                           .evaluations = t->evaluations,
                                           .evaluation_count = t->config->data.eval_count});
    dapt_string_free(&text);
}
