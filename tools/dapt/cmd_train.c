// dapt train, dapt plan
#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tool.h"

struct train_arguments {
    struct tool_arguments plain;
    struct tool_list sets;
    const char *backend, *device;  // short for --set backend.name=..., backend.device=...
    bool resume, help_config, schema, json;
    uint64_t ranks, machines;  // plan
    double bandwidth, latency;
};

static volatile sig_atomic_t asked;
static bool silent;  // another process says what all of them do

static void say(const char *text) {
    if (silent) return;
    ssize_t written = write(STDERR_FILENO, text, strlen(text));
    (void)written;
}

// As snprintf() is not safe in a signal handler.
static void say_number(uint64_t number) {
    char digits[24], *first = digits + sizeof digits - 1;
    *first = '\0';
    do {
        *--first = (char)('0' + number % 10);
        number /= 10;
    } while (number);
    say(first);
}

static void say_finishing(void) {
    uint64_t step = dapt_step_under_way();
    if (step == 0) {
        say("\ndapt: stopping; again to stop now\n");
        return;
    }
    say("\ndapt: finishing step ");
    say_number(step);
    say(", then writing a checkpoint; again to stop now\n");
}

// The first signal asks training to finish its step and write a checkpoint; a second one (but a
// terminal's closing, which may be told twice) ends the program at once. write() is safe here.
static void on_signal(int number) {
    int before = errno;
    if (!asked) {
        asked = 1;
        say_finishing();
        dapt_interrupt();
    } else if (number != SIGHUP) {
        say("\ndapt: stopped at once: what was trained since the last checkpoint is lost; --resume "
            "goes on from that one\n");
        signal(number, SIG_DFL);
        raise(number);
    }
    errno = before;
}

void tool_catch_signals(void) {
    struct sigaction before, action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    silent = !tool_leads();
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGUSR1, &action, NULL);  // what launchers and job schedulers pass on
    if (sigaction(SIGHUP, NULL, &before) == 0 && before.sa_handler != SIG_IGN)  // else: nohup
        sigaction(SIGHUP, &action, NULL);
}

const char **tool_all_sets(const struct tool_list *list, const char *backend, const char *device,
                           char words[2][320]) {
    size_t count = 0;
    const char **sets = calloc(list->count + 3, sizeof *sets);
    if (!sets) return NULL;
    for (; count < list->count; count++) sets[count] = list->items[count];
    snprintf(words[0], sizeof words[0], "backend.name=%s", backend ? backend : "");
    snprintf(words[1], sizeof words[1], "backend.device=%s", device ? device : "");
    if (backend) sets[count++] = words[0];
    if (device) sets[count++] = words[1];
    return sets;
}

static void ignore(void *user, const struct dapt_train_event *event) {
    (void)user;
    (void)event;
}

static enum dapt_status print_plan(const struct dapt_plan *plan) {
    const struct {
        const char *key;
        double value;
    } figures[] = {
        {"steps", (double)plan->steps},
        {"tokens", (double)plan->tokens},
        {"passes", plan->passes},
        {"evaluations", (double)plan->evaluations},
        {"checkpoints", (double)plan->checkpoints},
        {"checkpoints_kept", (double)plan->checkpoints_kept},
        {"memory", (double)plan->memory},
        {"host_memory", (double)plan->host_memory},
        {"checkpoint_bytes", (double)plan->checkpoint_bytes},
        {"disk_bytes", (double)plan->disk_bytes},
        {"free_bytes", (double)plan->free_bytes},
        {"prepare_seconds", plan->prepare_seconds},
        {"step_seconds", plan->step_seconds},
        {"train_seconds", plan->train_seconds},
        {"evaluate_seconds", plan->evaluate_seconds},
        {"rank_memory", (double)plan->rank_memory},
        {"rank_sent", (double)plan->rank_sent},
        {"rank_step_seconds", plan->rank_step_seconds},
        {"rank_efficiency", plan->rank_efficiency},
    };
    cJSON *root = cJSON_CreateObject();
    for (size_t i = 0; i < sizeof figures / sizeof figures[0]; i++)
        cJSON_AddNumberToObject(root, figures[i].key, figures[i].value);
    return tool_print_json(root);
}

static enum tool_exit train(const struct train_arguments *a, bool plan_only) {
    char words[2][320];
    const char **sets = tool_all_sets(&a->sets, a->backend, a->device, words);
    if (!sets) return tool_usage("no memory for the arguments");
    struct dapt_train_options options = {
        .config = a->plain.plain[0], .sets = sets, .resume = a->resume, .plan_only = plan_only};
    options.plan_ranks = (struct dapt_plan_ranks){.ranks = (uint32_t)a->ranks,
                                                  .machines = (uint32_t)a->machines,
                                                  .bandwidth = 1e9 * a->bandwidth,
                                                  .latency = 1e-3 * a->latency};
    struct dapt_plan plan;
    if (a->json) {
        options.plan = &plan;
        options.callback = ignore;
    }
    enum dapt_status status = dapt_train(&options);
    free(sets);
    if (!status && a->json) status = print_plan(&plan);
    return tool_finish(status);
}

