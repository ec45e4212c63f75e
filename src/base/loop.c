/* The event loop.
 *
 * A turn is: wait (epoll, at most until the next timer), then fd events, then due timers, then the
 * letters that were in the mailbox when it was opened. Each phase works on what was there when it
 * began, so a callback that adds work for itself cannot starve the other phases.
 *
 *      other threads --post--> inbox --swap--> outbox --run--> callbacks
 *                                |  (mutex)       (loop's own)
 *                             eventfd ----+
 *      fds, signalfds, pidfds ------------+--> epoll_wait --> callbacks
 *      timers: binary heap by (due, seq) -^ timeout
 *
 * A watch may be dropped inside any callback, its own included, while epoll's answer still holds
 * its address. So a drop during a turn only marks the watch and takes it out of epoll and the heap;
 * the memory goes at the end of the turn. Timers live in a heap and not in timerfds: a timer then
 * costs no system call, and there are thousands of them. */
#include <synor/base/clock.h>
#include <synor/base/loop.h>

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/pidfd.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <synor/base/mem.h>

#define TURN_EVENTS_MAX 64
#define NOT_IN_HEAP     SIZE_MAX

enum watch_kind { WATCH_FD, WATCH_TIMER, WATCH_SIGNAL, WATCH_CHILD };

struct syn_watch {
    struct syn_loop *loop;
    struct syn_watch *prev, *next; /* all live watches, or the graveyard through `next` */
    enum watch_kind kind;
    bool dropped;
    union {
        syn_loop_fd_fn fd;
        syn_loop_fn plain;
        syn_loop_child_fn child;
    } fn;
    void *arg;
    int fd; /* WATCH_FD: the caller's; WATCH_SIGNAL and WATCH_CHILD: ours; WATCH_TIMER: -1 */
    uint32_t events;
    union {
        int signo;
        pid_t pid;
    } of;
    /* timers */
    size_t heap_index;
    uint64_t seq;
    int64_t due_ms, period_ms;
};

struct letter {
    syn_loop_fn fn, drop;
    void *arg;
};

struct mail {
    struct letter *letters;
    size_t count, cap;
};

struct syn_loop {
    int epoll_fd, event_fd;
    bool stop, in_turn;
    int64_t now_ms;
    struct syn_watch *watches, *graveyard;
    struct syn_watch **heap;
    size_t heap_count, heap_cap;
    uint64_t next_seq;
    pthread_mutex_t lock; /* guards inbox and closed */
    struct mail inbox;
    bool closed;
    struct mail outbox;
};

/* Timers sorted by due time; equal ones fire in the order they were armed. */
static bool
fires_before(const struct syn_watch *a, const struct syn_watch *b)
{
    return a->due_ms != b->due_ms ? a->due_ms < b->due_ms : a->seq < b->seq;
}

static void
heap_place(struct syn_loop *loop, size_t index, struct syn_watch *watch)
{
    loop->heap[index] = watch;
    watch->heap_index = index;
}

static void
heap_up(struct syn_loop *loop, size_t index)
{
    struct syn_watch *watch = loop->heap[index];

    while (index > 0) {
        size_t parent = (index - 1) / 2;

        if (!fires_before(watch, loop->heap[parent]))
            break;
        heap_place(loop, index, loop->heap[parent]);
        index = parent;
    }
    heap_place(loop, index, watch);
}

static void
heap_down(struct syn_loop *loop, size_t index)
{
    struct syn_watch *watch = loop->heap[index];

    for (;;) {
        size_t child = 2 * index + 1;

        if (child >= loop->heap_count)
            break;
        if (child + 1 < loop->heap_count && fires_before(loop->heap[child + 1], loop->heap[child]))
            child++;
        if (!fires_before(loop->heap[child], watch))
            break;
        heap_place(loop, index, loop->heap[child]);
        index = child;
    }
    heap_place(loop, index, watch);
}

