// Joining the processes that a launcher started together with this one (dapt_launched() in dapt.h).
#ifndef DAPT_COMM_LAUNCH_H
#define DAPT_COMM_LAUNCH_H
#include "comm/ranks.h"
#include "dapt/dapt.h"
#include "host/loader.h"

// Joins the others where several were started: an error where no module can, as runs that do not
// know of one another would write to one folder. Else `ranks` is NULL, which is a run of one
// process.
enum dapt_status dapt_ranks_join(const struct dapt_modules *modules,
                                 const struct dapt_comm_options *options,
                                 struct dapt_ranks **ranks);
#endif
