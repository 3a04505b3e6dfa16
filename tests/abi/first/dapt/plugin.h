// As first released: the test "first-release" builds a plugin against it. Never changed.
// dapt/plugin.h: what a plugin includes, and all it includes of dapt.
//
// A plugin is a shared object that exports one data symbol, `dapt_plugin_entry`. It lists
// descriptors; each offers one implementation of one interface: a source of documents, a tokenizer,
// or a learning-rate schedule. Interfaces are named by a string with a revision ("dapt.source/1").
// A released struct never changes: what needs more gets a new string, and the host goes on
// accepting the old one.
//
// Conventions
//   Text is UTF-8 as pointer and length in bytes; it need not end in NUL unless the name says `_z`
//   or the comment does.
//   Threads: every function says in brackets who calls it.
//            [main] the thread that loaded the plugin; never two calls at once
//            [worker] one thread at a time for one handle; different handles at the same time on
//            different threads
//            [any] any thread, any number at once
//   Errors: a function that fails returns a status below zero, after host->fail() recorded one line
//   that says what
//            is wrong and what was expected. The host adds file and record. A plugin never prints,
//            exits or aborts.
//   Ownership: what a plugin returns belongs to the plugin, valid until the comment says.
#ifndef DAPT_PLUGIN_H
#define DAPT_PLUGIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define DAPT_PLUGIN_ABI 1u

#if defined(_WIN32)
#define DAPT_EXPORT __declspec(dllexport)
#else
#define DAPT_EXPORT __attribute__((visibility("default")))
#endif

enum dapt_status {
    DAPT_END = 1,  // no further item; not an error
    DAPT_OK = 0,
    DAPT_ERROR_INVALID = -1,  // the input (file, option, argument) is not what was expected
    DAPT_ERROR_IO = -2,       // the operating system refused
    DAPT_ERROR_MEMORY = -3,   // host memory
    DAPT_ERROR_UNSUPPORTED = -4,
    DAPT_ERROR_DEVICE = -5,    // a device failed, was lost or ran out of memory
    DAPT_ERROR_INTERNAL = -6,  // a bug of ours; the message says where
    DAPT_ERROR_CANCELLED = -7  // the user asked to stop
};

enum dapt_log_level { DAPT_LOG_ERROR, DAPT_LOG_WARNING, DAPT_LOG_INFO, DAPT_LOG_DEBUG };

struct dapt_options;  // the options of one use of one plugin, checked against its option table
struct dapt_input;    // an open file, already decompressed

// What the host offers. Valid from open() until close() of the handle that received it.
struct dapt_host {
    uint32_t struct_size;  // sizeof of what the host was built with; later hosts may append
    void *context;         // the host's own

    // Hands over one finished line, without a newline. [any]
    void (*log)(const struct dapt_host *host, enum dapt_log_level level, const char *line_z);

    // Records why the call that is under way on this thread fails; returns `status` so that one can
    // write `return host->fail(host, DAPT_ERROR_INVALID, "...")`. The text is copied. [any]
    enum dapt_status (*fail)(const struct dapt_host *host, enum dapt_status status,
                             const char *line_z);

    // Options by name. A name must stand in the descriptor's option table with this type; values
    // were checked and defaults filled in before open(), so these can't fail. Strings live as long
    // as the handle. [any]
    const char *(*option_string)(const struct dapt_options *options, const char *name_z);
    double (*option_number)(const struct dapt_options *options, const char *name_z);
    int64_t (*option_integer)(const struct dapt_options *options, const char *name_z);
    bool (*option_bool)(const struct dapt_options *options, const char *name_z);

    // Opens a file for reading from its start, undoing gz, zst, xz and bz2. NULL on error, which is
    // recorded. Reads up to `size` bytes: the count, 0 at the end, -1 on error, which is recorded.
    // [worker]
    struct dapt_input *(*open_input)(const struct dapt_host *host, const char *path_z);
    int64_t (*read_input)(struct dapt_input *input, void *data, size_t size);
    void (*close_input)(struct dapt_input *input);
};

enum dapt_option_type {
    DAPT_OPTION_STRING,
    DAPT_OPTION_NUMBER,
    DAPT_OPTION_INTEGER,
    DAPT_OPTION_BOOL
};

// One option. The default is written as it would stand in JSON, strings without quotes: "0.1",
// "true", "text". NULL means that the option must be given. `minimum` and `maximum` bound numbers
// and integers; equal means unbounded.
struct dapt_option {
    const char *name;
    enum dapt_option_type type;
    const char *default_value;
    const char *help;  // one line
    double minimum, maximum;
};

// ----------------------------------------------------------------------------------- dapt.source/1

#define DAPT_SOURCE_1 "dapt.source/1"

