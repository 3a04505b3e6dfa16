// dapt/dapt.h: the library as programs embed it: what the `dapt` command does, as functions.
//
// Conventions
//   Strings are NUL-terminated UTF-8. Option structs: zero is the default of every field; use
//   designated initialisers.
//   Errors:  a function that fails returns a status below zero; dapt_last_error() on the same
//            thread then gives one line that says what is wrong, where, and what was expected.
//   Threads: one thread at a time for one context; contexts are independent. dapt_interrupt() may
//   be called anywhere.
//   Output:  nothing is printed except where a comment says so, and warnings on stderr (see
//            dapt_set_log_level).
#ifndef DAPT_DAPT_H
#define DAPT_DAPT_H

#include "dapt/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

DAPT_EXPORT const char *dapt_version(void);  // "0.1.0"
// Never NULL; valid until the next failure on this thread.
DAPT_EXPORT const char *dapt_last_error(void);
DAPT_EXPORT void dapt_set_log_level(enum dapt_log_level most_verbose);  // default: DAPT_LOG_INFO

// For programs, not for libraries: from now on a crash (SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT) prints
// one line that names the module, its function, file and record that were under way; then the signal
// ends the process as it would have. A mapped file that cannot be read any more ends it with exit
// code 1 and a line that names the file. Signals that the program handles itself are left alone.
// [main, once, at the start]
DAPT_EXPORT void dapt_handle_crashes(void);

// Asks what is running to stop as soon as it safely can: training finishes its step and writes a
// checkpoint. May be called from a signal handler. Stays asked for until dapt_interrupt_reset().
DAPT_EXPORT void dapt_interrupt(void);
DAPT_EXPORT void dapt_interrupt_reset(void);
// The step that training is at in this process, from 1; 0: none is under way. May be called from a signal
// handler.
DAPT_EXPORT uint64_t dapt_step_under_way(void);

// Whether mpirun or srun started this process, as its environment says: then dapt_train() trains one model
// with all that were started together, its ranks: only rank 0 reports, and an error of any ends all these
// processes. False, and rank 0 of 1: nothing known did.
struct dapt_launch {
    const char *launcher;  // for people: "mpirun of Open MPI"
    uint32_t rank, size;
};
DAPT_EXPORT bool dapt_launched(struct dapt_launch *launch);

// ------------------------------------------------------------------------------- text for people

// Characters a line of the terminal that the descriptor `fd` is; 0: it is no terminal.
DAPT_EXPORT size_t dapt_text_columns(int fd);
// `text` with every line broken between words so that it has at most `columns` characters (0: any
// number), in one piece. A line goes on below its second column ("--set KEY=VALUE  overrides ..."),
// else below its own beginning, or `hang` characters in where that is the margin.
DAPT_EXPORT enum dapt_status dapt_text_wrap(const char *text, size_t columns, size_t hang,
                                            dapt_emit_text emit, void *user);
// The one of `names` (NULL-terminated) that `name` is likely a slip for; NULL: none.
DAPT_EXPORT const char *dapt_text_nearest(const char *name, const char *const *names);
// A perplexity in at most 10 characters: "17.31", "3.200e+43"; "-" where it is not finite. Returns
// `text`.
DAPT_EXPORT const char *dapt_text_perplexity(double perplexity, char text[16]);

// ---------------------------------------------------------------------------------------- context

struct dapt_context;  // the backends and plugins that were found

// `folders`: searched first, absolute, NULL-terminated; NULL: none. Then DAPT_PLUGIN_PATH, the
// installation, the build.
DAPT_EXPORT enum dapt_status dapt_context_open(const char *const *folders,
                                               struct dapt_context **context);
DAPT_EXPORT void dapt_context_close(struct dapt_context **context);  // NULL inside is fine

// One backend, or one implementation that a plugin offers. Strings live as long as the context.
struct dapt_plugin {
    const char *path;  // of the module
    const char *kind;  // "dapt.source/1", ...; "dapt.backend" for a backend
    const char *id, *version, *summary;
    const struct dapt_option *options;  // ends with a row whose name is NULL; NULL: none
};
DAPT_EXPORT size_t dapt_plugin_count(const struct dapt_context *context);
DAPT_EXPORT enum dapt_status dapt_plugin_at(const struct dapt_context *context, size_t index,
                                            struct dapt_plugin *plugin);

