/* Modelled memories and links.
 *
 * A link is a server that moves one tensor at a time; what a waiting task needs goes before what
 * was only asked for ahead of time. Between nodes without a link data go over node 0. A full node
 * lets go of copies that exist elsewhere, least recently used first, and writes back what exists
 * nowhere else; what is fetched ahead of time never pushes out what a placed task will read. */
#include <string.h>

#include "memory_priv.h"

#define HOME 0U

static struct sim_cell *
cell_of(const struct sim_memory *memory, uint32_t handle, uint32_t node)
{
    return &memory->cells[(size_t)node * (memory->handle_count + 1) + handle];
}

static void
list_take(struct sim_memory *memory, uint32_t handle, uint32_t node)
{
    struct sim_cell *cell = cell_of(memory, handle, node);

    cell_of(memory, cell->prev, node)->next = cell->next;
    cell_of(memory, cell->next, node)->prev = cell->prev;
}

static void
list_append(struct sim_memory *memory, uint32_t handle, uint32_t node)
{
    struct sim_cell *head = cell_of(memory, memory->handle_count, node);
    struct sim_cell *cell = cell_of(memory, handle, node);

    cell->prev = head->prev;
    cell->next = memory->handle_count;
    cell_of(memory, head->prev, node)->next = handle;
    head->prev = handle;
}

static uint64_t
bit(uint32_t node)
{
    return UINT64_C(1) << node;
}

/* One server a bus, one a link that is on none. */
static bool
servers_init(struct sim_memory *memory)
{
    const struct syn_platform *platform = memory->platform;
    uint32_t nodes = platform->node_count;

    memory->route = syn_calloc((size_t)nodes * nodes, sizeof(uint32_t));
    memory->server_of = syn_calloc(platform->link_count + 1, sizeof(uint32_t));
    memory->servers = syn_calloc(platform->link_count + 1, sizeof(memory->servers[0]));
    if (memory->route == NULL || memory->server_of == NULL || memory->servers == NULL)
        return false;
    memset(memory->route, 0xff, (size_t)nodes * nodes * sizeof(uint32_t));
    for (uint32_t i = 0; i < platform->link_count; i++) {
        const struct syn_link_desc *link = &platform->links[i];
        uint32_t server = memory->server_count;

        for (uint32_t j = 0; j < i && link->bus != 0; j++)
            if (platform->links[j].bus == link->bus)
                server = memory->server_of[j];
        memory->server_of[i] = server;
        memory->route[link->from * nodes + link->to] = i;
        if (server == memory->server_count)
            memory->servers[memory->server_count++].active = SYN_NO_INDEX;
    }
    return true;
}

int
memory_init(struct sim_memory *memory, const struct syn_platform *platform, uint32_t handle_count,
            struct syn_err *err)
{
    size_t per_node = (size_t)handle_count + 1;

    *memory = (struct sim_memory){
        .platform = platform, .handle_count = handle_count, .free_transfer = SYN_NO_INDEX};
    memory->replicas = syn_calloc(per_node, sizeof(memory->replicas[0]));
    memory->versions = syn_calloc(per_node, sizeof(uint32_t));
    memory->cells = syn_calloc(per_node * platform->node_count, sizeof(memory->cells[0]));
    memory->used = syn_calloc(platform->node_count, sizeof(uint64_t));
    memory->peak = syn_calloc(platform->node_count, sizeof(uint64_t));
    if (memory->replicas == NULL || memory->versions == NULL || memory->cells == NULL ||
        memory->used == NULL || memory->peak == NULL || !servers_init(memory)) {
        memory_fini(memory);
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for %u tensors on %u nodes", handle_count,
                        platform->node_count);
    }
    for (uint32_t n = 0; n < platform->node_count; n++) {
        struct sim_cell *head = cell_of(memory, handle_count, n);

        head->prev = head->next = handle_count;
        for (uint32_t handle = 0; handle < handle_count; handle++)
            cell_of(memory, handle, n)->transfer = SYN_NO_INDEX;
    }
    return SYN_OK;
}

void
memory_fini(struct sim_memory *memory)
{
    for (uint32_t i = 0; i < memory->server_count; i++)
        syn_free(memory->servers[i].waiting.items);
    syn_free(memory->replicas);
    syn_free(memory->versions);
    syn_free(memory->cells);
    syn_free(memory->used);
    syn_free(memory->peak);
    syn_free(memory->route);
    syn_free(memory->server_of);
    syn_free(memory->servers);
    syn_free(memory->transfers);
    *memory = (struct sim_memory){0};
}

