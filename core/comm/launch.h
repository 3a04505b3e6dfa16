// Whether this process is one of several that a launcher started together (mpirun, srun).
#ifndef DAPT_COMM_LAUNCH_H
#define DAPT_COMM_LAUNCH_H
#include "comm/ranks.h"
#include "host/loader.h"

struct dapt_launch {
    const char *launcher;  // for people: "mpirun of Open MPI"
    uint32_t rank, size;   // as the launcher says; a module may number otherwise
};
// By the environment alone. False, and rank 0 of 1: started by none of those known. `mpirun -n 1` is a
// launch of size 1.
bool dapt_launched(struct dapt_launch *launch);

// Joins the others where several were started: an error where no module can, as runs that do not know of one
// another would write to one folder. Else `ranks` is NULL, which is a run of one process.
enum dapt_status dapt_ranks_join(const struct dapt_modules *modules,
                                 const struct dapt_comm_options *options,
                                 struct dapt_ranks **ranks);
#endif
