#include <synor/orchestration/queue.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <synor/base/str.h>

#define DIGITS 16

void
syn_queue_key(int64_t ready_ms, int64_t sequence, char out[SYN_QUEUE_KEY_SIZE])
{
    assert(ready_ms >= 0 && sequence >= 0);
    (void)snprintf(out, SYN_QUEUE_KEY_SIZE, "%016" PRIx64 "-%016" PRIx64, (uint64_t)ready_ms,
                   (uint64_t)sequence);
}

/* 16 lower-case digits of a number that is not negative. */
static bool
read_number(const char *text, int64_t *ret)
{
    uint64_t value = 0;

    for (size_t i = 0; i < DIGITS; i++) {
        int digit = text[i] >= 'A' && text[i] <= 'F' ? -1 : syn_hex_digit(text[i]);

        if (digit < 0)
            return false;
        value = value << 4 | (unsigned)digit;
    }
    *ret = (int64_t)value;
    return value <= INT64_MAX;
}

bool
syn_queue_key_read(const char *text, int64_t *ret_ready_ms, int64_t *ret_sequence)
{
    return strlen(text) == SYN_QUEUE_KEY_SIZE - 1 && text[DIGITS] == '-' &&
           read_number(text, ret_ready_ms) && read_number(text + DIGITS + 1, ret_sequence);
}

enum syn_queue_fate
syn_queue_fate(const struct syn_queue_rules *rules, int64_t sent_ms, int64_t ready_ms,
               int64_t receives, int64_t now_ms)
{
    if (now_ms - sent_ms >= rules->retention_ms)
        return SYN_QUEUE_EXPIRE;
    if (ready_ms > now_ms)
        return SYN_QUEUE_LATER;
    return rules->receives_max && receives >= rules->receives_max ? SYN_QUEUE_BURY
                                                                  : SYN_QUEUE_DELIVER;
}

int64_t
syn_queue_backoff_ms(const struct syn_queue_rules *rules, int64_t receives)
{
    int64_t wait = rules->backoff_ms;

    assert(receives >= 1);
    for (int64_t i = 1; i < receives && wait < rules->backoff_max_ms && wait > 0; i++)
        wait *= 2;
    return SYN_MIN(wait, rules->backoff_max_ms);
}
