/* Which names there are, for whom, and what stands behind them. Questions and answers are bytes, as
 * on the wire. */
#include "names_priv.h"

#include <arpa/inet.h>
#include <string.h>

#include <synor/base/str.h>
#include <synor/base/test.h>

#define TEXT_MAX 4096

static const struct agt_asker acme = {.account = "acct-a", .label = "acme"};
static const struct agt_asker bolt = {.account = "acct-b", .label = "bolt"};

static void
put(struct agt_names *names, const char *text)
{
    char copy[TEXT_MAX];
    struct syn_err err = {0};
    SYN_JSON(doc);

    (void)syn_str_copy(copy, sizeof(copy), text);
    for (char *c = strchr(copy, '\''); c != NULL; c = strchr(c, '\''))
        *c = '"';
    assert_done(syn_json_parse_object(copy, strlen(copy), &doc, &err), &err);
    assert_done(agt_names_put(names, doc, &err), &err);
}

/* Replicas 2, 0, 1 and 3, of which 1 is not ready and 3 is on another node. */
#define WEB                                                                                \
    "{'id':'svc-1','account':'acct-a','account_name':'acme','name':'web','port':8080,"     \
    "'endpoints':["                                                                        \
    "{'instance':'i-2','replica':2,'node':'node-1','address':'10.128.0.4','ready':true},"  \
    "{'instance':'i-0','replica':0,'node':'node-1','address':'10.128.0.2','ready':true},"  \
    "{'instance':'i-1','replica':1,'node':'node-1','address':'10.128.0.3','ready':false}," \
    "{'instance':'i-3','replica':3,'node':'node-2','address':'10.128.0.2','ready':true}]}"
#define NOT_READY                                                                      \
    "{'id':'svc-1','account':'acct-a','account_name':'acme','name':'web','port':8080," \
    "'endpoints':[]}"
#define SIX                                                                                     \
    "{'id':'svc-2','account':'acct-b','account_name':'bolt','name':'db','port':0,'endpoints':[" \
    "{'instance':'i-9','replica':0,'node':'node-1','address':'fd00::9','ready':true}]}"

/* These services' addresses lead to them, or nobody's does. */
static void
serve(struct agt_names *names, bool mesh, bool six)
{
    static const char *const served[] = {"svc-1", "svc-4", "svc-5", "svc-6"};
    struct syn_map *ids = NULL;
    struct syn_err err = {0};

    if (mesh)
        assert_done(syn_map_new(NULL, &ids, &err), &err);
    for (size_t i = 0; mesh && i < SYN_LEN(served); i++)
        assert_done(syn_map_put_take(ids, served[i], names, &err), &err);
    agt_names_serve_take(names, ids, six);
}

static struct agt_names *
open_names(void)
{
    struct agt_names *names = NULL;
    struct syn_err err = {0};

    assert_done(agt_names_new(NULL, "node-1", &names, &err), &err);
    put(names, WEB);
    put(names, SIX);
    return names;
}

static size_t
question(const char *name, unsigned type, uint8_t *out)
{
    size_t at = 12;

    memset(out, 0, at);
    out[5] = 1;
    while (*name != '\0') {
        size_t len = strcspn(name, ".");

        out[at++] = (uint8_t)len;
        memcpy(out + at, name, len);
        at += len;
        name += len + (name[len] == '.');
    }
    memset(out + at, 0, 5);
    out[at + 2] = (uint8_t)type;
    out[at + 4] = 1;
    return at + 5;
}

/* The answers to it in words: "0 10.128.0.2 10.128.0.4", or the code alone. Targets of SRV stand as
 * PORT/FIRST LABEL. */
