#include "infer/worth.h"

#include <math.h>

bool dapt_worth_inside(const struct dapt_worth_set *sets, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (isfinite(sets[i].budget) && !(sets[i].change <= sets[i].budget)) return false;
    return true;
}

double dapt_worth(const struct dapt_worth_set *sets, size_t count, size_t deciding) {
    double general = 0;
    size_t used = 0;
    for (size_t i = 0; i < count; i++) {
        if (isfinite(sets[i].budget)) return sets[deciding].change;
        if (i == deciding || !sets[i].general) continue;
        general += sets[i].change;
        used++;
    }
    return sets[deciding].change + (used ? general / (double)used : 0);
}
