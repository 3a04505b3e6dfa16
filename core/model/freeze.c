// Which parameters are trained: patterns over their names.
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "model/families.h"
#include "model/slots.h"

// "N-M" at the begin of a pattern; its length, or 0.
static size_t range(const char *pattern, uint64_t *least, uint64_t *most) {
    char *end;
    if (!isdigit((unsigned char)*pattern)) return 0;
    *least = strtoull(pattern, &end, 10);
    if (*end != '-' || !isdigit((unsigned char)end[1])) return 0;
    *most = strtoull(end + 1, &end, 10);
    return (size_t)(end - pattern);
}

// One element of a pattern that is no '*' against the begin of `text`: how much of both it takes.
static bool one(const char *pattern, const char *start, const char *text, size_t *pattern_length,
                size_t *text_length) {
    uint64_t least, most;
    bool begins = text == start || !isdigit((unsigned char)text[-1]);
    *text_length = *pattern_length = 1;
    size_t length = range(pattern, &least, &most);
    if (length && begins && isdigit((unsigned char)*text)) {
        char *end;
        uint64_t number = strtoull(text, &end, 10);
        *pattern_length = length;
        *text_length = (size_t)(end - text);
        return number >= least && number <= most;
    }
    return *text && (*pattern == '?' || *pattern == *text);
}

// Whether the pattern is the name, or that of a part that the name lies in. Backtracks to the last '*'
// alone, which is enough, as each other element takes what it takes.
static bool matches(const char *pattern, const char *name) {
    const char *p = pattern, *text = name, *star = NULL, *from = NULL;
    for (;;) {
        size_t taken, length;
        if (!*p && (!*text || *text == '.')) return true;
        if (*p == '*') {
            star = ++p;
            from = text;
        } else if (*p && one(p, name, text, &taken, &length)) {
            p += taken;
            text += length;
        } else if (star && *from) {
            p = star;
            text = ++from;
        } else {
            return false;
        }
    }
}

static bool any_name(const struct dapt_model *m, const char *pattern, const char *file,
                     const char *own) {
    size_t prefix = strlen(m->family->prefix);
    bool inside = strncmp(file, m->family->prefix, prefix) == 0;
    return matches(pattern, file) || (inside && matches(pattern, file + prefix)) ||
           (own && matches(pattern, own));
}

bool dapt_slot_matches(const struct dapt_model *m, const char *pattern, size_t slot,
                       struct dapt_arena *arena) {
    return m->slots[slot] != DAPT_NONE &&
           any_name(m, pattern, m->parameters[m->slots[slot]].name, dapt_slot_name(arena, slot));
}

// "embed, final_norm, head; layers.0-3: norm1, attention.q, ..."
static enum dapt_status list_names(const struct dapt_model *m, struct dapt_arena *arena,
                                   struct dapt_string *list) {
    enum dapt_status status = DAPT_OK;
    for (size_t i = 0; i < 2 * DAPT_SLOT_COUNT && !status; i++) {
        if (i == DAPT_SLOT_COUNT)
            status = dapt_string_format(list, "; layers.0-%u:", m->layers - 1);
        if (m->slots[i] == DAPT_NONE || status) continue;
        const char *name = dapt_slot_name(arena, i);
        if (!name) return DAPT_ERROR_MEMORY;
        status = dapt_string_format(list, " %s",
                                    i < DAPT_SLOT_COUNT ? name : name + strlen("layers.0."));
    }
    return status;
}

// Freezes those of a table of slots that a pattern matches; returns how many. `end`: of their own names.
static size_t freeze_in(struct dapt_model *m, const uint32_t *table, const char *end,
                        const char *pattern, struct dapt_arena *arena) {
    size_t found = 0;
    for (size_t i = 0; i < dapt_slots_count(m); i++) {
        if (table[i] == DAPT_NONE) continue;
        const char *own = dapt_arena_format(arena, "%s%s", dapt_slot_name(arena, i), end);
        if (!any_name(m, pattern, m->parameters[table[i]].name, own)) continue;
        m->parameters[table[i]].trained = false;
        found++;
    }
    return found;
}

static enum dapt_status freeze(struct dapt_model *m, const char *pattern, const char *where,
                               struct dapt_arena *arena) {
    struct dapt_string list = {0};
    size_t found = freeze_in(m, m->slots, "", pattern, arena);
    if (m->adapters) found += freeze_in(m, m->adapters->a, ".lora_A", pattern, arena);
    if (m->adapters) found += freeze_in(m, m->adapters->b, ".lora_B", pattern, arena);
    if (found) return DAPT_OK;
    enum dapt_status status = list_names(m, arena, &list);
    if (!status)
        status = dapt_fail(
            DAPT_ERROR_INVALID,
            "%s: \"%s\" matches no parameter of this %s model; there are%s (or names as "
            "in its files, such as %s)",
            where, pattern, m->family->type, list.data, m->parameters[0].name);
    dapt_string_free(&list);
    return status;
}

enum dapt_status dapt_model_freeze(struct dapt_model *model, const char *const *patterns,
                                   size_t count, const char *where) {
    struct dapt_arena arena = {0};
    enum dapt_status status = DAPT_OK;
    for (size_t i = 0; i < count && !status; i++)
        status = freeze(model, patterns[i], where, &arena);
    dapt_slots_lay_out(model);
    if (!status && !model->trained_count)
        status = dapt_fail(DAPT_ERROR_INVALID,
                           "%s: all parameters are frozen: nothing is left to train", where);
    dapt_arena_free(&arena);
    return status;
}

uint64_t dapt_model_trained(const struct dapt_model *model) {
    uint64_t count = 0;
    for (size_t i = 0; i < model->group_count; i++)
        if (model->groups[i].trained) count += model->groups[i].count;
    return count;
}
