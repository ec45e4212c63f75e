/* The documents read or written last, kept coherent with an engine that has one writer.
 *
 * The writer holds a key before it touches it, which drops the entry, and releases it when the
 * change is committed or undone; a reader that missed may fill the slot only when that key was not
 * held since it began to read. The writer itself fills it at the last release after a commit, when
 * what it has is the newest. So an entry is always what a reading of the database would give at
 * this moment. */
#ifndef SYN_INFRA_STORE_CACHE_PRIV_H
#define SYN_INFRA_STORE_CACHE_PRIV_H

#include <synor/infra/store.h>

#define SYN_STORE_CACHE_BYTES ((size_t)8 << 20)

struct syn_store_cache;

SYN_MUST int syn_store_cache_new(struct syn_store_cache **ret_cache, struct syn_err *err);
struct syn_store_cache *syn_store_cache_free(struct syn_store_cache *cache);
/** A new reference, or NULL. *ret_ticket (may be NULL) is for syn_store_cache_fill(). */
const struct syn_store_doc *syn_store_cache_get(struct syn_store_cache *cache, const char *key,
                                                uint64_t *ret_ticket);
/** Offer what was read after syn_store_cache_get() missed; takes a reference of its own. */
void syn_store_cache_fill(struct syn_store_cache *cache, const struct syn_store_doc *doc,
                          uint64_t ticket);
/** The writer is about to change `key`. Pairs with release; a key may be held more than once. */
void syn_store_cache_hold(struct syn_store_cache *cache, const char *key);
/** In the order of the changes. `doc` is what `key` has now, if readers may see it; or NULL. */
void syn_store_cache_release(struct syn_store_cache *cache, const char *key,
                             const struct syn_store_doc *doc);

#endif
