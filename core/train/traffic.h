// What a step would take on several ranks: one formula, for `dapt plan` and for the documentation.
#ifndef DAPT_TRAIN_TRAFFIC_H
#define DAPT_TRAIN_TRAFFIC_H
#include <stdint.h>

// The ranks, evenly on the machines, each with a device like the one that was measured.
struct dapt_traffic_ranks {
    uint32_t ranks, machines;
    double bandwidth;  // bytes a second that leave a machine, and as many that come in meanwhile
    double local;      // bytes a second that a rank gives to others on its machine
    double latency;    // seconds that a message takes from one machine to another
};

// A step of one rank alone.
struct dapt_traffic_step {
    uint64_t trained;  // parameters
    uint32_t wire;     // bytes that a gradient travels in; parameters travel in 4
    uint32_t micros;   // micro-batches of a step
    double micro_seconds, update_seconds;
    double copied;  // bytes a second between the device and host memory
};

struct dapt_traffic {
    uint64_t sent;           // bytes that a rank sends in a step
    double compute_seconds;  // of the rank with the most micro-batches, and its part of the update
    double host_seconds;     // gradients and parameters between device and host memory
    double travel_seconds;   // between ranks
    double step_seconds;     // the sum, though copies overlap in part with what travels
    double efficiency;       // of the tokens a second that the ranks would make each alone
};

// Of n ranks of a machine each gives (n - 1) / n of all gradients, and later of all parameters, to
// the others there; of m machines each gives (m - 1) / m of them to the others (comm/grid.c), in
// buckets.
struct dapt_traffic dapt_traffic_of(const struct dapt_traffic_ranks *ranks,
                                    const struct dapt_traffic_step *step);
#endif
