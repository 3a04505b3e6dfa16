// A family is a row: which config.json keys it reads, with their defaults; which parts its layers
// have; what its tensors are called.
#ifndef DAPT_MODEL_FAMILIES_H
#define DAPT_MODEL_FAMILIES_H
#include "model/model.h"

enum dapt_bias_rule {
    DAPT_BIAS_NEVER,
    DAPT_BIAS_ALWAYS,
    DAPT_BIAS_CONFIG,    // as the family's key says; without it: none
    DAPT_BIAS_CONFIG_ON  // likewise; without it: there is one
};

// What the norms of q and k go over.
enum dapt_qk_norm { DAPT_QK_NORM_NONE, DAPT_QK_NORM_HEAD, DAPT_QK_NORM_WHOLE };

struct dapt_family {
    const char *type;          // "model_type"
    const char *architecture;  // of "architectures", for new models
    // Names of config.json's keys; NULL: the family has no such key.
    struct {
        const char *hidden, *layers, *heads, *kv_heads, *head_size, *feed_forward, *positions, *eps,
            *activation;
        const char *attention_bias, *mlp_bias, *window, *use_window;
        const char *parallel;                 // attention and feed-forward read the same stream
        const char *rope_layers;              // [layers] 1: positions turn q and k; 0: they do not
        const char *rope_share, *rope_theta;  // older names (dapt_rope_options)
        const char *local_theta;              // of layers with a window
        const char *window_interval, *attention_cap, *logit_cap;
        const char *query_scale;  // q.k is divided by its root, not by that of the head size
        const char *embedding_scale, *attention_scale, *residual_scale, *logit_divisor;
    } keys;
    const char *activation;       // defaults of keys that may be absent
    const char *head_activation;  // whatever the layers' is; NULL: the same
    double eps;
    uint32_t positions, head_size;  // head_size 0: hidden / heads
    uint32_t kv_heads;              // 0: as many as heads
    double init_range;              // 0: 0.02
    uint32_t feed_forward_factor;   // of the hidden size; 0: the key must be there
    double rope_share, rope_theta;  // as in dapt_rope_options
    double local_theta;             // of layers with a window; 0: they turn as the others do
    uint32_t rope_original;
    uint32_t rope_interval;  // without keys.rope_layers each so-manieth layer does not turn
    int32_t window;          // 0: none
    // Without "layer_types" each so-manieth layer has no window. 0: all layers are alike.
    uint32_t window_interval;
    double query_scale, attention_cap, logit_cap;  // a softcap of 0: none
    float norm_offset;                             // norms multiply by it and the weight together
    uint32_t types;  // of tokens, "type_vocab_size"; 0: the family has none
    uint32_t pad;    // "pad_token_id", behind which positions begin; 0: they begin at 0
    bool tied, parallel;
    enum dapt_bias_rule bias_qkv, bias_out, bias_mlp;
    bool masked;             // an encoder: every place sees all others
    bool layer_norm;         // mean and bias; otherwise root mean square
    bool learned_positions;  // an embedding of positions; otherwise rotary
    bool input_major;        // matrices are [in, out]; otherwise [out, in]
    bool gated;              // down(act(gate x) * up x); otherwise down(act(up x))
    bool root_embedding;     // embeddings are multiplied by the root of the hidden size
    bool shared_norm;        // parallel layers have one norm before both parts
    bool head_interleaved;   // QKV's rows lie in files by head: q, k, v of the first, ...
    enum dapt_qk_norm qk_norm;
    const char *prefix;                  // of all names but the head's; files may leave it out
    const char *head_prefix;             // NULL: ""
    const char *names[DAPT_SLOT_COUNT];  // "%u" is the layer; NULL: the family has no such tensor
    const char *const
        *buffers;  // endings of names that are no parameters and are left alone; NULL-terminated
};

// NULL with a reason that lists those there are.
const struct dapt_family *dapt_family_find(const char *type);
#endif
