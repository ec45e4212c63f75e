/* Transactions as values: names, the rules that need no balances, and JSON. */
#include <synor/chain/ledger.h>

#include <synor/base/str.h>

#define TIME_MAX_MS INT64_C(253402300799999) /* 9999-12-31T23:59:59.999Z */
#define PLAIN_MAX   63

static const char *const kind_names[] = {
    [SYN_LEDGER_KIND_MINT] = "mint",     [SYN_LEDGER_KIND_TRANSFER] = "transfer",
    [SYN_LEDGER_KIND_ESCROW] = "escrow", [SYN_LEDGER_KIND_SETTLE] = "settle",
    [SYN_LEDGER_KIND_REFUND] = "refund",
};

const char *
syn_ledger_kind_name(enum syn_ledger_kind kind)
{
    assert((size_t)kind < SYN_LEN(kind_names));
    return kind_names[kind];
}

static bool
plain_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
}

/* [a-z0-9][a-z0-9._-]*, at most PLAIN_MAX bytes. */
static bool
plain_ok(const char *name)
{
    size_t len = 0;

    for (; name[len] != '\0'; len++) {
        if (len == PLAIN_MAX || !plain_char(name[len]))
            return false;
    }
    return len > 0 && name[0] != '.' && name[0] != '_' && name[0] != '-';
}

static bool
is_escrow(const char *name)
{
    return syn_str_starts(name, SYN_LEDGER_ESCROW_PREFIX);
}

bool
syn_ledger_account_ok(const char *name)
{
    if (syn_str_eq(name, SYN_LEDGER_MINT) || syn_str_eq(name, SYN_LEDGER_PROTOCOL) ||
        syn_str_eq(name, SYN_LEDGER_MARKET))
        return true;
    if (is_escrow(name))
        return plain_ok(name + sizeof(SYN_LEDGER_ESCROW_PREFIX) - 1);
    return plain_ok(name);
}

bool
syn_ledger_account_reserved(const char *name)
{
    return strchr(name, ':') != NULL;
}

int
syn_ledger_escrow_name(const char *ref, char *out, struct syn_err *err)
{
    static_assert(sizeof(SYN_LEDGER_ESCROW_PREFIX) + PLAIN_MAX <= SYN_LEDGER_ACCOUNT_MAX, "room");
    if (!plain_ok(ref))
        return SYN_FAIL(err, SYN_E_INVALID,
                        "escrow reference '%.80s': use 1..%d of a-z 0-9 . _ -, starting with a "
                        "letter or digit",
                        ref, PLAIN_MAX);
    (void)snprintf(out, SYN_LEDGER_ACCOUNT_MAX, "%s%s", SYN_LEDGER_ESCROW_PREFIX, ref);
    return SYN_OK;
}

/* ---- rules ---- */

static bool
id_ok(const char *id)
{
    size_t len = 0;

    for (; id[len] != '\0'; len++) {
        char c = id[len];

        if (len == SYN_LEDGER_ID_MAX - 1 || (!plain_char(c) && !(c >= 'A' && c <= 'Z') && c != ':'))
            return false;
    }
    return len > 0;
}

static bool
memo_ok(const char *memo)
{
    size_t len = strnlen(memo, SYN_LEDGER_MEMO_MAX);

    if (len == SYN_LEDGER_MEMO_MAX)
        return false;
    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)memo[i] < 0x20 || memo[i] == 0x7f)
            return false;
    }
    return syn_utf8_ok(memo, len);
}

