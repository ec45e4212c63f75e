#include "attachment_priv.h"

#include <string.h>
#include <sys/socket.h>

#include <synor/base/json.h>
#include <synor/base/str.h>
#include <synor/base/test.h>

static const struct syn_net_port good_ports[] = {{"192.0.2.1", SYN_NET_TCP, 80, 8080},
                                                 {NULL, SYN_NET_UDP, 53, 53}};
static const struct syn_net_rule good_rules[] = {{true, SYN_NET_TCP, "10.0.0.0/8", 80, 443},
                                                 {false, SYN_NET_ANY, "2001:db8::/32", 0, 0}};

static struct syn_net_spec
good_spec(void)
{
    return (struct syn_net_spec){.id = "web-1",
                                 .account = "acme",
                                 .ports = good_ports,
                                 .ports_count = SYN_LEN(good_ports),
                                 .rules = good_rules,
                                 .rules_count = SYN_LEN(good_rules),
                                 .closed = true,
                                 .guarded = true,
                                 .send_bits_s = 8000,
                                 .receive_bits_s = 1000000,
                                 .connections_max = 100};
}

static void
records_are_read_as_written(void **state)
{
    const struct syn_net_spec spec = good_spec();
    struct syn_attachment made, read;
    struct syn_err err = {0};
    SYN_BUF(once);
    SYN_BUF(twice);

    (void)state;
    assert_done(syn_attachment_make(&spec, 258, &made, &err), &err);
    assert_done(syn_attachment_format(&made, &once, &err), &err);
    assert_done(syn_attachment_parse(once.data, once.len, &read, &err), &err);
    assert_done(syn_attachment_format(&read, &twice, &err), &err);
    assert_string_equal(syn_buf_text(&once), syn_buf_text(&twice));
    assert_int_equal(read.number, 258);
    assert_int_equal(read.ports[1].host.family, 0);
    assert_int_equal(read.rules[1].prefix.addr.family, AF_INET6);
    /* Cut anywhere, it is no record. */
    for (size_t len = 0; len < once.len; len++)
        assert_true(syn_attachment_parse(once.data, len, &read, &err) < 0);
}

static void
bad_fields_are_named(void **state)
{
    static const struct syn_net_port ports[] = {
        {NULL, SYN_NET_ANY, 80, 80},        {NULL, SYN_NET_TCP, 0, 80},
        {NULL, SYN_NET_TCP, 80, 0},         {"127.0.0.1", SYN_NET_TCP, 80, 80},
        {"::1", SYN_NET_TCP, 80, 80},       {"192.0.2.256", SYN_NET_TCP, 80, 80},
        {"fe80::1%lo", SYN_NET_TCP, 80, 80}};
    static const struct syn_net_rule rules[] = {
        {true, SYN_NET_ANY, NULL, 80, 80},         {true, SYN_NET_TCP, NULL, 81, 80},
        {true, SYN_NET_TCP, NULL, 0, 80},          {true, SYN_NET_TCP, "10.0.0.1/8", 0, 0},
        {true, SYN_NET_TCP, "10.0.0.0/33", 0, 0},  {true, SYN_NET_TCP, "10.0.0.0", 0, 0},
        {true, SYN_NET_TCP, "10.0.0.0/8 x", 0, 0}, {true, (enum syn_net_protocol)9, NULL, 0, 0}};
    static const char *const names[] = {"", ".", "..", "a/b", "a b", "-a", "a\n", "\xc3\xa4", NULL};
    struct syn_net_spec spec = good_spec();
    struct syn_attachment made;
    struct syn_err err = {0};

    (void)state;
    for (size_t i = 0; i < SYN_LEN(ports); i++) {
        spec.ports = &ports[i];
        spec.ports_count = 1;
        assert_code(syn_attachment_make(&spec, 2, &made, &err), SYN_E_INVALID, &err);
        assert_non_null(strstr(err.msg, "ports[0]"));
    }
    spec = good_spec();
    for (size_t i = 0; i < SYN_LEN(rules); i++) {
        spec.rules = &rules[i];
        spec.rules_count = 1;
        assert_code(syn_attachment_make(&spec, 2, &made, &err), SYN_E_INVALID, &err);
        assert_non_null(strstr(err.msg, "rules[0]"));
    }
    for (size_t i = 0; i < SYN_LEN(names); i++) {
        spec = good_spec();
        spec.id = names[i];
        assert_code(syn_attachment_make(&spec, 2, &made, &err), SYN_E_INVALID, &err);
        spec = good_spec();
        spec.account = names[i];
        assert_code(syn_attachment_make(&spec, 2, &made, &err), SYN_E_INVALID, &err);
    }
    spec = good_spec();
    spec.send_bits_s = 1;
    assert_code(syn_attachment_make(&spec, 2, &made, &err), SYN_E_INVALID, &err);
}

