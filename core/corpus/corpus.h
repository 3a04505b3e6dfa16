// Corpus: documents -> tokens in mapped shards -> sequences -> batches. What a batch holds is a
// pure function of the corpus, the seed and the step: nothing about the position in the data has to
// be stored or replayed.
#ifndef DAPT_CORPUS_CORPUS_H
#define DAPT_CORPUS_CORPUS_H
#include "host/config.h"
#include "host/loader.h"

// A tokenizer opened through its plugin, with one handle a worker thread.
struct dapt_tokenizer;
enum dapt_status dapt_tokenizer_open(const struct dapt_modules *modules, const char *plugin,
                                     const struct dapt_json *options, const char *path,
                                     struct dapt_tokenizer **tokenizer);
void dapt_tokenizer_close(struct dapt_tokenizer **tokenizer);
uint32_t dapt_tokenizer_vocab_size(const struct dapt_tokenizer *tokenizer);
int64_t dapt_tokenizer_special(const struct dapt_tokenizer *tokenizer, enum dapt_special which);
struct dapt_ids {
    uint32_t *ids;
    size_t count, capacity;
};  // zeroed: empty; freed by dapt_ids_free
void dapt_ids_free(struct dapt_ids *ids);
// Appends. On the main handle: one thread at a time.
enum dapt_status dapt_tokenizer_encode(struct dapt_tokenizer *tokenizer, const char *text,
                                       size_t length, uint32_t flags, struct dapt_ids *ids);
enum dapt_status dapt_tokenizer_decode(struct dapt_tokenizer *tokenizer, const uint32_t *ids,
                                       size_t count, uint32_t flags, struct dapt_string *text);

struct dapt_objective;  // objective.h

// What happened on the way from files to sequences. Told to the user, written to metrics.
struct dapt_corpus_report {
    uint64_t files, documents, bytes;  // read and kept; bytes of text as tokenised
    uint64_t skipped;                  // records that were bad (see data.skip_errors) or empty
    uint64_t tokens;                   // with what special tokens were added
    uint64_t sequences;                // of one pass; with all weights 1: that there are
    uint64_t cut, padded;              // tokens that reached no sequence; places that hold no token
    uint64_t split;                    // documents longer than a sequence, continued in another one
    bool cached;                       // the shards were there already
    double seconds;
};

struct dapt_corpus_options {
    const struct dapt_modules *modules;
    struct dapt_tokenizer *tokenizer;
    uint32_t sequence;  // tokens of a sequence
    enum dapt_packing packing;
    bool special;       // put the tokenizer's template around each document (an EOS always ends it)
    const char *cache;  // folder of shards, made when missing
    double skip_errors;           // share of the records that may be bad
    const char *skip_errors_key;  // what sets it, for messages; NULL: nothing does
    uint64_t max_tokens;  // no more than so many: the document that passes them is cut; 0: all
    uint32_t vocab;       // ids that the model knows: a text with others is refused; 0: not checked
    unsigned threads;     // 0: all processors
    const char *name;     // for messages: "domain", "eval general"
    const struct dapt_objective *objective;  // outlives the corpus; NULL: causal
};

// The folder that is meant by data.cache, which may be NULL; it need not exist.
enum dapt_status dapt_cache_find(const char *chosen, struct dapt_arena *arena, const char **folder);
// What such a folder holds: see dapt_cache() of dapt.h, whose members these are.
struct dapt_cache_entry {
    const char *path, *text;
    uint64_t size, documents, tokens;
    double seconds;  // since its last use
    bool in_use, removed;
};
typedef void (*dapt_cache_each)(void *user, const char *folder,
                                const struct dapt_cache_entry *entry);
enum dapt_status dapt_cache_list(const char *chosen, bool purge, double days, dapt_cache_each each,
                                 void *user);

struct dapt_corpus;
// Reads, tokenises and packs what `list` names; or maps what an earlier run left in the cache. A
// cache entry is keyed by the content of the files, the tokenizer's files and options, the source
// and its options; it is written atomically and checksummed; a damaged one is made again. No
// document, or no whole sequence, is an error.
enum dapt_status dapt_corpus_open(const struct dapt_data_list *list,
                                  const struct dapt_corpus_options *options,
                                  struct dapt_corpus **corpus);
void dapt_corpus_close(struct dapt_corpus **corpus);
const struct dapt_corpus_report *dapt_corpus_report(const struct dapt_corpus *corpus);
// The one of its options.
const struct dapt_objective *dapt_corpus_objective(const struct dapt_corpus *corpus);
// "1,204 documents, 2.0 M tokens, 7,904 sequences of 256, 0.4 % cut"
enum dapt_status dapt_corpus_describe(const struct dapt_corpus *corpus, struct dapt_string *line);
// What the documents of the shard hold, for figures by document: number `document` of report->documents.
struct dapt_corpus_document {
    uint64_t tokens, bytes;
    uint32_t file,
        record;  // file: as dapt_corpus_files() counts them; record 0: the file is the document
};
struct dapt_corpus_document dapt_corpus_document(const struct dapt_corpus *corpus,
                                                 uint64_t document);
// The files that the corpus came from, in `arena`, found again by the list and modules that it was opened
// with. DAPT_ERROR_INVALID: they have changed since.
struct dapt_corpus_file_info {
    const char *path, *source;
    uint32_t entry;  // of the data list
    uint64_t documents, bytes, tokens;
};
enum dapt_status dapt_corpus_files(const struct dapt_corpus *corpus,
                                   const struct dapt_data_list *list,
                                   const struct dapt_modules *modules, struct dapt_arena *arena,
                                   struct dapt_corpus_file_info **files, size_t *count);
struct dapt_hash;
// Of everything that decides the batches, seed and objective aside.
void dapt_corpus_hash(const struct dapt_corpus *corpus, struct dapt_hash *hash);

// A batch in the layout that programs read: each array [sequences, length], int32.
struct dapt_batch {
    uint32_t sequences, length;
    int32_t *ids;      // 0 where there is no token
    int32_t *targets;  // what the objective asks for at each place, -1: nothing
    // from 0 at each document start (in the document's part that this sequence holds)
    int32_t *positions;
    int32_t *first, *last;  // places of the sequence that a place may see, by the objective
    uint64_t *documents;    // of the corpus, by number; DAPT_NO_DOCUMENT: there is no token
    bool *replay;           // [sequences] from the replay corpus
    uint64_t scored;        // targets >= 0
};
#define DAPT_NO_DOCUMENT UINT64_MAX
enum dapt_status dapt_batch_create(uint32_t sequences, uint32_t length, struct dapt_batch **batch);
void dapt_batch_destroy(struct dapt_batch **batch);

// Sequences in file order for evaluation; places past report->sequences are empty (targets -1). Those
// of training come from mix.h. [any thread]
void dapt_corpus_eval_batch(const struct dapt_corpus *corpus, uint64_t index,
                            struct dapt_batch *batch);
#endif
