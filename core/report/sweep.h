// A sweep of blends as one page of HTML: what each point gains and costs, as curves and as a table.
#ifndef DAPT_REPORT_SWEEP_H
#define DAPT_REPORT_SWEEP_H
#include "base/memory.h"
#include "dapt/dapt.h"

// The points of a sweep, copied as they come. A zeroed struct is an empty one.
struct dapt_sweep {
    struct dapt_arena arena;
    const char **names, **roles;  // [sets]
    size_t sets;
    struct dapt_sweep_point *points;
    size_t count, capacity;
    enum dapt_status status;  // of the first failure; nothing is added after it
};
void dapt_sweep_add(struct dapt_sweep *sweep, const struct dapt_blend_point *point);
// Writes the page whole. `base`, `adapted`: what was blended, as it was named.
enum dapt_status dapt_sweep_write(const struct dapt_sweep *sweep, const char *base,
                                  const char *adapted, const struct dapt_blended *result,
                                  const char *path);
void dapt_sweep_free(struct dapt_sweep *sweep);
#endif
