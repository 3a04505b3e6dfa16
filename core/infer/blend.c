#include "infer/blend.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/threads.h"
#include "host/config.h"
#include "infer/cutting.h"
#include "infer/pair.h"
#include "infer/paired.h"
#include "infer/worth.h"

// A set as it is measured at each point.
struct set {
    const char *name, *role;
    double budget;  // bits/byte that it may lose; infinite: as many as it likes
    struct dapt_corpus *corpus;
    struct dapt_paired *units;
    size_t count;
    double nats_before, bits_before;
};

struct sweep {
    const struct dapt_blend_options *options;
    struct dapt_evaluate_options evaluate;  // as asked, or as the configuration has it
    struct dapt_arena arena;
    struct dapt_config *config;    // whose sets they are; NULL: those of the options
    struct dapt_modules *modules;  // with the configuration's folders; NULL: it names none
    struct dapt_pair pair;
    struct dapt_cutting cutting;
    struct dapt_objective *objective;
    struct dapt_batch *batch;
    struct set *sets;
    size_t count, deciding;
    uint64_t seed;
    double alpha;                         // of the point that was scored last; NaN: none
    struct dapt_evaluation *evaluations;  // [count] there
    struct dapt_worth_set *worth;         // [count] there, once it was compared
};

// ------------------------------------------------------------------------------------------- sets

// RUN/config.json, where `folder` is RUN/checkpoints/step-000500 of a run; else nothing.
static enum dapt_status find_config(struct sweep *s, const char *folder, const char **path) {
    static const char ending[] = "/checkpoints";
    const size_t ends = sizeof ending - 1;
    size_t length = strlen(folder);
    while (length > 0 && folder[length - 1] == '/') length--;  // RUN/checkpoints/step-000500/
    while (length > 0 && folder[length - 1] != '/') length--;
    if (length <= ends + 1 || memcmp(folder + length - 1 - ends, ending, ends) != 0) return DAPT_OK;
    char *run = dapt_arena_copy(&s->arena, folder, length - 1 - ends);
    char *config = run ? dapt_path_join(&s->arena, run, "config.json") : NULL;
    if (!config) return DAPT_ERROR_MEMORY;
    if (dapt_is_file(config)) *path = config;
    return DAPT_OK;
}

// Which configuration has the sets: the one that was named; with no sets on the command line that of the
// run.
static enum dapt_status open_config(struct sweep *s) {
    const char *path = s->options->config;
    char *folder;
    enum dapt_status status = DAPT_OK;
    if (path && s->options->evaluate.data_count)
        return dapt_fail(DAPT_ERROR_INVALID,
                         "blend: the sets are those of %s or those of --data, not both", path);
    if (!path && s->options->evaluate.data_count == 0) {
        status = dapt_session_folder(&s->arena, s->options->adapted, &folder);
        if (!status) status = find_config(s, folder, &path);
        if (!status && !path)
            status = dapt_fail(DAPT_ERROR_INVALID,
                               "%s: is no run whose evaluation sets could be taken; name sets by "
                               "--data NAME=PATH, or a configuration by --config FILE",
                               s->options->adapted);
    }
    if (!status && path) status = dapt_config_read(path, NULL, &s->config);
    if (!status && s->config && s->config->data.eval_count == 0)
        status = dapt_fail(DAPT_ERROR_INVALID, "%s: data.eval names no set to evaluate", path);
    if (!status && s->config && s->config->plugins)
        status = dapt_modules_load(s->config->plugins, &s->modules);
    return status;
}

static enum dapt_status cut_as_configured(struct sweep *s) {
    const struct dapt_config *c = s->config;
    s->cutting = (struct dapt_cutting){.sequence = c->data.sequence,
                                       .batch = s->evaluate.batch ? s->evaluate.batch : 8,
                                       .packing = c->data.packing,
                                       .special = c->data.special};
    if (!s->evaluate.max_tokens) s->evaluate.max_tokens = c->data.eval_tokens;
    if (!s->evaluate.cache) s->evaluate.cache = c->data.cache;
    s->seed = c->train.seed;
    return dapt_cutting_check(&s->cutting, s->pair.base.model);
}

// Sets of a configuration have roles; others are called by what they are for.
static void name_sets(struct sweep *s) {
    for (size_t i = 0; i < s->count; i++) {
        const struct dapt_eval_set *set = s->config ? &s->config->data.eval[i] : NULL;
        s->sets[i].name = set ? set->name : s->evaluate.data[i].name;
        s->sets[i].role = set ? set->role : s->sets[i].name;
    }
}

