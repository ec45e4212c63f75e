/* What the parts of the simulator share. */
#ifndef SYN_SIM_PRIV_H
#define SYN_SIM_PRIV_H

#include <synor/market/exchange.h>
#include <synor/orchestration/sim.h>

#define SIM_HOUR_MS    INT64_C(3600000)
#define SIM_TIME_MAX   (INT64_C(1) << 60) /* milliseconds that a simulation may come to */
#define SIM_POINTS     256                /* of the curve */
#define SIM_SAMPLE     4096               /* nodes that fragmentation is measured on */
#define SIM_MIX        128                /* asks that fragmentation is measured with */
#define SIM_CARD_SPEED 2500               /* of the card that options.price_card is for */
#define SIM_NODE_MW    120000
#define SIM_ALIKE      64  /* kinds of asks that waiting pods are counted by */
#define SIM_ALIKE_TOLD 8   /* of them */
#define SIM_TOLD_EVERY 256 /* events between words of progress */

struct sim_pod {
    struct syn_fleet_ask ask;
    int64_t arrives_ms;
    int64_t runs_ms; /* negative: it does not end */
    uint32_t order;  /* in the file */
};

enum sim_state { SIM_COMING, SIM_QUEUED, SIM_RUNNING, SIM_PRICED_OUT, SIM_DONE };

/* One arrival. */
struct sim_run {
    struct syn_fleet_slot slot; /* while it runs */
    uint64_t models;            /* that it was submitted for, by their prices */
    uint32_t pod;
    uint32_t turn; /* events of earlier turns are void */
    int64_t arrived_ms;
    int64_t began_ms;   /* of this turn */
    int64_t left_ms;    /* that it has to run when the turn begins; negative: for ever */
    uint32_t state;     /* enum sim_state */
    uint32_t bid;       /* thousandths of the list price */
    uint32_t leased;    /* thousandths of a card */
    bool placed;        /* at least once */
    int64_t price;      /* of the hour that it bought last: base units a thousandth of a card */
    int64_t noticed_ms; /* when it was told that it is outbid; -1: it is not */
    int64_t out_ms;     /* when it was interrupted; -1: it is not */
};

struct sim_node {
    struct syn_fleet_node spec; /* without its name */
    char name[SYN_FLEET_NAME_MAX];
    uint16_t used[SYN_FLEET_CARDS_MAX];
    uint32_t running;
    bool down;
};

enum sim_event_kind { SIM_END, SIM_FAIL, SIM_REPAIR, SIM_LEASE, SIM_NOTICE, SIM_TICK };

struct sim_event {
    int64_t at_ms;
    uint64_t order; /* of equal times the first said is the first */
    uint32_t kind;
    uint32_t subject; /* a run or a node */
    uint32_t turn;
};

struct sim_point {
    double asked_percent;
    double given_percent;
};

/* A model of card as a good. */
struct sim_good {
    uint32_t class;
    uint32_t cards;
    int64_t list; /* base units of a thousandth of a card for an hour */
    int64_t ask;
    int64_t lowest; /* that the ask has been */
    int64_t highest;
    int64_t leased; /* thousandths */
    int64_t wanted; /* thousandths that wait for a lower price */
    bool changed;   /* the ask, at the last pricing */
};

struct sim_spot {
    struct syn_exchange *exchange;
    uint32_t seller;
    uint32_t buyer;
    struct sim_good goods[SYN_FLEET_MODELS_MAX];
    syn_i128 paid;
    uint64_t leases;
    uint64_t refused;
    uint64_t noticed;
    uint64_t interrupted;
    uint64_t resumed;
    int64_t out_ms;        /* that the resumed ones were interrupted for, together */
    syn_i128 noticed_hour; /* for notices: base units an hour, times milliseconds */
};

/* NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding): by subject; there is one of it */
struct syn_sim {
    struct syn_sim_options options;
    struct syn_fleet *fleet;
    struct syn_fleet_model models[SYN_FLEET_MODELS_MAX]; /* by the fleet's number */
    char model_names[SYN_FLEET_MODELS_MAX][SYN_FLEET_NAME_MAX + 1];
    uint32_t models_count;

