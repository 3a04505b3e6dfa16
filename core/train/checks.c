// Is it really training? What a first step shows that no later figure does.
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "train/trainer.h"

#define PIECE 4096  // elements read at a time: most tensors show a gradient in the first

// ------------------------------------------------------------------------------------------- the loss

enum dapt_status dapt_trainer_first_loss(struct dapt_trainer *t, uint64_t step, uint64_t scored,
                                         double *loss) {
    size_t places = (size_t)t->setup.micro * t->config->data.sequence;
    enum dapt_status status = DAPT_OK;
    double nats = 0;
    *loss = NAN;
    const struct dapt_adapters *adapters = t->setup.model->adapters;
    // Of adapters that are not new, dropout takes a part away that an evaluation has.
    bool drops = adapters && adapters->folder && adapters->dropout > 0;
    if (step > 0 || t->config->data.eval_count == 0 || drops) return DAPT_OK;
    float *losses = dapt_alloc(places, sizeof *losses);
    if (!losses) return DAPT_ERROR_MEMORY;
    for (uint32_t m = 0; !status && m < t->setup.own; m++) {
        status = dapt_engine_losses(t->setup.engine, t->batches[m], losses);
        for (size_t i = 0; !status && i < places; i++)
            nats += t->batches[m]->targets[i] >= 0 ? (double)losses[i] : 0.0;
    }
    free(losses);
    if (!status) status = dapt_ranks_sum(t->setup.ranks, &nats, 1);
    *loss = nats / (double)scored;
    return status;
}

// Both programs score the same batches with the same weights: float32 sums in another order differ in the
// sixth digit, 16-bit activations, of which training keeps more, in the fourth, another model in the first.
static void compare_losses(const struct dapt_trainer *t, double before, double loss) {
    double most = t->config->backend.precision == DAPT_PRECISION_FLOAT32 ? 1e-3 : 1e-2;
    if (!isfinite(before)) return;
    if (fabs(loss - before) > most * (1 + fabs(before)))
        dapt_log(DAPT_LOG_WARNING,
                 "the first step's loss is %.6f, but an evaluation of its batches gives %.6f: "
                 "training does not begin at the model that was evaluated",
                 loss, before);
    else
        dapt_log(DAPT_LOG_DEBUG, "first step: loss %.6f; evaluated before it: %.6f", loss, before);
}

// --------------------------------------------------------------------------------------- the gradients

// Of the part whose moments are this rank's.
static enum dapt_status has_gradient(struct dapt_engine *engine, const struct dapt_parameter *p,
                                     bool *has) {
    float piece[PIECE];
    uint64_t begin, end, last = p->offset + p->count;
    // A first moment of 8 bits may be 0 beside larger ones; a second one never is.
    enum dapt_engine_state state = dapt_engine_moments(engine) == DAPT_MOMENTS_8BIT
                                       ? DAPT_STATE_MOMENT2
                                       : DAPT_STATE_MOMENT1;
    enum dapt_status status = DAPT_OK;
    *has = false;
    dapt_engine_own(engine, &begin, &end);
    if (last > end) last = end;
    for (uint64_t at = p->offset > begin ? p->offset : begin; !status && !*has && at < last;
         at += PIECE) {
        uint64_t count = last - at < PIECE ? last - at : PIECE;
        status = dapt_engine_read(engine, state, at, count, piece);
        for (uint64_t i = 0; !status && i < count && !*has; i++) *has = piece[i] != 0;
    }
    return status;
}

// Adding the same to all keys leaves attention as it is, unless positions turn them: such a bias has no
// gradient but rounding.
static bool is_key_bias(const struct dapt_model *model, size_t parameter) {
    for (uint32_t row = 1; row <= model->layers; row++)
        if (model->slots[row * DAPT_SLOT_COUNT + DAPT_SLOT_K_BIAS] == parameter) return true;
    return false;
}

// A moment that is zero everywhere, on all ranks: no gradient so far. Of a tensor, not of its rows:
// tokens, types and positions that the first batches lack are no error.
static enum dapt_status find_without(const struct dapt_trainer *t, const char **name) {
    const struct dapt_model *model = t->setup.model;
    double *found = dapt_alloc(model->parameter_count, sizeof *found);
    enum dapt_status status = found ? DAPT_OK : DAPT_ERROR_MEMORY;
    *name = NULL;
    for (size_t i = 0; !status && i < model->parameter_count; i++) {
        const struct dapt_parameter *p = &model->parameters[i];
        bool has = true;
        if (p->trained && p->count && !is_key_bias(model, i))
            status = has_gradient(t->setup.engine, p, &has);
        found[i] = has;
    }
    if (!status) status = dapt_ranks_sum(t->setup.ranks, found, model->parameter_count);
    for (size_t i = 0; !status && !*name && i < model->parameter_count; i++)
        if (found[i] == 0) *name = model->parameters[i].name;
    free(found);
    return status;
}

// In the first update a tensor may have none for good reason: where another that starts at zero lies
// behind it. The second update tells.
static enum dapt_status check_reached(struct dapt_trainer *t) {
    const char *name;
    uint64_t update = t->updates + 1;
    if (t->reached || update > 2) return DAPT_OK;
    enum dapt_status status = find_without(t, &name);
    if (status) return status;
    t->reached = !name;
    if (!name || (update == 1 && t->setup.steps > 1)) return DAPT_OK;
    return dapt_fail(
        DAPT_ERROR_INVALID,
        "%s: is trained, but its gradient was zero everywhere in the first %s: nothing "
        "that is scored depends on it; name it in train.freeze to leave it as it is",
        name, update == 1 ? "step" : "two steps");
}

enum dapt_status dapt_trainer_check(struct dapt_trainer *t, double before, double loss) {
    if (t->step == 0) compare_losses(t, before, loss);
    return check_reached(t);
}
