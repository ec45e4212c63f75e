/* Queues and events for drivers whose commands the host's cores run: `cpu`, `modelled` and `wasm`;
 * the events and the list serve `vulkan` too, whose queues run commands in another way. A queue has
 * a thread, started with its first command; an inline queue runs commands where they are given.
 *
 * What a command costs is the driver's to say: `cost` is called when a command has run and fills
 * the span, which begins with what the clock said. */
#ifndef SYN_COMPUTE_HOST_QUEUE_PRIV_H
#define SYN_COMPUTE_HOST_QUEUE_PRIV_H

#include <pthread.h>

#include <synor/compute/driver_ops.h>

#include "../perturb_priv.h"

#define SYN_HOST_QUEUE_MAX 4096 /* commands waiting in one queue; more are LIMIT */

enum syn_host_op {
    SYN_HOST_COPY,
    SYN_HOST_FILL,
    SYN_HOST_LAUNCH,
};

/* What `cost` may look at. */
struct syn_host_ran {
    enum syn_host_op op;
    struct syn_dev *dev;             /* the queue's */
    const struct syn_dev_copy *copy; /* of SYN_HOST_COPY */
    uint64_t fill_bytes;             /* of SYN_HOST_FILL */
    const struct syn_work *work;     /* of SYN_HOST_LAUNCH */
    uint64_t args_bytes;             /* of SYN_HOST_LAUNCH: all buffers it was given */
    bool done;                       /* false: it failed or did not run */
    int64_t after_ns; /* latest end among the events it waited for and the queue's last command */
};

typedef void (*syn_host_cost_fn)(const struct syn_host_ran *ran, struct syn_dev_span *span);

/* Commands that wait for a queue's thread, which is started with the first. */
struct syn_host_link {
    struct syn_host_link *next;
};

struct syn_host_list {
    const struct syn_dev *dev;
    void *(*run)(void *arg); /* the thread: takes commands until there are none */
    void *arg;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t wake;
    struct syn_host_link *first, **last;
    unsigned count;
    bool closing, started;
    pthread_t thread;
};

void syn_host_list_init(struct syn_host_list *list, const struct syn_dev *dev,
                        void *(*run)(void *arg), void *arg);
/* Waits for the end of the thread: all commands are taken. */
void syn_host_list_fini(struct syn_host_list *list);
/* Give a command that signals `signal`, which may be NULL and is begun. 0: it is the list's. LIMIT:
 * the list is full; errors of starting the thread. */
int syn_host_list_push(struct syn_host_list *list, struct syn_host_link *link,
                       struct syn_dev_event *signal, struct syn_err *err);
/* The next command, the caller's from now on. NULL: there is none, and, where it `waits`, there
 * will be none. Thread: the list's. */
struct syn_host_link *syn_host_list_take(struct syn_host_list *list, bool waits);

/* The ops of queues and events, to be put into a driver's table. `cost` NULL: the clock's times. */
int syn_host_queue_create(struct syn_dev *dev, uint32_t flags, syn_host_cost_fn cost,
                          struct syn_dev_queue **ret_queue, struct syn_err *err);
void syn_host_queue_destroy(struct syn_dev_queue *queue);
void syn_host_queue_clear(struct syn_dev_queue *queue);

int syn_host_event_create(struct syn_dev *dev, struct syn_dev_event **ret_event,
                          struct syn_err *err);
void syn_host_event_destroy(struct syn_dev_event *event);
int syn_host_event_poll(struct syn_dev_event *event, struct syn_err *err);
int syn_host_event_wait(struct syn_dev_event *event, int64_t timeout_ns, struct syn_err *err);
int syn_host_event_span(struct syn_dev_event *event, struct syn_dev_span *ret, struct syn_err *err);
int syn_host_event_notify(struct syn_dev_event *event, void (*fn)(void *), void *arg,
                          struct syn_err *err);

/* For queues of another kind whose events these are: a command that signals one was given; it is
 * done. The event is in no other command's use in between. */
void syn_host_event_begin(struct syn_dev_event *event);
void syn_host_event_finish(struct syn_dev_event *event, int rc, const struct syn_err *err,
                           const struct syn_dev_span *span);

int syn_host_copy(struct syn_dev *dev, const struct syn_dev_copy *copy,
                  const struct syn_dev_cmd *cmd, struct syn_err *err);
int syn_host_peer_copy(const struct syn_dev_copy *copy, const struct syn_dev_cmd *cmd,
                       struct syn_err *err);
int syn_host_fill(struct syn_dev_buf *buf, uint64_t offset, uint64_t bytes, uint8_t value,
                  const struct syn_dev_cmd *cmd, struct syn_err *err);

int syn_host_compile(struct syn_dev *dev, const struct syn_dev_source *source,
                     struct syn_dev_program **ret_program, struct syn_err *err);
void syn_host_program_free(struct syn_dev_program *program);
int syn_host_launch(struct syn_dev *dev, const struct syn_dev_launch *launch,
                    const struct syn_dev_cmd *cmd, struct syn_err *err);

/* Buffers of host memory. */
int syn_host_alloc(struct syn_dev *dev, uint64_t bytes, struct syn_dev_buf **ret_buf,
                   struct syn_err *err);
int syn_host_wrap(struct syn_dev *dev, void *host, uint64_t bytes, struct syn_dev_buf **ret_buf,
                  struct syn_err *err);
void syn_host_free(struct syn_dev_buf *buf);
/* Where its bytes are, also if the device's user is not to know. */
char *syn_host_data(struct syn_dev_buf *buf);

/* Wait for an event by looking at it again and again, less and less often: for interfaces that wait
 * for ever or not at all. `timeout_ns` >= 0. */
int syn_poll_wait(int (*poll)(struct syn_dev_event *event, struct syn_err *err),
                  struct syn_dev_event *event, int64_t timeout_ns, struct syn_err *err);

/* Memory aligned to 64 bytes; NULL when there is none. */
void *syn_host_block(uint64_t bytes);
void syn_host_block_free(void *block);

#endif
