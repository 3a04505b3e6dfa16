#include "infer/probe.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "base/statistics.h"
#include "base/threads.h"
#include "infer/forward.h"
#include "infer/logistic.h"
#include "infer/records.h"
#include "infer/resample.h"

#define EXAMPLE "{\"text\": \"...\", \"label\": \"...\"}"
#define ROUNDS 2000                      // of the bootstrap
#define STREAM_DIVISION 0x70726f6265ull  // "probe": apart from the streams of data and weights

static const double strengths[] = {1e-4, 1e-3, 1e-2, 0.1, 1, 10};
#define STRENGTHS (sizeof strengths / sizeof *strengths)

// ----------------------------------------------------------------------------------------- reading

struct reader {
    struct dapt_session *session;
    struct dapt_label_names *names;
    struct dapt_labelled *texts;
    uint32_t length;
};

static enum dapt_status number_label(struct dapt_label_names *names, const char *name,
                                     uint32_t *label) {
    for (*label = 0; *label < names->count; ++*label)
        if (strcmp(names->names[*label], name) == 0) return DAPT_OK;
    enum dapt_status status = dapt_grow(&names->names, &names->capacity, names->count + 1,
                                        sizeof *names->names);
    const char *copy = status ? NULL : dapt_arena_copy(&names->arena, name, strlen(name));
    if (!copy) return DAPT_ERROR_MEMORY;
    names->names[names->count++] = copy;
    return DAPT_OK;
}

static enum dapt_status take_label(struct dapt_label_names *names, const struct dapt_json *record,
                                   uint32_t *label) {
    const struct dapt_json *value = dapt_json_member(record, "label");
    struct dapt_string number = {0};
    const char *name;
    enum dapt_status status;
    if (dapt_json_kind(value) == DAPT_JSON_NUMBER) {
        status = dapt_json_write(value, &number);
        name = number.data;
    } else {
        status = dapt_json_need(record, "label", DAPT_JSON_STRING, &value);
        if (!status) status = dapt_json_string(value, &name);
    }
    if (!status) status = number_label(names, name, label);
    dapt_string_free(&number);
    return status;
}

static enum dapt_status take(void *user, const struct dapt_json *record) {
    struct reader *r = user;
    struct dapt_labelled *t = r->texts;
    const char *text;
    size_t begin = t->ids.count;
    uint32_t label;
    enum dapt_status status = dapt_record_string(record, "text", false, &text);
    if (!status) status = take_label(r->names, record, &label);
    if (!status)
        status = dapt_tokenizer_encode(r->session->tokenizer, text, strlen(text),
                                       DAPT_ENCODE_SPECIAL, &t->ids);
    if (!status && t->ids.count == begin)
        status = dapt_json_fail(dapt_json_member(record, "text"), "gives no token");
    if (!status) status = dapt_grow(&t->ends, &t->ends_capacity, t->count + 1, sizeof *t->ends);
    if (!status)
        status = dapt_grow(&t->labels, &t->labels_capacity, t->count + 1, sizeof *t->labels);
    if (status) return status;
    t->cut += t->ids.count - begin > r->length;
    if (t->ids.count - begin > r->length) t->ids.count = begin + r->length;
    t->labels[t->count] = label;
    t->ends[t->count++] = t->ids.count;
    return DAPT_OK;
}

enum dapt_status dapt_labelled_read(struct dapt_session *session, const char *path, uint32_t length,
                                    struct dapt_label_names *names, struct dapt_labelled *texts) {
    struct reader r = {.session = session, .names = names, .texts = texts, .length = length};
    *texts = (struct dapt_labelled){0};
    return dapt_records_read(path, 0, EXAMPLE, take, &r);
}

void dapt_labelled_close(struct dapt_labelled *texts) {
    dapt_ids_free(&texts->ids);
    free(texts->ends);
    free(texts->labels);
    *texts = (struct dapt_labelled){0};
}

// ---------------------------------------------------------------------------------------- features

struct pooling {
    const struct dapt_sequence *sequences;
    uint32_t width;
    bool last;
    double *features;
    const char *folder;
};

static enum dapt_status pool(void *user, size_t index, const float *rows) {
    const struct pooling *p = user;
    uint32_t count = p->sequences[index].count;
    double *features = p->features + index * p->width, sum = 0;
    for (uint32_t c = 0; c < p->width; c++) features[c] = 0;
    for (uint32_t i = p->last ? count - 1 : 0; i < count; i++)
        for (uint32_t c = 0; c < p->width; c++)
            features[c] += (double)rows[(size_t)i * p->width + c];
    for (uint32_t c = 0; c < p->width; c++) {
        features[c] /= p->last ? 1 : (double)count;
        sum += features[c];
    }
    return isfinite(sum)
               ? DAPT_OK
               : dapt_fail(DAPT_ERROR_INVALID, "%s: the model's output is not finite", p->folder);
}