static uint32_t
transfer_new(struct sim_memory *memory)
{
    uint32_t id = memory->free_transfer;

    if (id != SYN_NO_INDEX) {
        memory->free_transfer = memory->transfers[id].handle;
        return id;
    }
    if (!syn_grow(&memory->transfers, &memory->transfer_cap, memory->transfer_count + 1,
                  sizeof(memory->transfers[0]))) {
        memory->failed = true;
        return SYN_NO_INDEX;
    }
    return (uint32_t)memory->transfer_count++;
}

static void
transfer_drop(struct sim_memory *memory, uint32_t id)
{
    memory->transfers[id].used = false;
    memory->transfers[id].handle = memory->free_transfer;
    memory->free_transfer = id;
}

static void
transfer_queue(struct sim_memory *memory, uint32_t id)
{
    struct sim_transfer *transfer = &memory->transfers[id];
    uint32_t nodes = memory->platform->node_count;
    uint32_t link = memory->route[transfer->from * nodes + transfer->to];
    struct sim_server *server = &memory->servers[memory->server_of[link]];

    transfer->entries++;
    if (!heap_push(&server->waiting, (struct heap_item){transfer->urgency, memory->seq++, 0, id}))
        memory->failed = true;
}

static uint64_t
link_ns(const struct syn_link_desc *link, uint64_t bytes)
{
    return link->latency_ns +
           (uint64_t)((syn_u128)bytes * 1000000000U / SYN_MAX(link->bytes_per_s, 1));
}

/* The node with a valid copy and a link from which it is here soonest; SYN_NO_INDEX: none. */
static uint32_t
source_of(const struct sim_memory *memory, uint32_t handle, uint32_t node)
{
    uint32_t nodes = memory->platform->node_count;
    uint32_t best = SYN_NO_INDEX;
    uint64_t least = UINT64_MAX;

    for (uint64_t mask = memory->replicas[handle].valid; mask != 0; mask &= mask - 1) {
        uint32_t from = (uint32_t)__builtin_ctzll(mask);
        uint32_t link = memory->route[from * nodes + node];
        uint64_t ns;

        if (link == SYN_NO_INDEX)
            continue;
        ns = link_ns(&memory->platform->links[link], memory->replicas[handle].bytes);
        if (ns < least) {
            least = ns;
            best = from;
        }
    }
    return best;
}

static void
cell_drop(struct sim_memory *memory, uint32_t handle, uint32_t node)
{
    struct sim_cell *cell = cell_of(memory, handle, node);

    list_take(memory, handle, node);
    memory->used[node] -= memory->replicas[handle].bytes;
    memory->replicas[handle].valid &= ~bit(node);
    cell->state = CELL_NONE;
}

/* Have a valid tensor come to `node`. */
static void
request(struct sim_memory *memory, uint32_t handle, uint32_t node, enum sim_urgency urgency)
{
    struct sim_cell *cell = cell_of(memory, handle, node);
    uint32_t from, id;

    if (cell->state == CELL_VALID || memory->failed)
        return;
    if (cell->transfer != SYN_NO_INDEX && cell->state == CELL_COMING) {
        struct sim_transfer *transfer = &memory->transfers[cell->transfer];

        if (urgency < transfer->urgency) {
            transfer->urgency = (uint8_t)urgency;
            if (!transfer->active)
                transfer_queue(memory, cell->transfer);
        }
        return;
    }
    from = source_of(memory, handle, node);
    if (from == SYN_NO_INDEX) {
        assert(node != HOME);
        cell_of(memory, handle, HOME)->onward |= bit(node);
        request(memory, handle, HOME, urgency);
        return;
    }
    id = transfer_new(memory);
    if (id == SYN_NO_INDEX)
        return;
    memory->transfers[id] = (struct sim_transfer){.handle = handle,
                                                  .version = memory->versions[handle],
                                                  .from = (uint16_t)from,
                                                  .to = (uint16_t)node,
                                                  .urgency = (uint8_t)urgency,
                                                  .used = true};
    cell->transfer = id;
    /* COMING takes memory only once the transfer starts. */
    if (cell->state == CELL_HELD)
        cell_drop(memory, handle, node);
    cell->state = CELL_COMING;
    transfer_queue(memory, id);
}

/* Make room by letting go of copies; with `demand` also of what placed tasks will read, and write
 * back what exists nowhere else: no more than makes room enough, for the link has other work. */
