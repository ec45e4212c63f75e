#include <synor/market/event.h>

#include <string.h>

#include <synor/base/varint.h>

/* What a kind of event has, in the order in which it is written. */
enum { HAS_NAME = 1, HAS_ACCOUNT = 2, HAS_CLASS = 4, HAS_ID = 8, HAS_HOW = 16 };
enum { HAS_PRICE = 32, HAS_QTY = 64, HAS_TIME = 128 };

static const struct {
    const char *name;
    unsigned has;
} kinds[SYN_EVENT_KINDS] = {
    [0] = {"nothing", 0},
    [SYN_EVENT_CLASS] = {"class", HAS_NAME},
    [SYN_EVENT_ACCOUNT] = {"account", HAS_NAME},
    [SYN_EVENT_DEPOSIT] = {"deposit", HAS_ACCOUNT | HAS_QTY},
    [SYN_EVENT_WITHDRAW] = {"withdraw", HAS_ACCOUNT | HAS_QTY},
    [SYN_EVENT_GRANT] = {"grant", HAS_ACCOUNT | HAS_CLASS | HAS_QTY},
    [SYN_EVENT_RETIRE] = {"retire", HAS_ACCOUNT | HAS_CLASS | HAS_QTY},
    [SYN_EVENT_ORDER] = {"order", HAS_ACCOUNT | HAS_CLASS | HAS_ID | HAS_HOW | HAS_PRICE | HAS_QTY |
                                      HAS_TIME},
    [SYN_EVENT_CANCEL] = {"cancel", HAS_ACCOUNT | HAS_ID},
    [SYN_EVENT_REDUCE] = {"reduce", HAS_ACCOUNT | HAS_ID | HAS_QTY},
    [SYN_EVENT_REPLACE] = {"replace", HAS_ACCOUNT | HAS_ID | HAS_HOW | HAS_PRICE | HAS_QTY},
    [SYN_EVENT_TIME] = {"time", HAS_TIME},
};

const char *
syn_market_event_name(unsigned kind)
{
    return kind < SYN_EVENT_KINDS ? kinds[kind].name : kinds[0].name;
}

/* ---- events ---- */

/* side, stp and kind of order in one byte */
static unsigned
how_of(const struct syn_market_event *event)
{
    return event->side | (unsigned)event->stp << 1 | (unsigned)event->order << 3;
}

void
syn_market_event_encode(const struct syn_market_event *event, struct syn_buf *out)
{
    char *begin = syn_buf_reserve(out, SYN_MARKET_EVENT_MAX), *end = begin;
    unsigned has;

    assert(event->kind > 0 && event->kind < SYN_EVENT_KINDS);
    assert(event->name_len <= SYN_MARKET_NAME_MAX);
    if (begin == NULL)
        return;
    has = kinds[event->kind].has;
    *end++ = (char)event->kind;
    if ((has & HAS_NAME) != 0) {
        end += syn_varint_encode(event->name_len, end);
        memcpy(end, event->name, event->name_len);
        end += event->name_len;
    }
    if ((has & HAS_ACCOUNT) != 0)
        end += syn_varint_encode(event->account, end);
    if ((has & HAS_CLASS) != 0)
        end += syn_varint_encode(event->class, end);
    if ((has & HAS_ID) != 0)
        end += syn_varint_encode(event->id, end);
    if ((has & HAS_HOW) != 0)
        *end++ = (char)how_of(event);
    if ((has & HAS_PRICE) != 0)
        end += syn_varint_encode((uint64_t)event->price, end);
    if ((has & HAS_QTY) != 0)
        end += syn_varint_encode((uint64_t)event->qty, end);
    if ((has & HAS_TIME) != 0)
        end += syn_varint_encode((uint64_t)event->at_ms, end);
    out->len += (size_t)(end - begin);
}

/* Where the reading of an event stands. */
struct reader {
    const unsigned char *data;
    size_t len, at;
    struct syn_err *err;
};

static int
get_number(struct reader *in, uint64_t max, const char *what, uint64_t *ret)
{
    uint64_t value = 0;
    size_t used = syn_varint_decode(in->data + in->at, in->len - in->at, &value);

    if (used == 0)
        return SYN_FAIL(in->err, SYN_E_INVALID, "%s: no number at byte %zu", what, in->at);
    if (value > max)
        return SYN_FAIL(in->err, SYN_E_INVALID, "%s: %llu at byte %zu is too large", what,
                        (unsigned long long)value, in->at);
    in->at += used;
    *ret = value;
    return SYN_OK;
}

