#include "base/helper.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/crash.h"
#include "base/memory.h"

struct dapt_helper {
    pthread_t thread;
    pthread_mutex_t lock;  // over all below
    pthread_cond_t changed;
    enum dapt_status (*work)(void *context);  // NULL: none is under way
    void *context;
    bool ends;
    enum dapt_status status;  // of the last job
    struct dapt_string reason;
};

// With the lock, which is given back while the job runs.
static void do_job(struct dapt_helper *h) {
    pthread_mutex_unlock(&h->lock);
    enum dapt_status status = h->work(h->context);
    pthread_mutex_lock(&h->lock);
    h->status = status;
    h->reason.length = 0;
    if (status < 0) dapt_string_format(&h->reason, "%s", dapt_error());
    h->work = NULL;
    pthread_cond_broadcast(&h->changed);
}

static void *helper_main(void *pointer) {
    struct dapt_helper *h = pointer;
    struct dapt_crash_stack stack;
    dapt_crash_stack_begin(&stack);
    pthread_mutex_lock(&h->lock);
    while (!h->ends) {
        if (h->work)
            do_job(h);
        else
            pthread_cond_wait(&h->changed, &h->lock);
    }
    pthread_mutex_unlock(&h->lock);
    dapt_crash_stack_end(&stack);
    return NULL;
}

enum dapt_status dapt_helper_create(struct dapt_helper **helper) {
    struct dapt_helper *h = *helper = dapt_alloc(1, sizeof *h);
    if (!h) return DAPT_ERROR_MEMORY;
    pthread_mutex_init(&h->lock, NULL);
    pthread_cond_init(&h->changed, NULL);
    int error = pthread_create(&h->thread, NULL, helper_main, h);
    if (!error) return DAPT_OK;
    pthread_cond_destroy(&h->changed);
    pthread_mutex_destroy(&h->lock);
    free(h);
    *helper = NULL;
    return dapt_fail(DAPT_ERROR_MEMORY, "a thread cannot be made: %s", strerror(error));
}

void dapt_helper_destroy(struct dapt_helper **helper) {
    struct dapt_helper *h = *helper;
    *helper = NULL;
    if (!h) return;
    dapt_helper_wait(h);
    pthread_mutex_lock(&h->lock);
    h->ends = true;
    pthread_cond_broadcast(&h->changed);
    pthread_mutex_unlock(&h->lock);
    pthread_join(h->thread, NULL);
    pthread_cond_destroy(&h->changed);
    pthread_mutex_destroy(&h->lock);
    dapt_string_free(&h->reason);
    free(h);
}

void dapt_helper_start(struct dapt_helper *helper, enum dapt_status (*work)(void *context),
                       void *context) {
    pthread_mutex_lock(&helper->lock);
    helper->work = work;
    helper->context = context;
    pthread_cond_broadcast(&helper->changed);
    pthread_mutex_unlock(&helper->lock);
}

enum dapt_status dapt_helper_wait(struct dapt_helper *helper) {
    pthread_mutex_lock(&helper->lock);
    while (helper->work) pthread_cond_wait(&helper->changed, &helper->lock);
    enum dapt_status status = helper->status;
    if (status < 0)
        dapt_fail(status, "%s", helper->reason.data ? helper->reason.data : "no memory");
    helper->status = DAPT_OK;
    pthread_mutex_unlock(&helper->lock);
    return status;
}
