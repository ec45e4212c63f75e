#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/base/test.h>
#include <synor/chain/ledger.h>

static struct syn_err err;

/* ---- helpers ---- */

static struct syn_ledger_head
head(const char *id, int64_t seq, const char *ref)
{
    return (struct syn_ledger_head){.id = id, .seq = seq, .at_ms = 1764000000000, .ref = ref};
}

static int
load(struct syn_ledger *book, const char *name, int64_t balance, struct syn_err *e)
{
    struct syn_ledger_account account = {.balance = balance, .seq = balance != 0};

    assert_true(syn_str_copy(account.name, sizeof(account.name), name));
    return syn_ledger_load(book, &account, e);
}

static int64_t
balance(const struct syn_ledger *book, const char *name)
{
    const struct syn_ledger_account *account = syn_ledger_find(book, name);

    assert_non_null(account);
    return account->balance;
}

static int64_t
entry_of(const struct syn_ledger_tx *tx, const char *account)
{
    for (size_t i = 0; i < tx->count; i++) {
        if (syn_str_eq(tx->entries[i].account, account))
            return tx->entries[i].amount;
    }
    return 0;
}

/* Alice 1000, bob 0, the system accounts, and an open escrow of 100 for job1. */
static struct syn_ledger *
sample_book(void)
{
    struct syn_ledger *book = NULL;

    assert_done(syn_ledger_new(&book, &err), &err);
    assert_done(load(book, SYN_LEDGER_MINT, -1100, &err), &err);
    assert_done(load(book, SYN_LEDGER_PROTOCOL, 0, &err), &err);
    assert_done(load(book, "alice", 1000, &err), &err);
    assert_done(load(book, "bob", 0, &err), &err);
    assert_done(load(book, "escrow:job1", 100, &err), &err);
    return book;
}

/* ---- documents ---- */

#define ENTRIES_OK                                                                            \
    "\"entries\":[{\"account\":\"alice\",\"amount\":\"-1\"},{\"account\":\"bob\",\"amount\":" \
    "\"1\"}]"
#define DOC(seq, kind, ref, entries)                                                           \
    "{\"id\":\"t1\",\"seq\":" seq ",\"kind\":\"" kind "\",\"ref\":\"" ref "\",\"memo\":\"m\"," \
    "\"at\":\"2026-11-23T19:58:57.123Z\"," entries "}"
#define E(account, amount) "{\"account\":\"" account "\",\"amount\":\"" amount "\"}"

static const struct {
    const char *doc, *says; /* NULL: valid */
} documents[] = {
    {DOC("1", "transfer", "", ENTRIES_OK), NULL},
    {DOC("1", "mint", "", "\"entries\":[" E("system:mint", "-5") "," E("bob", "5") "]"), NULL},
    {DOC("1", "escrow", "j", "\"entries\":[" E("escrow:j", "5") "," E("bob", "-5") "]"), NULL},
    {DOC("1", "settle", "j", "\"entries\":[" E("escrow:j", "-5") "," E("b", "5") "]"), NULL},
    {DOC("1", "refund", "j", "\"entries\":[" E("escrow:j", "-5") "," E("b", "5") "]"), NULL},
    {"{}", "transaction"},
    {"[]", ""},
    {DOC("0", "transfer", "", ENTRIES_OK), "seq"},
    {DOC("1.5", "transfer", "", ENTRIES_OK), "seq"},
    {DOC("1", "gift", "", ENTRIES_OK), "none of mint"},
    {DOC("1", "transfer", "Bad Ref", ENTRIES_OK), "ref"},
    {DOC("1", "transfer", "", ENTRIES_OK ",\"fee\":1"), "fee"},
    {DOC("1", "transfer", "", "\"entries\":[]"), "0 entries"},
    {DOC("1", "transfer", "", "\"entries\":[1,2]"), ""},
    {DOC("1", "transfer", "", "\"entries\":[" E("alice", "1") "]"), "1 entries"},
    {DOC("1", "transfer", "", "\"entries\":[" E("a", "-1") "," E("b", "2") "]"), "sum to 1"},
    {DOC("1", "transfer", "", "\"entries\":[" E("a", "0") "," E("b", "0") "]"), "zero"},
    {DOC("1", "transfer", "", "\"entries\":[" E("a", "-1") "," E("a", "1") "]"), "two entries"},
    {DOC("1", "transfer", "", "\"entries\":[" E("a", "--1") "," E("b", "1") "]"), "amount"},
    {DOC("1", "transfer", "", "\"entries\":[" E("a", "-1e3") "," E("b", "1") "]"), "amount"},
    {DOC("1", "transfer", "", "\"entries\":[" E("A", "-1") "," E("b", "1") "]"), "bad account"},
    {DOC("1", "transfer", "", "\"entries\":[" E("x:y", "-1") "," E("b", "1") "]"), "bad account"},
    {DOC("1", "transfer", "", "\"entries\":[" E("system:mint", "-1") "," E("b", "1") "]"),
     "may not touch"},
    {DOC("1", "transfer", "j", "\"entries\":[" E("escrow:j", "-1") "," E("b", "1") "]"),
     "may not touch"},
    {DOC("1", "mint", "", "\"entries\":[" E("system:mint", "1") "," E("b", "-1") "]"), "take from"},
    {DOC("1", "mint", "j", "\"entries\":[" E("system:mint", "-1") "," E("escrow:j", "1") "]"),
     "may not touch"},
    {DOC("1", "escrow", "j", "\"entries\":[" E("escrow:k", "5") "," E("bob", "-5") "]"),
     "may not touch"},
    {DOC("1", "escrow", "", "\"entries\":[" E("escrow:j", "5") "," E("bob", "-5") "]"),
     "may not touch"},
    {DOC("1", "escrow", "j", "\"entries\":[" E("escrow:j", "-5") "," E("bob", "5") "]"),
     "must add to"},
    {DOC("1", "settle", "j", "\"entries\":[" E("escrow:j", "5") "," E("bob", "-5") "]"),
     "must take from"},
    {DOC("1", "escrow", "j", "\"entries\":[" E("system:mint", "-5") "," E("escrow:j", "5") "]"),
     "may not touch"},
    {DOC("1", "refund", "j",
         "\"entries\":[" E("escrow:j", "-5") "," E("a", "2") "," E("b", "3") "]"),
     "one account"},
    {DOC("1", "transfer", "", "\"entries\":[" E("a", "-4000000001") "," E("b", "4000000001") "]"),
     "amount"},
};

