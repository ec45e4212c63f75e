/* Transfers. A channel is one device's queue in one direction, so that copies in, copies out and
 * kernels overlap. One thread, the mover, learns of what is done and does what follows: mark the
 * replica valid, let the source go, wake who waited, start the second hop.
 *
 *     begin                device             mover
 *     hold source, target
 *     copy, signal event -> copies ...
 *     (ask to be told)      event done  ----> ring: look at the event, finish
 *
 * A driver that calls back only rings a bell: in a callback no driver may be called, and it may
 * come while the manager's lock is held around a call that waits for it. Where there is no call
 * back the mover asks, at growing intervals, and sleeps when nothing is on its way. */
#include "memory_priv.h"

#include <string.h>
#include <time.h>

#include <synor/base/clock.h>
#include <synor/base/mem.h>

#define NAP_MIN_NS 10000
#define NAP_MAX_NS 500000
#define COPIES_MAX 1024 /* on one channel; the next waits as for room */

/* ---- routes ---- */

static struct syn_cost *
cost_of(struct syn_memory *memory, unsigned from, unsigned to)
{
    return &memory->costs[(size_t)from * memory->nodes_count + to];
}

void
syn_move_learn(struct syn_memory *memory, unsigned from, unsigned to)
{
    struct syn_cost *cost = cost_of(memory, from, to);
    const struct syn_node *a = &memory->nodes[from], *b = &memory->nodes[to];
    struct syn_link link = {.latency_ns = 10000, .mb_s = 10000};

    if (from == to || (!a->dev && from != SYN_NODE_HOST) || (!b->dev && to != SYN_NODE_HOST))
        return;
    cost->direct = !a->dev || !b->dev || syn_dev_can_peer(a->dev, b->dev);
    if (memory->registry)
        link = syn_registry_link(memory->registry, from, to);
    else if (a->dev && b->dev)
        link.mb_s = 20000; /* one copy between peers before two over the host */
    cost->latency_ns = link.latency_ns;
    cost->mb_s = SYN_MAX(link.mb_s, UINT64_C(1));
}

static uint64_t
hop_ns(struct syn_memory *memory, unsigned from, unsigned to, uint64_t bytes)
{
    const struct syn_cost *cost = cost_of(memory, from, to);

    return cost->latency_ns + (uint64_t)((syn_u128)bytes * 1000 / cost->mb_s);
}

bool
syn_move_route(const struct syn_tensor *tensor, unsigned to, unsigned *ret_from, unsigned *ret_hop)
{
    struct syn_memory *memory = tensor->memory;
    uint64_t bytes = tensor->replicas.bytes, best = UINT64_MAX;

    for (uint64_t live = syn_tensor_live(tensor); live != 0; live &= live - 1) {
        unsigned from = (unsigned)__builtin_ctzll(live), hop = to;
        uint64_t ns = UINT64_MAX;

        if (cost_of(memory, from, to)->direct)
            ns = hop_ns(memory, from, to, bytes);
        if (from != SYN_NODE_HOST && to != SYN_NODE_HOST) {
            uint64_t staged = hop_ns(memory, from, SYN_NODE_HOST, bytes) +
                              hop_ns(memory, SYN_NODE_HOST, to, bytes);

            hop = staged < ns ? SYN_NODE_HOST : to;
            ns = SYN_MIN(ns, staged);
        }
        if (ns < best) {
            best = ns;
            *ret_from = from;
            *ret_hop = hop;
        }
    }
    return best != UINT64_MAX;
}

/* ---- channels ---- */

/* Wait for all commands and forget the queue: the next copy makes a new one. Afterwards every event
 * of the channel says how its command went. */
void
syn_channel_reset(struct syn_channel *channel)
{
    channel->queue = syn_dev_queue_destroy(channel->queue);
}

void
syn_channel_fini(struct syn_channel *channel)
{
    assert(channel->busy == 0);
    channel->queue = syn_dev_queue_destroy(channel->queue);
    while (channel->idle) {
        struct syn_move *move = channel->idle;

        channel->idle = move->next;
        move->event = syn_dev_event_destroy(move->event);
        syn_free(move);
    }
}

