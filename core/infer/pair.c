#include "infer/pair.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "checkpoint/checkpoint.h"
#include "infer/merge.h"
#include "model/families.h"

#define PIECE ((uint64_t)1 << 16)  // elements blended at a time

// -------------------------------------------------------------------------------------- comparing

static enum dapt_status differ(const struct dapt_pair *pair, const char *what, const char *base,
                               const char *adapted) {
    return dapt_fail(DAPT_ERROR_INVALID,
                     "%s has %s %s, %s has %s: only a model and what was trained from it can be "
                     "blended",
                     pair->base.folder, what, base, pair->adapted.folder, adapted);
}

static enum dapt_status differ_number(const struct dapt_pair *pair, const char *what, int64_t base,
                                      int64_t adapted) {
    char a[32], b[32];
    if (base == adapted) return DAPT_OK;
    snprintf(a, sizeof a, "%" PRId64, base);
    snprintf(b, sizeof b, "%" PRId64, adapted);
    return differ(pair, what, a, b);
}

static bool same_hash(struct dapt_hash a, struct dapt_hash b) {
    return a.low == b.low && a.high == b.high;
}

// What people know a shape by, then whatever else decides what is computed.
static enum dapt_status compare_models(const struct dapt_pair *pair) {
    const struct dapt_model *a = pair->base.model, *b = pair->adapted.model;
    const struct {
        const char *what;
        int64_t base, adapted;
    } numbers[] = {
        {"a hidden size of", a->hidden, b->hidden},
        {"a number of layers of", a->layers, b->layers},
        {"a number of heads of", a->heads, b->heads},
        {"a number of key/value heads of", a->kv_heads, b->kv_heads},
        {"a head size of", a->head_size, b->head_size},
        {"a feed-forward size of", a->feed_forward, b->feed_forward},
        {"a vocabulary of", a->vocab, b->vocab},
    };
    struct dapt_hash hash_a, hash_b;
    if (strcmp(a->family->type, b->family->type) != 0)
        return differ(pair, "the architecture", a->family->type, b->family->type);
    enum dapt_status status = DAPT_OK;
    for (size_t i = 0; !status && i < sizeof numbers / sizeof *numbers; i++)
        status = differ_number(pair, numbers[i].what, numbers[i].base, numbers[i].adapted);
    if (!status && a->tied != b->tied)
        status = differ(pair, "an output projection", a->tied ? "tied to its embedding" : "untied",
                        b->tied ? "one tied to its embedding" : "an untied one");
    if (!status) status = dapt_model_hash(a, &hash_a);
    if (!status) status = dapt_model_hash(b, &hash_b);
    if (status || (same_hash(hash_a, hash_b) && a->flat_count == b->flat_count)) return status;
    return dapt_fail(DAPT_ERROR_INVALID,
                     "%s and %s have the same shape, but settings in their config.json (positions, "
                     "norms, windows, ...) that compute other things: only a model and what was "
                     "trained from it can be blended",
                     pair->base.folder, pair->adapted.folder);
}

static enum dapt_status compare_specials(const struct dapt_pair *pair) {
    static const struct {
        enum dapt_special which;
        const char *what;
    } specials[] = {{DAPT_SPECIAL_BOS, "a tokenizer whose beginning-of-text token is"},
                    {DAPT_SPECIAL_EOS, "a tokenizer whose end-of-text token is"}};
    enum dapt_status status = DAPT_OK;
    for (size_t i = 0; !status && i < sizeof specials / sizeof *specials; i++)
        status = differ_number(pair, specials[i].what,
                               dapt_tokenizer_special(pair->base.tokenizer, specials[i].which),
                               dapt_tokenizer_special(pair->adapted.tokenizer, specials[i].which));
    return status;
}

static enum dapt_status compare_token(const struct dapt_pair *pair, uint32_t id,
                                      struct dapt_string *a, struct dapt_string *b) {
    char what[64];
    a->length = b->length = 0;
    enum dapt_status status = dapt_tokenizer_decode(pair->base.tokenizer, &id, 1, 0, a);
    if (!status) status = dapt_tokenizer_decode(pair->adapted.tokenizer, &id, 1, 0, b);
    if (status || (a->length == b->length && (!a->length || !memcmp(a->data, b->data, a->length))))
        return status;
    snprintf(what, sizeof what, "a tokenizer whose token %" PRIu32 " is", id);
    return differ(pair, what, a->length ? a->data : "nothing", b->length ? b->data : "nothing");
}

