// From documents to batches: every token where it belongs, every number of the report counted
// again.
#include "corpus/mix.h"
#include "corpus_test.h"

enum { documents = 400, scale = 40 };

// The documents as one naive list of tokens, EOS behind each.
struct naive {
    uint32_t *tokens;
    size_t count, ends[documents];
    uint64_t bytes;
};

static struct naive make_naive(bool special) {
    struct naive naive = {.tokens = malloc(documents * (3 * scale + 2) * sizeof(uint32_t))};
    char text[3 * scale + 1];
    for (uint64_t d = 0; d < documents; d++) {
        size_t length = make_document(d, scale, text);
        if (special) naive.tokens[naive.count++] = 256;
        for (size_t i = 0; i < length; i++) naive.tokens[naive.count++] = (unsigned char)text[i];
        naive.tokens[naive.count++] = 257;
        naive.ends[d] = naive.count;
        naive.bytes += length;
    }
    return naive;
}

static void check_counts(const struct dapt_corpus_report *report, const struct naive *naive) {
    assert_int_equal(report->documents, documents);
    assert_int_equal(report->tokens, naive->count);
    assert_int_equal(report->bytes, naive->bytes);
    assert_int_equal(report->skipped, 0);
    assert_int_equal(report->files, 1);
}

static void test_concatenate(void **state) {
    (void)state;
    enum { T = 32 };
    const char *path = write_jsonl("a.jsonl", 0, documents, scale);
    struct naive naive = make_naive(false);
    struct dapt_corpus *corpus = open_corpus(
        (struct setting){.path = path, .sequence = T, .packing = DAPT_PACK_CONCATENATE});
    const struct dapt_corpus_report *report = dapt_corpus_report(corpus);
    check_counts(report, &naive);
    assert_int_equal(report->sequences, naive.count / T);
    assert_int_equal(report->cut, naive.count % T);
    assert_int_equal(report->padded + report->split, 0);
    struct dapt_batch *batch = NULL;
    assert_ok(dapt_batch_create(3, T, &batch));
    for (uint64_t s = 0; s < report->sequences + 2; s += 3) {
        uint64_t scored = 0;
        dapt_corpus_eval_batch(corpus, s, batch);
        for (uint32_t b = 0; b < 3; b++)
            for (uint32_t t = 0; t < T; t++) {
                size_t at = (size_t)b * T + t, token = (size_t)(s + b) * T + t;
                bool there = s + b < report->sequences;
                assert_int_equal(batch->ids[at], there ? (int32_t)naive.tokens[token] : 0);
                assert_int_equal(batch->targets[at],
                                 there && t + 1 < T ? (int32_t)naive.tokens[token + 1] : -1);
                assert_int_equal(batch->positions[at], there ? (int32_t)t : 0);
                uint64_t document = 0;
                while (there && naive.ends[document] <= token) document++;
                assert_int_equal(batch->documents[at], there ? document : DAPT_NO_DOCUMENT);
                assert_int_equal(batch->first[at], there ? 0 : (int32_t)t);
                assert_int_equal(batch->last[at], (int32_t)t);
                scored += batch->targets[at] >= 0;
            }
        assert_int_equal(batch->scored, scored);
    }
    dapt_batch_destroy(&batch);
    dapt_corpus_close(&corpus);
    free(naive.tokens);
}

// Finds the document whose tokens [begin, begin + length) stand at `ids`; each such part must be
// found exactly once.
static bool take_part(const struct naive *naive, uint32_t T, bool *taken, const int32_t *ids,
                      size_t length, int32_t next) {
    for (size_t d = 0, begin = 0; d < documents; begin = naive->ends[d++])
        for (size_t at = begin; at < naive->ends[d]; at += T) {
            size_t rest = naive->ends[d] - at, size = rest < T ? rest : T;
            int32_t after = rest > T ? (int32_t)naive->tokens[at + T] : -1;
            bool same = !taken[at] && size == length && next == after;
            for (size_t i = 0; i < length && same; i++)
                same = ids[i] == (int32_t)naive->tokens[at + i];
            if (same) return taken[at] = true;
        }
    return false;
}

