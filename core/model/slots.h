// Slots: what each part of a layer needs for its parameters, as a table; and their places in the flat
// buffer.
#ifndef DAPT_MODEL_SLOTS_H
#define DAPT_MODEL_SLOTS_H
#include "model/model.h"

// Lists the parameters of a model whose numbers are read, and lays them out.
enum dapt_status dapt_slots_place(struct dapt_model *model);
#endif
