#include <synor/market/book.h>

#include <synor/base/test.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "book_model.h"

static struct syn_err err;

static struct syn_books *
fresh(unsigned count)
{
    struct syn_books *books = NULL;
    uint32_t book;

    assert_done(syn_books_new(&books, &err), &err);
    for (unsigned i = 0; i < count; i++) {
        assert_done(syn_books_open(books, &book, &err), &err);
        assert_int_equal(book, i);
    }
    return books;
}

/* ---- rules, one row a script ---- */

/* The number behind `mark`, or 0 without it. */
static int64_t
after(const char *line, const char *mark)
{
    const char *found = strstr(line, mark);

    return found == NULL ? 0 : strtoll(found + strlen(mark), NULL, 10);
}

/* "b1 10@5" buys; a letter after the quantity is the kind (Ioc Fok Aon Market), "own" the owner,
 * "t" an end; "x1" cancels, "r1 4" reduces, "p1 4@6" replaces, "T9" is time. */
static void
play(struct syn_books *books, const char *line, struct syn_order_result *result)
{
    struct syn_order order = {.kind = SYN_ORDER_LIMIT};
    uint64_t id = (uint64_t)after(line + 1, "");
    int64_t qty = after(line, " "), price = after(line, "@");
    char what = line[0];

    *result = (struct syn_order_result){0};
    if (what == 'x') {
        assert_done(syn_books_cancel(books, id, &err), &err);
    } else if (what == 'r') {
        assert_done(syn_books_reduce(books, id, qty, &err), &err);
    } else if (what == 'p') {
        assert_done(syn_books_replace(books, id, price, qty, SYN_STP_TAKER, result, &err), &err);
    } else if (what == 'T') {
        assert_done(syn_books_advance(books, (int64_t)id, &err), &err);
    } else {
        order.id = id;
        order.side = what == 'b' ? SYN_BUY : SYN_SELL;
        order.qty = qty;
        order.price = price;
        order.owner = (uint32_t)after(line, "own");
        order.stp = (uint8_t)after(line, "stp");
        order.until_ms = after(line, " t");
        for (unsigned kind = 0; kind < SYN_ORDER_KINDS; kind++) {
            if (strchr(line, "LIFAM"[kind]) != NULL)
                order.kind = (uint8_t)kind;
        }
        assert_done(syn_books_add(books, &order, result, &err), &err);
    }
}

static void
effects_text(const struct syn_books *books, char *out, size_t cap)
{
    size_t count, len = strlen(out);
    const struct syn_book_effect *effects = syn_books_effects(books, &count);

    for (size_t i = 0; i < count && len < cap; i++) {
        const struct syn_book_effect *e = &effects[i];

        if (e->what == SYN_BOOK_TRADE)
            len +=
                (size_t)snprintf(out + len, cap - len, "%llu<%llu %lld@%lld%s ",
                                 (unsigned long long)e->taker, (unsigned long long)e->maker,
                                 (long long)e->qty, (long long)e->price, e->maker_done ? "." : "");
        else
            len += (size_t)snprintf(out + len, cap - len, "%c%llu %lld ",
                                    e->what == SYN_BOOK_REDUCED ? '-' : "aoef"[e->why],
                                    (unsigned long long)e -> maker, (long long)e -> qty);
    }
}

