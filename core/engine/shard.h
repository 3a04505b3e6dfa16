// How ranks that train together share a step: each has the whole model, runs its own micro-batches and
// updates a shard of the parameters (moments.h). Of the gradients a rank gets the sums over its shard, of
// the parameters it gives what it has updated: both go through host memory, a bucket at a time.
#ifndef DAPT_ENGINE_SHARD_H
#define DAPT_ENGINE_SHARD_H
#include "engine/programs.h"

// Elements that are in host memory at a time.
#define DAPT_SHARD_BUCKET ((uint64_t)1 << 21)

struct dapt_shard;
// All outlive it. NULL where options->ranks is: an engine alone has none.
enum dapt_status dapt_shard_create(const struct dapt_model *model,
                                   const struct dapt_engine_options *options,
                                   struct dapt_programs *programs, struct dapt_shard **shard);
void dapt_shard_destroy(struct dapt_shard **shard);

// What an update tells all ranks beside the weights.
struct dapt_shard_result {
    double norm2, loss;  // squared norm of the gradients, and the sum of losses; as scaled as these
    float decides;       // as DAPT_RESULT_DECIDES
    bool cancelled;      // some rank was asked to stop
};
// The update of a step whose micro-batches all ranks have been given: gradients are summed, the
// optimizer's program runs (`update`; else the norm alone is computed), parameters go to everybody.
// Collective.
enum dapt_status dapt_shard_update(struct dapt_shard *shard, bool update,
                                   struct dapt_shard_result *result);
// Seconds that each rank was at its own work in the last step, not waiting for others: [ranks].
const double *dapt_shard_busy(const struct dapt_shard *shard);

// One rank leads, the others follow (dapt_engine_follow): its writes are theirs, and moments are read from
// where they are.
void dapt_shard_lead(struct dapt_shard *shard);
bool dapt_shard_leads(const struct dapt_shard *shard);
enum dapt_status dapt_shard_follow(struct dapt_shard *shard, enum dapt_status *outcome);
// Whether one of these calls was left unfinished: the ranks are not at the same one any more, and can only
// end.
bool dapt_shard_apart(const struct dapt_shard *shard);
// Ends it on all ranks: dapt_shard_follow() gives `outcome`, with the leader's last reason.
enum dapt_status dapt_shard_end(struct dapt_shard *shard, enum dapt_status outcome);
// Of the leader: writes to the buffer of a role on all ranks.
enum dapt_status dapt_shard_write(struct dapt_shard *shard, enum dapt_buffer_role role,
                                  uint64_t offset, const void *bytes, uint64_t size);
// Bytes of the moments as if one rank had them all. Read: of the leader from all ranks, else what is
// this rank's own. Written: of the leader on all, else here; what is another rank's is left out.
enum dapt_status dapt_shard_read_moments(struct dapt_shard *shard, enum dapt_buffer_role role,
                                         uint64_t offset, uint64_t size, void *bytes);
enum dapt_status dapt_shard_write_moments(struct dapt_shard *shard, enum dapt_buffer_role role,
                                          uint64_t offset, uint64_t size, const void *bytes);
#endif
