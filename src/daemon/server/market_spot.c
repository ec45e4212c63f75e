/* What the market asks for an hour of each good: the prices of spot work. */
#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/orchestration/node_view.h>

#include "market_priv.h"

#define WINDOW_MS INT64_C(3600000) /* trades that count */

struct good {
    char name[SYN_GOOD_MAX];
    int64_t hour; /* -1: no price */
};

/* Classes whose unit is an hour, and their index. Under the lock. */
static int
read_goods(const struct srv_market *market, struct good **ret, size_t *ret_count,
           struct syn_err *err)
{
    uint32_t classes = syn_exchange_classes(market->exchange);
    struct good *goods = syn_calloc((size_t)classes + 1, sizeof(*goods));
    size_t count = 0;

    if (goods == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for prices");
    for (uint32_t i = 0; i < classes; i++) {
        struct market_class_name class;
        struct syn_market_index index;

        if (srv_market_class_parse(syn_exchange_class_name(market->exchange, i), &class, NULL) <
                0 ||
            class.duration_ms != SYN_HOUR_MS ||
            !syn_str_copy(goods[count].name, sizeof(goods[count].name), class.triple))
            continue;
        index = syn_exchange_index(market->exchange, i, WINDOW_MS);
        goods[count++].hour = index.basis == SYN_INDEX_NONE ? -1 : index.price;
    }
    *ret = goods;
    *ret_count = count;
    return SYN_OK;
}

int
srv_market_spot(struct syn_server *server, srv_spot_fn fn, void *arg, size_t *ret_count,
                struct syn_err *err)
{
    struct good *goods = NULL;
    int rc = srv_market_enter(server->market, err);

    *ret_count = 0;
    if (rc < 0)
        return rc;
    rc = read_goods(server->market, &goods, ret_count, err);
    srv_market_leave(server->market);
    for (size_t i = 0; rc == SYN_OK && i < *ret_count; i++)
        rc = fn(arg, goods[i].name, goods[i].hour, err);
    syn_free(goods);
    return rc;
}