static void
decode_one(const char *text, const char *says)
{
    SYN_JSON(doc);
    struct syn_ledger_tx tx;
    struct syn_err e = {0};
    int rc;

    assert_done(syn_json_parse(text, strlen(text), &doc, &e), &e);
    rc = syn_ledger_tx_decode(doc, &tx, &e);
    assert_code(rc, says ? SYN_E_INVALID : SYN_OK, &e);
    if (says && !strstr(e.msg, says))
        fail_msg("%s says '%s', not '%s'", text, e.msg, says);
}

static void
decoding_is_strict(void **state)
{
    (void)state;
    for (size_t i = 0; i < SYN_LEN(documents); i++)
        decode_one(documents[i].doc, documents[i].says);
}

static void
entry_limit_and_texts(void **state)
{
    struct syn_ledger_head h = head("t", 1, NULL);
    struct syn_ledger_tx tx;
    char longest[SYN_LEDGER_MEMO_MAX + 1];

    (void)state;
    memset(longest, 'm', sizeof(longest));
    longest[SYN_LEDGER_MEMO_MAX] = '\0';
    h.memo = longest;
    assert_code(syn_ledger_build_transfer(&h, "a", "b", 1, &tx, &err), SYN_E_INVALID, &err);
    longest[SYN_LEDGER_MEMO_MAX - 1] = '\0';
    assert_done(syn_ledger_build_transfer(&h, "a", "b", 1, &tx, &err), &err);
    h.memo = "line\nbreak";
    assert_code(syn_ledger_build_transfer(&h, "a", "b", 1, &tx, &err), SYN_E_INVALID, &err);
    h.memo = "bad \xff utf-8";
    assert_code(syn_ledger_build_transfer(&h, "a", "b", 1, &tx, &err), SYN_E_INVALID, &err);
    h.memo = NULL;
    h.id = "no blanks";
    assert_code(syn_ledger_build_transfer(&h, "a", "b", 1, &tx, &err), SYN_E_INVALID, &err);
    h.id = "";
    assert_code(syn_ledger_build_transfer(&h, "a", "b", 1, &tx, &err), SYN_E_INVALID, &err);
    h.id = "t";
    assert_done(syn_ledger_build_transfer(&h, "a", "b", 1, &tx, &err), &err);
    tx.count = SYN_LEDGER_ENTRIES_MAX + 1;
    assert_code(syn_ledger_tx_check(&tx, &err), SYN_E_INVALID, &err);
}

static void
account_names(void **state)
{
    static const struct {
        const char *name;
        bool ok;
    } rows[] = {
        {"alice", true},
        {"acct-4k2p", true},
        {"n1.eu_west-2", true},
        {"system:mint", true},
        {"system:other", false},
        {"system:protocol", true},
        {"system:market", true},
        {"escrow:train-x.1", true},
        {"escrow:", false},
        {"escrow:a:b", false},
        {"", false},
        {"-a", false},
        {"Alice", false},
        {"a b", false},
        {"a/b", false},
        {"\xc3\xa9", false},
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        if (syn_ledger_account_ok(rows[i].name) != rows[i].ok)
            fail_msg("'%s' should%s be a name", rows[i].name, rows[i].ok ? "" : " not");
    }
    assert_true(syn_ledger_account_reserved("escrow:x"));
    assert_false(syn_ledger_account_reserved("alice"));
}

static void
documents_round_trip(void **state)
{
    const struct syn_ledger_slice slice = {"bob", 40, 8500};
    const struct syn_ledger_settlement settlement = {100, "alice", &slice, 1};
    struct syn_ledger_head h = head("settle:job1", 7, "job1");
    struct syn_ledger_tx tx, back;
    struct syn_ledger_account account = {"escrow:job1", 0, 9, true}, again;
    SYN_JSON(doc);
    SYN_JSON(account_doc);

    (void)state;
    h.memo = "caf\xc3\xa9";
    assert_done(syn_ledger_build_settle(&h, &settlement, &tx, &err), &err);
    assert_done(syn_ledger_tx_encode(&tx, &doc, &err), &err);
    assert_done(syn_ledger_tx_decode(doc, &back, &err), &err);
    assert_true(syn_ledger_tx_same(&tx, &back));
    assert_string_equal(tx.id, back.id);
    assert_int_equal(tx.seq, back.seq);
    assert_int_equal(tx.at_ms, back.at_ms);

    assert_done(syn_ledger_account_encode(&account, &account_doc, &err), &err);
    assert_done(syn_ledger_account_decode(account_doc, &again, &err), &err);
    assert_memory_equal(&account, &again, sizeof(account));
}

