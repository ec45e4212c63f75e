#include <synor/market/debts.h>

#include "market_test_priv.h"

static struct syn_err err;

enum { SELLER, OTHER, ANN, BOB, ACCOUNTS };

/* The class's debts as "HOLDER<SELLER UNITS" in their order. */
static const char *
text_of(const struct syn_debts *debts, char *out, size_t cap)
{
    static const char *const names[] = {"seller", "other", "ann", "bob"};
    struct syn_debt debt;
    size_t cursor = 0, len = 0;

    out[0] = '\0';
    while (syn_debts_next(debts, 0, &cursor, &debt))
        len += (size_t)snprintf(out + len, cap - len, "%s<%s %lld ", names[debt.holder],
                                names[debt.seller], (long long)debt.units);
    return out;
}

/* They owe (> 0) and hold (< 0) so much now. */
static void
becomes(struct syn_debts *debts, const int64_t nets[ACCOUNTS], const char *want)
{
    char text[256];

    for (uint32_t i = 0; i < ACCOUNTS; i++)
        assert_done(syn_debts_tell(debts, 0, i, nets[i], &err), &err);
    assert_done(syn_debts_settle(debts, 0, &err), &err);
    assert_string_equal(text_of(debts, text, sizeof(text)), want);
}

static void
units_keep_their_seller(void **state)
{
    SYN_SCOPED(syn_debts_free_scope) struct syn_debts *debts = NULL;

    (void)state;
    assert_done(syn_debts_new(&debts, &err), &err);
    becomes(debts, (int64_t[]){5, 0, -5, 0}, "ann<seller 5 ");
    becomes(debts, (int64_t[]){5, 3, -5, -3}, "ann<seller 5 bob<other 3 ");
    /* Ann sells two to Bob, who has them of the same seller then. */
    becomes(debts, (int64_t[]){5, 3, -3, -5}, "ann<seller 3 bob<other 3 bob<seller 2 ");
    /* Bob begins one with the other: it is that one's unit. */
    becomes(debts, (int64_t[]){5, 2, -3, -4}, "ann<seller 3 bob<other 2 bob<seller 2 ");
    /* Ann begins one with the other, and has none of it: Bob takes over hers. */
    becomes(debts, (int64_t[]){5, 1, -2, -4}, "ann<seller 2 bob<other 1 bob<seller 3 ");
    /* The seller buys two back of Bob: what it had of the other is nobody's but Bob's. */
    becomes(debts, (int64_t[]){3, 1, -2, -2}, "ann<seller 2 bob<other 1 bob<seller 1 ");
    becomes(debts, (int64_t[]){0, 1, 0, -1}, "bob<other 1 ");
    becomes(debts, (int64_t[]){0, 0, 0, 0}, "");
}

static void
a_seller_may_become_a_holder(void **state)
{
    SYN_SCOPED(syn_debts_free_scope) struct syn_debts *debts = NULL;

    (void)state;
    assert_done(syn_debts_new(&debts, &err), &err);
    becomes(debts, (int64_t[]){5, 0, -5, 0}, "ann<seller 5 ");
    becomes(debts, (int64_t[]){-2, 5, -3, 0}, "seller<other 2 ann<other 3 ");
    becomes(debts, (int64_t[]){1, 0, 0, -1}, "bob<seller 1 ");
}

static void
what_is_told_in_part_waits(void **state)
{
    SYN_SCOPED(syn_debts_free_scope) struct syn_debts *debts = NULL;

    (void)state;
    assert_done(syn_debts_new(&debts, &err), &err);
    becomes(debts, (int64_t[]){5, 0, 0, 0}, "");
    becomes(debts, (int64_t[]){5, 0, -2, 0}, "ann<seller 2 ");
    becomes(debts, (int64_t[]){5, 0, -2, -3}, "ann<seller 2 bob<seller 3 ");
}

static void
what_changed_is_written_once(void **state)
{
    SYN_SCOPED(syn_debts_free_scope) struct syn_debts *debts = NULL;
    uint32_t class = 9, holder = 9;

    (void)state;
    assert_done(syn_debts_new(&debts, &err), &err);
    assert_done(syn_debts_restore(debts, 0, &(struct syn_debt){ANN, SELLER, 4, 7}, &err), &err);
    assert_false(syn_debts_changed(debts, &class, &holder));
    becomes(debts, (int64_t[]){4, 1, -4, -1}, "ann<seller 4 bob<other 1 ");
    assert_true(syn_debts_changed(debts, &class, &holder));
    assert_int_equal(holder, BOB);
    assert_false(syn_debts_changed(debts, &class, &holder));
    { /* what is new is younger than all that was written */
        struct syn_debt debt;
        size_t cursor = 1;

        assert_true(syn_debts_next(debts, 0, &cursor, &debt));
        assert_int_equal(debt.age, 8);
    }
    syn_debts_change(debts, class, holder);
    assert_true(syn_debts_changed(debts, &class, &holder));
    assert_int_equal(holder, BOB);
}

