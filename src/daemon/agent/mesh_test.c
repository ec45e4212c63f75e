/* What a node's mesh is made of, from documents as the server tells them: which pairs there are,
 * where they lead, and who may come in. Everything is shown as lines, as a person would write it
 * down. */
#include "mesh_priv.h"

#include <stdlib.h>
#include <string.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/base/test.h>
#include <synor/workload/service_mesh.h>

#define TEXT_MAX 8192

/* A service of acme's: `extra` is more of its mesh. */
#define SERVICE(id, name, address, protocol, allow, extra, endpoints)                             \
    "{'id':'" id "','account':'acct-a','account_name':'acme','name':'" name                       \
    "','address':'" address                                                                       \
    "','port':80,'mesh':{'identity':'spiffe://c/account/acme/service/" name "','name':'" name     \
    ".acme.mesh','protocol':'" protocol "','allow':[" allow "]" extra "},'endpoints':[" endpoints \
    "]}"
#define HERE(id, address)                                                                          \
    "{'instance':'" id "','replica':0,'node':'node-1','mesh':'127.0.0.1:7000','address':'" address \
    "','port':8080,'ready':true}"
#define THERE(id)                                                                        \
    "{'instance':'" id "','replica':1,'node':'node-2','mesh':'10.0.0.2:7800','address':" \
    "'10.200.0.9','port':8080,'ready':true}"

struct stage {
    struct syn_map *services, *callers, *identities;
    struct agt_mesh_world world;
};

static void
json_drop(void *json)
{
    json_decref(json);
}

static void
put(struct stage *stage, const char *text)
{
    char copy[TEXT_MAX];
    struct syn_err err = {0};
    json_t *doc = NULL;

    (void)syn_str_copy(copy, sizeof(copy), text);
    for (char *c = strchr(copy, '\''); c != NULL; c = strchr(c, '\''))
        *c = '"';
    assert_done(syn_json_parse_object(copy, strlen(copy), &doc, &err), &err);
    assert_done(syn_map_put_take(stage->services, syn_json_str(doc, "id", ""), doc, &err), &err);
}

static void
calls(struct stage *stage, const char *instance, const char *address, const char *label,
      const char *service)
{
    struct agt_mesh_caller *caller = syn_calloc(1, sizeof(*caller));
    struct syn_err err = {0};

    assert_non_null(caller);
    (void)syn_str_copy(caller->instance, sizeof(caller->instance), instance);
    (void)syn_str_copy(caller->address, sizeof(caller->address), address);
    (void)snprintf(caller->account, sizeof(caller->account), "acct-%.1s", label);
    (void)syn_str_copy(caller->label, sizeof(caller->label), label);
    (void)syn_str_copy(caller->service, sizeof(caller->service), service);
    assert_done(syn_map_put_take(stage->callers, instance, caller, &err), &err);
}

static void
knows(struct stage *stage, const char *subject)
{
    struct syn_err err = {0};

    assert_done(syn_map_put_take(stage->identities, subject, syn_strdup("PEM"), &err), &err);
}

static void
stage_open(struct stage *stage)
{
    struct syn_err err = {0};

    assert_done(syn_map_new(json_drop, &stage->services, &err), &err);
    assert_done(syn_map_new(syn_free, &stage->callers, &err), &err);
    assert_done(syn_map_new(syn_free, &stage->identities, &err), &err);
    stage->world = (struct agt_mesh_world){.node = "node-1",
                                           .services = stage->services,
                                           .callers = stage->callers,
                                           .identities = stage->identities,
                                           .authority = "CA",
                                           .fronts = {.out_http = 20000,
                                                      .out_tcp = 20001,
                                                      .in_http = "10.0.0.1:7800",
                                                      .in_tcp = "10.0.0.1:7801"}};
}

static void
stage_close(struct stage *stage)
{
    (void)syn_map_free(stage->services);
    (void)syn_map_free(stage->callers);
    (void)syn_map_free(stage->identities);
}

/* --- as lines --------------------------------------------------------------------------------- */

