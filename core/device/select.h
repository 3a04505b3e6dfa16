// Which device a command runs on: the one that was named, else the most promising one.
#ifndef DAPT_DEVICE_SELECT_H
#define DAPT_DEVICE_SELECT_H
#include "dapt/dapt.h"
#include "graph/device.h"
#include "host/loader.h"

// The devices of all backends, in the order of the modules. `each` as in dapt.h.
void dapt_list_devices(const struct dapt_modules *modules, dapt_each_device each, void *user);

// What was asked for; a zeroed struct is fine.
struct dapt_device_wish {
    const char *backend;  // NULL or "auto": any
    // NULL or "": the best one. Else the first of these that fits: a number (of the backend's
    // devices), a whole UUID, a backend, alone or with a number ("vulkan 0"), a whole name, a part of a
    // name or the beginning of a UUID. Letters' case is the same. Several that fit are an error, but for
    // a number without a backend: then the best of those with it.
    const char *device;
    uint32_t threads;   // cpu; 0: one for each processor of this process's part
    bool host_moments;  // see struct dapt_device_options
    // Of processes that run alike on this machine, which this is, and how many: where no device is named,
    // they take those of the best kind in order. 0 of 0: it runs alone.
    uint32_t local_rank, local_size;
    bool quiet;  // say nothing where the cpu is taken for want of something better
};
// Opens it. The best is a discrete GPU, then an integrated one, then a virtual one, then the cpu. A
// device that only poses as a GPU is taken where its backend or itself was named. Where the cpu is
// taken for want of something better, and there is a backend that could have had it, the log says
// why, once, unless the wish is for quiet.
enum dapt_status dapt_select_device(const struct dapt_modules *modules,
                                    const struct dapt_device_wish *wish,
                                    struct dapt_device_handle **device);
#endif
