// The folder of a run, as it stands on the disk:
//
//   RUN/config.json                    the resolved configuration
//   RUN/metrics.jsonl                  what happened (see metrics.h)
//   RUN/ledger.json                    what each set gained or lost (see ledger.h)
//   RUN/latest, RUN/best               one line each: the name of a checkpoint
//   RUN/checkpoints/step-000500/       a whole checkpoint (see checkpoint.h)
//   RUN/checkpoints/.part-*, .gone-*   being written or removed; left by a killed run, cleared by
//                                      the next one
//   RUN/checkpoints/damaged-step-*     what a resume found damaged and put aside
//   RUN/.lock                          held while a process trains into the folder
#ifndef DAPT_CHECKPOINT_RUNFOLDER_H
#define DAPT_CHECKPOINT_RUNFOLDER_H
#include "base/files.h"

struct dapt_run_folder {
    struct dapt_arena arena;
    char *path, *checkpoints;
    char *lock_path;
    int lock;
    bool made;  // the folder was not there before
};
// Makes the folders, locks the run against other processes, and clears what a killed run left.
enum dapt_status dapt_run_folder_open(const char *path, struct dapt_run_folder *run);
// Of a run that did not begin: removes the folder if dapt_run_folder_open made it.
void dapt_run_folder_discard(struct dapt_run_folder *run);
void dapt_run_folder_close(struct dapt_run_folder *run);  // a zeroed struct is fine

// Whether the folder is still the one that was opened and locked: where it was removed, or replaced by
// another run's, nothing may be written into it any more.
enum dapt_status dapt_run_folder_check(const struct dapt_run_folder *run);

// The steps that have a checkpoint, ascending. `*steps` is freed by the caller.
enum dapt_status dapt_run_folder_steps(const struct dapt_run_folder *run, uint64_t **steps,
                                       size_t *count);
char *dapt_run_folder_checkpoint(struct dapt_arena *arena, const struct dapt_run_folder *run,
                                 uint64_t step);
void dapt_run_folder_name(uint64_t step, char name[32]);  // "step-000500"
bool dapt_run_folder_parse(const char *name, uint64_t *step);
// Removes a folder below checkpoints/ so that a kill in between leaves no half of it under its
// name.
enum dapt_status dapt_run_folder_remove(struct dapt_run_folder *run, const char *name);
// Writes, takes away and reads RUN/latest and RUN/best. DAPT_END: not there.
enum dapt_status dapt_run_folder_mark(const struct dapt_run_folder *run, const char *which,
                                      uint64_t step);
enum dapt_status dapt_run_folder_unmark(const struct dapt_run_folder *run, const char *which);
enum dapt_status dapt_run_folder_marked(const char *run, const char *which, uint64_t *step);
#endif
