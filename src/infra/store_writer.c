#include "store_writer_priv.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>

#include <synor/base/clock.h>
#include <synor/base/mem.h>

#include "store_group_priv.h"

/* History is trimmed this many revisions at a time, when nobody waits; with people waiting only
 * once it is behind by several such steps. */
#define TRIM_STEP 4096
#define TRIM_LATE 4
/* How long to wait for the callers of a group to come back. */
#define GATHER_NS    INT64_C(100000)
#define THREAD_STACK ((size_t)512 << 10)

struct syn_store_writer {
    pthread_mutex_t lock;
    pthread_cond_t work; /* monotonic clock */
    pthread_cond_t room;
    pthread_t thread;
    bool sleeping; /* the thread is, until signalled or due */
    bool yielding; /* the thread waits for a caller to leave the connection */
    bool busy;     /* somebody is at the connection and at `group` */
    bool stopping;
    unsigned blocked; /* callers that wait for room */
    struct syn_store_request *head;
    struct syn_store_request **tail;
    size_t count;
    size_t bytes;
    /* Of whoever set `busy`: */
    struct syn_store_group group;
    int64_t checkpoint_bytes; /* of WAL, from which on a checkpoint is due */
    int64_t trim_at;          /* revision from which on trimming is considered */
};

/* Requests */

static struct syn_store_request *
request_free(struct syn_store_request *request)
{
    if (!request)
        return NULL;
    for (size_t i = 0; i < request->count; i++)
        syn_store_doc_unref(request->steps[i].doc);
    sem_destroy(&request->ready);
    syn_free(request);
    return NULL;
}

static void
request_scope(struct syn_store_request **slot)
{
    request_free(*slot);
}

static int
request_new(enum syn_store_request_kind kind, const struct syn_store_op *ops, size_t count,
            struct syn_store_request **ret_request, struct syn_err *err)
{
    SYN_SCOPED(request_scope)
    struct syn_store_request *request =
        syn_calloc(1, sizeof(*request) + count * sizeof(request->steps[0]));

    if (!request)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a store request");
    request->kind = kind;
    sem_init(&request->ready, 0, 0);
    for (size_t i = 0; i < count; i++) {
        struct syn_store_step *step = &request->steps[i];
        bool put = ops[i].kind == SYN_STORE_PUT;
        int rc = syn_store_doc_new(ops[i].key, put ? ops[i].value : NULL, put ? ops[i].len : 0,
                                   &step->doc, err);
        if (rc < 0)
            return rc;
        request->count++;
        request->bytes += step->doc->len;
        step->kind = ops[i].kind;
        step->mod_revision = ops[i].mod_revision;
        step->doc->lease = put ? ops[i].lease : 0;
    }
    *ret_request = SYN_TAKE(request);
    return SYN_OK;
}

/* The queue */

static bool
queue_full(const struct syn_store_writer *writer, const struct syn_store_request *request)
{
    return writer->count >= SYN_STORE_QUEUE_MAX ||
           (writer->count > 0 && writer->bytes + request->bytes > SYN_STORE_QUEUE_BYTES_MAX);
}

static void
queue_push(struct syn_store_writer *writer, struct syn_store_request *request)
{
    *writer->tail = request;
    writer->tail = &request->next;
    writer->count++;
    writer->bytes += request->bytes;
    if (writer->sleeping)
        pthread_cond_signal(&writer->work);
}

static size_t
queue_pop_group(struct syn_store_writer *writer, struct syn_store_request **group)
{
    size_t count = 0;

    while (writer->head && count < SYN_STORE_GROUP_MAX) {
        struct syn_store_request *request = writer->head;
        writer->head = request->next;
        request->next = NULL;
        writer->count--;
        writer->bytes -= request->bytes;
        group[count++] = request;
    }
    if (!writer->head)
        writer->tail = &writer->head;
    if (count > 0 && writer->blocked > 0)
        pthread_cond_broadcast(&writer->room);
    return count;
}

/* Answers */

