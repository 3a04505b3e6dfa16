// What GGUF files and Hugging Face folders call the same things, as tables that import and export
// share.
#ifndef DAPT_MODEL_EXCHANGE_TABLE_H
#define DAPT_MODEL_EXCHANGE_TABLE_H
#include "model/families.h"

struct dapt_exchange_family {
    const char *architecture;  // "general.architecture"
    const char *type;  // "model_type"; the first row of an architecture is what a file is taken for
    bool paired;       // GGUF has the rows of q and k that turn together side by side
    // Models with so many layers scale q.k by hidden / heads, the others by the head size; 0: the
    // family has no such key.
    uint32_t odd_layers;
};
// NULL: none; the reason is recorded, with those there are.
const struct dapt_exchange_family *dapt_exchange_find(const char *file, const char *architecture);
const struct dapt_exchange_family *dapt_exchange_of_type(const char *type);

// A key of one number: "ARCHITECTURE.gguf" there, one of the family's keys in config.json.
enum dapt_exchange_kind { DAPT_EXCHANGE_COUNT, DAPT_EXCHANGE_REAL, DAPT_EXCHANGE_BOOL };
struct dapt_exchange_key {
    const char *gguf;
    enum dapt_exchange_kind kind;
    size_t member;  // offset of the name in struct dapt_family
    bool needed;
    double fallback;  // of a real that config.json leaves out; 0: it is left out too
};
extern const struct dapt_exchange_key dapt_exchange_keys[];  // ends with a row whose gguf is NULL
// The name in the family's config.json; NULL: it has no such key.
const char *dapt_exchange_name(const struct dapt_exchange_key *key,
                               const struct dapt_family *family);

// GGUF's name of the tensor of a slot ("blk.3.attn_q.weight"), in `text`.
#define DAPT_EXCHANGE_NAME 64
void dapt_exchange_tensor(enum dapt_slot slot, uint32_t layer, char text[DAPT_EXCHANGE_NAME]);

// The tensor of a slot; NULL: the file has none.
struct dapt_gguf;
const struct dapt_gguf_tensor *dapt_exchange_tensor_in(const struct dapt_gguf *file,
                                                       enum dapt_slot slot, uint32_t layer);

// How the elements of a parameter lie in GGUF, against the safetensors file.
struct dapt_exchange_order {
    bool transposed;      // [rows, cols] there, [cols, rows] here
    uint64_t rows, cols;  // as GGUF has them; a vector is one row, or one of its elements a row
    // Row (block, part, i) of [blocks][parts][run] here is row (block, i, part) there, or with
    // `whole` (part, block, i). parts 0: rows are where they are.
    uint64_t blocks, parts, run;
    bool whole;
    float offset;  // more there in each element
};
struct dapt_exchange_order dapt_exchange_order_of(const struct dapt_model *model,
                                                  const struct dapt_exchange_family *family,
                                                  enum dapt_slot slot,
                                                  const struct dapt_parameter *parameter);

// A tensor that is brought from one order into the other, piece by piece from its beginning. One that
// is not taken to its end is freed with free(whole).
typedef enum dapt_status (*dapt_exchange_read)(const void *tensor, uint64_t begin, uint64_t count,
                                               float *values);
struct dapt_exchange_move {
    struct dapt_exchange_order order;
    bool out;            // towards GGUF
    const void *tensor;  // what `read` reads of
    dapt_exchange_read read;
    float *whole;  // the tensor, where it is transposed; from its first piece to its last
};
// Elements [begin, begin + count) in the order that they are brought into.
enum dapt_status dapt_exchange_take(struct dapt_exchange_move *move, uint64_t begin, uint64_t count,
                                    float *values);

// The factors by which llama.cpp divides the frequencies of "rope_type": "llama3": [size / 2].
void dapt_exchange_llama3(uint32_t size, double theta, double factor, double low, double high,
                          double original, float *factors);

// config.json of a GGUF file's keys; `dtype`: "float32". `used` [tensors of the file] is set of
// those that stand for keys, or are copies.
enum dapt_status dapt_exchange_config(const struct dapt_gguf *file,
                                      const struct dapt_exchange_family *row, const char *dtype,
                                      bool *used, struct dapt_string *json);
// Writes a file of a folder.
enum dapt_status dapt_exchange_write(const char *folder, const char *file, const char *text,
                                     size_t length);
struct dapt_gguf_metadata;
// The tokenizer's files of a GGUF file, written into `folder`. `vocab`: rows of the embedding.
enum dapt_status dapt_exchange_tokenizer_in(const struct dapt_gguf *file, uint64_t vocab,
                                            const char *folder);
// The other way: the keys of a folder's tokenizer.
enum dapt_status dapt_exchange_tokenizer_out(const struct dapt_model *model, const char *folder,
                                             struct dapt_gguf_metadata *metadata);

// How byte-level BPE cuts text into words before merging, by llama.cpp's names for it.
struct dapt_exchange_split {
    const char *name;     // "tokenizer.ggml.pre"
    const char *pattern;  // of a Split in front; NULL: ByteLevel's own, that of GPT-2
    bool digits;          // each digit alone
    bool nfc;             // the text is normalised first
    bool whole_words;     // "ignore_merges"
    bool begins;          // a text begins with BOS unless the file says otherwise
};
extern const struct dapt_exchange_split
    dapt_exchange_splits[];  // ends with a row whose name is NULL
#endif
