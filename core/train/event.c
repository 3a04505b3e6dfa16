#include "train/event.h"

#include <math.h>
#include <stddef.h>

#include "train/metrics.h"
#include "train/trainer.h"

// -------------------------------------------------------------------------------------- the table

enum value {
    COUNT,         // uint64_t
    RANKS,         // uint32_t; left out when there is one
    NUMBER,        // double; null when it is not finite
    TEXT,          // const char *
    FLAG,          // bool
    MAYBE_STEP,    // a count; left out when DAPT_NEVER
    MAYBE_NUMBER,  // left out when 0
    MAYBE_FINITE,  // left out when it is not finite
    MAYBE_TEXT,    // left out when NULL
    WAITS,         // seconds - busy, of each of ranks; left out where there is one
    PASSES,        // passes, pass_count
    CORPORA        // of a setup
};

#define STEP (1U << DAPT_EVENT_STEP)
#define SKIP (1U << DAPT_EVENT_SKIP)
#define EVALUATION (1U << DAPT_EVENT_EVALUATION)
#define CHECKPOINT (1U << DAPT_EVENT_CHECKPOINT)
#define TROUBLE (1U << DAPT_EVENT_TROUBLE)
#define END (1U << DAPT_EVENT_END)
#define START (1U << DAPT_EVENT_START | 1U << DAPT_EVENT_RESUME)
#define ROUNDING (1U << DAPT_EVENT_ROUNDING)
#define FAILURE (1U << DAPT_EVENT_FAILURE)
#define REPLAY (1U << DAPT_EVENT_REPLAY)
#define EVERY (~0U)

static const char *const names[DAPT_EVENT_COUNT] = {
    [DAPT_EVENT_STEP] = "step",
    [DAPT_EVENT_SKIP] = "skip",
    [DAPT_EVENT_EVALUATION] = "evaluation",
    [DAPT_EVENT_CHECKPOINT] = "checkpoint",
    [DAPT_EVENT_TROUBLE] = "trouble",
    [DAPT_EVENT_STOP] = "stop",
    [DAPT_EVENT_END] = "end",
    [DAPT_EVENT_START] = "start",
    [DAPT_EVENT_RESUME] = "resume",
    [DAPT_EVENT_ROUNDING] = "rounding",
    [DAPT_EVENT_FAILURE] = "failure",
    [DAPT_EVENT_REPLAY] = "replay",
};

#define AT(member) offsetof(struct dapt_event, member)

