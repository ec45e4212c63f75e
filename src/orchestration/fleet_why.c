/* Why a request waits, and what would help.
 *
 * Rows say for each reason how many nodes it rules out and how near the best of them comes, then
 * node by node. What would help is found by trying: one limit of the request dropped at a time, and
 * where the request fits then, the value nearest to the one asked for that still fits, by bisection
 * over the same test of fit that places. Of the cluster: the fewest requests whose end would make
 * room, or how many more nodes of which kind. */
#include "fleet_priv.h"

#include <inttypes.h>
#include <stdio.h>

#define ROWS_MAX  256
#define TEXT_SIZE 256

static const char *const lack_names[LACKS] = {
    [LACK_NODE] = "node",           [LACK_REGION] = "region",
    [LACK_LATENCY] = "latency",     [LACK_LABELS] = "labels",
    [LACK_PRICE] = "price",         [LACK_ISOLATION] = "isolation",
    [LACK_MODEL] = "model",         [LACK_CARDS] = "cards",
    [LACK_RESERVED] = "reserved",   [LACK_CPU] = "cpu",
    [LACK_MEMORY] = "memory",       [LACK_DISK] = "disk",
    [LACK_BANDWIDTH] = "bandwidth", [LACK_WITH] = "affinity",
    [LACK_APART] = "anti-affinity", [LACK_EVEN] = "spread",
};

static const char *const lack_words[LACKS] = {
    [LACK_NODE] = "drained, or not there",
    [LACK_REGION] = "in another region",
    [LACK_LATENCY] = "too far from the region that it must be near to",
    [LACK_LABELS] = "without a label that is asked for",
    [LACK_ISOLATION] = "without the isolation that is asked for",
    [LACK_PRICE] = "dearer than the price ceiling",
    [LACK_MODEL] = "without a card that will do",
    [LACK_RESERVED] = "kept for a gang that comes first",
    [LACK_CARDS] = "without enough free of its cards",
    [LACK_CPU] = "short of CPU",
    [LACK_MEMORY] = "short of memory",
    [LACK_DISK] = "short of disk",
    [LACK_BANDWIDTH] = "short of bandwidth",
    [LACK_WITH] = "in a domain without the group that it must be with",
    [LACK_APART] = "in a domain with the group that it must be apart from",
    [LACK_EVEN] = "in a domain that has more of its group than others",
};

/* What is tried: the request's ask, or one that asks for less. */
struct trial {
    struct syn_fleet_ask ask;
    uint32_t members;
    uint32_t excused; /* SYN_BIT() of the lacks that do not count: what is kept for it */
};

/* What the node lacks for one member. */
static uint32_t
lacks_of(const struct syn_fleet *fleet, const struct trial *trial, uint32_t floor,
         const struct node *node)
{
    return node->here ? seek_lacks(fleet, &trial->ask, floor, node) & ~trial->excused : 0;
}

static struct measure
measure_cards(const struct syn_fleet *fleet, const struct syn_fleet_ask *ask,
              const struct node *node)
{
    struct measure m = {ask->mode == SYN_FLEET_CARDS ? ask->cards : ask_milli(ask), 0};

    for (uint32_t i = 0; i < node->cards_count; i++) {
        const struct syn_fleet_model *model = &fleet->models[node->models[i]].facts;
        int64_t time = card_time(node->cards[i]);

        if ((ask->models != 0 && !(ask->models >> node->models[i] & 1)) || !card_suits(ask, model))
            continue;
        if (ask->mode == SYN_FLEET_CARDS)
            m.have += node->cards[i] == CARD_NEW;
        else
            m.have = SYN_MAX(m.have, time);
    }
    return m;
}

static struct measure
measure_of(const struct syn_fleet *fleet, const struct syn_fleet_ask *ask, const struct node *node,
           unsigned lack)
{
    const struct class_key *class = &fleet->classes.items[node->class_open].key;
    uint32_t rtt;

    switch (lack) {
    case LACK_CPU:
    case LACK_MEMORY:
    case LACK_DISK:
    case LACK_BANDWIDTH:
        return (struct measure){ask->need[lack - LACK_CPU], node->free[lack - LACK_CPU]};
    case LACK_CARDS:
        return measure_cards(fleet, ask, node);
    case LACK_PRICE:
        return (struct measure){ask->price_max, score_price_least(fleet, class, ask)};
    case LACK_LATENCY:
        rtt = score_rtt(fleet, class->region, ask->near);
        return (struct measure){ask->rtt_max_us, rtt == NONE ? -1 : (int64_t)rtt};
    default:
        return (struct measure){-1, -1};
    }
}