static void
answer(struct syn_store_request *request)
{
    if (!request->done) {
        sem_post(&request->ready); /* the caller frees it, perhaps at once */
        return;
    }
    request->done(request->arg, request->rc, &request->result, &request->err);
    request_free(request);
}

static void
fail_one(struct syn_store_request *request, int rc, const struct syn_err *err)
{
    request->rc = rc;
    request->err = *err;
}

static void
write_group(struct syn_store_writer *writer, struct syn_store_request **group, size_t count)
{
    struct syn_err err;
    int rc = syn_store_group_commit(&writer->group, group, count, &err);

    for (size_t i = 0; rc < 0 && i < count; i++) {
        int one = count == 1 ? rc : syn_store_group_commit(&writer->group, &group[i], 1, &err);
        if (one < 0)
            fail_one(group[i], one, &err);
    }
    for (size_t i = 0; i < count; i++)
        answer(group[i]);
}

/* The thread */

static bool
checkpoint_due(const struct syn_store_writer *writer)
{
    return writer->group.parts.db->wal_bytes > writer->checkpoint_bytes;
}

/* Bring the database file up to date. A failure, or a reader in the way, costs nothing but a longer
 * WAL: it is tried again after as many bytes more. */
static void
checkpoint(struct syn_store_writer *writer)
{
    struct syn_store_db *db = writer->group.parts.db;
    int pages = 0;
    int done = 0;

    int code = sqlite3_wal_checkpoint_v2(db->sql, NULL, SQLITE_CHECKPOINT_PASSIVE, &pages, &done);
    bool whole = code == SQLITE_OK && done == pages;
    writer->checkpoint_bytes = writer->group.parts.wal_bytes_max + (whole ? 0 : db->wal_bytes);
    if (whole)
        db->wal_bytes = 0;
}

static int64_t
trim_step(const struct syn_store_writer *writer)
{
    return SYN_MIN(TRIM_STEP, writer->group.parts.history_max);
}

static bool
trim_due(const struct syn_store_writer *writer)
{
    const struct syn_store_group *group = &writer->group;
    int64_t surplus = group->revision - group->compacted - group->parts.history_max;
    int64_t step = trim_step(writer);

    return group->revision >= writer->trim_at &&
           surplus >= (writer->count == 0 ? step : step * TRIM_LATE);
}

/* Forget the oldest history. A failure is tried again some revisions later. */
static void
trim(struct syn_store_writer *writer)
{
    struct syn_store_group *group = &writer->group;
    struct syn_store_request request = {.kind = SYN_REQUEST_COMPACT,
                                        .number = group->compacted + trim_step(writer)};
    struct syn_store_request *one = &request;
    struct syn_err err;

    if (syn_store_group_commit(group, &one, 1, &err) < 0)
        writer->trim_at = group->revision + trim_step(writer);
}

static void
wait_for_work(struct syn_store_writer *writer)
{
    int64_t due_ms = writer->group.lease_next_ms;

    writer->sleeping = true;
    if (due_ms == INT64_MAX) {
        pthread_cond_wait(&writer->work, &writer->lock);
    } else {
        int64_t wait_ms = SYN_MAX(due_ms - syn_store_group_now_ms(&writer->group), 0);
        struct timespec until = syn_clock_in_ms(wait_ms);

        pthread_cond_timedwait(&writer->work, &writer->lock, &until);
    }
    writer->sleeping = false;
}

/* Wait while a caller is at the connection. */
static void
yield_to_caller(struct syn_store_writer *writer)
{
    writer->sleeping = writer->yielding = true;
    pthread_cond_wait(&writer->work, &writer->lock);
    writer->sleeping = writer->yielding = false;
}

/* After a group its callers are awake and about to come again. The first of them must not set out
 * alone and make the others wait for a sync of its own: give them a moment to gather. A caller who
 * is really alone never gets here. */
static void
gather(struct syn_store_writer *writer, size_t expected)
{
    int64_t until_ns = syn_clock_ns() + GATHER_NS;

    while (writer->count < expected && syn_clock_ns() < until_ns) {
        pthread_mutex_unlock(&writer->lock);
        sched_yield();
        pthread_mutex_lock(&writer->lock);
    }
}

