/* Secrets: sealed at rest, in no answer but the one to the node that runs the instance, and a new
 * version of every service that uses one that is set anew. */
#include "usage_testing.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <synor/base/str.h>
#include <synor/orchestration/document.h>

#define VALUE  "correct-horse-battery-staple"
#define SECOND "another-horse-another-staple"

/* Do the bytes stand in any file of the server's folder? Its log of changes is one of them. */
static bool
stored_plainly(const char *dir, const char *text)
{
    struct dirent *entry;
    DIR *folder = opendir(dir);
    bool found = false;

    assert_non_null(folder);
    while (!found && (entry = readdir(folder)) != NULL) {
        char path[1024];
        struct stat st;

        (void)snprintf(path, sizeof(path), "%s/%s", dir, entry->d_name);
        if (entry->d_name[0] == '.' || stat(path, &st) != 0)
            continue;
        if (S_ISDIR(st.st_mode)) {
            found = stored_plainly(path, text);
        } else if (S_ISREG(st.st_mode)) {
            FILE *file = fopen(path, "re");
            char *data = malloc((size_t)st.st_size + 1);
            size_t len = file && data ? fread(data, 1, (size_t)st.st_size, file) : 0;

            found = len > 0 && memmem(data, len, text, strlen(text)) != NULL;
            free(data);
            if (file)
                (void)fclose(file);
        }
    }
    (void)closedir(folder);
    return found;
}

static void
absent_from(struct syn_client *client, const char *path, const char *text)
{
    SYN_JSON(answer);
    char *dump;

    must(client, "GET", path, NULL, &answer);
    dump = json_dumps(answer, 0);
    if (strstr(dump, text) != NULL)
        fail_msg("%s tells it", path);
    free(dump);
}

/* A service that uses the secret, and runs on the node of the same name. */
static void
service_init(struct run *run, struct house *house, const char *name, uint8_t seed)
{
    char cid[SYN_CID_TEXT_MAX], text[768];

    run_join(run, house, name, seed, NULL);
    store_source(run->tenant, cid);
    (void)snprintf(text, sizeof(text),
                   "{'name':'web','spec':{'image':'synor://%s','region':'%s','cpu_millicores':100,"
                   "'secrets':{'DB_PASSWORD':'db-password'},'mounts':[{'path':'/run/key',"
                   "'kind':'secret','source':'db-password'}]}}",
                   cid, name);
    assert_int_equal(call(run->tenant, "POST", "/v1/services", text, NULL, NULL), SYN_E_NOTFOUND);
    must(run->tenant, "PUT", "/v1/secrets/db-password", "{'value':'" VALUE "'}", NULL);
    run_serve(run, text);
}

static void
only_the_node_is_told(void **state)
{
    struct house *house = *state;
    struct run run;
    char path[128];
    struct syn_client *other;
    SYN_JSON(given);

    service_init(&run, house, "told", 1);
    (void)snprintf(path, sizeof(path), "/v1/instances/%s/secrets", run.instance);
    must(run.agent, "GET", path, NULL, &given);
    assert_string_equal(syn_json_str(json_object_get(given, "env"), "DB_PASSWORD", ""), VALUE);
    assert_string_equal(syn_json_str(json_object_get(given, "files"), "/run/key", ""), VALUE);
    assert_int_equal(call(run.tenant, "GET", path, NULL, NULL, NULL), SYN_E_FORBIDDEN);
    other = tenant(house, "stranger", "tenant");
    await_token(other);
    assert_true(call(other, "GET", path, NULL, NULL, NULL) < 0);
    absent_from(other, "/v1/secrets", "db-password"); /* another account's are its own */
    (void)syn_client_free(other);

    absent_from(run.tenant, "/v1/secrets", VALUE);
    absent_from(run.tenant, "/v1/services/web", VALUE);
    absent_from(run.tenant, "/v1/services/web/versions", VALUE);
    absent_from(run.tenant, "/v1/services/web/events", VALUE);
    (void)snprintf(path, sizeof(path), "/v1/instances/%s", run.instance);
    absent_from(run.tenant, path, VALUE);
    absent_from(run.agent, path, VALUE);
    assert_false(stored_plainly(house->dir, VALUE));
    assert_true(stored_plainly(house->dir, "db-password")); /* names are no secret */

    /* Over: the node is not told any more. */
    run_take(&run);
    end(&run, 0);
    (void)snprintf(path, sizeof(path), "/v1/instances/%s/secrets", run.instance);
    assert_int_equal(call(run.agent, "GET", path, NULL, NULL, NULL), SYN_E_PRECONDITION);
    run_fini(&run);
}

