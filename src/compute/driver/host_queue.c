#include "host_queue_priv.h"

#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include <synor/base/clock.h>
#include <synor/base/mem.h>

#define ALIGN 64

#define NAP_MIN_NS 5000 /* between two looks at an event, doubled up to the most */
#define NAP_MAX_NS 500000

struct notify {
    struct notify *next;
    void (*fn)(void *arg);
    void *arg;
};

struct host_event {
    struct syn_dev_event base;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t done;
    bool pending;
    int rc;
    struct syn_err err;
    struct syn_dev_span span;
    struct notify *notify; /* to be called when it is done */
};

struct host_buf {
    struct syn_dev_buf base;
    void *data;
};

struct host_program {
    struct syn_dev_program base;
    const struct syn_native_entry *entries;
    size_t count;
};

struct host_cmd {
    struct syn_host_link link;
    enum syn_host_op op;
    struct syn_dev_copy copy;
    struct {
        char *at;
        uint64_t bytes;
        uint8_t value;
    } fill;
    const struct syn_native_entry *entry;
    struct syn_native_call call;
    void *args[SYN_DRV_ARGS_MAX];
    uint64_t sizes[SYN_DRV_ARGS_MAX];
    uint64_t args_bytes;
    struct syn_work work;
    struct host_event *waits[SYN_DRV_WAITS_MAX];
    size_t waits_count;
    struct host_event *signal;
    char values[]; /* copies of by-value arguments and local memory, of queued commands */
};

struct host_queue {
    struct syn_dev_queue base;
    syn_host_cost_fn cost;
    bool in_place; /* commands run where they are given */
    _Atomic bool failed;
    int64_t last_ns; /* end of the last command; of whoever runs commands */
    struct syn_host_list list;
};

int
syn_poll_wait(int (*poll)(struct syn_dev_event *event, struct syn_err *err),
              struct syn_dev_event *event, int64_t timeout_ns, struct syn_err *err)
{
    int64_t start = syn_clock_ns(), nap = NAP_MIN_NS;
    int rc = poll(event, err);

    while (rc == SYN_DRV_PENDING && syn_clock_ns() - start < timeout_ns) {
        const struct timespec ts = {0, nap};

        (void)nanosleep(&ts, NULL);
        nap = SYN_MIN(nap * 2, (int64_t)NAP_MAX_NS);
        rc = poll(event, err);
    }
    return rc;
}

/* The block's own address is kept below what is given out. */
void *
syn_host_block(uint64_t bytes)
{
    char *block = NULL, *out = NULL;

    if (bytes <= SIZE_MAX - ALIGN - sizeof(block))
        block = syn_alloc((size_t)bytes + ALIGN + sizeof(block));
    if (!block)
        return NULL;
    out = block + sizeof(block);
    out += (ALIGN - (uintptr_t)out % ALIGN) % ALIGN;
    memcpy(out - sizeof(block), &block, sizeof(block));
    return out;
}

void
syn_host_block_free(void *block)
{
    void *start = NULL;

    if (block) {
        memcpy(&start, (char *)block - sizeof(start), sizeof(start));
        syn_free(start);
    }
}

static struct host_event *
event_of(struct syn_dev_event *event)
{
    return SYN_CONTAINER(event, struct host_event, base);
}

static struct host_queue *
queue_of(struct syn_dev_queue *queue)
{
    return SYN_CONTAINER(queue, struct host_queue, base);
}

char *
syn_host_data(struct syn_dev_buf *buf)
{
    return SYN_CONTAINER(buf, struct host_buf, base)->data;
}

/* Conditions that wait by the monotonic clock. */
static void
init_cond(pthread_cond_t *cond)
{
    pthread_condattr_t attr;

    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(cond, &attr);
    (void)pthread_condattr_destroy(&attr);
}

/* Events. */

