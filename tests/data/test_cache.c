// The cache of token shards: hit, missed, damaged, shared; and reading that goes wrong.
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

#include "cache_test.h"

static bool same(struct dapt_hash a, struct dapt_hash b) {
    return a.low == b.low && a.high == b.high;
}

static void test_hit(void **state) {
    (void)state;
    const char *path = write_jsonl("a.jsonl", 0, 300, scale);
    struct dapt_hash fresh = open_hash((struct setting){.path = path}, false);
    assert_int_equal(cache_files(".tokens").count, 1);
    for (int i = 0; i < 3; i++)
        assert_true(same(fresh, open_hash((struct setting){.path = path}, true)));
    wait_settled();
    assert_true(same(fresh, open_hash((struct setting){.path = path}, true)));
    assert_int_equal(cache_files(".seen").count, 1);
    assert_true(same(fresh, open_hash((struct setting){.path = path}, true)));

    // With a note of what was seen, inputs are not read: the same stamps give the same corpus.
    struct stat before;
    assert_int_equal(stat(path, &before), 0);
    assert_int_equal(chmod(path, 0), 0);
    chmod(path, before.st_mode);  // a change of its own: the stamp differs, the content doesn't
    assert_true(same(fresh, open_hash((struct setting){.path = path}, true)));

    // Elsewhere, under another name: the same content.
    const char *moved = path_in(folder, "moved.jsonl");
    assert_int_equal(rename(path, moved), 0);
    assert_true(same(fresh, open_hash((struct setting){.path = moved}, true)));
    // Packing is no matter of the cache.
    open_hash((struct setting){.path = moved, .packing = DAPT_PACK_CONCATENATE}, true);
    assert_int_equal(cache_files(".tokens").count, 1);
}

static void test_miss(void **state) {
    (void)state;
    const char *path = write_jsonl("a.jsonl", 0, 300, scale);
    struct dapt_hash first = open_hash((struct setting){.path = path}, false);
    wait_settled();
    open_hash((struct setting){.path = path}, true);
    assert_false(same(
        first,
        open_hash((struct setting){.path = path, .tokenizer = "{\"shift\": 1, \"vocab\": 600}"},
                  false)));
    assert_false(same(
        first, open_hash((struct setting){.path = path, .tokenizer = "{\"eos\": false}"}, false)));
    open_hash((struct setting){.path = path, .tokenizer = "{\"vocab\": 600}"}, false);
    assert_false(same(first, open_hash((struct setting){.path = path, .special = true}, false)));
    open_hash((struct setting){.path = path, .max_tokens = 900}, false);
    assert_false(same(
        first, open_hash((struct setting){.path = path, .options = "{\"field\": \"id\"}"}, false)));
    assert_false(same(first, open_hash((struct setting){.path = path, .source = "text"}, false)));
    open_hash((struct setting){.path = path}, true);

    // One byte, size and times kept as well as a user can: the content decides, or the change time.
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    struct dapt_string text = {0};
    assert_ok(dapt_file_read(path, 1 << 20, &text));
    *strstr(text.data, "\"text\": \"a") = '"';
    strstr(text.data, "\"text\": \"a")[9] = 'Q';
    FILE *file = fopen(path, "r+");
    assert_int_equal(fwrite(text.data, 1, text.length, file), text.length);
    fclose(file);
    assert_int_equal(utimensat(AT_FDCWD, path, (struct timespec[]){info.st_atim, info.st_mtim}, 0),
                     0);
    assert_false(same(first, open_hash((struct setting){.path = path}, false)));
    dapt_string_free(&text);
}