enum dapt_status dapt_labelled_features(struct dapt_session *session,
                                        const struct dapt_labelled *texts, bool last,
                                        double *features) {
    struct dapt_sequence *sequences = dapt_alloc(texts->count, sizeof *sequences);
    if (!sequences) return DAPT_ERROR_MEMORY;
    for (size_t i = 0, begin = 0; i < texts->count; begin = texts->ends[i++])
        sequences[i] = (struct dapt_sequence){.ids = texts->ids.ids + begin,
                                              .count = (uint32_t)(texts->ends[i] - begin)};
    struct pooling p = {.sequences = sequences,
                        .width = session->model->hidden,
                        .last = last,
                        .features = features,
                        .folder = session->folder};
    enum dapt_status status = dapt_forward(session->engine, session->model, DAPT_FORWARD_HIDDEN,
                                           sequences, texts->count, "reading texts", pool, &p);
    free(sequences);
    return status;
}

// Each feature less its mean over its deviation in the training texts, which come first; one that
// is the same in all of them stays as it is, less the mean.
static void standardise(double *features, size_t train, size_t all, size_t width) {
    for (size_t c = 0; c < width; c++) {
        double mean = 0, squares = 0;
        for (size_t i = 0; i < train; i++) mean += features[i * width + c] / (double)train;
        for (size_t i = 0; i < train; i++) {
            double d = features[i * width + c] - mean;
            squares += d * d / (double)train;
        }
        double deviation = squares > 0 ? sqrt(squares) : 1;
        for (size_t i = 0; i < all; i++)
            features[i * width + c] = (features[i * width + c] - mean) / deviation;
    }
}

// ----------------------------------------------------------------------------------------- figures

// The F1 of predictions against labels, both below `classes`, over the texts draw [count]: the mean
// over the labels that there are among the one or the other. Of a label it is
// 2 TP / (2 TP + FP + FN): twice the right ones over those predicted and those there are.
static double macro_f1(const uint32_t *labels, const uint32_t *predictions, const uint32_t *draw,
                       size_t count, size_t classes) {
    double sum = 0;
    size_t seen = 0;
    for (size_t k = 0; k < classes; k++) {
        size_t right = 0, both = 0;
        for (size_t i = 0; i < count; i++) {
            bool is = labels[draw[i]] == k, said = predictions[draw[i]] == k;
            right += is && said;
            both += (size_t)is + said;
        }
        if (both) sum += 2 * (double)right / (double)both;
        seen += both > 0;
    }
    return seen ? sum / (double)seen : 0;
}

struct outcome {
    const uint32_t *labels;  // of the test texts
    uint32_t *predictions;
    size_t classes;  // those of the test texts alone with them
};

static double macro(void *user, const uint32_t *draw, size_t count) {
    const struct outcome *o = user;
    return macro_f1(o->labels, o->predictions, draw, count, o->classes);
}

// Each text has one label and gets one: micro-F1 is the share that is right.
static double micro(void *user, const uint32_t *draw, size_t count) {
    const struct outcome *o = user;
    size_t right = 0;
    for (size_t i = 0; i < count; i++) right += o->labels[draw[i]] == o->predictions[draw[i]];
    return (double)right / (double)count;
}

static enum dapt_status measure(struct outcome *o, size_t count, uint64_t seed,
                                dapt_resample_figure figure, struct dapt_probe_interval *interval) {
    double *draws = dapt_alloc(ROUNDS, sizeof *draws);
    uint32_t *each = dapt_alloc(count, sizeof *each);
    enum dapt_status status = draws && each ? DAPT_OK : DAPT_ERROR_MEMORY;
    for (size_t i = 0; !status && i < count; i++) each[i] = (uint32_t)i;
    if (!status) status = dapt_resample(seed, count, ROUNDS, figure, o, draws);
    if (!status) dapt_sort_numbers(draws, ROUNDS);
    if (!status)
        *interval = (struct dapt_probe_interval){.value = figure(o, each, count),
                                                 .low = dapt_quantile(draws, ROUNDS, 0.025),
                                                 .high = dapt_quantile(draws, ROUNDS, 0.975)};
    free(draws);
    free(each);
    return status;
}

// --------------------------------------------------------------------------------------- the probe

struct probe {
    struct dapt_session session;
    struct dapt_label_names names;
    struct dapt_labelled train, test;
    size_t classes;    // of the training texts
    double *features;  // [train + test, hidden]
    double *weights;   // [hidden + 1, classes]
    uint32_t *rows;    // of the training texts, in an order of chance
    struct dapt_logistic problem;
};

