#include "model/families.h"

#include <stdio.h>
#include <string.h>

// clang-format off
#define LLAMA_ENDS \
    [DAPT_SLOT_EMBED] = "embed_tokens.weight", [DAPT_SLOT_FINAL_NORM] = "norm.weight", \
    [DAPT_SLOT_HEAD] = "lm_head.weight", \
    [DAPT_SLOT_OUT] = "layers.%u.self_attn.o_proj.weight", \
    [DAPT_SLOT_OUT_BIAS] = "layers.%u.self_attn.o_proj.bias"
#define LLAMA_NORMS \
    [DAPT_SLOT_NORM1] = "layers.%u.input_layernorm.weight", \
    [DAPT_SLOT_NORM2] = "layers.%u.post_attention_layernorm.weight"
#define LLAMA_QKV \
    [DAPT_SLOT_Q] = "layers.%u.self_attn.q_proj.weight", \
    [DAPT_SLOT_Q_BIAS] = "layers.%u.self_attn.q_proj.bias", \
    [DAPT_SLOT_K] = "layers.%u.self_attn.k_proj.weight", \
    [DAPT_SLOT_K_BIAS] = "layers.%u.self_attn.k_proj.bias", \
    [DAPT_SLOT_V] = "layers.%u.self_attn.v_proj.weight", \
    [DAPT_SLOT_V_BIAS] = "layers.%u.self_attn.v_proj.bias"
#define LLAMA_MLP \
    [DAPT_SLOT_GATE] = "layers.%u.mlp.gate_proj.weight", \
    [DAPT_SLOT_GATE_BIAS] = "layers.%u.mlp.gate_proj.bias", \
    [DAPT_SLOT_UP] = "layers.%u.mlp.up_proj.weight", \
    [DAPT_SLOT_UP_BIAS] = "layers.%u.mlp.up_proj.bias", \
    [DAPT_SLOT_DOWN] = "layers.%u.mlp.down_proj.weight", \
    [DAPT_SLOT_DOWN_BIAS] = "layers.%u.mlp.down_proj.bias"
#define LLAMA_NAMES LLAMA_ENDS, LLAMA_NORMS, LLAMA_QKV, LLAMA_MLP

#define LLAMA_KEYS_OF(activation_key) \
    .hidden = "hidden_size", .layers = "num_hidden_layers", .heads = "num_attention_heads", \
    .kv_heads = "num_key_value_heads", .head_size = "head_dim", \
    .feed_forward = "intermediate_size", .positions = "max_position_embeddings", \
    .activation = activation_key
#define LLAMA_SIZES LLAMA_KEYS_OF("hidden_act")
#define LLAMA_KEYS LLAMA_SIZES, .eps = "rms_norm_eps"

static const char *const rotary_buffers[] = {".rotary_emb.inv_freq", NULL};
#define NORM_BIASES \
    [DAPT_SLOT_FINAL_NORM_BIAS] = "norm.bias", \
    [DAPT_SLOT_NORM1_BIAS] = "layers.%u.input_layernorm.bias", \
    [DAPT_SLOT_NORM2_BIAS] = "layers.%u.post_attention_layernorm.bias"

static const char *const neox_buffers[] = {".attention.bias", ".attention.masked_bias",
                                           ".rotary_emb.inv_freq", NULL};
static const char *const gpt2_buffers[] = {".attn.bias", ".attn.masked_bias", NULL};

#define GEMMA_KEYS \
    LLAMA_KEYS_OF("hidden_activation"), .eps = "rms_norm_eps", \
    .attention_bias = "attention_bias", .window = "sliding_window", \
    .query_scale = "query_pre_attn_scalar", .logit_cap = "final_logit_softcapping"
#define GEMMA_PARTS \
    .activation = "gelu_pytorch_tanh", .eps = 1e-6, .kv_heads = 4, .head_size = 256, \
    .window = 4096, .query_scale = 256, .tied = true, .norm_offset = 1, .root_embedding = true, \
    .bias_qkv = DAPT_BIAS_CONFIG, .bias_out = DAPT_BIAS_CONFIG, .gated = true, \
    .prefix = "model.", .buffers = rotary_buffers
