/* What an earlier process left, and what somebody else broke. */
#include "net_priv.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>

#include "../native/file_priv.h"
#include "meter_priv.h"
#include "netlink_priv.h"
#include "ns_priv.h"

#define SUFFIX          ".json"
#define LEFTOVERS_MAX   4096
#define METER_TRIES_MAX 16

/* Keep the first error, go on with the rest. */
static void
note(int *first, int rc, const struct syn_err *local, struct syn_err *err)
{
    if (rc >= 0 || *first < 0)
        return;
    *first = rc;
    if (err)
        *err = *local;
}

/* ---- records ---- */

/* The id in a record's file name; false for other files. */
static bool
record_id(const char *name, char *out)
{
    size_t len = strlen(name);

    if (!syn_str_ends(name, SUFFIX) || len - strlen(SUFFIX) > SYN_NET_ID_MAX)
        return false;
    memcpy(out, name, len - strlen(SUFFIX));
    out[len - strlen(SUFFIX)] = '\0';
    return syn_attachment_name_ok(out, SYN_NET_ID_MAX);
}

/* True when the file is a record, whose attachment goes into the map. */
static int
read_record(struct syn_net *net, const char *path, const char *name, bool *ret_good,
            struct syn_err *err)
{
    SYN_SCOPED(syn_free_scope)
    struct syn_attachment *attachment = syn_calloc(1, sizeof(*attachment));
    char id[SYN_NET_ID_MAX + 1];
    SYN_BUF(text);
    int rc;

    if (!attachment)
        return SYN_FAIL(err, SYN_E_NOMEM, "a network's record");
    rc = syn_file_read(AT_FDCWD, path, SYN_ATTACHMENT_BYTES_MAX, &text, err);
    if (rc == SYN_OK && record_id(name, id))
        rc = syn_attachment_parse(syn_buf_text(&text), text.len, attachment, err);
    else if (rc == SYN_OK)
        rc = SYN_E_INVALID;
    if (rc == SYN_E_NOMEM || rc == SYN_E_IO)
        return rc;
    *ret_good = rc == SYN_OK && syn_str_eq(id, attachment->id);
    return *ret_good ? syn_map_put_take(net->attachments, id, SYN_TAKE(attachment), err) : SYN_OK;
}

int
syn_net_records_read(struct syn_net *net, struct syn_err *err)
{
    char folder[SYN_PATH_MAX], path[SYN_PATH_MAX];
    const struct dirent *entry;
    DIR *dir;
    int rc = syn_path_format(folder, sizeof(folder), err, "%s/at", net->dir);

    if (rc < 0)
        return rc;
    dir = opendir(folder);
    if (!dir)
        return SYN_FAIL_SYS(err, errno, "reading %s", folder);
    while (rc == SYN_OK && (entry = readdir(dir)) != NULL) {
        bool good = false;

        if (entry->d_name[0] == '.')
            continue;
        rc = syn_path_format(path, sizeof(path), err, "%s/%s", folder, entry->d_name);
        if (rc == SYN_OK)
            rc = read_record(net, path, entry->d_name, &good, err);
        /* Half written, or spoiled: what it spoke of has no record now, and is swept. */
        if (rc == SYN_OK && !good && unlink(path) < 0 && errno != ENOENT)
            rc = SYN_FAIL_SYS(err, errno, "removing %s", path);
    }
    (void)closedir(dir);
    return rc;
}

/* ---- without a record ---- */

/* Numbers are looked up often here: every one with what it is of. */
struct numbers {
    const struct syn_net *net;
    char names[LEFTOVERS_MAX][SYN_LINK_NAME_MAX]; /* interfaces to remove */
    size_t count;
};

static bool
claimed(const struct syn_net *net, char kind, unsigned number)
{
    size_t cursor = 0;
    void *value;

    while (syn_map_next(net->attachments, &cursor, NULL, &value)) {
        uint32_t own = ((const struct syn_attachment *)value)->number;

        if (number == (kind == 'b' ? own & ~(syn_net_network_size(net) - 1) : own))
            return true;
    }
    return false;
}

