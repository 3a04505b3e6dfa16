// What is no text, or is text with a structure, is told by what it is; what only looks a little like it
// stays text.
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/files.h"
#include "corpus/foreign.h"

struct sample {
    const char *path, *head;
    size_t size;       // 0: of the string
    const char *what;  // NULL: text
};

#define TABLE "a table of comma- or tab-separated values"
#define BYTES(text) text, sizeof text - 1

static const struct sample samples[] = {
    {"a.txt", "Once upon a time, there was a [list] of <things> and {braces}.", 0, NULL},
    {"a.txt", "[1] The first note.\n[2] The second.", 0, NULL},
    {"a.txt", "{ This paragraph stands in braces,\nover two lines. }", 0, NULL},
    {"a.md", "# Title\n\n<b>bold</b>, a table | of | cells\n", 0, NULL},
    {"a", "name, place, thing\nare three words", 0, NULL},
    {"a.tex", "\\documentclass{article}", 0, NULL},
    {"a.txt", "", 0, NULL},
    {"a.jsonl", "{\"text\":\n", 0, NULL},
    {"a.txt", "BZh is how it begins, but it is a text", 0, NULL},
    {"a.txt", "\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e", 0, NULL},
    {"a.txt", "<3 from us all. If a < b, then <b>not</b> <i>only</i> <u>then</u>.\n", 0, NULL},
    {"a.txt", "<stdio.h> is a header; </stdio.h> is nothing.\n", 0, NULL},
    {"a.txt", "one, two, three\nfour, five, six\nyes, no, maybe\n", 0, NULL},
    {"a.txt", "cat\tan animal. It purrs\ndog\tan animal. It barks\nowl\ta bird\n", 0, NULL},
    {"a.txt", "\tindented\n\tlines\n\tof text\n", 0, NULL},
    {"a.txt", "Yes,we can\nNo,we cannot\nWell,who knows\n", 0, NULL},
    {"a.txt", "a,b,c\nis one line that begins with names\nand this is no record\n", 0, NULL},
    {"a.txt", BYTES("\xff\xfeO\0n\0c\0e\0"), "UTF-16 text"},
    {"a.txt", BYTES("\xfe\xff\0O\0n\0c\0e"), "UTF-16 text"},
    {"a.txt", BYTES("O\0n\0c\0e\0 \0u\0p\0o\0n\0 \0a\0 \0t\0"), "UTF-16 text"},
    {"a.txt", BYTES("\0O\0n\0c\0e\0 \0u\0p\0o\0n\0 \0a\0 \0t"), "UTF-16 text"},
    {"a.txt", BYTES("\xff\xfe\0\0O\0\0\0"), "UTF-32 text"},
    {"a.txt", BYTES("a\0b"), "binary: it holds NUL bytes"},
    {"a", "%PDF-1.7\n", 0, "a PDF"},
    {"a.txt", "\n%PDF-1.4 ascii", 0, "a PDF"},
    {"a.txt", "{\\rtf1\\ansi", 0, "RTF"},
    {"a", BYTES("PK\3\4rest"), "a ZIP archive, as DOCX, ODT and EPUB are"},
    {"a", BYTES("PAR1\x15\0"), "Parquet"},
    {"a", BYTES("SQLite format 3\0"), "an SQLite database"},
    {"a.txt", BYTES("\x1f\x8b\x08\0\0"), "compressed twice"},
    {"a", "WARC/1.0\r\n", 0, "a web archive (WARC)"},
    {"a", BYTES("WARC/1.0\r\n\r\n\0"), "a web archive (WARC)"},
    {"a.txt", "<!DOCTYPE HTML>\n<html>", 0, "HTML"},
    {"a.txt", "<!-- saved -->\n<html><body>a</body>", 0, "markup (HTML or XML)"},
    {"a.txt", "<!DOCTYPE article PUBLIC \"x\">\n<article><id>1</id>", 0, "markup (HTML or XML)"},
    {"a.txt", "<div><p>a <b>b</b></p><p>c</p></div>", 0, "markup (HTML or XML)"},
    {"README.md", "<p><b>A</b> <i>b</i> <u>c</u></p>\n\n# Title\n", 0, NULL},
    {"a", "<mediawiki>\n<a>1</a><b>2</b><c>3</c>", 0, "markup (HTML or XML)"},
    {"a", "  <HTML lang=en>", 0, "HTML"},
    {"a.htm", "plain", 0, "HTML"},
    {"a", "\xef\xbb\xbf<?xml version=\"1.0\"?>", 0, "XML"},
    {"a.json", "[{\"text\": \"a\"},\n", 0, "one JSON array"},
    {"a.txt", "[\n  {\"text\": \"a\"}", 0, "one JSON array"},
    {"a.json", "{\n  \"text\": \"a\"\n}", 0, "a JSON object over several lines"},
    {"a.csv", "a,b\n", 0, TABLE},
    {"a.txt", "id,title,body\n1,\"a, b\",\"c\nd\"\n2,e,f\n", 0, TABLE},
    {"a.txt", "label;text\n1;Well, that is it.\n2;Not, that is.\n", 0, TABLE},
    {"a", "id\ttext\r\n1\tOne text.\r\n2\tAnother.\r\n", 0, TABLE},
};