static int
channel_move(struct syn_memory *memory, struct syn_channel *channel, struct syn_move **ret_move,
             struct syn_err *err)
{
    struct syn_move *move = channel->idle;
    int rc;

    if (!move) {
        move = syn_calloc(1, sizeof(*move));
        if (!move)
            return SYN_FAIL(err, SYN_E_NOMEM, "a transfer");
        rc = syn_dev_event_create(channel->dev, &move->event, err);
        if (rc < 0) {
            syn_free(move);
            return rc;
        }
        move->memory = memory;
        move->channel = channel;
        move->next = NULL;
        channel->idle = move;
    }
    channel->idle = move->next;
    *ret_move = move;
    return SYN_OK;
}

static void
channel_put(struct syn_move *move)
{
    move->next = move->channel->idle;
    move->channel->idle = move;
}

/* ---- giving copies ---- */

static struct syn_dev_place
place_of(const struct syn_tensor *tensor, const struct syn_block *block)
{
    struct syn_dev_place place = {.buf = block->buf};

    if (!block->buf)
        place.host = block->host;
    place.offset = block->owner == tensor ? 0 : syn_tensor_offset(tensor, block);
    return place;
}

/* From block to block; with one layout in both, and nobody else's bytes between, at once. */
static void
plan_box(const struct syn_tensor *tensor, const struct syn_block *dst, const struct syn_block *src,
         struct syn_box *ret_box)
{
    const struct syn_shape *to = syn_tensor_lies(tensor, dst), *from = syn_tensor_lies(tensor, src);

    if (tensor->kin)
        syn_box_plan(to, from, ret_box);
    else
        *ret_box = (struct syn_box){.row_bytes = syn_shape_span(to)};
}

/* One command, on a new queue if there is none. One that is full is waited for: that takes a box
 * cut in more than three directions. */
static int
give_one(struct syn_channel *channel, const struct syn_dev_copy *copy, struct syn_dev_event *signal,
         struct syn_err *err)
{
    struct syn_dev_cmd cmd = {.queue = channel->queue, .signal = signal};
    int rc = SYN_E_LIMIT;

    if (cmd.queue)
        rc = syn_dev_copy(channel->dev, copy, &cmd, err);
    if (rc != SYN_E_LIMIT)
        return rc;
    syn_channel_reset(channel);
    rc = syn_dev_queue_create(channel->dev, 0, &channel->queue, err);
    if (rc < 0)
        return rc;
    cmd.queue = channel->queue;
    return syn_dev_copy(channel->dev, copy, &cmd, err);
}

/* The commands of one box; the last one signals. On failure nothing of it runs any more. */
static int
give_box(struct syn_channel *channel, struct syn_dev_copy copy, const struct syn_box *box,
         struct syn_dev_event *signal, struct syn_err *err)
{
    uint64_t at[SYN_DIMS_MAX] = {0}, left = 1;
    bool first = true;
    int rc = SYN_OK;

    copy.row_bytes = box->row_bytes;
    copy.rows = box->dims > 0 ? box->counts[0] : 1;
    copy.slices = box->dims > 1 ? box->counts[1] : 1;
    copy.dst.row_pitch = box->dst_pitch[0];
    copy.src.row_pitch = box->src_pitch[0];
    copy.dst.slice_pitch = box->dst_pitch[1];
    copy.src.slice_pitch = box->src_pitch[1];
    for (unsigned d = 2; d < box->dims; d++)
        left *= box->counts[d];
    for (; left > 0 && rc == SYN_OK; left--, first = false) {
        rc = give_one(channel, &copy, left == 1 ? signal : NULL, err);
        for (unsigned d = 2; d < box->dims; d++) {
            copy.dst.offset += box->dst_pitch[d];
            copy.src.offset += box->src_pitch[d];
            if (++at[d] < box->counts[d])
                break;
            copy.dst.offset -= box->dst_pitch[d] * box->counts[d];
            copy.src.offset -= box->src_pitch[d] * box->counts[d];
            at[d] = 0;
        }
    }
    if (rc < 0 && !first)
        syn_channel_reset(channel);
    return rc;
}