// Calls `each` for every device of every backend, in order, until it returns false. A backend that
// can't list its devices is told as one call with info NULL and the reason in `error`.
typedef bool (*dapt_each_device)(void *user, const char *backend, uint32_t index,
                                 const struct dapt_device_info *info, const char *error);
DAPT_EXPORT enum dapt_status dapt_devices(const struct dapt_context *context, dapt_each_device each,
                                          void *user);
// What backend.precision "auto" means on a device ("bfloat16"), and in *why the reason ("as ...").
DAPT_EXPORT const char *dapt_device_precision(const struct dapt_device_info *info,
                                              const char **why);

// ---------------------------------------------------------------------------------- configuration

// The text of `dapt train --help-config`, a paragraph a line, and the JSON Schema (2020-12) of a
// configuration. `emit` receives it in pieces.
DAPT_EXPORT enum dapt_status dapt_config_describe(dapt_emit_text emit, void *user);
DAPT_EXPORT enum dapt_status dapt_config_describe_schema(dapt_emit_text emit, void *user);

// ------------------------------------------------------------------------------------- evaluation

// How well a model predicts one set of documents.
//   nats_per_token   mean of -log p over the tokens that are scored: all but the first of each
//                    document ("documents") or of each sequence ("concatenate"), and but those of
//                    the cut end
//   perplexity       exp(nats_per_token)
//   bits_per_byte    nats_per_token / ln 2 * tokens / bytes, tokens and bytes being those of the
//                    whole documents (special tokens counted): what the tokens not scored would
//                    have cost is taken to be the mean
struct dapt_evaluation {
    const char *name;
    uint64_t documents, bytes, tokens, sequences, scored;
    double nats_per_token, perplexity, bits_per_byte;
    double nats_before, bits_before;  // the same set before the first step; NaN: not known
    double seconds;
    // Scored are hidden tokens only, the same ones each time, predicted from all others of their
    // text: the figures are no measure of how well the text is predicted from left to right.
    bool masked;
    // In a run, else NULL and NaN. What the set is for: "domain", "general", "control" or another name.
    const char *role;
    // The 95 % interval of bits_per_byte - bits_before, by a paired bootstrap over documents; NaN:
    // there is none (a single document, or what they cost before is not known).
    double change_low, change_high;
};
// What to tell with such figures.
#define DAPT_MASKED_FIGURES                                                                      \
    "These are figures of hidden tokens, predicted from all others of their text: compare them " \
    "with others of the same kind only."

// --------------------------------------------------------------------------------------- training

enum dapt_train_event_kind {
    DAPT_TRAIN_NOTE,  // text: a line on what was found or is about to happen
    DAPT_TRAIN_STEP,  // step, loss, norm, learning_rate, tokens_per_second, seconds_left
    // a step that was not finite and changed nothing: step, bad_in_row (0: its gradient was too large
    // for float16's loss scale, which is halved), loss and norm (0: nothing in its batch was scored), text
    DAPT_TRAIN_SKIP,
    DAPT_TRAIN_EVALUATION,  // evaluations of every set
    DAPT_TRAIN_CHECKPOINT,  // text: its name, "step-000500": a folder in RUN/checkpoints
    DAPT_TRAIN_TROUBLE,  // text: what failed without ending the run (a checkpoint on a full disk)
    DAPT_TRAIN_STOP,     // stopped on request; text says how to go on
    DAPT_TRAIN_END       // done; evaluations of every set, before and after
};

// Valid during the call. Fields that the kind does not name are 0.
struct dapt_train_event {
    enum dapt_train_event_kind kind;
    uint64_t step, steps;  // steps done; of so many
    const char *text;
    double loss, norm, learning_rate;  // nats a token; of the whole gradient before clipping
    double tokens_per_second, seconds_left;
    uint64_t bad_in_row;
    const struct dapt_evaluation *evaluations;
    size_t evaluation_count;
};
// Called on the thread that trains.
typedef void (*dapt_train_callback)(void *user, const struct dapt_train_event *event);

