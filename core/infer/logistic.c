#include "infer/logistic.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/threads.h"

#define STEPS 500
#define TOLERANCE 1e-5
#define MEMORY 10  // steps that L-BFGS remembers
#define SLICES 16  // of the rows, each summed alone: so the sums don't depend on the threads

struct fit {
    const struct dapt_logistic *problem;
    const uint32_t *rows;
    size_t count, size;     // size: of the weights
    double penalty;         // 1 / (strength * count)
    const double *weights;  // at which the slices are evaluated
    double losses[SLICES];
    double *gradients;  // [SLICES, size]
    double *scratch;    // [SLICES, classes]
    // L-BFGS: the last steps and the changes of the gradient, number k at k % MEMORY; what they
    // were
    double *steps, *changes;  // [MEMORY, size]
    double scales[MEMORY];    // 1 / (step . change)
    size_t remembered;
};

static double dot(const double *a, const double *b, size_t count) {
    double sum = 0;
    for (size_t i = 0; i < count; i++) sum += a[i] * b[i];
    return sum;
}

// ------------------------------------------------------------------------------- loss and gradient

// z [classes] = W^T [x, 1]
static void logits(const struct dapt_logistic *p, const double *weights, const double *x,
                   double *z) {
    memcpy(z, weights + p->width * p->classes, p->classes * sizeof *z);
    for (size_t j = 0; j < p->width; j++) {
        const double *w = weights + j * p->classes;
        for (size_t k = 0; k < p->classes; k++) z[k] += x[j] * w[k];
    }
}

// Turns z into softmax(z) and gives -log of its element `label`.
static double softmax(double *z, size_t classes, uint32_t label) {
    double most = z[0], sum = 0, mine = z[label];
    for (size_t k = 1; k < classes; k++) most = z[k] > most ? z[k] : most;
    for (size_t k = 0; k < classes; k++) sum += z[k] = exp(z[k] - most);
    for (size_t k = 0; k < classes; k++) z[k] /= sum;
    return log(sum) + most - mine;
}

static enum dapt_status slice(void *context, size_t item, unsigned worker) {
    struct fit *f = context;
    const struct dapt_logistic *p = f->problem;
    double *gradient = f->gradients + item * f->size, *z = f->scratch + item * p->classes;
    size_t end = f->count * (item + 1) / SLICES;
    (void)worker;
    f->losses[item] = 0;
    memset(gradient, 0, f->size * sizeof *gradient);
    for (size_t i = f->count * item / SLICES; i < end; i++) {
        const double *x = p->features + f->rows[i] * p->width;
        uint32_t label = p->labels[f->rows[i]];
        logits(p, f->weights, x, z);
        f->losses[item] += softmax(z, p->classes, label);
        z[label] -= 1;
        for (size_t j = 0; j < p->width; j++)
            for (size_t k = 0; k < p->classes; k++) gradient[j * p->classes + k] += x[j] * z[k];
        for (size_t k = 0; k < p->classes; k++) gradient[p->width * p->classes + k] += z[k];
    }
    return DAPT_OK;
}

// The value at `weights` and its gradient [size].
static enum dapt_status evaluate(struct fit *f, const double *weights, double *value,
                                 double *gradient) {
    size_t penalised = f->problem->width * f->problem->classes;
    f->weights = weights;
    enum dapt_status status = dapt_parallel(f->problem->threads, SLICES, slice, f);
    *value = 0.5 * f->penalty * dot(weights, weights, penalised);
    for (size_t i = 0; i < f->size; i++) gradient[i] = 0;
    for (size_t s = 0; s < SLICES; s++) {
        *value += f->losses[s] / (double)f->count;
        for (size_t i = 0; i < f->size; i++) gradient[i] += f->gradients[s * f->size + i];
    }
    for (size_t i = 0; i < f->size; i++)
        gradient[i] = gradient[i] / (double)f->count +
                      (i < penalised ? f->penalty * weights[i] : 0);
    return status;
}

// ------------------------------------------------------------------------------------------ L-BFGS

// direction = -H gradient, H being what the remembered steps say of the inverse Hessian.
static void descend(const struct fit *f, const double *gradient, double *direction) {
    double factors[MEMORY], scale = 1;
    size_t first = f->remembered > MEMORY ? f->remembered - MEMORY : 0;
    for (size_t i = 0; i < f->size; i++) direction[i] = -gradient[i];
    for (size_t k = f->remembered; k-- > first;) {
        size_t m = k % MEMORY;
        const double *step = f->steps + m * f->size, *change = f->changes + m * f->size;
        factors[m] = f->scales[m] * dot(step, direction, f->size);
        for (size_t i = 0; i < f->size; i++) direction[i] -= factors[m] * change[i];
        if (k + 1 == f->remembered) scale = 1 / (f->scales[m] * dot(change, change, f->size));
    }
    for (size_t i = 0; i < f->size; i++) direction[i] *= scale;
    for (size_t k = first; k < f->remembered; k++) {
        size_t m = k % MEMORY;
        const double *step = f->steps + m * f->size, *change = f->changes + m * f->size;
        double factor = factors[m] - f->scales[m] * dot(change, direction, f->size);
        for (size_t i = 0; i < f->size; i++) direction[i] += factor * step[i];
    }
}

