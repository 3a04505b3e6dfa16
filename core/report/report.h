// A run, or several side by side, as one page of HTML without scripts or anything from outside.
#ifndef DAPT_REPORT_REPORT_H
#define DAPT_REPORT_REPORT_H
#include "base/memory.h"

// Reads the folders `runs` (NULL-terminated, 1 to 8) and writes the page to the file `output`,
// whole. With `tensorboard` also the folder FOLDER/NAME for each, with an event file of the run's
// scalars; NULL: none. What of a folder cannot be read is said in the page, unreadable lines of
// metrics.jsonl also by a warning; a folder without metrics.jsonl is an error.
enum dapt_status dapt_report_page(const char *const *runs, const char *output,
                                  const char *tensorboard);
#endif