static const struct field {
    const char *key;
    enum value value;
    size_t offset;
    unsigned events;
} fields[] = {
    // In the order in which they stand in a line.
    {"step", COUNT, AT(told.step), EVERY},
    {"text", TEXT, AT(told.text), SKIP | TROUBLE | FAILURE},
    {"in_row", COUNT, AT(told.bad_in_row), SKIP},
    {"loss_scale", MAYBE_NUMBER, AT(loss_scale), STEP | SKIP},

    {"version", TEXT, AT(version), START},
    {"backend", TEXT, AT(backend), START},
    {"device", TEXT, AT(device), START},
    {"threads", COUNT, AT(threads), START},
    {"ranks", RANKS, AT(ranks), START},
    {"precision", TEXT, AT(precision), START},
    {"family", TEXT, AT(family), START},
    {"objective", TEXT, AT(objective), START},
    {"parameters", COUNT, AT(parameters), START},
    {"trained_parameters", COUNT, AT(trained_parameters), START},
    {"memory", COUNT, AT(memory), START},
    {"steps", COUNT, AT(told.steps), START},
    {"tokens_per_step", COUNT, AT(tokens_per_step), START},
    {"config", TEXT, AT(config), START},
    {"data", TEXT, AT(data), START},
    {"corpora", CORPORA, AT(setup), START},

    {"set", TEXT, AT(set.name), EVALUATION | ROUNDING | REPLAY},
    {"share", NUMBER, AT(share), REPLAY},
    {"masked", FLAG, AT(set.masked), EVALUATION},
    {"dtype", TEXT, AT(dtype), ROUNDING},
    {"nats_per_token", NUMBER, AT(set.nats_per_token), EVALUATION},
    {"perplexity", NUMBER, AT(set.perplexity), EVALUATION},
    {"bits_per_byte", NUMBER, AT(set.bits_per_byte), EVALUATION | ROUNDING},
    {"bits_per_byte_change", NUMBER, AT(bits_change), EVALUATION},
    {"bits_per_byte_float32", NUMBER, AT(bits_float32), ROUNDING},
    {"scored", COUNT, AT(set.scored), EVALUATION},
    {"tokens", COUNT, AT(set.tokens), EVALUATION},
    {"bytes", COUNT, AT(set.bytes), EVALUATION},
    {"seconds", NUMBER, AT(set.seconds), EVALUATION},
    {"role", MAYBE_TEXT, AT(set.role), EVALUATION},
    {"documents", COUNT, AT(set.documents), EVALUATION},
    {"change_low", NUMBER, AT(set.change_low), EVALUATION},
    {"change_high", NUMBER, AT(set.change_high), EVALUATION},
    {"budget", MAYBE_FINITE, AT(budget), EVALUATION},

    {"updates", COUNT, AT(updates), END},
    {"skipped", COUNT, AT(skipped), END},
    {"tokens", COUNT, AT(tokens), END},
    {"best", MAYBE_STEP, AT(best_step), END},
    {"train_seconds", NUMBER, AT(train_seconds), END},
    {"tokens_per_second", NUMBER, AT(tokens_per_second), END},

    {"loss", NUMBER, AT(told.loss), STEP},
    {"norm", NUMBER, AT(told.norm), STEP},
    {"learning_rate", NUMBER, AT(told.learning_rate), STEP},
    {"weight_decay", NUMBER, AT(weight_decay), STEP},
    {"scored", COUNT, AT(scored), STEP},
    {"name", TEXT, AT(told.text), CHECKPOINT},
    {"best", FLAG, AT(best), CHECKPOINT},
    {"seconds", NUMBER, AT(seconds), STEP | CHECKPOINT | END},
    {"waits", WAITS, AT(busy), STEP},
    {"since_start", MAYBE_NUMBER, AT(since_start), STEP},
    {"passes", PASSES, AT(passes), END},
    {"ended", MAYBE_TEXT, AT(ended), END},
};

// --------------------------------------------------------------------------------- metrics.jsonl

static void add_corpus(cJSON *list, const char *name, const struct dapt_corpus *corpus) {
    const struct dapt_corpus_report *r = dapt_corpus_report(corpus);
    const struct {
        const char *key;
        uint64_t value;
    } counts[] = {
        {"files", r->files},     {"documents", r->documents}, {"bytes", r->bytes},
        {"skipped", r->skipped}, {"tokens", r->tokens},       {"sequences", r->sequences},
        {"cut", r->cut},         {"padded", r->padded},       {"split", r->split},
    };
    cJSON *object = cJSON_AddObjectToObject(list, name);
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        cJSON_AddNumberToObject(object, counts[i].key, (double)counts[i].value);
    }
    cJSON_AddBoolToObject(object, "cached", r->cached);
    dapt_json_add_number(object, "seconds", r->seconds);
}

static void add_corpora(cJSON *line, const char *key, const struct dapt_setup *setup) {
    cJSON *corpora = cJSON_AddObjectToObject(line, key);
    add_corpus(corpora, "domain", setup->domain);
    if (setup->replay) add_corpus(corpora, "replay", setup->replay);
    for (size_t i = 0; i < setup->config->data.eval_count; i++) {
        char name[128];
        snprintf(name, sizeof name, "eval %s", setup->config->data.eval[i].name);
        add_corpus(corpora, name, setup->evals[i]);
    }
}

static void add_passes(cJSON *line, const char *key, const struct dapt_event *event) {
    cJSON *list = cJSON_AddArrayToObject(line, key);
    for (size_t i = 0; i < event->pass_count; i++) {
        cJSON *item = cJSON_CreateObject();
        cJSON_AddStringToObject(item, "source", event->passes[i].source);
        dapt_json_add_number(item, "passes", event->passes[i].passes);
        cJSON_AddItemToArray(list, item);
    }
}

// A rank that waits little is one that the others wait for.
static void add_waits(cJSON *line, const char *key, const struct dapt_event *event) {
    cJSON *list = cJSON_AddArrayToObject(line, key);
    for (uint32_t r = 0; r < event->ranks; r++)
        cJSON_AddItemToArray(list, cJSON_CreateNumber(fmax(event->seconds - event->busy[r], 0)));
}