/* One turn with the connection, called with the lock. False when there is nothing to do. */
static bool
work(struct syn_store_writer *writer)
{
    struct syn_store_request *group[SYN_STORE_GROUP_MAX];
    bool expire = writer->group.lease_next_ms <= syn_store_group_now_ms(&writer->group);
    size_t count = queue_pop_group(writer, group);
    bool trims = trim_due(writer);
    bool checkpoints = checkpoint_due(writer);

    if (count == 0 && !expire && !trims && !checkpoints)
        return false;
    writer->busy = true;
    pthread_mutex_unlock(&writer->lock);
    if (expire)
        syn_store_group_expire(&writer->group);
    if (count > 0)
        write_group(writer, group, count);
    if (trims)
        trim(writer);
    if (checkpoints)
        checkpoint(writer);
    pthread_mutex_lock(&writer->lock);
    if (count > 1)
        gather(writer, count);
    writer->busy = false;
    return true;
}

static void *
writer_main(void *arg)
{
    struct syn_store_writer *writer = arg;

    pthread_mutex_lock(&writer->lock);
    for (;;) {
        if (writer->busy)
            yield_to_caller(writer);
        else if (work(writer))
            continue;
        else if (writer->stopping)
            break;
        else
            wait_for_work(writer);
    }
    pthread_mutex_unlock(&writer->lock);
    return NULL;
}

static int
start(struct syn_store_writer *writer, struct syn_err *err)
{
    pthread_attr_t attr;
    pthread_condattr_t clock;

    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_mutex_init(&writer->lock, NULL);
    pthread_cond_init(&writer->work, &clock);
    pthread_cond_init(&writer->room, NULL);
    pthread_condattr_destroy(&clock);
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, THREAD_STACK);
    int sys = pthread_create(&writer->thread, &attr, writer_main, writer);
    pthread_attr_destroy(&attr);
    if (sys)
        return SYN_FAIL_SYS(err, sys, "starting the store's writer thread");
    return SYN_OK;
}

static void
writer_release(struct syn_store_writer *writer)
{
    pthread_cond_destroy(&writer->room);
    pthread_cond_destroy(&writer->work);
    pthread_mutex_destroy(&writer->lock);
    syn_store_group_fini(&writer->group);
    syn_free(writer);
}

int
syn_store_writer_new(const struct syn_store_writer_parts *parts,
                     struct syn_store_writer **ret_writer, struct syn_err *err)
{
    struct syn_store_writer *writer = syn_calloc(1, sizeof(*writer));

    if (!writer)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for the store's writer");
    writer->tail = &writer->head;
    writer->checkpoint_bytes = parts->wal_bytes_max;
    int rc = syn_store_group_init(&writer->group, parts, err);
    if (rc < 0) {
        syn_free(writer);
        return rc;
    }
    rc = start(writer, err);
    if (rc < 0) {
        writer_release(writer);
        return rc;
    }
    *ret_writer = writer;
    return SYN_OK;
}

struct syn_store_writer *
syn_store_writer_free(struct syn_store_writer *writer)
{
    if (!writer)
        return NULL;
    pthread_mutex_lock(&writer->lock);
    writer->stopping = true;
    pthread_cond_signal(&writer->work);
    pthread_mutex_unlock(&writer->lock);
    pthread_join(writer->thread, NULL);
    assert(!writer->head);
    writer_release(writer);
    return NULL;
}

/* Calls */

/* A transaction that finds nobody before it is written by its own caller: no switch of threads, so
 * a single caller is as fast as SQLite. Called with the lock; false when it must queue. */
static bool
write_inline(struct syn_store_writer *writer, struct syn_store_request *request)
{
    struct syn_err err;

    if (request->kind != SYN_REQUEST_TXN || writer->busy || writer->head)
        return false;
    writer->busy = true;
    pthread_mutex_unlock(&writer->lock);
    int rc = syn_store_group_commit(&writer->group, &request, 1, &err);
    if (rc < 0)
        fail_one(request, rc, &err);
    pthread_mutex_lock(&writer->lock);
    writer->busy = false;
    if (writer->sleeping &&
        (writer->head || writer->yielding || trim_due(writer) || checkpoint_due(writer)))
        pthread_cond_signal(&writer->work);
    return true;
}

