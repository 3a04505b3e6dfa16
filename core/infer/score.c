#include "infer/score.h"

#include <math.h>
#include <stdlib.h>

#include "base/statistics.h"
#include "base/threads.h"
#include "infer/resample.h"

#define ROUNDS 10000  // of the bootstrap of a perplexity

// ------------------------------------------------------------------------------------- likelihoods

struct scoring {
    const struct dapt_session *session;
    struct dapt_sequence *sequences;
    struct dapt_likelihood *likelihoods;
};

static enum dapt_status not_finite(const struct scoring *s) {
    return dapt_fail(DAPT_ERROR_INVALID, "%s: the model's output is not finite",
                     s->session->folder);
}

static enum dapt_status add_losses(void *user, size_t index, const float *losses) {
    struct scoring *s = user;
    const struct dapt_sequence *sequence = &s->sequences[index];
    double sum = 0;
    for (uint32_t i = sequence->count - sequence->scored; i < sequence->count; i++)
        sum -= (double)losses[i];
    s->likelihoods[index] = (struct dapt_likelihood){.sum = sum};
    return isfinite(sum) ? DAPT_OK : not_finite(s);
}

// log p of `id`; *greedy: no id is likelier, and none before it as likely.
static double log_probability(const float *logits, uint32_t vocab, uint32_t id, bool *greedy) {
    uint32_t best = 0;
    double sum = 0;
    for (uint32_t v = 1; v < vocab; v++)
        if (logits[v] > logits[best]) best = v;
    for (uint32_t v = 0; v < vocab; v++) sum += exp((double)logits[v] - (double)logits[best]);
    *greedy = best == id;
    return (double)logits[id] - (double)logits[best] - log(sum);
}

static enum dapt_status add_logits(void *user, size_t index, const float *logits) {
    struct scoring *s = user;
    const struct dapt_sequence *sequence = &s->sequences[index];
    uint32_t vocab = s->session->model->vocab;
    struct dapt_likelihood made = {.greedy = true};
    for (uint32_t i = sequence->count - sequence->scored; i < sequence->count; i++) {
        bool greedy;
        made.sum += log_probability(logits + (size_t)i * vocab, vocab, sequence->ids[i + 1],
                                    &greedy);
        made.greedy = made.greedy && greedy;
    }
    s->likelihoods[index] = made;
    return isfinite(made.sum) ? DAPT_OK : not_finite(s);
}

enum dapt_status dapt_score_requests(struct dapt_session *session, const struct dapt_task *task,
                                     struct dapt_likelihood *likelihoods) {
    struct scoring s = {.session = session, .likelihoods = likelihoods};
    s.sequences = dapt_alloc(task->request_count, sizeof *s.sequences);
    if (!s.sequences) return DAPT_ERROR_MEMORY;
    for (size_t i = 0; i < task->request_count; i++) {
        const struct dapt_request *request = &task->requests[i];
        s.sequences[i] = (struct dapt_sequence){.ids = task->ids.ids + request->begin,
                                                .count = request->count - 1,
                                                .scored = request->scored};
    }
    bool greedy = task->kind == DAPT_TASK_CLOZE;
    enum dapt_status status = dapt_forward(
        session->engine, session->model, greedy ? DAPT_FORWARD_LOGITS : DAPT_FORWARD_LOSSES,
        s.sequences, task->request_count, "scoring", greedy ? add_logits : add_losses, &s);
    free(s.sequences);
    return status;
}

// ----------------------------------------------------------------------------------------- figures

static void add_metric(struct dapt_score *result, const char *name, double value, double error) {
    result->metrics[result->metric_count++] = (struct dapt_score_metric){name, value, error};
}

static void add_mean(struct dapt_score *result, const char *name, const double *values,
                     size_t count) {
    add_metric(result, name, dapt_mean(values, count),
               dapt_deviation(values, count) / sqrt((double)count));
}

// What a choice's sum is divided by.
static double plain(const struct dapt_request *request) {
    (void)request;
    return 1;
}
static double by_letter(const struct dapt_request *request) {
    return request->letters;
}
static double by_byte(const struct dapt_request *request) {
    return request->bytes;
}

static enum dapt_status choice_figures(const struct dapt_task *task,
                                       const struct dapt_likelihood *likelihoods, double *values,
                                       struct dapt_score *result) {
    static const struct {
        const char *name;
        double (*size)(const struct dapt_request *request);
    } rows[] = {{"acc", plain}, {"acc_norm", by_letter}, {"acc_bytes", by_byte}};
    for (size_t row = 0; row < sizeof rows / sizeof *rows; row++) {
        for (size_t i = 0; i < task->record_count; i++) {
            const struct dapt_task_record *record = &task->records[i];
            size_t best = record->first;
            double most = -INFINITY;
            for (size_t k = record->first; k < record->first + record->count; k++) {
                double value = likelihoods[k].sum / rows[row].size(&task->requests[k]);
                if (value > most) most = value, best = k;
            }
            values[i] = best == record->first + record->answer;
        }
        add_mean(result, rows[row].name, values, task->record_count);
    }
    return DAPT_OK;
}

