/* What happens to an exchange, as values and as bytes.
 *
 * An exchange changes by events only, and the same events make the same exchange. So a log of those
 * that were accepted is the exchange: syn_market_log_* is its form. Writing files is for others;
 * they need to know only that a log is a sequence of *batches*, each sealed with a checksum and the
 * number of its first event, and that a batch is taken whole or not at all.
 *
 *     "SYNB" | bytes | first event's number | events | checksum      header of a batch
 *     kind, and what that kind has, numbers in groups of seven bits  an event; an order is 10-15
 * bytes
 *
 * Pure. Bytes from outside are never trusted. */
#ifndef SYNOR_MARKET_EVENT_H
#define SYNOR_MARKET_EVENT_H

#include <synor/base/buf.h>
#include <synor/base/core.h>
#include <synor/base/err.h>
#include <synor/market/book.h>

#define SYN_MARKET_NAME_MAX    128 /* bytes of an account's or class's name */
#define SYN_MARKET_EVENT_MAX   (64 + SYN_MARKET_NAME_MAX)
#define SYN_MARKET_BATCH_HEAD  32
#define SYN_MARKET_BATCH_MAX   ((size_t)64 << 20)
#define SYN_MARKET_BATCH_COUNT (UINT32_C(1) << 22)

enum syn_market_event_kind {
    SYN_EVENT_CLASS = 1, /* name: a class of resources gets a book */
    SYN_EVENT_ACCOUNT,   /* name */
    SYN_EVENT_DEPOSIT,   /* account, qty: money comes in */
    SYN_EVENT_WITHDRAW,  /* account, qty: free money goes out */
    SYN_EVENT_GRANT,     /* account, class, qty: capacity comes in */
    SYN_EVENT_RETIRE,    /* account, class, qty: free capacity goes out */
    SYN_EVENT_ORDER,     /* account, class, id, side, type, stp, price, qty, at_ms: its end */
    SYN_EVENT_CANCEL,    /* account, id */
    SYN_EVENT_REDUCE,    /* account, id, qty */
    SYN_EVENT_REPLACE,   /* account, id, price, qty, stp */
    SYN_EVENT_TIME,      /* at_ms */
    SYN_EVENT_KINDS
};

/** One event. What its kind does not have is 0. */
struct syn_market_event {
    uint8_t kind;  /* enum syn_market_event_kind */
    uint8_t side;  /* enum syn_side */
    uint8_t order; /* enum syn_order_kind */
    uint8_t stp;   /* enum syn_stp */
    uint32_t account;
    uint32_t class;
    uint32_t name_len;
    uint64_t id;
    int64_t price;
    int64_t qty;
    int64_t at_ms;
    const char *name; /* borrowed; name_len bytes, no terminator */
};

/** "order", ... */
const char *syn_market_event_name(unsigned kind);

/** Append `event`. Shortage shows in syn_buf_ok(). */
void syn_market_event_encode(const struct syn_market_event *event, struct syn_buf *out);
/** Read one event at data + *at and move *at behind it. Its name points into `data`. INVALID says
 *  what is wrong where; numbers are in their shortest form or refused. */
SYN_MUST int syn_market_event_decode(const void *data, size_t len, size_t *at,
                                     struct syn_market_event *ret_event, struct syn_err *err);

/* ---- batches ---- */

/** Begin a batch at the end of `out`; returns where, for syn_market_batch_seal(). */
size_t syn_market_batch_begin(struct syn_buf *out);
/** Seal what was appended since: `count` events, the first of which is number `first`. LIMIT: too
 *  many events or bytes; NOMEM. */
SYN_MUST int syn_market_batch_seal(struct syn_buf *out, size_t begin, uint64_t first,
                                   uint32_t count, struct syn_err *err);

struct syn_market_batch {
    uint64_t first; /* number of its first event */
    uint32_t count;
    const char *events; /* borrowed from the log */
    size_t len;
};

#define SYN_MARKET_LOG_END  1 /* nothing follows */
#define SYN_MARKET_LOG_TORN 2 /* what follows is no whole batch, and none comes after it */

/**
 * Read the batch at data + *at, whose first event must be number `expected`, and move *at behind
 * it.
 *
 * Returns 0; SYN_MARKET_LOG_END; SYN_MARKET_LOG_TORN, when a writer died there: cut the log at *at;
 * CORRUPT, when whole batches follow after what is none, or the number is another.
 */
SYN_MUST int syn_market_log_next(const void *data, size_t len, size_t *at, uint64_t expected,
                                 struct syn_market_batch *ret_batch, struct syn_err *err);

/** Of `len` bytes: not secret, not cut for cryptography; it sees what disks do. */
uint64_t syn_market_checksum(const void *data, size_t len);

#endif
