// Folders of the time before tokenizer.json: the tokens stand in vocab.txt (BERT), or in vocab.json
// and merges.txt (RoBERTa, GPT-2), the rest in tokenizer_config.json and the files beside it, or in
// the class of the transformers library that reads them. What that class (of transformers 5.12)
// would build is written down as a tokenizer.json and loaded as one.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tokenizer.h"

// In the order in which tokens that the vocabulary lacks get their ids.
enum part { BOS, EOS, UNK, SEP, PAD, CLS, MASK, PARTS };
static const char *const part_names[PARTS] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                              "pad_token", "cls_token", "mask_token"};

struct kind {
    const char *file;           // what its tokens stand in
    const char *root;           // a tokenizer.json, without tokens
    const char *tokens[PARTS];  // unless the files say otherwise; NULL: none
    bool framed;                // a text stands between the CLS token and the SEP token
};

#define BYTE_LEVEL                                                                               \
    "{\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":true}," \
    "\"decoder\":{\"type\":\"ByteLevel\"},\"model\":{\"type\":\"BPE\"}}"

static const struct kind bert = {
    .file = "vocab.txt",
    .root =
        "{\"normalizer\":{\"type\":\"BertNormalizer\",\"clean_text\":true,\"handle_chinese_chars\":"
        "true,\"strip_accents\":null,\"lowercase\":true},\"pre_tokenizer\":{\"type\":"
        "\"BertPreTokenizer\"},\"decoder\":{\"type\":\"WordPiece\",\"prefix\":\"##\",\"cleanup\":"
        "true},\"model\":{\"type\":\"WordPiece\"}}",
    .tokens = {NULL, NULL, "[UNK]", "[SEP]", "[PAD]", "[CLS]", "[MASK]"},
    .framed = true};
static const struct kind roberta = {
    .file = "vocab.json",
    .root = BYTE_LEVEL,
    .tokens = {"<s>", "</s>", "<unk>", "</s>", "<pad>", "<s>", "<mask>"},
    .framed = true};
static const struct kind gpt2 = {
    .file = "vocab.json",
    .root = BYTE_LEVEL,
    .tokens = {"<|endoftext|>", "<|endoftext|>", "<|endoftext|>", NULL, NULL, NULL, NULL}};

static const struct {
    const char *class, *model_type;
    const struct kind *kind;
} kinds[] = {{"BertTokenizer", "bert", &bert},
             {"DistilBertTokenizer", "distilbert", &bert},
             {"ElectraTokenizer", "electra", &bert},
             {"RobertaTokenizer", "roberta", &roberta},
             {"GPT2Tokenizer", "gpt2", &gpt2}};

static const char *base_name(const char *path_z) {
    const char *slash = strrchr(path_z, '/');
    return slash ? slash + 1 : path_z;
}

bool hf_is_legacy(const char *file_z) {
    const char *name = base_name(file_z);
    return !strcmp(name, bert.file) || !strcmp(name, roberta.file);
}

// ------------------------------------------------------------------------------ which class it is

static const char *text_member(const cJSON *object, const char *key) {
    const cJSON *member = hf_json_member(object, key);
    return cJSON_IsString(member) ? member->valuestring : NULL;
}

static bool same_class(const char *class, const char *name) {
    size_t length = strlen(class);
    return !strncmp(class, name, length) && (!name[length] || !strcmp(name + length, "Fast"));
}

