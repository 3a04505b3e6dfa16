// Opening a corpus: from the cache when it holds what is asked for, else made and put there.
//
// The cache holds KEY.tokens, a shard under the hash of everything that decides it, and QUICK.seen:
// for the stamps (size, times, inode) that the inputs had, the key that their content had, and the
// stamp of the shard when all of it was last verified. With it, opening reads no input. A shard of
// at most `always_verified` bytes is verified at each opening; a larger one when its stamp is not
// the one noted, that is after anything wrote to it.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/threads.h"
#include "corpus/internal.h"

#define LOOKED_AT ((uint64_t)1 << 22)  // tokens, for what the tokenizer does not know

static const uint64_t always_verified = 64u << 20;

struct opening {
    const struct dapt_corpus_options *options;
    struct dapt_arena arena;
    struct dapt_inputs inputs;
    const char *cache, *seen_path, *shard_path;
    struct dapt_hash key;
    bool settled;
    struct dapt_stamp verified;  // the shard's, when last verified; zero: never
};

static enum dapt_status find_cache(struct opening *o) {
    enum dapt_status status = dapt_cache_find(o->options->cache, &o->arena, &o->cache);
    return status ? status : dapt_private_dir(o->cache, !o->options->cache);
}

// ----------------------------------------------------------------------------------- what was seen

bool dapt_cache_read_seen(const char *path, struct dapt_hash *hash, struct dapt_stamp *verified) {
    struct dapt_string text = {0};
    char key[33] = "";
    struct dapt_stamp stamp, *s = verified ? verified : &stamp;
    bool good = dapt_is_file(path) && !dapt_file_read(path, 1024, &text) &&
                sscanf(text.data,
                       "dapt-seen 1 %32s %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNd64 " %" SCNd64,
                       key, &s->size, &s->device, &s->inode, &s->modified, &s->changed) == 6 &&
                dapt_hash_parse(key, hash);
    dapt_string_free(&text);
    return good;
}

static void write_seen(struct opening *o) {
    char key[33], line[256];
    struct dapt_stamp s;
    if (!o->settled || !dapt_stamp_read(o->shard_path, &s) || dapt_stamp_equal(&s, &o->verified))
        return;
    dapt_hash_text(o->key, key);
    int length = snprintf(line, sizeof line,
                          "dapt-seen 1 %s %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRId64 " %" PRId64
                          "\n",
                          key, s.size, s.device, s.inode, s.modified, s.changed);
    if (dapt_file_write(o->seen_path, line, (size_t)length))
        dapt_log(DAPT_LOG_DEBUG, "%s", dapt_error());
}

// ---------------------------------------------------------------------------------- from the cache

// True when the cache holds a sound shard for o->key.
static bool open_cached(struct opening *o, struct dapt_shard *shard) {
    const struct dapt_corpus_options *options = o->options;
    struct dapt_stamp stamp;
    o->shard_path = dapt_cache_path(&o->arena, o->cache, o->key, ".tokens");
    if (!o->shard_path || !dapt_stamp_read(o->shard_path, &stamp)) return false;
    bool verify = stamp.size <= always_verified || !dapt_stamp_equal(&stamp, &o->verified);
    if (dapt_shard_open(o->shard_path, o->key, dapt_tokenizer_vocab_size(options->tokenizer),
                        verify, options->threads, shard)) {
        dapt_log(DAPT_LOG_WARNING, "%s; it is made again", dapt_error());
        return false;
    }
    const struct dapt_shard_counts *c = &shard->counts;
    if (!dapt_too_many_bad(c->bad, c->bad + c->empty + c->documents, options->skip_errors))
        return true;
    dapt_shard_close(
        shard);  // it was made when more was allowed; reading again finds the first bad record
    return false;
}

// --------------------------------------------------------------------------------------- made anew

static enum dapt_status check_unchanged(const struct dapt_inputs *inputs) {
    for (size_t i = 0; i < inputs->count; i++) {
        struct dapt_stamp stamp;
        if (!dapt_stamp_read(inputs->files[i].path, &stamp) ||
            !dapt_stamp_equal(&stamp, &inputs->files[i].stamp))
            return dapt_fail(DAPT_ERROR_INVALID, "%s changed while it was read",
                             inputs->files[i].path);
    }
    return DAPT_OK;
}

