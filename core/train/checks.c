// Is it really training? What a first step shows that no later figure does.
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "train/trainer.h"

#define PIECE 4096  // elements read at a time: most tensors show a gradient in the first

// ------------------------------------------------------------------------------------------- the loss

enum dapt_status dapt_trainer_first_loss(struct dapt_trainer *t, uint64_t scored, double *loss) {
    size_t places = (size_t)t->setup.micro * t->config->data.sequence;
    enum dapt_status status = DAPT_OK;
    double nats = 0;
    *loss = NAN;
    if (t->step > 0 || t->config->data.eval_count == 0) return DAPT_OK;
    float *losses = dapt_alloc(places, sizeof *losses);
    if (!losses) return DAPT_ERROR_MEMORY;
    for (uint32_t m = 0; !status && m < t->setup.micros; m++) {
        status = dapt_engine_losses(t->setup.engine, t->batches[m], losses);
        for (size_t i = 0; !status && i < places; i++)
            nats += t->batches[m]->targets[i] >= 0 ? (double)losses[i] : 0.0;
    }
    free(losses);
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

static enum dapt_status has_gradient(struct dapt_engine *engine, const struct dapt_parameter *p,
                                     bool *has) {
    float piece[PIECE];
    enum dapt_status status = DAPT_OK;
    *has = false;
    for (uint64_t at = 0; !status && !*has && at < p->count; at += PIECE) {
        uint64_t count = p->count - at < PIECE ? p->count - at : PIECE;
        status = dapt_engine_read(engine, DAPT_STATE_MOMENT1, p->offset + at, count, piece);
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

// A first moment that is zero everywhere: no gradient so far. Of a tensor, not of its rows: tokens, types
// and positions that the first batches lack are no error.
static enum dapt_status find_without(const struct dapt_trainer *t, const char **name) {
    const struct dapt_model *model = t->setup.model;
    enum dapt_status status = DAPT_OK;
    *name = NULL;
    for (size_t i = 0; !status && !*name && i < model->parameter_count; i++) {
        const struct dapt_parameter *p = &model->parameters[i];
        bool has = true;
        if (p->trained && p->count && !is_key_bias(model, i))
            status = has_gradient(t->setup.engine, p, &has);
        if (!has) *name = p->name;
    }
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
