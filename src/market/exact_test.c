#include "exact_priv.h"

#include <synor/base/test.h>

static struct syn_err err;

static void
text_round_trips(void **state)
{
    static const char *const good[] = {"0", "1", "18446744073709551616",
                                       "340282366920938463463374607431768211455"};
    static const char *const bad[] = {"",
                                      "-1",
                                      "+1",
                                      " 1",
                                      "1 ",
                                      "01",
                                      "1.5",
                                      "1e3",
                                      "340282366920938463463374607431768211456",
                                      "9999999999999999999999999999999999999999"};

    (void)state;
    for (size_t i = 0; i < SYN_LEN(good); i++) {
        char text[SYN_EXACT_TEXT_MAX];
        syn_u128 value;

        assert_done(syn_exact_parse(good[i], "n", &value, &err), &err);
        assert_string_equal(syn_exact_format(value, text), good[i]);
    }
    for (size_t i = 0; i < SYN_LEN(bad); i++) {
        syn_u128 value;

        assert_code(syn_exact_parse(bad[i], "n", &value, &err), SYN_E_INVALID, &err);
    }
}

static void
overflow_is_seen(void **state)
{
    syn_u128 value = 7;

    (void)state;
    assert_true(syn_exact_add(SYN_EXACT_MAX, 0, &value) && value == SYN_EXACT_MAX);
    value = 7;
    assert_false(syn_exact_add(SYN_EXACT_MAX, 1, &value));
    assert_false(syn_exact_mul(SYN_EXACT_MAX, 2, &value));
    assert_false(syn_exact_lcm(SYN_EXACT_MAX, SYN_EXACT_MAX - 1, &value));
    assert_true(value == 7);
    assert_true(syn_exact_mul(SYN_EXACT_MAX, 0, &value) && value == 0);
    assert_true(syn_exact_lcm(12, 18, &value) && value == 36);
    assert_true(syn_exact_gcd(0, 5) == 5);
}

/* Against direct arithmetic where the product fits, and by a*b = q*c + r with 0 <= r < c modulo
 * 2^128 where it does not. */
static void
muldiv_is_the_floor(void **state)
{
    uint64_t random = 42;

    (void)state;
    for (unsigned i = 0; i < 20000; i++) {
        syn_u128 a = syn_test_random(&random) >> (i % 64);
        syn_u128 b = syn_test_random(&random) >> (i % 17);
        syn_u128 c = (syn_test_random(&random) >> (i % 61)) + 1, q, rest;

        assert_true(syn_exact_muldiv(a, b, c) == a * b / c);
        a = a << 60 | 12345;
        c = c << 64 | 99;
        q = syn_exact_muldiv(a, b, c);
        rest = a * b - q * c;
        assert_true(rest < c);
    }
    assert_true(syn_exact_muldiv(SYN_EXACT_MAX, SYN_EXACT_MAX, SYN_EXACT_MAX) == SYN_EXACT_MAX);
    assert_true(syn_exact_muldiv(SYN_EXACT_MAX, 2, 1) == SYN_EXACT_MAX);
    assert_true(syn_exact_muldiv(SYN_EXACT_MAX, 10, 20) == SYN_EXACT_MAX / 2);
    assert_true(syn_exact_muldiv(0, 5, 7) == 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_round_trips),
        cmocka_unit_test(overflow_is_seen),
        cmocka_unit_test(muldiv_is_the_floor),
    };

    return cmocka_run_group_tests_name("exact", tests, NULL, NULL);
}