int
syn_host_event_create(struct syn_dev *dev, struct syn_dev_event **ret_event, struct syn_err *err)
{
    struct host_event *event = syn_calloc(1, sizeof(*event));

    (void)dev;
    if (!event)
        return SYN_FAIL(err, SYN_E_NOMEM, "event");
    (void)pthread_mutex_init(&event->lock, NULL);
    init_cond(&event->done);
    *ret_event = &event->base;
    return SYN_OK;
}

void
syn_host_event_destroy(struct syn_dev_event *base)
{
    struct host_event *event = event_of(base);

    assert(!event->notify); /* destroyed before it was done */
    (void)pthread_mutex_destroy(&event->lock);
    (void)pthread_cond_destroy(&event->done);
    syn_free(event);
}

/* The result of an event that is done; the lock is held. */
static int
result_of(const struct host_event *event, struct syn_err *err)
{
    if (event->rc < 0 && err)
        *err = event->err;
    return event->rc;
}

int
syn_host_event_poll(struct syn_dev_event *base, struct syn_err *err)
{
    return syn_host_event_wait(base, 0, err);
}

int
syn_host_event_wait(struct syn_dev_event *base, int64_t timeout_ns, struct syn_err *err)
{
    struct host_event *event = event_of(base);
    int64_t until = 0;
    struct timespec at = {0};
    int rc, waited = 0;

    if (timeout_ns > 0) {
        int64_t now = syn_clock_ns();

        until = timeout_ns > INT64_MAX - now ? INT64_MAX : now + timeout_ns;
        at.tv_sec = until / 1000000000;
        at.tv_nsec = until % 1000000000;
    }
    (void)pthread_mutex_lock(&event->lock);
    while (event->pending && timeout_ns != 0 && waited == 0) {
        if (timeout_ns < 0)
            (void)pthread_cond_wait(&event->done, &event->lock);
        else
            waited = pthread_cond_timedwait(&event->done, &event->lock, &at);
    }
    rc = event->pending ? SYN_DRV_PENDING : result_of(event, err);
    (void)pthread_mutex_unlock(&event->lock);
    return rc;
}

int
syn_host_event_span(struct syn_dev_event *base, struct syn_dev_span *ret, struct syn_err *err)
{
    struct host_event *event = event_of(base);
    int rc = SYN_OK;

    (void)pthread_mutex_lock(&event->lock);
    if (event->pending)
        rc = SYN_FAIL(err, SYN_E_CONFLICT, "the event is not done");
    else
        *ret = event->span;
    (void)pthread_mutex_unlock(&event->lock);
    return rc;
}

int
syn_host_event_notify(struct syn_dev_event *base, void (*fn)(void *), void *arg,
                      struct syn_err *err)
{
    struct host_event *event = event_of(base);
    struct notify *entry = syn_alloc(sizeof(*entry));
    bool pending;

    if (!entry)
        return SYN_FAIL(err, SYN_E_NOMEM, "event");
    *entry = (struct notify){NULL, fn, arg};
    (void)pthread_mutex_lock(&event->lock);
    pending = event->pending;
    if (pending) {
        entry->next = event->notify;
        event->notify = entry;
    }
    (void)pthread_mutex_unlock(&event->lock);
    if (!pending) {
        syn_free(entry);
        fn(arg);
    }
    return SYN_OK;
}

void
syn_host_event_begin(struct syn_dev_event *base)
{
    struct host_event *event = event_of(base);

    (void)pthread_mutex_lock(&event->lock);
    assert(!event->pending); /* one command at a time signals it */
    event->pending = true;
    (void)pthread_mutex_unlock(&event->lock);
}

void
syn_host_event_finish(struct syn_dev_event *base, int rc, const struct syn_err *err,
                      const struct syn_dev_span *span)
{
    struct host_event *event = event_of(base);
    struct notify *notify = NULL;

    SYN_PERTURB();
    (void)pthread_mutex_lock(&event->lock);
    event->rc = rc;
    event->err = *err;
    event->span = *span;
    notify = SYN_TAKE(event->notify);
    event->pending = false;
    (void)pthread_cond_broadcast(&event->done);
    (void)pthread_mutex_unlock(&event->lock);
    SYN_PERTURB();
    /* From here on the event may be gone. */
    while (notify) {
        struct notify *entry = notify;

        notify = entry->next;
        entry->fn(entry->arg);
        syn_free(entry);
    }
}