static int
get_u32(struct reader *in, const char *what, uint32_t *ret)
{
    uint64_t value = 0;
    int rc = get_number(in, UINT32_MAX, what, &value);

    if (rc == 0)
        *ret = (uint32_t)value;
    return rc;
}

static int
get_i64(struct reader *in, const char *what, int64_t *ret)
{
    uint64_t value = 0;
    int rc = get_number(in, INT64_MAX, what, &value);

    if (rc == 0)
        *ret = (int64_t)value;
    return rc;
}

static int
get_name(struct reader *in, struct syn_market_event *event)
{
    uint64_t len = 0;
    int rc = get_number(in, SYN_MARKET_NAME_MAX, "name", &len);

    if (rc < 0)
        return rc;
    if (len > in->len - in->at)
        return SYN_FAIL(in->err, SYN_E_INVALID, "name: cut off at byte %zu", in->len);
    event->name = (const char *)in->data + in->at;
    event->name_len = (uint32_t)len;
    in->at += len;
    return SYN_OK;
}

static int
get_how(struct reader *in, struct syn_market_event *event)
{
    unsigned how;

    if (in->at == in->len)
        return SYN_FAIL(in->err, SYN_E_INVALID, "kind of order: cut off at byte %zu", in->at);
    how = in->data[in->at++];
    if (how >> 3 >= SYN_ORDER_KINDS)
        return SYN_FAIL(in->err, SYN_E_INVALID, "kind of order: %u at byte %zu is none", how >> 3,
                        in->at - 1);
    event->side = how & 1;
    event->stp = how >> 1 & 3;
    event->order = (uint8_t)(how >> 3);
    return SYN_OK;
}

int
syn_market_event_decode(const void *data, size_t len, size_t *at,
                        struct syn_market_event *ret_event, struct syn_err *err)
{
    struct reader in = {.data = data, .len = len, .at = *at, .err = err};
    struct syn_market_event event = {0};
    unsigned has;
    int rc = SYN_OK;

    static_assert(SYN_STPS == 4, "two bits");
    if (in.at >= len)
        return SYN_FAIL(err, SYN_E_INVALID, "event: cut off at byte %zu", in.at);
    event.kind = in.data[in.at++];
    if (event.kind == 0 || event.kind >= SYN_EVENT_KINDS)
        return SYN_FAIL(err, SYN_E_INVALID, "event: kind %d at byte %zu is none", event.kind, *at);
    has = kinds[event.kind].has;
    if ((has & HAS_NAME) != 0)
        rc = get_name(&in, &event);
    if (rc == 0 && (has & HAS_ACCOUNT) != 0)
        rc = get_u32(&in, "account", &event.account);
    if (rc == 0 && (has & HAS_CLASS) != 0)
        rc = get_u32(&in, "class", &event.class);
    if (rc == 0 && (has & HAS_ID) != 0)
        rc = get_number(&in, UINT64_MAX, "id", &event.id);
    if (rc == 0 && (has & HAS_HOW) != 0)
        rc = get_how(&in, &event);
    if (rc == 0 && (has & HAS_PRICE) != 0)
        rc = get_i64(&in, "price", &event.price);
    if (rc == 0 && (has & HAS_QTY) != 0)
        rc = get_i64(&in, "qty", &event.qty);
    if (rc == 0 && (has & HAS_TIME) != 0)
        rc = get_i64(&in, "time", &event.at_ms);
    if (rc < 0)
        return syn_err_wrap(err, rc, "%s", kinds[event.kind].name);
    *ret_event = event;
    *at = in.at;
    return SYN_OK;
}

/* ---- batches ---- */

static const char magic[4] = {'S', 'Y', 'N', 'B'};

/* 32 bytes, numbers little-endian: magic, bytes of events, number of the first, how many, zero,
 * checksum of the first 24 bytes and of the events. */
enum { AT_LEN = 4, AT_FIRST = 8, AT_COUNT = 16, AT_ZERO = 20, AT_SUM = 24 };

static void
put_le(char *out, uint64_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        out[i] = (char)(unsigned char)(value >> (8 * i));
}