static int
by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The lines of `text` in order: maps have none. */
static void
sort_lines(char *text)
{
    char *lines[128], *copy = syn_strdup(text), *rest = copy;
    size_t count = 0, used = 0;

    assert_non_null(copy);
    for (char *end; (end = strchr(rest, '\n')) != NULL; rest = end + 1) {
        assert_true(count < SYN_LEN(lines));
        *end = '\0';
        lines[count++] = rest;
    }
    qsort(lines, count, sizeof(lines[0]), by_text);
    for (size_t i = 0; i < count; i++)
        used += (size_t)snprintf(text + used, TEXT_MAX - used, "%s\n", lines[i]);
    syn_free(copy);
}

static void
backend_line(const struct syn_balancer_backend *backend, struct syn_buf *out)
{
    syn_buf_addf(out, "%s:", backend->id);
    for (size_t i = 0; i < backend->server_count; i++)
        syn_buf_addf(out, " %s%s%s*%u", backend->servers[i].peer ? "->" : "",
                     backend->servers[i].peer_sni != NULL    ? backend->servers[i].peer_sni
                     : backend->servers[i].peer_name != NULL ? backend->servers[i].peer_name
                                                             : "",
                     backend->servers[i].address, backend->servers[i].weight);
    if (backend->protocol == SYN_BALANCER_H2)
        syn_buf_adds(out, " h2");
    if (backend->rate_max > 0)
        syn_buf_addf(out, " rate=%u", backend->rate_max);
    if (backend->response_ms > 0)
        syn_buf_addf(out, " within=%u", backend->response_ms);
    if (backend->retries != 0)
        syn_buf_addf(out, " retries=%d", backend->retries);
    if (backend->health.errors_max > 0 && !backend->health.peers_only)
        syn_buf_addf(out, " eject=%u", backend->health.errors_max);
    if (backend->retry_percent != SYN_MESH_RETRY_PERCENT && backend->mode == SYN_BALANCER_HTTP)
        syn_buf_addf(out, " again=%d", backend->retry_percent);
    if (backend->mirror != NULL)
        syn_buf_addf(out, " mirror=%s:%u", backend->mirror, backend->mirror_percent);
    syn_buf_adds(out, "\n");
}

static void
match_line(const struct syn_balancer_match *match, struct syn_buf *out)
{
    syn_buf_addf(out, "match %s/r%u:", match->callee, match->route);
    if (match->path != NULL)
        syn_buf_addf(out, " %s", match->path);
    for (size_t i = 0; i < match->method_count; i++)
        syn_buf_addf(out, " %s", match->methods[i]);
    for (size_t i = 0; i < match->header_count; i++)
        syn_buf_addf(out, " %s/%d/%s", match->headers[i].name, (int)match->headers[i].how,
                     match->headers[i].value == NULL ? "" : match->headers[i].value);
    syn_buf_adds(out, "\n");
}

/* What the table says, sorted. */
static const char *
shown(const struct stage *stage)
{
    static char text[TEXT_MAX];
    struct agt_mesh_table table;
    struct syn_err err = {0};
    SYN_BUF(out);

    assert_done(agt_mesh_table_make(&stage->world, &table, &err), &err);
    assert_done(syn_balancer_check(&table.table, &err), &err);
    for (size_t i = 0; i < table.table.frontend_count; i++) {
        const struct syn_balancer_frontend *front = &table.table.frontends[i];

        for (size_t k = 0; k < front->caller_count && front->mode == SYN_BALANCER_HTTP; k++)
            syn_buf_addf(&out, "%s is %s\n", front->callers[k].address, front->callers[k].name);
        for (size_t k = 0; k < front->pair_count; k++)
            syn_buf_addf(&out, "%s: %s > %s%s%.0u = %s\n", front->id, front->pairs[k].caller,
                         front->pairs[k].callee, front->pairs[k].route > 0 ? "/r" : "",
                         front->pairs[k].route, front->pairs[k].backend);
        for (size_t k = 0; k < front->match_count; k++)
            match_line(&front->matches[k], &out);
    }
    for (size_t i = 0; i < table.table.backend_count; i++)
        backend_line(&table.table.backends[i], &out);
    for (size_t i = 0; i < table.divert_count; i++)
        syn_buf_addf(&out, "to %s:%u at %u\n", table.diverts[i].address, table.diverts[i].port,
                     table.diverts[i].to);
    (void)syn_str_copy(text, sizeof(text), syn_buf_text(&out));
    sort_lines(text);
    agt_mesh_table_fini(&table);
    return text;
}

