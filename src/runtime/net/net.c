/* The order of things, which is all there is to surviving kill -9:
 *
 *   attach:  record -> policy -> bridge -> namespace -> interface pair -> addresses, routes, rates
 *   detach:  interface pair -> (bridge) -> policy -> namespace -> record
 *
 * Whatever is in the kernel has a record, from before it is made until after it is gone, and each
 * step is idempotent. So whoever comes next reads the records, detaches those that nobody claims,
 * and repeats creation for the others. What has no record at all (it was lost, or spoiled) is found
 * by the tag in its name.
 *
 * Refused: CNI plugins (two processes for each attachment, and chains that leak when the namespace
 * goes first); a namespace kept by the supervisor alone (a driver that restarts a program in place,
 * or whose sandbox is made by somebody else, needs it by name); rules by instance in one long
 * chain. See docs/adr/0016-instance-networks.md. */
#include "net_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>

#include "../native/file_priv.h"
#include "meter_priv.h"
#include "netlink_priv.h"
#include "ns_priv.h"

/* ---- opening ---- */

static int
set_open(struct syn_net *net, const struct syn_net_options *options, struct syn_err *err)
{
    if (options->open_count > SYN_NET_OPEN_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "open: more than %d", SYN_NET_OPEN_MAX);
    for (size_t i = 0; i < options->open_count; i++) {
        const struct syn_net_open *open = &options->open[i];

        if (open->protocol == SYN_NET_ANY || open->port == 0 || !open->address)
            return SYN_FAIL(err, SYN_E_INVALID,
                            "open[%zu]: expected tcp or udp, an address, a port", i);
        net->open[i] =
            (struct syn_attachment_port){.protocol = open->protocol, .host_port = open->port};
        if (syn_addr_parse(open->address, "open", &net->open[i].host, err) < 0)
            return SYN_E_INVALID;
    }
    net->node.open = net->open;
    net->node.open_count = options->open_count;
    net->node.dns = options->dns;
    return SYN_OK;
}

static int
set_deny(struct syn_net *net, const struct syn_net_options *options, struct syn_err *err)
{
    static const char *const link_local[] = {"169.254.0.0/16", "fe80::/10", NULL};
    const char *const *deny = options->deny ? options->deny : link_local;

    for (size_t i = 0; deny[i]; i++) {
        if (i == SYN_NET_DENY_MAX)
            return SYN_FAIL(err, SYN_E_INVALID, "deny: more than %d", SYN_NET_DENY_MAX);
        if (syn_prefix_parse(deny[i], "deny", &net->deny[i], err) < 0)
            return SYN_E_INVALID;
        if (!syn_prefix_is_network(&net->deny[i]))
            return SYN_FAIL(err, SYN_E_INVALID, "deny: %s has bits behind its prefix length",
                            deny[i]);
        net->node.deny_count = i + 1;
    }
    net->node.deny = net->deny;
    return SYN_OK;
}

/* The folder, and the tag that every name of ours in the kernel carries: two platforms on one
 * machine have two folders. */
static int
open_folder(struct syn_net *net, const char *dir, struct syn_err *err)
{
    static const char *const below[] = {"at", "ns"};
    char path[SYN_PATH_MAX];
    uint32_t hash = 2166136261u; /* FNV-1a */
    int rc;

    if (!dir || dir[0] != '/' || strlen(dir) + SYN_NET_ID_MAX + 8 > sizeof(net->dir))
        return SYN_FAIL(err, SYN_E_INVALID, "the networks' folder must be an absolute path");
    (void)syn_str_copy(net->dir, sizeof(net->dir), dir);
    for (const char *at = dir; *at != '\0'; at++)
        hash = (hash ^ (unsigned char)*at) * 16777619u;
    (void)snprintf(net->tag, sizeof(net->tag), "%06x", (hash >> 24 ^ hash) & 0xffffff);
    (void)snprintf(net->node.table, sizeof(net->node.table), "synor_%s", net->tag);
    for (size_t i = 0; i < SYN_LEN(below); i++) {
        rc = syn_path_format(path, sizeof(path), err, "%s/%s", dir, below[i]);
        if (rc == SYN_OK)
            rc = syn_dir_make(AT_FDCWD, path, 0700, err);
        if (rc < 0)
            return rc;
    }
    rc = syn_path_format(path, sizeof(path), err, "%s/lock", dir);
    if (rc < 0)
        return rc;
    net->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (net->lock_fd < 0)
        return SYN_FAIL_SYS(err, errno, "opening %s", path);
    if (!syn_lock_take(net->lock_fd))
        return SYN_FAIL(err, SYN_E_CONFLICT, "another process has the networks of %s", dir);
    return SYN_OK;
}

