// Devices as runs see them: which one is taken, whether it computes what the cpu computes, and what
// is left when it fails. The devices are those of fake_backend.c.
#include <glob.h>

#include "command.h"
#include "dapt/backend.h"

static int setup(void **state) {
    int failed = scratch_setup(state);
    if (failed) return failed;
    struct scratch *s = *state;
    const char *build = getenv("DAPT_TEST_BUILD");
    assert_non_null(build);
    assert_int_equal(setenv("DAPT_PLUGIN_PATH",
                            dapt_arena_format(&s->arena, "%s/tests/train/fake.so", build), 1),
                     0);
    assert_int_equal(setenv("XDG_CACHE_HOME", in_scratch(s, "kept"), 1), 0);
    // No device but ours and the cpu.
    assert_int_equal(setenv("VK_DRIVER_FILES", "/nowhere.json", 1), 0);
    assert_int_equal(setenv("VK_ICD_FILENAMES", "/nowhere.json", 1), 0);
    return 0;
}

static void fake(const char *name, const char *value) {
    assert_int_equal(value ? setenv(name, value, 1) : unsetenv(name), 0);
}

// ------------------------------------------------------------------------------------------ choice

struct choice {
    const char *devices, *words[4];
    int code;
    const char *part;  // of standard output, or of the error line
};

static void test_choice(void **state) {
    struct scratch *s = *state;
    static const char three[] = "software:Soft One;discrete:Alpha Card;integrated:Alpha Chip";
    static const struct choice cases[] = {
        {three, {NULL}, 0, "fake: Alpha Card"},
        {three, {"--backend", "auto"}, 0, "fake: Alpha Card"},
        {three, {"--backend", "fake"}, 0, "fake: Alpha Card"},
        {three, {"--backend", "cpu"}, 0, "cpu: "},
        {three, {"--device", "2"}, 0, "fake: Alpha Chip"},
        {three, {"--device", "0"}, 0, "cpu: "},  // no software device by its number alone
        {three, {"--backend", "fake", "--device", "0"}, 0, "fake: Soft One"},
        {three, {"--device", "alpha CHIP"}, 0, "fake: Alpha Chip"},
        {three, {"--device", "soft"}, 0, "fake: Soft One"},
        {three, {"--device", "FA5E0000-0000-0000-0000-000000000002"}, 0, "fake: Alpha Chip"},
        {three, {"--set", "backend.device=alpha card"}, 0, "fake: Alpha Card"},
        {three, {"--set", "backend.device=2"}, 0, "fake: Alpha Chip"},
        {three, {"--set", "backend.device=[2, 1]"}, 0, "fake: Alpha Chip"},  // of ranks: the first
        {three, {"--device", "fake 2"}, 0, "fake: Alpha Chip"},
        {three, {"--device", "cpu"}, 0, "cpu: "},
        {three, {"--device", "fake"}, 1, "fits several"},
        {three,
         {"--device", "alpha"},
         1,
         "fits several (which one, by backend and number or by UUID? "
         "fake 1 Alpha Card, fake 2 Alpha Chip"},
        {three, {"--device", "fa5e0000"}, 1, "fits several"},
        {three,
         {"--device", "fa5e"},
         1,
         "no device \"fa5e\" was found (there are: fake 0 Soft One, "
         "fake 1 Alpha Card"},
        {three, {"--device", "aplha"}, 1, "\"aplha\" was found, did you mean \"Alpha\"?"},
        {three, {"--device", "4090"}, 1, "no device \"4090\" was found"},
        {three, {"--device", "7"}, 1, "no device has the number 7 (there are: fake 0 Soft One"},
        {three, {"--backend", "cpu", "--device", "1"}, 1, "no device has the number 1"},
        {"discrete:Alpha Card;discrete:RTX 4090", {"--device", "4090"}, 0, "fake: RTX 4090"},
        {"integrated:Chip;discrete:Card A;discrete:Card B", {NULL}, 0, "fake: Card A"},
        {"virtual:Cloud", {NULL}, 0, "fake: Cloud"},
        {"software:Soft;software:Soft Two",
         {"--device", "1"},
         1,
         "no device is used unless it is named"},
        {"software:Soft;software:Soft Two", {"--device", "soft"}, 0, "fake: Soft"},
        {"software:Soft", {NULL}, 0, "cpu: "},
        {"none:no driver here", {NULL}, 0, "cpu: "},
        {"none:no driver here", {"--backend", "fake"}, 1, "fake: no device: no driver here"},
    };
    write_config(s, "choice", NULL);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct outcome o;
        const char *const *w = cases[i].words;
        fake("DAPT_FAKE_DEVICES", cases[i].devices);
        run_dapt(s, &o, "plan", s->config, w[0], w[0] ? w[1] : NULL, w[0] ? w[2] : NULL,
                 w[0] && w[2] ? w[3] : NULL, NULL);
        expect(&o, cases[i].code, cases[i].code ? cases[i].part : NULL);
        if (cases[i].code == 0 && !strstr(o.out, cases[i].part))
            fail_msg("case %zu: no \"%s\" in\n%s", i, cases[i].part, o.out);
    }
}

