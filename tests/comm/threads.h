// Ranks that are threads of one process: a stand-in for a module of dapt/comm.h, for tests.
#ifndef TESTS_COMM_THREADS_H
#define TESTS_COMM_THREADS_H
#include "dapt/comm.h"

// open() works on threads of threads_run() only.
extern const struct dapt_comm threads_comm;

// Calls body(context) on `size` threads at once, the ranks of one world, and returns when all of
// them have. Every `per_machine` of them count as one machine, "machine-0" and on; 0: all.
void threads_run(uint32_t size, uint32_t per_machine, void (*body)(void *context), void *context);
#endif
