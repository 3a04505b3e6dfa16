// The whole of one tokenizer: the tables that handles share, and what each handle has for itself.
#ifndef HF_TOKENIZER_H
#define HF_TOKENIZER_H
#include <stdatomic.h>

#include "added.h"
#include "bpe.h"
#include "decode.h"
#include "post.h"
#include "pretokenize.h"
#include "wordpiece.h"

enum hf_model { HF_MODEL_BPE, HF_MODEL_WORDPIECE };

struct hf_tables {
    atomic_int references;
    enum hf_model model;
    struct hf_vocab vocab;  // of the model
    struct hf_bpe bpe;
    struct hf_wordpiece wordpiece;
    struct hf_added added;
    struct hf_normalizer *normalizer;
    struct hf_pretokenizer *pretokenizer;
    struct hf_post post;
    struct hf_decoder *decoder;
    uint32_t size;       // ids are below it
    int64_t special[4];  // by enum dapt_special; -1: none
    hf_splitter split;   // not NULL: all the cutting there is, for a model that takes bytes
    bool prefix_space;   // with it
};

struct hf_handle {
    const struct dapt_host *host;
    struct hf_tables *tables;
    struct hf_matcher *matcher;
    struct hf_text lossy, spaced;
    struct hf_normalize_scratch normalize;
    struct hf_pretokenize_scratch pretokenize;
    struct hf_bpe_scratch bpe;
    struct hf_wordpiece_scratch wordpiece;
    struct hf_decode_scratch decode;
    struct hf_ids ids;  // not handed over yet
};

// `path` is a folder that holds tokenizer.json, vocab.txt, or vocab.json with merges.txt (the first
// that is there counts), or such a file.
enum dapt_status hf_tables_load(const struct dapt_host *host, const char *path_z,
                                struct hf_tables **tables);
// What a tokenizer.json says. Its model needs no "vocab" where the tables hold tokens already.
enum dapt_status hf_root_load(const struct dapt_host *host, const cJSON *root,
                              struct hf_tables *tables);
void hf_tables_release(struct hf_tables *tables);
// legacy.c: from vocab.txt or vocab.json, by the files beside it.
bool hf_is_legacy(const char *file_z);
enum dapt_status hf_legacy_load(const struct dapt_host *host, const char *file_z,
                                const char *folder_z, struct hf_tables *tables);
// Warns where tokenizer_config.json contradicts a tokenizer.json and transformers believes it.
enum dapt_status hf_settings_compare(const struct dapt_host *host, const char *folder_z,
                                     const cJSON *root);
// special.c: which ids play which part, from the files beside the tokenizer's. Parts that are known
// (not -1) stay.
enum dapt_status hf_special_load(const struct dapt_host *host, const char *folder_z,
                                 struct hf_tables *tables);
// The id of a token's text among added tokens and the vocabulary, or -1.
int64_t hf_tables_id(const struct hf_tables *tables, const char *text, size_t length);

// encode.c: appends to handle->ids; hands them over when there are many.
struct hf_sink {
    dapt_emit_ids emit;
    void *context;
    bool stopped;
};
enum dapt_status hf_encode(struct hf_handle *handle, const char *text, size_t length, bool special,
                           struct hf_sink *sink);
#endif