#define GEMMA_NORMS \
    [DAPT_SLOT_NORM1] = "layers.%u.input_layernorm.weight", \
    [DAPT_SLOT_POST_NORM1] = "layers.%u.post_attention_layernorm.weight", \
    [DAPT_SLOT_NORM2] = "layers.%u.pre_feedforward_layernorm.weight", \
    [DAPT_SLOT_POST_NORM2] = "layers.%u.post_feedforward_layernorm.weight"
// Beside buffers what the masked objective does not use: the part that tells whether two sentences
// follow each other, and in a head of its own the bias of a tied one.
static const char *const bert_buffers[] = {
    ".position_ids", ".token_type_ids",
    "pooler.dense.weight", "pooler.dense.bias",
    "cls.seq_relationship.weight", "cls.seq_relationship.bias",
    "cls.predictions.bias", "lm_head.bias", NULL};
#define BERT_PARTS \
    .keys = {.hidden = "hidden_size", .layers = "num_hidden_layers", \
             .heads = "num_attention_heads", .feed_forward = "intermediate_size", \
             .positions = "max_position_embeddings", .eps = "layer_norm_eps", \
             .activation = "hidden_act"}, \
    .activation = "gelu", .eps = 1e-12, .positions = 512, .types = 2, .tied = true, \
    .bias_qkv = DAPT_BIAS_ALWAYS, .bias_out = DAPT_BIAS_ALWAYS, .bias_mlp = DAPT_BIAS_ALWAYS, \
    .masked = true, .layer_norm = true, .learned_positions = true, .buffers = bert_buffers
#define BERT_NAMES \
    [DAPT_SLOT_EMBED] = "embeddings.word_embeddings.weight", \
    [DAPT_SLOT_POSITION] = "embeddings.position_embeddings.weight", \
    [DAPT_SLOT_TYPE] = "embeddings.token_type_embeddings.weight", \
    [DAPT_SLOT_EMBED_NORM] = "embeddings.LayerNorm.weight", \
    [DAPT_SLOT_EMBED_NORM_BIAS] = "embeddings.LayerNorm.bias", \
    [DAPT_SLOT_Q] = "encoder.layer.%u.attention.self.query.weight", \
    [DAPT_SLOT_Q_BIAS] = "encoder.layer.%u.attention.self.query.bias", \
    [DAPT_SLOT_K] = "encoder.layer.%u.attention.self.key.weight", \
    [DAPT_SLOT_K_BIAS] = "encoder.layer.%u.attention.self.key.bias", \
    [DAPT_SLOT_V] = "encoder.layer.%u.attention.self.value.weight", \
    [DAPT_SLOT_V_BIAS] = "encoder.layer.%u.attention.self.value.bias", \
    [DAPT_SLOT_OUT] = "encoder.layer.%u.attention.output.dense.weight", \
    [DAPT_SLOT_OUT_BIAS] = "encoder.layer.%u.attention.output.dense.bias", \
    [DAPT_SLOT_SUM_NORM1] = "encoder.layer.%u.attention.output.LayerNorm.weight", \
    [DAPT_SLOT_SUM_NORM1_BIAS] = "encoder.layer.%u.attention.output.LayerNorm.bias", \
    [DAPT_SLOT_UP] = "encoder.layer.%u.intermediate.dense.weight", \
    [DAPT_SLOT_UP_BIAS] = "encoder.layer.%u.intermediate.dense.bias", \
    [DAPT_SLOT_DOWN] = "encoder.layer.%u.output.dense.weight", \
    [DAPT_SLOT_DOWN_BIAS] = "encoder.layer.%u.output.dense.bias", \
    [DAPT_SLOT_SUM_NORM2] = "encoder.layer.%u.output.LayerNorm.weight", \
    [DAPT_SLOT_SUM_NORM2_BIAS] = "encoder.layer.%u.output.LayerNorm.bias", \
    [DAPT_SLOT_HEAD] = "decoder.weight", [DAPT_SLOT_HEAD_BIAS] = "bias", \
    [DAPT_SLOT_HEAD_OWN_BIAS] = "decoder.bias"