// What `plan_only` finds. Seconds are of the whole run on this device; bytes are on the disk.
struct dapt_plan {
    uint64_t steps, tokens, evaluations, checkpoints, checkpoints_kept;
    double passes;  // over the domain
    double prepare_seconds, step_seconds, train_seconds, evaluate_seconds;
    uint64_t memory, checkpoint_bytes, disk_bytes;  // disk: at most, with the one being written
    uint64_t free_bytes;                            // where the run goes; 0: not known
    uint64_t host_memory;  // bytes of the host's memory, beside `memory` of the device
    // On as many ranks as were asked for; 0: none were
    uint64_t rank_memory, rank_sent;  // bytes of a rank's device; that a rank sends in a step
    double rank_step_seconds, rank_efficiency;
};

// How many ranks a plan is for, each with a device like this one; zeros: a usual value.
struct dapt_plan_ranks {
    uint32_t ranks, machines;  // evenly on so many; 0: one
    double bandwidth;          // bits a second between a machine and the others; 0: 10e9
    double latency;            // seconds of a message between machines; 0: 50e-6
};

struct dapt_train_options {
    const char *config;       // file
    const char *const *sets;  // "train.steps=50", NULL-terminated; NULL: none
    bool resume;              // go on from the newest whole checkpoint of the run folder
    bool plan_only;           // tell what would be done (notes), then return without training
    dapt_train_callback
        callback;  // NULL: reports on stdout, with a progress line when that is a terminal
    void *user;
    struct dapt_plan *plan;             // plan_only: filled; NULL: not wanted
    struct dapt_plan_ranks plan_ranks;  // plan_only
};
// Trains as the configuration says. DAPT_ERROR_CANCELLED after dapt_interrupt(): a checkpoint was
// written if training had begun, and the error text says how to go on. DAPT_ERROR_DEVICE: the device
// failed; the newest checkpoint is whole, and the text says how to go on from it.
DAPT_EXPORT enum dapt_status dapt_train(const struct dapt_train_options *options);

// ------------------------------------------------------------------------------------------ pilots

struct dapt_pilot_options {
    const char *config;       // of the full run
    const char *const *sets;  // as in dapt_train_options
    // What all pilots together may take: at most one is not 0; all 0: 1800 seconds. Seconds become
    // steps once, by a measurement that is recorded: a later part of the pilots keeps it.
    double seconds;
    uint64_t steps, tokens;
    const double *shares,
        *rates;  // that are tried; NULL: 0.02, 0.08, 0.2, 0.5; a third, once, three
    size_t share_count, rate_count;  // times the configured peak
    double reach;                    // how many times the longest pilot the full run may be; 0: 32
    const char *out;  // the full run's configuration, a file that is not there yet; NULL: none
    bool keep;        // keep the pilots' checkpoints
    void (*tell)(void *user, const char *line);  // NULL: nobody; valid during the call
    dapt_emit_text emit;                         // gets pilot.json at the end; NULL: nobody
    void *user;                                  // of both
};
// Makes short runs, below RUN-pilot, over the share of replay, the learning rate and the number of tokens;
// fits the losses of domain and general sets by them (D-CPT law, Que et al. 2024); recommends share, rate and
// tokens for the full run with 95 % intervals, or says why that cannot be told from them. Called again after
// a stop or a kill it goes on, and ends the same. DAPT_ERROR_CANCELLED after dapt_interrupt().
// DAPT_ERROR_INVALID also where `out` was asked for and nothing can be recommended.
DAPT_EXPORT enum dapt_status dapt_pilot(const struct dapt_pilot_options *options);

// ----------------------------------------------------------------------------------------- report

struct dapt_report_options {
    const char *const *runs;  // folders of runs, NULL-terminated: 1 to 8, side by side
    const char *output;       // file
    const char *tensorboard;  // folder that gets NAME/events.out.tfevents.* of each run; NULL: none
};
// Writes one page of HTML, without scripts or anything from outside, on what the runs recorded: what
// was gained and what it cost, curves, data, checkpoints, events, configuration. The runs may be under
// way, stopped or failed; what of them cannot be read is said in the page.
DAPT_EXPORT enum dapt_status dapt_report_write(const struct dapt_report_options *options);

// ---------------------------------------------------------------------------------------- preview

