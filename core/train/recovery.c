// Whether to trust the device that a run is on, and how to go on when it fails.
#include <inttypes.h>
#include <string.h>

#include "base/files.h"
#include "device/certificate.h"
#include "train/trainer.h"

// --------------------------------------------------------------------------------- going on

// A word as a shell takes it.
static enum dapt_status add_word(struct dapt_string *text, const char *word) {
    static const char plain[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
        "_-+=:,./@%";
    if (*word && word[strspn(word, plain)] == '\0') return dapt_string_format(text, "%s", word);
    enum dapt_status status = dapt_string_format(text, "'");
    for (; !status && *word; word++)
        status = *word == '\'' ? dapt_string_format(text, "'\\''")
                               : dapt_string_format(text, "%c", *word);
    return status ? status : dapt_string_format(text, "'");
}

enum dapt_status dapt_trainer_command(const struct dapt_trainer *t, struct dapt_string *text) {
    const char *const *sets = t->options->sets;
    enum dapt_status status = dapt_string_format(text, "dapt train ");
    if (!status) status = add_word(text, t->options->config);
    for (; !status && sets && *sets; sets++) {
        status = dapt_string_format(text, " --set ");
        if (!status) status = add_word(text, *sets);
    }
    return status ? status : dapt_string_format(text, " --resume");
}

// Tells the last reason as what ended the run, and adds which checkpoint there is and `how` to go on.
static enum dapt_status fail_run(struct dapt_trainer *t, enum dapt_status failure,
                                 const char *how) {
    struct dapt_string reason = {0}, text = {0};
    char name[32];
    dapt_run_folder_name(t->checkpointed, name);
    enum dapt_status status = dapt_string_format(&reason, "%s", dapt_error());
    if (!status) status = dapt_string_format(&text, "%s; ", reason.data);
    if (!status && t->checkpointed == DAPT_NEVER)
        status = dapt_string_format(&text, "there is no checkpoint yet; to begin again: ");
    else if (!status)
        status = dapt_string_format(&text, "the last checkpoint is %s; to go on%s: ", name, how);
    if (!status) status = dapt_trainer_command(t, &text);
    dapt_trainer_tell(t, DAPT_EVENT_FAILURE, &(struct dapt_event){.told = {.text = reason.data}});
    if (!status) dapt_fail(failure, "%s", text.data);
    dapt_string_free(&reason);
    dapt_string_free(&text);
    return failure;
}

enum dapt_status dapt_trainer_lost(struct dapt_trainer *t) {
    return fail_run(t, DAPT_ERROR_DEVICE, ", on this device or another (--device)");
}

enum dapt_status dapt_trainer_ruined(struct dapt_trainer *t) {
    return fail_run(t, DAPT_ERROR_INVALID, " from it, with a lower learning rate, say");
}

// ----------------------------------------------------------------------------------- the certificate

static void tell_failed(struct dapt_trainer *t, const struct dapt_parity *parity) {
    struct dapt_string text = {0};
    enum dapt_status status = dapt_string_format(
        &text, "device %s does not compute what the cpu computes: ",
        dapt_device_info(t->setup.device)->name);
    if (!status) status = dapt_certificate_print(parity, &text);
    if (!status)
        status = dapt_string_format(
            &text, "; training goes on, but see %s/device.json before you trust its result",
            t->config->run);
    if (!status) dapt_trainer_trouble(t, text.data);
    dapt_string_free(&text);
}

static enum dapt_status make(struct dapt_trainer *t, cJSON **certificate) {
    struct dapt_parity parity;
    struct dapt_string text = {0};
    enum dapt_status status = dapt_certificate_make(t->setup.modules, t->setup.device, &parity,
                                                    certificate);
    if (!status) {
        dapt_certificate_store(*certificate);
        if (parity.failed)
            tell_failed(t, &parity);
        else
            dapt_report_note(&t->reporter,
                             "certificate     every operation and %d steps as on the cpu (%.1f s)",
                             DAPT_PARITY_STEPS, parity.seconds);
        return DAPT_OK;
    }
    status = dapt_string_format(&text, "the device could not be compared with the cpu: %s",
                                dapt_error());
    // Memory for the comparison may lack, and that of training be there; a lost device stays lost.
    if (!status && dapt_device_wait(t->setup.device, 0) != DAPT_OK)
        status = dapt_fail(DAPT_ERROR_DEVICE, "%s", text.data);
    if (!status) status = dapt_string_format(&text, "; training goes on");
    if (!status) dapt_trainer_trouble(t, text.data);
    dapt_string_free(&text);
    return status;
}

enum dapt_status dapt_trainer_certify(struct dapt_trainer *t) {
    struct dapt_arena arena = {0};
    enum dapt_status status = DAPT_OK;
    if (strcmp(dapt_device_backend(t->setup.device)->name, "cpu") == 0) return DAPT_OK;
    cJSON *certificate = dapt_certificate_find(t->setup.modules, t->setup.device);
    if (certificate) {
        dapt_report_note(
            &t->reporter,
            "certificate     every operation and %d steps as on the cpu (from the cache)",
            DAPT_PARITY_STEPS);
    } else {
        dapt_log_status("comparing the device with the cpu, once for this driver");
        status = make(t, &certificate);
        dapt_log_status(NULL);
    }
    char *path = certificate && dapt_trainer_leads(t)
                     ? dapt_path_join(&arena, t->run.path, "device.json")
                     : NULL;
    if (path && dapt_certificate_write(certificate, path)) dapt_trainer_trouble(t, dapt_error());
    cJSON_Delete(certificate);
    dapt_arena_free(&arena);
    return status;
}
