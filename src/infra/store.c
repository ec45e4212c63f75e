/* The store's front: checks arguments once for all engines, then hands over to the ops table. */
#include <synor/infra/store_ops.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>

#include "store_priv.h"

struct syn_store {
    const struct syn_store_ops *ops;
    void *self;
};

int
syn_store_new(const struct syn_store_ops *ops, void *self, struct syn_store **ret_store,
              struct syn_err *err)
{
    assert(ops->version == SYN_STORE_OPS_VERSION);

    struct syn_store *store = syn_alloc(sizeof(*store));
    if (!store)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a store");
    *store = (struct syn_store){ops, self};
    *ret_store = store;
    return SYN_OK;
}

struct syn_store *
syn_store_close(struct syn_store *store)
{
    if (store) {
        store->ops->close(store->self);
        syn_free(store);
    }
    return NULL;
}

/* Documents */

int
syn_store_doc_new(const char *key, const void *value, size_t len, struct syn_store_doc **ret_doc,
                  struct syn_err *err)
{
    size_t key_len = strlen(key);
    struct syn_store_box *box = syn_alloc(sizeof(*box) + key_len + 1 + len + 1);

    if (!box)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for document %s", key);
    memset(box, 0, sizeof(*box));
    atomic_init(&box->refs, 1);
    memcpy(box->bytes, key, key_len + 1);
    if (len)
        memcpy(box->bytes + key_len + 1, value, len);
    box->bytes[key_len + 1 + len] = '\0';
    box->doc.key = box->bytes;
    box->doc.value = box->bytes + key_len + 1;
    box->doc.len = len;
    *ret_doc = &box->doc;
    return SYN_OK;
}

const struct syn_store_doc *
syn_store_doc_ref(const struct syn_store_doc *doc)
{
    unsigned before =
        atomic_fetch_add_explicit(&syn_store_box_of(doc)->refs, 1, memory_order_relaxed);
    assert(before > 0 && before < UINT32_MAX);
    return doc;
}

const struct syn_store_doc *
syn_store_doc_unref(const struct syn_store_doc *doc)
{
    if (!doc)
        return NULL;
    struct syn_store_box *box = syn_store_box_of(doc);
    unsigned before = atomic_fetch_sub_explicit(&box->refs, 1, memory_order_acq_rel);
    assert(before > 0);
    if (before == 1)
        syn_free(box);
    return NULL;
}

void
syn_store_doc_scope(const struct syn_store_doc **slot)
{
    *slot = syn_store_doc_unref(*slot);
}

int
syn_store_page_add_take(struct syn_store_page *page, const struct syn_store_doc *doc,
                        struct syn_err *err)
{
    /* The capacity is not stored: it is the power of two at or above the count. */
    if ((page->count & (page->count - 1)) == 0) {
        size_t cap = page->count ? page->count * 2 : 1;
        void *docs = syn_realloc(page->docs, cap * sizeof(const void *));
        if (!docs) {
            syn_store_doc_unref(doc);
            return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a page of documents");
        }
        page->docs = docs;
    }
    page->docs[page->count++] = doc;
    return SYN_OK;
}

void
syn_store_page_fini(struct syn_store_page *page)
{
    for (size_t i = 0; i < page->count; i++)
        syn_store_doc_unref(page->docs[i]);
    syn_free(page->docs);
    *page = (struct syn_store_page){0};
}

/* Shared by the engines */

/* No key holds a byte below 0x20 or the byte 0xff, so "\x01" behind a key is its successor and
 * "\xff" behind a prefix is above everything that starts with it. */
void
syn_store_bounds_init(struct syn_store_bounds *bounds, const char *prefix, const char *after,
                      bool reverse)
{
    size_t len = strlen(prefix);

    assert(len <= SYN_STORE_KEY_MAX);
    memcpy(bounds->lo, prefix, len + 1);
    memcpy(bounds->hi, prefix, len);
    memcpy(bounds->hi + len, "\xff", 2);
    if (!after)
        return;
    len = strlen(after);
    assert(len <= SYN_STORE_KEY_MAX);
    if (reverse && strcmp(after, bounds->hi) < 0) {
        memcpy(bounds->hi, after, len + 1);
    } else if (!reverse && strcmp(after, bounds->lo) >= 0) {
        memcpy(bounds->lo, after, len);
        memcpy(bounds->lo + len, "\x01", 2);
    }
}

static uint64_t
load_le64(const unsigned char *at, size_t len)
{
    uint64_t word = 0;

    if (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__) {
        memcpy(&word, at, len);
        return word;
    }
    for (size_t i = 0; i < len; i++)
        word |= (uint64_t)at[i] << (8 * i);
    return word;
}

