// core/host/loader.h: what is found, what is refused and with which words; the options of plugins.
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/files.h"
#include "base/hash.h"
#include "base/rng.h"
#include "host/json.h"
#include "host/loader.h"
#include "host/module.h"

static struct dapt_arena arena;
static char scratch[64];

static const char *built(const char *name) {
    return dapt_arena_format(&arena, "%s/tests/plugins/%s", getenv("DAPT_TEST_BUILD"), name);
}

static int make_scratch(void **state) {
    (void)state;
    dapt_log_level(DAPT_LOG_ERROR);
    strcpy(scratch, "/tmp/dapt-test-loader-XXXXXX");
    return mkdtemp(scratch) ? 0 : -1;
}

static int drop_scratch(void **state) {
    (void)state;
    dapt_arena_free(&arena);
    return dapt_remove_tree(scratch);
}

static enum dapt_status load(const char *place, struct dapt_modules **modules) {
    const char *const places[] = {place, NULL};
    return dapt_modules_load(places, modules);
}

static void refused(const char *place, const char *reason) {
    struct dapt_modules *modules = (struct dapt_modules *)8;
    enum dapt_status status = load(place, &modules);
    if (!status) fail_msg("%s was loaded", place);
    assert_null(modules);
    if (strncmp(dapt_error(), place, strlen(place)) != 0 || !strstr(dapt_error(), reason)) {
        fail_msg("%s: expected \"...%s...\", got \"%s\"", place, reason, dapt_error());
    }
}

