/* The call auction of a million orders: market-auction [ORDERS]. Prints the milliseconds of five
 * runs, processor time, and what came out. Prices lie around a middle, a thousandth of the orders
 * are market orders, and limits are any numbers: nothing that a sort could use. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/market/auction.h>

#define ROUNDS 5
#define MIDDLE INT64_C(2000000000) /* 2 SYNOR */
#define SPREAD UINT64_C(400000000)

static uint64_t
next(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return *state >> 17;
}

static double
processor_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

int
main(int argc, char **argv)
{
    uint64_t count = 1000000, state = 42;
    struct syn_call_result result = {0};
    struct syn_call_order *orders;
    struct syn_err err = {0};
    int64_t *traded;

    if (argc > 1 && syn_parse_u64(argv[1], 1, SYN_CALL_ORDERS_MAX, "ORDERS", &count, &err) < 0) {
        (void)fprintf(stderr, "market-auction: %s\n", err.msg);
        return 2;
    }
    orders = syn_calloc(count, sizeof(*orders));
    traded = syn_calloc(count, sizeof(*traded));
    if (orders == NULL || traded == NULL)
        return 1;
    for (uint64_t i = 0; i < count; i++)
        orders[i] = (struct syn_call_order){.price = MIDDLE - (int64_t)SPREAD / 2 +
                                                     (int64_t)(next(&state) % SPREAD),
                                            .qty = 1 + (int64_t)(next(&state) % 100),
                                            .side = (uint8_t)(next(&state) & 1),
                                            .market = next(&state) % 1000 == 0};
    for (unsigned i = 0; i < ROUNDS; i++) {
        double begun = processor_ms();

        if (syn_call_clear(orders, count, MIDDLE, traded, &result, &err) < 0) {
            (void)fprintf(stderr, "market-auction: %s\n", err.msg);
            return 1;
        }
        (void)printf("ms %.2f\n", processor_ms() - begun);
    }
    (void)printf("price %" PRId64 "\nvolume %" PRId64 "\n", result.price, result.volume);
    syn_free(orders);
    syn_free(traded);
    return 0;
}
