// What must hold of ranks whatever carries their bytes: run by threads and by processes.
#ifndef TESTS_COMM_CHECKS_H
#define TESTS_COMM_CHECKS_H
#include "comm/ranks.h"

struct comm_check {
    const char *name;
    void (*run)(struct dapt_ranks *ranks);  // ends the program where something does not hold
};
// Shares of `count` elements as alike as whole units of `unit` elements allow (the last unit may be
// cut short), the larger ones first.
void comm_shares(uint32_t ranks, uint64_t count, uint64_t unit, uint64_t *bounds);
extern const struct comm_check comm_checks[];
extern const size_t comm_check_count;
#endif
