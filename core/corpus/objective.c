#include "corpus/objective.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"

enum { TOKEN_SPECIAL = 1, TOKEN_CONTINUES = 2, TOKEN_ENDS = 4 };  // continues, ends a word

struct dapt_objective {
    struct dapt_objective_options options;
    uint32_t vocab;
    int32_t mask;
    uint8_t *tokens;  // [vocab] TOKEN_*
};

// ---------------------------------------------------------------------------- what the tokens are

static enum dapt_status encode(struct dapt_tokenizer *tokenizer, const char *text, uint32_t flags,
                               struct dapt_ids *ids) {
    ids->count = 0;
    return dapt_tokenizer_encode(tokenizer, text, strlen(text), flags, ids);
}

static enum dapt_status find_mask(struct dapt_objective *o, struct dapt_tokenizer *tokenizer,
                                  struct dapt_ids *ids) {
    const char *const usual[] = {"[MASK]", "<mask>"}, *const *texts = usual;
    size_t count = 2;
    int64_t unknown = dapt_tokenizer_special(tokenizer, DAPT_SPECIAL_UNK);
    if (o->options.mask) {
        texts = &o->options.mask;
        count = 1;
    }
    for (size_t i = 0; i < count; i++) {
        enum dapt_status status = encode(tokenizer, texts[i], 0, ids);
        if (status) return status;
        // a tokenizer without such a token may take its text for an unknown word
        if (ids->count != 1 || ids->ids[0] >= o->vocab || ids->ids[0] == unknown) continue;
        o->mask = (int32_t)ids->ids[0];
        return DAPT_OK;
    }
    return dapt_fail(
        DAPT_ERROR_INVALID,
        "the masked objective needs a mask token: the tokenizer has no token %s%s; set "
        "train.objective.mask to the text of one",
        texts[0], count > 1 ? " or <mask>" : "");
}

static void mark(struct dapt_objective *o, int64_t id, uint8_t what) {
    if (id >= 0 && id < o->vocab) o->tokens[id] |= what;
}

// Does a token's text vanish where special tokens are left out?
static enum dapt_status is_left_out(struct dapt_tokenizer *tokenizer, uint32_t id,
                                    struct dapt_string *text, bool *left_out) {
    text->length = 0;
    enum dapt_status status = dapt_tokenizer_decode(tokenizer, &id, 1, 0, text);
    *left_out = !status && text->length > 0;
    text->length = 0;
    if (*left_out)
        status = dapt_tokenizer_decode(tokenizer, &id, 1, DAPT_DECODE_SKIP_SPECIAL, text);
    *left_out = *left_out && text->length == 0;
    return status;
}

// Special are the mask, what the template puts around a text, and what the tokenizer calls so or
// leaves out of a text when it is asked to.
static enum dapt_status find_special(struct dapt_objective *o, struct dapt_tokenizer *tokenizer,
                                     struct dapt_ids *ids) {
    static const enum dapt_special kinds[] = {DAPT_SPECIAL_BOS, DAPT_SPECIAL_EOS, DAPT_SPECIAL_PAD,
                                              DAPT_SPECIAL_UNK};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        mark(o, dapt_tokenizer_special(tokenizer, kinds[i]), TOKEN_SPECIAL);
    mark(o, o->mask, TOKEN_SPECIAL);
    enum dapt_status status = encode(tokenizer, "", DAPT_ENCODE_SPECIAL, ids);
    for (size_t i = 0; !status && i < ids->count; i++) mark(o, ids->ids[i], TOKEN_SPECIAL);
    struct dapt_string text = {0};
    for (uint32_t id = 0; !status && id < o->vocab; id++) {
        bool left_out;
        status = is_left_out(tokenizer, id, &text, &left_out);
        if (left_out) mark(o, id, TOKEN_SPECIAL);
    }
    dapt_string_free(&text);
    return status;
}

// What a token is behind a word, by the text that it adds there. It continues the word where that
// begins without a space. Punctuation is a word of its own; a space goes with what comes behind it.
static uint8_t place_in_word(const char *text, size_t length) {
    size_t spaces = 0, marks = 0;
    while (spaces < length && isspace((unsigned char)text[spaces])) spaces++;
    while (spaces + marks < length && ispunct((unsigned char)text[spaces + marks])) marks++;
    if (marks && spaces + marks == length) return TOKEN_ENDS;
    return length && !spaces ? TOKEN_CONTINUES : 0;
}

static enum dapt_status find_continuing(struct dapt_objective *o, struct dapt_tokenizer *tokenizer,
                                        struct dapt_ids *ids) {
    struct dapt_string text = {0};
    enum dapt_status status = encode(tokenizer, "a", 0, ids);
    if (!status && ids->count == 0)
        status = dapt_fail(DAPT_ERROR_INVALID,
                           "train.objective.whole_words: the tokenizer has no token for \"a\", so "
                           "words can't be told");
    uint32_t pair[2] = {status ? 0 : ids->ids[ids->count - 1]};
    if (!status) status = dapt_tokenizer_decode(tokenizer, pair, 1, 0, &text);
    size_t anchor = text.length, continuing = 0;
    for (uint32_t id = 0; !status && id < o->vocab; id++) {
        text.length = 0;
        pair[1] = id;
        status = dapt_tokenizer_decode(tokenizer, pair, 2, 0, &text);
        if (status || text.length <= anchor) continue;
        uint8_t place = place_in_word(text.data + anchor, text.length - anchor);
        mark(o, id, place);
        continuing += place == TOKEN_CONTINUES;
    }
    if (!status && !continuing)
        dapt_log(DAPT_LOG_WARNING,
                 "train.objective.whole_words: by what the tokenizer decodes, no token continues a "
                 "word; each is hidden by itself");
    dapt_string_free(&text);
    return status;
}