/* `node` NULL: of the whole fleet, `count` of whose nodes fail. */
static int
row_add(json_t *why, const char *dimension, const char *node, struct measure m, int64_t count,
        const char *text, struct syn_err *err)
{
    json_t *row = NULL;
    int rc = syn_json_pack(&row, err, "{s:s, s:s?, s:I, s:s}", "dimension", dimension, "node", node,
                           "count", (json_int_t)count, "message", text);

    if (rc < 0)
        return rc;
    if (m.need >= 0)
        rc = syn_json_set_i64(row, "need", m.need, err);
    if (rc == SYN_OK && m.have >= 0)
        rc = syn_json_set_i64(row, "have", m.have, err);
    if (rc < 0) {
        json_decref(row);
        return rc;
    }
    return syn_json_append_take(why, row, err);
}

static int
row_total(json_t *why, unsigned lack, struct measure m, int64_t count, struct syn_err *err)
{
    char text[TEXT_SIZE];

    (void)snprintf(text, sizeof(text), "%" PRId64 " %s %s", count,
                   count == 1 ? "node is" : "nodes are", lack_words[lack]);
    return row_add(why, lack_names[lack], NULL, m, count, text, err);
}

static int
row_node(json_t *why, unsigned lack, const char *node, struct measure m, struct syn_err *err)
{
    char text[TEXT_SIZE];

    (void)snprintf(text, sizeof(text), "%s is %s", node, lack_words[lack]);
    return row_add(why, lack_names[lack], node, m, 1, text, err);
}

/* The totals: how many fail for each reason, and the best of them. */
static int
rows_totals(const struct syn_fleet *fleet, const struct trial *trial, json_t *why,
            struct syn_err *err)
{
    uint32_t floor = seek_floor(fleet, &trial->ask);
    int64_t counts[LACKS] = {0};
    struct measure best[LACKS];
    int rc = SYN_OK;

    for (size_t i = 0; i < fleet->nodes.count; i++) {
        const struct node *node = &fleet->nodes.items[i];
        uint32_t lacks = lacks_of(fleet, trial, floor, node);

        for (unsigned lack = 0; lack < LACKS; lack++) {
            struct measure m;

            if (!(lacks & SYN_BIT(lack)))
                continue;
            m = measure_of(fleet, &trial->ask, node, lack);
            if (counts[lack]++ == 0 || (lack == LACK_PRICE || lack == LACK_LATENCY
                                            ? m.have >= 0 && m.have < best[lack].have
                                            : m.have > best[lack].have))
                best[lack] = m;
        }
    }
    for (unsigned lack = 0; lack < LACKS && rc == SYN_OK; lack++)
        if (counts[lack] > 0)
            rc = row_total(why, lack, best[lack], counts[lack], err);
    return rc;
}

static int
rows_nodes(const struct syn_fleet *fleet, const struct trial *trial, json_t *why,
           struct syn_err *err)
{
    uint32_t floor = seek_floor(fleet, &trial->ask);
    unsigned rows = 0;
    int rc = SYN_OK;

    for (size_t i = 0; i < fleet->nodes.count && rc == SYN_OK; i++) {
        const struct node *node = &fleet->nodes.items[i];
        uint32_t lacks = lacks_of(fleet, trial, floor, node);

        for (unsigned lack = 0; lack < LACKS && rc == SYN_OK && rows < ROWS_MAX; lack++)
            if (lacks & SYN_BIT(lack)) {
                rc = row_node(why, lack, node->name, measure_of(fleet, &trial->ask, node, lack),
                              err);
                rows++;
            }
    }
    return rc;
}

/* Each limit of the account that would be passed. */
static int
rows_quota(const struct syn_fleet *fleet, const struct request *request, json_t *why,
           struct syn_err *err)
{
    static const char *const amounts[DIMS + 1] = {
#define SYN_FLEET_ROW(symbol, word, unit) [SYN_FLEET_##symbol] = word " (" unit ")",
        SYN_FLEET_DIM_TABLE(SYN_FLEET_ROW)
#undef SYN_FLEET_ROW
            [DIMS] = "cards (thousandths)",
    };
    char text[TEXT_SIZE];
    int rc = SYN_OK;