// A plugin that was built anew under its old version: read and tokenised again, and where the outcome
// is the same, the same corpus to a run that goes on.
static void test_rebuilt(void **state) {
    (void)state;
    static const char *const names[] = {"test_tokenizer.so", "test_source.so"};
    const char *path = path_in(folder, "a.script"), *build = getenv("DAPT_TEST_BUILD");
    struct dapt_modules *before = modules;
    struct dapt_hash first, second;
    write_text(path, "text some words to be read as a document of their own\n");
    struct dapt_corpus *corpus = open_corpus((struct setting){.path = path, .sequence = T});
    dapt_corpus_hash(corpus, &first);
    dapt_corpus_close(&corpus);
    for (size_t i = 0; i < 2; i++) {
        struct dapt_arena arena = {0};
        struct dapt_string file = {0};
        const char *places[3] = {0};
        for (size_t k = 0; k < 2; k++)
            places[k] = dapt_arena_format(&arena, "%s/tests/data/%s", build, names[k]);
        assert_ok(dapt_file_read(places[i], 1 << 24, &file));
        assert_ok(dapt_string_add(&file, "x", 1));
        places[i] = path_in(folder, names[i]);
        assert_ok(dapt_file_write(places[i], file.data, file.length));
        wait_settled();
        assert_ok(dapt_modules_load(places, &modules));
        for (int again = 0; again < 2; again++) {
            corpus = open_corpus((struct setting){.path = path, .sequence = T});
            assert_int_equal(dapt_corpus_report(corpus)->cached, again);
            dapt_corpus_hash(corpus, &second);
            dapt_corpus_close(&corpus);
            assert_true(same(first, second));
        }
        dapt_modules_unload(&modules);
        modules = before;
        dapt_string_free(&file);
        dapt_arena_free(&arena);
    }
}

static void damage(const char *path, const char *data, size_t size) {
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, size, file), size);
    fclose(file);
}

static void test_damage(void **state) {
    (void)state;
    const char *path = write_jsonl("a.jsonl", 0, 150, scale);
    struct dapt_hash first = open_hash((struct setting){.path = path}, false);
    wait_settled();
    open_hash((struct setting){.path = path}, true);
    struct dapt_paths shards = cache_files(".tokens");
    assert_int_equal(shards.count, 1);
    const char *shard = shards.paths[0];
    struct dapt_string good = {0}, bad = {0};
    assert_ok(dapt_file_read(shard, 1 << 24, &good));
    for (size_t k = 0; k < 40; k++) {
        damage(shard, good.data, good.length * k / 40);
        assert_true(same(first, open_hash((struct setting){.path = path}, false)));
    }
    for (uint64_t k = 0; k < 60; k++) {
        assert_ok(dapt_string_add(&bad, good.data, good.length));
        uint64_t bit = dapt_random_bits(3, 1, k) % (8 * good.length);
        if (k < 25) bit = 8 * good.length - 1 - dapt_random_bits(3, 2, k) % 2048;  // the trailer
        bad.data[bit / 8] = (char)(bad.data[bit / 8] ^ 1 << bit % 8);
        damage(shard, bad.data, bad.length);
        struct dapt_hash again = open_hash((struct setting){.path = path}, false);
        assert_true(same(first, again));
        bad.length = 0;
    }
    assert_ok(dapt_string_add(&bad, good.data, good.length));
    assert_ok(dapt_string_add(&bad, "x", 1));
    damage(shard, bad.data, bad.length);
    assert_true(same(first, open_hash((struct setting){.path = path}, false)));
    bad.length = 0;
    // A sound shard, but of another corpus, under this name.
    const char *other = write_jsonl("b.jsonl", 500, 150, scale);
    open_hash((struct setting){.path = other}, false);
    shards = cache_files(".tokens");
    assert_int_equal(shards.count, 2);
    const char *foreign = strcmp(shards.paths[0], shard) ? shards.paths[0] : shards.paths[1];
    assert_ok(dapt_copy_file(foreign, shard));
    assert_true(same(first, open_hash((struct setting){.path = path}, false)));
    // Notes of what was seen: nonsense is as good as none.
    struct dapt_paths seen = cache_files(".seen");
    for (size_t i = 0; i < seen.count; i++) damage(seen.paths[i], "dapt-seen 1 zz", i ? 14 : 3);
    assert_true(same(first, open_hash((struct setting){.path = path}, true)));
    dapt_string_free(&good);
    dapt_string_free(&bad);
}