static void
account_documents_are_checked(void **state)
{
    static const char *const bad[] = {
        "{}",
        "{\"account\":\"a\",\"balance\":\"-1\",\"seq\":1,\"closed\":false}",
        "{\"account\":\"a\",\"balance\":\"1\",\"seq\":0,\"closed\":false}",
        "{\"account\":\"a\",\"balance\":\"1\",\"seq\":-1,\"closed\":false}",
        "{\"account\":\"a\",\"balance\":1,\"seq\":1,\"closed\":false}",
        "{\"account\":\"a\",\"balance\":\"0\",\"seq\":1,\"closed\":true}",
        "{\"account\":\"a\",\"balance\":\"0\",\"seq\":1}",
        "{\"account\":\"escrow:a\",\"balance\":\"1\",\"seq\":1,\"closed\":true}",
        "{\"account\":\"system:mint\",\"balance\":\"1\",\"seq\":1,\"closed\":false}",
        "{\"account\":\"a\",\"balance\":\"1\",\"seq\":1,\"closed\":false,\"extra\":1}",
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(bad); i++) {
        SYN_JSON(doc);
        struct syn_ledger_account account;

        assert_done(syn_json_parse(bad[i], strlen(bad[i]), &doc, &err), &err);
        if (syn_ledger_account_decode(doc, &account, &err) != SYN_E_INVALID)
            fail_msg("accepted %s", bad[i]);
    }
}

/* ---- building ---- */

static void
settlement_splits_exactly(void **state)
{
    static const struct {
        int64_t escrow, charge, bps, provider, protocol, refund;
    } rows[] = {
        {10 * SYN_SYNOR, 15000000, 8500, 12750000, 2250000, 9985000000},
        {100, 100, 8500, 85, 15, 0},
        {100, 99, 8500, 84, 15, 1}, /* 84.15: the provider's share is rounded down */
        {100, 1, 8500, 0, 1, 99},
        {100, 0, 8500, 0, 0, 100},
        {100, 50, 10000, 50, 0, 50},
        {100, 50, 0, 0, 50, 50},
        {SYN_AMOUNT_MAX, SYN_AMOUNT_MAX, 8500, SYN_AMOUNT_MAX / 100 * 85, SYN_AMOUNT_MAX / 100 * 15,
         0},
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        const struct syn_ledger_slice slice = {"bob", rows[i].charge, rows[i].bps};
        const struct syn_ledger_settlement settlement = {rows[i].escrow, "alice", &slice, 1};
        struct syn_ledger_head h = head("s", 1, "job1");
        struct syn_ledger_tx tx;

        assert_done(syn_ledger_build_settle(&h, &settlement, &tx, &err), &err);
        assert_int_equal(entry_of(&tx, "escrow:job1"), -rows[i].escrow);
        assert_int_equal(entry_of(&tx, "bob"), rows[i].provider);
        assert_int_equal(entry_of(&tx, SYN_LEDGER_PROTOCOL), rows[i].protocol);
        assert_int_equal(entry_of(&tx, "alice"), rows[i].refund);
    }
}

static void
settlement_of_many_and_of_oneself(void **state)
{
    const struct syn_ledger_slice slices[] = {
        {"bob", 33, 8500}, {"alice", 33, 8500}, {"bob", 10, 8000}};
    const struct syn_ledger_settlement settlement = {100, "alice", slices, 3};
    struct syn_ledger_head h = head("s", 1, "job1");
    struct syn_ledger_tx tx;

    (void)state;
    assert_done(syn_ledger_build_settle(&h, &settlement, &tx, &err), &err);
    assert_int_equal(tx.count, 4);
    assert_int_equal(entry_of(&tx, "bob"), 28 + 8);
    assert_int_equal(entry_of(&tx, "alice"), 28 + 24);
    assert_int_equal(entry_of(&tx, SYN_LEDGER_PROTOCOL), 5 + 5 + 2);
}

static void
several_transfers_are_one(void **state)
{
    const struct syn_ledger_entry entries[] = {{"alice", -30},
                                               {SYN_LEDGER_MARKET, 30},
                                               {SYN_LEDGER_MARKET, -30},
                                               {"bob", 25},
                                               {"carol", 5},
                                               {"dave", 4},
                                               {"dave", -4}};
    struct syn_ledger_head h = head("t", 1, "market");
    struct syn_ledger_tx tx;

    (void)state;
    assert_done(syn_ledger_build_transfers(&h, entries, SYN_LEN(entries), &tx, &err), &err);
    assert_int_equal(tx.kind, SYN_LEDGER_KIND_TRANSFER);
    assert_int_equal(tx.count, 3);
    assert_int_equal(entry_of(&tx, "alice"), -30);
    assert_int_equal(entry_of(&tx, "bob"), 25);
    assert_int_equal(entry_of(&tx, "carol"), 5);
    assert_code(syn_ledger_build_transfers(&h, entries + 1, 2, &tx, &err), SYN_E_INVALID, &err);
    assert_code(syn_ledger_build_transfers(&h, entries, 4, &tx, &err), SYN_E_INVALID, &err);
    assert_code(syn_ledger_build_transfers(&h, entries, 0, &tx, &err), SYN_E_INVALID, &err);
}