// Whether `ids` stand side by side in the tokens [begin, end).
static bool find_tokens(const struct naive *naive, size_t begin, size_t end, const int32_t *ids,
                        size_t length) {
    for (size_t at = begin; at + length <= end; at++) {
        size_t same = 0;
        while (same < length && ids[same] == (int32_t)naive->tokens[at + same]) same++;
        if (same == length) return true;
    }
    return false;
}

static void check_packed(uint32_t T, bool special) {
    const char *path = write_jsonl("b.jsonl", 0, documents, scale);
    struct naive naive = make_naive(special);
    struct dapt_corpus *corpus = open_corpus((struct setting){
        .path = path, .sequence = T, .packing = DAPT_PACK_DOCUMENTS, .special = special});
    const struct dapt_corpus_report *report = dapt_corpus_report(corpus);
    check_counts(report, &naive);
    bool *taken = calloc(naive.count, sizeof *taken);
    uint64_t padded = 0, scored = 0, tokens = 0, split = 0;
    struct dapt_batch *batch = NULL;
    assert_ok(dapt_batch_create(1, T, &batch));
    for (uint64_t s = 0; s < report->sequences; s++) {
        dapt_corpus_eval_batch(corpus, s, batch);
        scored += batch->scored;
        for (uint32_t t = 0, end; t < T; t = end) {
            assert_int_equal(batch->first[t], t);
            assert_int_equal(batch->positions[t], 0);
            for (end = t + 1; end < T && batch->positions[end] != 0; end++) {
                assert_int_equal(batch->first[end], t);
                assert_int_equal(batch->positions[end], end - t);
                assert_int_equal(batch->targets[end - 1], batch->ids[end]);
            }
            for (uint32_t i = t; i < end; i++) assert_int_equal(batch->last[i], i);
            if (batch->ids[t] == 0) {  // no byte of the texts is 0: padding
                assert_int_equal(batch->targets[t], -1);
                assert_int_equal(end, t + 1);
                padded++;
                continue;
            }
            tokens += end - t;
            uint64_t document = batch->documents[t];
            size_t start = document ? naive.ends[document - 1] : 0;
            assert_int_equal(dapt_corpus_document(corpus, document).tokens,
                             naive.ends[document] - start);
            assert_true(find_tokens(&naive, start, naive.ends[document], batch->ids + t, end - t));
            for (uint32_t i = t; i < end; i++) assert_int_equal(batch->documents[i], document);
            if (!take_part(&naive, T, taken, batch->ids + t, end - t, batch->targets[end - 1]))
                fail_msg("sequence %d, place %u: no such part of a document is left", (int)s, t);
        }
    }
    for (size_t d = 0, begin = 0; d < documents; begin = naive.ends[d++])
        split += naive.ends[d] - begin > T;
    assert_int_equal(tokens, naive.count);  // every token is in one sequence
    assert_int_equal(scored,
                     naive.count - documents);  // and all but each document's first are scored
    assert_int_equal(report->padded, padded);
    assert_int_equal(report->split, split);
    assert_int_equal(report->cut, 0);
    if (padded > naive.count / 20)
        fail_msg("%d of %d places are padding", (int)padded, (int)(padded + tokens));
    free(taken);
    dapt_batch_destroy(&batch);
    dapt_corpus_close(&corpus);
    free(naive.tokens);
}

static void test_documents(void **state) {
    (void)state;
    check_packed(16, false);
    check_packed(64, true);
    check_packed(117, false);
    check_packed(2, false);
    check_packed(1000, true);
}

static uint64_t find_sequence(const struct dapt_batch *row, const struct dapt_batch *all,
                              uint64_t count) {
    for (uint64_t s = 0; s < count; s++)
        if (memcmp(row->ids, all->ids + s * row->length, row->length * sizeof *row->ids) == 0)
            return s;
    return count;
}

// Sequence `k` of the run, and those behind it, of a mix whose steps have one sequence each.
static void read_run(struct dapt_mix *mix, uint64_t k, struct dapt_batch *batch) {
    assert_ok(dapt_mix_seek(mix, k));
    dapt_mix_batch(mix, 0, batch);
}

