/* Who may call whom, and what they are called. */
#include <synor/base/test.h>

#include <synor/base/str.h>
#include <synor/workload/service_mesh.h>
#include <synor/workload/service_spec.h>

#define CALLER(account_name, service_name) \
    (&(struct syn_mesh_party){.account = (account_name), .service = (service_name)})

static json_t *
read_json(const char *text)
{
    struct syn_err err = {0};
    json_t *list = NULL;

    assert_done(syn_json_parse(text, strlen(text), &list, &err), &err);
    return list;
}

static void
its_own_account_may_unless_it_says_otherwise(void **state)
{
    (void)state;
    assert_true(syn_mesh_allows(NULL, "acme", CALLER("acme", "web")));
    assert_true(syn_mesh_allows(NULL, "acme", CALLER("acme", NULL)));
    assert_false(syn_mesh_allows(NULL, "acme", CALLER("other", "web")));
    assert_false(syn_mesh_allows(NULL, "acme", CALLER("other", NULL)));
    assert_false(syn_mesh_is_open(NULL, "acme"));
}

/* Each entry, and all who may by it. */
static void
entries_mean_whom_they_name(void **state)
{
    static const struct {
        const char *allow;
        bool own_web, own_job, other_web, other_api, other_job, open;
    } rows[] = {
        {"[]", false, false, false, false, false, false},
        {"[\"own\"]", true, true, false, false, false, false},
        {"[\"web\"]", true, false, false, false, false, false},
        {"[\"api\"]", false, false, false, false, false, false},
        {"[\"acme/web\"]", true, false, false, false, false, false},
        {"[\"acme/*\"]", true, true, false, false, false, false},
        {"[\"other/web\"]", false, false, true, false, false, true},
        {"[\"other/*\"]", false, false, true, true, true, true},
        {"[\"*\"]", true, true, true, true, true, true},
        {"[\"own\",\"other/api\"]", true, true, false, true, false, true},
        /* What no check lets through is nobody's. */
        {"[\"\",\"/\",\"/web\",\"other/\",\"*/web\",\"*/*\",\"a/b/c\",\"Web\",7]", false, false,
         false, false, false, false},
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        SYN_JSON(allow);

        allow = read_json(rows[i].allow);
        assert_int_equal(syn_mesh_allows(allow, "acme", CALLER("acme", "web")), rows[i].own_web);
        assert_int_equal(syn_mesh_allows(allow, "acme", CALLER("acme", NULL)), rows[i].own_job);
        assert_int_equal(syn_mesh_allows(allow, "acme", CALLER("other", "web")), rows[i].other_web);
        assert_int_equal(syn_mesh_allows(allow, "acme", CALLER("other", "api")), rows[i].other_api);
        assert_int_equal(syn_mesh_allows(allow, "acme", CALLER("other", NULL)), rows[i].other_job);
        assert_int_equal(syn_mesh_is_open(allow, "acme"), rows[i].open);
        assert_int_equal(syn_mesh_allows_account(allow, "acme", "other"),
                         rows[i].other_web || rows[i].other_api || rows[i].other_job);
    }
}

/* Whom an entry allows, its account is told of; else a name would never be found. */
static void
accounts_hear_of_what_any_of_theirs_may_call(void **state)
{
    static const char *const names[] = {"acme", "other", "third"};
    static const char *const services[] = {"web", "api", NULL};
    static const char *const entries[] = {"own", "web", "other/web", "third/*", "acme/api", "*"};

    (void)state;
    for (unsigned set = 0; set < 1U << SYN_LEN(entries); set++) {
        SYN_JSON(allow);

        allow = json_array();
        for (size_t i = 0; i < SYN_LEN(entries); i++)
            if (set & 1U << i)
                assert_int_equal(json_array_append_new(allow, json_string(entries[i])), 0);
        for (size_t i = 0; i < SYN_LEN(names); i++)
            for (size_t j = 0; j < SYN_LEN(services); j++)
                assert_true(!syn_mesh_allows(allow, "acme", CALLER(names[i], services[j])) ||
                            syn_mesh_allows_account(allow, "acme", names[i]));
    }
}

