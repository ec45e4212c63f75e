/* Laying layers into a tree, when the layers were written by an enemy.
 *
 * A layer passes through three hands:
 *
 *      blob file --sha256, size--> [raw + gzip|zstd] --diff id, bound--> [tar] --> entries
 *
 * The first libarchive reader only decompresses, the second only reads tar: so the uncompressed
 * bytes pass through us, are counted against the bound (a bomb ends there) and held against the
 * diff id. Both digests are known only at the end; until then everything stands in a folder that
 * nobody uses yet, and goes with it when a digest is wrong.
 *
 * An entry names a place by a path. Paths with ".." or a leading "/" are refused. The folder part
 * is resolved by the kernel with RESOLVE_IN_ROOT, as if the tree were the root directory: links of
 * earlier entries are followed, as they must be (/lib -> usr/lib), but cannot lead out of it. The
 * last part is never followed: what stands there is removed, and the new thing made with O_EXCL.
 *
 * libarchive could write to disk itself; its guards work on path names from the current directory,
 * which all threads share, and refuse every link on the way, the good ones included. */
#include "oci_unpack_priv.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <locale.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <archive.h>
#include <archive_entry.h>

#include <synor/base/str.h>

#define PIECE         ((size_t)65536)
#define RESOLVE_TRIES 256 /* openat2 gives EAGAIN when anything anywhere is renamed meanwhile */
#define WHITEOUT      ".wh."
#define WHITEOUT_OWN  ".wh..wh."
#define WHITEOUT_ALL  ".wh..wh..opq"
#define HOIST_FORMAT  ".hoist-%u"

static void
close_scope(const int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
}

/* --- reading a layer -------------------------------------------------------------------------- */

/* One pass over a layer. `rc` and `why` keep the first failure of a callback: libarchive reports
 * only that there was one. */
struct pass {
    struct syn_oci_tree *tree;
    const struct syn_oci_layer *layer;
    struct archive *unzip; /* NULL: the blob is the tar */
    struct archive *tar;
    struct syn_sha256 blob_hash, diff_hash;
    int64_t left; /* of the blob */
    int rc;
    struct syn_err why;
    uint8_t piece[PIECE];
};

static la_ssize_t
pass_fail(struct pass *pass, struct archive *archive, int rc)
{
    if (pass->rc == SYN_OK)
        pass->rc = rc;
    archive_set_error(archive, EIO, "%s", pass->why.msg);
    return -1;
}

/* libarchive's word about `archive`, unless a callback knows better. */
static int
archive_fail(const struct pass *pass, struct archive *archive, struct syn_err *err)
{
    const char *text = archive_error_string(archive);

    if (pass->rc < 0) {
        if (err != NULL)
            *err = pass->why;
        return pass->rc;
    }
    if (archive_errno(archive) == ENOMEM)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory to read a layer");
    return SYN_FAIL(err, SYN_E_CORRUPT, "%s", text != NULL ? text : "this is no tar archive");
}

/* Bytes of the blob as they are in the file; 0 at the end. */
static la_ssize_t
read_blob(struct archive *archive, void *arg, const void **ret_data)
{
    struct pass *pass = arg;
    ssize_t n = read(pass->layer->fd, pass->piece, PIECE);

    if (n < 0)
        return pass_fail(pass, archive, SYN_FAIL_SYS(&pass->why, errno, "reading a layer"));
    pass->left -= n;
    if (pass->left < 0 || (n == 0 && pass->left > 0))
        return pass_fail(pass, archive,
                         SYN_FAIL(&pass->why, SYN_E_CORRUPT, "the blob changed its size"));
    syn_sha256_update(&pass->blob_hash, pass->piece, (size_t)n);
    *ret_data = pass->piece;
    return n;
}

static la_ssize_t
read_unzipped(struct pass *pass, const void **ret_data)
{
    size_t len = 0;
    la_int64_t offset;
    int rc;

    do
        rc = archive_read_data_block(pass->unzip, ret_data, &len, &offset);
    while (rc >= ARCHIVE_WARN && rc != ARCHIVE_EOF && len == 0);
    if (rc == ARCHIVE_EOF)
        return 0;
    return rc < ARCHIVE_WARN ? -1 : (la_ssize_t)len;
}