static bool
room(struct sim_memory *memory, uint32_t node, uint64_t bytes, bool demand)
{
    uint64_t limit = memory->platform->node_bytes == NULL ? 0 : memory->platform->node_bytes[node];
    uint64_t *used = &memory->used[node], leaving = 0;

    if (limit == 0 || *used + bytes <= limit)
        return true;
    for (int wanted = 0; wanted <= (demand ? 1 : 0); wanted++) {
        uint32_t at = cell_of(memory, memory->handle_count, node)->next;

        while (at != memory->handle_count && *used + bytes > limit + leaving) {
            struct sim_cell *cell = cell_of(memory, at, node);
            uint32_t handle = at;

            at = cell->next;
            if ((cell->state != CELL_VALID && cell->state != CELL_HELD) || cell->pins > 0 ||
                (cell->wanted > 0) != wanted)
                continue;
            if (cell->state == CELL_HELD || (memory->replicas[handle].valid & ~bit(node)) != 0) {
                cell_drop(memory, handle, node);
                memory->evictions++;
            } else if (demand && node != HOME) {
                request(memory, handle, HOME, URGENCY_ROOM);
                leaving += memory->replicas[handle].bytes;
            }
        }
    }
    return *used + bytes <= limit;
}

static void
occupy(struct sim_memory *memory, uint32_t handle, uint32_t node, enum cell_state state)
{
    cell_of(memory, handle, node)->state = (uint8_t)state;
    memory->used[node] += memory->replicas[handle].bytes;
    memory->peak[node] = SYN_MAX(memory->peak[node], memory->used[node]);
    list_append(memory, handle, node);
}

int
memory_place(struct sim_memory *memory, struct syn_err *err)
{
    uint32_t nodes = memory->platform->node_count;

    for (uint32_t handle = 0; handle < memory->handle_count; handle++)
        for (uint64_t mask = memory->replicas[handle].valid; mask != 0; mask &= mask - 1) {
            uint32_t node = (uint32_t)__builtin_ctzll(mask);

            if (node >= nodes || !room(memory, node, memory->replicas[handle].bytes, false))
                return SYN_FAIL(err, SYN_E_NOSPACE, "node %u cannot hold tensor %u", node, handle);
            occupy(memory, handle, node, CELL_VALID);
        }
    return SYN_OK;
}

void
memory_want(struct sim_memory *memory, uint32_t handle, uint32_t node)
{
    cell_of(memory, handle, node)->wanted++;
    if (memory->replicas[handle].valid != 0)
        request(memory, handle, node, URGENCY_AHEAD);
}

void
memory_unwant(struct sim_memory *memory, uint32_t handle, uint32_t node)
{
    assert(cell_of(memory, handle, node)->wanted > 0);
    cell_of(memory, handle, node)->wanted--;
}

void
memory_pin(struct sim_memory *memory, uint32_t handle, uint32_t node)
{
    cell_of(memory, handle, node)->pins++;
}

bool
memory_ready(struct sim_memory *memory, uint32_t handle, uint32_t node, uint32_t mode)
{
    struct sim_cell *cell = cell_of(memory, handle, node);

    if (cell->state == CELL_VALID)
        return true;
    if ((mode & SYN_READ) != 0 && memory->replicas[handle].valid != 0) {
        request(memory, handle, node, URGENCY_NOW);
        return false;
    }
    if (cell->state == CELL_COMING)
        return false; /* fetched in vain, for it is about to be overwritten */
    if (cell->state == CELL_HELD)
        return true;
    if (!room(memory, node, memory->replicas[handle].bytes, true))
        return false;
    occupy(memory, handle, node, CELL_HELD);
    return true;
}

void
memory_release(struct sim_memory *memory, uint32_t handle, uint32_t node, uint32_t mode)
{
    struct sim_cell *cell = cell_of(memory, handle, node);

    assert(cell->pins > 0 && (cell->state == CELL_VALID || cell->state == CELL_HELD));
    cell->pins--;
    list_take(memory, handle, node);
    list_append(memory, handle, node);
    if ((mode & SYN_WRITE) == 0)
        return;
    memory->versions[handle]++;
    for (uint64_t mask = memory->replicas[handle].valid & ~bit(node); mask != 0; mask &= mask - 1)
        cell_drop(memory, handle, (uint32_t)__builtin_ctzll(mask));
    cell->state = CELL_VALID;
    memory->replicas[handle].valid = bit(node);
}