// Defaults are those of the configuration classes in transformers 5.12.
static const struct dapt_family families[] = {
    {
        .type = "gpt2", .architecture = "GPT2LMHeadModel",
        .keys = {.hidden = "n_embd", .layers = "n_layer", .heads = "n_head",
                 .feed_forward = "n_inner", .positions = "n_positions", .eps = "layer_norm_epsilon",
                 .activation = "activation_function"},
        .activation = "gelu_new", .eps = 1e-5, .positions = 1024, .tied = true,
        .feed_forward_factor = 4,
        .bias_qkv = DAPT_BIAS_ALWAYS, .bias_out = DAPT_BIAS_ALWAYS,
        .bias_mlp = DAPT_BIAS_ALWAYS,
        .layer_norm = true, .learned_positions = true, .input_major = true,
        .prefix = "transformer.",
        .names = {
            [DAPT_SLOT_EMBED] = "wte.weight",
            [DAPT_SLOT_POSITION] = "wpe.weight",
            [DAPT_SLOT_FINAL_NORM] = "ln_f.weight",
            [DAPT_SLOT_FINAL_NORM_BIAS] = "ln_f.bias",
            [DAPT_SLOT_HEAD] = "lm_head.weight",
            [DAPT_SLOT_NORM1] = "h.%u.ln_1.weight",
            [DAPT_SLOT_NORM1_BIAS] = "h.%u.ln_1.bias",
            [DAPT_SLOT_QKV] = "h.%u.attn.c_attn.weight",
            [DAPT_SLOT_QKV_BIAS] = "h.%u.attn.c_attn.bias",
            [DAPT_SLOT_OUT] = "h.%u.attn.c_proj.weight",
            [DAPT_SLOT_OUT_BIAS] = "h.%u.attn.c_proj.bias",
            [DAPT_SLOT_NORM2] = "h.%u.ln_2.weight",
            [DAPT_SLOT_NORM2_BIAS] = "h.%u.ln_2.bias",
            [DAPT_SLOT_UP] = "h.%u.mlp.c_fc.weight",
            [DAPT_SLOT_UP_BIAS] = "h.%u.mlp.c_fc.bias",
            [DAPT_SLOT_DOWN] = "h.%u.mlp.c_proj.weight",
            [DAPT_SLOT_DOWN_BIAS] = "h.%u.mlp.c_proj.bias",
        },
        .buffers = gpt2_buffers,
    },
    {
        .type = "llama", .architecture = "LlamaForCausalLM",
        .keys = {LLAMA_KEYS, .attention_bias = "attention_bias", .mlp_bias = "mlp_bias"},
        .activation = "silu", .eps = 1e-6, .positions = 2048,
        .bias_qkv = DAPT_BIAS_CONFIG, .bias_out = DAPT_BIAS_CONFIG, .bias_mlp = DAPT_BIAS_CONFIG,
        .gated = true, .prefix = "model.", .names = {LLAMA_NAMES}, .buffers = rotary_buffers,
    },
    {
        .type = "mistral", .architecture = "MistralForCausalLM",
        .keys = {LLAMA_KEYS, .window = "sliding_window"},
        .activation = "silu", .eps = 1e-6, .positions = 131072, .kv_heads = 8, .window = 4096,
        .gated = true, .prefix = "model.", .names = {LLAMA_NAMES}, .buffers = rotary_buffers,
    },
    {
        .type = "qwen2", .architecture = "Qwen2ForCausalLM",
        .keys = {LLAMA_KEYS, .window = "sliding_window", .use_window = "use_sliding_window"},
        .activation = "silu", .eps = 1e-6, .positions = 32768, .kv_heads = 32, .window = 4096,
        .bias_qkv = DAPT_BIAS_ALWAYS,
        .gated = true, .prefix = "model.", .names = {LLAMA_NAMES}, .buffers = rotary_buffers,
    },
    {
        .type = "qwen3", .architecture = "Qwen3ForCausalLM",
        .keys = {LLAMA_KEYS, .attention_bias = "attention_bias", .window = "sliding_window",
                 .use_window = "use_sliding_window"},
        .activation = "silu", .eps = 1e-6, .positions = 32768, .kv_heads = 32,
        .head_size = 128, .window = 4096,
        .bias_qkv = DAPT_BIAS_CONFIG, .bias_out = DAPT_BIAS_CONFIG,
        .gated = true, .qk_norm = DAPT_QK_NORM_HEAD, .prefix = "model.",
        .names = {LLAMA_NAMES,
                  [DAPT_SLOT_Q_NORM] = "layers.%u.self_attn.q_norm.weight",
                  [DAPT_SLOT_K_NORM] = "layers.%u.self_attn.k_norm.weight"},
        .buffers = rotary_buffers,
    },
    {   // checked with transformers 5.12.1
        .type = "smollm3", .architecture = "SmolLM3ForCausalLM",
        .keys = {LLAMA_KEYS, .attention_bias = "attention_bias", .mlp_bias = "mlp_bias",
                 .window = "sliding_window", .use_window = "use_sliding_window",
                 .rope_layers = "no_rope_layers"},
        .activation = "silu", .eps = 1e-6, .positions = 32768, .kv_heads = 4, .tied = true,
        .rope_theta = 2000000, .rope_interval = 4,
        .bias_qkv = DAPT_BIAS_CONFIG, .bias_out = DAPT_BIAS_CONFIG, .bias_mlp = DAPT_BIAS_CONFIG,
        .gated = true, .prefix = "model.", .names = {LLAMA_NAMES}, .buffers = rotary_buffers,
    },
    {   // checked with transformers 5.12.1
        .type = "phi3", .architecture = "Phi3ForCausalLM",
        .keys = {LLAMA_KEYS, .window = "sliding_window"},
        .activation = "silu", .eps = 1e-5, .positions = 4096, .rope_share = 1,
        .rope_original = 4096,
        .gated = true, .prefix = "model.",
        .names = {LLAMA_ENDS, LLAMA_NORMS,
                  [DAPT_SLOT_DOWN] = "layers.%u.mlp.down_proj.weight",
                  [DAPT_SLOT_QKV] = "layers.%u.self_attn.qkv_proj.weight",
                  [DAPT_SLOT_GATE_UP] = "layers.%u.mlp.gate_up_proj.weight"},
        .buffers = rotary_buffers,
    },
    {   // checked with transformers 5.12.1
        .type = "olmo2", .architecture = "Olmo2ForCausalLM",
        .keys = {LLAMA_KEYS, .attention_bias = "attention_bias"},
        .activation = "silu", .eps = 1e-5, .positions = 2048,
        .bias_qkv = DAPT_BIAS_CONFIG, .bias_out = DAPT_BIAS_CONFIG,
        .gated = true, .qk_norm = DAPT_QK_NORM_WHOLE, .prefix = "model.",
        .names = {LLAMA_ENDS, LLAMA_QKV, LLAMA_MLP,
                  [DAPT_SLOT_POST_NORM1] = "layers.%u.post_attention_layernorm.weight",
                  [DAPT_SLOT_POST_NORM2] = "layers.%u.post_feedforward_layernorm.weight",
                  [DAPT_SLOT_Q_NORM] = "layers.%u.self_attn.q_norm.weight",
                  [DAPT_SLOT_K_NORM] = "layers.%u.self_attn.k_norm.weight"},
        .buffers = rotary_buffers,
    },
    {   // checked with transformers 5.12.1
        .type = "gpt_neox", .architecture = "GPTNeoXForCausalLM",
        .keys = {.hidden = "hidden_size", .layers = "num_hidden_layers",
                 .heads = "num_attention_heads", .feed_forward = "intermediate_size",
                 .positions = "max_position_embeddings", .eps = "layer_norm_eps",
                 .activation = "hidden_act", .attention_bias = "attention_bias",
                 .parallel = "use_parallel_residual", .rope_share = "rotary_pct",
                 .rope_theta = "rotary_emb_base"},
        .activation = "gelu", .eps = 1e-5, .positions = 2048, .parallel = true,
        .bias_qkv = DAPT_BIAS_CONFIG_ON, .bias_out = DAPT_BIAS_CONFIG_ON,
        .bias_mlp = DAPT_BIAS_ALWAYS, .rope_share = 0.25,
        .layer_norm = true, .head_interleaved = true, .prefix = "gpt_neox.",
        .names = {
            [DAPT_SLOT_EMBED] = "embed_in.weight",
            [DAPT_SLOT_FINAL_NORM] = "final_layer_norm.weight",
            [DAPT_SLOT_FINAL_NORM_BIAS] = "final_layer_norm.bias",
            [DAPT_SLOT_HEAD] = "embed_out.weight",
            [DAPT_SLOT_NORM1] = "layers.%u.input_layernorm.weight",
            [DAPT_SLOT_NORM1_BIAS] = "layers.%u.input_layernorm.bias",
            [DAPT_SLOT_QKV] = "layers.%u.attention.query_key_value.weight",
            [DAPT_SLOT_QKV_BIAS] = "layers.%u.attention.query_key_value.bias",
            [DAPT_SLOT_OUT] = "layers.%u.attention.dense.weight",
            [DAPT_SLOT_OUT_BIAS] = "layers.%u.attention.dense.bias",
            [DAPT_SLOT_NORM2] = "layers.%u.post_attention_layernorm.weight",
            [DAPT_SLOT_NORM2_BIAS] = "layers.%u.post_attention_layernorm.bias",
            [DAPT_SLOT_UP] = "layers.%u.mlp.dense_h_to_4h.weight",
            [DAPT_SLOT_UP_BIAS] = "layers.%u.mlp.dense_h_to_4h.bias",
            [DAPT_SLOT_DOWN] = "layers.%u.mlp.dense_4h_to_h.weight",
            [DAPT_SLOT_DOWN_BIAS] = "layers.%u.mlp.dense_4h_to_h.bias",
        },
        .buffers = neox_buffers,
    },
    {   // checked with transformers 5.12.1
        .type = "starcoder2", .architecture = "Starcoder2ForCausalLM",
        .keys = {LLAMA_SIZES, .eps = "norm_epsilon", .attention_bias = "use_bias",
                 .mlp_bias = "use_bias", .window = "sliding_window"},
        .activation = "gelu_pytorch_tanh", .eps = 1e-5, .positions = 4096, .kv_heads = 2,
        .init_range = 0.018042, .tied = true,
        .bias_qkv = DAPT_BIAS_CONFIG_ON, .bias_out = DAPT_BIAS_CONFIG_ON,
        .bias_mlp = DAPT_BIAS_CONFIG_ON, .layer_norm = true, .prefix = "model.",
        .names = {LLAMA_ENDS, LLAMA_NORMS, LLAMA_QKV, NORM_BIASES,
                  [DAPT_SLOT_UP] = "layers.%u.mlp.c_fc.weight",
                  [DAPT_SLOT_UP_BIAS] = "layers.%u.mlp.c_fc.bias",
                  [DAPT_SLOT_DOWN] = "layers.%u.mlp.c_proj.weight",
                  [DAPT_SLOT_DOWN_BIAS] = "layers.%u.mlp.c_proj.bias"},
        .buffers = rotary_buffers,
    },
    {   // checked with transformers 5.12.1
        .type = "stablelm", .architecture = "StableLmForCausalLM",
        .keys = {LLAMA_SIZES, .eps = "layer_norm_eps", .attention_bias = "use_qkv_bias",
                 .parallel = "use_parallel_residual"},
        .activation = "silu", .eps = 1e-5, .positions = 4096, .kv_heads = 32,
        .bias_qkv = DAPT_BIAS_CONFIG, .rope_share = 0.25,
        .layer_norm = true, .gated = true, .shared_norm = true, .prefix = "model.",
        .names = {LLAMA_NAMES, NORM_BIASES}, .buffers = rotary_buffers,
    },
    {   // checked with transformers 5.12.1
        .type = "granite", .architecture = "GraniteForCausalLM",
        .keys = {LLAMA_KEYS, .attention_bias = "attention_bias", .mlp_bias = "mlp_bias",
                 .embedding_scale = "embedding_multiplier",
                 .attention_scale = "attention_multiplier",
                 .residual_scale = "residual_multiplier", .logit_divisor = "logits_scaling"},
        .activation = "silu", .eps = 1e-6, .positions = 2048,
        .bias_qkv = DAPT_BIAS_CONFIG, .bias_out = DAPT_BIAS_CONFIG, .bias_mlp = DAPT_BIAS_CONFIG,
        .gated = true, .prefix = "model.", .names = {LLAMA_NAMES}, .buffers = rotary_buffers,
    },
    {   // checked with transformers 5.12.1
        .type = "gemma2", .architecture = "Gemma2ForCausalLM",
        .keys = {GEMMA_KEYS, .attention_cap = "attn_logit_softcapping"},
        GEMMA_PARTS, .positions = 8192, .window_interval = 2, .attention_cap = 50,
        .logit_cap = 30,
        .names = {LLAMA_ENDS, LLAMA_QKV, LLAMA_MLP, GEMMA_NORMS},
    },
    {   // checked with transformers 5.12.1
        .type = "gemma3_text", .architecture = "Gemma3ForCausalLM",
        .keys = {GEMMA_KEYS, .window_interval = "sliding_window_pattern",
                 .local_theta = "rope_local_base_freq"},
        GEMMA_PARTS, .positions = 131072, .window_interval = 6,
        .rope_theta = 1000000, .local_theta = 10000, .qk_norm = DAPT_QK_NORM_HEAD,
        .names = {LLAMA_ENDS, LLAMA_QKV, LLAMA_MLP, GEMMA_NORMS,
                  [DAPT_SLOT_Q_NORM] = "layers.%u.self_attn.q_norm.weight",
                  [DAPT_SLOT_K_NORM] = "layers.%u.self_attn.k_norm.weight"},
    },
    {   // checked with transformers 5.12.1
        .type = "bert", .architecture = "BertForMaskedLM", BERT_PARTS,
        .prefix = "bert.", .head_prefix = "cls.predictions.",
        .names = {BERT_NAMES,
                  [DAPT_SLOT_HEAD_DENSE] = "transform.dense.weight",
                  [DAPT_SLOT_HEAD_DENSE_BIAS] = "transform.dense.bias",
                  [DAPT_SLOT_HEAD_NORM] = "transform.LayerNorm.weight",
                  [DAPT_SLOT_HEAD_NORM_BIAS] = "transform.LayerNorm.bias"},
    },
    {   // checked with transformers 5.12.1
        .type = "roberta", .architecture = "RobertaForMaskedLM", BERT_PARTS,
        .pad = 1, .head_activation = "gelu", .prefix = "roberta.", .head_prefix = "lm_head.",
        .names = {BERT_NAMES,
                  [DAPT_SLOT_HEAD_DENSE] = "dense.weight",
                  [DAPT_SLOT_HEAD_DENSE_BIAS] = "dense.bias",
                  [DAPT_SLOT_HEAD_NORM] = "layer_norm.weight",
                  [DAPT_SLOT_HEAD_NORM_BIAS] = "layer_norm.bias"},
    },
};
// clang-format on

