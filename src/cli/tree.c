#include "tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>

struct walk {
    struct syn_cli_tree *tree;
    const json_t *include;
    const json_t *exclude;
};

void
syn_cli_tree_fini(struct syn_cli_tree *tree)
{
    for (size_t i = 0; i < tree->count; i++) {
        syn_free(tree->entries[i].path);
        syn_free(tree->entries[i].target);
    }
    syn_free(tree->entries);
    if (tree->fd >= 0)
        (void)close(tree->fd);
    *tree = (struct syn_cli_tree){.fd = -1};
}

/* --- globs ----------------------------------------------------------------------------------- */

static int
check_globs(const json_t *globs, const char *what, struct syn_err *err)
{
    size_t i;
    json_t *glob;

    if (globs != NULL && !json_is_array(globs))
        return SYN_FAIL(err, SYN_E_INVALID, "%s: expected a list of patterns", what);
    json_array_foreach (globs, i, glob) {
        if (!json_is_string(glob))
            return SYN_FAIL(err, SYN_E_INVALID, "%s[%zu]: expected text", what, i);
    }
    return SYN_OK;
}

static bool
matches(const json_t *globs, const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash != NULL ? slash + 1 : path;
    size_t i;
    json_t *glob;

    json_array_foreach (globs, i, glob) {
        const char *pattern = json_string_value(glob);
        bool whole = strchr(pattern, '/') != NULL;

        if (fnmatch(pattern, whole ? path : name, whole ? FNM_PATHNAME : 0) == 0)
            return true;
    }
    return false;
}

/* --- walking --------------------------------------------------------------------------------- */

static int
add_entry(struct syn_cli_tree *tree, const char *path, const struct stat *st, const char *target,
          struct syn_err *err)
{
    struct syn_cli_tree_entry *entry;

    if (tree->count == SYN_CLI_TREE_ENTRIES_MAX)
        return SYN_FAIL(err, SYN_E_LIMIT, "more than %d files", SYN_CLI_TREE_ENTRIES_MAX);
    if (!syn_grow((void *)&tree->entries, &tree->cap, tree->count + 1, sizeof(*tree->entries)))
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a list of %zu files", tree->count);
    entry = &tree->entries[tree->count];
    *entry = (struct syn_cli_tree_entry){.path = syn_strdup(path),
                                         .target = target == NULL ? NULL : syn_strdup(target),
                                         .size_bytes = target == NULL ? st->st_size : 0,
                                         .mtime_ns = (int64_t)st->st_mtim.tv_sec * 1000000000 +
                                                     st->st_mtim.tv_nsec};
    tree->count++;
    tree->size_bytes += entry->size_bytes;
    if (entry->path == NULL || (target != NULL && entry->target == NULL))
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a list of %zu files", tree->count);
    return SYN_OK;
}

static int
add_folder(struct walk *walk, const char *path, struct syn_err *err)
{
    const struct stat none = {0};
    int rc = add_entry(walk->tree, path, &none, NULL, err);

    if (rc == SYN_OK)
        walk->tree->entries[walk->tree->count - 1].folder = true;
    return rc;
}

static int
add_link(struct walk *walk, int dir, const char *name, const char *path, const struct stat *st,
         struct syn_err *err)
{
    char target[PATH_MAX];
    ssize_t len = readlinkat(dir, name, target, sizeof(target) - 1);

    if (len < 0)
        return SYN_FAIL_SYS(err, errno, "reading link %s", path);
    target[len] = '\0';
    return add_entry(walk->tree, path, st, target, err);
}

/* A file that says it is empty may hold something all the same, as those of /proc do, or not be
 * readable: what is stored of it would not be what it is. */
static int
check_empty(int dir, const char *name, struct syn_err *err)
{
    int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    char byte;
    ssize_t got;

    if (fd < 0)
        return SYN_FAIL_SYS(err, errno, "opening it");
    do
        got = read(fd, &byte, 1);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        (void)SYN_FAIL_SYS(err, errno, "reading it");
    (void)close(fd);
    if (got > 0)
        return SYN_FAIL(err, SYN_E_INVALID,
                        "its size is said to be 0, but it holds something: store a copy of it");
    return got < 0 ? err->code : SYN_OK;
}

static int
add_file(struct walk *walk, int dir, const char *name, const char *path, const struct stat *st,
         struct syn_err *err)
{
    int rc = st->st_size == 0 ? check_empty(dir, name, err) : SYN_OK;

    if (rc < 0)
        return path[0] == '\0' ? rc : syn_err_wrap(err, rc, "%s", path);
    return add_entry(walk->tree, path, st, NULL, err);
}

static int walk_folder(struct walk *walk, int fd, const char *prefix, unsigned depth,
                       struct syn_err *err);

static int
walk_entry(struct walk *walk, int dir, const char *name, const char *path, unsigned depth,
           struct syn_err *err)
{
    struct stat st;
    int below;

    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return SYN_FAIL_SYS(err, errno, "%s", path);
    if (matches(walk->exclude, path))
        return SYN_OK;
    if (S_ISDIR(st.st_mode)) {
        if (depth == SYN_CLI_TREE_DEPTH_MAX)
            return SYN_FAIL(err, SYN_E_LIMIT, "%s: folders nested deeper than %d", path,
                            SYN_CLI_TREE_DEPTH_MAX);
        below = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        return below < 0 ? SYN_FAIL_SYS(err, errno, "%s", path)
                         : walk_folder(walk, below, path, depth + 1, err);
    }
    if (json_array_size(walk->include) > 0 && !matches(walk->include, path))
        return SYN_OK;
    if (S_ISLNK(st.st_mode))
        return add_link(walk, dir, name, path, &st, err);
    if (S_ISREG(st.st_mode))
        return add_file(walk, dir, name, path, &st, err);
    walk->tree->skipped++;
    return SYN_OK;
}