/* It came: valid if nobody has written meanwhile. */
void
memory_arrived(struct sim_memory *memory, uint32_t server)
{
    uint32_t id = memory->servers[server].active;
    struct sim_transfer transfer = memory->transfers[id];
    struct sim_cell *cell = cell_of(memory, transfer.handle, transfer.to);
    uint64_t onward = cell->onward;

    memory->servers[server].active = SYN_NO_INDEX;
    cell_of(memory, transfer.handle, transfer.from)->pins--;
    cell->transfer = SYN_NO_INDEX;
    if (transfer.entries == 0)
        transfer_drop(memory, id);
    else
        memory->transfers[id].used = false; /* the last stale entry frees it */
    memory->moved_bytes += memory->replicas[transfer.handle].bytes;
    memory->moves++;
    if (transfer.version != memory->versions[transfer.handle]) {
        list_take(memory, transfer.handle, transfer.to);
        memory->used[transfer.to] -= memory->replicas[transfer.handle].bytes;
        cell->state = CELL_NONE;
        return;
    }
    cell->state = CELL_VALID;
    memory->replicas[transfer.handle].valid |= bit(transfer.to);
    cell->onward = 0;
    for (; onward != 0; onward &= onward - 1) {
        uint32_t next = (uint32_t)__builtin_ctzll(onward);
        struct sim_cell *target = cell_of(memory, transfer.handle, next);

        if (target->pins > 0 || target->wanted > 0)
            request(memory, transfer.handle, next, target->pins > 0 ? URGENCY_NOW : URGENCY_AHEAD);
    }
}

/* Can this queued transfer start now? If it has become pointless it is forgotten. */
static bool
start(struct sim_memory *memory, uint32_t server, uint32_t id, uint64_t now_ns)
{
    struct sim_transfer *transfer = &memory->transfers[id];
    struct sim_cell *cell = cell_of(memory, transfer->handle, transfer->to);
    uint32_t nodes = memory->platform->node_count;
    uint64_t bytes = memory->replicas[transfer->handle].bytes;
    bool stale = transfer->version != memory->versions[transfer->handle] ||
                 (memory->replicas[transfer->handle].valid & bit(transfer->from)) == 0;
    bool needed = transfer->urgency != URGENCY_AHEAD;
    bool asked = cell->pins > 0 || cell->wanted > 0 || needed || cell->onward != 0;

    bool fits = !stale && asked && room(memory, transfer->to, bytes, needed);

    transfer = &memory->transfers[id]; /* making room may have moved the table */
    if (!fits) {
        /* What is needed waits for room; its task asks again for what went stale. */
        if (!stale && needed)
            return false;
        cell->state = CELL_NONE;
        cell->transfer = SYN_NO_INDEX;
        transfer->used = false;
        memory->seq++; /* something changed: who still needs it must ask again */
        return false;
    }
    transfer->active = true;
    memory->servers[server].active = id;
    cell_of(memory, transfer->handle, transfer->from)->pins++;
    occupy(memory, transfer->handle, transfer->to, CELL_COMING);
    memory->started(
        memory->arg, server,
        now_ns +
            link_ns(&memory->platform->links[memory->route[transfer->from * nodes + transfer->to]],
                    bytes));
    return true;
}

/* Start what heads this server's queue until it is busy or has no room. */
static void
kick(struct sim_memory *memory, uint32_t index, uint64_t now_ns)
{
    struct sim_server *server = &memory->servers[index];

    while (server->active == SYN_NO_INDEX && server->waiting.count > 0) {
        /* Taken out first: making room for it may queue something more urgent here. */
        struct heap_item head = heap_pop(&server->waiting);
        struct sim_transfer *transfer = &memory->transfers[head.id];
        bool waits = transfer->used && !transfer->active &&
                     !start(memory, index, head.id, now_ns) && memory->transfers[head.id].used;

        transfer = &memory->transfers[head.id];
        if (waits) {
            if (!heap_push(&server->waiting, head))
                memory->failed = true;
            if (memory->failed || server->waiting.items[0].seq == head.seq)
                break; /* no room yet, and nothing that makes some goes before it */
            continue;
        }
        if (--transfer->entries == 0 && !transfer->used)
            transfer_drop(memory, head.id);
    }
}

void
memory_kick(struct sim_memory *memory, uint64_t now_ns)
{
    uint64_t seq;

    do { /* making room for one may have queued another at a server that we have passed */
        seq = memory->seq;
        for (uint32_t i = 0; i < memory->server_count; i++)
            kick(memory, i, now_ns);
    } while (memory->seq != seq && !memory->failed);
}
