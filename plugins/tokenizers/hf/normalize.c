#include "normalize.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEPTH_MAX = 16, STEPS_MAX = 256 };

struct step;
typedef enum dapt_status (*step_run)(const struct step *step, const struct dapt_host *host,
                                     struct hf_normalize_scratch *scratch, const char *text,
                                     size_t length, struct hf_text *out, bool *changed);
struct step {
    step_run run;
    enum hf_form form;
    struct hf_text content;                         // Prepend, Replace
    struct hf_regex *regex;                         // Replace
    bool left, right;                               // Strip
    bool clean, chinese, strip_accents, lowercase;  // Bert
};

struct hf_normalizer {
    struct step steps[STEPS_MAX];
    size_t count;
};

// Runs: `out` is empty; *changed false (with `out` still empty) means that the text stays.

static enum dapt_status run_form(const struct step *step, const struct dapt_host *host,
                                 struct hf_normalize_scratch *scratch, const char *text,
                                 size_t length, struct hf_text *out, bool *changed) {
    if (!hf_normal_form(step->form, text, length, out, changed, &scratch->form))
        return hf_out_of_memory(host);
    return DAPT_OK;
}

static enum dapt_status run_lowercase(const struct step *step, const struct dapt_host *host,
                                      struct hf_normalize_scratch *scratch, const char *text,
                                      size_t length, struct hf_text *out, bool *changed) {
    (void)step;
    (void)scratch;
    *changed = true;
    return hf_lower(text, length, out) ? DAPT_OK : hf_out_of_memory(host);
}

// Appends the text without characters of these classes.
static bool drop_class(const char *text, size_t length, uint8_t classes, struct hf_text *out,
                       bool *head_lost) {
    if (!hf_text_reserve(out, length)) return false;
    for (size_t i = 0; i < length;) {
        size_t start = i;
        if (hf_class(hf_utf8_next(text, &i)) & classes) {
            if (!start) *head_lost = true;
            continue;
        }
        memcpy(out->data + out->length, text + start, i - start);
        out->length += i - start;
    }
    return true;
}

static enum dapt_status run_strip_accents(const struct step *step, const struct dapt_host *host,
                                          struct hf_normalize_scratch *scratch, const char *text,
                                          size_t length, struct hf_text *out, bool *changed) {
    (void)step;
    *changed = hf_ascii_prefix(text, length) < length;
    if (!*changed) return DAPT_OK;
    return drop_class(text, length, HF_MARK, out, &scratch->head_lost) ? DAPT_OK
                                                                       : hf_out_of_memory(host);
}

static enum dapt_status run_strip(const struct step *step, const struct dapt_host *host,
                                  struct hf_normalize_scratch *scratch, const char *text,
                                  size_t length, struct hf_text *out, bool *changed) {
    size_t start = 0, end = length;
    while (step->left && start < end) {
        size_t next = start;
        if (!(hf_class(hf_utf8_next(text, &next)) & HF_SPACE)) break;
        start = next;
    }
    while (step->right && end > start) {
        size_t before = hf_utf8_before(text, end), next = before;
        if (!(hf_class(hf_utf8_next(text, &next)) & HF_SPACE)) break;
        end = before;
    }
    if (start) scratch->head_lost = true;
    *changed = start > 0 || end < length;
    if (!*changed) return DAPT_OK;
    return hf_text_append(out, text + start, end - start) ? DAPT_OK : hf_out_of_memory(host);
}

static enum dapt_status run_prepend(const struct step *step, const struct dapt_host *host,
                                    struct hf_normalize_scratch *scratch, const char *text,
                                    size_t length, struct hf_text *out, bool *changed) {
    (void)scratch;
    *changed = length > 0;
    if (!*changed) return DAPT_OK;
    if (!hf_text_append(out, step->content.data, step->content.length) ||
        !hf_text_append(out, text, length))
        return hf_out_of_memory(host);
    return DAPT_OK;
}

