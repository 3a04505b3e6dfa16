#include <stdlib.h>
#include <string.h>

#include "pretokenize_steps.h"

static bool cut_add(struct hf_pretokenize_scratch *scratch, size_t start, size_t end, bool match) {
    if (!hf_grow(&scratch->cuts, &scratch->cut_capacity, scratch->cut_count + 1,
                 sizeof *scratch->cuts))
        return false;
    scratch->cuts[scratch->cut_count++] = (struct hf_cut){start, end, match};
    return true;
}

enum dapt_status hf_cuts_regex(const struct hf_step *step, const struct dapt_host *host,
                               struct hf_pretokenize_scratch *scratch, const char *text,
                               size_t length) {
    struct hf_find find = {0};
    size_t start, end, done = 0;
    enum dapt_status status;
    while ((status = hf_regex_next(step->regex, scratch->matcher, host, text, length, &find, &start,
                                   &end)) == DAPT_OK) {
        if (start > done && !cut_add(scratch, done, start, false)) return hf_out_of_memory(host);
        if (!cut_add(scratch, start, end, true)) return hf_out_of_memory(host);
        done = end;
    }
    if (status < 0) return status;
    if (done < length && !cut_add(scratch, done, length, false)) return hf_out_of_memory(host);
    return DAPT_OK;
}

enum dapt_status hf_cuts_fast(const struct hf_step *step, const struct dapt_host *host,
                              struct hf_pretokenize_scratch *scratch, const char *text,
                              size_t length) {
    for (size_t i = 0; i < length;) {
        size_t end = step->split(text, i, length);
        if (!cut_add(scratch, i, end, true)) return hf_out_of_memory(host);
        i = end;
    }
    return DAPT_OK;
}

enum dapt_status hf_cuts_class(const struct hf_step *step, const struct dapt_host *host,
                               struct hf_pretokenize_scratch *scratch, const char *text,
                               size_t length) {
    size_t done = 0;
    for (size_t i = 0; i < length;) {
        size_t start = i;
        if (!(hf_class(hf_utf8_next(text, &i)) & step->classes)) continue;
        if (start > done && !cut_add(scratch, done, start, false)) return hf_out_of_memory(host);
        if (!cut_add(scratch, start, i, true)) return hf_out_of_memory(host);
        done = i;
    }
    if (done < length && !cut_add(scratch, done, length, false)) return hf_out_of_memory(host);
    return DAPT_OK;
}

enum dapt_status hf_cuts_words(const struct hf_step *step, const struct dapt_host *host,
                               struct hf_pretokenize_scratch *scratch, const char *text,
                               size_t length) {
    size_t start = 0;
    int last = -1;
    (void)step;
    for (size_t i = 0; i < length;) {
        size_t here = i;
        uint8_t class = hf_class(hf_utf8_next(text, &i));
        int kind = class & HF_WORD ? 1 : class & HF_SPACE ? 0 : 2;
        if (kind == last) continue;
        if (last >= 0 && !cut_add(scratch, start, here, last != 0)) return hf_out_of_memory(host);
        start = here;
        last = kind;
    }
    if (last >= 0 && !cut_add(scratch, start, length, last != 0)) return hf_out_of_memory(host);
    return DAPT_OK;
}

bool hf_rewrite_metaspace(const struct hf_step *step, const char *text, size_t length, bool first,
                          struct hf_text *out) {
    size_t from = out->length;
    const struct hf_text *mark = &step->replacement;
    if (length && (text[0] == ' ' || hf_starts(text, length, mark->data, mark->length)))
        first = false;
    else
        first = step->scheme == HF_PREPEND_ALWAYS || (step->scheme == HF_PREPEND_FIRST && first);
    if (first && !hf_text_append(out, mark->data, mark->length)) return false;
    for (size_t i = 0; i < length;) {
        const char *space = memchr(text + i, ' ', length - i);
        size_t part = space ? (size_t)(space - text) - i : length - i;
        if (!hf_text_append(out, text + i, part)) return false;
        if (space && !hf_text_append(out, mark->data, mark->length)) return false;
        i += part + (space != NULL);
    }
    return out->length >= from;
}

