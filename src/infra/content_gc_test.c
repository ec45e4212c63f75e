/* gc against a reference that knows every DAG, and everything at once from many threads. */
#include <synor/base/test.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/uio.h>
#include <unistd.h>

#include <synor/infra/content.h>

#include "content_testing.h"

#define LEAVES 40
#define NODES  60
#define ROUNDS 25

/* A node of a random DAG: leaves are files, the rest are folders of earlier nodes. */
struct model_node {
    struct syn_cid cid;
    size_t children[4];
    size_t count;
    size_t size; /* of a leaf */
    bool stored;
    bool reached;
};

struct model {
    struct model_node nodes[LEAVES + NODES];
    uint64_t random;
};

static void
put_model_node(struct place *place, struct model *model, size_t number)
{
    struct model_node *node = &model->nodes[number];
    struct syn_content_entry entries[SYN_LEN(node->children)];
    char names[SYN_LEN(node->children)][48];
    struct syn_err err = {0};

    node->stored = true;
    if (number < LEAVES) {
        node->cid = put_bytes(place->store, node->size, number + 1, number % 2 == 0);
        return;
    }
    for (size_t i = 0; i < node->count; i++) {
        if (!model->nodes[node->children[i]].stored)
            put_model_node(place, model, node->children[i]);
        (void)snprintf(names[i], sizeof(names[i]), "%zu-%zu", number, i);
        entries[i].name = names[i];
        entries[i].cid = model->nodes[node->children[i]].cid;
    }
    assert_done(syn_content_put_dir(place->store, entries, node->count, &node->cid, &err), &err);
}

static void
make_model(struct model *model)
{
    *model = (struct model){.random = 11};
    for (size_t i = 0; i < LEAVES + NODES; i++) {
        struct model_node *node = &model->nodes[i];

        node->size = (size_t)(syn_test_random(&model->random) % 60000);
        if (i % 10 == 3)
            node->size = MIB + 5;
        if (i < LEAVES)
            continue;
        node->count = 1 + (size_t)(syn_test_random(&model->random) % SYN_LEN(node->children));
        for (size_t j = 0; j < node->count; j++)
            node->children[j] = (size_t)(syn_test_random(&model->random) % i);
    }
}

static void
reach(struct model *model, size_t number)
{
    struct model_node *node = &model->nodes[number];

    node->reached = true;
    for (size_t i = 0; i < node->count; i++)
        reach(model, node->children[i]);
}

/* What is reached must read back whole; what is not must be gone. */
static void
check_model(struct place *place, struct model *model)
{
    for (size_t i = 0; i < LEAVES + NODES; i++) {
        struct model_node *node = &model->nodes[i];
        struct syn_err err = {0};
        bool has = false;

        if (!node->stored)
            continue;
        assert_done(syn_content_has_block(place->store, &node->cid, &has, &err), &err);
        if (has != node->reached)
            fail_msg("node %zu is %s", i, has ? "still there" : "gone");
        if (has && i < LEAVES)
            assert_content(place->store, &node->cid, node->size, i + 1, i % 2 == 0);
        node->stored = has;
    }
}

static void
gc_keeps_what_is_reached_and_nothing_else(void **state)
{
    struct place *place = *state;
    struct model model;
    uint64_t freed = 0;

    make_model(&model);
    for (int round = 0; round < ROUNDS; round++) {
        struct syn_cid cids[5];
        struct root_list roots = {.cids = cids};
        struct syn_content_gc result;
        struct syn_err err = {0};

        for (int i = 0; i < 8; i++)
            put_model_node(place, &model,
                           (size_t)(syn_test_random(&model.random) % (LEAVES + NODES)));
        for (size_t i = 0; i < LEAVES + NODES; i++)
            model.nodes[i].reached = false;
        while (roots.count < (size_t)round % 5) {
            size_t number = (size_t)(syn_test_random(&model.random) % (LEAVES + NODES));

            if (!model.nodes[number].stored)
                put_model_node(place, &model, number);
            reach(&model, number);
            cids[roots.count++] = model.nodes[number].cid;
        }
        (void)usleep(2000); /* puts of this very millisecond count as new */
        assert_done(syn_content_gc(place->store, 0, next_root, &roots, &result, &err), &err);
        freed += result.bytes_freed;
        check_model(place, &model);
        if (round % 6 == 5)
            reopen(place, NULL, NULL);
    }
    assert_true(freed > MIB);
    assert_true(bytes_in_packs(place) < 16 * MIB);
}