static void
heap_remove(struct syn_loop *loop, struct syn_watch *watch)
{
    size_t index = watch->heap_index;
    struct syn_watch *last = loop->heap[loop->heap_count - 1];

    assert(index < loop->heap_count && loop->heap[index] == watch);
    loop->heap_count--;
    watch->heap_index = NOT_IN_HEAP;
    if (last == watch)
        return;
    heap_place(loop, index, last);
    heap_up(loop, index);
    heap_down(loop, last->heap_index);
}

/* The caller made room: arming a timer again never fails. */
static void
heap_insert(struct syn_loop *loop, struct syn_watch *watch)
{
    assert(loop->heap_count < loop->heap_cap);
    watch->seq = loop->next_seq++;
    heap_place(loop, loop->heap_count, watch);
    loop->heap_count++;
    heap_up(loop, watch->heap_index);
}

static struct syn_watch *
watch_new(struct syn_loop *loop, enum watch_kind kind, void *arg, struct syn_err *err)
{
    struct syn_watch *watch = syn_calloc(1, sizeof(*watch));

    if (watch == NULL) {
        (void)SYN_FAIL(err, SYN_E_NOMEM, "no memory for a watch");
        return NULL;
    }
    watch->loop = loop;
    watch->kind = kind;
    watch->arg = arg;
    watch->fd = -1;
    watch->heap_index = NOT_IN_HEAP;
    return watch;
}

static void
watch_link(struct syn_watch *watch, struct syn_watch **ret_watch)
{
    struct syn_loop *loop = watch->loop;

    watch->next = loop->watches;
    if (watch->next != NULL)
        watch->next->prev = watch;
    loop->watches = watch;
    if (ret_watch != NULL)
        *ret_watch = watch;
}

/* Tell epoll about the watch's fd, closing it again on failure when it is ours. */
static SYN_MUST int
watch_poll_take(struct syn_watch *watch, uint32_t events, struct syn_watch **ret_watch,
                struct syn_err *err)
{
    struct epoll_event event = {.events = events, .data = {.ptr = watch}};

    if (events != 0 && epoll_ctl(watch->loop->epoll_fd, EPOLL_CTL_ADD, watch->fd, &event) < 0) {
        int rc = SYN_FAIL_SYS(err, errno, "cannot watch fd %d", watch->fd);

        if (watch->kind != WATCH_FD)
            (void)close(watch->fd);
        syn_free(watch);
        return rc;
    }
    watch->events = events;
    watch_link(watch, ret_watch);
    return SYN_OK;
}

int
syn_loop_fd(struct syn_loop *loop, int fd, uint32_t events, syn_loop_fd_fn fn, void *arg,
            struct syn_watch **ret_watch, struct syn_err *err)
{
    struct syn_watch *watch = NULL;

    assert(fn != NULL);
    watch = watch_new(loop, WATCH_FD, arg, err);
    if (watch == NULL)
        return SYN_E_NOMEM;
    watch->fd = fd;
    watch->fn.fd = fn;
    return watch_poll_take(watch, events, ret_watch, err);
}

int
syn_watch_events(struct syn_watch *watch, uint32_t events, struct syn_err *err)
{
    struct epoll_event event = {.events = events, .data = {.ptr = watch}};
    int op = EPOLL_CTL_MOD;

    assert(watch->kind == WATCH_FD && !watch->dropped);
    if (events == watch->events)
        return SYN_OK;
    if (events == 0)
        op = EPOLL_CTL_DEL;
    else if (watch->events == 0)
        op = EPOLL_CTL_ADD;
    if (epoll_ctl(watch->loop->epoll_fd, op, watch->fd, &event) < 0)
        return SYN_FAIL_SYS(err, errno, "cannot change the watch of fd %d", watch->fd);
    watch->events = events;
    return SYN_OK;
}

/* Milliseconds rounded up: a timer may be late, never early. */
static int64_t
due_after(int64_t delay_ms)
{
    int64_t now_ms = (syn_clock_ns() + 999999) / 1000000;

    return delay_ms > INT64_MAX - now_ms ? INT64_MAX : now_ms + SYN_MAX(delay_ms, 0);
}

