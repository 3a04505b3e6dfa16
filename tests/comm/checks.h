// What must hold of ranks whatever carries their bytes: run by threads and by processes.
#ifndef TESTS_COMM_CHECKS_H
#define TESTS_COMM_CHECKS_H
#include "comm/ranks.h"

struct comm_check {
    const char *name;
    void (*run)(struct dapt_ranks *ranks);  // ends the program where something does not hold
};
extern const struct comm_check comm_checks[];
extern const size_t comm_check_count;
#endif
