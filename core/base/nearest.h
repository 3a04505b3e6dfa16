// What somebody may have meant who misspelt a name.
#ifndef DAPT_BASE_NEAREST_H
#define DAPT_BASE_NEAREST_H
#include <stddef.h>

// The nearest of `names` (NULL-terminated) that `name` is likely a slip for, letters' case being
// the same; NULL: none is.
const char *dapt_nearest(const char *name, const char *const *names);
#endif