static enum tool_exit print_config_help(void) {
    struct tool_page page;
    if (!tool_page_begin(&page)) return TOOL_FAILURE;
    enum dapt_status status = dapt_config_describe(tool_emit, page.out);
    tool_page_end_help(&page, stdout);
    return tool_finish(status);
}

static enum tool_exit run_train(void *arguments) {
    const struct train_arguments *a = arguments;
    if (a->help_config) return print_config_help();
    if (a->schema) return tool_finish(dapt_config_describe_schema(tool_emit, NULL));
    tool_catch_signals();
    return train(a, false);
}

static const struct tool_option train_options[] = {
    {"--set", "KEY=VALUE", "overrides a key of the configuration: --set train.steps=50", TOOL_LIST,
     offsetof(struct train_arguments, sets), 0, 0, false},
    {"--backend", "NAME", "short for --set backend.name=NAME", TOOL_TEXT,
     offsetof(struct train_arguments, backend), 0, 0, false},
    {"--device", "WHICH", "short for --set backend.device=WHICH; see dapt devices", TOOL_TEXT,
     offsetof(struct train_arguments, device), 0, 0, false},
    {"--resume", NULL, "continues from the newest whole checkpoint of the run folder", TOOL_FLAG,
     offsetof(struct train_arguments, resume), 0, 0, false},
    {"--help-config", NULL, "prints every key of a configuration", TOOL_FLAG,
     offsetof(struct train_arguments, help_config), 0, 0, true},
    {"--schema", NULL, "prints the JSON Schema of a configuration", TOOL_FLAG,
     offsetof(struct train_arguments, schema), 0, 0, true},
    {0},
};

const struct tool_command tool_train = {
    .name = "train",
    .plain = "CONFIG",
    .summary = "trains as a configuration says",
    .notes =
        "Ctrl-C finishes the step, writes a checkpoint and exits with 130; a second one ends at "
        "once.\n"
        "A resume must keep what decides the course of training (data, batch, sequence, seed, "
        "optimizer, schedule); how often to evaluate and to write checkpoints, the device and the "
        "run folder's place are free. Another number of steps is asked for by --set "
        "train.steps=N.\n"
        "Started several times by mpirun or srun (mpirun -n 4 dapt train my.json) it is one run of "
        "so "
        "many ranks.",
    .options = train_options,
    .ranks = true,
    .size = sizeof(struct train_arguments),
    .plain_least = 1,
    .plain_most = 1,
    .run = run_train,
};

// ------------------------------------------------------------------------------------------- plan

static enum tool_exit run_plan(void *arguments) {
    return train(arguments, true);
}

static const struct tool_option plan_options[] = {
    {"--set", "KEY=VALUE", "overrides a key of the configuration", TOOL_LIST,
     offsetof(struct train_arguments, sets), 0, 0, false},
    {"--backend", "NAME", "short for --set backend.name=NAME", TOOL_TEXT,
     offsetof(struct train_arguments, backend), 0, 0, false},
    {"--device", "WHICH", "short for --set backend.device=WHICH; see dapt devices", TOOL_TEXT,
     offsetof(struct train_arguments, device), 0, 0, false},
    {"--ranks", "N", "also what a step takes on N devices like this one; see dapt help train",
     TOOL_COUNT, offsetof(struct train_arguments, ranks), 1, 65536, false},
    {"--machines", "N", "that the ranks are on, evenly; default: 1", TOOL_COUNT,
     offsetof(struct train_arguments, machines), 1, 65536, false},
    {"--bandwidth", "GBITS", "gigabits a second between a machine and the others; default: 10",
     TOOL_REAL, offsetof(struct train_arguments, bandwidth), 1e-3, 1e6, false},
    {"--latency", "MS", "milliseconds that a message between machines takes; default: 0.05",
     TOOL_REAL, offsetof(struct train_arguments, latency), 1e-4, 1e4, false},
    {"--json", NULL, "prints one JSON object: steps, bytes and seconds", TOOL_FLAG,
     offsetof(struct train_arguments, json), 0, 0, false},
    {0},
};

const struct tool_command tool_plan = {
    .name = "plan",
    .plain = "CONFIG",
    .summary = "tells what training would do: data, memory, steps, time, disk",
    .options = plan_options,
    .size = sizeof(struct train_arguments),
    .plain_least = 1,
    .plain_most = 1,
    .run = run_plan,
};
