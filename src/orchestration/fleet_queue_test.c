/* What waits: its order, nodes kept for gangs, what gives way, and why it waits. */
#include "fleet_testing.h"

static void
test_gang(void **state)
{
    struct syn_fleet *fleet = fleet_make();
    struct syn_fleet_request gang = ask_part(1, SYN_FLEET_CARDS, 4), rest = gang;
    struct syn_fleet_totals totals;

    (void)state;
    (void)add(fleet, "n1", 64, 8, 0);
    (void)add(fleet, "n2", 64, 8, 0);
    gang.members = 5;
    assert_int_not_equal(try_one(fleet, &rest), SYN_FLEET_NONE);
    end(fleet, 1);
    assert_int_equal(submit(fleet, &gang), SYN_FLEET_FULL);
    syn_fleet_total(fleet, &totals);
    assert_int_equal(totals.milli_used, 0);
    assert_int_equal(totals.pending, 1);
    assert_int_equal(effects(fleet, SYN_FLEET_PENDING, 1), 1);
    (void)add(fleet, "n3", 64, 8, 0);
    assert_int_equal(effects(fleet, SYN_FLEET_PLACED, 1), 5);
    syn_fleet_free(fleet);
}

/* A gang that waits keeps nodes; only what ends in time may use them. */
static void
test_reservation(void **state)
{
    struct syn_fleet *fleet = fleet_make();
    struct syn_fleet_request first = ask_part(1, SYN_FLEET_CARDS, 8);
    struct syn_fleet_request gang = ask_part(2, SYN_FLEET_CARDS, 8);
    struct syn_fleet_request later = ask_part(3, SYN_FLEET_CARDS, 1);

    (void)state;
    (void)add(fleet, "n1", 64, 8, 0);
    (void)add(fleet, "n2", 64, 8, 0);
    first.runs_ms = 1000;
    assert_int_equal(submit(fleet, &first), SYN_OK);
    gang.members = 2;
    assert_int_equal(submit(fleet, &gang), SYN_FLEET_FULL);
    assert_int_equal(effects(fleet, SYN_FLEET_RESERVED, 2), 2);
    assert_int_equal(submit(fleet, &later), SYN_FLEET_FULL); /* could go on for ever */
    later.key = 4;
    later.runs_ms = 1001;
    assert_int_equal(submit(fleet, &later), SYN_FLEET_FULL); /* too long */
    later.key = 5;
    later.runs_ms = 1000;
    assert_int_equal(submit(fleet, &later), SYN_OK);
    syn_fleet_set_time(fleet, 1000);
    end(fleet, 5);
    assert_int_equal(effects(fleet, SYN_FLEET_PLACED, 2), 0);
    end(fleet, 1);
    assert_int_equal(effects(fleet, SYN_FLEET_PLACED, 2), 2);
    end(fleet, 2);
    assert_int_equal(effects(fleet, SYN_FLEET_PLACED, UINT64_MAX), 2); /* 3 and 4 */
    syn_fleet_free(fleet);
}

/* Two nodes of eight cards, as many of them busy (keys 1 and 2), and a gang of two (key 10). */
static struct syn_fleet *
gang_make(unsigned busy)
{
    struct syn_fleet *fleet = fleet_make();

    (void)add(fleet, "n1", 64, 8, 0);
    (void)add(fleet, "n2", 64, 8, 0);
    for (uint64_t key = 1; key <= busy; key++) {
        struct syn_fleet_request request = ask_part(key, SYN_FLEET_CARDS, 8);

        assert_int_equal(submit(fleet, &request), SYN_OK);
    }
    return fleet;
}

static struct syn_fleet_request
ask_gang(uint64_t key, uint32_t members)
{
    struct syn_fleet_request request = ask_part(key, SYN_FLEET_CARDS, 8);

    request.members = members;
    return request;
}

/* One that waited first, and asks for the same, stands in nobody's way, and nobody in its. */
static void
test_hold_and_earlier(void **state)
{
    struct syn_fleet *fleet = gang_make(2);
    struct syn_fleet_request single = ask_gang(3, 1), gang = ask_gang(10, 2);

    (void)state;
    assert_int_equal(submit(fleet, &single), SYN_FLEET_FULL);
    assert_int_equal(submit(fleet, &gang), SYN_FLEET_FULL);
    assert_int_equal(effects(fleet, SYN_FLEET_RESERVED, 10), 2);
    end(fleet, 1);
    assert_int_equal(effects(fleet, SYN_FLEET_PLACED, 3), 1);
    end(fleet, 2);
    assert_int_equal(effects(fleet, SYN_FLEET_PLACED, 10), 0);
    end(fleet, 3);
    assert_int_equal(effects(fleet, SYN_FLEET_PLACED, 10), 2);
    syn_fleet_free(fleet);
}

