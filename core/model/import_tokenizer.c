// tokenizer.json and tokenizer_config.json of a GGUF file's vocabulary. Two kinds: "gpt2" has
// byte-level tokens and a list of merges; "llama" has pieces with scores, from which the merges are
// made that give the same ids.
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "format/gguf.h"
#include "host/json.h"
#include "model/exchange_table.h"

enum { NORMAL = 1, UNKNOWN, CONTROL, USER, UNUSED, BYTE };  // "tokenizer.ggml.token_type"

struct vocabulary {
    const struct dapt_gguf *file;
    const char *path;
    bool pieces;  // "llama"
    const struct dapt_exchange_split *split;
    const char *const *tokens;
    const struct dapt_gguf_value *types, *scores;
    uint64_t count;
    bool begins, ends, space;  // BOS, EOS around a text; a space in front of it
    int64_t bos, eos, unk, pad;
    uint32_t *table, mask;  // hash table of ids, by text
    struct dapt_string json;
    enum dapt_status status;
};

static int type_of(const struct vocabulary *v, uint64_t id) {
    return v->types ? (int)dapt_gguf_number(v->types, id) : NORMAL;
}

// ----------------------------------------------------------------------------------------- reading

static enum dapt_status need(const struct vocabulary *v, const char *key, bool strings,
                             const struct dapt_gguf_value **out) {
    const struct dapt_gguf_value *value = dapt_gguf_value(v->file, key);
    if (value && value->array && (value->texts != NULL) == strings &&
        (!v->count || strcmp(key, "tokenizer.ggml.merges") == 0 || value->count == v->count)) {
        *out = value;
        return DAPT_OK;
    }
    return dapt_fail(DAPT_ERROR_INVALID, "%s: key '%s': expected an array of %s, one a token",
                     v->path, key, strings ? "strings" : "numbers");
}

static enum dapt_status find_split(struct vocabulary *v) {
    const char *name = "missing";
    enum dapt_status status = dapt_gguf_get_string(v->file, "tokenizer.ggml.pre", &name);
    if (status) return status;
    for (const struct dapt_exchange_split *s = dapt_exchange_splits; s->name; s++)
        if (strcmp(s->name, name) == 0) v->split = s;
    if (v->split) return DAPT_OK;
    return dapt_fail(
        DAPT_ERROR_UNSUPPORTED,
        "%s: tokenizer.ggml.pre, which says how text is cut into words, is %s%.64s%s; "
        "known are gpt-2, smollm, starcoder, refact, olmo, llama-bpe, dbrx, smaug-bpe, "
        "qwen2, stablelm2, tekken, gpt-4o",
        v->path, name[0] == 'm' ? "" : "\"", name, name[0] == 'm' ? "" : "\"");
}

static enum dapt_status read_ids(struct vocabulary *v) {
    const struct {
        const char *key;
        int64_t *id;
    } ids[] = {{"tokenizer.ggml.bos_token_id", &v->bos},
               {"tokenizer.ggml.eos_token_id", &v->eos},
               {"tokenizer.ggml.unknown_token_id", &v->unk},
               {"tokenizer.ggml.padding_token_id", &v->pad}};
    enum dapt_status status = DAPT_OK;
    v->begins = v->pieces || v->split->begins;
    v->space = v->pieces;
    for (size_t i = 0; i < sizeof ids / sizeof *ids && !status; i++) {
        *ids[i].id = -1;
        status = dapt_gguf_get_integer(v->file, ids[i].key, 0, (int64_t)v->count - 1, ids[i].id);
    }
    if (!status) status = dapt_gguf_get_bool(v->file, "tokenizer.ggml.add_bos_token", &v->begins);
    if (!status) status = dapt_gguf_get_bool(v->file, "tokenizer.ggml.add_eos_token", &v->ends);
    if (!status) status = dapt_gguf_get_bool(v->file, "tokenizer.ggml.add_space_prefix", &v->space);
    if (!status && v->space && !v->pieces)
        status = dapt_fail(
            DAPT_ERROR_UNSUPPORTED,
            "%s: tokenizer.ggml.add_space_prefix with a \"gpt2\" vocabulary is not built", v->path);
    v->begins = v->begins && v->bos >= 0;
    v->ends = v->ends && v->eos >= 0;
    return status;
}

