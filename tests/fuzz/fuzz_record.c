// A checkpoint's run.json: as it is, and with the checksums that it should have, of itself and of the files
// beside it, so that what stands behind them is reached. The checkpoint is step-000002; step-000001 is there too.
#include <cjson/cJSON.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/hash.h"
#include "fuzz.h"
#include "checkpoint/checkpoint.h"

#define FOLDER "step-000002"
#define FILES 3
static const char *const names[FILES] = {"model.safetensors", "state.safetensors", "config.json"};
static char folder[128];
static char checksums[FILES][33];

static void write_files(void) {
    static const char *const folders[] = {"step-000001", FOLDER};
    char name[64];
    for (size_t i = 0; i < 2; i++) {
        snprintf(folder, sizeof folder, "%s/%s", fuzz_folder(), folders[i]);
        FUZZ_CHECK(mkdir(folder, 0700) == 0);
    }
    fuzz_file("step-000001/run.json", "{}", 2);
    for (size_t i = 0; i < FILES; i++) {
        snprintf(name, sizeof name, FOLDER "/%s", names[i]);
        fuzz_file(name, names[i], strlen(names[i]));
        dapt_hash_text(dapt_hash_bytes(names[i], strlen(names[i])), checksums[i]);
    }
}

static void read_record(void) {
    cJSON *record = NULL;
    if (dapt_checkpoint_check(folder, &record) == DAPT_OK) cJSON_Delete(record);
    if (dapt_checkpoint_record(folder, &record) != DAPT_OK) return;
    fuzz_accept();
    dapt_checkpoint_files(folder, record, true);
    dapt_checkpoint_files(folder, record, false);
    cJSON_Delete(record);
}

static void remove_all(cJSON *object, const char *name) {
    for (cJSON *old; (old = cJSON_DetachItemFromObjectCaseSensitive(object, name));)
        cJSON_Delete(old);
}

// Only where a file is named with a text: what is of another type stays as it is.
static void forge_files(cJSON *files) {
    for (size_t i = 0; i < FILES && cJSON_IsObject(files); i++) {
        if (!cJSON_IsString(cJSON_GetObjectItemCaseSensitive(files, names[i]))) continue;
        remove_all(files, names[i]);
        cJSON_AddStringToObject(files, names[i], checksums[i]);
    }
}

static void seal(cJSON *record) {
    remove_all(record, "checksum");
    forge_files(cJSON_GetObjectItemCaseSensitive(record, "files"));
    char *text = dapt_record_seal(record) == DAPT_OK ? cJSON_Print(record) : NULL;
    if (text) {
        fuzz_file(FOLDER "/run.json", text, strlen(text));
        read_record();
    }
    cJSON_free(text);
}

void fuzz_one(const uint8_t *data, size_t size) {
    if (!*folder) write_files();
    fuzz_file(FOLDER "/run.json", data, size);
    read_record();
    cJSON *record = cJSON_ParseWithLength((const char *)data, size);
    if (cJSON_IsObject(record)) seal(record);
    cJSON_Delete(record);
}
