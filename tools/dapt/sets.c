#include <stdlib.h>
#include <string.h>

#include "tool.h"

static bool split(char *word, struct dapt_named_data *data) {
    char *equals = strchr(word, '=');
    const char *slash = strrchr(word, '/');
    if (equals) *equals = '\0';
    *data = equals ? (struct dapt_named_data){word, equals + 1}
                   : (struct dapt_named_data){slash && slash[1] ? slash + 1 : word, word};
    return data->name[0] && data->path[0];
}

enum tool_exit tool_sets_parse(const char *command, const struct tool_list *list,
                               struct tool_sets *sets) {
    *sets = (struct tool_sets){.data = calloc(list->count + 1, sizeof *sets->data),
                               .words = calloc(list->count + 1, sizeof *sets->words),
                               .count = list->count};
    if (!sets->data || !sets->words) return tool_usage("no memory for the arguments");
    for (size_t i = 0; i < list->count; i++) {
        sets->words[i] = strdup(list->items[i]);
        if (!sets->words[i] || !split(sets->words[i], &sets->data[i]))
            return tool_usage("%s: --data is \"%s\", expected NAME=PATH", command, list->items[i]);
        for (size_t k = 0; k < i; k++)
            if (strcmp(sets->data[k].name, sets->data[i].name) == 0)
                return tool_usage("%s: two sets are named \"%s\"; --data NAME=PATH", command,
                                  sets->data[i].name);
    }
    return TOOL_OK;
}

void tool_sets_free(struct tool_sets *sets) {
    for (size_t i = 0; sets->words && i < sets->count; i++) free(sets->words[i]);
    free(sets->words);
    free(sets->data);
    *sets = (struct tool_sets){0};
}
