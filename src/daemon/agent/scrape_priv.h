/* What a replica tells of itself at its own /metrics, read for autoscaling: asked in rounds, one
 * question for each place, from the loop that looks after the replica. */
#ifndef SYN_AGENT_SCRAPE_PRIV_H
#define SYN_AGENT_SCRAPE_PRIV_H

#include <poll.h>

#include <synor/base/json.h>

struct agt_scrape;

/** Read from now on what `wanted` says (an instance's spec.scrape; NULL: nothing): *scrape is made,
 *  changed, freed, or left as it is. `port` is meant where a row says none. NOMEM, INVALID. */
SYN_MUST int agt_scrape_want(struct agt_scrape **scrape, const json_t *wanted, uint16_t port,
                             struct syn_err *err);
struct agt_scrape *agt_scrape_free(struct agt_scrape *scrape);
/** Go on. *ret_round becomes what a round found that is over now, as it is reported: {"metrics":
 *  {NAME: number}, "trouble": {NAME: why}}; else it stays NULL. Owner: the caller. NOMEM. */
SYN_MUST int agt_scrape_turn(struct agt_scrape *scrape, const char *address, int64_t now_ms,
                             json_t **ret_round, struct syn_err *err);
/** What the next turn waits for; `scrape` may be NULL. And for how long otherwise. */
struct pollfd agt_scrape_fd(const struct agt_scrape *scrape);
int64_t agt_scrape_pause_ms(const struct agt_scrape *scrape, int64_t now_ms);

#endif
