/* The inside of the fleet, shared by its files:
 *
 *     fleet.c        life, words, models, nodes and their events
 *     fleet_table.c  numbers to numbers, and the storage that grows
 *     fleet_card.c   one card: shares, partitions, what is left of it
 *     fleet_index.c  buckets of equal nodes, and the best of them by shape
 *     fleet_score.c  policies
 *     fleet_mix.c    what is expected to come, as tables that a score looks up
 *     fleet_seek.c   one node for one member
 *     fleet_run.c    instances, gangs, requests
 *     fleet_line.c   lines of those that wait and ask alike
 *     fleet_queue.c  order, fair share, quota, effects
 *     fleet_evict.c  preemption, drained and lost nodes
 *     fleet_hold.c   nodes kept for a gang
 *     fleet_why.c    explanations
 *     fleet_adopt.c  what runs already, and questions
 */
#ifndef SYN_ORCHESTRATION_FLEET_PRIV_H
#define SYN_ORCHESTRATION_FLEET_PRIV_H

#include "card_priv.h"

#include <synor/base/map.h>

#define NONE       UINT32_MAX
#define CARDS      SYN_FLEET_CARDS_MAX
#define DIMS       SYN_FLEET_DIMS
#define LEVELS     256 /* of free CPU, sixteen to an octave */
#define HOLES      101 /* of free time of a card, in hundredths */
#define MANY       9   /* whole cards free: 0 to 8 and more */
#define HEAP_KEEP  256
#define HEAP_CAP   512
#define LOG_CAP    65536 /* a power of two */
#define CACHES_MAX 1024
#define PRICES     2 /* the node's own, and those of spot */

#define WHOLE     SYN_FLEET_WHOLE
#define MIX_ONE   65536 /* a probability of one */
#define RATIO_ONE (INT64_C(1) << 20)

/* A grown array: `items` of `count`, room for `cap`. */
#define LIST(type)    \
    struct {          \
        type *items;  \
        size_t cap;   \
        size_t count; \
    }

/* Open addressing from a 64-bit key to a 32-bit value. */
struct table {
    uint64_t *keys; /* UINT64_MAX: empty */
    uint32_t *values;
    size_t cap; /* a power of two, or 0 */
    size_t count;
};

struct model {
    char name[SYN_FLEET_NAME_MAX];
    struct syn_fleet_model facts; /* its name points to the one above */
    struct mix *mix;              /* NULL until a score needs it */
};

/* What nodes have in common that never changes while they are used: its bytes are its identity. */
struct class_key {
    int64_t capacity[DIMS];
    struct syn_fleet_price price[PRICES];
    uint64_t labels;
    uint32_t region;
    uint32_t isolation;
    uint32_t idle_mw;
    uint32_t cards;
    uint32_t held; /* 1: kept for a gang */
    uint32_t spare;
    uint8_t models[CARDS]; /* sorted */
};

struct class
{
    struct class_key key;
    uint32_t next; /* of the same hash */
};

struct bucket_key {
    uint32_t class;
    uint16_t level; /* of free CPU */
    uint16_t idle;  /* 1: nothing runs there */
    card_t cards[CARDS];
};

/* Nodes that no policy tells apart. What refuses an ask stands first. */
struct bucket {
    int64_t max[DIMS]; /* bounds of what is free in its nodes; exact after a look through it */
    uint32_t count;
    uint16_t most;  /* time of the emptiest card */
    uint16_t whole; /* unused cards */
    struct bucket_key key;
    int64_t min[DIMS];
    int64_t worth; /* see worth_of(); valid in epoch worth_epoch */
    uint64_t worth_epoch;
    uint64_t hash;
    uint64_t told; /* the log's number of the latest event of it */
    uint32_t head; /* node, or NONE */
    uint32_t live; /* place in fleet.live, or NONE */
    bool mixed;    /* its bounds admitted an ask that none of its nodes did */
};

