// Random numbers as a pure function of (seed, stream, index): Philox4x32-10 (Salmon et al. 2011).
// No state, any thread.
#ifndef DAPT_BASE_RNG_H
#define DAPT_BASE_RNG_H
#include <stdint.h>

void dapt_philox(uint64_t key, uint64_t counter_high, uint64_t counter_low, uint32_t out[4]);
uint64_t dapt_random_bits(uint64_t seed, uint64_t stream, uint64_t index);
double dapt_random_uniform(uint64_t seed, uint64_t stream, uint64_t index);  // [0, 1), 53 bits
// mean 0, deviation 1 (Box-Muller)
double dapt_random_normal(uint64_t seed, uint64_t stream, uint64_t index);

// Position `index` of a seeded permutation of 0 .. count-1, computed, not stored: a Feistel network
// over the next power of four, walked until it lands in range (Black and Rogaway 2002). count >= 1,
// index < count.
uint64_t dapt_permute(uint64_t seed, uint64_t stream, uint64_t count, uint64_t index);
#endif