/* --- tests ------------------------------------------------------------------------------------ */

/* A service here, one on two nodes; both of one account, and each may call the other. */
static void
test_pairs(void **state)
{
    struct stage stage;

    (void)state;
    stage_open(&stage);
    put(&stage, SERVICE("svc-1", "web", "10.127.0.1", "http", "'own'", "",
                        HERE("inst-1-1-1", "10.200.0.2")));
    put(&stage,
        SERVICE("svc-2", "db", "10.127.0.2", "tcp", "'web'", "",
                HERE("inst-2-1-1", "10.200.0.3") "," THERE("inst-2-1-2") "," THERE("inst-2-1-3")));
    calls(&stage, "inst-1-1-1", "10.200.0.2", "acme", "svc-1");
    calls(&stage, "inst-2-1-1", "10.200.0.3", "acme", "svc-2");
    calls(&stage, "inst-9-1-1", "10.200.0.4", "acme", "svc-9"); /* not told of yet */
    calls(&stage, "job", "10.200.0.5", "acme", "");
    calls(&stage, "other", "10.200.1.2", "bolt", "");
    knows(&stage, "svc-1");
    knows(&stage, "svc-2");
    assert_string_equal(shown(&stage), "10.200.0.2 is web.acme.mesh\n"
                                       "10.200.0.3 is db.acme.mesh\n"
                                       "10.200.0.5 is acme.mesh\n"
                                       "10.200.1.2 is bolt.mesh\n"
                                       "acct-a/svc-1: 10.200.0.2:8080*8\n"
                                       "in-http: *.acme.mesh > web.acme.mesh = in/svc-1\n"
                                       "in-http: acme.mesh > web.acme.mesh = in/svc-1\n"
                                       "in-tcp: web.acme.mesh > db.acme.mesh = in/svc-2\n"
                                       "in/svc-1: 10.200.0.2:8080*8\n"
                                       "in/svc-2: 10.200.0.3:8080*8\n"
                                       "out-http: acme.mesh > 10.127.0.1:80 = acct-a/svc-1\n"
                                       "out-http: db.acme.mesh > 10.127.0.1:80 = svc-2/svc-1\n"
                                       "out-http: web.acme.mesh > 10.127.0.1:80 = svc-1/svc-1\n"
                                       "out-tcp: web.acme.mesh > 10.127.0.2:80 = svc-1/svc-2\n"
                                       "svc-1/svc-1: 10.200.0.2:8080*8\n"
                                       "svc-1/svc-2: 10.200.0.3:8080*8 ->10.0.0.2:7801*16\n"
                                       "svc-2/svc-1: 10.200.0.2:8080*8\n"
                                       "to 10.127.0.1:80 at 20000\n"
                                       "to 10.127.0.2:80 at 20001\n");
    stage_close(&stage);
}

