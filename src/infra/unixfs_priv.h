/* What the two halves of UnixFS share: the protobuf writer and the trie's hash. */
#ifndef SYNOR_INFRA_UNIXFS_PRIV_H
#define SYNOR_INFRA_UNIXFS_PRIV_H

#include <synor/infra/unixfs.h>

#define PB_VARINT 0U
#define PB_BYTES  2U

/* PBNode and PBLink of dag-pb. */
#define NODE_DATA  1U
#define NODE_LINKS 2U
#define LINK_HASH  1U
#define LINK_NAME  2U
#define LINK_TSIZE 3U

/* UnixFS's Data message. */
#define UNIXFS_TYPE       1U
#define UNIXFS_DATA       2U
#define UNIXFS_FILESIZE   3U
#define UNIXFS_BLOCKSIZES 4U
#define UNIXFS_HASHTYPE   5U
#define UNIXFS_FANOUT     6U
#define UNIXFS_MODE       7U
#define UNIXFS_MTIME      8U

#define HASH_MURMUR3_X64_64 0x22U

#define SHARD_FANOUT_MAX 1024U

/** The first half of murmur3-x64-128, seed 0: what UnixFS calls murmur3-x64-64. */
uint64_t syn_murmur3_x64_64(const void *data, size_t len);

#endif