static void
rules(void **state)
{
    static const struct {
        const char *events[8];
        const char *effects; /* of all of them */
        int64_t rested;      /* by the last */
        int64_t dropped;
    } rows[] = {
        /* price, then time; at the resting order's price; the rest rests */
        {{"s1 5@10", "s2 5@9", "s3 5@10", "b4 12@10"}, "4<2 5@9. 4<1 5@10. 4<3 2@10 ", 0, 0},
        {{"b1 5@10", "s2 8@9"}, "2<1 5@10. ", 3, 0},
        {{"s1 5@10", "b2 5@9"}, "", 5, 0},
        /* immediate or cancel; market */
        {{"s1 5@10", "b2 8@10 I"}, "2<1 5@10. ", 0, 3},
        {{"s1 5@10", "s2 5@999", "b3 8@0 M"}, "3<1 5@10. 3<2 3@999 ", 0, 0},
        {{"b1 5@0", "s2 8@77 M"}, "2<1 5@0. ", 0, 3},
        /* fill or kill */
        {{"s1 5@10", "s2 5@11", "b3 8@10 F"}, "", 0, 8},
        {{"s1 5@10", "s2 5@11", "b3 8@11 F"}, "3<1 5@10. 3<2 3@11 ", 0, 0},
        /* all or nothing: now, or later */
        {{"s1 5@10", "b2 5@10 A"}, "2<1 5@10. ", 0, 0},
        {{"s1 5@10", "b2 8@10 A"}, "", 8, 0},
        {{"s1 5@10", "b2 8@10 A", "s3 2@10"}, "", 2, 0},
        {{"s1 5@10", "b2 8@10 A", "s3 2@10", "s4 4@9"}, "f2 8 2<4 4@9. 2<1 4@10 ", 4, 0},
        {{"b1 8@10 A", "s2 9@9 I"}, "", 0, 9},
        {{"b1 8@10 A", "s2 9@10"}, "f1 8 1<2 8@10 ", 9, 0},
        {{"b1 8@10 A", "b2 4@11 A", "s3 5@10"}, "f2 4 2<3 4@10 ", 5, 0},
        {{"b1 8@10 A", "s2 6@10", "r1 2"}, "-1 2 f1 6 1<2 6@10. ", 0, 0},
        {{"b1 8@10 A", "s2 8@10 A"}, "", 8, 0},
        /* reduce keeps the place, replace does not */
        {{"s1 5@10", "s2 5@10", "r1 2", "b3 4@10"}, "-1 2 3<1 3@10. 3<2 1@10 ", 0, 0},
        {{"s1 5@10", "s2 5@10", "p1 3@10", "b3 6@10"}, "a1 5 3<2 5@10. 3<1 1@10 ", 0, 0},
        {{"s1 5@10", "b2 5@9", "p2 5@10"}, "a2 5 2<1 5@10. ", 0, 0},
        {{"s1 5@10", "r1 5"}, "a1 5 ", 0, 0},
        /* time */
        {{"s1 5@10 L own0 stp0 t7", "s2 5@10 L own0 stp0 t6", "T6", "b3 9@10"},
         "e2 5 3<1 5@10. ",
         4,
         0},
        {{"s1 5@10 A own0 stp0 t7", "T7"}, "e1 5 ", 0, 0},
        /* own orders: the newer, the older, both, or as much as both have */
        {{"s1 5@10 L own9", "s2 5@10", "b3 7@10 L own9 stp0"}, "", 0, 7},
        {{"s1 5@10 L own9", "s2 5@10", "b3 7@10 L own9 stp1"}, "o1 5 3<2 5@10. ", 2, 0},
        {{"s1 5@10 L own9", "s2 5@10", "b3 7@10 L own9 stp2"}, "o1 5 ", 0, 7},
        {{"s1 5@10 L own9", "s2 5@10", "b3 7@10 L own9 stp3"}, "o1 5 3<2 2@10 ", 0, 5},
        {{"s1 5@10 L own9", "b3 3@10 L own9 stp3"}, "-1 3 ", 0, 3},
        {{"s1 5@9", "s2 5@10 L own9", "b3 9@10 L own9"}, "3<1 5@9. ", 0, 4},
        {{"s1 5@10 L own9", "s2 5@10", "b3 5@10 F own9"}, "", 0, 5},
        {{"s1 5@10 L own9", "s2 5@10", "b3 5@10 F own9 stp1"}, "o1 5 3<2 5@10. ", 0, 0},
        {{"s1 5@10 L own9", "s2 5@10", "b3 5@10 A own9"}, "o1 5 3<2 5@10. ", 0, 0},
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        SYN_SCOPED(syn_books_free_scope) struct syn_books *books = fresh(1);
        struct syn_order_result result = {0};
        char text[256] = "";

        for (size_t j = 0; j < SYN_LEN(rows[i].events) && rows[i].events[j] != NULL; j++) {
            play(books, rows[i].events[j], &result);
            effects_text(books, text, sizeof(text));
            syn_books_check(books);
        }
        if (strcmp(text, rows[i].effects) != 0 || result.rested != rows[i].rested ||
            result.dropped != rows[i].dropped)
            fail_msg("row %zu: '%s' rested %lld dropped %lld", i, text, (long long)result.rested,
                     (long long)result.dropped);
    }
}

