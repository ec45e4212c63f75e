#include <synor/market/event.h>

#include <synor/base/test.h>

#include <string.h>

static struct syn_err err;

static void
round_trip(void **state)
{
    static const char name[] = "gpu/h100/eu/hour";
    const struct syn_market_event rows[] = {
        {.kind = SYN_EVENT_CLASS, .name = name, .name_len = sizeof(name) - 1},
        {.kind = SYN_EVENT_ACCOUNT, .name = name, .name_len = 3},
        {.kind = SYN_EVENT_DEPOSIT, .account = UINT32_MAX, .qty = INT64_MAX},
        {.kind = SYN_EVENT_WITHDRAW, .account = 1, .qty = 127},
        {.kind = SYN_EVENT_GRANT, .account = 1, .class = 128, .qty = 1},
        {.kind = SYN_EVENT_RETIRE, .class = UINT32_MAX, .qty = 16384},
        {.kind = SYN_EVENT_ORDER,
         .account = 5,
         .class = 6,
         .id = UINT64_MAX,
         .side = 1,
         .stp = 3,
         .order = SYN_ORDER_KINDS - 1,
         .price = 7,
         .qty = 8,
         .at_ms = 9},
        {.kind = SYN_EVENT_CANCEL, .account = 3, .id = 4},
        {.kind = SYN_EVENT_REDUCE, .account = 3, .id = 4, .qty = 5},
        {.kind = SYN_EVENT_REPLACE, .account = 3, .id = 4, .price = 6, .qty = 5, .stp = 2},
        {.kind = SYN_EVENT_TIME, .at_ms = 1700000000000},
    };
    size_t at = 0;
    SYN_BUF(bytes);

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++)
        syn_market_event_encode(&rows[i], &bytes);
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        struct syn_market_event event;

        assert_done(syn_market_event_decode(bytes.data, bytes.len, &at, &event, &err), &err);
        assert_int_equal(event.name_len, rows[i].name_len);
        if (event.name_len > 0)
            assert_memory_equal(event.name, rows[i].name, event.name_len);
        event.name = rows[i].name;
        assert_memory_equal(&event, &rows[i], sizeof(event));
        assert_string_not_equal(syn_market_event_name(event.kind), "nothing");
    }
    assert_int_equal(at, bytes.len);
    assert_string_equal(syn_market_event_name(99), "nothing");
}

static void
bad_events(void **state)
{
    static const struct {
        const char *bytes;
        size_t len;
        const char *says;
    } rows[] = {
        {"", 0, "cut off"},
        {"\0", 1, "kind 0"},
        {"\x7f", 1, "kind 127"},
        {"\3\1", 2, "deposit: qty: no number at byte 2"},
        {"\3\x81\x00\1", 4, "account: no number"}, /* not shortest */
        {"\3\xff\xff\xff\xff\x7f\1", 7, "account: 34359738367 at byte 1 is too large"},
        {"\3\1\xff\xff\xff\xff\xff\xff\xff\xff\xff\1", 12, "too large"},     /* negative */
        {"\3\1\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\1", 13, "no number"}, /* past 64 bits */
        {"\1\5gpu", 5, "class: name: cut off"},
        {"\1\xff\1", 3, "name: 255"},
        {"\7\1\1\1\x28\1\1\0", 8, "kind of order"},
        {"\7\1\1\1", 4, "order: kind of order: cut off"},
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        struct syn_market_event event;
        size_t at = 0;

        assert_code(syn_market_event_decode(rows[i].bytes, rows[i].len, &at, &event, &err),
                    SYN_E_INVALID, &err);
        if (strstr(err.msg, rows[i].says) == NULL)
            fail_msg("row %zu says '%s'", i, err.msg);
        assert_int_equal(at, 0);
    }
}

/* Three batches of one event each. */
static void
three(struct syn_buf *log, size_t *ends)
{
    for (uint64_t i = 0; i < 3; i++) {
        struct syn_market_event event = {.kind = SYN_EVENT_TIME, .at_ms = (int64_t)i};
        size_t begin = syn_market_batch_begin(log);

        syn_market_event_encode(&event, log);
        assert_done(syn_market_batch_seal(log, begin, i, 1, &err), &err);
        ends[i] = log->len;
    }
}

/* Reads as far as it goes: how many batches, what stopped it, and where. */
static int
read_all(const char *data, size_t len, uint64_t *ret_batches, size_t *ret_at)
{
    struct syn_market_batch batch;
    int rc;

    *ret_batches = 0;
    *ret_at = 0;
    while ((rc = syn_market_log_next(data, len, ret_at, *ret_batches, &batch, &err)) == 0)
        (*ret_batches)++;
    return rc;
}

static void
torn_logs(void **state)
{
    size_t ends[3], at;
    uint64_t batches;
    SYN_BUF(log);

    (void)state;
    three(&log, ends);
    for (size_t len = 0; len <= log.len; len++) {
        size_t whole = 0U + (len >= ends[0]) + (len >= ends[1]) + (len >= ends[2]);
        size_t edge = whole == 0 ? 0 : ends[whole - 1];

        assert_int_equal(read_all(log.data, len, &batches, &at),
                         len == edge ? SYN_MARKET_LOG_END : SYN_MARKET_LOG_TORN);
        assert_int_equal(batches, whole);
        assert_int_equal(at, edge);
    }
}

static void
spoilt_logs(void **state)
{
    struct syn_market_batch batch;
    size_t ends[3], at;
    uint64_t batches;
    SYN_BUF(log);

    (void)state;
    three(&log, ends);
    for (size_t i = 0; i < log.len; i++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            log.data[i] = (char)(log.data[i] ^ (1 << bit));
            /* In the last batch it looks as if a writer had died there. */
            assert_int_equal(read_all(log.data, log.len, &batches, &at),
                             i < ends[1] ? SYN_E_CORRUPT : SYN_MARKET_LOG_TORN);
            assert_int_equal(batches, (i >= ends[0]) + (i >= ends[1]));
            log.data[i] = (char)(log.data[i] ^ (1 << bit));
        }
    }
    at = 0;
    assert_code(syn_market_log_next(log.data, log.len, &at, 1, &batch, &err), SYN_E_CORRUPT, &err);
}

static void
limits(void **state)
{
    SYN_BUF(log);
    size_t begin = syn_market_batch_begin(&log);

    (void)state;
    assert_code(syn_market_batch_seal(&log, begin, 0, SYN_MARKET_BATCH_COUNT + 1, &err),
                SYN_E_LIMIT, &err);
    assert_int_not_equal(syn_market_checksum("ab", 2), syn_market_checksum("ab\0", 3));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip),  cmocka_unit_test(bad_events), cmocka_unit_test(torn_logs),
        cmocka_unit_test(spoilt_logs), cmocka_unit_test(limits),
    };

    return cmocka_run_group_tests_name("event", tests, NULL, NULL);
}
