/* The content store's handle, and looking at what is in it. */
#include "content_priv.h"

#include <stdio.h>
#include <unistd.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>

#define THREADS_MAX 8U
#define QUEUE_MAX   256U

static const struct syn_content_io system_io = {
    .pwritev = pwritev,
    .fdatasync = fdatasync,
    .fsync = fsync,
    .ftruncate = ftruncate,
    .renameat2 = renameat2,
};

int
syn_content_open(const struct syn_content_opts *opts, struct syn_content **ret_store,
                 struct syn_err *err)
{
    struct syn_content_opts with = *opts;
    struct syn_content *store = syn_calloc(1, sizeof(*store));
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    int rc;

    if (store == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for the content store");
    with.io = opts->io == NULL ? &system_io : opts->io;
    store->io = with.io;
    store->threads =
        opts->threads != 0 ? opts->threads : (unsigned)SYN_MAX(1, SYN_MIN(processors, THREADS_MAX));
    (void)pthread_mutex_init(&store->gc_lock, NULL);
    rc = syn_blocks_open(&with, &store->blocks, err);
    if (rc == 0)
        rc = syn_pool_new(store->threads, QUEUE_MAX, &store->pool, err);
    if (rc < 0) {
        syn_content_close(store);
        return rc;
    }
    *ret_store = store;
    return SYN_OK;
}

struct syn_content *
syn_content_close(struct syn_content *store)
{
    if (store != NULL) {
        if (store->pool != NULL)
            syn_pool_free(store->pool);
        syn_blocks_close(store->blocks);
        (void)pthread_mutex_destroy(&store->gc_lock);
        syn_free(store);
    }
    return NULL;
}

unsigned
syn_content_jobs(const struct syn_content *store)
{
    return 4 * store->threads;
}

const char *
syn_content_type_name(enum syn_content_type type)
{
    static const char *const names[] = {
        [SYN_CONTENT_FILE] = "file",
        [SYN_CONTENT_DIR] = "folder",
        [SYN_CONTENT_SYMLINK] = "symlink",
    };

    assert((size_t)type < SYN_LEN(names));
    return names[type];
}

/* ---- nodes ----------------------------------------------------------------------------------- */

void
syn_dag_node_fini(struct syn_dag_node *node)
{
    syn_unixfs_node_fini(&node->node);
    syn_block_fini(&node->block);
}

int
syn_dag_node_get(struct syn_content *store, const struct syn_cid *cid,
                 struct syn_dag_node *ret_node, struct syn_err *err)
{
    struct syn_dag_node node = {0};
    char text[SYN_CID_TEXT_MAX];
    int rc = syn_blocks_get(store->blocks, cid, &node.block, err);

    if (rc == 0) {
        rc = syn_unixfs_decode(cid->codec, node.block.data, node.block.len, &node.node, err);
        if (rc < 0)
            (void)syn_err_wrap(err, rc, "block %s", syn_cid_format(cid, text));
    }
    if (rc < 0) {
        syn_block_fini(&node.block);
        return rc;
    }
    *ret_node = node;
    return SYN_OK;
}

static bool
is_dir(const struct syn_unixfs_node *node)
{
    return node->type == SYN_UNIXFS_DIR || node->type == SYN_UNIXFS_SHARD;
}

static SYN_MUST int
get_dir(struct syn_content *store, const struct syn_cid *cid, struct syn_dag_node *ret_node,
        struct syn_err *err)
{
    char text[SYN_CID_TEXT_MAX];
    int rc = syn_dag_node_get(store, cid, ret_node, err);

    if (rc == 0 && !is_dir(&ret_node->node)) {
        syn_dag_node_fini(ret_node);
        return SYN_FAIL(err, SYN_E_INVALID, "%s is no folder", syn_cid_format(cid, text));
    }
    return rc;
}

static void
stat_node(const struct syn_dag_node *dag, struct syn_content_stat *stat)
{
    const struct syn_unixfs_node *node = &dag->node;

    *stat = (struct syn_content_stat){
        .type = is_dir(node)                       ? SYN_CONTENT_DIR
                : node->type == SYN_UNIXFS_SYMLINK ? SYN_CONTENT_SYMLINK
                                                   : SYN_CONTENT_FILE,
        .size = node->size,
        .links = node->count,
        .sharded = node->type == SYN_UNIXFS_SHARD,
    };
    if (stat->type == SYN_CONTENT_DIR) {
        stat->size = dag->block.len;
        for (size_t i = 0; i < node->count; i++)
            stat->size += node->links[i].tsize;
    }
}

/* Of a raw block the index knows all there is to say. */
static SYN_MUST int
stat_raw(struct syn_content *store, const struct syn_cid *cid, struct syn_content_stat *ret_stat,
         struct syn_err *err)
{
    char text[SYN_CID_TEXT_MAX];
    struct syn_index_row row;
    int rc = syn_index_find(syn_blocks_index(store->blocks), cid->digest, &row, err);

