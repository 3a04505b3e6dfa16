// dapt/plugin.h is frozen: plugins that were built once must go on working. A change that breaks a line here needs a new
// interface string ("dapt.source/2"), not a new line. (Where pointers have 64 bits.)
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "dapt/plugin.h"

struct row {
    const char *what;
    size_t is, must_be;
};
#define SIZE(type, bytes) \
    { "sizeof(" #type ")", sizeof(struct type), bytes }
#define FIELD(type, field, offset) \
    { #type "." #field, offsetof(struct type, field), offset }

static const struct row rows[] = {
    SIZE(dapt_host, 88),
    FIELD(dapt_host, struct_size, 0),
    FIELD(dapt_host, context, 8),
    FIELD(dapt_host, log, 16),
    FIELD(dapt_host, fail, 24),
    FIELD(dapt_host, option_string, 32),
    FIELD(dapt_host, option_number, 40),
    FIELD(dapt_host, option_integer, 48),
    FIELD(dapt_host, option_bool, 56),
    FIELD(dapt_host, open_input, 64),
    FIELD(dapt_host, read_input, 72),
    FIELD(dapt_host, close_input, 80),

    SIZE(dapt_option, 48),
    FIELD(dapt_option, name, 0),
    FIELD(dapt_option, type, 8),
    FIELD(dapt_option, default_value, 16),
    FIELD(dapt_option, help, 24),
    FIELD(dapt_option, minimum, 32),
    FIELD(dapt_option, maximum, 40),

    SIZE(dapt_document, 40),
    FIELD(dapt_document, text, 0),
    FIELD(dapt_document, length, 8),
    FIELD(dapt_document, id, 16),
    FIELD(dapt_document, id_length, 24),
    FIELD(dapt_document, record, 32),

    SIZE(dapt_source_1, 32),
    FIELD(dapt_source_1, probe, 0),
    FIELD(dapt_source_1, open, 8),
    FIELD(dapt_source_1, next, 16),
    FIELD(dapt_source_1, close, 24),

    SIZE(dapt_tokenizer_1, 56),
    FIELD(dapt_tokenizer_1, open, 0),
    FIELD(dapt_tokenizer_1, share, 8),
    FIELD(dapt_tokenizer_1, vocab_size, 16),
    FIELD(dapt_tokenizer_1, special_id, 24),
    FIELD(dapt_tokenizer_1, encode, 32),
    FIELD(dapt_tokenizer_1, decode, 40),
    FIELD(dapt_tokenizer_1, close, 48),

    SIZE(dapt_schedule_point, 24),
    FIELD(dapt_schedule_point, learning_rate, 0),
    FIELD(dapt_schedule_point, weight_decay, 8),
    FIELD(dapt_schedule_point, replay_share, 16),
    SIZE(dapt_schedule_1, 24),
    FIELD(dapt_schedule_1, open, 0),
    FIELD(dapt_schedule_1, at, 8),
    FIELD(dapt_schedule_1, close, 16),

    SIZE(dapt_plugin_descriptor, 48),
    FIELD(dapt_plugin_descriptor, kind, 0),
    FIELD(dapt_plugin_descriptor, id, 8),
    FIELD(dapt_plugin_descriptor, version, 16),
    FIELD(dapt_plugin_descriptor, summary, 24),
    FIELD(dapt_plugin_descriptor, options, 32),
    FIELD(dapt_plugin_descriptor, implementation, 40),
    SIZE(dapt_plugin_entry, 16),
    FIELD(dapt_plugin_entry, abi, 0),
    FIELD(dapt_plugin_entry, count, 4),
    FIELD(dapt_plugin_entry, descriptors, 8),
};

static void test_layout(void **state) {
    (void)state;
    if (sizeof(void *) != 8) {
        print_message("skipped: pointers have %zu bytes here\n", sizeof(void *));
        skip();
    }
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (rows[i].is != rows[i].must_be)
            fail_msg("%s is %zu, must be %zu", rows[i].what, rows[i].is, rows[i].must_be);
    }
}

static void test_numbers(void **state) {
    (void)state;
    assert_int_equal(DAPT_PLUGIN_ABI, 1);
    static const int values[] = {DAPT_END,
                                 DAPT_OK,
                                 DAPT_ERROR_INVALID,
                                 DAPT_ERROR_IO,
                                 DAPT_ERROR_MEMORY,
                                 DAPT_ERROR_UNSUPPORTED,
                                 DAPT_ERROR_DEVICE,
                                 DAPT_ERROR_INTERNAL,
                                 DAPT_ERROR_CANCELLED};
    for (int i = 0; i < 9; i++) assert_int_equal(values[i], 1 - i);
    assert_int_equal(DAPT_LOG_ERROR, 0);
    assert_int_equal(DAPT_LOG_DEBUG, 3);
    assert_int_equal(DAPT_OPTION_STRING, 0);
    assert_int_equal(DAPT_OPTION_NUMBER, 1);
    assert_int_equal(DAPT_OPTION_INTEGER, 2);
    assert_int_equal(DAPT_OPTION_BOOL, 3);
    assert_int_equal(DAPT_SPECIAL_BOS, 0);
    assert_int_equal(DAPT_SPECIAL_UNK, 3);
    assert_int_equal(DAPT_ENCODE_SPECIAL, 1);
    assert_int_equal(DAPT_DECODE_SKIP_SPECIAL, 1);
    assert_string_equal(DAPT_SOURCE_1, "dapt.source/1");
    assert_string_equal(DAPT_TOKENIZER_1, "dapt.tokenizer/1");
    assert_string_equal(DAPT_SCHEDULE_1, "dapt.schedule/1");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layout),
        cmocka_unit_test(test_numbers),
    };
    return cmocka_run_group_tests_name("layout", tests, NULL, NULL);
}
