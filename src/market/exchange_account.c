/* Who and what there is in an exchange: accounts, classes, positions. */
#include "exchange_priv.h"

#include <synor/base/mem.h>
#include <synor/base/str.h>

static int
no_memory(struct syn_err *err, const char *what)
{
    return SYN_FAIL(err, SYN_E_NOMEM, "no memory for %s of the exchange", what);
}

int
syn_exchange_new(struct syn_exchange **ret_exchange, struct syn_err *err)
{
    SYN_SCOPED(syn_exchange_free_scope)
    struct syn_exchange *exchange = syn_calloc(1, sizeof(*exchange));
    int rc;

    if (exchange == NULL)
        return no_memory(err, "the state");
    rc = syn_books_new(&exchange->books, err);
    if (rc == 0)
        rc = syn_map_new(NULL, &exchange->account_map, err);
    if (rc == 0)
        rc = syn_map_new(NULL, &exchange->class_map, err);
    if (rc == 0 &&
        !syn_grow(&exchange->positions, &exchange->position_cap, 64, sizeof(*exchange->positions)))
        rc = no_memory(err, "positions");
    if (rc < 0)
        return rc;
    exchange->positions[0] = (struct position){.account = SYN_NO_INDEX, .class = SYN_NO_INDEX};
    exchange->position_count = 1;
    *ret_exchange = SYN_TAKE(exchange);
    return SYN_OK;
}

/* Give back what a class owns. */
static void
class_fini(struct market_class *class)
{
    syn_free(class->table);
    syn_free(class->history);
    syn_free(class->name);
}

struct syn_exchange *
syn_exchange_free(struct syn_exchange *exchange)
{
    if (exchange == NULL)
        return NULL;
    for (size_t i = 0; i < exchange->class_count; i++)
        class_fini(&exchange->classes[i]);
    for (size_t i = 0; i < exchange->account_count; i++)
        syn_free(exchange->account_names[i]);
    syn_free((void *)exchange->account_names);
    syn_free(exchange->classes);
    syn_free(exchange->accounts);
    syn_free(exchange->positions);
    syn_map_free(exchange->account_map);
    syn_map_free(exchange->class_map);
    syn_books_free(exchange->books);
    syn_free(exchange);
    return NULL;
}

void
syn_exchange_free_scope(struct syn_exchange **slot)
{
    *slot = syn_exchange_free(*slot);
}

/* ---- names ---- */

/* The values of the maps are numbers, one more than the index. */
static uint32_t
find_name(const struct syn_map *map, const char *name)
{
    uintptr_t value = (uintptr_t)syn_map_find(map, name);

    return value == 0 ? SYN_NO_INDEX : (uint32_t)(value - 1);
}

static int
put_name(struct syn_map *map, const char *name, size_t index, struct syn_err *err)
{
    return syn_map_put_take(map, name, (void *)(index + 1), err);
}

uint32_t
syn_exchange_find_account(const struct syn_exchange *exchange, const char *name)
{
    return find_name(exchange->account_map, name);
}

uint32_t
syn_exchange_find_class(const struct syn_exchange *exchange, const char *name)
{
    return find_name(exchange->class_map, name);
}

static bool
letter_ok(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.' || c == ':' || c == '@';
}

/* A copy that ends with a zero, if the letters are such as an account's name has. */
static int
dup_name(const char *name, size_t len, const char *more, const char *what, char **ret_name,
         struct syn_err *err)
{
    char *copy;

    if (len == 0 || len > SYN_MARKET_NAME_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "%s: a name has 1 to %d bytes, not %zu", what,
                        SYN_MARKET_NAME_MAX, len);
    for (size_t i = 0; i < len; i++) {
        if (!letter_ok(name[i]) && (name[i] == '\0' || strchr(more, name[i]) == NULL))
            return SYN_FAIL(err, SYN_E_INVALID, "%s '%.*s': byte %zu must not be in a name", what,
                            (int)len, name, i);
    }
    copy = syn_strndup(name, len);
    if (copy == NULL)
        return no_memory(err, "a name");
    *ret_name = copy;
    return SYN_OK;
}

