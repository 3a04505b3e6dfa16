// The Vulkan backend: what its files share.
//
//   instance.c  libvulkan, the instance, devices    device.c          one device, waiting, errors
//   memory.c    blocks of memory, buffers           transfer.c        reads and writes of the host
//   pipeline.c  shaders to pipelines                source.c          shaders compiled at run time
//   matrix.c    which matrix units are used
//   cache.c     cache files                         tune.c            the fastest tiles of matmuls
//   lower*.c    ops as passes of shaders            hazard.c          where a barrier is needed
//   program.c   programs: recorded, submitted       split_dispatch.c  dispatches that run too long
//
// There are no descriptors: shaders get addresses, in push constants, within the 128 bytes that
// every device has.
#ifndef DAPT_VK_H
#define DAPT_VK_H
#include "api.h"
#include "common/fail.h"
#include "common/integers.h"
#include "shader_rows.h"

struct dapt_device;

// ------------------------------------------------------------------------------------ the adapters

// Whether matrix units are used: where they are right, or never.
enum vk_matrix_limit { VK_MATRIX_USED, VK_MATRIX_NONE };

// What kernels may rely on: the limits of the device, or lower ones from DAPT_VK_LIMITS
// ("shared=16384,invocations=128").
struct vk_limits {
    uint32_t shared_memory;  // bytes of a workgroup
    uint32_t invocations;    // of a workgroup
    uint32_t groups;         // of a dispatch, in each dimension
    uint32_t subgroup;       // asked-for subgroup size; 0: the driver's choice
    uint64_t allocation;     // bytes of one allocation
    uint64_t memory;         // bytes in all that buffers may take; 0: no limit
    uint32_t tile;           // of matmuls: the one with this number, from 1; 0: the fastest
    uint32_t tuning;         // seconds that measuring tiles may take in all
    // operations of one dispatch, or of one submission before any was measured, where it can be
    // split; 0: no limit
    double work;
    uint32_t matrix;  // enum vk_matrix_limit
    bool software;    // kernels for a software device: a CPU with a Vulkan driver, such as lavapipe
    bool hidden;      // the host sees no device memory, as on most discrete GPUs
};

// A physical device that has what is needed.
struct vk_adapter {
    const struct vk_instance_api *api;
    VkPhysicalDevice handle;
    VkPhysicalDeviceProperties properties;
    VkPhysicalDeviceVulkan11Properties properties11;
    VkPhysicalDeviceVulkan12Properties properties12;
    uint32_t subgroup_min, subgroup_max;
    uint32_t queue_family, timestamp_bits;
    uint32_t sparse_family;  // binds sparse memory: queue_family, or a family for nothing else
    bool sparse, subgroup_control, memory_budget, portability;
    // Bit d: matrix shaders with operands of enum dapt_dtype d can be made.
    uint32_t matrix_types;
    const char *no_matrices;  // why there are none; NULL where there are
    uint64_t heap;            // bytes of the largest device-local heap
    struct vk_limits limits;
    struct dapt_device_info info;
};

#define VK_MAX_ADAPTERS 32

// libvulkan and the instance: open while someone uses them.
struct vk_instance {
    uint32_t users;
    void *library;
    PFN_vkGetInstanceProcAddr get;
    VkInstance handle;
    VkDebugUtilsMessengerEXT messenger;
    struct vk_instance_api api;
    const struct dapt_host *host;
    bool validating;  // DAPT_VK_VALIDATE=1: any message of the validation layer ends the program
    bool labels;      // names and labels reach a debugger
    uint32_t count;
    // discrete before integrated before virtual before software
    struct vk_adapter adapters[VK_MAX_ADAPTERS];
    char reason[512];  // why there are none
};
// Never NULL; counted: the last release closes it. Nothing is left to the end of the process, when
// the libraries below may be unloaded already.
struct vk_instance *vk_instance_acquire(const struct dapt_host *host);
void vk_instance_release(void);

enum dapt_status vk_device_count(const struct dapt_host *host, uint32_t *count);
enum dapt_status vk_device_info(const struct dapt_host *host, uint32_t index,
                                struct dapt_device_info *info);
// Features and extensions. `all` begins a chain of the other structures, which point to each other:
// not to be copied.
struct vk_features {
    VkPhysicalDeviceFeatures2 all;
    VkPhysicalDeviceVulkan12Features vulkan12;
    VkPhysicalDeviceSubgroupSizeControlFeatures sizes;
    VkPhysicalDeviceCooperativeMatrixFeaturesKHR matrix;
    VkPhysicalDeviceShaderBfloat16FeaturesKHR bf16;
    const char *extensions[8];
    uint32_t extension_count;
};
// Fills it; false: it has not what is needed.
bool vk_adapter_examine(const struct vk_instance_api *api, VkPhysicalDevice handle,
                        struct vk_adapter *adapter);
