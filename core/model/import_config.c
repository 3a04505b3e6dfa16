// config.json of a GGUF file's keys. A key of the architecture that is not read is refused: it may
// change the result.
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/gguf.h"
#include "model/exchange_table.h"

struct import {
    const struct dapt_gguf *file;
    const char *path;
    const struct dapt_exchange_family *row;
    const struct dapt_family *family;
    char prefix[48];  // "llama."
    bool *known;      // [values of the file] read, or found to change nothing
    bool *used;       // [tensors of the file]
    struct dapt_string json;
    enum dapt_status status;  // the first failure
    int64_t vocab, hidden, layers, heads;
};

// ------------------------------------------------------------------------------------------ pieces

static void put(struct import *im, const char *format, ...) DAPT_PRINTF(2, 3);
static void put(struct import *im, const char *format, ...) {
    char text[256];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (!im->status) im->status = dapt_string_add(&im->json, text, (size_t)length);
}

// Begins a member of config.json.
static void name(struct import *im, const char *member) {
    put(im, "%s\n  \"%s\": ", im->json.length > 1 ? "," : "", member);
}

// A float32 of the file, as shortly as it can be written: 1e-05, not 9.999999747378752e-06.
static void real(struct import *im, const char *member, double value) {
    char text[40];
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtof(text, NULL) == (float)value) break;
    }
    name(im, member);
    put(im, strpbrk(text, ".e") ? "%s" : "%s.0", text);
}

static void truth(struct import *im, const char *member, bool value) {
    name(im, member);
    put(im, "%s", value ? "true" : "false");
}

static void fail(struct import *im, const char *format, ...) DAPT_PRINTF(2, 3);
static void fail(struct import *im, const char *format, ...) {
    char text[512];
    if (im->status) return;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    im->status = dapt_fail(DAPT_ERROR_UNSUPPORTED, "%s: %s", im->path, text);
}

// The key of this architecture, in `text`; whether the file has it. What is asked for is known.
static bool find(struct import *im, const char *key, char text[96]) {
    snprintf(text, 96, "%s%s", im->prefix, key);
    const struct dapt_gguf_value *v = dapt_gguf_value(im->file, text);
    if (v) im->known[v - dapt_gguf_value_at(im->file, 0)] = true;
    return v && !im->status;
}

static bool count_of(struct import *im, const char *key, int64_t least, int64_t *value) {
    char text[96];
    bool found = find(im, key, text);
    if (found) im->status = dapt_gguf_get_integer(im->file, text, least, INT32_MAX, value);
    return found;
}

static bool real_of(struct import *im, const char *key, double *value) {
    char text[96];
    bool found = find(im, key, text);
    if (found) im->status = dapt_gguf_get_real(im->file, text, -1e30, 1e30, value);
    return found;
}

static const struct dapt_gguf_tensor *tensor_of(const struct import *im, enum dapt_slot slot) {
    return dapt_exchange_tensor_in(im->file, slot, 0);
}

static void use(struct import *im, const struct dapt_gguf_tensor *tensor) {
    if (tensor) im->used[tensor - dapt_gguf_tensor_at(im->file, 0)] = true;
}

// ------------------------------------------------------------------------------------- config.json

static void put_key(struct import *im, const struct dapt_exchange_key *key) {
    const char *member = dapt_exchange_name(key, im->family);
    char text[96];
    if (!member) return;
    if (!find(im, key->gguf, text)) {
        if (key->needed && !im->status)
            fail(im, "the key '%s' is missing: is this a whole model?", text);
        return;
    }
    int64_t count = 0;
    double number = 0;
    bool flag = false;
    if (key->kind == DAPT_EXCHANGE_COUNT && count_of(im, key->gguf, 1, &count)) {
        name(im, member);
        put(im, "%" PRId64, count);
    } else if (key->kind == DAPT_EXCHANGE_REAL && real_of(im, key->gguf, &number)) {
        real(im, member, number);
    } else if (key->kind == DAPT_EXCHANGE_BOOL) {
        im->status = dapt_gguf_get_bool(im->file, text, &flag);
        truth(im, member, flag);
    }
}

static void put_eps(struct import *im) {
    const char *key = im->family->layer_norm ? "attention.layer_norm_epsilon"
                                             : "attention.layer_norm_rms_epsilon";
    double eps = 0;
    if (real_of(im, key, &eps))
        real(im, im->family->keys.eps, eps);
    else
        fail(im, "the key '%s%s' is missing: is this a whole model?", im->prefix, key);
}