/* "kind/model/region/duration" */
static int
check_class(const char *name, struct syn_err *err)
{
    unsigned parts = 1;

    for (const char *c = name; *c != '\0'; c++) {
        if (*c != '/')
            continue;
        parts++;
        if (c == name || c[1] == '/' || c[1] == '\0')
            return SYN_FAIL(err, SYN_E_INVALID, "class '%s': a part is empty", name);
    }
    if (parts != 4)
        return SYN_FAIL(err, SYN_E_INVALID,
                        "class '%s': expected kind/model/region/duration, got %u parts", name,
                        parts);
    return SYN_OK;
}

int
syn_exchange_open_account(struct syn_exchange *exchange, const char *name, size_t len,
                          uint32_t *ret_index, struct syn_err *err)
{
    SYN_SCOPED(syn_free_scope) char *copy = NULL;
    size_t index = exchange->account_count;
    int rc = dup_name(name, len, "", "account", &copy, err);

    if (rc < 0)
        return rc;
    if (find_name(exchange->account_map, copy) != SYN_NO_INDEX)
        return SYN_FAIL(err, SYN_E_EXISTS, "account '%s' is open already", copy);
    if (index >= SYN_EXCHANGE_ACCOUNTS_MAX)
        return SYN_FAIL(err, SYN_E_LIMIT, "the exchange is full: %zu accounts", index);
    if (!syn_grow(&exchange->accounts, &exchange->account_cap, index + 1,
                  sizeof(*exchange->accounts)) ||
        !syn_grow((void *)&exchange->account_names, &exchange->account_name_cap, index + 1,
                  sizeof(char *)))
        return no_memory(err, "an account");
    rc = put_name(exchange->account_map, copy, index, err);
    if (rc < 0)
        return rc;
    exchange->accounts[index] = (struct account){0};
    exchange->account_names[index] = SYN_TAKE(copy);
    exchange->account_count++;
    *ret_index = (uint32_t)index;
    return SYN_OK;
}

int
syn_exchange_open_class(struct syn_exchange *exchange, const char *name, size_t len,
                        uint32_t *ret_index, struct syn_err *err)
{
    SYN_SCOPED(class_fini) struct market_class class = {.table_bits = 3};
    size_t index = exchange->class_count;
    uint32_t book;
    int rc = dup_name(name, len, "/", "class", &class.name, err);

    if (rc == 0)
        rc = check_class(class.name, err);
    if (rc < 0)
        return rc;
    if (find_name(exchange->class_map, class.name) != SYN_NO_INDEX)
        return SYN_FAIL(err, SYN_E_EXISTS, "class '%s' is open already", class.name);
    if (index >= SYN_EXCHANGE_CLASSES_MAX)
        return SYN_FAIL(err, SYN_E_LIMIT, "the exchange is full: %zu classes", index);
    class.table = syn_calloc((size_t)1 << class.table_bits, sizeof(*class.table));
    class.history = syn_calloc(SYN_EXCHANGE_HISTORY, sizeof(*class.history));
    if (class.table == NULL || class.history == NULL ||
        !syn_grow(&exchange->classes, &exchange->class_cap, index + 1, sizeof(*exchange->classes)))
        return no_memory(err, "a class");
    rc = put_name(exchange->class_map, class.name, index, err);
    if (rc < 0)
        return rc;
    rc = syn_books_open(exchange->books, &book, err);
    if (rc < 0) {
        (void)syn_map_remove(exchange->class_map, class.name);
        return rc;
    }
    assert(book == index);
    exchange->classes[index] = (struct market_class){.table = SYN_TAKE(class.table),
                                                     .history = SYN_TAKE(class.history),
                                                     .name = SYN_TAKE(class.name),
                                                     .table_bits = class.table_bits};
    exchange->class_count++;
    *ret_index = book;
    return SYN_OK;
}

/* ---- positions ---- */

static void
table_put(struct market_class *class, uint32_t account, uint32_t position)
{
    uint32_t mask = (UINT32_C(1) << class->table_bits) - 1, at = class_home(class, account);

    while (class->table[at] != 0)
        at = (at + 1) & mask;
    class->table[at] = ((uint64_t)account + 1) << 32 | position;
}