/* What was removed is freed, or waits in a pack that is still half full: nothing is unaccounted. */
static void
gc_tells_what_it_frees_and_what_waits(void **state)
{
    struct place *place = *state;
    struct syn_err err = {0};
    struct syn_cid cids[2];
    struct root_list roots = {cids, 2, 0};
    struct syn_content_gc result;
    uint64_t before;

    cids[0] = put_bytes(place->store, 4 * MIB, 1, false);
    cids[1] = put_bytes(place->store, MIB, 2, false);
    (void)usleep(2000);
    assert_done(syn_content_gc(place->store, 0, next_root, &roots, &result, &err), &err);
    assert_int_equal(result.blocks_removed, 0);
    assert_int_equal(result.bytes_freed, 0);
    assert_int_equal(result.bytes_waiting, 0);

    roots = (struct root_list){cids, 1, 0}; /* four fifths of the pack stay */
    before = (uint64_t)bytes_in_packs(place);
    assert_done(syn_content_gc(place->store, 0, next_root, &roots, &result, &err), &err);
    assert_int_equal(result.blocks_removed, 1);
    assert_int_equal(result.bytes_freed, before - (uint64_t)bytes_in_packs(place));
    assert_true(result.bytes_freed == 0 && result.bytes_waiting >= MIB);
    assert_true(result.bytes_waiting < MIB + 4096);

    roots = (struct root_list){NULL, 0, 0};
    before = (uint64_t)bytes_in_packs(place);
    assert_done(syn_content_gc(place->store, 0, next_root, &roots, &result, &err), &err);
    assert_int_equal(result.bytes_freed, before - (uint64_t)bytes_in_packs(place));
    assert_true(result.bytes_freed > 5 * MIB);
    assert_int_equal(result.bytes_waiting, 0);
}

static void
gc_spares_what_is_new(void **state)
{
    struct place *place = *state;
    struct syn_err err = {0};
    struct root_list none = {0};
    struct syn_content_gc result;
    struct syn_cid file = put_bytes(place->store, 2 * MIB, 1, false);

    assert_done(syn_content_gc(place->store, 60000, next_root, &none, &result, &err), &err);
    assert_int_equal(result.blocks_removed, 0);
    assert_content(place->store, &file, 2 * MIB, 1, false);
}

/* An open upload finds its chunk stored already, from a file that nothing else keeps. */
static void
gc_spares_what_open_puts_rely_on(void **state)
{
    struct place *place = *state;
    struct syn_err err = {0};
    struct root_list none = {0};
    struct syn_content_gc result;
    struct syn_content_put *put = NULL;
    struct syn_cid before = put_bytes(place->store, 8 * MIB, 1, false);
    struct syn_cid after;
    uint8_t *data = make_bytes(8 * MIB, 1, false);

    assert_done(syn_content_put_new(place->store, &put, &err), &err);
    assert_done(syn_content_put_write(put, data, 8 * MIB, &err), &err);
    (void)usleep(100000);
    assert_done(syn_content_gc(place->store, 0, next_root, &none, &result, &err), &err);
    assert_done(syn_content_put_commit(put, &after, NULL, &err), &err);
    syn_content_put_free(put);
    assert_true(syn_cid_eq(&before, &after));
    assert_content(place->store, &after, 8 * MIB, 1, false);
    test_free(data);
}

static void
gc_refuses_roots_it_cannot_follow(void **state)
{
    struct place *place = *state;
    struct syn_err err = {0};
    struct syn_content_gc result;
    struct syn_cid kept = put_bytes(place->store, 100, 1, false);
    struct syn_cid missing;
    struct root_list roots = {&missing, 1, 0};

    syn_cid_of(SYN_CODEC_DAG_PB, "never stored", 12, &missing);
    (void)usleep(2000);
    assert_code(syn_content_gc(place->store, 0, next_root, &roots, &result, &err), SYN_E_NOTFOUND,
                &err);
    assert_content(place->store, &kept, 100, 1, false);
}

