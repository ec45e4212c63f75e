#include <synor/base/loop.h>
#include <synor/base/test.h>

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static struct syn_loop *
loop_new(void)
{
    struct syn_loop *loop = NULL;
    struct syn_err err = {0};

    assert_done(syn_loop_new(&loop, &err), &err);
    return loop;
}

static void
turn(struct syn_loop *loop, int timeout_ms)
{
    struct syn_err err = {0};

    assert_done(syn_loop_turn(loop, timeout_ms, &err), &err);
}

static int64_t
now_ns(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* --- file descriptors ------------------------------------------------------------------------ */

struct fd_seen {
    unsigned calls;
    uint32_t events;
    struct syn_watch *drop[2];
};

static void
on_fd(void *arg, int fd, uint32_t events)
{
    struct fd_seen *seen = arg;

    (void)fd;
    seen->calls++;
    seen->events = events;
    for (size_t i = 0; i < SYN_LEN(seen->drop); i++)
        seen->drop[i] = syn_watch_drop(seen->drop[i]);
}

static void
test_fd(void **state)
{
    struct syn_loop *loop = loop_new();
    struct syn_watch *watch = NULL;
    struct fd_seen seen = {0};
    struct syn_err err = {0};
    int fds[2];

    (void)state;
    assert_int_equal(pipe(fds), 0);
    assert_done(syn_loop_fd(loop, fds[0], EPOLLIN, on_fd, &seen, &watch, &err), &err);
    turn(loop, 0);
    assert_int_equal(seen.calls, 0);
    assert_int_equal(write(fds[1], "x", 1), 1);
    turn(loop, -1);
    assert_int_equal(seen.calls, 1);
    assert_int_equal(seen.events, EPOLLIN);

    assert_code(syn_loop_fd(loop, fds[0], EPOLLIN, on_fd, &seen, NULL, &err), SYN_E_EXISTS, &err);

    /* Paused, even the hangup is kept back. */
    assert_done(syn_watch_events(watch, 0, &err), &err);
    (void)close(fds[1]);
    turn(loop, 0);
    assert_int_equal(seen.calls, 1);
    assert_done(syn_watch_events(watch, EPOLLIN, &err), &err);
    turn(loop, -1);
    assert_int_equal(seen.calls, 2);
    assert_int_equal(seen.events, EPOLLIN | EPOLLHUP);
    assert_null(syn_watch_drop(watch));
    turn(loop, 0);
    assert_int_equal(seen.calls, 2);
    (void)close(fds[0]);
    assert_null(syn_loop_free(loop));
}

/* Two ready watches; the one that is called first drops both. */
static void
test_fd_drop_of_a_ready_one(void **state)
{
    struct syn_loop *loop = loop_new();
    struct fd_seen seen[2] = {{0}, {0}};
    struct syn_watch *watches[2] = {NULL, NULL};
    struct syn_err err = {0};
    int fds[2][2];

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(pipe(fds[i]), 0);
        assert_int_equal(write(fds[i][1], "x", 1), 1);
        assert_done(syn_loop_fd(loop, fds[i][0], EPOLLIN, on_fd, &seen[i], &watches[i], &err),
                    &err);
    }
    for (size_t i = 0; i < 2; i++)
        memcpy(seen[i].drop, watches, sizeof(watches));
    turn(loop, -1);
    assert_int_equal(seen[0].calls + seen[1].calls, 1);
    turn(loop, 0);
    assert_int_equal(seen[0].calls + seen[1].calls, 1);
    for (size_t i = 0; i < 2; i++) {
        (void)close(fds[i][0]);
        (void)close(fds[i][1]);
    }
    assert_null(syn_loop_free(loop));
}

