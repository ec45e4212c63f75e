/* Who has an instance, and when.
 *
 *     a thread of its own --brought up--> parked --due--> a worker: a turn
 *         ^         |                      |  ^______________|
 *         |         `-- ends, goes         |
 *         `------------ ended, gone -------'
 *
 * What runs needs somebody for moments only: when it ends, a check is due or answered, the server
 * wants something else, or it is time to send what it has printed. So one thread waits for all that
 * are parked, and a few workers take turns. A thread for each costs 100 kB of stack and a hundred
 * pages of the allocator's, and to have a client of its own for each about as much again.
 *
 * To begin and to end may take minutes, in downloads and uploads: for that an instance has a thread
 * while it lasts. Checkpoints are stored in turns, by workers of their own, so that no replica's
 * check waits for them.
 *
 * Refused: epoll, as descriptors of checks live for milliseconds, and there are at most a thousand;
 * everything in one loop without threads, as calls to the server, the runtime and the content store
 * block. */
#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <synor/base/log.h>
#include <synor/base/mem.h>
#include <synor/base/pool.h>

#include "agent_priv.h"

#define TURN_WORKERS  4 /* for turns that are over in a moment, when the server answers */
#define STORE_WORKERS 4 /* for turns that may store checkpoints */
#define FDS_MAX       (AGT_INSTANCES_MAX * (1 + AGT_CARE_FDS) + 1)

struct agt_watch {
    struct syn_agent *agent;
    int news; /* an eventfd: look again */
    struct syn_pool *turns, *stores;
    pthread_t thread;
    unsigned lives; /* threads of instances; under the agent's lock */
    size_t count;   /* of what follows; the watch's thread's */
    struct pollfd fds[FDS_MAX];
    struct agt_instance *owners[FDS_MAX];
};

void
agt_wake(struct syn_agent *agent)
{
    (void)pthread_cond_broadcast(&agent->wake);
    if (agent->watch != NULL)
        (void)eventfd_write(agent->watch->news, 1);
}

/* Whoever had it gives it back. It may be gone as soon as the lock is let go. */
static void
park(struct agt_instance *instance, enum agt_phase phase, int64_t due_ms)
{
    instance->phase = phase;
    instance->due_ms = due_ms;
    instance->parked = true;
    agt_wake(instance->agent);
}

static int64_t
later(const struct syn_agent *agent)
{
    return syn_mono_ms(agent->world) + agent->pace.retry_ms;
}

/* --- a thread of its own ---------------------------------------------------------------------- */

static void *
life_main(void *arg)
{
    struct agt_instance *instance = arg;
    struct syn_agent *agent = instance->agent;
    const enum agt_phase before = instance->phase;
    const enum agt_phase next = agt_instance_go_on(instance);
    const struct syn_runtime runtime = instance->runtime;

    (void)pthread_mutex_lock(&agent->lock);
    park(instance, next, next == before ? later(agent) : 0);
    (void)pthread_mutex_unlock(&agent->lock);
    if (before == AGT_BEGINS && next == AGT_RUNS && runtime.ops->warm != NULL)
        runtime.ops->warm(runtime.self); /* for the one after this */
    (void)pthread_mutex_lock(&agent->lock);
    agent->watch->lives--;
    (void)pthread_cond_broadcast(&agent->wake);
    (void)pthread_mutex_unlock(&agent->lock);
    return NULL;
}

/* Under the lock. */
static int
start_thread(struct agt_watch *watch, void *(*thread_main)(void *), void *arg, const char *what,
             struct syn_err *err)
{
    pthread_attr_t attributes;
    pthread_t thread;
    int sys = pthread_attr_init(&attributes);

    if (sys != 0)
        return SYN_FAIL_SYS(err, sys, "a thread for %s", what);
    (void)pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    sys = pthread_create(&thread, &attributes, thread_main, arg);
    (void)pthread_attr_destroy(&attributes);
    if (sys != 0)
        return SYN_FAIL(err, SYN_E_LIMIT, "cannot start a thread for %s", what);
    watch->lives++;
    return SYN_OK;
}