static const char *
ask(struct agt_names *names, const struct agt_asker *asker, const char *name, unsigned type)
{
    static char text[TEXT_MAX];
    uint8_t asked[512], data[SYN_DNS_MESSAGE_MAX];
    struct syn_dns_answer answer;
    struct syn_dns_query query;
    size_t len = question(name, type, asked), at;
    enum syn_dns_code code;
    size_t used;

    assert_int_equal(syn_dns_query_parse(asked, len, &query), 0);
    assert_true(agt_names_own(query.name));
    syn_dns_answer_begin(&answer, &query, data, sizeof(data));
    code = agt_names_answer(names, asker, &query, &answer);
    (void)syn_dns_answer_end(&answer, code, true);
    /* What there is nothing of is said to be so for a while by its zone. */
    assert_int_equal(answer.authorities, answer.answers == 0);
    used = (size_t)snprintf(text, sizeof(text), "%d", (int)code);
    at = len;
    for (unsigned i = 0; i < answer.answers; i++) {
        const uint8_t *record = data + at + 2; /* behind the pointer to the name */
        char word[INET6_ADDRSTRLEN + 16];

        assert_int_equal(record[7], AGT_NAMES_TTL_S);
        if (record[1] == SYN_DNS_SRV)
            (void)snprintf(word, sizeof(word), "%d/%.*s", record[14] << 8 | record[15], record[16],
                           (const char *)record + 17);
        else
            assert_non_null(inet_ntop(record[1] == SYN_DNS_A ? AF_INET : AF_INET6, record + 10,
                                      word, sizeof(word)));
        used += (size_t)snprintf(text + used, sizeof(text) - used, " %s", word);
        at += 12 + record[9];
    }
    return text;
}

static void
test_names(void **state)
{
    static const struct {
        const char *name;
        unsigned type;
        const char *want;
    } rows[] = {
        {"0.web.acme.synor", SYN_DNS_A, "0 10.128.0.2"},
        {"2.WEB.Acme.SYNOR", SYN_DNS_A, "0 10.128.0.4"},
        {"0.web.acme.synor", SYN_DNS_AAAA,
         "0"},                                /* there is none: no reason to say it is not there */
        {"1.web.acme.synor", SYN_DNS_A, "3"}, /* not ready */
        {"3.web.acme.synor", SYN_DNS_A, "3"}, /* elsewhere: it is not reached from here */
        {"00.web.acme.synor", SYN_DNS_A, "3"},
        {"-0.web.acme.synor", SYN_DNS_A, "3"},
        {"99999999999999999999.web.acme.synor", SYN_DNS_A, "3"},
        {"0.0.web.acme.synor", SYN_DNS_A, "3"},
        {"web.acme.synor", SYN_DNS_SOA, "0"},
        {"_tcp.web.acme.synor", SYN_DNS_SRV, "0"},
        {"_8081._tcp.web.acme.synor", SYN_DNS_SRV, "3"},
        {"_8080._udp.web.acme.synor", SYN_DNS_SRV, "3"},
        {"_8080._tcp.web.acme.synor", SYN_DNS_A, "0"},
        {"synor", SYN_DNS_A, "0"},
        {"acme.synor", SYN_DNS_A, "0"},
        {"api.acme.synor", SYN_DNS_A, "3"},
        {".web.acme.synor", SYN_DNS_A, NULL}, /* no name at all */
        /* Others' are not there, not even their accounts. */
        {"bolt.synor", SYN_DNS_A, "3"},
        {"db.bolt.synor", SYN_DNS_AAAA, "3"},
        {"web.acme.bolt.synor", SYN_DNS_A, "3"},
    };
    struct agt_names *names = open_names();

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        if (rows[i].want != NULL)
            assert_string_equal(ask(names, &acme, rows[i].name, rows[i].type), rows[i].want);
    }
    assert_string_equal(ask(names, &bolt, "db.bolt.synor", SYN_DNS_AAAA), "0 fd00::9");
    assert_string_equal(ask(names, &bolt, "db.bolt.synor", SYN_DNS_A), "0");
    assert_string_equal(ask(names, &bolt, "_tcp.db.bolt.synor", SYN_DNS_SRV), "3"); /* no port */
    assert_string_equal(ask(names, &bolt, "web.acme.synor", SYN_DNS_A), "3");
    (void)agt_names_free(names);
}

