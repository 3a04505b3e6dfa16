#include "base/nearest.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define LONGEST 64  // of the names that are compared

static size_t least(size_t a, size_t b) {
    return a < b ? a : b;
}

static bool same(char a, char b) {
    return tolower((unsigned char)a) == tolower((unsigned char)b);
}

// How many letters one must add, leave out, change or swap with the next one.
static size_t distance(const char *a, const char *b) {
    size_t rows[3][LONGEST + 1] = {0}, m = strlen(a), n = strlen(b);
    if (m > LONGEST || n > LONGEST) return SIZE_MAX;
    for (size_t j = 0; j <= n; j++) rows[0][j] = j;
    for (size_t i = 1; i <= m; i++) {
        size_t *row = rows[i % 3];
        const size_t *above = rows[(i + 2) % 3], *two_above = rows[(i + 1) % 3];
        row[0] = i;
        for (size_t j = 1; j <= n; j++) {
            row[j] = least(above[j - 1] + !same(a[i - 1], b[j - 1]),
                           least(row[j - 1], above[j]) + 1);
            if (i > 1 && j > 1 && same(a[i - 1], b[j - 2]) && same(a[i - 2], b[j - 1]))
                row[j] = least(row[j], two_above[j - 2] + 1);
        }
    }
    return rows[m % 3][n];
}

const char *dapt_nearest(const char *name, const char *const *names) {
    const char *nearest = NULL;
    size_t best = strlen(name) / 3 + 2;  // further away is no likely slip
    for (; *names; names++) {
        size_t d = distance(name, *names);
        if (d < best && d < strlen(*names)) {
            best = d;
            nearest = *names;
        }
    }
    return nearest;
}
