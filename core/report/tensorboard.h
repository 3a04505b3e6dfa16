// The scalars of a run as an event file that TensorBoard reads.
#ifndef DAPT_REPORT_TENSORBOARD_H
#define DAPT_REPORT_TENSORBOARD_H
#include "report/run.h"

// Writes `folder`/NAME/events.out.tfevents.TIME.dapt, NAME being the run's and TIME when it began:
// a run that is written again replaces its own file. Values that are not finite are left out.
enum dapt_status dapt_tensorboard_write(const struct dapt_run *run, const char *folder);
#endif
