// What the commands that take a model share: finding its folder, its tokenizer, a device, and the
// engine over them.
#ifndef DAPT_INFER_SESSION_H
#define DAPT_INFER_SESSION_H
#include <cjson/cJSON.h>

#include "corpus/objective.h"
#include "dapt/dapt.h"
#include "engine/engine.h"

struct dapt_session {
    const struct dapt_modules *modules;
    struct dapt_arena arena;
    char *folder;  // with config.json and weights: the one given, or the checkpoint it stands for
    const char *base;  // of adapters, as it was asked for; NULL: as they name it
    // The checkpoint's run.json, which its files are checked against before they are used; NULL:
    // not one of ours.
    cJSON *record;
    struct dapt_json *tokenizer_options;  // from the record; NULL: none
    struct dapt_tokenizer *tokenizer;
    struct dapt_model *model;
    struct dapt_device_handle *device;
    struct dapt_engine *engine;
};
// Finds the folder that `path` stands for and its record, and checks all files but the weights against
// that.
enum dapt_status dapt_session_find(struct dapt_session *session, const char *path);
// The same, and opens the tokenizer. Half-open sessions are closed by dapt_session_close too.
enum dapt_status dapt_session_open(const struct dapt_modules *modules,
                                   const struct dapt_model_options *options,
                                   struct dapt_session *session);
void dapt_session_close(struct dapt_session *session);  // a zeroed struct is fine
// Opens the model (unless that was done) ...
enum dapt_status dapt_session_model(struct dapt_session *session);
// ... and the device, and loads the weights.
enum dapt_status dapt_session_engine(struct dapt_session *session,
                                     const struct dapt_model_options *options,
                                     const struct dapt_engine_options *engine_options);

// What the model is to be scored by: as the checkpoint was trained, else as it was made for.
enum dapt_status dapt_session_objective(const struct dapt_session *session,
                                        struct dapt_objective **objective);
// DAPT_ERROR_UNSUPPORTED for a model that cannot tell what comes next in a text, as it was made to
// predict hidden tokens.
enum dapt_status dapt_session_causal(const struct dapt_session *session);
// The ids of a text that something follows, in place of those in `ids`: with what the tokenizer's
// template puts before a text, without what it puts behind.
enum dapt_status dapt_session_encode_open(struct dapt_session *session, const char *text,
                                          size_t length, struct dapt_ids *ids);
// The id that stands before a text of which nothing is given: the tokenizer's BOS, else its EOS;
// -1: it has neither.
int64_t dapt_session_first(const struct dapt_session *session);

// The folder that `path` stands for: itself, the latest checkpoint of a run's folder, or the
// checkpoint that RUN/latest or RUN/best names.
enum dapt_status dapt_session_folder(struct dapt_arena *arena, const char *path, char **folder);
// The tokens a sequence may have: the model's positions, at most `most`.
uint32_t dapt_session_length(const struct dapt_model *model, uint32_t most);
#endif
