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

// General categories keep their names; PCRE2 has no long names for them.
static const char *const long_names[][2] = {{"Letter", "L"},
                                            {"Mark", "M"},
                                            {"Number", "N"},
                                            {"Punctuation", "P"},
                                            {"Symbol", "S"},
                                            {"Separator", "Z"},
                                            {"Other", "C"},
                                            {"Uppercase_Letter", "Lu"},
                                            {"Lowercase_Letter", "Ll"},
                                            {"Titlecase_Letter", "Lt"},
                                            {"Modifier_Letter", "Lm"},
                                            {"Other_Letter", "Lo"},
                                            {"Nonspacing_Mark", "Mn"},
                                            {"Decimal_Number", "Nd"},
                                            {"Alphabetic", "Alphabetic"},
                                            {"Alpha", "Alphabetic"},
                                            {"White_Space", "White_Space"},
                                            {"Lowercase", "Lowercase"},
                                            {"Uppercase", "Uppercase"},
                                            {"Emoji", "Emoji"},
                                            {"Any", "Any"}};

#define WORD "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}"
// Outside of [...], superscripts and fractions of Latin-1 belong to Oniguruma's \w; inside they
// don't.
#define WORD_OUTSIDE WORD "\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}"

static const char *const posix_classes[][2] = {{"[:alpha:]", "\\p{Alphabetic}"},
                                               {"[:digit:]", "\\p{Nd}"},
                                               {"[:alnum:]", "\\p{Alphabetic}\\p{Nd}"},
                                               {"[:space:]", "\\p{White_Space}"},
                                               {"[:upper:]", "\\p{Uppercase}"},
                                               {"[:lower:]", "\\p{Lowercase}"},
                                               {"[:word:]", WORD}};

struct translation {
    const struct dapt_host *host;
    const char *where;
    const char *p, *end;
    struct hf_text *out;
    bool in_class, failed_memory;
    int nested;  // classes inside the class, whose brackets are left out
};

static void put(struct translation *t, const char *text, size_t length) {
    if (!hf_text_append(t->out, text, length)) t->failed_memory = true;
}

static void put_z(struct translation *t, const char *text_z) {
    put(t, text_z, strlen(text_z));
}

static enum dapt_status refuse(const struct translation *t, const char *what) {
    return hf_fail(t->host, DAPT_ERROR_UNSUPPORTED, "%s: %s in a pattern is not supported",
                   t->where, what);
}

// \p{...} or \P{...}; p stands behind the letter.
static enum dapt_status property(struct translation *t, char letter) {
    char name[64], prefix[8] = {'\\', letter, '{', 0};
    if (t->p >= t->end || *t->p != '{') {  // \pL
        put(t, prefix, 2);
        return DAPT_OK;
    }
    const char *close = memchr(t->p, '}', (size_t)(t->end - t->p));
    if (!close || close - t->p > 60) return refuse(t, "an unfinished \\p{");
    const char *start = t->p + 1;
    put_z(t, prefix);
    if (*start == '^') {
        put_z(t, "^");
        start++;
    }
    size_t length = (size_t)(close - start);
    memcpy(name, start, length);
    name[length] = 0;
    t->p = close + 1;
    const char *plain = length <= 2 ? name : NULL;
    for (size_t i = 0; i < sizeof long_names / sizeof *long_names; i++)
        if (!strcmp(name, long_names[i][0])) plain = long_names[i][1];
    if (!plain) put_z(t, "sc:");  // a script, without the extensions that PCRE2 adds by default
    put_z(t, plain ? plain : name);
    put_z(t, "}");
    return DAPT_OK;
}

static enum dapt_status escape(struct translation *t) {
    if (++t->p >= t->end) return refuse(t, "a backslash at the end");
    char c = *t->p++;
    switch (c) {
    case 's': put_z(t, "\\p{White_Space}"); return DAPT_OK;
    case 'S': put_z(t, "\\P{White_Space}"); return DAPT_OK;
    case 'd': put_z(t, "\\p{Nd}"); return DAPT_OK;
    case 'D': put_z(t, "\\P{Nd}"); return DAPT_OK;
    case 'w': put_z(t, t->in_class ? WORD : "[" WORD_OUTSIDE "]"); return DAPT_OK;
    case 'W':
        if (t->in_class) return refuse(t, "\\W inside [...]");
        put_z(t, "[^" WORD_OUTSIDE "]");
        return DAPT_OK;
    case 'h': put_z(t, t->in_class ? "0-9a-fA-F" : "[0-9a-fA-F]"); return DAPT_OK;
    case 'p':
    case 'P': return property(t, c);
    case 'H':
    case 'R':
    case 'X':
    case 'N':
    case 'O':
    case 'K':
    case 'G':
    case 'y':
    case 'Y':
    case 'M':
    case 'C':
    case 'k':
    case 'g':
    case 'Q':
    case 'E':
    case 'b':
    case 'B': {
        char what[8] = {'\\', c, 0};
        return refuse(t, what);
    }
    default:
        if (c >= '0' && c <= '9') return refuse(t, "a back reference or octal number");
        char text[2] = {'\\', c};
        put(t, text, 2);
        return DAPT_OK;
    }
}