struct node {
    char name[SYN_FLEET_NAME_MAX];
    int64_t free[DIMS];
    int64_t capacity[DIMS];
    card_t cards[CARDS];
    uint8_t models[CARDS];
    uint8_t order[CARDS]; /* of the bucket's cards, which these are */
    uint32_t cards_count;
    uint32_t bucket; /* NONE: not in the index */
    uint32_t prev;
    uint32_t next;
    uint32_t first; /* instance */
    uint32_t running;
    uint32_t class_open; /* when it is not held */
    uint32_t class_held;
    uint32_t domains[SYN_FLEET_SCOPES]; /* word, or its own number */
    bool held;                          /* kept for a gang */
    bool here;
    bool drained;
    bool closed; /* takes nothing new */
};

/* May anything new go there? */
static inline bool
node_open(const struct node *node)
{
    return node->here && !node->drained && !node->closed;
}

/* How good a choice is: the first counts, the second decides between equals. More is better. */
struct rank {
    int64_t first;
    int64_t second;
};

struct entry {
    struct rank rank;
    uint32_t tie;
    uint32_t bucket;
};

/* What one shape knows of the index. */
struct cache {
    struct entry heap[HEAP_CAP]; /* best first */
    uint32_t count;
    uint32_t shape;     /* NONE: free */
    uint32_t slot;      /* its own place in fleet.caches */
    struct entry floor; /* the best that was let go; meaningless unless dropped */
    bool dropped;
    uint64_t epoch;
    uint64_t seen;  /* the log up to here */
    uint64_t full;  /* fleet.gain when nothing fitted, + 1 */
    uint32_t *fits; /* by class: FIT_KNOWN, FIT_OK, bits of cards that will do */
    size_t fits_cap;
    size_t fits_count;
    uint64_t used; /* the fleet's decision at which it was last asked */
};

#define FIT_KNOWN (UINT32_C(1) << 31)
#define FIT_OK    (UINT32_C(1) << 30)

struct shape {
    struct syn_fleet_ask ask;
    uint64_t hash;
    uint64_t weight; /* how often it was asked for, or is said to be */
    uint32_t next;   /* of the same hash, or next free */
    uint32_t refs;
    uint32_t cache; /* NONE: none */
    bool used;
    bool tied; /* to what runs where: the index alone cannot decide */
};

struct instance {
    uint32_t request;
    uint32_t member;
    uint32_t node; /* NONE: not placed */
    uint32_t cards;
    uint32_t part; /* first memory slice */
    uint32_t prev; /* on the node */
    uint32_t next;
    uint32_t sibling; /* of the request, or next free */
    uint16_t vram;    /* thousandths of each card's */
    uint16_t mode;    /* of the card that it shares */
};

enum state { STATE_FREE, STATE_QUEUED, STATE_RUNNING, STATE_TRYING };

struct request {
    uint64_t key;
    uint64_t sequence;
    int64_t runs_ms;
    int64_t started_ms;
    uint32_t account;
    int32_t priority;
    uint32_t members;
    uint32_t placed;
    uint32_t shape;
    uint32_t first; /* instance */
    uint32_t next;  /* free ones */
    enum state state;
    enum syn_fleet_cause cause;
    enum syn_fleet_cause told; /* the cause that PENDING was said for */
    uint64_t full;             /* fleet.gain when it did not fit, + 1 */
    uint64_t vain;             /* fleet.grown when all nodes were too few for the gang, + 1 */
    uint32_t line;             /* that it waits in, or NONE */
    uint32_t before;           /* in the line */
    uint32_t after;
};

/* Those that wait and ask alike, the oldest first (fleet_line.c). */
struct line {
    uint32_t shape;
    uint32_t account;
    uint32_t members;
    int32_t priority;
    uint32_t first; /* request */
    uint32_t last;
    uint32_t count;
    uint32_t over_quota; /* of them, the last time that was looked at */
    uint32_t place;      /* in fleet.standing */
    uint32_t next;       /* of the same hash; the next free one */
};