static void
nonsense_is_refused(void **state)
{
    static const struct {
        uint32_t class;
        struct syn_debt debt;
        int code;
    } rows[] = {
        {0, {ANN, SELLER, 0, 0}, SYN_E_INVALID},
        {0, {ANN, SELLER, -1, 0}, SYN_E_INVALID},
        {0, {ANN, SELLER, 1, -1}, SYN_E_INVALID},
        {0, {ANN, SELLER, INT64_MAX, 0}, SYN_E_INVALID},
        {0, {ANN, ANN, 1, 0}, SYN_E_INVALID},
        {0, {UINT32_MAX, SELLER, 1, 0}, SYN_E_LIMIT},
        {0, {ANN, SYN_DEBTS_ACCOUNTS_MAX, 1, 0}, SYN_E_LIMIT},
        {SYN_DEBTS_CLASSES_MAX, {ANN, SELLER, 1, 0}, SYN_E_LIMIT},
    };
    SYN_SCOPED(syn_debts_free_scope) struct syn_debts *debts = NULL;
    struct syn_debt debt;
    size_t cursor = 0;

    (void)state;
    assert_done(syn_debts_new(&debts, &err), &err);
    for (size_t i = 0; i < SYN_LEN(rows); i++)
        assert_code(syn_debts_restore(debts, rows[i].class, &rows[i].debt, &err), rows[i].code,
                    &err);
    assert_code(syn_debts_tell(debts, UINT32_MAX, ANN, 1, &err), SYN_E_LIMIT, &err);
    assert_done(syn_debts_settle(debts, 77, &err), &err);
    assert_false(syn_debts_next(debts, 77, &cursor, &debt));
    assert_false(syn_debts_next(debts, 0, &cursor, &debt));
}

/* --- at random -------------------------------------------------------------------------------- */

enum { MANY = 24, CLASSES = 3 };

/* Each seller's debts are what it owes, each holder's what it holds. */
static void
check_sums(const struct syn_debts *debts, uint32_t class, const int64_t *nets)
{
    int64_t sums[MANY] = {0};
    struct syn_debt debt;
    size_t cursor = 0;

    while (syn_debts_next(debts, class, &cursor, &debt)) {
        assert_true(debt.units > 0);
        assert_true(nets[debt.holder] < 0 && nets[debt.seller] > 0);
        sums[debt.holder] -= debt.units;
        sums[debt.seller] += debt.units;
    }
    assert_memory_equal(sums, nets, sizeof(sums));
}

/* How many units of the class have the seller that they had. */
static int64_t
kept(const struct syn_debts *debts, uint32_t class, int64_t (*links)[MANY])
{
    int64_t units = 0;
    struct syn_debt debt;
    size_t cursor = 0;

    while (syn_debts_next(debts, class, &cursor, &debt))
        units += SYN_MIN(links[debt.holder][debt.seller], debt.units);
    memset(links, 0, sizeof(*links) * MANY);
    cursor = 0;
    while (syn_debts_next(debts, class, &cursor, &debt))
        links[debt.holder][debt.seller] += debt.units;
    return units;
}

static void
sums_are_always_right(void **state)
{
    SYN_SCOPED(syn_debts_free_scope) struct syn_debts *debts = NULL;
    int64_t nets[CLASSES][MANY] = {{0}};
    static int64_t links[CLASSES][MANY][MANY];
    uint64_t random = 20261129;

    (void)state;
    assert_done(syn_debts_new(&debts, &err), &err);
    for (int round = 0; round < 20000; round++) {
        uint32_t class = (uint32_t)(syn_test_random(&random) % CLASSES);
        uint32_t from = (uint32_t)(syn_test_random(&random) % MANY);
        uint32_t to = (uint32_t)(syn_test_random(&random) % MANY);
        int64_t qty = 1 + (int64_t)(syn_test_random(&random) % 9);
        int64_t before = 0;

        for (uint32_t i = 0; i < MANY; i++)
            before += SYN_MAX(nets[class][i], 0);
        nets[class][from] += qty;
        nets[class][to] -= qty;
        assert_done(syn_debts_tell(debts, class, from, nets[class][from], &err), &err);
        assert_done(syn_debts_tell(debts, class, to, nets[class][to], &err), &err);
        assert_done(syn_debts_settle(debts, class, &err), &err);
        check_sums(debts, class, nets[class]);
        /* So many went from hand to hand: no other unit has another seller now, but one that took
         * the place of one of these. */
        assert_true(kept(debts, class, links[class]) >= before - 2 * qty);
    }
}

static int
tell_all(struct syn_debts *debts, struct syn_err *failure)
{
    static const int64_t nets[ACCOUNTS] = {6, 0, -4, -2};
    int rc = SYN_OK;

    for (uint32_t i = 0; rc == SYN_OK && i < ACCOUNTS; i++)
        rc = syn_debts_tell(debts, 2, 40 * i, nets[i], failure);
    return rc < 0 ? rc : syn_debts_settle(debts, 2, failure);
}

static int
memory_scenario(void *arg, struct syn_err *failure)
{
    SYN_SCOPED(syn_debts_free_scope) struct syn_debts *debts = NULL;
    int64_t sum = 0;
    struct syn_debt debt;
    size_t cursor = 0;
    int rc = syn_debts_new(&debts, failure);

    (void)arg;
    if (rc < 0)
        return rc;
    rc = tell_all(debts, failure);
    if (rc < 0) /* what failed is done when it is tried again */
        assert_done(tell_all(debts, &err), &err);
    while (syn_debts_next(debts, 2, &cursor, &debt))
        sum += debt.units;
    assert_int_equal(sum, 6);
    return rc;
}

static void
out_of_memory_anywhere(void **state)
{
    (void)state;
    assert_true(syn_test_sweep_alloc(memory_scenario, NULL) > 5);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(units_keep_their_seller),
        cmocka_unit_test(a_seller_may_become_a_holder),
        cmocka_unit_test(what_is_told_in_part_waits),
        cmocka_unit_test(what_changed_is_written_once),
        cmocka_unit_test(nonsense_is_refused),
        cmocka_unit_test(sums_are_always_right),
        cmocka_unit_test(out_of_memory_anywhere),
    };

    return cmocka_run_group_tests_name("debts", tests, NULL, NULL);
}