static void
set_anew_it_rolls_services(void **state)
{
    struct house *house = *state;
    struct run run;
    char path[128];
    SYN_JSON(seen);
    SYN_JSON(service);
    SYN_JSON(given);

    service_init(&run, house, "rolls", 2);
    assert_int_equal(call(run.tenant, "DELETE", "/v1/secrets/db-password", NULL, NULL, NULL),
                     SYN_E_CONFLICT);
    must(run.tenant, "PUT", "/v1/secrets/unused", "{'value':'x'}", NULL);
    must(run.tenant, "PUT", "/v1/secrets/db-password", "{'value':'" SECOND "'}", &seen);
    assert_int_equal(syn_json_i64(seen, "version", 0), 2);
    must(run.tenant, "GET", "/v1/services/web", NULL, &service);
    assert_int_equal(syn_json_i64(syn_document_status(service), "target", 0), 2);
    (void)snprintf(path, sizeof(path), "/v1/instances/%s/secrets", run.instance);
    must(run.agent, "GET", path, NULL, &given);
    assert_string_equal(syn_json_str(json_object_get(given, "env"), "DB_PASSWORD", ""), SECOND);
    must(run.tenant, "PATCH", "/v1/services/web", "{'spec':{'secrets':null}}", NULL);
    assert_int_equal(call(run.tenant, "DELETE", "/v1/secrets/db-password", NULL, NULL, NULL),
                     SYN_E_CONFLICT); /* as a file, still */
    must(run.tenant, "PATCH", "/v1/services/web", "{'spec':{'mounts':null}}", NULL);
    must(run.tenant, "DELETE", "/v1/secrets/db-password", NULL, NULL);
    must(run.tenant, "DELETE", "/v1/secrets/unused", NULL, NULL);
    assert_int_equal(call(run.tenant, "DELETE", "/v1/secrets/unused", NULL, NULL, NULL),
                     SYN_E_NOTFOUND);
    run_fini(&run);
}

/* What is sealed belongs to its account, name and version, and to the server's key. */
static void
put_elsewhere_it_does_not_open(void **state)
{
    struct house *house = *state;
    struct syn_server *server = house->server;
    struct run run;
    char path[128], key[SRV_KEY_MAX], other[SRV_KEY_MAX], file[SRV_PATH_MAX + 64];
    struct stat st;
    int64_t revision, other_revision;
    SRV_TXN(txn);
    SYN_JSON(service);
    SYN_JSON(doc);
    SYN_JSON(wrong);
    const char *account;

    service_init(&run, house, "moved", 3);
    (void)snprintf(file, sizeof(file), "%s/server/secrets.key", house->dir);
    assert_int_equal(stat(file, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    must(run.tenant, "PUT", "/v1/secrets/other", "{'value':'" SECOND "'}", NULL);
    must(run.tenant, "GET", "/v1/services/web", NULL, &service);
    account = syn_json_str(service, "account", "");
    assert_int_equal(
        srv_load(server, srv_key(key, "secret", account, "db-password"), &doc, &revision, NULL),
        SYN_OK);
    assert_int_equal(
        srv_load(server, srv_key(other, "secret", account, "other"), &wrong, &other_revision, NULL),
        SYN_OK);
    assert_int_equal(syn_json_set_str(doc, "sealed", syn_json_str(wrong, "sealed", ""), NULL), 0);
    assert_int_equal(srv_txn_replace(&txn, key, revision, doc, NULL), SYN_OK);
    assert_int_equal(srv_txn_commit(server, &txn, NULL, NULL), SYN_OK);
    (void)snprintf(path, sizeof(path), "/v1/instances/%s/secrets", run.instance);
    assert_true(call(run.agent, "GET", path, NULL, NULL, NULL) < 0);
    run_fini(&run);
}

static void
bad_ones_are_refused(void **state)
{
    struct house *house = *state;
    struct syn_client *client = tenant(house, "bad", "tenant");

    await_token(client);
    assert_int_equal(call(client, "PUT", "/v1/secrets/Upper", "{'value':'x'}", NULL, NULL),
                     SYN_E_INVALID);
    assert_int_equal(call(client, "PUT", "/v1/secrets/empty", "{'value':''}", NULL, NULL),
                     SYN_E_INVALID);
    assert_int_equal(call(client, "PUT", "/v1/secrets/none", "{}", NULL, NULL), SYN_E_INVALID);
    assert_int_equal(call(client, "DELETE", "/v1/secrets/none", NULL, NULL, NULL), SYN_E_NOTFOUND);
    for (int i = 0; i < 256; i++) {
        char path[64];

        (void)snprintf(path, sizeof(path), "/v1/secrets/s-%d", i);
        must(client, "PUT", path, "{'value':'x'}", NULL);
    }
    assert_int_equal(call(client, "PUT", "/v1/secrets/too-many", "{'value':'x'}", NULL, NULL),
                     SYN_E_LIMIT);
    must(client, "PUT", "/v1/secrets/s-7", "{'value':'anew'}", NULL);
    (void)syn_client_free(client);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(only_the_node_is_told, house_setup, house_teardown),
        cmocka_unit_test_setup_teardown(set_anew_it_rolls_services, house_setup, house_teardown),
        cmocka_unit_test_setup_teardown(put_elsewhere_it_does_not_open, house_setup,
                                        house_teardown),
        cmocka_unit_test_setup_teardown(bad_ones_are_refused, house_setup, house_teardown),
    };

    return cmocka_run_group_tests_name("secrets", tests, NULL, NULL);
}