static void
builders_refuse(void **state)
{
    const struct syn_ledger_slice over[] = {{"bob", 60, 8500}, {"bob", 41, 8500}};
    const struct syn_ledger_slice huge[] = {{"bob", INT64_MAX, 8500}};
    const struct syn_ledger_slice negative[] = {{"bob", -1, 8500}};
    const struct syn_ledger_slice share[] = {{"bob", 1, 10001}};
    const struct syn_ledger_slice mint[] = {{SYN_LEDGER_MINT, 10, 8500}};
    const struct {
        struct syn_ledger_settlement settlement;
        int code;
    } rows[] = {
        {{100, "alice", over, 2}, SYN_E_FUNDS},
        {{100, "alice", huge, 1}, SYN_E_FUNDS},
        {{100, "alice", negative, 1}, SYN_E_INVALID},
        {{100, "alice", share, 1}, SYN_E_INVALID},
        {{100, "alice", mint, 1}, SYN_E_INVALID},
        {{0, "alice", NULL, 0}, SYN_E_INVALID},
        {{-1, "alice", NULL, 0}, SYN_E_INVALID},
        {{100, "alice", over, SYN_LEDGER_SLICES_MAX + 1}, SYN_E_LIMIT},
    };
    struct syn_ledger_head h = head("s", 1, "job1"), nameless = head("s", 1, NULL);
    struct syn_ledger_tx tx;

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++)
        assert_code(syn_ledger_build_settle(&h, &rows[i].settlement, &tx, &err), rows[i].code,
                    &err);
    assert_code(syn_ledger_build_settle(&nameless, &rows[0].settlement, &tx, &err), SYN_E_INVALID,
                &err);
    assert_code(syn_ledger_build_escrow(&nameless, "alice", 5, &tx, &err), SYN_E_INVALID, &err);
    assert_code(syn_ledger_build_refund(&nameless, "alice", 5, &tx, &err), SYN_E_INVALID, &err);
    assert_code(syn_ledger_build_transfer(&h, "a", "a", 1, &tx, &err), SYN_E_INVALID, &err);
    assert_code(syn_ledger_build_transfer(&h, "a", "b", 0, &tx, &err), SYN_E_INVALID, &err);
    assert_code(syn_ledger_build_transfer(&h, "a", "b", -1, &tx, &err), SYN_E_INVALID, &err);
    assert_code(syn_ledger_build_transfer(&h, "a", "b", INT64_MIN, &tx, &err), SYN_E_INVALID, &err);
    assert_code(syn_ledger_build_mint(&h, "a", SYN_AMOUNT_MAX + 1, &tx, &err), SYN_E_INVALID, &err);
    assert_code(syn_ledger_build_mint(&h, "not a name", 1, &tx, &err), SYN_E_INVALID, &err);
}

/* ---- posting ---- */

static void
posting_moves_money(void **state)
{
    SYN_SCOPED(syn_ledger_free_scope) struct syn_ledger *book = sample_book();
    struct syn_ledger_head h = head("t1", 2, NULL);
    struct syn_ledger_receipt receipt;
    struct syn_ledger_tx tx;

    (void)state;
    assert_true(syn_ledger_sum(book) == 0);
    assert_done(syn_ledger_build_transfer(&h, "alice", "bob", 400, &tx, &err), &err);
    assert_done(syn_ledger_post(book, &tx, &receipt, &err), &err);
    assert_int_equal(balance(book, "alice"), 600);
    assert_int_equal(balance(book, "bob"), 400);
    assert_int_equal(receipt.seq, 2);
    assert_int_equal(receipt.count, 2);
    assert_string_equal(receipt.accounts[1].name, "bob");
    assert_int_equal(receipt.accounts[1].balance, 400);
    assert_int_equal(receipt.accounts[1].seq, 2);
    assert_true(syn_ledger_sum(book) == 0);
}

static void
posting_twice_moves_once(void **state)
{
    SYN_SCOPED(syn_ledger_free_scope) struct syn_ledger *book = sample_book();
    struct syn_ledger_head h = head("t1", 2, NULL);
    struct syn_ledger_receipt receipt;
    struct syn_ledger_tx tx;

    (void)state;
    assert_done(syn_ledger_build_transfer(&h, "alice", "bob", 400, &tx, &err), &err);
    assert_done(syn_ledger_post(book, &tx, &receipt, &err), &err);
    tx.seq = 3; /* a retry is numbered anew */
    tx.at_ms++;
    assert_int_equal(syn_ledger_post(book, &tx, &receipt, &err), SYN_LEDGER_ALREADY);
    assert_int_equal(receipt.seq, 2);
    assert_int_equal(receipt.count, 0);
    assert_int_equal(balance(book, "bob"), 400);
    assert_done(syn_ledger_build_transfer(&h, "alice", "bob", 401, &tx, &err), &err);
    assert_code(syn_ledger_post(book, &tx, &receipt, &err), SYN_E_CONFLICT, &err);
    assert_code(syn_ledger_load_tx(book, &tx, &err), SYN_E_CONFLICT, &err);
    assert_int_equal(balance(book, "bob"), 400);
}

