// Whether a device computes what the cpu backend computes: every op of the op table, forward and
// gradient, at a few shapes, and the first steps of a small model.
#ifndef DAPT_DEVICE_PARITY_H
#define DAPT_DEVICE_PARITY_H
#include "dapt/dapt.h"
#include "graph/device.h"

#define DAPT_PARITY_STEPS 20
#define DAPT_PARITY_ROWS (DAPT_OP_COUNT + 3)

struct dapt_parity {
    // "op": one row of each opcode, the worst of its cases; "train": "loss" and "norm", the worst
    // of the steps, and "parameters" after the last one.
    struct dapt_verify_row rows[DAPT_PARITY_ROWS];
    size_t count, failed;
    double seconds;
};

// Compares `device` with `reference`. An error where one of them could not compute; DAPT_OK also
// where rows don't hold: see `failed`.
enum dapt_status dapt_parity_run(struct dapt_device_handle *device,
                                 struct dapt_device_handle *reference, struct dapt_parity *parity);
#endif