    for (unsigned amount = 0; amount <= DIMS && rc == SYN_OK; amount++) {
        struct measure m;

        if (!queue_over_quota(fleet, request, amount, &m))
            continue;
        (void)snprintf(text, sizeof(text), "the account %s has %" PRId64 " left of its quota of %s",
                       request->account ? syn_fleet_text(fleet, request->account)
                                        : "without a name",
                       m.have, amounts[amount]);
        rc = row_add(why, "quota", NULL, m, 0, text, err);
    }
    return rc;
}

/* How many members would fit now, were none bound to where the others are. */
static uint32_t
units_now(const struct syn_fleet *fleet, const struct trial *trial)
{
    uint32_t floor = seek_floor(fleet, &trial->ask), units = 0;

    for (size_t i = 0; i < fleet->nodes.count && units < trial->members; i++) {
        const struct node *node = &fleet->nodes.items[i];

        if (node->here && lacks_of(fleet, trial, floor, node) == 0)
            units += seek_units(fleet, &trial->ask, node, false, trial->members - units);
    }
    return units;
}

static bool
fits(const struct syn_fleet *fleet, const struct trial *trial)
{
    return units_now(fleet, trial) >= trial->members;
}

/* Of a gang, what no row on one member can say. */
static int
row_members(const struct syn_fleet *fleet, const struct trial *trial, json_t *why,
            struct syn_err *err)
{
    struct measure m = {trial->members, units_now(fleet, trial)};
    char text[TEXT_SIZE];

    if (m.have < m.need)
        (void)snprintf(text, sizeof(text), "%" PRId64 " of its %u members would fit at once",
                       m.have, trial->members);
    else
        (void)snprintf(text, sizeof(text),
                       "there is room for its %u members, but not where they may be beside each "
                       "other",
                       trial->members);
    return row_add(why, "members", NULL, m, 0, text, err);
}

static int fix_add(json_t *fix, struct syn_err *err, const char *format, ...) SYN_PRINTF(3, 4);

static int
fix_add(json_t *fix, struct syn_err *err, const char *format, ...)
{
    char text[TEXT_SIZE];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    return syn_json_append_take(fix, json_string(text), err);
}

/* A number of the request that may be lowered: where it is, and how it is said. */
struct knob {
    size_t offset;
    bool wide; /* 64 bits */
    int64_t least;
    const char *words;
};

static int64_t
knob_get(const struct syn_fleet_ask *ask, const struct knob *knob)
{
    int64_t wide;
    uint32_t narrow;

    if (knob->wide) {
        memcpy(&wide, (const char *)ask + knob->offset, sizeof(wide));
        return wide;
    }
    memcpy(&narrow, (const char *)ask + knob->offset, sizeof(narrow));
    return narrow;
}

static void
knob_set(struct syn_fleet_ask *ask, const struct knob *knob, int64_t value)
{
    uint32_t narrow = (uint32_t)value;

    if (knob->wide)
        memcpy((char *)ask + knob->offset, &value, sizeof(value));
    else
        memcpy((char *)ask + knob->offset, &narrow, sizeof(narrow));
}

#define NEED_AT(d) (offsetof(struct syn_fleet_ask, need) + (d) * sizeof(int64_t))

static const struct knob knobs[] = {
    {NEED_AT(SYN_FLEET_CPU), true, 0, "millicores of CPU"},
    {NEED_AT(SYN_FLEET_MEMORY), true, 0, "bytes of memory"},
    {NEED_AT(SYN_FLEET_DISK), true, 0, "bytes of disk"},
    {NEED_AT(SYN_FLEET_BANDWIDTH), true, 0, "bit/s of bandwidth"},
    {offsetof(struct syn_fleet_ask, cards), false, 1, "cards"},
    {offsetof(struct syn_fleet_ask, share), false, 1, "thousandths of a card"},
    {offsetof(struct syn_fleet_ask, vram_mib), false, 0, "MiB of a card's memory"},
    {offsetof(struct syn_fleet_ask, capability), false, 0, "as the least capability, in tenths"},
};