/* Make the policy, in sentences a person can act on where that fails. */
static int
open_filter(struct syn_net *net, struct syn_err *err)
{
    struct syn_err local = {0};
    SYN_BUF(text);
    int rc = net->nft ? SYN_OK : syn_nft_open(&net->nft, err);

    if (rc < 0)
        return rc;
    syn_filter_base(&net->node, &text);
    rc = syn_buf_ok(&text, err);
    if (rc < 0)
        return rc;
    if (syn_nft_run(net->nft, syn_buf_text(&text), &local) < 0)
        return SYN_FAIL(err, SYN_E_UNSUPPORTED,
                        "this kernel does not take the networks' rules (it needs nftables with "
                        "NAT, sets and bridge filtering): %s",
                        local.msg);
    rc = syn_net_forwarding(net, &local);
    if (rc < 0)
        return SYN_FAIL(err, SYN_E_UNSUPPORTED, "this node may not forward packets: %s", local.msg);
    return SYN_OK;
}

int
syn_net_ready(struct syn_net *net, struct syn_err *err)
{
    char path[SYN_PATH_MAX];
    int rc;

    if (net->ready)
        return SYN_OK;
    rc = syn_path_format(path, sizeof(path), err, "%s/ns", net->dir);
    if (rc == SYN_OK)
        rc = syn_ns_folder_open(path, err);
    if (rc == SYN_OK)
        rc = open_filter(net, err);
    net->ready = rc == SYN_OK;
    return rc;
}

/* Of no use where instances have no addresses of their own. */
static int
set_services6(struct syn_net *net, const char *text, struct syn_err *err)
{
    struct syn_prefix read;
    int rc;

    if (!text || net->node.pool6.addr.family == 0)
        return SYN_OK;
    rc = syn_prefix_parse(text, "services6", &read, err);
    if (rc == SYN_OK && read.addr.family != AF_INET6)
        return SYN_FAIL(err, SYN_E_INVALID, "services6: expected an IPv6 network, got %s", text);
    if (rc == SYN_OK)
        net->services6 = read;
    return rc;
}

static int
open_all(struct syn_net *net, const struct syn_net_options *options, struct syn_err *err)
{
    struct syn_err local = {0};
    int rc;

    if (geteuid() != 0)
        return SYN_FAIL(err, SYN_E_UNSUPPORTED,
                        "instance networks need root (with CAP_NET_ADMIN and CAP_SYS_ADMIN)");
    rc = syn_map_new(syn_free, &net->attachments, err);
    if (rc == SYN_OK)
        rc = set_open(net, options, err);
    if (rc == SYN_OK)
        rc = set_deny(net, options, err);
    if (rc == SYN_OK)
        rc = open_folder(net, options->dir, err);
    if (rc == SYN_OK)
        rc = syn_nl_open(NETLINK_ROUTE, &net->route, err);
    if (rc == SYN_OK && syn_nl_open(NETLINK_NETFILTER, &net->filter, &local) < 0)
        rc = SYN_FAIL(err, SYN_E_UNSUPPORTED, "this kernel has no netfilter: %s", local.msg);
    if (rc == SYN_OK)
        rc = syn_net_records_read(net, err);
    if (rc == SYN_OK)
        rc = syn_net_pool_open(net, options, err);
    return rc < 0 ? rc : set_services6(net, options->services6, err);
}

int
syn_net_open(const struct syn_net_options *options, struct syn_net **ret_net, struct syn_err *err)
{
    struct syn_net *net = syn_calloc(1, sizeof(*net));
    int rc;

    if (!net)
        return SYN_FAIL(err, SYN_E_NOMEM, "networks");
    net->lock_fd = net->route = net->filter = -1;
    if (pthread_mutex_init(&net->lock, NULL) != 0) {
        syn_free(net);
        return SYN_FAIL(err, SYN_E_NOMEM, "networks");
    }
    rc = open_all(net, options, err);
    if (rc < 0) {
        (void)syn_net_close(net);
        return rc;
    }
    *ret_net = net;
    return SYN_OK;
}

