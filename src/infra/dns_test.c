/* Questions as resolvers send them and as enemies do, and every byte of answers. */
#include <string.h>

#include <synor/base/str.h>
#include <synor/base/test.h>
#include <synor/infra/dns.h>

#define MESSAGE_MAX 600

struct message {
    uint8_t data[MESSAGE_MAX];
    size_t len;
};

static void
add(struct message *message, const void *data, size_t len)
{
    assert_true(message->len + len <= sizeof(message->data));
    memcpy(message->data + message->len, data, len);
    message->len += len;
}

static void
add16(struct message *message, unsigned value)
{
    const uint8_t bytes[] = {(uint8_t)(value >> 8), (uint8_t)value};

    add(message, bytes, 2);
}

static void
add_name(struct message *message, const char *name)
{
    while (*name != '\0') {
        size_t len = strcspn(name, ".");
        const uint8_t byte = (uint8_t)len;

        add(message, &byte, 1);
        add(message, name, len);
        name += len + (name[len] == '.');
    }
    add(message, "", 1);
}

static void
add_header(struct message *message, unsigned flags, unsigned questions, unsigned extras)
{
    message->len = 0;
    add16(message, 0x1234);
    add16(message, flags);
    add16(message, questions);
    add16(message, 0);
    add16(message, 0);
    add16(message, extras);
}

static void
ask(struct message *message, const char *name, unsigned type)
{
    add_header(message, 0x0100, 1, 0);
    add_name(message, name);
    add16(message, type);
    add16(message, 1);
}

static void
add_edns(struct message *message, unsigned size, unsigned version)
{
    message->data[11]++;
    add(message, "", 1);
    add16(message, SYN_DNS_OPT);
    add16(message, size);
    add16(message, version);
    add16(message, 0);
    add16(message, 0);
}

static void
parse(const struct message *message, struct syn_dns_query *query)
{
    assert_int_equal(syn_dns_query_parse(message->data, message->len, query), 0);
}

static void
test_question(void **state)
{
    struct message message;
    struct syn_dns_query query;

    (void)state;
    ask(&message, "Web.ACME.synor", SYN_DNS_AAAA);
    parse(&message, &query);
    assert_int_equal(query.code, SYN_DNS_NOERROR);
    assert_string_equal(query.name, "web.acme.synor");
    assert_int_equal(query.type, SYN_DNS_AAAA);
    assert_int_equal(query.id, 0x1234);
    assert_true(query.internet);
    assert_false(query.edns);
    assert_int_equal(query.limit, SYN_DNS_PLAIN_MAX);
    assert_int_equal(query.question_len, 20);
    assert_memory_equal(query.question, "\3Web\4ACME\5synor", 16); /* as it came */
    ask(&message, "", SYN_DNS_SOA);
    parse(&message, &query);
    assert_string_equal(query.name, "");
    ask(&message, "a b.\xff.x", SYN_DNS_A);
    parse(&message, &query);
    assert_string_equal(query.name, "a?b.?.x");
}

static void
test_edns(void **state)
{
    static const struct {
        unsigned size;
        size_t limit;
    } rows[] = {{0, 512}, {511, 512}, {512, 512}, {1000, 1000}, {4096, 1232}, {65535, 1232}};
    struct message message;
    struct syn_dns_query query;

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        ask(&message, "x", SYN_DNS_A);
        add_edns(&message, rows[i].size, 0);
        parse(&message, &query);
        assert_int_equal(query.code, SYN_DNS_NOERROR);
        assert_true(query.edns);
        assert_int_equal(query.limit, rows[i].limit);
    }
    ask(&message, "x", SYN_DNS_A);
    add_edns(&message, 1232, 1);
    parse(&message, &query);
    assert_int_equal(query.code, SYN_DNS_BADVERS);
    ask(&message, "x", SYN_DNS_A);
    add_edns(&message, 1232, 0);
    add_edns(&message, 1232, 0);
    parse(&message, &query);
    assert_int_equal(query.code, SYN_DNS_FORMERR);
}

