// What the ranks of a run do beside a step: they make sure that they are in the same run, rank 0 moves what
// is in files, and all end together.
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/threads.h"
#include "checkpoint/checkpoint.h"
#include "train/fingerprint.h"
#include "train/trainer.h"

#define PIECE ((uint64_t)1 << 20)  // elements of the weights that are hashed at a time

bool dapt_trainer_leads(const struct dapt_trainer *t) {
    return dapt_ranks_index(t->setup.ranks) == 0;
}

// --------------------------------------------------------------------------------------- agreement

static struct dapt_hash hash_text(const char *text) {
    return dapt_hash_bytes(text, strlen(text));
}

static enum dapt_status hash_json(const cJSON *value, struct dapt_hash *hash) {
    char *text = value ? cJSON_PrintUnformatted(value) : NULL;
    if (value && !text) return dapt_fail(DAPT_ERROR_MEMORY, "no memory to compare the ranks");
    *hash = hash_text(text ? text : "");
    cJSON_free(text);
    return DAPT_OK;
}

// What differs is seen by all ranks alike: one of them tells it.
static enum dapt_status agree(struct dapt_trainer *t, const struct dapt_ranks_item *items,
                              size_t count) {
    enum dapt_status status = dapt_ranks_agree(t->setup.ranks, items, count);
    t->alike = status == DAPT_ERROR_INVALID;
    return status;
}

enum dapt_status dapt_trainer_agree_config(struct dapt_trainer *t) {
    cJSON *root = NULL;
    size_t sets = t->config->data.eval_count;
    struct dapt_ranks_item items[] = {
        {"version of dapt", hash_text(dapt_version())},
        {"way to begin (--resume)", hash_text(t->options->resume ? "resume" : "")},
        {"backend.precision", hash_text(dapt_precision_name(t->config->backend.precision))},
        {"number of sets in data.eval", dapt_hash_bytes(&sets, sizeof sets)},
        {"configuration in \"train\" and \"checkpoint\"", {0}}};
    if (!t->setup.ranks) return DAPT_OK;
    enum dapt_status status = dapt_fingerprint_config(t->config, &root);
    cJSON *both[] = {cJSON_GetObjectItemCaseSensitive(root, "train"),
                     cJSON_GetObjectItemCaseSensitive(root, "checkpoint")};
    struct dapt_hash hashes[2];
    for (int i = 0; i < 2 && !status; i++) status = hash_json(both[i], &hashes[i]);
    if (!status) items[4].hash = dapt_hash_bytes(hashes, sizeof hashes);
    if (!status) status = agree(t, items, sizeof items / sizeof *items);
    cJSON_Delete(root);
    return status;
}

enum dapt_status dapt_trainer_agree_data(struct dapt_trainer *t) {
    enum { FIXED = 8 };
    size_t sets = t->config->data.eval_count;
    if (!t->setup.ranks) return DAPT_OK;
    struct dapt_ranks_item *items = dapt_alloc(FIXED + sets, sizeof *items);
    if (!items) return DAPT_ERROR_MEMORY;
    struct dapt_hash tokenizer;
    enum dapt_status status = hash_json(t->tokenizer, &tokenizer);
    const struct dapt_ranks_item fixed[FIXED] = {
        {"backend.precision", hash_text(dapt_precision_name(t->config->backend.precision))},
        {"model (its config.json)", hash_text(t->model_hash)},
        {"base model", hash_text(t->base_hash)},
        {"tokenizer", tokenizer},
        {"text in data.domain", hash_text(t->data_hash)},
        {"text in data.replay.from", hash_text(t->replay_hash)},
        {"schedule", hash_text(t->schedule_hash)},
        {"configuration", hash_text(t->fingerprint_hash)}};
    memcpy(items, fixed, sizeof fixed);
    for (size_t i = 0; i < sets; i++) {
        char hash[33];
        dapt_trainer_set_hash(t, i, hash);
        items[FIXED + i] = (struct dapt_ranks_item){"text in data.eval", hash_text(hash)};
    }
    if (!status) status = agree(t, items, FIXED + sets);
    free(items);
    return status;
}

enum dapt_status dapt_trainer_agree_weights(struct dapt_trainer *t) {
    uint64_t count = t->setup.model->trained_count;
    struct dapt_hasher *hasher = NULL;
    if (!t->setup.ranks) return DAPT_OK;
    float *piece = dapt_alloc_aligned(PIECE, sizeof *piece);
    enum dapt_status status = piece ? dapt_hasher_create(&hasher) : DAPT_ERROR_MEMORY;
    for (uint64_t at = 0; !status && at < count; at += PIECE) {
        uint64_t n = count - at < PIECE ? count - at : PIECE;
        status = dapt_engine_read(t->setup.engine, DAPT_STATE_PARAM, at, n, piece);
        if (!status) dapt_hasher_add(hasher, piece, n * sizeof *piece);
    }
    char what[64];
    snprintf(what, sizeof what, "hash of the weights after step %" PRIu64, t->step);
    if (!status) {
        struct dapt_ranks_item item = {what, dapt_hasher_value(hasher)};
        status = agree(t, &item, 1);
    }
    dapt_hasher_destroy(&hasher);
    free(piece);
    t->apart |= status && !t->alike;
    return status;
}

