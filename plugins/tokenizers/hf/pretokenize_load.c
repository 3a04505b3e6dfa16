// Reading pre-tokenizers: one row a type.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pretokenize_steps.h"

enum { DEPTH_MAX = 16 };

struct loader {
    const struct dapt_host *host;
    const char *where;
    const cJSON *object;
    struct hf_pretokenizer *out;
};

// A new step, or NULL when there are too many (recorded).
static struct hf_step *step_add(const struct loader *loader) {
    if (loader->out->count < HF_STEPS_MAX) return &loader->out->steps[loader->out->count++];
    hf_fail(loader->host, DAPT_ERROR_INVALID, "more than %d pre-tokenizers", HF_STEPS_MAX);
    return NULL;
}

static enum dapt_status behavior_load(const struct loader *loader, const char *fallback,
                                      enum hf_behavior *behavior) {
    static const char *const names[] = {"Isolated", "Removed", "MergedWithPrevious",
                                        "MergedWithNext", "Contiguous"};
    const cJSON *member = hf_json_member(loader->object, "behavior");
    const char *name = cJSON_IsString(member) ? member->valuestring : member ? "" : fallback;
    for (size_t i = 0; name && i < sizeof names / sizeof *names; i++)
        if (!strcmp(name, names[i])) {
            *behavior = (enum hf_behavior)i;
            return DAPT_OK;
        }
    return hf_fail(loader->host, DAPT_ERROR_UNSUPPORTED, "%s: \"behavior\" %.40s is not supported",
                   loader->where, name ? name : "(missing)");
}

static enum dapt_status load_byte_level(const struct loader *loader) {
    struct hf_step *step = step_add(loader);
    bool use_regex = true, trim;
    if (!step) return DAPT_ERROR_INVALID;
    enum dapt_status status = hf_json_bool(loader->host, loader->where, loader->object,
                                           "add_prefix_space", -1, &step->prefix_space);
    if (status == DAPT_OK)
        status = hf_json_bool(loader->host, loader->where, loader->object, "use_regex", 1,
                              &use_regex);
    if (status == DAPT_OK)  // about offsets, which this program does not give
        status = hf_json_bool(loader->host, loader->where, loader->object, "trim_offsets", 1,
                              &trim);
    if (step->prefix_space) step->rewrite = hf_rewrite_prefix_space;
    if (use_regex) {
        step->find = hf_cuts_fast;
        step->split = hf_split_gpt2;
    }
    step->map_bytes = true;
    return status;
}

static enum dapt_status load_split(const struct loader *loader) {
    struct hf_step *step = step_add(loader);
    struct hf_text pattern = {0};
    bool literal = false;
    if (!step) return DAPT_ERROR_INVALID;
    enum dapt_status status = hf_pattern_load(loader->host, loader->where, loader->object, &pattern,
                                              &literal, &step->regex);
    if (status == DAPT_OK) status = behavior_load(loader, NULL, &step->behavior);
    if (status == DAPT_OK)
        status = hf_json_bool(loader->host, loader->where, loader->object, "invert", 0,
                              &step->invert);
    step->find = hf_cuts_regex;
    if (status == DAPT_OK && !literal &&
        (step->split = hf_splitter_for(pattern.data, pattern.length)))
        step->find = hf_cuts_fast;
    hf_text_free(&pattern);
    return status;
}

static enum dapt_status add_class(const struct loader *loader, uint8_t classes,
                                  enum hf_behavior behavior) {
    struct hf_step *step = step_add(loader);
    if (!step) return DAPT_ERROR_INVALID;
    step->find = hf_cuts_class;
    step->classes = classes;
    step->behavior = behavior;
    return DAPT_OK;
}

static enum dapt_status load_whitespace(const struct loader *loader) {
    struct hf_step *step = step_add(loader);
    if (!step) return DAPT_ERROR_INVALID;
    step->find = hf_cuts_words;
    step->behavior = HF_REMOVED;
    step->invert = true;
    return DAPT_OK;
}

static enum dapt_status load_whitespace_split(const struct loader *loader) {
    return add_class(loader, HF_SPACE, HF_REMOVED);
}

static enum dapt_status load_digits(const struct loader *loader) {
    bool individual = false;
    enum dapt_status status = hf_json_bool(loader->host, loader->where, loader->object,
                                           "individual_digits", 0, &individual);
    return status < 0 ? status
                      : add_class(loader, HF_NUMBER, individual ? HF_ISOLATED : HF_CONTIGUOUS);
}

static enum dapt_status load_punctuation(const struct loader *loader) {
    enum hf_behavior behavior = HF_ISOLATED;
    enum dapt_status status = behavior_load(loader, "Isolated", &behavior);
    return status < 0 ? status : add_class(loader, HF_PUNCTUATION, behavior);
}

static enum dapt_status load_bert(const struct loader *loader) {
    enum dapt_status status = add_class(loader, HF_SPACE, HF_REMOVED);
    return status < 0 ? status : add_class(loader, HF_PUNCTUATION, HF_ISOLATED);
}

