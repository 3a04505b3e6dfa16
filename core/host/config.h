// The configuration of a run: JSON -> one validated struct, from one table of fields.
#ifndef DAPT_HOST_CONFIG_H
#define DAPT_HOST_CONFIG_H
#include <stdio.h>

#include "base/memory.h"
#include "host/choices.h"

// A JSON value whose place in its file is known, so that errors can name line and column.
struct dapt_json;
struct dapt_modules;

// Where documents come from: one entry of "domain", "replay.from" or an "eval" set.
struct dapt_data_entry {
    const char *path;    // a file, a folder or a glob; absolute
    const char *source;  // id of a source plugin; NULL: by probing
    double weight;       // 1; relative to the other entries
    // the entry's own object, for the source's options; NULL when it was a string. Its "path",
    // "source", "weight" and "role" are not the source's.
    const struct dapt_json *options;
};
struct dapt_data_list {
    struct dapt_data_entry *entries;
    size_t count;
};
struct dapt_eval_set {
    const char *name;
    const char *role;  // "domain", "general", "control", or another name; its own by default
    struct dapt_data_list data;
};
// What the sets of a role or name may lose.
struct dapt_budget {
    const char *name;
    double bits;  // a byte
};

#define DAPT_AUTO UINT32_MAX  // a number that dapt chooses

struct dapt_config {
    struct dapt_arena arena;
    struct dapt_json *json;  // what was read; `options` below point into it
    const char *folder;      // of the configuration file, absolute

    const char *model;  // a Hugging Face folder; NULL: new weights, by one of the two below
    const char *base;   // of the adapters in that folder; NULL: as they name it
    // "model": {"random": {"config": PATH}, "tokenizer": FOLDER}: this file says their shape
    const char *model_config;
    // "model": {"random": {config.json's keys}, ...}: this object does
    const struct dapt_json *model_random;
    // "hf", the folder of the model or of {"tokenizer": FOLDER}. Options: the object, NULL when
    // there was none; its "plugin" and "path" are not the plugin's.
    struct {
        const char *plugin, *path;
        const struct dapt_json *options;
    } tokenizer;

    struct {
        struct dapt_data_list domain;
        struct {
            double share;
            struct dapt_data_list from;
        } replay;  // share 0: none
        struct dapt_eval_set *eval;
        size_t eval_count;
        uint32_t sequence;  // tokens
        enum dapt_packing packing;
        bool special;       // put the tokenizer's template (BOS, ...) around each document; true
        const char *cache;  // folder of token shards; NULL: $XDG_CACHE_HOME/dapt or ~/.cache/dapt
        uint64_t eval_tokens;  // the first so many tokens of each set; 0: all
        double skip_errors;    // share of records that may be bad before the run stops; 0
    } data;

    struct {
        uint32_t batch, micro_batch;  // sequences a step; at a time (0: batch, or DAPT_AUTO)
        uint64_t steps, tokens;       // exactly one of steps, tokens and epochs is not 0
        double epochs;
        uint64_t seed;
        double clip;
        struct {
            double weight_decay, beta1, beta2, eps;
            enum dapt_decay decay;
            enum dapt_moments moments;
        } optimizer;
        // its "plugin" is not the plugin's
        struct {
            const char *plugin;
            const struct dapt_json *options;
        } schedule;
        struct {
            enum dapt_objective_kind kind;
            double rate;
            bool whole_words;
            const char *mask;  // NULL: the usual texts are tried
        } objective;
        const struct dapt_lora *lora;               // NULL: the model itself is trained
        const char *const *freeze;                  // patterns, NULL-terminated; NULL: none
        uint64_t evaluate_every, checkpoint_every;  // steps; 0: at the end only
        uint32_t keep;                              // checkpoints kept besides the best
        // name of the eval set that decides "best"; NULL: the first whose role is "domain", else the
        // first
        const char *best;
        struct dapt_budget *budget;
        size_t budget_count;
        enum dapt_on_budget on_budget;
        struct {
            double factor, limit;
        } raise_replay;     // what "raise-replay" does to the share
        uint32_t patience;  // evaluations without improvement that end the run; 0: any number
        enum dapt_recompute recompute;
        uint32_t max_bad_steps;  // non-finite steps in a row before the run stops
    } train;

    struct {
        enum dapt_save_dtype dtype;
    } checkpoint;

    struct {
        const char *name;
        // number, name or UUID, of each rank of a machine in turn, NULL-terminated; NULL: the best
        const char *const *devices;
        enum dapt_precision precision;
        uint64_t memory;                              // bytes that "auto" may take; 0: what is free
        enum dapt_optimizer_memory optimizer_memory;  // where moments lie
        uint32_t threads;
    } backend;
    const char *const *plugins;  // folders, NULL-terminated, absolute
    const char *run;             // folder

    // Whose defaults dapt_config_write() adds to the options of the plugins that are named; NULL
    // until they are loaded: options are written as given.
    const struct dapt_modules *modules;
};

// Reads and checks a file; `sets` (NULL-terminated; NULL: none) are "a.b.c=VALUE" overrides: VALUE
// is JSON, or else a string. One that sets train.steps, .tokens or .epochs takes the other two
// away. All paths are made absolute: relative ones start at the configuration's folder, those of
// `sets` too. Errors name file, line, column and key and say what was expected.
enum dapt_status dapt_config_read(const char *path, const char *const *sets,
                                  struct dapt_config **config);
void dapt_config_free(struct dapt_config **config);
// Which of the choices of `key` the text is, as a member of the key's enum.
enum dapt_status dapt_config_choose(const char *key, const char *text, unsigned *choice);
// The evaluation set that decides which checkpoint is the best one: as train.best says; eval_count: none.
size_t dapt_config_deciding(const struct dapt_config *config);
// Bits/byte that the set may lose, by its name and its role; infinite: as many as it likes.
double dapt_config_budget(const struct dapt_config *config, const struct dapt_eval_set *set);
// The resolved configuration as JSON, every default written out (see `modules`; the options of a
// source that was chosen by looking at the files stay as given): reading it again, wherever the
// file then lies, gives the same run.
enum dapt_status dapt_config_write(const struct dapt_config *config, struct dapt_string *json);
// Every key: type, default, meaning; a paragraph a line. With the options of the plugins among
// `modules` (NULL: without).
void dapt_config_help(FILE *out, const struct dapt_modules *modules);
void dapt_config_schema(FILE *out);  // the same as JSON Schema (2020-12)
#endif
