// A model: what a Hugging Face config.json describes, as a family row and numbers; and its
// parameters in one flat buffer.
#ifndef DAPT_MODEL_MODEL_H
#define DAPT_MODEL_MODEL_H
#include "format/safetensors.h"
#include "graph/graph.h"
#include "host/choices.h"
#include "host/json.h"
#include "model/rope.h"

struct dapt_hash;

// What a trained parameter is treated as; frozen ones are of the last group whatever they are.
enum dapt_group {
    DAPT_GROUP_MATRICES,
    DAPT_GROUP_VECTORS,
    DAPT_GROUP_EMBEDDINGS,  // of a model with adapters: embedding and head, at a rate of their own
    DAPT_GROUP_ADAPTERS,
    DAPT_GROUP_BASE,  // matrices below adapters that are stored in fewer bits
    DAPT_GROUP_FROZEN,
    DAPT_GROUPS
};

// One tensor as files name it, and where it lies in the flat parameter buffer.
struct dapt_parameter {
    const char *name;  // "model.layers.0.self_attn.q_proj.weight"
    uint32_t rank;
    uint64_t shape[2];       // as in the file
    uint64_t offset, count;  // in elements of the flat buffer
    enum dapt_group group;   // where it is trained
    bool trained;            // false: frozen
    bool base;               // of DAPT_GROUP_BASE, while it is frozen
    float init_scale;        // deviation of new weights; 0: filled with init_fill
    float init_fill;
    float init_bound;  // above 0: new weights are uniform between it and its negative instead
    // Files hold it as [blocks][parts][run], the flat buffer as [parts][blocks][run]; parts 0: alike.
    uint32_t parts;
    uint64_t run;
};

// A run of the flat buffer whose parameters are treated alike; the runs cover it, frozen ones last.
struct dapt_parameter_group {
    const char *role;     // "matrices", "vectors", "embeddings", "adapters", "base", "frozen"
    uint64_t begin, end;  // elements of the flat buffer, multiples of 16
    uint64_t count;       // parameters, without the gaps
    size_t tensors;
    bool trained, decay;    // decay: weight decay applies under "matrices" too
    float rate;             // factor of the learning rate
    enum dapt_dtype dtype;  // of storage
};

// What a tensor is for. A family names the tensors of its slots; the forward pass asks for slots.
enum dapt_slot {
    DAPT_SLOT_EMBED,
    DAPT_SLOT_POSITION,
    DAPT_SLOT_TYPE,  // of tokens: all have the first
    DAPT_SLOT_EMBED_NORM,
    DAPT_SLOT_EMBED_NORM_BIAS,
    DAPT_SLOT_FINAL_NORM,
    DAPT_SLOT_FINAL_NORM_BIAS,
    DAPT_SLOT_HEAD,
    DAPT_SLOT_HEAD_DENSE,  // with an activation behind it
    DAPT_SLOT_HEAD_DENSE_BIAS,
    DAPT_SLOT_HEAD_NORM,
    DAPT_SLOT_HEAD_NORM_BIAS,
    DAPT_SLOT_HEAD_BIAS,      // of the logits, where the head is tied
    DAPT_SLOT_HEAD_OWN_BIAS,  // where it is not
    DAPT_SLOT_FIRST_OF_LAYER,
    DAPT_SLOT_NORM1 = DAPT_SLOT_FIRST_OF_LAYER,
    DAPT_SLOT_NORM1_BIAS,
    DAPT_SLOT_QKV,
    DAPT_SLOT_Q,
    DAPT_SLOT_K,
    DAPT_SLOT_V,  // QKV: one tensor for all three
    DAPT_SLOT_QKV_BIAS,
    DAPT_SLOT_Q_BIAS,
    DAPT_SLOT_K_BIAS,
    DAPT_SLOT_V_BIAS,
    DAPT_SLOT_Q_NORM,
    DAPT_SLOT_K_NORM,
    DAPT_SLOT_OUT,
    DAPT_SLOT_OUT_BIAS,
    DAPT_SLOT_POST_NORM1,  // of what attention adds to the stream
    DAPT_SLOT_POST_NORM1_BIAS,
    DAPT_SLOT_NORM2,
    DAPT_SLOT_NORM2_BIAS,
    DAPT_SLOT_GATE_UP,  // one tensor for both
    DAPT_SLOT_GATE,
    DAPT_SLOT_UP,
    DAPT_SLOT_GATE_BIAS,
    DAPT_SLOT_UP_BIAS,
    DAPT_SLOT_DOWN,
    DAPT_SLOT_DOWN_BIAS,
    DAPT_SLOT_POST_NORM2,  // of what the feed-forward part adds
    DAPT_SLOT_POST_NORM2_BIAS,
    DAPT_SLOT_SUM_NORM1,  // of the stream with what attention added
    DAPT_SLOT_SUM_NORM1_BIAS,
    DAPT_SLOT_SUM_NORM2,  // with what the feed-forward part added
    DAPT_SLOT_SUM_NORM2_BIAS,
    DAPT_SLOT_COUNT
};

