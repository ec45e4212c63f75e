/* A hash map from text to pointer, insertion-ordered walk, SipHash-free: keys are ours or bounded.
 */
#ifndef SYNOR_BASE_MAP_H
#define SYNOR_BASE_MAP_H

#include <synor/base/core.h>
#include <synor/base/err.h>

struct syn_map;

/** `free_value` (may be NULL) is called for values that are replaced, removed or left at the end.
 */
SYN_MUST int syn_map_new(void (*free_value)(void *), struct syn_map **ret_map, struct syn_err *err);
struct syn_map *syn_map_free(struct syn_map *map);
void syn_map_free_scope(struct syn_map **slot);
size_t syn_map_count(const struct syn_map *map);
/** Borrowed value or NULL; valid until that key changes. */
void *syn_map_find(const struct syn_map *map, const char *key);
/** Insert or replace; the key is copied. Owns `value` from the call on, also when it fails. */
SYN_MUST int syn_map_put_take(struct syn_map *map, const char *key, void *value,
                              struct syn_err *err);
/** False when the key was not there. */
bool syn_map_remove(struct syn_map *map, const char *key);
/** Take a value out without freeing it, or NULL. */
void *syn_map_steal(struct syn_map *map, const char *key);
/** Walk in insertion order: start with *cursor = 0; false at the end. Removing the entry just given
 * is allowed. */
bool syn_map_next(const struct syn_map *map, size_t *cursor, const char **ret_key,
                  void **ret_value);

#endif