bool hf_rewrite_prefix_space(const struct hf_step *step, const char *text, size_t length,
                             bool first, struct hf_text *out) {
    (void)step;
    (void)first;
    if (length && text[0] != ' ' && !hf_text_append(out, " ", 1)) return false;
    return hf_text_append(out, text, length);
}

static bool map_bytes(const char *text, size_t length, struct hf_text *out) {
    if (length > SIZE_MAX / 2 || !hf_text_reserve(out, 2 * length)) return false;
    for (size_t i = 0; i < length; i++)
        out->length += hf_utf8_put(hf_byte_char((unsigned char)text[i]), out->data + out->length);
    return true;
}

static bool piece_add(struct hf_pieces *pieces, size_t start, size_t length, bool first) {
    if (!length) return true;
    if (!hf_grow(&pieces->items, &pieces->capacity, pieces->count + 1, sizeof *pieces->items))
        return false;
    pieces->items[pieces->count++] = (struct hf_piece){start, length, first};
    return true;
}

// Turns matches and gaps into the parts that stay, in place; returns how many.
static size_t apply_behavior(const struct hf_step *step, struct hf_cut *cuts, size_t count) {
    size_t kept = 0;
    bool previous = false;
    for (size_t i = 0; i < count; i++) cuts[i].match ^= step->invert;
    switch (step->behavior) {
    case HF_ISOLATED: return count;
    case HF_REMOVED:
        for (size_t i = 0; i < count; i++)
            if (!cuts[i].match) cuts[kept++] = cuts[i];
        return kept;
    case HF_CONTIGUOUS:
        for (size_t i = 0; i < count; i++) {
            struct hf_cut cut = cuts[i];
            if (kept && cut.match == previous)
                cuts[kept - 1].end = cut.end;
            else
                cuts[kept++] = cut;
            previous = cut.match;
        }
        return kept;
    case HF_MERGED_WITH_PREVIOUS:
        for (size_t i = 0; i < count; i++) {
            struct hf_cut cut = cuts[i];
            if (kept && cut.match && !previous)
                cuts[kept - 1].end = cut.end;
            else
                cuts[kept++] = cut;
            previous = cut.match;
        }
        return kept;
    case HF_MERGED_WITH_NEXT: {
        size_t low = count;  // the kept ones gather at the end
        for (size_t i = count; i-- > 0;) {
            struct hf_cut cut = cuts[i];
            if (low < count && cut.match && !previous)
                cuts[low].start = cut.start;
            else
                cuts[--low] = cut;
            previous = cut.match;
        }
        memmove(cuts, cuts + low, (count - low) * sizeof *cuts);
        return count - low;
    }
    }
    return count;
}

// One step over all pieces.
struct state {
    const char *text;
    const struct hf_pieces *pieces;
    int text_next, pieces_next;  // which of the two buffers is free
};

static bool rewrite_all(const struct hf_step *step, bool mapping,
                        struct hf_pretokenize_scratch *scratch, struct state *state) {
    struct hf_text *out = &scratch->texts[state->text_next];
    struct hf_pieces *pieces = &scratch->pieces[state->pieces_next];
    out->length = 0;
    pieces->count = 0;
    for (size_t i = 0; i < state->pieces->count; i++) {
        const struct hf_piece *piece = &state->pieces->items[i];
        size_t start = out->length;
        const char *text = state->text + piece->start;
        bool good = mapping ? map_bytes(text, piece->length, out)
                            : step->rewrite(step, text, piece->length, piece->first, out);
        if (!good || !piece_add(pieces, start, out->length - start, piece->first)) return false;
    }
    state->text = out->data ? out->data : "";
    state->pieces = pieces;
    state->text_next = !state->text_next;
    state->pieces_next = !state->pieces_next;
    return true;
}

