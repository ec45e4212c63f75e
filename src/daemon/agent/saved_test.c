/* Names of snapshots, and what is found of one that was changed. */
#include "agent_testing.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <synor/base/str.h>

#include "saved_priv.h"
#include "wish_priv.h"

static const char *const argv[] = {"python3", "/synor/host.py", NULL};
static const struct syn_bind code = {"/data/cache/bafy1", "/synor/code", true};

/* The name for the account, service, and environment; out[SYN_CID_TEXT_MAX]. */
static void
name_of(const char *account, const char *sandbox, const char *const *env, char *out)
{
    struct agt_wish wish = {
        .spec = {.argv = argv, .env = env, .binds = &code, .binds_count = 1, .uid = 1000}};
    struct syn_err err = {0};
    SYN_JSON(doc);

    assert_done(
        syn_json_pack(&doc, &err, "{s:s, s:{s:s}}", "account", account, "spec", "job", "svc-1"),
        &err);
    assert_done(agt_saved_key(doc, &wish, sandbox, out, &err), &err);
}

static void
names_say_what_is_in_it(void **state)
{
    static const char *const one[] = {"SYNOR_VERSION=1", "KEY=a", "SYNOR_INSTANCE_ID=i1",
                                      "SYNOR_REPLICA=1", NULL};
    static const char *const other[] = {"SYNOR_VERSION=1", "KEY=a", "SYNOR_INSTANCE_ID=i2",
                                        "SYNOR_REPLICA=2", NULL};
    static const char *const rotated[] = {"SYNOR_VERSION=1", "KEY=b", NULL};
    static const char *const later[] = {"SYNOR_VERSION=2", "KEY=a", NULL};
    char first[SYN_CID_TEXT_MAX], name[SYN_CID_TEXT_MAX];
    struct syn_cid cid;

    (void)state;
    name_of("acct-1", "0.0~20240729.0", one, first);
    assert_int_equal(syn_cid_parse(first, strlen(first), &cid, NULL), SYN_OK);
    name_of("acct-1", "0.0~20240729.0", other, name); /* another instance of the same */
    assert_string_equal(name, first);
    name_of("acct-2", "0.0~20240729.0", one, name);
    assert_string_not_equal(name, first);
    name_of("acct-1", "0.0~20250101.0", one, name);
    assert_string_not_equal(name, first);
    name_of("acct-1", "0.0~20240729.0", rotated, name);
    assert_string_not_equal(name, first);
    name_of("acct-1", "0.0~20240729.0", later, name);
    assert_string_not_equal(name, first);
}

static void
damage_is_found(void **state)
{
    static const char *const names[] = {"checkpoint.img", "pages.img", "pages_meta.img"};
    struct bench *bench = bench_open();
    struct syn_err err = {0};
    char folder[AGT_PATH_MAX], path[AGT_PATH_MAX];

    (void)state;
    (void)snprintf(folder, sizeof(folder), "%s", bench_path(bench, "snap"));
    (void)snprintf(path, sizeof(path), "%s", bench_path(bench, "snap/image"));
    assert_int_equal(mkdir(folder, 0700), 0);
    assert_int_equal(mkdir(path, 0700), 0);
    for (size_t i = 0; i < SYN_LEN(names); i++) {
        (void)snprintf(path, sizeof(path), "snap/image/%s", names[i]);
        bench_put(bench, path, names[i], strlen(names[i]));
    }
    assert_code(agt_saved_verify(folder, "v1", &err), SYN_E_NOTFOUND, &err);
    assert_false(agt_saved_is_of(folder, "svc-1"));
    assert_done(agt_saved_seal(folder, "v1", "svc-1", &err), &err);
    assert_true(agt_saved_is_of(folder, "svc-1"));
    assert_false(agt_saved_is_of(folder, "svc-2"));
    assert_done(agt_saved_verify(folder, "v1", &err), &err);
    assert_code(agt_saved_verify(folder, "v2", &err), SYN_E_CORRUPT, &err);
    for (size_t i = 0; i < SYN_LEN(names); i++) {
        (void)snprintf(path, sizeof(path), "snap/image/%s", names[i]);
        bench_put(bench, path, "x", 1);
        assert_code(agt_saved_verify(folder, "v1", &err), SYN_E_CORRUPT, &err);
        bench_put(bench, path, names[i], strlen(names[i]));
        assert_done(agt_saved_verify(folder, "v1", &err), &err);
    }
    assert_int_equal(unlink(bench_path(bench, "snap/image/pages.img")), 0);
    assert_code(agt_saved_verify(folder, "v1", &err), SYN_E_NOTFOUND, &err);
    bench_close(bench);
}

/* What failed is gone, and the reason is told. */
static void
refused_is_gone(void **state)
{
    struct bench *bench = bench_open();
    struct agt_instance *instance = &bench->instance;
    static const char *const env[] = {"KEY=a", NULL};
    char key[SYN_CID_TEXT_MAX], path[AGT_PATH_MAX];

    (void)state;
    name_of("acct-1", "v1", env, key);
    (void)snprintf(path, sizeof(path), "%s/snapshots/%s", bench->agent.data_dir, key);
    assert_int_equal(mkdir(path, 0700), 0);
    (void)syn_str_copy(instance->saved_key, sizeof(instance->saved_key), key);
    instance->start.kept = false; /* it was ready once: it is not the snapshot's fault */
    agt_saved_failed(instance, "exited with status 1");
    assert_int_equal(access(path, F_OK), 0);
    instance->start.kept = true;
    agt_saved_failed(instance, "exited with status 1");
    assert_int_equal(access(path, F_OK), -1);
    assert_string_equal(instance->saved_key, "");
    assert_string_equal(bench->agent.saved.rows[0].key, key);
    assert_non_null(strstr(bench->agent.saved.rows[0].why, "never ready"));
    bench_close(bench);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_say_what_is_in_it),
        cmocka_unit_test(damage_is_found),
        cmocka_unit_test(refused_is_gone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