// Files of one entry of a data list that end alike and are read by the same source.
struct dapt_preview_files {
    const char *set;      // "domain", "replay", "eval NAME"
    const char *path;     // of the entry: a file, a folder or a glob
    const char *source;   // id of the plugin
    const char *ending;   // ".md"; "": none, or others
    const char *example;  // the first of them
    double weight;
    uint64_t files, documents, bytes, tokens;  // bytes of text
};
// What a training sequence holds of one document; or padding, whose text is NULL.
struct dapt_preview_part {
    uint64_t sequence;  // in the order of training, from 0
    const char *set;    // "domain", "replay"
    const char *file;
    uint64_t record;  // in the file; 0: the file is the document
    uint32_t tokens;
    uint64_t document_tokens;  // of the whole document
    const char *text;          // decoded, special tokens too; ends may cut a character
    size_t length;
};
struct dapt_preview_options {
    const char *config;
    const char *const *sets;  // as in dapt_train_options
    uint64_t sequences;       // how many are told
    void (*files)(void *user, const struct dapt_preview_files *files);
    void (*part)(void *user, const struct dapt_preview_part *part);  // valid during the call
    void *user;
};
// Reads and tokenises all data as training would, and tells what it is. Opens no device.
DAPT_EXPORT enum dapt_status dapt_preview(const struct dapt_preview_options *options);

// ------------------------------------------------------------------ working with a model's folder
//
// A model is named by a Hugging Face folder, by a checkpoint of a run, by a run's folder (its
// latest checkpoint), or by RUN/best or RUN/latest. Any of them may hold adapters (LoRA), as a run that
// trains such writes them or peft does: they stand for the model that they belong to with them.

struct dapt_model_options {
    const char *model;
    // id of a plugin; NULL: what the checkpoint was trained with, else "hf"
    const char *tokenizer;
    const char *backend;  // NULL: "auto"
    const char *device;   // number, name or a part of it, or UUID; NULL: the best one
    uint32_t threads;     // 0: all processors
    const char *base;  // of adapters: the model that they belong to; NULL: the one that they name
};

struct dapt_named_data {
    const char *name, *path;  // path: a file, a folder or a glob
};

struct dapt_evaluate_options {
    struct dapt_model_options model;
    const struct dapt_named_data *data;  // [data_count]
    size_t data_count;
    const char *source;  // id of a source plugin; NULL: by looking at the files
    // As the checkpoint was trained, where that is known; else the model's most, up to 1024.
    uint32_t sequence;    // tokens; 0: the above
    uint32_t batch;       // sequences at a time; 0: 8
    const char *packing;  // "documents", "concatenate"; NULL: as trained, else "documents"
    bool no_special;      // leave the tokenizer's template (BOS, ...) out
    uint64_t max_tokens;  // the first so many of each set, the last document cut; 0: all
    const char *cache;    // folder of token shards; NULL: the usual one
};
// Fills results[data_count]; names point into options->data.
DAPT_EXPORT enum dapt_status dapt_evaluate(struct dapt_context *context,
                                           const struct dapt_evaluate_options *options,
                                           struct dapt_evaluation *results);

// Tasks: how a model does on questions that were written down. Records, figures and how texts
// become tokens are those of EleutherAI's lm-evaluation-harness 0.4.13, without examples before a
// question and without chat templates. A task is a JSON Lines file (compressed or not) of records
// of one kind:
//   {"context", "choices": [...], "answer": INDEX}  multiple_choice: acc, the choice whose tokens
//       have the largest sum of log p after the context; acc_norm, of that sum by character;
//       acc_bytes, by byte; the first of equals. Before a choice stands "target_delimiter",
//       default: " "
//   {"context", "continuation"}  cloze: acc, whether each token of the continuation is the
//       likeliest; perplexity, exp(-mean over the records of the sum of log p). "target_delimiter"
//       default: ""
//   {"text"}  rolling: word_perplexity, byte_perplexity, bits_per_byte over all records
// Spaces at a context's end count as the beginning of what follows; an empty context is the
// beginning-of-text token (else the end-of-text token); the ids of both together are divided behind
// as many as the context alone has, and lose their beginning where the model has no room for them.
struct dapt_score_metric {
    const char *name;
    double value;
    // deviation of a sample / sqrt(records); of a perplexity by 10,000 draws of the records; NaN:
    // none
    double error;
};
#define DAPT_SCORE_METRICS 3
struct dapt_score {
    const char *task;         // points into the options
    const char *kind;         // "multiple_choice", "cloze", "rolling"
    uint64_t records, texts;  // texts: whose likelihood was asked for
    uint64_t cut;             // of them, those that lost their beginning
    size_t metric_count;
    struct dapt_score_metric metrics[DAPT_SCORE_METRICS];
    double seconds;
};
struct dapt_score_options {
    struct dapt_model_options model;
    const char *const *tasks;  // [task_count] paths
    size_t task_count;
    uint64_t limit;     // the first so many records of each; 0: all
    uint32_t sequence;  // tokens that a text may have; 0: the model's positions, else 2048
};
// Fills results[task_count]. A figure does not depend on what else is scored, to the bit.
DAPT_EXPORT enum dapt_status dapt_score(struct dapt_context *context,
                                        const struct dapt_score_options *options,
                                        struct dapt_score *results);