// Where auto ends at the cpu and something could have been had, one line says why.
static void test_fallback(void **state) {
    struct scratch *s = *state;
    struct outcome o;
    write_config(s, "fallback", NULL);
    fake("DAPT_FAKE_DEVICES", "software:Soft One");
    run_dapt(s, &o, "plan", s->config, NULL);
    expect(&o, 0, "no GPU was found, the cpu computes: fake 0, Soft One, is a software device");
    fake("DAPT_FAKE_DEVICES", "none:no driver here");
    run_dapt(s, &o, "plan", s->config, NULL);
    expect(&o, 0, "no GPU was found, the cpu computes: fake: no device: no driver here");
    assert_ptr_equal(strstr(o.err, "no GPU"), o.err);
    run_dapt(s, &o, "plan", s->config, "--backend", "cpu", NULL);
    expect(&o, 0, NULL);
    assert_string_equal(o.err, "");
    run_dapt(s, &o, "devices", NULL);
    expect(&o, 0, NULL);
    assert_non_null(strstr(o.out, "not usable: fake: no device: no driver here"));
}

// The Vulkan backend without its library, and without a driver: what to install.
static void test_no_vulkan(void **state) {
    struct scratch *s = *state;
    struct outcome o;
    char *folder = in_scratch(s, "broken");
    run_dapt(s, &o, "plugins", NULL);
    if (!strstr(o.out, "vulkan")) {
        print_message("skipped: the Vulkan backend is not built\n");
        skip();
    }
    assert_ok(dapt_mkdirs(folder));
    assert_ok(dapt_file_write(in_scratch(s, "broken/libvulkan.so.1"), "", 0));
    assert_ok(dapt_file_write(in_scratch(s, "broken/libvulkan.so"), "", 0));
    const char *before = getenv("LD_LIBRARY_PATH");
    char *kept = strdup(before ? before : "");
    setenv("LD_LIBRARY_PATH", folder, 1);
    run_dapt(s, &o, "devices", NULL);
    setenv("LD_LIBRARY_PATH", kept, 1);
    free(kept);
    expect(&o, 0, NULL);
    assert_non_null(strstr(o.out, "no Vulkan library: "));
    assert_non_null(strstr(o.out, "libvulkan.so.1"));
    assert_non_null(strstr(o.out, "apt-get install libvulkan1 mesa-vulkan-drivers"));
    assert_null(strstr(o.out, "MoltenVK"));
    setenv("VK_ICD_FILENAMES", "/nowhere/icd.json", 1);
    setenv("VK_DRIVER_FILES", "/nowhere/icd.json", 1);
    run_dapt(s, &o, "devices", NULL);
    unsetenv("VK_ICD_FILENAMES");
    unsetenv("VK_DRIVER_FILES");
    expect(&o, 0, NULL);
    if (!strstr(o.out, "no Vulkan library: "))  // else there is none on this machine
        assert_non_null(strstr(o.out, "apt-get install mesa-vulkan-drivers"));
}

