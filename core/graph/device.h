// A device of a backend behind checked wrappers: the only place of the core that calls a backend's
// table.
#ifndef DAPT_GRAPH_DEVICE_H
#define DAPT_GRAPH_DEVICE_H
#include "dapt/backend.h"
#include "base/error.h"

struct dapt_device_handle;  // an open device
struct dapt_buffer_handle;
struct dapt_executable_handle;

enum dapt_status dapt_device_open(const struct dapt_host *host, const struct dapt_backend *backend,
                                  uint32_t index, const struct dapt_device_options *options,
                                  struct dapt_device_handle **device);
void dapt_device_close(struct dapt_device_handle **device);
const struct dapt_device_info *dapt_device_info(const struct dapt_device_handle *device);
const struct dapt_backend *dapt_device_backend(const struct dapt_device_handle *device);

enum dapt_status dapt_buffer_create(struct dapt_device_handle *device, enum dapt_buffer_role role,
                                    uint64_t size, struct dapt_buffer_handle **buffer);
void dapt_buffer_destroy(struct dapt_buffer_handle **buffer);
enum dapt_status dapt_buffer_write(struct dapt_buffer_handle *buffer, uint64_t offset,
                                   const void *data, uint64_t size);
enum dapt_status dapt_buffer_read(struct dapt_buffer_handle *buffer, uint64_t offset, void *data,
                                  uint64_t size);
uint64_t dapt_buffer_size(const struct dapt_buffer_handle *buffer);

bool dapt_device_supports(struct dapt_device_handle *device, const struct dapt_program *program,
                          const struct dapt_op *op);
// Checks the whole program (op table, ranges, overlaps, buffer sizes), then compiles it; errors name
// op (label), operand, and what was expected. `buffers`: one for each of the program's; NULL where
// the program's size is 0.
enum dapt_status dapt_program_compile(struct dapt_device_handle *device,
                                      const struct dapt_program *program,
                                      struct dapt_buffer_handle *const *buffers,
                                      struct dapt_executable_handle **executable);
void dapt_program_destroy(struct dapt_executable_handle **executable);
enum dapt_status dapt_program_run(struct dapt_executable_handle *executable);
// As dapt_buffer_read(), once the last run of `executable` is done: what was started after it does not
// write there, and is not waited for where the backend can tell them apart.
enum dapt_status dapt_program_read(struct dapt_executable_handle *executable,
                                   struct dapt_buffer_handle *buffer, uint64_t offset, void *data,
                                   uint64_t size);
enum dapt_status dapt_device_wait(struct dapt_device_handle *device, double timeout);
// Nanoseconds by op of the last run; DAPT_ERROR_UNSUPPORTED where the backend has no clocks.
enum dapt_status dapt_program_timings(struct dapt_executable_handle *executable,
                                      uint64_t *nanoseconds, uint32_t count);
#endif
