#include "infer/generate.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "base/threads.h"
#include "base/utf8.h"
#include "infer/session.h"

#define STREAM_SAMPLE \
    0x67656e6572617465ull  // "generate": apart from the streams of data and weights

// --------------------------------------------------------------------------------------- sampling

static uint32_t most_likely(const float *logits, uint32_t vocab) {
    uint32_t best = 0;
    for (uint32_t i = 1; i < vocab; i++) {
        if (logits[i] > logits[best]) best = i;
    }
    return best;
}

// Most likely first; the lower id first among equals, so that the order is the same everywhere.
static int by_weight(const void *a, const void *b) {
    const struct dapt_candidate *x = a, *y = b;
    if (x->weight != y->weight) return x->weight < y->weight ? 1 : -1;
    return (x->id > y->id) - (x->id < y->id);
}

uint32_t dapt_sample(const struct dapt_sampler *sampler, const float *logits, uint32_t vocab,
                     uint64_t index) {
    uint32_t best = most_likely(logits, vocab);
    if (!(sampler->temperature > 0)) return best;
    bool cut_k = sampler->top_k > 0 && sampler->top_k < vocab;
    bool cut_p = sampler->top_p > 0 && sampler->top_p < 1;
    uint32_t count = vocab;
    double total = 0;
    for (uint32_t i = 0; i < vocab; i++) {
        double weight = exp(((double)logits[i] - (double)logits[best]) / sampler->temperature);
        sampler->candidates[i] = (struct dapt_candidate){.weight = weight, .id = i};
    }
    if (cut_k || cut_p) qsort(sampler->candidates, vocab, sizeof *sampler->candidates, by_weight);
    if (cut_k) count = sampler->top_k;
    for (uint32_t i = 0; i < count; i++) total += sampler->candidates[i].weight;
    if (cut_p) {
        double enough = sampler->top_p * total, sum = 0;
        uint32_t kept = 0;
        while (kept < count && sum < enough) sum += sampler->candidates[kept++].weight;
        count = kept;
        total = sum;
    }
    double point = dapt_random_uniform(sampler->seed, STREAM_SAMPLE, index) * total;
    for (uint32_t i = 0; i + 1 < count; i++) {
        point -= sampler->candidates[i].weight;
        if (point < 0) return sampler->candidates[i].id;
    }
    return sampler->candidates[count - 1].id;
}

// -------------------------------------------------------------------------------------- streaming

size_t dapt_whole_characters(const char *text, size_t length) {
    // Only the last character can be unfinished: go back to its first byte and see how many it asks
    // for.
    for (size_t back = 1; back <= 3 && back <= length; back++) {
        unsigned char c = (unsigned char)text[length - back];
        if ((c & 0xc0) == 0x80) continue;
        size_t needs = c >= 0xf0 && c < 0xf8 ? 4 : c >= 0xe0 ? 3 : c >= 0xc0 ? 2 : 1;
        if (c >= 0xf8) needs = 1;
        return needs > back ? length - back : length;
    }
    return length;
}

// Text of a growing list of ids, given out as soon as it is settled. What an id reads as may depend
// on those before it (a leading space) and on those after (bytes of one character): the ids from
// `begin` on are decoded together, and what was given out of them before is left out. U+FFFD at the
// end may be the start of a character and is kept back.
struct stream {
    struct dapt_tokenizer *tokenizer;
    struct dapt_ids ids;
    size_t begin;  // ids from here on are decoded
    size_t given;  // bytes of that text that were given out or belong to the prompt
    struct dapt_string text;
    dapt_emit_text emit;
    void *user;
    bool stopped;
};

static enum dapt_status decode_tail(struct stream *s) {
    s->text.length = 0;
    return dapt_tokenizer_decode(s->tokenizer, s->ids.ids + s->begin, s->ids.count - s->begin,
                                 DAPT_DECODE_SKIP_SPECIAL, &s->text);
}

static size_t settled(const struct dapt_string *text) {
    size_t length = dapt_whole_characters(text->data ? text->data : "", text->length);
    while (length >= 3 && memcmp(text->data + length - 3, "\xef\xbf\xbd", 3) == 0) length -= 3;
    return length;
}

static void give(struct stream *s, size_t end) {
    if (end <= s->given || s->stopped) return;
    if (!s->emit(s->user, s->text.data + s->given, end - s->given)) s->stopped = true;
    s->given = end;
}

// Starts after the prompt: its text is not given out. A few of its ids stay in view for what they
// do to the text behind them.
static enum dapt_status stream_start(struct stream *s) {
    s->begin = s->ids.count > 16 ? s->ids.count - 16 : 0;
    enum dapt_status status = decode_tail(s);
    s->given = s->text.length;
    return status;
}