enum dapt_status dapt_objective_create(const struct dapt_objective_options *options,
                                       struct dapt_tokenizer *tokenizer,
                                       struct dapt_objective **out) {
    struct dapt_objective *o = *out = dapt_alloc(1, sizeof *o);
    struct dapt_ids ids = {0};
    if (!o) return DAPT_ERROR_MEMORY;
    *o = (struct dapt_objective){.options = *options, .mask = -1};
    if (options->kind == DAPT_OBJECTIVE_CAUSAL) return DAPT_OK;
    enum dapt_status status = DAPT_OK;
    if (!(options->rate > 0 && options->rate <= 1))
        status = dapt_fail(DAPT_ERROR_INVALID,
                           "train.objective.rate is %g: more than 0 and at most 1 was expected",
                           options->rate);
    o->vocab = dapt_tokenizer_vocab_size(tokenizer);
    o->tokens = dapt_alloc(o->vocab, sizeof *o->tokens);
    if (!status && !o->tokens) status = DAPT_ERROR_MEMORY;
    if (!status) status = find_mask(o, tokenizer, &ids);
    if (!status) status = find_special(o, tokenizer, &ids);
    if (!status && options->whole_words) status = find_continuing(o, tokenizer, &ids);
    dapt_ids_free(&ids);
    o->options.mask = NULL;  // the caller's
    if (status) dapt_objective_destroy(out);
    return status;
}

void dapt_objective_destroy(struct dapt_objective **objective) {
    if (!*objective) return;
    free((*objective)->tokens);
    free(*objective);
    *objective = NULL;
}

enum dapt_objective_kind dapt_objective_kind(const struct dapt_objective *objective) {
    return objective ? objective->options.kind : DAPT_OBJECTIVE_CAUSAL;
}

const char *dapt_objective_name(enum dapt_objective_kind kind) {
    return kind == DAPT_OBJECTIVE_MASKED ? "masked" : "causal";
}

// ------------------------------------------------------------------------------------ what is asked

static void apply_causal(const struct dapt_span *s, struct dapt_batch *batch) {
    for (uint32_t i = 0; i < s->length; i++) {
        size_t place = s->begin + i;
        batch->targets[place] = i + 1 < s->length ? batch->ids[place + 1] : s->next;
        batch->first[place] = (int32_t)s->row_at;
        batch->last[place] = (int32_t)(s->row_at + i);
    }
    batch->scored += s->length - (s->next < 0);
}

struct draw {
    uint32_t choose, how;
    uint64_t other;
};

static struct draw draw_at(const struct dapt_objective *o, const struct dapt_span *s, uint32_t i) {
    uint32_t out[4];
    dapt_philox(o->options.seed, s->stream, s->index + i, out);
    return (struct draw){out[0], out[1], (uint64_t)out[3] << 32 | out[2]};
}

static int32_t hidden(const struct dapt_objective *o, const struct draw *d, int32_t id) {
    uint32_t tenth = (uint32_t)((uint64_t)d->how * 10 >> 32);
    return tenth < 8 ? o->mask : tenth == 8 ? (int32_t)(d->other % o->vocab) : id;
}

static void apply_masked(const struct dapt_objective *o, const struct dapt_span *s,
                         struct dapt_batch *batch) {
    // choose < limit with probability `rate`, exactly always at 1
    uint64_t limit = (uint64_t)(o->options.rate * 0x1p32);
    bool word = false;   // whether the word under way is chosen
    bool begins = true;  // behind special tokens and punctuation too
    for (uint32_t i = 0; i < s->length; i++) {
        size_t place = s->begin + i;
        int32_t id = batch->ids[place];
        uint8_t kind = (uint32_t)id < o->vocab ? o->tokens[id] : TOKEN_SPECIAL;
        struct draw d = draw_at(o, s, i);
        batch->first[place] = (int32_t)s->row_at;
        batch->last[place] = (int32_t)(s->row_at + s->length - 1);
        batch->targets[place] = -1;
        if (!(kind & TOKEN_CONTINUES) || begins) word = d.choose < limit;
        begins = kind & (TOKEN_SPECIAL | TOKEN_ENDS);
        if (!word || kind & TOKEN_SPECIAL) continue;
        batch->targets[place] = id;
        batch->ids[place] = hidden(o, &d, id);
        batch->scored++;
    }
}

void dapt_objective_apply(const struct dapt_objective *objective, const struct dapt_span *span,
                          struct dapt_batch *batch) {
    if (dapt_objective_kind(objective) == DAPT_OBJECTIVE_MASKED)
        apply_masked(objective, span, batch);
    else
        apply_causal(span, batch);
}
