#include "train/traffic.h"

#include "engine/shard.h"

#define PARAM_BYTES 4.0
// A message of a bucket is announced, asked for and sent; each bucket is exchanged, and gathered
// later.
#define LATENCIES (2 * 3.0)

// What a rank copies: it reads all gradients, adds those of its share up (as much memory again),
// writes that, reads its parameters, and writes those of the others.
static double copied_bytes(const struct dapt_traffic_step *step, double ranks) {
    double all = PARAM_BYTES * (double)step->trained;
    return all * (2 + 1 / ranks + 1 / ranks + (ranks - 1) / ranks);
}

struct dapt_traffic dapt_traffic_of(const struct dapt_traffic_ranks *ranks,
                                    const struct dapt_traffic_step *step) {
    double n = ranks->ranks, machines = ranks->machines ? ranks->machines : 1, here = n / machines;
    uint32_t micros = (step->micros + ranks->ranks - 1) / ranks->ranks;
    double alone = step->micros * step->micro_seconds + step->update_seconds;
    struct dapt_traffic t = {
        .compute_seconds = micros * step->micro_seconds + step->update_seconds / n,
        .efficiency = 1,
    };
    if (ranks->ranks > 1) {
        double all = (double)step->trained * (step->wire + PARAM_BYTES);
        double within = (here - 1) / here * all, between = (machines - 1) / machines * all;
        double buckets = (double)((step->trained + DAPT_SHARD_BUCKET - 1) / DAPT_SHARD_BUCKET);
        t.sent = (uint64_t)(within + between / here);
        t.host_seconds = copied_bytes(step, n) / step->copied;
        t.travel_seconds = within / ranks->local;
        if (machines > 1)
            t.travel_seconds += between / ranks->bandwidth + LATENCIES * buckets * ranks->latency;
    }
    t.step_seconds = t.compute_seconds + t.host_seconds + t.travel_seconds;
    if (ranks->ranks > 1) t.efficiency = alone / (n * t.step_seconds);
    return t;
}