/* ---- names that come meanwhile ----------------------------------------------------------------
 */

/* Roots that are asked for, and after that somebody names something. */
struct late_name {
    struct place *place;
    struct syn_cid cid;
    bool named;
};

static int
name_late(void *arg, struct syn_cid *ret_cid, struct syn_err *err)
{
    struct late_name *late = arg;
    struct syn_content_guard *guard = NULL;

    (void)ret_cid;
    assert_done(syn_content_guard_new(late->place->store, &guard, err), err);
    assert_done(syn_content_guard_add(guard, &late->cid, err), err);
    late->named = true; /* the document is written here, too late for these roots */
    syn_content_guard_free(guard);
    return 0;
}

static void
gc_spares_what_is_named_after_it_began(void **state)
{
    struct place *place = *state;
    struct syn_err err = {0};
    struct late_name late = {.place = place, .cid = put_bytes(place->store, 3 * MIB, 1, false)};
    struct root_list none = {0};
    struct syn_content_gc result;
    bool has = true;

    (void)put_bytes(place->store, 2 * MIB, 2, false);
    (void)usleep(2000);
    assert_done(syn_content_gc(place->store, 0, name_late, &late, &result, &err), &err);
    assert_true(late.named);
    assert_int_equal(result.blocks_removed, 3);
    assert_content(place->store, &late.cid, 3 * MIB, 1, false);
    /* It held for that gc, and no longer. */
    assert_done(syn_content_gc(place->store, 0, next_root, &none, &result, &err), &err);
    assert_done(syn_content_has_block(place->store, &late.cid, &has, &err), &err);
    assert_false(has);
}

/* An upload that ends while gc looks at the roots, and whose name comes a moment later. */
static int
put_late(void *arg, struct syn_cid *ret_cid, struct syn_err *err)
{
    struct late_name *late = arg;

    (void)ret_cid;
    (void)err;
    late->cid = put_bytes(late->place->store, 3 * MIB, 1, false);
    (void)usleep(2000);
    return 0;
}

static void
gc_spares_what_was_put_after_it_began(void **state)
{
    struct place *place = *state;
    struct syn_err err = {0};
    struct late_name late = {.place = place};
    struct syn_content_gc result;

    assert_done(syn_content_gc(place->store, -60000, put_late, &late, &result, &err), &err);
    assert_content(place->store, &late.cid, 3 * MIB, 1, false);
}

static void
guards_keep_what_is_put_under_them(void **state)
{
    struct place *place = *state;
    struct syn_err err = {0};
    struct root_list none = {0};
    struct syn_content_guard *guard = NULL;
    struct syn_content_gc result;
    struct syn_cid cid;
    struct syn_cid missing;
    bool has = true;

    assert_done(syn_content_guard_new(place->store, &guard, &err), &err);
    cid = put_bytes(place->store, 3 * MIB, 1, false);
    (void)usleep(2000);
    assert_done(syn_content_gc(place->store, 0, next_root, &none, &result, &err), &err);
    assert_content(place->store, &cid, 3 * MIB, 1, false);
    syn_cid_of(SYN_CODEC_RAW, "never stored", 12, &missing);
    assert_code(syn_content_guard_add(guard, &missing, &err), SYN_E_NOTFOUND, &err);
    assert_done(syn_content_gc(place->store, 0, next_root, &none, &result, &err), &err);
    assert_content(place->store, &cid, 3 * MIB, 1, false);
    syn_content_guard_free(guard);
    assert_done(syn_content_gc(place->store, 0, next_root, &none, &result, &err), &err);
    assert_done(syn_content_has_block(place->store, &cid, &has, &err), &err);
    assert_false(has);
}

