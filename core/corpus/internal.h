// What the files of this room share. The way of a corpus: inputs (which files, which source, which
// key) -> ingest (read and tokenise) -> shard (tokens and documents in one mapped file) -> plan
// (documents cut and packed into sequences) -> batches.
#ifndef DAPT_CORPUS_INTERNAL_H
#define DAPT_CORPUS_INTERNAL_H
#include "base/crash.h"
#include "base/files.h"
#include "base/hash.h"
#include "corpus/corpus.h"

// ------------------------------------------------------------------------------------- tokenizer.c
// A call of the tokenizer's `function`, for dapt_call_note().
struct dapt_call dapt_tokenizer_call(const struct dapt_tokenizer *tokenizer, const char *function);
// Makes handles for workers 0 .. count-1. [main]
enum dapt_status dapt_tokenizer_prepare(struct dapt_tokenizer *tokenizer, unsigned count);
// As dapt_tokenizer_encode, on the handle of one worker. [one thread at a time for a worker]
enum dapt_status dapt_tokenizer_encode_on(struct dapt_tokenizer *tokenizer, unsigned worker,
                                          const char *text, size_t length, uint32_t flags,
                                          struct dapt_ids *ids);
// Adds all that decides which ids a text becomes.
void dapt_tokenizer_hash(const struct dapt_tokenizer *tokenizer, struct dapt_hasher *hasher);

// --------------------------------------------------------------------------------------- sources.c
// How a file is recognised without reading it.
struct dapt_stamp {
    uint64_t size, device, inode;
    int64_t modified, changed;  // nanoseconds
};
bool dapt_stamp_read(const char *path, struct dapt_stamp *stamp);
bool dapt_stamp_equal(const struct dapt_stamp *a, const struct dapt_stamp *b);

struct dapt_corpus_file {
    const char *path;
    uint32_t entry;  // of the data list
    struct dapt_stamp stamp;
    const struct dapt_plugin_descriptor *source;  // from dapt_inputs_choose on
    struct dapt_options *options;                 // owned by the inputs
    const char *module;                           // the file that the source came from
    struct dapt_hash content;
};

struct dapt_inputs {
    struct dapt_arena arena;
    const struct dapt_data_list *list;
    const struct dapt_corpus_options *options;
    struct dapt_corpus_file *files;
    size_t count, capacity;
    size_t left_out;
    bool quiet;  // files that no source reads are left out without a word
    struct {
        const struct dapt_plugin_descriptor *source;
        uint32_t entry;
        struct dapt_options *options;
    } * choices;
    size_t choice_count, choice_capacity;
};
// The files that the list names, not yet opened.
enum dapt_status dapt_inputs_list(const struct dapt_data_list *list,
                                  const struct dapt_corpus_options *options,
                                  struct dapt_inputs *inputs);
void dapt_inputs_free(struct dapt_inputs *inputs);  // a zeroed one is fine
// A hash of the files' stamps and of everything else that decides the tokens: equal means that
// nothing changed. False in `settled` when a file is so new that a later change might leave its
// stamp as it is.
enum dapt_status dapt_inputs_quick_key(const struct dapt_inputs *inputs, struct dapt_hash *key,
                                       bool *settled);
// Finds each file's source, by name or by probing; drops files of folders and globs that no source
// reads, with a warning.
enum dapt_status dapt_inputs_choose(struct dapt_inputs *inputs);
// A hash of the files' content and of everything else that decides the tokens. Reads all files.
enum dapt_status dapt_inputs_key(struct dapt_inputs *inputs, struct dapt_hash *key);

// ----------------------------------------------------------------------------------------- shard.c
// One file of tokens:
//     tokens     uint16 or uint32 each, documents one after another
//     documents  struct dapt_shard_document each
//     blocks     a hash of every 4 MiB of tokens
//     files      uint32 each: the data list's entry that a file came from
//     trailer    counts, key, places and a hash of the tables, a hash of itself; the last bytes
// Sections start at multiples of 64 bytes.
struct dapt_shard_document {
    uint64_t end;     // tokens up to and with this document
    uint64_t bytes;   // of its text
    uint32_t file;    // index in the inputs
    uint32_t record;  // in the file; 0: the file is the document
};
struct dapt_shard_counts {
    uint64_t files, documents, tokens, bytes, bad, empty;
};

// What a shard ends in.
struct dapt_shard_trailer {
    char magic[8];
    uint32_t version, token_size;
    struct dapt_hash key;
    struct dapt_shard_counts counts;
    uint64_t documents_at, blocks_at, files_at,
        size;                 // bytes from the file's start; of the whole file
    struct dapt_hash tables;  // of all between documents_at and the trailer
    uint32_t vocab, zero;
    struct dapt_hash trailer;  // of all before this field
};

struct dapt_shard {
    struct dapt_map map;
    struct dapt_lock lock;  // shared, so that nobody removes it from the cache
    const void *tokens;     // uint16 or uint32
    uint32_t token_size;
    const struct dapt_shard_document *documents;
    const uint32_t *file_entry;  // the data list's entry that each file came from
    struct dapt_shard_counts counts;
    struct dapt_hash content;  // of tokens, documents and files
};
static inline uint32_t dapt_shard_token(const struct dapt_shard *shard, uint64_t index) {
    return shard->token_size == 2 ? ((const uint16_t *)shard->tokens)[index]
                                  : ((const uint32_t *)shard->tokens)[index];
}