/* In one order, and each time another one first. */
static void
test_turns(void **state)
{
    struct agt_names *names = open_names();
    struct syn_map *named = NULL;
    struct syn_err err = {0};

    (void)state;
    assert_string_equal(ask(names, &acme, "web.acme.synor", SYN_DNS_A), "0 10.128.0.2 10.128.0.4");
    assert_string_equal(ask(names, &acme, "web.acme.synor", SYN_DNS_A), "0 10.128.0.4 10.128.0.2");
    put(names, WEB); /* news is no reason to begin anew */
    assert_string_equal(ask(names, &acme, "web.acme.synor", SYN_DNS_ANY),
                        "0 10.128.0.2 10.128.0.4");
    assert_string_equal(ask(names, &acme, "_8080._tcp.web.acme.synor", SYN_DNS_SRV),
                        "0 8080/2 8080/0");
    put(names, NOT_READY);
    assert_string_equal(ask(names, &acme, "web.acme.synor", SYN_DNS_A), "0");
    assert_string_equal(ask(names, &acme, "0.web.acme.synor", SYN_DNS_A), "3");
    agt_names_remove(names, "svc-2");
    assert_string_equal(ask(names, &bolt, "db.bolt.synor", SYN_DNS_AAAA), "3");
    put(names, SIX);
    assert_done(syn_map_new(NULL, &named, &err), &err);
    assert_done(syn_map_put_take(named, "svc-2", names, &err), &err);
    agt_names_keep(names, named);
    assert_string_equal(ask(names, &acme, "web.acme.synor", SYN_DNS_A), "3");
    assert_string_equal(ask(names, &bolt, "db.bolt.synor", SYN_DNS_AAAA), "0 fd00::9");
    (void)syn_map_free(named);
    (void)agt_names_free(names);
}

#define MESHED(id, label, name, address, allow)                                               \
    "{'id':'" id "','account':'acct-" label "','account_name':'" label "','name':'" name "'," \
    "'port':8080,'address':'" address "','mesh':{'allow':[" allow "]},'endpoints':["          \
    "{'instance':'i-4','replica':0,'node':'node-1','address':'10.128.0.7','ready':true},"     \
    "{'instance':'i-5','replica':1,'node':'node-2','address':'10.128.0.8','ready':true}]}"

/* Where there is a mesh a name is one address, whose it is does not matter, and who may not call
 * does not find it. */
static void
test_mesh(void **state)
{
    static const struct agt_asker own = {.account = "acct-acme", .label = "acme"};
    static const struct agt_asker other = {.account = "acct-bolt", .label = "bolt"};
    static const struct {
        const struct agt_asker *asker;
        const char *name;
        unsigned type;
        const char *with, *without; /* a mesh */
    } rows[] = {
        {&own, "api.acme.synor", SYN_DNS_A, "0 10.127.0.4", "0 10.128.0.7"},
        {&own, "api.acme.synor", SYN_DNS_AAAA, "0 fd53:796e:6f72::a7f:4", "0"},
        {&own, "0.api.acme.synor", SYN_DNS_A, "0 10.128.0.7", "0 10.128.0.7"},
        {&own, "_8080._tcp.api.acme.synor", SYN_DNS_SRV, "0 8080/api", "0 8080/0"},
        {&own, "to-bolt.acme.synor", SYN_DNS_A, "3", "0 10.128.0.7"}, /* its own may not */
        {&own, "acme.synor", SYN_DNS_A, "0", "0"},
        {&own, "bolt.synor", SYN_DNS_A, "3", "3"},
        {&other, "api.acme.synor", SYN_DNS_A, "3", "3"},
        {&other, "to-bolt.acme.synor", SYN_DNS_A, "0 10.127.0.5", "3"},
        {&other, "_8080._tcp.to-bolt.acme.synor", SYN_DNS_SRV, "0 8080/to-bolt", "3"},
        {&other, "0.to-bolt.acme.synor", SYN_DNS_A, "3", "3"}, /* that is reached by nobody */
        {&other, "all.acme.synor", SYN_DNS_A, "0 10.127.0.6", "3"},
        {&other, "acme.synor", SYN_DNS_A, "0", "3"}, /* there are names below */
        {&other, "web.acme.synor", SYN_DNS_A, "3", "3"},
    };
    struct agt_names *names = open_names();

    (void)state;
    put(names, MESHED("svc-4", "acme", "api", "10.127.0.4", "'own'"));
    put(names, MESHED("svc-5", "acme", "to-bolt", "10.127.0.5", "'bolt/web'"));
    put(names, MESHED("svc-6", "acme", "all", "10.127.0.6", "'*'"));
    for (unsigned mesh = 0; mesh < 4; mesh++) { /* it comes and goes */
        serve(names, mesh % 2 == 1, mesh % 2 == 1);
        for (size_t i = 0; i < SYN_LEN(rows); i++)
            assert_string_equal(ask(names, rows[i].asker, rows[i].name, rows[i].type),
                                mesh % 2 == 1 ? rows[i].with : rows[i].without);
    }
    /* Where instances have no addresses of IPv6, services have none. */
    serve(names, true, false);
    assert_string_equal(ask(names, &own, "api.acme.synor", SYN_DNS_AAAA), "0");
    assert_string_equal(ask(names, &own, "_8080._tcp.api.acme.synor", SYN_DNS_SRV), "0 8080/api");
    serve(names, true, true);
    put(names, MESHED("svc-6", "acme", "all", "10.127.0.6", "'own'")); /* it is closed again */
    assert_string_equal(ask(names, &other, "all.acme.synor", SYN_DNS_A), "3");
    assert_string_equal(ask(names, &acme, "web.acme.synor", SYN_DNS_A),
                        "0 10.128.0.2 10.128.0.4"); /* the server gave it no address */
    (void)agt_names_free(names);
}

