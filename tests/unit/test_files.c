// core/base/files.h: reading, atomic writing, folders, patterns.
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/files.h"

static char start[4096], folder[64];

static int enter(void **state) {
    (void)state;
    strcpy(folder, "/tmp/dapt-test-files-XXXXXX");
    return getcwd(start, sizeof start) && mkdtemp(folder) ? chdir(folder) : -1;
}

static int leave(void **state) {
    (void)state;
    return chdir(start) || dapt_remove_tree(folder);
}

static void put(const char *path, const char *text) {
    assert_int_equal(dapt_file_write(path, text, strlen(text)), DAPT_OK);
}

static void assert_content(const char *path, const char *text) {
    struct dapt_string content;
    assert_int_equal(dapt_file_read(path, 1 << 20, &content), DAPT_OK);
    assert_int_equal(content.length, strlen(text));
    assert_string_equal(content.data, text);
    dapt_string_free(&content);
}

static void test_map_and_read(void **state) {
    (void)state;
    put("a", "hello");
    put("empty", "");
    assert_content("a", "hello");
    assert_content("empty", "");
    struct dapt_map map;
    assert_int_equal(dapt_map_open("a", &map), DAPT_OK);
    assert_int_equal(map.size, 5);
    assert_memory_equal(map.data, "hello", 5);
    dapt_map_close(&map);
    dapt_map_close(&map);
    assert_int_equal(dapt_map_open("empty", &map), DAPT_OK);
    assert_int_equal(map.size, 0);
    assert_non_null(map.data);
    dapt_map_close(&map);

    struct dapt_string content;
    assert_int_equal(dapt_file_read("a", 5, &content), DAPT_OK);
    dapt_string_free(&content);
    assert_int_equal(dapt_file_read("a", 4, &content), DAPT_ERROR_INVALID);
    assert_null(content.data);
    assert_int_equal(dapt_file_read(".", 4, &content), DAPT_ERROR_INVALID);
    assert_non_null(strstr(dapt_error(), "is a folder"));
    assert_int_equal(dapt_map_open("none", &map), DAPT_ERROR_IO);
    assert_string_equal(dapt_error(), "none: cannot be opened: No such file or directory");
    assert_int_equal(mkfifo("fifo", 0600), 0);
    assert_int_equal(dapt_map_open("fifo", &map), DAPT_ERROR_INVALID);
}

static void test_writer_is_atomic(void **state) {
    (void)state;
    put("a", "old");
    struct dapt_writer *writer;
    assert_int_equal(dapt_writer_open("a", &writer), DAPT_OK);
    assert_int_equal(dapt_writer_write(writer, "new", 3), DAPT_OK);
    assert_content("a", "old");
    dapt_writer_abort(&writer);
    assert_null(writer);
    dapt_writer_abort(&writer);
    assert_content("a", "old");
    struct dapt_arena arena = {0};
    struct dapt_paths paths;
    assert_int_equal(dapt_expand(&arena, ".[!.]*", &paths),
                     DAPT_ERROR_INVALID);  // no temporary file was left

    enum { PIECE = 100003, PIECES = 7 };
    char *text = malloc(PIECE * PIECES + 1);
    for (int i = 0; i < PIECE * PIECES; i++) text[i] = (char)('a' + i % 23);
    text[PIECE * PIECES] = '\0';
    assert_int_equal(dapt_writer_open("a", &writer), DAPT_OK);
    for (int i = 0; i < PIECES; i++) {
        assert_int_equal(dapt_writer_write(writer, text + i * PIECE, PIECE), DAPT_OK);
    }
    assert_int_equal(dapt_writer_commit(&writer), DAPT_OK);
    assert_null(writer);
    assert_content("a", text);
    free(text);
    assert_int_equal(dapt_writer_open("none/a", &writer), DAPT_ERROR_IO);
    assert_null(writer);
    assert_int_equal(dapt_copy_file("a", "b"), DAPT_OK);
    assert_int_equal(dapt_rename("b", "c"), DAPT_OK);
    assert_true(dapt_is_file("c") && !dapt_is_file("b"));
    dapt_arena_free(&arena);
}

static void test_commit_that_fails_leaves_nothing(void **state) {
    (void)state;
    assert_int_equal(dapt_mkdirs("full/inside"), DAPT_OK);  // a folder can't be replaced by a file
    struct dapt_writer *writer;
    assert_int_equal(dapt_writer_open("full", &writer), DAPT_OK);
    assert_int_equal(dapt_writer_commit(&writer), DAPT_ERROR_IO);
    assert_null(writer);
    struct dapt_arena arena = {0};
    struct dapt_paths paths;
    assert_int_equal(dapt_expand(&arena, ".full*", &paths), DAPT_ERROR_INVALID);
    dapt_arena_free(&arena);
}

static void test_folders(void **state) {
    (void)state;
    assert_int_equal(dapt_mkdirs("x/y//z/"), DAPT_OK);
    assert_int_equal(dapt_mkdirs("x/y/z"), DAPT_OK);
    assert_true(dapt_is_dir("x/y/z"));
    put("x/file", "1");
    assert_true(dapt_mkdirs("x/file/y") < 0);
    assert_true(dapt_mkdirs("/sys/dapt-test") < 0);  // not allowed: not "No such file"
    assert_null(strstr(dapt_error(), "No such"));
    put("kept", "1");
    assert_int_equal(symlink("../kept", "x/link"), 0);
    assert_int_equal(symlink("..", "x/up"), 0);
    assert_int_equal(dapt_remove_tree("x"), DAPT_OK);
    assert_false(dapt_is_dir("x"));
    assert_true(dapt_is_file("kept"));  // links are removed, not followed
    assert_int_equal(dapt_remove_tree("x"), DAPT_OK);
    assert_int_equal(dapt_sync_dir("."), DAPT_OK);
    assert_true(dapt_sync_dir("kept") < 0);
}

