#include "infer/verify.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/safetensors.h"
#include "infer/session.h"

#define GOLDEN_PREFIX "grad."

// What golden.safetensors and golden.json hold.
struct golden {
    struct dapt_safetensors *file;
    struct dapt_json *settings;
    uint32_t sequences, length;
    bool masked;  // labels score their own place, and every place sees all; otherwise causal
    double learning_rate, beta1, beta2, eps, weight_decay, clip;
};

struct check {
    const struct dapt_model *model;
    struct dapt_engine *engine;
    struct dapt_batch *batch;
    struct golden golden;
    double tolerance;
    dapt_verify_callback callback;
    void *user;
    size_t rows, failed;
    size_t gradients;  // of the golden values
    double gradient2;  // their squared norm, all together
};

// Of the norm of all gradients: what one of them is measured against at least. One that is zero but
// for rounding (of a key's bias, which softmax does not see) has no error relative to itself.
#define LEAST_GRADIENT 1e-4

// ---------------------------------------------------------------------------------- golden values

static enum dapt_status read_settings(struct golden *g, const char *path) {
    const struct dapt_json *optimizer, *betas;
    const char *kind = "causal", *decay = "every parameter";
    enum dapt_status status = dapt_json_read(path, DAPT_JSON_LIMIT, &g->settings);
    if (!status) status = dapt_json_get_string(g->settings, "kind", &kind);
    if (!status) status = dapt_json_need(g->settings, "optimizer", DAPT_JSON_OBJECT, &optimizer);
    if (!status) status = dapt_json_need(optimizer, "betas", DAPT_JSON_ARRAY, &betas);
    if (!status) status = dapt_json_number(dapt_json_member(optimizer, "lr"), &g->learning_rate);
    if (!status) status = dapt_json_number(dapt_json_at(betas, 0), &g->beta1);
    if (!status) status = dapt_json_number(dapt_json_at(betas, 1), &g->beta2);
    if (!status) status = dapt_json_number(dapt_json_member(optimizer, "eps"), &g->eps);
    if (!status) status = dapt_json_get_number(optimizer, "weight_decay", &g->weight_decay);
    if (!status) status = dapt_json_get_number(optimizer, "clip_grad_norm", &g->clip);
    if (!status) status = dapt_json_get_string(optimizer, "decay", &decay);
    if (!status && strcmp(decay, "every parameter") != 0) {
        status = dapt_json_fail(dapt_json_member(optimizer, "decay"),
                                "is \"%s\", expected \"every parameter\"", decay);
    }
    if (!status && strcmp(kind, "causal") != 0 && strcmp(kind, "masked") != 0) {
        status = dapt_json_fail(dapt_json_member(g->settings, "kind"),
                                "is \"%s\", expected \"causal\" or \"masked\"", kind);
    }
    g->masked = strcmp(kind, "masked") == 0;
    return status;
}

static enum dapt_status find(const struct golden *g, const char *name, uint64_t count,
                             const struct dapt_file_tensor **tensor) {
    *tensor = dapt_safetensors_find(g->file, name);
    if (!*tensor) return dapt_fail(DAPT_ERROR_INVALID, "golden.safetensors: holds no '%s'", name);
    if (count && (*tensor)->count != count) {
        return dapt_fail(DAPT_ERROR_INVALID,
                         "golden.safetensors: '%s' has %" PRIu64 " numbers, expected %" PRIu64,
                         name, (*tensor)->count, count);
    }
    return DAPT_OK;
}