static void
test_fd_refused(void **state)
{
    struct syn_loop *loop = loop_new();
    struct syn_err err = {0};
    int64_t live = syn_mem_live();
    int rc = syn_loop_fd(loop, 9999, EPOLLIN, on_fd, NULL, NULL, &err);

    (void)state;
    assert_true(rc < 0);
    assert_int_equal(err.sys, EBADF);
    assert_non_null(strstr(err.msg, "9999"));
    assert_int_equal(syn_mem_live(), live);
    assert_null(syn_loop_free(loop));
}

static void
test_no_descriptors_left(void **state)
{
    struct rlimit before, tight;
    struct syn_loop *loop = NULL;
    struct syn_err err = {0};
    int64_t live = syn_mem_live();
    int lowest = dup(2);

    (void)state;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    /* No descriptor at all, then one: the second of the two that a loop needs is refused. */
    for (unsigned spare = 0; spare < 2; spare++) {
        tight = before;
        tight.rlim_cur = (rlim_t)lowest + spare;
        (void)close(lowest);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
        int rc = syn_loop_new(&loop, &err);

        assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
        assert_true(rc < 0);
        assert_int_equal(err.sys, EMFILE);
        assert_null(loop);
        assert_int_equal(dup(2), lowest);
        assert_int_equal(syn_mem_live(), live);
    }
    (void)close(lowest);
}

/* --- timers ---------------------------------------------------------------------------------- */

#define TIMERS_MAX 400

struct timer_log {
    struct syn_loop *loop;
    unsigned fired;
    int order[TIMERS_MAX];
};

struct timer {
    struct timer_log *log;
    struct syn_watch *watch;
    int64_t due_ns; /* not before */
    int id;
    bool dropped;
};

static void
on_timer(void *arg)
{
    struct timer *timer = arg;

    assert_false(timer->dropped);
    assert_true(now_ns() >= timer->due_ns);
    timer->log->order[timer->log->fired++] = timer->id;
}

/* Hundreds of timers armed in random order and half of them dropped again: the rest fire in order
 * of their due time, equal ones in the order they were armed, none early, each once. */
static void
test_timer_order(void **state)
{
    static struct timer timers[TIMERS_MAX];
    struct timer_log log = {.loop = loop_new(), .fired = 0};
    struct syn_err err = {0};
    uint64_t seed = 42;
    unsigned expected = 0;

    (void)state;
    for (int i = 0; i < TIMERS_MAX; i++) {
        int64_t delay_ms = (int64_t)(syn_test_random(&seed) % 20);

        timers[i] = (struct timer){.log = &log, .id = i, .due_ns = now_ns() + delay_ms * 1000000};
        assert_done(
            syn_loop_timer(log.loop, delay_ms, 0, on_timer, &timers[i], &timers[i].watch, &err),
            &err);
    }
    for (int i = 0; i < TIMERS_MAX; i++) {
        timers[i].dropped = syn_test_random(&seed) % 2 == 0;
        if (timers[i].dropped)
            timers[i].watch = syn_watch_drop(timers[i].watch);
        else
            expected++;
    }
    while (log.fired < expected)
        turn(log.loop, -1);
    turn(log.loop, 25);
    assert_int_equal(log.fired, expected);
    for (unsigned i = 1; i < log.fired; i++) {
        const struct timer *a = &timers[log.order[i - 1]];
        const struct timer *b = &timers[log.order[i]];

        /* Due times are rounded up to the millisecond, hence the slack. */
        assert_true(a->due_ns <= b->due_ns + 1000000);
    }
    assert_null(syn_loop_free(log.loop));
}

struct ticks {
    struct syn_loop *loop;
    struct syn_watch *watch;
    unsigned count, drop_at;
};

static void
on_tick(void *arg)
{
    struct ticks *ticks = arg;

    if (++ticks->count == ticks->drop_at)
        ticks->watch = syn_watch_drop(ticks->watch);
}