static void
posting_refuses(void **state)
{
    static const struct {
        const char *doc;
        int code;
        const char *says;
    } rows[] = {
        {DOC("2", "transfer", "",
             "\"entries\":[" E("alice", "-0.000001001") "," E("bob", "0.000001001") "]"),
         SYN_E_FUNDS, "alice has 0.000001"},
        {DOC("2", "transfer", "", "\"entries\":[" E("carol", "-1") "," E("bob", "1") "]"),
         SYN_E_NOTFOUND, "carol is not in the book"},
        {DOC("1", "transfer", "",
             "\"entries\":[" E("alice", "-0.000000001") "," E("bob", "0.000000001") "]"),
         SYN_E_CONFLICT, "stale"},
        {DOC("2", "settle", "job1",
             "\"entries\":[" E("escrow:job1", "-0.000000099") "," E("bob", "0.000000099") "]"),
         SYN_E_CONFLICT, "released whole"},
        {DOC("2", "settle", "job1",
             "\"entries\":[" E("escrow:job1", "-0.000000101") "," E("bob", "0.000000101") "]"),
         SYN_E_CONFLICT, "released whole"},
        {DOC("2", "mint", "",
             "\"entries\":[" E("system:mint", "-4000000000") "," E("alice", "4000000000") "]"),
         SYN_E_LIMIT, "largest amount"},
    };
    struct syn_ledger_receipt receipt;

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        SYN_SCOPED(syn_ledger_free_scope) struct syn_ledger *book = sample_book();
        struct syn_ledger_tx tx;
        SYN_JSON(doc);

        assert_done(syn_json_parse(rows[i].doc, strlen(rows[i].doc), &doc, &err), &err);
        assert_done(syn_ledger_tx_decode(doc, &tx, &err), &err);
        assert_code(syn_ledger_post(book, &tx, &receipt, &err), rows[i].code, &err);
        if (!strstr(err.msg, rows[i].says))
            fail_msg("row %zu says '%s', not '%s'", i, err.msg, rows[i].says);
        assert_int_equal(balance(book, "alice"), 1000);
        assert_int_equal(balance(book, "bob"), 0);
        assert_int_equal(balance(book, "escrow:job1"), 100);
        assert_true(syn_ledger_sum(book) == 0);
    }
}

static void
escrow_is_released_once(void **state)
{
    SYN_SCOPED(syn_ledger_free_scope) struct syn_ledger *book = sample_book();
    struct syn_ledger_head fund = head("e2", 2, "job1"), first = head("s1", 3, "job1"),
                           second = head("s2", 4, "job1");
    const struct syn_ledger_slice slice = {"bob", 40, 8500};
    const struct syn_ledger_settlement settlement = {150, "alice", &slice, 1};
    struct syn_ledger_receipt receipt;
    struct syn_ledger_tx tx;

    (void)state;
    assert_done(syn_ledger_build_escrow(&fund, "alice", 50, &tx, &err), &err); /* adds to it */
    assert_done(syn_ledger_post(book, &tx, &receipt, &err), &err);
    assert_done(syn_ledger_build_settle(&first, &settlement, &tx, &err), &err);
    assert_done(syn_ledger_post(book, &tx, &receipt, &err), &err);
    assert_int_equal(balance(book, "escrow:job1"), 0);
    assert_true(syn_ledger_find(book, "escrow:job1")->closed);
    assert_int_equal(balance(book, "bob"), 34);
    assert_int_equal(balance(book, SYN_LEDGER_PROTOCOL), 6);
    assert_int_equal(balance(book, "alice"), 950 + 110);

    assert_done(syn_ledger_build_refund(&second, "alice", 150, &tx, &err), &err);
    assert_code(syn_ledger_post(book, &tx, &receipt, &err), SYN_E_CONFLICT, &err);
    assert_done(syn_ledger_build_escrow(&second, "alice", 1, &tx, &err), &err);
    assert_code(syn_ledger_post(book, &tx, &receipt, &err), SYN_E_CONFLICT, &err);
    assert_non_null(strstr(err.msg, "already released"));
}

static void
loading_refuses(void **state)
{
    SYN_SCOPED(syn_ledger_free_scope) struct syn_ledger *book = sample_book();
    struct syn_ledger_account closed = {"escrow:x", 5, 1, true};

    (void)state;
    assert_code(load(book, "alice", 1, &err), SYN_E_EXISTS, &err);
    assert_code(load(book, "dave", -1, &err), SYN_E_INVALID, &err);
    assert_code(load(book, "dave", SYN_AMOUNT_MAX + 1, &err), SYN_E_INVALID, &err);
    assert_code(load(book, "system:else", 1, &err), SYN_E_INVALID, &err);
    assert_code(syn_ledger_load(book, &closed, &err), SYN_E_INVALID, &err);
    assert_null(syn_ledger_find(book, "dave"));
}

/* ---- audit ---- */

