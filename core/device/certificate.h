// The parity certificate of a device: the figures of parity.h, kept as JSON in RUN/device.json and
// in a cache.
#ifndef DAPT_DEVICE_CERTIFICATE_H
#define DAPT_DEVICE_CERTIFICATE_H
#include <cjson/cJSON.h>

#include "host/loader.h"
#include "device/parity.h"

// Compares the device with the cpu backend. `parity` receives the figures, *certificate the object
// (the caller's). DAPT_ERROR_INVALID for the cpu itself.
enum dapt_status dapt_certificate_make(const struct dapt_modules *modules,
                                       struct dapt_device_handle *device,
                                       struct dapt_parity *parity, cJSON **certificate);
// From the cache: a certificate of this very device, driver, settings, version of dapt and modules,
// whole, with every row holding. Else (any mismatch is a miss) NULL.
cJSON *dapt_certificate_find(const struct dapt_modules *modules, struct dapt_device_handle *device);
// Puts one into the cache; where that can't be, the next run makes another. Failed ones are not
// kept: it may have been the moment.
void dapt_certificate_store(const cJSON *certificate);
// Writes it to a file, at once and whole.
enum dapt_status dapt_certificate_write(const cJSON *certificate, const char *path);

// Appends "matmul is off by 0.031 (at most 5e-05), ...": the rows that don't hold.
enum dapt_status dapt_certificate_print(const struct dapt_parity *parity, struct dapt_string *text);

// dapt verify without a folder.
enum dapt_status dapt_certificate_verify(const struct dapt_modules *modules,
                                         const struct dapt_verify_options *options,
                                         dapt_verify_callback callback, void *user);
#endif