static enum dapt_status read_vocabulary(struct vocabulary *v, uint64_t rows) {
    const char *model = "missing";
    const struct dapt_gguf_value *tokens = NULL;
    enum dapt_status status = dapt_gguf_get_string(v->file, "tokenizer.ggml.model", &model);
    v->pieces = strcmp(model, "llama") == 0;
    if (!status && !v->pieces && strcmp(model, "gpt2") != 0)
        status = dapt_fail(
            DAPT_ERROR_UNSUPPORTED,
            "%s: tokenizer.ggml.model is \"%.32s\"; \"gpt2\" and \"llama\" are built", v->path,
            model);
    if (!status) status = need(v, "tokenizer.ggml.tokens", true, &tokens);
    if (status) return status;
    v->tokens = tokens->texts;
    v->count = tokens->count;
    if (v->count == 0 || v->count > rows)
        return dapt_fail(DAPT_ERROR_INVALID,
                         "%s: %" PRIu64 " tokens, but the embedding has %" PRIu64 " rows", v->path,
                         v->count, rows);
    if (dapt_gguf_value(v->file, "tokenizer.ggml.token_type"))
        status = need(v, "tokenizer.ggml.token_type", false, &v->types);
    if (!status && v->pieces) status = need(v, "tokenizer.ggml.scores", false, &v->scores);
    if (!status && !v->pieces) status = find_split(v);
    return status ? status : read_ids(v);
}

// ---------------------------------------------------------------------------------- tokens by text

static uint32_t slot_of(const struct vocabulary *v, const char *text, size_t length) {
    struct dapt_hash hash = dapt_hash_bytes(text, length);
    uint32_t at = (uint32_t)hash.low & v->mask;
    while (v->table[at] != UINT32_MAX) {
        const char *token = v->tokens[v->table[at]];
        if (strncmp(token, text, length) == 0 && token[length] == '\0') break;
        at = (at + 1) & v->mask;
    }
    return at;
}

static enum dapt_status index_tokens(struct vocabulary *v) {
    v->mask = 15;
    while (v->mask < 2 * v->count) v->mask = 2 * v->mask + 1;
    v->table = dapt_alloc_aligned((size_t)v->mask + 1, sizeof *v->table);
    if (!v->table) return DAPT_ERROR_MEMORY;
    memset(v->table, 0xff, ((size_t)v->mask + 1) * sizeof *v->table);
    for (uint64_t i = 0; i < v->count; i++) {
        uint32_t *slot = &v->table[slot_of(v, v->tokens[i], strlen(v->tokens[i]))];
        if (*slot != UINT32_MAX)
            return dapt_fail(DAPT_ERROR_INVALID, "%s: tokens %u and %" PRIu64 " are both \"%.64s\"",
                             v->path, *slot, i, v->tokens[i]);
        *slot = (uint32_t)i;
    }
    return DAPT_OK;
}

// ------------------------------------------------------------------------------ merges from scores

struct pair {
    uint32_t left, right;  // tokens
    uint32_t left_length, right_length;
    float score;  // of what they make
};

// Pairs of better pieces come first. What remains equal is kept in order by their ids.
static int compare_pair(const void *a, const void *b) {
    const struct pair *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    if (x->left_length != y->left_length) return x->left_length > y->left_length ? -1 : 1;
    if (x->right_length != y->right_length) return x->right_length > y->right_length ? -1 : 1;
    if (x->left != y->left) return x->left < y->left ? -1 : 1;
    return (x->right > y->right) - (x->right < y->right);
}