static enum dapt_status make_shard(struct opening *o, struct dapt_shard *shard) {
    const struct dapt_corpus_options *options = o->options;
    uint32_t vocab = dapt_tokenizer_vocab_size(options->tokenizer);
    struct dapt_shard_writer *writer = NULL;
    struct dapt_shard_counts counts = {0};
    uint32_t *file_entry = dapt_alloc(o->inputs.count + 1, sizeof *file_entry);
    enum dapt_status status = file_entry ? DAPT_OK : DAPT_ERROR_MEMORY;
    for (size_t i = 0; i < o->inputs.count && !status; i++)
        file_entry[i] = o->inputs.files[i].entry;
    if (!status) dapt_cache_sweep(o->cache);
    if (!status) status = dapt_shard_writer_open(o->shard_path, o->key, vocab, &writer);
    if (!status) status = dapt_ingest(&o->inputs, writer, &counts);
    if (!status) status = check_unchanged(&o->inputs);
    if (!status && dapt_cancelled()) status = dapt_fail(DAPT_ERROR_CANCELLED, "stopped on request");
    if (!status) status = dapt_shard_writer_commit(&writer, &counts, file_entry);
    dapt_shard_writer_abort(&writer);
    free(file_entry);
    if (status) return status;
    return dapt_shard_open(o->shard_path, o->key, vocab, false, options->threads, shard);
}

static enum dapt_status open_shard(struct opening *o, const struct dapt_data_list *list,
                                   struct dapt_shard *shard, bool *cached) {
    struct dapt_hash quick;
    enum dapt_status status = dapt_inputs_list(list, o->options, &o->inputs);
    if (!status) status = find_cache(o);
    if (!status) status = dapt_inputs_quick_key(&o->inputs, &quick, &o->settled);
    if (status) return status;
    o->seen_path = dapt_cache_path(&o->arena, o->cache, quick, ".seen");
    if (!o->seen_path) return DAPT_ERROR_MEMORY;
    *cached = dapt_cache_read_seen(o->seen_path, &o->key, &o->verified) && open_cached(o, shard);
    if (*cached) return DAPT_OK;
    o->verified = (struct dapt_stamp){0};
    status = dapt_inputs_choose(&o->inputs);
    if (!status) status = dapt_inputs_key(&o->inputs, &o->key);
    if (status) return status;
    *cached = open_cached(o, shard);
    return *cached ? DAPT_OK : o->shard_path ? make_shard(o, shard) : DAPT_ERROR_MEMORY;
}

// -------------------------------------------------------------------------------------- the corpus

static enum dapt_status plan(struct dapt_corpus *corpus, const struct dapt_data_list *list,
                             const struct dapt_corpus_options *options) {
    const struct dapt_shard_counts *c = &corpus->shard.counts;
    if (c->documents == 0)
        return dapt_fail(DAPT_ERROR_INVALID,
                         "no text in %s%s (records that are empty: %" PRIu64 ", bad: %" PRIu64 ")",
                         list->entries[0].path, list->count > 1 ? " and the others" : "", c->empty,
                         c->bad);
    enum dapt_status status = dapt_plan_create(&corpus->shard, list, options->sequence,
                                               options->packing, &corpus->plan);
    if (!status && corpus->plan.sequences == 0)
        status = dapt_fail(DAPT_ERROR_INVALID,
                           "too little text for one sequence of %u tokens: %" PRIu64,
                           options->sequence, c->tokens);
    return status;
}

// A tokenizer may have more ids than the model, as long as the text needs none of them.
static enum dapt_status check_ids(const struct dapt_corpus *corpus,
                                  const struct dapt_corpus_options *options) {
    const struct dapt_shard *shard = &corpus->shard;
    uint32_t vocab = dapt_tokenizer_vocab_size(options->tokenizer), largest = 0;
    if (options->vocab == 0 || vocab <= options->vocab) return DAPT_OK;
    for (uint64_t i = 0; i < shard->counts.tokens; i++) {
        uint32_t id = dapt_shard_token(shard, i);
        if (id > largest) largest = id;
    }
    if (largest < options->vocab) return DAPT_OK;
    return dapt_fail(DAPT_ERROR_INVALID,
                     "the tokenizer gives id %" PRIu32 ", but the model's vocabulary has %" PRIu32
                     " entries: is this the model's own tokenizer?",
                     largest, options->vocab);
}

