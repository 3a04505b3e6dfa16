#include "comm/launch.h"

#include <errno.h>
#include <stdlib.h>

// What launchers set for each process. A shell within one launch may start another (mpirun in a job
// of Slurm's): the nearer ones first.
static const struct {
    const char *launcher, *rank, *size;
} launchers[] = {
    {"mpirun of Open MPI", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"},
    {"mpirun of MPICH", "PMI_RANK", "PMI_SIZE"},
    // SLURM_NTASKS is set in batch scripts too, where nothing was started yet
    {"srun of Slurm", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS"},
};

static bool read_number(const char *name, uint32_t *number) {
    const char *text = getenv(name);
    char *end;
    if (!text || *text < '0' || *text > '9') return false;
    errno = 0;
    unsigned long value = strtoul(text, &end, 10);
    *number = (uint32_t)value;
    return !*end && !errno && value < UINT32_MAX;
}

bool dapt_launched(struct dapt_launch *launch) {
    for (size_t i = 0; i < sizeof launchers / sizeof *launchers; i++) {
        struct dapt_launch found = {.launcher = launchers[i].launcher};
        if (!read_number(launchers[i].rank, &found.rank) ||
            !read_number(launchers[i].size, &found.size) || found.rank >= found.size)
            continue;
        *launch = found;
        return true;
    }
    *launch = (struct dapt_launch){.size = 1};
    return false;
}

enum dapt_status dapt_ranks_join(const struct dapt_modules *modules,
                                 const struct dapt_comm_options *options,
                                 struct dapt_ranks **ranks) {
    struct dapt_launch launch;
    const char *left_out;
    *ranks = NULL;
    if (!dapt_launched(&launch) || launch.size == 1) return DAPT_OK;
    const struct dapt_comm *comm = dapt_modules_comm(modules, &left_out);
    if (!comm)
        return dapt_fail(
            DAPT_ERROR_UNSUPPORTED,
            "started %u times by %s, but this dapt has no module by which ranks talk%s%s: "
            "install the development files of that MPI (Debian, Ubuntu: "
            "libopenmpi-dev) and build anew, or start one process",
            launch.size, launch.launcher, *left_out ? "; left out: " : "", left_out);
    enum dapt_status status = dapt_ranks_open(comm, options, ranks);
    if (status) return dapt_fail_in(status, "%s", comm->id);
    uint32_t size = dapt_ranks_count(*ranks);
    if (size == launch.size) return DAPT_OK;
    dapt_ranks_close(ranks);
    return dapt_fail(
        DAPT_ERROR_INVALID,
        "%s started %u ranks, but module \"%s\" (%s) sees %u: it was built with another "
        "MPI, or this one is not made for that launcher (Slurm: srun --mpi=list names "
        "those it has, as in srun --mpi=pmix; or use the mpirun of that MPI)",
        launch.launcher, launch.size, comm->id, comm->summary, size);
}