// One document: a text that stands for itself. Valid until the next call on the same handle.
struct dapt_document {
    const char *text;
    size_t length;   // bytes
    const char *id;  // what the file calls it, or NULL
    size_t id_length;
    uint64_t
        record;  // where in the file, 1-based: line, record or paragraph; 0 when the file is the document
};

// Reads ONE file as documents in order.
struct dapt_source_1 {
    // How sure this source is that it reads such a file: 0 (no) .. 100 (it alone). `head` holds the
    // first bytes, decompressed. Paths come without the compression's ending. [any]
    int (*probe)(const char *path_z, const void *head, size_t size);
    enum dapt_status (*open)(const struct dapt_host *host, const struct dapt_options *options,
                             const char *path_z,
                             void **handle);  // [worker]
    // DAPT_OK and a document, DAPT_END, or an error. After an error that concerns one record
    // (DAPT_ERROR_INVALID) the host may call again to go on with the next record; document->record
    // then names the bad one. A text that is not UTF-8 or holds a NUL may be handed out as it is:
    // the host checks, and treats the record as a bad one. [worker]
    enum dapt_status (*next)(void *handle, struct dapt_document *document);
    void (*close)(void *handle);  // [worker]; NULL is fine
};

// -------------------------------------------------------------------------------- dapt.tokenizer/1

#define DAPT_TOKENIZER_1 "dapt.tokenizer/1"

enum dapt_special { DAPT_SPECIAL_BOS, DAPT_SPECIAL_EOS, DAPT_SPECIAL_PAD, DAPT_SPECIAL_UNK };

enum dapt_encode_flags {
    DAPT_ENCODE_SPECIAL = 1  // add what the tokenizer's template puts around a text
};
enum dapt_decode_flags {
    DAPT_DECODE_SKIP_SPECIAL = 1  // leave special tokens out
};

// Receives a run of ids, or of bytes, in order; the memory is the caller's. Returns false to stop.
typedef bool (*dapt_emit_ids)(void *context, const uint32_t *ids, size_t count);
typedef bool (*dapt_emit_text)(void *context, const char *text, size_t length);

struct dapt_tokenizer_1 {
    // `path` is a model's folder or a tokenizer file. [main]
    enum dapt_status (*open)(const struct dapt_host *host, const struct dapt_options *options,
                             const char *path_z, void **handle);
    // Another handle on the same tokenizer, for use on another thread; shares its tables. [main]
    enum dapt_status (*share)(void *handle, void **other);
    uint32_t (*vocab_size)(void *handle);                          // ids are below it [any]
    int64_t (*special_id)(void *handle, enum dapt_special which);  // -1: it has none [any]
    enum dapt_status (*encode)(void *handle, const char *text, size_t length, uint32_t flags,
                               dapt_emit_ids emit,
                               void *context);  // [worker]
    enum dapt_status (*decode)(void *handle, const uint32_t *ids, size_t count, uint32_t flags,
                               dapt_emit_text emit,
                               void *context);  // [worker]
    void (*close)(void *handle);                // in any order among shares [main]; NULL is fine
};

// --------------------------------------------------------------------------------- dapt.schedule/1

#define DAPT_SCHEDULE_1 "dapt.schedule/1"

// What a schedule sets. It arrives filled with the configuration's values; a schedule overwrites
// what it governs.
struct dapt_schedule_point {
    double learning_rate;  // arrives as 0
    double weight_decay;
    double replay_share;  // share of sequences drawn from replay, 0..1
};

struct dapt_schedule_1 {
    enum dapt_status (*open)(const struct dapt_host *host, const struct dapt_options *options,
                             void **handle);  // [main]
    // The values for optimizer step `step` (0-based) of `total` steps. Pure: same arguments, same
    // answer. [any]
    void (*at)(void *handle, uint64_t step, uint64_t total, struct dapt_schedule_point *point);
    void (*close)(void *handle);  // [main]; NULL is fine
};

// --------------------------------------------------------------------------------------- the entry

struct dapt_plugin_descriptor {
    const char *kind;                   // DAPT_SOURCE_1, DAPT_TOKENIZER_1 or DAPT_SCHEDULE_1
    const char *id;                     // what a configuration calls it: a-z, 0-9, '-', '_'
    const char *version;                // the plugin's own
    const char *summary;                // one line
    const struct dapt_option *options;  // ends with a row whose name is NULL; NULL: none
    const void *implementation;         // struct dapt_source_1 *, ...
};

struct dapt_plugin_entry {
    uint32_t abi;    // DAPT_PLUGIN_ABI; read before anything else
    uint32_t count;  // of descriptors
    const struct dapt_plugin_descriptor *descriptors;
};

extern DAPT_EXPORT const struct dapt_plugin_entry dapt_plugin_entry;

#ifdef __cplusplus
}
#endif
#endif
