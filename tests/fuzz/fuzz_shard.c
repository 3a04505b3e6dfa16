// A shard of the cache: its hashes are made to fit, so that the numbers behind them are reached.
#include <stddef.h>
#include <string.h>

#include "corpus/internal.h"
#include "fuzz.h"

#define MOST (64u << 10)

static void plan(const struct dapt_shard *shard, uint32_t sequence, enum dapt_packing packing) {
    static const struct dapt_data_entry entry = {.path = "a", .weight = 1};
    const struct dapt_data_list list = {.entries = (struct dapt_data_entry *)&entry, .count = 1};
    struct dapt_plan plan = {0};
    if (dapt_plan_create(shard, &list, sequence, packing, &plan) == DAPT_OK && plan.drawn)
        for (uint64_t i = 0; i < plan.drawn && i < 8; i++) dapt_plan_eval(&plan, i);
    dapt_plan_free(&plan);
}

static void read_shard(const char *path, const struct dapt_shard_trailer *trailer, bool verify) {
    struct dapt_shard shard = {0};
    if (dapt_shard_open(path, trailer->key, trailer->vocab, verify, 1, &shard)) return;
    for (uint32_t sequence = 1; sequence < 40; sequence = sequence * 3 + 1) {
        plan(&shard, sequence, DAPT_PACK_DOCUMENTS);
        plan(&shard, sequence, DAPT_PACK_CONCATENATE);
    }
    dapt_shard_close(&shard);
}

void fuzz_one(const uint8_t *data, size_t size) {
    static uint8_t file[MOST];
    struct dapt_shard_trailer trailer;
    if (size < sizeof trailer || size > sizeof file) return;
    memcpy(file, data, size);
    size_t before = size - sizeof trailer;
    memcpy(&trailer, file + before, sizeof trailer);
    trailer.size = size;
    if (trailer.documents_at <= before)
        trailer.tables = dapt_hash_bytes(file + trailer.documents_at,
                                         before - trailer.documents_at);
    trailer.trailer = dapt_hash_bytes(&trailer, offsetof(struct dapt_shard_trailer, trailer));
    memcpy(file + before, &trailer, sizeof trailer);
    const char *path = fuzz_file("a.tokens", file, size);
    read_shard(path, &trailer, false);
    read_shard(path, &trailer, true);
}
