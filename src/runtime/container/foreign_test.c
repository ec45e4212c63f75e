/* Container runtimes that are there already, as a stand-in tells of itself: which can be used, what
 * is said of the others, and that pods of others are left alone. */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <synor/base/json.h>
#include <synor/base/str.h>
#include <synor/base/test.h>
#include <synor/infra/grpc_testing.h>

#include "../native/file_priv.h"
#include "cri_priv.h"
#include "foreign_priv.h"
#include "message_priv.h"

#define RUNTIME  "/runtime.v1.RuntimeService/"
#define NETWORKS "/srv/node/cni/conf"

struct stand_in {
    struct grpc_server *server;
    char plugins[SYN_PATH_MAX];
};

static void
can(struct stand_in *there, const char *method, const void *message)
{
    char path[64];
    SYN_BUF(out);

    (void)snprintf(path, sizeof(path), RUNTIME "%s", method);
    syn_message_pack(message, &out);
    grpc_server_can(there->server, path, syn_buf_text(&out), out.len);
}

static Cri__Label
entry(const char *key, const char *value)
{
    SYN_MESSAGE(Cri__Label, cri__label, made);

    made.key = syn_message_text(key);
    made.value = syn_message_text(value);
    return made;
}

static void
can_version(struct stand_in *there, const char *name, const char *release)
{
    SYN_MESSAGE(Cri__VersionResponse, cri__version_response, version);

    version.runtime_name = syn_message_text(name);
    version.runtime_version = syn_message_text(release);
    can(there, "Version", &version);
}

/* `runtimes`: the inside of its object. */
static void
can_status(struct stand_in *there, const char *runtimes, const char *loaded)
{
    SYN_MESSAGE(Cri__StatusResponse, cri__status_response, status);
    char config[2 * SYN_PATH_MAX];
    Cri__Label info[] = {entry("config", config), entry("lastCNILoadStatus.ours", loaded)};
    Cri__Label *list[] = {&info[0], &info[1]};

    (void)snprintf(config, sizeof(config),
                   "{\"stateDir\": \"/run/there/io.containerd.grpc.v1.cri\", \"cni\": {\"binDir\": "
                   "\"%s\"}, \"containerd\": {\"runtimes\": {\"runc\": {\"runtimeType\": "
                   "\"io.containerd.runc.v2\", \"cniConfDir\": \"\"}%s}}}",
                   there->plugins, runtimes);
    status.info = list;
    status.n_info = SYN_LEN(list);
    can(there, "Status", &status);
}

static void
can_pods(struct stand_in *there, Cri__PodSandbox **pods, size_t count)
{
    SYN_MESSAGE(Cri__ListPodSandboxResponse, cri__list_pod_sandbox_response, list);

    list.items = pods;
    list.n_items = count;
    can(there, "ListPodSandbox", &list);
}

static void
add_plugin(const struct stand_in *there, const char *name)
{
    char path[SYN_PATH_MAX];
    struct syn_err err = {0};

    assert_done(syn_path_format(path, sizeof(path), &err, "%s/%s", there->plugins, name), &err);
    assert_done(syn_file_write(AT_FDCWD, path, "", 0, &err), &err);
    assert_int_equal(chmod(path, 0755), 0);
}

static int
look(const struct stand_in *there, struct syn_cri_facts *facts, struct syn_err *err)
{
    return syn_foreign_look(grpc_server_address(there->server), NETWORKS, facts, err);
}

static void
refused(const struct stand_in *there, const char *word)
{
    struct syn_cri_facts facts;
    struct syn_err err = {0};

    assert_code(look(there, &facts, &err), SYN_E_UNSUPPORTED, &err);
    if (!strstr(err.msg, word))
        fail_msg("\"%s\" does not say \"%s\"", err.msg, word);
}

#define OURS(type, more)                                                                    \
    ", \"ours\": {\"runtimeType\": \"io.containerd." type "\", \"cniConfDir\": \"" NETWORKS \
    "\", \"options\": {" more "}}"

static int
open_stand_in(void **state)
{
    struct stand_in *there = calloc(1, sizeof(*there));

    assert_non_null(there);
    there->server = grpc_server_start(syn_test_dir());
    (void)snprintf(there->plugins, sizeof(there->plugins), "%s/bin", syn_test_dir());
    (void)mkdir(there->plugins, 0755);
    can_pods(there, NULL, 0);
    *state = there;
    return 0;
}

static int
close_stand_in(void **state)
{
    struct stand_in *there = *state;

    grpc_server_stop(there->server);
    free(there);
    return 0;
}

/* --- cases ------------------------------------------------------------------------------------ */

