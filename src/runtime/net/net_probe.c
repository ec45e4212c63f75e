#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include <synor/base/tree.h>
#include <synor/runtime/net.h>

/* A thread of its own, whose namespaces end with it and with everything that was made in them. */
struct trial {
    const char *dir;
    int rc;
    struct syn_err err;
};

static int
try_networks(const char *dir, struct syn_err *err)
{
    const struct syn_net_options options = {.dir = dir};
    const struct syn_net_spec spec = {.id = "probe", .account = "probe"};
    SYN_SCOPED(syn_net_close_scope) struct syn_net *net = NULL;
    struct syn_net_place place;
    int rc;

    if (unshare(CLONE_NEWNET | CLONE_NEWNS) < 0 ||
        mount(NULL, "/", NULL, MS_SLAVE | MS_REC, NULL) < 0)
        return SYN_FAIL(err, SYN_E_UNSUPPORTED,
                        "instance networks need root (with CAP_NET_ADMIN and CAP_SYS_ADMIN): %s",
                        strerror(errno));
    rc = syn_net_open(&options, &net, err);
    if (rc == SYN_OK)
        rc = syn_net_attach(net, &spec, &place, err);
    if (rc == SYN_OK)
        rc = syn_net_detach(net, spec.id, NULL, err);
    return rc;
}

static void *
trial_main(void *arg)
{
    struct trial *trial = arg;

    trial->rc = try_networks(trial->dir, &trial->err);
    return NULL;
}

int
syn_net_probe(struct syn_err *err)
{
    char dir[] = "/tmp/synor-net-XXXXXX";
    struct trial trial = {.dir = dir};
    pthread_t thread;
    int sys;

    if (!mkdtemp(dir))
        return SYN_FAIL_SYS(err, errno, "making %s", dir);
    sys = pthread_create(&thread, NULL, trial_main, &trial);
    if (sys == 0) {
        (void)pthread_join(thread, NULL);
    } else {
        trial.rc = SYN_FAIL_SYS(&trial.err, sys, "starting a thread");
    }
    syn_tree_remove(dir);
    if (trial.rc == SYN_OK)
        return SYN_OK;
    return SYN_FAIL(err, SYN_E_UNSUPPORTED, "%s", trial.err.msg);
}