/* How much is asked for, and how much there is; -1: no number says it. */
struct measure {
    int64_t need;
    int64_t have;
};

struct account {
    int64_t held[DIMS];
    int64_t limits[DIMS];
    int64_t milli_held; /* of cards */
    int64_t cards_max;
    uint32_t weight;
    int64_t share;  /* of the fleet, by weight, */
    uint64_t sized; /* when fleet.sized was this, less 1; 0: it holds something else now */
};

/* Tables for one model, from the mix: costs in thousandths of a card times MIX_ONE. */
struct mix {
    int32_t hole[LEVELS][HOLES]; /* what is lost of a card with so much left */
    int32_t none[LEVELS];        /* share of the mix that cannot use the node at all */
    int32_t many[LEVELS][MANY];  /* that needs more whole cards than are free */
};

struct syn_fleet {
    struct syn_fleet_options options;
    int64_t now_ms;
    uint64_t epoch; /* changes when scores do */
    uint64_t gain;  /* changes when room may have grown */
    uint64_t grown; /* changes when the fleet, were it empty, may have room for more */
    uint64_t moves; /* changes when one of a group is somewhere else: requests tied to it may fit */
    uint64_t decisions;
    uint64_t sequence;
    uint64_t sized;        /* changes when the fleet's capacity does */
    uint64_t settled_gain; /* gain and moves when all that waits was last looked at */
    uint64_t settled_moves;

    struct syn_map *words; /* text -> number */
    LIST(char *) texts;
    struct syn_map *label_names;
    uint32_t labels;
    struct model models[SYN_FLEET_MODELS_MAX];
    uint32_t models_count;
    struct table rtts; /* (region, region) -> us */

    struct syn_map *node_names;
    LIST(struct node) nodes;
    int64_t capacity[DIMS]; /* of what is here */
    int64_t cards_total;
    int64_t milli_used;
    struct syn_fleet_price dearest[PRICES]; /* of each price what was seen; cards[0] of any card */
    int64_t power_max_mw;

    LIST(struct class) classes;
    struct table class_hashes;
    LIST(struct bucket) buckets;
    uint32_t *slots; /* hash -> bucket; NONE: empty */
    size_t slots_cap;
    LIST(uint32_t) live;
    uint32_t log[LOG_CAP];
    uint64_t logged;

    LIST(struct shape) shapes;
    uint32_t shape_free;
    uint32_t shapes_used;
    struct table shape_hashes;
    struct cache *caches[CACHES_MAX];
    uint32_t caches_count;

    bool mix_given;
    bool settled;       /* all that waits was looked at, and nothing went wrong */
    uint64_t mix_due;   /* weight at which the mix is looked at again */
    uint64_t mix_total; /* weight of all shapes */
    int64_t mix_ratio; /* thousandths of cards that the mix asks for a millicore, times RATIO_ONE */
    int32_t waste[HOLES]; /* of a hole, in the end: thousandths */

    LIST(struct instance) instances;
    uint32_t instance_free;
    LIST(struct request) requests;
    uint32_t request_free;
    struct table keys;
    struct table groups; /* (group, scope, domain) -> count */
    LIST(struct account) accounts;
    LIST(struct line) lines;
    struct table line_hashes;
    LIST(uint32_t) standing; /* the lines that somebody stands in */
    uint32_t line_free;
    uint32_t waiting; /* requests in them */
    uint32_t running;
    uint32_t holder;       /* the request that nodes are kept for, or NONE */
    int64_t hold_start_ms; /* when it may start; -1: not known */
    LIST(uint32_t) held;   /* the nodes */
    uint32_t drains;       /* nodes that are drained and run something */
    int32_t lowest;        /* no running request is of lower priority */
    uint32_t lowest_count; /* how many running requests are of just that */
    LIST(struct syn_fleet_effect) effects;
    size_t effects_taken;
};

