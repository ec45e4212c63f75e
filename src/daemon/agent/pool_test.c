/* Who may take an interpreter that waits, and whose are alike. */
#include "agent_testing.h"

#include <synor/base/str.h>

#include "pool_priv.h"
#include "wish_priv.h"

#define GIB ((int64_t)1 << 30)

static const char *const python[] = {"python3", "-B", "/synor/host.py", NULL};
static const char *const node[] = {"node", "/synor/host.mjs", NULL};
static const char *const env[] = {"PORT=8080", "COLOUR=blue", "SYNOR_INSTANCE_ID=i1", NULL};
static const struct syn_bind binds[] = {{"/data/cache/bafy1", "/synor/code", true},
                                        {"/data/cache/bafk1", "/synor/host.py", true},
                                        {"/data/cache/bafy2", "/synor/layer", true}};
static const struct syn_runtime_info gvisor = {.driver = "native", .sandbox = "gvisor"};

static struct agt_wish
plain(void)
{
    return (struct agt_wish){.spec = {.argv = python,
                                      .env = env,
                                      .binds = binds,
                                      .binds_count = 3,
                                      .network = SYN_NETWORK_ACCOUNT,
                                      .memory_bytes = GIB,
                                      .scratch_bytes = GIB}};
}

/* What is an account's own is in no kind. */
static void
functions_of_all_accounts_are_alike(void **state)
{
    static const char *const other_env[] = {"PORT=8080", "KEY=secret", NULL};
    static const struct syn_bind other_binds[] = {{"/data/cache/bafk1", "/synor/host.py", true},
                                                  {"/data/cache/bafy9", "/synor/code", true}};
    struct agt_wish wish = plain(), other = plain();
    struct agt_pool_kind kind, another;

    (void)state;
    assert_true(agt_pool_kind_of(&wish, &gvisor, &kind));
    assert_string_equal(kind.words[0], "python3");
    assert_string_equal(kind.host, "/data/cache/bafk1");
    assert_string_equal(kind.inside, "/synor/host.py");
    assert_int_equal(kind.words_count, 3);
    other.spec.env = other_env;
    other.spec.binds = other_binds;
    other.spec.binds_count = 2;
    other.spec.cpu_millicores = 2000;
    other.spec.wall_ms = 5;
    other.spec.net.account = "acct-2";
    other.spec.dns_search = "other.synor";
    assert_true(agt_pool_kind_of(&other, &gvisor, &another));
    assert_string_equal(kind.key, another.key);
}

static void
other_programs_and_sizes_are_others(void **state)
{
    static const struct syn_bind newer[] = {{"/data/cache/bafk2", "/synor/host.py", true}};
    static const struct syn_bind script[] = {{"/data/cache/bafk3", "/synor/host.mjs", true}};
    struct agt_wish rows[6], wish = plain();
    struct agt_pool_kind kind, another;

    (void)state;
    assert_true(agt_pool_kind_of(&wish, &gvisor, &kind));
    for (size_t i = 0; i < SYN_LEN(rows); i++)
        rows[i] = plain();
    rows[0].spec.argv = node;
    rows[0].spec.binds = script;
    rows[0].spec.binds_count = 1;
    rows[1].spec.memory_bytes = 2 * GIB;
    rows[2].spec.scratch_bytes = 2 * GIB;
    rows[3].spec.uid = 7;
    rows[4].spec.dns_gateway = true;
    rows[5].spec.binds = newer;
    rows[5].spec.binds_count = 1;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        assert_true(agt_pool_kind_of(&rows[i], &gvisor, &another));
        assert_string_not_equal(kind.key, another.key);
    }
}

static void
some_cannot_wait_for_an_owner(void **state)
{
    static const char *const early[][2] = {{"PYTHONHASHSEED=1", NULL}, {"NODE_OPTIONS=--x", NULL},
                                           {"LD_PRELOAD=x.so", NULL},  {"TZ=Europe/Berlin", NULL},
                                           {"LANG=de_DE", NULL},       {"PATH=/synor/code", NULL}};
    static const char *const late[] = {"TZNAME=x", "MY_PATH=x", "NODES=1", NULL};
    static const struct syn_bind outside[] = {{"/data/cache/bafk1", "/synor/host.py", true},
                                              {"/data/cache/bafy9", "/models", true}};
    static const struct syn_runtime_info runc = {.driver = "native", .sandbox = "runc"};
    static const struct syn_runtime_info pods = {.driver = "container", .sandbox = "gvisor"};
    struct agt_wish rows[8], wish = plain();
    struct agt_pool_kind kind;

    (void)state;
    assert_false(agt_pool_kind_of(&wish, &runc, &kind));
    assert_false(agt_pool_kind_of(&wish, &pods, &kind));
    for (size_t i = 0; i < SYN_LEN(early); i++) {
        wish.spec.env = early[i];
        assert_false(agt_pool_kind_of(&wish, &gvisor, &kind));
    }
    wish.spec.env = late;
    assert_true(agt_pool_kind_of(&wish, &gvisor, &kind));
    for (size_t i = 0; i < SYN_LEN(rows); i++)
        rows[i] = plain();
    rows[0].spec.rootfs = "/image";
    rows[1].spec.volumes_count = 1;
    rows[2].spec.secrets_count = 1;
    rows[3].spec.tmpfs_count = 1;
    rows[4].spec.hostname = "own";
    rows[5].spec.network = SYN_NETWORK_NONE;
    rows[6].spec.binds = outside;
    rows[6].spec.binds_count = 2;
    rows[7].spec.binds_count = 1; /* the code alone: a program of its own */
    for (size_t i = 0; i < SYN_LEN(rows); i++)
        assert_false(agt_pool_kind_of(&rows[i], &gvisor, &kind));
}

static void
they_have_a_small_part_of_the_memory(void **state)
{
    (void)state;
    assert_int_equal(agt_pool_room(-1), 0);
    assert_int_equal(agt_pool_room(0), 0);
    assert_int_equal(agt_pool_room(GIB - 1), 0);
    assert_int_equal(agt_pool_room(GIB), 1);
    assert_int_equal(agt_pool_room(3 * GIB), 3);
    assert_int_equal(agt_pool_room(INT64_MAX), AGT_POOL_MAX);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(functions_of_all_accounts_are_alike),
        cmocka_unit_test(other_programs_and_sizes_are_others),
        cmocka_unit_test(some_cannot_wait_for_an_owner),
        cmocka_unit_test(they_have_a_small_part_of_the_memory),
    };

    return cmocka_run_group_tests_name("agent/pool", tests, NULL, NULL);
}