    if (rc == SYN_INDEX_NONE)
        return SYN_FAIL(err, SYN_E_NOTFOUND, "block %s: not in the content store",
                        syn_cid_format(cid, text));
    if (rc == 0)
        *ret_stat = (struct syn_content_stat){.type = SYN_CONTENT_FILE, .size = row.size};
    return rc;
}

int
syn_content_stat(struct syn_content *store, const struct syn_cid *cid,
                 struct syn_content_stat *ret_stat, struct syn_err *err)
{
    struct syn_dag_node dag;
    int rc;

    if (cid->codec == SYN_CODEC_RAW)
        return stat_raw(store, cid, ret_stat, err);
    rc = syn_dag_node_get(store, cid, &dag, err);

    if (rc != 0)
        return rc;
    stat_node(&dag, ret_stat);
    syn_dag_node_fini(&dag);
    return SYN_OK;
}

/* ---- paths ----------------------------------------------------------------------------------- */

/* Find one name in a folder, going down its trie where it has one. */
static SYN_MUST int
find_entry(struct syn_content *store, const struct syn_cid *cid, const char *name, size_t len,
           struct syn_cid *ret_cid, struct syn_err *err)
{
    struct syn_cid at = *cid;

    for (unsigned depth = 0;; depth++) {
        const struct syn_unixfs_link *link = NULL;
        struct syn_dag_node dag;
        bool deeper = false;
        int rc = get_dir(store, &at, &dag, err);

        if (rc != 0)
            return rc;
        if (dag.node.type == SYN_UNIXFS_SHARD)
            rc = syn_unixfs_shard_find(&dag.node, depth, name, len, &link, &deeper, err);
        else
            link = syn_unixfs_find(&dag.node, name, len);
        if (rc == 0 && link == NULL)
            rc = SYN_FAIL(err, SYN_E_NOTFOUND, "no \"%.*s\" in the folder", (int)len, name);
        else if (rc == 0)
            at = link->cid;
        syn_dag_node_fini(&dag);
        if (rc != 0)
            return rc;
        if (!deeper)
            break;
    }
    *ret_cid = at;
    return SYN_OK;
}

int
syn_content_resolve(struct syn_content *store, const struct syn_cid *cid, const char *path,
                    struct syn_cid *ret_cid, struct syn_err *err)
{
    struct syn_cid at = *cid;

    for (const char *name = path; *name != '\0';) {
        size_t len = strcspn(name, "/");
        int rc;

        if (len == 0 || (len == 1 && name[0] == '.')) {
            name += len + (name[len] == '/');
            continue;
        }
        if (!syn_unixfs_name_ok(name, len))
            return SYN_FAIL(err, SYN_E_INVALID, "path \"%.150s\" is not usable", path);
        rc = find_entry(store, &at, name, len, &at, err);
        if (rc != 0)
            return syn_err_wrap(err, rc, "%.*s", (int)SYN_MIN((size_t)(name - path) + len, 120),
                                path);
        name += len + (name[len] == '/');
    }
    *ret_cid = at;
    return SYN_OK;
}

/* ---- listing --------------------------------------------------------------------------------- */

static SYN_MUST int
visit_shard(struct syn_content *store, const struct syn_dag_node *dir, unsigned depth,
            syn_dag_entry_fn *entry, void *arg, struct syn_err *err)
{
    unsigned prefix = syn_unixfs_shard_prefix(&dir->node);

    if (depth >= SYN_UNIXFS_DEPTH_MAX * 2)
        return SYN_FAIL(err, SYN_E_INVALID, "sharded folder is deeper than its hash");
    for (size_t i = 0; i < dir->node.count; i++) {
        struct syn_unixfs_link link = dir->node.links[i];
        struct syn_dag_node deeper;
        int rc;

        link.name += prefix;
        link.name_len -= prefix;
        if (link.name_len > 0) {
            rc = entry(arg, &link, err);
        } else {
            rc = get_dir(store, &link.cid, &deeper, err);
            if (rc != 0)
                return rc;
            if (deeper.node.type == SYN_UNIXFS_SHARD && deeper.node.fanout == dir->node.fanout)
                rc = visit_shard(store, &deeper, depth + 1, entry, arg, err);
            else
                rc = SYN_FAIL(err, SYN_E_INVALID, "sharded folder with a part that is no shard");
            syn_dag_node_fini(&deeper);
        }
        if (rc != 0)
            return rc;
    }
    return SYN_OK;
}

int
syn_dag_visit_dir(struct syn_content *store, const struct syn_dag_node *dir,
                  syn_dag_entry_fn *entry, void *arg, struct syn_err *err)
{
    int rc = SYN_OK;

    if (dir->node.type == SYN_UNIXFS_SHARD)
        return visit_shard(store, dir, 0, entry, arg, err);
    for (size_t i = 0; rc == 0 && i < dir->node.count; i++)
        rc = entry(arg, &dir->node.links[i], err);
    return rc;
}

#define LIST_FULL 1 /* the page is full and there is more */

struct listing {
    struct syn_content *store;
    uint64_t skip;
    uint64_t left;
    syn_content_item_fn *item;
    void *arg;
    int ended; /* what the caller's function returned */
};

static int
list_entry(void *arg, const struct syn_unixfs_link *entry, struct syn_err *err)
{
    struct listing *list = arg;
    char name[SYN_UNIXFS_NAME_MAX + 1];
    struct syn_content_item item = {.name = name, .cid = entry->cid};
    struct syn_content_stat stat = {0};
    int rc;

    if (list->skip > 0) {
        list->skip--;
        return SYN_OK;
    }
    if (list->left == 0)
        return LIST_FULL;
    list->left--;
    rc = syn_content_stat(list->store, &entry->cid, &stat, err);
    if (rc != 0)
        return rc;
    item.type = stat.type;
    item.size = stat.size;
    memcpy(name, entry->name, entry->name_len);
    name[entry->name_len] = '\0';
    list->ended = list->item(list->arg, &item);
    return list->ended == 0 ? SYN_OK : LIST_FULL;
}

int
syn_content_list(struct syn_content *store, const struct syn_cid *cid,
                 struct syn_content_page *page, syn_content_item_fn *item, void *arg,
                 struct syn_err *err)
{
    struct listing list = {
        .store = store, .skip = page->skip, .left = page->limit, .item = item, .arg = arg};
    struct syn_dag_node dir;
    int rc = get_dir(store, cid, &dir, err);