static enum dapt_status stream_add(struct stream *s, uint32_t id) {
    enum dapt_status status = dapt_grow(&s->ids.ids, &s->ids.capacity, s->ids.count + 1,
                                        sizeof *s->ids.ids);
    if (status) return status;
    s->ids.ids[s->ids.count++] = id;
    status = decode_tail(s);
    if (status) return status;
    size_t end = settled(&s->text);
    give(s, end);
    // Everything is out: forget the older ids, so that the work of one id stays the same.
    if (end == s->text.length && s->ids.count - s->begin > 64) status = stream_start(s);
    return status;
}

static enum dapt_status stream_end(struct stream *s) {
    enum dapt_status status = decode_tail(s);
    if (!status) give(s, s->text.length);
    return status;
}

// ------------------------------------------------------------------------------------- generation

struct generation {
    struct dapt_session session;
    struct stream stream;
    struct dapt_sampler sampler;
    float *logits;
    uint32_t capacity, max_tokens;
    uint32_t
        vocab;  // ids below it may be drawn: models often have more rows than the tokenizer has ids
    bool ignore_end;
    bool cut;  // more tokens were asked for than the model has positions left
};

static enum dapt_status check_options(const struct dapt_generate_options *options) {
    if (!options->prompt) return dapt_fail(DAPT_ERROR_INVALID, "generate: no prompt was given");
    size_t length = strlen(options->prompt), good = dapt_utf8_check(options->prompt, length);
    if (good < length)
        return dapt_fail(DAPT_ERROR_INVALID,
                         "generate: the prompt is not UTF-8: byte %zu is 0x%02x", good,
                         (unsigned char)options->prompt[good]);
    if (!(options->temperature >= 0 && options->temperature <= 1e6)) {
        return dapt_fail(DAPT_ERROR_INVALID, "generate: temperature is %g, expected 0 or more",
                         options->temperature);
    }
    if (!(options->top_p >= 0 && options->top_p <= 1)) {
        return dapt_fail(DAPT_ERROR_INVALID, "generate: top-p is %g, expected 0 to 1",
                         options->top_p);
    }
    return DAPT_OK;
}

static enum dapt_status check_ids(const struct dapt_ids *ids, uint32_t vocab) {
    for (size_t i = 0; i < ids->count; i++) {
        if (ids->ids[i] < vocab) continue;
        return dapt_fail(DAPT_ERROR_INVALID,
                         "the tokenizer gives id %" PRIu32
                         ", but the model's vocabulary has %" PRIu32
                         " entries: is it the model's own tokenizer?",
                         ids->ids[i], vocab);
    }
    return DAPT_OK;
}

// What a template puts behind a text (an end-of-text token) must not stand between a prompt and its
// continuation.
static void cut_suffix(struct dapt_ids *ids, const struct dapt_ids *plain) {
    for (size_t begin = 0; plain->count > 0 && begin + plain->count < ids->count; begin++) {
        if (memcmp(ids->ids + begin, plain->ids, plain->count * sizeof *plain->ids) != 0) continue;
        ids->count = begin + plain->count;
        return;
    }
}

// The prompt's ids; a model without a beginning-of-text token can't go on from nothing.
static enum dapt_status encode_prompt(struct generation *g, const char *prompt) {
    const struct dapt_model *model = g->session.model;
    struct dapt_ids plain = {0};
    enum dapt_status status = dapt_tokenizer_encode(g->session.tokenizer, prompt, strlen(prompt),
                                                    DAPT_ENCODE_SPECIAL, &g->stream.ids);
    if (!status)
        status = dapt_tokenizer_encode(g->session.tokenizer, prompt, strlen(prompt), 0, &plain);
    if (!status) cut_suffix(&g->stream.ids, &plain);
    dapt_ids_free(&plain);
    if (!status && g->stream.ids.count == 0) {
        int64_t first = dapt_tokenizer_special(g->session.tokenizer, DAPT_SPECIAL_BOS);
        if (first < 0) first = dapt_tokenizer_special(g->session.tokenizer, DAPT_SPECIAL_EOS);
        if (first < 0)
            return dapt_fail(
                DAPT_ERROR_INVALID,
                "generate: the prompt is empty, and the model has no token to begin with");
        status = dapt_grow(&g->stream.ids.ids, &g->stream.ids.capacity, 1,
                           sizeof *g->stream.ids.ids);
        if (!status) g->stream.ids.ids[g->stream.ids.count++] = (uint32_t)first;
    }
    if (!status) status = check_ids(&g->stream.ids, model->vocab);
    if (!status && model->max_positions && g->stream.ids.count >= model->max_positions) {
        status = dapt_fail(DAPT_ERROR_INVALID,
                           "generate: the prompt has %zu tokens, the model takes %" PRIu32
                           " with the answer",
                           g->stream.ids.count, model->max_positions);
    }
    return status;
}