// How much of a head turns, as the share that gives this many dimensions when multiplied again.
static void put_share(struct import *im, int64_t head, int64_t rotary) {
    double share = (double)rotary / (double)head;
    while ((int64_t)((double)head * share) < rotary) share = nextafter(share, 2);
    const char *key = im->family->keys.rope_share;
    name(im, key ? key : "partial_rotary_factor");
    put(im, "%.17g", share);
}

static void put_heads(struct import *im) {
    const struct dapt_family *f = im->family;
    int64_t plain = im->hidden / im->heads, head = plain, value, rotary, kv = im->heads;
    count_of(im, "attention.key_length", 1, &head);
    value = rotary = head;
    count_of(im, "attention.value_length", 1, &value);
    count_of(im, "rope.dimension_count", 1, &rotary);
    if (!f->keys.kv_heads) count_of(im, "attention.head_count_kv", 1, &kv);
    if (value != head)
        fail(im, "%sattention.value_length is %" PRId64 ", expected that of keys, %" PRId64,
             im->prefix, value, head);
    if (kv != im->heads)
        fail(im, "%sattention.head_count_kv is %" PRId64 ", expected as many as heads, %" PRId64,
             im->prefix, kv, im->heads);
    if (f->keys.head_size && (head != plain || f->head_size)) {
        name(im, f->keys.head_size);
        put(im, "%" PRId64, head);
    } else if (head != plain) {
        fail(im, "%sattention.key_length is %" PRId64 ", expected %" PRId64, im->prefix, head,
             plain);
    }
    if (f->rope_share > 0 && rotary <= head)
        put_share(im, head, rotary);
    else if (rotary != head && !f->learned_positions)
        fail(im, "%srope.dimension_count is %" PRId64 ", expected that of heads, %" PRId64,
             im->prefix, rotary, head);
    if (f->keys.query_scale) {
        name(im, f->keys.query_scale);
        put(im, "%" PRId64, im->layers == im->row->odd_layers ? plain : head);
    }
}

static void put_windows(struct import *im) {
    int64_t size = 0, pattern = im->family->window_interval;
    bool given = count_of(im, "attention.sliding_window", 0, &size);
    if (given && size && !im->family->keys.window)
        fail(im, "%sattention.sliding_window is %" PRId64 ": %s models with windows are not built",
             im->prefix, size, im->row->architecture);
    if (given && im->family->keys.window) {
        name(im, im->family->keys.window);
        if (size)
            put(im, "%" PRId64, size);
        else
            put(im, "null");
    }
    count_of(im, "attention.sliding_window_pattern", 1, &pattern);
    if (!im->family->window_interval) return;
    name(im, "layer_types");
    for (int64_t l = 0; l < im->layers; l++)
        put(im, "%s\"%s_attention\"", l ? ", " : "[", (l + 1) % pattern ? "sliding" : "full");
    put(im, "]");
}

static void put_presence(struct import *im) {
    const struct dapt_family *f = im->family;
    const char *attention = f->keys.attention_bias, *mlp = f->keys.mlp_bias;
    const struct dapt_gguf_tensor *embedding = tensor_of(im, DAPT_SLOT_EMBED),
                                  *head = tensor_of(im, DAPT_SLOT_HEAD);
    if (attention)
        truth(im, attention, tensor_of(im, DAPT_SLOT_Q_BIAS) || tensor_of(im, DAPT_SLOT_QKV_BIAS));
    if (mlp && (!attention || strcmp(mlp, attention) != 0))
        truth(im, mlp, tensor_of(im, DAPT_SLOT_UP_BIAS) != NULL);
    // Some files hold a tied embedding twice.
    bool copy = head && f->tied && embedding && head->type == embedding->type &&
                head->count == embedding->count &&
                memcmp(head->data, embedding->data, dapt_blocks_size(head->type, head->count)) == 0;
    if (copy) use(im, head);
    truth(im, "tie_word_embeddings", !head || copy);
}

static void put_ids(struct import *im) {
    static const char *const parts[][2] = {{"bos_token_id", "tokenizer.ggml.bos_token_id"},
                                           {"eos_token_id", "tokenizer.ggml.eos_token_id"},
                                           {"pad_token_id", "tokenizer.ggml.padding_token_id"}};
    for (int i = 0; i < 3 && !im->status; i++) {
        int64_t id = -1;
        im->status = dapt_gguf_get_integer(im->file, parts[i][1], 0, im->vocab - 1, &id);
        name(im, parts[i][0]);
        if (id < 0)
            put(im, "null");
        else
            put(im, "%" PRId64, id);
    }
}