// By what the ids mean, not by files, which other programs write in other words.
static enum dapt_status compare_tokenizers(const struct dapt_pair *pair) {
    struct dapt_string a = {0}, b = {0};
    uint32_t count = dapt_tokenizer_vocab_size(pair->base.tokenizer);
    enum dapt_status status = differ_number(pair, "a tokenizer with a number of ids of", count,
                                            dapt_tokenizer_vocab_size(pair->adapted.tokenizer));
    if (!status) status = compare_specials(pair);
    for (uint32_t id = 0; !status && id < count; id++) status = compare_token(pair, id, &a, &b);
    dapt_string_free(&a);
    dapt_string_free(&b);
    return status;
}

// ---------------------------------------------------------------------------------------- opening

// Adapters are opened on the base that was named, not on the one that they name.
static enum dapt_status open_adapted(struct dapt_pair *pair, const struct dapt_modules *modules,
                                     const struct dapt_model_options *options,
                                     const char *adapted) {
    struct dapt_session *s = &pair->adapted;
    struct dapt_model_options named = {.model = adapted, .tokenizer = options->tokenizer};
    char *folder, *config;
    enum dapt_status status = dapt_session_folder(&pair->base.arena, adapted, &folder);
    if (status) return status;
    config = dapt_path_join(&pair->base.arena, folder, "adapter_config.json");
    if (!config) return DAPT_ERROR_MEMORY;
    if (dapt_is_file(config)) named.base = pair->base.folder;
    status = dapt_session_open(modules, &named, s);
    if (!status) status = dapt_session_model(s);
    if (!status) status = dapt_checkpoint_files(s->folder, s->record, true);
    return status ? status : dapt_checkpoint_base(s->record, s->model);
}

// With adapters the parameters lie elsewhere than in the base: to where those lie there.
static enum dapt_status move_weights(struct dapt_pair *pair) {
    const struct dapt_model *to = pair->base.model, *from = pair->adapted.model;
    float *moved = dapt_alloc_aligned(to->flat_count, sizeof *moved);
    if (!moved) return DAPT_ERROR_MEMORY;
    memset(moved, 0, to->flat_count * sizeof *moved);
    for (size_t i = 0; i < to->parameter_count; i++)
        memcpy(moved + to->parameters[i].offset, pair->weights + from->parameters[i].offset,
               to->parameters[i].count * sizeof *moved);
    free(pair->weights);
    pair->weights = moved;
    return DAPT_OK;
}

// Adapters become part of the weights: what they add is what alpha scales.
static enum dapt_status load_adapted(struct dapt_pair *pair) {
    struct dapt_model *model = pair->adapted.model;
    bool adapters = model->adapters != NULL;
    pair->weights = dapt_alloc_aligned(model->flat_count, sizeof *pair->weights);
    if (!pair->weights) return DAPT_ERROR_MEMORY;
    memset(pair->weights, 0, model->flat_count * sizeof *pair->weights);
    enum dapt_status status = dapt_model_load(model, pair->adapted.folder, dapt_flat_put,
                                              pair->weights);
    if (!status && adapters) status = dapt_model_merge(model, pair->weights);
    if (!status) pair->written = adapters ? pair->base.model : model;
    return status || !adapters ? status : move_weights(pair);
}

