// The keys of a folder's tokenizer: tokens, types, merges or scores, special tokens, chat template.
// A way of cutting text that llama.cpp has no name for is refused.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/gguf.h"
#include "host/json.h"
#include "model/exchange_table.h"

enum { NORMAL = 1, UNKNOWN, CONTROL, USER, UNUSED, BYTE };  // "tokenizer.ggml.token_type"

#define TOKENIZER_LIMIT ((size_t)1 << 30)
static const char space_mark[] = "\u2581";

struct tokens {
    const char *folder;
    struct dapt_gguf_metadata *keys;
    struct dapt_arena arena;
    struct dapt_json *root, *config;  // tokenizer.json, tokenizer_config.json (NULL: none)
    const struct dapt_json *model;
    bool pieces, prefix;  // SentencePiece-like; with a space in front of a text
    uint64_t count;
    const char **texts;
    int32_t *types;
    float *scores;
};

static bool is_text(const struct dapt_json *value, const char *expected) {
    const char *text = "";
    return dapt_json_kind(value) == DAPT_JSON_STRING && !dapt_json_string(value, &text) &&
           strcmp(text, expected) == 0;
}

static bool is_type(const struct dapt_json *object, const char *type) {
    return is_text(dapt_json_member(object, "type"), type);
}

static bool is_true(const struct dapt_json *object, const char *member, bool fallback) {
    if (dapt_json_kind(dapt_json_member(object, member)) == DAPT_JSON_BOOL)
        dapt_json_get_bool(object, member, &fallback);
    return fallback;
}

// The step of a normalizer or pre-tokenizer; a sequence of them, or one that stands alone; NULL at
// the end.
static const struct dapt_json *step_at(const struct dapt_json *whole, const char *list, size_t i) {
    if (is_type(whole, "Sequence")) return dapt_json_at(dapt_json_member(whole, list), i);
    return i == 0 && dapt_json_kind(whole) == DAPT_JSON_OBJECT ? whole : NULL;
}

// --------------------------------------------------------------------------------- how text is cut

static enum dapt_status fail_cut(const struct dapt_json *at) {
    return dapt_json_fail(at,
                          "cuts text in a way that llama.cpp has no name for: such a tokenizer "
                          "can't be written as GGUF");
}

static enum dapt_status put_bytes_cut(struct tokens *t) {
    const struct dapt_json *before = dapt_json_member(t->root, "normalizer"),
                           *cut = dapt_json_member(t->root, "pre_tokenizer"), *step;
    const char *pattern = NULL;
    bool digits = false, nfc = false, own = true, bytes = false;
    for (size_t i = 0; (step = step_at(before, "normalizers", i)); i++) {
        if (!is_type(step, "NFC")) return fail_cut(step);
        nfc = true;
    }
    for (size_t i = 0; (step = step_at(cut, "pretokenizers", i)); i++) {
        if (is_type(step, "Digits") && is_true(step, "individual_digits", false)) {
            digits = true;
        } else if (is_type(step, "Split") && !pattern && !is_true(step, "invert", false) &&
                   is_text(dapt_json_member(step, "behavior"), "Isolated") &&
                   dapt_json_find(step, "pattern.Regex")) {
            enum dapt_status status = dapt_json_string(dapt_json_find(step, "pattern.Regex"),
                                                       &pattern);
            if (status) return status;
        } else if (is_type(step, "ByteLevel") && !is_true(step, "add_prefix_space", true)) {
            bytes = true;
            own = is_true(step, "use_regex", true);
        } else {
            return fail_cut(step);
        }
    }
    for (const struct dapt_exchange_split *s = dapt_exchange_splits; s->name && bytes; s++) {
        bool same = s->pattern ? pattern && !own && strcmp(s->pattern, pattern) == 0
                               : !pattern && own;
        if (!same || s->digits != digits || s->nfc != nfc ||
            s->whole_words != is_true(t->model, "ignore_merges", false))
            continue;
        dapt_gguf_put_string(t->keys, "tokenizer.ggml.pre", s->name);
        return DAPT_OK;
    }
    return fail_cut(cut ? cut : t->root);
}

// Spaces become marks: in the normalizer, or in a pre-tokenizer.
static enum dapt_status read_pieces_cut(struct tokens *t) {
    const struct dapt_json *before = dapt_json_member(t->root, "normalizer"),
                           *cut = dapt_json_member(t->root, "pre_tokenizer"), *step;
    bool marked = false;
    for (size_t i = 0; (step = step_at(before, "normalizers", i)); i++) {
        if (is_type(step, "Prepend") && is_text(dapt_json_member(step, "prepend"), space_mark))
            t->prefix = true;
        else if (is_type(step, "Replace") && is_text(dapt_json_find(step, "pattern.String"), " ") &&
                 is_text(dapt_json_member(step, "content"), space_mark))
            marked = true;
        else
            return fail_cut(step);
    }
    for (size_t i = 0; (step = step_at(cut, "pretokenizers", i)); i++) {
        if (is_type(step, "Metaspace") && !is_true(step, "split", true)) {
            marked = true;
            t->prefix = !is_text(dapt_json_member(step, "prepend_scheme"), "never");
        } else if (!is_type(step, "Split") ||
                   !is_text(dapt_json_find(step, "pattern.String"), " ")) {
            return fail_cut(step);  // a Split at spaces finds none behind the normalizer
        }
    }
    return marked ? DAPT_OK : fail_cut(before ? before : t->root);
}

