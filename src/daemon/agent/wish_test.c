#include "agent_testing.h"
#include "wish_priv.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <synor/base/str.h>

static struct bench *bench;

static int
set_up(void **state)
{
    (void)state;
    bench = bench_open();
    return 0;
}

static int
tear_down(void **state)
{
    (void)state;
    bench_close(bench);
    return 0;
}

static json_t *
document(const char *spec)
{
    json_t *doc = json_pack("{s:s, s:o}", "id", "inst-1", "spec", json_loads(spec, 0, NULL));

    assert_non_null(doc);
    return doc;
}

static void
add_list(struct syn_buf *out, const char *name, const char *const *list)
{
    syn_buf_addf(out, " %s=[", name);
    for (; list != NULL && *list != NULL; list++)
        syn_buf_addf(out, "%s%s", *list, list[1] != NULL ? "," : "");
    syn_buf_addc(out, ']');
}

/* All that a driver sees, the data folder left out. */
static void
describe(const struct syn_instance_spec *spec, struct syn_buf *out)
{
    size_t skip = strlen(bench->agent.data_dir);

    syn_buf_addf(out, "%s %s", spec->id, spec->dir + skip);
    add_list(out, "argv", spec->argv);
    add_list(out, "env", spec->env);
    syn_buf_addf(out, " cwd=%s %u:%u", spec->cwd != NULL ? spec->cwd : "-", spec->uid, spec->gid);
    for (size_t i = 0; i < spec->binds_count; i++)
        syn_buf_addf(out, " %s>%s%s", spec->binds[i].host + skip, spec->binds[i].container,
                     spec->binds[i].ro ? "" : " WRITABLE");
    syn_buf_addf(out, " cpu=%lld memory=%lld scratch=%lld pids=%lld wall=%lld grace=%lld",
                 (long long)spec->cpu_millicores, (long long)spec->memory_bytes,
                 (long long)spec->scratch_bytes, (long long)spec->pids_max,
                 (long long)spec->wall_ms, (long long)spec->grace_ms);
    if (spec->network == SYN_NETWORK_GROUP)
        syn_buf_addf(out, " group=%s address=%s", spec->group, spec->address);
    for (size_t i = 0; i < spec->hosts_count; i++)
        syn_buf_addf(out, " %s=%s", spec->hosts[i].name, spec->hosts[i].address);
    assert_null(spec->rootfs);
    assert_null(spec->devices);
    assert_int_equal(spec->drivers_count, 0);
}

#define HEAD  "inst-1 /instances/inst-1"
#define BINDS " /jobs/inst-1/dataset>/synor/dataset /jobs/inst-1/config>/synor/config"
#define NONE  " cpu=0 memory=0 scratch=0 pids=0 wall=0 grace=0"

static void
documents_are_put_in_a_drivers_words(void **state)
{
    static const struct {
        const char *spec, *want;
    } rows[] = {
        {"{\"argv\": [\"a\", \"b c\", \"\"], \"hyperparameters\": {}}",
         HEAD " argv=[a,b c,] env=[] cwd=- 0:0" BINDS NONE},
        {"{\"argv\": [], \"image\": \"host\", \"cwd\": \"/synor/code\", \"env\": {\"B\": \"1\", "
         "\"A\": "
         "\"x=y\", \"E\": \"\"}, \"hyperparameters\": {}}",
         HEAD " argv=[] env=[B=1,A=x=y,E=] cwd=/synor/code 0:0" BINDS NONE},
        {"{\"resources\": {\"cpu_millicores\": 1500, \"memory_bytes\": 7, \"scratch_bytes\": 8, "
         "\"pids\": 9}, \"time_limit_ms\": 10, \"stop_grace_ms\": 11, \"hyperparameters\": {}}",
         HEAD " argv=[] env=[] cwd=- 0:0" BINDS
              " cpu=1500 memory=7 scratch=8 pids=9 wall=10 grace=11"},
        {"{\"network\": {\"mode\": \"none\", \"group\": \"g\", \"address\": \"a\"}, "
         "\"hyperparameters\": {}}",
         HEAD " argv=[] env=[] cwd=- 0:0" BINDS NONE},
        {"{\"network\": {\"mode\": \"group\", \"group\": \"job-1\", \"address\": \"10.0.0.2/24\", "
         "\"hosts\": [{\"name\": \"r0\", \"address\": \"10.0.0.1\"}, {\"name\": \"r1\", "
         "\"address\": "
         "\"10.0.0.2\"}]}, \"hyperparameters\": {}}",
         HEAD " argv=[] env=[] cwd=- 0:0" BINDS NONE
              " group=job-1 address=10.0.0.2/24 r0=10.0.0.1 r1=10.0.0.2"},
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        SYN_SCOPED(agt_wish_fini) struct agt_wish wish = {0};
        struct syn_err err = {0};
        SYN_JSON(doc);
        SYN_BUF(text);

        doc = document(rows[i].spec);
        assert_done(agt_wish_make(&bench->instance, doc, &wish, &err), &err);
        describe(&wish.spec, &text);
        assert_string_equal(syn_buf_text(&text), rows[i].want);
    }
}

