/* The insides of the exchange, shared by exchange*.c. */
#ifndef SYN_MARKET_EXCHANGE_PRIV_H
#define SYN_MARKET_EXCHANGE_PRIV_H

#include <synor/base/map.h>
#include <synor/market/exchange.h>

#include "book_priv.h"

/* What an account has of a class. Its number is the owner of the account's orders there, so that an
 * order leads to its money and capacity without a search. Number 0 is nobody. */
struct position {
    int64_t free, held;
    uint32_t account;
    uint32_t class;
};

struct market_class {
    uint64_t *table;                  /* (account + 1) << 32 | position, by open addressing */
    struct syn_market_trade *history; /* a ring: trade n is at n % SYN_EXCHANGE_HISTORY */
    uint64_t trades;
    int64_t capacity; /* of all accounts */
    uint32_t table_bits;
    uint32_t positions;
    char *name;
};

struct account {
    int64_t free, held;
};

struct syn_exchange {
    struct syn_books *books;
    struct position *positions;
    struct account *accounts;
    struct market_class *classes;
    char **account_names;
    struct syn_map *account_map; /* name -> index + 1 */
    struct syn_map *class_map;
    size_t position_count, position_cap;
    size_t account_count, account_cap, account_name_cap;
    size_t class_count, class_cap;
    uint64_t last_id;
    uint64_t events;
    int64_t money; /* of all accounts */
};

static inline uint32_t
class_home(const struct market_class *class, uint32_t account)
{
    return (account + 1) * UINT32_C(0x9E3779B1) >> (32 - class->table_bits);
}

/* The position, or 0. */
static inline uint32_t
position_find(const struct market_class *class, uint32_t account)
{
    uint32_t mask = (UINT32_C(1) << class->table_bits) - 1, at = class_home(class, account);

    for (;; at = (at + 1) & mask) {
        if (class->table[at] == 0)
            return 0;
        if (class->table[at] >> 32 == (uint64_t)account + 1)
            return (uint32_t) class->table[at];
    }
}

/* Make an empty position where there is none. It is the last one: until something is put into it,
 * syn_exchange_position_undo() takes it away again. */
SYN_MUST int syn_exchange_position(struct syn_exchange *exchange, uint32_t account, uint32_t class,
                                   uint32_t *ret_position, struct syn_err *err);
void syn_exchange_position_undo(struct syn_exchange *exchange, uint32_t position);
SYN_MUST int syn_exchange_open_account(struct syn_exchange *exchange, const char *name, size_t len,
                                       uint32_t *ret_index, struct syn_err *err);
SYN_MUST int syn_exchange_open_class(struct syn_exchange *exchange, const char *name, size_t len,
                                     uint32_t *ret_index, struct syn_err *err);

#endif