static int
check_head(const struct syn_ledger_tx *tx, struct syn_err *err)
{
    if (!id_ok(tx->id))
        return SYN_FAIL(err, SYN_E_INVALID,
                        "transaction id '%.96s': use 1..%d of A-Z a-z 0-9 . _ - :", tx->id,
                        SYN_LEDGER_ID_MAX - 1);
    if (tx->seq < 1)
        return SYN_FAIL(err, SYN_E_INVALID, "transaction %s: seq %lld is below 1", tx->id,
                        (long long)tx->seq);
    if ((size_t)tx->kind >= SYN_LEN(kind_names))
        return SYN_FAIL(err, SYN_E_INVALID, "transaction %s: unknown kind %d", tx->id,
                        (int)tx->kind);
    if (tx->ref[0] != '\0' && !plain_ok(tx->ref))
        return SYN_FAIL(err, SYN_E_INVALID, "transaction %s: ref '%.64s' is not a plain name",
                        tx->id, tx->ref);
    if (!memo_ok(tx->memo))
        return SYN_FAIL(err, SYN_E_INVALID,
                        "transaction %s: the memo must be printable UTF-8 of at most %d bytes",
                        tx->id, SYN_LEDGER_MEMO_MAX - 1);
    if (tx->at_ms < 0 || tx->at_ms > TIME_MAX_MS)
        return SYN_FAIL(err, SYN_E_INVALID, "transaction %s: time %lld ms is out of range", tx->id,
                        (long long)tx->at_ms);
    if (tx->count < 2 || tx->count > SYN_LEDGER_ENTRIES_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "transaction %s: %zu entries, expected 2..%d", tx->id,
                        tx->count, SYN_LEDGER_ENTRIES_MAX);
    return SYN_OK;
}

static int
check_entry(const struct syn_ledger_tx *tx, size_t i, struct syn_err *err)
{
    const struct syn_ledger_entry *entry = &tx->entries[i];

    if (!syn_ledger_account_ok(entry->account))
        return SYN_FAIL(err, SYN_E_INVALID, "transaction %s: entries[%zu]: bad account '%.80s'",
                        tx->id, i, entry->account);
    if (entry->amount == 0 || entry->amount > SYN_AMOUNT_MAX || entry->amount < -SYN_AMOUNT_MAX)
        return SYN_FAIL(err, SYN_E_INVALID,
                        "transaction %s: entries[%zu]: the amount %lld is zero or out of range",
                        tx->id, i, (long long)entry->amount);
    for (size_t k = 0; k < i; k++) {
        if (syn_str_eq(tx->entries[k].account, entry->account))
            return SYN_FAIL(err, SYN_E_INVALID,
                            "transaction %s: %s has two entries (%zu and %zu); add them up", tx->id,
                            entry->account, k, i);
    }
    return SYN_OK;
}

/* Which sign an entry of this kind must have on an account: -1, +1, 0 for any, or 2: not here. */
static int
wanted_sign(const struct syn_ledger_tx *tx, const char *account)
{
    bool mint = syn_str_eq(account, SYN_LEDGER_MINT);
    bool own_escrow = is_escrow(account) && tx->ref[0] != '\0' &&
                      syn_str_eq(account + sizeof(SYN_LEDGER_ESCROW_PREFIX) - 1, tx->ref);

    if (is_escrow(account) && !own_escrow)
        return 2;
    switch (tx->kind) {
    case SYN_LEDGER_KIND_MINT:
        return own_escrow ? 2 : mint ? -1 : 1;
    case SYN_LEDGER_KIND_TRANSFER:
        return own_escrow || mint ? 2 : 0;
    case SYN_LEDGER_KIND_ESCROW:
        return mint ? 2 : own_escrow ? 1 : -1;
    case SYN_LEDGER_KIND_SETTLE:
    case SYN_LEDGER_KIND_REFUND:
        return mint ? 2 : own_escrow ? -1 : 1;
    }
    return 2;
}

/* Each entry sits on the side that the kind gives its account. That the account which the kind is
 * about takes part follows: without it all entries would have one sign, and the sum is zero. */
static int
check_kind(const struct syn_ledger_tx *tx, struct syn_err *err)
{
    const char *kind = kind_names[tx->kind];

    for (size_t i = 0; i < tx->count; i++) {
        const struct syn_ledger_entry *entry = &tx->entries[i];
        int want = wanted_sign(tx, entry->account);

        if (want == 2)
            return SYN_FAIL(err, SYN_E_INVALID,
                            "transaction %s: a %s with ref '%s' may not touch "
                            "%s",
                            tx->id, kind, tx->ref, entry->account);
        if (want != 0 && (entry->amount > 0) != (want > 0))
            return SYN_FAIL(err, SYN_E_INVALID, "transaction %s: a %s must %s %s", tx->id, kind,
                            want > 0 ? "add to" : "take from", entry->account);
    }
    if (tx->kind == SYN_LEDGER_KIND_REFUND && tx->count != 2)
        return SYN_FAIL(err, SYN_E_INVALID,
                        "transaction %s: a refund goes to one account, not to %zu", tx->id,
                        tx->count - 1);
    return SYN_OK;
}

