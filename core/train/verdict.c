// What came of a run, in its last line.
#include <inttypes.h>
#include <math.h>

#include "train/trainer.h"

// A change that the table's four decimals do not show is none.
static const char *judgement(double change) {
    if (fabs(change) < 0.00005) return "as before training";
    return change < 0 ? "better than before training" : "WORSE than before training";
}

void dapt_trainer_verdict(const struct dapt_trainer *t, struct dapt_string *text) {
    for (size_t i = 0; i < t->config->data.eval_count; i++) {
        const struct dapt_evaluation *e = &t->evaluations[i];
        double change = e->bits_per_byte - e->bits_before;
        if (isfinite(change))
            dapt_string_format(text, "; %s: %s (%+.4f bits/byte)", e->name, judgement(change),
                               change);
        else if (isfinite(e->bits_before))
            dapt_string_format(text, "; %s: WORSE than before training (no finite loss)", e->name);
    }
    if (t->best == DAPT_NEVER || t->best == t->step) return;
    dapt_string_format(text, "; the best was step %" PRIu64 ": %s/checkpoints/step-%06" PRIu64,
                       t->best, t->run.path, t->best);
}