static void check(const char *path, const void *head, size_t size, const char *what) {
    const struct dapt_foreign *found = dapt_foreign_find(path, head, size);
    if ((found != NULL) != (what != NULL) || (found && what && strcmp(found->what, what) != 0))
        fail_msg("%s, \"%.40s\": is %s, expected %s", path, (const char *)head,
                 found ? found->what : "text", what ? what : "text");
    if (found) assert_true(*found->how);
}

static void test_samples(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof samples / sizeof samples[0]; i++)
        check(samples[i].path, samples[i].head,
              samples[i].size ? samples[i].size : strlen(samples[i].head), samples[i].what);
}

// iconv takes text without a mark for this machine's order, unless it is told.
static void test_byte_order(void **state) {
    (void)state;
    static const char little[] = "O\0n\0c\0e\0 \0u\0p\0o\0n\0",
                      big[] = "\0O\0n\0c\0e\0 \0u\0p\0o\0n";
    assert_non_null(strstr(dapt_foreign_find("a", little, 18)->how, "UTF-16LE"));
    assert_non_null(strstr(dapt_foreign_find("a", big, 18)->how, "UTF-16BE"));
}

// Real texts are text, however many marks they hold.
static void test_corpora(void **state) {
    (void)state;
    static const char *const places[] = {"data/corpora/wikitext2", "data/corpora/man-pages",
                                         "data/corpora/anatomy", "data/corpora/dc-law",
                                         "data/corpora/tinystories"};
    const char *data = getenv("DAPT_TEST_DATA");
    struct dapt_arena arena = {0};
    size_t seen = 0;
    for (size_t i = 0; data && i < sizeof places / sizeof places[0]; i++) {
        struct dapt_paths paths;
        char *folder = dapt_path_join(&arena, data, places[i]);
        if (!dapt_is_dir(folder) || dapt_expand(&arena, folder, &paths)) continue;
        for (size_t k = 0; k < paths.count; k++) {
            struct dapt_map map;
            assert_int_equal(dapt_map_open(paths.paths[k], &map), DAPT_OK);
            check(paths.paths[k], map.data, map.size < 4096 ? map.size : 4096, NULL);
            dapt_map_close(&map);
            seen++;
        }
    }
    dapt_arena_free(&arena);
    if (seen == 0) {
        printf("skipped: no corpora in %s\n", data ? data : "DAPT_TEST_DATA");
        skip();
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_samples),
                                       cmocka_unit_test(test_byte_order),
                                       cmocka_unit_test(test_corpora)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
