// How a model does on tasks: behind dapt_score().
#ifndef DAPT_INFER_SCORE_H
#define DAPT_INFER_SCORE_H
#include "dapt/dapt.h"
#include "infer/task.h"

enum dapt_status dapt_score_tasks(const struct dapt_modules *modules,
                                  const struct dapt_score_options *options,
                                  struct dapt_score *results);

// What the model says to one request.
struct dapt_likelihood {
    double sum;   // of log p over the ids that are asked for
    bool greedy;  // each of them is the likeliest; of a cloze task only
};
// likelihoods [request_count].
enum dapt_status dapt_score_requests(struct dapt_session *session, const struct dapt_task *task,
                                     struct dapt_likelihood *likelihoods);
#endif
