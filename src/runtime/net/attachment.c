#include "attachment_priv.h"

#include <string.h>

#include <synor/base/json.h>
#include <synor/base/str.h>

#define RECORD_VERSION 1

static const char *const protocol_names[] = {
    [SYN_NET_TCP] = "tcp", [SYN_NET_UDP] = "udp", [SYN_NET_ANY] = "any"};

const char *
syn_net_protocol_name(enum syn_net_protocol protocol)
{
    assert((unsigned)protocol < SYN_LEN(protocol_names));
    return protocol_names[protocol];
}

bool
syn_attachment_name_ok(const char *name, size_t max)
{
    size_t len = 0;

    for (; name && name[len] != '\0'; len++) {
        char c = name[len];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');

        if (len == max || !(plain || (len > 0 && (c == '-' || c == '_' || c == '.'))))
            return false;
    }
    return len > 0;
}

/* ---- from a spec ---- */

static int
make_port(const struct syn_net_port *port, size_t index, struct syn_attachment_port *ret,
          struct syn_err *err)
{
    char what[32];
    struct syn_attachment_port made = {
        .protocol = port->protocol, .host_port = port->host_port, .port = port->port};

    (void)snprintf(what, sizeof(what), "ports[%zu]", index);
    if (port->protocol != SYN_NET_TCP && port->protocol != SYN_NET_UDP)
        return SYN_FAIL(err, SYN_E_INVALID, "%s: expected tcp or udp", what);
    if (port->host_port == 0 || port->port == 0)
        return SYN_FAIL(err, SYN_E_INVALID, "%s: expected ports in 1..65535", what);
    if (port->host_address && syn_addr_parse(port->host_address, what, &made.host, err) < 0)
        return SYN_E_INVALID;
    if (made.host.family != 0 && syn_addr_is_loopback(&made.host))
        return SYN_FAIL(err, SYN_E_INVALID,
                        "%s: %s is loopback; on the node itself use the instance's own address",
                        what, port->host_address);
    *ret = made;
    return SYN_OK;
}

static int
make_rule(const struct syn_net_rule *rule, size_t index, struct syn_attachment_rule *ret,
          struct syn_err *err)
{
    char what[32];
    struct syn_attachment_rule made = {.allow = rule->allow,
                                       .protocol = rule->protocol,
                                       .port_first = rule->port_first,
                                       .port_last = rule->port_last};

    (void)snprintf(what, sizeof(what), "rules[%zu]", index);
    if ((unsigned)rule->protocol >= SYN_LEN(protocol_names))
        return SYN_FAIL(err, SYN_E_INVALID, "%s: expected tcp, udp or any", what);
    if (rule->port_first > rule->port_last || (rule->port_first == 0 && rule->port_last != 0))
        return SYN_FAIL(err, SYN_E_INVALID, "%s: expected port_first <= port_last in 1..65535",
                        what);
    if (rule->port_last != 0 && rule->protocol == SYN_NET_ANY)
        return SYN_FAIL(err, SYN_E_INVALID, "%s: ports need a protocol, tcp or udp", what);
    if (rule->cidr && syn_prefix_parse(rule->cidr, what, &made.prefix, err) < 0)
        return SYN_E_INVALID;
    if (rule->cidr && !syn_prefix_is_network(&made.prefix))
        return SYN_FAIL(err, SYN_E_INVALID, "%s: %s has bits behind its prefix length", what,
                        rule->cidr);
    *ret = made;
    return SYN_OK;
}

