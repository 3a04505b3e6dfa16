// The folder of the cache: what is swept from it, what dapt cache tells and removes, whose it is.
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cache_test.h"

// What a killed process was writing is removed; what a living one writes is not.
static void test_swept(void **state) {
    (void)state;
    const char *path = write_jsonl("a.jsonl", 0, 100, scale), *cache = path_in(folder, "cache"),
               *names[] = {".0123456789abcdef0123456789abcdef.tokens.tmp-12-0",
                           ".0123456789abcdef0123456789abcdef.seen.tmp-12-1",
                           ".0123456789abcdef0123456789abcdef.tokens.tmp-12-2",
                           ".0123456789abcdef.tokens.tmp-12-0",
                           ".mine.tmp-1-1",
                           "mine.tokens"};
    assert_ok(dapt_mkdirs(cache));
    struct dapt_arena arena = {0};
    for (size_t i = 0; i < 6; i++) write_text(dapt_path_join(&arena, cache, names[i]), "x");
    int held = open(dapt_path_join(&arena, cache, names[2]), O_RDONLY);
    assert_int_equal(flock(held, LOCK_EX), 0);
    struct dapt_writer *writer = NULL;
    const char *late = dapt_path_join(&arena, cache, "00000000000000000000000000000000.tokens");
    assert_ok(dapt_writer_open(late, &writer));
    open_hash((struct setting){.path = path}, false);
    for (size_t i = 0; i < 6; i++)
        assert_int_equal(dapt_is_file(dapt_path_join(&arena, cache, names[i])), i >= 2);
    assert_ok(dapt_writer_write(writer, "x", 1));
    assert_ok(dapt_writer_commit(&writer));
    assert_true(dapt_is_file(late));
    close(held);
    dapt_arena_free(&arena);
}

struct told {
    size_t count, removed, in_use;
    char text[512];
    uint64_t tokens;
};

static void tell(void *user, const char *place, const struct dapt_cache_entry *entry) {
    struct told *told = user;
    assert_string_equal(place, path_in(folder, "cache"));
    if (!entry) return;
    told->count++;
    told->removed += entry->removed;
    told->in_use += entry->in_use;
    told->tokens += entry->tokens;
    snprintf(told->text, sizeof told->text, "%s", entry->text);
}

static struct told list_cache(bool purge, double days) {
    struct told told = {0};
    assert_ok(dapt_cache_list(path_in(folder, "cache"), purge, days, tell, &told));
    return told;
}

static void test_purge(void **state) {
    (void)state;
    const char *path = write_jsonl("a.jsonl", 0, 300, scale),
               *other = write_jsonl("b.jsonl", 500, 100, scale);
    assert_int_equal(list_cache(true, 0).count, 0);  // no folder yet
    open_hash((struct setting){.path = path}, false);
    wait_settled();
    open_hash((struct setting){.path = path}, true);  // noted as seen
    struct dapt_corpus *corpus = open_corpus((struct setting){.path = other, .sequence = T});
    static const char *const strangers[] = {"mine.tokens", "device-1.json", "notes.txt",
                                            "00000000000000000000000000000000.tokens"};
    struct dapt_arena arena = {0};
    for (size_t i = 0; i < 4; i++)
        write_text(dapt_path_join(&arena, path_in(folder, "cache"), strangers[i]), "x");
    struct told told = list_cache(false, 0);
    assert_int_equal(told.count, 2);
    assert_int_equal(told.in_use, 1);
    assert_int_equal(told.removed, 0);
    char text[512];
    snprintf(text, sizeof text, "domain: %s", path);
    assert_string_equal(told.text, text);  // the one used last comes first
    assert_true(told.tokens > dapt_corpus_report(corpus)->tokens);
    assert_int_equal(list_cache(true, 1).removed, 0);  // none is a day old
    assert_int_equal(list_cache(true, 0).removed, 1);
    assert_int_equal(cache_files(".seen").count, 1);  // of the one in use
    assert_int_equal(cache_files(".about").count, 1);
    dapt_corpus_close(&corpus);
    assert_int_equal(list_cache(true, 0).removed, 1);
    assert_int_equal(list_cache(true, 0).count, 0);
    for (size_t i = 0; i < 4; i++)
        assert_true(dapt_is_file(dapt_path_join(&arena, path_in(folder, "cache"), strangers[i])));
    open_hash((struct setting){.path = path}, false);
    dapt_arena_free(&arena);
}

// The usual folder is closed to others; one of another user is not trusted.
static void test_private(void **state) {
    (void)state;
    struct stat info;
    open_hash((struct setting){.path = write_jsonl("a.jsonl", 0, 100, scale)}, false);
    assert_int_equal(stat(path_in(folder, "cache"), &info), 0);
    assert_int_equal(info.st_mode & 0777, 0700);
    const char *open = path_in(folder, "open");
    assert_int_equal(mkdir(open, 0755), 0);
    assert_ok(dapt_private_dir(open, false));
    assert_int_equal(stat(open, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0755);
    assert_ok(dapt_private_dir(open, true));
    assert_int_equal(stat(open, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0700);
    pid_t child = fork();
    if (child == 0) {  // as nobody, where we may become that; else in a folder of root's
        bool root = geteuid() == 0 && setuid(65534) == 0;
        bool refused = dapt_private_dir(root ? "/root" : "/usr", false) == DAPT_ERROR_INVALID &&
                       strstr(dapt_error(), "belongs to another user");
        _exit(refused ? 0 : 1);
    }
    int result = 0;
    waitpid(child, &result, 0);
    assert_int_equal(result, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_swept, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_purge, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_private, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, load_modules, unload_modules);
}