/* With the last attachment goes the policy: a platform that runs nothing leaves nothing. */
static void
clear_up(struct syn_net *net)
{
    char path[SYN_PATH_MAX];
    SYN_BUF(text);

    syn_filter_clear(&net->node, &text);
    if (syn_buf_ok(&text, NULL) == SYN_OK)
        (void)!syn_nft_run(net->nft, syn_buf_text(&text), NULL);
    if (syn_path_format(path, sizeof(path), NULL, "%s/ns", net->dir) == SYN_OK)
        (void)!syn_ns_folder_close(path, NULL);
}

struct syn_net *
syn_net_close(struct syn_net *net)
{
    if (!net)
        return NULL;
    if (net->ready && syn_map_count(net->attachments) == 0)
        clear_up(net);
    net->nft = syn_nft_close(net->nft);
    syn_fd_scope(&net->route);
    syn_fd_scope(&net->filter);
    syn_fd_scope(&net->lock_fd);
    (void)syn_map_free(net->attachments);
    syn_free(net->divert);
    (void)pthread_mutex_destroy(&net->lock);
    syn_free(net);
    return NULL;
}

void
syn_net_close_scope(struct syn_net **slot)
{
    *slot = syn_net_close(*slot);
}

/* ---- attaching ---- */

int
syn_net_record_path(const struct syn_net *net, const char *id, char *out, struct syn_err *err)
{
    return syn_path_format(out, SYN_PATH_MAX, err, "%s/at/%s.json", net->dir, id);
}

static void
fill_place(const struct syn_member *member, struct syn_net_place *ret)
{
    *ret = (struct syn_net_place){.prefix4 = member->address4.len, .prefix6 = member->address6.len};
    (void)syn_str_copy(ret->netns, sizeof(ret->netns), member->netns);
    (void)syn_str_copy(ret->bridge, sizeof(ret->bridge), member->bridge);
    (void)syn_str_copy(ret->port, sizeof(ret->port), member->port);
    (void)syn_addr_format(&member->address4.addr, ret->address4);
    (void)syn_addr_format(&member->gateway4.addr, ret->gateway4);
    (void)syn_addr_format(&member->address6.addr, ret->address6);
    (void)syn_addr_format(&member->gateway6.addr, ret->gateway6);
}

/* Is what is attached under this id what is asked for? */
static int
same_spec(const struct syn_attachment *known, const struct syn_net_spec *spec, struct syn_err *err)
{
    struct syn_attachment *asked = syn_calloc(1, sizeof(*asked));
    SYN_BUF(ours);
    SYN_BUF(theirs);
    int rc = asked ? SYN_OK : SYN_FAIL(err, SYN_E_NOMEM, "a network");

    if (rc == SYN_OK)
        rc = syn_attachment_make(spec, known->number, asked, err);
    if (rc == SYN_OK)
        asked->guarded = known->guarded; /* one of before there was a guard stays without */
    if (rc == SYN_OK)
        asked->apart = known->apart;
    if (rc == SYN_OK)
        rc = syn_attachment_format(known, &ours, err);
    if (rc == SYN_OK)
        rc = syn_attachment_format(asked, &theirs, err);
    if (rc == SYN_OK && !syn_str_eq(syn_buf_text(&ours), syn_buf_text(&theirs)))
        rc = SYN_FAIL(err, SYN_E_CONFLICT, "%s has a network with another spec", spec->id);
    syn_free(asked);
    return rc;
}

static int
check_ports(const struct syn_net *net, const struct syn_attachment *wanted, struct syn_err *err)
{
    size_t cursor = 0;
    void *value;

    while (syn_map_next(net->attachments, &cursor, NULL, &value)) {
        const struct syn_attachment *other = value;
        const struct syn_attachment_port *port = NULL;

        if (syn_attachment_clash(wanted, other, &port))
            return SYN_FAIL(err, SYN_E_CONFLICT, "port %u/%s is published by %s", port->host_port,
                            syn_net_protocol_name(port->protocol), other->id);
    }
    return SYN_OK;
}

static int
write_record(const struct syn_net *net, const struct syn_attachment *attachment,
             struct syn_err *err)
{
    char path[SYN_PATH_MAX];
    SYN_BUF(text);
    int rc = syn_attachment_format(attachment, &text, err);

    if (rc == SYN_OK)
        rc = syn_net_record_path(net, attachment->id, path, err);
    if (rc < 0)
        return rc;
    syn_nl_step("writing a record");
    return syn_file_write_atomic(AT_FDCWD, path, text.data, text.len, false, err);
}

