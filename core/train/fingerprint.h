// The fingerprint of a run: the part of a configuration that decides which numbers come out. A resume
// must keep it; everything else (how often to evaluate, where to run, where to write, how many
// micro-batches) is free: the rows of config_fields.c say which.
#ifndef DAPT_TRAIN_FINGERPRINT_H
#define DAPT_TRAIN_FINGERPRINT_H
#include <cjson/cJSON.h>

#include "host/config.h"

// The whole configuration as an object.
enum dapt_status dapt_fingerprint_config(const struct dapt_config *config, cJSON **object);
// The fingerprint as an object with the configuration's keys. Data is left out (its content is known by
// hash), and so is the length of the run (see dapt_fingerprint_steps).
enum dapt_status dapt_fingerprint_create(const struct dapt_config *config, cJSON **fingerprint);
// The hash of an object's text, as 32 hex digits.
enum dapt_status dapt_fingerprint_hash(const cJSON *fingerprint, char text[33]);
// An error that names the first key that differs, and both values. A key that `then` lacks counts
// as its default, with the options that `modules` (may be NULL) give it.
enum dapt_status dapt_fingerprint_compare(const cJSON *then, const cJSON *now,
                                          const struct dapt_modules *modules);
// The length of a run shapes its schedule. Another length is refused, unless `sets` names it
// outright: then a warning.
enum dapt_status dapt_fingerprint_steps(uint64_t then, uint64_t now, const char *const *sets);
// What the configuration says of the tokenizer, for those who open the checkpoint later; NULL
// inside: nothing.
enum dapt_status dapt_fingerprint_tokenizer(const struct dapt_config *config, cJSON **tokenizer);
#endif
