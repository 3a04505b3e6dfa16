// Reading tokenizer.json. Its "truncation" and "padding" are not looked at: they concern batches
// for inference, and this program never cuts a document behind its user's back.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tokenizer.h"

static enum dapt_status model_kind(const struct dapt_host *host, const cJSON *model,
                                   enum hf_model *kind) {
    if (!cJSON_IsObject(model))
        return hf_fail(host, DAPT_ERROR_INVALID,
                       "\"model\" is missing; a tokenizer.json was expected");
    const cJSON *type = hf_json_member(model, "type");
    const char *name = cJSON_IsString(type) ? type->valuestring : type ? "?" : NULL;
    if (!name) name = hf_json_member(model, "merges") ? "BPE" : "WordPiece";  // old files don't say
    if (!strcmp(name, "BPE"))
        *kind = HF_MODEL_BPE;
    else if (!strcmp(name, "WordPiece"))
        *kind = HF_MODEL_WORDPIECE;
    else
        return hf_fail(host, DAPT_ERROR_UNSUPPORTED,
                       "model \"%.64s\" is not supported; BPE and WordPiece are", name);
    return DAPT_OK;
}

static enum dapt_status load_model(const struct dapt_host *host, const cJSON *model,
                                   struct hf_tables *tables) {
    enum dapt_status status = model_kind(host, model, &tables->model);
    if (status == DAPT_OK && !tables->vocab.count)
        status = hf_vocab_load(host, hf_json_member(model, "vocab"), &tables->vocab);
    if (status < 0) return status;
    if (tables->model == HF_MODEL_BPE)
        return hf_bpe_load(host, model, &tables->vocab, &tables->bpe);
    return hf_wordpiece_load(host, model, &tables->vocab, &tables->wordpiece);
}

static enum dapt_status load_added(const struct dapt_host *host, const cJSON *root,
                                   struct hf_tables *tables) {
    struct hf_normalize_scratch scratch = {.matcher = hf_matcher_create()};
    if (!scratch.matcher) return hf_out_of_memory(host);
    enum dapt_status status = hf_added_load(host, hf_json_member(root, "added_tokens"),
                                            &tables->vocab, tables->normalizer, &scratch,
                                            &tables->added);
    hf_normalize_scratch_free(&scratch);
    hf_matcher_free(scratch.matcher);
    return status;
}

// Leaves the mapping to bytes' characters to the model where that is possible, and finds the fast
// way.
static enum dapt_status choose_way(const struct dapt_host *host, struct hf_tables *tables) {
    if (tables->model != HF_MODEL_BPE) return DAPT_OK;
    if (!hf_pretokenizer_ends_in_bytes(tables->pretokenizer) || !hf_bpe_use_bytes(&tables->bpe))
        return hf_bpe_find_joints(&tables->bpe, host);
    hf_pretokenizer_skip_mapping(tables->pretokenizer);
    hf_pretokenizer_fast(tables->pretokenizer, &tables->split, &tables->prefix_space);
    return DAPT_OK;
}

enum dapt_status hf_root_load(const struct dapt_host *host, const cJSON *root,
                              struct hf_tables *tables) {
    static const char *const keys[] = {
        "version",       "truncation",     "padding", "added_tokens", "normalizer",
        "pre_tokenizer", "post_processor", "decoder", "model",        NULL};
    enum dapt_status status = hf_json_only(host, "tokenizer.json", root, keys);
    const cJSON *version = hf_json_member(root, "version");
    if (status == DAPT_OK && version &&
        !(cJSON_IsString(version) && !strcmp(version->valuestring, "1.0")))
        status = hf_fail(host, DAPT_ERROR_UNSUPPORTED, "\"version\" must be \"1.0\"");
    if (status == DAPT_OK) status = load_model(host, hf_json_member(root, "model"), tables);
    if (status == DAPT_OK)
        status = hf_normalizer_load(host, hf_json_member(root, "normalizer"), &tables->normalizer);
    if (status == DAPT_OK) status = load_added(host, root, tables);
    if (status < 0) return status;
    tables->size = tables->vocab.size > tables->added.texts.size ? tables->vocab.size
                                                                 : tables->added.texts.size;
    status = hf_pretokenizer_load(host, hf_json_member(root, "pre_tokenizer"),
                                  &tables->pretokenizer);
    if (status == DAPT_OK)
        status = hf_post_load(host, hf_json_member(root, "post_processor"), tables->size,
                              &tables->post);
    if (status == DAPT_OK)
        status = hf_decoder_load(host, hf_json_member(root, "decoder"), &tables->decoder);
    return status == DAPT_OK ? choose_way(host, tables) : status;
}

