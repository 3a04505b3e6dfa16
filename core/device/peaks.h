// What a device reaches at best, as the kernels of its backend do it: one large product, one large
// copy.
#ifndef DAPT_DEVICE_PEAKS_H
#define DAPT_DEVICE_PEAKS_H
#include "dapt/dapt.h"
#include "graph/device.h"

// Of a product of peaks->size cubed in float32. Fills the rest of *peaks.
enum dapt_status dapt_peaks_measure(struct dapt_device_handle *device,
                                    struct dapt_bench_peaks *peaks);
#endif
