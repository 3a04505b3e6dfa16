// Drivers that compute on the processor take seconds to make one kernel, and a table of cases asks for hundreds. DAPT_TEST_PART="K/N"
// makes a test take about one in N of its numbered cases, another choice for each K: runs that differ in driver or limits share a table
// out among themselves. Not set: all cases.
#ifndef DAPT_TESTS_PART_H
#define DAPT_TESTS_PART_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

// Whether the case `number` of `count` is taken; at least one is. By a hash: tables have a rhythm (dtypes, transposes), which
// every N-th case could follow.
static inline bool is_in_part(size_t number, size_t count) {
    const char *part = getenv("DAPT_TEST_PART");
    unsigned k, n;
    if (!part) return true;
    if (sscanf(part, "%u/%u", &k, &n) != 2 || k >= n) {
        fprintf(stderr, "DAPT_TEST_PART=%s: expected K/N, K from 0 to N - 1\n", part);
        exit(1);
    }
    uint32_t hash = (uint32_t)(number + 1) * UINT32_C(2654435761);
    return (hash >> 16) % n == k || number == k * count / n;
}
#endif
