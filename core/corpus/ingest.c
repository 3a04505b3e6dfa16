// Reading and tokenising, side by side, into a shard in order.
//
// Each thread takes the first file in order that nobody reads just now, reads its next block of
// documents, lets the file go and tokenises the block; so the files of a folder and the blocks of
// one large file are worked on alike. Blocks stand in their file's queue from before they are read;
// whoever finishes one writes out what is ready at the head of the first file. All that depends on
// order (the tokens, the counts, which error comes first) is decided there, and so does not depend
// on the threads.
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crash.h"
#include "base/threads.h"
#include "base/utf8.h"
#include "corpus/internal.h"

static const size_t block_text = 1u << 20;  // bytes of text after which a block is full
static const size_t block_documents = 4096;

struct piece {
    size_t begin, length;  // of the block's text
    uint64_t record;
    size_t ids;       // how many
    const char *bad;  // why it is not taken; in the block's arena
    bool empty;
};

struct block {
    struct block *next;
    struct dapt_arena arena;
    struct dapt_string text;
    struct piece *pieces;
    size_t count, capacity;
    struct dapt_ids ids;
    enum dapt_status status;  // what ends everything when this block's turn comes
    const char *reason;
    bool done;
};

struct reading {
    void *handle;
    uint64_t record;      // the last one that was told
    uint64_t bad_record;  // of the last failure, to notice a source that does not move on
    bool busy, opened, ended, failed;
    struct block *head, *tail;  // not yet written
};

struct ingest {
    const struct dapt_inputs *inputs;
    struct dapt_shard_writer *writer;
    struct dapt_shard_counts *counts;
    struct reading *readings;  // of each file
    size_t first;              // file whose turn it is to be written
    size_t blocks, block_limit, window;
    bool writing, stop;
    uint64_t records, tokens, bytes, warned;
    double start, told;  // dapt_seconds
    pthread_mutex_t lock;
    pthread_cond_t changed;
};

static void block_free(struct block *block) {
    if (!block) return;
    dapt_arena_free(&block->arena);
    dapt_string_free(&block->text);
    dapt_ids_free(&block->ids);
    free(block->pieces);
    free(block);
}

// Keeps this thread's reason until the block's turn.
static void block_fail(struct block *block, enum dapt_status status) {
    const char *reason = dapt_error();
    block->status = status;
    block->reason = dapt_arena_copy(&block->arena, reason, strlen(reason));
}

// ----------------------------------------------------------------------------------------- reading

static const struct dapt_source_1 *source_of(const struct dapt_corpus_file *file) {
    return file->source->implementation;
}

static struct dapt_call call_of(const struct dapt_corpus_file *file, const char *function,
                                uint64_t record) {
    return (struct dapt_call){.module = file->module,
                              .kind = "source",
                              .id = file->source->id,
                              .function = function,
                              .file = file->path,
                              .record = record,
                              .after = true};
}

static enum dapt_status open_source(const struct dapt_corpus_file *file, void **handle) {
    const struct dapt_call call = call_of(file, "open", 0), *before = dapt_call_note(&call);
    dapt_fail(DAPT_ERROR_INTERNAL, "source '%s' gave no reason", file->source->id);
    enum dapt_status status = source_of(file)->open(dapt_host(), file->options, file->path, handle);
    dapt_call_note(before);
    return status;
}

static void close_source(const struct dapt_corpus_file *file, struct reading *reading) {
    const struct dapt_call call = call_of(file, "close", reading->record),
                           *before = dapt_call_note(&call);
    source_of(file)->close(reading->handle);
    dapt_call_note(before);
    reading->opened = false;
}

// The next document, or what is wrong: what a source may not return is an error of its own.
static enum dapt_status next_document(const struct dapt_corpus_file *file, struct reading *reading,
                                      struct dapt_document *document) {
    const struct dapt_call call = call_of(file, "next", reading->record),
                           *before = dapt_call_note(&call);
    *document = (struct dapt_document){0};
    dapt_fail(DAPT_ERROR_INTERNAL, "source '%s' gave no reason", file->source->id);
    enum dapt_status status = source_of(file)->next(reading->handle, document);
    dapt_call_note(before);
    if (document->record) reading->record = document->record;
    if (status > DAPT_END || status < DAPT_ERROR_CANCELLED)
        return dapt_fail(DAPT_ERROR_INTERNAL,
                         "source \"%s\" (%s): next returned %d, which is no status",
                         file->source->id, file->module ? file->module : "?", (int)status);
    if (status == DAPT_OK && !document->text && document->length)
        return dapt_fail(DAPT_ERROR_INTERNAL,
                         "source \"%s\" (%s): next gave a document of %zu bytes without its text",
                         file->source->id, file->module ? file->module : "?", document->length);
    return status;
}