/* Lists of commands. */

void
syn_host_list_init(struct syn_host_list *list, const struct syn_dev *dev, void *(*run)(void *arg),
                   void *arg)
{
    *list = (struct syn_host_list){.dev = dev, .run = run, .arg = arg};
    list->last = &list->first;
    (void)pthread_mutex_init(&list->lock, NULL);
    (void)pthread_cond_init(&list->wake, NULL);
}

void
syn_host_list_fini(struct syn_host_list *list)
{
    bool started;

    (void)pthread_mutex_lock(&list->lock);
    list->closing = true;
    started = list->started;
    (void)pthread_cond_signal(&list->wake);
    (void)pthread_mutex_unlock(&list->lock);
    if (started)
        (void)pthread_join(list->thread, NULL);
    assert(!list->first);
    (void)pthread_mutex_destroy(&list->lock);
    (void)pthread_cond_destroy(&list->wake);
}

int
syn_host_list_push(struct syn_host_list *list, struct syn_host_link *link,
                   struct syn_dev_event *signal, struct syn_err *err)
{
    int rc = SYN_OK;

    (void)pthread_mutex_lock(&list->lock);
    if (list->count == SYN_HOST_QUEUE_MAX)
        rc = SYN_FAIL(err, SYN_E_LIMIT, "%s: the queue holds %d commands", list->dev->info.id,
                      SYN_HOST_QUEUE_MAX);
    if (rc == SYN_OK && !list->started) {
        int sys = pthread_create(&list->thread, NULL, list->run, list->arg);

        if (sys != 0)
            rc = SYN_FAIL_SYS(err, sys, "starting a queue's thread");
        list->started = sys == 0;
    }
    if (rc == SYN_OK) {
        if (signal)
            syn_host_event_begin(signal);
        link->next = NULL;
        *list->last = link;
        list->last = &link->next;
        list->count++;
        (void)pthread_cond_signal(&list->wake);
    }
    (void)pthread_mutex_unlock(&list->lock);
    return rc;
}

struct syn_host_link *
syn_host_list_take(struct syn_host_list *list, bool waits)
{
    struct syn_host_link *link = NULL;

    (void)pthread_mutex_lock(&list->lock);
    while (waits && !list->first && !list->closing)
        (void)pthread_cond_wait(&list->wake, &list->lock);
    link = list->first;
    if (link) {
        list->first = link->next;
        if (!list->first)
            list->last = &list->first;
        list->count--;
    }
    (void)pthread_mutex_unlock(&list->lock);
    return link;
}

/* Running commands. */

static char *
place_start(const struct syn_dev_place *place)
{
    return (place->buf ? syn_host_data(place->buf) : (char *)place->host) + place->offset;
}

static void
run_copy(const struct syn_dev_copy *copy)
{
    char *dst = place_start(&copy->dst), *src = place_start(&copy->src);

    for (uint64_t slice = 0; slice < copy->slices; slice++) {
        for (uint64_t row = 0; row < copy->rows; row++)
            memmove(dst + slice * copy->dst.slice_pitch + row * copy->dst.row_pitch,
                    src + slice * copy->src.slice_pitch + row * copy->src.row_pitch,
                    copy->row_bytes);
    }
}

static int
run_body(const struct host_cmd *cmd, struct syn_err *err)
{
    int rc = SYN_OK;

    switch (cmd->op) {
    case SYN_HOST_COPY:
        run_copy(&cmd->copy);
        break;
    case SYN_HOST_FILL:
        memset(cmd->fill.at, cmd->fill.value, cmd->fill.bytes);
        break;
    case SYN_HOST_LAUNCH:
        rc = cmd->entry->fn(&cmd->call, err);
        if (rc != SYN_OK && err->msg[0] == '\0')
            rc = SYN_FAIL(err, rc < 0 ? rc : SYN_E_INTERNAL, "kernel %s failed", cmd->entry->name);
        break;
    }
    return rc;
}