static void
refusals(void **state)
{
    static const struct {
        struct syn_order order;
        int code;
        const char *says;
    } rows[] = {
        {{.id = 0, .qty = 1}, SYN_E_INVALID, "id"},
        {{.id = 2, .qty = 0}, SYN_E_INVALID, "qty"},
        {{.id = 2, .qty = -1}, SYN_E_INVALID, "qty"},
        {{.id = 2, .qty = SYN_ORDER_QTY_MAX + 1}, SYN_E_INVALID, "qty"},
        {{.id = 2, .qty = 1, .price = -1}, SYN_E_INVALID, "price"},
        {{.id = 2, .qty = 1, .price = INT64_MAX}, SYN_E_INVALID, "price"},
        {{.id = 2, .qty = 1, .side = 2}, SYN_E_INVALID, "side"},
        {{.id = 2, .qty = 1, .kind = SYN_ORDER_KINDS}, SYN_E_INVALID, "kind"},
        {{.id = 2, .qty = 1, .stp = SYN_STPS}, SYN_E_INVALID, "stp"},
        {{.id = 2, .qty = 1, .book = 1}, SYN_E_NOTFOUND, "book"},
        {{.id = 2, .qty = 1, .until_ms = 50}, SYN_E_INVALID, "until_ms"},
        {{.id = 2, .qty = 1, .until_ms = -1}, SYN_E_INVALID, "until_ms"},
        {{.id = 2, .qty = 1, .kind = SYN_ORDER_IOC, .until_ms = 99}, SYN_E_INVALID, "until_ms"},
        {{.id = 1, .qty = 1}, SYN_E_EXISTS, "1"},
    };
    SYN_SCOPED(syn_books_free_scope) struct syn_books *books = fresh(1);
    struct syn_order_result result;
    size_t count;

    (void)state;
    play(books, "b1 5@10", &result);
    assert_done(syn_books_advance(books, 50, &err), &err);
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        assert_code(syn_books_add(books, &rows[i].order, &result, &err), rows[i].code, &err);
        assert_non_null(strstr(err.msg, rows[i].says));
        (void)syn_books_effects(books, &count);
        assert_int_equal(count, 0);
        assert_int_equal(syn_books_resting(books, 0), 1);
        syn_books_check(books);
    }
    assert_code(syn_books_cancel(books, 7, &err), SYN_E_NOTFOUND, &err);
    assert_code(syn_books_cancel(books, 0, &err), SYN_E_NOTFOUND, &err);
    assert_code(syn_books_reduce(books, 1, 0, &err), SYN_E_INVALID, &err);
    assert_code(syn_books_reduce(books, 1, -4, &err), SYN_E_INVALID, &err);
    assert_code(syn_books_replace(books, 1, -1, 1, SYN_STP_TAKER, &result, &err), SYN_E_INVALID,
                &err);
    assert_code(syn_books_advance(books, 49, &err), SYN_E_INVALID, &err);
    assert_int_equal(syn_books_resting(books, 0), 1);
}

static void
the_next_end_is_known(void **state)
{
    SYN_SCOPED(syn_books_free_scope) struct syn_books *books = fresh(1);
    struct syn_order late = {.id = 1, .price = 5, .qty = 1, .until_ms = 90};
    struct syn_order soon = {.id = 2, .price = 5, .qty = 1, .until_ms = 60};
    struct syn_order_result result;

    (void)state;
    assert_int_equal(syn_books_next_end_ms(books), INT64_MAX);
    assert_done(syn_books_add(books, &late, &result, &err), &err);
    assert_int_equal(syn_books_next_end_ms(books), 90);
    assert_done(syn_books_add(books, &soon, &result, &err), &err);
    assert_int_equal(syn_books_next_end_ms(books), 60);
    assert_done(syn_books_cancel(books, 2, &err), &err);
    assert_true(syn_books_next_end_ms(books) <= 90); /* may be too early, never too late */
    assert_done(syn_books_advance(books, 60, &err), &err);
    assert_int_equal(syn_books_next_end_ms(books), 90);
    assert_done(syn_books_advance(books, 90, &err), &err);
    assert_int_equal(syn_books_next_end_ms(books), INT64_MAX);
}

static void
limits(void **state)
{
    SYN_SCOPED(syn_books_free_scope) struct syn_books *books = fresh(1);
    struct syn_order order = {.qty = 5, .kind = SYN_ORDER_AON, .side = SYN_SELL, .price = 3};
    struct syn_order_result result;

    (void)state;
    for (order.id = 1; order.id <= SYN_BOOK_AON_MAX; order.id++)
        assert_done(syn_books_add(books, &order, &result, &err), &err);
    assert_code(syn_books_add(books, &order, &result, &err), SYN_E_LIMIT, &err);
    order.kind = SYN_ORDER_LIMIT;
    order.qty = SYN_ORDER_QTY_MAX;
    for (; order.id <= SYN_BOOK_AON_MAX + SYN_BOOK_RESTING_MAX / SYN_ORDER_QTY_MAX; order.id++)
        assert_done(syn_books_add(books, &order, &result, &err), &err);
    assert_code(syn_books_add(books, &order, &result, &err), SYN_E_LIMIT, &err);
    syn_books_check(books);
}