// A model of ours inside of something else, and how to get at it (transformers 5.12.1).
static enum dapt_status fail_wrapped(const char *type) {
    if (strcmp(type, "gemma3") != 0) return DAPT_OK;
    return dapt_fail(
        DAPT_ERROR_UNSUPPORTED,
        "model_type \"gemma3\" reads images too, which is not built; its text part is a "
        "\"gemma3_text\" model, which Python with transformers takes out: "
        "m = AutoModelForImageTextToText.from_pretrained(FOLDER); "
        "t = Gemma3ForCausalLM(m.config.text_config); "
        "t.model, t.lm_head = m.model.language_model, m.lm_head; "
        "t.save_pretrained(TEXT)");
}

const struct dapt_family *dapt_family_find(const char *type) {
    for (size_t i = 0; i < sizeof families / sizeof *families; i++)
        if (strcmp(families[i].type, type) == 0) return &families[i];
    if (fail_wrapped(type)) return NULL;
    char known[512];
    size_t used = 0;
    for (size_t i = 0; i < sizeof families / sizeof *families && used < sizeof known; i++)
        used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "",
                                 families[i].type);
    dapt_fail(DAPT_ERROR_UNSUPPORTED, "model_type \"%.64s\" is not known; known are %s", type,
              known);
    return NULL;
}