/* Wait for what the command waits for. A failed one is the reason not to run. */
static int
await_waits(const struct host_cmd *cmd, int64_t *after_ns, struct syn_err *err)
{
    int rc = SYN_OK;

    for (size_t i = 0; i < cmd->waits_count; i++) {
        struct syn_err why = {0};
        struct syn_dev_span span = {0};

        if (syn_host_event_wait(&cmd->waits[i]->base, -1, &why) < 0 && rc == SYN_OK)
            rc = SYN_FAIL(err, SYN_E_CANCELED, "what it waited for failed: %s", why.msg);
        if (syn_host_event_span(&cmd->waits[i]->base, &span, NULL) == SYN_OK)
            *after_ns = SYN_MAX(*after_ns, span.end_ns);
    }
    return rc;
}

static void
run_cmd(struct host_queue *queue, const struct host_cmd *cmd)
{
    struct syn_dev_span span = {.energy_uj = -1};
    struct syn_err err = {0};
    int64_t after_ns = queue->last_ns;
    int rc = await_waits(cmd, &after_ns, &err);

    if (rc == SYN_OK && atomic_load(&queue->failed))
        rc = SYN_FAIL(&err, SYN_E_CANCELED, "an earlier command of the queue failed");
    span.start_ns = span.end_ns = syn_clock_ns();
    if (rc == SYN_OK) {
        rc = run_body(cmd, &err);
        span.end_ns = syn_clock_ns();
    }
    if (rc < 0)
        atomic_store(&queue->failed, true);
    if (queue->cost) {
        const struct syn_host_ran ran = {
            .op = cmd->op,
            .dev = queue->base.dev,
            .copy = &cmd->copy,
            .fill_bytes = cmd->fill.bytes,
            .work = &cmd->work,
            .args_bytes = cmd->args_bytes,
            .done = rc == SYN_OK,
            .after_ns = after_ns,
        };

        queue->cost(&ran, &span);
    }
    queue->last_ns = span.end_ns;
    if (cmd->signal)
        syn_host_event_finish(&cmd->signal->base, rc, &err, &span);
}

static void *
queue_thread(void *arg)
{
    struct host_queue *queue = arg;
    struct syn_host_link *link = NULL;

    while ((link = syn_host_list_take(&queue->list, true))) {
        struct host_cmd *cmd = SYN_CONTAINER(link, struct host_cmd, link);

        run_cmd(queue, cmd);
        syn_free(cmd);
    }
    return NULL;
}

int
syn_host_queue_create(struct syn_dev *dev, uint32_t flags, syn_host_cost_fn cost,
                      struct syn_dev_queue **ret_queue, struct syn_err *err)
{
    struct host_queue *queue = syn_calloc(1, sizeof(*queue));

    if (!queue)
        return SYN_FAIL(err, SYN_E_NOMEM, "queue");
    queue->base.dev = dev;
    queue->cost = cost;
    queue->in_place = flags & SYN_QUEUE_INLINE;
    syn_host_list_init(&queue->list, dev, queue_thread, queue);
    *ret_queue = &queue->base;
    return SYN_OK;
}

void
syn_host_queue_destroy(struct syn_dev_queue *base)
{
    struct host_queue *queue = queue_of(base);

    syn_host_list_fini(&queue->list);
    syn_free(queue);
}

void
syn_host_queue_clear(struct syn_dev_queue *base)
{
    atomic_store(&queue_of(base)->failed, false);
}

/* Giving commands. */