/* A checked attachment with a number, known and on disk. */
static int
enter(struct syn_net *net, const struct syn_net_spec *spec, const struct syn_attachment **ret,
      struct syn_err *err)
{
    SYN_SCOPED(syn_free_scope)
    struct syn_attachment *attachment = syn_calloc(1, sizeof(*attachment));
    struct syn_attachment *kept = attachment;
    int rc;

    if (!attachment)
        return SYN_FAIL(err, SYN_E_NOMEM, "a network");
    rc = syn_attachment_make(spec, 0, attachment, err);
    if (rc == SYN_OK)
        rc = check_ports(net, attachment, err);
    if (rc == SYN_OK)
        rc = syn_net_pool_take(net, spec->account, &attachment->number, err);
    if (rc == SYN_OK)
        rc = write_record(net, attachment, err);
    if (rc < 0)
        return rc;
    rc = syn_map_put_take(net->attachments, spec->id, SYN_TAKE(attachment), err);
    if (rc == SYN_OK)
        *ret = kept;
    return rc;
}

static int
forget(struct syn_net *net, const char *id, struct syn_err *err)
{
    char path[SYN_PATH_MAX];
    int rc = syn_net_record_path(net, id, path, err);

    if (rc < 0)
        return rc;
    syn_nl_step("removing a record");
    if (unlink(path) < 0 && errno != ENOENT)
        return SYN_FAIL_SYS(err, errno, "removing %s", path);
    (void)syn_map_remove(net->attachments, id);
    return SYN_OK;
}

int
syn_net_drop(struct syn_net *net, const struct syn_attachment *attachment,
             struct syn_net_usage *ret_usage, struct syn_err *err)
{
    char id[SYN_NET_ID_MAX + 1];
    struct syn_member member;
    int rc;

    (void)syn_str_copy(id, sizeof(id), attachment->id);
    syn_net_member(net, attachment, &member);
    rc = syn_net_ready(net, err);
    if (rc < 0)
        return rc;
    rc = syn_net_member_destroy(net, &member, ret_usage, err);
    return rc < 0 ? rc : forget(net, id, err);
}

static int
attach(struct syn_net *net, const struct syn_net_spec *spec, struct syn_net_place *ret_place,
       struct syn_err *err)
{
    const struct syn_attachment *attachment = syn_map_find(net->attachments, spec->id);
    struct syn_member member;
    bool known = attachment != NULL;
    int rc = syn_net_ready(net, err);

    if (rc == SYN_OK)
        rc = known ? same_spec(attachment, spec, err) : enter(net, spec, &attachment, err);
    if (rc < 0)
        return rc;
    syn_net_member(net, attachment, &member);
    rc = syn_net_member_create(net, &member, err);
    if (rc == SYN_OK)
        fill_place(&member, ret_place);
    else if (!known)
        (void)!syn_net_drop(net, attachment, NULL, NULL);
    return rc;
}

int
syn_net_attach(struct syn_net *net, const struct syn_net_spec *spec,
               struct syn_net_place *ret_place, struct syn_err *err)
{
    int rc;

    if (!syn_attachment_name_ok(spec->id, SYN_NET_ID_MAX))
        return SYN_FAIL(err, SYN_E_INVALID, "id: expected letters, digits, '-', '_', '.'");
    (void)pthread_mutex_lock(&net->lock);
    rc = attach(net, spec, ret_place, err);
    (void)pthread_mutex_unlock(&net->lock);
    return rc < 0 ? syn_err_wrap(err, rc, "network of %s", spec->id) : rc;
}

static int
assign(struct syn_net *net, struct syn_attachment *attachment, const char *account,
       struct syn_err *err)
{
    struct syn_attachment assigned = *attachment;
    struct syn_member member;
    SYN_BUF(text);
    int rc;

    if (syn_str_eq(attachment->account, account))
        return SYN_OK;
    if (!syn_str_copy(assigned.account, sizeof(assigned.account), account) ||
        !syn_attachment_name_ok(account, SYN_NET_ACCOUNT_MAX))
        return SYN_FAIL(err, SYN_E_INVALID, "account: expected letters, digits, '-', '_', '.'");
    assigned.apart = true;
    rc = write_record(net, &assigned, err);
    if (rc < 0)
        return rc;
    *attachment = assigned;
    syn_net_member(net, attachment, &member);
    syn_net_member_kin(net, &member, false, &text);
    rc = syn_buf_ok(&text, err);
    return rc < 0 || text.len == 0 ? rc : syn_nft_run(net->nft, syn_buf_text(&text), err);
}