static void
write_queued(struct syn_store_writer *writer, struct syn_store_request *request)
{
    writer->blocked++;
    while (queue_full(writer, request))
        pthread_cond_wait(&writer->room, &writer->lock);
    writer->blocked--;
    queue_push(writer, request);
    pthread_mutex_unlock(&writer->lock);
    while (sem_wait(&request->ready) != 0)
        assert(errno == EINTR);
    pthread_mutex_lock(&writer->lock);
}

/* Have a request written and wait for its answer. Takes no ownership. */
static int
call(struct syn_store_writer *writer, struct syn_store_request *request, struct syn_err *err)
{
    if (pthread_equal(pthread_self(), writer->thread))
        return SYN_FAIL(err, SYN_E_INTERNAL,
                        "a store callback may not wait for a write: use syn_store_txn_async");
    pthread_mutex_lock(&writer->lock);
    if (!write_inline(writer, request))
        write_queued(writer, request);
    pthread_mutex_unlock(&writer->lock);
    if (request->rc < 0 && err)
        *err = request->err;
    return request->rc;
}

int
syn_store_writer_txn(struct syn_store_writer *writer, const struct syn_store_op *ops, size_t count,
                     struct syn_store_result *ret_result, struct syn_err *err)
{
    SYN_SCOPED(request_scope) struct syn_store_request *request = NULL;
    int rc = request_new(SYN_REQUEST_TXN, ops, count, &request, err);

    if (rc != SYN_OK)
        return rc;
    rc = call(writer, request, err);
    if (rc >= 0)
        *ret_result = request->result;
    return rc;
}

int
syn_store_writer_txn_async(struct syn_store_writer *writer, const struct syn_store_op *ops,
                           size_t count, syn_store_done_fn done, void *arg, struct syn_err *err)
{
    SYN_SCOPED(request_scope) struct syn_store_request *request = NULL;
    int rc = request_new(SYN_REQUEST_TXN, ops, count, &request, err);

    if (rc != SYN_OK)
        return rc;
    assert(request);
    request->done = done;
    request->arg = arg;
    pthread_mutex_lock(&writer->lock);
    if (queue_full(writer, request))
        rc = SYN_FAIL(err, SYN_E_LIMIT, "%zu writes wait for the disk already", writer->count);
    else
        queue_push(writer, SYN_TAKE(request));
    pthread_mutex_unlock(&writer->lock);
    return rc;
}

static int
call_number(struct syn_store_writer *writer, enum syn_store_request_kind kind, int64_t number,
            int64_t *ret_number, struct syn_err *err)
{
    SYN_SCOPED(request_scope) struct syn_store_request *request = NULL;
    int rc = request_new(kind, NULL, 0, &request, err);

    if (rc != SYN_OK)
        return rc;
    assert(request);
    request->number = number;
    rc = call(writer, request, err);
    if (rc == SYN_OK && ret_number)
        *ret_number = request->result.revision;
    return rc;
}

int
syn_store_writer_lease_grant(struct syn_store_writer *writer, int64_t ttl_ms, int64_t *ret_lease,
                             struct syn_err *err)
{
    return call_number(writer, SYN_REQUEST_LEASE_GRANT, ttl_ms, ret_lease, err);
}

int
syn_store_writer_lease_keepalive(struct syn_store_writer *writer, int64_t lease,
                                 struct syn_err *err)
{
    return call_number(writer, SYN_REQUEST_LEASE_KEEPALIVE, lease, NULL, err);
}

int
syn_store_writer_lease_revoke(struct syn_store_writer *writer, int64_t lease, struct syn_err *err)
{
    return call_number(writer, SYN_REQUEST_LEASE_REVOKE, lease, NULL, err);
}

int
syn_store_writer_compact(struct syn_store_writer *writer, int64_t revision, struct syn_err *err)
{
    return call_number(writer, SYN_REQUEST_COMPACT, revision, NULL, err);
}