static void test_order(void **state) {
    (void)state;
    enum { T = 64 };
    struct dapt_corpus *corpus = open_corpus(
        (struct setting){.path = write_jsonl("c.jsonl", 0, documents, scale),
                         .sequence = T,
                         .packing = DAPT_PACK_CONCATENATE});
    uint64_t count = dapt_corpus_report(corpus)->sequences;
    struct dapt_batch *all = NULL, *row = NULL, *three = NULL;
    assert_ok(dapt_batch_create((uint32_t)count, T, &all));
    assert_ok(dapt_batch_create(1, T, &row));
    assert_ok(dapt_batch_create(3, T, &three));
    dapt_corpus_eval_batch(corpus, 0, all);
    struct dapt_mix *mix = NULL;
    assert_ok(dapt_mix_create(&(struct dapt_mix_options){.domain = corpus, .seed = 42, .batch = 1},
                              &mix));
    int *seen = calloc(count, sizeof *seen), moved = 0;
    for (uint64_t pass = 0; pass < 3; pass++)
        for (uint64_t k = 0; k < count; k++) {
            read_run(mix, pass * count + k, row);
            uint64_t s = find_sequence(row, all, count);
            assert_int_equal(s, dapt_permute(42, pass, count, k));
            assert_int_equal(seen[s], pass);
            seen[s]++;
            moved += s != dapt_permute(42, 0, count, k) || s != k;
        }
    assert_true(moved > (int)(2 * count));
    // A batch is its rows, over the end of a pass too.
    read_run(mix, count - 1, three);
    for (uint64_t b = 0; b < 3; b++) {
        read_run(mix, count - 1 + b, row);
        assert_memory_equal(row->ids, three->ids + b * T, T * sizeof *row->ids);
        assert_memory_equal(row->targets, three->targets + b * T, T * sizeof *row->ids);
    }
    free(seen);
    dapt_mix_destroy(&mix);
    dapt_batch_destroy(&all);
    dapt_batch_destroy(&row);
    dapt_batch_destroy(&three);
    dapt_corpus_close(&corpus);
}

static void check_weights(enum dapt_packing packing, const double weights[3]) {
    enum { T = 32 };
    struct dapt_data_entry entries[3] = {
        {write_jsonl("w0.jsonl", 0, 100, scale), NULL, weights[0], NULL},
        {write_jsonl("w1.jsonl", 100, 100, scale), NULL, weights[1], NULL},
        {write_jsonl("w2.jsonl", 200, 100, scale), NULL, weights[2], NULL}};
    enum { most = 2000 };
    uint64_t counts[3], first[4] = {0}, drawn[3], total = 0;
    struct dapt_batch *all = NULL, *row = NULL;
    assert_ok(dapt_batch_create(most, T, &all));
    assert_ok(dapt_batch_create(1, T, &row));
    for (size_t e = 0; e < 3; e++) {  // each alone
        struct dapt_corpus *alone = open_corpus(
            (struct setting){.path = entries[e].path, .sequence = T, .packing = packing});
        counts[e] = dapt_corpus_report(alone)->sequences;
        first[e + 1] = first[e] + counts[e];
        drawn[e] = (uint64_t)(weights[e] * (double)counts[e] + 0.5);
        total += drawn[e];
        assert_true(first[e + 1] <= most);
        for (uint64_t s = 0; s < counts[e]; s++) {
            dapt_corpus_eval_batch(alone, s, row);
            memcpy(all->ids + (first[e] + s) * T, row->ids, T * sizeof *row->ids);
        }
        dapt_corpus_close(&alone);
    }
    struct dapt_corpus *corpus = open_corpus(
        (struct setting){.entries = entries, .entry_count = 3, .sequence = T, .packing = packing});
    assert_int_equal(dapt_corpus_report(corpus)->sequences, total);
    uint64_t place = 0;
    for (size_t e = 0; e < 3; e++)
        for (uint64_t k = 0; k < drawn[e]; k++) {
            dapt_corpus_eval_batch(corpus, place++, row);
            assert_int_equal(find_sequence(row, all, first[3]), first[e] + k % counts[e]);
        }
    dapt_corpus_eval_batch(corpus, place, row);
    assert_int_equal(row->scored, 0);
    struct dapt_mix *mix = NULL;
    assert_ok(
        dapt_mix_create(&(struct dapt_mix_options){.domain = corpus, .seed = 7, .batch = 1}, &mix));
    uint64_t *seen = calloc(first[3], sizeof *seen), taken[3] = {0};
    for (uint64_t k = 0; k < 4 * total; k++) {
        read_run(mix, k, row);
        uint64_t s = find_sequence(row, all, first[3]);
        assert_true(s < first[3]);
        seen[s]++;
        for (size_t e = 0; e < 3; e++) {  // its share at any time, to within two sequences
            taken[e] += s >= first[e] && s < first[e + 1];
            double due = (double)(k + 1) * (double)drawn[e] / (double)total;
            assert_true(fabs((double)taken[e] - due) < 2);
        }
        assert_ok(dapt_mix_seek(mix, k + 1));
        for (uint32_t e = 0; e < 3; e++) {
            assert_int_equal(dapt_mix_source(mix, e).taken, taken[e]);
            assert_int_equal(dapt_mix_source(mix, e).sequences, counts[e]);
        }
        if ((k + 1) % total == 0)
            for (size_t e = 0; e < 3; e++) {
                assert_int_equal(taken[e], (k / total + 1) * drawn[e]);
                for (uint64_t i = first[e]; i < first[e + 1];
                     i++) {  // none comes again before all came
                    assert_true(seen[i] >= taken[e] / counts[e]);
                    assert_true(seen[i] <= taken[e] / counts[e] + 1);
                }
            }
    }
    free(seen);
    dapt_mix_destroy(&mix);
    dapt_batch_destroy(&all);
    dapt_batch_destroy(&row);
    dapt_corpus_close(&corpus);
}