// Each way to make a piece of two others.
static enum dapt_status split_piece(const struct vocabulary *v, uint64_t id, struct pair **pairs,
                                    size_t *count, size_t *capacity) {
    const char *text = v->tokens[id];
    size_t length = strlen(text);
    for (size_t i = 1; i < length; i++) {
        if (((unsigned char)text[i] & 0xc0) == 0x80) continue;  // inside of a character
        uint32_t left = v->table[slot_of(v, text, i)],
                 right = v->table[slot_of(v, text + i, length - i)];
        if (left == UINT32_MAX || right == UINT32_MAX || type_of(v, left) != NORMAL ||
            type_of(v, right) != NORMAL)
            continue;
        if (dapt_grow(pairs, capacity, *count + 1, sizeof **pairs)) return DAPT_ERROR_MEMORY;
        (*pairs)[(*count)++] = (struct pair){left, right, (uint32_t)i, (uint32_t)(length - i),
                                             (float)dapt_gguf_number(v->scores, id)};
    }
    return DAPT_OK;
}

static enum dapt_status list_pairs(const struct vocabulary *v, struct pair **pairs, size_t *count) {
    size_t capacity = 0;
    enum dapt_status status = DAPT_OK;
    for (uint64_t id = 0; id < v->count && !status; id++) {
        if (type_of(v, id) != NORMAL) continue;
        if (!isfinite(dapt_gguf_number(v->scores, id)))
            return dapt_fail(DAPT_ERROR_INVALID, "%s: the score of token %" PRIu64 " is not finite",
                             v->path, id);
        if (strlen(v->tokens[id]) > 1024)
            return dapt_fail(DAPT_ERROR_INVALID, "%s: token %" PRIu64 " is longer than 1024 bytes",
                             v->path, id);
        status = split_piece(v, id, pairs, count, &capacity);
    }
    if (!status && *count) qsort(*pairs, *count, sizeof **pairs, compare_pair);
    return status;
}

// ----------------------------------------------------------------------------------------- writing

static void put(struct vocabulary *v, const char *text) {
    if (!v->status) v->status = dapt_string_add(&v->json, text, strlen(text));
}

static void put_string(struct vocabulary *v, const char *text) {
    if (!v->status) v->status = dapt_json_write_string(&v->json, text);
}

static void put_id(struct vocabulary *v, int64_t id) {
    if (!v->status) v->status = dapt_string_format(&v->json, "%" PRId64, id);
}

// Two strings of an array.
static void put_pair(struct vocabulary *v, const char *left, size_t left_length,
                     const char *right) {
    char text[1032];
    memcpy(text, left, left_length);
    text[left_length] = '\0';
    put(v, "[");
    put_string(v, text);
    put(v, ", ");
    put_string(v, right);
    put(v, "]");
}

static void put_added(struct vocabulary *v) {
    bool first = true;
    put(v, "  \"added_tokens\": [");
    for (uint64_t i = 0; i < v->count; i++) {
        int type = type_of(v, i);
        if (type != UNKNOWN && type != CONTROL && type != USER) continue;
        put(v, first ? "\n    {\"id\": " : ",\n    {\"id\": ");
        put_id(v, (int64_t)i);
        put(v, ", \"content\": ");
        put_string(v, v->tokens[i]);
        put(v,
            ", \"single_word\": false, \"lstrip\": false, \"rstrip\": false, \"normalized\": "
            "false, "
            "\"special\": ");
        put(v, type == USER ? "false}" : "true}");
        first = false;
    }
    put(v, "\n  ],\n");
}

static void put_bytes_split(struct vocabulary *v) {
    const struct dapt_exchange_split *s = v->split;
    put(v, s->nfc ? "  \"normalizer\": {\"type\": \"NFC\"},\n" : "  \"normalizer\": null,\n");
    put(v, "  \"pre_tokenizer\": {\"type\": \"Sequence\", \"pretokenizers\": [\n");
    if (s->pattern) {
        put(v, "    {\"type\": \"Split\", \"pattern\": {\"Regex\": ");
        put_string(v, s->pattern);
        put(v, "}, \"behavior\": \"Isolated\", \"invert\": false},\n");
    }
    if (s->digits) put(v, "    {\"type\": \"Digits\", \"individual_digits\": true},\n");
    put(v,
        "    {\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"trim_offsets\": true, "
        "\"use_regex\": ");
    put(v, s->pattern ? "false}]},\n" : "true}]},\n");
    put(v,
        "  \"decoder\": {\"type\": \"ByteLevel\", \"add_prefix_space\": true, \"trim_offsets\": "
        "true, "
        "\"use_regex\": true},\n");
}