static enum dapt_status open_golden(struct golden *g, struct dapt_arena *arena,
                                    const char *folder) {
    const struct dapt_file_tensor *ids;
    char *path = dapt_path_join(arena, folder, "golden.safetensors"),
         *json = dapt_path_join(arena, folder, "golden.json");
    enum dapt_status status = path && json ? DAPT_OK : DAPT_ERROR_MEMORY;
    if (!status) status = dapt_safetensors_open(path, &g->file);
    if (!status) status = read_settings(g, json);
    if (!status) status = find(g, "input_ids", 0, &ids);
    if (!status &&
        (ids->rank != 2 || ids->shape[0] == 0 || ids->shape[1] < 2 || ids->count > (1u << 24))) {
        status = dapt_fail(DAPT_ERROR_INVALID,
                           "%s: 'input_ids' is not [sequences, tokens] of a usable size", path);
    }
    if (!status) {
        g->sequences = (uint32_t)ids->shape[0];
        g->length = (uint32_t)ids->shape[1];
    }
    return status;
}

// The golden batch. transformers scores place t of a causal model against labels[t + 1].
static enum dapt_status fill_batch(const struct golden *g, uint32_t vocab,
                                   struct dapt_batch *batch) {
    const struct dapt_file_tensor *ids, *labels;
    uint64_t count = (uint64_t)g->sequences * g->length;
    int64_t *values = dapt_alloc(count, 2 * sizeof *values),
            *label = values ? values + count : NULL;
    enum dapt_status status = values ? DAPT_OK : DAPT_ERROR_MEMORY;
    if (!status) status = find(g, "input_ids", count, &ids);
    if (!status) status = find(g, "labels", count, &labels);
    if (!status) status = dapt_file_tensor_ints(ids, 0, count, values);
    if (!status) status = dapt_file_tensor_ints(labels, 0, count, label);
    batch->scored = 0;
    for (uint64_t i = 0; !status && i < count; i++) {
        uint32_t t = (uint32_t)(i % g->length);
        bool inside = g->masked || t + 1 < g->length;
        int64_t target = inside ? label[g->masked ? i : i + 1] : -100;
        if (values[i] < 0 || values[i] >= (int64_t)vocab || target >= (int64_t)vocab) {
            status = dapt_fail(
                DAPT_ERROR_INVALID,
                "golden.safetensors: a token id outside of the vocabulary of %" PRIu32, vocab);
        }
        batch->ids[i] = (int32_t)values[i];
        batch->targets[i] = target < 0 ? -1 : (int32_t)target;
        batch->positions[i] = (int32_t)t;
        batch->first[i] = 0;
        batch->last[i] = (int32_t)(g->masked ? g->length - 1 : t);
        batch->scored += target >= 0;
    }
    if (!status && batch->scored == 0)
        status = dapt_fail(DAPT_ERROR_INVALID, "golden.safetensors: 'labels' score nothing");
    free(values);
    return status;
}

// -------------------------------------------------------------------------------------- comparing

static void tell(struct check *c, const char *what, const char *name, double error) {
    bool ok = error <= c->tolerance;  // false for a NaN
    c->rows++;
    c->failed += !ok;
    if (c->callback)
        c->callback(c->user, &(struct dapt_verify_row){what, name, error, ok, c->tolerance, 1});
}

static double relative(double difference2, double golden2) {
    if (golden2 == 0) return difference2 == 0 ? 0 : INFINITY;
    return sqrt(difference2 / golden2);
}

static enum dapt_status compare_tensor(struct check *c, const char *what, const char *name,
                                       const struct dapt_file_tensor *tensor, const float *ours,
                                       double least2) {
    float *golden = dapt_alloc(tensor->count, sizeof *golden);
    if (!golden) return DAPT_ERROR_MEMORY;
    double difference2 = 0, golden2 = 0;
    enum dapt_status status = dapt_file_tensor_floats(tensor, 0, tensor->count, golden);
    for (uint64_t i = 0; !status && i < tensor->count; i++) {
        double d = (double)ours[i] - (double)golden[i];
        difference2 += d * d;
        golden2 += (double)golden[i] * (double)golden[i];
    }
    if (!status) tell(c, what, name, relative(difference2, fmax(golden2, least2)));
    free(golden);
    return status;
}