/* Bytes of the tar; 0 at the end. */
static la_ssize_t
read_tar(struct archive *archive, void *arg, const void **ret_data)
{
    struct pass *pass = arg;
    struct syn_oci_tree *tree = pass->tree;
    la_ssize_t n;

    if (pass->unzip == NULL) {
        n = read_blob(archive, pass, ret_data);
    } else {
        n = read_unzipped(pass, ret_data);
        if (n < 0)
            return pass_fail(pass, archive, archive_fail(pass, pass->unzip, &pass->why));
    }
    if (n <= 0)
        return n;
    tree->read += n;
    if (tree->read > tree->limits->bytes_max)
        return pass_fail(pass, archive,
                         SYN_FAIL(&pass->why, SYN_E_LIMIT,
                                  "the image is larger than %lld bytes uncompressed",
                                  (long long)tree->limits->bytes_max));
    syn_sha256_update(&pass->diff_hash, *ret_data, (size_t)n);
    return n;
}

static void
pass_close(struct pass *pass)
{
    if (pass->tar != NULL)
        (void)archive_read_free(pass->tar);
    if (pass->unzip != NULL)
        (void)archive_read_free(pass->unzip);
}

static int
open_unzip(struct pass *pass, struct syn_err *err)
{
    struct archive *unzip = archive_read_new();
    struct archive_entry *entry;
    int rc;

    pass->unzip = unzip;
    if (unzip == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory to read a layer");
    rc = pass->layer->blob->kind == SYN_OCI_TAR_GZIP ? archive_read_support_filter_gzip(unzip)
                                                     : archive_read_support_filter_zstd(unzip);
    if (rc != ARCHIVE_OK)
        return SYN_FAIL(err, SYN_E_UNSUPPORTED, "libarchive cannot decompress this layer");
    if (archive_read_support_format_raw(unzip) != ARCHIVE_OK ||
        archive_read_open(unzip, pass, NULL, read_blob, NULL) != ARCHIVE_OK ||
        archive_read_next_header(unzip, &entry) != ARCHIVE_OK)
        return archive_fail(pass, unzip, err);
    return SYN_OK;
}

static int
pass_open(struct pass *pass, struct syn_err *err)
{
    int rc = SYN_OK;

    pass->left = pass->layer->blob->size;
    syn_sha256_init(&pass->blob_hash);
    syn_sha256_init(&pass->diff_hash);
    if (pass->layer->blob->kind != SYN_OCI_TAR)
        rc = open_unzip(pass, err);
    if (rc < 0)
        return rc;
    pass->tar = archive_read_new();
    if (pass->tar == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory to read a layer");
    if (archive_read_support_format_tar(pass->tar) != ARCHIVE_OK ||
        archive_read_open(pass->tar, pass, NULL, read_tar, NULL) != ARCHIVE_OK)
        return archive_fail(pass, pass->tar, err);
    return SYN_OK;
}

/* The rest behind the last entry, and whether all of it is what it should be. */
static int
pass_finish(struct pass *pass, struct syn_err *err)
{
    uint8_t digest[SYN_SHA256_LEN];
    char hex[SYN_OCI_HEX_SIZE];
    const void *data = NULL;
    la_ssize_t n;

    do
        n = read_tar(pass->tar, pass, &data);
    while (n > 0);
    while (n == 0 && pass->left > 0)
        n = SYN_MIN(read_blob(pass->tar, pass, &data), 0);
    if (n < 0)
        return archive_fail(pass, pass->tar, err);
    syn_sha256_final(&pass->blob_hash, digest);
    syn_hex_encode(digest, sizeof(digest), hex);
    if (!syn_str_eq(hex, pass->layer->blob->hex))
        return SYN_FAIL(err, SYN_E_CORRUPT, "blob %.12s is damaged", pass->layer->blob->hex);
    syn_sha256_final(&pass->diff_hash, digest);
    if (memcmp(digest, pass->layer->diff_id, sizeof(digest)) != 0)
        return SYN_FAIL(err, SYN_E_CORRUPT, "blob %.12s does not hold what its diff id says",
                        pass->layer->blob->hex);
    return SYN_OK;
}

/* --- paths ------------------------------------------------------------------------------------ */

/* `path` without empty and "." parts; "" for the root itself. */
static int
clean_path(const char *path, char out[SYN_OCI_PATH_MAX], struct syn_err *err)
{
    size_t len = 0;
    unsigned depth = 0;

    if (path == NULL)
        return SYN_FAIL(err, SYN_E_CORRUPT, "an entry has no usable name");
    if (path[0] == '/')
        return SYN_FAIL(err, SYN_E_CORRUPT, "%.100s: absolute paths are refused", path);
    out[0] = '\0';
    for (const char *at = path; *at != '\0'; at += *at == '/') {
        size_t part = strcspn(at, "/");

        if (part == 2 && memcmp(at, "..", 2) == 0)
            return SYN_FAIL(err, SYN_E_CORRUPT, "%.100s: paths with \"..\" are refused", path);
        if (part > 255 || len + part + 2 > SYN_OCI_PATH_MAX || depth > SYN_OCI_DEPTH_MAX)
            return SYN_FAIL(err, SYN_E_LIMIT, "%.100s...: the path is too long or too deep", path);
        if (part > 0 && !(part == 1 && at[0] == '.')) {
            if (len > 0)
                out[len++] = '/';
            memcpy(out + len, at, part);
            len += part;
            out[len] = '\0';
            depth++;
        }
        at += part;
    }
    return SYN_OK;
}

/* A descriptor on the folder `path` of the tree, or -1 with errno. */
static int
lookup(int root, const char *path)
{
    const struct open_how how = {
        .flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
        .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV,
    };
    int fd = -1;

    for (unsigned i = 0; i < RESOLVE_TRIES; i++) {
        fd = (int)syscall(SYS_openat2, root, path, &how, sizeof(how));
        if (fd >= 0 || (errno != EAGAIN && errno != EINTR))
            break;
    }
    return fd;
}

/* A way that ends in a file, in a circle or in nothing is the layer's fault, the rest is not. */
static int
lookup_fail(int why, const char *path, struct syn_err *err)
{
    bool damaged = why == ENOENT || why == EEXIST || why == ENOTDIR || why == ELOOP || why == EXDEV;

    return syn_err_set(err, damaged ? SYN_E_CORRUPT : syn_err_from_errno(why), why, __FILE__,
                       __LINE__, "the folder %.100s", path);
}

/* Make folder after folder what is missing of `path`. */
static int
make_folders(int root, const char *path, int *ret_fd, struct syn_err *err)
{
    char prefix[SYN_OCI_PATH_MAX];
    SYN_SCOPED(close_scope) int above = lookup(root, ".");

    for (const char *at = path; *at != '\0'; at += *at == '/') {
        const char *name = at;
        int fd;

        at += strcspn(at, "/");
        (void)snprintf(prefix, sizeof(prefix), "%.*s", (int)(at - path), path);
        fd = lookup(root, prefix);
        if (fd < 0 && errno == ENOENT && mkdirat(above, prefix + (name - path), 0755) == 0 &&
            fchmodat(above, prefix + (name - path), 0755, 0) == 0) /* whatever the umask */
            fd = lookup(root, prefix);
        if (fd < 0)
            return lookup_fail(errno, prefix, err);
        close_scope(&above);
        above = fd;
    }
    *ret_fd = above;
    above = -1;
    return SYN_OK;
}

/* The folder that `path` is in. *ret_fd stays -1 when it is missing and not to be made. */
static int
open_parent(const struct syn_oci_tree *tree, const char *path, bool make, int *ret_fd,
            struct syn_err *err)
{
    char parent[SYN_OCI_PATH_MAX];
    const char *slash = strrchr(path, '/');

    (void)snprintf(parent, sizeof(parent), "%.*s", slash != NULL ? (int)(slash - path) : 1,
                   slash != NULL ? path : ".");
    *ret_fd = lookup(tree->root, parent);
    if (*ret_fd >= 0)
        return SYN_OK;
    if (errno == ENOSYS)
        return SYN_FAIL(err, SYN_E_UNSUPPORTED, "this kernel has no openat2: Linux 5.6 has it");
    if (errno != ENOENT && errno != ENOTDIR && errno != ELOOP && errno != EXDEV)
        return SYN_FAIL_SYS(err, errno, "%.100s", parent);
    return make ? make_folders(tree->root, parent, ret_fd, err) : SYN_OK;
}

static const char *
last_part(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash != NULL ? slash + 1 : path;
}

/* --- removing --------------------------------------------------------------------------------- */

static bool
is_dots(const char *name)
{
    return syn_str_eq(name, ".") || syn_str_eq(name, "..");
}

/* Remove `name` in `dir` if it is no folder, or an empty one. errno says what is in the way. */
static bool
remove_plain(int dir, const char *name)
{
    return unlinkat(dir, name, 0) == 0 || errno == ENOENT ||
           ((errno == EISDIR || errno == EPERM) && unlinkat(dir, name, AT_REMOVEDIR) == 0);
}

static DIR *
open_listing(int dir, const char *name)
{
    int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *listing = fd < 0 ? NULL : fdopendir(fd);

    if (listing == NULL)
        close_scope(&fd);
    return listing;
}

/* Move the folders in folder `name` of `top` up into `top`, drop everything else, then itself. */
static int
hoist(int top, const char *name, unsigned *number, struct syn_err *err)
{
    DIR *listing = open_listing(top, name);
    const struct dirent *entry;
    char fresh[32];
    int rc = SYN_OK;

    if (listing == NULL)
        return SYN_FAIL_SYS(err, errno, "removing %.100s", name);
    while (rc == SYN_OK && (entry = readdir(listing)) != NULL) {
        int moved;

        if (is_dots(entry->d_name) || remove_plain(dirfd(listing), entry->d_name))
            continue;
        do {
            (void)snprintf(fresh, sizeof(fresh), HOIST_FORMAT, (*number)++);
            moved = renameat2(dirfd(listing), entry->d_name, top, fresh, RENAME_NOREPLACE);
        } while (moved < 0 && errno == EEXIST);
        if (moved < 0)
            rc = SYN_FAIL_SYS(err, errno, "removing %.100s", entry->d_name);
    }
    (void)closedir(listing);
    return rc;
}

/* Recursion would hold a descriptor for each level, and links let a layer nest folders deeper than
 * any path it names. Hoisting grandchildren up makes every tree flat. */
int
syn_oci_clear(int dir, struct syn_err *err)
{
    unsigned number = 0;
    bool found = true;
    int rc = SYN_OK;

    while (rc == SYN_OK && found) {
        DIR *listing = open_listing(dir, ".");
        const struct dirent *entry;

        if (listing == NULL)
            return SYN_FAIL_SYS(err, errno, "emptying a folder");
        found = false;
        while (rc == SYN_OK && (entry = readdir(listing)) != NULL) {
            if (is_dots(entry->d_name))
                continue;
            found = true;
            if (!remove_plain(dir, entry->d_name))
                rc = errno == ENOTEMPTY
                         ? hoist(dir, entry->d_name, &number, err)
                         : SYN_FAIL_SYS(err, errno, "removing %.100s", entry->d_name);
        }
        (void)closedir(listing);
    }
    return rc;
}

static int
remove_entry(int dir, const char *name, struct syn_err *err)
{
    SYN_SCOPED(close_scope) int fd = -1;
    int rc;

    if (remove_plain(dir, name))
        return SYN_OK;
    if (errno != ENOTEMPTY)
        return SYN_FAIL_SYS(err, errno, "removing %.100s", name);
    fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return SYN_FAIL_SYS(err, errno, "removing %.100s", name);
    rc = syn_oci_clear(fd, err);
    if (rc == SYN_OK && unlinkat(dir, name, AT_REMOVEDIR) < 0)
        return SYN_FAIL_SYS(err, errno, "removing %.100s", name);
    return rc;
}

/* --- entries ---------------------------------------------------------------------------------- */

static mode_t
mode_of(const struct syn_oci_tree *tree, struct archive_entry *entry, bool folder)
{
    mode_t mode = archive_entry_perm(entry) & 0777;

    if (folder)
        mode |= 0700 | (archive_entry_perm(entry) & 01000);
    if (tree->limits->open_modes)
        mode |= (mode & 0500) >> 3 | (mode & 0500) >> 6;
    return mode;
}

static int
owner_of(struct archive_entry *entry, uid_t *ret_uid, gid_t *ret_gid, struct syn_err *err)
{
    la_int64_t uid = archive_entry_uid(entry), gid = archive_entry_gid(entry);

    if (uid < 0 || uid > SYN_OCI_ID_MAX || gid < 0 || gid > SYN_OCI_ID_MAX)
        return SYN_FAIL(err, SYN_E_LIMIT, "owner %lld:%lld is over %d", (long long)uid,
                        (long long)gid, SYN_OCI_ID_MAX);
    *ret_uid = (uid_t)uid;
    *ret_gid = (gid_t)gid;
    return SYN_OK;
}

static int
set_owner(const struct syn_oci_tree *tree, struct archive_entry *entry, int dir, const char *name,
          struct syn_err *err)
{
    uid_t uid = 0;
    gid_t gid = 0;
    int rc;

    if (!tree->limits->keep_owner)
        return SYN_OK;
    rc = owner_of(entry, &uid, &gid, err);
    if (rc == SYN_OK && fchownat(dir, name, uid, gid, AT_SYMLINK_NOFOLLOW) < 0)
        return SYN_FAIL_SYS(err, errno, "setting the owner");
    return rc;
}

/* Python, among others, compares the times of files with those it has written down. */
static int
set_time(struct archive_entry *entry, int dir, const char *name, struct syn_err *err)
{
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_nsec = UTIME_OMIT}};

    if (archive_entry_mtime_is_set(entry)) {
        times[1].tv_sec = archive_entry_mtime(entry);
        times[1].tv_nsec = archive_entry_mtime_nsec(entry);
    }
    if (utimensat(dir, name, times, AT_SYMLINK_NOFOLLOW) < 0 && errno != EINVAL)
        return SYN_FAIL_SYS(err, errno, "setting the time");
    return SYN_OK;
}