/* What comes before the gang takes what is kept for it, and evicts nobody for that. */
static void
test_hold_and_higher(void **state)
{
    struct syn_fleet *fleet = gang_make(1);
    struct syn_fleet_request single = ask_gang(3, 1), gang = ask_gang(10, 2);
    unsigned counts[SYN_FLEET_PENDING + 1] = {0};
    struct syn_fleet_effect effect;

    (void)state;
    assert_int_equal(submit(fleet, &gang), SYN_FLEET_FULL);
    assert_int_equal(effects(fleet, SYN_FLEET_RESERVED, 10), 2);
    single.priority = 1;
    assert_int_equal(submit(fleet, &single), SYN_OK);
    while (syn_fleet_next(fleet, &effect))
        counts[effect.type]++;
    assert_int_equal(counts[SYN_FLEET_PLACED], 1);
    assert_int_equal(counts[SYN_FLEET_EVICTED], 0);
    assert_int_equal(counts[SYN_FLEET_RELEASED], 2);
    assert_int_equal(counts[SYN_FLEET_RESERVED], 2);
    end(fleet, 3);
    end(fleet, 1);
    assert_int_equal(effects(fleet, SYN_FLEET_PLACED, 10), 2);
    syn_fleet_free(fleet);
}

/* A gang that is too large for the fleet keeps no other from its nodes, until the fleet grows. */
static void
test_hold_too_large(void **state)
{
    struct syn_fleet *fleet = gang_make(2);
    struct syn_fleet_request large = ask_gang(9, 3), gang = ask_gang(10, 2);

    (void)state;
    assert_int_equal(submit(fleet, &large), SYN_FLEET_FULL);
    assert_int_equal(effects(fleet, SYN_FLEET_RESERVED, UINT64_MAX), 0);
    assert_int_equal(submit(fleet, &gang), SYN_FLEET_FULL);
    assert_int_equal(effects(fleet, SYN_FLEET_RESERVED, 10), 2);
    (void)add(fleet, "n3", 64, 0, 0); /* no help: the other keeps what it has */
    assert_int_equal(effects(fleet, SYN_FLEET_RELEASED, UINT64_MAX), 0);
    (void)add(fleet, "n4", 64, 8, 0);
    assert_int_equal(effects(fleet, SYN_FLEET_RESERVED, 9), 3);
    end(fleet, 1);
    assert_int_equal(effects(fleet, SYN_FLEET_PLACED, UINT64_MAX), 0);
    end(fleet, 2);
    assert_int_equal(effects(fleet, SYN_FLEET_PLACED, 9), 3);
    syn_fleet_free(fleet);
}

/* Where a kept node changes, the nodes are chosen anew. */
static void
test_hold_and_change(void **state)
{
    struct syn_fleet *fleet = gang_make(1);
    struct syn_fleet_request gang = ask_gang(10, 2), half = ask_gang(11, 1);
    struct syn_fleet_effect placed = {0};
    const char *idle;

    (void)state;
    assert_true(syn_fleet_next(fleet, &placed));
    assert_int_equal(placed.type, SYN_FLEET_PLACED);
    idle = syn_fleet_node_name(fleet, 1 - placed.slot.node);
    assert_int_equal(submit(fleet, &gang), SYN_FLEET_FULL);
    assert_int_equal(effects(fleet, SYN_FLEET_RESERVED, 10), 2);
    (void)add(fleet, idle, 64, 8, 0); /* as it was */
    assert_int_equal(effects(fleet, SYN_FLEET_RELEASED, 10), 0);
    (void)add(fleet, idle, 64, 4, 0); /* the fleet is too small for the gang now */
    assert_int_equal(effects(fleet, SYN_FLEET_RELEASED, 10), 2);
    half.ask.cards = 4;
    assert_int_equal(submit(fleet, &half), SYN_OK);
    syn_fleet_free(fleet);
}