static void test_weights(void **state) {
    (void)state;
    check_weights(DAPT_PACK_CONCATENATE, (double[]){1, 0.5, 2});
    check_weights(DAPT_PACK_DOCUMENTS, (double[]){0.3, 1, 2.7});
    struct dapt_corpus *corpus = NULL;
    struct setting zero = {.path = path_in(folder, "w0.jsonl"), .weight = -1};
    assert_fails(try_open(&zero, &corpus), DAPT_ERROR_INVALID, "weight");
}

static void test_wide_tokens(void **state) {
    (void)state;
    const char *path = write_jsonl("wide.jsonl", 0, 50, scale);
    struct setting s = {.path = path, .tokenizer = "{\"vocab\": 70000, \"shift\": 69000}"};
    struct dapt_corpus *corpus = open_corpus(s);
    struct dapt_batch *batch = NULL;
    assert_ok(dapt_batch_create(1, 16, &batch));
    dapt_corpus_eval_batch(corpus, 0, batch);
    char text[3 * scale + 1];
    make_document(0, scale, text);
    assert_int_equal(batch->ids[0], text[0] + 69000 + 258);
    dapt_batch_destroy(&batch);
    dapt_corpus_close(&corpus);
    s.tokenizer = "{\"wild\": true}";
    assert_fails(try_open(&s, &corpus), DAPT_ERROR_INTERNAL, "vocabulary");
}

// The tokens of a run do not depend on how many threads made them, nor on how files lie.
static void test_threads(void **state) {
    (void)state;
    assert_ok(dapt_mkdirs(path_in(folder, "many/sub")));
    for (int i = 0; i < 37; i++) {
        char name[64];
        snprintf(name, sizeof name, "many/%s%02d.jsonl", i % 5 ? "" : "sub/", i);
        write_jsonl(name, (uint64_t)i * 40, i % 7 ? 40 : 0, i == 11 ? 20000 : 40);
    }
    struct dapt_hash reference = {0};
    for (unsigned threads = 1; threads <= 9; threads += 2) {
        assert_ok(dapt_remove_tree(path_in(folder, "cache")));
        struct dapt_corpus *corpus = open_corpus(
            (struct setting){.path = path_in(folder, "many"), .threads = threads, .sequence = 128});
        assert_false(dapt_corpus_report(corpus)->cached);
        assert_int_equal(dapt_corpus_report(corpus)->files, 37);
        assert_int_equal(dapt_corpus_report(corpus)->documents, 40 * 31);
        struct dapt_hash hash = hash_batches(corpus, 128);
        if (threads == 1) reference = hash;
        assert_memory_equal(&hash, &reference, sizeof hash);
        dapt_corpus_close(&corpus);
    }
}