uint64_t
syn_store_hash(const void *data, size_t len, uint64_t seed)
{
    const unsigned char *at = data;
    uint64_t h = (seed ^ len) * UINT64_C(0x9e3779b97f4a7c15);

    for (; len >= 8; at += 8, len -= 8) {
        h = (h ^ load_le64(at, 8)) * UINT64_C(0xff51afd7ed558ccd);
        h ^= h >> 32;
    }
    if (len)
        h = (h ^ load_le64(at, len)) * UINT64_C(0xff51afd7ed558ccd);
    h ^= h >> 32;
    h *= UINT64_C(0xc4ceb9fe1a85ec53);
    return h ^ (h >> 29);
}

/* Arguments */

static int
check_text(const char *text, size_t min, const char *what, struct syn_err *err)
{
    size_t len = strnlen(text, SYN_STORE_KEY_MAX + 1);

    if (len < min || len > SYN_STORE_KEY_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "a %s has %zu to %d bytes, not %s%zu", what, min,
                        SYN_STORE_KEY_MAX, len > SYN_STORE_KEY_MAX ? "over " : "",
                        len > SYN_STORE_KEY_MAX ? (size_t)SYN_STORE_KEY_MAX : len);
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c < 0x20 || c == 0x7f)
            return SYN_FAIL(err, SYN_E_INVALID, "a %s holds no control characters (byte %zu)", what,
                            i);
    }
    return SYN_OK;
}

static int
check_key(const char *key, struct syn_err *err)
{
    int rc = check_text(key, 1, "key", err);
    if (rc < 0)
        return rc;
    if (!syn_utf8_ok(key, strlen(key)))
        return SYN_FAIL(err, SYN_E_INVALID, "a key is UTF-8 text, and this one is not");
    return SYN_OK;
}

static int
check_ops(const struct syn_store_op *ops, size_t count, struct syn_err *err)
{
    size_t bytes = 0;

    if (count == 0 || count > SYN_STORE_OPS_MAX)
        return SYN_FAIL(err, count ? SYN_E_LIMIT : SYN_E_INVALID,
                        "a transaction has 1 to %d operations, not %zu", SYN_STORE_OPS_MAX, count);
    for (size_t i = 0; i < count; i++) {
        const struct syn_store_op *op = &ops[i];
        int rc = check_key(op->key, err);
        if (rc < 0)
            return rc;
        if (op->kind == SYN_STORE_CHECK)
            continue;
        if (op->kind == SYN_STORE_PUT) {
            if (op->len > SYN_STORE_VALUE_MAX)
                return SYN_FAIL(err, SYN_E_TOOBIG, "%s: a document has at most %zu bytes, not %zu",
                                op->key, SYN_STORE_VALUE_MAX, op->len);
            bytes += op->len;
        }
        for (size_t j = 0; j < i; j++)
            if (ops[j].kind != SYN_STORE_CHECK && strcmp(ops[j].key, op->key) == 0)
                return SYN_FAIL(err, SYN_E_INVALID, "%s is written twice in one transaction",
                                op->key);
    }
    if (bytes > SYN_STORE_TXN_BYTES_MAX)
        return SYN_FAIL(err, SYN_E_TOOBIG, "a transaction carries at most %zu bytes, not %zu",
                        SYN_STORE_TXN_BYTES_MAX, bytes);
    return SYN_OK;
}

/* Calls */

int
syn_store_get(struct syn_store *store, const char *key, const struct syn_store_doc **ret_doc,
              struct syn_err *err)
{
    int rc = check_key(key, err);
    if (rc < 0)
        return rc;
    return store->ops->get(store->self, key, ret_doc, err);
}

int
syn_store_list(struct syn_store *store, const struct syn_store_range *range,
               struct syn_store_page *ret_page, struct syn_err *err)
{
    struct syn_store_range full = *range;
    int rc = check_text(full.prefix, 0, "prefix", err);

    if (rc == SYN_OK && full.after)
        rc = check_text(full.after, 0, "key to go on after", err);
    if (rc < 0)
        return rc;
    if (full.limit > SYN_STORE_LIST_MAX)
        return SYN_FAIL(err, SYN_E_LIMIT, "a page has at most %d documents, not %u",
                        SYN_STORE_LIST_MAX, full.limit);
    if (full.limit == 0)
        full.limit = SYN_STORE_LIST_MAX;
    return store->ops->list(store->self, &full, ret_page, err);
}

int
syn_store_count(struct syn_store *store, const char *prefix, int64_t *ret_count,
                struct syn_err *err)
{
    int rc = check_text(prefix, 0, "prefix", err);
    if (rc < 0)
        return rc;
    return store->ops->count(store->self, prefix, ret_count, err);
}

int
syn_store_txn(struct syn_store *store, const struct syn_store_op *ops, size_t count,
              struct syn_store_result *ret_result, struct syn_err *err)
{
    int rc = check_ops(ops, count, err);
    if (rc < 0)
        return rc;
    return store->ops->txn(store->self, ops, count, ret_result, err);
}

