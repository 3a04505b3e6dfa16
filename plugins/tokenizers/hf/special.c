// Which token begins a text, ends it, fills it up, stands for the unknown. What the tokenizer was
// made with decides (folders without tokenizer.json), then the files beside it; the first that
// speaks of a part decides it, a null too ("there is none"): tokenizer_config.json and
// special_tokens_map.json by text, generation_config.json and config.json by id, then the model's
// unk_token.
#include <stdio.h>

#include "tokenizer.h"

static const char *const part_names[4] = {[DAPT_SPECIAL_BOS] = "bos_token",
                                          [DAPT_SPECIAL_EOS] = "eos_token",
                                          [DAPT_SPECIAL_PAD] = "pad_token",
                                          [DAPT_SPECIAL_UNK] = "unk_token"};
static const char *const part_ids[4] = {[DAPT_SPECIAL_BOS] = "bos_token_id",
                                        [DAPT_SPECIAL_EOS] = "eos_token_id",
                                        [DAPT_SPECIAL_PAD] = "pad_token_id",
                                        [DAPT_SPECIAL_UNK] = NULL};

static enum dapt_status by_text(const struct dapt_host *host, const char *file, const cJSON *root,
                                struct hf_tables *tables, bool decided[4]) {
    struct hf_text text = {0};
    enum dapt_status status = DAPT_OK;
    for (int part = 0; part < 4 && status == DAPT_OK; part++) {
        const cJSON *member = cJSON_GetObjectItemCaseSensitive(root, part_names[part]);
        if (!member || decided[part]) continue;
        decided[part] = true;
        if (cJSON_IsNull(member)) continue;
        if (cJSON_IsObject(member)) member = hf_json_member(member, "content");
        char where[96];
        snprintf(where, sizeof where, "%s, \"%s\"", file, part_names[part]);
        text.length = 0;
        status = hf_json_text(host, where, member, &text);
        if (status < 0) break;
        tables->special[part] = hf_tables_id(tables, text.data, text.length);
        if (tables->special[part] < 0) {
            char line[256];
            snprintf(line, sizeof line, "%s: \"%.64s\" is not in the vocabulary", where, text.data);
            host->log(host, DAPT_LOG_WARNING, line);
        }
    }
    hf_text_free(&text);
    return status;
}

static enum dapt_status by_id(const struct dapt_host *host, const char *file, const cJSON *root,
                              struct hf_tables *tables, bool decided[4]) {
    for (int part = 0; part < 4; part++) {
        const cJSON *member = part_ids[part] ? hf_json_member(root, part_ids[part]) : NULL;
        if (!member || decided[part]) continue;
        if (cJSON_IsArray(member))
            member = member->child;  // several may end a text; the first is the main one
        if (!member) continue;
        char where[96];
        uint32_t id;
        snprintf(where, sizeof where, "%s, \"%s\"", file, part_ids[part]);
        if (cJSON_IsNumber(member) && member->valuedouble == -1)
            continue;  // some write -1 for none
        enum dapt_status status = hf_json_uint(host, where, member, HF_MAX_ID, &id);
        if (status < 0) return status;
        decided[part] = true;
        if (id < tables->size) tables->special[part] = id;
    }
    return DAPT_OK;
}

enum dapt_status hf_special_load(const struct dapt_host *host, const char *folder_z,
                                 struct hf_tables *tables) {
    static const struct {
        const char *name;
        enum dapt_status (*read)(const struct dapt_host *host, const char *file, const cJSON *root,
                                 struct hf_tables *tables, bool decided[4]);
    } files[] = {{"tokenizer_config.json", by_text},
                 {"special_tokens_map.json", by_text},
                 {"generation_config.json", by_id},
                 {"config.json", by_id}};
    bool decided[4];
    enum dapt_status status = DAPT_OK;
    for (int part = 0; part < 4; part++) decided[part] = tables->special[part] >= 0;
    for (size_t i = 0; i < sizeof files / sizeof *files && status == DAPT_OK; i++) {
        cJSON *root;
        status = hf_json_beside(host, folder_z, files[i].name, &root);
        if (status == DAPT_OK && root)
            status = files[i].read(host, files[i].name, root, tables, decided);
        cJSON_Delete(root);
    }
    uint32_t unk = tables->model == HF_MODEL_BPE ? tables->bpe.unk : tables->wordpiece.unk;
    if (!decided[DAPT_SPECIAL_UNK] && unk != HF_NONE) tables->special[DAPT_SPECIAL_UNK] = unk;
    return status;
}
