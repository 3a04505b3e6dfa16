#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tool.h"

// "dapt: <reason>", one line, on a terminal broken between words.
static void complain(const char *reason) {
    char line[2304];
    snprintf(line, sizeof line, "dapt: %s", reason);
    if (dapt_text_wrap(line, dapt_text_columns(STDERR_FILENO), 2, tool_emit, stderr) != DAPT_OK)
        fprintf(stderr, "%s\n", line);
}

enum tool_exit tool_usage(const char *format, ...) {
    char line[2048];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    complain(line);
    return TOOL_USAGE;
}

bool tool_leads(void) {
    struct dapt_launch launch;
    dapt_launched(&launch);
    return launch.rank == 0;
}

enum tool_exit tool_finish(enum dapt_status status) {
    bool lost = ferror(stdout) && status >= 0;  // more than a buffer holds: why is no longer known
    if (lost) putchar('\n');
    errno = 0;
    bool failed = fflush(stdout) != 0 || lost;
    if (failed && status >= 0) {
        char line[256];
        snprintf(line, sizeof line, "standard output cannot be written: %s",
                 errno ? strerror(errno) : "some of it was lost");
        complain(line);
    }
    if ((failed || ferror(stdout)) && (status >= 0 || status == DAPT_ERROR_CANCELLED))
        return TOOL_FAILURE;  // what failed earlier was said then
    if (status >= 0) return TOOL_OK;
    if (status == DAPT_ERROR_CANCELLED) return TOOL_INTERRUPTED;
    complain(dapt_last_error());
    bool device = status == DAPT_ERROR_DEVICE || status == DAPT_ERROR_MEMORY;
    return device ? TOOL_DEVICE : TOOL_FAILURE;
}

bool tool_emit(void *user, const char *text, size_t length) {
    return fwrite(text, 1, length, user ? user : stdout) == length;
}

enum dapt_status tool_print_json(cJSON *value) {
    char *text = cJSON_Print(value);
    if (text) puts(text);
    cJSON_free(text);
    cJSON_Delete(value);
    return text ? DAPT_OK : DAPT_ERROR_MEMORY;
}

struct dapt_model_options tool_model(const struct tool_model_arguments *arguments) {
    return (struct dapt_model_options){.model = arguments->plain.plain[0],
                                       .base = arguments->base,
                                       .tokenizer = arguments->tokenizer,
                                       .backend = arguments->backend,
                                       .device = arguments->device,
                                       .threads = (uint32_t)arguments->threads};
}

const struct tool_option tool_device_options[] = {
    {"--backend", "NAME", "backend; auto picks the best there is", TOOL_TEXT,
     offsetof(struct tool_model_arguments, backend), 0, 0, false},
    {"--device", "WHICH", "a device's number, name or a part of it, or UUID; see dapt devices",
     TOOL_TEXT, offsetof(struct tool_model_arguments, device), 0, 0, false},
    {"--threads", "N", "threads; 0: all processors", TOOL_COUNT,
     offsetof(struct tool_model_arguments, threads), 0, 4096, false},
    {0},
};
const struct tool_option tool_tokenizer_options[] = {
    TOOL_BASE_OPTION,
    {"--tokenizer", "ID", "tokenizer plugin, where the folder does not say which", TOOL_TEXT,
     offsetof(struct tool_model_arguments, tokenizer), 0, 0, false},
    {0},
};

// ----------------------------------------------------------------------------------------- values

static bool add_item(struct tool_list *list, const char *item) {
    const char **items = realloc(list->items, (list->count + 2) * sizeof *items);
    if (!items) {
        tool_usage("no memory for the arguments");
        return false;
    }
    list->items = items;
    items[list->count++] = item;
    items[list->count] = NULL;
    return true;
}

static bool set_count(const struct tool_option *option, const char *text, uint64_t *value) {
    char *end;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    bool whole = text[0] >= '0' && text[0] <= '9' && *end == '\0' && errno == 0;
    if (whole && (double)number >= option->minimum && (double)number <= option->maximum) {
        *value = number;
        return true;
    }
    tool_usage("%s is \"%s\", expected a whole number from %.0f to %.0f", option->name, text,
               option->minimum, option->maximum);
    return false;
}

static bool set_real(const struct tool_option *option, const char *text, double *value) {
    char *end;
    double number = strtod(text, &end);
    if (end != text && *end == '\0' && isfinite(number) && number >= option->minimum &&
        number <= option->maximum) {
        *value = number;
        return true;
    }
    tool_usage("%s is \"%s\", expected a number from %g to %g", option->name, text, option->minimum,
               option->maximum);
    return false;
}