// A linear probe: how well labels can be told from what the model makes of a text, the model left
// as it is. Features: the stream after the final norm, the mean over the text's tokens (or the last
// one), each less its mean over its deviation in the training texts. Multinomial logistic
// regression with an L2 penalty; its strength is the one of a grid with the best macro-F1 on a
// fifth of the training texts, then all of them are fitted. Files are JSON Lines of {"text",
// "label"}.
struct dapt_probe_interval {
    double value, low, high;  // low .. high: 95 % of 2,000 draws of the test texts with replacement
};
struct dapt_probe_options {
    struct dapt_model_options model;
    const char *train, *test;  // files
    bool last;                 // the last token's features instead of the mean
    uint32_t sequence;  // tokens of a text, the rest left out; 0: the model's positions, else 2048
    uint64_t seed;      // of the division and the draws
};
struct dapt_probe {
    uint64_t train, test;    // texts
    uint64_t cut;            // of them, those that lost their end
    uint32_t labels, width;  // of the training texts; features
    double strength;         // C: one over the penalty, as scikit-learn counts it
    // macro: the mean over the labels; micro: the share of texts that are right
    struct dapt_probe_interval macro_f1, micro_f1;
    double seconds;
};
// The same numbers each time on the same device, whatever the number of threads.
DAPT_EXPORT enum dapt_status dapt_probe(struct dapt_context *context,
                                        const struct dapt_probe_options *options,
                                        struct dapt_probe *result);

struct dapt_generate_options {
    struct dapt_model_options model;
    const char *prompt;
    uint32_t max_tokens;  // 0: 100
    double temperature;   // 0: the most likely token each time
    uint32_t top_k;       // 0: all
    double top_p;         // 0 or 1: all
    uint64_t seed;        // same seed, same text
    bool ignore_end;      // go on after an end-of-text token
};
struct dapt_generated {
    uint32_t prompt_tokens, tokens;  // tokens: generated, without an end-of-text token
    bool ended;  // at an end-of-text token; else max_tokens or the model's positions were used up
    double prompt_seconds, seconds;  // reading the prompt; generating
    uint32_t positions;  // that the model has, prompt included, where they ended the text; else 0
};
// Streams the continuation (not the prompt) as whole UTF-8 characters; only where it ends inside of
// one do the bytes that there are come last. `emit` returns false to stop.
DAPT_EXPORT enum dapt_status dapt_generate(struct dapt_context *context,
                                           const struct dapt_generate_options *options,
                                           dapt_emit_text emit, void *user,
                                           struct dapt_generated *generated);

// The ids of one text. `special`: with what the tokenizer's template puts around a text.
DAPT_EXPORT enum dapt_status dapt_tokenize(struct dapt_context *context,
                                           const struct dapt_model_options *model, const char *text,
                                           size_t length, bool special, dapt_emit_ids emit,
                                           void *user);

// ------------------------------------------------------------------------------------------ merge

struct dapt_merge_options {
    const char *model;   // adapters: a folder, a checkpoint or a run
    const char *base;    // of them; NULL: the one that they name
    const char *folder;  // that is written; it is not there yet
    const char *dtype;   // "float32", "bfloat16", "float16"; NULL: as the base has it
};
// Writes the base with the adapters merged into its matrices, as a plain model.
DAPT_EXPORT enum dapt_status dapt_merge(const struct dapt_merge_options *options);