// Text that the tokenizer has no tokens for costs next to nothing, however much it is: such bits/byte look
// better than they are. The first tokens tell. A token with another meaning too tells nothing.
static void tell_unknown(const struct dapt_corpus *corpus,
                         const struct dapt_corpus_options *options) {
    const struct dapt_shard *shard = &corpus->shard;
    int64_t unknown = dapt_tokenizer_special(options->tokenizer, DAPT_SPECIAL_UNK);
    uint64_t count = shard->counts.tokens < LOOKED_AT ? shard->counts.tokens : LOOKED_AT, found = 0;
    for (int which = DAPT_SPECIAL_BOS; which <= DAPT_SPECIAL_PAD; which++)
        if (dapt_tokenizer_special(options->tokenizer, (enum dapt_special)which) == unknown) return;
    for (uint64_t i = 0; i < count; i++) found += dapt_shard_token(shard, i) == unknown;
    if ((double)found < 0.001 * (double)count) return;
    dapt_log(DAPT_LOG_WARNING,
             "%s: %.1f %% of its tokens stand for text that the tokenizer has no tokens for "
             "(id %" PRIi64 "): none of it is learnt, and bits/byte are lower than they should be",
             options->name ? options->name : "the text", 100 * (double)found / (double)count,
             unknown);
}

// By what there is, not by what it was made from: a source that was built anew and gives the same text
// makes no other corpus.
static enum dapt_status hash_corpus(struct dapt_corpus *corpus, const struct dapt_data_list *list) {
    struct dapt_hasher *hasher = NULL;
    enum dapt_status status = dapt_hasher_create(&hasher);
    if (status) return status;
    static const char order[] = "strides";  // how weights are mixed: another order, another hash
    uint64_t numbers[] = {corpus->plan.sequence, corpus->plan.packing};
    dapt_hasher_add(hasher, &corpus->shard.content, sizeof corpus->shard.content);
    dapt_hasher_add(hasher, numbers, sizeof numbers);
    if (corpus->plan.weighted) dapt_hasher_add(hasher, order, sizeof order);
    for (size_t e = 0; e < list->count; e++)
        dapt_hasher_add(hasher, &list->entries[e].weight, sizeof list->entries[e].weight);
    corpus->hash = dapt_hasher_value(hasher);
    dapt_hasher_destroy(&hasher);
    return DAPT_OK;
}

static void fill_report(struct dapt_corpus *corpus, bool cached, double seconds) {
    const struct dapt_shard_counts *c = &corpus->shard.counts;
    const struct dapt_plan *p = &corpus->plan;
    corpus->report = (struct dapt_corpus_report){.files = c->files,
                                                 .documents = c->documents,
                                                 .bytes = c->bytes,
                                                 .skipped = c->bad + c->empty,
                                                 .tokens = c->tokens,
                                                 .sequences = p->drawn,
                                                 .cut = p->cut,
                                                 .padded = p->padded,
                                                 .split = p->split,
                                                 .cached = cached,
                                                 .seconds = seconds};
}

// Whether a reason says already whose it is: a set may be named by its file.
static bool names(const char *reason, const char *name) {
    const char *place = strstr(reason, name);
    return place && place[strlen(name)] == ':';
}

enum dapt_status dapt_corpus_open(const struct dapt_data_list *list,
                                  const struct dapt_corpus_options *options,
                                  struct dapt_corpus **out) {
    double start = dapt_seconds();
    struct opening o = {.options = options};
    bool cached = false;
    struct dapt_corpus *corpus = *out = dapt_alloc(1, sizeof *corpus);
    if (!corpus) return DAPT_ERROR_MEMORY;
    enum dapt_status status = open_shard(&o, list, &corpus->shard, &cached);
    if (!status) status = plan(corpus, list, options);
    if (!status) status = check_ids(corpus, options);
    if (!status) status = hash_corpus(corpus, list);
    if (!status) corpus->objective = options->objective;
    if (!status) {
        write_seen(&o);
        dapt_cache_note(o.cache, o.key, options->name, list);
        fill_report(corpus, cached, dapt_seconds() - start);
        tell_unknown(corpus, options);
    } else {
        if (options->name && !names(dapt_error(), options->name))
            dapt_fail_in(status, "%s", options->name);
        dapt_corpus_close(out);
    }
    dapt_inputs_free(&o.inputs);
    dapt_arena_free(&o.arena);
    return status;
}

void dapt_corpus_close(struct dapt_corpus **corpus) {
    if (!*corpus) return;
    dapt_plan_free(&(*corpus)->plan);
    dapt_shard_close(&(*corpus)->shard);
    free(*corpus);
    *corpus = NULL;
}

const struct dapt_objective *dapt_corpus_objective(const struct dapt_corpus *corpus) {
    return corpus->objective;
}

const struct dapt_corpus_report *dapt_corpus_report(const struct dapt_corpus *corpus) {
    return &corpus->report;
}