static void
what_cannot_be_used_is_refused_with_the_reason(void **state)
{
    struct stand_in *there = *state;
    struct syn_cri_facts facts;
    struct syn_err err = {0};

    refused(there, "does not speak CRI v1"); /* nothing is canned yet */
    can_version(there, "cri-o", "1.28.1");
    can_status(there, OURS("runc.v2", ""), "OK");
    refused(there, "is cri-o, not containerd");
    can_version(there, "containerd", "1.5.9~ds1");
    refused(there, "is containerd 1.5.9: 1.6 or newer");
    can_version(there, "containerd", "nonsense");
    refused(there, "1.6 or newer");
    can_version(there, "containerd", "1.6.20");
    can_status(there, "", "");
    refused(there, "synor runtime config containerd");
    can_status(there, OURS("runc.v2", "\"SystemdCgroup\": true"), "OK");
    refused(there, "class ours: SystemdCgroup must be false");
    can_status(there, OURS("firecracker.v1", ""), "OK");
    refused(there, "synor runtime config containerd");
    can_status(there, OURS("runc.v2", ""), "OK");
    refused(there, "/bin/synor is no program");
    add_plugin(there, "synor");
    refused(there, "/bin/loopback is no program");
    add_plugin(there, "loopback");
    assert_done(look(there, &facts, &err), &err);
    assert_code(syn_foreign_look("unix:/nonexistent/sock", NETWORKS, &facts, &err),
                SYN_E_UNAVAILABLE, &err);
}

static void
what_it_has_is_known(void **state)
{
    struct stand_in *there = *state;
    struct syn_cri_facts facts;
    struct syn_err err = {0};

    add_plugin(there, "synor");
    add_plugin(there, "loopback");
    can_version(there, "containerd", "1.7.2+unknown");
    can_status(
        there,
        OURS("runc.v2",
             "\"Root\": \"/run/other\"") ", \"safe\": {\"runtimeType\": "
                                         "\"io.containerd.runsc.v1\", \"cniConfDir\": \"" NETWORKS
                                         "\"}, \"vm\": "
                                         "{\"runtimeType\": \"io.containerd.kata.v2\", "
                                         "\"cniConfDir\": \"" NETWORKS "\"}",
        "OK");
    assert_done(look(there, &facts, &err), &err);
    assert_string_equal(facts.version, "1.7.2");
    assert_string_equal(facts.state, "/run/there");
    assert_string_equal(facts.runc, "/run/other");
    assert_string_equal(facts.handlers[SYN_POD_RUNC], "ours");
    assert_string_equal(facts.handlers[SYN_POD_GVISOR], "safe");
    assert_string_equal(facts.handlers[SYN_POD_KATA], "vm");
    assert_true(facts.loaded);

    /* Kata of another's networks alone is not ours; runc's state is where it is by default. */
    can_version(there, "containerd", "v2.0.0");
    can_status(there, OURS("runc.v2", "") ", \"vm\": {\"runtimeType\": \"io.containerd.kata.v2\"}",
               "cni config load failed: no network config found");
    assert_done(look(there, &facts, &err), &err);
    assert_string_equal(facts.handlers[SYN_POD_KATA], "");
    assert_string_equal(facts.runc, "/run/containerd/runc");
    assert_false(facts.loaded);
}