static enum dapt_status add_piece(struct block *block, const struct dapt_document *document,
                                  const char *bad) {
    enum dapt_status status = dapt_grow(&block->pieces, &block->capacity, block->count + 1,
                                        sizeof *block->pieces);
    if (status) return status;
    struct piece *piece = &block->pieces[block->count];
    *piece = (struct piece){.begin = block->text.length, .record = document->record};
    if (bad) {
        piece->bad = dapt_arena_copy(&block->arena, bad, strlen(bad));
        status = piece->bad ? DAPT_OK : DAPT_ERROR_MEMORY;
    } else {
        piece->length = document->length;
        status = dapt_string_add(&block->text, document->text, document->length);
    }
    block->count += !status;
    return status;
}

static enum dapt_status fail_in_file(enum dapt_status status, const char *path) {
    return strstr(dapt_error(), path) ? status : dapt_fail_in(status, "%s", path);
}

// DAPT_END at the file's end. A failure ends the file and, when its turn comes, the run.
static enum dapt_status read_block(const struct dapt_corpus_file *file, struct reading *reading,
                                   struct block *block) {
    enum dapt_status status = DAPT_OK;
    if (!reading->opened) {
        status = open_source(file, &reading->handle);
        reading->opened = !status;
        if (status) return fail_in_file(status, file->path);
    }
    while (!status && block->text.length < block_text && block->count < block_documents) {
        struct dapt_document document;
        status = next_document(file, reading, &document);
        if (status == DAPT_OK) {
            reading->failed = false;
            status = add_piece(block, &document, NULL);
        } else if (status == DAPT_ERROR_INVALID &&
                   !(reading->failed && reading->bad_record == document.record)) {
            reading->failed = true;
            reading->bad_record = document.record;
            status = add_piece(block, &document, dapt_error());
        }
    }
    return status < 0 ? fail_in_file(status, file->path) : status;
}

// -------------------------------------------------------------------------------------- tokenising

static bool is_blank(const char *text, size_t length) {
    size_t i = 0;
    while (i < length && memchr(" \t\n\v\f\r", text[i], 6)) i++;
    return i == length;
}

static enum dapt_status check_text(const char *text, size_t length) {
    size_t valid = dapt_utf8_check(text, length);
    const char *nul = memchr(text, 0, valid);
    if (nul)
        return dapt_fail(DAPT_ERROR_INVALID, "is not text: a NUL at byte %zu",
                         (size_t)(nul - text));
    if (valid < length)
        return dapt_fail(DAPT_ERROR_INVALID, "is not UTF-8: byte %zu is 0x%02x", valid,
                         (unsigned char)text[valid]);
    return DAPT_OK;
}

static enum dapt_status encode(const struct dapt_corpus_options *options, unsigned worker,
                               const char *path, const struct piece *piece, const char *text,
                               struct dapt_ids *ids) {
    uint32_t flags = options->special ? DAPT_ENCODE_SPECIAL : 0;
    struct dapt_call call = dapt_tokenizer_call(options->tokenizer, "encode");
    call.file = path;
    call.record = piece->record;
    const struct dapt_call *before = dapt_call_note(&call);
    enum dapt_status status = dapt_tokenizer_encode_on(options->tokenizer, worker, text,
                                                       piece->length, flags, ids);
    dapt_call_note(before);
    return status;
}

static enum dapt_status tokenise(const struct dapt_corpus_options *options, unsigned worker,
                                 const char *path, struct block *block) {
    int64_t eos = dapt_tokenizer_special(options->tokenizer, DAPT_SPECIAL_EOS);
    struct dapt_ids *ids = &block->ids;
    const char *all = block->text.data ? block->text.data : "";
    for (size_t i = 0; i < block->count; i++) {
        struct piece *piece = &block->pieces[i];
        const char *text = all + piece->begin;
        if (piece->bad) continue;
        if (is_blank(text, piece->length)) {
            piece->empty = true;
            continue;
        }
        size_t before = ids->count;
        enum dapt_status status = check_text(text, piece->length);
        if (!status) status = encode(options, worker, path, piece, text, ids);
        if (!status && eos >= 0 &&
            (ids->count == before || ids->ids[ids->count - 1] != (uint32_t)eos)) {
            status = dapt_grow(&ids->ids, &ids->capacity, ids->count + 1, sizeof *ids->ids);
            if (!status) ids->ids[ids->count++] = (uint32_t)eos;
        }
        if (status == DAPT_ERROR_INVALID) {
            ids->count = before;
            piece->bad = dapt_arena_copy(&block->arena, dapt_error(), strlen(dapt_error()));
            status = piece->bad ? DAPT_OK : DAPT_ERROR_MEMORY;
        }
        if (status) return status;
        piece->ids = ids->count - before;
        piece->empty = !piece->bad && piece->ids == 0;
    }
    return DAPT_OK;
}