static int
start_life(struct agt_watch *watch, struct agt_instance *instance, struct syn_err *err)
{
    return start_thread(watch, life_main, instance, instance->id, err);
}

struct beside {
    struct syn_agent *agent;
    void (*work)(void *arg);
    void *arg;
};

static void *
beside_main(void *arg)
{
    struct beside *beside = arg;
    struct syn_agent *agent = beside->agent;

    beside->work(beside->arg);
    syn_free(beside);
    (void)pthread_mutex_lock(&agent->lock);
    agent->watch->lives--;
    (void)pthread_cond_broadcast(&agent->wake);
    (void)pthread_mutex_unlock(&agent->lock);
    return NULL;
}

int
agt_watch_beside(struct syn_agent *agent, void (*work)(void *arg), void *arg, struct syn_err *err)
{
    struct beside *beside = syn_calloc(1, sizeof(*beside));
    int rc;

    assert(agent->watch != NULL);
    if (beside == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a thread");
    *beside = (struct beside){agent, work, arg};
    rc = start_thread(agent->watch, beside_main, beside, "what is done beside", err);
    if (rc < 0)
        syn_free(beside);
    return rc;
}

/* --- turns ------------------------------------------------------------------------------------ */

static void
turn_main(void *arg)
{
    struct agt_instance *instance = arg;
    struct syn_agent *agent = instance->agent;
    enum agt_phase next = AGT_RUNS;
    int64_t due_ms = later(agent);

    if (!atomic_load(&agent->stop) && agt_instance_dial(instance)) {
        next = agt_instance_turn(instance, &due_ms);
        agt_instance_hang_up(instance);
    }
    (void)pthread_mutex_lock(&agent->lock);
    park(instance, next, next == AGT_RUNS ? due_ms : 0);
    (void)pthread_mutex_unlock(&agent->lock);
}

/* --- the watch -------------------------------------------------------------------------------- */

/* Under the lock: is there something to do for one that is parked? */
static bool
is_due(const struct agt_instance *instance, int64_t now_ms)
{
    if (instance->phase == AGT_WAITS)
        return instance->gone;
    return instance->phase != AGT_OVER &&
           (now_ms >= instance->due_ms || (instance->phase == AGT_RUNS && instance->changed));
}

/* Under the lock: somebody has it from now on. */
static void
hand_out(struct agt_watch *watch, struct agt_instance *instance)
{
    struct syn_err err = {0};
    int rc;

    instance->parked = false;
    if (instance->phase == AGT_WAITS)
        instance->phase = AGT_GOES;
    if (instance->phase == AGT_RUNS)
        rc = syn_pool_run(instance->snapshots != NULL ? watch->stores : watch->turns, turn_main,
                          instance, &err);
    else
        rc = start_life(watch, instance, &err);
    if (rc == SYN_OK)
        return;
    syn_log_err(SYN_LOG_WARN, "instance.waits", &err);
    instance->parked = true;
    instance->due_ms = later(watch->agent);
}

static void
add_fds(struct agt_watch *watch, struct agt_instance *instance)
{
    size_t first = watch->count;

    assert(watch->count + 1 + AGT_CARE_FDS <= FDS_MAX);
    if (instance->exit_fd >= 0 && !instance->exit_told)
        watch->fds[watch->count++] = (struct pollfd){.fd = instance->exit_fd, .events = POLLIN};
    if (instance->care != NULL) {
        agt_care_fds(instance->care, watch->fds + watch->count);
        watch->count += AGT_CARE_FDS;
    }
    for (size_t i = first; i < watch->count; i++)
        watch->owners[i] = instance;
}

/* Under the lock: hand out what is due, and collect what the others wait for. Returns for how long
 * that may take, -1: for ever. */
static int
look(struct agt_watch *watch)
{
    const int64_t now_ms = syn_mono_ms(watch->agent->world);
    int64_t until_ms = INT64_MAX;
    size_t cursor = 0;
    void *value;

    watch->count = 1;
    while (syn_map_next(watch->agent->instances, &cursor, NULL, &value)) {
        struct agt_instance *instance = value;

        if (instance->parked && is_due(instance, now_ms))
            hand_out(watch, instance);
        if (!instance->parked || instance->phase == AGT_WAITS || instance->phase == AGT_OVER)
            continue;
        until_ms = SYN_MIN(until_ms, instance->due_ms);
        if (instance->phase == AGT_RUNS)
            add_fds(watch, instance);
    }
    if (until_ms == INT64_MAX)
        return -1;
    return (int)SYN_MIN(SYN_MAX(until_ms - now_ms, 0), INT32_MAX);
}

/* Under the lock: those to whom something happened. They are parked still. */
static void
take_events(struct agt_watch *watch)
{
    eventfd_t count;

    if (watch->fds[0].revents != 0)
        (void)eventfd_read(watch->news, &count);
    for (size_t i = 1; i < watch->count; i++) {
        struct agt_instance *instance = watch->owners[i];

        if (watch->fds[i].revents == 0)
            continue;
        assert(instance->parked);
        instance->due_ms = 0;
        if (watch->fds[i].fd == instance->exit_fd)
            instance->exit_told = true; /* should its end not be written, time tells */
    }
}

static void *
watch_main(void *arg)
{
    struct agt_watch *watch = arg;
    struct syn_agent *agent = watch->agent;

    (void)pthread_mutex_lock(&agent->lock);
    while (!atomic_load(&agent->stop)) {
        int wait_ms = look(watch);

        (void)pthread_mutex_unlock(&agent->lock);
        (void)poll(watch->fds, watch->count, wait_ms);
        (void)pthread_mutex_lock(&agent->lock);
        take_events(watch);
    }
    (void)pthread_mutex_unlock(&agent->lock);
    return NULL;
}

/* --- beginning and end ------------------------------------------------------------------------ */

static struct agt_watch *
watch_free(struct agt_watch *watch)
{
    watch->turns = syn_pool_free(watch->turns);
    watch->stores = syn_pool_free(watch->stores);
    if (watch->news >= 0)
        (void)close(watch->news);
    syn_free(watch);
    return NULL;
}

static int
watch_new(struct syn_agent *agent, struct agt_watch **ret, struct syn_err *err)
{
    struct agt_watch *watch = syn_calloc(1, sizeof(*watch));
    int rc = SYN_OK;

    if (watch == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory to watch instances");
    watch->agent = agent;
    watch->news = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    watch->fds[0] = (struct pollfd){.fd = watch->news, .events = POLLIN};
    if (watch->news < 0)
        rc = SYN_FAIL_SYS(err, errno, "opening an event descriptor");
    if (rc == SYN_OK)
        rc = syn_pool_new(TURN_WORKERS, AGT_INSTANCES_MAX, &watch->turns, err);
    if (rc == SYN_OK)
        rc = syn_pool_new(STORE_WORKERS, AGT_INSTANCES_MAX, &watch->stores, err);
    if (rc == SYN_OK && pthread_create(&watch->thread, NULL, watch_main, watch) != 0)
        rc = SYN_FAIL(err, SYN_E_LIMIT, "cannot start the thread that watches instances");
    if (rc < 0)
        (void)watch_free(watch);
    else
        *ret = watch;
    return rc;
}

int
agt_watch_begin(struct agt_instance *instance, struct syn_err *err)
{
    struct syn_agent *agent = instance->agent;
    int rc = SYN_OK;

    if (agent->watch == NULL)
        rc = watch_new(agent, &agent->watch, err);
    return rc < 0 ? rc : start_life(agent->watch, instance, err);
}

void
agt_watch_close(struct syn_agent *agent)
{
    struct agt_watch *watch = agent->watch;

    if (watch == NULL)
        return;
    assert(atomic_load(&agent->stop));
    (void)pthread_join(watch->thread, NULL);
    syn_pool_drain(watch->turns);
    syn_pool_drain(watch->stores);
    (void)pthread_mutex_lock(&agent->lock);
    while (watch->lives > 0)
        (void)pthread_cond_wait(&agent->wake, &agent->lock);
    agent->watch = NULL;
    (void)pthread_mutex_unlock(&agent->lock);
    (void)watch_free(watch);
}
