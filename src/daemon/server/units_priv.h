/* Units of the market that jobs use: what the market has to say of them, and how they begin and
 * end. */
#ifndef SYN_SERVER_UNITS_PRIV_H
#define SYN_SERVER_UNITS_PRIV_H

#include "server_priv.h"

/* Units that jobs use (market_use.c). */
#define SRV_SELLERS_MAX 64
struct srv_units {
    int64_t have;    /* free units of the account, those that the job uses included */
    int64_t unit_ms; /* how long one lasts */
    char good[192];
    int64_t until_ms;                     /* of what the job uses; 0: nothing */
    int64_t attempt;                      /* of the job, for which it was begun */
    const char *sellers[SRV_SELLERS_MAX]; /* who owe units of the class; into `names` */
    size_t sellers_count;
    char names[SRV_SELLERS_MAX + 1][SYN_ID_MAX]; /* the last: the seller of what is used */
};
/** Returns 0; INVALID: no class; UNAVAILABLE. */
SYN_MUST int srv_units_look(struct syn_server *server, const char *account, const char *class,
                            const char *job, struct srv_units *ret, struct syn_err *err);
struct syn_training_units;
/** The same for the step, the plan and the explanation of a job; all zero when its spec takes none.
 *  What it points to is in `units`. */
SYN_MUST int srv_units_view(struct syn_server *server, const char *account, const json_t *spec,
                            const char *job, struct srv_units *units,
                            struct syn_training_units *ret, struct syn_err *err);
struct srv_units_begin {
    const char *job, *account, *provider, *class;
    int64_t units, run, attempt;
};
/** Begin units for a job; no-op when these were begun for it. Returns 0; FUNDS, CONFLICT: there are
 *  fewer; UNAVAILABLE, NOMEM. */
SYN_MUST int srv_units_begin(struct syn_server *server, const struct srv_units_begin *wanted,
                             struct syn_err *err);
/** Begin as many more when these are over. Returns as srv_units_begin(). */
SYN_MUST int srv_units_extend(struct syn_server *server, const char *job, struct syn_err *err);
/** What units the run used, and what was paid for them, into the spec of its bill. */
SYN_MUST int srv_units_bill(struct syn_server *server, const char *job, int64_t run, json_t *spec,
                            struct syn_err *err);
enum srv_units_end { SRV_UNITS_OVER, SRV_UNITS_UNUSED, SRV_UNITS_LOST };
/** The job uses them no more; no-op when it uses none. */
SYN_MUST int srv_units_end(struct syn_server *server, const char *job, enum srv_units_end how,
                           struct syn_err *err);

struct syn_cluster;
/** Tell a cluster what providers keep. Returns 0, also when the market is closed; NOMEM. */
SYN_MUST int srv_keeps_tell(struct syn_server *server, struct syn_cluster *cluster,
                            bool *ret_changed, struct syn_err *err);
/* The same in the steps of the controller (job_units.c). */
struct syn_training_effects;
/** What the market has to say of a job that takes reserved units; more are begun when those that it
 *  uses are nearly over. As srv_units_view(). */
SYN_MUST int srv_job_units_look(struct syn_server *server, const json_t *job,
                                struct srv_units *units, struct syn_training_units *ret,
                                struct syn_err *err);
/** Begin the units that the instances which are about to be written take. Returns 0;
 *  SYN_STORE_CONFLICT: somebody was faster. */
SYN_MUST int srv_job_units_begin(struct syn_server *server, const json_t *job,
                                 const struct syn_training_effects *effects, struct syn_err *err);
/** End them when the attempt that used them is over, or never began. */
SYN_MUST int srv_job_units_end(struct syn_server *server, const json_t *job,
                               const json_t *instances, const struct syn_training_effects *effects,
                               const struct srv_units *units, struct syn_err *err);

#endif
