#include "infer/merge.h"

#include <stdlib.h>
#include <string.h>

#include "checkpoint/checkpoint.h"
#include "host/config.h"
#include "infer/session.h"

enum dapt_status dapt_merge_dtype(const char *name, enum dapt_save_dtype *dtype) {
    unsigned choice = DAPT_SAVE_MODEL;
    enum dapt_status status = name ? dapt_config_choose("checkpoint.dtype", name, &choice)
                                   : DAPT_OK;
    *dtype = (enum dapt_save_dtype)choice;
    return status;
}

enum dapt_status dapt_merge_write(const struct dapt_model *model, const char *folder,
                                  dapt_weights_get get, void *context) {
    struct dapt_arena arena = {0};
    const char *end = folder + strlen(folder);
    while (end > folder + 1 && end[-1] == '/') end--;
    char *part = dapt_arena_format(&arena, "%.*s.part", (int)(end - folder), folder);
    enum dapt_status status = part ? dapt_remove_tree(part) : DAPT_ERROR_MEMORY;
    if (!status) status = dapt_mkdirs(part);
    if (!status) status = dapt_model_save(model, part, get, context);
    if (!status) status = dapt_sync_dir(part);
    if (!status) status = dapt_rename(part, folder);
    if (status) dapt_discard_tree(part);
    dapt_arena_free(&arena);
    return status;
}

static enum dapt_status merge(struct dapt_session *session, enum dapt_save_dtype dtype,
                              const char *folder) {
    struct dapt_model *model = session->model;
    const char *tokenizer;
    enum dapt_status status = dapt_model_tokenizer(&session->arena, session->folder, session->base,
                                                   &tokenizer);
    float *flat = status ? NULL : dapt_alloc_aligned(model->flat_count, sizeof *flat);
    if (!status && !flat) status = DAPT_ERROR_MEMORY;
    if (!status) status = dapt_model_load(model, session->folder, dapt_flat_put, flat);
    if (!status) status = dapt_model_merge(model, flat);
    if (!status) status = dapt_model_keep(model, tokenizer, dtype);
    if (!status) status = dapt_merge_write(model, folder, dapt_flat_get, flat);
    free(flat);
    return status;
}

enum dapt_status dapt_merge_folder(const struct dapt_merge_options *options) {
    struct dapt_session session = {.base = options->base};
    enum dapt_save_dtype dtype;
    enum dapt_status status = dapt_merge_dtype(options->dtype, &dtype);
    if (!status && (dapt_is_dir(options->folder) || dapt_is_file(options->folder)))
        status = dapt_fail(DAPT_ERROR_INVALID, "%s: is there already; expected a new folder",
                           options->folder);
    if (!status) status = dapt_session_find(&session, options->model);
    if (!status) status = dapt_checkpoint_files(session.folder, session.record, true);
    if (!status) status = dapt_session_model(&session);
    if (!status && !session.model->adapters)
        status = dapt_fail(DAPT_ERROR_INVALID,
                           "%s: holds no adapters (adapter_config.json): there is nothing to merge",
                           session.folder);
    if (!status) status = dapt_checkpoint_base(session.record, session.model);
    if (!status) status = merge(&session, dtype, options->folder);
    dapt_session_close(&session);
    return status;
}
