#include <synor/market/exchange.h>

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
need(bool holds)
{
    if (!holds)
        abort();
}

static void
must_open(struct syn_exchange *exchange, const char *name, enum syn_market_event_kind kind)
{
    struct syn_market_event event = {
        .kind = (uint8_t)kind, .name = name, .name_len = (uint32_t)strlen(name)};
    struct syn_market_outcome outcome;

    need(syn_exchange_apply(exchange, &event, &outcome, NULL) == 0);
}

/* Two classes and three accounts with something, so that short inputs trade. */
static struct syn_exchange *
begin(void)
{
    static const char *const accounts[] = {"a", "b", "c"};
    struct syn_exchange *exchange = NULL;
    struct syn_market_outcome outcome;

    need(syn_exchange_new(&exchange, NULL) == 0);
    must_open(exchange, "gpu/h100/eu/hour", SYN_EVENT_CLASS);
    must_open(exchange, "cpu/zen4/eu/hour", SYN_EVENT_CLASS);
    for (uint32_t i = 0; i < 3; i++) {
        struct syn_market_event event = {.kind = SYN_EVENT_DEPOSIT, .account = i, .qty = 100000};

        must_open(exchange, accounts[i], SYN_EVENT_ACCOUNT);
        need(syn_exchange_apply(exchange, &event, &outcome, NULL) == 0);
        event.kind = SYN_EVENT_GRANT;
        need(syn_exchange_apply(exchange, &event, &outcome, NULL) == 0);
        event.class = 1;
        need(syn_exchange_apply(exchange, &event, &outcome, NULL) == 0);
    }
    return exchange;
}

/* A snapshot becomes the same exchange. */
static void
reborn(const struct syn_exchange *exchange)
{
    struct syn_exchange *copy = NULL;
    SYN_BUF(bytes);
    SYN_BUF(again);

    need(syn_exchange_snapshot(exchange, &bytes, NULL) == 0);
    need(syn_exchange_restore(bytes.data, bytes.len, &copy, NULL) == 0);
    syn_exchange_check(copy);
    need(syn_exchange_snapshot(copy, &again, NULL) == 0);
    need(bytes.len == again.len && memcmp(bytes.data, again.data, bytes.len) == 0);
    syn_exchange_free(copy);
}

/* Bytes as a log: reading ends, whatever they are. */
static void
as_log(const uint8_t *data, size_t size)
{
    struct syn_market_batch batch;
    uint64_t expected = 0;
    size_t at = 0;

    while (syn_market_log_next(data, size, &at, expected, &batch, NULL) == 0)
        expected += batch.count;
    need(at <= size);
}

/* Bytes as a snapshot: whatever is taken must hold together. */
static void
as_snapshot(const uint8_t *data, size_t size)
{
    struct syn_exchange *exchange = NULL;
    SYN_BUF(bytes);

    syn_buf_add(&bytes, data, size);
    if (size > 8) {
        uint64_t sum = syn_market_checksum(data, size - 8);

        /* or hardly anything would get past the checksum */
        for (unsigned i = 0; i < 8; i++)
            bytes.data[size - 8 + i] = (char)(unsigned char)(sum >> (8 * i));
    }
    if (syn_exchange_restore(bytes.data, bytes.len, &exchange, NULL) != 0)
        return;
    syn_exchange_check(exchange);
    reborn(exchange);
    syn_exchange_free(exchange);
}

/* Bytes as events, one after the other: what is taken comes back as it was written, and whatever is
 * applied, money and capacity add up and nobody is below zero. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct syn_exchange *exchange = begin();
    size_t at = 0;

    as_log(data, size);
    as_snapshot(data, size);
    for (unsigned n = 0; at < size && n < 512; n++) {
        struct syn_market_event event;
        struct syn_market_outcome outcome;
        size_t before = at;
        SYN_BUF(again);

        if (syn_market_event_decode(data, size, &at, &event, NULL) != 0) {
            at++;
            continue;
        }
        syn_market_event_encode(&event, &again);
        need(again.len == at - before && memcmp(again.data, data + before, again.len) == 0);
        if (syn_exchange_apply(exchange, &event, &outcome, NULL) != 0)
            continue;
        if (n % 16 == 0)
            syn_exchange_check(exchange);
    }
    syn_exchange_check(exchange);
    reborn(exchange);
    syn_exchange_free(exchange);
    return 0;
}
