// The table of functions that plugins and backends receive.
#include "host/input.h"
#include "host/module.h"
#include "host/module_dir.h"

static void host_log(const struct dapt_host *host, enum dapt_log_level level, const char *line) {
    (void)host;
    dapt_log(level, "%s", line ? line : "");
}

static enum dapt_status host_fail(const struct dapt_host *host, enum dapt_status status,
                                  const char *line) {
    (void)host;
    return dapt_fail(status, "%s", line ? line : "a plugin gave no reason");
}

static struct dapt_input *host_open_input(const struct dapt_host *host, const char *path) {
    (void)host;
    struct dapt_input *input;
    return dapt_input_open(path, &input) ? NULL : input;
}

static void host_close_input(struct dapt_input *input) {
    dapt_input_close(&input);
}

static const struct dapt_host table = {
    .struct_size = sizeof(struct dapt_host),
    .log = host_log,
    .fail = host_fail,
    .option_string = dapt_option_string,
    .option_number = dapt_option_number,
    .option_integer = dapt_option_integer,
    .option_bool = dapt_option_bool,
    .open_input = host_open_input,
    .read_input = dapt_input_read,
    .close_input = host_close_input,
};

const struct dapt_host *dapt_host(void) {
    return &table;
}

const char *dapt_version(void) {
    return DAPT_VERSION;
}