static double draw_perplexity(void *user, const uint32_t *draw, size_t count) {
    const double *sums = user;
    double sum = 0;
    for (size_t i = 0; i < count; i++) sum += sums[draw[i]];
    return exp(-sum / (double)count);
}

static enum dapt_status cloze_figures(const struct dapt_task *task,
                                      const struct dapt_likelihood *likelihoods, double *values,
                                      struct dapt_score *result) {
    size_t count = task->record_count;
    double *draws = dapt_alloc(ROUNDS, sizeof *draws);
    if (!draws) return DAPT_ERROR_MEMORY;
    for (size_t i = 0; i < count; i++) values[i] = likelihoods[i].greedy;
    add_mean(result, "acc", values, count);
    for (size_t i = 0; i < count; i++) values[i] = likelihoods[i].sum;
    enum dapt_status status = dapt_resample(0, count, ROUNDS, draw_perplexity, values, draws);
    add_metric(result, "perplexity", exp(-dapt_mean(values, count)),
               count > 1 ? dapt_deviation(draws, ROUNDS) : NAN);
    free(draws);
    return status;
}

static enum dapt_status rolling_figures(const struct dapt_task *task,
                                        const struct dapt_likelihood *likelihoods, double *values,
                                        struct dapt_score *result) {
    double sum = 0, words = 0, bytes = 0;
    (void)values;
    for (size_t i = 0; i < task->request_count; i++) sum += likelihoods[i].sum;
    for (size_t i = 0; i < task->record_count; i++) {
        words += (double)task->records[i].words;
        bytes += (double)task->records[i].bytes;
    }
    add_metric(result, "word_perplexity", exp(-sum / words), NAN);
    add_metric(result, "byte_perplexity", exp(-sum / bytes), NAN);
    add_metric(result, "bits_per_byte", -sum / bytes / M_LN2, NAN);
    return DAPT_OK;
}

// ------------------------------------------------------------------------------------------- tasks

static enum dapt_status score_task(struct dapt_session *session, const struct dapt_task *task,
                                   struct dapt_score *result) {
    static enum dapt_status (*const figures[DAPT_TASK_KINDS])(
        const struct dapt_task *, const struct dapt_likelihood *, double *, struct dapt_score *) = {
        [DAPT_TASK_CHOICE] = choice_figures,
        [DAPT_TASK_CLOZE] = cloze_figures,
        [DAPT_TASK_ROLLING] = rolling_figures};
    double begin = dapt_seconds();
    *result = (struct dapt_score){.task = task->path,
                                  .kind = dapt_task_kind_names[task->kind],
                                  .records = task->record_count,
                                  .texts = task->request_count,
                                  .cut = task->cut};
    struct dapt_likelihood *likelihoods = dapt_alloc(task->request_count, sizeof *likelihoods);
    double *values = dapt_alloc(task->record_count, sizeof *values);
    enum dapt_status status = likelihoods && values ? DAPT_OK : DAPT_ERROR_MEMORY;
    if (!status) status = dapt_score_requests(session, task, likelihoods);
    if (!status) status = figures[task->kind](task, likelihoods, values, result);
    result->seconds = dapt_seconds() - begin;
    free(likelihoods);
    free(values);
    return status;
}

// All tasks are read before the device is opened: what is wrong with one is told at once.
enum dapt_status dapt_score_tasks(const struct dapt_modules *modules,
                                  const struct dapt_score_options *options,
                                  struct dapt_score *results) {
    struct dapt_session session;
    size_t count = options->task_count;
    uint32_t length = 0;
    struct dapt_task *tasks = NULL;
    enum dapt_status status = dapt_session_open(modules, &options->model, &session);
    if (!status) status = dapt_session_model(&session);
    if (!status) status = dapt_session_causal(&session);
    if (!status) status = dapt_forward_length(session.model, options->sequence, &length);
    if (!status && !(tasks = dapt_alloc(count, sizeof *tasks))) status = DAPT_ERROR_MEMORY;
    for (size_t i = 0; i < count && !status; i++)
        status = dapt_task_read(&session, options->tasks[i], options->limit, length, &tasks[i]);
    const struct dapt_engine_options engine = {.sequences = 1, .length = 1};
    if (!status) status = dapt_session_engine(&session, &options->model, &engine);
    for (size_t i = 0; i < count && !status; i++)
        status = score_task(&session, &tasks[i], &results[i]);
    for (size_t i = 0; tasks && i < count; i++) dapt_task_close(&tasks[i]);
    free(tasks);
    dapt_session_close(&session);
    return status;
}