int
syn_ledger_tx_check(const struct syn_ledger_tx *tx, struct syn_err *err)
{
    char text[SYN_FORMAT_MAX];
    syn_i128 sum = 0;
    int rc = check_head(tx, err);

    for (size_t i = 0; rc == 0 && i < tx->count; i++) {
        rc = check_entry(tx, i, err);
        sum += tx->entries[i].amount;
    }
    if (rc < 0)
        return rc;
    if (sum != 0) {
        bool fits = sum <= INT64_MAX && sum >= -INT64_MAX;

        return SYN_FAIL(err, SYN_E_INVALID, "transaction %s: the entries sum to %s, not to 0",
                        tx->id, fits ? syn_format_amount((int64_t)sum, text) : "a huge amount");
    }
    return check_kind(tx, err);
}

static int64_t
amount_of(const struct syn_ledger_tx *tx, const char *account)
{
    for (size_t i = 0; i < tx->count; i++) {
        if (syn_str_eq(tx->entries[i].account, account))
            return tx->entries[i].amount;
    }
    return 0;
}

bool
syn_ledger_tx_same(const struct syn_ledger_tx *a, const struct syn_ledger_tx *b)
{
    if (a->kind != b->kind || a->count != b->count || !syn_str_eq(a->ref, b->ref) ||
        !syn_str_eq(a->memo, b->memo))
        return false;
    for (size_t i = 0; i < a->count; i++) {
        if (amount_of(b, a->entries[i].account) != a->entries[i].amount)
            return false;
    }
    return true;
}

/* ---- JSON ---- */

static int
parse_signed(const char *text, const char *what, int64_t *ret, struct syn_err *err)
{
    bool minus = text[0] == '-';
    int64_t amount;
    int rc = syn_parse_amount(minus ? text + 1 : text, what, &amount, err);

    if (rc < 0)
        return rc;
    *ret = minus ? -amount : amount;
    return SYN_OK;
}

/* A required text of at most cap - 1 bytes, copied. */
static int
get_text(const json_t *doc, const char *path, const char *key, char *out, size_t cap,
         struct syn_err *err)
{
    const char *text;
    int rc = syn_json_get_str(doc, path, key, &text, err);

    if (rc < 0)
        return rc;
    if (!syn_str_copy(out, cap, text))
        return SYN_FAIL(err, SYN_E_INVALID, "%s.%s: longer than %zu bytes", path, key, cap - 1);
    return SYN_OK;
}

int
syn_ledger_tx_encode(const struct syn_ledger_tx *tx, json_t **ret, struct syn_err *err)
{
    SYN_JSON(doc);
    char text[SYN_FORMAT_MAX];
    json_t *entries;
    int rc;

    rc = syn_ledger_tx_check(tx, err);
    if (rc == 0)
        rc = syn_json_pack(&doc, err, "{s:s, s:I, s:s, s:s, s:s, s:s, s:[]}", "id", tx->id, "seq",
                           (json_int_t)tx->seq, "kind", kind_names[tx->kind], "ref", tx->ref,
                           "memo", tx->memo, "at", syn_format_time(tx->at_ms, text), "entries");
    if (rc < 0)
        return rc;
    entries = json_object_get(doc, "entries");
    for (size_t i = 0; i < tx->count; i++) {
        json_t *entry = NULL;

        rc = syn_json_pack(&entry, err, "{s:s, s:s}", "account", tx->entries[i].account, "amount",
                           syn_format_amount(tx->entries[i].amount, text));
        if (rc == 0)
            rc = syn_json_append_take(entries, entry, err);
        if (rc < 0)
            return rc;
    }
    *ret = SYN_TAKE(doc);
    return SYN_OK;
}

static int
decode_entry(const json_t *doc, struct syn_ledger_entry *entry, struct syn_err *err)
{
    static const char *const known[] = {"account", "amount", NULL};
    const char *text;
    int rc;

    rc = syn_json_only_keys(doc, "entries[]", known, err);
    if (rc == 0)
        rc = get_text(doc, "entries[]", "account", entry->account, sizeof(entry->account), err);
    if (rc == 0)
        rc = syn_json_get_str(doc, "entries[]", "amount", &text, err);
    if (rc == 0)
        rc = parse_signed(text, "entries[].amount", &entry->amount, err);
    return rc;
}