static void
on_event(void *arg)
{
    struct syn_move *move = arg;
    struct syn_memory *memory = move->memory;

    SYN_PERTURB();
    (void)pthread_mutex_lock(&memory->bell);
    move->rung = memory->rung;
    memory->rung = move;
    (void)pthread_cond_signal(&memory->ring);
    (void)pthread_mutex_unlock(&memory->bell);
}

static void
ask_later(struct syn_move *move)
{
    struct syn_memory *memory = move->memory;

    move->rung = memory->asked;
    memory->asked = move;
}

static int
give(struct syn_move *move, struct syn_err *err)
{
    struct syn_memory *memory = move->memory;
    struct syn_tensor *tensor = move->tensor;
    struct syn_channel *channel = move->channel;
    const struct syn_block *src = tensor->slots[move->from].block;
    const struct syn_block *dst = tensor->slots[move->to].block;
    struct syn_dev_copy copy = {.dst = place_of(tensor, dst), .src = place_of(tensor, src)};
    struct syn_box box;
    int rc;

    plan_box(tensor, dst, src, &box);
    move->alone = channel->busy == 0 && box.dims <= 2;
    move->started_ns = syn_clock_ns();
    rc = give_box(channel, copy, &box, move->event, err);
    if (rc < 0)
        return rc;
    channel->busy++;
    /* Without a call back, or when that fails, the mover asks. */
    if (!(channel->dev->info.caps & SYN_CAP_NOTIFY) ||
        syn_dev_event_notify(move->event, on_event, move, NULL) < 0) {
        ask_later(move);
        syn_mover_kick(memory);
    }
    return SYN_OK;
}

/* ---- beginning ---- */

struct syn_move *
syn_move_find(const struct syn_tensor *tensor, unsigned node)
{
    struct syn_move *move = tensor->moves;

    while (move && move->to != node)
        move = move->next;
    return move;
}

/* Hold the source for reading, and let nobody begin to write without the lock. */
static bool
hold_source(struct syn_tensor *tensor, unsigned node)
{
    struct syn_slot *slot = &tensor->slots[node];
    uint64_t word = atomic_load(&slot->word);

    do {
        if (!(word & SYN_SLOT_VALID) || word & SYN_SLOT_WRITERS || tensor->writers > 0)
            return false;
        SYN_PERTURB();
    } while (
        !atomic_compare_exchange_weak(&slot->word, &word, (word & ~SYN_SLOT_SOLE) + SYN_SLOT_HOLD));
    return true;
}

static void
let_go(struct syn_tensor *tensor, unsigned node)
{
    uint64_t word = atomic_fetch_sub(&tensor->slots[node].word, SYN_SLOT_HOLD);

    assert((word & SYN_SLOT_HOLDS) > 0);
    (void)word;
}

/* A target that got nothing goes back, unless it has been there before. */
static void
undo_target(struct syn_tensor *tensor, unsigned node)
{
    struct syn_slot *slot = &tensor->slots[node];

    if (slot->block && !(atomic_load(&slot->word) & (SYN_SLOT_HOLDS | SYN_SLOT_VALID)) &&
        !slot->block->fixed && !syn_tensor_divided(tensor))
        syn_block_leave(tensor, node);
}

static int
begin_on(struct syn_move *move, struct syn_err *err)
{
    struct syn_tensor *tensor = move->tensor;
    struct syn_memory *memory = tensor->memory;
    int rc;

    if (!hold_source(tensor, move->from))
        return SYN_FAIL(err, SYN_E_CONFLICT, "tensor %llu is being written",
                        (unsigned long long)tensor->number);
    (void)atomic_fetch_add(&tensor->slots[move->to].word, SYN_SLOT_HOLD);
    rc = give(move, err);
    if (rc < 0) {
        let_go(tensor, move->from);
        let_go(tensor, move->to);
        syn_tensor_settle(tensor);
        return rc;
    }
    move->next = tensor->moves;
    tensor->moves = move;
    memory->nodes[move->from].busy++;
    memory->nodes[move->to].busy++;
    memory->nodes[move->from].leaving += move->leaving ? move->bytes : 0;
    memory->moves++;
    memory->stats.prefetches += move->ahead ? 1 : 0;
    return SYN_OK;
}