int
syn_store_txn_async(struct syn_store *store, const struct syn_store_op *ops, size_t count,
                    syn_store_done_fn done, void *arg, struct syn_err *err)
{
    assert(done);
    int rc = check_ops(ops, count, err);
    if (rc < 0)
        return rc;
    return store->ops->txn_async(store->self, ops, count, done, arg, err);
}

static int
txn_small(struct syn_store *store, const struct syn_store_op *ops, size_t count,
          int64_t *ret_revision, struct syn_err *err)
{
    struct syn_store_result result;
    int rc = syn_store_txn(store, ops, count, &result, err);

    if (rc == SYN_OK && ret_revision)
        *ret_revision = result.revision;
    return rc;
}

static struct syn_store_op
op_put(const char *key, struct syn_store_value value)
{
    return (struct syn_store_op){.kind = SYN_STORE_PUT,
                                 .key = key,
                                 .value = value.data,
                                 .len = value.len,
                                 .lease = value.lease};
}

int
syn_store_put(struct syn_store *store, const char *key, struct syn_store_value value,
              int64_t *ret_revision, struct syn_err *err)
{
    struct syn_store_op op = op_put(key, value);
    return txn_small(store, &op, 1, ret_revision, err);
}

int
syn_store_create(struct syn_store *store, const char *key, struct syn_store_value value,
                 int64_t *ret_revision, struct syn_err *err)
{
    return syn_store_put_if(store, key, 0, value, ret_revision, err);
}

int
syn_store_put_if(struct syn_store *store, const char *key, int64_t mod_revision,
                 struct syn_store_value value, int64_t *ret_revision, struct syn_err *err)
{
    struct syn_store_op ops[] = {
        {.kind = SYN_STORE_CHECK, .key = key, .mod_revision = mod_revision}, op_put(key, value)};
    return txn_small(store, ops, SYN_LEN(ops), ret_revision, err);
}

int
syn_store_delete_if(struct syn_store *store, const char *key, int64_t mod_revision,
                    int64_t *ret_revision, struct syn_err *err)
{
    struct syn_store_op ops[] = {
        {.kind = SYN_STORE_CHECK, .key = key, .mod_revision = mod_revision},
        {.kind = SYN_STORE_DELETE, .key = key}};
    return txn_small(store, ops, SYN_LEN(ops), ret_revision, err);
}

int
syn_store_delete(struct syn_store *store, const char *key, int64_t *ret_revision,
                 struct syn_err *err)
{
    struct syn_store_op op = {.kind = SYN_STORE_DELETE, .key = key};
    return txn_small(store, &op, 1, ret_revision, err);
}

int
syn_store_watch(struct syn_store *store, const char *prefix, int64_t after, syn_store_watch_fn fn,
                void *arg, struct syn_store_watch **ret_watch, struct syn_err *err)
{
    int rc = check_text(prefix, 0, "prefix", err);
    if (rc < 0)
        return rc;
    if (after < 0)
        return SYN_FAIL(err, SYN_E_INVALID, "a revision is not negative");
    return store->ops->watch(store->self, prefix, after, fn, arg, ret_watch, err);
}

struct syn_store_watch *
syn_store_unwatch(struct syn_store *store, struct syn_store_watch *watch)
{
    if (watch)
        store->ops->unwatch(store->self, watch);
    return NULL;
}

int
syn_store_lease_grant(struct syn_store *store, int64_t ttl_ms, int64_t *ret_lease,
                      struct syn_err *err)
{
    if (ttl_ms < 1 || ttl_ms > SYN_STORE_TTL_MAX_MS)
        return SYN_FAIL(err, SYN_E_INVALID, "a lease lasts 1 to %lld ms, not %lld",
                        (long long)SYN_STORE_TTL_MAX_MS, (long long)ttl_ms);
    return store->ops->lease_grant(store->self, ttl_ms, ret_lease, err);
}

int
syn_store_lease_keepalive(struct syn_store *store, int64_t lease, struct syn_err *err)
{
    return store->ops->lease_keepalive(store->self, lease, err);
}

int
syn_store_lease_revoke(struct syn_store *store, int64_t lease, struct syn_err *err)
{
    return store->ops->lease_revoke(store->self, lease, err);
}

int
syn_store_compact(struct syn_store *store, int64_t revision, struct syn_err *err)
{
    if (revision < 0)
        return SYN_FAIL(err, SYN_E_INVALID, "a revision is not negative");
    return store->ops->compact(store->self, revision, err);
}

int
syn_store_revision(struct syn_store *store, int64_t *ret_revision, struct syn_err *err)
{
    return store->ops->revision(store->self, ret_revision, err);
}

int
syn_store_backup(struct syn_store *store, const char *path, struct syn_err *err)
{
    return store->ops->backup(store->self, path, err);
}

int
syn_store_verify(struct syn_store *store, struct syn_err *err)
{
    return store->ops->verify(store->self, err);
}
