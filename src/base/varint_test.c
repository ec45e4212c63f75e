#include <synor/base/test.h>

#include <synor/base/varint.h>

static void
varints_are_shortest(void **state)
{
    static const uint64_t values[] = {0, 1, 127, 128, 300, 16383, 16384, UINT32_MAX, UINT64_MAX};
    static const uint8_t overlong[] = {0x80, 0x00};
    static const uint8_t huge[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02};
    uint64_t value = 0;

    (void)state;
    for (size_t i = 0; i < SYN_LEN(values); i++) {
        uint8_t bytes[SYN_VARINT_MAX];
        size_t used = syn_varint_encode(values[i], bytes);

        assert_int_equal(syn_varint_decode(bytes, used, &value), used);
        assert_true(value == values[i]);
        assert_int_equal(syn_varint_decode(bytes, used - 1, &value), 0);
    }
    assert_int_equal(syn_varint_decode(overlong, sizeof(overlong), &value), 0);
    assert_int_equal(syn_varint_decode(huge, sizeof(huge), &value), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(varints_are_shortest),
    };

    return cmocka_run_group_tests_name("varint", tests, NULL, NULL);
}