/* fleet_table.c */
uint32_t table_get(const struct table *table, uint64_t key); /* NONE: not there */
SYN_MUST int table_put(struct table *table, uint64_t key, uint32_t value, struct syn_err *err);
/* Room for `more` keys, so that as many puts cannot fail. */
SYN_MUST int table_reserve(struct table *table, size_t more, struct syn_err *err);
void table_remove(struct table *table, uint64_t key);
/* Forget all keys, keep the room. */
void table_clear(struct table *table);
void table_fini(struct table *table);
uint64_t hash_bytes(const void *data, size_t len, uint64_t seed);
uint64_t hash_mix(uint64_t value);

/* fleet_index.c */
SYN_MUST int index_class(struct syn_fleet *fleet, const struct class_key *key, uint32_t *ret,
                         struct syn_err *err);
/* Room for so many nodes: linking them cannot fail then. */
SYN_MUST int index_reserve(struct syn_fleet *fleet, size_t nodes, struct syn_err *err);
/* Put a node where its state belongs; take it out before its state changes. */
void index_link(struct syn_fleet *fleet, uint32_t node);
void index_unlink(struct syn_fleet *fleet, uint32_t node);
/* The best bucket's best node for a shape; NONE: nowhere. */
SYN_MUST int index_best(struct syn_fleet *fleet, uint32_t shape, uint32_t *ret_node,
                        struct syn_err *err);
/* What of the class will do for the shape: FIT_OK and bits of cards; 0: nothing. */
uint32_t index_fit(struct syn_fleet *fleet, struct cache *cache, uint32_t class);
SYN_MUST int index_cache(struct syn_fleet *fleet, uint32_t shape, struct cache **ret,
                         struct syn_err *err);
void index_fini(struct syn_fleet *fleet);
void index_drop_cache(struct syn_fleet *fleet, uint32_t shape);
uint32_t level_of(int64_t cpu);
int64_t level_floor(uint32_t level);

/* fleet_score.c */
struct pick {
    card_t cards[CARDS]; /* as they would be */
    uint32_t taken;      /* bits, in the bucket's order */
    uint32_t part;
};
/* How good the bucket is for the ask; false when its cards do not do. */
bool score(struct syn_fleet *fleet, const struct syn_fleet_ask *ask, struct bucket *bucket,
           uint32_t fit, struct rank *ret_rank, struct pick *ret);
/* An hour of the ask at these prices on this card of theirs, in base units, rounded up. */
int64_t score_price(const struct syn_fleet_price *price, const struct syn_fleet_ask *ask,
                    uint32_t milli, uint32_t card);
/* The least that it can cost on a node of this class, on cards that will do; INT64_MAX: on none. */
int64_t score_price_least(const struct syn_fleet *fleet, const struct class_key *class,
                          const struct syn_fleet_ask *ask);
uint32_t score_rtt(const struct syn_fleet *fleet, uint32_t region, uint32_t other);
uint32_t ask_cards(const struct syn_fleet_ask *ask);
/* Thousandths of a card's time that it takes; of one card. */
uint32_t ask_milli(const struct syn_fleet_ask *ask);

/* fleet_mix.c */
SYN_MUST int mix_refresh(struct syn_fleet *fleet, struct syn_err *err);
void mix_fini(struct syn_fleet *fleet);
/* What is expected never to be used of such a node: thousandths of cards times MIX_ONE. */
int64_t mix_worth(const struct syn_fleet *fleet, const struct class_key *class, uint32_t level,
                  int64_t cpu, const card_t *cards);
/* The same of its holes alone, by level. */
const struct mix *mix_of(const struct syn_fleet *fleet, const struct class_key *class);

/* fleet_seek.c */
/* Reasons why an ask does not fit a node; the amounts are in their order. */
enum lack {
    LACK_NODE,
    LACK_REGION,
    LACK_LATENCY,
    LACK_LABELS,
    LACK_ISOLATION,
    LACK_PRICE,
    LACK_MODEL,
    LACK_RESERVED,
    LACK_CARDS,
    LACK_CPU,
    LACK_MEMORY,
    LACK_DISK,
    LACK_BANDWIDTH,
    LACK_WITH,
    LACK_APART,
    LACK_EVEN,
    LACKS
};

