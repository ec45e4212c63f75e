#include <pthread.h>

#include <synor/base/clock.h>
#include <synor/base/test.h>

#include "store_suite.h"

#define RECORDS_MAX 65536
#define WAIT_S      10

struct syn_store_recorder {
    pthread_mutex_t lock;
    pthread_cond_t more;
    size_t count;
    struct syn_store_record records[RECORDS_MAX];
};

struct syn_store_recorder *
syn_store_recorder_new(void)
{
    struct syn_store_recorder *recorder = calloc(1, sizeof(*recorder));
    pthread_condattr_t clock;

    assert_non_null(recorder);
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_mutex_init(&recorder->lock, NULL);
    pthread_cond_init(&recorder->more, &clock);
    pthread_condattr_destroy(&clock);
    return recorder;
}

struct syn_store_recorder *
syn_store_recorder_free(struct syn_store_recorder *recorder)
{
    for (size_t i = 0; i < recorder->count; i++) {
        syn_store_doc_unref(recorder->records[i].doc);
        syn_store_doc_unref(recorder->records[i].prev);
    }
    pthread_cond_destroy(&recorder->more);
    pthread_mutex_destroy(&recorder->lock);
    free(recorder);
    return NULL;
}

void
syn_store_recorder_event(void *arg, const struct syn_store_event *event)
{
    struct syn_store_recorder *recorder = arg;

    pthread_mutex_lock(&recorder->lock);
    assert(recorder->count < RECORDS_MAX);
    recorder->records[recorder->count++] = (struct syn_store_record){
        .kind = event->kind,
        .more = event->more,
        .revision = event->revision,
        .prev_revision = event->prev_revision,
        .doc = event->doc ? syn_store_doc_ref(event->doc) : NULL,
        .prev = event->prev ? syn_store_doc_ref(event->prev) : NULL,
    };
    pthread_cond_broadcast(&recorder->more);
    pthread_mutex_unlock(&recorder->lock);
}

size_t
syn_store_recorder_wait(struct syn_store_recorder *recorder, size_t count)
{
    struct timespec until = syn_clock_in_ms(WAIT_S * INT64_C(1000));
    int rc = 0;

    pthread_mutex_lock(&recorder->lock);
    while (rc == 0 && recorder->count < count)
        rc = pthread_cond_timedwait(&recorder->more, &recorder->lock, &until);
    size_t there = recorder->count;
    pthread_mutex_unlock(&recorder->lock);
    return there;
}

struct syn_store_record
syn_store_recorder_at(struct syn_store_recorder *recorder, size_t i)
{
    pthread_mutex_lock(&recorder->lock);
    assert(i < recorder->count);
    struct syn_store_record record = recorder->records[i];
    pthread_mutex_unlock(&recorder->lock);
    return record;
}
