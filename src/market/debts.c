#include <synor/market/debts.h>

#include <synor/base/mem.h>

#define UNITS_MAX (INT64_C(1) << 62) /* of a class, as the exchange has it */

/* Of one class. What is kept by account has `accounts` places. */
struct ledger {
    struct syn_debt *debts; /* the oldest first */
    size_t count, cap;
    int64_t *nets; /* as they were told */
    bool *dirty;   /* of holders */
    uint32_t accounts;
    uint32_t dirty_from; /* none is dirty before it */
    int64_t restored;    /* units, in all */
};

struct syn_debts {
    struct ledger *classes;
    uint32_t class_count;
    /* For settling: how many units each account has beyond what was told (< 0: lacks), as a holder
     * and as a seller. */
    int64_t *held, *owed;
    uint32_t accounts;
    int64_t age; /* of the next one */
};

int
syn_debts_new(struct syn_debts **ret, struct syn_err *err)
{
    struct syn_debts *debts = syn_calloc(1, sizeof(*debts));

    if (debts == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for debts");
    *ret = debts;
    return SYN_OK;
}

struct syn_debts *
syn_debts_free(struct syn_debts *debts)
{
    if (debts == NULL)
        return NULL;
    for (uint32_t i = 0; i < debts->class_count; i++) {
        syn_free(debts->classes[i].debts);
        syn_free(debts->classes[i].nets);
        syn_free(debts->classes[i].dirty);
    }
    syn_free(debts->classes);
    syn_free(debts->held);
    syn_free(debts->owed);
    syn_free(debts);
    return NULL;
}

void
syn_debts_free_scope(struct syn_debts **slot)
{
    *slot = syn_debts_free(*slot);
}

/* --- room ------------------------------------------------------------------------------------- */

/* Room for `need` items, those that are new all zero. */
static bool
grow_zeroed(void *items, uint32_t have, uint32_t need, size_t size)
{
    size_t cap = have;
    char *block;

    if (!syn_grow(items, &cap, need, size))
        return false;
    memcpy(&block, items, sizeof(block));
    memset(block + have * size, 0, (need - have) * size);
    return true;
}

/* How many places there will be. */
static uint32_t
places(uint32_t have, uint32_t need)
{
    return SYN_MAX(need, have + have / 2 + 8);
}

static int
room(struct syn_debts *debts, uint32_t class, uint32_t account, struct ledger **ret,
     struct syn_err *err)
{
    struct ledger *ledger;
    bool ok = true;

    if (class >= SYN_DEBTS_CLASSES_MAX || account >= SYN_DEBTS_ACCOUNTS_MAX)
        return SYN_FAIL(err, SYN_E_LIMIT, "class %u or account %u is out of range", class, account);
    if (class >= debts->class_count) {
        uint32_t count = places(debts->class_count, class + 1);

        ok = grow_zeroed(&debts->classes, debts->class_count, count, sizeof(*debts->classes));
        debts->class_count = ok ? count : debts->class_count;
    }
    if (ok && account >= debts->accounts) {
        uint32_t count = places(debts->accounts, account + 1);

        ok = grow_zeroed(&debts->held, debts->accounts, count, sizeof(*debts->held)) &&
             grow_zeroed(&debts->owed, debts->accounts, count, sizeof(*debts->owed));
        debts->accounts = ok ? count : debts->accounts;
    }
    ledger = ok ? &debts->classes[class] : NULL;
    if (ok && account >= ledger->accounts) {
        uint32_t count = debts->accounts;

        ok = grow_zeroed(&ledger->nets, ledger->accounts, count, sizeof(*ledger->nets)) &&
             grow_zeroed(&ledger->dirty, ledger->accounts, count, sizeof(*ledger->dirty));
        ledger->accounts = ok ? count : ledger->accounts;
    }
    if (!ok)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for debts");
    *ret = ledger;
    return SYN_OK;
}

static void
mark(struct ledger *ledger, uint32_t holder)
{
    ledger->dirty[holder] = true;
    ledger->dirty_from = SYN_MIN(ledger->dirty_from, holder);
}

/* --- telling ---------------------------------------------------------------------------------- */

static int
add_debt(struct ledger *ledger, const struct syn_debt *debt, struct syn_err *err)
{
    for (size_t i = 0; i < ledger->count; i++) {
        if (ledger->debts[i].holder == debt->holder && ledger->debts[i].seller == debt->seller) {
            ledger->debts[i].units += debt->units;
            return SYN_OK;
        }
    }
    if (!syn_grow((void *)&ledger->debts, &ledger->cap, ledger->count + 1, sizeof(*ledger->debts)))
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for debts");
    ledger->debts[ledger->count++] = *debt;
    return SYN_OK;
}

int
syn_debts_restore(struct syn_debts *debts, uint32_t class, const struct syn_debt *debt,
                  struct syn_err *err)
{
    struct ledger *ledger;
    int rc = room(debts, class, SYN_MAX(debt->holder, debt->seller), &ledger, err);

    if (rc == SYN_OK && (debt->units <= 0 || debt->units > UNITS_MAX - ledger->restored ||
                         debt->holder == debt->seller || debt->age < 0 || debt->age == INT64_MAX))
        rc = SYN_FAIL(err, SYN_E_INVALID, "%lld units of age %lld are no debt",
                      (long long)debt->units, (long long)debt->age);
    if (rc < 0)
        return rc;
    ledger->restored += debt->units;
    debts->age = SYN_MAX(debts->age, debt->age + 1);
    return add_debt(ledger, debt, err);
}

int
syn_debts_tell(struct syn_debts *debts, uint32_t class, uint32_t account, int64_t net,
               struct syn_err *err)
{
    struct ledger *ledger;
    int rc = room(debts, class, account, &ledger, err);

    if (rc == SYN_OK)
        ledger->nets[account] = net;
    return rc;
}

/* --- settling --------------------------------------------------------------------------------- */

/* Who has more, or fewer, than was told. */
static void
weigh(struct syn_debts *debts, const struct ledger *ledger)
{
    for (uint32_t i = 0; i < ledger->accounts; i++) {
        debts->held[i] = SYN_MIN(ledger->nets[i], 0);
        debts->owed[i] = -SYN_MAX(ledger->nets[i], 0);
    }
    for (size_t i = 0; i < ledger->count; i++) {
        debts->held[ledger->debts[i].holder] += ledger->debts[i].units;
        debts->owed[ledger->debts[i].seller] += ledger->debts[i].units;
    }
}

enum giving { BOTH_GIVE, HOLDER_GIVES, SELLER_GIVES };

/* Take from the oldest debts what these have too much of; the other side may lack it then. */
static void
give(struct syn_debts *debts, struct ledger *ledger, enum giving who)
{
    size_t kept = 0;

    for (size_t i = 0; i < ledger->count; i++) {
        struct syn_debt *debt = &ledger->debts[i];
        int64_t *held = &debts->held[debt->holder], *owed = &debts->owed[debt->seller];
        int64_t units = debt->units;

        if (who != SELLER_GIVES)
            units = SYN_MIN(units, SYN_MAX(*held, 0));
        if (who != HOLDER_GIVES)
            units = SYN_MIN(units, SYN_MAX(*owed, 0));
        if (units > 0) {
            debt->units -= units;
            *held -= units;
            *owed -= units;
            mark(ledger, debt->holder);
        }
        if (debt->units > 0)
            ledger->debts[kept++] = *debt;
    }
    ledger->count = kept;
}

/* Whoever lacks units has them of whoever owes more than it is known to. */
static int
join(struct syn_debts *debts, struct ledger *ledger, struct syn_err *err)
{
    uint32_t holder = 0, seller = 0;
    int rc = SYN_OK;

    while (rc == SYN_OK) {
        int64_t units;

        while (holder < ledger->accounts && debts->held[holder] >= 0)
            holder++;
        while (seller < ledger->accounts && debts->owed[seller] >= 0)
            seller++;
        if (holder == ledger->accounts || seller == ledger->accounts)
            break;
        assert(holder != seller); /* one number is told of each */
        units = SYN_MIN(-debts->held[holder], -debts->owed[seller]);
        rc = add_debt(ledger, &(struct syn_debt){holder, seller, units, debts->age++}, err);
        debts->held[holder] += units;
        debts->owed[seller] += units;
        mark(ledger, holder);
    }
    return rc;
}

int
syn_debts_settle(struct syn_debts *debts, uint32_t class, struct syn_err *err)
{
    struct ledger *ledger;

    if (class >= debts->class_count)
        return SYN_OK;
    ledger = &debts->classes[class];
    assert(ledger->accounts <= debts->accounts);
    weigh(debts, ledger);
    give(debts, ledger, BOTH_GIVE);
    give(debts, ledger, HOLDER_GIVES);
    give(debts, ledger, SELLER_GIVES);
    return join(debts, ledger, err);
}

/* --- reading ---------------------------------------------------------------------------------- */

bool
syn_debts_next(const struct syn_debts *debts, uint32_t class, size_t *cursor, struct syn_debt *ret)
{
    if (class >= debts->class_count || *cursor >= debts->classes[class].count)
        return false;
    *ret = debts->classes[class].debts[(*cursor)++];
    return true;
}

bool
syn_debts_changed(struct syn_debts *debts, uint32_t *ret_class, uint32_t *ret_holder)
{
    for (uint32_t class = 0; class < debts->class_count; class ++) {
        struct ledger *ledger = &debts->classes[class];

        for (; ledger->dirty_from < ledger->accounts; ledger->dirty_from++) {
            if (!ledger->dirty[ledger->dirty_from])
                continue;
            ledger->dirty[ledger->dirty_from] = false;
            *ret_class = class;
            *ret_holder = ledger->dirty_from;
            return true;
        }
    }
    return false;
}

void
syn_debts_change(struct syn_debts *debts, uint32_t class, uint32_t holder)
{
    assert(class < debts->class_count && holder < debts->classes[class].accounts);
    mark(&debts->classes[class], holder);
}
