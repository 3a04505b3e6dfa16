// A checkpoint's run.json: as it is, and sealed anew, so that what stands behind the checksum is reached.
#include <cjson/cJSON.h>

#include "fuzz.h"
#include "train/checkpoint.h"
#include <string.h>

static void read_record(void) {
    cJSON *record = NULL;
    if (dapt_checkpoint_check(fuzz_folder(), &record) == DAPT_OK) cJSON_Delete(record);
    if (dapt_checkpoint_record(fuzz_folder(), &record) != DAPT_OK) return;
    dapt_checkpoint_files(fuzz_folder(), record, true);
    dapt_checkpoint_files(fuzz_folder(), record, false);
    cJSON_Delete(record);
}

static void seal(cJSON *record) {
    for (cJSON *old; (old = cJSON_DetachItemFromObjectCaseSensitive(record, "checksum"));)
        cJSON_Delete(old);
    char *text = dapt_record_seal(record) == DAPT_OK ? cJSON_Print(record) : NULL;
    if (text) {
        fuzz_file("run.json", text, strlen(text));
        read_record();
    }
    cJSON_free(text);
}

void fuzz_one(const uint8_t *data, size_t size) {
    fuzz_file("run.json", data, size);
    read_record();
    cJSON *record = cJSON_ParseWithLength((const char *)data, size);
    if (cJSON_IsObject(record)) seal(record);
    cJSON_Delete(record);
}