static void
expect_finding(const json_t *findings, const char *what, const char *where)
{
    size_t i;
    json_t *finding;

    json_array_foreach (findings, i, finding) {
        if (syn_str_eq(syn_json_str(finding, "what", ""), what) &&
            syn_str_eq(syn_json_str(finding, "where", ""), where))
            return;
    }
    fail_msg("no finding %s at %s", what, where);
}

static void
audit_names_what_differs(void **state)
{
    SYN_SCOPED(syn_ledger_audit_free_scope) struct syn_ledger_audit *audit = NULL;
    struct syn_ledger_head h1 = head("m1", 1, NULL), h2 = head("t1", 2, NULL),
                           h3 = head("t2", 3, NULL), h4 = head("t3", 2, NULL);
    const struct syn_ledger_account accounts[] = {
        {SYN_LEDGER_MINT, -100, 1, false}, {"alice", 71, 2, false}, {"ghost", 5, 1, false},
        {"alice", 70, 2, false},           {"empty", 0, 0, false},
    };
    struct syn_ledger_tx tx;
    SYN_JSON(findings);

    (void)state;
    assert_done(syn_ledger_audit_new(&audit, &err), &err);
    assert_done(syn_ledger_build_mint(&h1, "alice", 100, &tx, &err), &err);
    assert_done(syn_ledger_audit_tx(audit, &tx, &err), &err);
    assert_done(syn_ledger_build_transfer(&h2, "alice", "bob", 30, &tx, &err), &err);
    assert_done(syn_ledger_audit_tx(audit, &tx, &err), &err);
    assert_done(syn_ledger_audit_tx(audit, &tx, &err), &err);
    assert_done(syn_ledger_build_transfer(&h3, "bob", "alice", 31, &tx, &err), &err);
    assert_done(syn_ledger_audit_tx(audit, &tx, &err), &err);
    assert_done(syn_ledger_build_transfer(&h4, "alice", "bob", 1, &tx, &err), &err);
    assert_done(syn_ledger_audit_tx(audit, &tx, &err), &err);
    for (size_t i = 0; i < SYN_LEN(accounts); i++)
        assert_done(syn_ledger_audit_account(audit, &accounts[i], &err), &err);
    assert_done(syn_ledger_audit_finish(audit, &findings, &err), &err);
    expect_finding(findings, "transaction-repeated", "t1");
    expect_finding(findings, "transaction-refused", "t2");
    expect_finding(findings, "sequence", "t3");
    expect_finding(findings, "balance", "alice");
    expect_finding(findings, "account-unknown", "ghost");
    expect_finding(findings, "account-repeated", "alice");
    expect_finding(findings, "account-missing", "bob");
    expect_finding(findings, "sum", "accounts");
}

/* ---- property: histories with crashes ---- */

/* A store of documents as text, written in whole transactions, as the server's is. */
struct world {
    json_t *accounts, *txs, *order; /* name -> text, id -> text, [id] */
    uint64_t random;
    int64_t seq, minted;
    unsigned escrows, releases[256];
    int64_t held[256];
    char ref[SYN_LEDGER_REF_MAX];
};

static const char *const people[] = {"alice", "bob", "carol", "node-1", "node-2"};

static uint64_t
draw(struct world *world, uint64_t below)
{
    return syn_test_random(&world->random) % below;
}

static const char *
person(struct world *world)
{
    return people[draw(world, SYN_LEN(people))];
}

static const char *
ref_of(struct world *world, unsigned escrow)
{
    (void)snprintf(world->ref, sizeof(world->ref), "job-%u", escrow);
    return world->ref;
}

static json_t *
parse_text(const json_t *text)
{
    json_t *doc = NULL;

    assert_done(syn_json_parse(json_string_value(text), json_string_length(text), &doc, &err),
                &err);
    return doc;
}

static void
put_text_take(json_t *where, const char *key, json_t *doc)
{
    SYN_BUF(text);

    assert_done(syn_json_write(doc, &text, &err), &err);
    json_decref(doc);
    assert_int_equal(json_object_set_new(where, key, json_string(syn_buf_text(&text))), 0);
}

static struct syn_ledger_account
read_account(const struct world *world, const char *name)
{
    struct syn_ledger_account account = {0};
    const json_t *text = json_object_get(world->accounts, name);

    assert_true(syn_str_copy(account.name, sizeof(account.name), name));
    if (text) {
        SYN_JSON(doc);

        doc = parse_text(text);
        assert_done(syn_ledger_account_decode(doc, &account, &err), &err);
    }
    return account;
}

static void
write_receipt(struct world *world, const struct syn_ledger_tx *tx,
              const struct syn_ledger_receipt *receipt)
{
    json_t *doc = NULL;

    for (size_t i = 0; i < receipt->count; i++) {
        assert_done(syn_ledger_account_encode(&receipt->accounts[i], &doc, &err), &err);
        put_text_take(world->accounts, receipt->accounts[i].name, SYN_TAKE(doc));
    }
    assert_done(syn_ledger_tx_encode(tx, &doc, &err), &err);
    put_text_take(world->txs, tx->id, SYN_TAKE(doc));
    assert_int_equal(json_array_append_new(world->order, json_string(tx->id)), 0);
    world->seq = tx->seq;
}