static void
names_are_whole(void **state)
{
    static const char lengthy[] = "a23456789-123456789-123456789-123456789-123456789-123456789-123";
    const struct syn_mesh_party longest = {lengthy, lengthy};
    char name[SYN_MESH_NAME_SIZE], uri[SYN_MESH_URI_SIZE], expected[256];

    (void)state;
    assert_true(syn_name_ok(lengthy));
    assert_int_equal(strlen(lengthy), 63);
    assert_string_equal(syn_mesh_name(CALLER("acme", "web"), name), "web.acme.mesh");
    assert_string_equal(syn_mesh_name(CALLER("acme", NULL), name), "acme.mesh");
    (void)snprintf(expected, sizeof(expected), "%s.%s.mesh", lengthy, lengthy);
    assert_string_equal(syn_mesh_name(&longest, name), expected);
    assert_string_equal(syn_mesh_uri("cluster-1", CALLER("acme", "web"), uri),
                        "spiffe://cluster-1/account/acme/service/web");
    assert_string_equal(syn_mesh_uri("cluster-1", CALLER("acme", NULL), uri),
                        "spiffe://cluster-1/account/acme");
    (void)snprintf(expected, sizeof(expected), "spiffe://cluster-1/account/%s/service/%s", lengthy,
                   lengthy);
    assert_string_equal(syn_mesh_uri("cluster-1", &longest, uri), expected);
}

/* Such a spec is taken; or what is wrong is `blamed`. */
static void
check_spec(const char *protocol, const char *mesh, const char *blamed)
{
    char text[1024];
    struct syn_err err = {0};
    SYN_JSON(spec);
    int rc;

    (void)snprintf(text, sizeof(text),
                   "{\"image\":\"synor://a\",\"port\":80,\"lb\":{\"protocol\":\"%s\"},"
                   "\"mesh\":%s}",
                   protocol, mesh);
    spec = read_json(text);
    rc = syn_service_spec_check(spec, &err);
    if (blamed == NULL) {
        assert_done(rc, &err);
        return;
    }
    assert_code(rc, SYN_E_INVALID, &err);
    assert_non_null(strstr(err.msg, blamed));
}

/* What is of requests is no business of who speaks TCP. */
static void
specs_say_how_it_is_called(void **state)
{
    static const struct {
        const char *protocol, *mesh, *blamed;
    } rows[] = {
        {"http", "{\"timeout_ms\":\"2s\",\"retries\":0,\"rate\":50}", NULL},
        {"tcp", "{\"retries\":10}", NULL},
        {"tcp", "{\"rate\":50}", "spec.mesh.rate: tcp knows no requests"},
        {"auto", "{\"timeout_ms\":1}", "spec.mesh.timeout_ms: tcp"},
        {"http", "{\"timeout_ms\":0}", "spec.mesh.timeout_ms"},
        {"http", "{\"retries\":11}", "spec.mesh.retries"},
        {"http", "{\"rate\":0}", "spec.mesh.rate"},
        {"http", "{\"retry_budget\":0}", NULL},
        {"http", "{\"retry_budget\":101}", "spec.mesh.retry_budget"},
        {"tcp", "{\"retry_budget\":20}", "spec.mesh.retry_budget: tcp"},
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++)
        check_spec(rows[i].protocol, rows[i].mesh, rows[i].blamed);
}

