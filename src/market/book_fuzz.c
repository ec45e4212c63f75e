#include <stdlib.h>
#include <string.h>

#include "book_model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define STEP 8 /* bytes of an event */

static void
need(bool holds)
{
    if (!holds)
        abort();
}

/* Eight bytes are an event; the naive book must do the same. */
static void
step(struct book_model *model, struct syn_books *books, const uint8_t *in)
{
    struct syn_order_result a = {0}, b = {0};
    int64_t price = in[2] % 16, qty = in[3] % 32;
    int64_t now_ms = model->now_ms + in[3] % 8;
    struct syn_order order = {.id = in[1],
                              .price = in[0] & 0x40 ? price << (in[7] % 59) : price,
                              .qty = qty,
                              .until_ms = in[4] % 4 == 0 ? model->now_ms + in[4] : 0,
                              .book = in[5] % 3,
                              .owner = in[5] >> 4,
                              .side = in[5] >> 2 & 1,
                              .kind = in[6] % 8,
                              .stp = in[6] >> 4};

    switch (in[0] & 7) {
    case 5:
        need(syn_books_cancel(books, in[1], NULL) == book_model_cancel(model, in[1]));
        break;
    case 6:
        need(syn_books_reduce(books, in[1], qty, NULL) == book_model_reduce(model, in[1], qty));
        break;
    case 7:
        need(syn_books_replace(books, in[1], order.price, qty, in[6] % 4, &a, NULL) ==
             book_model_replace(model, in[1], order.price, qty, in[6] % 4, &b));
        break;
    case 4:
        need(syn_books_advance(books, now_ms, NULL) == book_model_advance(model, now_ms));
        break;
    default:
        need(syn_books_add(books, &order, &a, NULL) == book_model_add(model, &order, &b));
    }
    need(memcmp(&a, &b, sizeof(a)) == 0);
    book_model_same(model, books);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct book_model *model = calloc(1, sizeof(*model));
    struct syn_books *books = NULL;
    uint32_t book;

    need(model != NULL && syn_books_new(&books, NULL) == 0);
    model->books = 2;
    for (uint32_t i = 0; i < model->books; i++)
        need(syn_books_open(books, &book, NULL) == 0);
    for (size_t at = 0; at + STEP <= size && at / STEP < 256; at += STEP)
        step(model, books, data + at);
    syn_books_free(books);
    free(model);
    return 0;
}
