/* Delivery of events to watches, shared by engines that commit in one place.
 *
 *     writer --publish--> ring of the newest events --+
 *                                                     +--> notifier thread --> watch->fn
 *     engine's history --------replay-----------------+
 *
 * A watch is nothing but a prefix and the last revision it was given whole. While that revision is
 * in the ring the next events come from there, else the engine reads them from its history: the
 * same road serves old watches, slow watches and new ones, and no queue can grow. */
#ifndef SYN_INFRA_STORE_HUB_PRIV_H
#define SYN_INFRA_STORE_HUB_PRIV_H

#include <synor/infra/store.h>

#define SYN_STORE_RING_MAX       1024
#define SYN_STORE_RING_BYTES_MAX ((size_t)4 << 20)
/** Room for two revisions of the largest size. */
#define SYN_STORE_BATCH_MAX       (2 * (size_t)SYN_STORE_ROWS_MAX)
#define SYN_STORE_BATCH_BYTES_MAX ((size_t)8 << 20)

struct syn_store_hub;

/** Events of whole revisions, in order, with references on doc and prev. `more` is the hub's to
 * set. */
struct syn_store_batch {
    struct syn_store_event events[SYN_STORE_BATCH_MAX];
    size_t count;
    int64_t upto; /* nothing after `after` and up to this revision is missing */
};
void syn_store_batch_clear(struct syn_store_batch *batch);

/** Fill the empty `batch` with events after `after`. Returns 0; SYN_STORE_COMPACTED; < 0. */
typedef int (*syn_store_replay_fn)(void *self, const char *prefix, int64_t after,
                                   struct syn_store_batch *batch, struct syn_err *err);

SYN_MUST int syn_store_hub_new(int64_t revision, syn_store_replay_fn replay, void *self,
                               struct syn_store_hub **ret_hub, struct syn_err *err);
struct syn_store_hub *syn_store_hub_free(struct syn_store_hub *hub);
SYN_MUST int syn_store_hub_watch(struct syn_store_hub *hub, const char *prefix, int64_t after,
                                 syn_store_watch_fn fn, void *arg,
                                 struct syn_store_watch **ret_watch, struct syn_err *err);
void syn_store_hub_unwatch(struct syn_store_hub *hub, struct syn_store_watch *watch);
/** Whether there is any watch: the writer collects `prev` documents only then. */
bool syn_store_hub_wanted(struct syn_store_hub *hub);
/** The writer committed up to `revision`. Takes the events' references. With `whole` false the
 *  events lack what a watch may expect, and are fetched by replay. Never fails, never allocates. */
void syn_store_hub_publish_take(struct syn_store_hub *hub, const struct syn_store_event *events,
                                size_t count, int64_t revision, bool whole);

#endif