/* What is refused, and what is not even answered. */
static void
test_hostile(void **state)
{
    char name[300];
    struct message message;
    struct syn_dns_query query;

    (void)state;
    ask(&message, "web.acme.synor", SYN_DNS_A);
    for (size_t len = 0; len < message.len; len++) {
        int rc = syn_dns_query_parse(message.data, len, &query);

        assert_int_equal(rc, len < SYN_DNS_HEADER ? SYN_DNS_IGNORED : SYN_OK);
        assert_true(rc == SYN_DNS_IGNORED || query.code == SYN_DNS_FORMERR);
    }
    message.data[2] |= 0x80; /* an answer: to answer it would go on for ever */
    assert_int_equal(syn_dns_query_parse(message.data, message.len, &query), SYN_DNS_IGNORED);
    message.data[2] = 0x28; /* an update */
    parse(&message, &query);
    assert_int_equal(query.code, SYN_DNS_NOTIMP);
    message.data[2] = 1;
    message.data[5] = 2; /* two questions, one there */
    parse(&message, &query);
    assert_int_equal(query.code, SYN_DNS_FORMERR);
    add_header(&message, 0, 1, 0); /* a name that points to itself */
    add16(&message, 0xc00c);
    add16(&message, SYN_DNS_A);
    add16(&message, 1);
    parse(&message, &query);
    assert_int_equal(query.code, SYN_DNS_FORMERR);
    ask(&message, "x", SYN_DNS_A);
    message.data[11] = 200; /* records that are not there */
    parse(&message, &query);
    assert_int_equal(query.code, SYN_DNS_FORMERR);
    memset(name, 'a', sizeof(name));
    name[63] = name[127] = name[191] = '.';
    name[253] = '\0'; /* 255 bytes on the wire: the longest */
    ask(&message, name, SYN_DNS_A);
    parse(&message, &query);
    assert_int_equal(query.code, SYN_DNS_NOERROR);
    assert_string_equal(query.name, name);
    name[253] = 'a';
    name[254] = '\0';
    ask(&message, name, SYN_DNS_A);
    parse(&message, &query);
    assert_int_equal(query.code, SYN_DNS_FORMERR);
}

static void
test_addresses(void **state)
{
    static const uint8_t four[4] = {10, 128, 0, 2}, six[16] = {0xfd, 1};
    uint8_t data[SYN_DNS_PLAIN_MAX];
    struct syn_dns_answer answer;
    struct syn_dns_query query;
    struct message message, want = {.len = 0};

    (void)state;
    ask(&message, "wEb", SYN_DNS_A);
    add_edns(&message, 512, 0);
    parse(&message, &query);
    syn_dns_answer_begin(&answer, &query, data, sizeof(data));
    syn_dns_answer_address(&answer, four, sizeof(four), 7);
    syn_dns_answer_address(&answer, six, sizeof(six), 7);
    add(&want, "\x12\x34\x85\x80\0\1\0\2\0\0\0\1", 12);
    add(&want, "\3wEb\0\0\1\0\1", 9);
    add(&want, "\xc0\x0c\0\1\0\1\0\0\0\7\0\4", 12);
    add(&want, four, 4);
    add(&want, "\xc0\x0c\0\x1c\0\1\0\0\0\7\0\x10", 12);
    add(&want, six, 16);
    add(&want, "\0\0\x29\x04\xd0\0\0\0\0\0\0", 11);
    assert_int_equal(syn_dns_answer_end(&answer, SYN_DNS_NOERROR, true), want.len);
    assert_memory_equal(data, want.data, want.len);
}

static void
test_srv_and_nothing(void **state)
{
    static const uint8_t four[4] = {10, 128, 0, 2};
    uint8_t data[SYN_DNS_PLAIN_MAX];
    struct syn_dns_answer answer;
    struct syn_dns_query query;
    struct message message, want = {.len = 0};

    (void)state;
    ask(&message, "_80._tcp.w.a.synor", SYN_DNS_SRV);
    parse(&message, &query);
    syn_dns_answer_begin(&answer, &query, data, sizeof(data));
    syn_dns_answer_srv(&answer, "0.w.a.synor", 8080, 1);
    syn_dns_answer_extra(&answer, "0.w.a.synor", four, sizeof(four), 1);
    add(&want, "\x12\x34\x85\x80\0\1\0\1\0\0\0\1", 12);
    add(&want, message.data + 12, message.len - 12);
    add(&want, "\xc0\x0c\0\x21\0\1\0\0\0\1\0\x13\0\0\0\0\x1f\x90", 18);
    add_name(&want, "0.w.a.synor");
    add_name(&want, "0.w.a.synor");
    add(&want, "\0\1\0\1\0\0\0\1\0\4", 10);
    add(&want, four, 4);
    assert_int_equal(syn_dns_answer_end(&answer, SYN_DNS_NOERROR, true), want.len);
    assert_memory_equal(data, want.data, want.len);

    ask(&message, "no.synor", SYN_DNS_A);
    parse(&message, &query);
    syn_dns_answer_begin(&answer, &query, data, sizeof(data));
    syn_dns_answer_authority(&answer, "synor", 1);
    want.len = 0;
    add(&want, "\x12\x34\x85\x83\0\1\0\0\0\1\0\0", 12);
    add(&want, message.data + 12, message.len - 12);
    add_name(&want, "synor");
    add(&want, "\0\6\0\1\0\0\0\1\0\x2d", 10);
    add_name(&want, "synor");
    add_name(&want, "hostmaster.synor");
    add(&want, "\0\0\0\1\0\0\0\x3c\0\0\0\x3c\0\1\x51\x80\0\0\0\1", 20);
    assert_int_equal(syn_dns_answer_end(&answer, SYN_DNS_NXDOMAIN, true), want.len);
    assert_memory_equal(data, want.data, want.len);
}