// What the sets of a role or name may lose, in bits/byte.
struct dapt_limit {
    const char *name;
    double bits;
};
// One point of a sweep. Valid during the call.
struct dapt_blend_point {
    double alpha;
    const struct dapt_evaluation *evaluations;  // before: the base
    size_t count, deciding;                     // which of them is the domain
    bool budgeted, inside;                      // there are budgets; all of them hold
};
struct dapt_blended {
    bool chosen, budgeted;  // a point was chosen; by the domain inside budgets, else by the sum
    double alpha, worth;    // of the point that was chosen; its change, the less the better
};
struct dapt_blend_options {
    // model: the base. The sets are its data, or those of `config`; with neither those of the run that
    // `adapted` belongs to.
    struct dapt_evaluate_options evaluate;
    const char *adapted;   // a model, a checkpoint or a run; adapters stand for the base with them
    const char *config;    // whose data.eval and train.budget are taken; NULL: see above
    const double *alphas;  // [alpha_count], -1 to 2
    size_t alpha_count;    // 0: from 0 to 1 in tenths
    const struct dapt_limit *budget;  // [budget_count]; 0: the configuration's
    size_t budget_count;
    const char *folder;  // that gets the chosen point; NULL: none is written
    const char *dtype;   // of it; NULL: the adapted model's, float32 where the base has another
    const char *page;    // gets the points as curves and a table, one HTML file; NULL: none
    void (*point)(void *user, const struct dapt_blend_point *point);
    void *user;
};
// Measures weights base + alpha (adapted - base) on each set, against the base. Chosen is the point with
// the best domain score inside the budgets; without budgets that with the least sum of the changes of the
// domain and of general sets (their mean), in bits/byte. The domain is the set that train.best names,
// else the first whose role is "domain", else the first.
DAPT_EXPORT enum dapt_status dapt_blend(struct dapt_context *context,
                                        const struct dapt_blend_options *options,
                                        struct dapt_blended *result);

// ------------------------------------------------------------------------------------------- GGUF

// What was written. `dtype`: of the matrices, "float32", "Q8_0".
struct dapt_exchanged {
    char model_type[32], dtype[32];
    uint64_t parameters, bytes;  // bytes: of the weights' file
};
struct dapt_import_options {
    const char *file;    // GGUF: versions 2 and 3, in one part
    const char *folder;  // that is made; one that is there must be empty
    // "float32", "bfloat16", "float16"; NULL: the latter two where all matrices of the file are, else
    // float32, which holds every quantised weight as it is
    const char *dtype;
};
// Makes a Hugging Face folder of a GGUF file, with its tokenizer. What would change the result and is
// not built is an error that names the key or the tensor.
DAPT_EXPORT enum dapt_status dapt_import(const struct dapt_import_options *options,
                                         struct dapt_exchanged *exchanged);
struct dapt_export_options {
    const char *model;  // as in dapt_model_options
    const char *file;   // GGUF, that is written
    const char *type;  // of the matrices: "F32", "F16", "BF16", "Q8_0"; NULL: as the model has them
    bool replace;      // a file that is there already; otherwise it is an error
};
// Writes a model with its tokenizer as a GGUF file.
DAPT_EXPORT enum dapt_status dapt_export(const struct dapt_export_options *options,
                                         struct dapt_exchanged *exchanged);

// ------------------------------------------------------------------------------------------ cache

// Tokenised text is kept in a folder, so that another run over the same text need not make it again.
struct dapt_cached {
    const char *path;  // of the file
    const char *text;  // what it was made from: "domain: corpus/*.txt"; "": not known
    uint64_t size;     // bytes
    uint64_t documents, tokens;
    double seconds;  // since it was used last
    bool in_use;     // by a process that runs now; such are never removed
    bool removed;
};
struct dapt_cache_options {
    const char *folder;  // NULL: the usual one
    bool purge;          // remove what is not in use, and what killed runs left half-written
    double days;         // of it only what was not used for so many days
};
// Tells each tokenised text, the one used last first; `cached` NULL, once: there is none. Nothing but
// what dapt put there is looked at or removed.
typedef void (*dapt_each_cached)(void *user, const char *folder, const struct dapt_cached *cached);
DAPT_EXPORT enum dapt_status dapt_cache(const struct dapt_cache_options *options,
                                        dapt_each_cached each, void *user);

