// The command line: a table of commands, each with a table of options. Tools include dapt/dapt.h
// and nothing else of the core.
#ifndef DAPT_TOOL_H
#define DAPT_TOOL_H
#include <stdio.h>

#include <cjson/cJSON.h>

#include "dapt/dapt.h"

enum tool_exit {
    TOOL_OK = 0,
    TOOL_FAILURE = 1,
    TOOL_USAGE = 2,
    TOOL_DEVICE = 3,
    TOOL_LOST = 4,
    TOOL_INTERRUPTED = 130
};

enum tool_kind {
    TOOL_FLAG,   // bool
    TOOL_TEXT,   // const char *
    TOOL_LIST,   // struct tool_list: given several times, or once with several words behind it
    TOOL_COUNT,  // uint64_t, minimum .. maximum
    TOOL_REAL    // double, minimum .. maximum
};
struct tool_list {
    const char **items;  // NULL-terminated; NULL: empty
    size_t count;
};

struct tool_option {
    const char *name;      // "--steps"; a row whose name is NULL ends the table
    const char *argument;  // "N"; NULL for a flag
    const char *help;      // one line
    enum tool_kind kind;
    size_t offset;  // of the value in the command's arguments
    double minimum, maximum;
    bool alone;  // a flag that makes the plain arguments unnecessary
};

// Every command's arguments begin with this.
struct tool_arguments {
    const char *plain[8];
    size_t plain_count;
};

struct tool_command {
    const char *name;
    const char *plain;                              // "CONFIG"
    const char *summary;                            // one line
    const char *notes;                              // further lines of its help; NULL: none
    const struct tool_option *options, *shared[2];  // tables; NULL: none
    size_t size;                                    // of its arguments
    size_t plain_least, plain_most;
    bool ranks;  // may be started several times by mpirun or srun
    enum tool_exit (*run)(void *arguments);
};
// All commands, in the order of the overview; NULL-terminated. Help, man pages and the completion
// of shells go by it.
extern const struct tool_command *const tool_commands[];
const struct tool_command *tool_find_command(const char *name);  // NULL: there is none
// The k-th option of a command, its own ones first; NULL behind the last.
const struct tool_option *tool_option_at(const struct tool_command *command, size_t k);

// Exit codes with their meaning; ends with a row whose text is NULL.
struct tool_code {
    int code;
    const char *text;
};
extern const struct tool_code tool_codes[];
extern const char tool_about[], tool_model_about[];  // what dapt is; what a MODEL is

// Fills `arguments` (zeroed, command->size bytes). One line on stderr and false when something is
// wrong. `help`: --help was given.
bool tool_parse(const struct tool_command *command, int count, char **words, void *arguments,
                bool *help);
void tool_release(const struct tool_command *command, void *arguments);

// Text for people: printed to `out`, then as a whole where it belongs. On a terminal its lines are
// broken between words.
struct tool_page {
    FILE *out;
    char *text;
    size_t length;
};
bool tool_page_begin(struct tool_page *page);               // false: no memory, which is told
void tool_page_end(struct tool_page *page, FILE *to);       // a table, a list
void tool_page_end_help(struct tool_page *page, FILE *to);  // prose: 80 columns elsewhere
struct tool_short {
    char text[32];
};
const char *tool_bytes(uint64_t bytes, struct tool_short *text);  // "1.5 GiB"
void tool_print_bytes(FILE *out, uint64_t bytes);
// Text of other people's files and folders: control characters as "?", so that none drives a terminal.
void tool_print_plain(FILE *out, const char *text);
// What import and export say of the file or folder that they wrote.
void tool_print_exchanged(const char *path, const struct dapt_exchanged *exchanged);
void tool_print_overview(FILE *to);
void tool_print_help(const struct tool_command *command);

// "dapt: <text>" on stderr; returns TOOL_USAGE.
enum tool_exit tool_usage(const char *format, ...) __attribute__((format(printf, 1, 2)));
// Says why the library failed (after an error status) and chooses the exit code.
enum tool_exit tool_finish(enum dapt_status status);

// Whether this process speaks for all that mpirun or srun started with it: the first of them, or one
// that was started alone.
bool tool_leads(void);

// dapt_emit_text to a FILE *; NULL: to stdout.
bool tool_emit(void *user, const char *text, size_t length);
// Prints a JSON value on stdout; frees it.
enum dapt_status tool_print_json(cJSON *value);

// The arguments of a command that opens a model begin with this, and the shared tables fill it.
struct tool_model_arguments {
    struct tool_arguments plain;
    const char *backend, *device, *tokenizer, *base;
    uint64_t threads;
};
#define TOOL_BASE_OPTION                                                           \
    {                                                                              \
        "--base", "FOLDER",                                                        \
            "of adapters: the model that they belong to, where it is not the one " \
            "that they name",                                                      \
            TOOL_TEXT, offsetof(struct tool_model_arguments, base), 0, 0, false    \
    }
extern const struct tool_option tool_device_options[], tool_tokenizer_options[];
// Sets of documents as --data names them: NAME=PATH; a path alone is named by its last part.
struct tool_sets {
    struct dapt_named_data *data;
    char **words;
    size_t count;
};
// A word that is none and two sets of one name are told; `command` begins the line.
enum tool_exit tool_sets_parse(const char *command, const struct tool_list *list,
                               struct tool_sets *sets);
void tool_sets_free(struct tool_sets *sets);
// The settings of --set, then --backend and --device as such; `words` keeps the latter. NULL-terminated,
// freed by the caller; NULL: no memory.
const char **tool_all_sets(const struct tool_list *list, const char *backend, const char *device,
                           char words[2][320]);
// Ctrl-C, SIGTERM, SIGUSR1 and SIGHUP ask what is running to stop with a checkpoint; a second one ends it.
void tool_catch_signals(void);
// Of the model that the first plain argument names.
struct dapt_model_options tool_model(const struct tool_model_arguments *arguments);
#endif