// --------------------------------------------------------------------------------------- positions

static void put_factors(struct import *im, const char *member, const struct dapt_gguf_tensor *t) {
    put(im, "%s\"%s\": [", im->json.data[im->json.length - 1] == '{' ? "" : ", ", member);
    for (uint64_t i = 0; i < t->count && !im->status; i++) {
        float factor;
        dapt_blocks_decode(t->type, t->data, i, 1, &factor);
        put(im, "%s%.9g", i ? ", " : "", (double)factor);
    }
    put(im, "]");
    use(im, t);
}

// Phi-3's: two lists of factors, of which transformers computes the scale of the table.
static void put_longrope(struct import *im, double original) {
    const struct dapt_gguf_tensor *s = dapt_gguf_tensor(im->file, "rope_factors_short.weight"),
                                  *l = dapt_gguf_tensor(im->file, "rope_factors_long.weight");
    int64_t positions = 0;
    double scale = 1;
    count_of(im, "context_length", 1, &positions);
    double ratio = (double)positions / original,
           expected = ratio > 1 ? sqrt(1 + log(ratio) / log(original)) : 1;
    bool given = real_of(im, "rope.scaling.attn_factor", &scale);
    if (!s || !l || original < 2) {
        fail(im,
             "the tensors rope_factors_short.weight and rope_factors_long.weight and the key "
             "'%srope.scaling.original_context_length' belong together",
             im->prefix);
        return;
    }
    name(im, "original_max_position_embeddings");
    put(im, "%.0f", original);
    name(im, "rope_scaling");
    put(im, "{\"type\": \"longrope\"");
    if (given && !(fabs(scale - expected) < 1e-3)) put(im, ", \"attention_factor\": %.9g", scale);
    put_factors(im, "short_factor", s);
    put_factors(im, "long_factor", l);
    put(im, "}");
}

// llama.cpp keeps what Llama 3's rule makes, not the rule's four numbers: they are found again.
static void put_llama3(struct import *im, const struct dapt_gguf_tensor *t, double theta) {
    static const double originals[] = {8192, 4096, 16384, 32768};
    float have[256], made[256];
    uint32_t size = 2 * (uint32_t)t->count;
    if (t->rank != 1 || t->count > 256 || t->count < 2) {
        fail(im, "tensor '%s' has an impossible shape", t->name);
        return;
    }
    dapt_blocks_decode(t->type, t->data, 0, t->count, have);
    double factor = (double)have[t->count - 1];
    for (size_t o = 0; o < sizeof originals / sizeof *originals; o++) {
        dapt_exchange_llama3(size, theta, factor, 1, 4, originals[o], made);
        bool same = factor >= 1;
        for (uint64_t i = 0; i < t->count && same; i++)
            same = fabsf(have[i] - made[i]) <= 1e-3f * made[i];
        if (!same) continue;
        name(im, "rope_scaling");
        put(im,
            "{\"rope_type\": \"llama3\", \"factor\": %.9g, \"low_freq_factor\": 1.0, "
            "\"high_freq_factor\": 4.0, \"original_max_position_embeddings\": %.0f}",
            factor, originals[o]);
        use(im, t);
        return;
    }
    fail(im,
         "tensor '%s' holds factors that are not those of Llama 3's rule, which are all that is "
         "built",
         t->name);
}

static void put_scaling(struct import *im, double theta) {
    const struct dapt_gguf_tensor *factors = dapt_gguf_tensor(im->file, "rope_freqs.weight");
    const char *type = "linear";
    char text[96];
    double factor = 1, original = 0, other = 1;
    if (find(im, "rope.scaling.type", text))
        im->status = dapt_gguf_get_string(im->file, text, &type);
    real_of(im, "rope.scaling.factor", &factor);
    real_of(im, "rope.scale_linear", &factor);
    bool older = real_of(im, "rope.scaling.original_context_length", &original);
    find(im, "rope.scaling.finetuned", text);  // says how the model was made, not how it computes
    if (factors) {
        if (strcmp(type, "linear") != 0 || factor == 1) put_llama3(im, factors, theta);
    } else if (strcmp(im->row->type, "phi3") == 0) {
        if (dapt_gguf_tensor(im->file, "rope_factors_short.weight"))
            put_longrope(im, original);
        else if (real_of(im, "rope.scaling.attn_factor", &other) && other != 1)
            fail(im, "%srope.scaling.attn_factor is %g without factors of frequencies", im->prefix,
                 other);
    } else if (strcmp(type, "linear") == 0 || strcmp(type, "none") == 0) {
        if (factor == 1 || factor == 0 || *type == 'n') return;
        name(im, "rope_scaling");
        put(im, "{\"rope_type\": \"linear\", \"factor\": %.9g}", factor);
    } else if (strcmp(type, "yarn") == 0) {
        name(im, "rope_scaling");
        put(im, "{\"rope_type\": \"yarn\", \"factor\": %.9g", factor);
        if (older) put(im, ", \"original_max_position_embeddings\": %.0f", original);
        put(im, "}");
    } else {
        fail(im, "%srope.scaling.type is \"%.32s\"; linear, yarn and longrope are built",
             im->prefix, type);
    }
}

