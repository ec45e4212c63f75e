#include <synor/base/tree.h>

#include <ftw.h>
#include <stdio.h>
#include <sys/stat.h>

#define WALK_FDS    32
#define BLOCK_BYTES 512

static int
remove_entry(const char *path, const struct stat *st, int kind, struct FTW *walk)
{
    (void)st;
    (void)kind;
    (void)walk;
    (void)remove(path);
    return 0;
}

void
syn_tree_remove(const char *path)
{
    (void)nftw(path, remove_entry, WALK_FDS, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

/* nftw() takes no argument: what it counts is the thread's. */
static _Thread_local int64_t walked_bytes;

static int
count_entry(const char *path, const struct stat *st, int kind, struct FTW *walk)
{
    (void)path;
    (void)walk;
    if (kind != FTW_NS)
        walked_bytes += (int64_t)st->st_blocks * BLOCK_BYTES;
    return 0;
}

int64_t
syn_tree_bytes(const char *path)
{
    walked_bytes = 0;
    (void)nftw(path, count_entry, WALK_FDS, FTW_PHYS | FTW_MOUNT);
    return walked_bytes;
}