static void
take_waits(struct host_cmd *cmd, const struct syn_dev_cmd *how)
{
    for (size_t i = 0; i < how->waits_count; i++)
        cmd->waits[i] = event_of(how->waits[i]);
    cmd->waits_count = how->waits_count;
    cmd->signal = how->signal ? event_of(how->signal) : NULL;
}

/* Owns `cmd` from the call on, also when it fails. */
static int
push_take(struct host_queue *queue, struct host_cmd *cmd, struct syn_err *err)
{
    SYN_SCOPED(syn_free_scope) struct host_cmd *owned = cmd;
    int rc = syn_host_list_push(&queue->list, &owned->link,
                                owned->signal ? &owned->signal->base : NULL, err);

    if (rc == SYN_OK)
        owned = NULL; /* the thread's */
    return rc;
}

/* Give a command without values: run the one on the caller's stack, or queue a copy of it. */
static int
give(const struct syn_dev_cmd *how, struct host_cmd *cmd, struct syn_err *err)
{
    struct host_queue *queue = queue_of(how->queue);
    struct host_cmd *copy = NULL;

    take_waits(cmd, how);
    if (queue->in_place) {
        if (cmd->signal)
            syn_host_event_begin(&cmd->signal->base);
        run_cmd(queue, cmd);
        return SYN_OK;
    }
    copy = syn_alloc(sizeof(*copy));
    if (!copy)
        return SYN_FAIL(err, SYN_E_NOMEM, "command");
    memcpy(copy, cmd, sizeof(*copy));
    return push_take(queue, copy, err);
}

int
syn_host_copy(struct syn_dev *dev, const struct syn_dev_copy *copy, const struct syn_dev_cmd *cmd,
              struct syn_err *err)
{
    struct host_cmd own = {.op = SYN_HOST_COPY, .copy = *copy};

    (void)dev;
    return give(cmd, &own, err);
}

int
syn_host_peer_copy(const struct syn_dev_copy *copy, const struct syn_dev_cmd *cmd,
                   struct syn_err *err)
{
    return syn_host_copy(NULL, copy, cmd, err);
}

int
syn_host_fill(struct syn_dev_buf *buf, uint64_t offset, uint64_t bytes, uint8_t value,
              const struct syn_dev_cmd *cmd, struct syn_err *err)
{
    struct host_cmd own = {.op = SYN_HOST_FILL,
                           .fill = {syn_host_data(buf) + offset, bytes, value}};

    return give(cmd, &own, err);
}

int
syn_host_compile(struct syn_dev *dev, const struct syn_dev_source *source,
                 struct syn_dev_program **ret_program, struct syn_err *err)
{
    struct host_program *program = NULL;

    if (!source->entries || source->entries_count == 0)
        return SYN_FAIL(err, SYN_E_INVALID, "%s: %s: no functions", dev->info.id, source->name);
    program = syn_calloc(1, sizeof(*program));
    if (!program)
        return SYN_FAIL(err, SYN_E_NOMEM, "program");
    program->entries = source->entries;
    program->count = source->entries_count;
    *ret_program = &program->base;
    return SYN_OK;
}

void
syn_host_program_free(struct syn_dev_program *program)
{
    syn_free(SYN_CONTAINER(program, struct host_program, base));
}

static const struct syn_native_entry *
find_entry(struct syn_dev_program *base, const char *name)
{
    const struct host_program *program = SYN_CONTAINER(base, struct host_program, base);

    for (size_t i = 0; i < program->count; i++) {
        if (strcmp(program->entries[i].name, name) == 0)
            return &program->entries[i];
    }
    return NULL;
}

static uint64_t
values_bytes(const struct syn_dev_launch *launch)
{
    uint64_t bytes = ALIGN;

    for (size_t i = 0; i < launch->args_count; i++) {
        if (launch->args[i].kind != SYN_ARG_BUF)
            bytes += (launch->args[i].bytes + ALIGN - 1) / ALIGN * ALIGN;
    }
    return bytes;
}

