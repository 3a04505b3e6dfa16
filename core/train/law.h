// How a loss depends on tokens and on the share of a kind of text: the D-CPT law (Que et al. 2024, "D-CPT
// Law: Domain-specific Continual Pre-Training Scaling Law for Large Language Models", arXiv 2406.01375)
// at one size of model, fitted to losses that were measured.
#ifndef DAPT_TRAIN_LAW_H
#define DAPT_TRAIN_LAW_H
#include "base/error.h"

#include <stddef.h>

// loss = e + (a + b (share + epsilon)^eta) / tokens^beta + c / (share + epsilon)^gamma
//
// share: of the text that the loss is of, among all text. The law has a = 0 and b > 0. Here b may be negative,
// since the loss of what a run forgets rises with its tokens, and a is there for sets whose loss rises with
// tokens where their share is small and falls where it is large: dapt_law_choose() asks for it only where
// it predicts better.
struct dapt_law {
    double e, a, b, c, beta, eta, gamma, epsilon;
};
enum dapt_law_form { DAPT_LAW_PLAIN, DAPT_LAW_TURNING, DAPT_LAW_FORMS };  // a = 0; a fitted
#define DAPT_LAW_PARAMETERS 8                                             // of the latter

struct dapt_law_point {
    double tokens, share,
        loss;  // tokens in any unit, the same for all; above 0; loss in nats/token
};
double dapt_law_at(const struct dapt_law *law, double tokens, double share);

// Least squares of log loss, from several starts, always the same ones (`start` NULL), or from the
// exponents of one law, which is quicker. Exponents that the points do not decide are held near common values. `error`: root
// of the mean square of what is left, in log loss. DAPT_ERROR_INVALID: a point is none (not finite, not above
// 0), or there are fewer than four.
enum dapt_status dapt_law_fit(const struct dapt_law_point *points, size_t count,
                              enum dapt_law_form form, const struct dapt_law *start,
                              struct dapt_law *law, double *error);
// What the law is worth: each point is predicted by a fit to all the others. misses [count]: predicted
// minus measured, in nats/token.
enum dapt_status dapt_law_leave_out(const struct dapt_law_point *points, size_t count,
                                    enum dapt_law_form form, double *misses);
// Fits the plain law, and the turning one where what it leaves out is predicted better by a fifth.
// left_out: root of the mean square of the misses.
enum dapt_status dapt_law_choose(const struct dapt_law_point *points, size_t count,
                                 enum dapt_law_form *form, struct dapt_law *law, double *error,
                                 double *left_out);
#endif
