/* Addresses. One number says everything about an attachment: its IPv4 address is the pool's first
 * plus the number, the network of its account begins at the number rounded down, and the names of
 * bridge and port, the MAC and the IPv6 address are made of it. So a record keeps one number, and
 * two attachments cannot share a part of it.
 *
 *     pool 10.200.0.0/16, networks of /24:    number 0x000305 = 10.200.3.5
 *         bridge syTTTTTTb000300, gateway 10.200.3.1;  port syTTTTTTp000305;  pool6:3::305
 *
 * Numbers go round: one that was freed is handed out last, so that what was under way to the old
 * instance (an answer, an entry of connection tracking) does not meet a new one. */
#include "net_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>

#include <synor/base/json.h>
#include <synor/base/str.h>

#include "../native/file_priv.h"
#include "ns_priv.h"

#define PREFIX_DEFAULT  24
#define FIRST_HOST      2 /* 0 is the network, 1 the gateway */
#define CANDIDATES      126
#define CANDIDATE_FIRST 128 /* 10.128.0.0/16 and on */
#define POOL_FILE       "pool.json"

uint32_t
syn_net_pool_size(const struct syn_net *net)
{
    return UINT32_C(1) << (32 - net->node.pool4.len);
}

uint32_t
syn_net_network_size(const struct syn_net *net)
{
    return UINT32_C(1) << (32 - net->net_prefix);
}

/* ---- which pools ---- */

static int
set_pool4(struct syn_net *net, const char *text, struct syn_err *err)
{
    struct syn_prefix *pool = &net->node.pool4;

    if (syn_prefix_parse(text, "pool4", pool, err) < 0)
        return SYN_E_INVALID;
    if (pool->addr.family != AF_INET || !syn_prefix_is_network(pool) || pool->len < SYN_POOL4_MIN ||
        pool->len > net->net_prefix)
        return SYN_FAIL(err, SYN_E_INVALID, "pool4: expected an IPv4 network of /%d to /%u, got %s",
                        SYN_POOL4_MIN, net->net_prefix, text);
    return SYN_OK;
}

static int
set_pool6(struct syn_net *net, const char *text, struct syn_err *err)
{
    struct syn_prefix *pool = &net->node.pool6;

    *pool = (struct syn_prefix){0};
    if (syn_str_eq(text, "none"))
        return SYN_OK;
    if (syn_prefix_parse(text, "pool6", pool, err) < 0)
        return SYN_E_INVALID;
    if (pool->addr.family != AF_INET6 || !syn_prefix_is_network(pool) || pool->len > SYN_POOL6_MAX)
        return SYN_FAIL(err, SYN_E_INVALID,
                        "pool6: expected an IPv6 network of at most /%d, got %s", SYN_POOL6_MAX,
                        text);
    return SYN_OK;
}

struct taken {
    const struct syn_prefix *pool;
    bool hit;
};

static void
compare(void *arg, const struct syn_prefix *prefix)
{
    struct taken *taken = arg;

    taken->hit = taken->hit || syn_prefix_overlap(taken->pool, prefix);
}

static int
pool_free(const struct syn_net *net, const struct syn_prefix *pool, bool *ret, struct syn_err *err)
{
    struct taken taken = {.pool = pool};
    int rc = syn_link_each_network(net->route, compare, &taken, err);

    if (rc == SYN_OK)
        *ret = !taken.hit;
    return rc;
}

/* The first network of the list that nothing here has to do with, begun where the folder says, so
 * that two nodes seldom have the same. */
static int
find_pool4(struct syn_net *net, unsigned seed, struct syn_err *err)
{
    for (unsigned i = 0; i < CANDIDATES; i++) {
        char text[SYN_PREFIX_TEXT_MAX];
        bool unused = false;
        int rc;

        (void)snprintf(text, sizeof(text), "10.%u.0.0/16",
                       CANDIDATE_FIRST + (seed + i) % CANDIDATES);
        rc = set_pool4(net, text, err);
        if (rc == SYN_OK)
            rc = pool_free(net, &net->node.pool4, &unused, err);
        if (rc < 0 || unused)
            return rc;
    }
    return SYN_FAIL(err, SYN_E_CONFLICT,
                    "every network of 10.%d.0.0 to 10.%d.0.0 is in use here: name one that is not",
                    CANDIDATE_FIRST, CANDIDATE_FIRST + CANDIDATES - 1);
}

static int
choose_pools(struct syn_net *net, const struct syn_net_options *options, struct syn_err *err)
{
    char text[SYN_PREFIX_TEXT_MAX], unused_text[8];
    uint8_t tag[SYN_NET_TAG_LEN / 2];
    bool unused = false;
    int rc = syn_hex_decode(net->tag, tag, sizeof(tag), err);

    if (rc < 0)
        return rc;
    if (!options->pool4) {
        rc = find_pool4(net, tag[0], err);
    } else {
        rc = set_pool4(net, options->pool4, err);
        if (rc == SYN_OK)
            rc = pool_free(net, &net->node.pool4, &unused, err);
        if (rc == SYN_OK && !unused)
            rc = SYN_FAIL(err, SYN_E_CONFLICT, "pool4: %s is in use on this node", options->pool4);
    }
    /* A unique local prefix (RFC 4193), its 40 bits of the folder's. */
    (void)snprintf(text, sizeof(text), "fd%02x:%02x%02x:5372::/48", tag[0], tag[1], tag[2]);
    if (!syn_ns_get("ipv6/conf/all/forwarding", unused_text, sizeof(unused_text)))
        (void)snprintf(text, sizeof(text), "none");
    return rc < 0 ? rc : set_pool6(net, options->pool6 ? options->pool6 : text, err);
}