static enum dapt_status check_logits(struct check *c) {
    const struct dapt_file_tensor *tensor;
    uint64_t count = (uint64_t)c->golden.sequences * c->golden.length * c->model->vocab;
    enum dapt_status status = find(&c->golden, "logits", count, &tensor);
    if (status) return status;
    float *ours = dapt_alloc(count, sizeof *ours);
    if (!ours) return DAPT_ERROR_MEMORY;
    status = dapt_engine_logits(c->engine, c->batch, ours);
    if (!status) status = compare_tensor(c, "logits", "", tensor, ours, 0);
    free(ours);
    return status;
}

static enum dapt_status check_loss(struct check *c) {
    const struct dapt_file_tensor *tensor;
    uint64_t count = (uint64_t)c->golden.sequences * c->golden.length;
    float golden;
    double sum = 0;
    enum dapt_status status = find(&c->golden, "loss", 1, &tensor);
    float *losses = status ? NULL : dapt_alloc(count, sizeof *losses);
    if (!status && !losses) status = DAPT_ERROR_MEMORY;
    if (!status) status = dapt_file_tensor_floats(tensor, 0, 1, &golden);
    if (!status) status = dapt_engine_losses(c->engine, c->batch, losses);
    for (uint64_t i = 0; !status && i < count; i++)
        sum += c->batch->targets[i] >= 0 ? (double)losses[i] : 0;
    if (!status)
        tell(c, "loss", "",
             fabs(sum / (double)c->batch->scored - (double)golden) / fabs((double)golden));
    free(losses);
    return status;
}

static enum dapt_status one_step(struct check *c, uint64_t number, bool update,
                                 struct dapt_engine_result *result) {
    struct dapt_engine_step step = {.learning_rate = c->golden.learning_rate,
                                    .weight_decay = c->golden.weight_decay,
                                    .clip = c->golden.clip,
                                    .number = number,
                                    .scored = c->batch->scored};
    enum dapt_status status = dapt_engine_begin(c->engine, &step);
    if (!status) status = dapt_engine_micro(c->engine, c->batch);
    if (!status) status = dapt_engine_finish(c->engine, update, result);
    return status;
}

static enum dapt_status check_gradient(struct check *c, const struct dapt_parameter *parameter) {
    char name[512];
    const struct dapt_file_tensor *tensor;
    snprintf(name, sizeof name, GOLDEN_PREFIX "%s", parameter->name);
    enum dapt_status status = find(&c->golden, name, parameter->count, &tensor);
    if (status) return status;
    float *ours = dapt_alloc(parameter->count, sizeof *ours);
    if (!ours) return DAPT_ERROR_MEMORY;
    for (uint64_t at = 0, run; at < parameter->count && !status; at += run) {
        run = parameter->count - at;
        uint64_t from = dapt_parameter_place(parameter, at, &run);
        status = dapt_engine_read(c->engine, DAPT_STATE_GRAD, from, run, ours + at);
    }
    if (!status)
        status = compare_tensor(c, "gradient", parameter->name, tensor, ours,
                                LEAST_GRADIENT * LEAST_GRADIENT * c->gradient2);
    free(ours);
    return status;
}

static enum dapt_status measure_gradients(struct check *c) {
    enum dapt_status status = DAPT_OK;
    for (size_t i = 0; !status && i < dapt_safetensors_count(c->golden.file); i++) {
        const struct dapt_file_tensor *t = dapt_safetensors_at(c->golden.file, i);
        if (strncmp(t->name, GOLDEN_PREFIX, strlen(GOLDEN_PREFIX)) != 0) continue;
        c->gradients++;
        for (uint64_t at = 0; at < t->count && !status; at++) {
            float value;
            status = dapt_file_tensor_floats(t, at, 1, &value);
            if (!status && isfinite(value)) c->gradient2 += (double)value * (double)value;
        }
    }
    return status;
}