static void
take_leftover(void *arg, const char *name)
{
    struct numbers *numbers = arg;
    const size_t tag_end = 2 + SYN_NET_TAG_LEN;
    uint64_t number;
    const char *end;

    if (strncmp(name, "sy", 2) != 0 || strncmp(name + 2, numbers->net->tag, SYN_NET_TAG_LEN) != 0 ||
        (name[tag_end] != 'b' && name[tag_end] != 'p') ||
        !syn_scan_u64(name + tag_end + 1, 16, &number, &end) || *end != '\0' ||
        claimed(numbers->net, name[tag_end], (unsigned)number) || numbers->count == LEFTOVERS_MAX)
        return;
    (void)syn_str_copy(numbers->names[numbers->count++], SYN_LINK_NAME_MAX, name);
}

static int
sweep_links(struct syn_net *net, struct syn_err *err)
{
    struct numbers *numbers = syn_calloc(1, sizeof(*numbers));
    struct syn_err local = {0};
    int first = SYN_OK;
    int rc;

    if (!numbers)
        return SYN_FAIL(err, SYN_E_NOMEM, "sweeping networks");
    numbers->net = net;
    for (int i = 0; i < METER_TRIES_MAX; i++) {
        numbers->count = 0;
        rc = syn_link_each(net->route, take_leftover, numbers, &local);
        if (rc != SYN_E_CONFLICT)
            break;
    }
    note(&first, rc, &local, err);
    for (size_t i = 0; rc == SYN_OK && i < numbers->count; i++)
        note(&first, syn_link_delete(net->route, numbers->names[i], &local), &local, err);
    syn_free(numbers);
    return first;
}

static int
sweep_namespaces(struct syn_net *net, struct syn_err *err)
{
    char folder[SYN_PATH_MAX], path[SYN_PATH_MAX];
    const struct dirent *entry;
    struct syn_err local = {0};
    int first = SYN_OK;
    DIR *dir;
    int rc = syn_path_format(folder, sizeof(folder), err, "%s/ns", net->dir);

    if (rc < 0)
        return rc;
    dir = opendir(folder);
    if (!dir)
        return SYN_FAIL_SYS(err, errno, "reading %s", folder);
    while ((entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] == '.' || syn_map_find(net->attachments, entry->d_name))
            continue;
        rc = syn_path_format(path, sizeof(path), &local, "%s/%s", folder, entry->d_name);
        if (rc == SYN_OK)
            rc = syn_ns_destroy(path, &local);
        note(&first, rc, &local, err);
    }
    (void)closedir(dir);
    return first;
}

/* ---- the policy ---- */

struct counted {
    const struct syn_net *net;
    struct {
        uint32_t number;
        unsigned seen; /* counters of it, 4 when all are there */
        struct syn_net_usage usage;
    } * items;
    size_t count;
    bool strange; /* a counter of nobody */
};

static void
take_counter(void *arg, char kind, uint32_t number, int64_t bytes)
{
    struct counted *counted = arg;

    for (size_t i = 0; i < counted->count; i++) {
        if (counted->items[i].number != number)
            continue;
        counted->items[i].seen++;
        syn_meter_take(&counted->items[i].usage, kind, bytes);
        return;
    }
    counted->strange = true;
}

static int
count_all(const struct syn_net *net, struct counted *counted, struct syn_err *err)
{
    int rc = SYN_E_CONFLICT;

    for (int i = 0; rc == SYN_E_CONFLICT && i < METER_TRIES_MAX; i++) {
        size_t cursor = 0;
        void *value;

        counted->count = 0;
        counted->strange = false;
        while (syn_map_next(net->attachments, &cursor, NULL, &value)) {
            counted->items[counted->count].number = ((const struct syn_attachment *)value)->number;
            counted->items[counted->count].seen = 0;
            counted->items[counted->count++].usage = (struct syn_net_usage){0};
        }
        rc = syn_meter_each(net->filter, net->node.table, take_counter, counted, err);
    }
    return rc;
}

