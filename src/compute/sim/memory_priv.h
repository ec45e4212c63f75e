/* Modelled memories and links: replicas come and go, links take turns, full memories evict. */
#ifndef SYNOR_COMPUTE_SIM_MEMORY_PRIV_H
#define SYNOR_COMPUTE_SIM_MEMORY_PRIV_H

#include <synor/strategy.h>

#include "heap_priv.h"

enum cell_state { CELL_NONE, CELL_HELD, CELL_COMING, CELL_VALID };

/* Why something is fetched; the lower goes first. */
enum sim_urgency { URGENCY_ROOM, URGENCY_NOW, URGENCY_AHEAD };

/* A tensor on a node. Those that occupy memory are in the node's list, least recently used first.
 */
struct sim_cell {
    uint64_t onward; /* nodes that wait for it to arrive here and go on to them */
    uint32_t prev, next;
    uint32_t transfer; /* while COMING; SYN_NO_INDEX otherwise */
    uint32_t wanted;   /* tasks placed here that will read it */
    uint32_t pins;     /* tasks and transfers that use it now */
    uint8_t state;     /* enum cell_state */
};

struct sim_transfer {
    uint32_t handle;
    uint32_t version;
    uint16_t from, to;
    uint8_t urgency; /* enum sim_urgency */
    bool active;
    bool used;        /* not on the free list */
    uint32_t entries; /* of the server's heap that name it */
};

/* A link, or several that share a bus. */
struct sim_server {
    struct heap waiting;
    uint32_t active; /* a transfer, or SYN_NO_INDEX */
};

struct sim_memory {
    const struct syn_platform *platform;
    struct syn_replicas *replicas; /* by handle */
    uint32_t *versions;
    uint32_t handle_count;
    struct sim_cell *cells; /* node-major; the last of each node is its list's head */
    uint64_t *used, *peak;  /* by node */
    uint32_t *route;        /* node x node: link, or SYN_NO_INDEX */
    uint32_t *server_of;    /* by link */
    struct sim_server *servers;
    uint32_t server_count;
    struct sim_transfer *transfers;
    size_t transfer_count, transfer_cap;
    uint32_t free_transfer; /* SYN_NO_INDEX: none; linked through `handle` */
    uint64_t seq;
    uint64_t moved_bytes;
    uint32_t moves, evictions;
    bool failed; /* out of memory (the host's): the run ends */
    /* A transfer began and ends at that time: the engine makes an event of it. */
    void (*started)(void *arg, uint32_t server, uint64_t end_ns);
    void *arg;
};

SYN_MUST int memory_init(struct sim_memory *memory, const struct syn_platform *platform,
                         uint32_t handle_count, struct syn_err *err);
void memory_fini(struct sim_memory *memory);

/** Put what `replicas` says is valid into the memories, once that is filled in. NOSPACE. */
SYN_MUST int memory_place(struct sim_memory *memory, struct syn_err *err);

/** A task placed on `node` will read `handle`: fetch it when there is nothing better to do. */
void memory_want(struct sim_memory *memory, uint32_t handle, uint32_t node);
void memory_unwant(struct sim_memory *memory, uint32_t handle, uint32_t node);
/** A task on `node` uses `handle` from now until release. */
void memory_pin(struct sim_memory *memory, uint32_t handle, uint32_t node);
/** Is it there? If not, see to it that it comes; ask again after the next event. */
bool memory_ready(struct sim_memory *memory, uint32_t handle, uint32_t node, uint32_t mode);
/** The task is done; what it wrote is valid on `node` only. */
void memory_release(struct sim_memory *memory, uint32_t handle, uint32_t node, uint32_t mode);
/** The transfer of this server arrived. */
void memory_arrived(struct sim_memory *memory, uint32_t server);
/** Start what can start. */
void memory_kick(struct sim_memory *memory, uint64_t now_ns);

#endif