/* One request: load what the transaction touches, post, write. With `crash` nothing is written. */
static int
submit(struct world *world, const struct syn_ledger_tx *tx, bool crash)
{
    SYN_SCOPED(syn_ledger_free_scope) struct syn_ledger *book = NULL;
    struct syn_ledger_receipt receipt;
    const json_t *old = json_object_get(world->txs, tx->id);
    int rc;

    assert_done(syn_ledger_new(&book, &err), &err);
    for (size_t i = 0; i < tx->count; i++) {
        struct syn_ledger_account account = read_account(world, tx->entries[i].account);

        assert_done(syn_ledger_load(book, &account, &err), &err);
    }
    if (old) {
        struct syn_ledger_tx before;
        SYN_JSON(doc);

        doc = parse_text(old);
        assert_done(syn_ledger_tx_decode(doc, &before, &err), &err);
        assert_done(syn_ledger_load_tx(book, &before, &err), &err);
    }
    rc = syn_ledger_post(book, tx, &receipt, &err);
    if (rc == 0 && !crash)
        write_receipt(world, tx, &receipt);
    return rc;
}

static int
build_release(struct world *world, const struct syn_ledger_head *h, unsigned escrow,
              struct syn_ledger_tx *tx)
{
    int64_t held = world->held[escrow] ? world->held[escrow] : 1;
    struct syn_ledger_slice slices[2];
    struct syn_ledger_settlement settlement = {held, person(world), slices, 2};

    if (draw(world, 4) == 0)
        return syn_ledger_build_refund(h, person(world), held, tx, &err);
    slices[0] = (struct syn_ledger_slice){person(world), (int64_t)draw(world, (uint64_t)held),
                                          (int64_t)draw(world, 10001)};
    slices[1] = (struct syn_ledger_slice){
        person(world), (int64_t)draw(world, (uint64_t)(held - slices[0].charge) + 1), 8500};
    return syn_ledger_build_settle(h, &settlement, tx, &err);
}

/* A random transaction, often one that must be refused. False: this draw makes none. */
static bool
build_any(struct world *world, const char *id, unsigned *ret_escrow, struct syn_ledger_tx *tx)
{
    struct syn_ledger_head h = head(id, world->seq + 1 + (int64_t)draw(world, 3), NULL);
    int64_t amount = (int64_t)draw(world, draw(world, 8) ? 1000 : 2000000000) + 1;
    unsigned escrow = (unsigned)draw(world, world->escrows + 1);

    *ret_escrow = escrow;
    h.ref = ref_of(world, escrow);
    switch (draw(world, 5)) {
    case 0:
        return syn_ledger_build_mint(&h, person(world), amount, tx, &err) == 0;
    case 1:
        return syn_ledger_build_transfer(&h, person(world), person(world), amount, tx, &err) == 0;
    case 2:
    case 3:
        return syn_ledger_build_escrow(&h, person(world), amount, tx, &err) == 0;
    default:
        return build_release(world, &h, escrow, tx) == 0;
    }
}

static void
note_effect(struct world *world, const struct syn_ledger_tx *tx, unsigned escrow)
{
    switch (tx->kind) {
    case SYN_LEDGER_KIND_MINT:
        world->minted -= entry_of(tx, SYN_LEDGER_MINT);
        break;
    case SYN_LEDGER_KIND_ESCROW:
        if (escrow == world->escrows)
            world->escrows++;
        assert_int_equal(world->releases[escrow], 0);
        for (size_t i = 0; i < tx->count; i++)
            world->held[escrow] += SYN_MAX(tx->entries[i].amount, 0);
        break;
    case SYN_LEDGER_KIND_SETTLE:
    case SYN_LEDGER_KIND_REFUND:
        assert_int_equal(++world->releases[escrow], 1);
        break;
    case SYN_LEDGER_KIND_TRANSFER:
        break;
    }
}

static void
check_world(const struct world *world)
{
    const char *name;
    json_t *text;
    syn_i128 sum = 0;

    json_object_foreach (world->accounts, name, text) {
        struct syn_ledger_account account = read_account(world, name);

        (void)text;
        sum += account.balance;
        if (syn_str_eq(name, SYN_LEDGER_MINT))
            assert_int_equal(account.balance, -world->minted);
        else
            assert_true(account.balance >= 0);
    }
    assert_true(sum == 0);
}

static void
audit_world(const struct world *world)
{
    SYN_SCOPED(syn_ledger_audit_free_scope) struct syn_ledger_audit *audit = NULL;
    SYN_JSON(findings);
    const char *name;
    json_t *text, *id;
    size_t i;

    assert_done(syn_ledger_audit_new(&audit, &err), &err);
    json_array_foreach (world->order, i, id) {
        struct syn_ledger_tx tx;
        SYN_JSON(doc);

        doc = parse_text(json_object_get(world->txs, json_string_value(id)));
        assert_done(syn_ledger_tx_decode(doc, &tx, &err), &err);
        assert_done(syn_ledger_audit_tx(audit, &tx, &err), &err);
    }
    json_object_foreach (world->accounts, name, text) {
        struct syn_ledger_account account = read_account(world, name);

        (void)text;
        assert_done(syn_ledger_audit_account(audit, &account, &err), &err);
    }
    assert_done(syn_ledger_audit_finish(audit, &findings, &err), &err);
    assert_int_equal(json_array_size(findings), 0);
}

