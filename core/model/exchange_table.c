#include "model/exchange_table.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/gguf.h"

// clang-format off
static const struct dapt_exchange_family families[] = {
    {.architecture = "llama", .type = "llama", .paired = true},
    {.architecture = "llama", .type = "mistral", .paired = true},
    {.architecture = "qwen2", .type = "qwen2"},
    {.architecture = "qwen3", .type = "qwen3"},
    {.architecture = "gemma2", .type = "gemma2", .odd_layers = 46},
    {.architecture = "gemma3", .type = "gemma3_text", .odd_layers = 62},
    {.architecture = "gpt2", .type = "gpt2"},
    {.architecture = "phi3", .type = "phi3"},
    {.architecture = "smollm3", .type = "smollm3", .paired = true},
    {.architecture = "olmo2", .type = "olmo2"},
    {.architecture = "gptneox", .type = "gpt_neox"},
    {.architecture = "starcoder2", .type = "starcoder2"},
    {.architecture = "stablelm", .type = "stablelm"},
    {.architecture = "granite", .type = "granite", .paired = true},
};
#define FAMILIES (sizeof families / sizeof *families)

#define KEY(member) offsetof(struct dapt_family, keys.member)
#define COUNT(there, here) .gguf = there, .kind = DAPT_EXCHANGE_COUNT, .member = KEY(here)
#define REAL(there, here) .gguf = there, .kind = DAPT_EXCHANGE_REAL, .member = KEY(here)
const struct dapt_exchange_key dapt_exchange_keys[] = {
    {COUNT("block_count", layers), .needed = true},
    {COUNT("context_length", positions), .needed = true},
    {COUNT("embedding_length", hidden), .needed = true},
    {COUNT("feed_forward_length", feed_forward), .needed = true},
    {COUNT("attention.head_count", heads), .needed = true},
    {COUNT("attention.head_count_kv", kv_heads)},
    {.gguf = "use_parallel_residual", .kind = DAPT_EXCHANGE_BOOL, .member = KEY(parallel)},
    {REAL("attention.scale", attention_scale), .fallback = 1},
    {REAL("embedding_scale", embedding_scale), .fallback = 1},
    {REAL("residual_scale", residual_scale), .fallback = 1},
    {REAL("logit_scale", logit_divisor), .fallback = 1},
    {REAL("attn_logit_softcapping", attention_cap)},
    {REAL("final_logit_softcapping", logit_cap)},
    {REAL("rope.freq_base_swa", local_theta)},
    {.gguf = NULL},
};

static const char *const tensors[DAPT_SLOT_COUNT] = {
    [DAPT_SLOT_EMBED] = "token_embd.weight",
    [DAPT_SLOT_POSITION] = "position_embd.weight",
    [DAPT_SLOT_FINAL_NORM] = "output_norm.weight",
    [DAPT_SLOT_FINAL_NORM_BIAS] = "output_norm.bias",
    [DAPT_SLOT_HEAD] = "output.weight",
    [DAPT_SLOT_NORM1] = "attn_norm.weight",
    [DAPT_SLOT_NORM1_BIAS] = "attn_norm.bias",
    [DAPT_SLOT_QKV] = "attn_qkv.weight",
    [DAPT_SLOT_Q] = "attn_q.weight",
    [DAPT_SLOT_K] = "attn_k.weight",
    [DAPT_SLOT_V] = "attn_v.weight",
    [DAPT_SLOT_QKV_BIAS] = "attn_qkv.bias",
    [DAPT_SLOT_Q_BIAS] = "attn_q.bias",
    [DAPT_SLOT_K_BIAS] = "attn_k.bias",
    [DAPT_SLOT_V_BIAS] = "attn_v.bias",
    [DAPT_SLOT_Q_NORM] = "attn_q_norm.weight",
    [DAPT_SLOT_K_NORM] = "attn_k_norm.weight",
    [DAPT_SLOT_OUT] = "attn_output.weight",
    [DAPT_SLOT_OUT_BIAS] = "attn_output.bias",
    [DAPT_SLOT_POST_NORM1] = "post_attention_norm.weight",
    [DAPT_SLOT_POST_NORM1_BIAS] = "post_attention_norm.bias",
    [DAPT_SLOT_NORM2] = "ffn_norm.weight",
    [DAPT_SLOT_NORM2_BIAS] = "ffn_norm.bias",
    [DAPT_SLOT_GATE_UP] = "ffn_up.weight",
    [DAPT_SLOT_GATE] = "ffn_gate.weight",
    [DAPT_SLOT_UP] = "ffn_up.weight",
    [DAPT_SLOT_GATE_BIAS] = "ffn_gate.bias",
    [DAPT_SLOT_UP_BIAS] = "ffn_up.bias",
    [DAPT_SLOT_DOWN] = "ffn_down.weight",
    [DAPT_SLOT_DOWN_BIAS] = "ffn_down.bias",
    [DAPT_SLOT_POST_NORM2] = "post_ffw_norm.weight",
    [DAPT_SLOT_POST_NORM2_BIAS] = "post_ffw_norm.bias",
};