// The file of a folder that the tokenizer is read from.
static enum dapt_status find_in_folder(const struct dapt_host *host, const char *folder_z,
                                       struct hf_text *file) {
    static const char *const names[] = {"tokenizer.json", "vocab.txt", "vocab.json"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (!hf_path_join(file, folder_z, names[i])) return hf_out_of_memory(host);
        if (!access(file->data, F_OK)) return DAPT_OK;
    }
    return hf_fail(
        host, DAPT_ERROR_IO,
        "%.300s holds no tokenizer.json, nor the vocab.txt of a BERT model, nor vocab.json "
        "and merges.txt",
        folder_z);
}

// The file and the folder that a path means, as C strings.
static enum dapt_status find_file(const struct dapt_host *host, const char *path_z,
                                  struct hf_text *file, struct hf_text *folder) {
    struct stat info;
    if (!stat(path_z, &info) && S_ISDIR(info.st_mode)) {
        if (!hf_text_append(folder, path_z, strlen(path_z) + 1)) return hf_out_of_memory(host);
        return find_in_folder(host, path_z, file);
    }
    const char *slash = strrchr(path_z, '/');
    size_t length = slash ? (size_t)(slash - path_z) : 0;
    bool good = hf_text_append(file, path_z, strlen(path_z) + 1) &&
                (slash ? length ? hf_text_append(folder, path_z, length)
                                : hf_text_append(folder, "/", 1)
                       : hf_text_append(folder, ".", 1));
    return good && hf_text_append(folder, "", 1) ? DAPT_OK : hf_out_of_memory(host);
}

static enum dapt_status load_file(const struct dapt_host *host, const char *file_z,
                                  const char *folder_z, struct hf_tables *tables) {
    cJSON *root = NULL;
    if (hf_is_legacy(file_z)) return hf_legacy_load(host, file_z, folder_z, tables);
    enum dapt_status status = hf_json_read(host, file_z, &root);
    if (status == DAPT_OK) status = hf_root_load(host, root, tables);
    if (status == DAPT_OK) status = hf_settings_compare(host, folder_z, root);
    cJSON_Delete(root);
    return status;
}

enum dapt_status hf_tables_load(const struct dapt_host *host, const char *path_z,
                                struct hf_tables **out) {
    struct hf_text file = {0}, folder = {0};
    *out = NULL;
    if (!hf_unicode_ready())
        return hf_fail(host, DAPT_ERROR_INTERNAL, "utf8proc's tables are not as expected");
    struct hf_tables *tables = calloc(1, sizeof *tables);
    if (!tables) return hf_out_of_memory(host);
    atomic_init(&tables->references, 1);
    for (int part = 0; part < 4; part++) tables->special[part] = -1;
    enum dapt_status status = find_file(host, path_z, &file, &folder);
    if (status == DAPT_OK) status = load_file(host, file.data, folder.data, tables);
    if (status == DAPT_OK) status = hf_special_load(host, folder.data, tables);
    hf_text_free(&file);
    hf_text_free(&folder);
    if (status < 0) {
        hf_tables_release(tables);
        return status;
    }
    *out = tables;
    return DAPT_OK;
}

void hf_tables_release(struct hf_tables *tables) {
    if (!tables || atomic_fetch_sub(&tables->references, 1) != 1) return;
    hf_bpe_free(&tables->bpe);
    hf_wordpiece_free(&tables->wordpiece);
    hf_vocab_free(&tables->vocab);
    hf_added_free(&tables->added);
    hf_normalizer_free(tables->normalizer);
    hf_pretokenizer_free(tables->pretokenizer);
    hf_post_free(&tables->post);
    hf_decoder_free(tables->decoder);
    free(tables);
}

int64_t hf_tables_id(const struct hf_tables *tables, const char *text, size_t length) {
    uint32_t id = hf_vocab_find(&tables->added.texts, text, length);
    if (id == HF_NONE) id = hf_vocab_find(&tables->vocab, text, length);
    return id == HF_NONE ? -1 : (int64_t)id;
}