static void test_limits(void **state) {
    (void)state;
    struct naive naive = make_naive(false);
    const char *path = write_jsonl("d.jsonl", 0, documents, scale);
    for (uint64_t limit = 1; limit < naive.count + 500; limit += naive.count / 7) {
        size_t d = 0;
        while (d + 1 < documents && naive.ends[d] < limit) d++;
        struct dapt_corpus *corpus = open_corpus(
            (struct setting){.path = path, .max_tokens = limit, .threads = 3});
        assert_int_equal(dapt_corpus_report(corpus)->documents, d + 1);
        uint64_t all = naive.ends[d], begin = d ? naive.ends[d - 1] : 0,
                 tokens = limit < all ? limit : all;
        assert_int_equal(dapt_corpus_report(corpus)->tokens, tokens);
        // Its bytes in proportion: here a byte is a token, and one more ends the document.
        struct dapt_corpus_document last = dapt_corpus_document(corpus, d);
        assert_int_equal(last.tokens, tokens - begin);
        double whole = (double)(all - begin), share = (double)(tokens - begin) / whole;
        assert_true(fabs((double)last.bytes - share * (whole - 1)) <= 0.5);
        dapt_corpus_close(&corpus);
    }
    struct dapt_corpus *corpus = NULL;
    struct setting s = {.path = path, .sequence = 1000000, .packing = DAPT_PACK_CONCATENATE};
    assert_fails(try_open(&s, &corpus), DAPT_ERROR_INVALID, "too little text for one sequence");
    s.sequence = 1;
    assert_fails(try_open(&s, &corpus), DAPT_ERROR_INVALID, "at least 2");
    s = (struct setting){.path = path_in(folder, "nothing*")};
    assert_fails(try_open(&s, &corpus), DAPT_ERROR_INVALID, "nothing*");
    write_text(path_in(folder, "e.jsonl"), "\n\n");
    s.path = path_in(folder, "e.jsonl");
    assert_fails(try_open(&s, &corpus), DAPT_ERROR_INVALID, "no text in ");
    assert_null(corpus);
    free(naive.tokens);
}

static void test_describe(void **state) {
    (void)state;
    struct dapt_string line = {0};
    struct dapt_corpus *corpus = open_corpus(
        (struct setting){.path = write_jsonl("f.jsonl", 0, 12000, 300),
                         .sequence = 256,
                         .packing = DAPT_PACK_CONCATENATE});
    const struct dapt_corpus_report *report = dapt_corpus_report(corpus);
    char expected[256];
    snprintf(expected, sizeof expected,
             "12,000 documents, %.1f M tokens, %d,%03d sequences of 256, 0.0 %% cut",
             1e-6 * (double)report->tokens, (int)report->sequences / 1000,
             (int)report->sequences % 1000);
    assert_ok(dapt_corpus_describe(corpus, &line));
    assert_string_equal(line.data, expected);
    dapt_corpus_close(&corpus);
    line.length = 0;
    write_text(path_in(folder, "g.jsonl"),
               "{\"text\": \"0123456789012345678901234\"}\n{\"text\": \" \"}\n");
    corpus = open_corpus((struct setting){.path = path_in(folder, "g.jsonl"), .sequence = 16});
    assert_ok(dapt_corpus_describe(corpus, &line));
    assert_string_equal(line.data,
                        "1 document, 26 tokens, 2 sequences of 16, 18.8 % padding, 1 longer than a "
                        "sequence, 1 skipped");
    dapt_corpus_close(&corpus);
    dapt_string_free(&line);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_concatenate, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_documents, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_weights, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_wide_tokens, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_threads, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_limits, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_describe, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, load_modules, unload_modules);
}