/* What an abandoned put wrote beside a guard is taken back when the guard ends. */
static void
guards_hold_up_no_space(void **state)
{
    struct place *place = *state;
    struct syn_err err = {0};
    struct syn_content_guard *guard = NULL;
    struct syn_content_put *put = NULL;
    uint8_t *data = make_bytes(4 * MIB, 12, false);
    uint64_t before;

    (void)put_bytes(place->store, 10, 1, false);
    before = bytes_in_packs(place);
    assert_done(syn_content_guard_new(place->store, &guard, &err), &err);
    assert_done(syn_content_put_new(place->store, &put, &err), &err);
    assert_done(syn_content_put_write(put, data, 4 * MIB, &err), &err);
    syn_content_put_free(put);
    syn_content_guard_free(guard);
    assert_int_equal(bytes_in_packs(place), before);
    test_free(data);
}

#define NAMES 60

/* Names under a lock, as documents in a store; `cids` never shrinks. */
struct book {
    struct place *place;
    pthread_mutex_t lock;
    struct syn_cid cids[NAMES];
    size_t count;
    atomic_bool done;
    atomic_uint lost;
};

/* Content that was put and let go, named again while gc is at it. */
static void *
name_all_the_time(void *arg)
{
    struct book *book = arg;
    struct syn_content *store = book->place->store;

    for (unsigned i = 0; i < NAMES; i++) {
        struct syn_cid cid = put_bytes(store, MIB + 1 + i, i + 1, false);
        struct syn_content_guard *guard = NULL;
        struct syn_err err = {0};
        SYN_BUF(got);

        (void)usleep(i % 7 * 500);
        if (syn_content_guard_new(store, &guard, &err) < 0)
            atomic_fetch_add(&book->lost, 1);
        else if (syn_content_guard_add(guard, &cid, &err) == 0) {
            (void)pthread_mutex_lock(&book->lock);
            book->cids[book->count++] = cid;
            (void)pthread_mutex_unlock(&book->lock);
            syn_content_guard_free(guard);
            if (syn_content_read(store, &cid, 0, UINT64_MAX, collect, &got, &err) < 0)
                atomic_fetch_add(&book->lost, 1);
        } else {
            syn_content_guard_free(guard);
        }
    }
    atomic_store(&book->done, true);
    return NULL;
}

struct snapshot {
    struct book *book;
    struct syn_cid cids[NAMES];
    size_t count;
    size_t next;
    bool taken;
};

static int
next_named(void *arg, struct syn_cid *ret_cid, struct syn_err *err)
{
    struct snapshot *snapshot = arg;

    (void)err;
    if (!snapshot->taken) {
        (void)pthread_mutex_lock(&snapshot->book->lock);
        snapshot->count = snapshot->book->count;
        memcpy(snapshot->cids, snapshot->book->cids, sizeof(snapshot->cids));
        (void)pthread_mutex_unlock(&snapshot->book->lock);
        snapshot->taken = true;
        (void)usleep(300);
    }
    if (snapshot->next == snapshot->count)
        return 0;
    *ret_cid = snapshot->cids[snapshot->next++];
    return 1;
}

static void
no_name_is_left_without_content(void **state)
{
    struct place *place = *state;
    struct book book = {.place = place, .lock = PTHREAD_MUTEX_INITIALIZER};
    struct syn_err err = {0};
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, name_all_the_time, &book), 0);
    while (!atomic_load(&book.done)) {
        struct snapshot snapshot = {.book = &book};
        struct syn_content_gc result;

        assert_done(syn_content_gc(place->store, 0, next_named, &snapshot, &result, &err), &err);
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(atomic_load(&book.lost), 0);
    assert_true(book.count > 0);
    for (size_t i = 0; i < book.count; i++) {
        SYN_BUF(got);

        assert_done(
            syn_content_read(place->store, &book.cids[i], 0, UINT64_MAX, collect, &got, &err),
            &err);
    }
}

/* gcs that have had their roots, and begin to look. */
static atomic_uint asked;
/* Who writes a block next waits for the next gc, and so long after it. */
static _Atomic useconds_t late_us;
static _Thread_local bool collects;

static ssize_t
late_pwritev(int fd, const struct iovec *iov, int count, off_t offset)
{
    useconds_t late = collects ? 0 : atomic_exchange(&late_us, 0);
    unsigned before = atomic_load(&asked);

    if (late > 0) {
        while (atomic_load(&asked) == before)
            (void)usleep(100);
        (void)usleep(late);
    }
    return pwritev(fd, iov, count, offset);
}

