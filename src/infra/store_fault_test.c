/* The store when things break: every write, sync and truncate fails once and for good, every
 * allocation fails once, and the process is killed at random moments. */
#include "store_fault.h"

#include <pthread.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

#include <synor/base/test.h>
#include <synor/infra/store_sqlite.h>

/* Bytes of a document, less its number: five make about a page. */
#define VALUE 3000

static char path[512];

static int
fresh(void **state)
{
    static const char *const ends[] = {"", "-wal", "-shm", ".lock"};
    char name[600];

    (void)state;
    (void)snprintf(path, sizeof(path), "%s/store.db", syn_test_dir());
    for (size_t i = 0; i < SYN_LEN(ends); i++) {
        (void)snprintf(name, sizeof(name), "%s%s", path, ends[i]);
        (void)unlink(name);
    }
    return 0;
}

static int
open_store(const char *vfs, struct syn_store **ret_store, struct syn_err *err)
{
    /* Small limits, so that checkpoints and trimming are part of every run. */
    struct syn_store_sqlite_options options = {
        .path = path, .vfs = vfs, .wal_bytes_max = 1 << 15, .history_max = 8};

    return syn_store_sqlite_open(&options, ret_store, err);
}

/* Two keys are written together, so that a torn transaction would show. */
static int
write_pair(struct syn_store *store, int n, struct syn_err *err)
{
    char keys[2][32];
    char value[VALUE];
    struct syn_store_op ops[2];
    struct syn_store_result result;

    memset(value, 'a' + n % 26, sizeof(value));
    for (int i = 0; i < 2; i++) {
        (void)snprintf(keys[i], sizeof(keys[i]), "%c/%d", 'a' + i, n);
        ops[i] = (struct syn_store_op){.kind = SYN_STORE_PUT,
                                       .key = keys[i],
                                       .value = value,
                                       .len = sizeof(value) - (size_t)n};
    }
    return syn_store_txn(store, ops, 2, &result, err);
}

/* Whether pair `n` is there; half of one, or other bytes, fail the test. */
static bool
read_pair(struct syn_store *store, int n)
{
    bool there[2];
    char want[VALUE];
    struct syn_err err;

    memset(want, 'a' + n % 26, sizeof(want));

    for (int i = 0; i < 2; i++) {
        SYN_SCOPED(syn_store_doc_scope) const struct syn_store_doc *doc = NULL;
        char key[32];
        (void)snprintf(key, sizeof(key), "%c/%d", 'a' + i, n);
        int rc = syn_store_get(store, key, &doc, &err);
        there[i] = rc == SYN_OK;
        if (rc != SYN_STORE_ABSENT)
            assert_done(rc, &err);
        if (!doc)
            continue;
        assert_int_equal(doc->len, VALUE - n);
        assert_memory_equal(doc->value, want, doc->len);
    }
    assert_int_equal(there[0], there[1]);
    return there[0];
}

enum { PAIRS = 14 };

struct outcome {
    bool acked[PAIRS];
    int failures;
};

static int
want_of(int code)
{
    return code == SQLITE_FULL ? SYN_E_NOSPACE : SYN_E_IO;
}

/* 1 when the write failed, as it should with that fault. */
static int
judge(int rc, int code, const struct syn_err *err)
{
    if (rc == SYN_OK)
        return 0;
    assert_code(rc, want_of(code), err);
    return 1;
}

/* Write all pairs; a failed one must not show, and what was acknowledged must stay readable. */
static void
write_pairs(struct syn_store *store, int code, struct outcome *outcome)
{
    struct syn_err err;

    for (int n = 0; n < PAIRS; n++) {
        int rc = write_pair(store, n, &err);
        outcome->acked[n] = rc == SYN_OK;
        outcome->failures += judge(rc, code, &err);
        for (int i = 0; i <= n; i++)
            assert_int_equal(read_pair(store, i), outcome->acked[i]);
    }
}

/* The part of a run in which call `nth` fails. Returns whether it was reached. */
static bool
run_until_closed(unsigned nth, int code, bool sticky, struct outcome *outcome)
{
    struct syn_store *store = NULL;
    struct syn_err err;

    syn_store_fault_arm(nth, code, sticky);
    int rc = open_store(syn_store_fault_vfs(), &store, &err);
    if (judge(rc, code, &err) > 0) {
        assert_true(syn_store_fault_hits() > 0);
        return true;
    }
    write_pairs(store, code, outcome);
    bool reached = syn_store_fault_hits() > 0;
    if (!sticky && outcome->failures > 1)
        fail_msg("one fault, %d failures", outcome->failures);
    if (sticky && reached) {
        /* The disk is well again: the store goes on without being opened anew. */
        syn_store_fault_arm(0, 0, false);
        assert_done(write_pair(store, 1, &err), &err);
        outcome->acked[1] = true;
        syn_store_fault_arm(1, code, true); /* and fails again while it is closed */
    }
    syn_store_close(store);
    return reached || syn_store_fault_hits() > 0;
}