// The class that a file names, else the one of its kind of model; a vocab.txt alone is BERT's.
static enum dapt_status find_kind(const struct dapt_host *host, const char *file,
                                  const cJSON *settings, const cJSON *model,
                                  const struct kind **kind) {
    const char *class = text_member(settings, "tokenizer_class");
    if (!class) class = text_member(model, "tokenizer_class");
    const char *type = class ? NULL : text_member(model, "model_type");
    *kind = !class && !type && !strcmp(file, bert.file) ? &bert : NULL;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (class ? same_class(kinds[i].class, class) : type && !strcmp(kinds[i].model_type, type))
            *kind = kinds[i].kind;
    if (*kind && !strcmp((*kind)->file, file)) return DAPT_OK;
    if (!class && !type)
        return hf_fail(host, DAPT_ERROR_UNSUPPORTED,
                       "%s without a tokenizer.json: \"tokenizer_class\" in tokenizer_config.json "
                       "must say what reads it, RobertaTokenizer or GPT2Tokenizer",
                       file);
    return hf_fail(host, DAPT_ERROR_UNSUPPORTED,
                   "%s of %s \"%.64s\" without a tokenizer.json is not supported; vocab.txt of "
                   "BertTokenizer, vocab.json of RobertaTokenizer and GPT2Tokenizer are",
                   file, class ? "a" : "model_type", class ? class : type);
}

// -------------------------------------------------------------------------------------- the tokens

// One a line, the number of the line is the id; of equal lines the last one counts, whitespace at
// the end does not.
static enum dapt_status read_lines(const struct dapt_host *host, const struct hf_text *text,
                                   struct hf_vocab *vocab) {
    size_t end = text->length;
    uint32_t id = 0;
    if (end && text->data[end - 1] == '\n') end--;
    for (size_t i = 0; i < end; i++) id += text->data[i] == '\n';
    for (;; id--) {
        const char *before = end ? memrchr(text->data, '\n', end) : NULL;
        size_t start = before ? (size_t)(before - text->data) + 1 : 0, stop = end;
        while (stop > start) {
            size_t last = hf_utf8_before(text->data, stop), at = last;
            if (!(hf_class(hf_utf8_next(text->data, &at)) & HF_SPACE)) break;
            stop = last;
        }
        const char *token = text->data + start;
        if (hf_vocab_find(vocab, token, stop - start) == HF_NONE) {
            enum dapt_status status = hf_vocab_add(host, vocab, token, stop - start, id);
            if (status < 0) return status;
        }
        if (!before) return DAPT_OK;
        end = start - 1;
    }
}

static enum dapt_status read_text(const struct dapt_host *host, const char *path_z,
                                  struct hf_text *text) {
    size_t ascii, valid;
    enum dapt_status status = hf_file_read(host, path_z, text);
    if (status < 0) return status;
    valid = hf_utf8_valid(text->data, text->length, &ascii);
    if (valid < text->length)
        return hf_fail(host, DAPT_ERROR_INVALID, "%.300s is not valid UTF-8 at byte %zu", path_z,
                       valid);
    if (!text->length)
        return hf_fail(host, DAPT_ERROR_INVALID, "%.300s is empty; a token a line was expected",
                       path_z);
    return DAPT_OK;
}

static enum dapt_status read_vocabulary(const struct dapt_host *host, const char *path_z,
                                        struct hf_vocab *vocab) {
    struct hf_text text = {0};
    enum dapt_status status = read_text(host, path_z, &text);
    if (status == DAPT_OK) status = read_lines(host, &text, vocab);
    hf_text_free(&text);
    return status;
}

// merges.txt as the list of a tokenizer.json.
static enum dapt_status read_merges(const struct dapt_host *host, const char *folder_z,
                                    cJSON *model) {
    struct hf_text path = {0}, text = {0};
    cJSON *list = cJSON_AddArrayToObject(model, "merges");
    bool good = hf_path_join(&path, folder_z, "merges.txt") && list;
    enum dapt_status status = good ? read_text(host, path.data, &text) : hf_out_of_memory(host);
    if (status == DAPT_OK && memchr(text.data, 0, text.length))
        status = hf_fail(host, DAPT_ERROR_INVALID, "%.300s holds a NUL byte", path.data);
    for (size_t start = 0; start < text.length && status == DAPT_OK;) {
        char *line = text.data + start, *end = memchr(line, '\n', text.length - start);
        if (!end) end = text.data + text.length;
        start = (size_t)(end - text.data) + 1;
        if (end > line && end[-1] == '\r') end--;
        *end = 0;
        if (!cJSON_AddItemToArray(list, cJSON_CreateString(line))) status = hf_out_of_memory(host);
    }
    hf_text_free(&path);
    hf_text_free(&text);
    return status;
}

