#include "meter_priv.h"

#include <arpa/inet.h>
#include <endian.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdio.h>
#include <string.h>

#include "../native/file_priv.h"
#include "netlink_priv.h"

static const struct {
    char kind;
    uint8_t family;
    size_t offset;
} meters[] = {
    {'e', NFPROTO_INET, offsetof(struct syn_net_usage, egress_bytes)},
    {'n', NFPROTO_INET, offsetof(struct syn_net_usage, node_bytes)},
    {'a', NFPROTO_BRIDGE, offsetof(struct syn_net_usage, account_bytes)},
    {'r', NFPROTO_BRIDGE, offsetof(struct syn_net_usage, received_bytes)},
};

static const uint8_t families[] = {NFPROTO_INET, NFPROTO_BRIDGE};

void
syn_meter_take(struct syn_net_usage *usage, char kind, int64_t bytes)
{
    for (size_t i = 0; i < SYN_LEN(meters); i++) {
        if (meters[i].kind == kind)
            *(int64_t *)(void *)((char *)usage + meters[i].offset) += bytes;
    }
}

struct listener {
    syn_meter_fn fn;
    void *arg;
};

static void
on_counter(void *arg, uint16_t type, const void *body, size_t len)
{
    const struct listener *listener = arg;
    const size_t skip = NLMSG_ALIGN(sizeof(struct nfgenmsg));
    const struct nlattr *name, *data, *bytes = NULL;
    char text[32] = "";
    uint64_t count = 0, number = 0;
    const char *end;

    if (type != ((NFNL_SUBSYS_NFTABLES << 8) | NFT_MSG_NEWOBJ) || len < skip)
        return;
    name = syn_nl_find((const char *)body + skip, len - skip, NFTA_OBJ_NAME);
    data = syn_nl_find((const char *)body + skip, len - skip, NFTA_OBJ_DATA);
    if (data)
        bytes = syn_nl_find(syn_nl_data(data), syn_nl_size(data), NFTA_COUNTER_BYTES);
    if (!name || !bytes || syn_nl_size(bytes) != sizeof(count) || syn_nl_size(name) > sizeof(text))
        return;
    memcpy(text, syn_nl_data(name), syn_nl_size(name));
    text[sizeof(text) - 1] = '\0';
    memcpy(&count, syn_nl_data(bytes), sizeof(count));
    if (text[0] != '\0' && text[1] == '_' && syn_scan_u64(text + 2, 16, &number, &end) &&
        *end == '\0' && number <= UINT32_MAX)
        listener->fn(listener->arg, text[0], (uint32_t)number,
                     (int64_t)(be64toh(count) & INT64_MAX));
}

static void
begin(struct syn_nl *nl, uint8_t family, uint16_t flags, const char *table)
{
    const struct nfgenmsg head = {.nfgen_family = family, .version = NFNETLINK_V0};

    syn_nl_init(nl, (NFNL_SUBSYS_NFTABLES << 8) | NFT_MSG_GETOBJ, flags, &head, sizeof(head));
    syn_nl_add_text(nl, NFTA_OBJ_TABLE, table);
    syn_nl_add_u32(nl, NFTA_OBJ_TYPE, htonl(NFT_OBJECT_COUNTER));
}

static void
sum(void *arg, char kind, uint32_t number, int64_t bytes)
{
    (void)number;
    syn_meter_take(arg, kind, bytes);
}

int
syn_meter_read(int fd, const char *table, uint32_t number, struct syn_net_usage *ret_usage,
               struct syn_err *err)
{
    struct syn_net_usage usage = {0};
    struct listener listener = {.fn = sum, .arg = &usage};
    int rc = SYN_OK;

    for (size_t i = 0; rc == SYN_OK && i < SYN_LEN(meters); i++) {
        char name[16];
        struct syn_nl nl;

        (void)snprintf(name, sizeof(name), "%c_%06x", meters[i].kind, number);
        begin(&nl, meters[i].family, 0, table);
        syn_nl_add_text(&nl, NFTA_OBJ_NAME, name);
        rc = syn_nl_ask(fd, &nl, "reading a counter", on_counter, &listener, err);
    }
    if (rc == SYN_OK)
        *ret_usage = usage;
    return rc;
}

int
syn_meter_read_port(int fd, const char *port, struct syn_net_usage *ret_usage, struct syn_err *err)
{
    const size_t tag_at = strlen("sy"), number_at = strlen("syTTTTTTp");
    char table[SYN_NET_NAME_MAX];
    uint64_t number = 0;
    const char *end;

    if (strlen(port) <= number_at || port[number_at - 1] != 'p' ||
        !syn_scan_u64(port + number_at, 16, &number, &end) || *end != '\0' || number > UINT32_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "%s is no port of an instance", port);
    (void)snprintf(table, sizeof(table), "synor_%.6s", port + tag_at);
    return syn_meter_read(fd, table, (uint32_t)number, ret_usage, err);
}

int
syn_meter_each(int fd, const char *table, syn_meter_fn fn, void *arg, struct syn_err *err)
{
    struct listener listener = {.fn = fn, .arg = arg};
    int rc = SYN_OK;

    for (size_t i = 0; rc == SYN_OK && i < SYN_LEN(families); i++) {
        struct syn_nl nl;

        begin(&nl, families[i], NLM_F_DUMP, table);
        rc = syn_nl_ask(fd, &nl, "reading counters", on_counter, &listener, err);
    }
    return rc;
}

bool
syn_meter_tables(int fd, const char *table)
{
    for (size_t i = 0; i < SYN_LEN(families); i++) {
        const struct nfgenmsg head = {.nfgen_family = families[i], .version = NFNETLINK_V0};
        struct syn_nl nl;

        syn_nl_init(&nl, (NFNL_SUBSYS_NFTABLES << 8) | NFT_MSG_GETTABLE, 0, &head, sizeof(head));
        syn_nl_add_text(&nl, NFTA_TABLE_NAME, table);
        if (syn_nl_ask(fd, &nl, "looking for a table", NULL, NULL, NULL) < 0)
            return false;
    }
    return true;
}
