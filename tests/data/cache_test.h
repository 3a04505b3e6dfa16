// What the tests of the cache share.
#ifndef CACHE_TEST_H
#define CACHE_TEST_H
#include <time.h>

#include "corpus_test.h"

enum { T = 64, scale = 60 };

static inline struct dapt_paths cache_files(const char *ending) {
    struct dapt_paths paths = {0};
    char *pattern = dapt_arena_format(&scratch_arena, "%s/cache/*%s", folder, ending);
    if (dapt_expand(&scratch_arena, pattern, &paths)) paths.count = 0;
    return paths;
}

static inline struct dapt_hash open_hash(struct setting s, bool cached) {
    s.sequence = T;
    struct dapt_corpus *corpus = open_corpus(s);
    struct dapt_hash hash = hash_batches(corpus, T);
    if (dapt_corpus_report(corpus)->cached != cached)
        fail_msg("%s: it was %s the cache", s.path, cached ? "not in" : "in");
    dapt_corpus_close(&corpus);
    return hash;
}

static inline void wait_settled(void) {
    nanosleep(&(struct timespec){.tv_nsec = 150000000}, NULL);
}
#endif
