// The mixer: shares that hold over any window, the same sequences wherever one begins to look, and
// nothing taken twice or left out.
#include "corpus/mix.h"
#include "corpus_test.h"

enum { T = 16, batch_size = 7 };

struct share {
    double at[4];  // by quarter of `steps`
    uint64_t steps, asked;
};

static enum dapt_status share_of(void *context, uint64_t step, double *share) {
    struct share *s = context;
    s->asked++;
    *share = s->at[step * 4 / s->steps < 4 ? step * 4 / s->steps : 3];
    return DAPT_OK;
}

struct bed {
    struct dapt_corpus *domain, *replay;
    struct dapt_mix *mix;
    struct dapt_batch *batch, *row;
    struct share share;
};

static void bed_open(struct bed *bed, const double shares[4]) {
    static struct dapt_data_entry entries[2];
    entries[0] = (struct dapt_data_entry){write_jsonl("g0.jsonl", 900, 60, 40), NULL, 1.5, NULL};
    entries[1] = (struct dapt_data_entry){write_jsonl("g1.jsonl", 1000, 60, 40), NULL, 0.25, NULL};
    *bed = (struct bed){.share.steps = 1000};
    memcpy(bed->share.at, shares, sizeof bed->share.at);
    bed->domain = open_corpus(
        (struct setting){.path = write_jsonl("d.jsonl", 0, 80, 40), .sequence = T});
    bed->replay = open_corpus(
        (struct setting){.entries = entries, .entry_count = 2, .sequence = T});
    assert_ok(dapt_mix_create(&(struct dapt_mix_options){.domain = bed->domain,
                                                         .replay = bed->replay,
                                                         .seed = 3,
                                                         .batch = batch_size,
                                                         .share = share_of,
                                                         .context = &bed->share},
                              &bed->mix));
    assert_ok(dapt_batch_create(batch_size, T, &bed->batch));
    assert_ok(dapt_batch_create(1, T, &bed->row));
}

static void bed_close(struct bed *bed) {
    dapt_mix_destroy(&bed->mix);
    dapt_batch_destroy(&bed->batch);
    dapt_batch_destroy(&bed->row);
    dapt_corpus_close(&bed->domain);
    dapt_corpus_close(&bed->replay);
}

static void test_window(void **state) {
    (void)state;
    static const double shares[][4] = {
        {0.05, 0.05, 0.05, 0.05}, {0.3, 0.3, 0.3, 0.3}, {0, 0.1, 0.5, 1}, {1, 1, 1, 0}};
    for (size_t c = 0; c < sizeof shares / sizeof shares[0]; c++) {
        struct bed bed;
        bed_open(&bed, shares[c]);
        double due = 0;
        uint64_t had = 0;
        for (uint64_t step = 0; step < bed.share.steps; step++) {
            assert_ok(dapt_mix_seek(bed.mix, step));
            dapt_mix_batch(bed.mix, 0, bed.batch);
            for (uint32_t b = 0; b < batch_size; b++) {
                due += bed.share.at[step * 4 / bed.share.steps];
                had += bed.batch->replay[b];
                // within one of what is due, at every place: within one in every window, then
                assert_true(fabs((double)had - due) < 1 + 1e-5);
            }
        }
        assert_ok(dapt_mix_seek(bed.mix, bed.share.steps));
        assert_int_equal(dapt_mix_source_count(bed.mix), 3);
        assert_int_equal(dapt_mix_source(bed.mix, 0).taken, bed.share.steps * batch_size - had);
        assert_int_equal(dapt_mix_source(bed.mix, 1).taken + dapt_mix_source(bed.mix, 2).taken,
                         had);
        bed_close(&bed);
    }
}

static void same_rows(const struct dapt_batch *a, size_t row, const struct dapt_batch *b) {
    assert_memory_equal(a->ids + row * T, b->ids, T * sizeof *a->ids);
    assert_memory_equal(a->targets + row * T, b->targets, T * sizeof *a->ids);
    assert_memory_equal(a->documents + row * T, b->documents, T * sizeof *a->documents);
    assert_int_equal(a->replay[row], b->replay[0]);
}

// A step is the same however one comes there: from before, from behind, by a checkpoint's counters;
// and whole or by rows.
static void test_seek(void **state) {
    (void)state;
    struct bed bed, other;
    bed_open(&bed, (double[4]){0.1, 0.37, 0, 0.9});
    bed_open(&other, (double[4]){0.1, 0.37, 0, 0.9});
    static const uint64_t steps[] = {0, 1, 250, 251, 999, 3, 600, 0, 747, 748};
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        struct dapt_mix_position position, there;
        assert_ok(dapt_mix_seek(bed.mix, steps[i]));
        dapt_mix_position(bed.mix, &position);
        other.share.asked = 0;
        assert_ok(dapt_mix_restore(other.mix, &position));
        assert_int_equal(other.share.asked, 1);  // nothing is gone through again
        dapt_mix_position(other.mix, &there);
        assert_int_equal(there.step, steps[i]);
        assert_int_equal(there.replay, position.replay);
        dapt_mix_batch(bed.mix, 0, bed.batch);
        for (uint32_t b = 0; b < batch_size; b++) {
            dapt_mix_batch(other.mix, b, other.row);
            same_rows(bed.batch, b, other.row);
        }
    }
    const struct dapt_mix_position wrong = {.step = 2, .replay = 2 * batch_size + 1};
    assert_fails(dapt_mix_restore(bed.mix, &wrong), DAPT_ERROR_INVALID, "at most 7 a step");
    bed_close(&bed);
    bed_close(&other);
}

// Every sequence of a source comes once before one comes again, replay mixed in or not.
static void test_passes(void **state) {
    (void)state;
    struct bed bed;
    bed_open(&bed, (double[4]){0.2, 0.6, 0.2, 0.4});
    uint64_t documents = dapt_corpus_report(bed.domain)->documents;
    uint64_t *seen = calloc(documents, sizeof *seen);
    uint64_t sequences = dapt_corpus_report(bed.domain)->sequences, taken = 0;
    for (uint64_t step = 0; step < bed.share.steps; step++) {
        assert_ok(dapt_mix_seek(bed.mix, step));
        for (uint32_t b = 0; b < batch_size; b++) {
            dapt_mix_batch(bed.mix, b, bed.row);
            if (bed.row->replay[0]) continue;
            for (uint32_t t = 0; t < T; t++)
                if (bed.row->documents[t] != DAPT_NO_DOCUMENT) seen[bed.row->documents[t]]++;
            if (++taken % sequences) continue;
            for (uint64_t d = 0; d < documents; d++)
                assert_int_equal(seen[d],
                                 taken / sequences * dapt_corpus_document(bed.domain, d).tokens);
        }
    }
    assert_true(taken > 3 * sequences);
    free(seen);
    bed_close(&bed);
}

static void test_refused(void **state) {
    (void)state;
    struct bed bed;
    bed_open(&bed, (double[4]){0.2, 0.2, 1.5, 0.2});
    assert_fails(dapt_mix_seek(bed.mix, 600), DAPT_ERROR_INVALID, "1.5 at step 500");
    struct dapt_mix *mix = NULL;
    struct dapt_mix_options alone = {
        .domain = bed.domain, .batch = 1, .share = share_of, .context = &bed.share};
    assert_fails(dapt_mix_create(&alone, &mix), DAPT_ERROR_INVALID, "data.replay.from");
    assert_null(mix);
    bed_close(&bed);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_window, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_seek, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_passes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refused, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, load_modules, unload_modules);
}