int
syn_move_begin(struct syn_tensor *tensor, unsigned from, unsigned to, enum syn_room room,
               const struct syn_claim *claim, struct syn_err *err)
{
    struct syn_memory *memory = tensor->memory;
    struct syn_channel *channel =
        to == SYN_NODE_HOST ? &memory->nodes[from].out : &memory->nodes[to].in;
    struct syn_move *move = NULL;
    int rc;

    assert(from != to && !syn_move_find(tensor, to));
    if (channel->busy >= COPIES_MAX)
        return SYN_MEMORY_ROOM;
    rc = syn_block_for(tensor, to, room, claim, err);
    if (rc != SYN_OK)
        return rc;
    rc = channel_move(memory, channel, &move, err);
    if (rc == SYN_OK) {
        assert(move);
        move->tensor = tensor;
        move->from = (uint8_t)from;
        move->to = (uint8_t)to;
        move->from_epoch = memory->nodes[from].epoch;
        move->to_epoch = memory->nodes[to].epoch;
        move->bytes = tensor->replicas.bytes;
        move->leaving = room == SYN_ROOM_HOME;
        move->ahead = room == SYN_ROOM_AHEAD;
        move->tries = 0;
        move->links = NULL;
        rc = begin_on(move, err);
        if (rc < 0)
            channel_put(move);
    }
    if (rc < 0)
        undo_target(tensor, to);
    return rc;
}

/* ---- within a node ---- */

/* One try on a device. Takes the lock for giving, not for waiting. */
static int
within_device(struct syn_tensor *tensor, struct syn_channel *channel, struct syn_block *dst,
              struct syn_block *src, struct syn_err *err)
{
    struct syn_memory *memory = tensor->memory;
    struct syn_dev_copy copy = {.dst = place_of(tensor, dst), .src = place_of(tensor, src)};
    struct syn_move *move = NULL;
    struct syn_box box;
    int rc;

    plan_box(tensor, dst, src, &box);
    (void)pthread_mutex_lock(&memory->lock);
    rc = channel_move(memory, channel, &move, err);
    if (rc == SYN_OK) {
        assert(move);
        rc = give_box(channel, copy, &box, move->event, err);
        channel->busy += rc == SYN_OK ? 1 : 0;
        if (rc < 0)
            channel_put(move);
    }
    (void)pthread_mutex_unlock(&memory->lock);
    if (rc < 0)
        return rc;
    assert(move);
    rc = syn_dev_event_wait(move->event, -1, err);
    (void)pthread_mutex_lock(&memory->lock);
    if (rc < 0) {
        syn_channel_reset(channel); /* see conclude() */
        rc = syn_dev_event_poll(move->event, err);
    }
    channel->busy--;
    channel_put(move);
    (void)pthread_mutex_unlock(&memory->lock);
    return rc;
}

int
syn_move_within(struct syn_tensor *tensor, unsigned node, struct syn_block *dst,
                struct syn_block *src, struct syn_err *err)
{
    struct syn_channel *channel = &tensor->memory->nodes[node].in;
    struct syn_box box;
    int rc = SYN_E_CANCELED;

    if (dst->host && src->host) {
        plan_box(tensor, dst, src, &box);
        syn_box_copy(&box, (char *)dst->host + syn_tensor_offset(tensor, dst),
                     (char *)src->host + syn_tensor_offset(tensor, src));
        return SYN_OK;
    }
    for (int tries = 0; tries < SYN_MOVE_TRIES_MAX && rc == SYN_E_CANCELED; tries++)
        rc = within_device(tensor, channel, dst, src, err);
    return rc;
}

/* ---- ending ---- */

static void
tell_registry(struct syn_move *move)
{
    struct syn_memory *memory = move->memory;
    struct syn_dev_span span = {0};
    int64_t ns = syn_clock_ns() - move->started_ns;

    if (!memory->registry || !move->alone)
        return;
    if (syn_dev_event_span(move->event, &span, NULL) == SYN_OK)
        ns = span.end_ns - span.start_ns;
    syn_registry_link_measured(memory->registry, move->from, move->to, move->bytes, ns);
    syn_move_learn(memory, move->from, move->to);
}