// ------------------------------------------------------------------------------------------ proof

// One comparison of dapt verify. With golden values error = |ours - golden| / |golden| (2-norms);
// between devices the largest of |ours - theirs| / (|theirs| + root mean square of the output).
struct dapt_verify_row {
    const char *what;  // "logits", "loss", "gradient", "step"; "op", "train"
    const char *name;  // gradient: the parameter; step: "1" .. "6"; op: "matmul"; ...; else ""
    double error;
    bool ok;  // error <= tolerance; a NaN is not
    double tolerance;
    uint32_t cases;  // comparisons of which this is the worst
};
typedef void (*dapt_verify_callback)(void *user, const struct dapt_verify_row *row);

struct dapt_verify_options {
    const char *folder;  // a model with golden.safetensors and golden.json; NULL: see below
    const char *backend, *device;  // as in dapt_model_options
    uint32_t threads;
    double tolerance;    // with a folder; 0: 1e-4
    const char *output;  // without one: a file for the figures; NULL: none
    const char *base;    // as in dapt_model_options
    // With a folder: "float32", "bfloat16" or "float16", as backend.precision; NULL: float32.
    const char *precision;
};
// Compares logits, loss, every gradient and the losses of the golden AdamW steps. Without a folder:
// compares the device with the cpu backend, in every operation and in the first 20 steps of a small
// model. DAPT_OK only if every row holds.
DAPT_EXPORT enum dapt_status dapt_verify(struct dapt_context *context,
                                         const struct dapt_verify_options *options,
                                         dapt_verify_callback callback, void *user);

// ------------------------------------------------------------------------------------------ speed

struct dapt_bench_options {
    const char *model;             // folder with config.json, or such a file; weights are random
    const char *backend, *device;  // as in dapt_model_options
    uint32_t threads;
    uint32_t batch, sequence;  // 0: 8 sequences; of 1024 tokens, or the model's most
    uint32_t steps;            // that are measured, after some that are not; 0: 10
    bool recompute;            // blocks are computed anew in the backward pass: less memory
    bool gradients;            // forward and backward alone: no norm, no update
    bool estimate;             // only says what memory it takes: nothing runs
    uint32_t peaks;            // measures dapt_bench_peaks at this size too; 0: no
    const char *precision;     // "float32", "bfloat16" or "float16"; NULL: float32
    uint32_t lora;  // trains adapters of this rank on all matrices of the layers; 0: none
};

// The operations of one kind and, of products, one shape ("matmul 8192 x 2304 x 768 nn": m, n, k,
// which operand is transposed) in one step, each timed alone. flops and bytes: what the operation
// must do and read and write at least.
struct dapt_bench_row {
    char name[64];
    uint32_t count;
    double seconds, flops, bytes;
};
#define DAPT_BENCH_ROWS 64  // the last one is of "others" where there are more

// What the device's own kernels reach: a product of size x size x size, and a copy of copy_bytes
// (which are read, and written), in float32. Seconds of one, the median of so many runs.
struct dapt_bench_peaks {
    uint32_t size, product_runs, copy_runs;
    uint64_t copy_bytes;
    double product_seconds, copy_seconds;
};

struct dapt_bench_result {
    char backend[32], device[256], driver[256];
    enum dapt_device_kind kind;
    uint64_t parameters, memory;  // memory: bytes of buffers on the device
    uint64_t available;           // bytes that the device had free before, or has; 0: unknown
    uint32_t batch, sequence, steps;
    double seconds, best_seconds;  // of a step: the median, the least
    double host_seconds;           // processor time of the calling thread for a step, the median
    size_t row_count;              // 0: the device has no clocks
    struct dapt_bench_row rows[DAPT_BENCH_ROWS];  // the longest first
    struct dapt_bench_peaks peaks;                // size 0: not measured
};
// Trains new weights on random tokens for a few steps and measures.
DAPT_EXPORT enum dapt_status dapt_bench(struct dapt_context *context,
                                        const struct dapt_bench_options *options,
                                        struct dapt_bench_result *result);

#ifdef __cplusplus
}
#endif
#endif
