// Which files a data list means, which source reads each, and the keys under which their tokens are
// kept.
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/crash.h"
#include "base/threads.h"
#include "corpus/foreign.h"
#include "corpus/internal.h"
#include "host/input.h"
#include "host/json.h"

static const uint32_t key_version =
    3;  // of what a shard holds for its key; another number makes all shards anew

static const size_t told = 10;  // files that are left out, by name

bool dapt_stamp_read(const char *path, struct dapt_stamp *stamp) {
    struct stat info;
    if (stat(path, &info)) return false;
    *stamp = (struct dapt_stamp){
        .size = (uint64_t)info.st_size,
        .device = info.st_dev,
        .inode = info.st_ino,
        .modified = (int64_t)info.st_mtim.tv_sec * 1000000000 + info.st_mtim.tv_nsec,
        .changed = (int64_t)info.st_ctim.tv_sec * 1000000000 + info.st_ctim.tv_nsec};
    return true;
}

bool dapt_stamp_equal(const struct dapt_stamp *a, const struct dapt_stamp *b) {
    return a->size == b->size && a->device == b->device && a->inode == b->inode &&
           a->modified == b->modified && a->changed == b->changed;
}

enum dapt_status dapt_inputs_list(const struct dapt_data_list *list,
                                  const struct dapt_corpus_options *options,
                                  struct dapt_inputs *inputs) {
    *inputs = (struct dapt_inputs){.list = list, .options = options};
    for (size_t e = 0; e < list->count; e++) {
        struct dapt_paths paths;
        enum dapt_status status = dapt_expand(&inputs->arena, list->entries[e].path, &paths);
        if (!status)
            status = dapt_grow(&inputs->files, &inputs->capacity, inputs->count + paths.count,
                               sizeof *inputs->files);
        if (status) return status;
        for (size_t i = 0; i < paths.count; i++) {
            struct dapt_corpus_file *file = &inputs->files[inputs->count++];
            *file = (struct dapt_corpus_file){.path = paths.paths[i], .entry = (uint32_t)e};
            if (!dapt_stamp_read(file->path, &file->stamp))
                return dapt_fail_errno("%s", file->path);
        }
    }
    return DAPT_OK;
}

void dapt_inputs_free(struct dapt_inputs *inputs) {
    for (size_t i = 0; i < inputs->choice_count; i++)
        dapt_options_destroy(&inputs->choices[i].options);
    free(inputs->choices);
    free(inputs->files);
    dapt_arena_free(&inputs->arena);
    *inputs = (struct dapt_inputs){0};
}

// What both keys share.
static void hash_common(const struct dapt_inputs *inputs, struct dapt_hasher *hasher) {
    uint64_t numbers[] = {key_version, inputs->options->special, inputs->options->max_tokens};
    dapt_hasher_add(hasher, numbers, sizeof numbers);
    dapt_tokenizer_hash(inputs->options->tokenizer, hasher);
}

// Version and content of the plugin: one that was built anew may keep its version.
static void hash_source(const struct dapt_inputs *inputs,
                        const struct dapt_plugin_descriptor *source, struct dapt_hasher *hasher) {
    struct dapt_hash content = dapt_modules_content(inputs->options->modules, source);
    dapt_hasher_add_string(hasher, source->id);
    dapt_hasher_add_string(hasher, source->version);
    dapt_hasher_add(hasher, &content, sizeof content);
}

static enum dapt_status hash_entry(const struct dapt_data_entry *entry,
                                   struct dapt_hasher *hasher) {
    struct dapt_string json = {0};
    enum dapt_status status = entry->options ? dapt_json_write(entry->options, &json) : DAPT_OK;
    dapt_hasher_add_string(hasher, entry->path);
    dapt_hasher_add_string(hasher, entry->source ? entry->source : "");
    dapt_hasher_add_string(hasher, json.data ? json.data : "");
    dapt_string_free(&json);
    return status;
}

