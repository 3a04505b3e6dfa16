// From Oniguruma's patterns (Ruby's syntax) to PCRE2's.
#include <stdio.h>
#include <string.h>

#include "regex.h"

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

enum { MAX_GROUPS = 100 };

struct translation {
    const struct dapt_host *host;
    const char *where;
    const char *begin, *p, *end;
    struct hf_text *out;
    bool in_class, failed_memory;
    int nested;  // classes inside the class, whose brackets are left out
    // What a quantifier would repeat begins here in the output; SIZE_MAX: nothing, or it is repeated
    // already.
    size_t atom;
    bool any_case;     // (?i) holds
    char last_letter;  // the literal ASCII letter right before, in lower case; 0: none
    struct {
        size_t begin;
        bool any_case, looks;  // a look ahead or behind, which Oniguruma does not repeat
    } groups[MAX_GROUPS];
    int depth;
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

// Where case does not matter, these keep to theirs in Oniguruma, and in PCRE2 before 10.45.
static bool has_case(const char *property) {
    static const char *const names[] = {"Lu", "Ll", "Lt", "Uppercase", "Lowercase"};
    for (size_t i = 0; property && i < sizeof names / sizeof *names; i++)
        if (!strcmp(property, names[i])) return true;
    return false;
}

// \p{...} or \P{...}; p stands behind the letter.
static enum dapt_status property(struct translation *t, char letter) {
    char name[64], prefix[8] = {'\\', letter, '{', 0};
    if (t->p >= t->end || *t->p != '{') {  // \pL is the letters p and L
        put(t, &letter, 1);
        return DAPT_OK;
    }
    const char *close = memchr(t->p, '}', (size_t)(t->end - t->p));
    if (!close || close - t->p > 60) return refuse(t, "an unfinished \\p{");
    const char *start = t->p + 1;
    bool negative = *start == '^';
    start += negative;
    size_t length = (size_t)(close - start);
    memcpy(name, start, length);
    name[length] = 0;
    t->p = close + 1;
    if (strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_") != length)
        return refuse(t, "this kind of \\p{...}");
    const char *plain = length <= 2 ? name : NULL;
    for (size_t i = 0; i < sizeof long_names / sizeof *long_names; i++)
        if (!strcmp(name, long_names[i][0])) plain = long_names[i][1];
    bool strict = t->any_case && has_case(plain);
    if (strict && t->in_class)
        return refuse(t, "letters of one case in [...] where case does not matter");
    if (strict) put_z(t, "(?-i:");
    put_z(t, prefix);
    if (negative) put_z(t, "^");
    if (!plain) put_z(t, "sc:");  // a script, without the extensions that PCRE2 adds by default
    put_z(t, plain ? plain : name);
    put_z(t, strict ? "})" : "}");
    return DAPT_OK;
}

// \x41, \x{41}, \u0041: a character by its number. p stands behind the letter.
static enum dapt_status numbered(struct translation *t, bool unicode) {
    bool braces = !unicode && t->p < t->end && *t->p == '{';
    const char *digits = t->p + braces;
    uint32_t code = 0;
    int count = 0, most = unicode ? 4 : braces ? 8 : 2;
    for (; count < most && digits + count < t->end; count++) {
        char c = digits[count];
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0) break;
        code = code << 4 | (uint32_t)digit;
    }
    const char *close = digits + count;
    if (count == 0 || (unicode && count < 4) || (braces && (close >= t->end || *close != '}')))
        return refuse(t, "an unfinished number of a character");
    if (!unicode && !braces && code >= 0x80)
        return refuse(t, "a byte that is no character (\\x80)");
    if (code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
        return refuse(t, "the number of no character");
    bool letter = (code | 0x20) >= 'a' && (code | 0x20) <= 'z';
    if (t->any_case && (code >= 0x80 || letter))
        return refuse(t, "a letter by its number where case does not matter");
    char text[24];
    snprintf(text, sizeof text, "\\x{%x}", code);
    put_z(t, text);
    t->p = close + braces;
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
    case 'v': put_z(t, "\\x0b"); return DAPT_OK;  // one character; PCRE2 means all vertical space
    case 'x': return numbered(t, false);
    case 'u': return numbered(t, true);
    case 'a':
    case 'e':
    case 'f':
    case 'n':
    case 'r':
    case 't':
    case 'A':
    case 'z':
    case 'Z': {
        if (t->in_class && (c == 'A' || c == 'z' || c == 'Z')) break;  // the letters there
        char text[2] = {'\\', c};
        put(t, text, 2);
        return DAPT_OK;
    }
    case 'c':
    case 'o':
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
    }
    // A letter without a meaning of its own stands for itself, where PCRE2 reserves it.
    char text[2] = {'\\', c};
    bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (unsigned char)c >= 0x80;
    put(t, letter ? &c : text, letter ? 1 : 2);
    return DAPT_OK;
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
                if (t->any_case && strstr(posix_classes[i][1], "ercase}"))
                    return refuse(t, "letters of one case where case does not matter");
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
    size_t left = (size_t)(t->end - t->p), length = 1;
    bool any_case = t->any_case, whole = false, looks = false;
    if (left > 1 && t->p[1] == '*') return refuse(t, "(*");
    if (left > 2 && t->p[1] == '?') {
        const char *q = t->p + 2;
        if (strchr(":=!>", *q)) {
            length = 3;
            looks = *q == '=' || *q == '!';
        } else if (*q == '<' && left > 3 && (q[1] == '=' || q[1] == '!')) {
            length = 4;
            looks = true;
        } else {
            for (bool on = true; q < t->end && (*q == 'i' || *q == '-'); q++) {
                if (*q == '-')
                    on = false;
                else
                    any_case = on;
            }
            if (q == t->end || (*q != ':' && *q != ')'))
                return refuse(t, "a group other than (?: (?= (?! (?> (?<= (?<! (?i:");
            // In the middle, Ruby's (?i) takes in the alternatives behind it, PCRE2's does not.
            whole = *q == ')';
            if (whole && t->p != t->begin) return refuse(t, "(?i) that is not at the start");
            length = (size_t)(q + 1 - t->p);
        }
    }
    if (!whole) {
        if (t->depth == MAX_GROUPS) return refuse(t, "groups more than 100 deep");
        t->groups[t->depth].begin = t->out->length;
        t->groups[t->depth].looks = looks;
        t->groups[t->depth++].any_case = t->any_case;
    }
    t->any_case = any_case;
    put(t, t->p, length);
    t->p += length;
    t->atom = SIZE_MAX;
    return DAPT_OK;
}

static void group_end(struct translation *t) {
    put(t, t->p++, 1);
    t->atom = SIZE_MAX;
    if (t->depth == 0) return;  // PCRE2 says that it is not valid
    t->depth--;
    if (!t->groups[t->depth].looks) t->atom = t->groups[t->depth].begin;
    t->any_case = t->groups[t->depth].any_case;
}

// Puts (?: ) around what was put since `begin`.
static void enclose(struct translation *t, size_t begin) {
    put_z(t, "(?:");
    if (t->failed_memory) return;
    memmove(t->out->data + begin + 3, t->out->data + begin, t->out->length - begin - 3);
    memcpy(t->out->data + begin, "(?:", 3);
    put_z(t, ")");
}

// "{2,3}", "{2,}", "{,3}", "{2}" at p: its length, 0: a brace that is only a brace.
static size_t interval(const struct translation *t, uint32_t *least, uint32_t *most, bool *exact) {
    const char *p = t->p + 1;
    uint32_t numbers[2] = {0, UINT32_MAX};
    bool given[2] = {false, false}, comma = false;
    for (int i = 0; i < 2; i++) {
        for (; p < t->end && *p >= '0' && *p <= '9' && p - t->p < 12; p++) {
            numbers[i] = (given[i] ? numbers[i] * 10 : 0) + (uint32_t)(*p - '0');
            given[i] = true;
        }
        if (i == 0 && p < t->end && *p == ',') comma = true, p++;
        if (!comma) break;
    }
    if (p >= t->end || *p != '}' || (!given[0] && !given[1])) return 0;
    *exact = !comma;
    *least = numbers[0];
    *most = comma ? numbers[1] : numbers[0];
    return (size_t)(p + 1 - t->p);
}

// What follows an interval differs: {2}? is an interval that may be missing, and {1,3}+ one that is
// repeated, where PCRE2 reads a lazy and a possessive one.
static enum dapt_status repeat(struct translation *t) {
    uint32_t least = 0, most = 0;
    bool exact = false;
    size_t length = *t->p == '{' ? interval(t, &least, &most, &exact) : 1;
    if (length == 0) {  // a brace of its own
        t->atom = t->out->length;
        put_z(t, "\\{");
        t->p++;
        return DAPT_OK;
    }
    if (t->atom == SIZE_MAX) return refuse(t, "a quantifier without something to repeat");
    if (*t->p != '{') {
        put(t, t->p++, 1);
        if (t->p < t->end && (*t->p == '?' || *t->p == '+')) put(t, t->p++, 1);
        t->atom = SIZE_MAX;
        return DAPT_OK;
    }
    if (least > most || least > 10000 || (most != UINT32_MAX && most > 10000))
        return refuse(t, "such an interval");
    char text[40];
    if (most == UINT32_MAX)
        snprintf(text, sizeof text, "{%u,}", least);
    else
        snprintf(text, sizeof text, exact ? "{%u}" : "{%u,%u}", least, most);
    put_z(t, text);
    t->p += length;
    char next = t->p < t->end ? *t->p : 0;
    if (next == '?' && !exact) {
        put(t, t->p++, 1);
        t->atom = SIZE_MAX;
    } else if (next == '?' || next == '+' || next == '*' || next == '{') {
        enclose(t, t->atom);  // and what follows repeats that
    } else {
        t->atom = SIZE_MAX;
    }
    return DAPT_OK;
}

// Where case does not matter, Oniguruma takes one character for several and the other way around (a
// sharp s for two of them, ligatures), which PCRE2 does not.
static enum dapt_status check_case(struct translation *t, const char *p) {
    static const char *const pairs[] = {"ss", "st", "ff", "fi", "fl"};
    unsigned char c = (unsigned char)*p;
    char before = t->last_letter;
    t->last_letter = 0;
    if (!t->any_case) return DAPT_OK;
    if (c >= 0x80 && c != 0xd0 && c != 0xd1 && (c < 0xe3 || c == 0xef))
        return refuse(t, "such a character where case does not matter");
    if (c >= 'A' && c <= 'Z') c = (unsigned char)(c - 'A' + 'a');
    if (t->in_class || c < 'a' || c > 'z') return DAPT_OK;
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        if (before == pairs[i][0] && (char)c == pairs[i][1])
            return refuse(t, "ss, st, ff, fi or fl where case does not matter");
    t->last_letter = (char)c;
    return DAPT_OK;
}

// A character for itself, all its bytes, or one of ^ $ . |
static enum dapt_status plain(struct translation *t) {
    enum dapt_status status = check_case(t, t->p);
    size_t length = 1;
    while (t->p + length < t->end && ((unsigned char)t->p[length] & 0xc0) == 0x80) length++;
    t->atom = strchr("|^", *t->p) && *t->p ? SIZE_MAX : t->out->length;
    put(t, t->p, length);
    t->p += length;
    return status;
}

enum dapt_status hf_regex_translate(const struct dapt_host *host, const char *where,
                                    const char *pattern, size_t length, struct hf_text *out) {
    struct translation t = {.host = host,
                            .where = where,
                            .begin = pattern,
                            .p = pattern,
                            .end = pattern + length,
                            .out = out,
                            .atom = SIZE_MAX};
    while (t.p < t.end) {
        enum dapt_status status = DAPT_OK;
        if (t.in_class && *t.p == '\\') {
            status = escape(&t);
        } else if (t.in_class) {
            status = check_case(&t, t.p);
            if (!status) status = class_char(&t);
        } else if (*t.p == '\\') {
            t.last_letter = 0;
            t.atom = out->length;
            status = escape(&t);
        } else if (*t.p == '[') {
            t.last_letter = 0;
            t.atom = out->length;
            status = class_open(&t);
        } else if (*t.p == '(') {  // letters meet across groups
            status = group(&t);
        } else if (*t.p == ')') {
            group_end(&t);
        } else if (strchr("*+?{", *t.p) && *t.p) {
            t.last_letter = 0;
            status = repeat(&t);
        } else {
            status = plain(&t);
        }
        if (status < 0) return status;
    }
    return t.failed_memory ? hf_out_of_memory(host) : DAPT_OK;
}