static enum dapt_status read_tokens(const struct dapt_host *host, const char *file_z,
                                    const char *folder_z, cJSON *root, struct hf_tables *tables) {
    cJSON *vocab = NULL;
    if (!strcmp(base_name(file_z), bert.file)) return read_vocabulary(host, file_z, &tables->vocab);
    enum dapt_status status = hf_json_read(host, file_z, &vocab);
    if (status == DAPT_OK) status = hf_vocab_load(host, vocab, &tables->vocab);
    cJSON_Delete(vocab);
    return status < 0 ? status : read_merges(host, folder_z, cJSON_GetObjectItem(root, "model"));
}

// ---------------------------------------------------------------------------------------- settings

// Where a setting of tokenizer_config.json stands in a tokenizer.json.
static const struct {
    const char *key, *component, *option;
} options[] = {{"do_lower_case", "normalizer", "lowercase"},
               {"strip_accents", "normalizer", "strip_accents"},
               {"tokenize_chinese_chars", "normalizer", "handle_chinese_chars"},
               {"add_prefix_space", "pre_tokenizer", "add_prefix_space"}};

static enum dapt_status set_options(const struct dapt_host *host, const cJSON *settings,
                                    cJSON *root) {
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        const cJSON *value = cJSON_GetObjectItemCaseSensitive(settings, options[i].key);
        cJSON *component = cJSON_GetObjectItem(root, options[i].component);
        const cJSON *usual = cJSON_GetObjectItem(component, options[i].option);
        if (!value || !usual) continue;
        if (!cJSON_IsBool(value) && !(cJSON_IsNull(value) && cJSON_IsNull(usual)))
            return hf_fail(host, DAPT_ERROR_INVALID,
                           "tokenizer_config.json, \"%s\": true or false was expected",
                           options[i].key);
        cJSON *copy = cJSON_Duplicate(value, true);
        if (!cJSON_ReplaceItemInObject(component, options[i].option, copy))
            return hf_out_of_memory(host);
    }
    return DAPT_OK;
}

enum dapt_status hf_settings_compare(const struct dapt_host *host, const char *folder_z,
                                     const cJSON *root) {
    cJSON *settings;
    enum dapt_status status = hf_json_beside(host, folder_z, "tokenizer_config.json", &settings);
    const char *class = text_member(settings, "tokenizer_class");
    bool rebuilt = false;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        rebuilt |= class && same_class(kinds[i].class, class);
    for (size_t i = 0; i < sizeof options / sizeof *options && rebuilt; i++) {
        const cJSON *component = hf_json_member(root, options[i].component);
        const cJSON *value = cJSON_GetObjectItemCaseSensitive(settings, options[i].key);
        const cJSON *counts = cJSON_GetObjectItemCaseSensitive(component, options[i].option);
        if (!value || !counts || cJSON_Compare(value, counts, true)) continue;
        char line[256];
        snprintf(line, sizeof line,
                 "tokenizer_config.json, \"%s\" is not what tokenizer.json says; that counts here, "
                 "while transformers goes by tokenizer_config.json",
                 options[i].key);
        host->log(host, DAPT_LOG_WARNING, line);
    }
    cJSON_Delete(settings);
    return status;
}

