// One rank of several processes, as mpi.py starts them: it joins the others as the command does.
//
// rank checks        all checks
// rank pieces        the same in messages of 333 bytes, as if they were larger than MPI can count
// rank abort CODE    rank 1 ends all with CODE, while the others wait for it
// rank wait          every rank says its process id, and waits for a rank 1 that never comes
// rank late          the same, for a short time
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "checks.h"
#include "comm/launch.h"
#include "host/loader.h"

static int fail(const char *where) {
    fprintf(stderr, "%s: %s\n", where, dapt_error());
    return 1;
}

static int run_checks(struct dapt_ranks *ranks) {
    for (size_t i = 0; i < comm_check_count; i++) comm_checks[i].run(ranks);
    if (dapt_ranks_index(ranks) == 0) printf("%u ranks: all holds\n", dapt_ranks_count(ranks));
    dapt_ranks_close(&ranks);
    return 0;
}

static int wait_for_one(struct dapt_ranks *ranks) {
    printf("rank %u is process %d\n", dapt_ranks_index(ranks), (int)getpid());
    fflush(stdout);
    while (dapt_ranks_index(ranks) == 1) sleep(1);
    dapt_ranks_barrier(ranks);
    dapt_ranks_abort(ranks, fail("barrier"));
    return 0;
}

static int end_all(struct dapt_ranks *ranks, int code) {
    if (dapt_ranks_index(ranks) == 1) dapt_ranks_abort(ranks, code);
    dapt_ranks_barrier(ranks);
    return 1;
}

int main(int count, char **words) {
    const char *what = count > 1 ? words[1] : "";
    bool late = strcmp(what, "late") == 0;
    struct dapt_comm_options options = {
        .piece = strcmp(what, "pieces") == 0 ? 333 : 0, .alive = 3, .timeout = late ? 2 : 0};
    struct dapt_modules *modules;
    struct dapt_ranks *ranks;
    if (dapt_modules_load(NULL, &modules)) return fail("modules");
    int code = dapt_ranks_join(modules, &options, &ranks) ? fail("join")
               : strcmp(what, "abort") == 0               ? end_all(ranks, atoi(words[2]))
               : late || strcmp(what, "wait") == 0        ? wait_for_one(ranks)
                                                          : run_checks(ranks);
    dapt_modules_unload(&modules);
    return code;
}