/* All of the policy anew, in one transaction, with what was counted so far. */
static int
rebuild(struct syn_net *net, const struct counted *counted, struct syn_err *err)
{
    SYN_BUF(text);
    size_t cursor = 0, i = 0;
    void *value;
    int rc;

    syn_filter_clear(&net->node, &text);
    syn_filter_base(&net->node, &text);
    while (syn_map_next(net->attachments, &cursor, NULL, &value)) {
        struct syn_filter_member entry;
        struct syn_member member;

        syn_net_member(net, value, &member);
        syn_net_member_filter(&member, &entry);
        entry.usage = counted->items[i++].usage;
        syn_filter_add(&net->node, &entry, &text);
        syn_net_member_kin(net, &member, false, &text);
    }
    rc = syn_buf_ok(&text, err);
    return rc < 0 ? rc : syn_nft_run(net->nft, syn_buf_text(&text), err);
}

static int
sweep_policy(struct syn_net *net, struct syn_err *err)
{
    struct counted counted = {.net = net};
    bool whole = true;
    int rc;

    if (!net->ready)
        return SYN_OK;
    counted.items = syn_calloc(syn_map_count(net->attachments) + 1, sizeof(*counted.items));
    if (!counted.items)
        return SYN_FAIL(err, SYN_E_NOMEM, "sweeping networks");
    rc = count_all(net, &counted, err);
    for (size_t i = 0; i < counted.count; i++)
        whole = whole && counted.items[i].seen == 4;
    if (rc == SYN_OK &&
        (!whole || counted.strange || !syn_meter_tables(net->filter, net->node.table)))
        rc = rebuild(net, &counted, err);
    syn_free(counted.items);
    return rc;
}

/* ---- all of it ---- */

static int
drop_unclaimed(struct syn_net *net, syn_net_keep_fn keep, void *arg, struct syn_err *err)
{
    struct syn_err local = {0};
    int first = SYN_OK;
    size_t cursor = 0;
    const char *id;
    void *value;

    while (syn_map_next(net->attachments, &cursor, &id, &value)) {
        if (!keep(arg, id))
            note(&first, syn_net_drop(net, value, NULL, &local), &local, err);
    }
    return first;
}

static int
mend(struct syn_net *net, struct syn_err *err)
{
    struct syn_err local = {0};
    int first = SYN_OK;
    size_t cursor = 0;
    void *value;

    while (syn_map_next(net->attachments, &cursor, NULL, &value)) {
        struct syn_member member;

        syn_net_member(net, value, &member);
        if (!syn_net_member_stands(net, &member))
            note(&first, syn_net_member_create(net, &member, &local), &local, err);
        else /* it may be older than services' addresses of IPv6 */
            note(&first, syn_net_member_lead(net, &member, &local), &local, err);
    }
    return first;
}

int
syn_net_sweep(struct syn_net *net, syn_net_keep_fn keep, void *arg, struct syn_err *err)
{
    int (*const steps[])(struct syn_net * net, struct syn_err * err) = {sweep_policy, sweep_links,
                                                                        sweep_namespaces, mend};
    struct syn_err local = {0};
    int first = SYN_OK;

    (void)pthread_mutex_lock(&net->lock);
    if (syn_map_count(net->attachments) > 0 || syn_meter_tables(net->filter, net->node.table))
        note(&first, syn_net_ready(net, &local), &local, err);
    if (keep)
        note(&first, drop_unclaimed(net, keep, arg, &local), &local, err);
    for (size_t i = 0; i < SYN_LEN(steps); i++)
        note(&first, steps[i](net, &local), &local, err);
    (void)pthread_mutex_unlock(&net->lock);
    return first;
}
