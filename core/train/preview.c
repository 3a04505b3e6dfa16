// What a run would read: files by kind, and the first sequences as text.
#include <stdlib.h>
#include <string.h>

#include "corpus/mix.h"
#include "dapt/dapt.h"
#include "host/input.h"
#include "train/setup.h"

#define GROUPS 64  // of a data list; what exceeds them is counted with the last

struct source_files {
    struct dapt_corpus_file_info *files;
    size_t count;
};

struct preview {
    const struct dapt_preview_options *options;
    struct dapt_arena arena;
    struct dapt_config *config;
    struct dapt_setup setup;
    struct dapt_batch *batch;
    uint32_t *ids;
    struct source_files domain, replay;
};

// Of a file's name without the ending of a compression, but with that behind it: ".jsonl.zst".
static const char *ending_of(struct dapt_arena *arena, const char *path) {
    const char *stem = dapt_input_stem(arena, path), *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path, *dot = stem ? strrchr(stem, '.') : NULL;
    if (!dot || path + (dot - stem) <= name) return "";
    const char *ending = path + (dot - stem);
    bool number = strspn(ending + 1, "0123456789") == strlen(ending + 1);
    return number || strlen(ending) > 16 ? "" : ending;
}

static void add_file(struct preview *p, const struct dapt_data_list *list, const char *set,
                     const struct dapt_corpus_file_info *file, struct dapt_preview_files *groups,
                     size_t *count) {
    const struct dapt_data_entry *entry = &list->entries[file->entry];
    const char *ending = ending_of(&p->arena, file->path);
    size_t g = 0;
    while (g < *count && (groups[g].path != entry->path || strcmp(groups[g].source, file->source) ||
                          strcmp(groups[g].ending, ending)))
        g++;
    if (g == GROUPS) g--;
    struct dapt_preview_files *group = &groups[g];
    if (g == *count) {
        *group = (struct dapt_preview_files){.set = set,
                                             .path = entry->path,
                                             .source = file->source,
                                             .ending = ending,
                                             .example = file->path,
                                             .weight = entry->weight};
        ++*count;
    }
    group->files++;
    group->documents += file->documents;
    group->bytes += file->bytes;
    group->tokens += file->tokens;
}

static enum dapt_status tell_files(struct preview *p, const char *set,
                                   const struct dapt_data_list *list,
                                   const struct dapt_corpus *corpus, struct source_files *files) {
    struct dapt_preview_files groups[GROUPS];
    size_t count = 0;
    enum dapt_status status = dapt_corpus_files(corpus, list, p->setup.modules, &p->arena,
                                                &files->files, &files->count);
    for (size_t i = 0; !status && i < files->count; i++)
        add_file(p, list, set, &files->files[i], groups, &count);
    for (size_t g = 0; !status && g < count; g++) p->options->files(p->options->user, &groups[g]);
    return status;
}

static enum dapt_status tell_data(struct preview *p) {
    const struct dapt_config *config = p->config;
    enum dapt_status status = tell_files(p, "domain", &config->data.domain, p->setup.domain,
                                         &p->domain);
    if (!status && p->setup.replay)
        status = tell_files(p, "replay", &config->data.replay.from, p->setup.replay, &p->replay);
    for (size_t i = 0; !status && i < config->data.eval_count; i++) {
        struct source_files files;
        const char *name = dapt_arena_format(&p->arena, "eval %s", config->data.eval[i].name);
        status = name ? tell_files(p, name, &config->data.eval[i].data, p->setup.evals[i], &files)
                      : DAPT_ERROR_MEMORY;
    }
    return status;
}

// The places [begin, end) of the batch's only sequence, which hold one document or nothing.
static enum dapt_status tell_part(struct preview *p, uint64_t sequence, uint32_t begin,
                                  uint32_t end) {
    const struct dapt_batch *batch = p->batch;
    uint64_t document = batch->documents[begin];
    bool replay = batch->replay[0];
    struct dapt_preview_part part = {
        .sequence = sequence, .set = replay ? "replay" : "domain", .tokens = end - begin};
    struct dapt_string text = {0};
    enum dapt_status status = DAPT_OK;
    if (document != DAPT_NO_DOCUMENT) {
        const struct source_files *files = replay ? &p->replay : &p->domain;
        struct dapt_corpus_document d = dapt_corpus_document(
            replay ? p->setup.replay : p->setup.domain, document);
        part.file = files->files[d.file].path;
        part.record = d.record;
        part.document_tokens = d.tokens;
        for (uint32_t i = begin; i < end; i++) p->ids[i - begin] = (uint32_t)batch->ids[i];
        status = dapt_tokenizer_decode(p->setup.tokenizer, p->ids, end - begin, 0, &text);
        part.text = text.data ? text.data : "";
        part.length = text.length;
    }
    if (!status) p->options->part(p->options->user, &part);
    dapt_string_free(&text);
    return status;
}

static enum dapt_status tell_sequences(struct preview *p) {
    uint32_t batch = p->config->train.batch, length = p->config->data.sequence;
    uint64_t all = p->setup.steps * batch,
             count = p->options->sequences < all ? p->options->sequences : all;
    enum dapt_status status = dapt_batch_create(1, length, &p->batch);
    p->ids = dapt_alloc(length, sizeof *p->ids);
    if (!p->ids) status = DAPT_ERROR_MEMORY;
    for (uint64_t s = 0; !status && s < count; s++) {
        status = dapt_mix_seek(p->setup.mix, s / batch);
        if (!status) dapt_mix_batch(p->setup.mix, (uint32_t)(s % batch), p->batch);
        for (uint32_t begin = 0, end; !status && begin < length; begin = end) {
            for (end = begin + 1; end < length; end++)
                if (p->batch->documents[end] != p->batch->documents[begin]) break;
            status = tell_part(p, s, begin, end);
        }
    }
    return status;
}

enum dapt_status dapt_preview(const struct dapt_preview_options *options) {
    struct preview p = {.options = options};
    const struct dapt_reporter reporter = {dapt_report_nothing, NULL};
    enum dapt_status status = dapt_config_read(options->config, options->sets, &p.config);
    if (!status) status = dapt_setup_open_data(p.config, &reporter, &p.setup);
    if (!status) status = tell_data(&p);
    if (!status) status = tell_sequences(&p);
    dapt_batch_destroy(&p.batch);
    free(p.ids);
    dapt_setup_close(&p.setup);
    dapt_config_free(&p.config);
    dapt_arena_free(&p.arena);
    return status;
}