static int
decode_entries(const json_t *doc, struct syn_ledger_tx *tx, struct syn_err *err)
{
    json_t *entries;
    int rc = syn_json_get_arr(doc, "transaction", "entries", &entries, err);

    if (rc < 0)
        return rc;
    tx->count = json_array_size(entries);
    if (tx->count > SYN_LEDGER_ENTRIES_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "transaction.entries: %zu entries, at most %d",
                        tx->count, SYN_LEDGER_ENTRIES_MAX);
    for (size_t i = 0; rc == 0 && i < tx->count; i++)
        rc = decode_entry(json_array_get(entries, i), &tx->entries[i], err);
    return rc;
}

static int
decode_kind(const json_t *doc, enum syn_ledger_kind *ret, struct syn_err *err)
{
    const char *text;
    int rc = syn_json_get_str(doc, "transaction", "kind", &text, err);

    if (rc < 0)
        return rc;
    for (size_t i = 0; i < SYN_LEN(kind_names); i++) {
        if (syn_str_eq(text, kind_names[i])) {
            *ret = (enum syn_ledger_kind)i;
            return SYN_OK;
        }
    }
    return SYN_FAIL(err, SYN_E_INVALID,
                    "transaction.kind: '%.32s' is none of mint, transfer, escrow, settle, refund",
                    text);
}

int
syn_ledger_tx_decode(const json_t *doc, struct syn_ledger_tx *ret_tx, struct syn_err *err)
{
    static const char *const known[] = {"id", "seq", "kind", "ref", "memo", "at", "entries", NULL};
    struct syn_ledger_tx tx = {0};
    const char *at;
    int rc;

    rc = syn_json_only_keys(doc, "transaction", known, err);
    if (rc == 0)
        rc = get_text(doc, "transaction", "id", tx.id, sizeof(tx.id), err);
    if (rc == 0)
        rc = syn_json_get_i64(doc, "transaction", "seq", 1, INT64_MAX, &tx.seq, err);
    if (rc == 0)
        rc = decode_kind(doc, &tx.kind, err);
    if (rc == 0)
        rc = get_text(doc, "transaction", "ref", tx.ref, sizeof(tx.ref), err);
    if (rc == 0)
        rc = get_text(doc, "transaction", "memo", tx.memo, sizeof(tx.memo), err);
    if (rc == 0)
        rc = syn_json_get_str(doc, "transaction", "at", &at, err);
    if (rc == 0)
        rc = syn_parse_time(at, &tx.at_ms, err);
    if (rc == 0)
        rc = decode_entries(doc, &tx, err);
    if (rc == 0)
        rc = syn_ledger_tx_check(&tx, err);
    if (rc < 0)
        return rc;
    *ret_tx = tx;
    return SYN_OK;
}

int
syn_ledger_account_encode(const struct syn_ledger_account *account, json_t **ret,
                          struct syn_err *err)
{
    char text[SYN_FORMAT_MAX];

    return syn_json_pack(ret, err, "{s:s, s:s, s:I, s:b}", "account", account->name, "balance",
                         syn_format_amount(account->balance, text), "seq", (json_int_t)account->seq,
                         "closed", (int)account->closed);
}

int
syn_ledger_account_decode(const json_t *doc, struct syn_ledger_account *ret_account,
                          struct syn_err *err)
{
    static const char *const known[] = {"account", "balance", "seq", "closed", NULL};
    struct syn_ledger_account account = {0};
    const char *balance;
    int rc;

    rc = syn_json_only_keys(doc, "account", known, err);
    if (rc == 0)
        rc = get_text(doc, "account", "account", account.name, sizeof(account.name), err);
    if (rc == 0)
        rc = syn_json_get_str(doc, "account", "balance", &balance, err);
    if (rc == 0)
        rc = parse_signed(balance, "account.balance", &account.balance, err);
    if (rc == 0)
        rc = syn_json_get_i64(doc, "account", "seq", 0, INT64_MAX, &account.seq, err);
    if (rc == 0 && !json_is_boolean(json_object_get(doc, "closed")))
        rc = SYN_FAIL(err, SYN_E_INVALID, "account.closed: expected true or false");
    if (rc == 0)
        rc = syn_json_opt_bool(doc, "account", "closed", &account.closed, err);
    if (rc == 0)
        rc = syn_ledger_account_check(&account, err);
    if (rc < 0)
        return rc;
    *ret_account = account;
    return SYN_OK;
}
