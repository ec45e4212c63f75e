/* A layout as a folder: its files are read through open_file(), beneath the layout, through no
 * link, and what a digest leads to is held against it. */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/infra/oci_layout.h>

#include "oci_unpack_priv.h"

#define PARTIAL ".partial"

struct syn_oci_layout {
    int dir;
    char digest[sizeof("sha256:") + SYN_OCI_HEX_SIZE];
    struct syn_oci_manifest manifest;
    struct syn_oci_image image;
};

const char *
syn_oci_architecture(void)
{
#if defined(__x86_64__)
    return "amd64";
#elif defined(__aarch64__)
    return "arm64";
#elif defined(__riscv) && __riscv_xlen == 64
    return "riscv64";
#elif defined(__powerpc64__) && defined(__LITTLE_ENDIAN__)
    return "ppc64le";
#elif defined(__s390x__)
    return "s390x";
#else
#error "name this processor in the words of OCI images"
#endif
}

static void
close_scope(const int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
}

/* --- files of the layout ---------------------------------------------------------------------- */

/* Open a regular file of the layout, never through a link and never outside. */
static int
open_file(int dir, const char *path, int *ret_fd, struct stat *ret_stat, struct syn_err *err)
{
    const struct open_how how = {.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK,
                                 .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS};
    int fd = (int)syscall(SYS_openat2, dir, path, &how, sizeof(how));

    if (fd < 0)
        return SYN_FAIL_SYS(err, errno, "image layout: %s", path);
    if (fstat(fd, ret_stat) < 0 || !S_ISREG(ret_stat->st_mode)) {
        (void)close(fd);
        return SYN_FAIL(err, SYN_E_INVALID, "image layout: %s is not a file", path);
    }
    *ret_fd = fd;
    return SYN_OK;
}

static int
read_all(int fd, const struct stat *st, const char *path, struct syn_buf *out, struct syn_err *err)
{
    size_t size = (size_t)st->st_size;
    char *at;

    if (st->st_size > (off_t)SYN_JSON_BYTES_MAX)
        return SYN_FAIL(err, SYN_E_TOOBIG, "image layout: %s is larger than %zu bytes", path,
                        SYN_JSON_BYTES_MAX);
    if (size == 0)
        return SYN_OK;
    at = syn_buf_reserve(out, size);
    if (at == NULL)
        return syn_buf_ok(out, err);
    for (size_t got = 0; got < size;) {
        ssize_t n = pread(fd, at + got, size - got, (off_t)got);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return SYN_FAIL_SYS(err, n < 0 ? errno : EIO, "image layout: reading %s", path);
        got += (size_t)n;
    }
    out->len += size;
    return SYN_OK;
}

static int
read_file(int dir, const char *path, struct syn_buf *out, struct syn_err *err)
{
    struct stat st = {0};
    SYN_SCOPED(close_scope) int fd = -1;
    int rc = open_file(dir, path, &fd, &st, err);

    return rc < 0 ? rc : read_all(fd, &st, path, out, err);
}

static int
open_blob(const struct syn_oci_layout *layout, const struct syn_oci_blob *blob, int *ret_fd,
          struct stat *ret_stat, struct syn_err *err)
{
    char path[sizeof("blobs/sha256/") + SYN_OCI_HEX_SIZE];
    int rc;

    (void)snprintf(path, sizeof(path), "blobs/sha256/%s", blob->hex);
    rc = open_file(layout->dir, path, ret_fd, ret_stat, err);
    if (rc == SYN_E_NOTFOUND)
        return SYN_FAIL(err, SYN_E_CORRUPT, "image layout: %s is missing", path);
    if (rc == SYN_OK && ret_stat->st_size != blob->size) {
        (void)close(*ret_fd);
        return SYN_FAIL(err, SYN_E_CORRUPT, "image layout: %s has %lld bytes, expected %lld", path,
                        (long long)ret_stat->st_size, (long long)blob->size);
    }
    return rc;
}