static void put_positions(struct import *im) {
    double theta = 10000;
    const char *key = im->family->keys.rope_theta;
    if (im->family->learned_positions) return;
    real_of(im, "rope.freq_base", &theta);
    real(im, key ? key : "rope_theta", theta);
    put_scaling(im, theta);
}

// --------------------------------------------------------------------------------------------- all

// Keys that are only right with one value, and keys that change nothing.
static void check_keys(struct import *im) {
    static const char *const zeros[] = {"expert_count", "expert_used_count", "expert_shared_count"};
    static const char *const harmless[] = {"vocab_size", "tensor_data_layout", "attention.causal"};
    char text[96];
    int64_t count = 0;
    bool causal = true;
    for (size_t i = 0; i < sizeof zeros / sizeof *zeros; i++)
        if (count_of(im, zeros[i], 0, &count) && count)
            fail(im, "%s%s is %" PRId64 ": mixtures of experts are not built", im->prefix, zeros[i],
                 count);
    for (size_t i = 0; i < sizeof harmless / sizeof *harmless; i++) find(im, harmless[i], text);
    if (!im->status) im->status = dapt_gguf_get_bool(im->file, text, &causal);
    if (!causal) fail(im, "%s is false: only causal models are built", text);
    for (size_t i = 0; i < dapt_gguf_value_count(im->file) && !im->status; i++) {
        const char *key = dapt_gguf_value_at(im->file, i)->key;
        if (strncmp(key, im->prefix, strlen(im->prefix)) == 0 && !im->known[i])
            fail(im, "the key '%s' is not known and may change the result", key);
    }
}

static void make_config(struct import *im, const char *dtype) {
    put(im, "{\n  \"architectures\": [\"%s\"]", im->family->architecture);
    name(im, "model_type");
    put(im, "\"%s\"", im->family->type);
    name(im, "vocab_size");
    put(im, "%" PRId64, im->vocab);
    for (const struct dapt_exchange_key *key = dapt_exchange_keys; key->gguf; key++)
        put_key(im, key);
    count_of(im, "embedding_length", 1, &im->hidden);
    count_of(im, "block_count", 1, &im->layers);
    count_of(im, "attention.head_count", 1, &im->heads);
    if (im->layers > 4096)
        fail(im, "%sblock_count is %" PRId64 ", expected at most 4096", im->prefix, im->layers);
    if (im->status) return;
    put_eps(im);
    put_heads(im);
    put_windows(im);
    put_positions(im);
    put_presence(im);
    put_ids(im);
    name(im, "torch_dtype");
    put(im, "\"%s\"\n}\n", dtype);
    check_keys(im);
}

enum dapt_status dapt_exchange_config(const struct dapt_gguf *file,
                                      const struct dapt_exchange_family *row, const char *dtype,
                                      bool *used, struct dapt_string *json) {
    struct import im = {.file = file, .path = dapt_gguf_path(file), .row = row, .used = used};
    const struct dapt_gguf_tensor *embedding = tensor_of(&im, DAPT_SLOT_EMBED);
    if (!(im.family = dapt_family_find(row->type)))
        return dapt_fail_in(DAPT_ERROR_UNSUPPORTED, "%s", im.path);
    if (!embedding || embedding->rank != 2)
        return dapt_fail(DAPT_ERROR_INVALID, "%s: the tensor 'token_embd.weight' is missing",
                         im.path);
    snprintf(im.prefix, sizeof im.prefix, "%s.", row->architecture);
    im.vocab = (int64_t)embedding->shape[0];
    im.known = dapt_alloc(dapt_gguf_value_count(file) + 1, sizeof *im.known);
    if (!im.known) return DAPT_ERROR_MEMORY;
    make_config(&im, dtype);
    free(im.known);
    *json = im.json;
    return im.status;
}
