// dapt pilot
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tool.h"

struct pilot_arguments {
    struct tool_arguments plain;
    struct tool_list sets, shares, rates;
    const char *time, *backend, *device, *out;
    uint64_t steps, tokens;
    double reach;
    bool keep, json;
};

// "30m", "2h", "90s", "1.5h"; a number alone is seconds.
static bool parse_time(const char *text, double *seconds) {
    static const struct {
        const char *unit;
        double seconds;
    } units[] = {{"", 1}, {"s", 1}, {"m", 60}, {"h", 3600}, {"d", 86400}};
    char *end;
    double number = strtod(text, &end);
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (end == text || strcmp(end, units[i].unit) != 0) continue;
        *seconds = number * units[i].seconds;
        return isfinite(*seconds) && *seconds >= 1;
    }
    return false;
}

// The numbers of "0.02,0.1" and of further words; NULL: one is none, or there is no memory.
static double *parse_numbers(const struct tool_list *list, size_t *count) {
    size_t room = 1;
    for (size_t i = 0; i < list->count; i++) room += strlen(list->items[i]);
    double *numbers = calloc(room, sizeof *numbers);
    *count = 0;
    for (size_t i = 0; numbers && i < list->count; i++) {
        const char *at = list->items[i];
        for (char *end; numbers; at = end + 1) {
            numbers[(*count)++] = strtod(at, &end);
            bool good = end != at && (*end == ',' || *end == '\0');
            if (!good) {
                free(numbers);
                numbers = NULL;
            } else if (*end == '\0') {
                break;
            }
        }
    }
    return numbers;
}

static void tell(void *user, const char *line) {
    const struct pilot_arguments *a = user;
    FILE *to = a->json ? stderr : stdout;
    if (a->json && strncmp(line, "pilot", 5) != 0) return;  // with --json only how far they are
    if (dapt_text_wrap(line, dapt_text_columns(a->json ? 2 : 1), 16, tool_emit, to) != DAPT_OK)
        fprintf(to, "%s\n", line);
    fflush(to);
}

static bool emit(void *user, const char *text, size_t length) {
    const struct pilot_arguments *a = user;
    return !a->json || (tool_emit(NULL, text, length) && putchar('\n') != EOF);
}

static enum dapt_status start(const struct pilot_arguments *a, double seconds, double *shares,
                              size_t share_count, double *rates, size_t rate_count) {
    char words[2][320];
    const char **sets = tool_all_sets(&a->sets, a->backend, a->device, words);
    if (!sets) return DAPT_ERROR_MEMORY;
    const struct dapt_pilot_options options = {.config = a->plain.plain[0],
                                               .sets = sets,
                                               .seconds = seconds,
                                               .steps = a->steps,
                                               .tokens = a->tokens,
                                               .shares = shares,
                                               .share_count = share_count,
                                               .rates = rates,
                                               .rate_count = rate_count,
                                               .reach = a->reach,
                                               .out = a->out,
                                               .keep = a->keep,
                                               .tell = tell,
                                               .emit = emit,
                                               .user = (void *)a};
    enum dapt_status status = dapt_pilot(&options);
    free(sets);
    if (status == DAPT_ERROR_CANCELLED) fprintf(stderr, "dapt: %s\n", dapt_last_error());
    return status;
}

static enum tool_exit run_pilot(void *arguments) {
    const struct pilot_arguments *a = arguments;
    double seconds = 0;
    size_t share_count, rate_count;
    enum tool_exit result = TOOL_OK;
    if (a->time && !parse_time(a->time, &seconds))
        return tool_usage("pilot: --time is \"%s\", expected a time as 90s, 30m or 2h", a->time);
    if ((a->time != NULL) + (a->steps > 0) + (a->tokens > 0) > 1)
        return tool_usage("pilot: expected one of --time, --steps and --tokens");
    double *shares = parse_numbers(&a->shares, &share_count);
    double *rates = parse_numbers(&a->rates, &rate_count);
    if (!shares || !rates)
        result = tool_usage("pilot: %s is \"%s\", expected numbers, as in 0.02,0.1,0.3",
                            shares ? "--rates" : "--shares",
                            shares ? a->rates.items[0] : a->shares.items[0]);
    if (result == TOOL_OK) {
        tool_catch_signals();
        result = tool_finish(start(a, seconds, shares, share_count, rates, rate_count));
    }
    free(shares);
    free(rates);
    return result;
}

#define TEXT(name, argument, help, member) \
    { name, argument, help, TOOL_TEXT, offsetof(struct pilot_arguments, member), 0, 0, false }
#define LIST(name, argument, help, member) \
    { name, argument, help, TOOL_LIST, offsetof(struct pilot_arguments, member), 0, 0, false }
#define FLAG(name, help, member) \
    { name, NULL, help, TOOL_FLAG, offsetof(struct pilot_arguments, member), 0, 0, false }
static const struct tool_option pilot_options[] = {
    TEXT("--time", "TIME", "what all pilots together may take, as 90s, 30m or 2h; default: 30m",
         time),
    {"--steps", "N", "so many steps of all pilots together, instead of a time", TOOL_COUNT,
     offsetof(struct pilot_arguments, steps), 1, 1e15, false},
    {"--tokens", "N", "so many tokens of all pilots together, instead of a time", TOOL_COUNT,
     offsetof(struct pilot_arguments, tokens), 1, 1e18, false},
    LIST("--shares", "LIST", "shares of replay that are tried; default: 0.02,0.08,0.2,0.5", shares),
    LIST("--rates", "LIST",
         "learning rates (peaks) that are tried; default: a third of the configured one, it, and "
         "three times it",
         rates),
    {"--reach", "X", "how many times as long as the longest pilot the full run may be; default: 32",
     TOOL_REAL, offsetof(struct pilot_arguments, reach), 1, 1e6, false},
    TEXT("--out", "FILE", "writes the full run's configuration; it is not there yet", out),
    FLAG("--keep", "keeps the pilots' checkpoints, which are removed when their figures are known",
         keep),
    LIST("--set", "KEY=VALUE", "overrides a key of the configuration", sets),
    TEXT("--backend", "NAME", "short for --set backend.name=NAME", backend),
    TEXT("--device", "WHICH", "short for --set backend.device=WHICH; see dapt devices", device),
    FLAG("--json", "prints pilot.json; how far the pilots are goes to standard error", json),
    {0},
};

const struct tool_command tool_pilot = {
    .name = "pilot",
    .plain = "CONFIG",
    .summary = "short runs that tell which share of replay, rate and tokens the full run needs",
    .notes =
        "Runs go to RUN-pilot, each an ordinary run: every share with every rate, then every share "
        "at the best rate for other lengths. By them the losses of the domain and of general text "
        "are fitted as functions of tokens and share (the D-CPT law, Que et al. 2024), and a "
        "share, "
        "a rate and a number of tokens recommended with 95 % intervals: those with the best domain "
        "score inside train.budget; without a budget the least sum of the changes of domain and "
        "general (of several sets the mean), in bits/byte. Where the laws miss pilots that they "
        "were not fitted to, or the full run is too far from them, it says \"cannot extrapolate\", "
        "why, and writes no configuration.\n"
        "Stopped or killed, the same command goes on from there, and ends in the same bytes: a "
        "time becomes steps once. RUN-pilot/pilot.json has all figures.",
    .options = pilot_options,
    .size = sizeof(struct pilot_arguments),
    .plain_least = 1,
    .plain_most = 1,
    .run = run_pilot,
};