static void
one_port_has_one_owner(void **state)
{
    static const struct {
        struct syn_net_port a, b;
        bool clash;
    } rows[] = {
        {{NULL, SYN_NET_TCP, 80, 1}, {NULL, SYN_NET_TCP, 80, 2}, true},
        {{NULL, SYN_NET_TCP, 80, 1}, {"192.0.2.1", SYN_NET_TCP, 80, 2}, true},
        {{"192.0.2.1", SYN_NET_TCP, 80, 1}, {"192.0.2.1", SYN_NET_TCP, 80, 2}, true},
        {{"192.0.2.1", SYN_NET_TCP, 80, 1}, {"192.0.2.2", SYN_NET_TCP, 80, 2}, false},
        {{"192.0.2.1", SYN_NET_TCP, 80, 1}, {"2001:db8::1", SYN_NET_TCP, 80, 2}, false},
        {{NULL, SYN_NET_TCP, 80, 1}, {NULL, SYN_NET_UDP, 80, 1}, false},
        {{NULL, SYN_NET_TCP, 80, 1}, {NULL, SYN_NET_TCP, 81, 1}, false},
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        struct syn_net_spec spec = {
            .id = "a", .account = "acme", .ports = &rows[i].a, .ports_count = 1};
        const struct syn_attachment_port *port;
        struct syn_attachment a, b;
        struct syn_err err = {0};

        assert_done(syn_attachment_make(&spec, 2, &a, &err), &err);
        spec.ports = &rows[i].b;
        assert_done(syn_attachment_make(&spec, 3, &b, &err), &err);
        assert_int_equal(syn_attachment_clash(&a, &b, &port), rows[i].clash);
        assert_int_equal(syn_attachment_clash(&b, &a, &port), rows[i].clash);
    }
}

static void
networks_are_computed_with(void **state)
{
    static const struct {
        const char *network;
        uint64_t offset;
        const char *address;
    } rows[] = {{"10.200.0.0/16", 0x305, "10.200.3.5"},
                {"10.200.255.0/24", 256, "10.201.0.0"},
                {"fd00:1::/48", 0x1ffff, "fd00:1::1:ffff"}};
    struct syn_prefix wide, narrow, other;
    struct syn_err err = {0};
    char text[SYN_ADDR_TEXT_MAX];

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        struct syn_addr at;

        assert_done(syn_prefix_parse(rows[i].network, "network", &wide, &err), &err);
        at = syn_prefix_at(&wide, rows[i].offset);
        assert_string_equal(syn_addr_format(&at, text), rows[i].address);
    }
    assert_done(syn_prefix_parse("10.0.0.0/8", "network", &wide, &err), &err);
    assert_done(syn_prefix_parse("10.200.0.0/16", "network", &narrow, &err), &err);
    assert_done(syn_prefix_parse("11.0.0.0/8", "network", &other, &err), &err);
    assert_true(syn_prefix_overlap(&wide, &narrow) && syn_prefix_overlap(&narrow, &wide));
    assert_false(syn_prefix_overlap(&wide, &other));
}

static int
record_scenario(void *arg, struct syn_err *err)
{
    const struct syn_net_spec spec = good_spec();
    struct syn_attachment made;
    SYN_BUF(text);
    int rc = syn_attachment_make(&spec, 2, &made, err);

    (void)arg;
    if (rc == SYN_OK)
        rc = syn_attachment_format(&made, &text, err);
    if (rc == SYN_OK)
        rc = syn_buf_ok(&text, err);
    return rc < 0 ? rc : syn_attachment_parse(text.data, text.len, &made, err);
}

static void
short_memory_is_told(void **state)
{
    (void)state;
    assert_true(syn_test_sweep_alloc(record_scenario, NULL) > 10);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_are_read_as_written), cmocka_unit_test(bad_fields_are_named),
        cmocka_unit_test(one_port_has_one_owner),      cmocka_unit_test(networks_are_computed_with),
        cmocka_unit_test(short_memory_is_told),
    };

    syn_json_init();
    return cmocka_run_group_tests_name("runtime/attachment", tests, NULL, NULL);
}