/* A service that is called as one that is gone was: whatever is heard of first. */
static void
test_names_are_given_again(void **state)
{
    struct agt_names *names = open_names();

    (void)state;
    put(names, "{'id':'svc-7','account':'acct-a','account_name':'acme','name':'web','port':80,"
               "'endpoints':[{'instance':'i-7','replica':0,'node':'node-1',"
               "'address':'10.128.0.9','ready':true}]}");
    assert_string_equal(ask(names, &acme, "web.acme.synor", SYN_DNS_A), "0 10.128.0.9");
    agt_names_remove(names, "svc-1");
    assert_string_equal(ask(names, &acme, "web.acme.synor", SYN_DNS_A), "0 10.128.0.9");
    (void)agt_names_free(names);
}

static void
test_strange_services(void **state)
{
    static const char *const docs[] = {
        "{}",
        "{'id':'svc-1','account':'acct-a','account_name':'acme','name':'a.b','port':1}",
        "{'id':'svc-1','account':'acct-a','account_name':'','name':'a','port':1}",
        "{'id':'../x','account':'acct-a','account_name':'acme','name':'a','port':1}",
    };
    struct agt_names *names = open_names();

    (void)state;
    for (size_t i = 0; i < SYN_LEN(docs); i++) {
        char copy[TEXT_MAX];
        struct syn_err err = {0};
        SYN_JSON(doc);

        (void)syn_str_copy(copy, sizeof(copy), docs[i]);
        for (char *c = strchr(copy, '\''); c != NULL; c = strchr(c, '\''))
            *c = '"';
        assert_done(syn_json_parse_object(copy, strlen(copy), &doc, &err), &err);
        assert_code(agt_names_put(names, doc, &err), SYN_E_CORRUPT, &err);
    }
    put(names, "{'id':'svc-8','account':'acct-a','account_name':'acme','name':'odd','port':70000,"
               "'endpoints':[7,{'replica':-1,'node':'node-1','address':'10.1.1.1','ready':true},"
               "{'replica':1,'node':'node-1','address':'here','ready':true}]}");
    assert_string_equal(ask(names, &acme, "odd.acme.synor", SYN_DNS_A), "0");
    (void)agt_names_free(names);
}

static void
test_own(void **state)
{
    (void)state;
    assert_true(agt_names_own("synor"));
    assert_true(agt_names_own("a.synor"));
    assert_false(agt_names_own("asynor"));
    assert_false(agt_names_own("synor.org"));
    assert_false(agt_names_own(""));
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_turns),
        cmocka_unit_test(test_mesh),
        cmocka_unit_test(test_names_are_given_again),
        cmocka_unit_test(test_strange_services),
        cmocka_unit_test(test_own),
    };

    syn_json_init();
    return cmocka_run_group_tests_name("names", tests, NULL, NULL);
}