// What a device is opened with, as far as the adapter has it.
void vk_features_of(const struct vk_adapter *adapter, struct vk_features *features);
// Free and total bytes of device memory; free is 0 where it is not known.
void vk_memory_budget(const struct vk_adapter *adapter, uint64_t *total, uint64_t *available);

// -------------------------------------------------------------------------------------- the device

struct vk_block;  // device memory with one VkBuffer over it
struct vk_ring;   // staging memory

// A range of device memory.
struct dapt_buffer {
    struct vk_block *block;
    uint64_t offset, size;  // bytes in the block; size is a multiple of 4
    VkDeviceAddress address;
    void *mapped;  // NULL: not visible to the host
    bool cached;   // mapped memory that the host reads fast
};

struct vk_pipeline;

// A matrix unit: products of m x k by k x n, by subgroups of that size. m is 0: none.
struct vk_unit {
    uint32_t m, n, k, subgroup;
};
#define VK_UNITS 2  // of float16, of bfloat16

#define VK_IN_FLIGHT 256  // the last submissions, which messages can name
#define VK_WAITING 4      // command buffers of one submission

struct dapt_device {
    const struct dapt_host *host;
    const struct vk_instance *instance;
    const struct vk_adapter *adapter;
    struct vk_limits limits;
    VkDevice handle;
    struct vk_device_api api;
    VkQueue queue, sparse_queue;
    VkCommandPool pool;
    VkSemaphore timeline;
    uint64_t submitted;                   // value of the timeline after everything submitted so far
    VkCommandBuffer waiting[VK_WAITING];  // for the next submission
    uint32_t waiting_count;
    enum dapt_status lost;              // set once: every later call fails with it
    const char *running[VK_IN_FLIGHT];  // what each of the last submissions does, for messages
    double patience;           // seconds without progress after which the device is taken to hang
    bool hung;                 // nothing that a submission uses may be destroyed
    struct dapt_device *next;  // of the abandoned devices

    VkPhysicalDeviceMemoryProperties memory;
    struct vk_block *blocks;
    uint64_t used;  // bytes in blocks
    struct vk_ring *ring;
    struct dapt_buffer *scratch;  // of the ops; grows; shared by all programs
    uint32_t scratch_version;

    VkPipelineCache cache;
    struct vk_unit units[VK_UNITS];  // see matrix.c
    bool units_known[VK_UNITS];
    struct vk_attention_units *attention_units;  // see attention_unit.c
    struct vk_tuner *tuner;                      // NULL until a matmul was measured or looked up
    VkPipelineLayout layout;
    VkShaderModule modules[SHADER_COUNT];
    struct vk_pipeline *pipelines;  // a list
    bool cache_dirty;

    bool unified;         // the host sees all device memory
    bool host_moments;    // see dapt_device_options
    bool oversubscribed;  // warned once that more memory was asked for than was free
};

enum dapt_status vk_device_open(const struct dapt_host *host, uint32_t index,
                                const struct dapt_device_options *options,
                                struct dapt_device **device);
void vk_device_close(struct dapt_device *device);
// Submits one command buffer, or none, behind those that wait; when it is done the timeline reads
// device->submitted. `what` is named in messages.
enum dapt_status vk_submit(struct dapt_device *device, VkCommandBuffer commands, const char *what);
// As part of the next submission.
enum dapt_status vk_submit_later(struct dapt_device *device, VkCommandBuffer commands);
// Submits those that wait.
enum dapt_status vk_flush(struct dapt_device *device);
// What the timeline reads when everything so far is done, what waits included.
uint64_t vk_latest(const struct dapt_device *device);
// Waits until the timeline reads `value`, and submits what waits where that takes it; timeout in
// seconds, 0: as long as the timeline moves.
enum dapt_status vk_wait(struct dapt_device *device, uint64_t value, double timeout);
// Waits for everything so far.
enum dapt_status vk_wait_all(struct dapt_device *device, double timeout);
bool vk_idle(struct dapt_device *device);

// Records why a Vulkan call failed: adds the device and the result's name, and remembers a lost
// device.
enum dapt_status vk_fail_call(struct dapt_device *device, VkResult result, const char *what);
const char *vk_result_name(VkResult result);
uint64_t vk_hash(const void *data, size_t size);  // FNV-1a
// A hash with that of a shader's code added: of what is kept about it.
uint64_t vk_hash_shader(uint64_t hash, enum vk_shader shader);
// Forgets the names of submissions that lie in these bytes: their memory will be freed.
void vk_forget(struct dapt_device *device, const void *begin, size_t size);
void vk_name(struct dapt_device *device, VkObjectType type, uint64_t handle, const char *name);
// Command buffers of the device's pool, begun and ended. `reusable`: submitted more than once.
enum dapt_status vk_commands_begin(struct dapt_device *device, bool reusable,
                                   VkCommandBuffer *commands);
