#include "regex.h"

#include <stdlib.h>
#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

enum {
    PATTERN_MAX = 1 << 16,
    STEPS = 20 * 1000 * 1000,
    JIT_STACK_MAX = 8 << 20,
    HEAP_KIB = 256 << 10
};

struct hf_regex {
    pcre2_code *code;  // NULL: literal
    bool jit;
    char *literal;
    size_t literal_length;
    char where[64];
};

struct hf_matcher {
    pcre2_match_context *context;
    pcre2_match_data *data;
    pcre2_jit_stack *stack;
};

static enum dapt_status compile(const struct dapt_host *host, const char *where,
                                const struct hf_text *pattern, struct hf_regex *regex) {
    int error = 0;
    PCRE2_SIZE offset = 0;
    // However this PCRE2 was built: a line ends with \n.
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    if (!context) return hf_out_of_memory(host);
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    // Ruby's ^ and $ stand at every line.
    regex->code = pcre2_compile(
        (PCRE2_SPTR)(pattern->data ? pattern->data : ""), pattern->length,
        PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C | PCRE2_DOLLAR_ENDONLY,
        &error, &offset, context);
    pcre2_compile_context_free(context);
    if (!regex->code) {
        char message[160] = "";
        pcre2_get_error_message(error, (PCRE2_UCHAR *)message, sizeof message);
        return hf_fail(host, DAPT_ERROR_INVALID,
                       "%s: the pattern is not valid: %s (at %zu of %.200s)", where, message,
                       (size_t)offset, pattern->data ? pattern->data : "");
    }
    regex->jit = pcre2_jit_compile(regex->code, PCRE2_JIT_COMPLETE) == 0;
    return DAPT_OK;
}

enum dapt_status hf_regex_compile(const struct dapt_host *host, const char *where,
                                  const char *pattern, size_t length, bool literal,
                                  struct hf_regex **out) {
    struct hf_text translated = {0};
    enum dapt_status status = DAPT_OK;
    if (!length)
        return hf_fail(host, DAPT_ERROR_UNSUPPORTED, "%s: an empty pattern is not supported",
                       where);
    if (length > PATTERN_MAX)
        return hf_fail(host, DAPT_ERROR_INVALID,
                       "%s: the pattern has %zu bytes; at most %d were expected", where, length,
                       PATTERN_MAX);
    struct hf_regex *regex = calloc(1, sizeof *regex);
    if (!regex) return hf_out_of_memory(host);
    strncpy(regex->where, where, sizeof regex->where - 1);
    if (literal) {
        regex->literal = malloc(length);
        regex->literal_length = length;
        if (regex->literal)
            memcpy(regex->literal, pattern, length);
        else
            status = hf_out_of_memory(host);
    } else {
        status = hf_regex_translate(host, where, pattern, length, &translated);
        if (status == DAPT_OK && !hf_text_append(&translated, "", 1))
            status = hf_out_of_memory(host);
        if (status == DAPT_OK) {
            translated.length--;  // the NUL is for messages only
            status = compile(host, where, &translated, regex);
        }
    }
    hf_text_free(&translated);
    if (status < 0) {
        hf_regex_free(regex);
        regex = NULL;
    }
    *out = regex;
    return status;
}

bool hf_regex_matches_empty(const struct hf_regex *regex) {
    uint32_t empty = 0;
    return regex->code && pcre2_pattern_info(regex->code, PCRE2_INFO_MATCHEMPTY, &empty) == 0 &&
           empty;
}

void hf_regex_free(struct hf_regex *regex) {
    if (!regex) return;
    pcre2_code_free(regex->code);
    free(regex->literal);
    free(regex);
}

struct hf_matcher *hf_matcher_create(void) {
    struct hf_matcher *matcher = calloc(1, sizeof *matcher);
    if (!matcher) return NULL;
    matcher->context = pcre2_match_context_create(NULL);
    matcher->data = pcre2_match_data_create(1, NULL);
    matcher->stack = pcre2_jit_stack_create(32 << 10, JIT_STACK_MAX,
                                            NULL);  // NULL without JIT, which is fine
    if (!matcher->context || !matcher->data) {
        hf_matcher_free(matcher);
        return NULL;
    }
    pcre2_set_heap_limit(matcher->context, HEAP_KIB);
    if (matcher->stack) pcre2_jit_stack_assign(matcher->context, NULL, matcher->stack);
    return matcher;
}

void hf_matcher_free(struct hf_matcher *matcher) {
    if (!matcher) return;
    pcre2_match_data_free(matcher->data);
    pcre2_match_context_free(matcher->context);
    if (matcher->stack) pcre2_jit_stack_free(matcher->stack);
    free(matcher);
}

static bool literal_next(const struct hf_regex *regex, const char *text, size_t length, size_t from,
                         size_t *start, size_t *end) {
    if (from >= length) return false;
    const char *hit = memmem(text + from, length - from, regex->literal, regex->literal_length);
    if (!hit) return false;
    *start = (size_t)(hit - text);
    *end = *start + regex->literal_length;
    return true;
}

static enum dapt_status search(const struct hf_regex *regex, struct hf_matcher *matcher,
                               const struct dapt_host *host, const char *text, size_t length,
                               size_t from, size_t *start, size_t *end) {
    // A pattern may honestly need some steps a byte; more than that is runaway backtracking.
    uint32_t limit = length > (UINT32_MAX - STEPS) / 16 ? UINT32_MAX
                                                        : STEPS + 16 * (uint32_t)length;
    pcre2_set_match_limit(matcher->context, limit);
    int count = pcre2_match(regex->code, (PCRE2_SPTR)text, length, from, PCRE2_NO_UTF_CHECK,
                            matcher->data, matcher->context);
    if (count == PCRE2_ERROR_JIT_STACKLIMIT)
        count = pcre2_match(regex->code, (PCRE2_SPTR)text, length, from,
                            PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, matcher->data, matcher->context);
    if (count == PCRE2_ERROR_NOMATCH) return DAPT_END;
    if (count < 0) {
        char message[160] = "";
        pcre2_get_error_message(count, (PCRE2_UCHAR *)message, sizeof message);
        return hf_fail(host, DAPT_ERROR_INVALID,
                       "%s: the pattern gave up on a text of %zu bytes: %s", regex->where, length,
                       message);
    }
    const PCRE2_SIZE *pair = pcre2_get_ovector_pointer(matcher->data);
    *start = pair[0];
    *end = pair[1] < pair[0] ? pair[0] : pair[1];
    return DAPT_OK;
}

enum dapt_status hf_regex_next(const struct hf_regex *regex, struct hf_matcher *matcher,
                               const struct dapt_host *host, const char *text, size_t length,
                               struct hf_find *find, size_t *start, size_t *end) {
    for (;;) {
        if (find->position > length) return DAPT_END;
        if (!regex->code) {
            if (!literal_next(regex, text, length, find->position, start, end)) return DAPT_END;
        } else {
            enum dapt_status status = search(regex, matcher, host, text, length, find->position,
                                             start, end);
            if (status != DAPT_OK) return status;
        }
        if (*start == *end && find->matched && find->last_end == *end) {
            if (find->position < length)
                hf_utf8_next(text, &find->position);
            else
                find->position = length + 1;
            continue;
        }
        find->position = find->last_end = *end;
        find->matched = true;
        return DAPT_OK;
    }
}