/* Everything below the folder `fd`, which is closed. */
static int
walk_folder(struct walk *walk, int fd, const char *prefix, unsigned depth, struct syn_err *err)
{
    DIR *dir = fdopendir(fd);
    const struct dirent *item;
    size_t seen = 0;
    int rc = SYN_OK;

    if (dir == NULL) {
        (void)close(fd);
        return SYN_FAIL_SYS(err, errno, "%s", prefix);
    }
    while (rc == SYN_OK && (item = readdir(dir)) != NULL) {
        char path[SYN_CLI_TREE_PATH_MAX + 1];

        if (strcmp(item->d_name, ".") == 0 || strcmp(item->d_name, "..") == 0)
            continue;
        seen++;
        if (snprintf(path, sizeof(path), "%s%s%s", prefix, prefix[0] == '\0' ? "" : "/",
                     item->d_name) >= (int)sizeof(path))
            rc = SYN_FAIL(err, SYN_E_LIMIT, "%.60s...: paths have at most %d bytes", prefix,
                          SYN_CLI_TREE_PATH_MAX);
        else
            rc = walk_entry(walk, dirfd(dir), item->d_name, path, depth, err);
    }
    (void)closedir(dir);
    if (rc == SYN_OK && seen == 0 && depth > 0 && json_array_size(walk->include) == 0)
        rc = add_folder(walk, prefix, err);
    return rc;
}

/* --- key ------------------------------------------------------------------------------------- */

static int
by_path(const void *a, const void *b)
{
    return strcmp(((const struct syn_cli_tree_entry *)a)->path,
                  ((const struct syn_cli_tree_entry *)b)->path);
}

void
syn_cli_hash(syn_u128 *state, const void *data, size_t len)
{
    const syn_u128 prime = ((syn_u128)1 << 88) | 0x13b;
    const unsigned char *at = data;

    for (size_t i = 0; i < len; i++)
        *state = (*state ^ at[i]) * prime;
}

static void
hash_text(syn_u128 *state, const char *text)
{
    syn_cli_hash(state, text, strlen(text) + 1);
}

static void
make_key(struct syn_cli_tree *tree, const char *absolute)
{
    syn_u128 state = SYN_CLI_HASH_BEGIN;

    hash_text(&state, absolute);
    for (size_t i = 0; i < tree->count; i++) {
        const struct syn_cli_tree_entry *entry = &tree->entries[i];

        hash_text(&state, entry->path);
        hash_text(&state, entry->folder ? "/" : entry->target != NULL ? entry->target : "");
        syn_cli_hash(&state, &entry->size_bytes, sizeof(entry->size_bytes));
        syn_cli_hash(&state, &entry->mtime_ns, sizeof(entry->mtime_ns));
    }
    (void)snprintf(tree->key, sizeof(tree->key), "cli-%016llx%016llx",
                   (unsigned long long)(state >> 64), (unsigned long long)state);
}

static bool
is_stored(const struct stat *st)
{
    return S_ISDIR(st->st_mode) || S_ISREG(st->st_mode);
}

/* Only a file or a folder is opened: to open a device may already do something. */
static int
open_root(const char *absolute, const char *path, struct syn_cli_tree *ret, struct stat *ret_st,
          struct syn_err *err)
{
    if (stat(absolute, ret_st) != 0)
        return SYN_FAIL_SYS(err, errno, "%s", path);
    if (is_stored(ret_st)) {
        ret->fd = open(absolute, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        if (ret->fd < 0 || fstat(ret->fd, ret_st) != 0)
            return SYN_FAIL_SYS(err, errno, "%s", path);
    }
    if (!is_stored(ret_st))
        return SYN_FAIL(err, SYN_E_INVALID, "%s is neither a file nor a folder", path);
    ret->folder = S_ISDIR(ret_st->st_mode);
    return SYN_OK;
}

int
syn_cli_tree_read(const char *path, const json_t *include, const json_t *exclude,
                  struct syn_cli_tree *ret, struct syn_err *err)
{
    struct walk walk = {ret, include, exclude};
    char absolute[PATH_MAX];
    struct stat st;
    int rc;
    int fd;

    *ret = (struct syn_cli_tree){.fd = -1};
    rc = check_globs(include, "include", err);
    if (rc == SYN_OK)
        rc = check_globs(exclude, "exclude", err);
    if (rc < 0)
        return rc;
    if (realpath(path, absolute) == NULL)
        return SYN_FAIL_SYS(err, errno, "%s", path);
    rc = open_root(absolute, path, ret, &st, err);
    if (rc < 0)
        return rc;
    if (!ret->folder) {
        rc = add_file(&walk, AT_FDCWD, absolute, "", &st, err);
    } else {
        fd = fcntl(ret->fd, F_DUPFD_CLOEXEC, 0);
        rc = fd < 0 ? SYN_FAIL_SYS(err, errno, "opening it") : walk_folder(&walk, fd, "", 0, err);
    }
    if (rc < 0)
        return syn_err_wrap(err, rc, "%s", path);
    if (ret->count > 1)
        qsort(ret->entries, ret->count, sizeof(*ret->entries), by_path);
    make_key(ret, absolute);
    return SYN_OK;
}
