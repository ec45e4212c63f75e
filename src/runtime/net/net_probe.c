#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
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

/* At an address that is nobody's: who has the port there has it everywhere. */
int
syn_net_probe_dns(struct syn_err *err)
{
    static const int types[] = {SOCK_DGRAM, SOCK_STREAM};
    const struct sockaddr_in addr = {.sin_family = AF_INET,
                                     .sin_port = htons(SYN_NET_DNS_PORT),
                                     .sin_addr.s_addr = htonl(0x7f353535) /* 127.53.53.53 */};
    int sys = 0;

    for (size_t i = 0; i < SYN_LEN(types) && sys == 0; i++) {
        int fd = socket(AF_INET, types[i] | SOCK_CLOEXEC, 0), on = 1;

        if (fd < 0)
            return SYN_FAIL_SYS(err, errno, "a socket for names");
        (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
        if (bind(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0 ||
            (types[i] == SOCK_STREAM && listen(fd, 1) < 0))
            sys = errno;
        (void)close(fd);
    }
    if (sys == EADDRINUSE)
        return SYN_FAIL(err, SYN_E_CONFLICT,
                        "another program has port %d of every address: instances know no names of "
                        "services and ask the node's resolvers",
                        SYN_NET_DNS_PORT);
    return sys == 0 ? SYN_OK
                    : SYN_FAIL(err, SYN_E_UNSUPPORTED, "port %d cannot be had: %s",
                               SYN_NET_DNS_PORT, strerror(sys));
}
