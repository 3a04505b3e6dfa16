// The `dapt` command.
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tool.h"

static enum tool_exit unknown_command(const char *name) {
    const char *names[64] = {"help"};
    for (size_t i = 0; i < 62 && tool_commands[i]; i++) names[i + 1] = tool_commands[i]->name;
    const char *nearest = dapt_text_nearest(name, names);
    return nearest
               ? tool_usage("there is no command \"%s\", did you mean \"%s\"?", name, nearest)
               : tool_usage("there is no command \"%s\"; `dapt help` lists those there are", name);
}

// As a launcher ends all when one ends, those that say nothing wait until the first has said why.
static enum tool_exit refuse_ranks(const char *name, const struct dapt_launch *launch) {
    if (tool_leads())
        return tool_usage("%s: %s started %u processes, but this command is one: start it without",
                          name, launch->launcher, launch->size);
    sleep(2);
    return TOOL_USAGE;
}

static enum tool_exit run_command(const struct tool_command *command, int count, char **words) {
    bool help;
    struct dapt_launch launch;
    enum tool_exit result = TOOL_USAGE;
    void *arguments = calloc(1, command->size);
    if (!arguments) return tool_usage("no memory for the arguments");
    if (tool_parse(command, count, words, arguments, &help)) {
        if (help) {
            tool_print_help(command);
            result = tool_finish(DAPT_OK);
        } else if (!command->ranks && dapt_launched(&launch) && launch.size > 1) {
            result = refuse_ranks(command->name, &launch);
        } else {
            result = command->run(arguments);
        }
    }
    tool_release(command, arguments);
    free(arguments);
    return result;
}

static enum tool_exit run_help(int count, char **words) {
    if (count > 1) return tool_usage("help: expected at most one command");
    const struct tool_command *command = count ? tool_find_command(words[0]) : NULL;
    if (count && !command) return unknown_command(words[0]);
    if (command)
        tool_print_help(command);
    else
        tool_print_overview(stdout);
    return tool_finish(DAPT_OK);
}

// Before anything is opened: a file that got one of the first three numbers would receive what is
// printed. What is written to a pipe that nobody reads, or beyond a limit of file sizes, is an error
// that is told and leaves a checkpoint, not an end without a word.
static void prepare_process(void) {
    int fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd < STDERR_FILENO) fd = dup(fd);
    if (fd > STDERR_FILENO) close(fd);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    dapt_handle_crashes();
}

int main(int count, char **words) {
    prepare_process();
    if (count < 2) {
        tool_print_overview(stderr);
        return TOOL_USAGE;
    }
    const char *name = words[1];
    if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0) {
        printf("dapt %s\n", dapt_version());
        return tool_finish(DAPT_OK);
    }
    if (strcmp(name, "help") == 0) return run_help(count - 2, words + 2);
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) return run_help(0, NULL);
    if (name[0] == '-')
        return tool_usage("unknown option %s; `dapt help` lists the commands", name);
    const struct tool_command *command = tool_find_command(name);
    enum tool_exit result = command ? run_command(command, count - 2, words + 2)
                                    : unknown_command(name);
    // A device that failed may still run what it was given: its driver is not taken down under it.
    if (result == TOOL_DEVICE) {
        fflush(NULL);
        _exit(result);
    }
    return result;
}