/* A blob that is a document: read whole, held against its digest. */
static int
read_blob(const struct syn_oci_layout *layout, const struct syn_oci_blob *blob, struct syn_buf *out,
          struct syn_err *err)
{
    uint8_t digest[SYN_SHA256_LEN];
    char hex[SYN_OCI_HEX_SIZE];
    struct stat st = {0};
    SYN_SCOPED(close_scope) int fd = -1;
    int rc = open_blob(layout, blob, &fd, &st, err);

    if (rc == SYN_OK)
        rc = read_all(fd, &st, blob->hex, out, err);
    if (rc < 0)
        return rc;
    syn_sha256(syn_buf_text(out), out->len, digest);
    syn_hex_encode(digest, sizeof(digest), hex);
    if (!syn_str_eq(hex, blob->hex))
        return SYN_FAIL(err, SYN_E_CORRUPT, "image layout: blob %.12s is damaged", blob->hex);
    return SYN_OK;
}

/* --- choosing --------------------------------------------------------------------------------- */

static int
read_index(void *arg, const struct syn_oci_blob *blob, struct syn_buf *out, struct syn_err *err)
{
    return read_blob(arg, blob, out, err);
}

static int
choose(struct syn_oci_layout *layout, struct syn_oci_chooser *chooser, struct syn_oci_blob *ret,
       struct syn_err *err)
{
    SYN_BUF(text);
    int rc = read_file(layout->dir, "index.json", &text, err);

    chooser->read = read_index;
    chooser->arg = layout;
    return rc < 0 ? rc : syn_oci_choose(chooser, &text, ret, err);
}

static int
load_image(struct syn_oci_layout *layout, const struct syn_oci_blob *found,
           const char *architecture, struct syn_err *err)
{
    SYN_BUF(text);
    int rc = read_blob(layout, found, &text, err);

    if (rc == SYN_OK)
        rc = syn_oci_manifest_parse(syn_buf_text(&text), text.len, &layout->manifest, err);
    syn_buf_clear(&text);
    if (rc == SYN_OK)
        rc = read_blob(layout, &layout->manifest.config, &text, err);
    if (rc == SYN_OK)
        rc = syn_oci_image_parse(syn_buf_text(&text), text.len, &layout->image, err);
    if (rc < 0)
        return rc;
    (void)snprintf(layout->digest, sizeof(layout->digest), "sha256:%s", found->hex);
    return syn_oci_image_fits(&layout->image, &layout->manifest, architecture, err);
}

static int
open_layout(struct syn_oci_layout *layout, const char *path, const struct syn_oci_choice *choice,
            struct syn_err *err)
{
    struct syn_oci_chooser chooser = {.ref = choice->ref};
    struct syn_oci_blob found;
    SYN_BUF(marker);
    int rc;

    chooser.architecture =
        choice->architecture != NULL ? choice->architecture : syn_oci_architecture();
    layout->dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (layout->dir < 0)
        return SYN_FAIL_SYS(err, errno, "opening %s", path);
    rc = read_file(layout->dir, "oci-layout", &marker, err);
    if (rc == SYN_E_NOTFOUND)
        return SYN_FAIL(err, rc, "this is no OCI image layout: it has no file oci-layout");
    if (rc == SYN_OK)
        rc = syn_oci_marker_parse(syn_buf_text(&marker), marker.len, err);
    if (rc == SYN_OK)
        rc = choose(layout, &chooser, &found, err);
    return rc < 0 ? rc : load_image(layout, &found, chooser.architecture, err);
}

int
syn_oci_layout_open(const char *path, const struct syn_oci_choice *choice,
                    struct syn_oci_layout **ret_layout, struct syn_err *err)
{
    SYN_SCOPED(syn_oci_layout_close_scope) struct syn_oci_layout *layout = NULL;
    int rc;

