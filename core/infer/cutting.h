// How texts are cut into sequences for an evaluation that is no part of a run.
#ifndef DAPT_INFER_CUTTING_H
#define DAPT_INFER_CUTTING_H
#include "infer/session.h"

struct dapt_cutting {
    uint32_t sequence, batch;
    enum dapt_packing packing;
    bool special;
};
// As asked; else as the session's checkpoint was trained; else as a configuration would by default. The
// session's model is open.
enum dapt_status dapt_cutting_choose(const struct dapt_evaluate_options *options,
                                     const struct dapt_session *session,
                                     struct dapt_cutting *cutting);
enum dapt_status dapt_cutting_check(const struct dapt_cutting *cutting,
                                    const struct dapt_model *model);
// One set of documents, cut so: `list`, or with NULL the file, folder or glob that `data` names.
enum dapt_status dapt_cutting_open(const struct dapt_cutting *cutting,
                                   const struct dapt_session *session,
                                   const struct dapt_evaluate_options *options,
                                   const struct dapt_objective *objective,
                                   const struct dapt_named_data *data,
                                   const struct dapt_data_list *list, struct dapt_corpus **corpus);
#endif