// The text of the token that plays a part, or NULL; *flags: the object that tells of it.
static enum dapt_status part_text(const struct dapt_host *host, const struct kind *kind,
                                  const cJSON *settings, enum part part, const char **text,
                                  const cJSON **flags) {
    const cJSON *member = cJSON_GetObjectItemCaseSensitive(settings, part_names[part]);
    *text = member ? NULL : kind->tokens[part];
    *flags = NULL;
    if (!member || cJSON_IsNull(member)) return DAPT_OK;
    if (cJSON_IsObject(member)) {
        *flags = member;
        member = hf_json_member(member, "content");
    }
    if (!cJSON_IsString(member))
        return hf_fail(host, DAPT_ERROR_INVALID,
                       "tokenizer_config.json, \"%s\": the text of a token was expected",
                       part_names[part]);
    *text = member->valuestring;
    return DAPT_OK;
}

// ------------------------------------------------------------------------------------ added tokens

struct listing {
    const struct dapt_host *host;
    cJSON *list;           // of a tokenizer.json
    struct hf_vocab seen;  // texts in it, numbered
    const char *parts[PARTS];
};

// What a token's own object says of it; without one it is taken as it stands.
static bool copy_flags(const cJSON *flags, bool normalized, cJSON *token) {
    static const char *const names[] = {"single_word", "lstrip", "rstrip", "normalized"};
    bool good = true;
    for (size_t i = 0; i < 4; i++) {
        const cJSON *flag = hf_json_member(flags, names[i]);
        if (flag)
            good = good && cJSON_AddItemToObject(token, names[i], cJSON_Duplicate(flag, true));
        else if (!flags)
            good = good && cJSON_AddBoolToObject(token, names[i], i == 3 && normalized);
    }
    return good;
}

// Of equal texts the first one counts.
static enum dapt_status list_token(struct listing *l, const char *text, const cJSON *flags,
                                   bool special) {
    for (int part = 0; part < PARTS; part++)
        special |= l->parts[part] && !strcmp(l->parts[part], text);
    if (hf_vocab_find(&l->seen, text, strlen(text)) != HF_NONE) return DAPT_OK;
    enum dapt_status status = hf_vocab_add(l->host, &l->seen, text, strlen(text), l->seen.count);
    cJSON *token = cJSON_CreateObject();
    if (status == DAPT_OK &&
        !(cJSON_AddStringToObject(token, "content", text) &&
          cJSON_AddBoolToObject(token, "special", special) && copy_flags(flags, !special, token)))
        status = hf_out_of_memory(l->host);
    if (!cJSON_AddItemToArray(l->list, token)) cJSON_Delete(token);
    return status;
}

struct numbered {
    double id;
    const cJSON *item;
};

static int by_number(const void *a, const void *b) {
    const struct numbered *one = a, *other = b;
    return (one->id > other->id) - (one->id < other->id);
}

// "added_tokens_decoder" of tokenizer_config.json is an object of id: token, added_tokens.json one
// of token: id. Their order is that of the ids.
static enum dapt_status list_numbered(struct listing *l, const cJSON *object, bool by_id) {
    size_t count = (size_t)cJSON_GetArraySize(object), i = 0;
    struct numbered *all = calloc(count + 1, sizeof *all);
    enum dapt_status status = all ? DAPT_OK : hf_out_of_memory(l->host);
    for (const cJSON *item = object ? object->child : NULL; all && item; item = item->next)
        all[i++] = (struct numbered){
            by_id ? (double)strtoul(item->string, NULL, 10) : item->valuedouble, item};
    if (all) qsort(all, count, sizeof *all, by_number);
    for (i = 0; i < count && status == DAPT_OK; i++) {
        const cJSON *item = all[i].item;
        const char *text = by_id ? text_member(item, "content") : item->string;
        if (!text || (!by_id && !cJSON_IsNumber(item)))
            status = hf_fail(l->host, DAPT_ERROR_INVALID,
                             by_id ? "tokenizer_config.json, \"added_tokens_decoder\", \"%.64s\": "
                                     "a token was expected"
                                   : "added_tokens.json, \"%.64s\": an id was expected",
                             item->string);
        else
            status = list_token(l, text, by_id ? item : NULL,
                                cJSON_IsTrue(hf_json_member(item, "special")));
    }
    free(all);
    return status;
}