static void test_processes(void **state) {
    (void)state;
    const char *path = write_jsonl("a.jsonl", 0, 2000, scale);
    pid_t children[4];
    for (int i = 0; i < 4; i++) {
        children[i] = fork();
        assert_true(children[i] >= 0);
        if (children[i] == 0) {
            struct setting s = {.path = path, .sequence = T};
            struct dapt_corpus *corpus = NULL;
            enum dapt_status status = try_open(&s, &corpus);
            _exit(status == DAPT_OK && dapt_corpus_report(corpus)->documents == 2000 ? 0 : 1);
        }
    }
    for (int i = 0; i < 4; i++) {
        int result = 0;
        waitpid(children[i], &result, 0);
        assert_int_equal(result, 0);
    }
    open_hash((struct setting){.path = path}, true);
    assert_int_equal(
        cache_files("").count,
        cache_files(".tokens").count + cache_files(".seen").count + cache_files(".about").count);
    assert_int_equal(cache_files(".tokens").count, 1);
}

static void test_compressed(void **state) {
    (void)state;
    const char *path = write_jsonl("a.jsonl", 0, 300, scale),
               *zipped = path_in(folder, "z.jsonl.gz");
    struct dapt_string text = {0};
    assert_ok(dapt_file_read(path, 1 << 24, &text));
    gzFile gz = gzopen(zipped, "wb");
    assert_non_null(gz);
    assert_int_equal(gzwrite(gz, text.data, (unsigned)text.length), text.length);
    gzclose(gz);
    struct dapt_hash plain = open_hash((struct setting){.path = path}, false);
    assert_true(same(plain, open_hash((struct setting){.path = zipped}, false)));
    // Cut off: an error that names the file, not a shorter corpus.
    struct dapt_map map;
    assert_ok(dapt_map_open(zipped, &map));
    const char *cut = path_in(folder, "cut.jsonl.gz");
    assert_ok(dapt_file_write(cut, map.data, map.size / 2));
    dapt_map_close(&map);
    struct setting s = {.path = cut, .sequence = T, .skip_errors = 1};
    struct dapt_corpus *corpus = NULL;
    assert_true(try_open(&s, &corpus) < 0);
    assert_non_null(strstr(dapt_error(), "cut.jsonl.gz"));
    dapt_string_free(&text);
}

static void test_bad_records(void **state) {
    (void)state;
    struct dapt_string file = {0}, clean = {0};
    char text[3 * scale + 1];
    for (uint64_t d = 0; d < 2000; d++) {
        int length = (int)make_document(d, scale, text);
        static const char *const bad[] = {"{\"text\": 1}", "{\"text\": \"a\xff\"}", "nonsense",
                                          "{\"text\": \"BREAK\"}"};
        if (d % 100 == 50)
            assert_ok(dapt_string_format(&file, "%s\n", bad[d / 100 % 4]));
        else
            assert_ok(dapt_string_format(&file, "{\"text\": \"%.*s\"}\n", length, text));
        if (d % 100 != 50)
            assert_ok(dapt_string_format(&clean, "{\"text\": \"%.*s\"}\n", length, text));
    }
    const char *path = path_in(folder, "bad.jsonl");
    assert_ok(dapt_file_write(path, file.data, file.length));
    struct setting s = {.path = path, .sequence = T, .threads = 3};
    struct dapt_corpus *corpus = NULL;
    assert_fails(try_open(&s, &corpus), DAPT_ERROR_INVALID,
                 "bad.jsonl:51: field \"text\" is not a string");
    assert_null(corpus);
    assert_int_equal(cache_files("").count, 0);
    s.skip_errors = 0.009;  // of the first thousand, the tenth is one too many
    assert_fails(try_open(&s, &corpus), DAPT_ERROR_INVALID, "bad.jsonl:951:");
    s.skip_errors = 0.02;
    assert_ok(try_open(&s, &corpus));
    assert_int_equal(dapt_corpus_report(corpus)->documents, 1980);
    assert_ok(dapt_file_write(path_in(folder, "clean.jsonl"), clean.data, clean.length));
    struct dapt_hash without = open_hash((struct setting){.path = path_in(folder, "clean.jsonl")},
                                         false);
    assert_true(same(without, hash_batches(corpus, T)));
    dapt_string_free(&clean);
    assert_int_equal(dapt_corpus_report(corpus)->skipped, 20);
    dapt_corpus_close(&corpus);
    assert_ok(try_open(&s, &corpus));
    assert_true(dapt_corpus_report(corpus)->cached);
    assert_int_equal(dapt_corpus_report(corpus)->skipped, 20);
    dapt_corpus_close(&corpus);
    s.skip_errors = 0;  // what the cache holds is too bad for this: found again, and named
    assert_fails(try_open(&s, &corpus), DAPT_ERROR_INVALID, "bad.jsonl:51: field");
    // Each kind of damage is told in its own words.
    static const char *const lines[][2] = {
        {"{\"text\": \"ab\xc0\"}\n", "not UTF-8: byte 2 is 0xc0"},
        {"{\"text\": \"BREAK\"}\n", "does not like"},
        {"{\"text\": \"\\x\"}\n", "not JSON"}};
    for (size_t i = 0; i < 3; i++) {
        write_text(path, lines[i][0]);
        assert_fails(try_open(&s, &corpus), DAPT_ERROR_INVALID, lines[i][1]);
        assert_non_null(strstr(dapt_error(), "bad.jsonl:1: "));
        assert_int_equal(strncmp(dapt_error(), "domain: ", 8), 0);
    }
    write_text(path_in(folder, "latin1.txt"), "caf\xe9 au lait");
    s.path = path_in(folder, "latin1.txt");
    assert_fails(try_open(&s, &corpus), DAPT_ERROR_INVALID,
                 "latin1.txt: is not UTF-8: byte 3 is 0xe9");
    s.skip_errors = 1;
    assert_fails(try_open(&s, &corpus), DAPT_ERROR_INVALID, "no text in ");
    dapt_string_free(&file);
}