/* Where instances have addresses of IPv6: fronts, callers and ways of their own, to the same. */
static void
test_six(void **state)
{
    static const char want[] = "10.200.0.2 is web.acme.mesh\n"
                               "fd01::2 is web.acme.mesh\n"
                               "out-http6: web.acme.mesh > [fd53:796e:6f72::a7f:1]:20000 = "
                               "svc-1/svc-1\n"
                               "out-http: web.acme.mesh > 10.127.0.1:80 = svc-1/svc-1\n"
                               "out-tcp6: web.acme.mesh > [fd53:796e:6f72::a7f:2]:20001 = "
                               "svc-1/svc-2\n"
                               "out-tcp: web.acme.mesh > 10.127.0.2:80 = svc-1/svc-2\n"
                               "svc-1/svc-1: 10.200.0.2:8080*8\n"
                               "svc-1/svc-2:\n"
                               "to 10.127.0.1:80 at 20000\n"
                               "to 10.127.0.2:80 at 20001\n"
                               "to fd53:796e:6f72::a7f:1:80 at 20000\n"
                               "to fd53:796e:6f72::a7f:2:80 at 20001\n";
    struct agt_mesh_caller *caller;
    struct stage stage;

    (void)state;
    stage_open(&stage);
    put(&stage, SERVICE("svc-1", "web", "10.127.0.1", "http", "'own'", "",
                        HERE("inst-1-1-1", "10.200.0.2")));
    put(&stage, SERVICE("svc-2", "db", "10.127.0.2", "tcp", "'own'", "", ""));
    calls(&stage, "inst-1-1-1", "10.200.0.2", "acme", "svc-1");
    caller = syn_map_find(stage.callers, "inst-1-1-1");
    assert_non_null(caller);
    (void)syn_str_copy(caller->address6, sizeof(caller->address6), "fd01::2");
    stage.world.fronts.six = true;
    assert_string_equal(shown(&stage), want);
    stage.world.fronts.six = false;
    assert_null(strstr(shown(&stage), "fd"));
    stage_close(&stage);
}

/* Requests go the same ways by either address of a service. */
static void
test_routes_six(void **state)
{
    static const char want[] =
        "10.200.0.2 is acme.mesh\n"
        "acct-a/svc-1/r1: 10.200.0.2:8080*8\n"
        "acct-a/svc-1: 10.200.0.2:8080*8\n"
        "fd01::2 is acme.mesh\n"
        "match 10.127.0.1:80/r1: /v2 GET a/0/\n"
        "match [fd53:796e:6f72::a7f:1]:20000/r1: /v2 GET a/0/\n"
        "out-http6: acme.mesh > [fd53:796e:6f72::a7f:1]:20000 = acct-a/svc-1\n"
        "out-http6: acme.mesh > [fd53:796e:6f72::a7f:1]:20000/r1 = acct-a/svc-1/r1\n"
        "out-http: acme.mesh > 10.127.0.1:80 = acct-a/svc-1\n"
        "out-http: acme.mesh > 10.127.0.1:80/r1 = acct-a/svc-1/r1\n"
        "to 10.127.0.1:80 at 20000\n"
        "to fd53:796e:6f72::a7f:1:80 at 20000\n";
    struct agt_mesh_caller *caller;
    struct stage stage;

    (void)state;
    stage_open(&stage);
    put(&stage, SERVICE("svc-1", "web", "10.127.0.1", "http", "'own'",
                        ",'routes':[{'match':{'path_prefix':'/v2','methods':['GET'],"
                        "'headers':[{'name':'a'}]}}]",
                        HERE("inst-1-1-1", "10.200.0.2")));
    calls(&stage, "job", "10.200.0.2", "acme", "");
    caller = syn_map_find(stage.callers, "job");
    assert_non_null(caller);
    (void)syn_str_copy(caller->address6, sizeof(caller->address6), "fd01::2");
    stage.world.fronts.six = true;
    assert_string_equal(shown(&stage), want);
    stage_close(&stage);
}

/* Without a certificate nobody is spoken to elsewhere, and nobody comes in. */
static void
test_without_identities(void **state)
{
    static const char here[] = "10.200.0.2 is web.acme.mesh\n"
                               "out-http: web.acme.mesh > 10.127.0.1:80 = svc-1/svc-1\n"
                               "svc-1/svc-1: 10.200.0.2:8080*8\n"
                               "to 10.127.0.1:80 at 20000\n";
    struct stage stage;

    (void)state;
    stage_open(&stage);
    put(&stage, SERVICE("svc-1", "web", "10.127.0.1", "http", "'own'", "",
                        HERE("inst-1-1-1", "10.200.0.2") "," THERE("inst-1-1-2")));
    calls(&stage, "inst-1-1-1", "10.200.0.2", "acme", "svc-1");
    assert_string_equal(shown(&stage), here);
    stage.world.authority = NULL;
    knows(&stage, "svc-1");
    assert_string_equal(shown(&stage), here);
    stage_close(&stage);
}

