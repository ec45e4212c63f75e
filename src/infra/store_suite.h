/* What every engine of the store must pass. An engine's test gives a factory and calls the suite.
 */
#ifndef SYN_INFRA_STORE_SUITE_H
#define SYN_INFRA_STORE_SUITE_H

#include <synor/infra/store.h>

struct syn_store_factory {
    void *self;
    /** Make sure that the next open gives a store without documents. None is open. */
    void (*wipe)(void *self);
    /** Open the store, or open it again: what was written before is there. */
    int (*open)(void *self, struct syn_store **ret_store, struct syn_err *err);
    int64_t ttl_min_ms; /* the shortest ttl the engine takes exactly */
    unsigned seeds;     /* histories of the model test */
};

/** Run the suite as cmocka group `name`. Returns how many tests failed. */
int syn_store_suite(const char *name, const struct syn_store_factory *factory);

/* A watch that writes down what it is told; for tests of engines too. */

struct syn_store_record {
    enum syn_store_event_kind kind;
    bool more;
    int64_t revision;
    int64_t prev_revision;
    const struct syn_store_doc *doc;
    const struct syn_store_doc *prev;
};

struct syn_store_recorder;

struct syn_store_recorder *syn_store_recorder_new(void);
struct syn_store_recorder *syn_store_recorder_free(struct syn_store_recorder *recorder);
/** A syn_store_watch_fn; `arg` is the recorder. */
void syn_store_recorder_event(void *arg, const struct syn_store_event *event);
/** Wait for `count` events. Returns how many there are after at most ten seconds. */
size_t syn_store_recorder_wait(struct syn_store_recorder *recorder, size_t count);
/** Borrowed until the recorder is freed; the event must have been waited for. */
struct syn_store_record syn_store_recorder_at(struct syn_store_recorder *recorder, size_t i);

#endif
