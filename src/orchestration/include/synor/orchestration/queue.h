/* Durable queues: what becomes of a message, and when. Pure; the server keeps the messages.
 *
 * A message is under a key that begins with the time from which it may be received, so that what is
 * due is what comes first. To receive it is to move it to a later time, in one transaction: who had
 * it before has a receipt for a key that is not there any more. It goes when it is acknowledged,
 * when it is older than the queue keeps messages, or, after so many receipts without an
 * acknowledgement, to the queue of dead letters.
 *
 *       send             receive                    acknowledge
 *     -------> waiting ---------> in flight ----------------------> gone
 *                 ^                   | released, or not acknowledged in time
 *                 +-------------------+ ----> dead letters, after receives_max
 *
 * At least once: a message that was acknowledged to its sender is received until somebody
 * acknowledges it, by two receivers if the first was too slow. The order is that of sending, as far
 * as nobody releases or is late. */
#ifndef SYNOR_ORCHESTRATION_QUEUE_H
#define SYNOR_ORCHESTRATION_QUEUE_H

#include <synor/base/core.h>

/** Bytes of "ready-sequence" with its NUL: two numbers of 16 hexadecimal digits. */
#define SYN_QUEUE_KEY_SIZE 34
/** Longest times that a queue may have. */
#define SYN_QUEUE_VISIBILITY_MAX_MS (INT64_C(12) * 3600 * 1000)
#define SYN_QUEUE_RETENTION_MAX_MS  (INT64_C(30) * 24 * 3600 * 1000)
#define SYN_QUEUE_RECEIVES_MAX      1000

struct syn_queue_rules {
    int64_t visibility_ms;  /* so long a received message is nobody else's */
    int64_t delay_ms;       /* so long after it was sent nobody receives it */
    int64_t retention_ms;   /* so long after it was sent it is kept */
    int64_t receives_max;   /* received so often, it is a dead letter; 0: never */
    int64_t backoff_ms;     /* a released message waits so long, twice as long each time */
    int64_t backoff_max_ms; /* and no longer than this */
};

/** "0000019a...-0000...": keys sort by time, then by number. Both >= 0. */
void syn_queue_key(int64_t ready_ms, int64_t sequence, char out[SYN_QUEUE_KEY_SIZE]);
/** Read one back. False: it is none. */
bool syn_queue_key_read(const char *text, int64_t *ret_ready_ms, int64_t *ret_sequence);

enum syn_queue_fate {
    SYN_QUEUE_LATER,   /* not due yet */
    SYN_QUEUE_DELIVER, /* receive it */
    SYN_QUEUE_EXPIRE,  /* older than it is kept: delete it */
    SYN_QUEUE_BURY,    /* to the dead letters */
};

/** What becomes of a message that was sent at `sent_ms`, may be received from `ready_ms` on and was
 * received `receives` times, now. */
enum syn_queue_fate syn_queue_fate(const struct syn_queue_rules *rules, int64_t sent_ms,
                                   int64_t ready_ms, int64_t receives, int64_t now_ms);
/** How long a message waits that was received `receives` times (>= 1) and is released. */
int64_t syn_queue_backoff_ms(const struct syn_queue_rules *rules, int64_t receives);

#endif