// What both ends' files round to decides: where they are not alike, only float32 holds both. Adapters
// are float32 and take their base's dtype, as merging does.
static enum dapt_status choose_dtype(struct dapt_pair *pair, const char *dtype) {
    enum dapt_save_dtype choice;
    const char *tokenizer, *base, *adapted;
    enum dapt_status status = dapt_merge_dtype(dtype, &choice);
    if (!status)
        status = dapt_model_tokenizer(&pair->adapted.arena, pair->adapted.folder,
                                      pair->adapted.base, &tokenizer);
    if (!status && pair->written != pair->base.model)
        status = dapt_model_keep(pair->base.model, NULL, DAPT_SAVE_MODEL);
    if (!status) status = dapt_model_keep(pair->written, tokenizer, choice);
    if (status || choice != DAPT_SAVE_MODEL) return status;
    base = dapt_model_rounds(pair->base.model);
    adapted = dapt_model_rounds(pair->written);
    if (base == adapted || (base && adapted && strcmp(base, adapted) == 0)) return DAPT_OK;
    return dapt_model_keep(pair->written, tokenizer, DAPT_SAVE_F32);
}

enum dapt_status dapt_pair_open(const struct dapt_modules *modules,
                                const struct dapt_model_options *options, const char *adapted,
                                const char *dtype, struct dapt_pair *pair) {
    *pair = (struct dapt_pair){0};
    struct dapt_model_options base = *options;
    base.base = NULL;
    enum dapt_status status = dapt_session_open(modules, &base, &pair->base);
    if (!status) status = dapt_session_model(&pair->base);
    if (!status && pair->base.model->adapters)
        status = dapt_fail(DAPT_ERROR_INVALID,
                           "%s: holds adapters; expected a plain model to blend with, as `dapt "
                           "merge` writes it",
                           pair->base.folder);
    if (!status) status = open_adapted(pair, modules, options, adapted);
    if (!status && !pair->adapted.model->adapters) status = compare_models(pair);
    if (!status) status = compare_tokenizers(pair);
    if (!status) status = load_adapted(pair);
    if (!status) status = choose_dtype(pair, dtype);
    if (status) return status;
    pair->piece = dapt_alloc_aligned(PIECE, sizeof *pair->piece);
    return pair->piece ? DAPT_OK : DAPT_ERROR_MEMORY;
}

void dapt_pair_close(struct dapt_pair *pair) {
    free(pair->weights);
    free(pair->piece);
    dapt_session_close(&pair->adapted);
    dapt_session_close(&pair->base);
    *pair = (struct dapt_pair){0};
}

enum dapt_status dapt_pair_engine(struct dapt_pair *pair, const struct dapt_model_options *options,
                                  uint32_t sequences, uint32_t length) {
    struct dapt_engine_options engine = {.sequences = sequences, .length = length};
    return dapt_session_engine(&pair->base, options, &engine);
}

// --------------------------------------------------------------------------------------- blending

static void blend(double alpha, const float *adapted, float *values, uint64_t count) {
    if (alpha == 1) memcpy(values, adapted, count * sizeof *values);
    if (alpha == 0 || alpha == 1) return;
    for (uint64_t i = 0; i < count; i++) {
        double base = (double)values[i];
        values[i] = (float)(base + alpha * ((double)adapted[i] - base));
    }
}

// Gets the base's weights, as they come out of its files.
static enum dapt_status put(void *context, uint64_t offset, const float *values, uint64_t count) {
    struct dapt_pair *pair = context;
    enum dapt_status status = DAPT_OK;
    for (uint64_t n; count && !status; offset += n, values += n, count -= n) {
        n = count < PIECE ? count : PIECE;
        memcpy(pair->piece, values, n * sizeof *values);
        blend(pair->alpha, pair->weights + offset, pair->piece, n);
        status = dapt_model_round(pair->written, offset, n, pair->piece);
        if (!status)
            status = dapt_engine_write(pair->base.engine, DAPT_STATE_PARAM, offset, n, pair->piece);
    }
    return status;
}

enum dapt_status dapt_pair_set(struct dapt_pair *pair, double alpha) {
    pair->alpha = alpha;
    return dapt_model_load(pair->base.model, pair->base.folder, put, pair);
}

static enum dapt_status get(void *context, uint64_t offset, float *values, uint64_t count) {
    return dapt_engine_read(context, DAPT_STATE_PARAM, offset, count, values);
}

enum dapt_status dapt_pair_save(struct dapt_pair *pair, const char *folder) {
    return dapt_merge_write(pair->written, folder, get, pair->base.engine);
}