static enum dapt_status class_open(struct translation *t) {
    t->in_class = true;
    put_z(t, "[");
    t->p++;
    if (t->p < t->end && *t->p == '^') {
        put_z(t, "^");
        t->p++;
    }
    if (t->p < t->end && *t->p == ']') return refuse(t, "']' at the start of [...]");
    return DAPT_OK;
}

static enum dapt_status class_char(struct translation *t) {
    if (*t->p == '[') {
        if (t->end - t->p > 1 && t->p[1] == ':') {
            for (size_t i = 0; i < sizeof posix_classes / sizeof *posix_classes; i++) {
                size_t length = strlen(posix_classes[i][0]);
                if (!hf_starts(t->p, (size_t)(t->end - t->p), posix_classes[i][0], length))
                    continue;
                put_z(t, posix_classes[i][1]);
                t->p += length;
                return DAPT_OK;
            }
            return refuse(t, "this kind of [:...:]");
        }
        // Inside, a class adds its characters. A hyphen at its edge would come to mean a range.
        if (t->end - t->p < 2 || t->p[1] == '^' || t->p[1] == '-' || t->p[1] == ']' ||
            t->p[-1] == '-')
            return refuse(t, "such a class inside a class");
        t->nested++;
        t->p++;
        return DAPT_OK;
    }
    if (*t->p == ']' && t->nested) {
        if (t->p[-1] == '-' || (t->end - t->p > 1 && t->p[1] == '-'))
            return refuse(t, "such a class inside a class");
        t->nested--;
        t->p++;
        return DAPT_OK;
    }
    if (*t->p == '&' && t->end - t->p > 1 && t->p[1] == '&')
        return refuse(t, "an intersection (&&) of classes");
    if (*t->p == ']') t->in_class = false;
    put(t, t->p++, 1);
    return DAPT_OK;
}

// Groups: options differ (Ruby's m is everyone else's s), and so do names and comments.
static enum dapt_status group(struct translation *t) {
    if (t->end - t->p > 1 && t->p[1] == '*') return refuse(t, "(*");
    if (t->end - t->p < 3 || t->p[1] != '?') {
        put(t, t->p++, 1);
        return DAPT_OK;
    }
    const char *q = t->p + 2;
    if (strchr(":=!>", *q)) {
        put(t, t->p, 3);
        t->p += 3;
        return DAPT_OK;
    }
    if (*q == '<' && t->end - q > 1 && (q[1] == '=' || q[1] == '!')) {
        put(t, t->p, 4);
        t->p += 4;
        return DAPT_OK;
    }
    while (q < t->end && (*q == 'i' || *q == '-')) q++;
    if (q == t->end || (*q != ':' && *q != ')'))
        return refuse(t, "a group other than (?: (?= (?! (?> (?<= (?<! (?i:");
    put(t, t->p, (size_t)(q + 1 - t->p));
    t->p = q + 1;
    return DAPT_OK;
}

enum dapt_status hf_regex_translate(const struct dapt_host *host, const char *where,
                                    const char *pattern, size_t length, struct hf_text *out) {
    struct translation t = {
        .host = host, .where = where, .p = pattern, .end = pattern + length, .out = out};
    while (t.p < t.end) {
        enum dapt_status status = DAPT_OK;
        if (*t.p == '\\')
            status = escape(&t);
        else if (t.in_class)
            status = class_char(&t);
        else if (*t.p == '[')
            status = class_open(&t);
        else if (*t.p == '(')
            status = group(&t);
        else
            put(&t, t.p++, 1);
        if (status < 0) return status;
    }
    return t.failed_memory ? hf_out_of_memory(host) : DAPT_OK;
}

static enum dapt_status compile(const struct dapt_host *host, const char *where,
                                const struct hf_text *pattern, struct hf_regex *regex) {
    int error = 0;
    PCRE2_SIZE offset = 0;
    // Ruby's ^ and $ stand at every line.
    regex->code = pcre2_compile(
        (PCRE2_SPTR)(pattern->data ? pattern->data : ""), pattern->length,
        PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C | PCRE2_DOLLAR_ENDONLY,
        &error, &offset, NULL);
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