/* What the document names, the server tells; no file of ours has it. */
static void
secrets_are_asked_for(void **state)
{
    SYN_SCOPED(agt_wish_fini) struct agt_wish wish = {0}, refused = {0};
    struct syn_err err = {0};
    SYN_JSON(doc);
    SYN_BUF(text);

    (void)state;
    doc = document("{\"argv\": [\"a\"], \"env\": {\"B\": \"1\"}, \"secrets\": {\"TOKEN\": "
                   "\"token\"}, \"hyperparameters\": {}}");
    assert_done(agt_wish_make(&bench->instance, doc, &wish, &err), &err);
    describe(&wish.spec, &text);
    assert_string_equal(syn_buf_text(&text),
                        HEAD " argv=[a] env=[B=1,TOKEN=s3cr3t,A=late] cwd=- 0:0" BINDS NONE);
    fake_refuse(&bench->fake, "secrets", 1, 404,
                "{\"error\":{\"code\":\"not-found\",\"message\":\"none\"}}");
    assert_true(agt_wish_make(&bench->instance, doc, &refused, &err) < 0);
    assert_non_null(strstr(err.msg, "secrets"));
}

static void
services_say_more(void **state)
{
    SYN_SCOPED(agt_wish_fini) struct agt_wish wish = {0};
    struct syn_err err = {0};
    SYN_JSON(doc);

    (void)state;
    doc = document("{\"workload\": \"service\", \"command\": [\"a\"], \"user\": \"5:6\", "
                   "\"workdir\": \"/w\", \"hostname\": \"h\", \"stop_signal\": \"SIGQUIT\", "
                   "\"mounts\": [{\"path\": \"/run\", \"kind\": \"tmpfs\", \"size_bytes\": 4096}, "
                   "{\"path\": \"/run/key\", \"kind\": \"secret\", \"source\": \"key\"}]}");
    assert_done(agt_wish_make(&bench->instance, doc, &wish, &err), &err);
    assert_int_equal(wish.spec.uid, 5);
    assert_int_equal(wish.spec.gid, 6);
    assert_string_equal(wish.spec.cwd, "/w");
    assert_string_equal(wish.spec.hostname, "h");
    assert_int_equal(wish.spec.stop_signal, SIGQUIT);
    assert_int_equal(wish.spec.tmpfs_count, 1);
    assert_string_equal(wish.spec.tmpfs[0].container, "/run");
    assert_int_equal(wish.spec.tmpfs[0].bytes, 4096);
    assert_int_equal(wish.spec.secrets_count, 1);
    assert_string_equal(wish.spec.secrets[0].container, "/run/key");
    assert_int_equal(wish.spec.secrets[0].len, 3);
    assert_memory_equal(wish.spec.secrets[0].data, "k3y", 3);
}

/* The program, which is another user, must be able to read it. */
static void
hyperparameters_are_a_file(void **state)
{
    SYN_SCOPED(agt_wish_fini) struct agt_wish wish = {0};
    const char *path;
    struct syn_err err = {0};
    char text[64] = "";
    struct stat st;
    SYN_JSON(doc);
    mode_t before = umask(077);
    int fd, rc;

    (void)state;
    doc = document("{\"hyperparameters\": {\"lr\": 0.5}}");
    rc = agt_wish_make(&bench->instance, doc, &wish, &err);
    (void)umask(before);
    assert_done(rc, &err);
    path = bench_path(bench, "jobs/inst-1/config/hyperparameters.json");
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0644);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(read(fd, text, sizeof(text) - 1) > 0);
    (void)close(fd);
    assert_non_null(strstr(text, "\"lr\": 0.5"));
    assert_int_equal(stat(bench_path(bench, "jobs/inst-1/config"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0755);
    assert_int_equal(stat(bench_path(bench, "jobs/inst-1/dataset"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0755);
}

static int
make_scenario(void *arg, struct syn_err *err)
{
    SYN_SCOPED(agt_wish_fini) struct agt_wish wish = {0};

    return agt_wish_make(&bench->instance, arg, &wish, err);
}

static void
making_survives_short_memory(void **state)
{
    SYN_JSON(doc);

    (void)state;
    doc = document("{\"argv\": [\"a\"], \"env\": {\"A\": \"1\", \"B\": \"2\"}, "
                   "\"hyperparameters\": {\"lr\": [1, 2, 3]}}");
    assert_true(syn_test_sweep_alloc(make_scenario, doc) >= 5);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(documents_are_put_in_a_drivers_words, set_up, tear_down),
        cmocka_unit_test_setup_teardown(secrets_are_asked_for, set_up, tear_down),
        cmocka_unit_test_setup_teardown(services_say_more, set_up, tear_down),
        cmocka_unit_test_setup_teardown(hyperparameters_are_a_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(making_survives_short_memory, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