// What tokenizers make of a text is some times as long, not a thousand times: a file that asks for more
// takes all memory.
static enum dapt_status check_growth(const struct dapt_host *host, size_t before, size_t after) {
    if (after <= ((size_t)1 << 20) + 1000 * before) return DAPT_OK;
    return hf_fail(
        host, DAPT_ERROR_INVALID,
        "normalizer: makes more than %zu bytes of a text of %zu; at most a thousand times as "
        "much was expected",
        after, before);
}

enum dapt_status hf_replace(const struct hf_regex *regex, struct hf_matcher *matcher,
                            const struct dapt_host *host, const char *text, size_t length,
                            const struct hf_text *content, struct hf_text *out, bool *changed) {
    struct hf_find find = {0};
    size_t start, end, done = 0;
    enum dapt_status status;
    *changed = false;
    if (!length) return DAPT_OK;
    while ((status = hf_regex_next(regex, matcher, host, text, length, &find, &start, &end)) ==
           DAPT_OK) {
        *changed = true;
        if (!hf_text_append(out, text + done, start - done) ||
            !hf_text_append(out, content->data, content->length))
            return hf_out_of_memory(host);
        done = end;
        if ((status = check_growth(host, length, out->length))) return status;
    }
    if (status < 0) return status;
    if (*changed && !hf_text_append(out, text + done, length - done)) return hf_out_of_memory(host);
    return DAPT_OK;
}

static enum dapt_status run_replace(const struct step *step, const struct dapt_host *host,
                                    struct hf_normalize_scratch *scratch, const char *text,
                                    size_t length, struct hf_text *out, bool *changed) {
    enum dapt_status status = hf_replace(step->regex, scratch->matcher, host, text, length,
                                         &step->content, out, changed);
    struct hf_find find = {0};
    size_t start, end;
    if (status == DAPT_OK && *changed && !step->content.length &&
        hf_regex_next(step->regex, scratch->matcher, host, text, length, &find, &start, &end) ==
            DAPT_OK &&
        !start && end)
        scratch->head_lost = true;
    return status;
}

// BERT: control characters go, whitespace becomes a space, Chinese characters get spaces around
// them.
static bool bert_clean(const struct step *step, const char *text, size_t length,
                       struct hf_text *out, bool *head_lost) {
    for (size_t i = 0; i < length;) {
        size_t start = i;
        uint32_t code = hf_utf8_next(text, &i);
        uint8_t class = hf_class(code);
        if (step->clean && (!code || code == 0xfffd || (class & HF_CONTROL))) {
            if (!start) *head_lost = true;
            continue;
        }
        if (step->clean && (class & HF_SPACE)) {
            if (!hf_text_append(out, " ", 1)) return false;
            continue;
        }
        bool apart = step->chinese && code >= 0x3400 && hf_is_chinese(code);
        if ((apart && !hf_text_append(out, " ", 1)) ||
            !hf_text_append(out, text + start, i - start) ||
            (apart && !hf_text_append(out, " ", 1)))
            return false;
    }
    return true;
}

static enum dapt_status run_bert(const struct step *step, const struct dapt_host *host,
                                 struct hf_normalize_scratch *scratch, const char *text,
                                 size_t length, struct hf_text *out, bool *changed) {
    bool good = hf_text_reserve(out, length) &&
                bert_clean(step, text, length, out, &scratch->head_lost);
    *changed = true;
    if (good && step->strip_accents && hf_ascii_prefix(out->data, out->length) < out->length) {
        bool decomposed = false;
        struct hf_text *spare = &scratch->lower;
        spare->length = 0;
        good = hf_normal_form(HF_NFD, out->data, out->length, spare, &decomposed, &scratch->form);
        if (good && !decomposed) good = hf_text_append(spare, out->data, out->length);
        out->length = 0;
        good = good &&
               drop_class(spare->data, spare->length, HF_NONSPACING, out, &scratch->head_lost);
    }
    if (good && step->lowercase) {
        struct hf_text *spare = &scratch->lower;
        spare->length = 0;
        good = hf_lower(out->data, out->length, spare);
        if (good) {
            struct hf_text swap = *spare;
            *spare = *out;
            *out = swap;
        }
    }
    return good ? DAPT_OK : hf_out_of_memory(host);
}