/* A node for one member of the request, or NONE. */
SYN_MUST int seek(struct syn_fleet *fleet, const struct request *request, uint32_t *ret_node,
                  struct syn_err *err);
/* Is this card of the class one that will do, at a price that will do? */
bool seek_card_suits(const struct syn_fleet *fleet, const struct syn_fleet_ask *ask,
                     const struct class_key *class, uint32_t card);
/* The same, whatever its price. */
bool seek_model_suits(const struct syn_fleet *fleet, const struct syn_fleet_ask *ask,
                      unsigned model);
/* SYN_BIT(enum lack) of what this kind of node lacks, whatever runs there. */
uint32_t seek_class_lacks(const struct syn_fleet *fleet, const struct syn_fleet_ask *ask,
                          const struct class_key *class);
/* Of room: `free` amounts and `cards` of this node. */
uint32_t seek_room_lacks(const struct syn_fleet *fleet, const struct syn_fleet_ask *ask,
                         const struct node *node, const int64_t *free, const card_t *cards);
/* All of it. `floor`: seek_floor(). */
uint32_t seek_lacks(const struct syn_fleet *fleet, const struct syn_fleet_ask *ask, uint32_t floor,
                    const struct node *node);
/* The fewest of the ask's group in any domain that it may be in; what `even` counts from. */
uint32_t seek_floor(const struct syn_fleet *fleet, const struct syn_fleet_ask *ask);
/* Take one member's room from `free` and `cards`; false when it is not there. */
bool seek_take(const struct syn_fleet *fleet, const struct syn_fleet_ask *ask,
               const struct node *node, int64_t *free, card_t *cards);
/* How many members fit on this node, empty or as it is; at most `most`. */
uint32_t seek_units(const struct syn_fleet *fleet, const struct syn_fleet_ask *ask,
                    const struct node *node, bool empty, uint32_t most);
/* Take the ask's cards from `cards`; false when they are not there. *ret_part: of a partition. */
bool seek_cards(const struct syn_fleet *fleet, const struct syn_fleet_ask *ask,
                const struct node *node, card_t *cards, uint32_t *ret_part);
uint64_t group_key(uint32_t group, uint32_t scope, uint32_t domain);
#define SCOPE_ALL SYN_FLEET_SCOPES

/* fleet_run.c */
SYN_MUST int shape_of(struct syn_fleet *fleet, const struct syn_fleet_ask *ask, uint32_t *ret,
                      struct syn_err *err);
SYN_MUST int ask_check(const struct syn_fleet *fleet, const struct syn_fleet_ask *ask,
                       struct syn_err *err);
/* Put a member on a node that it fits, the policy choosing the cards. */
SYN_MUST int attach(struct syn_fleet *fleet, uint32_t instance, uint32_t node, struct syn_err *err);
/* Take it off. */
void detach(struct syn_fleet *fleet, uint32_t instance);
/* Put it back exactly where it was; its room is still free. */
void restore(struct syn_fleet *fleet, uint32_t instance, const struct instance *was);
/* Place all members that are not placed, or change nothing: SYN_FLEET_FULL. */
SYN_MUST int run_place(struct syn_fleet *fleet, uint32_t request, struct syn_err *err);
/* After members were taken off again: what was refused meanwhile may fit. */
void run_forget(struct syn_fleet *fleet, uint32_t request);
SYN_MUST int run_new(struct syn_fleet *fleet, const struct syn_fleet_request *request,
                     uint32_t *ret, struct syn_err *err);