static void
one_request(struct world *world, unsigned number)
{
    struct syn_ledger_tx tx;
    unsigned escrow;
    char id[32];
    int rc;

    (void)snprintf(id, sizeof(id), "tx-%u", number);
    if (!build_any(world, id, &escrow, &tx))
        return;
    if (draw(world, 4) == 0)
        (void)submit(world, &tx, true); /* crash before the write: as if it never was */
    rc = submit(world, &tx, false);
    if (rc == 0)
        note_effect(world, &tx, escrow);
    if (draw(world, 4) == 0) { /* crash after the write: the client asks again */
        tx.seq += (int64_t)draw(world, 2);
        assert_int_equal(submit(world, &tx, false) == SYN_LEDGER_ALREADY, rc == 0);
    }
}

/* Whatever is still held is given back; what was released before cannot be again. */
static void
release_all(struct world *world)
{
    for (unsigned escrow = 0; escrow < world->escrows; escrow++) {
        struct syn_ledger_head h = head(NULL, world->seq + 1, ref_of(world, escrow));
        struct syn_ledger_tx tx;
        char id[32];

        (void)snprintf(id, sizeof(id), "end-%u", escrow);
        h.id = id;
        assert_done(syn_ledger_build_refund(&h, "alice", world->held[escrow], &tx, &err), &err);
        assert_code(submit(world, &tx, false), world->releases[escrow] ? SYN_E_CONFLICT : SYN_OK,
                    &err);
        if (world->releases[escrow] == 0)
            note_effect(world, &tx, escrow);
    }
}

static void
money_is_conserved_through_crashes(void **state)
{
    unsigned released = 0;

    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct world world = {.accounts = json_object(),
                              .txs = json_object(),
                              .order = json_array(),
                              .random = seed * 7919};

        for (unsigned number = 0; number < 150; number++) {
            one_request(&world, number);
            check_world(&world);
        }
        assert_true(world.escrows > 0 && json_array_size(world.order) > 20);
        for (unsigned escrow = 0; escrow < world.escrows; escrow++)
            released += world.releases[escrow];
        release_all(&world);
        check_world(&world);
        audit_world(&world);
        json_decref(world.accounts);
        json_decref(world.txs);
        json_decref(world.order);
    }
    assert_true(released > 100); /* the draws do reach settlements */
}

/* ---- allocation failures ---- */

static int
sweep_scenario(void *arg, struct syn_err *e)
{
    SYN_SCOPED(syn_ledger_free_scope) struct syn_ledger *book = NULL;
    SYN_SCOPED(syn_ledger_audit_free_scope) struct syn_ledger_audit *audit = NULL;
    SYN_JSON(doc);
    SYN_JSON(account_doc);
    SYN_JSON(findings);
    struct syn_ledger_head h = head("m1", 1, NULL);
    struct syn_ledger_receipt receipt;
    struct syn_ledger_tx tx, back;
    int rc = syn_ledger_new(&book, e);

    (void)arg;
    if (rc == 0)
        rc = load(book, SYN_LEDGER_MINT, 0, e);
    if (rc == 0)
        rc = load(book, "alice", 0, e);
    if (rc == 0)
        rc = syn_ledger_build_mint(&h, "alice", 5, &tx, e);
    if (rc == 0) {
        rc = syn_ledger_post(book, &tx, &receipt, e);
        /* All or nothing, also when memory runs out. */
        assert_int_equal(balance(book, "alice"), rc == 0 ? 5 : 0);
    }
    if (rc == 0)
        rc = syn_ledger_tx_encode(&tx, &doc, e);
    if (rc == 0)
        rc = syn_ledger_tx_decode(doc, &back, e);
    if (rc == 0)
        rc = syn_ledger_account_encode(&receipt.accounts[0], &account_doc, e);
    if (rc == 0)
        rc = syn_ledger_audit_new(&audit, e);
    if (rc == 0)
        rc = syn_ledger_audit_tx(audit, &tx, e);
    if (rc == 0)
        rc = syn_ledger_audit_account(audit, &receipt.accounts[0], e);
    if (rc == 0)
        rc = syn_ledger_audit_finish(audit, &findings, e);
    if (rc == 0)
        assert_int_equal(json_array_size(findings), 2); /* alice's document is missing, the sum */
    return rc;
}

static void
out_of_memory_anywhere(void **state)
{
    (void)state;
    assert_true(syn_test_sweep_alloc(sweep_scenario, NULL) > 20);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decoding_is_strict),
        cmocka_unit_test(entry_limit_and_texts),
        cmocka_unit_test(account_names),
        cmocka_unit_test(documents_round_trip),
        cmocka_unit_test(account_documents_are_checked),
        cmocka_unit_test(settlement_splits_exactly),
        cmocka_unit_test(settlement_of_many_and_of_oneself),
        cmocka_unit_test(several_transfers_are_one),
        cmocka_unit_test(builders_refuse),
        cmocka_unit_test(posting_moves_money),
        cmocka_unit_test(posting_twice_moves_once),
        cmocka_unit_test(posting_refuses),
        cmocka_unit_test(escrow_is_released_once),
        cmocka_unit_test(loading_refuses),
        cmocka_unit_test(audit_names_what_differs),
        cmocka_unit_test(money_is_conserved_through_crashes),
        cmocka_unit_test(out_of_memory_anywhere),
    };

    syn_json_init();
    return cmocka_run_group_tests_name("ledger", tests, NULL, NULL);
}