/* ---- kept ---- */

static int
read_kept(struct syn_net *net, struct syn_err *err)
{
    char path[SYN_PATH_MAX];
    SYN_JSON(doc);
    int64_t len = 0;
    int rc = syn_path_format(path, sizeof(path), err, "%s/" POOL_FILE, net->dir);

    if (rc == SYN_OK)
        rc = syn_file_read_json(AT_FDCWD, path, &doc, err);
    if (rc == SYN_OK)
        rc = syn_json_get_i64(doc, POOL_FILE, "net_prefix", SYN_NET_PREFIX_MIN, SYN_NET_PREFIX_MAX,
                              &len, err);
    if (rc < 0)
        return rc;
    net->net_prefix = (uint8_t)len;
    rc = set_pool4(net, syn_json_str(doc, "pool4", ""), err);
    return rc < 0 ? rc : set_pool6(net, syn_json_str(doc, "pool6", ""), err);
}

static int
keep(const struct syn_net *net, struct syn_err *err)
{
    char path[SYN_PATH_MAX], pool4[SYN_PREFIX_TEXT_MAX], pool6[SYN_PREFIX_TEXT_MAX] = "none";
    SYN_JSON(doc);
    int rc;

    if (net->node.pool6.addr.family != 0)
        (void)syn_prefix_format(&net->node.pool6, pool6);
    rc = syn_json_pack(&doc, err, "{s:s, s:s, s:i}", "pool4",
                       syn_prefix_format(&net->node.pool4, pool4), "pool6", pool6, "net_prefix",
                       (int)net->net_prefix);
    if (rc == SYN_OK)
        rc = syn_path_format(path, sizeof(path), err, "%s/" POOL_FILE, net->dir);
    return rc < 0 ? rc : syn_file_write_json(AT_FDCWD, path, doc, true, err);
}

/* Are the pools that were kept those that are asked for? */
static int
compare_kept(struct syn_net *net, const struct syn_net_options *options, struct syn_err *err)
{
    char pool4[SYN_PREFIX_TEXT_MAX], pool6[SYN_PREFIX_TEXT_MAX] = "none";
    bool same = options->net_prefix == 0 || options->net_prefix == net->net_prefix;

    if (net->node.pool6.addr.family != 0)
        (void)syn_prefix_format(&net->node.pool6, pool6);
    same = same && (!options->pool4 ||
                    syn_str_eq(options->pool4, syn_prefix_format(&net->node.pool4, pool4)));
    same = same && (!options->pool6 || syn_str_eq(options->pool6, pool6));
    if (same)
        return SYN_OK;
    if (syn_map_count(net->attachments) > 0)
        return SYN_FAIL(err, SYN_E_CONFLICT,
                        "the pools of %s cannot change while %zu instances have addresses of them",
                        net->dir, syn_map_count(net->attachments));
    net->net_prefix = options->net_prefix ? options->net_prefix : PREFIX_DEFAULT;
    return SYN_E_NOTFOUND;
}

int
syn_net_pool_open(struct syn_net *net, const struct syn_net_options *options, struct syn_err *err)
{
    struct syn_err local = {0};
    int rc = read_kept(net, &local);

    if (rc == SYN_OK)
        rc = compare_kept(net, options, &local);
    else
        net->net_prefix = options->net_prefix ? options->net_prefix : PREFIX_DEFAULT;
    if (rc == SYN_OK || rc == SYN_E_CONFLICT || rc == SYN_E_NOMEM) {
        if (rc < 0 && err)
            *err = local;
        return rc;
    }
    if (net->net_prefix < SYN_NET_PREFIX_MIN || net->net_prefix > SYN_NET_PREFIX_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "net_prefix: expected %d..%d", SYN_NET_PREFIX_MIN,
                        SYN_NET_PREFIX_MAX);
    rc = choose_pools(net, options, err);
    return rc < 0 ? rc : keep(net, err);
}

/* ---- numbers ---- */

struct space {
    uint32_t first, size;
};

static bool
number_used(const struct syn_net *net, uint32_t number)
{
    size_t cursor = 0;
    void *value;

    while (syn_map_next(net->attachments, &cursor, NULL, &value)) {
        if (((const struct syn_attachment *)value)->number == number)
            return true;
    }
    return false;
}

