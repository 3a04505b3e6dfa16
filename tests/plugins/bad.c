// Modules that a loader must refuse (or pass over), one for each BAD_... that the build defines.
#include <stdio.h>
#include <stdlib.h>

#include "dapt/backend.h"
#include "dapt/comm.h"

#if defined(BAD_NO_ENTRY)

DAPT_EXPORT int nothing_of_dapt(void);
int nothing_of_dapt(void) {
    return 0;
}

#elif defined(BAD_FUNCTION_ENTRY)

DAPT_EXPORT int dapt_plugin_entry_function(void) __asm__("dapt_plugin_entry");
int dapt_plugin_entry_function(void) {
    return DAPT_PLUGIN_ABI;
}

#elif defined(BAD_BACKEND_ABI) || defined(BAD_BACKEND_SIZE) || defined(BAD_BACKEND_NULL) || \
    defined(BAD_BACKEND_NOTHING)

static const struct dapt_backend backend = {
#if defined(BAD_BACKEND_SIZE)
    .struct_size = sizeof(struct dapt_backend) - 8,
#else
    .struct_size = sizeof(struct dapt_backend),
#endif
    .name = "bad",
    .summary = "a backend without functions",
};
const struct dapt_backend_entry dapt_backend_entry = {
#if defined(BAD_BACKEND_ABI)
    DAPT_BACKEND_ABI + 1,
#else
    DAPT_BACKEND_ABI,
#endif
#if defined(BAD_BACKEND_NOTHING)
    NULL,
#else
    &backend,
#endif
};

#elif defined(BAD_COMM_ABI) || defined(BAD_COMM_NULL)

static const struct dapt_comm comm = {
    .struct_size = sizeof(struct dapt_comm),
    .id = "bad",
    .version = "1",
    .summary = "a comm without functions",
};
const struct dapt_comm_entry dapt_comm_entry = {
#if defined(BAD_COMM_ABI)
    DAPT_COMM_ABI + 1,
#else
    DAPT_COMM_ABI,
#endif
    &comm,
};

#else  // plugins: one schedule that is well but for one thing

#if defined(BAD_ABI)
// Code of a module of another version must not run, not even this. (The test looks at the environment.)
__attribute__((constructor)) static void run_too_early(void) {
    setenv("DAPT_TEST_CONSTRUCTOR", "ran", 1);
}
#endif

#if defined(BAD_UNDEFINED)
extern int what_nobody_has(void);
#endif

static enum dapt_status open_schedule(const struct dapt_host *host,
                                      const struct dapt_options *options, void **handle) {
    (void)options;
    *handle = NULL;
#if defined(BAD_OPEN)
    return host->fail(host, DAPT_ERROR_INVALID, "the moon is in the wrong phase");
#elif defined(BAD_UNDEFINED)
    (void)host;
    return what_nobody_has() ? DAPT_OK : DAPT_ERROR_INTERNAL;
#else
    (void)host;
    return DAPT_OK;
#endif
}

static void at(void *handle, uint64_t step, uint64_t total, struct dapt_schedule_point *point) {
    (void)handle, (void)step, (void)total;
    point->learning_rate = 1;
}

static void close_schedule(void *handle) {
    (void)handle;
}

static const struct dapt_schedule_1 schedule = {
    .open = open_schedule,
#if !defined(BAD_NULL_FUNCTION)
    .at = at,
#endif
    .close = close_schedule,
};

static const struct dapt_option options[] = {
#if defined(BAD_OPTION_TYPE)
    {"x", (enum dapt_option_type)9, "1", "an option", 0, 0},
#elif defined(BAD_OPTION_DEFAULT)
    {"x", DAPT_OPTION_INTEGER, "many", "an option", 0, 0},
#elif defined(BAD_OPTION_RANGE)
    {"x", DAPT_OPTION_NUMBER, "2", "an option", 0, 1},
#elif defined(BAD_OPTION_NAME)
    {"path", DAPT_OPTION_STRING, "", "an option", 0, 0},
#elif defined(BAD_OPTION_TWICE)
    {"x", DAPT_OPTION_STRING, "", "an option", 0, 0},
    {"x", DAPT_OPTION_STRING, "", "an option", 0, 0},
#elif defined(BAD_OPTION_HELP)
    {"x", DAPT_OPTION_STRING, "", NULL, 0, 0},
#else
    {"must", DAPT_OPTION_NUMBER, NULL, "an option without a default", 0, 1},
    {"word", DAPT_OPTION_STRING, "hello", "a word", 0, 0},
    {"count", DAPT_OPTION_INTEGER, "3", "a count", 1, 10},
    {"flag", DAPT_OPTION_BOOL, "true", "yes or no", 0, 0},
#endif
    {.name = NULL},
};

#if defined(BAD_KIND)
#define KIND "dapt.telepathy/1"
#elif defined(BAD_NULL_KIND)
#define KIND NULL
#else
#define KIND DAPT_SCHEDULE_1
#endif
#if defined(BAD_ID)
#define ID "Not An Id"
#elif defined(BAD_NULL_ID)
#define ID NULL
#elif defined(BAD_HIDES)
#define ID "cosine"
#else
#define ID "test"
#endif

static const struct dapt_plugin_descriptor descriptors[] = {
    {KIND, ID, "0.1", "a schedule for tests", options, &schedule},
#if defined(BAD_TWICE)
    {KIND, ID, "0.1", "a schedule for tests", options, &schedule},
#endif
};

const struct dapt_plugin_entry dapt_plugin_entry = {
#if defined(BAD_ABI)
    DAPT_PLUGIN_ABI + 1,
#else
    DAPT_PLUGIN_ABI,
#endif
#if defined(BAD_COUNT)
    4000000000u,
#elif defined(BAD_COUNT_ZERO)
    0,
#else
    sizeof descriptors / sizeof *descriptors,
#endif
#if defined(BAD_NULL_LIST)
    NULL,
#else
    descriptors,
#endif
};
#endif
