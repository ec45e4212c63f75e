#include <synor/base/test.h>

#include <synor/infra/cid.h>

static const char *const good[][2] = {
    /* The empty raw block, the empty directory, and the latter's version 0 spelling. */
    {"bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku",
     "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"},
    {"bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354",
     "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354"},
    {"QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn",
     "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354"},
};

static const char *const bad[] = {
    "",
    "b",
    "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyk",
    "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvykua",
    "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyk=",
    "BAFKREIHDWDCEFGH4DQKJV67UZCMW7OJEE6XEDZDETOJUZJEVTENXQUVYKU",
    "bAfkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku",
    "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvykv", /* stray bits at the end */
    "bafyreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku", /* dag-cbor */
    "zdj7Wd8AMwqnhJGQCbFxBVodGSBG84TM7Hs1rcJuQMwTyfEDS",
    "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3N0",
    "Qmzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz",
    "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn ",
};

static void
reads_and_writes_canonical_text(void **state)
{
    struct syn_err err = {0};

    (void)state;
    for (size_t i = 0; i < SYN_LEN(good); i++) {
        struct syn_cid cid;
        char text[SYN_CID_TEXT_MAX];

        assert_done(syn_cid_parse(good[i][0], strlen(good[i][0]), &cid, &err), &err);
        assert_string_equal(syn_cid_format(&cid, text), good[i][1]);
    }
}

static void
refuses_other_text(void **state)
{
    (void)state;
    for (size_t i = 0; i < SYN_LEN(bad); i++) {
        struct syn_err err = {0};
        struct syn_cid cid;

        if (syn_cid_parse(bad[i], strlen(bad[i]), &cid, &err) != SYN_E_INVALID)
            fail_msg("accepted \"%s\"", bad[i]);
        assert_true(err.msg[0] != '\0');
    }
}

static void
hashes_blocks(void **state)
{
    struct syn_cid empty;
    struct syn_cid other;
    char text[SYN_CID_TEXT_MAX];

    (void)state;
    syn_cid_of(SYN_CODEC_RAW, "", 0, &empty);
    assert_string_equal(syn_cid_format(&empty, text), good[0][0]);
    syn_cid_of(SYN_CODEC_DAG_PB, "", 0, &other);
    assert_false(syn_cid_eq(&empty, &other));
    other.codec = SYN_CODEC_RAW;
    assert_true(syn_cid_eq(&empty, &other));
}

static void
keeps_binary_form(void **state)
{
    struct syn_err err = {0};
    struct syn_cid cid;
    struct syn_cid back;
    uint8_t bytes[SYN_CID_BYTES + 1] = {0};
    size_t used = 0;

    (void)state;
    syn_cid_of(SYN_CODEC_DAG_PB, "x", 1, &cid);
    syn_cid_encode(&cid, bytes);
    assert_done(syn_cid_decode(bytes, sizeof(bytes), &back, &used, &err), &err);
    assert_int_equal(used, SYN_CID_BYTES);
    assert_true(syn_cid_eq(&cid, &back));
    assert_done(syn_cid_decode(bytes + 2, SYN_CID_BYTES - 2, &back, &used, &err), &err);
    assert_int_equal(used, SYN_CID_BYTES - 2);
    assert_true(syn_cid_eq(&cid, &back));
    for (size_t cut = 0; cut < SYN_CID_BYTES; cut++)
        assert_code(syn_cid_decode(bytes, cut, &back, &used, &err), SYN_E_INVALID, &err);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_and_writes_canonical_text),
        cmocka_unit_test(refuses_other_text),
        cmocka_unit_test(hashes_blocks),
        cmocka_unit_test(keeps_binary_form),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