// --------------------------------------------------------------------------------- what rank 0 does

static enum dapt_status no_memory(void) {
    return dapt_fail(DAPT_ERROR_MEMORY, "no memory for run.json");
}

enum dapt_status dapt_trainer_share_record(struct dapt_trainer *t, cJSON **record) {
    struct dapt_ranks *ranks = t->setup.ranks;
    if (!ranks) return DAPT_OK;
    bool leads = dapt_trainer_leads(t);
    char *text = leads && *record ? cJSON_PrintUnformatted(*record) : NULL;
    uint64_t length = text ? strlen(text) : 0;  // 0: there is none
    enum dapt_status status = leads && *record && !text ? no_memory() : DAPT_OK;
    if (!status) status = dapt_ranks_broadcast(ranks, &length, sizeof length, 0);
    if (!status && length && !leads && !(text = cJSON_malloc(length))) status = no_memory();
    if (!status && length) status = dapt_ranks_broadcast(ranks, text, length, 0);
    if (!status && length && !leads && !(*record = cJSON_ParseWithLength(text, length)))
        status = no_memory();
    cJSON_free(text);
    return status;
}

enum dapt_status dapt_trainer_together(struct dapt_trainer *t,
                                       enum dapt_status (*work)(struct dapt_trainer *)) {
    enum dapt_status outcome = DAPT_OK, status;
    if (dapt_trainer_leads(t)) {
        dapt_engine_lead(t->setup.engine);
        status = dapt_engine_lead_end(t->setup.engine, work(t));
    } else {
        status = dapt_engine_follow(t->setup.engine, &outcome);
    }
    t->apart |= dapt_engine_apart(t->setup.engine);
    return status ? status : outcome;
}

// ------------------------------------------------------------------------------------- stopping, slow ones

bool dapt_trainer_asked(const struct dapt_trainer *t) {
    return t->setup.ranks ? t->asked : dapt_cancelled();
}

enum dapt_status dapt_trainer_hear(struct dapt_trainer *t) {
    struct dapt_engine_result result;
    if (!t->setup.ranks) return DAPT_OK;
    enum dapt_status status = dapt_engine_result(t->setup.engine, &result);
    if (!status && result.cancelled) t->asked = true;
    return status;
}

// Told once of a rank: the others are at their work for less than three quarters of the time that it takes.
void dapt_trainer_watch(struct dapt_trainer *t) {
    const double *busy = dapt_engine_busy(t->setup.engine);
    uint32_t size = dapt_ranks_count(t->setup.ranks), slow = 0;
    double rest = 0;
    if (!busy || t->step - t->started < 2) return;  // the first step also compiles
    for (uint32_t r = 0; r < size; r++) {
        t->busy[r] = t->busy[r] ? 0.9 * t->busy[r] + 0.1 * busy[r] : busy[r];
        if (t->busy[r] > t->busy[slow]) slow = r;
    }
    for (uint32_t r = 0; r < size; r++)
        if (r != slow && t->busy[r] > rest) rest = t->busy[r];
    if (t->step - t->started < 10 || t->slow_told || !(rest < 0.75 * t->busy[slow])) return;
    t->slow_told = true;
    dapt_report_note(&t->reporter,
                     "step %" PRIu64 "  rank %" PRIu32
                     " on %s takes %.3g s for its part of a step, the others at most %.3g s: they "
                     "wait for it",
                     t->step, slow, dapt_ranks_host(t->setup.ranks, slow), t->busy[slow], rest);
}

// ------------------------------------------------------------------------------------------ the end

#define FIRST 3.0  // seconds in which a launcher has begun to end all ranks for the first that did

// What all ranks see is told by the first of them, and as it then ends all, by no other. False: this one
// is being ended, which launchers begin by asking it to stop.
static bool is_to_tell(uint32_t rank, bool asked) {
    double until = dapt_seconds() + (rank ? FIRST + 0.1 * (rank % 16) : 0);
    while (dapt_seconds() < until) nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    return asked || !rank || !dapt_cancelled();
}

void dapt_trainer_abort(struct dapt_trainer *t, enum dapt_status status) {
    struct dapt_ranks *ranks = t->setup.ranks;
    struct dapt_launch launch;
    bool device = status == DAPT_ERROR_DEVICE || status == DAPT_ERROR_MEMORY,
         stopped = status == DAPT_ERROR_CANCELLED;
    if (status >= 0 || (stopped && t->asked) || !dapt_launched(&launch) || launch.size == 1) return;
    bool tells = is_to_tell(ranks ? dapt_ranks_index(ranks) : launch.rank, dapt_cancelled());
    if (!ranks) return;
    if (t->alike && dapt_trainer_leads(t))
        dapt_log(DAPT_LOG_ERROR, "%s", dapt_error());
    else if (!t->alike && !stopped && tells)
        dapt_log(DAPT_LOG_ERROR, "rank %" PRIu32 " (on %s): %s", dapt_ranks_index(ranks),
                 dapt_ranks_world(ranks)->host, dapt_error());
    fflush(stdout);
    if (!t->accepted) dapt_run_folder_discard(&t->run);
    dapt_ranks_abort(ranks, stopped ? 130 : device ? 3 : 1);
}
