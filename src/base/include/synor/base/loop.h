/* One event loop per thread: file descriptors (epoll), timers, signals, child exits, and a mailbox
 * through which other threads speak to it. Everything but syn_loop_post() is for the loop's thread.
 */
#ifndef SYNOR_BASE_LOOP_H
#define SYNOR_BASE_LOOP_H

#include <sys/epoll.h>
#include <sys/types.h>

#include <synor/base/child.h>
#include <synor/base/core.h>
#include <synor/base/err.h>

struct syn_loop;
struct syn_watch; /* one registration of any kind */

#define SYN_LOOP_MAILBOX_MAX 65536

SYN_MUST int syn_loop_new(struct syn_loop **ret_loop, struct syn_err *err);
/** Registrations still there are dropped without a call; letters still there are delivered to their
 * `drop`. */
struct syn_loop *syn_loop_free(struct syn_loop *loop);
/** Run until syn_loop_stop(). Returns 0 or IO. */
SYN_MUST int syn_loop_run(struct syn_loop *loop, struct syn_err *err);
/** One turn; waits at most `timeout_ms` (-1: for ever). */
SYN_MUST int syn_loop_turn(struct syn_loop *loop, int timeout_ms, struct syn_err *err);
void syn_loop_stop(struct syn_loop *loop);
/** Monotonic now, read once a turn. */
int64_t syn_loop_now_ms(const struct syn_loop *loop);

typedef void (*syn_loop_fd_fn)(void *arg, int fd, uint32_t events); /* EPOLLIN | ... */
typedef void (*syn_loop_fn)(void *arg);
typedef void (*syn_loop_child_fn)(void *arg, pid_t pid, int status); /* waitpid status */

/* A watch is borrowed from the loop until syn_watch_drop(); `ret_watch` may be NULL. */

/** Watch `fd` (not owned; drop the watch before closing it). `events` 0 pauses: not even a hangup
 * is told. */
SYN_MUST int syn_loop_fd(struct syn_loop *loop, int fd, uint32_t events, syn_loop_fd_fn fn,
                         void *arg, struct syn_watch **ret_watch, struct syn_err *err);
SYN_MUST int syn_watch_events(struct syn_watch *watch, uint32_t events, struct syn_err *err);
/** Call once after `delay_ms`, then every `period_ms` (0: only once; the watch is dropped by the
 * loop after the call). Never early; periods missed by a busy thread are skipped. */
SYN_MUST int syn_loop_timer(struct syn_loop *loop, int64_t delay_ms, int64_t period_ms,
                            syn_loop_fn fn, void *arg, struct syn_watch **ret_watch,
                            struct syn_err *err);
/** Call on a signal (signalfd; blocks the signal in this thread, also after the drop: set up before
 *  other threads start, and unblock it in children). EXISTS when this loop watches it already. */
SYN_MUST int syn_loop_signal(struct syn_loop *loop, int signo, syn_loop_fn fn, void *arg,
                             struct syn_watch **ret_watch, struct syn_err *err);
/** Call once when child `pid` exits, and reap it (pidfd), status SYN_CHILD_UNKNOWN when somebody
 * else did; the watch is dropped by the loop after the call. */
SYN_MUST int syn_loop_child(struct syn_loop *loop, pid_t pid, syn_loop_child_fn fn, void *arg,
                            struct syn_watch **ret_watch, struct syn_err *err);
/** End a registration of any kind; NULL is fine; safe inside its own callback. Returns NULL. */
struct syn_watch *syn_watch_drop(struct syn_watch *watch);

/** From any thread: run fn(arg) on the loop soon, in the order posted. `drop` (may be NULL) gets
 * `arg` if the loop ends before. LIMIT when the mailbox is full (then nothing was taken), CANCELED
 * while the loop is being freed. */
SYN_MUST int syn_loop_post(struct syn_loop *loop, syn_loop_fn fn, void *arg, syn_loop_fn drop,
                           struct syn_err *err);

#endif