// Patterns as the tokenizer.json of models with such a tokenizer have them.
#define SHORTENED "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define BESIDE "[^\\r\\n\\p{L}\\p{N}]?"
#define REST(slash) \
    " ?[^\\s\\p{L}\\p{N}]+[\\r\\n" slash "]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define WORDS(digits) SHORTENED "|" BESIDE "\\p{L}+|" digits "|" REST("")
#define CASED(short, digits) \
    BESIDE UPPER "*" LOWER "+" short "|" BESIDE UPPER "+" LOWER "*" short "|" digits "|" REST("/")
static const char three_digits[] = WORDS("\\p{N}{1,3}"), one_digit[] = WORDS("\\p{N}"),
                  tekken[] = CASED("", "\\p{N}"),
                  gpt4o[] = CASED(SHORTENED "?", "\\p{N}{1,3}");
const struct dapt_exchange_split dapt_exchange_splits[] = {
    {.name = "gpt-2"},
    {.name = "smollm", .digits = true},
    {.name = "starcoder", .digits = true},
    {.name = "refact", .digits = true},
    {.name = "olmo", .nfc = true},
    {.name = "llama-bpe", .pattern = three_digits, .whole_words = true, .begins = true},
    {.name = "llama3", .pattern = three_digits, .whole_words = true, .begins = true},
    {.name = "llama-v3", .pattern = three_digits, .whole_words = true, .begins = true},
    {.name = "dbrx", .pattern = three_digits},
    {.name = "smaug-bpe", .pattern = three_digits},
    {.name = "qwen2", .pattern = one_digit, .nfc = true},
    {.name = "deepseek-r1-qwen", .pattern = one_digit, .nfc = true},
    {.name = "stablelm2", .pattern = one_digit, .nfc = true},
    {.name = "tekken", .pattern = tekken, .whole_words = true, .begins = true},
    {.name = "gpt-4o", .pattern = gpt4o},
    {.name = NULL},
};
// clang-format on

// ---------------------------------------------------------------------------------------- look-ups

const struct dapt_exchange_family *dapt_exchange_find(const char *file, const char *architecture) {
    char known[256];
    size_t used = 0;
    for (size_t i = 0; i < FAMILIES; i++)
        if (strcmp(families[i].architecture, architecture) == 0) return &families[i];
    for (size_t i = 0; i < FAMILIES && used < sizeof known; i++)
        if (i == 0 || strcmp(families[i].architecture, families[i - 1].architecture) != 0)
            used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "",
                                     families[i].architecture);
    dapt_fail(DAPT_ERROR_UNSUPPORTED,
              "%s: general.architecture is \"%.64s\", which dapt does not read; known are %s", file,
              architecture, known);
    return NULL;
}

const struct dapt_exchange_family *dapt_exchange_of_type(const char *type) {
    for (size_t i = 0; i < FAMILIES; i++)
        if (strcmp(families[i].type, type) == 0) return &families[i];
    return NULL;
}

const char *dapt_exchange_name(const struct dapt_exchange_key *key,
                               const struct dapt_family *family) {
    const char *name;
    memcpy(&name, (const char *)family + key->member, sizeof name);
    return name;
}

void dapt_exchange_tensor(enum dapt_slot slot, uint32_t layer, char text[DAPT_EXCHANGE_NAME]) {
    if (slot < DAPT_SLOT_FIRST_OF_LAYER)
        snprintf(text, DAPT_EXCHANGE_NAME, "%s", tensors[slot]);
    else
        snprintf(text, DAPT_EXCHANGE_NAME, "blk.%u.%s", layer, tensors[slot]);
}

const struct dapt_gguf_tensor *dapt_exchange_tensor_in(const struct dapt_gguf *file,
                                                       enum dapt_slot slot, uint32_t layer) {
    char text[DAPT_EXCHANGE_NAME];
    dapt_exchange_tensor(slot, layer, text);
    return dapt_gguf_tensor(file, text);
}

// ------------------------------------------------------------------------------------------ orders