/* The network the account shares here; false when it has none. */
static bool
find_network(const struct syn_net *net, const char *account, uint32_t *ret_first)
{
    size_t cursor = 0;
    void *value;

    while (syn_map_next(net->attachments, &cursor, NULL, &value)) {
        const struct syn_attachment *attachment = value;

        if (syn_str_eq(attachment->account, account) && !attachment->apart) {
            *ret_first = attachment->number & ~(syn_net_network_size(net) - 1);
            return true;
        }
    }
    return false;
}

/* A network that nobody has, looked for from where the last number was handed out. */
static int
free_network(const struct syn_net *net, uint32_t *ret_first, struct syn_err *err)
{
    uint32_t size = syn_net_network_size(net), count = syn_net_pool_size(net) / size;
    uint32_t begin = net->next_number / size + (net->next_number % size != 0);

    for (uint32_t i = 0; i < count; i++) {
        uint32_t first = (begin + i) % count * size;
        bool used = false;
        size_t cursor = 0;
        void *value;

        while (!used && syn_map_next(net->attachments, &cursor, NULL, &value))
            used = (((const struct syn_attachment *)value)->number & ~(size - 1)) == first;
        if (!used) {
            *ret_first = first;
            return SYN_OK;
        }
    }
    return SYN_FAIL(err, SYN_E_LIMIT, "all %u account networks of this node are in use", count);
}

int
syn_net_pool_take(struct syn_net *net, const char *account, uint32_t *ret_number,
                  struct syn_err *err)
{
    uint32_t size = syn_net_network_size(net), hosts = size - FIRST_HOST - 1, first = 0, begin;

    if (!find_network(net, account, &first)) {
        int rc = free_network(net, &first, err);

        if (rc < 0)
            return rc;
    }
    begin = net->next_number > first + FIRST_HOST && net->next_number < first + size - 1
                ? net->next_number - first - FIRST_HOST
                : 0;
    for (uint32_t i = 0; i < hosts; i++) {
        uint32_t number = first + FIRST_HOST + (begin + i) % hosts;

        if (number_used(net, number))
            continue;
        net->next_number = number + 1;
        *ret_number = number;
        return SYN_OK;
    }
    return SYN_FAIL(err, SYN_E_LIMIT, "account %s has all %u addresses of its network on this node",
                    account, hosts);
}

size_t
syn_net_neighbours(const struct syn_net *net, const struct syn_member *member)
{
    size_t count = 0, cursor = 0;
    void *value;

    while (syn_map_next(net->attachments, &cursor, NULL, &value)) {
        uint32_t number = ((const struct syn_attachment *)value)->number;

        count += (number & ~(syn_net_network_size(net) - 1)) == member->network;
    }
    return count;
}

/* ---- what follows from a number ---- */

/* The account's IPv6 network is the pool's with its place among the networks in the last 16 bits
 * before the interface's. */
static struct syn_prefix
at6(const struct syn_net *net, uint32_t network, uint32_t host)
{
    struct syn_prefix prefix = {.addr = syn_prefix_at(&net->node.pool6, host), .len = 64};
    uint32_t ordinal = network / syn_net_network_size(net);

    if (net->node.pool6.addr.family == 0)
        return (struct syn_prefix){0};
    prefix.addr.bytes[6] |= (uint8_t)(ordinal >> 8);
    prefix.addr.bytes[7] |= (uint8_t)ordinal;
    return prefix;
}

static void
make_mac(const struct syn_net *net, uint32_t number, uint8_t *mac)
{
    uint8_t tag[SYN_NET_TAG_LEN / 2] = {0};

    (void)!syn_hex_decode(net->tag, tag, sizeof(tag), NULL);
    mac[0] = 0x02; /* locally administered */
    mac[1] = tag[0];
    mac[2] = tag[1];
    mac[3] = (uint8_t)(number >> 16);
    mac[4] = (uint8_t)(number >> 8);
    mac[5] = (uint8_t)number;
}

void
syn_net_member(const struct syn_net *net, const struct syn_attachment *attachment,
               struct syn_member *ret)
{
    uint32_t number = attachment->number, size = syn_net_network_size(net);
    struct syn_member member = {.attachment = attachment, .network = number & ~(size - 1)};

    (void)snprintf(member.bridge, sizeof(member.bridge), "sy%sb%06x", net->tag,
                   member.network & SYN_ATTACHMENT_NUMBER_MAX);
    (void)snprintf(member.port, sizeof(member.port), "sy%sp%06x", net->tag,
                   number & SYN_ATTACHMENT_NUMBER_MAX);
    (void)snprintf(member.netns, sizeof(member.netns), "%.*s/ns/%s",
                   (int)(sizeof(member.netns) - SYN_NET_ID_MAX - 8), net->dir, attachment->id);
    make_mac(net, number, member.mac);
    make_mac(net, member.network, member.bridge_mac);
    member.address4 = (struct syn_prefix){syn_prefix_at(&net->node.pool4, number), net->net_prefix};
    member.gateway4 =
        (struct syn_prefix){syn_prefix_at(&net->node.pool4, member.network + 1), net->net_prefix};
    member.address6 = at6(net, member.network, number - member.network);
    member.gateway6 = at6(net, member.network, 1);
    *ret = member;
}