int
syn_loop_timer(struct syn_loop *loop, int64_t delay_ms, int64_t period_ms, syn_loop_fn fn,
               void *arg, struct syn_watch **ret_watch, struct syn_err *err)
{
    struct syn_watch *watch = NULL;

    assert(fn != NULL && period_ms >= 0);
    if (!syn_grow(&loop->heap, &loop->heap_cap, loop->heap_count + 1, sizeof(struct syn_watch *)))
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a timer");
    watch = watch_new(loop, WATCH_TIMER, arg, err);
    if (watch == NULL)
        return SYN_E_NOMEM;
    watch->fn.plain = fn;
    watch->due_ms = due_after(delay_ms);
    watch->period_ms = period_ms;
    heap_insert(loop, watch);
    watch_link(watch, ret_watch);
    return SYN_OK;
}

int
syn_loop_signal(struct syn_loop *loop, int signo, syn_loop_fn fn, void *arg,
                struct syn_watch **ret_watch, struct syn_err *err)
{
    struct syn_watch *watch = NULL;
    sigset_t set;
    int sys;

    assert(fn != NULL);
    for (const struct syn_watch *w = loop->watches; w != NULL; w = w->next)
        if (w->kind == WATCH_SIGNAL && w->of.signo == signo)
            return SYN_FAIL(err, SYN_E_EXISTS, "signal %d is watched already", signo);
    (void)sigemptyset(&set);
    if (sigaddset(&set, signo) < 0)
        return SYN_FAIL(err, SYN_E_INVALID, "no such signal: %d", signo);
    watch = watch_new(loop, WATCH_SIGNAL, arg, err);
    if (watch == NULL)
        return SYN_E_NOMEM;
    watch->fn.plain = fn;
    watch->of.signo = signo;
    watch->fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (watch->fd < 0) {
        sys = errno;
        syn_free(watch);
        return SYN_FAIL_SYS(err, sys, "cannot open a signalfd for signal %d", signo);
    }
    sys = pthread_sigmask(SIG_BLOCK, &set, NULL);
    assert(sys == 0);
    return watch_poll_take(watch, EPOLLIN, ret_watch, err);
}

int
syn_loop_child(struct syn_loop *loop, pid_t pid, syn_loop_child_fn fn, void *arg,
               struct syn_watch **ret_watch, struct syn_err *err)
{
    struct syn_watch *watch = NULL;

    assert(fn != NULL);
    watch = watch_new(loop, WATCH_CHILD, arg, err);
    if (watch == NULL)
        return SYN_E_NOMEM;
    watch->fn.child = fn;
    watch->of.pid = pid;
    watch->fd = pidfd_open(pid, 0); /* always close-on-exec */
    if (watch->fd < 0) {
        int sys = errno;

        syn_free(watch);
        return SYN_FAIL_SYS(err, sys, "cannot watch process %d", (int)pid);
    }
    return watch_poll_take(watch, EPOLLIN, ret_watch, err);
}

struct syn_watch *
syn_watch_drop(struct syn_watch *watch)
{
    struct syn_loop *loop = NULL;

    if (watch == NULL || watch->dropped)
        return NULL;
    loop = watch->loop;
    watch->dropped = true;
    if (watch->kind == WATCH_TIMER) {
        if (watch->heap_index != NOT_IN_HEAP)
            heap_remove(loop, watch);
    } else if (watch->events != 0) {
        /* Fails only when the caller closed the fd before, which took it out already. */
        (void)epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, watch->fd, NULL);
        if (watch->kind != WATCH_FD)
            (void)close(watch->fd);
    }
    if (watch->prev != NULL)
        watch->prev->next = watch->next;
    else
        loop->watches = watch->next;
    if (watch->next != NULL)
        watch->next->prev = watch->prev;
    watch->next = watch->prev = NULL;
    if (loop->in_turn) {
        watch->next = loop->graveyard;
        loop->graveyard = watch;
    } else {
        syn_free(watch);
    }
    return NULL;
}