struct dapt_corpus_document dapt_corpus_document(const struct dapt_corpus *corpus,
                                                 uint64_t document) {
    const struct dapt_shard_document *d = &corpus->shard.documents[document];
    return (struct dapt_corpus_document){.tokens = d->end - (document ? d[-1].end : 0),
                                         .bytes = d->bytes,
                                         .file = d->file,
                                         .record = d->record};
}

enum dapt_status dapt_corpus_files(const struct dapt_corpus *corpus,
                                   const struct dapt_data_list *list,
                                   const struct dapt_modules *modules, struct dapt_arena *arena,
                                   struct dapt_corpus_file_info **files, size_t *count) {
    const struct dapt_corpus_options options = {.modules = modules};
    const struct dapt_shard *shard = &corpus->shard;
    struct dapt_inputs inputs = {0};
    enum dapt_status status = dapt_inputs_list(list, &options, &inputs);
    inputs.quiet = true;  // what is left out was told when the corpus was made
    if (!status) status = dapt_inputs_choose(&inputs);
    if (!status && inputs.count != shard->counts.files)
        status = dapt_fail(DAPT_ERROR_INVALID, "files came or went while they were looked at");
    *count = inputs.count;
    *files = status ? NULL : dapt_arena_alloc(arena, (inputs.count + 1) * sizeof **files);
    if (!status && !*files) status = DAPT_ERROR_MEMORY;
    for (size_t i = 0; !status && i < inputs.count; i++) {
        const struct dapt_corpus_file *file = &inputs.files[i];
        (*files)[i] = (struct dapt_corpus_file_info){
            .path = dapt_arena_copy(arena, file->path, strlen(file->path)),
            .source = file->source->id,
            .entry = file->entry};
        if (!(*files)[i].path) status = DAPT_ERROR_MEMORY;
    }
    for (uint64_t d = 0; !status && d < shard->counts.documents; d++) {
        struct dapt_corpus_document document = dapt_corpus_document(corpus, d);
        struct dapt_corpus_file_info *file = &(*files)[document.file];
        file->documents++;
        file->bytes += document.bytes;
        file->tokens += document.tokens;
    }
    dapt_inputs_free(&inputs);
    return status;
}

void dapt_corpus_hash(const struct dapt_corpus *corpus, struct dapt_hash *hash) {
    *hash = corpus->hash;
}

// "1,204,003"
static enum dapt_status add_number(struct dapt_string *line, uint64_t number) {
    char digits[24], grouped[32];
    int length = snprintf(digits, sizeof digits, "%" PRIu64, number), at = 0;
    for (int i = 0; i < length; i++) {
        if (i && (length - i) % 3 == 0) grouped[at++] = ',';
        grouped[at++] = digits[i];
    }
    return dapt_string_add(line, grouped, (size_t)at);
}

static enum dapt_status add_count(struct dapt_string *line, uint64_t number, const char *what) {
    enum dapt_status status = add_number(line, number);
    return status ? status : dapt_string_format(line, " %s%s, ", what, number == 1 ? "" : "s");
}

static enum dapt_status add_tokens(struct dapt_string *line, uint64_t tokens) {
    if (tokens < 1000000) return add_count(line, tokens, "token");
    bool giga = tokens >= 1000000000;
    return dapt_string_format(line, "%.*f %c tokens, ", giga ? 2 : 1,
                              (double)tokens * (giga ? 1e-9 : 1e-6), giga ? 'G' : 'M');
}

static enum dapt_status add_note(struct dapt_string *line, uint64_t number, const char *what) {
    if (number == 0) return DAPT_OK;
    enum dapt_status status = dapt_string_add(line, ", ", 2);
    if (!status) status = add_number(line, number);
    return status ? status : dapt_string_format(line, " %s", what);
}

enum dapt_status dapt_corpus_describe(const struct dapt_corpus *corpus, struct dapt_string *line) {
    const struct dapt_corpus_report *r = &corpus->report;
    bool concatenated = corpus->plan.packing == DAPT_PACK_CONCATENATE;
    double lost = concatenated ? (double)r->cut / (double)r->tokens
                               : (double)r->padded /
                                     ((double)corpus->plan.sequences * corpus->plan.sequence);
    enum dapt_status status = add_count(line, r->documents, "document");
    if (!status) status = add_tokens(line, r->tokens);
    if (!status) status = add_number(line, r->sequences);
    if (!status)
        status = dapt_string_format(line, " sequence%s of %u, %.1f %% %s",
                                    r->sequences == 1 ? "" : "s", corpus->plan.sequence, 100 * lost,
                                    concatenated ? "cut" : "padding");
    if (!status) status = add_note(line, r->split, "longer than a sequence");
    return status ? status : add_note(line, r->skipped, "skipped");
}