static enum dapt_status check_gradients(struct check *c) {
    struct dapt_engine_result result;
    enum dapt_status status = measure_gradients(c);
    if (!status) status = one_step(c, 1, false, &result);
    size_t trained = 0;
    for (size_t i = 0; !status && i < c->model->parameter_count; i++) {
        if (!c->model->parameters[i].trained) continue;  // below adapters
        trained++;
        status = check_gradient(c, &c->model->parameters[i]);
    }
    if (!status && c->gradients != trained) {
        status = dapt_fail(DAPT_ERROR_INVALID,
                           "golden.safetensors: %zu gradients, but the model has %zu parameters",
                           c->gradients, trained);
    }
    return status;
}

static enum dapt_status check_steps(struct check *c) {
    const struct dapt_file_tensor *tensor;
    enum dapt_status status = find(&c->golden, "losses", 0, &tensor);
    for (uint64_t i = 0; !status && i < tensor->count; i++) {
        struct dapt_engine_result result;
        float golden;
        char name[24];
        snprintf(name, sizeof name, "%" PRIu64, i + 1);
        status = dapt_file_tensor_floats(tensor, i, 1, &golden);
        if (!status) status = one_step(c, i + 1, true, &result);
        if (!status)
            tell(c, "step", name, fabs(result.loss - (double)golden) / fabs((double)golden));
    }
    return status;
}

static enum dapt_status prepare(struct check *c, struct dapt_session *session,
                                const struct dapt_verify_options *options) {
    session->folder = dapt_arena_copy(&session->arena, options->folder, strlen(options->folder));
    if (!session->folder) return DAPT_ERROR_MEMORY;
    enum dapt_status status = DAPT_OK;
    if (!dapt_is_dir(session->folder)) {
        status = dapt_fail(DAPT_ERROR_INVALID,
                           "%s: no such folder; expected a model with golden.safetensors",
                           session->folder);
    }
    if (!status) status = open_golden(&c->golden, &session->arena, session->folder);
    session->base = options->base;
    struct dapt_model_options model = {.model = options->folder,
                                       .backend = options->backend,
                                       .device = options->device,
                                       .threads = options->threads};
    struct dapt_engine_options engine = {.train = true,
                                         .sequences = c->golden.sequences,
                                         .length = c->golden.length,
                                         .beta1 = (float)c->golden.beta1,
                                         .beta2 = (float)c->golden.beta2,
                                         .eps = (float)c->golden.eps,
                                         .decay_all = true};
    if (!status) status = dapt_engine_precision(options->precision, &engine.precision);
    if (!status) status = dapt_session_model(session);
    if (!status && session->model->max_positions &&
        c->golden.length > session->model->max_positions) {
        status = dapt_fail(DAPT_ERROR_INVALID,
                           "golden.safetensors: longer than the model's %" PRIu32 " positions",
                           session->model->max_positions);
    }
    if (!status) status = dapt_batch_create(c->golden.sequences, c->golden.length, &c->batch);
    if (!status) status = fill_batch(&c->golden, session->model->vocab, c->batch);
    if (!status) status = dapt_session_engine(session, &model, &engine);
    c->model = session->model;
    c->engine = session->engine;
    return status;
}

enum dapt_status dapt_verify_folder(const struct dapt_modules *modules,
                                    const struct dapt_verify_options *options,
                                    dapt_verify_callback callback, void *user) {
    struct dapt_session session = {.modules = modules};
    struct check c = {.tolerance = options->tolerance > 0 ? options->tolerance : 1e-4,
                      .callback = callback,
                      .user = user};
    enum dapt_status status = prepare(&c, &session, options);
    if (!status) status = check_logits(&c);
    if (!status) status = check_loss(&c);
    if (!status) status = check_gradients(&c);
    if (!status) status = check_steps(&c);
    if (!status && c.failed > 0) {
        status = dapt_fail(DAPT_ERROR_INVALID, "%s: %zu of %zu comparisons are off by more than %g",
                           options->folder, c.failed, c.rows, c.tolerance);
    }
    dapt_batch_destroy(&c.batch);
    dapt_safetensors_close(&c.golden.file);
    dapt_json_free(&c.golden.settings);
    dapt_session_close(&session);
    return status;
}
