// What keys of a configuration choose among. The rooms that carry a choice out take these enums;
// config_fields.c has their texts.
#ifndef DAPT_HOST_CHOICES_H
#define DAPT_HOST_CHOICES_H
#include <stdbool.h>
#include <stdint.h>

enum dapt_packing { DAPT_PACK_DOCUMENTS, DAPT_PACK_CONCATENATE };
enum dapt_decay { DAPT_DECAY_MATRICES, DAPT_DECAY_ALL };
enum dapt_recompute { DAPT_RECOMPUTE_NONE, DAPT_RECOMPUTE_BLOCK, DAPT_RECOMPUTE_AUTO };
// How training computes: the float type of activations and of what matmuls multiply. Weights, their
// gradients, the optimizer's state and all sums are float32.
enum dapt_precision {
    DAPT_PRECISION_FLOAT32,
    DAPT_PRECISION_BFLOAT16,
    DAPT_PRECISION_FLOAT16,
    DAPT_PRECISION_COUNT,
    DAPT_PRECISION_AUTO = DAPT_PRECISION_COUNT  // of a configuration alone: as the device says
};
enum dapt_save_dtype { DAPT_SAVE_MODEL, DAPT_SAVE_F32, DAPT_SAVE_BF16, DAPT_SAVE_F16 };
// What a run does once a set has certainly lost more than its budget, beside never calling such a
// checkpoint the best.
enum dapt_on_budget { DAPT_ON_BUDGET_KEEP_BEST, DAPT_ON_BUDGET_STOP, DAPT_ON_BUDGET_RAISE_REPLAY };
enum dapt_objective_kind {
    DAPT_OBJECTIVE_AUTO,  // as the model was made for
    // Each token is predicted from those before it in the same document.
    DAPT_OBJECTIVE_CAUSAL,
    // Some tokens are hidden and predicted from all others of the same document (Devlin et al.
    // 2018): of those chosen 80 % become the mask token, 10 % a random one, 10 % stay as they are.
    DAPT_OBJECTIVE_MASKED
};

// "train.lora": adapters of low rank over a frozen model.
struct dapt_lora {
    uint32_t rank;
    double alpha;
    bool rslora;                 // alpha / root of rank instead of alpha / rank
    const char *const *targets;  // patterns, NULL-terminated; NULL: all matrices of the layers
    double embeddings;           // factor of their learning rate and the head's; 0: frozen
};
#endif