#define DAPT_ROPES 2  // tables of rotary positions that a model may have

// Low-rank adapters (Hu et al. 2021) over a frozen model: for matrices W [out, in] of its layers
// y = x W^T + factor (x A^T) B^T, with A [rank, in] and B [out, rank] parameters of their own,
// "layers.2.mlp.up.lora_A" and "....lora_B".
struct dapt_adapters {
    uint32_t rank;
    bool rslora;
    float alpha, factor;  // factor: alpha / rank, of rslora alpha / root of rank
    double dropout;       // share of x that training drops, for each adapter another one
    size_t count;         // matrices that have one
    uint32_t *a, *b;      // indices into parameters, as dapt_model.slots has them
    size_t first;         // parameters from this one on are A's and B's; those before it the base's
    bool embeddings;      // embedding and head belong to the adapters: they are written with them
    float embeddings_rate;  // factor of the learning rate
    const char *folder;     // that they are read from; NULL: new ones
    // Of the matrices of the layers: DAPT_F32, or what frozen ones are stored in, rounded as they
    // are loaded.
    enum dapt_dtype base;
};

struct dapt_model {
    const struct dapt_family *family;
    struct dapt_arena arena;
    struct dapt_json *config;          // config.json as it was read
    const char *folder;                // where it came from; NULL for new weights
    struct dapt_model_origin *origin;  // what dapt_model_keep() read; NULL: it was not called

    uint32_t layers, hidden, heads, kv_heads, head_size, feed_forward, vocab;
    uint32_t max_positions;   // of a text
    uint32_t first_position;  // rows of the positions' table before that of a text's first token
    uint32_t types;           // of tokens; 0: there is no table of them
    // Those in use: of all layers, or of those that see everything and those with a window. The
    // first has size 0: learned positions.
    struct dapt_rope ropes[DAPT_ROPES];
    uint32_t *rope_of;  // [layers] which one
    float norm_eps;
    float init_range;  // deviation of new weights
    int32_t *windows;  // [layers] sliding window of each layer, 0: none
    bool tied;         // output projection is the token embedding
    bool bias_qkv, bias_out, bias_mlp;
    bool parallel;    // attention and feed-forward read the same stream
    bool *unrotated;  // [layers] whose q and k do not turn; NULL: all turn
    // Factors of the embedding, of q.k, of what a layer adds, of the logits.
    float embedding_scale, attention_scale, residual_scale, logit_scale;
    float attention_cap, logit_cap;  // softcaps of q.k and of the logits; 0: none
    enum dapt_activation activation, head_activation;
    bool masked;       // made to predict hidden tokens from all others, not the next one
    int64_t bos, eos;  // of config.json; -1: none

    // Flat buffer: the groups one behind the other, frozen parameters last. Those that one matmul
    // uses together (q, k and v; gate and up) lie one behind the other; groups begin at multiples
    // of 16 elements, matrices of the base at multiples of 64 from its beginning; gaps are 0.
    struct dapt_parameter *parameters;  // in file order of the family
    size_t parameter_count;
    // [layers + 1][DAPT_SLOT_COUNT] index into parameters or DAPT_NONE; row 0: outside of layers
    uint32_t *slots;
    struct dapt_parameter_group groups[DAPT_GROUPS];  // those that there are
    size_t group_count;
    uint64_t flat_count;     // elements of the flat buffer
    uint64_t trained_count;  // elements before this are trained: gradients and moments are as long
    uint64_t weight_count;   // parameters without the gaps

    struct dapt_adapters *adapters;  // NULL: none; `folder` is then that of the base
};