static bool
run_with_fault(unsigned nth, int code, bool sticky)
{
    struct syn_store *store = NULL;
    struct outcome outcome = {0};
    struct syn_err err;

    fresh(NULL);
    bool reached = run_until_closed(nth, code, sticky, &outcome);
    syn_store_fault_arm(0, 0, false);
    assert_done(open_store(NULL, &store, &err), &err);
    assert_done(syn_store_verify(store, &err), &err);
    for (int n = 0; n < PAIRS; n++)
        if (!read_pair(store, n) && outcome.acked[n])
            fail_msg("call %u failed with %d: pair %d was acknowledged and is lost", nth, code, n);
    assert_done(write_pair(store, 0, &err), &err);
    syn_store_close(store);
    return reached;
}

/* Every `stride`th place. */
static void
sweep(int code, bool sticky, unsigned stride)
{
    unsigned nth = 1;

    while (run_with_fault(nth, code, sticky))
        nth += stride;
    assert_true(nth > 100); /* writes, syncs, checkpoints and the close were all in it */
}

static void
survives_a_full_disk_once(void **state)
{
    (void)state;
    sweep(SQLITE_FULL, false, 1);
}

static void
survives_a_full_disk(void **state)
{
    (void)state;
    sweep(SQLITE_FULL, true, 3);
}

static void
survives_an_io_error_once(void **state)
{
    (void)state;
    sweep(SQLITE_IOERR_WRITE, false, 3);
}

static void
survives_io_errors(void **state)
{
    (void)state;
    sweep(SQLITE_IOERR_FSYNC, true, 1);
}

/* A kill cannot show this, as the kernel keeps what was written; only a power cut would. */
static void
syncs_before_it_answers(void **state)
{
    struct syn_store *store;
    struct syn_err err;

    (void)state;
    assert_done(open_store(syn_store_fault_vfs(), &store, &err), &err);
    for (int n = 0; n < PAIRS; n++) {
        unsigned before = syn_store_fault_syncs();
        assert_done(write_pair(store, n, &err), &err);
        assert_true(syn_store_fault_syncs() > before);
    }
    syn_store_close(store);
}

/* A group whose commit fails is tried again one by one: a single fault costs nobody anything. */

struct group {
    int done;
    int failed;
};

static void
group_done(void *arg, int rc, const struct syn_store_result *result, const struct syn_err *err)
{
    struct group *group = arg;

    (void)result;
    (void)err;
    group->done++;
    group->failed += rc != SYN_OK;
}

static void
retries_a_failed_group(void **state)
{
    enum { WRITES = 40 };
    struct syn_store *store;
    struct group group = {0};
    struct syn_err err;
    char key[16];

    (void)state;
    assert_done(open_store(syn_store_fault_vfs(), &store, &err), &err);
    syn_store_fault_arm(30, SQLITE_IOERR_WRITE, false);
    for (int i = 0; i < WRITES; i++) {
        struct syn_store_op op = {.kind = SYN_STORE_PUT, .key = key, .value = "x", .len = 1};
        (void)snprintf(key, sizeof(key), "g/%d", i);
        assert_done(syn_store_txn_async(store, &op, 1, group_done, &group, &err), &err);
    }
    syn_store_close(store);
    assert_int_equal(group.done, WRITES);
    assert_in_range(group.failed, 0, 1); /* 1 when the fault struck a group of one */
    syn_store_fault_arm(0, 0, false);
    assert_done(open_store(NULL, &store, &err), &err);
    int64_t count = 0;
    assert_done(syn_store_count(store, "g/", &count, &err), &err);
    assert_in_range(count, WRITES - group.failed, WRITES);
    syn_store_close(store);
}

/* Memory */

static void
ignore_event(void *arg, const struct syn_store_event *event)
{
    (void)arg;
    (void)event;
}

/* What a watch was told. */
struct told {
    _Atomic int changes;
    atomic_bool lost;
};

static void
count_event(void *arg, const struct syn_store_event *event)
{
    struct told *told = arg;

    if (event->kind == SYN_STORE_EVENT_LOST)
        atomic_store(&told->lost, true);
    else
        (void)atomic_fetch_add(&told->changes, 1);
}

/* Every change is told of, or that some are lost: none goes without a word. */
static void
wait_told(const struct told *told, int changes)
{
    for (int tries = 0; atomic_load(&told->changes) < changes && !atomic_load(&told->lost);
         tries++) {
        if (tries == 20000)
            fail_msg("a watch was told of %d changes of %d", atomic_load(&told->changes), changes);
        (void)usleep(1000);
    }
    assert_true(atomic_load(&told->changes) <= changes);
}