    if (rc != 0)
        return rc;
    rc = syn_dag_visit_dir(store, &dir, list_entry, &list, err);
    syn_dag_node_fini(&dir);
    if (rc < 0)
        return rc;
    page->more = rc == LIST_FULL;
    return list.ended;
}

int
syn_content_readlink(struct syn_content *store, const struct syn_cid *cid, struct syn_buf *out,
                     struct syn_err *err)
{
    char text[SYN_CID_TEXT_MAX];
    struct syn_dag_node dag;
    int rc = syn_dag_node_get(store, cid, &dag, err);

    if (rc != 0)
        return rc;
    if (dag.node.type == SYN_UNIXFS_SYMLINK) {
        syn_buf_add(out, dag.node.data, dag.node.data_len);
        rc = syn_buf_ok(out, err);
    } else {
        rc = SYN_FAIL(err, SYN_E_INVALID, "%s is no symbolic link", syn_cid_format(cid, text));
    }
    syn_dag_node_fini(&dag);
    return rc;
}

/* ---- blocks ---------------------------------------------------------------------------------- */

int
syn_content_has_block(struct syn_content *store, const struct syn_cid *cid, bool *ret_has,
                      struct syn_err *err)
{
    return syn_blocks_has(store->blocks, cid, ret_has, err);
}

int
syn_content_get_block(struct syn_content *store, const struct syn_cid *cid, struct syn_buf *out,
                      struct syn_err *err)
{
    SYN_SCOPED(syn_block_fini) struct syn_block block = {0};
    int rc = syn_blocks_get(store->blocks, cid, &block, err);

    if (rc != 0)
        return rc;
    syn_buf_add(out, block.data, block.len);
    return syn_buf_ok(out, err);
}

int
syn_content_put_block(struct syn_content *store, const struct syn_cid *cid, const void *data,
                      size_t len, struct syn_err *err)
{
    struct syn_batch *batch = NULL;
    struct syn_unixfs_node node;
    struct syn_cid real;
    char text[SYN_CID_TEXT_MAX];
    int rc;

    if (len > SYN_BLOCK_BYTES_MAX)
        return SYN_FAIL(err, SYN_E_TOOBIG, "block of %zu bytes, the limit is %zu", len,
                        SYN_BLOCK_BYTES_MAX);
    syn_cid_of(cid->codec, data, len, &real);
    if (!syn_cid_eq(&real, cid))
        return SYN_FAIL(err, SYN_E_INVALID, "the bytes are not those of block %s",
                        syn_cid_format(cid, text));
    rc = syn_unixfs_decode(cid->codec, data, len, &node, err);
    if (rc != 0)
        return rc;
    syn_unixfs_node_fini(&node);
    rc = syn_batch_new(store->blocks, &batch, err);
    if (rc == 0)
        rc = syn_batch_put(batch, cid, data, len, err);
    if (rc == 0)
        rc = syn_batch_commit(batch, err);
    syn_batch_free(batch);
    return rc;
}

int
syn_content_usage(struct syn_content *store, struct syn_content_usage *ret_usage,
                  struct syn_err *err)
{
    return syn_index_usage(syn_blocks_index(store->blocks), ret_usage, err);
}