// Loading.

enum dapt_status hf_pattern_load(const struct dapt_host *host, const char *where,
                                 const cJSON *object, struct hf_text *pattern, bool *literal,
                                 struct hf_regex **regex) {
    const cJSON *member = hf_json_member(object, "pattern");
    const cJSON *string = hf_json_member(member, "String"),
                *expression = hf_json_member(member, "Regex");
    *regex = NULL;
    if (!cJSON_IsObject(member) || !string == !expression || member->child->next)
        return hf_fail(host, DAPT_ERROR_INVALID,
                       "%s, \"pattern\": {\"String\": ...} or {\"Regex\": ...} was expected",
                       where);
    *literal = string != NULL;
    pattern->length = 0;
    enum dapt_status status = hf_json_text(host, where, string ? string : expression, pattern);
    if (status < 0) return status;
    return hf_regex_compile(host, where, pattern->data, pattern->length, *literal, regex);
}

static enum dapt_status load_replace(const struct dapt_host *host, const cJSON *object,
                                     struct step *step) {
    struct hf_text pattern = {0};
    bool literal;
    enum dapt_status status = hf_pattern_load(host, "normalizer Replace", object, &pattern,
                                              &literal, &step->regex);
    if (status == DAPT_OK)
        status = hf_json_string(host, "normalizer Replace", object, "content", NULL,
                                &step->content);
    // What the library makes of text put in where nothing was depends on what comes after; no model
    // does that.
    if (status == DAPT_OK && hf_regex_matches_empty(step->regex))
        status = hf_fail(host, DAPT_ERROR_UNSUPPORTED,
                         "normalizer Replace: a pattern that may match nothing, %.100s",
                         pattern.data);
    hf_text_free(&pattern);
    return status;
}

static enum dapt_status load_prepend(const struct dapt_host *host, const cJSON *object,
                                     struct step *step) {
    return hf_json_string(host, "normalizer Prepend", object, "prepend", NULL, &step->content);
}

static enum dapt_status load_strip(const struct dapt_host *host, const cJSON *object,
                                   struct step *step) {
    enum dapt_status status = hf_json_bool(host, "normalizer Strip", object, "strip_left", -1,
                                           &step->left);
    if (status == DAPT_OK)
        status = hf_json_bool(host, "normalizer Strip", object, "strip_right", -1, &step->right);
    return status;
}

static enum dapt_status load_bert(const struct dapt_host *host, const cJSON *object,
                                  struct step *step) {
    const char *where = "normalizer BertNormalizer";
    enum dapt_status status = hf_json_bool(host, where, object, "clean_text", -1, &step->clean);
    if (status == DAPT_OK)
        status = hf_json_bool(host, where, object, "handle_chinese_chars", -1, &step->chinese);
    if (status == DAPT_OK)
        status = hf_json_bool(host, where, object, "lowercase", -1, &step->lowercase);
    if (status == DAPT_OK)  // null: as lowercase says
        status = hf_json_bool(host, where, object, "strip_accents", step->lowercase,
                              &step->strip_accents);
    return status;
}

static const struct {
    const char *type;
    step_run run;
    enum dapt_status (*load)(const struct dapt_host *host, const cJSON *object, struct step *step);
    enum hf_form form;
    const char *keys[6];
} types[] = {
    {"NFC", run_form, NULL, HF_NFC, {"type"}},
    {"NFD", run_form, NULL, HF_NFD, {"type"}},
    {"NFKC", run_form, NULL, HF_NFKC, {"type"}},
    {"NFKD", run_form, NULL, HF_NFKD, {"type"}},
    {"Lowercase", run_lowercase, NULL, 0, {"type"}},
    {"StripAccents", run_strip_accents, NULL, 0, {"type"}},
    {"Strip", run_strip, load_strip, 0, {"type", "strip_left", "strip_right"}},
    {"Prepend", run_prepend, load_prepend, 0, {"type", "prepend"}},
    {"Replace", run_replace, load_replace, 0, {"type", "pattern", "content"}},
    {"BertNormalizer",
     run_bert,
     load_bert,
     0,
     {"type", "clean_text", "handle_chinese_chars", "strip_accents", "lowercase"}},
};