static int
check_limits(const struct syn_net_spec *spec, struct syn_err *err)
{
    const struct {
        const char *name;
        int64_t value, min, max;
    } ranges[] = {
        {"receive_bits_s", spec->receive_bits_s, SYN_NET_RATE_MIN, SYN_NET_RATE_MAX},
        {"send_bits_s", spec->send_bits_s, SYN_NET_RATE_MIN, SYN_NET_RATE_MAX},
        {"connections_max", spec->connections_max, 1, SYN_NET_CONNECTIONS_MAX},
    };

    for (size_t i = 0; i < SYN_LEN(ranges); i++) {
        if (ranges[i].value != 0 &&
            (ranges[i].value < ranges[i].min || ranges[i].value > ranges[i].max))
            return SYN_FAIL(err, SYN_E_INVALID, "%s: expected %lld..%lld, got %lld", ranges[i].name,
                            (long long)ranges[i].min, (long long)ranges[i].max,
                            (long long)ranges[i].value);
    }
    if (spec->ports_count > SYN_NET_PORTS_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "ports: more than %d", SYN_NET_PORTS_MAX);
    if (spec->rules_count > SYN_NET_RULES_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "rules: more than %d", SYN_NET_RULES_MAX);
    return SYN_OK;
}

static bool
port_clash(const struct syn_attachment_port *a, const struct syn_attachment_port *b)
{
    return a->protocol == b->protocol && a->host_port == b->host_port &&
           (a->host.family == 0 || b->host.family == 0 || syn_addr_eq(&a->host, &b->host));
}

int
syn_attachment_make(const struct syn_net_spec *spec, uint32_t number, struct syn_attachment *ret,
                    struct syn_err *err)
{
    struct syn_attachment made = {.number = number,
                                  .closed = spec->closed,
                                  .guarded = spec->guarded,
                                  .receive_bits_s = spec->receive_bits_s,
                                  .send_bits_s = spec->send_bits_s,
                                  .connections_max = spec->connections_max};
    int rc = check_limits(spec, err);

    if (rc < 0)
        return rc;
    if (!syn_attachment_name_ok(spec->id, SYN_NET_ID_MAX))
        return SYN_FAIL(err, SYN_E_INVALID, "id: expected letters, digits, '-', '_', '.'");
    if (!syn_attachment_name_ok(spec->account, SYN_NET_ACCOUNT_MAX))
        return SYN_FAIL(err, SYN_E_INVALID, "account: expected letters, digits, '-', '_', '.'");
    (void)syn_str_copy(made.id, sizeof(made.id), spec->id);
    (void)syn_str_copy(made.account, sizeof(made.account), spec->account);
    for (size_t i = 0; rc == SYN_OK && i < spec->ports_count; i++) {
        rc = make_port(&spec->ports[i], i, &made.ports[i], err);
        for (size_t j = 0; rc == SYN_OK && j < i; j++) {
            if (port_clash(&made.ports[i], &made.ports[j]))
                rc = SYN_FAIL(err, SYN_E_INVALID, "ports[%zu] and ports[%zu] are the same", j, i);
        }
    }
    made.ports_count = spec->ports_count;
    for (size_t i = 0; rc == SYN_OK && i < spec->rules_count; i++)
        rc = make_rule(&spec->rules[i], i, &made.rules[i], err);
    made.rules_count = spec->rules_count;
    if (rc == SYN_OK)
        *ret = made;
    return rc;
}

bool
syn_attachment_clash(const struct syn_attachment *a, const struct syn_attachment *b,
                     const struct syn_attachment_port **ret_port)
{
    for (size_t i = 0; i < a->ports_count; i++) {
        for (size_t j = 0; j < b->ports_count; j++) {
            if (!port_clash(&a->ports[i], &b->ports[j]))
                continue;
            *ret_port = &a->ports[i];
            return true;
        }
    }
    return false;
}

/* ---- to JSON and back ---- */

static int
ports_json(const struct syn_attachment *attachment, json_t **ret, struct syn_err *err)
{
    SYN_JSON(list);
    int rc = SYN_OK;

    list = json_array();
    if (!list)
        return SYN_FAIL(err, SYN_E_NOMEM, "a network's record");
    for (size_t i = 0; rc == SYN_OK && i < attachment->ports_count; i++) {
        const struct syn_attachment_port *port = &attachment->ports[i];
        char host[SYN_ADDR_TEXT_MAX];
        json_t *entry = NULL;

        rc = syn_json_pack(&entry, err, "{s:s, s:s, s:i, s:i}", "protocol",
                           syn_net_protocol_name(port->protocol), "host_address",
                           syn_addr_format(&port->host, host), "host_port", (int)port->host_port,
                           "port", (int)port->port);
        rc = rc < 0 ? rc : syn_json_append_take(list, entry, err);
    }
    if (rc == SYN_OK)
        *ret = SYN_TAKE(list);
    return rc;
}