/* The source of what was written back goes, unless somebody wants it again, or it is the only one
 * that is good by now: who waited for room may have taken the copy at home. */
static void
leave_source(struct syn_tensor *tensor, unsigned node)
{
    struct syn_slot *slot = &tensor->slots[node];
    uint64_t word = atomic_load(&slot->word);

    if ((syn_tensor_live(tensor) & ~syn_node_bit(node)) == 0)
        return;
    do {
        if (word & SYN_SLOT_HOLDS || !(word & SYN_SLOT_VALID) || tensor->writers > 0)
            return;
        SYN_PERTURB();
    } while (!atomic_compare_exchange_weak(&slot->word, &word, 0));
    syn_tensor_drop(tensor, node);
    syn_tensor_settle(tensor);
    syn_move_note_eviction(tensor->memory, tensor->number, node, tensor->replicas.bytes);
}

void
syn_move_note_eviction(struct syn_memory *memory, uint64_t number, unsigned node, uint64_t bytes)
{
    uint64_t now;

    memory->stats.evictions++;
    if (!syn_trace_on(memory->trace))
        return;
    now = syn_trace_now();
    (void)syn_trace_put(memory->trace, &(struct syn_trace_event){.kind = SYN_TRACE_EVICTION,
                                                                 .begin_ns = now,
                                                                 .end_ns = now,
                                                                 .id = number,
                                                                 .bytes = bytes,
                                                                 .from = (uint16_t)node});
}

static void
note_transfer(const struct syn_move *move)
{
    struct syn_trace *trace = move->memory->trace;

    if (!syn_trace_on(trace))
        return;
    (void)syn_trace_put(trace, &(struct syn_trace_event){.kind = SYN_TRACE_TRANSFER,
                                                         .begin_ns = (uint64_t)move->started_ns,
                                                         .end_ns = syn_trace_now(),
                                                         .id = move->tensor->number,
                                                         .bytes = move->bytes,
                                                         .from = move->from,
                                                         .to = move->to});
}

static void
unlink_move(struct syn_move *move)
{
    struct syn_move **at = &move->tensor->moves;

    while (*at != move)
        at = &(*at)->next;
    *at = move->next;
}

/* Content arrived. */
static void
install(struct syn_move *move)
{
    struct syn_tensor *tensor = move->tensor;
    struct syn_memory *memory = move->memory;
    uint64_t flags = SYN_SLOT_VALID | SYN_SLOT_TOUCHED | (move->ahead ? SYN_SLOT_AHEAD : 0);

    for (const struct syn_join *link = move->links; link; link = link->next) {
        if (link->claim->request)
            flags &= ~SYN_SLOT_AHEAD; /* the use has come */
    }
    syn_tensor_set_valid(tensor, tensor->replicas.valid | syn_node_bit(move->to));
    (void)atomic_fetch_or(&tensor->slots[move->to].word, flags);
    memory->stats.copies++;
    memory->stats.copied_bytes += move->bytes;
    memory->stats.written_back_bytes += move->leaving ? move->bytes : 0;
    tell_registry(move);
    note_transfer(move);
}

static void
finish(struct syn_move *move, int code, const struct syn_err *why)
{
    struct syn_memory *memory = move->memory;
    struct syn_tensor *tensor = move->tensor;
    struct syn_node *from = &memory->nodes[move->from], *to = &memory->nodes[move->to];
    bool wanted = false;

    unlink_move(move);
    from->busy--;
    to->busy--;
    from->leaving -= move->leaving ? move->bytes : 0;
    memory->moves--;
    if (code == SYN_OK)
        install(move);
    let_go(tensor, move->from);
    let_go(tensor, move->to);
    undo_target(tensor, move->to);
    syn_tensor_settle(tensor);
    /* One at a time: what a claim does now may take its other links out. */
    while (move->links) {
        struct syn_join *link = move->links;

        move->links = link->next;
        link->move = NULL;
        wanted |= link->claim->node == move->from;
        syn_claim_told(link, code, why);
    }
    if (code == SYN_OK && move->leaving && !wanted)
        leave_source(tensor, move->from);
    channel_put(move);
    if (tensor->dying && !tensor->moves)
        syn_tensor_end(tensor);
    (void)pthread_cond_broadcast(&memory->settled);
}