// Two changes within one tick of a file system's clock look like one. Clocks without fractions tick
// in seconds.
static bool is_settled(int64_t changed, int64_t now) {
    int64_t tick = changed % 1000000000 ? 100000000 : 2000000000;
    return now - changed > tick;
}

enum dapt_status dapt_inputs_quick_key(const struct dapt_inputs *inputs, struct dapt_hash *key,
                                       bool *settled) {
    struct timespec clock;
    clock_gettime(CLOCK_REALTIME, &clock);
    int64_t now = (int64_t)clock.tv_sec * 1000000000 + clock.tv_nsec;
    struct dapt_hasher *hasher = NULL;
    enum dapt_status status = dapt_hasher_create(&hasher);
    if (status) return status;
    hash_common(inputs, hasher);
    for (size_t e = 0; e < inputs->list->count && !status; e++)
        status = hash_entry(&inputs->list->entries[e], hasher);
    const struct dapt_plugin_descriptor *source;
    for (size_t k = 0; (source = dapt_modules_each(inputs->options->modules, DAPT_SOURCE_1, k));
         k++)
        hash_source(inputs, source, hasher);
    *settled = true;
    for (size_t i = 0; i < inputs->count; i++) {
        const struct dapt_corpus_file *file = &inputs->files[i];
        dapt_hasher_add_string(hasher, file->path);
        dapt_hasher_add(hasher, &file->entry, sizeof file->entry);
        dapt_hasher_add(hasher, &file->stamp, sizeof file->stamp);
        *settled = *settled && is_settled(file->stamp.changed, now);
    }
    *key = dapt_hasher_value(hasher);
    dapt_hasher_destroy(&hasher);
    return status;
}

// A source that is so sure knows the format; of what is `foreign`, one that takes all text does not.
static const int certain = 90;

// The source that is surest to read the file; NULL in `source` when none is.
static enum dapt_status probe(struct dapt_inputs *inputs, const char *path,
                              const struct dapt_plugin_descriptor **source,
                              const struct dapt_foreign **foreign) {
    char head[4096];
    const char *inner = dapt_input_stem(&inputs->arena, path);
    size_t size = 0;
    int64_t count = 1;
    const struct dapt_host *host = dapt_host();
    *source = NULL;
    if (!inner) return DAPT_ERROR_MEMORY;
    struct dapt_input *input = host->open_input(host, path);
    if (!input) return DAPT_ERROR_IO;
    while (size < sizeof head &&
           (count = host->read_input(input, head + size, sizeof head - size)) > 0)
        size += (size_t)count;
    host->close_input(input);
    if (count < 0) return DAPT_ERROR_IO;
    *foreign = dapt_foreign_find(inner, head, size);
    int best = *foreign ? certain - 1 : 0;
    const struct dapt_plugin_descriptor *each;
    for (size_t k = 0; (each = dapt_modules_each(inputs->options->modules, DAPT_SOURCE_1, k));
         k++) {
        const struct dapt_call call = {.module = dapt_modules_file(inputs->options->modules, each),
                                       .kind = "source",
                                       .id = each->id,
                                       .function = "probe",
                                       .file = path};
        const struct dapt_call *before = dapt_call_note(&call);
        int sure = ((const struct dapt_source_1 *)each->implementation)->probe(inner, head, size);
        dapt_call_note(before);
        if (sure > best) {
            best = sure;
            *source = each;
        }
    }
    return DAPT_OK;
}

static enum dapt_status choose_options(struct dapt_inputs *inputs, struct dapt_corpus_file *file) {
    static const char *const others[] = {"path", "source", "weight", "role", NULL};
    for (size_t i = 0; i < inputs->choice_count; i++)
        if (inputs->choices[i].source == file->source && inputs->choices[i].entry == file->entry) {
            file->options = inputs->choices[i].options;
            return DAPT_OK;
        }
    enum dapt_status status = dapt_grow(&inputs->choices, &inputs->choice_capacity,
                                        inputs->choice_count + 1, sizeof *inputs->choices);
    if (!status)
        status = dapt_options_create(file->source->options,
                                     inputs->list->entries[file->entry].options, others,
                                     &file->options);
    if (status) return status;
    inputs->choices[inputs->choice_count].source = file->source;
    inputs->choices[inputs->choice_count].entry = file->entry;
    inputs->choices[inputs->choice_count++].options = file->options;
    return DAPT_OK;
}