/* Once the lowest have ended, nobody looks for something lower to evict. */
static void
test_lowest(void **state)
{
    static const int32_t priorities[] = {3, 1, 1, 2};
    struct syn_fleet *fleet = fleet_make();

    (void)state;
    (void)add(fleet, "n1", 64, 0, 0);
    assert_false(run_below(fleet, INT32_MAX));
    for (unsigned i = 0; i < SYN_LEN(priorities); i++) {
        struct syn_fleet_request request = ask_cpu(i, 16);

        request.priority = priorities[i];
        assert_int_equal(submit(fleet, &request), SYN_OK);
    }
    assert_false(run_below(fleet, 1));
    end(fleet, 1);
    assert_true(run_below(fleet, 2));
    end(fleet, 2);
    assert_false(run_below(fleet, 2));
    assert_true(run_below(fleet, 3));
    end(fleet, 3);
    end(fleet, 0);
    assert_false(run_below(fleet, INT32_MAX));
    syn_fleet_free(fleet);
}

static void
test_preemption(void **state)
{
    struct syn_fleet *fleet = fleet_make();
    struct syn_fleet_request request = ask_part(1, SYN_FLEET_CARDS, 4);
    struct syn_fleet_effect effect;
    uint64_t evicted = 0;

    (void)state;
    (void)add(fleet, "n1", 64, 8, 0);
    (void)add(fleet, "n2", 64, 8, 0);
    for (uint64_t key = 1; key <= 3; key++) { /* two of four cards, and one of priority 1 */
        request = ask_part(key, SYN_FLEET_CARDS, 4);
        request.priority = key == 3;
        assert_int_equal(submit(fleet, &request), SYN_OK);
    }
    for (uint64_t key = 4; key <= 7; key++) {
        request = ask_part(key, SYN_FLEET_CARDS, 1);
        assert_int_equal(submit(fleet, &request), SYN_OK);
    }
    (void)effects(fleet, SYN_FLEET_PLACED, 0);
    request = ask_part(8, SYN_FLEET_CARDS, 4);
    assert_int_equal(submit(fleet, &request), SYN_FLEET_FULL); /* an equal takes nothing */
    end(fleet, 8);
    (void)effects(fleet, SYN_FLEET_PLACED, 0);
    request.priority = 5;
    assert_int_equal(submit(fleet, &request), SYN_OK);
    while (syn_fleet_next(fleet, &effect)) /* one of the large ones of priority 0, not four small */
        if (effect.type == SYN_FLEET_EVICTED) {
            assert_int_equal(effect.cause, SYN_FLEET_CAUSE_PREEMPTED);
            assert_int_equal(evicted, 0);
            evicted = effect.key;
        }
    assert_true(evicted == 1 || evicted == 2);
    end(fleet, 8);
    assert_int_equal(effects(fleet, SYN_FLEET_PLACED, evicted), 1);
    syn_fleet_free(fleet);
}

static void
test_drain_and_lose(void **state)
{
    struct syn_fleet *fleet = fleet_make();
    struct syn_fleet_request gang = ask_part(1, SYN_FLEET_CARDS, 4);
    struct syn_err err;
    uint32_t n3;

    (void)state;
    (void)add(fleet, "n1", 64, 8, 0);
    gang.members = 2;
    assert_int_equal(submit(fleet, &gang), SYN_OK);
    (void)effects(fleet, SYN_FLEET_PLACED, 1);
    assert_done(syn_fleet_drain(fleet, 0, &err), &err);
    assert_int_equal(effects(fleet, SYN_FLEET_EVICTED, 1), 0); /* stays until there is room */
    (void)add(fleet, "n2", 64, 4, 0);
    assert_int_equal(effects(fleet, SYN_FLEET_EVICTED, 1), 1);
    n3 = add(fleet, "n3", 64, 8, 0);
    assert_int_equal(effects(fleet, SYN_FLEET_EVICTED, 1), 1);
    assert_done(syn_fleet_lose(fleet, n3, &err), &err); /* the other member must go, too */
    assert_int_equal(effects(fleet, SYN_FLEET_EVICTED, 1), 2);
    (void)add(fleet, "n3", 64, 8, 0);
    assert_int_equal(effects(fleet, SYN_FLEET_PLACED, 1), 2);
    syn_fleet_free(fleet);
}