// ----------------------------------------------------------------------------------------- writing

bool dapt_too_many_bad(uint64_t bad, uint64_t records, double share) {
    return (double)bad > share * (double)records;
}

// " (KEY allows 5 % of the records to be bad)"; nothing where no key does.
static const char *allowance(const struct dapt_corpus_options *options, char text[128]) {
    text[0] = '\0';
    if (options->skip_errors_key)
        snprintf(text, 128, " (%s allows %g %% of the records to be bad)", options->skip_errors_key,
                 100 * options->skip_errors);
    return text;
}

static enum dapt_status take_bad(struct ingest *in, const char *path, const struct piece *piece) {
    double share = in->inputs->options->skip_errors;
    char place[32] = "", text[128];
    if (piece->record) snprintf(place, sizeof place, ":%llu", (unsigned long long)piece->record);
    in->counts->bad++;
    // Few records are no sample: before the end, as many may be bad as of a thousand.
    if (dapt_too_many_bad(in->counts->bad, in->records < 1000 ? 1000 : in->records, share))
        return dapt_fail(DAPT_ERROR_INVALID, "%s%s: %s%s", path, place, piece->bad,
                         allowance(in->inputs->options, text));
    if (in->warned++ < 5) dapt_log(DAPT_LOG_WARNING, "%s%s: %s; left out", path, place, piece->bad);
    return DAPT_OK;
}

// The document that passes the limit is cut there; of its bytes go as many along, in proportion.
static enum dapt_status write_document(struct ingest *in, const struct piece *piece,
                                       const uint32_t *ids) {
    uint64_t limit = in->inputs->options->max_tokens, tokens = piece->ids, bytes = piece->length;
    if (limit && tokens > limit - in->tokens) {
        tokens = limit - in->tokens;
        bytes = (uint64_t)((double)bytes * (double)tokens / (double)piece->ids + 0.5);
    }
    in->tokens += tokens;
    in->bytes += bytes;
    return dapt_shard_writer_add(in->writer, ids, (size_t)tokens, bytes, (uint32_t)in->first,
                                 piece->record);
}

static enum dapt_status write_block(struct ingest *in, const struct block *block) {
    const char *path = in->inputs->files[in->first].path;
    const uint32_t *ids = block->ids.ids;
    uint64_t limit = in->inputs->options->max_tokens;
    enum dapt_status status = DAPT_OK;
    for (size_t i = 0; i < block->count && !status && !(limit && in->tokens >= limit); i++) {
        const struct piece *piece = &block->pieces[i];
        in->records++;
        if (piece->bad) {
            status = take_bad(in, path, piece);
        } else if (piece->empty) {
            in->counts->empty++;
        } else {
            status = write_document(in, piece, ids);
            ids += piece->ids;
        }
    }
    if (!status && block->status && !(limit && in->tokens >= limit))
        status = dapt_fail(block->status, "%s", block->reason ? block->reason : "no memory");
    return status;
}

static void tell_progress(struct ingest *in) {
    char line[256];
    double now = dapt_seconds();
    if (now - in->told < 0.2) return;
    in->told = now;
    const char *name = in->inputs->options->name;
    double megabytes = 1e-6 * (double)in->bytes;
    snprintf(line, sizeof line,
             "%s%stokenising: file %zu of %zu, %.0f MB, %.1f MB/s, %.1f M tokens", name ? name : "",
             name ? ": " : "", in->first + 1, in->inputs->count, megabytes,
             megabytes / (now - in->start), 1e-6 * (double)in->tokens);
    dapt_log_status(line);
}

// Writes what is ready, unless another thread is at it. Called and left with the lock held.
static enum dapt_status write_ready(struct ingest *in) {
    enum dapt_status status = DAPT_OK;
    if (in->writing) return DAPT_OK;
    in->writing = true;
    while (in->first < in->inputs->count && !in->stop) {
        struct reading *reading = &in->readings[in->first];
        struct block *block = reading->head;
        if (!block && reading->ended) {
            in->first++;
            continue;
        }
        if (!block || !block->done) break;
        pthread_mutex_unlock(&in->lock);
        status = write_block(in, block);
        if (!status) tell_progress(in);
        pthread_mutex_lock(&in->lock);
        reading->head = block->next;
        if (!reading->head) reading->tail = NULL;
        in->blocks--;
        block_free(block);
        uint64_t limit = in->inputs->options->max_tokens;
        if (status || (limit && in->tokens >= limit)) in->stop = true;
        pthread_cond_broadcast(&in->changed);
    }
    in->writing = false;
    pthread_cond_broadcast(&in->changed);
    return status;
}

