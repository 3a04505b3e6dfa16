// A tokenizer behind its plugin: checked handles, one a worker.
#include <stdlib.h>
#include <string.h>

#include "base/threads.h"
#include "corpus/internal.h"

struct dapt_tokenizer {
    const struct dapt_plugin_descriptor *plugin;
    const struct dapt_tokenizer_1 *api;
    const char *module;  // the file that the plugin came from
    struct dapt_options *options;
    void **handles;  // the first is the main one
    size_t count, capacity;
    uint32_t vocab;
    struct dapt_hash files;    // of what the plugin may have read
    struct dapt_hash content;  // of the plugin's own file
};

// Files of a model's folder that a tokenizer reads. The model's weights beside them don't matter.
static bool of_tokenizer(const char *name) {
    static const char *const starts[] = {"tokenizer",      "vocab",        "merges",
                                         "special_tokens", "added_tokens", "spiece",
                                         "sentencepiece",  "encoder.json"};
    static const char *const ends[] = {".tiktoken", ".model", ".vocab"};
    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++)
        if (strncmp(name, starts[i], strlen(starts[i])) == 0) return true;
    for (size_t i = 0, length = strlen(name); i < sizeof ends / sizeof *ends; i++)
        if (length > strlen(ends[i]) && strcmp(name + length - strlen(ends[i]), ends[i]) == 0)
            return true;
    return false;
}

static enum dapt_status add_file(struct dapt_hasher *hasher, const char *name, const char *path) {
    struct dapt_hash hash;
    enum dapt_status status = dapt_hash_file(path, &hash);
    if (status) return status;
    dapt_hasher_add_string(hasher, name);
    dapt_hasher_add(hasher, &hash, sizeof hash);
    return DAPT_OK;
}

static enum dapt_status add_folder(struct dapt_hasher *hasher, const char *path) {
    struct dapt_arena arena = {0};
    struct dapt_paths names;
    enum dapt_status status = dapt_list_folder(&arena, path, &names);
    for (size_t i = 0; i < names.count && !status; i++) {
        if (!of_tokenizer(names.paths[i])) continue;
        char *file = dapt_path_join(&arena, path, names.paths[i]);
        status = file ? DAPT_OK : DAPT_ERROR_MEMORY;
        if (!status && dapt_is_file(file)) status = add_file(hasher, names.paths[i], file);
    }
    dapt_arena_free(&arena);
    return status;
}

static enum dapt_status hash_files(const char *path, struct dapt_hash *hash) {
    struct dapt_hasher *hasher = NULL;
    enum dapt_status status = dapt_hasher_create(&hasher);
    if (!status && path && dapt_is_dir(path))
        status = add_folder(hasher, path);
    else if (!status && path && dapt_is_file(path))
        status = add_file(hasher, "", path);
    if (!status) *hash = dapt_hasher_value(hasher);
    dapt_hasher_destroy(&hasher);
    return status;
}

struct dapt_call dapt_tokenizer_call(const struct dapt_tokenizer *tokenizer, const char *function) {
    return (struct dapt_call){.module = tokenizer->module,
                              .kind = "tokenizer",
                              .id = tokenizer->plugin->id,
                              .function = function};
}

static enum dapt_status open_handle(struct dapt_tokenizer *t, const char *path) {
    struct dapt_call call = dapt_tokenizer_call(t, "open");
    call.file = *path ? path : NULL;
    const struct dapt_call *before = dapt_call_note(&call);
    enum dapt_status status = t->api->open(dapt_host(), t->options, path, &t->handles[0]);
    t->count = !status;
    t->vocab = status ? 0 : t->api->vocab_size(t->handles[0]);
    dapt_call_note(before);
    return status;
}

enum dapt_status dapt_tokenizer_open(const struct dapt_modules *modules, const char *plugin,
                                     const struct dapt_json *options, const char *path,
                                     struct dapt_tokenizer **tokenizer) {
    static const char *const others[] = {"plugin", "path", NULL};
    *tokenizer = NULL;
    const struct dapt_plugin_descriptor *descriptor = dapt_modules_plugin(modules, DAPT_TOKENIZER_1,
                                                                          plugin);
    if (!descriptor) return DAPT_ERROR_INVALID;
    struct dapt_tokenizer *t = dapt_alloc(1, sizeof *t);
    if (!t) return DAPT_ERROR_MEMORY;
    t->plugin = descriptor;
    t->api = descriptor->implementation;
    t->module = dapt_modules_file(modules, descriptor);
    t->content = dapt_modules_content(modules, descriptor);
    enum dapt_status status = dapt_grow(&t->handles, &t->capacity, 1, sizeof *t->handles);
    if (!status) status = dapt_options_create(descriptor->options, options, others, &t->options);
    if (!status) {
        status = open_handle(t, path ? path : "");
        if (status && path && !strstr(dapt_error(), path))
            dapt_fail_in(status, "tokenizer '%s': %s", descriptor->id, path);
        else if (status)
            dapt_fail_in(status, "tokenizer '%s'", descriptor->id);
    }
    if (!status && (t->vocab == 0 || t->vocab > 1u << 30))
        status = dapt_fail(DAPT_ERROR_INVALID, "tokenizer '%s': a vocabulary of %u ids",
                           descriptor->id, t->vocab);
    if (!status) status = hash_files(path, &t->files);
    if (status) dapt_tokenizer_close(&t);
    *tokenizer = t;
    return status;
}

void dapt_tokenizer_close(struct dapt_tokenizer **tokenizer) {
    struct dapt_tokenizer *t = *tokenizer;
    if (!t) return;
    const struct dapt_call call = dapt_tokenizer_call(t, "close"), *before = dapt_call_note(&call);
    for (size_t i = t->count; i--;) t->api->close(t->handles[i]);
    dapt_call_note(before);
    free(t->handles);
    dapt_options_destroy(&t->options);
    free(t);
    *tokenizer = NULL;
}

