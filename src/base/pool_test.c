#include <synor/base/pool.h>
#include <synor/base/test.h>

#include <dirent.h>
#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif

static struct syn_pool *
pool_new(unsigned threads, unsigned queue_max)
{
    struct syn_pool *pool = NULL;
    struct syn_err err = {0};

    assert_done(syn_pool_new(threads, queue_max, &pool, &err), &err);
    return pool;
}

static unsigned
threads_now(void)
{
    DIR *dir = opendir("/proc/self/task");
    unsigned count = 0;

    assert_non_null(dir);
    for (const struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir))
        count += entry->d_name[0] != '.';
    (void)closedir(dir);
    return count;
}

/* A job that holds its worker until the test opens the gate. */
struct gate {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool open;
    unsigned waiting, passed;
};

#define GATE_INIT                                                        \
    {                                                                    \
        PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false, 0, 0 \
    }

static void
gate_pass(void *arg)
{
    struct gate *gate = arg;

    (void)pthread_mutex_lock(&gate->lock);
    gate->waiting++;
    (void)pthread_cond_broadcast(&gate->changed);
    while (!gate->open)
        (void)pthread_cond_wait(&gate->changed, &gate->lock);
    gate->passed++;
    (void)pthread_mutex_unlock(&gate->lock);
}

static void
gate_await(struct gate *gate, unsigned waiting)
{
    (void)pthread_mutex_lock(&gate->lock);
    while (gate->waiting < waiting)
        (void)pthread_cond_wait(&gate->changed, &gate->lock);
    (void)pthread_mutex_unlock(&gate->lock);
}

static void
gate_open(struct gate *gate)
{
    (void)pthread_mutex_lock(&gate->lock);
    gate->open = true;
    (void)pthread_cond_broadcast(&gate->changed);
    (void)pthread_mutex_unlock(&gate->lock);
}

static void
count_job(void *arg)
{
    __atomic_add_fetch((unsigned *)arg, 1, __ATOMIC_SEQ_CST);
}

static void
test_no_thread_to_be_had(void **state)
{
#ifdef SANITIZED
    (void)state;
    print_message("# sanitizers reserve address space, so it cannot be limited\n");
    skip();
#else
    struct syn_pool *pool = pool_new(1, 1);
    struct syn_err err = {0};
    struct rlimit before, none;
    unsigned ran = 0;
    int rc;

    (void)state;
    assert_int_equal(getrlimit(RLIMIT_AS, &before), 0);
    none = before;
    none.rlim_cur = 1;
    assert_int_equal(setrlimit(RLIMIT_AS, &none), 0);
    rc = syn_pool_run(pool, count_job, &ran, &err);
    assert_int_equal(setrlimit(RLIMIT_AS, &before), 0);
    assert_true(rc < 0);
    assert_true(err.sys != 0);
    /* Nothing was taken, and the pool works once there is room again. */
    assert_done(syn_pool_run(pool, count_job, &ran, &err), &err);
    syn_pool_drain(pool);
    assert_int_equal(ran, 1);
    assert_null(syn_pool_free(pool));
#endif
}

static void
test_all_jobs_run(void **state)
{
    struct syn_pool *pool = pool_new(3, 1000);
    struct syn_err err = {0};
    unsigned ran = 0;

    (void)state;
    for (unsigned round = 1; round <= 3; round++) {
        for (unsigned i = 0; i < 1000; i++)
            assert_done(syn_pool_run(pool, count_job, &ran, &err), &err);
        syn_pool_drain(pool);
        assert_int_equal(__atomic_load_n(&ran, __ATOMIC_SEQ_CST), round * 1000);
    }
    syn_pool_drain(pool);
    assert_null(syn_pool_free(pool));
    assert_null(syn_pool_free(NULL));
}