/* What a lost node ran may evict, as when it came. */
static void
test_lose_and_evict(void **state)
{
    struct syn_fleet *fleet = fleet_make();
    struct syn_fleet_request low = ask_part(1, SYN_FLEET_CARDS, 8);
    struct syn_fleet_request high = ask_part(2, SYN_FLEET_CARDS, 8);
    struct syn_err err;

    (void)state;
    high.priority = 1;
    (void)add(fleet, "n1", 64, 8, 0);
    assert_int_equal(submit(fleet, &low), SYN_OK);
    (void)add(fleet, "n2", 64, 8, 0);
    assert_int_equal(submit(fleet, &high), SYN_OK);
    (void)effects(fleet, SYN_FLEET_PLACED, 0);
    assert_done(syn_fleet_lose(fleet, 1, &err), &err);
    assert_int_equal(effects(fleet, SYN_FLEET_PLACED, 2), 1);
    syn_fleet_free(fleet);
}

static void
test_fair_share(void **state)
{
    struct syn_fleet *fleet = fleet_make();
    const int64_t limits[SYN_FLEET_DIMS] = {-1, -1, -1, -1};
    struct syn_fleet_request request = ask_part(1, SYN_FLEET_CARDS, 8);
    struct syn_err err;
    uint32_t greedy, modest, bound;

    (void)state;
    (void)add(fleet, "n1", 64, 8, 0);
    (void)add(fleet, "n2", 64, 8, 0);
    assert_done(syn_fleet_word(fleet, "greedy", &greedy, &err), &err);
    assert_done(syn_fleet_word(fleet, "modest", &modest, &err), &err);
    assert_done(syn_fleet_word(fleet, "bound", &bound, &err), &err);
    assert_code(syn_fleet_set_account(fleet, greedy, 0, limits, -1, &err), SYN_E_INVALID, &err);
    assert_done(syn_fleet_set_account(fleet, bound, 1, limits, 7, &err), &err);
    request.account = greedy;
    for (request.key = 1; request.key <= 3; request.key++)
        assert_int_equal(submit(fleet, &request), request.key < 3 ? SYN_OK : SYN_FLEET_FULL);
    request.account = modest;
    assert_int_equal(submit(fleet, &request), SYN_FLEET_FULL); /* 4, after 3 */
    request.account = bound;
    request.key = 5;
    assert_int_equal(submit(fleet, &request), SYN_FLEET_FULL);
    (void)effects(fleet, SYN_FLEET_PLACED, 0);
    end(fleet, 1);
    assert_int_equal(effects(fleet, SYN_FLEET_PLACED, 4), 1);
    end(fleet, 2);
    assert_int_equal(effects(fleet, SYN_FLEET_PLACED, 3), 1);
    end(fleet, 3);
    assert_int_equal(effects(fleet, SYN_FLEET_PLACED, 5), 0);
    assert_done(syn_fleet_set_account(fleet, bound, 1, limits, 8, &err), &err);
    assert_int_equal(effects(fleet, SYN_FLEET_PLACED, 5), 1);
    syn_fleet_free(fleet);
}

/* Those that ask alike wait in one line: the oldest is first, also when it was evicted after the
 * others came, and what holds up the first is said of all. */
static void
test_lines(void **state)
{
    const int64_t limits[SYN_FLEET_DIMS] = {-1, -1, -1, -1};
    struct syn_fleet *fleet = fleet_make();
    struct syn_fleet_request alike = ask_part(1, SYN_FLEET_CARDS, 8), high = alike;
    struct syn_fleet_totals totals;
    struct syn_err err;

    (void)state;
    (void)add(fleet, "n1", 64, 8, 0);
    for (; alike.key <= 4; alike.key++)
        assert_int_equal(submit(fleet, &alike), alike.key == 1 ? SYN_OK : SYN_FLEET_FULL);
    high.key = 9;
    high.priority = 1;
    assert_int_equal(submit(fleet, &high), SYN_OK); /* in the place of 1 */
    assert_int_equal(fleet->standing.count, 1);
    assert_int_equal(fleet->waiting, 4);
    (void)effects(fleet, SYN_FLEET_PLACED, 0);
    assert_done(syn_fleet_set_account(fleet, 0, 1, limits, 0, &err), &err);
    assert_int_equal(effects(fleet, SYN_FLEET_PENDING, UINT64_MAX), 4); /* for its quota now */
    end(fleet, 3);
    end(fleet, 9);
    syn_fleet_total(fleet, &totals);
    assert_int_equal(totals.running, 0);
    assert_int_equal(totals.pending, 3);
    assert_done(syn_fleet_set_account(fleet, 0, 1, limits, -1, &err), &err);
    assert_int_equal(effects(fleet, SYN_FLEET_PLACED, 1), 1);
    alike.priority = 1; /* another line: before them */
    assert_int_equal(submit(fleet, &alike), SYN_OK);
    end(fleet, 5);
    assert_int_equal(effects(fleet, SYN_FLEET_PLACED, 1), 1);
    end(fleet, 1);
    assert_int_equal(effects(fleet, SYN_FLEET_PLACED, 2), 1);
    end(fleet, 2);
    assert_int_equal(effects(fleet, SYN_FLEET_PLACED, 4), 1);
    assert_int_equal(fleet->standing.count, 0);
    syn_fleet_free(fleet);
}