// ------------------------------------------------------------------------------------------ tokens

static enum dapt_status set_token(struct tokens *t, const struct dapt_json *at, int64_t id,
                                  const char *text, int32_t type) {
    if (t->texts[id] && strcmp(t->texts[id], text) != 0)
        return dapt_json_fail(at, "token %" PRId64 " is \"%.64s\" already", id, t->texts[id]);
    t->texts[id] = text;
    t->types[id] = type;
    return DAPT_OK;
}

static bool is_byte(const char *text) {
    return strlen(text) == 6 && strncmp(text, "<0x", 3) == 0 && text[5] == '>' &&
           strspn(text + 3, "0123456789ABCDEF") == 2;
}

static enum dapt_status read_tokens(struct tokens *t) {
    const struct dapt_json *vocab, *added = dapt_json_member(t->root, "added_tokens");
    const char *unknown = NULL;
    enum dapt_status status = dapt_json_need(t->model, "vocab", DAPT_JSON_OBJECT, &vocab);
    if (!status) status = dapt_json_get_string(t->model, "unk_token", &unknown);
    for (size_t i = 0; !status && i < dapt_json_count(vocab); i++) {
        const struct dapt_json *value = dapt_json_at(vocab, i);
        const char *text = dapt_json_name(value);
        int64_t id = 0;
        status = dapt_json_integer(value, 0, (int64_t)t->count - 1, &id);
        if (!status)
            status = set_token(t, value, id, text,
                               t->pieces && is_byte(text)              ? BYTE
                               : unknown && strcmp(text, unknown) == 0 ? UNKNOWN
                                                                       : NORMAL);
    }
    for (size_t i = 0; !status && i < dapt_json_count(added); i++) {
        const struct dapt_json *value = dapt_json_at(added, i), *content, *number;
        const char *text = "";
        int64_t id = 0;
        status = dapt_json_need(value, "content", DAPT_JSON_STRING, &content);
        if (!status) status = dapt_json_need(value, "id", DAPT_JSON_NUMBER, &number);
        if (!status) status = dapt_json_string(content, &text);
        if (!status) status = dapt_json_integer(number, 0, (int64_t)t->count - 1, &id);
        if (!status && t->types[id] != UNKNOWN)
            status = set_token(t, value, id, text,
                               is_true(value, "special", false) ? CONTROL : USER);
    }
    // Rows of the embedding that no token has.
    for (uint64_t i = 0; !status && i < t->count; i++) {
        if (t->texts[i]) continue;
        t->texts[i] = dapt_arena_format(&t->arena, "[PAD%" PRIu64 "]", i);
        t->types[i] = UNUSED;
        if (!t->texts[i]) status = DAPT_ERROR_MEMORY;
    }
    return status;
}

// The two tokens of a merge: "left right" or ["left", "right"].
static enum dapt_status read_merge(const struct dapt_json *merge, const char **left,
                                   size_t *left_length, const char **right) {
    enum dapt_status status;
    if (dapt_json_kind(merge) == DAPT_JSON_ARRAY) {
        status = dapt_json_string(dapt_json_at(merge, 0), left);
        if (!status) status = dapt_json_string(dapt_json_at(merge, 1), right);
        *left_length = status ? 0 : strlen(*left);
        return status;
    }
    status = dapt_json_string(merge, left);
    const char *space = status || !**left ? NULL : strchr(*left + 1, ' ');
    if (!status && !space) status = dapt_json_fail(merge, "expected two tokens");
    if (status) return status;
    *left_length = (size_t)(space - *left);
    *right = space + 1;
    return DAPT_OK;
}

static int compare_token(const void *a, const void *b) {
    return strcmp(**(const char *const *const *)a, **(const char *const *const *)b);
}