/* ---- against the naive book ---- */

static int64_t
random_price(uint64_t *random, unsigned style)
{
    uint64_t r = syn_test_random(random);

    if (style == 0)
        return (int64_t)(100 + r % 12);
    if (style == 1)
        return (int64_t)(r % 7000);
    return (int64_t)(r >> (1 + (r & 63) % 60)) % SYN_PRICE_MAX; /* any size of number */
}

static void
random_event(struct book_model *model, struct syn_books *books, uint64_t *random, unsigned style)
{
    struct syn_order_result a = {0}, b = {0};
    uint64_t r = syn_test_random(random), id = 1 + syn_test_random(random) % 400;
    int64_t price = random_price(random, style), qty = 1 + (int64_t)(r >> 40) % 30;
    int64_t now_ms = model->now_ms + qty % 5;
    struct syn_order order = {.id = style == 2 ? id * UINT64_C(0x100000001) << (id % 8) : id,
                              .price = price,
                              .qty = qty,
                              .book = (uint32_t)(r >> 8) % 3,
                              .owner = (uint32_t)(r >> 12) % 4,
                              .side = (uint8_t)(r >> 16 & 1),
                              .stp = (uint8_t)(r >> 20) % SYN_STPS,
                              .kind =
                                  (r >> 24) % 3 == 0 ? (uint8_t)(r >> 28) % SYN_ORDER_KINDS : 0};

    if (style == 0 && order.side == SYN_SELL)
        order.price = price += 8; /* or little would rest */
    if ((r >> 32) % 16 == 0)
        order.until_ms = model->now_ms + 1 + (int64_t)(r >> 36) % 60;
    id = model->count > 0 && r % 16 != 0 ? model->orders[(r >> 33) % model->count].id : order.id;
    if (r % 16 < 9)
        assert_int_equal(syn_books_add(books, &order, &a, &err), book_model_add(model, &order, &b));
    else if (r % 16 < 11)
        assert_int_equal(syn_books_cancel(books, id, &err), book_model_cancel(model, id));
    else if (r % 16 < 13)
        assert_int_equal(syn_books_reduce(books, id, qty - 3, &err),
                         book_model_reduce(model, id, qty - 3));
    else if (r % 16 < 15)
        assert_int_equal(syn_books_replace(books, id, price, qty, order.stp, &a, &err),
                         book_model_replace(model, id, price, qty, order.stp, &b));
    else
        assert_int_equal(syn_books_advance(books, now_ms, &err), book_model_advance(model, now_ms));
    assert_memory_equal(&a, &b, sizeof(a));
}

/* So that the comparison is known to have seen everything. */
static void
count_effects(const struct book_model *model, unsigned seen[2][4])
{
    for (size_t i = 0; i < model->effect_count; i++)
        seen[model->effects[i].what == SYN_BOOK_TRADE][model->effects[i].why]++;
}

static void
as_the_naive_book(void **state)
{
    static struct book_model model;
    unsigned seen[2][4] = {{0}};
    size_t most = 0;

    (void)state;
    for (unsigned round = 0; round < 12; round++) {
        SYN_SCOPED(syn_books_free_scope) struct syn_books *books = fresh(3);
        uint64_t random = 1000 + round;

        memset(&model, 0, sizeof(model));
        model.books = 3;
        for (unsigned i = 0; i < 2000; i++) {
            random_event(&model, books, &random, round % 3);
            count_effects(&model, seen);
            most = model.count > most ? model.count : most;
            if (i % 8 == 0 || model.effect_count > 3)
                book_model_same(&model, books);
        }
    }
    assert_true(most > 50);
    assert_true(seen[true][SYN_BOOK_ASKED] > 1000);
    for (unsigned why = SYN_BOOK_ASKED; why <= SYN_BOOK_FILLS; why++)
        assert_true(seen[false][why] > 20);
}

/* ---- questions ---- */