/* What a lost node ran is placed elsewhere, where another has waited to be with it. */
static void
test_lose_and_follow(void **state)
{
    struct syn_fleet *fleet = fleet_make();
    struct syn_fleet_request follows = ask_cpu(1, 4), first = ask_cpu(2, 1);
    struct syn_err err;
    uint32_t number = add(fleet, "n1", 2, 0, 0);

    (void)state;
    assert_done(syn_fleet_word(fleet, "blue", &follows.ask.with, &err), &err);
    first.ask.group = follows.ask.with;
    assert_int_equal(submit(fleet, &first), SYN_OK);
    (void)add(fleet, "n2", 8, 0, 0);
    assert_int_equal(submit(fleet, &follows), SYN_FLEET_FULL);
    assert_done(syn_fleet_settle(fleet, &err), &err);
    assert_int_equal(effects(fleet, SYN_FLEET_PLACED, 1), 0);
    assert_done(syn_fleet_lose(fleet, number, &err), &err);
    assert_int_equal(effects(fleet, SYN_FLEET_PLACED, 1), 1);
    syn_fleet_free(fleet);
}

/* Ten thousand wait; each of as many ends looks at the first of them only. Looking at all took half
 * a minute. */
static void
test_long_queue(void **state)
{
    enum { WAITING = 10000, KINDS = 7, LOOKS_MAX = 2 * KINDS };
    struct syn_fleet *fleet = fleet_make();
    struct syn_fleet_request request = ask_part(0, SYN_FLEET_CARDS, 1);
    struct syn_fleet_totals totals;
    uint64_t key = 0;

    (void)state;
    (void)add(fleet, "n1", 64, 8, 0);
    for (; request.key < WAITING; request.key++) {
        request.ask.need[SYN_FLEET_CPU] = 1000 + (int64_t)request.key % KINDS;
        (void)submit(fleet, &request);
    }
    for (; key < WAITING; key++) {
        uint64_t looked = fleet->decisions;

        end(fleet, key);
        if (fleet->decisions - looked > LOOKS_MAX)
            fail_msg("end %llu: %llu looks", (unsigned long long)key,
                     (unsigned long long)(fleet->decisions - looked));
        (void)effects(fleet, SYN_FLEET_PLACED, 0);
    }
    syn_fleet_total(fleet, &totals);
    assert_int_equal(totals.running + totals.pending, 0);
    syn_fleet_free(fleet);
}

static bool
says(const json_t *list, const char *text)
{
    size_t i;
    json_t *item;

    json_array_foreach (list, i, item) {
        const char *said =
            json_is_string(item) ? json_string_value(item) : syn_json_str(item, "message", "");

        if (strstr(said, text))
            return true;
    }
    return false;
}

