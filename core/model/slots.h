// Slots: what each part of a layer needs for its parameters, as a table; and their places in the flat
// buffer. A slot below is an index into dapt_model.slots.
#ifndef DAPT_MODEL_SLOTS_H
#define DAPT_MODEL_SLOTS_H
#include "model/model.h"

struct dapt_family;
// The slots that dapt_model.slots has room for: those outside of layers, and of each layer.
static inline size_t dapt_slots_count(const struct dapt_model *model) {
    return ((size_t)model->layers + 1) * DAPT_SLOT_COUNT;
}
// What comes before a family's name of a slot in the full name of a tensor.
const char *dapt_slot_prefix(const struct dapt_family *family, enum dapt_slot slot);
// Lists the parameters of a model whose numbers are read, and lays them out.
enum dapt_status dapt_slots_place(struct dapt_model *model);
// Lays them out anew: groups, offsets, counts. After a change of what is trained.
void dapt_slots_lay_out(struct dapt_model *model);
// Whether the parameters of `count` slots from this one on, as far as they are there, are of one group
// and so lie one behind the other where the table has them follow.
bool dapt_slots_together(const struct dapt_model *model, size_t slot, int count);
// Lists the A's and B's of the slots that `targets` [(layers + 1) * DAPT_SLOT_COUNT] marks as further
// parameters, and lays all out anew.
enum dapt_status dapt_slots_adapt(struct dapt_model *model, const bool *targets);
// Whether these parameters lie one behind the other.
bool dapt_slots_adjoin(const struct dapt_model *model, const uint32_t *parameters, int count);
// Whether a pattern (dapt_model_freeze) matches the parameter of a slot.
bool dapt_slot_matches(const struct dapt_model *model, const char *pattern, size_t slot,
                       struct dapt_arena *arena);
// dapt's own name of a slot: "embed", "layers.2.attention.q". In `arena`, or constant; NULL: no memory.
const char *dapt_slot_name(struct dapt_arena *arena, size_t slot);
#endif