static void
depth_and_quotes(void **state)
{
    SYN_SCOPED(syn_books_free_scope) struct syn_books *books = fresh(2);
    struct syn_order ask = {.qty = 12, .price = 11, .side = SYN_BUY, .owner = 4};
    struct syn_book_level levels[8];
    struct syn_order_view view;
    struct syn_order_result result;
    syn_u128 cost;
    int64_t price;

    (void)state;
    assert_false(syn_books_best(books, 0, SYN_SELL, &price));
    play(books, "s1 5@10", &result);
    play(books, "s2 5@9000000000000", &result);
    play(books, "s3 7@11 L own4", &result);
    play(books, "s4 2@10", &result);
    play(books, "s5 3@10 A", &result);
    play(books, "b6 3@4", &result);
    assert_int_equal(syn_books_depth(books, 0, SYN_SELL, levels, 8), 3);
    assert_int_equal(levels[0].price, 10);
    assert_int_equal(levels[0].qty, 7);
    assert_int_equal(levels[0].orders, 2);
    assert_int_equal(levels[2].price, 9000000000000);
    assert_int_equal(syn_books_depth(books, 0, SYN_SELL, levels, 2), 2);
    assert_int_equal(syn_books_depth(books, 1, SYN_SELL, levels, 8), 0);
    assert_int_equal(syn_books_depth(books, 2, SYN_SELL, levels, 8), 0);
    assert_true(syn_books_best(books, 0, SYN_BUY, &price));
    assert_int_equal(price, 4);
    assert_int_equal(syn_books_quote(books, &ask, &cost), 7);
    assert_int_equal(cost, 70);
    ask.kind = SYN_ORDER_MARKET;
    assert_int_equal(syn_books_quote(books, &ask, &cost), 12);
    assert_true(cost == 70 + (syn_u128)5 * 9000000000000);
    ask.owner = 0;
    ask.kind = SYN_ORDER_LIMIT;
    assert_int_equal(syn_books_quote(books, &ask, &cost), 12);
    assert_int_equal(cost, 70 + 55);
    assert_true(syn_books_find(books, 5, &view));
    assert_true(view.aon && view.price == 10 && view.qty == 3);
    assert_false(syn_books_find(books, 77, &view));
    assert_int_equal(syn_books_resting(books, 0), 6);
}

/* ---- memory ---- */

/* Enough to grow every pool, twice; a failure in the middle must leave the books whole. */
static int
memory_scenario(void *arg, struct syn_err *failure)
{
    SYN_SCOPED(syn_books_free_scope) struct syn_books *books = NULL;
    struct syn_order_result result;
    uint32_t book;
    int rc = syn_books_new(&books, failure);

    (void)arg;
    for (unsigned i = 0; i < 6 && rc == 0; i++)
        rc = syn_books_open(books, &book, failure);
    for (uint64_t i = 1; i <= 300 && rc == 0; i++) {
        struct syn_order order = {.id = i * 100,
                                  .qty = 3,
                                  .price = (int64_t)(i * i * i * 997),
                                  .book = (uint32_t)(i % 6),
                                  .until_ms = (int64_t)(i % 2 * 1000),
                                  .kind = i % 9 == 0 ? SYN_ORDER_AON : SYN_ORDER_LIMIT};

        rc = syn_books_add(books, &order, &result, failure);
        if (rc == 0 && i % 5 == 0)
            rc = syn_books_replace(books, i * 100, 77, 9, SYN_STP_TAKER, &result, failure);
    }
    if (rc == 0)
        rc = syn_books_advance(books, 5000, failure);
    if (books != NULL)
        syn_books_check(books);
    return rc;
}

static void
memory(void **state)
{
    (void)state;
    assert_true(syn_test_sweep_alloc(memory_scenario, NULL) > 25);
}

/* Pools are used again: what comes and goes for long takes no more than what rests at once. */
static void
long_run(void **state)
{
    SYN_SCOPED(syn_books_free_scope) struct syn_books *books = fresh(1);
    struct syn_order_result result;
    uint64_t allocations = 0;

    (void)state;
    for (uint64_t i = 1; i <= 60000; i++) {
        struct syn_order order = {.id = i,
                                  .qty = 1,
                                  .price = (int64_t)(i * 31),
                                  .until_ms = (int64_t)i + 100,
                                  .side = SYN_SELL};

        if (i == 5000)
            allocations = syn_mem_fault_count();
        assert_done(syn_books_add(books, &order, &result, &err), &err);
        if (i > 50 && i % 3 != 0)
            assert_done(syn_books_cancel(books, i - 50, &err), &err);
        assert_done(syn_books_advance(books, (int64_t)i, &err), &err);
    }
    assert_int_equal(syn_mem_fault_count(), allocations);
    syn_books_check(books);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rules),
        cmocka_unit_test(refusals),
        cmocka_unit_test(the_next_end_is_known),
        cmocka_unit_test(limits),
        cmocka_unit_test(as_the_naive_book),
        cmocka_unit_test(depth_and_quotes),
        cmocka_unit_test(memory),
        cmocka_unit_test(long_run),
    };

    return cmocka_run_group_tests_name("book", tests, NULL, NULL);
}
