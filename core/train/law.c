#include "train/law.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

enum { E, A, B, C, BETA, ETA, GAMMA, FITTED };

#define ROUNDS 200
// A row for each exponent that draws it to a common value: as strong as one point that is off by so much,
// in log loss, for each unit that the exponent is away.
#define DRAW 3e-4
static const double common[FITTED] = {[BETA] = 0.5, [ETA] = 0, [GAMMA] = 0.5};
static const double least[FITTED] = {0, -INFINITY, -INFINITY, 0, 0.02, -3, 0.02};
static const double most[FITTED] = {INFINITY, INFINITY, INFINITY, INFINITY, 3, 3, 3};

// ---------------------------------------------------------------------------------------- the law

double dapt_law_at(const struct dapt_law *law, double tokens, double share) {
    double r = share + law->epsilon;
    return law->e + (law->a + law->b * pow(r, law->eta)) / pow(tokens, law->beta) +
           law->c / pow(r, law->gamma);
}

static struct dapt_law law_of(const double *p, double epsilon) {
    return (struct dapt_law){p[E], p[A], p[B], p[C], p[BETA], p[ETA], p[GAMMA], epsilon};
}

// The loss, and what it changes by with each parameter.
static double slopes(const double *p, double epsilon, const struct dapt_law_point *point,
                     double slope[FITTED]) {
    double r = log(point->share + epsilon), d = log(point->tokens);
    double far = exp(-p[BETA] * d), learnt = far * exp(p[ETA] * r), mixed = exp(-p[GAMMA] * r);
    slope[E] = 1;
    slope[A] = far;
    slope[B] = learnt;
    slope[C] = mixed;
    slope[BETA] = -(p[A] * far + p[B] * learnt) * d;
    slope[ETA] = p[B] * learnt * r;
    slope[GAMMA] = -p[C] * mixed * r;
    return p[E] + p[A] * far + p[B] * learnt + p[C] * mixed;
}

// ---------------------------------------------------------------------------------- least squares

// Solves A x = y for a symmetric positive A [n][n], by Cholesky; false: it is none.
static bool solve(double a[FITTED][FITTED], const double *y, size_t n, double *x) {
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k <= i; k++) {
            double sum = a[i][k];
            for (size_t j = 0; j < k; j++) sum -= a[i][j] * a[k][j];
            if (i == k && !(sum > 0)) return false;
            a[i][k] = i == k ? sqrt(sum) : sum / a[k][k];
        }
    }
    for (size_t i = 0; i < n; i++) {
        x[i] = y[i];
        for (size_t j = 0; j < i; j++) x[i] -= a[i][j] * x[j];
        x[i] /= a[i][i];
    }
    for (size_t i = n; i-- > 0;) {
        for (size_t j = i + 1; j < n; j++) x[i] -= a[j][i] * x[j];
        x[i] /= a[i][i];
    }
    return true;
}

// Squares of what is left, in log loss; infinite where the law gives no loss.
static double squares(const double *p, double epsilon, const struct dapt_law_point *points,
                      size_t count) {
    struct dapt_law law = law_of(p, epsilon);
    double sum = 0;
    for (size_t i = 0; i < count; i++) {
        double loss = dapt_law_at(&law, points[i].tokens, points[i].share);
        if (!(loss > 0) || !isfinite(loss)) return INFINITY;
        double left = log(loss / points[i].loss);
        sum += left * left;
    }
    for (size_t k = BETA; k < FITTED; k++)
        sum += DRAW * DRAW * (p[k] - common[k]) * (p[k] - common[k]);
    return sum;
}

// Takes a parameter out of the normal equations: it stays what it is.
static void hold(double a[FITTED][FITTED], double y[FITTED], size_t k) {
    for (size_t i = 0; i < FITTED; i++) a[i][k] = a[k][i] = 0;
    a[k][k] = 1;
    y[k] = 0;
}