static void test_bad_modules_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *name, *reason;
    } cases[] = {
        {"bad_abi.so", "was built for version 2 of the plugin interface, this dapt speaks 1"},
        {"bad_backend_abi.so",
         "was built for version 5 of the backend interface, this dapt speaks 4"},
        {"bad_backend_size.so", "it was built with another core"},
        {"bad_backend_null.so", "\"bad\": function 1 of its table is NULL"},
        {"bad_backend_nothing.so", "its backend is NULL"},
        {"bad_comm_abi.so", "was built for version 2 of the comm interface, this dapt speaks 1"},
        {"bad_comm_null.so", "\"bad\": function 1 of its table is NULL"},
        {"bad_no_entry.so",
         "exports none of dapt_plugin_entry, dapt_backend_entry, dapt_comm_entry"},
        {"bad_function_entry.so", "its entry symbol is not a table in the file"},
        {"bad_undefined.so", "cannot be loaded: undefined symbol: what_nobody_has"},
        {"bad_null_function.so", "\"test\": function 2 of its dapt.schedule/1 is NULL"},
        {"bad_null_kind.so", "descriptor 0: kind is NULL"},
        {"bad_null_id.so", "descriptor 0: id is NULL"},
        {"bad_null_list.so", "its list of descriptors is NULL"},
        {"bad_id.so", "the id \"Not An Id\" is not of a-z"},
        {"bad_twice.so", "lists \"test\" (dapt.schedule/1) twice"},
        {"bad_count.so", "has 4000000000 descriptors, expected 1 to 256"},
        {"bad_count_zero.so", "has 0 descriptors, expected 1 to 256"},
        {"bad_option_type.so", "option \"x\" has the unknown type 9"},
        {"bad_option_default.so", "option \"x\": its default \"many\" does not fit"},
        {"bad_option_range.so", "option \"x\": its default \"2\" does not fit"},
        {"bad_option_name.so", "the option name \"path\" belongs to the host"},
        {"bad_option_twice.so", "option \"x\" stands twice"},
        {"bad_option_help.so", "option \"x\" has no help"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        refused(built(cases[i].name), cases[i].reason);
    assert_null(getenv("DAPT_TEST_CONSTRUCTOR"));  // nothing of the module of another version ran
}

static void test_files_that_are_no_modules(void **state) {
    (void)state;
    char *path = dapt_arena_format(&arena, "%s/x.so", scratch);
    assert_int_equal(dapt_file_write(path, "", 0), DAPT_OK);
    refused(path, "is not a shared object");
    assert_int_equal(dapt_file_write(path, "#!/bin/sh\necho hello\n", 21), DAPT_OK);
    refused(path, "is not a shared object");
    refused("/nowhere/plugins", "cannot be read");
    char program[4096] = {0};
    assert_true(readlink("/proc/self/exe", program, sizeof program - 1) > 0);
    refused(program, "exports none of");  // an executable, or one that is position-independent
}

// In a folder they are left out, and whoever misses what they may have offered hears of them.
static void test_folder_with_strangers(void **state) {
    (void)state;
    struct dapt_modules *modules;
    static const char *const strangers[] = {"bad_abi.so", "bad_null_function.so", "bad_twice.so"};
    char *place = dapt_arena_format(&arena, "%s/mixed", scratch);
    char *junk = dapt_arena_format(&arena, "%s/a.so", place);
    assert_int_equal(dapt_mkdirs(dapt_arena_format(&arena, "%s/b.so", place)), DAPT_OK);
    assert_int_equal(dapt_file_write(junk,
                                     "\x7f"
                                     "ELF",
                                     4),
                     DAPT_OK);
    assert_int_equal(dapt_file_write(dapt_arena_format(&arena, "%s/c.txt", place), "c", 1),
                     DAPT_OK);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(dapt_copy_file(built(strangers[i]),
                                        dapt_arena_format(&arena, "%s/%s", place, strangers[i])),
                         DAPT_OK);
    assert_int_equal(load(place, &modules), DAPT_OK);
    assert_null(dapt_modules_plugin(modules, DAPT_SCHEDULE_1, "test"));
    static const char *const parts[] = {"there are: constant, ",
                                        "; left out: ",
                                        "a.so: ",
                                        "b.so: ",
                                        "bad_abi.so: was built for version 2",
                                        "bad_null_function.so: ",
                                        "bad_twice.so: "};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (!strstr(dapt_error(), parts[i])) fail_msg("%s: \"%s\"", parts[i], dapt_error());
    assert_null(strstr(dapt_error(), "c.txt"));
    dapt_modules_unload(&modules);
    assert_int_equal(dapt_copy_file(built("good.so"), dapt_arena_format(&arena, "%s/z.so", place)),
                     DAPT_OK);
    assert_int_equal(load(place, &modules), DAPT_OK);
    assert_non_null(dapt_modules_plugin(modules, DAPT_SCHEDULE_1, "test"));
    dapt_modules_unload(&modules);
    assert_null(getenv("DAPT_TEST_CONSTRUCTOR"));
}

static void test_every_truncation_is_refused(void **state) {
    (void)state;
    struct dapt_map map;
    assert_int_equal(dapt_map_open(built("good.so"), &map), DAPT_OK);
    char *path = dapt_arena_format(&arena, "%s/truncated.so", scratch);
    FILE *file = fopen(path, "wb");
    assert_int_equal(fwrite(map.data, 1, map.size, file), map.size);
    fclose(file);
    enum dapt_module_type type;
    uint32_t abi;
    assert_int_equal(dapt_module_peek(path, &type, &abi), DAPT_OK);
    for (size_t size = map.size; size-- > 0; size -= size > 600 ? size % 89 : 0) {
        assert_int_equal(truncate(path, (off_t)size), 0);
        assert_int_equal(dapt_module_peek(path, &type, &abi), DAPT_ERROR_INVALID);
    }
    dapt_map_close(&map);
}

// A damaged file may still look like a module; what counts is that looking at it does no harm.
static void test_mutated_modules_do_no_harm(void **state) {
    (void)state;
    struct dapt_map map;
    assert_int_equal(dapt_map_open(built("good.so"), &map), DAPT_OK);
    char *path = dapt_arena_format(&arena, "%s/mutated.so", scratch);
    size_t refusals = 0;
    for (uint64_t round = 0; round < 400; round++) {
        unlink(path);
        FILE *file = fopen(path, "wb");
        assert_int_equal(fwrite(map.data, 1, map.size, file), map.size);
        for (uint64_t k = 0; k < 40;
             k++) {  // half of them in the header, the rest in the section table at the end
            uint64_t bits = dapt_random_bits(2, round, k);
            long at = k % 2 ? (long)(bits % 64) : (long)(map.size - 1 - bits % 2000);
            if (at < 16) continue;
            fseek(file, at, SEEK_SET);
            fputc(bits & 1 << 20 ? 0xff : (int)(bits >> 40 & 255), file);
        }
        fclose(file);
        enum dapt_module_type type;
        uint32_t abi;
        refusals += dapt_module_peek(path, &type, &abi) != DAPT_OK;
    }
    assert_true(refusals > 100);
    dapt_map_close(&map);
}

static void test_finds_the_modules_of_the_build(void **state) {
    (void)state;
    struct dapt_modules *modules;
    assert_int_equal(dapt_modules_load(NULL, &modules), DAPT_OK);
    static const char *const ids[] = {"constant", "linear", "cosine", "wsd", "inverse-sqrt"};
    for (size_t i = 0; i < 5; i++) {
        const struct dapt_plugin_descriptor *d = dapt_modules_plugin(modules, DAPT_SCHEDULE_1,
                                                                     ids[i]);
        assert_non_null(d);
        assert_ptr_equal(d, dapt_modules_each(modules, DAPT_SCHEDULE_1, i));
    }
    assert_null(dapt_modules_each(modules, DAPT_SCHEDULE_1, 5));
    assert_null(dapt_modules_plugin(modules, DAPT_SCHEDULE_1, "cosinus"));
    assert_string_equal(dapt_error(),
                        "no schedule \"cosinus\" was found, did you mean \"cosine\"? (there are: "
                        "constant, linear, cosine, "
                        "wsd, inverse-sqrt)");
    assert_null(dapt_modules_backend(modules, "abacus"));
    assert_non_null(strstr(dapt_error(), "no backend \"abacus\" was found"));
    size_t schedules = 0;
    for (size_t i = 0; i < dapt_modules_count(modules); i++) {
        struct dapt_module_info info;
        dapt_modules_at(modules, i, &info);
        assert_true(info.path[0] == '/' && info.id && info.version && info.summary);
        schedules += strcmp(info.kind, DAPT_SCHEDULE_1) == 0;
    }
    assert_int_equal(schedules, 5);
    dapt_modules_unload(&modules);
    assert_null(modules);
    dapt_modules_unload(&modules);
}

static void test_unknown_kind_is_passed_over(void **state) {
    (void)state;
    struct dapt_modules *modules;
    assert_int_equal(load(built("bad_kind.so"), &modules), DAPT_OK);
    assert_null(dapt_modules_plugin(modules, "dapt.telepathy/1", "test"));
    dapt_modules_unload(&modules);
}

static void test_first_on_the_path_wins(void **state) {
    (void)state;
    struct dapt_modules *modules;
    assert_int_equal(load(built("bad_hides.so"), &modules), DAPT_OK);
    const struct dapt_plugin_descriptor *d = dapt_modules_plugin(modules, DAPT_SCHEDULE_1,
                                                                 "cosine");
    assert_non_null(d);
    assert_string_equal(d->summary, "a schedule for tests");
    dapt_modules_unload(&modules);
}

static void test_environment(void **state) {
    (void)state;
    struct dapt_modules *modules;
    char *place = dapt_arena_format(&arena, "%s/found", scratch);
    char *path = dapt_arena_format(&arena, "%s/good.so", place);
    assert_int_equal(dapt_mkdirs(place), DAPT_OK);
    assert_int_equal(dapt_copy_file(built("good.so"), path), DAPT_OK);
    setenv("DAPT_PLUGIN_PATH", dapt_arena_format(&arena, ":%s:", place), 1);
    assert_int_equal(dapt_modules_load(NULL, &modules), DAPT_OK);
    assert_non_null(dapt_modules_plugin(modules, DAPT_SCHEDULE_1, "test"));
    dapt_modules_unload(&modules);
    setenv("DAPT_PLUGIN_PATH", "found", 1);
    assert_int_equal(dapt_modules_load(NULL, &modules), DAPT_ERROR_INVALID);
    assert_string_equal(dapt_error(),
                        "DAPT_PLUGIN_PATH: \"found\" is relative, expected absolute paths");
    setenv("DAPT_PLUGIN_PATH", "/nowhere", 1);
    assert_true(dapt_modules_load(NULL, &modules) < 0);
    unsetenv("DAPT_PLUGIN_PATH");
    assert_int_equal(chdir(place), 0);  // never the current folder
    assert_int_equal(dapt_modules_load(NULL, &modules), DAPT_OK);
    assert_null(dapt_modules_plugin(modules, DAPT_SCHEDULE_1, "test"));
    dapt_modules_unload(&modules);
    assert_int_equal(chdir("/"), 0);
}

static void test_open_that_fails_says_why(void **state) {
    (void)state;
    struct dapt_modules *modules;
    assert_int_equal(load(built("bad_open.so"), &modules), DAPT_OK);
    const struct dapt_plugin_descriptor *d = dapt_modules_plugin(modules, DAPT_SCHEDULE_1, "test");
    const struct dapt_schedule_1 *schedule = d->implementation;
    void *handle;
    assert_int_equal(schedule->open(dapt_host(), NULL, &handle), DAPT_ERROR_INVALID);
    assert_string_equal(dapt_error(), "the moon is in the wrong phase");
    dapt_modules_unload(&modules);
}

// -------------------------------------------------------------------------------------------------------- options

static enum dapt_status options_of(const char *text, struct dapt_options **options) {
    struct dapt_modules *modules;
    assert_int_equal(load(built("good.so"), &modules), DAPT_OK);
    const struct dapt_plugin_descriptor *d = dapt_modules_plugin(modules, DAPT_SCHEDULE_1, "test");
    static const char *const skip[] = {"plugin", NULL};
    struct dapt_json *json = NULL;
    if (text) assert_int_equal(dapt_json_parse("c.json", text, strlen(text), &json), DAPT_OK);
    enum dapt_status status = dapt_options_create(d->options, json, skip, options);
    if (!status) {
        struct dapt_hasher *hasher;
        assert_int_equal(dapt_hasher_create(&hasher), DAPT_OK);
        dapt_options_hash(*options, hasher);
        dapt_hasher_destroy(&hasher);
        const struct dapt_host *host = dapt_host();
        assert_true(host->option_number(*options, "must") == 0.25);
        assert_string_equal(host->option_string(*options, "word"), "hello");
        assert_int_equal(host->option_integer(*options, "count"), 7);
        assert_false(host->option_bool(*options, "flag"));
        dapt_options_destroy(options);
    } else {
        assert_null(*options);
    }
    dapt_json_free(&json);
    dapt_modules_unload(&modules);
    return status;
}

static void test_options(void **state) {
    (void)state;
    struct dapt_options *options;
    assert_int_equal(
        options_of("{\"plugin\": \"test\", \"must\": 0.25, \"count\": 7, \"flag\": false}",
                   &options),
        DAPT_OK);
    static const struct {
        const char *text, *reason;
    } cases[] = {
        {"{\"count\": 7}", "c.json:1:1: \"must\" is missing (an option without a default)"},
        {"{\"must\": 2}", "c.json:1:10: must: expected a number from 0 to 1, got 2"},
        {"{\"must\": \"1\"}", "c.json:1:10: must: expected a number, got \"1\""},
        {"{\"must\": 1, \"count\": 11}",
         "c.json:1:22: count: expected an integer from 1 to 10, got 11"},
        {"{\"must\": 1, \"count\": 1.5}", "count: expected an integer, got 1.5"},
        {"{\"must\": 1, \"word\": 1}", "word: expected a string, got 1"},
        {"{\"must\": 1, \"flag\": 1}", "flag: expected true or false, got 1"},
        {"{\"must\": 1, \"wrod\": \"x\"}",
         "c.json:1:13: wrod: unknown option, did you mean \"word\"?"},
        {"{\"must\": 1, \"learning_rate\": 1}",
         "unknown option (there are: must, word, count, flag)"},
        {"[]", "expected an object"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(options_of(cases[i].text, &options), DAPT_ERROR_INVALID);
        if (!strstr(dapt_error(), cases[i].reason))
            fail_msg("%s: \"%s\"", cases[i].text, dapt_error());
    }
    assert_int_equal(options_of(NULL, &options), DAPT_ERROR_INVALID);
    assert_int_equal(dapt_options_create(NULL, NULL, NULL, &options), DAPT_OK);
    dapt_options_destroy(&options);
    dapt_options_destroy(&options);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bad_modules_are_refused),
        cmocka_unit_test(test_files_that_are_no_modules),
        cmocka_unit_test(test_folder_with_strangers),
        cmocka_unit_test(test_every_truncation_is_refused),
        cmocka_unit_test(test_mutated_modules_do_no_harm),
        cmocka_unit_test(test_finds_the_modules_of_the_build),
        cmocka_unit_test(test_unknown_kind_is_passed_over),
        cmocka_unit_test(test_first_on_the_path_wins),
        cmocka_unit_test(test_environment),
        cmocka_unit_test(test_open_that_fails_says_why),
        cmocka_unit_test(test_options),
    };
    return cmocka_run_group_tests_name("loader", tests, make_scratch, drop_scratch);
}