static void
test_workers_start_when_needed(void **state)
{
    unsigned before = threads_now();
    struct syn_pool *pool = pool_new(3, 8);
    struct gate gate = GATE_INIT;
    struct syn_err err = {0};
    unsigned ran = 0;

    (void)state;
    assert_int_equal(threads_now(), before);
    for (unsigned i = 1; i <= 3; i++) {
        assert_done(syn_pool_run(pool, gate_pass, &gate, &err), &err);
        gate_await(&gate, i); /* the earlier ones are held: this one got its own worker */
        assert_int_equal(threads_now(), before + i);
    }
    gate_open(&gate);
    assert_done(syn_pool_run(pool, count_job, &ran, &err), &err);
    syn_pool_drain(pool);
    assert_int_equal(threads_now(), before + 3);
    assert_null(syn_pool_free(pool));
    /* The kernel forgets a joined thread a moment later. */
    for (unsigned i = 0; i < 1000 && threads_now() != before; i++)
        (void)usleep(1000);
    assert_int_equal(threads_now(), before);
}

static void
test_queue_is_bounded(void **state)
{
    struct syn_pool *pool = pool_new(1, 2);
    struct gate gate = GATE_INIT;
    struct syn_err err = {0};
    unsigned ran = 0;

    (void)state;
    assert_done(syn_pool_run(pool, gate_pass, &gate, &err), &err);
    gate_await(&gate, 1);
    assert_done(syn_pool_run(pool, count_job, &ran, &err), &err);
    assert_done(syn_pool_run(pool, count_job, &ran, &err), &err);
    assert_code(syn_pool_run(pool, count_job, &ran, &err), SYN_E_LIMIT, &err);
    gate_open(&gate);
    assert_null(syn_pool_free(pool)); /* finishes what is queued */
    assert_int_equal(ran, 2);
}

struct closing {
    struct syn_pool *pool;
    struct gate gate;
    unsigned ran;
    int rc;
};

static void
post_while_closing(void *arg)
{
    struct closing *closing = arg;

    gate_pass(&closing->gate);
    do
        closing->rc = syn_pool_run(closing->pool, count_job, &closing->ran, NULL);
    while (closing->rc == SYN_OK || closing->rc == SYN_E_LIMIT);
}

static void
test_closing_refuses(void **state)
{
    struct closing closing = {.pool = pool_new(1, 4), .gate = GATE_INIT};
    struct syn_err err = {0};

    (void)state;
    assert_done(syn_pool_run(closing.pool, post_while_closing, &closing, &err), &err);
    gate_await(&closing.gate, 1);
    gate_open(&closing.gate);
    assert_null(syn_pool_free(closing.pool));
    assert_int_equal(closing.rc, SYN_E_CANCELED);
}

static void
measure_stack(void *arg)
{
    pthread_attr_t attr;

    assert_int_equal(pthread_getattr_np(pthread_self(), &attr), 0);
    assert_int_equal(pthread_attr_getstacksize(&attr, arg), 0);
    (void)pthread_attr_destroy(&attr);
}

static void
test_stack_size(void **state)
{
    struct syn_pool *pool = pool_new(1, 1);
    struct syn_err err = {0};
    size_t size = 0;

    (void)state;
    assert_done(syn_pool_run(pool, measure_stack, &size, &err), &err);
    assert_null(syn_pool_free(pool));
#ifndef SANITIZED
    assert_int_equal(size, 512 << 10);
#endif
}

static int
scenario(void *arg, struct syn_err *err)
{
    struct syn_pool *pool = NULL;
    unsigned ran = 0;
    int rc = syn_pool_new(1, 1, &pool, err);

    (void)arg;
    if (rc == SYN_OK)
        rc = syn_pool_run(pool, count_job, &ran, err);
    (void)syn_pool_free(pool);
    return rc;
}

static void
test_sweep(void **state)
{
    (void)state;
    assert_int_equal(syn_test_sweep_alloc(scenario, NULL), 3);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_thread_to_be_had), /* first: later ones leave stacks to reuse */
        cmocka_unit_test(test_all_jobs_run),
        cmocka_unit_test(test_workers_start_when_needed),
        cmocka_unit_test(test_queue_is_bounded),
        cmocka_unit_test(test_closing_refuses),
        cmocka_unit_test(test_stack_size),
        cmocka_unit_test(test_sweep),
    };

    return cmocka_run_group_tests_name("pool", tests, NULL, NULL);
}