/* Who may come in, as names of certificates; what is said twice is there once. */
static void
test_policy(void **state)
{
    struct stage stage;

    (void)state;
    stage_open(&stage);
    knows(&stage, "svc-1");
    put(&stage, SERVICE("svc-1", "web", "10.127.0.1", "grpc",
                        "'own','api','bolt/*','acme/api','cask/web','bolt/*'",
                        ",'rate':5,'timeout_ms':900,'retries':0,'errors_max':7", ""));
    calls(&stage, "bolted", "10.200.1.2", "bolt", "");
    assert_string_equal(shown(&stage), "10.200.1.2 is bolt.mesh\n"
                                       "acct-b/svc-1: h2 rate=5 within=900 retries=-1 eject=7\n"
                                       "in-http: *.acme.mesh > web.acme.mesh = in/svc-1\n"
                                       "in-http: *.bolt.mesh > web.acme.mesh = in/svc-1\n"
                                       "in-http: acme.mesh > web.acme.mesh = in/svc-1\n"
                                       "in-http: api.acme.mesh > web.acme.mesh = in/svc-1\n"
                                       "in-http: bolt.mesh > web.acme.mesh = in/svc-1\n"
                                       "in-http: web.cask.mesh > web.acme.mesh = in/svc-1\n"
                                       "in/svc-1: h2 retries=-1\n"
                                       "out-http: bolt.mesh > 10.127.0.1:80 = acct-b/svc-1\n"
                                       "to 10.127.0.1:80 at 20000\n");
    put(&stage, SERVICE("svc-1", "web", "10.127.0.1", "http", "", "", ""));
    assert_string_equal(shown(&stage), "10.200.1.2 is bolt.mesh\nin/svc-1:\n"
                                       "to 10.127.0.1:80 at 20000\n");
    put(&stage, SERVICE("svc-1", "web", "10.127.0.1", "http", "'*'", "", ""));
    assert_string_equal(shown(&stage), "10.200.1.2 is bolt.mesh\n"
                                       "acct-b/svc-1:\n"
                                       "in-http: * > web.acme.mesh = in/svc-1\n"
                                       "in/svc-1:\n"
                                       "out-http: bolt.mesh > 10.127.0.1:80 = acct-b/svc-1\n"
                                       "to 10.127.0.1:80 at 20000\n");
    stage_close(&stage);
}

