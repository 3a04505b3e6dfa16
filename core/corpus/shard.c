// Tokens in a file that is mapped. The trailer stands at the end, so that a shard is written in one
// go.
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/threads.h"
#include "corpus/internal.h"

static const char shard_magic[8] = {'d', 'a', 'p', 't', 't', 'o', 'k', '\n'};
static const uint32_t shard_version = 1;
static const size_t block_size = 4u << 20;  // bytes of tokens that one hash covers
static const size_t section_align = 64;

static uint64_t block_count(uint64_t bytes) {
    return bytes / block_size + (bytes % block_size != 0);
}

static uint64_t aligned(uint64_t offset) {
    return (offset + section_align - 1) / section_align * section_align;
}

// ----------------------------------------------------------------------------------------- reading

static bool hash_equal(struct dapt_hash a, struct dapt_hash b) {
    return a.low == b.low && a.high == b.high;
}

// The trailer's own numbers must describe exactly this file; every sum is checked before it is
// formed.
static bool trailer_fits(const struct dapt_shard_trailer *t, uint64_t size) {
    const struct dapt_shard_counts *c = &t->counts;
    uint64_t tokens, documents, blocks, files, at;
    if (memcmp(t->magic, shard_magic, sizeof t->magic) || t->version != shard_version ||
        t->size != size || (t->token_size != 2 && t->token_size != 4) ||
        !hash_equal(t->trailer, dapt_hash_bytes(t, offsetof(struct dapt_shard_trailer, trailer))))
        return false;
    if (__builtin_mul_overflow(c->tokens, t->token_size, &tokens) || tokens > size ||
        __builtin_mul_overflow(c->documents, sizeof(struct dapt_shard_document), &documents) ||
        documents > size || __builtin_mul_overflow(c->files, sizeof(uint32_t), &files) ||
        files > size)
        return false;
    blocks = block_count(tokens) * sizeof(struct dapt_hash);
    at = aligned(tokens);
    bool fits = t->documents_at == at;
    at = aligned(at + documents);
    fits = fits && t->blocks_at == at;
    at = aligned(at + blocks);
    fits = fits && t->files_at == at;
    return fits && aligned(at + files) + sizeof *t == size;
}

struct verification {
    const uint8_t *tokens;
    uint64_t bytes;
    const struct dapt_hash *blocks;
    uint32_t token_size, vocab;
};

static enum dapt_status verify_block(void *context, size_t item, unsigned worker) {
    const struct verification *v = context;
    const uint8_t *block = v->tokens + item * block_size;
    uint64_t rest = v->bytes - item * block_size;
    size_t size = rest < block_size ? (size_t)rest : block_size;
    (void)worker;
    if (!hash_equal(dapt_hash_bytes(block, size), v->blocks[item]))
        return dapt_fail(DAPT_ERROR_INVALID, "block %zu of its tokens is damaged", item);
    uint32_t highest = 0;
    if (v->token_size == 2)
        for (size_t i = 0; i < size / 2; i++)
            highest = ((const uint16_t *)block)[i] > highest ? ((const uint16_t *)block)[i]
                                                             : highest;
    else
        for (size_t i = 0; i < size / 4; i++)
            highest = ((const uint32_t *)block)[i] > highest ? ((const uint32_t *)block)[i]
                                                             : highest;
    if (size && highest >= v->vocab)
        return dapt_fail(DAPT_ERROR_INVALID, "it holds id %u, beyond the vocabulary of %u", highest,
                         v->vocab);
    return DAPT_OK;
}

static enum dapt_status check_documents(const struct dapt_shard *shard) {
    uint64_t end = 0;
    uint32_t file = 0;
    for (uint64_t d = 0; d < shard->counts.documents; d++) {
        const struct dapt_shard_document *document = &shard->documents[d];
        if (document->end < end || document->file < file || document->file >= shard->counts.files)
            return dapt_fail(DAPT_ERROR_INVALID, "its document %llu is out of order",
                             (unsigned long long)d);
        end = document->end;
        file = document->file;
    }
    if (end != shard->counts.tokens)
        return dapt_fail(DAPT_ERROR_INVALID, "its documents do not cover its tokens");
    return DAPT_OK;
}