static enum dapt_status cut_all(const struct hf_step *step, const struct dapt_host *host,
                                struct hf_pretokenize_scratch *scratch, struct state *state) {
    struct hf_pieces *pieces = &scratch->pieces[state->pieces_next];
    pieces->count = 0;
    for (size_t i = 0; i < state->pieces->count; i++) {
        const struct hf_piece piece = state->pieces->items[i];
        scratch->cut_count = 0;
        enum dapt_status status = step->find(step, host, scratch, state->text + piece.start,
                                             piece.length);
        if (status < 0) return status;
        size_t kept = apply_behavior(step, scratch->cuts, scratch->cut_count);
        for (size_t k = 0; k < kept; k++) {
            struct hf_cut cut = scratch->cuts[k];
            if (!piece_add(pieces, piece.start + cut.start, cut.end - cut.start,
                           piece.first && cut.start == 0))
                return hf_out_of_memory(host);
        }
    }
    state->pieces = pieces;
    state->pieces_next = !state->pieces_next;
    return DAPT_OK;
}

enum dapt_status hf_pretokenize(const struct hf_pretokenizer *pretokenizer,
                                const struct dapt_host *host,
                                struct hf_pretokenize_scratch *scratch, const char *text,
                                size_t length, bool first, const char **out,
                                const struct hf_pieces **pieces) {
    struct state state = {.text = text, .pieces = &scratch->pieces[0], .pieces_next = 1};
    scratch->pieces[0].count = 0;
    if (!piece_add(&scratch->pieces[0], 0, length, first)) return hf_out_of_memory(host);
    for (size_t i = 0; pretokenizer && i < pretokenizer->count; i++) {
        const struct hf_step *step = &pretokenizer->steps[i];
        if (step->rewrite && !rewrite_all(step, false, scratch, &state))
            return hf_out_of_memory(host);
        if (step->find) {
            enum dapt_status status = cut_all(step, host, scratch, &state);
            if (status < 0) return status;
        }
        if (step->map_bytes && !rewrite_all(step, true, scratch, &state))
            return hf_out_of_memory(host);
    }
    *out = state.text;
    *pieces = state.pieces;
    return DAPT_OK;
}

void hf_pretokenize_scratch_free(struct hf_pretokenize_scratch *scratch) {
    for (int i = 0; i < 2; i++) {
        hf_text_free(&scratch->texts[i]);
        free(scratch->pieces[i].items);
        scratch->pieces[i] = (struct hf_pieces){0};
    }
    free(scratch->cuts);
    scratch->cuts = NULL;
    scratch->cut_capacity = 0;
}

bool hf_pretokenizer_ends_in_bytes(const struct hf_pretokenizer *pretokenizer) {
    return pretokenizer && pretokenizer->count &&
           pretokenizer->steps[pretokenizer->count - 1].map_bytes;
}

void hf_pretokenizer_skip_mapping(struct hf_pretokenizer *pretokenizer) {
    pretokenizer->steps[pretokenizer->count - 1].map_bytes = false;
}

bool hf_pretokenizer_fast(const struct hf_pretokenizer *pretokenizer, hf_splitter *split,
                          bool *prefix_space) {
    const struct hf_step *found = NULL;
    *prefix_space = false;
    for (size_t i = 0; i < pretokenizer->count; i++) {
        const struct hf_step *step = &pretokenizer->steps[i];
        if (step->map_bytes) return false;
        if (step->rewrite && (!step->prefix_space || found)) return false;
        *prefix_space |= step->prefix_space;
        if (!step->find) continue;
        if (found || !step->split || step->invert || step->behavior != HF_ISOLATED) return false;
        found = step;
    }
    *split = found ? found->split : NULL;
    return found != NULL;
}