/* As many as there is room for, and word of the rest; room for EDNS is always left. */
static void
test_truncated(void **state)
{
    static const uint8_t six[16] = {0xfd};
    uint8_t data[SYN_DNS_PLAIN_MAX];
    struct syn_dns_answer answer;
    struct syn_dns_query query;
    struct message message;

    (void)state;
    for (int edns = 0; edns < 2; edns++) {
        ask(&message, "web.acme.synor", SYN_DNS_AAAA);
        if (edns > 0)
            add_edns(&message, 512, 0);
        parse(&message, &query);
        syn_dns_answer_begin(&answer, &query, data, sizeof(data));
        for (int i = 0; i < 40; i++)
            syn_dns_answer_address(&answer, six, sizeof(six), 1);
        syn_dns_answer_authority(&answer, "synor", 1);
        assert_true(answer.cut);
        assert_true(syn_dns_answer_end(&answer, SYN_DNS_NOERROR, true) <= sizeof(data));
        assert_int_equal(data[2] & 2, 2);
        assert_int_equal(data[7], (512 - 32 - 11 * edns) / 28);
        assert_int_equal(data[9], 0);
    }
}

static void
test_refusals(void **state)
{
    uint8_t data[SYN_DNS_PLAIN_MAX];
    struct syn_dns_answer answer;
    struct syn_dns_query query;
    struct message message;

    (void)state;
    add_header(&message, 0x0100, 0, 0);
    parse(&message, &query);
    syn_dns_answer_begin(&answer, &query, data, sizeof(data));
    assert_int_equal(syn_dns_answer_end(&answer, query.code, false), SYN_DNS_HEADER);
    assert_memory_equal(data, "\x12\x34\x81\x81\0\0\0\0\0\0\0\0", 12);
    ask(&message, "x", SYN_DNS_A);
    add_edns(&message, 1232, 7);
    parse(&message, &query);
    syn_dns_answer_begin(&answer, &query, data, sizeof(data));
    assert_int_equal(syn_dns_answer_end(&answer, query.code, false), 12 + 7 + 11);
    assert_int_equal(data[3] & 0xf, 0);
    assert_int_equal(data[12 + 7 + 5], 1); /* 16: its upper part stands in the EDNS record */
}

static void
test_whose_answer(void **state)
{
    struct message asked, message;

    (void)state;
    ask(&asked, "deb.debian.org", SYN_DNS_A);
    message = asked;
    assert_false(syn_dns_answers(message.data, message.len, asked.data, asked.len));
    message.data[2] |= 0x80;
    assert_true(syn_dns_answers(message.data, message.len, asked.data, asked.len));
    for (size_t i = 12; i < message.len; i++) {
        message.data[i] ^= 1;
        assert_false(syn_dns_answers(message.data, message.len, asked.data, asked.len));
        message.data[i] ^= 1;
        assert_false(syn_dns_answers(message.data, i, asked.data, asked.len));
    }
    message.data[0] ^= 1;
    assert_false(syn_dns_answers(message.data, message.len, asked.data, asked.len));
    message.data[0] ^= 1;
    message.data[5] = 0;
    assert_false(syn_dns_answers(message.data, 12, asked.data, asked.len));
    message.data[3] = SYN_DNS_REFUSED;
    assert_true(syn_dns_answers(message.data, 12, asked.data, asked.len));
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_question),  cmocka_unit_test(test_edns),
        cmocka_unit_test(test_hostile),   cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_truncated), cmocka_unit_test(test_srv_and_nothing),
        cmocka_unit_test(test_refusals),  cmocka_unit_test(test_whose_answer),
    };

    return cmocka_run_group_tests_name("dns", tests, NULL, NULL);
}