static void put_pieces_split(struct vocabulary *v) {
    static const char *const prepend = "{\"type\": \"Prepend\", \"prepend\": \"\u2581\"}, ";
    put(v, "  \"normalizer\": {\"type\": \"Sequence\", \"normalizers\": [");
    if (v->space) put(v, prepend);
    put(v,
        "{\"type\": \"Replace\", \"pattern\": {\"String\": \" \"}, \"content\": \"\u2581\"}]},\n"
        "  \"pre_tokenizer\": null,\n"
        "  \"decoder\": {\"type\": \"Sequence\", \"decoders\": [{\"type\": \"Replace\", "
        "\"pattern\": "
        "{\"String\": \"\u2581\"}, \"content\": \" \"}, {\"type\": \"ByteFallback\"}, "
        "{\"type\": \"Fuse\"}");
    if (v->space) put(v, ", {\"type\": \"Strip\", \"content\": \" \", \"start\": 1, \"stop\": 0}");
    put(v, "]},\n");
}

static void put_special(struct vocabulary *v, int64_t id) {
    put(v, "{\"SpecialToken\": {\"id\": ");
    put_string(v, v->tokens[id]);
    put(v, ", \"type_id\": 0}}");
}

static void put_sequence(struct vocabulary *v, const char *name) {
    if (v->begins) {
        put_special(v, v->bos);
        put(v, ", ");
    }
    put(v, name);
    if (v->ends) {
        put(v, ", ");
        put_special(v, v->eos);
    }
}

// What stands around a text.
static void put_template(struct vocabulary *v) {
    const int64_t ids[] = {v->begins ? v->bos : -1, v->ends && v->eos != v->bos ? v->eos : -1};
    bool first = true;
    if (!v->begins && !v->ends) {
        put(v, "  \"post_processor\": null,\n");
        return;
    }
    put(v, "  \"post_processor\": {\"type\": \"TemplateProcessing\", \"single\": [");
    put_sequence(v, "{\"Sequence\": {\"id\": \"A\", \"type_id\": 0}}");
    put(v, "], \"pair\": [");
    put_sequence(v, "{\"Sequence\": {\"id\": \"A\", \"type_id\": 0}}");
    put(v, ", ");
    put_sequence(v, "{\"Sequence\": {\"id\": \"B\", \"type_id\": 0}}");
    put(v, "], \"special_tokens\": {");
    for (int i = 0; i < 2; i++) {
        if (ids[i] < 0) continue;
        if (!first) put(v, ", ");
        first = false;
        put_string(v, v->tokens[ids[i]]);
        put(v, ": {\"id\": ");
        put_string(v, v->tokens[ids[i]]);
        put(v, ", \"ids\": [");
        put_id(v, ids[i]);
        put(v, "], \"tokens\": [");
        put_string(v, v->tokens[ids[i]]);
        put(v, "]}");
    }
    put(v, "}},\n");
}

// "left right", as files have it; neither holds a space.
static enum dapt_status put_listed_merges(struct vocabulary *v) {
    const struct dapt_gguf_value *merges = NULL;
    enum dapt_status status = need(v, "tokenizer.ggml.merges", true, &merges);
    for (uint64_t i = 0; !status && i < merges->count; i++) {
        const char *text = merges->texts[i], *space = text[0] ? strchr(text + 1, ' ') : NULL;
        if (!space || !space[1] || space - text > 1024)
            return dapt_fail(DAPT_ERROR_INVALID,
                             "%s: merge %" PRIu64 " is \"%.64s\", expected two tokens", v->path, i,
                             text);
        put(v, i ? ",\n      " : "\n      ");
        put_pair(v, text, (size_t)(space - text), space + 1);
    }
    return status;
}