// A step that does not bend upwards says nothing of the Hessian and is forgotten.
static void remember(struct fit *f, const double *from, const double *to, const double *before,
                     const double *after) {
    size_t m = f->remembered % MEMORY;
    double *step = f->steps + m * f->size, *change = f->changes + m * f->size;
    for (size_t i = 0; i < f->size; i++) step[i] = to[i] - from[i];
    for (size_t i = 0; i < f->size; i++) change[i] = after[i] - before[i];
    double bend = dot(step, change, f->size);
    f->scales[m] = 1 / bend;
    f->remembered += bend > 1e-12 * dot(change, change, f->size);
}

struct point {
    double value, *weights, *gradient;
};

// From `at` along `direction`, half as far each time until the value sinks enough. DAPT_END: it
// does not.
static enum dapt_status search(struct fit *f, const struct point *at, const double *direction,
                               struct point *next) {
    double slope = dot(direction, at->gradient, f->size), length = 1;
    if (f->remembered == 0) length = 1 / sqrt(dot(direction, direction, f->size));
    for (int tries = 0; tries < 30; tries++, length /= 2) {
        for (size_t i = 0; i < f->size; i++)
            next->weights[i] = at->weights[i] + length * direction[i];
        enum dapt_status status = evaluate(f, next->weights, &next->value, next->gradient);
        if (status) return status;
        if (next->value <= at->value + 1e-4 * length * slope) return DAPT_OK;
        if (dapt_cancelled()) return dapt_fail(DAPT_ERROR_CANCELLED, "fitting was stopped");
    }
    return DAPT_END;
}

static double largest(const double *values, size_t count) {
    double most = 0;
    for (size_t i = 0; i < count; i++) most = fabs(values[i]) > most ? fabs(values[i]) : most;
    return most;
}

enum dapt_status dapt_logistic_fit(const struct dapt_logistic *problem, const uint32_t *rows,
                                   size_t count, double strength, double *weights) {
    size_t size = (problem->width + 1) * problem->classes;
    struct fit f = {.problem = problem,
                    .rows = rows,
                    .count = count,
                    .size = size,
                    .penalty = 1 / (strength * (double)count),
                    .gradients = dapt_alloc(SLICES, size * sizeof(double)),
                    .scratch = dapt_alloc(SLICES, problem->classes * sizeof(double)),
                    .steps = dapt_alloc(MEMORY, size * sizeof(double)),
                    .changes = dapt_alloc(MEMORY, size * sizeof(double))};
    double *room = dapt_alloc(4, size * sizeof *room);
    bool all = f.gradients && f.scratch && f.steps && f.changes && room;
    enum dapt_status status = all ? DAPT_OK : DAPT_ERROR_MEMORY;
    struct point at = {.weights = weights, .gradient = room},
                 next = {.weights = room + size, .gradient = room + 2 * size};
    if (!status) status = evaluate(&f, at.weights, &at.value, at.gradient);
    for (int step = 0; !status && step < STEPS && largest(at.gradient, size) > TOLERANCE; step++) {
        descend(&f, at.gradient, room + 3 * size);
        status = search(&f, &at, room + 3 * size, &next);
        if (status) break;
        remember(&f, at.weights, next.weights, at.gradient, next.gradient);
        memcpy(at.weights, next.weights, size * sizeof *weights);
        memcpy(at.gradient, next.gradient, size * sizeof *weights);
        at.value = next.value;
    }
    free(f.gradients);
    free(f.scratch);
    free(f.steps);
    free(f.changes);
    free(room);
    return status == DAPT_END ? DAPT_OK : status;
}

uint32_t dapt_logistic_predict(const struct dapt_logistic *problem, const double *weights,
                               const double *features) {
    uint32_t best = 0;
    double most = -INFINITY;
    for (uint32_t k = 0; k < problem->classes; k++) {
        double z = weights[problem->width * problem->classes + k];
        for (size_t j = 0; j < problem->width; j++)
            z += features[j] * weights[j * problem->classes + k];
        if (z > most) most = z, best = k;
    }
    return best;
}
