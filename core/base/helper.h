// A thread that does one job at a time beside the one that gives it: waiting for others while that one
// works, say.
#ifndef DAPT_BASE_HELPER_H
#define DAPT_BASE_HELPER_H
#include "base/error.h"

struct dapt_helper;
enum dapt_status dapt_helper_create(struct dapt_helper **helper);
// After the job under way, if any.
void dapt_helper_destroy(struct dapt_helper **helper);
// Starts work(context); the job before must have been waited for.
void dapt_helper_start(struct dapt_helper *helper, enum dapt_status (*work)(void *context),
                       void *context);
// Until the job is done; gives its status, and its reason to this thread. Without a job: DAPT_OK.
enum dapt_status dapt_helper_wait(struct dapt_helper *helper);
#endif
