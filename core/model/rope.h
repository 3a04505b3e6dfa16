// Rotary positions: what a config.json says of them, as transformers 5.12 understands it.
#ifndef DAPT_MODEL_ROPE_H
#define DAPT_MODEL_ROPE_H
#include "base/memory.h"
#include "host/json.h"

// The rotary table of one type of layers.
struct dapt_rope {
    uint32_t size;     // dimensions of a head that turn; 0: none
    float *frequency;  // [size / 2] radians a position
    float scale;       // of cosines and sines (attention_factor); 1: none
    uint32_t limit;    // sequences may not be longer, as other frequencies hold then; 0: no limit
    double theta, factor, original;  // what the frequencies came from; a factor of 1: none
};

struct dapt_rope_options {
    uint32_t head_size, max_positions;
    double theta;  // where the configuration has none; 0: 10000
    // The share of a head that turns where the configuration has none; 0: the family turns whole heads
    // and does not know "partial_rotary_factor".
    double share;
    const char *share_key;  // its name at the top; NULL: "partial_rotary_factor"
    const char *theta_key;  // likewise; NULL: "rope_theta"
    // Of a family that knows no other scaling than longrope: "original_max_position_embeddings" where
    // the top has none. 0: of others
    uint32_t original;
    const char *layer_type;  // "full_attention", "sliding_attention"; NULL: all layers are alike
    bool local;  // of layer_type: what the file does not say by type is said of the other layers
};

// Reads the settings of one type of layers. They stand in "rope_scaling", where that holds anything,
// else in "rope_parameters" (for all layers, or by layer type), else at the top; "rope_theta" at the
// top counts where they have none. A key without which a type is not defined, a type that is not
// built (there are default, linear, dynamic, llama3, yarn, longrope), and a number out of range are
// errors that name the key.
enum dapt_status dapt_rope_read(const struct dapt_json *config,
                                const struct dapt_rope_options *options, struct dapt_arena *arena,
                                struct dapt_rope *rope);
// Fills table [positions, size]: cosines of the pairs, then sines (DAPT_OP_ROPE). Neighbouring
// positions lie `stride` elements apart.
void dapt_rope_table(const struct dapt_rope *rope, uint32_t positions, uint32_t stride,
                     float *table);
#endif
