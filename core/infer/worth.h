// What a blend, or a run, is chosen by among others.
#ifndef DAPT_INFER_WORTH_H
#define DAPT_INFER_WORTH_H
#include <stdbool.h>
#include <stddef.h>

// A set: its change, and what it may lose (infinite: as much as it likes), in bits/byte.
struct dapt_worth_set {
    double change, budget;
    bool general;
};
// Whether no set has lost more than it may.
bool dapt_worth_inside(const struct dapt_worth_set *sets, size_t count);
// The less the better: the change of sets[deciding], where a budget says what that may cost; without one that
// and the mean of the general sets' together.
double dapt_worth(const struct dapt_worth_set *sets, size_t count, size_t deciding);
#endif