enum dapt_status vk_commands_end(struct dapt_device *device, VkCommandBuffer commands);
// Ends them, submits them, waits until they are done and frees them; after an error the pool does.
enum dapt_status vk_commands_finish(struct dapt_device *device, VkCommandBuffer commands,
                                    const char *what);
// Everything before happens before everything after, for shaders, copies and the host.
void vk_full_barrier(struct dapt_device *device, VkCommandBuffer commands);

// ------------------------------------------------------------------------------- memory, transfers

enum vk_memory_kind {
    VK_MEMORY_DEVICE,
    VK_MEMORY_UPLOAD,
    VK_MEMORY_STAGING,
    VK_MEMORY_HOST  // of the host, for what the device seldom needs
};

enum dapt_status vk_memory_create(struct dapt_device *device, enum vk_memory_kind kind,
                                  uint64_t size, const char *name,
                                  struct dapt_buffer **buffer);  // contents undefined
void vk_memory_destroy(struct dapt_device *device, struct dapt_buffer *buffer);  // NULL is fine
VkBuffer vk_buffer_handle(const struct dapt_buffer *buffer);
void vk_memory_close(struct dapt_device *device);

enum dapt_status vk_buffer_create(struct dapt_device *device, enum dapt_buffer_role role,
                                  uint64_t size, struct dapt_buffer **buffer);
void vk_buffer_destroy(struct dapt_device *device, struct dapt_buffer *buffer);
enum dapt_status vk_buffer_write(struct dapt_device *device, struct dapt_buffer *buffer,
                                 uint64_t offset, const void *data, uint64_t size);
enum dapt_status vk_buffer_read(struct dapt_device *device, struct dapt_buffer *buffer,
                                uint64_t offset, void *data, uint64_t size);
// As vk_buffer_read() of a mapped buffer once the timeline reads `value`.
enum dapt_status vk_buffer_read_at(struct dapt_device *device, struct dapt_buffer *buffer,
                                   uint64_t value, uint64_t offset, void *data, uint64_t size);
void vk_transfer_close(struct dapt_device *device);

// --------------------------------------------------------------------------------------- pipelines

#define VK_MAX_CONSTANTS 28

// A shader with its specialization constants; made once, kept for the device's life.
// `dispatch_base`: for vkCmdDispatchBase, which runs some of the workgroups. `subgroup`: the size that
// its subgroups must have, all of them full; 0: as the driver likes.
enum dapt_status vk_pipeline_get(struct dapt_device *device, enum vk_shader shader,
                                 const uint32_t *constants, uint32_t count, uint32_t subgroup,
                                 bool dispatch_base, VkPipeline *pipeline);
// source.c: the folder that DAPT_SHADER_DIR names; NULL where it is not set, or empty.
const char *vk_shader_folder(void);
// The shader compiled from there, the caller's to free; NULL where there is no such folder.
enum dapt_status vk_shader_source(struct dapt_device *device, enum vk_shader shader,
                                  uint32_t **code, size_t *size);
enum dapt_status vk_pipeline_open(struct dapt_device *device);
void vk_pipeline_close(struct dapt_device *device);

// cache.c: files in $XDG_CACHE_HOME/dapt or ~/.cache/dapt of what depends on this device and
// driver. `content` is a hash of all else that must be the same; any difference is a miss.
// DAPT_VK_CACHE=0: nothing is read or written.
void *vk_cache_read(const struct dapt_device *device, const char *kind, uint64_t content,
                    size_t *size);  // the caller's to free; NULL: a miss
void vk_cache_write(const struct dapt_device *device, const char *kind, uint64_t content,
                    const void *data, size_t size);  // whole or not at all; no error if not

// tune.c: measurements are written to the cache when the device is closed; vk_tuner_free_memory()
// frees the memory that they used.
void vk_tuner_free_memory(struct dapt_device *device);
void vk_tuner_close(struct dapt_device *device);

// ---------------------------------------------------------------------------------------- programs

bool vk_supports(struct dapt_device *device, const struct dapt_program *program,
                 const struct dapt_op *op);
enum dapt_status vk_program_compile(struct dapt_device *device, const struct dapt_program *program,
                                    struct dapt_buffer *const *buffers,
                                    struct dapt_executable **executable);
void vk_program_destroy(struct dapt_device *device, struct dapt_executable *executable);
enum dapt_status vk_program_run(struct dapt_device *device, struct dapt_executable *executable);
enum dapt_status vk_program_read(struct dapt_device *device, struct dapt_executable *executable,
                                 struct dapt_buffer *buffer, uint64_t offset, void *data,
                                 uint64_t size);
enum dapt_status vk_timings(struct dapt_device *device, struct dapt_executable *executable,
                            uint64_t *nanoseconds);
#endif