/* The most of it that fits, when less of it does at all. */
static int
fix_knob(const struct syn_fleet *fleet, const struct trial *trial, const struct knob *knob,
         json_t *fix, struct syn_err *err)
{
    struct trial tried = *trial;
    int64_t asked = knob_get(&trial->ask, knob), low = knob->least, high = asked;

    if (asked <= knob->least)
        return SYN_OK;
    knob_set(&tried.ask, knob, low);
    if (!fits(fleet, &tried))
        return SYN_OK;
    while (high - low > 1) {
        int64_t middle = low + (high - low) / 2;

        knob_set(&tried.ask, knob, middle);
        if (fits(fleet, &tried))
            low = middle;
        else
            high = middle;
    }
    return fix_add(fix, err, "ask for %" PRId64 " %s instead of %" PRId64, low, knob->words, asked);
}

/* The cheapest that fits, when there is one without the ceiling. */
static int
fix_price(const struct syn_fleet *fleet, const struct trial *trial, json_t *fix,
          struct syn_err *err)
{
    struct trial tried = *trial;
    int64_t low = trial->ask.price_max, high = SYN_FLEET_CEILING_MAX;

    tried.ask.price_max = high;
    if (low == 0 || !fits(fleet, &tried))
        return SYN_OK;
    while (high - low > 1) {
        tried.ask.price_max = low + (high - low) / 2;
        if (fits(fleet, &tried))
            high = tried.ask.price_max;
        else
            low = tried.ask.price_max;
    }
    return fix_add(fix, err, "raise the price ceiling to %" PRId64 " an hour", high);
}

static int
fix_tried(const struct syn_fleet *fleet, const struct trial *trial, const struct trial *tried,
          const char *words, json_t *fix, struct syn_err *err)
{
    if (memcmp(&trial->ask, &tried->ask, sizeof(trial->ask)) == 0 || !fits(fleet, tried))
        return SYN_OK;
    return fix_add(fix, err, "%s", words);
}

/* Limits that can only be dropped; those from TIES on are ones that the members of a gang set each
 * other. */
#define TIES 5
static int
fix_limits(const struct syn_fleet *fleet, const struct trial *trial, unsigned first, json_t *fix,
           struct syn_err *err)
{
    static const char *const words[] = {
        "let it go to any region",
        "allow a longer round trip",
        "ask for fewer labels",
        "let it have any isolation",
        "let it have any model of card",
        "do not ask that it be with the group",
        "do not ask that it be apart from the group",
        "allow a larger skew between domains",
    };
    int rc = SYN_OK;

    for (unsigned i = first; i < SYN_LEN(words) && rc == SYN_OK; i++) {
        struct trial tried = *trial;

        if (i == 0)
            tried.ask.region = 0;
        else if (i == 1)
            tried.ask.rtt_max_us = 0;
        else if (i == 2)
            tried.ask.labels = 0;
        else if (i == 3)
            tried.ask.isolation = 0;
        else if (i == 4)
            tried.ask.models = 0;
        else if (i == 5)
            tried.ask.with = 0;
        else if (i == 6)
            tried.ask.apart = 0;
        else
            tried.ask.even = 0;
        rc = fix_tried(fleet, trial, &tried, words[i], fix, err);
    }
    return rc;
}

/* More nodes: of the kind that holds most of what is missing, if any does. */
static int
fix_nodes(const struct syn_fleet *fleet, const struct trial *trial, uint32_t missing, json_t *fix,
          struct syn_err *err)
{
    const struct syn_fleet_ask *ask = &trial->ask;
    uint32_t most = 0;
    const struct node *like = NULL;

    for (size_t i = 0; i < fleet->nodes.count; i++) {
        const struct node *node = &fleet->nodes.items[i];
        uint32_t units;

        if (!node->here ||
            seek_class_lacks(fleet, ask, &fleet->classes.items[node->class_open].key))
            continue;
        units = seek_units(fleet, ask, node, true, missing);
        if (units > most) {
            most = units;
            like = node;
        }
    }
    if (!like || missing == 0)
        return SYN_OK;
    missing = (missing + most - 1) / most;
    return fix_add(fix, err, "add %u %s like %s", missing, missing == 1 ? "node" : "nodes",
                   like->name);
}

