// A family is a row: which config.json keys it reads, with their defaults; which parts its layers
// have; what its tensors are called.
#ifndef DAPT_MODEL_FAMILIES_H
#define DAPT_MODEL_FAMILIES_H
#include "model/model.h"

enum dapt_bias_rule {
    DAPT_BIAS_NEVER,
    DAPT_BIAS_ALWAYS,
    DAPT_BIAS_CONFIG
};  // CONFIG: as the family's key says

struct dapt_family {
    const char *type;          // "model_type"
    const char *architecture;  // of "architectures", for new models
    // Names of config.json's keys; NULL: the family has no such key.
    struct {
        const char *hidden, *layers, *heads, *kv_heads, *head_size, *feed_forward, *positions, *eps,
            *activation;
        const char *attention_bias, *mlp_bias, *window, *use_window;
    } keys;
    const char *activation;  // defaults of keys that may be absent
    double eps;
    uint32_t positions, head_size;  // head_size 0: hidden / heads
    int32_t window;
    bool tied;
    enum dapt_bias_rule bias_qkv, bias_out, bias_mlp;
    bool layer_norm;                     // mean and bias; otherwise root mean square
    bool learned_positions;              // an embedding of positions; otherwise rotary
    bool input_major;                    // matrices are [in, out]; otherwise [out, in]
    bool gated;                          // down(act(gate x) * up x); otherwise down(act(up x))
    bool qk_norm;                        // a norm over each head of q and k
    const char *prefix;                  // of all names but the head's; files may leave it out
    const char *names[DAPT_SLOT_COUNT];  // "%u" is the layer; NULL: the family has no such tensor
    const char *const
        *buffers;  // endings of names that are no parameters and are left alone; NULL-terminated
};

// NULL with a reason that lists those there are.
const struct dapt_family *dapt_family_find(const char *type);
#endif