// The normal equations of a step at p.
static void normal(const double *p, double epsilon, const struct dapt_law_point *points,
                   size_t count, double a[FITTED][FITTED], double y[FITTED]) {
    memset(a, 0, sizeof(double[FITTED][FITTED]));
    memset(y, 0, sizeof(double[FITTED]));
    for (size_t i = 0; i < count; i++) {
        double slope[FITTED], loss = slopes(p, epsilon, &points[i], slope),
                              left = log(points[i].loss / loss);
        for (size_t k = 0; k < FITTED; k++) {
            y[k] += slope[k] / loss * left;
            for (size_t j = 0; j <= k; j++) a[k][j] += slope[k] / loss * slope[j] / loss;
        }
    }
    for (size_t k = BETA; k < FITTED; k++) {
        a[k][k] += DRAW * DRAW;
        y[k] += DRAW * DRAW * (common[k] - p[k]);
    }
}

// Levenberg and Marquardt; steps end at the bounds. p is improved in place; returns its squares.
static double improve(double *p, double epsilon, const struct dapt_law_point *points, size_t count,
                      enum dapt_law_form form) {
    double now = squares(p, epsilon, points, count), damping = 1e-3;
    for (int round = 0; round < ROUNDS && isfinite(now) && damping < 1e10; round++) {
        double a[FITTED][FITTED], y[FITTED], step[FITTED], next[FITTED];
        normal(p, epsilon, points, count, a, y);
        if (form == DAPT_LAW_PLAIN) hold(a, y, A);
        for (size_t k = 0; k < FITTED; k++) a[k][k] += damping * a[k][k] + 1e-300;
        if (!solve(a, y, FITTED, step)) {
            damping *= 10;
            continue;
        }
        for (size_t k = 0; k < FITTED; k++) next[k] = fmin(fmax(p[k] + step[k], least[k]), most[k]);
        double then = squares(next, epsilon, points, count);
        bool better = then < now, done = better && now - then < 1e-9 * now;
        damping = better ? fmax(damping / 5, 1e-12) : damping * 5;
        if (better) memcpy(p, next, sizeof next);
        if (better) now = then;
        if (done) break;
    }
    return now;
}

// ---------------------------------------------------------------------------------------- starting

// With its exponents given the law is linear in e, a, b and c: relative least squares of these.
static bool begin(double *p, double epsilon, const struct dapt_law_point *points, size_t count,
                  enum dapt_law_form form) {
    double a[FITTED][FITTED] = {{0}}, y[FITTED] = {0};
    for (size_t i = 0; i < count; i++) {
        double slope[FITTED];
        slopes(p, epsilon, &points[i], slope);
        for (size_t k = E; k <= C; k++) {
            y[k] += slope[k] / points[i].loss;
            for (size_t j = E; j <= k; j++)
                a[k][j] += slope[k] * slope[j] / (points[i].loss * points[i].loss);
        }
    }
    if (form == DAPT_LAW_PLAIN) hold(a, y, A);
    for (size_t k = E; k <= C; k++) a[k][k] *= 1 + 1e-9;
    if (!solve(a, y, C + 1, p)) return false;
    for (size_t k = E; k <= C; k++) p[k] = fmin(fmax(p[k], least[k]), most[k]);
    return true;
}

static void fit_from(double beta, double eta, double gamma, double epsilon,
                     const struct dapt_law_point *points, size_t count, enum dapt_law_form form,
                     struct dapt_law *law, double *best) {
    double p[FITTED] = {[BETA] = beta, [ETA] = eta, [GAMMA] = gamma};
    if (!begin(p, epsilon, points, count, form)) return;
    double left = improve(p, epsilon, points, count, form);
    if (!(left < *best)) return;
    *best = left;
    *law = law_of(p, epsilon);
}

static const double epsilons[] = {0.003, 0.01, 0.03, 0.1, 0.3};
#define EPSILONS (sizeof epsilons / sizeof *epsilons)