static enum dapt_status metaspace_scheme(const struct loader *loader, enum hf_scheme *scheme) {
    static const char *const names[] = {"always", "first", "never"};
    const cJSON *member = hf_json_member(loader->object, "prepend_scheme");
    bool add_prefix = true;
    enum dapt_status status =  // the older spelling
        hf_json_bool(loader->host, loader->where, loader->object, "add_prefix_space", 1,
                     &add_prefix);
    if (status < 0) return status;
    *scheme = add_prefix ? HF_PREPEND_ALWAYS : HF_PREPEND_NEVER;
    if (!member) return DAPT_OK;
    for (int i = 0; cJSON_IsString(member) && i < 3; i++) {
        if (strcmp(member->valuestring, names[i])) continue;
        if (!add_prefix && i != HF_PREPEND_NEVER)
            return hf_fail(loader->host, DAPT_ERROR_INVALID,
                           "%s: \"add_prefix_space\" and \"prepend_scheme\" say different things",
                           loader->where);
        *scheme = (enum hf_scheme)i;
        return DAPT_OK;
    }
    return hf_fail(loader->host, DAPT_ERROR_UNSUPPORTED,
                   "%s: \"prepend_scheme\" must be \"always\", \"first\" or \"never\"",
                   loader->where);
}

static enum dapt_status load_metaspace(const struct loader *loader) {
    struct hf_step *step = step_add(loader);
    bool split = true;
    size_t at = 0;
    if (!step) return DAPT_ERROR_INVALID;
    enum dapt_status status = hf_json_string(loader->host, loader->where, loader->object,
                                             "replacement", "\xe2\x96\x81", &step->replacement);
    if (status == DAPT_OK) status = metaspace_scheme(loader, &step->scheme);
    if (status == DAPT_OK)
        status = hf_json_bool(loader->host, loader->where, loader->object, "split", 1, &split);
    if (status < 0) return status;
    // Behind another cut, the library's notion of "first" depends on how it keeps offsets.
    if (step->scheme == HF_PREPEND_FIRST && loader->out->count > 1)
        return hf_fail(
            loader->host, DAPT_ERROR_UNSUPPORTED,
            "%s: \"prepend_scheme\" \"first\" behind another pre-tokenizer is not supported",
            loader->where);
    if (step->replacement.length) hf_utf8_next(step->replacement.data, &at);
    if (!at || at != step->replacement.length)
        return hf_fail(loader->host, DAPT_ERROR_INVALID,
                       "%s: \"replacement\" must be one character", loader->where);
    step->rewrite = hf_rewrite_metaspace;
    if (!split) return DAPT_OK;
    step->find = hf_cuts_regex;
    step->behavior = HF_MERGED_WITH_NEXT;
    return hf_regex_compile(loader->host, loader->where, step->replacement.data,
                            step->replacement.length, true, &step->regex);
}

static const struct {
    const char *type;
    enum dapt_status (*load)(const struct loader *loader);
    const char *keys[8];
} types[] = {
    {"ByteLevel", load_byte_level, {"type", "add_prefix_space", "trim_offsets", "use_regex"}},
    {"Split", load_split, {"type", "pattern", "behavior", "invert"}},
    {"Whitespace", load_whitespace, {"type"}},
    {"WhitespaceSplit", load_whitespace_split, {"type"}},
    {"Digits", load_digits, {"type", "individual_digits"}},
    {"Punctuation", load_punctuation, {"type", "behavior"}},
    {"BertPreTokenizer", load_bert, {"type"}},
    {"Metaspace",
     load_metaspace,
     {"type", "replacement", "prepend_scheme", "split", "add_prefix_space", "str_rep"}},
};

static enum dapt_status load(const struct dapt_host *host, const cJSON *object, int depth,
                             struct hf_pretokenizer *out) {
    static const char *const sequence_keys[] = {"type", "pretokenizers", NULL};
    const char *type;
    char where[96];
    enum dapt_status status = hf_json_type(host, "pre_tokenizer", object, &type);
    if (status < 0) return status;
    snprintf(where, sizeof where, "pre_tokenizer %.64s", type);
    if (!strcmp(type, "Sequence")) {
        const cJSON *list = hf_json_member(object, "pretokenizers"), *item;
        if (!cJSON_IsArray(list))
            return hf_fail(host, DAPT_ERROR_INVALID, "%s: \"pretokenizers\" must be a list", where);
        if (depth >= DEPTH_MAX)
            return hf_fail(host, DAPT_ERROR_INVALID, "pre-tokenizers are nested too deep");
        status = hf_json_only(host, where, object, sequence_keys);
        for (item = list->child; item && status == DAPT_OK; item = item->next)
            status = load(host, item, depth + 1, out);
        return status;
    }
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (strcmp(type, types[i].type)) continue;
        struct loader loader = {host, where, object, out};
        status = hf_json_only(host, where, object, types[i].keys);
        return status < 0 ? status : types[i].load(&loader);
    }
    return hf_fail(host, DAPT_ERROR_UNSUPPORTED, "pre_tokenizer \"%.64s\" is not supported", type);
}

enum dapt_status hf_pretokenizer_load(const struct dapt_host *host, const cJSON *object,
                                      struct hf_pretokenizer **pretokenizer) {
    *pretokenizer = NULL;
    if (!object || cJSON_IsNull(object)) return DAPT_OK;
    struct hf_pretokenizer *loaded = calloc(1, sizeof *loaded);
    if (!loaded) return hf_out_of_memory(host);
    enum dapt_status status = load(host, object, 0, loaded);
    if (status < 0 || !loaded->count) {
        hf_pretokenizer_free(loaded);
        loaded = NULL;
    }
    *pretokenizer = loaded;
    return status;
}

void hf_pretokenizer_free(struct hf_pretokenizer *pretokenizer) {
    if (!pretokenizer) return;
    for (size_t i = 0; i < pretokenizer->count; i++) {
        hf_regex_free(pretokenizer->steps[i].regex);
        hf_text_free(&pretokenizer->steps[i].replacement);
    }
    free(pretokenizer);
}