static void
test_explain(void **state)
{
    struct syn_fleet *fleet = fleet_make();
    struct syn_fleet_request runs = ask_part(1, SYN_FLEET_CARDS, 6);
    struct syn_fleet_request waits = ask_part(2, SYN_FLEET_CARDS, 4);
    struct syn_err err;
    json_t *why, *fix;
    SYN_JSON(doc);

    (void)state;
    (void)add(fleet, "n1", 64, 8, 0);
    (void)add(fleet, "n2", 64, 0, 0);
    runs.runs_ms = 5000;
    assert_int_equal(submit(fleet, &runs), SYN_OK);
    assert_int_equal(submit(fleet, &waits), SYN_FLEET_FULL);
    assert_code(syn_fleet_explain(fleet, 1, &doc, &err), SYN_E_NOTFOUND, &err);
    assert_done(syn_fleet_explain(fleet, 2, &doc, &err), &err);
    why = json_object_get(doc, "why");
    fix = json_object_get(doc, "fix");
    assert_true(says(why, "1 node is without enough free of its cards"));
    assert_true(says(why, "1 node is without a card that will do"));
    assert_true(says(why, "n2 is without a card"));
    assert_true(says(fix, "ask for 2 cards instead of 4"));
    assert_true(says(fix, "it fits on n1 once these have ended: 1"));
    assert_true(says(fix, "add 1 node like n1"));
    assert_int_equal(syn_json_i64(doc, "position", 0), 1);
    assert_int_equal(syn_json_i64(doc, "expected_start_ms", 0), 5000);
    syn_fleet_free(fleet);
}

/* The row of `why` of this dimension and no node; NULL: none. */
static const json_t *
row_of(const json_t *doc, const char *dimension)
{
    size_t i;
    json_t *row;

    json_array_foreach (json_object_get(doc, "why"), i, row)
        if (strcmp(syn_json_str(row, "dimension", ""), dimension) == 0 &&
            json_is_null(json_object_get(row, "node")))
            return row;
    return NULL;
}

static void
test_explain_gang(void **state)
{
    struct syn_fleet *fleet = gang_make(1);
    struct syn_fleet_request gang = ask_gang(10, 2), tied = ask_gang(11, 3);
    struct syn_err err;
    json_t *fix;
    SYN_JSON(doc);
    SYN_JSON(other);

    (void)state;
    assert_int_equal(submit(fleet, &gang), SYN_FLEET_FULL);
    assert_done(syn_fleet_explain(fleet, 10, &doc, &err), &err);
    fix = json_object_get(doc, "fix");
    assert_non_null(row_of(doc, "members"));
    assert_int_equal(syn_json_i64(row_of(doc, "members"), "need", -1), 2);
    assert_int_equal(syn_json_i64(row_of(doc, "members"), "have", -1), 1);
    assert_non_null(row_of(doc, "cards"));
    assert_null(row_of(doc, "reserved")); /* for itself */
    assert_true(says(fix, "ask for 1 member instead of 2"));
    assert_true(says(fix, "add 1 node like"));
    end(fleet, 10);
    end(fleet, 1);

    tied.ask.cards = 1;
    assert_done(syn_fleet_word(fleet, "blue", &tied.ask.group, &err), &err);
    tied.ask.apart = tied.ask.group;
    assert_int_equal(submit(fleet, &tied), SYN_FLEET_FULL);
    assert_done(syn_fleet_explain(fleet, 11, &other, &err), &err);
    fix = json_object_get(other, "fix");
    assert_true(says(json_object_get(other, "why"), "not where they may be beside each other"));
    assert_true(says(fix, "do not ask that it be apart from the group"));
    assert_int_equal(json_array_size(fix), 1);
    syn_fleet_free(fleet);
}

static void
test_explain_quota(void **state)
{
    const int64_t limits[SYN_FLEET_DIMS] = {4000, 100, -1, -1};
    struct syn_fleet *fleet = fleet_make();
    struct syn_fleet_request request = ask_cpu(1, 3);
    struct syn_err err;
    const json_t *why;
    SYN_JSON(doc);

    (void)state;
    (void)add(fleet, "n1", 64, 8, 0);
    assert_done(syn_fleet_set_account(fleet, 0, 1, limits, 1, &err), &err);
    assert_int_equal(submit(fleet, &request), SYN_OK);
    request = ask_part(2, SYN_FLEET_CARDS, 2);
    request.ask.need[SYN_FLEET_CPU] = 2000;
    request.ask.need[SYN_FLEET_MEMORY] = 100;
    assert_int_equal(submit(fleet, &request), SYN_FLEET_FULL);
    assert_done(syn_fleet_explain(fleet, 2, &doc, &err), &err);
    why = json_object_get(doc, "why");
    assert_int_equal(json_array_size(why), 2);
    assert_int_equal(syn_json_i64(json_array_get(why, 0), "need", -1), 2000);
    assert_int_equal(syn_json_i64(json_array_get(why, 0), "have", -1), 1000);
    assert_true(says(why, "1000 left of its quota of cpu"));
    assert_int_equal(syn_json_i64(json_array_get(why, 1), "need", -1), 2000);
    assert_int_equal(syn_json_i64(json_array_get(why, 1), "have", -1), 1000);
    assert_true(says(why, "1000 left of its quota of cards"));
    syn_fleet_free(fleet);
}