// SentencePiece joins what makes the best piece first, merges are applied from the first on: the
// score of a piece is the place of the first merge that makes it.
static enum dapt_status score_pieces(struct tokens *t, const struct dapt_json *merges) {
    const char ***sorted = dapt_alloc((size_t)t->count, sizeof *sorted);
    enum dapt_status status = sorted ? DAPT_OK : DAPT_ERROR_MEMORY;
    size_t n = dapt_json_count(merges);
    for (uint64_t i = 0; i < t->count && !status; i++) {
        sorted[i] = &t->texts[i];
        t->scores[i] = t->types[i] == NORMAL ? -(float)n - 1 : 0;
    }
    if (!status) qsort(sorted, (size_t)t->count, sizeof *sorted, compare_token);
    for (size_t i = n; i-- > 0 && !status;) {
        const char *left, *right, *text;
        size_t length;
        status = read_merge(dapt_json_at(merges, i), &left, &length, &right);
        text = status ? NULL : dapt_arena_format(&t->arena, "%.*s%s", (int)length, left, right);
        if (!text) status = status ? status : DAPT_ERROR_MEMORY;
        const char **key = &text, ***found = status ? NULL
                                                    : bsearch(&key, sorted, (size_t)t->count,
                                                              sizeof *sorted, compare_token);
        if (!status && !found)
            status = dapt_json_fail(dapt_json_at(merges, i), "makes \"%.64s\", which is no token",
                                    text);
        if (found) t->scores[*found - t->texts] = -(float)i;
    }
    free(sorted);
    return status;
}

static enum dapt_status put_merges(struct tokens *t, const struct dapt_json *merges) {
    size_t n = dapt_json_count(merges);
    const char **texts = dapt_alloc(n + 1, sizeof *texts);
    enum dapt_status status = texts ? DAPT_OK : DAPT_ERROR_MEMORY;
    for (size_t i = 0; i < n && !status; i++) {
        const char *left, *right;
        size_t length;
        status = read_merge(dapt_json_at(merges, i), &left, &length, &right);
        if (status) break;
        texts[i] = dapt_arena_format(&t->arena, "%.*s %s", (int)length, left, right);
        if (!texts[i]) status = DAPT_ERROR_MEMORY;
    }
    if (!status) dapt_gguf_put_strings(t->keys, "tokenizer.ggml.merges", texts, n);
    free(texts);
    return status;
}

// ---------------------------------------------------------------------------------- special tokens

// The id of a token, -1: none has this text.
static int64_t find_token(const struct tokens *t, const char *text) {
    for (uint64_t i = 0; i < t->count; i++)
        if (strcmp(t->texts[i], text) == 0) return (int64_t)i;
    return -1;
}

// By text in tokenizer_config.json, else by number in config.json.
static int64_t special(const struct tokens *t, const struct dapt_json *config, const char *part) {
    const struct dapt_json *value = dapt_json_member(t->config, part);
    const char *text = NULL;
    char number[32];
    int64_t id = -1;
    if (dapt_json_kind(value) == DAPT_JSON_OBJECT) value = dapt_json_member(value, "content");
    if (dapt_json_kind(value) == DAPT_JSON_STRING && !dapt_json_string(value, &text))
        return find_token(t, text);
    snprintf(number, sizeof number, "%s_id", part);
    value = dapt_json_member(config, number);
    if (dapt_json_kind(value) == DAPT_JSON_ARRAY) value = dapt_json_at(value, 0);
    if (dapt_json_kind(value) != DAPT_JSON_NUMBER ||
        dapt_json_integer(value, 0, (int64_t)t->count - 1, &id))
        return -1;
    return id;
}

// Which special tokens stand around a text: in front that which begins one, behind that which ends
// one.
static enum dapt_status put_template(struct tokens *t, int64_t bos, int64_t eos) {
    const struct dapt_json *post = dapt_json_member(t->root, "post_processor"), *step;
    bool begins = false, ends = false;
    for (size_t i = 0; (step = step_at(post, "processors", i)); i++) {
        const struct dapt_json *single = dapt_json_member(step, "single"), *part;
        if (!is_type(step, "TemplateProcessing")) continue;
        bool behind = false;
        for (size_t k = 0; (part = dapt_json_at(single, k)); k++) {
            const struct dapt_json *name = dapt_json_find(part, "SpecialToken.id");
            const char *text = "";
            if (dapt_json_member(part, "Sequence")) behind = true;
            if (!name) continue;
            enum dapt_status status = dapt_json_string(name, &text);
            if (status) return status;
            int64_t id = find_token(t, text);
            if (id < 0 || id != (behind ? eos : bos))
                return dapt_json_fail(name,
                                      "stands around each text, but is neither what begins nor "
                                      "what ends one");
            *(behind ? &ends : &begins) = true;
        }
    }
    dapt_gguf_put_bool(t->keys, "tokenizer.ggml.add_bos_token", begins);
    dapt_gguf_put_bool(t->keys, "tokenizer.ggml.add_eos_token", ends);
    return DAPT_OK;
}