/* At most half of a table is in use. */
static int
grow_table(struct market_class *class, struct syn_err *err)
{
    uint32_t size = UINT32_C(1) << class->table_bits;
    uint64_t *old = class->table, *fresh;

    if (class->positions + 1 <= size / 2)
        return SYN_OK;
    fresh = syn_calloc((size_t)size * 2, sizeof(*fresh));
    if (fresh == NULL)
        return no_memory(err, "positions");
    class->table = fresh;
    class->table_bits++;
    for (uint32_t i = 0; i < size; i++) {
        if (old[i] != 0)
            table_put(class, (uint32_t)(old[i] >> 32) - 1, (uint32_t)old[i]);
    }
    syn_free(old);
    return SYN_OK;
}

int
syn_exchange_position(struct syn_exchange *exchange, uint32_t account, uint32_t class_index,
                      uint32_t *ret_position, struct syn_err *err)
{
    struct market_class *class = &exchange->classes[class_index];
    uint32_t found = position_find(class, account);
    size_t at = exchange->position_count;
    int rc;

    if (found != 0) {
        *ret_position = found;
        return SYN_OK;
    }
    if (at >= SYN_EXCHANGE_POSITIONS_MAX)
        return SYN_FAIL(err, SYN_E_LIMIT, "the exchange is full: %zu positions", at);
    if (!syn_grow(&exchange->positions, &exchange->position_cap, at + 1,
                  sizeof(*exchange->positions)))
        return no_memory(err, "positions");
    rc = grow_table(class, err);
    if (rc < 0)
        return rc;
    exchange->positions[at] = (struct position){.account = account, .class = class_index};
    exchange->position_count++;
    class->positions++;
    table_put(class, account, (uint32_t)at);
    *ret_position = (uint32_t)at;
    return SYN_OK;
}

void
syn_exchange_position_undo(struct syn_exchange *exchange, uint32_t position)
{
    struct position *gone = &exchange->positions[position];
    struct market_class *class = &exchange->classes[gone->class];
    uint32_t size = UINT32_C(1) << class->table_bits, hole = class_home(class, gone->account);

    assert(position + 1 == exchange->position_count && gone->free == 0 && gone->held == 0);
    while ((uint32_t) class->table[hole] != position)
        hole = (hole + 1) & (size - 1);
    class->table[hole] = 0;
    /* Put those behind it where they belong now: rare, and the tables are short. */
    for (uint32_t at = (hole + 1) & (size - 1); class->table[at] != 0; at = (at + 1) & (size - 1)) {
        uint64_t entry = class->table[at];

        class->table[at] = 0;
        table_put(class, (uint32_t)(entry >> 32) - 1, (uint32_t)entry);
    }
    class->positions--;
    exchange->position_count--;
}

/* ---- questions ---- */

const char *
syn_exchange_account_name(const struct syn_exchange *exchange, uint32_t account)
{
    return account < exchange->account_count ? exchange->account_names[account] : NULL;
}

const char *
syn_exchange_class_name(const struct syn_exchange *exchange, uint32_t class)
{
    return class < exchange->class_count ? exchange->classes[class].name : NULL;
}

uint32_t
syn_exchange_accounts(const struct syn_exchange *exchange)
{
    return (uint32_t)exchange->account_count;
}

uint32_t
syn_exchange_classes(const struct syn_exchange *exchange)
{
    return (uint32_t)exchange->class_count;
}

struct syn_balance
syn_exchange_money(const struct syn_exchange *exchange, uint32_t account)
{
    if (account >= exchange->account_count)
        return (struct syn_balance){0};
    return (struct syn_balance){exchange->accounts[account].free, exchange->accounts[account].held};
}

struct syn_balance
syn_exchange_capacity(const struct syn_exchange *exchange, uint32_t account, uint32_t class)
{
    uint32_t at =
        class < exchange->class_count ? position_find(&exchange->classes[class], account) : 0;

    return (struct syn_balance){exchange->positions[at].free, exchange->positions[at].held};
}

int64_t
syn_exchange_money_total(const struct syn_exchange *exchange)
{
    return exchange->money;
}

int64_t
syn_exchange_capacity_total(const struct syn_exchange *exchange, uint32_t class)
{
    return class < exchange->class_count ? exchange->classes[class].capacity : 0;
}

uint32_t
syn_exchange_owner(const struct syn_exchange *exchange, uint32_t owner)
{
    return owner < exchange->position_count ? exchange->positions[owner].account : SYN_NO_INDEX;
}