static enum dapt_status check_shard(struct dapt_shard *shard, struct dapt_hash key, uint32_t vocab,
                                    bool verify, unsigned threads) {
    struct dapt_shard_trailer trailer;
    const struct dapt_map *map = &shard->map;
    if (map->size < sizeof trailer) return dapt_fail(DAPT_ERROR_INVALID, "it is cut off");
    memcpy(&trailer, map->data + map->size - sizeof trailer, sizeof trailer);
    if (!trailer_fits(&trailer, map->size))
        return dapt_fail(DAPT_ERROR_INVALID, "its trailer is damaged, or it is cut off");
    if (!hash_equal(trailer.key, key) || trailer.vocab != vocab)
        return dapt_fail(DAPT_ERROR_INVALID, "it was made from something else");
    if (!hash_equal(trailer.tables,
                    dapt_hash_bytes(map->data + trailer.documents_at,
                                    map->size - sizeof trailer - trailer.documents_at)))
        return dapt_fail(DAPT_ERROR_INVALID, "its tables are damaged");
    shard->tokens = map->data;
    shard->token_size = trailer.token_size;
    shard->documents = (const struct dapt_shard_document *)(map->data + trailer.documents_at);
    shard->file_entry = (const uint32_t *)(map->data + trailer.files_at);
    shard->counts = trailer.counts;
    shard->content = trailer.tables;  // the hashes of the tokens are among the tables
    enum dapt_status status = check_documents(shard);
    if (status || !verify) return status;
    struct verification v = {.tokens = map->data,
                             .bytes = trailer.counts.tokens * trailer.token_size,
                             .blocks = (const struct dapt_hash *)(map->data + trailer.blocks_at),
                             .token_size = trailer.token_size,
                             .vocab = vocab};
    return dapt_parallel(threads, block_count(v.bytes), verify_block, &v);
}

bool dapt_shard_peek(const char *path, struct dapt_hash key, struct dapt_shard_counts *counts) {
    struct dapt_shard_trailer trailer;
    struct dapt_map map;
    if (dapt_map_open(path, &map)) return false;
    bool whole = map.size >= sizeof trailer;
    if (whole) memcpy(&trailer, map.data + map.size - sizeof trailer, sizeof trailer);
    whole = whole && trailer_fits(&trailer, map.size) && hash_equal(trailer.key, key);
    if (whole) *counts = trailer.counts;
    dapt_map_close(&map);
    return whole;
}

enum dapt_status dapt_shard_open(const char *path, struct dapt_hash key, uint32_t vocab,
                                 bool verify, unsigned threads, struct dapt_shard *shard) {
    *shard = (struct dapt_shard){0};
    dapt_lock_share(path, &shard->lock);
    enum dapt_status status = dapt_map_open(path, &shard->map);
    if (!status) status = check_shard(shard, key, vocab, verify, threads);
    if (status) {
        dapt_fail_in(status, "%s", path);
        dapt_shard_close(shard);
    }
    return status;
}

void dapt_shard_close(struct dapt_shard *shard) {
    dapt_map_close(&shard->map);
    dapt_lock_release(&shard->lock);
    *shard = (struct dapt_shard){0};
}

// ----------------------------------------------------------------------------------------- writing

struct dapt_shard_writer {
    struct dapt_writer *file;
    uint8_t *block;     // tokens not yet written
    size_t block_used;  // bytes
    struct dapt_hash *blocks;
    size_t block_count, block_capacity;
    struct dapt_shard_document *documents;
    size_t document_count, document_capacity;
    struct dapt_hasher *tables;
    uint64_t written;  // bytes
    struct dapt_shard_trailer trailer;
};

enum dapt_status dapt_shard_writer_open(const char *path, struct dapt_hash key, uint32_t vocab,
                                        struct dapt_shard_writer **writer) {
    struct dapt_shard_writer *w = *writer = dapt_alloc(1, sizeof *w);
    if (!w) return DAPT_ERROR_MEMORY;
    memcpy(w->trailer.magic, shard_magic, sizeof shard_magic);
    w->trailer.version = shard_version;
    w->trailer.token_size = vocab <= 65536 ? 2 : 4;
    w->trailer.key = key;
    w->trailer.vocab = vocab;
    w->block = dapt_alloc_aligned(block_size, 1);
    enum dapt_status status = w->block ? DAPT_OK : DAPT_ERROR_MEMORY;
    if (!status) status = dapt_hasher_create(&w->tables);
    if (!status) status = dapt_writer_open(path, &w->file);
    if (status) dapt_shard_writer_abort(writer);
    return status;
}

