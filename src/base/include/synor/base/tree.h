/* Folders with all that is in them. */
#ifndef SYNOR_BASE_TREE_H
#define SYNOR_BASE_TREE_H

#include <stdint.h>

/** Remove `path` and everything below it as far as that goes; no link is followed, no other file
 *  system entered. A missing path is fine. For folders of our own: who may be tricked by somebody
 *  that writes into them meanwhile needs more than this. */
void syn_tree_remove(const char *path);
/** What `path` and everything below it take on disk, links not followed. */
int64_t syn_tree_bytes(const char *path);

#endif