static uint64_t
get_le(const unsigned char *in, unsigned bytes)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < bytes; i++)
        value |= (uint64_t)in[i] << (8 * i);
    return value;
}

uint64_t
syn_market_checksum(const void *data, size_t len)
{
    const unsigned char *bytes = data;
    uint64_t sum = UINT64_C(0x243F6A8885A308D3) ^ len;

    for (; len >= 8; len -= 8, bytes += 8) {
        sum = (sum ^ get_le(bytes, 8)) * UINT64_C(0x9E3779B97F4A7C15);
        sum ^= sum >> 29;
    }
    sum = (sum ^ get_le(bytes, (unsigned)len)) * UINT64_C(0x9E3779B97F4A7C15);
    return sum ^ sum >> 29;
}

static uint64_t
batch_sum(const void *head, const void *events, size_t len)
{
    uint64_t sum = syn_market_checksum(events, len);

    return sum ^ (syn_market_checksum(head, AT_SUM) << 1 | 1);
}

size_t
syn_market_batch_begin(struct syn_buf *out)
{
    static const char head[SYN_MARKET_BATCH_HEAD];
    size_t begin = out->len;

    syn_buf_add(out, head, sizeof(head));
    return begin;
}

int
syn_market_batch_seal(struct syn_buf *out, size_t begin, uint64_t first, uint32_t count,
                      struct syn_err *err)
{
    int rc = syn_buf_ok(out, err);
    size_t len;
    char *head;

    if (rc < 0)
        return rc;
    assert(out->len >= begin + SYN_MARKET_BATCH_HEAD);
    len = out->len - begin - SYN_MARKET_BATCH_HEAD;
    if (len > SYN_MARKET_BATCH_MAX || count > SYN_MARKET_BATCH_COUNT)
        return SYN_FAIL(err, SYN_E_LIMIT, "a batch of %u events in %zu bytes is too large", count,
                        len);
    head = out->data + begin;
    memcpy(head, magic, sizeof(magic));
    put_le(head + AT_LEN, len, 4);
    put_le(head + AT_FIRST, first, 8);
    put_le(head + AT_COUNT, count, 4);
    put_le(head + AT_ZERO, 0, 4);
    put_le(head + AT_SUM, batch_sum(head, head + SYN_MARKET_BATCH_HEAD, len), 8);
    return SYN_OK;
}

/* Is there a whole batch at data + at? */
static bool
batch_at(const unsigned char *data, size_t len, size_t at, struct syn_market_batch *batch)
{
    const unsigned char *head = data + at;

    if (len - at < SYN_MARKET_BATCH_HEAD || memcmp(head, magic, sizeof(magic)) != 0)
        return false;
    batch->len = get_le(head + AT_LEN, 4);
    batch->first = get_le(head + AT_FIRST, 8);
    batch->count = (uint32_t)get_le(head + AT_COUNT, 4);
    batch->events = (const char *)head + SYN_MARKET_BATCH_HEAD;
    if (batch->len > SYN_MARKET_BATCH_MAX || batch->count > SYN_MARKET_BATCH_COUNT ||
        batch->len > len - at - SYN_MARKET_BATCH_HEAD || get_le(head + AT_ZERO, 4) != 0)
        return false;
    return get_le(head + AT_SUM, 8) == batch_sum(head, batch->events, batch->len);
}

int
syn_market_log_next(const void *data, size_t len, size_t *at, uint64_t expected,
                    struct syn_market_batch *ret_batch, struct syn_err *err)
{
    struct syn_market_batch batch;

    if (*at >= len)
        return SYN_MARKET_LOG_END;
    if (batch_at(data, len, *at, &batch)) {
        if (batch.first != expected)
            return SYN_FAIL(err, SYN_E_CORRUPT,
                            "log: the batch at byte %zu begins with event %llu, not %llu", *at,
                            (unsigned long long)batch.first, (unsigned long long)expected);
        *at += SYN_MARKET_BATCH_HEAD + batch.len;
        *ret_batch = batch;
        return SYN_OK;
    }
    for (size_t later = *at + 1; later < len; later++) {
        if (batch_at(data, len, later, &batch) && batch.first >= expected)
            return SYN_FAIL(err, SYN_E_CORRUPT,
                            "log: no batch at byte %zu, but a later one at byte %zu", *at, later);
    }
    return SYN_MARKET_LOG_TORN;
}
