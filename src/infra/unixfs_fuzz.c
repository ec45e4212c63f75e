#include <synor/infra/unixfs.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A block that is accepted must be safe to walk: links in bounds, names usable as path components.
 */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct syn_unixfs_node node;
    uint64_t total;

    if (syn_unixfs_decode(SYN_CODEC_DAG_PB, data, size, &node, NULL) != 0)
        return 0;
    total = node.data_len;
    for (size_t i = 0; i < node.count; i++) {
        const struct syn_unixfs_link *link = &node.links[i];

        if (node.type == SYN_UNIXFS_DIR) {
            if (!syn_unixfs_name_ok(link->name, link->name_len) ||
                syn_unixfs_find(&node, link->name, link->name_len) != link)
                abort();
        }
        if (node.type == SYN_UNIXFS_SHARD) {
            const struct syn_unixfs_link *found = NULL;
            bool deeper = false;

            if (link->name_len < syn_unixfs_shard_prefix(&node))
                abort();
            if (syn_unixfs_shard_find(&node, 0, "name", 4, &found, &deeper, NULL) != 0)
                abort();
        }
        total += link->size;
    }
    if (node.type == SYN_UNIXFS_FILE && total != node.size)
        abort();
    syn_unixfs_node_fini(&node);
    return 0;
}