/* It runs, or no longer does. */
void run_started(struct syn_fleet *fleet, const struct request *request);
void run_stopped(struct syn_fleet *fleet, const struct request *request);
/* Does anything of a lower priority run? */
bool run_below(struct syn_fleet *fleet, int32_t priority);
/* Take its members off and forget it. */
void run_free(struct syn_fleet *fleet, uint32_t request);
/* Where its members are, by member. */
void run_slots(const struct syn_fleet *fleet, uint32_t request, struct syn_fleet_slot *slots);
SYN_MUST int account_ensure(struct syn_fleet *fleet, uint32_t account, struct syn_err *err);

/* fleet_line.c */
/* Room for so many requests more, so that joining cannot fail. */
SYN_MUST int line_reserve(struct syn_fleet *fleet, size_t more, struct syn_err *err);
void line_join(struct syn_fleet *fleet, uint32_t request);
void line_leave(struct syn_fleet *fleet, uint32_t request);

/* fleet_queue.c */
/* Room for so many effects more, so that telling cannot fail. */
SYN_MUST int tell_reserve(struct syn_fleet *fleet, size_t more, struct syn_err *err);
/* Where an instance is, or was. */
struct syn_fleet_slot tell_slot(const struct syn_fleet *fleet, const struct instance *instance);
void tell(struct syn_fleet *fleet, enum syn_fleet_effect_type type, enum syn_fleet_cause cause,
          uint32_t instance);
SYN_MUST int queue_settle(struct syn_fleet *fleet, struct syn_err *err);
/* Place it, evicting where that is allowed and needed, or let it wait. */
SYN_MUST int queue_offer(struct syn_fleet *fleet, uint32_t request, struct syn_err *err);
/* Let it wait, which is told when the cause is new; line_reserve() first. */
void queue_put(struct syn_fleet *fleet, uint32_t request, enum syn_fleet_cause cause);
/* It no longer waits or holds nodes. */
void queue_forget(struct syn_fleet *fleet, uint32_t request);
/* Does `a` come before `b`? */
bool queue_before(const struct syn_fleet *fleet, const struct request *a, const struct request *b);
/* Would it hold more of this amount (DIMS: thousandths of cards) than its account may? Sets what it
 * needs and what of it the account has left. */
bool queue_over_quota(const struct syn_fleet *fleet, const struct request *request, unsigned amount,
                      struct measure *ret);
bool queue_within_quota(const struct syn_fleet *fleet, const struct request *request);

/* fleet_evict.c */
/* Place it by evicting what is of lower priority; SYN_FLEET_FULL when that does not help. */
SYN_MUST int evict_for(struct syn_fleet *fleet, uint32_t request, struct syn_err *err);
/* Move what runs on a drained node elsewhere, as far as there is room. */
SYN_MUST int evict_drain(struct syn_fleet *fleet, uint32_t node, struct syn_err *err);
/* Take everything off a lost node, and place it again or let it wait. */
SYN_MUST int evict_lost(struct syn_fleet *fleet, uint32_t node, struct syn_err *err);

/* Give what an instance takes back to copies of its node's room. */
void evict_give(const struct syn_fleet *fleet, const struct node *node, uint32_t instance,
                int64_t *free, card_t *cards);
/* The fewest requests whose end would make room for one member, as a sentence. */
SYN_MUST int evict_advice(const struct syn_fleet *fleet, const struct request *request, json_t *fix,
                          struct syn_err *err);

/* fleet_hold.c */
/* May it use the nodes that are kept: is it the gang, or does it come before it? */
bool hold_yields(const struct syn_fleet *fleet, uint32_t request);
/* Keep nodes for a gang that waits, and let those of another go; if all are too few, neither. */
SYN_MUST int hold_for(struct syn_fleet *fleet, uint32_t request, struct syn_err *err);
/* Let them go for a moment, and take them back. */
void hold_lift(struct syn_fleet *fleet);
void hold_again(struct syn_fleet *fleet);
void hold_end(struct syn_fleet *fleet);
/* When a gang could start if nothing more came; -1: not known. */
int64_t hold_start_ms(struct syn_fleet *fleet, uint32_t request);

#endif