static void
a_kubelets_runtime_is_refused_and_pods_of_others_are_left_alone(void **state)
{
    struct stand_in *there = *state;
    SYN_MESSAGE(Cri__PodSandbox, cri__pod_sandbox, ours);
    SYN_MESSAGE(Cri__PodSandbox, cri__pod_sandbox, beside);
    SYN_MESSAGE(Cri__PodSandbox, cri__pod_sandbox, cluster);
    SYN_MESSAGE(Cri__PodSandbox, cri__pod_sandbox, bare);
    SYN_MESSAGE(Cri__PodSandbox, cri__pod_sandbox, empty);
    Cri__Label labels[] = {entry(SYN_CRI_LABEL, "one"), entry(SYN_CRI_ROOT, "/here"),
                           entry(SYN_CRI_ROOT, "/there"), entry(SYN_CRI_KUBE, "1-2")};
    Cri__Label *of_ours[] = {&labels[0], &labels[1]}, *of_beside[] = {&labels[0], &labels[2]},
               *of_cluster[] = {&labels[3]}, *of_bare[] = {&labels[0]};
    Cri__PodSandbox *pods[] = {&cluster, &beside, &bare, &ours, &empty};
    SYN_SCOPED(syn_cri_scope) struct syn_cri *cri = NULL;
    struct syn_err err = {0};
    size_t count = 0;
    SYN_BUF(asked);

    cluster.id = syn_message_text("pod-cluster");
    cluster.labels = of_cluster;
    cluster.n_labels = 1;
    beside.id = syn_message_text("pod-beside");
    beside.labels = of_beside;
    beside.n_labels = 2;
    bare.id = syn_message_text("pod-bare");
    bare.labels = of_bare;
    bare.n_labels = 1;
    ours.id = syn_message_text("pod-ours");
    ours.labels = of_ours;
    ours.n_labels = 2;
    empty.id = syn_message_text("pod-empty");
    can_pods(there, pods, SYN_LEN(pods));
    can_version(there, "containerd", "1.6.20");
    can_status(there, OURS("runc.v2", ""), "OK");
    refused(there, "has 1 pods of a kubelet");

    can(there, "StopPodSandbox", &empty.base);
    can(there, "RemovePodSandbox", &empty.base);
    assert_done(syn_cri_open(grpc_server_address(there->server), &cri, &err), &err);
    syn_cri_root_watch(cri, "/here");
    assert_done(syn_cri_count_pods(cri, &count, &err), &err);
    assert_int_equal(count, 1);
    assert_done(syn_cri_sweep(cri, NULL, NULL, &err), &err);
    assert_done(syn_cri_remove_pods(cri, "one", &err), &err);
    grpc_server_asked(there->server, RUNTIME "RemovePodSandbox", &asked);
    assert_string_equal(syn_buf_text(&asked), "\x0a\x08pod-ours\x0a\x08pod-ours");
    grpc_server_asked(there->server, RUNTIME "StopPodSandbox", &asked);
    assert_string_equal(syn_buf_text(&asked), "\x0a\x08pod-ours\x0a\x08pod-ours");
}

static void
an_address_is_a_sockets_path(void **state)
{
    static const char *const good[][2] = {{"/run/x.sock", "unix:/run/x.sock"},
                                          {"unix:/run/x.sock", "unix:/run/x.sock"},
                                          {"unix:///run/x.sock", "unix:/run/x.sock"}};
    static const char *const bad[] = {
        "", "/", "run/x", "unix:x", "tcp:1.2.3.4:5", "//run/x", "unix://host/x"};
    struct syn_err err = {0};
    char out[64];

    (void)state;
    for (size_t i = 0; i < SYN_LEN(good); i++) {
        assert_done(syn_container_parse(good[i][0], out, sizeof(out), &err), &err);
        assert_string_equal(out, good[i][1]);
    }
    for (size_t i = 0; i < SYN_LEN(bad); i++)
        assert_code(syn_container_parse(bad[i], out, sizeof(out), &err), SYN_E_INVALID, &err);
}

/* What is printed goes with what is there: nobody's class is lost by it. */
static void
what_is_printed_fits_the_configuration(void **state)
{
    struct syn_err err = {0};
    SYN_BUF(out);

    (void)state;
    assert_done(syn_container_config("/root", "", &out, &err), &err);
    assert_non_null(strstr(syn_buf_text(&out), "\nversion = 2\n"));
    assert_non_null(strstr(syn_buf_text(&out), "grpc.v1.cri\".containerd.runtimes.runc]"));
    assert_non_null(strstr(syn_buf_text(&out), "/opt/cni/bin/synor"));
    assert_non_null(strstr(syn_buf_text(&out), "cni_conf_dir = \"/root/containerd/cni/conf\""));
    syn_buf_clear(&out);
    assert_done(syn_container_config(
                    "/root",
                    "# version = 1\n version=3\n[plugins.\"x\".cni]\n\tbin_dir = \"/usr/lib/cni\"\n"
                    "[plugins.\"x\".containerd.runtimes.crun]\n",
                    &out, &err),
                &err);
    assert_null(strstr(syn_buf_text(&out), "\nversion"));
    assert_null(strstr(syn_buf_text(&out), ".runtimes.runc]"));
    assert_non_null(strstr(syn_buf_text(&out), "cri.v1.runtime\".containerd.runtimes.synor-runc]"));
    assert_non_null(strstr(syn_buf_text(&out), " /usr/lib/cni/synor\n"));
    assert_code(syn_container_config("/root", "[plugins.cri]\n", &out, &err), SYN_E_UNSUPPORTED,
                &err);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_cannot_be_used_is_refused_with_the_reason,
                                        open_stand_in, close_stand_in),
        cmocka_unit_test_setup_teardown(what_it_has_is_known, open_stand_in, close_stand_in),
        cmocka_unit_test_setup_teardown(
            a_kubelets_runtime_is_refused_and_pods_of_others_are_left_alone, open_stand_in,
            close_stand_in),
        cmocka_unit_test(an_address_is_a_sockets_path),
        cmocka_unit_test(what_is_printed_fits_the_configuration),
    };

    syn_json_init();
    return cmocka_run_group_tests_name("foreign", tests, NULL, NULL);
}