// Reads FOLDER/config.json. An unknown family, a missing or impossible number, or a feature that we
// would compute differently is an error that names the key.
enum dapt_status dapt_model_open(const char *folder, struct dapt_model **model);
// The same, where FOLDER may hold adapters (adapter_config.json and adapter_model.safetensors, as
// peft writes them): opens the model that they belong to with them. That is `base`, or with NULL
// what the adapters name, from their folder on.
enum dapt_status dapt_model_open_on(const char *folder, const char *base,
                                    struct dapt_model **model);
// Fails for a path that is no folder: names what was expected there ("a model") and, as models are
// often asked for by their name on the Hugging Face hub, the command that fetches one.
enum dapt_status dapt_model_missing(const char *path, const char *expected);
// From an object with config.json's keys ("model": {"random": {...}}). `config` is a root; it is
// taken over, also on failure.
enum dapt_status dapt_model_from_json(struct dapt_json *config, struct dapt_model **model);
void dapt_model_close(struct dapt_model **model);

// Freezes the parameters that a pattern matches, before anything else is done with the model: the flat
// buffer is laid out anew. A pattern is a name with '*' (anything), '?' (one character) and ranges of
// numbers ("layers.0-3.*"), held against the name in files, with and without the family's prefix, and
// against dapt's own name of the part, which is the same in all families ("embed", "layers.2.mlp.up").
// A pattern that matches nothing, and nothing left to train, are errors that say what there is.
// `where` begins the line: "train.freeze".
enum dapt_status dapt_model_freeze(struct dapt_model *model, const char *const *patterns,
                                   size_t count, const char *where);
uint64_t dapt_model_trained(const struct dapt_model *model);  // parameters, without the gaps

// Freezes the model and gives matrices of its layers new adapters, before anything else is done with
// it. Targets are patterns as above, also of the ends of names ("q_proj"); one that matches no such
// matrix is an error that says what there is. `where` begins the line: "train.lora".
enum dapt_status dapt_model_adapt(struct dapt_model *model, const struct dapt_lora *lora,
                                  const char *where);
// What a configuration asks of adapters that were opened with the model: another rate of embedding
// and head; the rest must be as they are.
enum dapt_status dapt_model_adapt_on(struct dapt_model *model, const struct dapt_lora *lora,
                                     const char *where);
// Adds factor B A to each matrix of the parameters in `flat` [flat_count], and takes the adapters off:
// the model is its base again, with everything at its place in `flat`.
enum dapt_status dapt_model_merge(struct dapt_model *model, float *flat);
// Of the base's config.json and weights: what adapters were trained on.
enum dapt_status dapt_model_base_hash(const struct dapt_model *model, struct dapt_hash *hash);
// Where the files of the tokenizer lie: with the adapters in `folder`, if there are any, else with
// their base. A whole model's lie in `folder`.
enum dapt_status dapt_model_tokenizer(struct dapt_arena *arena, const char *folder,
                                      const char *base, const char **tokenizer);
// Parameters that dapt_model_save() writes: all, or the adapters and what belongs to them.
uint64_t dapt_model_written(const struct dapt_model *model);
// Where element `at` of the parameter, counted as files hold it, lies in the flat buffer; of the
// `*count` elements from there on, *count becomes how many lie one behind the other in both.
uint64_t dapt_parameter_place(const struct dapt_parameter *parameter, uint64_t at, uint64_t *count);

// Where an element of the flat buffer lies among the bytes of those that are trained, or of those
// that are not: float32 but for the base's.
uint64_t dapt_model_byte(const struct dapt_model *model, uint64_t offset);
// The group that is stored in fewer bits; NULL: none.
const struct dapt_parameter_group *dapt_model_base_group(const struct dapt_model *model);

// The parameter that a file's tensor belongs to, or NULL. Files may leave the prefix out (GPT-2's
// do); a tied output projection may be stored under its own name, beside the embedding or instead
// of it.
const struct dapt_parameter *dapt_model_find(const struct dapt_model *model, const char *name);

// Of everything that decides what the forward pass computes, the weights aside. Two config.json that
// mean the same have the same hash.
enum dapt_status dapt_model_hash(const struct dapt_model *model, struct dapt_hash *hash);

// Weights go through a sink or a source in pieces, so that no second copy of the model is ever in
// memory.
typedef enum dapt_status (*dapt_weights_put)(void *context, uint64_t offset, const float *values,
                                             uint64_t count);