static int
fixes(const struct syn_fleet *fleet, const struct request *request, const struct trial *trial,
      json_t *fix, struct syn_err *err)
{
    uint32_t units = units_now(fleet, trial);
    int rc = SYN_OK;

    if (units >= trial->members) /* they only stand in each other's way */
        return fix_limits(fleet, trial, TIES, fix, err);
    for (size_t i = 0; i < SYN_LEN(knobs) && rc == SYN_OK; i++)
        rc = fix_knob(fleet, trial, &knobs[i], fix, err);
    if (rc == SYN_OK)
        rc = fix_price(fleet, trial, fix, err);
    if (rc == SYN_OK)
        rc = fix_limits(fleet, trial, 0, fix, err);
    if (rc == SYN_OK && units > 0)
        rc = fix_add(fix, err, "ask for %u %s instead of %u", units,
                     units == 1 ? "member" : "members", trial->members);
    if (rc == SYN_OK && trial->members == 1)
        rc = evict_advice(fleet, request, fix, err);
    return rc < 0 ? rc : fix_nodes(fleet, trial, trial->members - units, fix, err);
}

static int
explain_quota(const struct syn_fleet *fleet, const struct request *request, json_t *why,
              json_t *fix, struct syn_err *err)
{
    int rc = rows_quota(fleet, request, why, err);

    return rc < 0 ? rc : fix_add(fix, err, "raise the account's quota, or end something of it");
}

static int
explain_room(const struct syn_fleet *fleet, uint32_t at, json_t *why, json_t *fix,
             struct syn_err *err)
{
    const struct request *request = &fleet->requests.items[at];
    struct trial trial = {.ask = fleet->shapes.items[request->shape].ask,
                          .members = request->members,
                          .excused = hold_yields(fleet, at) ? SYN_BIT(LACK_RESERVED) : 0};
    int rc = rows_totals(fleet, &trial, why, err);

    if (rc == SYN_OK && request->members > 1)
        rc = row_members(fleet, &trial, why, err);
    if (rc == SYN_OK)
        rc = rows_nodes(fleet, &trial, why, err);
    return rc < 0 ? rc : fixes(fleet, request, &trial, fix, err);
}

static int
place_in_queue(struct syn_fleet *fleet, uint32_t at, json_t *doc, struct syn_err *err)
{
    const struct request *request = &fleet->requests.items[at];
    int64_t before = 0, start_ms = hold_start_ms(fleet, at);
    int rc;

    for (size_t i = 0; i < fleet->standing.count; i++)
        for (uint32_t other = fleet->lines.items[fleet->standing.items[i]].first; other != NONE;
             other = fleet->requests.items[other].after)
            before += other != at && queue_before(fleet, &fleet->requests.items[other], request);
    rc = syn_json_set_i64(doc, "position", before + 1, err);
    if (rc == SYN_OK)
        rc = syn_json_set_i64(doc, "queue", (int64_t)fleet->waiting, err);
    if (rc == SYN_OK)
        rc = syn_json_set_take(doc, "expected_start_ms",
                               start_ms < 0 ? json_null() : json_integer(start_ms), err);
    return rc;
}

int
syn_fleet_explain(struct syn_fleet *fleet, uint64_t key, json_t **ret, struct syn_err *err)
{
    uint32_t at = key == UINT64_MAX ? NONE : table_get(&fleet->keys, key);
    const struct request *request;
    json_t *why, *fix;
    SYN_JSON(doc);
    int rc;

    if (at == NONE || fleet->requests.items[at].state != STATE_QUEUED)
        return SYN_FAIL(err, SYN_E_NOTFOUND, "request %llu: does not wait",
                        (unsigned long long)key);
    request = &fleet->requests.items[at];
    rc = syn_json_pack(&doc, err, "{s:[], s:[]}", "why", "fix");
    if (rc < 0)
        return rc;
    why = json_object_get(doc, "why");
    fix = json_object_get(doc, "fix");
    if (request->cause == SYN_FLEET_CAUSE_QUOTA)
        rc = explain_quota(fleet, request, why, fix, err);
    else
        rc = explain_room(fleet, at, why, fix, err);
    if (rc == SYN_OK)
        rc = place_in_queue(fleet, at, doc, err);
    if (rc < 0)
        return rc;
    *ret = SYN_TAKE(doc);
    return SYN_OK;
}