// Maps and checks a shard: its numbers always, the hashes of its tokens when `verify`.
// DAPT_ERROR_INVALID says what is damaged.
enum dapt_status dapt_shard_open(const char *path, struct dapt_hash key, uint32_t vocab,
                                 bool verify, unsigned threads, struct dapt_shard *shard);
void dapt_shard_close(struct dapt_shard *shard);  // a zeroed one is fine

struct dapt_shard_writer;
enum dapt_status dapt_shard_writer_open(const char *path, struct dapt_hash key, uint32_t vocab,
                                        struct dapt_shard_writer **writer);
enum dapt_status dapt_shard_writer_add(struct dapt_shard_writer *writer, const uint32_t *ids,
                                       size_t count, uint64_t bytes, uint32_t file,
                                       uint64_t record);
// `file_entry`: for each of counts->files; documents, tokens and bytes are the writer's own.
enum dapt_status dapt_shard_writer_commit(struct dapt_shard_writer **writer,
                                          const struct dapt_shard_counts *counts,
                                          const uint32_t *file_entry);
void dapt_shard_writer_abort(struct dapt_shard_writer **writer);

// The counts of a whole shard with that key, by its trailer alone.
bool dapt_shard_peek(const char *path, struct dapt_hash key, struct dapt_shard_counts *counts);

// ----------------------------------------------------------------------------------------- cache.c
// FOLDER/KEY<ending>, as ".tokens"; NULL: no memory.
char *dapt_cache_path(struct dapt_arena *arena, const char *folder, struct dapt_hash key,
                      const char *ending);
// Removes what killed processes left half-written in the folder.
void dapt_cache_sweep(const char *folder);
// Notes of what text the shard of that key is, and that it is used now.
void dapt_cache_note(const char *folder, struct dapt_hash key, const char *name,
                     const struct dapt_data_list *list);
// Reads QUICK.seen: the shard's key, and the stamp of the shard when last verified (or NULL). [corpus.c]
bool dapt_cache_read_seen(const char *path, struct dapt_hash *key, struct dapt_stamp *verified);

// ---------------------------------------------------------------------------------------- ingest.c
// Reads and tokenises all inputs, in parallel, into the writer in order. Fills files, bad and empty
// of `counts`.
enum dapt_status dapt_ingest(const struct dapt_inputs *inputs, struct dapt_shard_writer *writer,
                             struct dapt_shard_counts *counts);
// Are so many bad records among `records` too many?
bool dapt_too_many_bad(uint64_t bad, uint64_t records, double share);

// --------------------------------------------------------------------------------------- packing.c
// A run of tokens of one document, or of all documents, in one sequence.
struct dapt_part {
    uint64_t begin;  // token
    uint32_t length;
    uint32_t continues;  // 1: the token behind the part is the next one of the same text
};
// Sequences of one weight: all there are when all weights are 1, else those of one entry.
struct dapt_group {
    double weight;
    uint64_t first, count;  // sequences
    uint64_t drawn;         // in a pass of all groups together: their weights as whole numbers
};

struct dapt_plan {
    uint32_t sequence;
    enum dapt_packing packing;
    bool weighted;  // not all weights are 1: each entry is a group of its own
    struct dapt_group *groups;
    size_t group_count;
    uint64_t sequences, drawn;  // that there are; drawn in a pass
    uint64_t *first_part;       // of each sequence, and one more; NULL when concatenated
    struct dapt_part *parts;
    uint64_t *window;             // first token of each group when concatenated
    uint64_t cut, padded, split;  // of what there is
};
enum dapt_status dapt_plan_create(const struct dapt_shard *shard, const struct dapt_data_list *list,
                                  uint32_t sequence, enum dapt_packing packing,
                                  struct dapt_plan *plan);
void dapt_plan_free(struct dapt_plan *plan);  // a zeroed one is fine
// The sequence at place `index` < plan->drawn of an evaluation.
uint64_t dapt_plan_eval(const struct dapt_plan *plan, uint64_t index);

// ---------------------------------------------------------------------------------------- corpus.c
struct dapt_corpus {
    struct dapt_shard shard;
    struct dapt_plan plan;
    struct dapt_corpus_report report;
    struct dapt_hash hash;
    const struct dapt_objective *objective;  // of evaluations; NULL: causal
};

// ----------------------------------------------------------------------------------------- batch.c
// Puts a sequence of the plan into row `b` of the batch. `run`: the sequence's number in the run, which
// an objective may choose by; DAPT_NO_RUN: an evaluation, in which the choice never changes.
#define DAPT_NO_RUN UINT64_MAX
void dapt_batch_fill(const struct dapt_corpus *corpus, const struct dapt_objective *objective,
                     uint64_t sequence, uint64_t run, uint32_t b, struct dapt_batch *batch);
#endif