static int
rules_json(const struct syn_attachment *attachment, json_t **ret, struct syn_err *err)
{
    SYN_JSON(list);
    int rc = SYN_OK;

    list = json_array();
    if (!list)
        return SYN_FAIL(err, SYN_E_NOMEM, "a network's record");
    for (size_t i = 0; rc == SYN_OK && i < attachment->rules_count; i++) {
        const struct syn_attachment_rule *rule = &attachment->rules[i];
        char cidr[SYN_PREFIX_TEXT_MAX] = "";
        json_t *entry = NULL;

        if (rule->prefix.addr.family != 0)
            (void)syn_prefix_format(&rule->prefix, cidr);
        rc = syn_json_pack(&entry, err, "{s:b, s:s, s:s, s:i, s:i}", "allow", (int)rule->allow,
                           "protocol", syn_net_protocol_name(rule->protocol), "cidr", cidr,
                           "port_first", (int)rule->port_first, "port_last", (int)rule->port_last);
        rc = rc < 0 ? rc : syn_json_append_take(list, entry, err);
    }
    if (rc == SYN_OK)
        *ret = SYN_TAKE(list);
    return rc;
}

int
syn_attachment_format(const struct syn_attachment *attachment, struct syn_buf *out,
                      struct syn_err *err)
{
    SYN_JSON(ports);
    SYN_JSON(rules);
    SYN_JSON(doc);
    int rc = ports_json(attachment, &ports, err);

    if (rc == SYN_OK)
        rc = rules_json(attachment, &rules, err);
    if (rc == SYN_OK)
        rc = syn_json_pack(
            &doc, err, "{s:i, s:s, s:s, s:I, s:O, s:O, s:b, s:b, s:b, s:I, s:I, s:I}", "version",
            RECORD_VERSION, "id", attachment->id, "account", attachment->account, "number",
            (json_int_t)attachment->number, "ports", ports, "rules", rules, "closed",
            (int)attachment->closed, "guarded", (int)attachment->guarded, "apart",
            (int)attachment->apart, "receive_bits_s", (json_int_t)attachment->receive_bits_s,
            "send_bits_s", (json_int_t)attachment->send_bits_s, "connections_max",
            (json_int_t)attachment->connections_max);
    return rc < 0 ? rc : syn_json_write(doc, out, err);
}

static int
read_protocol(const json_t *obj, const char *path, enum syn_net_protocol *ret, struct syn_err *err)
{
    const char *text = NULL;
    int rc = syn_json_get_str(obj, path, "protocol", &text, err);

    for (size_t i = 0; rc == SYN_OK && i < SYN_LEN(protocol_names); i++) {
        if (syn_str_eq(text, protocol_names[i])) {
            *ret = (enum syn_net_protocol)i;
            return SYN_OK;
        }
    }
    return rc < 0 ? rc : SYN_FAIL(err, SYN_E_INVALID, "%s: unknown protocol %s", path, text);
}

static int
read_text(const json_t *obj, const char *path, const char *key, const char **ret,
          struct syn_err *err)
{
    int rc = syn_json_get_str(obj, path, key, ret, err);

    if (rc == SYN_OK && (*ret)[0] == '\0')
        *ret = NULL;
    return rc;
}

static int
read_port16(const json_t *obj, const char *path, const char *key, uint16_t *ret,
            struct syn_err *err)
{
    int64_t number = 0;
    int rc = syn_json_get_i64(obj, path, key, 0, UINT16_MAX, &number, err);

    if (rc == SYN_OK)
        *ret = (uint16_t)number;
    return rc;
}

/* The lists, borrowed from the document. */
struct lists {
    struct syn_net_port ports[SYN_NET_PORTS_MAX];
    struct syn_net_rule rules[SYN_NET_RULES_MAX];
};