static bool is_norm(enum dapt_slot slot) {
    return slot == DAPT_SLOT_FINAL_NORM || slot == DAPT_SLOT_NORM1 || slot == DAPT_SLOT_NORM2 ||
           slot == DAPT_SLOT_Q_NORM || slot == DAPT_SLOT_K_NORM || slot == DAPT_SLOT_POST_NORM1 ||
           slot == DAPT_SLOT_POST_NORM2;
}

struct dapt_exchange_order dapt_exchange_order_of(const struct dapt_model *m,
                                                  const struct dapt_exchange_family *family,
                                                  enum dapt_slot slot,
                                                  const struct dapt_parameter *p) {
    bool q = slot == DAPT_SLOT_Q || slot == DAPT_SLOT_Q_BIAS,
         k = slot == DAPT_SLOT_K || slot == DAPT_SLOT_K_BIAS,
         qkv = slot == DAPT_SLOT_QKV || slot == DAPT_SLOT_QKV_BIAS;
    struct dapt_exchange_order o = {
        .transposed = p->rank == 2 && m->family->input_major && slot >= DAPT_SLOT_FIRST_OF_LAYER,
        .offset = is_norm(slot) ? m->family->norm_offset : 0};
    if (family->paired && (q || k)) {
        o.blocks = q ? m->heads : m->kv_heads;
        o.parts = 2;
        o.run = m->head_size / 2;
    } else if (m->family->head_interleaved && qkv) {
        o.blocks = m->heads;
        o.parts = 3;
        o.run = m->head_size;
        o.whole = true;
    }
    bool each = p->rank == 1 && o.parts;
    o.rows = p->rank == 2 ? p->shape[o.transposed] : each ? p->count : 1;
    o.cols = p->count / o.rows;
    return o;
}

// The row there of a row here.
static uint64_t row_there(const struct dapt_exchange_order *o, uint64_t row) {
    uint64_t i = row % o->run, part = row / o->run % o->parts, block = row / o->run / o->parts;
    return o->whole ? (part * o->blocks + block) * o->run + i
                    : (block * o->run + i) * o->parts + part;
}

static uint64_t row_here(const struct dapt_exchange_order *o, uint64_t row) {
    uint64_t part = row % o->parts, i = row / o->parts % o->run, block = row / o->parts / o->run;
    if (o->whole) {
        i = row % o->run;
        block = row / o->run % o->blocks;
        part = row / o->run / o->blocks;
    }
    return (block * o->parts + part) * o->run + i;
}

static enum dapt_status take_transposed(struct dapt_exchange_move *m, uint64_t begin,
                                        uint64_t count, float *values) {
    uint64_t rows = m->out ? m->order.rows : m->order.cols,
             cols = m->out ? m->order.cols : m->order.rows;
    if (!m->whole) {
        m->whole = dapt_alloc_aligned((size_t)(rows * cols), sizeof *m->whole);
        enum dapt_status status = m->whole ? m->read(m->tensor, 0, rows * cols, m->whole)
                                           : DAPT_ERROR_MEMORY;
        if (status) return status;
    }
    for (uint64_t i = 0; i < count; i++)
        values[i] = m->whole[(begin + i) % cols * rows + (begin + i) / cols];
    if (begin + count == rows * cols) {
        free(m->whole);
        m->whole = NULL;
    }
    return DAPT_OK;
}

enum dapt_status dapt_exchange_take(struct dapt_exchange_move *m, uint64_t begin, uint64_t count,
                                    float *values) {
    const struct dapt_exchange_order *o = &m->order;
    enum dapt_status status = DAPT_OK;
    if (o->transposed) {
        status = take_transposed(m, begin, count, values);
    } else if (!o->parts) {
        status = m->read(m->tensor, begin, count, values);
    } else {
        for (uint64_t i = 0, n; i < count && !status; i += n) {
            uint64_t row = (begin + i) / o->cols, inside = (begin + i) % o->cols;
            n = o->cols - inside < count - i ? o->cols - inside : count - i;
            row = m->out ? row_here(o, row) : row_there(o, row);
            status = m->read(m->tensor, row * o->cols + inside, n, values + i);
        }
    }
    for (uint64_t i = 0; i < count && !status && o->offset != 0; i++)
        values[i] += m->out ? o->offset : -o->offset;
    return status;
}

void dapt_exchange_llama3(uint32_t size, double theta, double factor, double low, double high,
                          double original, float *factors) {
    for (uint32_t i = 0; i < size / 2; i++) {
        double turns = original / (2 * M_PI * pow(theta, 2.0 * i / size));
        double smooth = fmin(1, fmax(0, (turns - low) / (high - low)));
        factors[i] = (float)(1 / ((1 - smooth) / factor + smooth));
    }
}