// A folder with things that are no text: left out; named alone: refused.
static void test_strangers(void **state) {
    (void)state;
    assert_ok(dapt_mkdirs(path_in(folder, "mixed")));
    write_jsonl("mixed/a.jsonl", 0, 50, scale);
    assert_ok(dapt_file_write(path_in(folder, "mixed/b.png"), "\x89PNG\0\0", 6));
    write_text(path_in(folder, "mixed/c.txt"), "Words are here.");
    struct dapt_corpus *corpus = open_corpus(
        (struct setting){.path = path_in(folder, "mixed"), .sequence = T});
    assert_int_equal(dapt_corpus_report(corpus)->files, 2);
    assert_int_equal(dapt_corpus_report(corpus)->documents, 51);
    dapt_corpus_close(&corpus);
    struct setting s = {.path = path_in(folder, "mixed/b.png"), .sequence = T};
    assert_fails(try_open(&s, &corpus), DAPT_ERROR_INVALID, "is binary: it holds NUL bytes");
    s = (struct setting){.path = path_in(folder, "mixed/c.txt"), .source = "nosuch", .sequence = T};
    assert_fails(try_open(&s, &corpus), DAPT_ERROR_INVALID, "nosuch");
    s = (struct setting){
        .path = path_in(folder, "mixed/c.txt"), .options = "{\"feild\": \"x\"}", .sequence = T};
    assert_fails(try_open(&s, &corpus), DAPT_ERROR_INVALID, "feild");
}

static void *cancel_soon(void *context) {
    (void)context;
    nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    dapt_cancel();
    return NULL;
}

static double seconds_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

// 40 MB of text: 80 MB of tokens, more than is verified at each opening.
static const char *write_large(void) {
    struct dapt_string text = {0};
    while (text.length < 1000000)
        assert_ok(dapt_string_format(&text, "line %zu of a document that is long\n", text.length));
    const char *path = path_in(folder, "large.txt");
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    for (int i = 0; i < 40; i++) fprintf(file, "%s<|%d|>\n<|end|>\n", text.data, i);
    fclose(file);
    dapt_string_free(&text);
    return path;
}