static void fit_all(const struct dapt_law_point *points, size_t count, enum dapt_law_form form,
                    struct dapt_law *law, double *best) {
    static const double betas[] = {0.2, 0.6, 1.2}, etas[] = {-1, 0, 1}, gammas[] = {0.2, 0.8};
    for (size_t n = 0; n < EPSILONS; n++)
        for (size_t i = 0; i < sizeof betas / sizeof *betas; i++)
            for (size_t k = 0; k < sizeof etas / sizeof *etas; k++)
                for (size_t j = 0; j < sizeof gammas / sizeof *gammas; j++)
                    fit_from(betas[i], etas[k], gammas[j], epsilons[n], points, count, form, law,
                             best);
}

enum dapt_status dapt_law_fit(const struct dapt_law_point *points, size_t count,
                              enum dapt_law_form form, const struct dapt_law *start,
                              struct dapt_law *law, double *error) {
    double best = INFINITY;
    *law = (struct dapt_law){NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN};
    *error = NAN;
    if (count < 4)
        return dapt_fail(DAPT_ERROR_INVALID, "a law of %zu points: expected at least four", count);
    for (size_t i = 0; i < count; i++)
        if (!(points[i].tokens > 0 && points[i].share >= 0 && points[i].loss > 0) ||
            !isfinite(points[i].tokens + points[i].share + points[i].loss))
            return dapt_fail(DAPT_ERROR_INVALID,
                             "a law of a loss of %g at %g tokens and a share of %g", points[i].loss,
                             points[i].tokens, points[i].share);
    if (start)
        for (size_t n = 0; n < EPSILONS; n++)
            fit_from(start->beta, start->eta, start->gamma, epsilons[n], points, count, form, law,
                     &best);
    else
        fit_all(points, count, form, law, &best);
    if (!isfinite(best))
        return dapt_fail(DAPT_ERROR_INVALID, "no law was found that gives these losses");
    double sum = 0;
    for (size_t i = 0; i < count; i++) {
        double left = log(dapt_law_at(law, points[i].tokens, points[i].share) / points[i].loss);
        sum += left * left;
    }
    *error = sqrt(sum / (double)count);
    return DAPT_OK;
}

enum dapt_status dapt_law_leave_out(const struct dapt_law_point *points, size_t count,
                                    enum dapt_law_form form, double *misses) {
    struct dapt_law_point *others = dapt_alloc(count, sizeof *others);
    struct dapt_law whole, law;
    double error;
    enum dapt_status status = others ? dapt_law_fit(points, count, form, NULL, &whole, &error)
                                     : DAPT_ERROR_MEMORY;
    for (size_t i = 0; !status && i < count; i++) {
        size_t n = 0;
        for (size_t k = 0; k < count; k++)
            if (k != i) others[n++] = points[k];
        status = dapt_law_fit(others, n, form, &whole, &law, &error);
        misses[i] = dapt_law_at(&law, points[i].tokens, points[i].share) - points[i].loss;
    }
    free(others);
    return status;
}

static double root_mean_square(const double *values, size_t count) {
    double sum = 0;
    for (size_t i = 0; i < count; i++) sum += values[i] * values[i];
    return sqrt(sum / (double)count);
}

enum dapt_status dapt_law_choose(const struct dapt_law_point *points, size_t count,
                                 enum dapt_law_form *form, struct dapt_law *law, double *error,
                                 double *left_out) {
    double *misses = dapt_alloc(count, sizeof *misses), miss[DAPT_LAW_FORMS];
    enum dapt_status status = misses ? DAPT_OK : DAPT_ERROR_MEMORY;
    for (size_t f = 0; !status && f < DAPT_LAW_FORMS; f++) {
        status = dapt_law_leave_out(points, count, (enum dapt_law_form)f, misses);
        if (!status) miss[f] = root_mean_square(misses, count);
    }
    free(misses);
    if (status) return status;
    bool turning = miss[DAPT_LAW_TURNING] < 0.8 * miss[DAPT_LAW_PLAIN];
    *form = turning ? DAPT_LAW_TURNING : DAPT_LAW_PLAIN;
    *left_out = miss[*form];
    return dapt_law_fit(points, count, *form, NULL, law, error);
}