static void
test_timer_period(void **state)
{
    struct ticks ticks = {.loop = loop_new(), .drop_at = 4};
    struct syn_err err = {0};
    int64_t start = now_ns();

    (void)state;
    assert_done(syn_loop_timer(ticks.loop, 1, 3, on_tick, &ticks, &ticks.watch, &err), &err);
    while (ticks.count < 4)
        turn(ticks.loop, -1);
    assert_true(now_ns() - start >= INT64_C(10) * 1000000);
    turn(ticks.loop, 10);
    assert_int_equal(ticks.count, 4);
    assert_null(syn_loop_free(ticks.loop));
}

/* A thread that was busy for many periods is called once, not once for each. */
static void
test_timer_missed_periods(void **state)
{
    struct ticks ticks = {.loop = loop_new()};
    struct syn_err err = {0};

    (void)state;
    assert_done(syn_loop_timer(ticks.loop, 0, 1, on_tick, &ticks, &ticks.watch, &err), &err);
    (void)usleep(20000);
    turn(ticks.loop, 0);
    assert_int_equal(ticks.count, 1);
    assert_null(syn_loop_free(ticks.loop));
}

static void
on_rearm(void *arg)
{
    struct ticks *ticks = arg;
    struct syn_err err = {0};

    ticks->count++;
    assert_done(syn_loop_timer(ticks->loop, 0, 0, on_rearm, ticks, NULL, &err), &err);
}

/* A timer that arms itself again at once gives way to the rest of the turn. */
static void
test_timer_cannot_starve(void **state)
{
    struct ticks ticks = {.loop = loop_new()};
    struct syn_err err = {0};

    (void)state;
    assert_done(syn_loop_timer(ticks.loop, -5, 0, on_rearm, &ticks, NULL, &err), &err);
    (void)usleep(2000);
    turn(ticks.loop, 0);
    assert_int_equal(ticks.count, 1);
    assert_null(syn_loop_free(ticks.loop)); /* the armed one goes with the loop */
}

static void
test_timer_bounds_the_wait(void **state)
{
    struct ticks ticks = {.loop = loop_new()};
    struct syn_err err = {0};
    int64_t start = now_ns();

    (void)state;
    assert_done(syn_loop_timer(ticks.loop, INT64_MAX, 0, on_tick, &ticks, NULL, &err), &err);
    turn(ticks.loop, 5);
    assert_int_equal(ticks.count, 0);
    assert_true(now_ns() - start >= INT64_C(4) * 1000000);
    assert_true(syn_loop_now_ms(ticks.loop) >= start / 1000000 + 4);
    assert_null(syn_loop_free(ticks.loop));
}

/* --- signals and children -------------------------------------------------------------------- */

static void
test_signal(void **state)
{
    struct ticks ticks = {.loop = loop_new(), .drop_at = 2};
    struct syn_err err = {0};

    (void)state;
    assert_done(syn_loop_signal(ticks.loop, SIGUSR1, on_tick, &ticks, &ticks.watch, &err), &err);
    assert_code(syn_loop_signal(ticks.loop, SIGUSR1, on_tick, &ticks, NULL, &err), SYN_E_EXISTS,
                &err);
    assert_code(syn_loop_signal(ticks.loop, 999, on_tick, &ticks, NULL, &err), SYN_E_INVALID, &err);
    for (unsigned i = 1; i <= 2; i++) {
        assert_int_equal(raise(SIGUSR1), 0);
        turn(ticks.loop, 1000);
        assert_int_equal(ticks.count, i);
    }
    assert_null(ticks.watch);
    assert_int_equal(raise(SIGUSR1), 0); /* still blocked: the process survives */
    turn(ticks.loop, 0);
    assert_int_equal(ticks.count, 2);
    assert_null(syn_loop_free(ticks.loop));
}

struct child_seen {
    unsigned calls;
    pid_t pid;
    int status;
};

static void
on_child(void *arg, pid_t pid, int status)
{
    struct child_seen *seen = arg;

    seen->calls++;
    seen->pid = pid;
    seen->status = status;
}

static pid_t
fork_exit(int code)
{
    pid_t pid = fork();

    if (pid == 0)
        _exit(code);
    assert_true(pid > 0);
    return pid;
}