/* The longest sentence names all that would have to end. */
static void
test_explain_many(void **state)
{
    struct syn_fleet *fleet = fleet_make();
    struct syn_fleet_request request = ask_cpu(7, 12);
    char name[SYN_FLEET_NAME_MAX], text[32];
    struct syn_err err;
    SYN_JSON(doc);

    (void)state;
    memset(name, 'n', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    (void)add(fleet, name, 12, 0, 0);
    for (unsigned i = 1; i <= 12; i++) {
        struct syn_fleet_request runs = ask_cpu(UINT64_MAX - i, 1);

        assert_int_equal(submit(fleet, &runs), SYN_OK);
    }
    assert_int_equal(submit(fleet, &request), SYN_FLEET_FULL);
    assert_done(syn_fleet_explain(fleet, 7, &doc, &err), &err);
    for (unsigned i = 1; i <= 12; i++) {
        (void)snprintf(text, sizeof(text), " %llu", (unsigned long long)(UINT64_MAX - i));
        if (!says(json_object_get(doc, "fix"), text))
            fail_msg("does not name%s", text);
    }
    syn_fleet_free(fleet);
}

/* A gang that waits, one before it that takes what is kept, and why they wait. */
static int
scenario(void *arg, struct syn_err *err)
{
    const struct syn_fleet_options options = {.learn = true};
    struct syn_fleet_node nodes[] = {{.name = "n1", .capacity = {8000}},
                                     {.name = "n2", .capacity = {8000}}};
    struct syn_fleet_request runs = ask_cpu(1, 8), gang = ask_cpu(2, 8), high = ask_cpu(3, 8);
    SYN_SCOPED(syn_fleet_free_scope) struct syn_fleet *fleet = NULL;
    SYN_JSON(doc);
    uint32_t number;
    int rc = syn_fleet_new(&options, &fleet, err);

    (void)arg;
    gang.members = 2;
    high.priority = 1;
    for (unsigned i = 0; i < SYN_LEN(nodes) && rc == SYN_OK; i++)
        rc = syn_fleet_put_node(fleet, &nodes[i], &number, err);
    if (rc == SYN_OK)
        rc = syn_fleet_submit(fleet, &runs, err);
    if (rc == SYN_OK)
        rc = syn_fleet_submit(fleet, &gang, err);
    if (rc == SYN_FLEET_FULL)
        rc = syn_fleet_explain(fleet, gang.key, &doc, err);
    if (rc == SYN_OK)
        rc = syn_fleet_submit(fleet, &high, err);
    if (rc == SYN_OK)
        rc = syn_fleet_end(fleet, high.key, err);
    if (rc == SYN_OK)
        rc = syn_fleet_end(fleet, runs.key, err);
    return rc == SYN_OK ? syn_fleet_end(fleet, gang.key, err) : rc;
}

static void
test_memory(void **state)
{
    (void)state;
    assert_true(syn_test_sweep_alloc(scenario, NULL) > 20);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gang),
        cmocka_unit_test(test_reservation),
        cmocka_unit_test(test_hold_and_earlier),
        cmocka_unit_test(test_hold_and_higher),
        cmocka_unit_test(test_hold_too_large),
        cmocka_unit_test(test_hold_and_change),
        cmocka_unit_test(test_lowest),
        cmocka_unit_test(test_preemption),
        cmocka_unit_test(test_drain_and_lose),
        cmocka_unit_test(test_lose_and_evict),
        cmocka_unit_test(test_fair_share),
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_lose_and_follow),
        cmocka_unit_test(test_long_queue),
        cmocka_unit_test(test_explain),
        cmocka_unit_test(test_explain_gang),
        cmocka_unit_test(test_explain_quota),
        cmocka_unit_test(test_explain_many),
        cmocka_unit_test(test_memory),
    };

    syn_json_init();
    return cmocka_run_group_tests_name("fleet, what waits", tests, NULL, NULL);
}