static enum dapt_status read_files(struct probe *p, const struct dapt_modules *modules,
                                   const struct dapt_probe_options *options) {
    uint32_t length = 0;
    enum dapt_status status = dapt_session_open(modules, &options->model, &p->session);
    if (!status) status = dapt_session_model(&p->session);
    if (!status) status = dapt_forward_length(p->session.model, options->sequence, &length);
    if (!status)
        status = dapt_labelled_read(&p->session, options->train, length, &p->names, &p->train);
    p->classes = p->names.count;
    if (!status && p->classes < 2)
        status = dapt_fail(DAPT_ERROR_INVALID,
                           "%s: all texts have the label \"%s\", expected at least two labels",
                           options->train, p->names.names[0]);
    if (!status)
        status = dapt_labelled_read(&p->session, options->test, length, &p->names, &p->test);
    return status;
}

static enum dapt_status make_features(struct probe *p, const struct dapt_probe_options *options) {
    const struct dapt_engine_options engine = {.sequences = 1, .length = 1};
    enum dapt_status status = dapt_session_engine(&p->session, &options->model, &engine);
    if (status) return status;
    size_t width = p->session.model->hidden, train = p->train.count, all = train + p->test.count;
    p->features = dapt_alloc(all, width * sizeof *p->features);
    p->weights = dapt_alloc(width + 1, p->classes * sizeof *p->weights);
    p->rows = dapt_alloc(train, sizeof *p->rows);
    if (!p->features || !p->weights || !p->rows) return DAPT_ERROR_MEMORY;
    status = dapt_labelled_features(&p->session, &p->train, options->last, p->features);
    if (!status)
        status = dapt_labelled_features(&p->session, &p->test, options->last,
                                        p->features + train * width);
    if (!status) standardise(p->features, train, all, width);
    for (size_t i = 0; i < train; i++)
        p->rows[i] = (uint32_t)dapt_permute(options->seed, STREAM_DIVISION, train, i);
    p->problem = (struct dapt_logistic){.features = p->features,
                                        .labels = p->train.labels,
                                        .width = width,
                                        .classes = p->classes,
                                        .threads = options->model.threads};
    return status;
}

// Fits all strengths, each from where the one before ended, to four fifths; takes the one whose
// predictions of the others have the best macro-F1, the least one of equals.
static enum dapt_status choose_strength(struct probe *p, double *strength) {
    size_t held = p->train.count / 5 ? p->train.count / 5 : 1, fit = p->train.count - held;
    uint32_t *predictions = dapt_alloc(p->train.count, sizeof *predictions);
    enum dapt_status status = predictions ? DAPT_OK : DAPT_ERROR_MEMORY;
    double best = -1;
    for (size_t s = 0; !status && s < STRENGTHS; s++) {
        status = dapt_logistic_fit(&p->problem, p->rows, fit, strengths[s], p->weights);
        for (size_t i = fit; !status && i < p->train.count; i++)
            predictions[p->rows[i]] = dapt_logistic_predict(
                &p->problem, p->weights, p->features + p->rows[i] * p->problem.width);
        double f1 = status
                        ? -1
                        : macro_f1(p->train.labels, predictions, p->rows + fit, held, p->classes);
        if (f1 > best) best = f1, *strength = strengths[s];
    }
    free(predictions);
    return status;
}

static enum dapt_status judge(struct probe *p, uint64_t seed, struct dapt_probe *result) {
    size_t count = p->test.count, width = p->problem.width;
    struct outcome o = {.labels = p->test.labels, .classes = p->names.count};
    o.predictions = dapt_alloc(count, sizeof *o.predictions);
    if (!o.predictions) return DAPT_ERROR_MEMORY;
    for (size_t i = 0; i < count; i++)
        o.predictions[i] = dapt_logistic_predict(&p->problem, p->weights,
                                                 p->features + (p->train.count + i) * width);
    enum dapt_status status = measure(&o, count, seed, macro, &result->macro_f1);
    if (!status) status = measure(&o, count, seed, micro, &result->micro_f1);
    free(o.predictions);
    return status;
}

static void close(struct probe *p) {
    dapt_labelled_close(&p->train);
    dapt_labelled_close(&p->test);
    free(p->names.names);
    dapt_arena_free(&p->names.arena);
    free(p->features);
    free(p->weights);
    free(p->rows);
    dapt_session_close(&p->session);
}

enum dapt_status dapt_probe_files(const struct dapt_modules *modules,
                                  const struct dapt_probe_options *options,
                                  struct dapt_probe *result) {
    struct probe p = {0};
    double begin = dapt_seconds();
    *result = (struct dapt_probe){0};
    enum dapt_status status = read_files(&p, modules, options);
    if (!status) status = make_features(&p, options);
    if (!status) status = choose_strength(&p, &result->strength);
    if (!status)
        status = dapt_logistic_fit(&p.problem, p.rows, p.train.count, result->strength, p.weights);
    if (!status) status = judge(&p, options->seed, result);
    result->train = p.train.count;
    result->test = p.test.count;
    result->cut = p.train.cut + p.test.cut;
    result->labels = (uint32_t)p.classes;
    result->width = (uint32_t)p.problem.width;
    result->seconds = dapt_seconds() - begin;
    close(&p);
    return status;
}