static void test_cancel(void **state) {
    (void)state;
    struct setting s = {.path = write_large(),
                        .sequence = T,
                        .threads = 4,
                        .options = "{\"split\": \"separator\", \"separator\": \"<|end|>\"}"};
    struct dapt_corpus *corpus = NULL;
    dapt_cancel();
    assert_int_equal(try_open(&s, &corpus), DAPT_ERROR_CANCELLED);
    dapt_cancel_reset();
    assert_null(corpus);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, cancel_soon, NULL), 0);
    double start = seconds_now();
    enum dapt_status status = try_open(&s, &corpus);
    double taken = seconds_now() - start;
    pthread_join(thread, NULL);
    dapt_cancel_reset();
    assert_int_equal(status, DAPT_ERROR_CANCELLED);
    if (taken > 5) fail_msg("it took %.1f s to stop", taken);
    assert_int_equal(cache_files("").count, 0);
}

static void test_large(void **state) {
    (void)state;
    struct setting s = {.path = write_large(),
                        .options = "{\"split\": \"separator\", \"separator\": \"<|end|>\"}"};
    struct dapt_hash first = open_hash(s, false);
    wait_settled();
    open_hash(s, true);
    assert_true(same(first, open_hash(s, true)));
    struct dapt_paths shards = cache_files(".tokens");
    struct stat info;
    assert_int_equal(stat(shards.paths[0], &info), 0);
    assert_true(info.st_size > 64 << 20);
    for (int k = 0; k < 3; k++) {
        FILE *file = fopen(shards.paths[0], "r+b");
        assert_non_null(file);
        fseek(file, (long)(info.st_size / 10 * (3 * k + 1)), SEEK_SET);
        int byte = fgetc(file);
        fseek(file, -1, SEEK_CUR);
        fputc(byte ^ 4, file);
        fclose(file);
        struct timespec times[] = {info.st_atim, info.st_mtim};
        assert_int_equal(utimensat(AT_FDCWD, shards.paths[0], times, 0), 0);
        assert_true(same(first, open_hash(s, false)));
    }
}

// Shards that are wrong and yet carry right hashes, as no accident makes them: refused or read
// within their bounds (run under the sanitizers).
static void test_forged(void **state) {
    (void)state;
    enum { trailer = 152 };
    const char *path = write_jsonl("a.jsonl", 0, 150, scale);
    struct dapt_hash first = open_hash((struct setting){.path = path}, false);
    const char *shard = cache_files(".tokens").paths[0];
    struct dapt_string good = {0}, bad = {0};
    assert_ok(dapt_file_read(shard, 1 << 24, &good));
    size_t base = good.length - trailer;
    for (uint64_t k = 0; k < 160; k++) {
        assert_ok(dapt_string_add(&bad, good.data, good.length));
        uint64_t tables, value = dapt_random_bits(9, 1, k);
        memcpy(&tables, bad.data + base + 80, sizeof tables);
        // A small number, a huge one, or one beside what was there; in the tables or the trailer.
        size_t at = k % 2 ? tables + dapt_random_bits(9, 2, k) % (base - tables - 8)
                          : base + 16 + 8 * (dapt_random_bits(9, 3, k) % 13);
        uint64_t old, forged;
        memcpy(&old, bad.data + at, sizeof old);
        forged = (uint64_t[]){value % 1000, value, old + value % 17 - 8,
                              old ^ UINT64_C(1) << value % 64}[k / 2 % 4];
        if (k) memcpy(bad.data + at, &forged, sizeof forged);
        if (tables < base) {
            struct dapt_hash hash = dapt_hash_bytes(bad.data + tables, base - tables);
            if (k % 2) memcpy(bad.data + base + 112, &hash, sizeof hash);
        }
        struct dapt_hash hash = dapt_hash_bytes(bad.data + base, trailer - 16);
        memcpy(bad.data + base + trailer - 16, &hash, sizeof hash);
        damage(shard, bad.data, bad.length);
        struct setting s = {.path = path, .sequence = T};
        struct dapt_corpus *corpus = NULL;
        if (try_open(&s, &corpus) == DAPT_OK) {
            struct dapt_hash again = hash_batches(corpus, T);
            if (k == 0) assert_true(same(first, again) && dapt_corpus_report(corpus)->cached);
        }
        dapt_corpus_close(&corpus);
        bad.length = 0;
    }
    // A token beyond the vocabulary: would be read beyond the embedding.
    assert_ok(dapt_string_add(&bad, good.data, good.length));
    uint64_t tables, blocks;
    memcpy(&tables, bad.data + base + 80, sizeof tables);
    memcpy(&blocks, bad.data + base + 88, sizeof blocks);
    memcpy(bad.data, &(uint16_t){300}, 2);
    struct dapt_corpus *corpus = open_corpus((struct setting){.path = path, .sequence = T});
    uint64_t tokens = dapt_corpus_report(corpus)->tokens;
    dapt_corpus_close(&corpus);
    struct dapt_hash hash = dapt_hash_bytes(bad.data, 2 * tokens);
    memcpy(bad.data + blocks, &hash, sizeof hash);
    hash = dapt_hash_bytes(bad.data + tables, base - tables);
    memcpy(bad.data + base + 112, &hash, sizeof hash);
    hash = dapt_hash_bytes(bad.data + base, trailer - 16);
    memcpy(bad.data + base + trailer - 16, &hash, sizeof hash);
    damage(shard, bad.data, bad.length);
    assert_true(same(first, open_hash((struct setting){.path = path}, false)));
    dapt_string_free(&good);
    dapt_string_free(&bad);
}

