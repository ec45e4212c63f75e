/* A naive order book: one list in order of arrival, searched from end to end for everything. It is
 * the oracle of the tests and of the fuzz target; nothing of book*.c is used. */
#ifndef SYN_MARKET_BOOK_MODEL_H
#define SYN_MARKET_BOOK_MODEL_H

#include <synor/market/book.h>

#define MODEL_ORDERS_MAX  4096
#define MODEL_EFFECTS_MAX 8192

struct book_model {
    struct syn_order orders[MODEL_ORDERS_MAX]; /* those that rest or wait, by arrival */
    size_t count;
    struct syn_book_effect effects[MODEL_EFFECTS_MAX]; /* of the last event */
    size_t effect_count;
    uint32_t books;
    int64_t now_ms;
};

/* As syn_books_*: 0 or the code of the refusal. */
int book_model_add(struct book_model *model, const struct syn_order *order,
                   struct syn_order_result *ret_result);
int book_model_cancel(struct book_model *model, uint64_t id);
int book_model_reduce(struct book_model *model, uint64_t id, int64_t by);
int book_model_replace(struct book_model *model, uint64_t id, int64_t price, int64_t qty,
                       enum syn_stp stp, struct syn_order_result *ret_result);
int book_model_advance(struct book_model *model, int64_t now_ms);

/* Abort unless both did the same and hold the same. */
void book_model_same(const struct book_model *model, const struct syn_books *books);

#endif