// Of the fields that an event may have or not.
static bool is_absent(const struct field *field, const void *at) {
    return (field->value == MAYBE_STEP && *(const uint64_t *)at == DAPT_NEVER) ||
           (field->value == MAYBE_NUMBER && *(const double *)at == 0) ||
           (field->value == MAYBE_FINITE && !isfinite(*(const double *)at)) ||
           (field->value == RANKS && *(const uint32_t *)at <= 1) ||
           (field->value == WAITS && !*(const double *const *)at) ||
           (field->value == MAYBE_TEXT && !*(const char *const *)at);
}

static void add_field(cJSON *line, const struct field *field, const struct dapt_event *event) {
    const void *at = (const char *)event + field->offset;
    const char *key = field->key;
    if (is_absent(field, at)) return;
    switch (field->value) {
    case COUNT:
    case MAYBE_STEP: cJSON_AddNumberToObject(line, key, (double)*(const uint64_t *)at); break;
    case NUMBER:
    case MAYBE_FINITE:
    case MAYBE_NUMBER: dapt_json_add_number(line, key, *(const double *)at); break;
    case MAYBE_TEXT:
    case TEXT: cJSON_AddStringToObject(line, key, *(const char *const *)at); break;
    case RANKS: cJSON_AddNumberToObject(line, key, *(const uint32_t *)at); break;
    case WAITS: add_waits(line, key, event); break;
    case FLAG: cJSON_AddBoolToObject(line, key, *(const bool *)at); break;
    case PASSES: add_passes(line, key, event); break;
    case CORPORA: add_corpora(line, key, event->setup); break;
    }
}

// The line of metrics.jsonl; NULL: no memory.
static cJSON *event_line(enum dapt_event_kind kind, const struct dapt_event *event) {
    cJSON *line = dapt_metrics_event(names[kind]);
    for (size_t i = 0; line && i < sizeof fields / sizeof fields[0]; i++)
        if (fields[i].events & 1U << kind) add_field(line, &fields[i], event);
    return line;
}

// ---------------------------------------------------------------------------------------- telling

// A failure to write is told once and does not stop training.
static void log_line(struct dapt_trainer *t, enum dapt_event_kind kind,
                     const struct dapt_event *event) {
    if (!t->metrics) return;  // not rank 0
    enum dapt_status status = dapt_run_folder_check(&t->run);
    if (!status) status = dapt_metrics_add(t->metrics, event_line(kind, event));
    if (!status || t->metrics_failed) return;
    t->metrics_failed = true;
    dapt_report(&t->reporter, &(struct dapt_train_event){.kind = DAPT_TRAIN_TROUBLE,
                                                         .step = t->step,
                                                         .steps = t->setup.steps,
                                                         .text = dapt_error()});
}

static void log_sets(struct dapt_trainer *t, struct dapt_event *event) {
    for (size_t i = 0; i < event->told.evaluation_count; i++) {
        event->set = event->told.evaluations[i];
        event->budget = dapt_trainer_budget(t, i);
        event->bits_change = t->step ? event->set.bits_per_byte - event->set.bits_before : 0;
        log_line(t, DAPT_EVENT_EVALUATION, event);
    }
}

void dapt_trainer_tell(struct dapt_trainer *t, enum dapt_event_kind kind,
                       struct dapt_event *event) {
    event->told.step = t->step;
    event->told.steps = t->setup.steps;
    if (kind == DAPT_EVENT_EVALUATION)
        log_sets(t, event);
    else
        log_line(t, kind, event);
    if (kind == DAPT_EVENT_END || kind == DAPT_EVENT_FAILURE) dapt_metrics_sync(t->metrics);
    if (kind > DAPT_EVENT_END) return;
    event->told.kind = (enum dapt_train_event_kind)kind;
    dapt_report(&t->reporter, &event->told);
}

void dapt_trainer_trouble(struct dapt_trainer *t, const char *text) {
    struct dapt_string copy = {0};
    if (!dapt_string_format(&copy, "%s", text))
        dapt_trainer_tell(t, DAPT_EVENT_TROUBLE, &(struct dapt_event){.told = {.text = copy.data}});
    dapt_string_free(&copy);
}