static int
add_folder(const struct syn_oci_tree *tree, struct archive_entry *entry, int dir, const char *name,
           struct syn_err *err)
{
    struct stat st;
    int rc;

    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISDIR(st.st_mode)) {
        rc = remove_entry(dir, name, err);
        if (rc < 0)
            return rc;
        if (mkdirat(dir, name, 0700) < 0)
            return SYN_FAIL_SYS(err, errno, "making the folder");
    }
    rc = set_owner(tree, entry, dir, name, err);
    /* No link: it was just seen or made, and nobody else is here. */
    if (rc == SYN_OK && fchmodat(dir, name, mode_of(tree, entry, true), 0) < 0)
        return SYN_FAIL_SYS(err, errno, "setting the mode");
    return rc;
}

static int
write_block(int fd, const void *data, size_t len, off_t offset, struct syn_err *err)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = pwrite(fd, (const char *)data + done, len - done, offset + (off_t)done);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return SYN_FAIL_SYS(err, n < 0 ? errno : EIO, "writing");
        done += (size_t)n;
    }
    return SYN_OK;
}

static int
write_data(struct pass *pass, struct archive_entry *entry, int fd, struct syn_err *err)
{
    la_int64_t size = archive_entry_size(entry), offset;
    const void *data;
    size_t len;
    int rc = SYN_OK;

    while (rc == SYN_OK) {
        int got = archive_read_data_block(pass->tar, &data, &len, &offset);

        if (got == ARCHIVE_EOF)
            break;
        if (got < ARCHIVE_WARN)
            return archive_fail(pass, pass->tar, err);
        if (offset < 0 || offset > size || (la_int64_t)len > size - offset)
            return SYN_FAIL(err, SYN_E_CORRUPT, "the file is longer than it says");
        rc = write_block(fd, data, len, offset, err);
    }
    if (rc == SYN_OK && ftruncate(fd, size) < 0)
        return SYN_FAIL_SYS(err, errno, "writing");
    return rc;
}