/* Requests that go elsewhere: to versions and other services, by parts, and twice. */
static void
test_routes(void **state)
{
#define VERSION(id, number, node, more)                                                   \
    "{'instance':'" id "','version':" number ",'node':'" node "','mesh':'10.0.0.2:7800'," \
    "'address':'10.200.0.3','port':80" more "}"
    struct stage stage;

    (void)state;
    stage_open(&stage);
    put(&stage, SERVICE("svc-1", "web", "10.127.0.1", "http", "'own'", "", ""));
    put(&stage,
        SERVICE("svc-2", "api", "10.127.0.2", "http", "'web'",
                ",'retry_budget':0,'routes':["
                "{'match':{'path_prefix':'/v2','methods':['GET'],'headers':[{'name':'a'},"
                "{'name':'b','exact':'c'},{'name':'d','prefix':'e'}]},"
                "'to':[{'service':'next','weight':10},{'version':1,'weight':80},"
                "{'version':2,'weight':10}],'mirror':{'service':'next','percent':5},"
                "'timeout_ms':900,'retries':0},"
                "{'to':[{'service':'secret'},{'service':'none'},{'service':'raw'}]}]",
                VERSION("v1", "1", "node-1", ",'ready':true") "," VERSION(
                    "v1b", "1", "node-2", ",'ready':true") "," VERSION("v2", "2", "node-1",
                                                                       ",'state':'standby'")));
    put(&stage,
        SERVICE("svc-3", "next", "10.127.0.3", "http", "'own'", "", THERE("n1") "," THERE("n2")));
    put(&stage, SERVICE("svc-4", "secret", "10.127.0.4", "http", "'api'", "", ""));
    put(&stage, SERVICE("svc-5", "raw", "10.127.0.5", "tcp", "", "", ""));
    calls(&stage, "inst-1-1-1", "10.200.0.2", "acme", "svc-1");
    knows(&stage, "svc-1");
    knows(&stage, "svc-2");
    assert_string_equal(
        shown(&stage),
        "10.200.0.2 is web.acme.mesh\n"
        "in-http: *.acme.mesh > web.acme.mesh = in/svc-1\n"
        "in-http: acme.mesh > web.acme.mesh = in/svc-1\n"
        "in-http: web.acme.mesh > api.acme.mesh = in/svc-2\n"
        "in-http: web.acme.mesh > v1.api.acme.mesh = in/svc-2/v1\n"
        "in-http: web.acme.mesh > v2.api.acme.mesh = in/svc-2/v2\n"
        "in/svc-1:\n"
        "in/svc-2/v1: 10.200.0.3:80*8 again=-1\n"
        "in/svc-2/v2: 10.200.0.3:80*8 again=-1\n"
        "in/svc-2: 10.200.0.3:80*8 again=-1\n"
        "match 10.127.0.2:80/r1: /v2 GET a/0/ b/1/c d/2/e\n"
        "match 10.127.0.2:80/r2:\n"
        "out-http: web.acme.mesh > 10.127.0.1:80 = svc-1/svc-1\n"
        "out-http: web.acme.mesh > 10.127.0.2:80 = svc-1/svc-2\n"
        "out-http: web.acme.mesh > 10.127.0.2:80/r1 = svc-1/svc-2/r1\n"
        "out-http: web.acme.mesh > 10.127.0.3:80 = svc-1/svc-3\n"
        "svc-1/svc-1:\n"
        "svc-1/svc-2/r1: ->next.acme.mesh10.0.0.2:7800*1 10.200.0.3:80*4"
        " ->v1.api.acme.mesh10.0.0.2:7800*4 10.200.0.3:80*1 within=900 retries=-1 again=-1"
        " mirror=svc-1/svc-3:5\n"
        "svc-1/svc-2: 10.200.0.3:80*8 ->10.0.0.2:7800*8 again=-1\n"
        "svc-1/svc-3: ->10.0.0.2:7800*16\n"
        "to 10.127.0.1:80 at 20000\n"
        "to 10.127.0.2:80 at 20000\n"
        "to 10.127.0.3:80 at 20000\n"
        "to 10.127.0.4:80 at 20000\n"
        "to 10.127.0.5:80 at 20001\n");
    stage_close(&stage);
}

/* Whole numbers that divide as the parts do, where there are such. */
static void
test_weigh(void **state)
{
    static const struct {
        double shares[3];
        unsigned weights[3];
    } rows[] = {
        {{1, 0, 0}, {1}},          {{99, 1, 0}, {99, 1}},
        {{30, 30, 40}, {3, 3, 4}}, {{90.0 / 7, 10.0 / 3, 0}, {27, 7}},
        {{255, 1, 0}, {255, 1}},   {{1000, 1, 0}, {256, 1}}, /* as nearly as can be */
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        struct syn_balancer_server servers[3] = {{.id = NULL}};
        size_t count = 0;

        while (count < 3 && rows[i].shares[count] > 0)
            count++;
        agt_mesh_weigh(servers, rows[i].shares, count);
        for (size_t k = 0; k < count; k++)
            assert_int_equal(servers[k].weight, rows[i].weights[k]);
    }
}