// ----------------------------------------------------------------------------------- certificate

static cJSON *read_json(struct scratch *s, const char *path) {
    struct dapt_string text;
    assert_ok(dapt_file_read(in_scratch(s, path), 1 << 20, &text));
    cJSON *object = cJSON_Parse(text.data);
    assert_true(cJSON_IsObject(object));
    dapt_string_free(&text);
    return object;
}

static bool is_ok(const cJSON *object) {
    return cJSON_IsTrue(cJSON_GetObjectItem(object, "ok"));
}

// Every opcode and the steps have a row; only those in `off` (names with a space behind each) are
// off.
static void check_rows(const cJSON *certificate, const char *off) {
    const cJSON *row;
    const cJSON *rows = cJSON_GetObjectItem(certificate, "rows");
    assert_int_equal(cJSON_GetArraySize(rows), DAPT_OP_COUNT + 3);
    cJSON_ArrayForEach(row, rows) {
        char name[64];
        snprintf(name, sizeof name, "%s ", cJSON_GetObjectItem(row, "name")->valuestring);
        bool train = strcmp(cJSON_GetObjectItem(row, "what")->valuestring, "train") == 0;
        assert_true(cJSON_GetObjectItem(row, "cases")->valuedouble > 0);
        if (!train && is_ok(row) != !strstr(off, name)) fail_msg("%sis %d", name, is_ok(row));
    }
    assert_int_equal(is_ok(certificate), !*off);
}

static void test_certificate(void **state) {
    struct scratch *s = *state;
    struct outcome o;
    static const char more[] = "{\"backend\": {\"name\": \"fake\"}, \"train\": {\"steps\": 2}}";
    fake("DAPT_FAKE_DEVICES", "discrete:Fake Card");
    assert_ok(dapt_remove_tree(in_scratch(s, "kept")));
    for (int i = 0; i < 4; i++) {
        static const char *const variants[] = {"1", "1", "2", "1"};
        char *run = dapt_arena_format(&s->arena, "certified%d", i);
        fake("DAPT_FAKE_VARIANT", variants[i]);
        write_config(s, run, more);
        run_dapt(s, &o, "train", s->config, NULL);
        expect(&o, 0, NULL);
        assert_non_null(strstr(o.out, "every operation and 20 steps as on the cpu"));
        assert_int_equal(strstr(o.out, "as on the cpu (from the cache)") != NULL, i == 1 || i == 3);
        cJSON *certificate = read_json(s, dapt_arena_format(&s->arena, "%s/device.json", run));
        check_rows(certificate, "");
        assert_string_equal(cJSON_GetObjectItem(certificate, "device")->valuestring, "Fake Card");
        cJSON_Delete(certificate);
    }
    // A damaged one is a miss.
    glob_t files;
    assert_int_equal(glob(in_scratch(s, "kept/dapt/device-*.json"), 0, NULL, &files), 0);
    assert_int_equal(files.gl_pathc, 2);
    for (size_t i = 0; i < files.gl_pathc; i++) {
        struct dapt_string text;
        assert_ok(dapt_file_read(files.gl_pathv[i], 1 << 20, &text));
        char *digit = strstr(text.data, "\"cases\":\t4");
        assert_non_null(digit);
        digit[9] = '5';
        assert_ok(dapt_file_write(files.gl_pathv[i], text.data, text.length));
        dapt_string_free(&text);
    }
    globfree(&files);
    write_config(s, "certified4", more);
    run_dapt(s, &o, "train", s->config, NULL);
    expect(&o, 0, NULL);
    assert_null(strstr(o.out, "as on the cpu (from the cache)"));
    // On the cpu there is nothing to compare.
    write_config(s, "plain", "{\"backend\": {\"name\": \"cpu\"}, \"train\": {\"steps\": 2}}");
    run_dapt(s, &o, "train", s->config, NULL);
    expect(&o, 0, NULL);
    assert_null(strstr(o.out, "certificate"));
    assert_false(dapt_is_file(in_scratch(s, "plain/device.json")));
    run_dapt(s, &o, "verify", "--backend", "cpu", NULL);
    expect(&o, 1, "the cpu backend is what devices are compared with");
}