static int
add_file(struct pass *pass, struct archive_entry *entry, int dir, const char *name,
         struct syn_err *err)
{
    struct syn_oci_tree *tree = pass->tree;
    la_int64_t size = archive_entry_size(entry);
    SYN_SCOPED(close_scope) int fd = -1;
    int rc;

    if (size < 0 || size > tree->limits->bytes_max - tree->done.bytes)
        return SYN_FAIL(err, SYN_E_LIMIT, "the image's files are larger than %lld bytes",
                        (long long)tree->limits->bytes_max);
    tree->done.bytes += size;
    rc = remove_entry(dir, name, err);
    if (rc < 0)
        return rc;
    fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return SYN_FAIL_SYS(err, errno, "making the file");
    rc = write_data(pass, entry, fd, err);
    if (rc == SYN_OK)
        rc = set_owner(tree, entry, dir, name, err);
    if (rc == SYN_OK && fchmod(fd, mode_of(tree, entry, false)) < 0)
        return SYN_FAIL_SYS(err, errno, "setting the mode");
    return rc < 0 ? rc : set_time(entry, dir, name, err);
}

static int
add_symlink(const struct syn_oci_tree *tree, struct archive_entry *entry, int dir, const char *name,
            struct syn_err *err)
{
    const char *text = archive_entry_symlink(entry);
    int rc;