static void
routes_are_checked(void **state)
{
    static const struct {
        const char *routes, *blamed;
    } rows[] = {
        {"[]", NULL},
        {"[{'match':{'path_prefix':'/v2','methods':['GET','POST'],'headers':[{'name':'x-a','exact':"
         "'b c'},{'name':'x-b','prefix':'d'},{'name':'x-c'},{'name':'x-d','present':true}]},"
         "'to':[{'service':'api','weight':90},{'version':3,'weight':10}],"
         "'mirror':{'service':'shadow','percent':5},'timeout_ms':'2s','retries':0}]",
         NULL},
        {"[{'mirror':{'service':'shadow'}}]", NULL},
        {"[{},{}]", "routes[0]: takes all requests"},
        {"[{'match':{'path_prefix':'/'}},{}]", "routes[0]: takes all requests"},
        {"[{'match':{'path_prefix':'v2'}}]", "routes[0].match.path_prefix"},
        {"[{'match':{'path_prefix':'/a b'}}]", "routes[0].match.path_prefix"},
        {"[{'match':{'path_prefix':'/a//b'}}]", "routes[0].match.path_prefix"},
        {"[{'match':{'methods':['GE T']}}]", "routes[0].match.methods[0]"},
        {"[{'match':{'headers':[{}]}}]", "headers[0].name"},
        {"[{'match':{'headers':[{'name':'a b'}]}}]", "headers[0].name"},
        {"[{'match':{'headers':[{'name':'a','exact':'b','prefix':'c'}]}}]", "expected one of"},
        {"[{'match':{'headers':[{'name':'a','present':false}]}}]", "expected one of"},
        {"[{'match':{'headers':[{'name':'a','exact':'b\\\\c'}]}}]", "headers[0].exact"},
        {"[{'to':[{'weight':1}]}]", "to[0]: expected service or version"},
        {"[{'to':[{'service':'a','version':1}]}]", "to[0]: expected service or version"},
        {"[{'to':[{'service':'a'},{'service':'a'}]}]", "to[1]: the same as to[0]"},
        {"[{'to':[{'service':'a','weight':0}]}]", "to: all weights are 0"},
        {"[{'to':[{'service':'a','weight':1001}]}]", "weight"},
        {"[{'mirror':{'service':'a','percent':0}}]", "percent"},
        {"[{'mirror':{}}]", "mirror.service"},
        {"[{'retries':11}]", "retries"},
        {"[{'colour':1}]", "colour"},
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        char mesh[768];

        (void)snprintf(mesh, sizeof(mesh), "{'routes':%s}", rows[i].routes);
        for (char *c = mesh; *c != '\0'; c++)
            *c = (char)(*c == '\'' ? '"' : *c);
        check_spec("http", mesh, rows[i].blamed);
    }
    check_spec("tcp", "{\"routes\":[{}]}", "spec.mesh.routes: tcp knows no requests");
    check_spec("tcp", "{\"routes\":[]}", NULL);
}

static void
specs_say_who_may(void **state)
{
    static const struct {
        const char *allow, *blamed; /* NULL: it is taken */
    } rows[] = {
        {"[]", NULL},
        {"[\"own\",\"web\",\"other/web\",\"other/*\",\"*\"]", NULL},
        {"[\"other/\"]", "allow[0]: \"other/\": expected own, NAME"},
        {"[\"own\",\"*/web\"]", "allow[1]"},
        {"[\"Web\"]", "allow[0]"},
        {"[\"a/b/c\"]", "allow[0]"},
        {"[\"\"]", "allow[0]"},
        {"\"web\"", "spec.mesh.allow"},
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        char mesh[160];

        (void)snprintf(mesh, sizeof(mesh), "{\"allow\":%s}", rows[i].allow);
        check_spec("auto", mesh, rows[i].blamed);
    }
}

static void
addresses_of_both_families_follow_from_each_other(void **state)
{
    static const struct {
        const char *four, *six;
    } rows[] = {
        {"10.127.94.12", "fd53:796e:6f72::a7f:5e0c"},
        {"10.127.0.1", "fd53:796e:6f72::a7f:1"},
        {"10.0.0.0", "fd53:796e:6f72::a00:0"},
        {"0.0.0.0", "fd53:796e:6f72::"},
        {"255.255.255.255", "fd53:796e:6f72::ffff:ffff"},
        {"", NULL},
        {"10.127.0", NULL},
        {"10.127.0.1.2", NULL},
        {"10.127.0.256", NULL},
        {"10.127.0.0001", NULL},
        {"fd00::1", NULL},
        {"10.127..1", NULL},
    };
    char out[SYN_MESH_SIZE6];

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        assert_int_equal(syn_mesh_address6(rows[i].four, out), rows[i].six != NULL);
        if (rows[i].six != NULL)
            assert_string_equal(out, rows[i].six);
    }
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(its_own_account_may_unless_it_says_otherwise),
        cmocka_unit_test(entries_mean_whom_they_name),
        cmocka_unit_test(accounts_hear_of_what_any_of_theirs_may_call),
        cmocka_unit_test(names_are_whole),
        cmocka_unit_test(addresses_of_both_families_follow_from_each_other),
        cmocka_unit_test(specs_say_who_may),
        cmocka_unit_test(specs_say_how_it_is_called),
        cmocka_unit_test(routes_are_checked),
    };

    syn_json_init();
    return cmocka_run_group_tests_name("service-mesh", tests, NULL, NULL);
}