static enum dapt_status list_extra(struct listing *l, const cJSON *extra) {
    enum dapt_status status = DAPT_OK;
    for (const cJSON *item = extra ? extra->child : NULL; item && status == DAPT_OK;
         item = item->next) {
        const char *text = cJSON_IsObject(item)   ? text_member(item, "content")
                           : cJSON_IsString(item) ? item->valuestring
                                                  : NULL;
        if (!text)
            return hf_fail(l->host, DAPT_ERROR_INVALID,
                           "tokenizer_config.json, \"%s\": the texts of tokens were expected",
                           extra->string);
        status = list_token(l, text, cJSON_IsObject(item) ? item : NULL, true);
    }
    return status;
}

static enum dapt_status list_added(struct listing *l, const cJSON *settings, const cJSON *added,
                                   const cJSON *const part_flags[PARTS]) {
    static const char *const extras[] = {"additional_special_tokens", "extra_special_tokens"};
    const cJSON *decoder = hf_json_member(settings, "added_tokens_decoder");
    enum dapt_status status = list_numbered(l, decoder ? decoder : added, decoder != NULL);
    for (int part = 0; part < PARTS && status == DAPT_OK; part++)
        if (l->parts[part]) status = list_token(l, l->parts[part], part_flags[part], true);
    for (size_t i = 0; i < 2 && status == DAPT_OK; i++)
        status = list_extra(l, hf_json_member(settings, extras[i]));
    return status;
}

// ----------------------------------------------------------------------------------- all together

struct files {
    cJSON *settings;  // tokenizer_config.json
    cJSON *map;       // special_tokens_map.json
    cJSON *added;     // added_tokens.json
    cJSON *model;     // config.json
};

static void files_free(struct files *files) {
    cJSON_Delete(files->settings);
    cJSON_Delete(files->map);
    cJSON_Delete(files->added);
    cJSON_Delete(files->model);
}

// special_tokens_map.json goes before tokenizer_config.json, unless that lists all added tokens.
static enum dapt_status files_read(const struct dapt_host *host, const char *folder_z,
                                   struct files *files) {
    enum dapt_status status = hf_json_beside(host, folder_z, "tokenizer_config.json",
                                             &files->settings);
    if (status == DAPT_OK) status = hf_json_beside(host, folder_z, "config.json", &files->model);
    if (status == DAPT_OK && !files->settings && !(files->settings = cJSON_CreateObject()))
        status = hf_out_of_memory(host);
    if (status < 0 || hf_json_member(files->settings, "added_tokens_decoder")) return status;
    status = hf_json_beside(host, folder_z, "added_tokens.json", &files->added);
    if (status == DAPT_OK)
        status = hf_json_beside(host, folder_z, "special_tokens_map.json", &files->map);
    while (status == DAPT_OK && files->map && files->map->child) {
        cJSON *item = cJSON_DetachItemViaPointer(files->map, files->map->child);
        cJSON_DeleteItemFromObjectCaseSensitive(files->settings, item->string);
        cJSON_AddItemToArray(files->settings, item);  // its name goes along
    }
    return status;
}

static enum dapt_status add_frame(const struct dapt_host *host, const struct kind *kind,
                                  const char *const parts[PARTS], const cJSON *settings,
                                  struct hf_tables *tables) {
    static const enum part inner[2] = {CLS, SEP}, outer[2] = {BOS, EOS};
    static const char *const keys[2] = {"add_bos_token", "add_eos_token"};
    struct hf_ids *const sides[2] = {&tables->post.before, &tables->post.after};
    for (int i = 0; i < 2; i++) {
        enum part part = kind->framed ? inner[i] : outer[i];
        if (!kind->framed && !cJSON_IsTrue(hf_json_member(settings, keys[i]))) continue;
        int64_t id = parts[part] ? hf_tables_id(tables, parts[part], strlen(parts[part])) : -1;
        if (id < 0)
            return hf_fail(host, DAPT_ERROR_INVALID,
                           "tokenizer_config.json, \"%s\" is null; a token was expected",
                           part_names[part]);
        if (!hf_ids_push(sides[i], (uint32_t)id)) return hf_out_of_memory(host);
    }
    return DAPT_OK;
}

