/* What volumes cost (volume_bills.c).
 *
 * The server counts by itself how long a volume had which size, from when it has its node until it
 * is removed: "volume-meter/ID" is {provider, node, size_bytes, since_ms, sizes: {SIZE: ms}}. Its
 * bills are made as those of a service's periods are: it is a job of one run and no instances. */
#ifndef SYN_SERVER_VOLUMES_PRIV_H
#define SYN_SERVER_VOLUMES_PRIV_H

#include <synor/market/meter.h>

#include "server_priv.h"

/** What ids of volumes begin with. */
#define SRV_VOLUME_IDS "vol-"
/** A volume is billed, and money locked for it, for so long at a time. */
#define SRV_VOLUME_PERIOD_MS (INT64_C(24) * 3600 * 1000)
/** One that is not paid for is kept for so long. */
#define SRV_VOLUME_KEPT_MS (INT64_C(7) * 24 * 3600 * 1000)

/** What `bytes` cost in `ms` by the price book, rounded up; 0 where it has no price for volumes. */
int64_t srv_volume_cost(const struct syn_server *server, int64_t bytes, int64_t ms);
/** Count from now on, and begin its first billing period, within `txn`. */
SYN_MUST int srv_volume_meter_begin(struct syn_server *server, struct srv_txn *txn,
                                    const json_t *volume, const char *node, struct syn_err *err);
/** It is no more. */
SYN_MUST int srv_volume_meter_end(struct syn_server *server, struct srv_txn *txn,
                                  const char *volume, int64_t now_ms, struct syn_err *err);
/** {SIZE: ms that it has been so large, in all}, and who provides it into
 *  ret_provider[SYN_ID_MAX] (may be NULL); {} and "" before it is counted. Owner: *ret is the
 *  caller's. */
SYN_MUST int srv_volume_meter_read(struct syn_server *server, const char *volume, int64_t now_ms,
                                   json_t **ret, char *ret_provider, struct syn_err *err);
/** What came to it between the two; nothing where the price book has no price for volumes. */
SYN_MUST int srv_volume_usage(const struct syn_server *server, const json_t *before,
                              const json_t *now, struct syn_usage_sum *ret, struct syn_err *err);

/** Lock what it begins with within `txn`, if `node` is not "": a period's worth, or what there is
 *  of it. FUNDS when that is less than an hour's. */
SYN_MUST int srv_volume_reserve(struct syn_server *server, struct srv_txn *txn, const char *account,
                                const json_t *volume, int64_t *ret_locked, struct syn_err *err);
/** It has the size that its document has, from now on, within `txn`. FUNDS when there is not an
 *  hour's worth of money for it. */
SYN_MUST int srv_volume_resized(struct syn_server *server, struct srv_txn *txn, const char *account,
                                const json_t *volume, struct syn_err *err);
/** Put "cost" into what is seen of it. */
SYN_MUST int srv_volume_add_cost(struct syn_server *server, const char *account, json_t *volume,
                                 struct syn_err *err);
/** Write its last bill within `txn`, if it has anything to pay with. */
SYN_MUST int srv_volume_settle(struct syn_server *server, struct srv_txn *txn, const char *account,
                               const json_t *volume, struct syn_err *err);
/** See to its money: bill the period that is over, lock more, or say that there is none. One that
 *  was not paid for too long is removed. Blocks: disk. */
SYN_MUST int srv_volume_pay(struct syn_server *server, const char *account, const char *name,
                            int64_t now_ms, struct syn_err *err);

/** Remove it within `txn`: the last bill, the document as it was read, and what its node has yet to
 *  do (volumes.c). */
SYN_MUST int srv_volume_remove(struct syn_server *server, struct srv_txn *txn, const char *account,
                               const json_t *volume, struct syn_err *err);
/** The account's services that use it, an array. Owner: *ret is the caller's. */
SYN_MUST int srv_services_with_volume(struct syn_server *server, const char *account,
                                      const char *name, json_t **ret, struct syn_err *err);

#endif