    if (text == NULL || text[0] == '\0' || strlen(text) >= SYN_OCI_PATH_MAX)
        return SYN_FAIL(err, SYN_E_CORRUPT, "a link without a usable target");
    rc = remove_entry(dir, name, err);
    if (rc < 0)
        return rc;
    if (symlinkat(text, dir, name) < 0)
        return SYN_FAIL_SYS(err, errno, "making the link");
    rc = set_owner(tree, entry, dir, name, err);
    return rc < 0 ? rc : set_time(entry, dir, name, err);
}

static int
add_hardlink(const struct syn_oci_tree *tree, struct archive_entry *entry, int dir,
             const char *name, struct syn_err *err)
{
    char path[SYN_OCI_PATH_MAX];
    struct stat target, old;
    SYN_SCOPED(close_scope) int from = -1;
    int rc = clean_path(archive_entry_hardlink(entry), path, err);

    if (rc == SYN_OK)
        rc = open_parent(tree, path, false, &from, err);
    if (rc < 0)
        return rc;
    if (path[0] == '\0' || from < 0 ||
        fstatat(from, last_part(path), &target, AT_SYMLINK_NOFOLLOW) < 0 || S_ISDIR(target.st_mode))
        return SYN_FAIL(err, SYN_E_CORRUPT, "a hard link to %.100s, which is no file", path);
    if (fstatat(dir, name, &old, AT_SYMLINK_NOFOLLOW) == 0 && old.st_ino == target.st_ino &&
        old.st_dev == target.st_dev)
        return SYN_OK; /* removing the old one might remove the target */
    rc = remove_entry(dir, name, err);
    if (rc == SYN_OK && linkat(from, last_part(path), dir, name, 0) < 0)
        return SYN_FAIL_SYS(err, errno, "linking to %.100s", path);
    return rc;
}