// ----------------------------------------------------------------------------------------- threads

// The file to read from next, or the count of files when there is none just now; `*over` when there
// will be none.
static size_t next_file(const struct ingest *in, bool *over) {
    size_t count = in->inputs->count,
           end = in->first + in->window < count ? in->first + in->window : count;
    *over = true;
    for (size_t i = in->first; i < end; i++) {
        const struct reading *reading = &in->readings[i];
        if (reading->ended) continue;
        *over = false;
        // What comes first is always let in, lest everyone waits for it.
        if (!reading->busy && (in->blocks < in->block_limit || (i == in->first && !reading->head)))
            return i;
    }
    *over = *over && end == count;
    return count;
}

static enum dapt_status work_block(struct ingest *in, size_t index, unsigned worker) {
    struct reading *reading = &in->readings[index];
    struct block *block = dapt_alloc(1, sizeof *block);
    if (!block) return DAPT_ERROR_MEMORY;
    reading->busy = true;
    in->blocks++;
    if (reading->tail)
        reading->tail->next = block;
    else
        reading->head = block;
    reading->tail = block;
    pthread_mutex_unlock(&in->lock);
    enum dapt_status status = read_block(&in->inputs->files[index], reading, block);
    if (status < 0) block_fail(block, status);
    if (status && reading->opened) close_source(&in->inputs->files[index], reading);
    pthread_mutex_lock(&in->lock);
    reading->busy = false;
    reading->ended = status != DAPT_OK;
    pthread_cond_broadcast(&in->changed);
    pthread_mutex_unlock(&in->lock);
    enum dapt_status tokenised = tokenise(in->inputs->options, worker,
                                          in->inputs->files[index].path, block);
    if (tokenised) block_fail(block, tokenised);
    dapt_string_free(&block->text);
    pthread_mutex_lock(&in->lock);
    block->done = true;
    return write_ready(in);
}

static enum dapt_status run_worker(void *context, size_t item, unsigned worker) {
    struct ingest *in = context;
    enum dapt_status status = DAPT_OK;
    bool over = false;
    (void)item;
    pthread_mutex_lock(&in->lock);
    while (!in->stop && !status) {
        size_t index = next_file(in, &over);
        if (dapt_cancelled())
            status = dapt_fail(DAPT_ERROR_CANCELLED, "stopped on request");
        else if (index < in->inputs->count)
            status = work_block(in, index, worker);
        else if (over)
            break;
        else
            pthread_cond_wait(&in->changed, &in->lock);
    }
    in->stop = in->stop || status;
    pthread_cond_broadcast(&in->changed);
    pthread_mutex_unlock(&in->lock);
    return status;
}

static void free_readings(struct ingest *in) {
    for (size_t i = 0; in->readings && i < in->inputs->count; i++) {
        struct reading *reading = &in->readings[i];
        if (reading->opened) close_source(&in->inputs->files[i], reading);
        for (struct block *block = reading->head, *next; block; block = next) {
            next = block->next;
            block_free(block);
        }
    }
    free(in->readings);
}

enum dapt_status dapt_ingest(const struct dapt_inputs *inputs, struct dapt_shard_writer *writer,
                             struct dapt_shard_counts *counts) {
    const struct dapt_corpus_options *options = inputs->options;
    unsigned threads = options->threads ? options->threads : dapt_processors();
    struct ingest in = {.inputs = inputs,
                        .writer = writer,
                        .counts = counts,
                        .block_limit = 4 * (size_t)threads,
                        .window = threads,
                        .start = dapt_seconds()};
    in.told = in.start;
    *counts = (struct dapt_shard_counts){.files = inputs->count};
    in.readings = dapt_alloc(inputs->count + 1, sizeof *in.readings);
    enum dapt_status status = in.readings ? dapt_tokenizer_prepare(options->tokenizer, threads)
                                          : DAPT_ERROR_MEMORY;
    pthread_mutex_init(&in.lock, NULL);
    pthread_cond_init(&in.changed, NULL);
    if (!status) status = dapt_parallel(threads, threads, run_worker, &in);
    dapt_log_status(NULL);
    pthread_cond_destroy(&in.changed);
    pthread_mutex_destroy(&in.lock);
    free_readings(&in);
    if (!status && dapt_too_many_bad(counts->bad, in.records, options->skip_errors)) {
        char text[128];
        status = dapt_fail(DAPT_ERROR_INVALID, "%llu of %llu records are bad%s",
                           (unsigned long long)counts->bad, (unsigned long long)in.records,
                           allowance(options, text));
    }
    if (!status && in.warned > 5)
        dapt_log(DAPT_LOG_WARNING, "%llu more bad records were left out",
                 (unsigned long long)(in.warned - 5));
    return status;
}