int
syn_net_assign(struct syn_net *net, const char *id, const char *account, struct syn_err *err)
{
    struct syn_attachment *attachment;
    int rc;

    (void)pthread_mutex_lock(&net->lock);
    attachment = syn_map_find(net->attachments, id);
    rc = attachment ? syn_net_ready(net, err)
                    : SYN_FAIL(err, SYN_E_NOTFOUND, "%s has no network", id);
    if (rc == SYN_OK)
        rc = assign(net, attachment, account, err);
    (void)pthread_mutex_unlock(&net->lock);
    return rc < 0 ? syn_err_wrap(err, rc, "network of %s", id) : rc;
}

int
syn_net_detach(struct syn_net *net, const char *id, struct syn_net_usage *ret_usage,
               struct syn_err *err)
{
    const struct syn_attachment *attachment;
    int rc = SYN_OK;

    if (ret_usage)
        *ret_usage = (struct syn_net_usage){0};
    (void)pthread_mutex_lock(&net->lock);
    attachment = syn_map_find(net->attachments, id);
    if (attachment)
        rc = syn_net_drop(net, attachment, ret_usage, err);
    (void)pthread_mutex_unlock(&net->lock);
    return rc < 0 ? syn_err_wrap(err, rc, "removing the network of %s", id) : rc;
}

int
syn_net_find(struct syn_net *net, const char *id, struct syn_net_place *ret_place,
             struct syn_err *err)
{
    const struct syn_attachment *attachment;
    struct syn_member member;

    (void)pthread_mutex_lock(&net->lock);
    attachment = syn_map_find(net->attachments, id);
    if (attachment) {
        syn_net_member(net, attachment, &member);
        fill_place(&member, ret_place);
    }
    (void)pthread_mutex_unlock(&net->lock);
    return attachment ? SYN_OK : SYN_FAIL(err, SYN_E_NOTFOUND, "%s has no network", id);
}

int
syn_net_usage(struct syn_net *net, const char *id, struct syn_net_usage *ret_usage,
              struct syn_err *err)
{
    const struct syn_attachment *attachment;
    int rc;

    (void)pthread_mutex_lock(&net->lock);
    attachment = syn_map_find(net->attachments, id);
    if (attachment)
        rc = syn_meter_read(net->filter, net->node.table, attachment->number, ret_usage, err);
    else
        rc = SYN_FAIL(err, SYN_E_NOTFOUND, "%s has no network", id);
    (void)pthread_mutex_unlock(&net->lock);
    return rc;
}

/* ---- services' addresses ---- */

static int
read_diverts(const struct syn_net_divert *rows, size_t count, struct syn_filter_divert *out,
             struct syn_err *err)
{
    for (size_t i = 0; i < count; i++) {
        int rc = syn_addr_parse(rows[i].address, "address", &out[i].address, err);

        if (rc < 0)
            return rc;
        if (out[i].address.family == 0 || rows[i].port == 0 || rows[i].to == 0)
            return SYN_FAIL(err, SYN_E_INVALID, "divert[%zu]: expected an address, two ports", i);
        out[i].port = rows[i].port;
        out[i].to = rows[i].to;
    }
    return SYN_OK;
}

int
syn_net_divert(struct syn_net *net, const struct syn_net_divert *rows, size_t count,
               struct syn_err *err)
{
    SYN_SCOPED(syn_free_scope) struct syn_filter_divert *read = NULL;
    SYN_BUF(text);
    int rc;

    if (count > SYN_NET_DIVERT_MAX)
        return SYN_FAIL(err, SYN_E_LIMIT, "more than %d services to divert", SYN_NET_DIVERT_MAX);
    read = syn_calloc(count + 1, sizeof(*read));
    if (!read)
        return SYN_FAIL(err, SYN_E_NOMEM, "diverting services");
    rc = read_diverts(rows, count, read, err);
    if (rc < 0)
        return rc;
    (void)pthread_mutex_lock(&net->lock);
    syn_free(net->divert);
    net->node.divert = net->divert = SYN_TAKE(read);
    net->node.divert_count = count;
    syn_filter_diverted(&net->node, &text);
    rc = syn_buf_ok(&text, err);
    if (rc == SYN_OK && net->ready) /* else they come with the rest */
        rc = syn_nft_run(net->nft, syn_buf_text(&text), err);
    (void)pthread_mutex_unlock(&net->lock);
    return rc;
}
