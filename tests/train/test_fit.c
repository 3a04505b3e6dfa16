// Runs whose micro-batch and recomputation are chosen by what the memory takes.
#include "command.h"

#define AUTO(memory)                                                                  \
    "{\"train\": {\"micro_batch\": \"auto\", \"recompute\": \"auto\"}, \"backend\": " \
    "{\"memory\": " memory "}}"

static void expect_fit_in(struct scratch *s, const char *run, const char *precision,
                          const char *memory, const char *line) {
    struct outcome o;
    write_config(s, run,
                 dapt_arena_format(&s->arena, "{\"backend\": {\"precision\": \"%s\"}}", precision));
    run_dapt(s, &o, "plan", s->config, "--set", "train.micro_batch=auto", "--set",
             "train.recompute=auto", "--set",
             dapt_arena_format(&s->arena, "backend.memory=%s", memory), NULL);
    expect(&o, 0, NULL);
    if (!strstr(o.out, line)) fail_msg("%s: expected \"%s\" in:\n%s", memory, line, o.out);
}

static void expect_fit(struct scratch *s, const char *run, const char *memory, const char *line) {
    expect_fit_in(s, run, "float32", memory, line);
}

// The model takes 421 kB, a sequence 131 kB, 79 kB where blocks are recomputed, and 5 kB besides.
static void test_choice(void **state) {
    struct scratch *s = *state;
    expect_fit(s, "choice", "10M", "fits            micro-batches of 4: about ");
    expect_fit(s, "choice", "800k", "fits            micro-batches of 2: about ");
    expect_fit(s, "choice", "700k", "fits            micro-batches of 2, blocks recomputed");
    expect_fit(s, "choice", "0", " that are free");
    // Activations in 16 bits take about half.
    expect_fit(s, "choice", "900k", "fits            micro-batches of 4, blocks recomputed");
    expect_fit_in(s, "choice", "bfloat16", "900k", "fits            micro-batches of 4: about ");
    struct outcome o;
    write_config(s, "refused", AUTO("\"100k\""));
    run_dapt(s, &o, "train", s->config, NULL);
    expect(&o, 3, "one micro-batch of 32 tokens with everything recomputed; backend.memory is");
    write_config(s, "refused", "{\"train\": {\"micro_batch\": \"all\"}}");
    run_dapt(s, &o, "train", s->config, NULL);
    expect(&o, 1, "train.micro_batch: expected a whole number or \"auto\", got \"all\"");
}

// Other memory at a resume changes no bit: what was chosen stands in the checkpoint.
static void test_resume(void **state) {
    struct scratch *s = *state;
    struct outcome o;
    check_resume(s, "fit", AUTO("\"700k\""));
    write_config(s, "more", AUTO("\"700k\""));
    run_dapt(s, &o, "train", s->config, "--set", "train.keep=9", NULL);
    expect(&o, 0, NULL);
    assert_ok(dapt_mkdirs(in_scratch(s, "more-stopped/checkpoints")));
    assert_ok(dapt_rename(in_scratch(s, "more/checkpoints/step-000012"),
                          in_scratch(s, "more-stopped/checkpoints/step-000012")));
    write_config(s, "more-stopped", AUTO("\"10M\""));
    run_dapt(s, &o, "train", s->config, "--resume", NULL);
    expect(&o, 0, NULL);
    assert_true(same_file(
        dapt_path_join(&s->arena, latest_checkpoint(s, "more"), "model.safetensors"),
        dapt_path_join(&s->arena, latest_checkpoint(s, "more-stopped"), "model.safetensors")));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_choice),
                                       cmocka_unit_test(test_resume)};
    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