static bool set_value(const struct tool_option *option, const char *text, void *arguments) {
    void *value = (char *)arguments + option->offset;
    switch (option->kind) {
    case TOOL_FLAG: *(bool *)value = true; return true;
    case TOOL_TEXT: *(const char **)value = text; return true;
    case TOOL_LIST: return add_item(value, text);
    case TOOL_COUNT: return set_count(option, text, value);
    case TOOL_REAL: return set_real(option, text, value);
    }
    return false;
}

// ---------------------------------------------------------------------------------------- parsing

static const struct tool_option *find_option(const struct tool_command *command, const char *word,
                                             size_t length) {
    const struct tool_option *option;
    for (size_t k = 0; (option = tool_option_at(command, k)); k++) {
        if (strlen(option->name) == length && memcmp(option->name, word, length) == 0)
            return option;
    }
    return NULL;
}

static void fail_unknown(const struct tool_command *command, const char *word) {
    const char *names[64] = {"--help"};
    char name[64];
    const struct tool_option *option;
    for (size_t k = 0; k < 62 && (option = tool_option_at(command, k)); k++)
        names[k + 1] = option->name;
    snprintf(name, sizeof name, "%.*s", (int)strcspn(word, "="), word);
    const char *nearest = dapt_text_nearest(name, names);
    if (nearest)
        tool_usage("%s: unknown option %s, did you mean %s?", command->name, name, nearest);
    else
        tool_usage("%s: unknown option %s; `dapt help %s` lists those there are", command->name,
                   name, command->name);
}

// One option at words[*at], which moves to its value where that is a word of its own.
static bool parse_option(const struct tool_command *command, int count, char **words, int *at,
                         void *arguments, const struct tool_option **given) {
    const char *word = words[*at], *equals = strchr(word, '=');
    const struct tool_option *option = find_option(command, word,
                                                   equals ? (size_t)(equals - word) : strlen(word));
    const char *value = equals ? equals + 1 : NULL;
    *given = option;
    if (!option) {
        fail_unknown(command, word);
        return false;
    }
    if (option->kind == TOOL_FLAG && value) {
        tool_usage("%s: %s takes no value", command->name, option->name);
        return false;
    }
    if (option->kind != TOOL_FLAG && !value) {
        if (*at + 1 >= count) {
            tool_usage("%s: %s needs a value: %s %s", command->name, option->name, option->name,
                       option->argument);
            return false;
        }
        value = words[++*at];
    }
    return set_value(option, value, arguments);
}

// The plain arguments as they stand behind the command's name, if there are any.
static const char *plain_of(const struct tool_command *command, char text[128]) {
    snprintf(text, 128, "%s%s", command->plain[0] ? " " : "", command->plain);
    return text;
}

bool tool_parse(const struct tool_command *command, int count, char **words, void *arguments,
                bool *help) {
    char text[128];
    struct tool_arguments *plain = arguments;
    const struct tool_option *last = NULL;
    bool options = true;
    *help = false;
    for (int i = 0; i < count; i++) {
        const char *word = words[i];
        if (options && (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)) {
            *help = true;
            return true;
        }
        if (options && strcmp(word, "--") == 0) {
            options = false;
            last = NULL;
        } else if (options && word[0] == '-' && word[1] != '\0') {
            if (!parse_option(command, count, words, &i, arguments, &last)) return false;
        } else if (last && last->kind == TOOL_LIST && plain->plain_count == command->plain_most) {
            if (!set_value(last, word, arguments)) return false;  // --data a=x b=y
        } else if (plain->plain_count == command->plain_most) {
            tool_usage("%s: \"%s\" is one argument too many; usage: dapt %s%s", command->name, word,
                       command->name, plain_of(command, text));
            return false;
        } else {
            plain->plain[plain->plain_count++] = word;
        }
    }
    if (plain->plain_count < command->plain_least) {
        bool informs = false;  // `dapt train --help-config` needs no configuration
        const struct tool_option *o;
        for (size_t k = 0; (o = tool_option_at(command, k)); k++) {
            informs = informs || (o->alone && *(bool *)((char *)arguments + o->offset));
        }
        if (informs) return true;
        tool_usage("%s: an argument is missing; usage: dapt %s%s", command->name, command->name,
                   plain_of(command, text));
        return false;
    }
    return true;
}

void tool_release(const struct tool_command *command, void *arguments) {
    const struct tool_option *option;
    for (size_t k = 0; (option = tool_option_at(command, k)); k++) {
        if (option->kind == TOOL_LIST)
            free(((struct tool_list *)((char *)arguments + option->offset))->items);
    }
}