typedef enum dapt_status (*dapt_weights_get)(void *context, uint64_t offset, float *values,
                                             uint64_t count);
// Sink and source that are a flat buffer in memory, float [flat_count].
enum dapt_status dapt_flat_put(void *flat, uint64_t offset, const float *values, uint64_t count);
enum dapt_status dapt_flat_get(void *flat, uint64_t offset, float *values, uint64_t count);
// Reads FOLDER's safetensors. Every tensor of the file is used or named in an error; every
// parameter is filled or named in one. With adapters: those of FOLDER, if it holds any, after the
// weights of their base.
enum dapt_status dapt_model_load(const struct dapt_model *model, const char *folder,
                                 dapt_weights_put put, void *context);
// New weights, of a model that has a folder its adapters alone: normal with each parameter's
// init_scale, a pure function of the seed.
enum dapt_status dapt_model_init(const struct dapt_model *model, uint64_t seed,
                                 dapt_weights_put put, void *context);
// Reads what dapt_model_save() takes from the model's folder, so that the folder may change or go
// while the model is trained: names, types and shards of its tensors, those that are no parameters,
// config.json; and the tokenizer and generation files found in `tokenizer_folder` (NULL: the
// model's own). Checks as dapt_model_load() does without weights. `dtype`: of the parameters as
// they will be written.
enum dapt_status dapt_model_keep(struct dapt_model *model, const char *tokenizer_folder,
                                 enum dapt_save_dtype dtype);
// What dapt_model_save() writes rounds float32 parameters to: the narrowest dtype, "bfloat16" or
// "float16"; NULL: every bit is kept. After dapt_model_keep().
const char *dapt_model_rounds(const struct dapt_model *model);
// Rounds elements [offset, offset + count) of the flat buffer as they will be written.
enum dapt_status dapt_model_round(const struct dapt_model *model, uint64_t offset, uint64_t count,
                                  float *values);
void dapt_model_origin_free(struct dapt_model_origin **origin);  // as dapt_model_close() does
// Writes a folder that transformers loads: model.safetensors under the same names and dtypes, or
// shards that hold the same tensors, config.json and the other files, as they were when
// dapt_model_keep() read them. The folder exists. New models, which need not be kept, are written as
// float32, or as "torch_dtype"/"dtype" of their config says. With adapters: a folder that peft loads,
// with the adapters, what belongs to them and the tokenizer, without the base.
enum dapt_status dapt_model_save(const struct dapt_model *model, const char *folder,
                                 dapt_weights_get get, void *context);

// What a graph is for. N = sequences * length.
enum dapt_model_mode {
    DAPT_MODEL_LOSS,    // ids, targets, positions, first, last -> losses [N]
    DAPT_MODEL_TRAIN,   // the same, with every gradient; `seed` from the step buffer
    DAPT_MODEL_LOGITS,  // ids, positions, first, last -> logits [N,V]
    DAPT_MODEL_HIDDEN,  // the same -> hidden [N,C]: the stream after the final norm
    DAPT_MODEL_DECODE   // logits for `length` more tokens of one sequence; keys, values in a cache
};
struct dapt_model_build {
    enum dapt_model_mode mode;
    uint32_t sequences, length;
    uint32_t capacity;              // decode: places in the cache
    bool accumulate;                // train: add to the gradients instead of replacing them
    enum dapt_precision precision;  // of the graph
};
// Where the inputs and results of a graph are; DAPT_NONE where it has none. All inputs are i32 [N]
// in the batch buffer, laid out alike in every mode. `rows`: decode: the place of the cache that
// each new token goes to, all different; `pick` [1]: the row whose logits are wanted; `keys`:
// train, where adapters have dropout: a random number for each row.
struct dapt_model_io {
    dapt_value ids, targets, positions, first, last, rows, pick, keys;
    // [places, ropes[i].size] in the constant buffer, side by side, so that a table of fewer places
    // is the beginning of one of more: dapt_rope_table()
    dapt_value ropes[DAPT_ROPES];
    dapt_value losses, loss_sum, logits, hidden;
};
enum dapt_status dapt_model_graph(const struct dapt_model *model,
                                  const struct dapt_model_build *build, struct dapt_graph *graph,
                                  struct dapt_model_io *io);
// FLOPs of one token, forward (training is 3 times that), for estimates.
double dapt_model_flops(const struct dapt_model *model, uint32_t length);
#endif