static enum dapt_status put_chat(struct tokens *t) {
    const struct dapt_json *value = dapt_json_member(t->config, "chat_template");
    const char *template = NULL;
    struct dapt_string text = {0};
    char *path = dapt_path_join(&t->arena, t->folder, "chat_template.jinja");
    enum dapt_status status = path ? DAPT_OK : DAPT_ERROR_MEMORY;
    if (!status && dapt_is_file(path)) {
        status = dapt_file_read(path, TOKENIZER_LIMIT, &text);
        template = text.data;
    } else if (!status && dapt_json_kind(value) == DAPT_JSON_STRING) {
        status = dapt_json_string(value, &template);
    }
    if (!status && template) dapt_gguf_put_string(t->keys, "tokenizer.chat_template", template);
    dapt_string_free(&text);
    return status;
}

static enum dapt_status put_special(struct tokens *t, const struct dapt_json *config) {
    static const char *const parts[][2] = {{"bos_token", "tokenizer.ggml.bos_token_id"},
                                           {"eos_token", "tokenizer.ggml.eos_token_id"},
                                           {"unk_token", "tokenizer.ggml.unknown_token_id"},
                                           {"pad_token", "tokenizer.ggml.padding_token_id"}};
    int64_t ids[4];
    for (int i = 0; i < 4; i++) {
        ids[i] = special(t, config, parts[i][0]);
        if (ids[i] >= 0) dapt_gguf_put_u32(t->keys, parts[i][1], (uint32_t)ids[i]);
    }
    enum dapt_status status = put_template(t, ids[0], ids[1]);
    return status ? status : put_chat(t);
}

// --------------------------------------------------------------------------------------- the whole

static enum dapt_status open_files(struct tokens *t) {
    char *path = dapt_path_join(&t->arena, t->folder, "tokenizer.json"),
         *beside = dapt_path_join(&t->arena, t->folder, "tokenizer_config.json");
    if (!path || !beside) return DAPT_ERROR_MEMORY;
    if (!dapt_is_file(path))
        return dapt_fail(
            DAPT_ERROR_INVALID,
            "%s: is not there: GGUF files hold their tokenizer, which is taken from it", path);
    enum dapt_status status = dapt_json_read(path, TOKENIZER_LIMIT, &t->root);
    if (!status && dapt_is_file(beside))
        status = dapt_json_read(beside, DAPT_JSON_LIMIT, &t->config);
    if (!status) status = dapt_json_need(t->root, "model", DAPT_JSON_OBJECT, &t->model);
    if (!status && !is_type(t->model, "BPE") && dapt_json_member(t->model, "type"))
        status = dapt_json_fail(dapt_json_member(t->model, "type"),
                                "only BPE tokenizers are written as GGUF");
    t->pieces = !status && is_true(t->model, "byte_fallback", false);
    return status;
}

static enum dapt_status put_tokenizer(struct tokens *t, const struct dapt_json *config) {
    const struct dapt_json *merges;
    enum dapt_status status = dapt_json_need(t->model, "merges", DAPT_JSON_ARRAY, &merges);
    dapt_gguf_put_string(t->keys, "tokenizer.ggml.model", t->pieces ? "llama" : "gpt2");
    if (!status && t->pieces) dapt_gguf_put_string(t->keys, "tokenizer.ggml.pre", "default");
    if (!status) status = t->pieces ? read_pieces_cut(t) : put_bytes_cut(t);
    if (!status) status = read_tokens(t);
    if (!status && t->pieces) status = score_pieces(t, merges);
    if (status) return status;
    dapt_gguf_put_strings(t->keys, "tokenizer.ggml.tokens", t->texts, t->count);
    dapt_gguf_put_numbers(t->keys, "tokenizer.ggml.token_type", DAPT_GGUF_I32, t->types, t->count);
    if (t->pieces)
        dapt_gguf_put_numbers(t->keys, "tokenizer.ggml.scores", DAPT_GGUF_F32, t->scores, t->count);
    else
        status = put_merges(t, merges);
    dapt_gguf_put_bool(t->keys, "tokenizer.ggml.add_space_prefix", t->prefix);
    return status ? status : put_special(t, config);
}

enum dapt_status dapt_exchange_tokenizer_out(const struct dapt_model *model, const char *folder,
                                             struct dapt_gguf_metadata *metadata) {
    struct tokens t = {.folder = folder, .keys = metadata, .count = model->vocab};
    enum dapt_status status = open_files(&t);
    t.texts = dapt_arena_alloc(&t.arena, (size_t)t.count * sizeof *t.texts);
    t.types = dapt_arena_alloc(&t.arena, (size_t)t.count * sizeof *t.types);
    t.scores = dapt_arena_alloc(&t.arena, (size_t)t.count * sizeof *t.scores);
    if (!status && (!t.texts || !t.types || !t.scores)) status = DAPT_ERROR_MEMORY;
    if (!status) status = put_tokenizer(&t, model->config);
    dapt_json_free(&t.config);
    dapt_json_free(&t.root);
    dapt_arena_free(&t.arena);
    return status;
}
