// A shard of the cache: its hashes are made to fit, so that the numbers behind them are reached; what passes
// is packed, and its batches are filled.
#include <stddef.h>
#include <string.h>

#include "corpus/internal.h"
#include "fuzz.h"

#define MOST (64u << 10)

static void fill_batches(const struct dapt_corpus *corpus, uint32_t vocab) {
    struct dapt_batch *batch;
    FUZZ_CHECK(dapt_batch_create(1, corpus->plan.sequence, &batch) == DAPT_OK);
    for (uint64_t i = 0; i < corpus->plan.drawn && i < 8; i++) {
        uint64_t sequence = dapt_plan_eval(&corpus->plan, i);
        FUZZ_CHECK(sequence < corpus->plan.sequences);
        dapt_batch_fill(corpus, NULL, sequence, DAPT_NO_RUN, 0, batch);
        for (uint32_t k = 0; k < batch->length; k++)
            FUZZ_CHECK((uint32_t)batch->ids[k] < vocab && batch->targets[k] < (int64_t)vocab);
    }
    dapt_batch_destroy(&batch);
}

static void use(const struct dapt_shard *shard, uint32_t vocab, uint32_t sequence,
                enum dapt_packing packing, double weight) {
    struct dapt_data_entry entries[] = {{.path = "a", .weight = weight},
                                        {.path = "b", .weight = 1}};
    const struct dapt_data_list list = {.entries = entries, .count = 2};
    struct dapt_corpus corpus = {.shard = *shard};
    if (dapt_plan_create(shard, &list, sequence, packing, &corpus.plan) == DAPT_OK)
        fill_batches(&corpus, vocab);
    dapt_plan_free(&corpus.plan);
}

static void read_shard(const char *path, const struct dapt_shard_trailer *trailer) {
    struct dapt_shard shard = {0};
    if (dapt_shard_open(path, trailer->key, trailer->vocab, true, 1, &shard)) return;
    fuzz_accept();
    for (uint32_t sequence = 1; sequence < 40; sequence = sequence * 3 + 1) {
        for (int packing = DAPT_PACK_DOCUMENTS; packing <= DAPT_PACK_CONCATENATE; packing++) {
            use(&shard, trailer->vocab, sequence, (enum dapt_packing)packing, 1);
            use(&shard, trailer->vocab, sequence, (enum dapt_packing)packing, 2.5);
        }
    }
    dapt_shard_close(&shard);
}

// One block holds all tokens of so small a file.
static void forge(uint8_t *file, size_t before, struct dapt_shard_trailer *trailer) {
    uint64_t tokens = trailer->counts.tokens * trailer->token_size;
    struct dapt_hash block = dapt_hash_bytes(file, tokens <= before ? tokens : 0);
    trailer->size = before + sizeof *trailer;
    trailer->vocab &= 0xffffff;  // ids are int32
    if (trailer->blocks_at <= before && before - trailer->blocks_at >= sizeof block)
        memcpy(file + trailer->blocks_at, &block, sizeof block);
    if (trailer->documents_at <= before)
        trailer->tables = dapt_hash_bytes(file + trailer->documents_at,
                                          before - trailer->documents_at);
    trailer->trailer = dapt_hash_bytes(trailer, offsetof(struct dapt_shard_trailer, trailer));
    memcpy(file + before, trailer, sizeof *trailer);
}

void fuzz_one(const uint8_t *data, size_t size) {
    static uint8_t file[MOST];
    struct dapt_shard_trailer trailer;
    if (size < sizeof trailer || size > sizeof file) return;
    memcpy(file, data, size);
    memcpy(&trailer, file + size - sizeof trailer, sizeof trailer);
    forge(file, size - sizeof trailer, &trailer);
    read_shard(fuzz_file("a.tokens", file, size), &trailer);
}