// A device that computes one operation wrongly is found, by the name of the operation; and is found
// again, as what failed is not kept.
static void test_spoiled(void **state) {
    struct scratch *s = *state;
    struct outcome o;
    static const struct {
        const char *name, *off;
    } ops[] = {{"attention", "attention "},
               {"rms_norm", "rms_norm "},
               {"gate", "gate "},
               {"adamw", "adamw "},
               {"fill", "fill "}};
    fake("DAPT_FAKE_VARIANT", "spoiled");
    char *output = in_scratch(s, "figures.json");
    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++) {
        fake("DAPT_FAKE_SPOIL", ops[i].name);
        run_dapt(s, &o, "verify", "--backend", "fake", "--output", output, NULL);
        expect(&o, 1, "device Fake Card does not compute what the cpu computes");
        cJSON *figures = read_json(s, "figures.json");
        check_rows(figures, ops[i].off);
        cJSON_Delete(figures);
        assert_non_null(strstr(o.out, "OFF"));
    }
    fake("DAPT_FAKE_SPOIL", "gate");
    for (int i = 0; i < 2; i++) {
        char *run = dapt_arena_format(&s->arena, "spoiled%d", i);
        write_config(s, run, "{\"backend\": {\"name\": \"fake\"}, \"train\": {\"steps\": 2}}");
        run_dapt(s, &o, "train", s->config, NULL);
        expect(&o, 0, "device Fake Card does not compute what the cpu computes: gate is off by");
        cJSON *figures = read_json(s, dapt_arena_format(&s->arena, "%s/device.json", run));
        check_rows(figures, "gate ");
        cJSON_Delete(figures);
        cJSON *metrics = read_metrics(s, run);
        assert_int_equal(count_events(metrics, "trouble"), 1);
        cJSON_Delete(metrics);
    }
    fake("DAPT_FAKE_SPOIL", NULL);
    run_dapt(s, &o, "verify", "--backend", "fake", NULL);
    expect(&o, 0, NULL);
    fake("DAPT_FAKE_VARIANT", NULL);
}

// --------------------------------------------------------------------------------------- lost devices

static void assert_same_end(struct scratch *s, const char *a, const char *b) {
    static const char *const files[] = {"model.safetensors", "state.safetensors"};
    char *x = latest_checkpoint(s, a), *y = latest_checkpoint(s, b);
    assert_string_equal(strrchr(x, '/'), strrchr(y, '/'));
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
        if (!same_file(dapt_path_join(&s->arena, x, files[i]),
                       dapt_path_join(&s->arena, y, files[i])))
            fail_msg("%s differs between %s and %s", files[i], x, y);
}