// As the best checkpoint of a run is chosen; without a configuration the set that is named "domain", else
// the first.
static void choose_deciding(struct sweep *s) {
    if (s->config) s->deciding = dapt_config_deciding(s->config);
    for (size_t i = s->count; !s->config && i-- > 0;)
        if (strcmp(s->sets[i].name, "domain") == 0) s->deciding = i;
}

static enum dapt_status set_budget(struct sweep *s, const char *name, double bits) {
    bool known = false;
    for (size_t i = 0; i < s->count; i++) {
        if (strcmp(s->sets[i].name, name) != 0 && strcmp(s->sets[i].role, name) != 0) continue;
        s->sets[i].budget = fmin(s->sets[i].budget, bits);
        known = true;
    }
    return known ? DAPT_OK
                 : dapt_fail(DAPT_ERROR_INVALID,
                             "the budget of \"%s\": no set has that name or role", name);
}

// Budgets that were asked for replace the configuration's.
static enum dapt_status set_budgets(struct sweep *s) {
    enum dapt_status status = DAPT_OK;
    size_t asked = s->options->budget_count;
    for (size_t i = 0; i < s->count; i++)
        s->sets[i].budget = s->config && !asked
                                ? dapt_config_budget(s->config, &s->config->data.eval[i])
                                : INFINITY;
    for (size_t b = 0; !status && b < asked; b++)
        status = set_budget(s, s->options->budget[b].name, s->options->budget[b].bits);
    return status;
}

static enum dapt_status open_sets(struct sweep *s) {
    s->count = s->config ? s->config->data.eval_count : s->evaluate.data_count;
    s->sets = dapt_alloc(s->count, sizeof *s->sets);
    s->evaluations = dapt_alloc(s->count, sizeof *s->evaluations);
    s->worth = dapt_alloc(s->count, sizeof *s->worth);
    if (!s->sets || !s->evaluations || !s->worth) return DAPT_ERROR_MEMORY;
    name_sets(s);
    choose_deciding(s);
    enum dapt_status status = set_budgets(s);
    if (!status)
        status = s->config ? cut_as_configured(s)
                           : dapt_cutting_choose(&s->evaluate, &s->pair.adapted, &s->cutting);
    if (!status) status = dapt_session_objective(&s->pair.adapted, &s->objective);
    for (size_t i = 0; !status && i < s->count; i++) {
        struct set *set = &s->sets[i];
        const struct dapt_named_data named = {.name = set->name,
                                              .path = s->config ? NULL : s->evaluate.data[i].path};
        status = dapt_cutting_open(&s->cutting, &s->pair.base, &s->evaluate, s->objective, &named,
                                   s->config ? &s->config->data.eval[i].data : NULL, &set->corpus);
        if (!status) status = dapt_paired_create(set->corpus, &set->units, &set->count);
    }
    return status;
}

// -------------------------------------------------------------------------------------- measuring

// All sets, by the weights of this point; those of the point before are there still.
static enum dapt_status score(struct sweep *s, double alpha) {
    if (alpha == s->alpha) return DAPT_OK;
    enum dapt_status status = dapt_pair_set(&s->pair, alpha);
    for (size_t i = 0; !status && i < s->count; i++) {
        struct set *set = &s->sets[i];
        status = dapt_paired_score(s->pair.base.engine, set->corpus, s->batch, set->name,
                                   set->units, set->count, &s->evaluations[i]);
    }
    s->alpha = status ? NAN : alpha;
    return status;
}

// The base, which all points are compared with.
static enum dapt_status score_base(struct sweep *s) {
    enum dapt_status status = score(s, 0);
    for (size_t i = 0; !status && i < s->count; i++) {
        struct set *set = &s->sets[i];
        set->nats_before = s->evaluations[i].nats_per_token;
        set->bits_before = s->evaluations[i].bits_per_byte;
        for (size_t u = 0; u < set->count; u++) set->units[u].before = set->units[u].after;
    }
    return status;
}