// Sources that misbehave.
static void test_scripts(void **state) {
    (void)state;
    static const struct {
        const char *script, *reason;
        enum dapt_status status;
        uint64_t documents;
    } cases[] = {
        {"text one\ntext two\n", NULL, DAPT_OK, 2},
        {"text one\nbad\nbad\ntext two", NULL, DAPT_OK, 2},
        {"text one\nraw\nnul\ntext two", NULL, DAPT_OK, 2},
        {"text one\nstuck\n", "a.script: is stuck", DAPT_ERROR_INVALID, 0},
        {"text one\nio\n", "a.script: disk on fire", DAPT_ERROR_IO, 0},
        {"text one\nsilent\n", "source 'test-script' gave no reason", DAPT_ERROR_IO, 0},
        {"closed", "a.script: will not open", DAPT_ERROR_INVALID, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct setting s = {
            .path = path_in(folder, "a.script"), .sequence = 8, .skip_errors = 1, .threads = 2};
        struct dapt_corpus *corpus = NULL;
        write_text(s.path, cases[i].script);
        if (cases[i].status)
            assert_fails(try_open(&s, &corpus), cases[i].status, cases[i].reason);
        else
            assert_ok(try_open(&s, &corpus));
        if (corpus) assert_int_equal(dapt_corpus_report(corpus)->documents, cases[i].documents);
        dapt_corpus_close(&corpus);
    }
    struct setting s = {.path = path_in(folder, "a.script"), .sequence = 8};
    struct dapt_corpus *corpus = NULL;
    write_text(s.path, "text a\nraw\n");
    assert_fails(try_open(&s, &corpus), DAPT_ERROR_INVALID,
                 "a.script:2: is not UTF-8: byte 2 is 0xff");
    write_text(s.path, "text a\ntext b\nnul\n");
    assert_fails(try_open(&s, &corpus), DAPT_ERROR_INVALID,
                 "a.script:3: is not text: a NUL at byte 1");
}

// Many small files open again without their being read: fast.
static void test_plan_speed(void **state) {
    (void)state;
    const char *path = write_jsonl("many.jsonl", 0, 100000, 40);
    struct setting s = {.path = path, .sequence = 256};
    struct dapt_corpus *corpus = open_corpus(s);
    dapt_corpus_close(&corpus);
    wait_settled();
    double best = 1e9;
    for (int i = 0; i < 5; i++) {
        corpus = open_corpus(s);
        const struct dapt_corpus_report *report = dapt_corpus_report(corpus);
        assert_int_equal(report->documents, 100000);
        best = report->seconds < best ? report->seconds : best;
        assert_true(report->cached);
        assert_true((double)report->padded < 0.01 * (double)report->tokens);
        dapt_corpus_close(&corpus);
    }
    print_message("100,000 documents open in %.1f ms\n", 1e3 * best);
    if (best > 1)  // generous: for sanitizers and busy machines
        fail_msg("%.3f s", best);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_hit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_miss, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_rebuilt, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_damage, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_processes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_compressed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_bad_records, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_strangers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_cancel, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_large, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_forged, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_scripts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_plan_speed, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, load_modules, unload_modules);
}