static enum dapt_status put_made_merges(struct vocabulary *v) {
    struct pair *pairs = NULL;
    size_t count = 0;
    enum dapt_status status = list_pairs(v, &pairs, &count);
    for (size_t i = 0; i < count && !status; i++) {
        const char *left = v->tokens[pairs[i].left];
        put(v, i ? ",\n      " : "\n      ");
        put_pair(v, left, strlen(left), v->tokens[pairs[i].right]);
    }
    free(pairs);
    return status;
}

static enum dapt_status put_model(struct vocabulary *v) {
    put(v, "  \"model\": {\n    \"type\": \"BPE\", \"dropout\": null, \"unk_token\": ");
    if (v->pieces && v->unk >= 0)
        put_string(v, v->tokens[v->unk]);
    else
        put(v, "null");
    put(v, ", \"continuing_subword_prefix\": null, \"end_of_word_suffix\": null, \"fuse_unk\": ");
    put(v, v->pieces ? "true, \"byte_fallback\": true" : "false, \"byte_fallback\": false");
    put(v, v->split && v->split->whole_words ? ", \"ignore_merges\": true"
                                             : ", \"ignore_merges\": false");
    put(v, ",\n    \"vocab\": {");
    for (uint64_t i = 0; i < v->count; i++) {
        put(v, i ? ",\n      " : "\n      ");
        put_string(v, v->tokens[i]);
        put(v, ": ");
        put_id(v, (int64_t)i);
    }
    put(v, "\n    },\n    \"merges\": [");
    enum dapt_status status = v->status;
    if (!status) status = v->pieces ? put_made_merges(v) : put_listed_merges(v);
    put(v, "\n    ]\n  }\n}\n");
    return status;
}

static enum dapt_status make_tokenizer(struct vocabulary *v) {
    put(v, "{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null,\n");
    put_added(v);
    if (v->pieces)
        put_pieces_split(v);
    else
        put_bytes_split(v);
    put_template(v);
    enum dapt_status status = put_model(v);
    return status ? status : v->status;
}

static enum dapt_status make_config(struct vocabulary *v) {
    const char *template = NULL;
    const struct {
        const char *name;
        int64_t id;
    } parts[] = {
        {"bos_token", v->bos}, {"eos_token", v->eos}, {"unk_token", v->unk}, {"pad_token", v->pad}};
    enum dapt_status status = dapt_gguf_get_string(v->file, "tokenizer.chat_template", &template);
    put(v, "{\n  \"tokenizer_class\": \"PreTrainedTokenizerFast\",\n");
    put(v, "  \"clean_up_tokenization_spaces\": false");
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (parts[i].id < 0) continue;
        put(v, ",\n  \"");
        put(v, parts[i].name);
        put(v, "\": ");
        put_string(v, v->tokens[parts[i].id]);
    }
    if (template) {
        put(v, ",\n  \"chat_template\": ");
        put_string(v, template);
    }
    put(v, "\n}\n");
    return status ? status : v->status;
}

static enum dapt_status write_out(struct vocabulary *v, const char *folder, const char *file) {
    enum dapt_status status = dapt_exchange_write(folder, file, v->json.data, v->json.length);
    dapt_string_free(&v->json);
    return status;
}

enum dapt_status dapt_exchange_tokenizer_in(const struct dapt_gguf *file, uint64_t vocab,
                                            const char *folder) {
    struct vocabulary v = {.file = file, .path = dapt_gguf_path(file)};
    enum dapt_status status = read_vocabulary(&v, vocab);
    if (!status) status = index_tokens(&v);
    if (!status) status = make_tokenizer(&v);
    if (!status) status = write_out(&v, folder, "tokenizer.json");
    if (!status) status = make_config(&v);
    if (!status) status = write_out(&v, folder, "tokenizer_config.json");
    dapt_string_free(&v.json);
    free(v.table);
    return status;
}