static int
use_everything(struct syn_store *store, struct syn_err *err)
{
    struct syn_store_value value = {.data = "value", .len = 5};
    struct syn_store_range range = {.prefix = ""};
    struct syn_store_page page = {0};
    struct syn_store_watch *watch = NULL, *live = NULL;
    const struct syn_store_doc *doc = NULL;
    struct told told = {0};
    int64_t revision = 0;
    int rc = syn_store_watch(store, "", 0, count_event, &told, &live, err);

    if (rc == SYN_OK)
        rc = syn_store_put(store, "a", value, &revision, err);
    if (rc == SYN_OK)
        rc = syn_store_lease_grant(store, 60000, &value.lease, err);
    if (rc == SYN_OK)
        rc = syn_store_put(store, "b", value, NULL, err);
    if (rc == SYN_OK)
        rc = syn_store_get(store, "a", &doc, err);
    if (rc == SYN_OK)
        rc = syn_store_list(store, &range, &page, err);
    if (rc == SYN_OK)
        rc = syn_store_watch(store, "", revision, ignore_event, NULL, &watch, err);
    if (rc == SYN_OK)
        rc = syn_store_put_if(store, "a", revision, value, NULL, err);
    if (rc == SYN_OK)
        rc = syn_store_lease_revoke(store, value.lease, err);
    if (rc == SYN_OK)
        wait_told(&told, 5); /* three were written, the two under the lease went with it */
    syn_store_doc_unref(doc);
    syn_store_page_fini(&page);
    syn_store_unwatch(store, watch);
    syn_store_unwatch(store, live);
    return rc;
}

static int
scenario(void *arg, struct syn_err *err)
{
    struct syn_store *store;

    (void)arg;
    fresh(NULL);
    int rc = open_store(NULL, &store, err);
    if (rc != SYN_OK)
        return rc;
    rc = use_everything(store, err);
    syn_store_close(store);
    return rc;
}

static void
survives_lack_of_memory(void **state)
{
    (void)state;
    assert_true(syn_test_sweep_alloc(scenario, NULL) > 20);
}

/* kill -9 */

enum { WRITERS = 4, ROUNDS = 25, LIFE_MAX_US = 40000 };

struct writer {
    struct syn_store *store;
    int report; /* the pipe */
    int first;
};

/* Acknowledged pairs go to the pipe, four bytes each: such writes are atomic. */
static void *
writer_main(void *arg)
{
    struct writer *writer = arg;
    struct syn_err err;

    for (int n = writer->first;; n += WRITERS) {
        if (write_pair(writer->store, n % 2000, &err) != SYN_OK)
            _exit(3);
        int done = n % 2000;
        if (write(writer->report, &done, sizeof(done)) != sizeof(done))
            _exit(4);
    }
    return NULL;
}

static void
child_main(int report, int first)
{
    struct syn_store *store;
    struct syn_err err;
    pthread_t threads[WRITERS];
    struct writer writers[WRITERS];

    if (open_store(NULL, &store, &err) != SYN_OK)
        _exit(2);
    for (int i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){.store = store, .report = report, .first = first + i};
        if (pthread_create(&threads[i], NULL, writer_main, &writers[i]) != 0)
            _exit(5);
    }
    for (;;)
        pause();
}

static int
drain(int report, bool *acked, int max)
{
    int n;
    int count = 0;

    while (count < max && read(report, &n, sizeof(n)) == sizeof(n)) {
        assert_in_range(n, 0, 1999);
        acked[n] = true;
        count++;
    }
    return count;
}

/* Start a writer, kill it after `life_us`, counted from its first answer or, when not `settled`,
 * from its birth. Note what it acknowledged; returns how many. */
static int
kill_a_writer(useconds_t life_us, bool settled, int first, bool *acked)
{
    int ends[2];
    int status;

    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        close(ends[0]);
        child_main(ends[1], first);
    }
    close(ends[1]);
    int count = settled ? drain(ends[0], acked, 1) : 0;
    usleep(life_us);
    assert_int_equal(kill(pid, SIGKILL), 0);
    count += drain(ends[0], acked, INT32_MAX);
    close(ends[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    return count;
}

static void
keeps_what_it_acknowledged(void **state)
{
    static bool acked[2000];
    uint64_t random = 7;
    int total = 0;

    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        struct syn_store *store;
        struct syn_err err;
        useconds_t life_us = (useconds_t)(syn_test_random(&random) % LIFE_MAX_US);
        total += kill_a_writer(life_us, round % 2, total, acked);
        assert_done(open_store(NULL, &store, &err), &err);
        for (int n = 0; n < 2000; n++)
            if (!read_pair(store, n))
                assert_false(acked[n]);
        assert_done(syn_store_verify(store, &err), &err);
        syn_store_close(store);
    }
    assert_true(total >= ROUNDS / 2);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(survives_a_full_disk_once, fresh),
        cmocka_unit_test_setup(survives_a_full_disk, fresh),
        cmocka_unit_test_setup(survives_an_io_error_once, fresh),
        cmocka_unit_test_setup(survives_io_errors, fresh),
        cmocka_unit_test_setup(syncs_before_it_answers, fresh),
        cmocka_unit_test_setup(retries_a_failed_group, fresh),
        cmocka_unit_test_setup(survives_lack_of_memory, fresh),
        cmocka_unit_test_setup(keeps_what_it_acknowledged, fresh),
    };
    /* Thousands of syncs of which none needs a disk: what a kill leaves is the same in memory. */
    if (access("/dev/shm", W_OK) == 0)
        (void)setenv("TMPDIR", "/dev/shm", 0);
    return cmocka_run_group_tests_name("store/fault", tests, NULL, NULL);
}
