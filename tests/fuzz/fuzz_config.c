// A run's configuration; what follows a byte 1 is the text of one --set. What was read is written and
// read again, and must be the same.
#include <string.h>

#include "fuzz.h"
#include "host/config.h"

static void reread(const struct dapt_config *config) {
    struct dapt_string first = {0}, second = {0};
    struct dapt_config *again = NULL;
    fuzz_accept();
    FUZZ_CHECK(dapt_config_write(config, &first) == DAPT_OK);
    FUZZ_CHECK(dapt_config_read(fuzz_file("again.json", first.data, first.length), NULL, &again) ==
               DAPT_OK);
    FUZZ_CHECK(dapt_config_write(again, &second) == DAPT_OK);
    FUZZ_CHECK(strcmp(first.data, second.data) == 0);
    dapt_config_free(&again);
    dapt_string_free(&first);
    dapt_string_free(&second);
}

void fuzz_one(const uint8_t *data, size_t size) {
    char set[300] = "";
    const char *const sets[] = {set, NULL};
    const uint8_t *mark = size ? memchr(data, 1, size) : NULL;
    struct dapt_config *config = NULL;
    if (mark) {
        size_t rest = size - (size_t)(mark - data) - 1;
        memcpy(set, mark + 1, rest < sizeof set ? rest : sizeof set - 1);
        size = (size_t)(mark - data);
    }
    if (dapt_config_read(fuzz_file("c.json", data, size), *set ? sets : NULL, &config) == DAPT_OK)
        reread(config);
    dapt_config_free(&config);
}
