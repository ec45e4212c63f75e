/* What it costs to get bytes from one memory node to another: measured where somebody did, else
 * rated by a profile or by the bus, else assumed by kind. */
#include "registry_priv.h"

#include <string.h>

#include "topology_priv.h"

#define SMALL_BYTES (4 << 10)   /* a copy up to this size tells the latency */
#define LARGE_BYTES (256 << 10) /* one from this size on tells the rate */
#define KEEP        7           /* of 8 parts of a running mean, what stays */

static struct syn_link
host_link(const struct syn_registry *registry, int index)
{
    const struct syn_registry_device *device = &registry->devices[index];
    struct syn_profile bare = {.kind = device->info.kind}, whole;
    const struct syn_profile *profile = device->profile ? device->profile : &bare;
    uint64_t bus_mb_s = syn_pcie_mb_s(device->info.link_gen, device->info.link_width);
    struct syn_link link = {.path = SYN_LINK_DIRECT, .source = SYN_LINK_ASSUMED};

    (void)syn_profile_assume(profile, &whole);
    link.mb_s = whole.host.mb_s;
    link.latency_ns = whole.host.latency_ns;
    if (profile->host.mb_s > 0)
        link.source = SYN_LINK_RATED;
    /* The slot it is in counts, where that is narrower than what the card could do. */
    if (bus_mb_s > 0 && (profile->host.mb_s == 0 || bus_mb_s < link.mb_s)) {
        link.mb_s = bus_mb_s;
        link.source = SYN_LINK_RATED;
    }
    return link;
}

static bool
peers(const struct syn_registry_device *a, const struct syn_registry_device *b)
{
    if (a->slot != b->slot || !(a->info.caps & b->info.caps & SYN_CAP_PEER_COPY))
        return false;
    if (!a->info.modelled)
        return true;
    return a->profile->peer.name[0] != '\0' &&
           strcmp(a->profile->peer.name, b->profile->peer.name) == 0;
}

static struct syn_link
peer_link(const struct syn_registry_device *a, const struct syn_registry_device *b)
{
    struct syn_profile bare = {.kind = a->info.kind}, first, second;
    bool rated = a->profile && b->profile && a->profile->peer.mb_s > 0 && b->profile->peer.mb_s > 0;

    (void)syn_profile_assume(a->profile ? a->profile : &bare, &first);
    bare.kind = b->info.kind;
    (void)syn_profile_assume(b->profile ? b->profile : &bare, &second);
    return (struct syn_link){
        .path = SYN_LINK_PEER,
        .source = rated ? SYN_LINK_RATED : SYN_LINK_ASSUMED,
        .mb_s = SYN_MIN(first.peer.mb_s, second.peer.mb_s),
        .latency_ns = SYN_MAX(first.peer.latency_ns, second.peer.latency_ns),
    };
}

/* Two copies, one after the other. */
static struct syn_link
staged(struct syn_link up, struct syn_link down)
{
    return (struct syn_link){
        .path = SYN_LINK_STAGED,
        .source = SYN_MIN(up.source, down.source),
        .mb_s =
            SYN_MAX(UINT64_C(1), (uint64_t)((syn_u128)up.mb_s * down.mb_s / (up.mb_s + down.mb_s))),
        .latency_ns = up.latency_ns + down.latency_ns,
    };
}

static struct syn_link
unmeasured(const struct syn_registry *registry, unsigned from, unsigned to)
{
    int a = registry->node_device[from], b = registry->node_device[to];

    if (a < 0 || b < 0)
        return host_link(registry, a < 0 ? b : a);
    if (peers(&registry->devices[a], &registry->devices[b]))
        return peer_link(&registry->devices[a], &registry->devices[b]);
    return staged(host_link(registry, a), host_link(registry, b));
}

static struct syn_registry_fit *
fit_of(const struct syn_registry *registry, unsigned from, unsigned to)
{
    return &registry->fits[from * registry->nodes_count + to];
}

/* Put what was measured in place of what was not. */
static struct syn_link
with_fit(struct syn_link link, const struct syn_registry_fit *fit)
{
    if (fit->latency_ns > 0)
        link.latency_ns = fit->latency_ns;
    if (fit->mb_s > 0) {
        link.mb_s = fit->mb_s;
        link.source = SYN_LINK_MEASURED;
    }
    return link;
}

struct syn_link
syn_registry_link(const struct syn_registry *registry, unsigned from, unsigned to)
{
    struct syn_registry *unconst = (struct syn_registry *)(uintptr_t)registry; /* its lock */
    struct syn_link link;

    assert(from < registry->nodes_count && to < registry->nodes_count);
    if (from == to)
        return (struct syn_link){.path = SYN_LINK_NONE};
    link = unmeasured(registry, from, to);
    (void)pthread_mutex_lock(&unconst->lock);
    if (link.path == SYN_LINK_STAGED && fit_of(registry, from, to)->mb_s == 0) {
        /* Each half may have been measured. */
        struct syn_link up = with_fit(host_link(registry, registry->node_device[from]),
                                      fit_of(registry, from, SYN_NODE_HOST));
        struct syn_link down = with_fit(host_link(registry, registry->node_device[to]),
                                        fit_of(registry, SYN_NODE_HOST, to));

        link = staged(up, down);
    }
    link = with_fit(link, fit_of(registry, from, to));
    (void)pthread_mutex_unlock(&unconst->lock);
    return link;
}

static uint64_t
blend(uint64_t old, uint64_t now)
{
    return old == 0 ? now : SYN_MAX(UINT64_C(1), (old * KEEP + now) / (KEEP + 1));
}

void
syn_registry_link_measured(struct syn_registry *registry, unsigned from, unsigned to,
                           uint64_t bytes, int64_t ns)
{
    struct syn_registry_fit *fit = NULL;

    assert(from < registry->nodes_count && to < registry->nodes_count);
    if (from == to || bytes == 0 || ns <= 0)
        return;
    (void)pthread_mutex_lock(&registry->lock);
    fit = fit_of(registry, from, to);
    if (bytes <= SMALL_BYTES) {
        fit->latency_ns = blend(fit->latency_ns, (uint64_t)ns);
    } else if (bytes >= LARGE_BYTES) {
        /* Never take off more than half: a latency may have been taken on a worse day. */
        uint64_t net = (uint64_t)ns - SYN_MIN(fit->latency_ns, (uint64_t)ns / 2);
        syn_u128 mb_s = (syn_u128)bytes * 1000 / net;

        fit->mb_s = blend(fit->mb_s, (uint64_t)SYN_MAX((syn_u128)1, mb_s));
    }
    (void)pthread_mutex_unlock(&registry->lock);
}
