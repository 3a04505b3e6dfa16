#include "infer/cutting.h"

#include "host/config.h"

enum dapt_status dapt_cutting_check(const struct dapt_cutting *cutting,
                                    const struct dapt_model *model) {
    uint32_t most = dapt_session_length(model, INT32_MAX);
    if (cutting->sequence >= 2 && cutting->sequence <= most) return DAPT_OK;
    return dapt_fail(DAPT_ERROR_INVALID,
                     "sequences of %u tokens: expected 2 to %u, the positions of the model",
                     cutting->sequence, most);
}

enum dapt_status dapt_cutting_choose(const struct dapt_evaluate_options *options,
                                     const struct dapt_session *session,
                                     struct dapt_cutting *cutting) {
    const cJSON *course = cJSON_GetObjectItemCaseSensitive(session->record, "course");
    const cJSON *data = cJSON_GetObjectItemCaseSensitive(course, "data");
    const cJSON *sequence = cJSON_GetObjectItemCaseSensitive(data, "sequence");
    const cJSON *packing = cJSON_GetObjectItemCaseSensitive(data, "packing");
    const char *wanted = options->packing ? options->packing : cJSON_GetStringValue(packing);
    unsigned choice = DAPT_PACK_DOCUMENTS;
    enum dapt_status status = wanted ? dapt_config_choose("data.packing", wanted, &choice)
                                     : DAPT_OK;
    if (status) return status;
    *cutting = (struct dapt_cutting){.sequence = options->sequence,
                                     .batch = options->batch ? options->batch : 8,
                                     .packing = (enum dapt_packing)choice};
    bool recorded = cJSON_IsNumber(sequence) && sequence->valuedouble >= 1 &&
                    sequence->valuedouble <= (double)INT32_MAX;
    if (!cutting->sequence && recorded) cutting->sequence = (uint32_t)sequence->valuedouble;
    if (!cutting->sequence) cutting->sequence = dapt_session_length(session->model, 1024);
    cutting->special = !options->no_special &&
                       !cJSON_IsFalse(cJSON_GetObjectItemCaseSensitive(data, "special"));
    return dapt_cutting_check(cutting, session->model);
}

enum dapt_status dapt_cutting_open(const struct dapt_cutting *cutting,
                                   const struct dapt_session *session,
                                   const struct dapt_evaluate_options *options,
                                   const struct dapt_objective *objective,
                                   const struct dapt_named_data *data,
                                   const struct dapt_data_list *list, struct dapt_corpus **corpus) {
    struct dapt_data_entry entry = {.path = data->path, .source = options->source, .weight = 1};
    struct dapt_data_list one = {.entries = &entry, .count = 1};
    struct dapt_corpus_options corpus_options = {.modules = session->modules,
                                                 .tokenizer = session->tokenizer,
                                                 .sequence = cutting->sequence,
                                                 .packing = cutting->packing,
                                                 .special = cutting->special,
                                                 .cache = options->cache,
                                                 .max_tokens = options->max_tokens,
                                                 .vocab = session->model->vocab,
                                                 .threads = options->model.threads,
                                                 .name = data->name,
                                                 .objective = objective};
    return dapt_corpus_open(list ? list : &one, &corpus_options, corpus);
}