/* With rows that are new for ever a gc takes its time to look at them. */
static void
look_long(struct place *place)
{
    static const struct syn_content_io late_io = {.pwritev = late_pwritev,
                                                  .fdatasync = fdatasync,
                                                  .fsync = fsync,
                                                  .ftruncate = ftruncate,
                                                  .renameat2 = renameat2};

    (void)put_bytes(place->store, 1, 1, false);
    place->store = syn_content_close(place->store);
    run_sql(place, "INSERT INTO block(digest, codec, pack, offset, stored, size, flags, born, key)"
                   " WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n"
                   " WHERE i < 60000) SELECT randomblob(32), 85, 1000000, i, 0, 0, 0,"
                   " 9000000000000, 0 FROM n");
    place->io = &late_io;
    reopen(place, NULL, NULL);
}

struct collector {
    struct place *place;
    atomic_bool stop;
    atomic_uint failures;
};

static int
no_roots(void *arg, struct syn_cid *ret_cid, struct syn_err *err)
{
    (void)arg;
    (void)ret_cid;
    (void)err;
    atomic_fetch_add(&asked, 1);
    return 0;
}

static void *
collect_all_the_time(void *arg)
{
    struct collector *collector = arg;

    collects = true;
    while (!atomic_load(&collector->stop)) {
        struct syn_content_gc result;
        struct syn_err err = {0};

        if (syn_content_gc(collector->place->store, 0, no_roots, NULL, &result, &err) < 0)
            atomic_fetch_add(&collector->failures, 1);
    }
    return NULL;
}

/* A put that has claimed all of its blocks and ends while gc looks for what is to go. */
static void
a_put_may_end_in_the_midst_of_gc(void **state)
{
    struct collector collector = {.place = *state};
    struct syn_content *store;
    unsigned missing = 0;
    pthread_t thread;

    look_long(collector.place);
    store = collector.place->store;
    assert_int_equal(pthread_create(&thread, NULL, collect_all_the_time, &collector), 0);
    for (unsigned i = 0; i < 8; i++) {
        struct syn_content_guard *guard = NULL;
        struct syn_err err = {0};
        struct syn_cid cid;
        bool has = false;
        unsigned before;

        assert_done(syn_content_guard_new(store, &guard, &err), &err);
        atomic_store(&late_us, 1000U << i);
        cid = put_bytes(store, 200000, i + 2, false); /* one block */
        before = atomic_load(&asked);
        while (atomic_load(&asked) == before) /* that gc is over */
            (void)usleep(100);
        assert_done(syn_content_has_block(store, &cid, &has, &err), &err);
        missing += !has;
        syn_content_guard_free(guard);
    }
    atomic_store(&collector.stop, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(atomic_load(&collector.failures), 0);
    assert_int_equal(missing, 0);
}

/* ---- all at once ----------------------------------------------------------------------------- */

#define THREADS 4
#define STEPS   12

struct crowd {
    struct place *place;
    atomic_uint running;
    atomic_uint failures;
    unsigned number;
    pthread_t thread;
    struct crowd *all;
};

static void *
put_and_get(void *arg)
{
    struct crowd *self = arg;
    struct syn_content *store = self->place->store;

    for (unsigned i = 0; i < STEPS; i++) {
        size_t size = (i * 70001 + self->number) % (2 * MIB);
        uint64_t seed = i % 3; /* so that threads meet on the same blocks */
        uint8_t *data = malloc(size + 8);
        struct syn_content_put *put = NULL;
        struct syn_cid cid;
        struct syn_err err = {0};
        uint64_t word = seed;
        SYN_BUF(got);

        for (size_t at = 0; at < size; at += 8) {
            word = word * UINT64_C(6364136223846793005) + 1442695040888963407U;
            memcpy(data + at, &word, 8);
        }
        if (syn_content_put_new(store, &put, &err) < 0 ||
            syn_content_put_write(put, data, size, &err) < 0 ||
            syn_content_put_commit(put, &cid, NULL, &err) < 0 ||
            syn_content_read(store, &cid, 0, UINT64_MAX, collect, &got, &err) < 0 ||
            got.len != size || (size > 0 && memcmp(got.data, data, size) != 0)) {
            (void)fprintf(stderr, "# thread %u step %u: %s\n", self->number, i, err.msg);
            atomic_fetch_add(&self->all->failures, 1);
        }
        syn_content_put_free(put);
        free(data);
    }
    atomic_fetch_sub(&self->all->running, 1);
    return NULL;
}

static void
many_threads_share_a_store(void **state)
{
    struct place *place = *state;
    struct crowd crowd[THREADS] = {0};
    struct syn_content_verify report;
    struct syn_err err = {0};

    atomic_store(&crowd[0].running, THREADS);
    for (unsigned i = 0; i < THREADS; i++) {
        crowd[i].place = place;
        crowd[i].number = i;
        crowd[i].all = crowd;
        assert_int_equal(pthread_create(&crowd[i].thread, NULL, put_and_get, &crowd[i]), 0);
    }
    while (atomic_load(&crowd[0].running) > 0) {
        struct root_list none = {0};
        struct syn_content_gc result;
        struct syn_content_usage usage;

        assert_done(syn_content_gc(place->store, 30000, next_root, &none, &result, &err), &err);
        assert_done(syn_content_verify(place->store, NULL, NULL, NULL, NULL, &report, &err), &err);
        assert_int_equal(report.bad, 0);
        assert_done(syn_content_usage(place->store, &usage, &err), &err);
    }
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(crowd[i].thread, NULL), 0);
    assert_int_equal(atomic_load(&crowd[0].failures), 0);
}