static void expand_is(const char *pattern, const char *expected) {
    struct dapt_arena arena = {0};
    struct dapt_paths paths;
    struct dapt_string all = {0};
    dapt_string_add(&all, "", 0);
    if (dapt_expand(&arena, pattern, &paths) == DAPT_OK) {
        for (size_t i = 0; i < paths.count; i++)
            dapt_string_format(&all, "%s%s", i ? " " : "", paths.paths[i]);
    } else {
        assert_non_null(strstr(dapt_error(), pattern));
        dapt_string_format(&all, "error");
    }
    assert_string_equal(all.data, expected);
    dapt_string_free(&all);
    dapt_arena_free(&arena);
}

static void test_expand(void **state) {
    (void)state;
    assert_int_equal(dapt_mkdirs("d/e/f"), DAPT_OK);
    assert_int_equal(dapt_mkdirs("d/.hidden"), DAPT_OK);
    static const char *const names[] = {"d/b.txt",    "d/a.txt", "d/Z.txt",          "d/e/c.txt",
                                        "d/e/f/g.md", "d/.no",   "d/.hidden/no.txt", "d/[x].txt"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) put(names[i], "1");
    assert_int_equal(symlink("..", "d/e/loop"), 0);
    assert_int_equal(symlink("nowhere", "d/dangling.txt"), 0);
    assert_int_equal(dapt_mkdirs("none"), DAPT_OK);

    expand_is("d/a.txt", "d/a.txt");
    expand_is("d", "d/Z.txt d/[x].txt d/a.txt d/b.txt d/e/c.txt d/e/f/g.md");
    expand_is("d/", "d/Z.txt d/[x].txt d/a.txt d/b.txt d/e/c.txt d/e/f/g.md");
    expand_is("d/*.txt", "d/Z.txt d/[x].txt d/a.txt d/b.txt");
    expand_is("d/[ab].txt", "d/a.txt d/b.txt");
    expand_is("d/[x].txt", "d/[x].txt");  // a file of that very name
    expand_is("*/?/*.txt", "d/e/c.txt");
    expand_is("d/**/*.txt", "d/Z.txt d/[x].txt d/a.txt d/b.txt d/e/c.txt");
    expand_is("**/g.md", "d/e/f/g.md");
    expand_is("d/e/f/**", "d/e/f/g.md");
    expand_is("d/**/**/g.md", "d/e/f/g.md");
    expand_is("d/*.zip", "error");
    expand_is("none", "error");
    expand_is("missing", "error");
    expand_is("d/missing/*", "error");
}

// A folder is no pattern because its name could be one.
static void test_expand_names(void **state) {
    (void)state;
    static const char *const names[] = {"pro[1]/corpus/a.txt", "pro[1]/corpus/[b]/c.txt",
                                        "pro1/corpus/no.txt", "q*/x?/d.txt", "qq/xx/e.txt"};
    struct dapt_arena arena = {0};
    struct dapt_paths paths;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *place = dapt_arena_copy(&arena, names[i],
                                      (size_t)(strrchr(names[i], '/') - names[i]));
        assert_int_equal(dapt_mkdirs(place), DAPT_OK);
        put(names[i], "1");
    }
    expand_is("pro[1]/corpus/*.txt", "pro[1]/corpus/a.txt");
    expand_is("pro[1]/corpus", "pro[1]/corpus/[b]/c.txt pro[1]/corpus/a.txt");
    expand_is("pro[1]/**/c.txt", "pro[1]/corpus/[b]/c.txt");
    expand_is("pro[1]/*/[b]/*", "error");  // here it is one: what stands behind a pattern
    expand_is("pro[12]/corpus/*.txt", "pro1/corpus/no.txt");
    expand_is("q*/x?/*.txt", "q*/x?/d.txt");
    expand_is("q*/*/*.txt", "q*/x?/d.txt");
    expand_is("q?/x?/*.txt", "q*/x?/d.txt qq/xx/e.txt");
    assert_int_equal(dapt_expand(&arena, "pro[1]/corpus/b.txt", &paths), DAPT_ERROR_IO);
    assert_non_null(strstr(dapt_error(), "pro[1]/corpus/b.txt: No such file"));
    dapt_arena_free(&arena);
}

static void test_paths(void **state) {
    (void)state;
    struct dapt_arena arena = {0};
    assert_string_equal(dapt_path_join(&arena, "a", "b"), "a/b");
    assert_string_equal(dapt_path_join(&arena, "a/", "b"), "a/b");
    assert_string_equal(dapt_path_join(&arena, "a", "/b"), "/b");
    assert_string_equal(dapt_path_join(&arena, "", "b"), "b");
    assert_string_equal(dapt_path_join(&arena, "a", ""), "a");
    char *path;
    assert_int_equal(dapt_program_dir(&arena, &path), DAPT_OK);
    assert_true(path[0] == '/' && dapt_is_dir(path));
    dapt_arena_free(&arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_map_and_read, enter, leave),
        cmocka_unit_test_setup_teardown(test_writer_is_atomic, enter, leave),
        cmocka_unit_test_setup_teardown(test_commit_that_fails_leaves_nothing, enter, leave),
        cmocka_unit_test_setup_teardown(test_folders, enter, leave),
        cmocka_unit_test_setup_teardown(test_expand_names, enter, leave),
        cmocka_unit_test_setup_teardown(test_expand, enter, leave),
        cmocka_unit_test_setup_teardown(test_paths, enter, leave),
    };
    return cmocka_run_group_tests_name("files", tests, NULL, NULL);
}