/* The event is done, or could not be asked. Under the lock. */
static void
conclude(struct syn_move *move, int code, struct syn_err *why)
{
    struct syn_channel *channel = move->channel;

    if (code < 0) {
        /* Perhaps only the question failed; perhaps the copy is still running. With the queue gone
         * nothing runs, and asking again tells the truth. */
        syn_channel_reset(channel);
        code = syn_dev_event_poll(move->event, why);
        assert(code != SYN_DRV_PENDING);
    }
    channel->busy--;
    /* What was good when it was read may have been declared gone: it does not come back. */
    if (code == SYN_OK && (move->to_epoch != move->memory->nodes[move->to].epoch ||
                           move->from_epoch != move->memory->nodes[move->from].epoch))
        code = SYN_FAIL(why, SYN_E_UNAVAILABLE, "node %u or %u was lost during a copy", move->from,
                        move->to);
    /* Another's failure took this one along. */
    if (code == SYN_E_CANCELED && ++move->tries < SYN_MOVE_TRIES_MAX) {
        code = give(move, why);
        if (code == SYN_OK)
            return;
    }
    finish(move, code, why);
}

/* ---- the mover ---- */

void
syn_mover_kick(struct syn_memory *memory)
{
    (void)pthread_mutex_lock(&memory->bell);
    memory->kicked = true;
    (void)pthread_cond_signal(&memory->ring);
    (void)pthread_mutex_unlock(&memory->bell);
}

/* Ask the events of a list; put back what is pending. How many were done. */
static unsigned
ask(struct syn_memory *memory, struct syn_move *list)
{
    unsigned done = 0;

    while (list) {
        struct syn_move *move = list;
        struct syn_err why = {0};
        int code = syn_dev_event_poll(move->event, &why);

        list = move->rung;
        SYN_PERTURB();
        (void)pthread_mutex_lock(&memory->lock);
        if (code == SYN_DRV_PENDING) {
            ask_later(move);
        } else {
            conclude(move, code, &why);
            done++;
        }
        (void)pthread_mutex_unlock(&memory->lock);
    }
    return done;
}

/* Sleep until something happens, or it is time to ask again. */
static struct syn_move *
listen(struct syn_memory *memory, bool asking, int64_t nap_ns, bool *ret_closing)
{
    struct syn_move *rung = NULL;
    int64_t until = syn_clock_ns() + nap_ns;
    const struct timespec at = {until / 1000000000, until % 1000000000};
    int waited = 0;

    (void)pthread_mutex_lock(&memory->bell);
    while (!memory->rung && !memory->kicked && !memory->closing && waited == 0) {
        if (asking)
            waited = pthread_cond_timedwait(&memory->ring, &memory->bell, &at);
        else
            (void)pthread_cond_wait(&memory->ring, &memory->bell);
    }
    rung = SYN_TAKE(memory->rung);
    memory->kicked = false;
    *ret_closing = memory->closing;
    (void)pthread_mutex_unlock(&memory->bell);
    return rung;
}

void *
syn_mover_run(void *arg)
{
    struct syn_memory *memory = arg;
    int64_t nap_ns = NAP_MIN_NS;
    bool closing = false, asking = false;

    for (;;) {
        struct syn_move *asked = NULL, *rung = listen(memory, asking, nap_ns, &closing);
        unsigned done = ask(memory, rung);

        (void)pthread_mutex_lock(&memory->lock);
        asked = SYN_TAKE(memory->asked);
        (void)pthread_mutex_unlock(&memory->lock);
        done += ask(memory, asked);
        nap_ns = done > 0 || !asking ? NAP_MIN_NS : SYN_MIN(nap_ns * 2, (int64_t)NAP_MAX_NS);
        (void)pthread_mutex_lock(&memory->lock);
        syn_claim_retry(memory);
        (void)pthread_cond_broadcast(&memory->settled); /* a gathering may wait for room */
        asking = memory->asked != NULL;
        closing = closing && memory->moves == 0;
        (void)pthread_mutex_unlock(&memory->lock);
        syn_claim_deliver(memory);
        if (closing)
            return NULL;
    }
}