/* Reading goes on while packs are emptied below it. */
static void *
read_all_the_time(void *arg)
{
    struct crowd *self = arg;
    struct syn_content_stat stat;

    while (atomic_load(&self->all->running) > 0) {
        struct syn_cid cid;
        struct syn_err err = {0};
        SYN_BUF(got);

        syn_cid_of(SYN_CODEC_RAW, "kept", 4, &cid);
        if (syn_content_stat(self->place->store, &cid, &stat, &err) < 0 ||
            syn_content_read(self->place->store, &cid, 0, 4, collect, &got, &err) < 0 ||
            got.len != 4 || memcmp(got.data, "kept", 4) != 0) {
            (void)fprintf(stderr, "# reader: %s\n", err.msg);
            atomic_fetch_add(&self->all->failures, 1);
        }
    }
    return NULL;
}

static void
reads_go_on_while_packs_are_emptied(void **state)
{
    struct place *place = *state;
    struct crowd crowd = {.place = place, .all = &crowd};
    struct syn_err err = {0};
    struct syn_cid kept;
    uint64_t freed = 0;

    syn_cid_of(SYN_CODEC_RAW, "kept", 4, &kept);
    assert_done(syn_content_put_block(place->store, &kept, "kept", 4, &err), &err);
    atomic_store(&crowd.running, 1);
    assert_int_equal(pthread_create(&crowd.thread, NULL, read_all_the_time, &crowd), 0);
    for (unsigned i = 0; i < 15; i++) {
        struct root_list roots = {&kept, 1, 0};
        struct syn_content_gc result;

        (void)put_bytes(place->store, 300000, i + 1, false);
        (void)usleep(2000);
        assert_done(syn_content_gc(place->store, 0, next_root, &roots, &result, &err), &err);
        freed += result.bytes_freed;
    }
    atomic_store(&crowd.running, 0);
    assert_int_equal(pthread_join(crowd.thread, NULL), 0);
    assert_int_equal(atomic_load(&crowd.failures), 0);
    assert_true(freed > 3000000);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        store_test(gc_keeps_what_is_reached_and_nothing_else),
        store_test(gc_tells_what_it_frees_and_what_waits),
        store_test(gc_spares_what_is_new),
        store_test(gc_spares_what_open_puts_rely_on),
        store_test(gc_refuses_roots_it_cannot_follow),
        store_test(gc_spares_what_is_named_after_it_began),
        store_test(gc_spares_what_was_put_after_it_began),
        store_test(guards_keep_what_is_put_under_them),
        store_test(guards_hold_up_no_space),
        store_test(no_name_is_left_without_content),
        store_test(a_put_may_end_in_the_midst_of_gc),
        store_test(many_threads_share_a_store),
        store_test(reads_go_on_while_packs_are_emptied),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