static void
test_child(void **state)
{
    struct syn_loop *loop = loop_new();
    struct child_seen seen = {0};
    struct syn_err err = {0};
    pid_t pid = fork_exit(7);

    (void)state;
    assert_done(syn_loop_child(loop, pid, on_child, &seen, NULL, &err), &err);
    while (seen.calls == 0)
        turn(loop, 5000);
    assert_int_equal(seen.pid, pid);
    assert_true(WIFEXITED(seen.status));
    assert_int_equal(WEXITSTATUS(seen.status), 7);
    assert_int_equal(waitpid(pid, NULL, WNOHANG), -1); /* reaped */
    turn(loop, 0);
    assert_int_equal(seen.calls, 1);

    /* Gone before it was watched. */
    assert_code(syn_loop_child(loop, pid, on_child, &seen, NULL, &err), syn_err_from_errno(ESRCH),
                &err);
    assert_null(syn_loop_free(loop));
}

static void
test_child_reaped_by_another(void **state)
{
    struct syn_loop *loop = loop_new();
    struct child_seen seen = {0};
    struct syn_err err = {0};
    pid_t pid = fork_exit(7);

    (void)state;
    assert_done(syn_loop_child(loop, pid, on_child, &seen, NULL, &err), &err);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    while (seen.calls == 0)
        turn(loop, 5000);
    assert_int_equal(seen.status, SYN_CHILD_UNKNOWN);
    assert_null(syn_loop_free(loop));
}

/* --- the mailbox ----------------------------------------------------------------------------- */

#define POSTERS         4
#define LETTERS_EACH    5000
#define POSTER_OF(code) ((code) / LETTERS_EACH)

static struct {
    struct syn_loop *loop;
    unsigned next[POSTERS];
    unsigned got;
} post;

static void
on_letter(void *arg)
{
    unsigned code = (unsigned)(uintptr_t)arg;

    /* In the order that this thread posted them. */
    assert_int_equal(code % LETTERS_EACH, post.next[POSTER_OF(code)]);
    post.next[POSTER_OF(code)]++;
    if (++post.got == POSTERS * LETTERS_EACH)
        syn_loop_stop(post.loop);
}

static void *
poster_main(void *arg)
{
    unsigned id = (unsigned)(uintptr_t)arg;

    for (unsigned i = 0; i < LETTERS_EACH; i++) {
        uintptr_t code = (uintptr_t)id * LETTERS_EACH + i;
        /* Never full: all letters together are fewer than the limit. */
        int rc = syn_loop_post(post.loop, on_letter, (void *)code, NULL, NULL);

        assert_int_equal(rc, 0);
    }
    return NULL;
}

static void
test_post_from_threads(void **state)
{
    pthread_t threads[POSTERS];
    struct syn_err err = {0};

    (void)state;
    memset(&post, 0, sizeof(post));
    post.loop = loop_new();
    for (uintptr_t i = 0; i < POSTERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, poster_main, (void *)i), 0);
    assert_done(syn_loop_run(post.loop, &err), &err);
    for (size_t i = 0; i < POSTERS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(post.got, POSTERS * LETTERS_EACH);
    assert_null(syn_loop_free(post.loop));
}

static void
on_count(void *arg)
{
    ++*(unsigned *)arg;
}

static void
on_repost(void *arg)
{
    struct ticks *ticks = arg;
    struct syn_err err = {0};

    ticks->count++;
    assert_done(syn_loop_post(ticks->loop, on_repost, ticks, NULL, &err), &err);
}

static void
test_post_cannot_starve(void **state)
{
    struct ticks ticks = {.loop = loop_new()};
    struct syn_err err = {0};

    (void)state;
    assert_done(syn_loop_post(ticks.loop, on_repost, &ticks, NULL, &err), &err);
    for (unsigned i = 1; i <= 3; i++) {
        turn(ticks.loop, 1000);
        assert_int_equal(ticks.count, i);
    }
    assert_null(syn_loop_free(ticks.loop));
}