static enum dapt_status load(const struct dapt_host *host, const cJSON *object, int depth,
                             struct hf_normalizer *normalizer) {
    static const char *const sequence_keys[] = {"type", "normalizers", NULL};
    const char *type;
    char where[96];
    enum dapt_status status = hf_json_type(host, "normalizer", object, &type);
    if (status < 0) return status;
    snprintf(where, sizeof where, "normalizer %.64s", type);
    if (!strcmp(type, "Sequence")) {
        const cJSON *list = hf_json_member(object, "normalizers"), *item;
        if (!cJSON_IsArray(list))
            return hf_fail(host, DAPT_ERROR_INVALID, "%s: \"normalizers\" must be a list", where);
        if (depth >= DEPTH_MAX)
            return hf_fail(host, DAPT_ERROR_INVALID, "normalizers are nested too deep");
        status = hf_json_only(host, where, object, sequence_keys);
        for (item = list->child; item && status == DAPT_OK; item = item->next)
            status = load(host, item, depth + 1, normalizer);
        return status;
    }
    if (normalizer->count >= STEPS_MAX)
        return hf_fail(host, DAPT_ERROR_INVALID, "more than %d normalizers", STEPS_MAX);
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (strcmp(type, types[i].type)) continue;
        struct step *step = &normalizer->steps[normalizer->count++];
        step->run = types[i].run;
        step->form = types[i].form;
        status = hf_json_only(host, where, object, types[i].keys);
        if (status == DAPT_OK && types[i].load) status = types[i].load(host, object, step);
        return status;
    }
    return hf_fail(host, DAPT_ERROR_UNSUPPORTED, "normalizer \"%.64s\" is not supported", type);
}

enum dapt_status hf_normalizer_load(const struct dapt_host *host, const cJSON *object,
                                    struct hf_normalizer **normalizer) {
    *normalizer = NULL;
    if (!object || cJSON_IsNull(object)) return DAPT_OK;
    struct hf_normalizer *loaded = calloc(1, sizeof *loaded);
    if (!loaded) return hf_out_of_memory(host);
    enum dapt_status status = load(host, object, 0, loaded);
    if (status < 0 || !loaded->count) {
        hf_normalizer_free(loaded);
        loaded = NULL;
    }
    *normalizer = loaded;
    return status;
}

void hf_normalizer_free(struct hf_normalizer *normalizer) {
    if (!normalizer) return;
    for (size_t i = 0; i < normalizer->count; i++) {
        hf_text_free(&normalizer->steps[i].content);
        hf_regex_free(normalizer->steps[i].regex);
    }
    free(normalizer);
}

enum dapt_status hf_normalize(const struct hf_normalizer *normalizer, const struct dapt_host *host,
                              struct hf_normalize_scratch *scratch, const char *text, size_t length,
                              const char **out, size_t *out_length) {
    size_t next = 0, whole = length;
    scratch->head_lost = false;
    for (size_t i = 0; normalizer && i < normalizer->count; i++) {
        const struct step *step = &normalizer->steps[i];
        struct hf_text *target = &scratch->buffers[next];
        bool changed = false;
        target->length = 0;
        enum dapt_status status = step->run(step, host, scratch, text, length, target, &changed);
        if (status >= 0) status = check_growth(host, whole, target->length);
        if (status < 0) return status;
        if (!changed) continue;
        text = target->length ? target->data : "";
        length = target->length;
        next = !next;
    }
    *out = text;
    *out_length = length;
    return DAPT_OK;
}

void hf_normalize_scratch_free(struct hf_normalize_scratch *scratch) {
    hf_text_free(&scratch->buffers[0]);
    hf_text_free(&scratch->buffers[1]);
    hf_text_free(&scratch->lower);
    free(scratch->form.codes);
    scratch->form = (struct hf_form_scratch){0};
}