uint32_t dapt_tokenizer_vocab_size(const struct dapt_tokenizer *tokenizer) {
    return tokenizer->vocab;
}

int64_t dapt_tokenizer_special(const struct dapt_tokenizer *tokenizer, enum dapt_special which) {
    int64_t id = tokenizer->api->special_id(tokenizer->handles[0], which);
    return id >= 0 && id < (int64_t)tokenizer->vocab ? id : -1;
}

void dapt_ids_free(struct dapt_ids *ids) {
    free(ids->ids);
    *ids = (struct dapt_ids){0};
}

enum dapt_status dapt_tokenizer_prepare(struct dapt_tokenizer *tokenizer, unsigned count) {
    while (tokenizer->count < count) {
        if (dapt_grow(&tokenizer->handles, &tokenizer->capacity, count, sizeof *tokenizer->handles))
            return DAPT_ERROR_MEMORY;
        enum dapt_status status = tokenizer->api->share(tokenizer->handles[0],
                                                        &tokenizer->handles[tokenizer->count]);
        if (status) return dapt_fail_in(status, "tokenizer '%s'", tokenizer->plugin->id);
        tokenizer->count++;
    }
    return DAPT_OK;
}

struct id_sink {
    struct dapt_ids *ids;
    uint32_t vocab;
    enum dapt_status status;
};

static bool take_ids(void *context, const uint32_t *ids, size_t count) {
    struct id_sink *sink = context;
    if (dapt_cancelled())
        sink->status = dapt_fail(DAPT_ERROR_CANCELLED, "stopped on request");
    else
        sink->status = dapt_grow(&sink->ids->ids, &sink->ids->capacity, sink->ids->count + count,
                                 sizeof *ids);
    for (size_t i = 0; i < count && !sink->status; i++)
        if (ids[i] >= sink->vocab)
            sink->status = dapt_fail(DAPT_ERROR_INTERNAL, "id %u is beyond its vocabulary of %u",
                                     ids[i], sink->vocab);
    if (sink->status) return false;
    if (count) memcpy(sink->ids->ids + sink->ids->count, ids, count * sizeof *ids);
    sink->ids->count += count;
    return true;
}

enum dapt_status dapt_tokenizer_encode_on(struct dapt_tokenizer *tokenizer, unsigned worker,
                                          const char *text, size_t length, uint32_t flags,
                                          struct dapt_ids *ids) {
    struct id_sink sink = {.ids = ids, .vocab = tokenizer->vocab};
    enum dapt_status status = tokenizer->api->encode(tokenizer->handles[worker], text, length,
                                                     flags, take_ids, &sink);
    // Why the sink refused matters more than what the tokenizer made of it.
    if (sink.status) status = sink.status;
    return status ? dapt_fail_in(status, "tokenizer '%s'", tokenizer->plugin->id) : DAPT_OK;
}

enum dapt_status dapt_tokenizer_encode(struct dapt_tokenizer *tokenizer, const char *text,
                                       size_t length, uint32_t flags, struct dapt_ids *ids) {
    const struct dapt_call call = dapt_tokenizer_call(tokenizer, "encode"),
                           *before = dapt_call_note(&call);
    enum dapt_status status = dapt_tokenizer_encode_on(tokenizer, 0, text, length, flags, ids);
    dapt_call_note(before);
    return status;
}

struct text_sink {
    struct dapt_string *text;
    enum dapt_status status;
};

static bool take_text(void *context, const char *text, size_t length) {
    struct text_sink *sink = context;
    sink->status = dapt_string_add(sink->text, text, length);
    return sink->status == DAPT_OK;
}

enum dapt_status dapt_tokenizer_decode(struct dapt_tokenizer *tokenizer, const uint32_t *ids,
                                       size_t count, uint32_t flags, struct dapt_string *text) {
    for (size_t i = 0; i < count; i++)
        if (ids[i] >= tokenizer->vocab)
            return dapt_fail(DAPT_ERROR_INVALID, "id %u is beyond the vocabulary of %u", ids[i],
                             tokenizer->vocab);
    struct text_sink sink = {.text = text};
    const struct dapt_call call = dapt_tokenizer_call(tokenizer, "decode"),
                           *before = dapt_call_note(&call);
    enum dapt_status status = tokenizer->api->decode(tokenizer->handles[0], ids, count, flags,
                                                     take_text, &sink);
    dapt_call_note(before);
    if (sink.status) return sink.status;
    return status ? dapt_fail_in(status, "tokenizer '%s'", tokenizer->plugin->id) : DAPT_OK;
}

void dapt_tokenizer_hash(const struct dapt_tokenizer *tokenizer, struct dapt_hasher *hasher) {
    dapt_hasher_add_string(hasher, tokenizer->plugin->id);
    dapt_hasher_add_string(hasher, tokenizer->plugin->version);
    dapt_hasher_add(hasher, &tokenizer->content, sizeof tokenizer->content);
    dapt_options_hash(tokenizer->options, hasher);
    dapt_hasher_add(hasher, &tokenizer->files, sizeof tokenizer->files);
    int64_t numbers[] = {tokenizer->vocab, dapt_tokenizer_special(tokenizer, DAPT_SPECIAL_BOS),
                         dapt_tokenizer_special(tokenizer, DAPT_SPECIAL_EOS),
                         dapt_tokenizer_special(tokenizer, DAPT_SPECIAL_UNK)};
    dapt_hasher_add(hasher, numbers, sizeof numbers);
}