// Lost at any moment: an exit code of its own, a line that names device and operation and says how
// to go on, the last checkpoint whole; and the same bits when the cpu takes over.
static void test_lost(void **state) {
    struct scratch *s = *state;
    struct outcome o;
    static const char *const when[] = {"1", "2", "30", "45", "61", "75", "85"};
    write_config(s, "whole", "{\"backend\": {\"name\": \"cpu\"}}");
    run_dapt(s, &o, "train", s->config, NULL);
    expect(&o, 0, NULL);
    write_config(s, "warm", "{\"backend\": {\"name\": \"fake\"}}");  // the certificate is kept
    run_dapt(s, &o, "train", s->config, NULL);
    expect(&o, 0, NULL);
    assert_same_end(s, "whole", "warm");
    for (size_t i = 0; i < sizeof when / sizeof when[0]; i++) {
        char *run = dapt_arena_format(&s->arena, "lost%zu", i);
        fake("DAPT_FAKE_FAIL", when[i]);
        write_config(s, run, "{\"backend\": {\"name\": \"fake\"}}");
        run_dapt(s, &o, "train", s->config, NULL);
        expect(&o, 3, "fake: device Fake Card: device lost, running: operation 0 (");
        assert_null(strstr(o.err, "(no label)"));
        expect(&o, 3, "config.json --resume");
        bool any = dapt_is_file(dapt_path_join(&s->arena, in_scratch(s, run), "latest"));
        expect(&o, 3, any ? "; the last checkpoint is step-0000" : "; there is no checkpoint yet");
        assert_int_equal(any, i >= 2);
        cJSON *metrics = read_metrics(s, run);
        assert_int_equal(count_events(metrics, "failure"), 1);
        cJSON_Delete(metrics);
        fake("DAPT_FAKE_FAIL", NULL);
        run_dapt(s, &o, "train", s->config, "--resume", "--backend", "cpu", NULL);
        expect(&o, 0, NULL);
        assert_null(strstr(o.err, "not whole"));
        assert_same_end(s, "whole", run);
    }
}

// Lost while it is compared with the cpu, before the first step.
static void test_lost_early(void **state) {
    struct scratch *s = *state;
    struct outcome o;
    fake("DAPT_FAKE_VARIANT", "early");
    fake("DAPT_FAKE_FAIL", "5");
    write_config(s, "early", "{\"backend\": {\"name\": \"fake\"}}");
    run_dapt(s, &o, "train", s->config, NULL);
    expect(&o, 3,
           "dapt: the device could not be compared with the cpu: fake: device Fake Card: device "
           "lost");
    assert_null(strstr(o.err, "training goes on"));
    run_dapt(s, &o, "verify", "--backend", "fake", NULL);
    expect(&o, 3, "fake: device Fake Card: device lost");
    fake("DAPT_FAKE_FAIL", NULL);
    fake("DAPT_FAKE_VARIANT", NULL);
}

// A device that does nothing until it is waited for: the same bits, and each step's result is asked for
// when the next step's work lies ready, but before an evaluation, a checkpoint and the end.
static void test_late(void **state) {
    struct scratch *s = *state;
    struct outcome o;
    unsigned reads, idle;
    static const char settings[] =
        "{\"backend\": {\"name\": \"%s\"}, \"train\": {\"steps\": 12, "
        "\"evaluate_every\": 6, \"checkpoint_every\": 4}}";
    write_config(s, "prompt", dapt_arena_format(&s->arena, settings, "cpu"));
    run_dapt(s, &o, "train", s->config, NULL);
    expect(&o, 0, NULL);
    write_config(s, "certified", dapt_arena_format(&s->arena, settings, "fake"));
    run_dapt(s, &o, "train", s->config, NULL);  // the certificate is kept
    expect(&o, 0, NULL);
    write_config(s, "late", dapt_arena_format(&s->arena, settings, "fake"));
    char *counts = in_scratch(s, "late.txt");
    fake("DAPT_FAKE_LATE", counts);
    run_dapt(s, &o, "train", s->config, NULL);
    fake("DAPT_FAKE_LATE", NULL);
    expect(&o, 0, NULL);
    assert_same_end(s, "prompt", "late");
    FILE *file = fopen(counts, "r");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%u %u", &reads, &idle), 2);
    fclose(file);
    assert_int_equal(reads, 12);
    assert_int_equal(idle, 4);  // after steps 4, 6, 8 and 12
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_choice),     cmocka_unit_test(test_fallback),
        cmocka_unit_test(test_no_vulkan),  cmocka_unit_test(test_certificate),
        cmocka_unit_test(test_spoiled),    cmocka_unit_test(test_lost),
        cmocka_unit_test(test_lost_early), cmocka_unit_test(test_late),
    };
    return cmocka_run_group_tests(tests, setup, scratch_teardown);
}