/* Arguments as the function takes them: values are copied behind the command, aligned. */
static void
take_args(struct host_cmd *cmd, const struct syn_dev_launch *launch)
{
    char *at = cmd->values + (ALIGN - (uintptr_t)cmd->values % ALIGN) % ALIGN;

    for (size_t i = 0; i < launch->args_count; i++) {
        const struct syn_dev_arg *arg = &launch->args[i];

        if (arg->kind == SYN_ARG_BUF) {
            cmd->args[i] = syn_host_data(arg->buf) + arg->offset;
            cmd->sizes[i] = arg->buf->bytes - arg->offset;
            cmd->args_bytes += cmd->sizes[i];
            continue;
        }
        cmd->args[i] = at;
        cmd->sizes[i] = arg->bytes;
        if (arg->kind == SYN_ARG_VALUE)
            memcpy(at, arg->value, arg->bytes);
        at += (arg->bytes + ALIGN - 1) / ALIGN * ALIGN;
    }
}

int
syn_host_launch(struct syn_dev *dev, const struct syn_dev_launch *launch,
                const struct syn_dev_cmd *how, struct syn_err *err)
{
    const struct syn_native_entry *entry = find_entry(launch->program, launch->kernel);
    struct host_queue *queue = queue_of(how->queue);
    struct host_cmd *cmd = NULL;

    if (!entry)
        return SYN_FAIL(err, SYN_E_NOTFOUND, "%s: the program has no kernel %s", dev->info.id,
                        launch->kernel);
    cmd = syn_alloc(sizeof(*cmd) + values_bytes(launch));
    if (!cmd)
        return SYN_FAIL(err, SYN_E_NOMEM, "command");
    memset(cmd, 0, sizeof(*cmd));
    cmd->op = SYN_HOST_LAUNCH;
    cmd->entry = entry;
    cmd->work = launch->work;
    take_args(cmd, launch);
    take_waits(cmd, how);
    cmd->call = (struct syn_native_call){.args = cmd->args,
                                         .sizes = cmd->sizes,
                                         .args_count = launch->args_count,
                                         .user = entry->user};
    for (int i = 0; i < 3; i++)
        cmd->call.grid[i] = launch->groups[i] * launch->group[i];
    if (!queue->in_place)
        return push_take(queue, cmd, err);
    if (cmd->signal)
        syn_host_event_begin(&cmd->signal->base);
    run_cmd(queue, cmd);
    syn_free(cmd);
    return SYN_OK;
}

/* Buffers. */

static int
new_buf(void *data, struct syn_dev_buf **ret_buf, struct syn_err *err)
{
    struct host_buf *buf = syn_calloc(1, sizeof(*buf));

    if (!buf)
        return SYN_FAIL(err, SYN_E_NOMEM, "buffer");
    buf->data = data;
    buf->base.host = data;
    *ret_buf = &buf->base;
    return SYN_OK;
}

int
syn_host_alloc(struct syn_dev *dev, uint64_t bytes, struct syn_dev_buf **ret_buf,
               struct syn_err *err)
{
    void *data = NULL;
    int rc;

    if (dev->info.memory_bytes > 0 && bytes > dev->info.memory_bytes)
        return SYN_DRV_FULL;
    data = syn_host_block(bytes);
    if (!data)
        return SYN_FAIL(err, SYN_E_NOMEM, "%s: %llu bytes", dev->info.id,
                        (unsigned long long)bytes);
    rc = new_buf(data, ret_buf, err);
    if (rc < 0)
        syn_host_block_free(data);
    return rc;
}

int
syn_host_wrap(struct syn_dev *dev, void *host, uint64_t bytes, struct syn_dev_buf **ret_buf,
              struct syn_err *err)
{
    (void)dev;
    (void)bytes;
    return new_buf(host, ret_buf, err);
}

void
syn_host_free(struct syn_dev_buf *base)
{
    struct host_buf *buf = SYN_CONTAINER(base, struct host_buf, base);

    if (!base->wrapped)
        syn_host_block_free(buf->data);
    syn_free(buf);
}
