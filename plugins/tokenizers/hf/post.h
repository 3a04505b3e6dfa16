// Post-processors: the special tokens around a text.
#ifndef HF_POST_H
#define HF_POST_H
#include "json.h"

struct hf_post {
    struct hf_ids before, after;
};
// Template pieces name their ids in the file; `limit` is the number of ids.
enum dapt_status hf_post_load(const struct dapt_host *host, const cJSON *object, uint32_t limit,
                              struct hf_post *post);
void hf_post_free(struct hf_post *post);
#endif