    layout = syn_calloc(1, sizeof(*layout));
    if (layout == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for an image layout");
    layout->dir = -1;
    rc = open_layout(layout, path, choice, err);
    if (rc == SYN_OK)
        *ret_layout = SYN_TAKE(layout);
    return rc;
}

struct syn_oci_layout *
syn_oci_layout_close(struct syn_oci_layout *layout)
{
    if (layout == NULL)
        return NULL;
    close_scope(&layout->dir);
    syn_oci_image_fini(&layout->image);
    syn_free(layout);
    return NULL;
}

void
syn_oci_layout_close_scope(struct syn_oci_layout **slot)
{
    *slot = syn_oci_layout_close(*slot);
}

const struct syn_oci_config *
syn_oci_layout_config(const struct syn_oci_layout *layout)
{
    return &layout->image.config;
}

const char *
syn_oci_layout_digest(const struct syn_oci_layout *layout)
{
    return layout->digest;
}

size_t
syn_oci_layout_layers(const struct syn_oci_layout *layout)
{
    return layout->manifest.count;
}

/* --- unpacking -------------------------------------------------------------------------------- */

static int
unpack_layer(const struct syn_oci_layout *layout, size_t number, struct syn_oci_tree *tree,
             struct syn_err *err)
{
    struct syn_oci_layer layer = {.blob = &layout->manifest.layers[number],
                                  .diff_id = layout->image.diff_ids[number]};
    struct stat st = {0};
    SYN_SCOPED(close_scope) int fd = -1;
    int rc = open_blob(layout, layer.blob, &fd, &st, err);

    layer.fd = fd;
    /* A whiteout speaks of the layers below, wherever in its own layer it stands. */
    if (rc == SYN_OK && number > 0)
        rc = syn_oci_whiteout(tree, &layer, err);
    if (rc == SYN_OK && lseek(fd, 0, SEEK_SET) != 0)
        rc = SYN_FAIL_SYS(err, errno, "rewinding a layer");
    if (rc == SYN_OK)
        rc = syn_oci_apply(tree, &layer, err);
    return rc < 0 ? syn_err_wrap(err, rc, "layer %zu", number) : SYN_OK;
}

static int
unpack_into(const struct syn_oci_layout *layout, int root, const struct syn_oci_limits *limits,
            struct syn_oci_unpacked *ret, struct syn_err *err)
{
    struct syn_oci_tree tree = {.root = root, .limits = limits};
    int rc = syn_oci_clear(root, err);

    for (size_t i = 0; rc == SYN_OK && i < layout->manifest.count; i++)
        rc = unpack_layer(layout, i, &tree, err);
    if (rc == SYN_OK && fchmod(root, 0755) < 0)
        rc = SYN_FAIL_SYS(err, errno, "setting the mode of a root folder");
    /* Nobody looks at the files again before they are used: on disk before they have their name. */
    if (rc == SYN_OK && syncfs(root) < 0)
        rc = SYN_FAIL_SYS(err, errno, "writing an image to disk");
    *ret = tree.done;
    return rc;
}

int
syn_oci_layout_unpack(const struct syn_oci_layout *layout, const char *target,
                      const struct syn_oci_limits *limits, struct syn_oci_unpacked *ret_unpacked,
                      struct syn_err *err)
{
    char partial[SYN_OCI_PATH_MAX];
    struct syn_oci_unpacked unpacked;
    SYN_SCOPED(close_scope) int root = -1;
    int rc;

    if (snprintf(partial, sizeof(partial), "%s" PARTIAL, target) >= (int)sizeof(partial))
        return SYN_FAIL(err, SYN_E_INVALID, "the path of the target is too long");
    if (access(target, F_OK) == 0)
        return SYN_FAIL(err, SYN_E_EXISTS, "%s exists", target);
    if (mkdir(partial, 0700) < 0 && errno != EEXIST)
        return SYN_FAIL_SYS(err, errno, "making %s", partial);
    root = open(partial, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (root < 0)
        return SYN_FAIL_SYS(err, errno, "opening %s", partial);
    rc = unpack_into(layout, root, limits, &unpacked, err);
    if (rc == SYN_OK && renameat2(AT_FDCWD, partial, AT_FDCWD, target, RENAME_NOREPLACE) < 0)
        rc = SYN_FAIL_SYS(err, errno, "renaming %s", partial);
    if (rc < 0) {
        (void)!syn_oci_clear(root, NULL);
        (void)rmdir(partial);
        return rc;
    }
    *ret_unpacked = unpacked;
    return SYN_OK;
}