static enum dapt_status prepare(struct generation *g, const struct dapt_modules *modules,
                                const struct dapt_generate_options *options) {
    enum dapt_status status = check_options(options);
    if (!status) status = dapt_session_open(modules, &options->model, &g->session);
    if (!status) status = dapt_session_model(&g->session);
    if (!status && g->session.model->masked)
        status = dapt_fail(DAPT_ERROR_UNSUPPORTED,
                           "%s: is a masked language model, which fills in hidden tokens and can't "
                           "go on with a text; `dapt train`, `dapt eval` and `dapt verify` take it",
                           g->session.folder);
    if (!status) status = encode_prompt(g, options->prompt);
    if (status) return status;
    const struct dapt_model *model = g->session.model;
    uint64_t wanted = (uint64_t)g->stream.ids.count +
                      (options->max_tokens ? options->max_tokens : 100);
    if (wanted > INT32_MAX)
        return dapt_fail(DAPT_ERROR_INVALID, "generate: %" PRIu64 " tokens are too many", wanted);
    g->cut = model->max_positions && wanted > model->max_positions;
    if (g->cut) wanted = model->max_positions;
    g->capacity = (uint32_t)wanted;
    g->max_tokens = (uint32_t)(wanted - g->stream.ids.count);
    g->ignore_end = options->ignore_end;
    g->vocab = dapt_tokenizer_vocab_size(g->session.tokenizer);
    if (g->vocab > model->vocab) g->vocab = model->vocab;
    g->sampler = (struct dapt_sampler){.temperature = options->temperature,
                                       .top_p = options->top_p,
                                       .top_k = options->top_k,
                                       .seed = options->seed};
    g->sampler.candidates = dapt_alloc(model->vocab, sizeof *g->sampler.candidates);
    g->logits = dapt_alloc(model->vocab, sizeof *g->logits);
    if (!g->sampler.candidates || !g->logits) return DAPT_ERROR_MEMORY;
    struct dapt_engine_options engine = {.sequences = 1, .length = 1};
    status = dapt_session_engine(&g->session, &options->model, &engine);
    if (!status) status = dapt_engine_decode_start(g->session.engine, g->capacity);
    return status;
}

// Whether an id ends a text: the tokenizer says so, or config.json, which may name several.
static bool ends_text(const struct generation *g, uint32_t id) {
    const struct dapt_json *ends = dapt_json_member(g->session.model->config, "eos_token_id");
    if (g->ignore_end) return false;
    if ((int64_t)id == g->session.model->eos) return true;
    if ((int64_t)id == dapt_tokenizer_special(g->session.tokenizer, DAPT_SPECIAL_EOS)) return true;
    for (size_t i = 0; dapt_json_kind(ends) == DAPT_JSON_ARRAY && i < dapt_json_count(ends); i++) {
        double value;
        if (dapt_json_number(dapt_json_at(ends, i), &value) == DAPT_OK && value == (double)id)
            return true;
    }
    return false;
}

// Drawing sorts them and divides by their sum: all of them must be numbers.
static enum dapt_status check_logits(const struct generation *g) {
    for (uint32_t i = 0; i < g->vocab; i++)
        if (!isfinite(g->logits[i]))
            return dapt_fail(DAPT_ERROR_INVALID, "%s: the model's output is not finite",
                             g->session.folder);
    return DAPT_OK;
}

static enum dapt_status run(struct generation *g, struct dapt_generated *generated) {
    struct stream *s = &g->stream;
    double begin = dapt_seconds();
    generated->prompt_tokens = (uint32_t)s->ids.count;
    enum dapt_status status = dapt_engine_decode(g->session.engine, s->ids.ids,
                                                 (uint32_t)s->ids.count, 0, g->logits);
    if (!status) status = stream_start(s);
    double ready = dapt_seconds();
    generated->prompt_seconds = ready - begin;
    while (!status && !s->stopped && generated->tokens < g->max_tokens && !dapt_cancelled()) {
        status = check_logits(g);
        if (status) break;
        uint32_t id = dapt_sample(&g->sampler, g->logits, g->vocab, s->ids.count);
        generated->ended = ends_text(g, id);
        if (generated->ended) break;
        status = stream_add(s, id);
        if (!status) generated->tokens++;
        if (!status && generated->tokens < g->max_tokens) {
            status = dapt_engine_decode(g->session.engine, &id, 1, (uint32_t)s->ids.count - 1,
                                        g->logits);
        }
    }
    bool full = g->cut && generated->tokens == g->max_tokens && !generated->ended;
    if (full && !s->stopped) generated->positions = g->capacity;
    if (!status) status = stream_end(s);
    generated->seconds = dapt_seconds() - ready;
    return status;
}

enum dapt_status dapt_generate_text(const struct dapt_modules *modules,
                                    const struct dapt_generate_options *options,
                                    dapt_emit_text emit, void *user,
                                    struct dapt_generated *generated) {
    struct generation g = {0};
    *generated = (struct dapt_generated){0};
    enum dapt_status status = prepare(&g, modules, options);
    g.stream.tokenizer = g.session.tokenizer;
    g.stream.emit = emit;
    g.stream.user = user;
    if (!status) status = run(&g, generated);
    free(g.logits);
    free(g.sampler.candidates);
    dapt_ids_free(&g.stream.ids);
    dapt_string_free(&g.stream.text);
    dapt_session_close(&g.session);
    return status;
}