    struct sim_node *nodes; /* by the fleet's number */
    size_t nodes_cap;
    uint32_t nodes_count;
    uint32_t nodes_down;
    int64_t cards;

    struct sim_pod *pods;
    size_t pods_cap;
    uint32_t pods_count;
    bool ran;

    struct sim_run *runs;
    uint32_t runs_count;
    uint32_t *refused; /* runs to be taken back, as nobody would pay for them */
    size_t refused_cap;
    size_t refused_count;

    struct sim_event *heap;
    size_t heap_cap;
    size_t heap_count;
    uint64_t events;

    uint64_t random;
    int64_t now_ms;
    int64_t begun_ms;

    /* running totals */
    int64_t milli_used;
    int64_t milli_asked; /* by all that arrived */
    int64_t power_mw;
    uint32_t finite; /* that run and will end */
    uint32_t queued;
    uint32_t priced_out;

    /* the account */
    uint64_t decisions;
    int64_t decisions_ns;
    int64_t changes_ns; /* taken by ends, failures and repairs, and what they let in */
    uint64_t arrived;
    uint64_t placed; /* runs, once each */
    uint64_t turned_away;
    uint64_t finished;
    uint64_t failures;
    uint64_t restarts;
    syn_i128 lost_milli_ms; /* card time of work lost by failures */
    syn_i128 used_milli_ms;
    syn_i128 arriving_milli_ms; /* the same until the last arrival */
    int64_t last_ms;            /* when that was */
    syn_i128 energy_uj;
    syn_i128 cost_hour_ms; /* base units an hour, times milliseconds */
    int64_t milli_peak;
    int64_t *waits_ms; /* of all that were placed */
    size_t waits_cap;
    double stranded_sum; /* of samples, percent of free card time */
    uint32_t stranded_count;
    struct sim_point points[SIM_POINTS + 2];
    uint32_t points_count;

    struct sim_spot spot;
};

/* sim.c */
uint64_t sim_random(uint64_t *state);
/** In [0, 1). */
double sim_fraction(uint64_t *state);
/** Thousandths of cards that an ask takes. */
int64_t sim_milli(const struct syn_fleet_ask *ask);
int64_t sim_list_price(const struct syn_sim *sim, uint32_t model);
SYN_MUST int sim_push(struct syn_sim *sim, int64_t at_ms, enum sim_event_kind kind,
                      uint32_t subject, uint32_t turn, struct syn_err *err);

/* sim_read.c */
SYN_MUST int sim_model_add(struct syn_sim *sim, const char *name, bool must_be_known, uint32_t *ret,
                           struct syn_err *err);
SYN_MUST int sim_add_node(struct syn_sim *sim, struct syn_fleet_node *node, struct syn_err *err);
SYN_MUST int sim_add_pod(struct syn_sim *sim, const struct sim_pod *pod, struct syn_err *err);

/* sim_spot.c */
SYN_MUST int sim_spot_open(struct syn_sim *sim, struct syn_err *err);
void sim_spot_close(struct syn_sim *sim);
/** New asks by what is leased and wanted. */
SYN_MUST int sim_spot_reprice(struct syn_sim *sim, struct syn_err *err);
/** The models that an ask takes and the run can pay for. */
uint64_t sim_spot_models(const struct syn_sim *sim, const struct sim_run *run);
/** Buy an hour of what the run is on; *ret_bought is false when it would cost more than it bids. */
SYN_MUST int sim_spot_buy(struct syn_sim *sim, struct sim_run *run, bool *ret_bought,
                          struct syn_err *err);
/** Would the price of the hour be above what the run bids for what it is on? */
bool sim_spot_outbid(const struct syn_sim *sim, const struct sim_run *run);
/** Its notice is over: it paid on by the price of its last hour. */
void sim_spot_noticed(struct syn_sim *sim, struct sim_run *run);
/** What the run had goes back on sale. */
SYN_MUST int sim_spot_return(struct syn_sim *sim, struct sim_run *run, struct syn_err *err);

/* sim_report.c */
/** How much of the free card time a mix of the workload's asks cannot use, in percent. */
double sim_stranded(const struct syn_sim *sim);

#endif
