#include "base/rng.h"

#include <math.h>

// Philox4x32-10: ten rounds of two 32 x 32 -> 64 bit products; the key is advanced by Weyl constants.
void dapt_philox(uint64_t key, uint64_t counter_high, uint64_t counter_low, uint32_t out[4]) {
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
    uint32_t c0 = (uint32_t)counter_low, c1 = (uint32_t)(counter_low >> 32);
    uint32_t c2 = (uint32_t)counter_high, c3 = (uint32_t)(counter_high >> 32);
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53 * c0, p1 = (uint64_t)0xCD9E8D57 * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)p1;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)p0;
        k0 += 0x9E3779B9;
        k1 += 0xBB67AE85;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

uint64_t dapt_random_bits(uint64_t seed, uint64_t stream, uint64_t index) {
    uint32_t out[4];
    dapt_philox(seed, stream, index, out);
    return (uint64_t)out[1] << 32 | out[0];
}

static double unit(uint32_t low, uint32_t high) {
    return (double)(((uint64_t)high << 32 | low) >> 11) * 0x1p-53;
}

double dapt_random_uniform(uint64_t seed, uint64_t stream, uint64_t index) {
    uint32_t out[4];
    dapt_philox(seed, stream, index, out);
    return unit(out[0], out[1]);
}

double dapt_random_normal(uint64_t seed, uint64_t stream, uint64_t index) {
    uint32_t out[4];
    dapt_philox(seed, stream, index, out);
    double u = 1.0 - unit(out[0], out[1]);  // (0, 1]: the logarithm stays finite
    return sqrt(-2.0 * log(u)) * cos(6.283185307179586 * unit(out[2], out[3]));
}

#define ROUNDS 6

uint64_t dapt_permute(uint64_t seed, uint64_t stream, uint64_t count, uint64_t index) {
    unsigned half = 1;  // bits of each half
    while (half < 32 && (count - 1) >> (2 * half)) half++;
    uint64_t mask = (UINT64_C(1) << half) - 1, value = index;
    if (count < 2) return 0;
    do {  // the domain is below four times count: fewer than four turns on average
        uint64_t left = value >> half, right = value & mask;
        for (uint64_t round = 1; round <= ROUNDS; round++) {
            // The round's number stands above the value, where no index of the same stream comes.
            uint64_t mixed = left ^ (dapt_random_bits(seed, stream, round << 56 | right) & mask);
            left = right;
            right = mixed;
        }
        value = left << half | right;
    } while (value >= count);
    return value;
}