static enum dapt_status flush_block(struct dapt_shard_writer *w) {
    if (w->block_used == 0) return DAPT_OK;
    enum dapt_status status = dapt_grow(&w->blocks, &w->block_capacity, w->block_count + 1,
                                        sizeof *w->blocks);
    if (!status) status = dapt_writer_write(w->file, w->block, w->block_used);
    if (status) return status;
    w->blocks[w->block_count++] = dapt_hash_bytes(w->block, w->block_used);
    w->written += w->block_used;
    w->block_used = 0;
    return DAPT_OK;
}

enum dapt_status dapt_shard_writer_add(struct dapt_shard_writer *w, const uint32_t *ids,
                                       size_t count, uint64_t bytes, uint32_t file,
                                       uint64_t record) {
    enum dapt_status status = dapt_grow(&w->documents, &w->document_capacity, w->document_count + 1,
                                        sizeof *w->documents);
    if (status) return status;
    size_t size = w->trailer.token_size;
    for (size_t i = 0; i < count;) {
        size_t room = (block_size - w->block_used) / size,
               run = count - i < room ? count - i : room;
        uint8_t *to = w->block + w->block_used;
        if (size == 4)
            memcpy(to, ids + i, run * size);
        else
            for (size_t k = 0; k < run; k++) ((uint16_t *)to)[k] = (uint16_t)ids[i + k];
        i += run;
        w->block_used += run * size;
        if (w->block_used == block_size && (status = flush_block(w))) return status;
    }
    w->trailer.counts.tokens += count;
    w->trailer.counts.bytes += bytes;
    w->documents[w->document_count++] = (struct dapt_shard_document){
        .end = w->trailer.counts.tokens,
        .bytes = bytes,
        .file = file,
        .record = record < UINT32_MAX ? (uint32_t)record : UINT32_MAX};
    return DAPT_OK;
}

// Writes up to the next section's start; what belongs to the tables goes into their hash.
static enum dapt_status write_section(struct dapt_shard_writer *w, const void *data, size_t size,
                                      bool table) {
    static const uint8_t zeros[64] = {0};
    size_t padding = (size_t)(aligned(w->written + size) - w->written - size);
    enum dapt_status status = dapt_writer_write(w->file, data, size);
    if (!status) status = dapt_writer_write(w->file, zeros, padding);
    if (table) {
        dapt_hasher_add(w->tables, data, size);
        dapt_hasher_add(w->tables, zeros, padding);
    }
    w->written += size + padding;
    return status;
}

static enum dapt_status write_tables(struct dapt_shard_writer *w, const uint32_t *file_entry) {
    struct dapt_shard_trailer *t = &w->trailer;
    enum dapt_status status = flush_block(w);
    if (!status) status = write_section(w, "", 0, false);
    t->documents_at = w->written;
    if (!status)
        status = write_section(w, w->documents, w->document_count * sizeof *w->documents, true);
    t->blocks_at = w->written;
    if (!status) status = write_section(w, w->blocks, w->block_count * sizeof *w->blocks, true);
    t->files_at = w->written;
    if (!status) status = write_section(w, file_entry, t->counts.files * sizeof *file_entry, true);
    if (status) return status;
    t->size = w->written + sizeof *t;
    t->tables = dapt_hasher_value(w->tables);
    t->trailer = dapt_hash_bytes(t, offsetof(struct dapt_shard_trailer, trailer));
    return dapt_writer_write(w->file, t, sizeof *t);
}

enum dapt_status dapt_shard_writer_commit(struct dapt_shard_writer **writer,
                                          const struct dapt_shard_counts *counts,
                                          const uint32_t *file_entry) {
    struct dapt_shard_writer *w = *writer;
    w->trailer.counts.files = counts->files;
    w->trailer.counts.bad = counts->bad;
    w->trailer.counts.empty = counts->empty;
    w->trailer.counts.documents = w->document_count;
    enum dapt_status status = write_tables(w, file_entry);
    if (!status) status = dapt_writer_commit(&w->file);
    dapt_shard_writer_abort(writer);
    return status;
}

void dapt_shard_writer_abort(struct dapt_shard_writer **writer) {
    struct dapt_shard_writer *w = *writer;
    if (!w) return;
    dapt_writer_abort(&w->file);
    dapt_hasher_destroy(&w->tables);
    free(w->documents);
    free(w->blocks);
    free(w->block);
    free(w);
    *writer = NULL;
}