static int
add_entry(struct pass *pass, struct archive_entry *entry, const char *path, struct syn_err *err)
{
    const char *name = last_part(path);
    SYN_SCOPED(close_scope) int dir = -1;
    int rc;

    if (name[0] == '\0' || syn_str_starts(name, WHITEOUT))
        return SYN_OK; /* the root keeps its own mode; whiteouts had their pass */
    rc = open_parent(pass->tree, path, true, &dir, err);
    if (rc < 0)
        return rc;
    if (archive_entry_hardlink(entry) != NULL)
        return add_hardlink(pass->tree, entry, dir, name, err);
    switch (archive_entry_filetype(entry)) {
    case AE_IFDIR:
        return add_folder(pass->tree, entry, dir, name, err);
    case AE_IFREG:
        return add_file(pass, entry, dir, name, err);
    case AE_IFLNK:
        return add_symlink(pass->tree, entry, dir, name, err);
    default:
        pass->tree->done.skipped++;
        return SYN_OK;
    }
}

static int
white_out(struct pass *pass, struct archive_entry *entry, const char *path, struct syn_err *err)
{
    const char *name = last_part(path);
    SYN_SCOPED(close_scope) int dir = -1;
    SYN_SCOPED(close_scope) int listing = -1;
    int rc;

    (void)entry;
    if (!syn_str_starts(name, WHITEOUT))
        return SYN_OK;
    rc = open_parent(pass->tree, path, false, &dir, err);
    if (rc < 0 || dir < 0)
        return rc;
    if (syn_str_eq(name, WHITEOUT_ALL)) {
        listing = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return listing < 0 ? SYN_FAIL_SYS(err, errno, "opening the folder")
                           : syn_oci_clear(listing, err);
    }
    if (syn_str_starts(name, WHITEOUT_OWN))
        return SYN_OK; /* bookkeeping of a storage driver */
    name += strlen(WHITEOUT);
    if (name[0] == '\0' || is_dots(name))
        return SYN_FAIL(err, SYN_E_CORRUPT, "a whiteout of nothing");
    return remove_entry(dir, name, err);
}