static void
signal_ready(struct syn_watch *watch)
{
    struct signalfd_siginfo info;

    /* Nothing to read: another signalfd or a sigwait took it. */
    if (read(watch->fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
        watch->fn.plain(watch->arg);
}

static void
child_ready(struct syn_watch *watch)
{
    int status = 0;
    pid_t got;

    do
        got = waitpid(watch->of.pid, &status, WNOHANG);
    while (got < 0 && errno == EINTR);
    if (got == 0)
        return;
    syn_child_forget(watch->of.pid);
    watch->fn.child(watch->arg, watch->of.pid, got < 0 ? SYN_CHILD_UNKNOWN : status);
    (void)syn_watch_drop(watch);
}

static void
watch_ready(struct syn_watch *watch, uint32_t events)
{
    if (watch->dropped)
        return;
    switch (watch->kind) {
    case WATCH_FD:
        /* A callback before this one may have narrowed or paused the watch. */
        if (watch->events != 0)
            events &= watch->events | EPOLLERR | EPOLLHUP;
        else
            events = 0;
        if (events != 0)
            watch->fn.fd(watch->arg, watch->fd, events);
        break;
    case WATCH_SIGNAL:
        signal_ready(watch);
        break;
    case WATCH_CHILD:
        child_ready(watch);
        break;
    case WATCH_TIMER:
        assert(false && "timers are not in epoll");
        break;
    }
}

static void
timers_run(struct syn_loop *loop)
{
    uint64_t first_new = loop->next_seq;

    while (loop->heap_count > 0) {
        struct syn_watch *watch = loop->heap[0];

        /* What was armed in this turn is not due before all older ones, so it ends the walk. */
        if (watch->due_ms > loop->now_ms || watch->seq >= first_new)
            break;
        heap_remove(loop, watch);
        if (watch->period_ms > 0) {
            /* Periods missed while the thread was busy are skipped, the rhythm kept. */
            watch->due_ms =
                loop->now_ms + watch->period_ms - (loop->now_ms - watch->due_ms) % watch->period_ms;
            heap_insert(loop, watch);
        }
        watch->fn.plain(watch->arg);
        if (watch->period_ms == 0)
            (void)syn_watch_drop(watch);
    }
}

/* Swap the boxes; the loop then works on its own without the lock. */
static void
mail_collect(struct syn_loop *loop)
{
    struct mail empty = loop->outbox;

    assert(empty.count == 0);
    (void)pthread_mutex_lock(&loop->lock);
    loop->outbox = loop->inbox;
    loop->inbox = empty;
    (void)pthread_mutex_unlock(&loop->lock);
}

static void
mail_run(struct syn_loop *loop)
{
    uint64_t counter;

    /* Emptied before the swap: a letter posted in between rings again. */
    (void)!read(loop->event_fd, &counter, sizeof(counter));
    mail_collect(loop);
    for (size_t i = 0; i < loop->outbox.count; i++)
        loop->outbox.letters[i].fn(loop->outbox.letters[i].arg);
    loop->outbox.count = 0;
}

int
syn_loop_post(struct syn_loop *loop, syn_loop_fn fn, void *arg, syn_loop_fn drop,
              struct syn_err *err)
{
    static const uint64_t one = 1;
    struct mail *inbox = &loop->inbox;
    int rc = SYN_OK;

    assert(fn != NULL);
    (void)pthread_mutex_lock(&loop->lock);
    if (loop->closed) {
        rc = SYN_FAIL(err, SYN_E_CANCELED, "the loop is ending");
    } else if (inbox->count == SYN_LOOP_MAILBOX_MAX) {
        rc = SYN_FAIL(err, SYN_E_LIMIT, "mailbox full (%d letters)", SYN_LOOP_MAILBOX_MAX);
    } else if (!syn_grow(&inbox->letters, &inbox->cap, inbox->count + 1, sizeof(struct letter))) {
        rc = SYN_FAIL(err, SYN_E_NOMEM, "no memory for a letter");
    } else {
        inbox->letters[inbox->count++] = (struct letter){.fn = fn, .drop = drop, .arg = arg};
        /* Under the lock: the letter may make the loop's owner free the loop at once. An eventfd
         * refuses a 1 only when its counter is full, and then it rings already. */
        if (inbox->count == 1)
            (void)!write(loop->event_fd, &one, sizeof(one));
    }
    (void)pthread_mutex_unlock(&loop->lock);
    return rc;
}

static int
turn_timeout(const struct syn_loop *loop, int timeout_ms)
{
    int64_t wait_ms;

    if (loop->heap_count == 0)
        return timeout_ms;
    wait_ms = SYN_MAX(loop->heap[0]->due_ms - syn_clock_ns() / 1000000, 0);
    wait_ms = SYN_MIN(wait_ms, INT32_MAX);
    return timeout_ms < 0 ? (int)wait_ms : (int)SYN_MIN(wait_ms, timeout_ms);
}

int
syn_loop_turn(struct syn_loop *loop, int timeout_ms, struct syn_err *err)
{
    struct epoll_event events[TURN_EVENTS_MAX];
    bool mail = false;
    int count;

    assert(!loop->in_turn);
    count = epoll_wait(loop->epoll_fd, events, TURN_EVENTS_MAX, turn_timeout(loop, timeout_ms));
    if (count < 0 && errno != EINTR)
        return SYN_FAIL_SYS(err, errno, "cannot wait for events");
    loop->now_ms = syn_clock_ns() / 1000000;
    loop->in_turn = true;
    for (int i = 0; i < count; i++) {
        if (events[i].data.ptr == NULL)
            mail = true;
        else
            watch_ready(events[i].data.ptr, events[i].events);
    }
    timers_run(loop);
    if (mail)
        mail_run(loop);
    loop->in_turn = false;
    while (loop->graveyard != NULL) {
        struct syn_watch *watch = loop->graveyard;

        loop->graveyard = watch->next;
        syn_free(watch);
    }
    return SYN_OK;
}

int
syn_loop_run(struct syn_loop *loop, struct syn_err *err)
{
    int rc = SYN_OK;

    while (!loop->stop && rc == SYN_OK)
        rc = syn_loop_turn(loop, -1, err);
    loop->stop = false;
    return rc;
}

void
syn_loop_stop(struct syn_loop *loop)
{
    loop->stop = true;
}

int64_t
syn_loop_now_ms(const struct syn_loop *loop)
{
    return loop->now_ms;
}

int
syn_loop_new(struct syn_loop **ret_loop, struct syn_err *err)
{
    struct epoll_event event = {.events = EPOLLIN, .data = {.ptr = NULL}};
    struct syn_loop *loop = syn_calloc(1, sizeof(*loop));
    int sys;

    if (loop == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for an event loop");
    sys = pthread_mutex_init(&loop->lock, NULL);
    assert(sys == 0);
    loop->now_ms = syn_clock_ns() / 1000000;
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    loop->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (loop->epoll_fd < 0 || loop->event_fd < 0 ||
        epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, loop->event_fd, &event) < 0) {
        sys = errno;
        (void)syn_loop_free(loop);
        return SYN_FAIL_SYS(err, sys, "cannot open an event loop");
    }
    *ret_loop = loop;
    return SYN_OK;
}

struct syn_loop *
syn_loop_free(struct syn_loop *loop)
{
    if (loop == NULL)
        return NULL;
    assert(!loop->in_turn);
    (void)pthread_mutex_lock(&loop->lock);
    loop->closed = true;
    (void)pthread_mutex_unlock(&loop->lock);
    mail_collect(loop);
    for (size_t i = 0; i < loop->outbox.count; i++)
        if (loop->outbox.letters[i].drop != NULL)
            loop->outbox.letters[i].drop(loop->outbox.letters[i].arg);
    while (loop->watches != NULL)
        (void)syn_watch_drop(loop->watches);
    syn_free(loop->inbox.letters);
    syn_free(loop->outbox.letters);
    syn_free(loop->heap);
    if (loop->event_fd >= 0)
        (void)close(loop->event_fd);
    if (loop->epoll_fd >= 0)
        (void)close(loop->epoll_fd);
    (void)pthread_mutex_destroy(&loop->lock);
    syn_free(loop);
    return NULL;
}