// Where lines are equal there are fewer tokens than ids, and the library numbers further ones from
// the count of tokens on: over those that are there.
static enum dapt_status check_numbers(const struct dapt_host *host,
                                      const struct hf_tables *tables) {
    if (tables->vocab.count == tables->vocab.size) return DAPT_OK;
    for (size_t i = 0; i < tables->added.count; i++) {
        size_t length = 0;
        const char *text = hf_vocab_text(&tables->added.texts, tables->added.tokens[i].id, &length);
        if (hf_vocab_find(&tables->vocab, text, length) == HF_NONE)
            return hf_fail(host, DAPT_ERROR_INVALID,
                           "the vocabulary lacks the token \"%.*s\", and ids between 0 and %u have "
                           "no token of their own (equal lines?): no id can be given to it",
                           length < 64 ? (int)length : 64, text, tables->vocab.size - 1);
    }
    return DAPT_OK;
}

static enum dapt_status build(const struct dapt_host *host, const struct kind *kind,
                              const struct files *files, cJSON *root, struct hf_tables *tables) {
    static const int played[4] = {[DAPT_SPECIAL_BOS] = BOS,
                                  [DAPT_SPECIAL_EOS] = EOS,
                                  [DAPT_SPECIAL_PAD] = PAD,
                                  [DAPT_SPECIAL_UNK] = UNK};
    struct listing listing = {.host = host, .list = cJSON_AddArrayToObject(root, "added_tokens")};
    const cJSON *flags[PARTS];
    enum dapt_status status = listing.list ? set_options(host, files->settings, root)
                                           : hf_out_of_memory(host);
    for (int part = 0; part < PARTS && status == DAPT_OK; part++)
        status = part_text(host, kind, files->settings, (enum part)part, &listing.parts[part],
                           &flags[part]);
    if (status == DAPT_OK) status = list_added(&listing, files->settings, files->added, flags);
    if (status == DAPT_OK && kind == &bert && listing.parts[UNK] &&
        !cJSON_AddStringToObject(cJSON_GetObjectItem(root, "model"), "unk_token",
                                 listing.parts[UNK]))
        status = hf_out_of_memory(host);
    if (status == DAPT_OK) status = hf_root_load(host, root, tables);
    if (status == DAPT_OK) status = check_numbers(host, tables);
    for (int i = 0; i < 4 && status == DAPT_OK; i++) {
        const char *text = listing.parts[played[i]];
        if (text) tables->special[i] = hf_tables_id(tables, text, strlen(text));
    }
    if (status == DAPT_OK) status = add_frame(host, kind, listing.parts, files->settings, tables);
    hf_vocab_free(&listing.seen);
    return status;
}

enum dapt_status hf_legacy_load(const struct dapt_host *host, const char *file_z,
                                const char *folder_z, struct hf_tables *tables) {
    struct files files = {0};
    const struct kind *kind = NULL;
    cJSON *root = NULL;
    enum dapt_status status = files_read(host, folder_z, &files);
    if (status == DAPT_OK)
        status = find_kind(host, base_name(file_z), files.settings, files.model, &kind);
    if (status == DAPT_OK && !(root = cJSON_Parse(kind->root))) status = hf_out_of_memory(host);
    if (status == DAPT_OK) status = read_tokens(host, file_z, folder_z, root, tables);
    if (status == DAPT_OK) status = build(host, kind, &files, root, tables);
    cJSON_Delete(root);
    files_free(&files);
    return status;
}