/* --- a layer ---------------------------------------------------------------------------------- */

typedef int (*visit_fn)(struct pass *pass, struct archive_entry *entry, const char *path,
                        struct syn_err *err);

static int
visit_one(struct pass *pass, struct archive_entry *entry, visit_fn visit, struct syn_err *err)
{
    struct syn_oci_tree *tree = pass->tree;
    char path[SYN_OCI_PATH_MAX] = "";
    int rc = clean_path(archive_entry_pathname(entry), path, err);

    if (rc < 0)
        return rc;
    if (++tree->done.entries > tree->limits->entries_max)
        return SYN_FAIL(err, SYN_E_LIMIT, "the image has more than %lld entries",
                        (long long)tree->limits->entries_max);
    rc = visit(pass, entry, path, err);
    return rc < 0 ? syn_err_wrap(err, rc, "%.100s", path) : SYN_OK;
}

static int
visit_all(struct pass *pass, visit_fn visit, struct syn_err *err)
{
    struct archive_entry *entry;
    int rc = pass_open(pass, err);

    while (rc == SYN_OK) {
        int got = archive_read_next_header(pass->tar, &entry);

        if (got == ARCHIVE_EOF)
            return pass_finish(pass, err);
        if (got < ARCHIVE_WARN)
            return archive_fail(pass, pass->tar, err);
        rc = visit_one(pass, entry, visit, err);
    }
    return rc;
}

/* One for the process, kept for good: libc remembers for ever that it could not load a locale, also
 * when all that was missing was a file descriptor. 0 when there is none. */
static locale_t
utf8_locale(void)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static locale_t kept = (locale_t)0;
    locale_t found;

    (void)pthread_mutex_lock(&lock);
    if (kept == (locale_t)0)
        kept = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
    found = kept;
    (void)pthread_mutex_unlock(&lock);
    return found;
}

/* Names in pax headers are UTF-8, and libarchive hands them out in the locale's encoding: give this
 * thread one that leaves them as they are. */
static int
pass_run(struct syn_oci_tree *tree, const struct syn_oci_layer *layer, visit_fn visit,
         struct syn_err *err)
{
    SYN_SCOPED(pass_close) struct pass pass = {.tree = tree, .layer = layer};
    locale_t utf8 = utf8_locale();
    locale_t before = (locale_t)0;
    int rc;

    if (utf8 == (locale_t)0)
        return SYN_FAIL(err, SYN_E_UNSUPPORTED, "the locale C.UTF-8 is missing");
    before = uselocale(utf8);
    rc = visit_all(&pass, visit, err);
    (void)uselocale(before);
    return rc;
}

int
syn_oci_whiteout(struct syn_oci_tree *tree, const struct syn_oci_layer *layer, struct syn_err *err)
{
    struct syn_oci_unpacked done = tree->done;
    int64_t read = tree->read;
    int rc = pass_run(tree, layer, white_out, err);

    /* The second pass counts the same bytes and entries again. */
    tree->done = done;
    tree->read = read;
    return rc;
}

int
syn_oci_apply(struct syn_oci_tree *tree, const struct syn_oci_layer *layer, struct syn_err *err)
{
    return pass_run(tree, layer, add_entry, err);
}