/* Replicas that end what they have, or stand by, get nothing new; a share of a canary holds. */
static void
test_replicas(void **state)
{
    struct stage stage;

    (void)state;
    stage_open(&stage);
    put(&stage,
        SERVICE("svc-1", "web", "10.127.0.1", "http", "'own'", "",
                "{'instance':'a','node':'node-1','address':'10.200.0.2','port':1,'ready':true,"
                "'weight':90},"
                "{'instance':'b','node':'node-1','address':'10.200.0.3','port':1,'ready':true,"
                "'state':'draining'},"
                "{'instance':'c','node':'node-1','address':'10.200.0.4','port':1,'ready':false},"
                "{'instance':'d','node':'node-1','address':'fd00::5','port':1,'ready':true,"
                "'weight':10},"
                "{'instance':'e','node':'node-3','address':'10.200.0.6','port':1,'ready':true}"));
    calls(&stage, "inst-1-1-1", "10.200.0.2", "acme", "svc-1");
    knows(&stage, "svc-1");
    assert_non_null(strstr(shown(&stage), "\nsvc-1/svc-1: 10.200.0.2:1*90 [fd00::5]:1*10\n"));
    stage_close(&stage);
}

/* What may be woken is waited for as long as it says, and looked at while nothing of it runs. */
static void
test_sleepers(void **state)
{
    static const struct {
        const char *more, *endpoints;
        unsigned hold_ms, asleep;
    } rows[] = {
        {"", "", AGT_MESH_HOLD_MS, 0},
        {",'hold_ms':30000", "", 30000, 1},
        {",'hold_ms':30000", "{'instance':'c','node':'node-1','address':'10.200.0.4','port':1}",
         30000, 1},
        {",'hold_ms':30000", HERE("inst-2-1-1", "10.200.0.3"), 30000, 0},
        {",'hold_ms':99999999", "", SYN_BALANCER_WAIT_MAX_MS, 1},
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        struct stage stage;
        struct agt_mesh_table table;
        char text[TEXT_MAX];
        struct syn_err err = {0};

        stage_open(&stage);
        put(&stage, SERVICE("svc-1", "web", "10.127.0.1", "http", "", "", ""));
        (void)snprintf(text, sizeof(text),
                       SERVICE("svc-2", "naps", "10.127.0.2", "http", "'own'", "%s", "%s"),
                       rows[i].more, rows[i].endpoints);
        put(&stage, text);
        calls(&stage, "inst-1-1-1", "10.200.0.2", "acme", "svc-1");
        assert_done(agt_mesh_table_make(&stage.world, &table, &err), &err);
        assert_int_equal(table.table.backend_count, 1);
        assert_int_equal(table.table.backends[0].hold_ms, rows[i].hold_ms);
        assert_int_equal(table.asleep, rows[i].asleep);
        agt_mesh_table_fini(&table);
        stage_close(&stage);
    }
}

static int
sweep(void *arg, struct syn_err *err)
{
    const struct stage *stage = arg;
    struct agt_mesh_table table;
    int rc = agt_mesh_table_make(&stage->world, &table, err);

    if (rc == SYN_OK)
        agt_mesh_table_fini(&table);
    return rc;
}

static void
test_without_memory(void **state)
{
    struct stage stage;

    (void)state;
    stage_open(&stage);
    put(&stage, SERVICE("svc-1", "web", "10.127.0.1", "http", "'own'", "",
                        HERE("inst-1-1-1", "10.200.0.2") "," THERE("inst-1-1-2")));
    calls(&stage, "inst-1-1-1", "10.200.0.2", "acme", "svc-1");
    knows(&stage, "svc-1");
    assert_true(syn_test_sweep_alloc(sweep, &stage) > 20);
    stage_close(&stage);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pairs),    cmocka_unit_test(test_without_identities),
        cmocka_unit_test(test_policy),   cmocka_unit_test(test_replicas),
        cmocka_unit_test(test_sleepers), cmocka_unit_test(test_without_memory),
        cmocka_unit_test(test_routes),   cmocka_unit_test(test_weigh),
        cmocka_unit_test(test_six),      cmocka_unit_test(test_routes_six),
    };

    return cmocka_run_group_tests_name("agent/mesh", tests, NULL, NULL);
}