static enum dapt_status compare(struct sweep *s, size_t i) {
    const struct set *set = &s->sets[i];
    struct dapt_evaluation *e = &s->evaluations[i];
    struct dapt_interval interval;
    enum dapt_status status = dapt_interval_change(set->units, set->count, s->seed, &interval);
    e->role = set->role;
    e->nats_before = set->nats_before;
    e->bits_before = set->bits_before;
    e->change_low = interval.low;
    e->change_high = interval.high;
    s->worth[i] = (struct dapt_worth_set){.change = e->bits_per_byte - e->bits_before,
                                          .budget = set->budget,
                                          .general = strcmp(set->role, "general") == 0};
    return status;
}

static enum dapt_status measure(struct sweep *s, double alpha, struct dapt_blended *result) {
    enum dapt_status status = score(s, alpha);
    for (size_t i = 0; !status && i < s->count; i++) status = compare(s, i);
    if (status) return status;
    double value = dapt_worth(s->worth, s->count, s->deciding);
    bool holds = dapt_worth_inside(s->worth, s->count);
    if (holds && isfinite(value) && (!result->chosen || value < result->worth)) {
        result->chosen = true;
        result->worth = value;
        result->alpha = alpha;
    }
    const struct dapt_blend_point point = {.alpha = alpha,
                                           .evaluations = s->evaluations,
                                           .count = s->count,
                                           .deciding = s->deciding,
                                           .budgeted = result->budgeted,
                                           .inside = holds};
    if (s->options->point) s->options->point(s->options->user, &point);
    return DAPT_OK;
}

static enum dapt_status run(struct sweep *s, struct dapt_blended *result) {
    static const double tenths[] = {0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1};
    const double *alphas = s->options->alpha_count ? s->options->alphas : tenths;
    size_t count = s->options->alpha_count ? s->options->alpha_count
                                           : sizeof tenths / sizeof *tenths;
    for (size_t i = 0; i < s->count; i++) result->budgeted |= isfinite(s->sets[i].budget);
    enum dapt_status status = score_base(s);
    for (size_t i = 0; !status && i < count; i++) status = measure(s, alphas[i], result);
    if (status || !s->options->folder) return status;
    if (!result->chosen)
        return dapt_fail(DAPT_ERROR_INVALID,
                         "no point of the sweep is inside the budget: %s was not written; a sweep "
                         "with alpha 0 has one",
                         s->options->folder);
    status = dapt_pair_set(&s->pair, result->alpha);
    return status ? status : dapt_pair_save(&s->pair, s->options->folder);
}

// ---------------------------------------------------------------------------------------- opening

static enum dapt_status check_options(const struct dapt_blend_options *options) {
    for (size_t i = 0; i < options->alpha_count; i++)
        if (!(options->alphas[i] >= -1 && options->alphas[i] <= 2))
            return dapt_fail(DAPT_ERROR_INVALID, "alpha %g: expected a number from -1 to 2",
                             options->alphas[i]);
    if (options->folder && (dapt_is_dir(options->folder) || dapt_is_file(options->folder)))
        return dapt_fail(DAPT_ERROR_INVALID, "%s: is there already; expected a new folder",
                         options->folder);
    return DAPT_OK;
}

static void close_sweep(struct sweep *s) {
    for (size_t i = 0; s->sets && i < s->count; i++) {
        dapt_corpus_close(&s->sets[i].corpus);
        free(s->sets[i].units);
    }
    free(s->sets);
    free(s->evaluations);
    free(s->worth);
    dapt_batch_destroy(&s->batch);
    dapt_objective_destroy(&s->objective);
    dapt_pair_close(&s->pair);
    dapt_modules_unload(&s->modules);
    dapt_config_free(&s->config);
    dapt_arena_free(&s->arena);
}

enum dapt_status dapt_blend_models(const struct dapt_modules *modules,
                                   const struct dapt_blend_options *options,
                                   struct dapt_blended *result) {
    struct sweep s = {.options = options, .evaluate = options->evaluate, .alpha = NAN};
    const struct dapt_model_options *model = &options->evaluate.model;
    *result = (struct dapt_blended){.worth = NAN, .alpha = NAN};
    enum dapt_status status = check_options(options);
    if (!status) status = open_config(&s);
    if (!status)
        status = dapt_pair_open(s.modules ? s.modules : modules, model, options->adapted,
                                options->dtype, &s.pair);
    if (!status) status = open_sets(&s);
    if (!status) status = dapt_batch_create(s.cutting.batch, s.cutting.sequence, &s.batch);
    if (!status) status = dapt_pair_engine(&s.pair, model, s.cutting.batch, s.cutting.sequence);
    if (!status) status = run(&s, result);
    close_sweep(&s);
    return status;
}