static enum dapt_status leave_out(struct dapt_inputs *inputs, const char *path,
                                  const struct dapt_foreign *foreign) {
    if (inputs->quiet || inputs->left_out++ >= told) return DAPT_END;
    if (foreign)
        dapt_log(DAPT_LOG_WARNING, "%s: is %s; it is left out", path, foreign->what);
    else
        dapt_log(DAPT_LOG_WARNING, "%s: no source reads such a file; it is left out", path);
    return DAPT_END;
}

// DAPT_END: a file to leave out.
static enum dapt_status choose(struct dapt_inputs *inputs, struct dapt_corpus_file *file) {
    const struct dapt_data_entry *entry = &inputs->list->entries[file->entry];
    if (entry->source) {
        file->source = dapt_modules_plugin(inputs->options->modules, DAPT_SOURCE_1, entry->source);
        if (!file->source) return DAPT_ERROR_INVALID;
    } else {
        const struct dapt_foreign *foreign;
        enum dapt_status status = probe(inputs, file->path, &file->source, &foreign);
        if (status) return status;
        bool listed = strcmp(entry->path, file->path) != 0;  // found in a folder, or by a pattern
        if (!file->source && listed) return leave_out(inputs, file->path, foreign);
        if (!file->source && foreign)
            return dapt_fail(
                DAPT_ERROR_INVALID, "%s: is %s; %s%s", file->path, foreign->what, foreign->how,
                foreign->text ? " (or, to train on it as it is, \"source\": \"text\")" : "");
        if (!file->source)
            return dapt_fail(
                DAPT_ERROR_INVALID,
                "%s: no source reads such a file; if one should, name it as \"source\"",
                file->path);
    }
    file->module = dapt_modules_file(inputs->options->modules, file->source);
    return choose_options(inputs, file);
}

enum dapt_status dapt_inputs_choose(struct dapt_inputs *inputs) {
    size_t kept = 0;
    for (size_t i = 0; i < inputs->count; i++) {
        if (dapt_cancelled()) return dapt_fail(DAPT_ERROR_CANCELLED, "stopped on request");
        struct dapt_corpus_file *file = &inputs->files[i];
        enum dapt_status status = choose(inputs, file);
        if (status < 0) return status;
        if (status == DAPT_OK) inputs->files[kept++] = *file;
    }
    inputs->count = kept;
    if (inputs->left_out > told)
        dapt_log(DAPT_LOG_WARNING, "%zu more files that no source reads are left out",
                 inputs->left_out - told);
    return DAPT_OK;
}

static enum dapt_status hash_content(void *context, size_t item, unsigned worker) {
    struct dapt_inputs *inputs = context;
    (void)worker;
    if (dapt_cancelled()) return dapt_fail(DAPT_ERROR_CANCELLED, "stopped on request");
    return dapt_hash_file(inputs->files[item].path, &inputs->files[item].content);
}

enum dapt_status dapt_inputs_key(struct dapt_inputs *inputs, struct dapt_hash *key) {
    struct dapt_hasher *hasher = NULL;
    enum dapt_status status = dapt_parallel(inputs->options->threads, inputs->count, hash_content,
                                            inputs);
    if (!status) status = dapt_hasher_create(&hasher);
    if (status) return status;
    hash_common(inputs, hasher);
    for (size_t i = 0; i < inputs->count; i++) {
        const struct dapt_corpus_file *file = &inputs->files[i];
        dapt_hasher_add(hasher, &file->entry, sizeof file->entry);
        dapt_hasher_add(hasher, &file->content, sizeof file->content);
        hash_source(inputs, file->source, hasher);
        dapt_options_hash(file->options, hasher);
    }
    *key = dapt_hasher_value(hasher);
    dapt_hasher_destroy(&hasher);
    return DAPT_OK;
}