static int
read_ports(const json_t *doc, struct lists *lists, struct syn_net_spec *spec, struct syn_err *err)
{
    json_t *list = NULL;
    int rc = syn_json_get_arr(doc, "network", "ports", &list, err);

    spec->ports = lists->ports;
    for (size_t i = 0; rc == SYN_OK && i < json_array_size(list); i++) {
        const json_t *entry = json_array_get(list, i);
        struct syn_net_port *port = &lists->ports[i];

        if (i == SYN_NET_PORTS_MAX)
            return SYN_FAIL(err, SYN_E_INVALID, "ports: more than %d", SYN_NET_PORTS_MAX);
        rc = read_protocol(entry, "ports", &port->protocol, err);
        if (rc == SYN_OK)
            rc = read_text(entry, "ports", "host_address", &port->host_address, err);
        if (rc == SYN_OK)
            rc = read_port16(entry, "ports", "host_port", &port->host_port, err);
        if (rc == SYN_OK)
            rc = read_port16(entry, "ports", "port", &port->port, err);
        spec->ports_count = i + 1;
    }
    return rc;
}

static int
read_rules(const json_t *doc, struct lists *lists, struct syn_net_spec *spec, struct syn_err *err)
{
    json_t *list = NULL;
    int rc = syn_json_get_arr(doc, "network", "rules", &list, err);

    spec->rules = lists->rules;
    for (size_t i = 0; rc == SYN_OK && i < json_array_size(list); i++) {
        const json_t *entry = json_array_get(list, i);
        struct syn_net_rule *rule = &lists->rules[i];

        if (i == SYN_NET_RULES_MAX)
            return SYN_FAIL(err, SYN_E_INVALID, "rules: more than %d", SYN_NET_RULES_MAX);
        rule->allow = syn_json_bool(entry, "allow", false);
        rc = read_protocol(entry, "rules", &rule->protocol, err);
        if (rc == SYN_OK)
            rc = read_text(entry, "rules", "cidr", &rule->cidr, err);
        if (rc == SYN_OK)
            rc = read_port16(entry, "rules", "port_first", &rule->port_first, err);
        if (rc == SYN_OK)
            rc = read_port16(entry, "rules", "port_last", &rule->port_last, err);
        spec->rules_count = i + 1;
    }
    return rc;
}

int
syn_attachment_parse(const char *data, size_t len, struct syn_attachment *ret, struct syn_err *err)
{
    SYN_JSON(doc);
    struct lists lists = {0};
    struct syn_net_spec spec = {0};
    int64_t number = 0;
    int rc;

    if (len > SYN_ATTACHMENT_BYTES_MAX)
        return SYN_FAIL(err, SYN_E_TOOBIG, "a network's record: over %zu bytes",
                        SYN_ATTACHMENT_BYTES_MAX);
    rc = syn_json_parse_object(data, len, &doc, err);
    if (rc == SYN_OK && syn_json_i64(doc, "version", 0) != RECORD_VERSION)
        rc = SYN_FAIL(err, SYN_E_INVALID, "a network's record: unknown version");
    if (rc == SYN_OK)
        rc = syn_json_get_str(doc, "network", "id", &spec.id, err);
    if (rc == SYN_OK)
        rc = syn_json_get_str(doc, "network", "account", &spec.account, err);
    if (rc == SYN_OK)
        rc = syn_json_get_i64(doc, "network", "number", 1, SYN_ATTACHMENT_NUMBER_MAX, &number, err);
    if (rc == SYN_OK)
        rc = read_ports(doc, &lists, &spec, err);
    if (rc == SYN_OK)
        rc = read_rules(doc, &lists, &spec, err);
    spec.closed = syn_json_bool(doc, "closed", false);
    spec.guarded = syn_json_bool(doc, "guarded", false);
    spec.receive_bits_s = syn_json_i64(doc, "receive_bits_s", 0);
    spec.send_bits_s = syn_json_i64(doc, "send_bits_s", 0);
    spec.connections_max = syn_json_i64(doc, "connections_max", 0);
    if (rc == SYN_OK)
        rc = syn_attachment_make(&spec, (uint32_t)number, ret, err);
    if (rc == SYN_OK)
        ret->apart = syn_json_bool(doc, "apart", false);
    return rc;
}