static void
on_drop(void *arg)
{
    struct ticks *ticks = arg;
    struct syn_err err = {0};

    ticks->count++;
    assert_code(syn_loop_post(ticks->loop, on_count, &ticks->count, NULL, &err), SYN_E_CANCELED,
                &err);
}

static void
test_post_limit_and_drop(void **state)
{
    struct ticks ticks = {.loop = loop_new()};
    struct syn_err err = {0};
    unsigned ran = 0;

    (void)state;
    for (unsigned i = 0; i < SYN_LOOP_MAILBOX_MAX; i++)
        assert_done(syn_loop_post(ticks.loop, on_count, &ran, NULL, &err), &err);
    assert_code(syn_loop_post(ticks.loop, on_count, &ran, NULL, &err), SYN_E_LIMIT, &err);
    turn(ticks.loop, 0);
    assert_int_equal(ran, SYN_LOOP_MAILBOX_MAX);

    assert_done(syn_loop_post(ticks.loop, on_count, &ticks, on_drop, &err), &err);
    assert_done(syn_loop_post(ticks.loop, on_count, &ticks, NULL, &err), &err);
    assert_null(syn_loop_free(ticks.loop));
    assert_int_equal(ticks.count, 1);
}

/* --- life and shortage ----------------------------------------------------------------------- */

static void
test_stop_before_run(void **state)
{
    struct syn_loop *loop = loop_new();
    struct syn_err err = {0};

    (void)state;
    syn_loop_stop(loop);
    assert_done(syn_loop_run(loop, &err), &err);
    assert_null(syn_loop_free(loop));
    assert_null(syn_loop_free(NULL));
    assert_null(syn_watch_drop(NULL));
}

static int
scenario(void *arg, struct syn_err *err)
{
    struct syn_loop *loop = NULL;
    unsigned count = 0;
    int rc = syn_loop_new(&loop, err);

    if (rc == SYN_OK)
        rc = syn_loop_timer(loop, 0, 0, on_count, &count, NULL, err);
    if (rc == SYN_OK)
        rc = syn_loop_signal(loop, SIGUSR2, on_count, &count, NULL, err);
    if (rc == SYN_OK)
        rc = syn_loop_fd(loop, *(int *)arg, EPOLLIN, on_fd, NULL, NULL, err);
    if (rc == SYN_OK)
        rc = syn_loop_child(loop, getpid(), on_child, NULL, NULL, err);
    if (rc == SYN_OK)
        rc = syn_loop_post(loop, on_count, &count, NULL, err);
    (void)syn_loop_free(loop);
    return rc;
}

static void
test_sweep(void **state)
{
    int fds[2];

    (void)state;
    assert_int_equal(pipe(fds), 0);
    assert_true(syn_test_sweep_alloc(scenario, &fds[0]) >= 6);
    (void)close(fds[0]);
    (void)close(fds[1]);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fd),
        cmocka_unit_test(test_fd_drop_of_a_ready_one),
        cmocka_unit_test(test_fd_refused),
        cmocka_unit_test(test_no_descriptors_left),
        cmocka_unit_test(test_timer_order),
        cmocka_unit_test(test_timer_period),
        cmocka_unit_test(test_timer_missed_periods),
        cmocka_unit_test(test_timer_cannot_starve),
        cmocka_unit_test(test_timer_bounds_the_wait),
        cmocka_unit_test(test_signal),
        cmocka_unit_test(test_child),
        cmocka_unit_test(test_child_reaped_by_another),
        cmocka_unit_test(test_post_from_threads),
        cmocka_unit_test(test_post_cannot_starve),
        cmocka_unit_test(test_post_limit_and_drop),
        cmocka_unit_test(test_stop_before_run),
        cmocka_unit_test(test_sweep),
    };

    return cmocka_run_group_tests_name("loop", tests, NULL, NULL);
}
