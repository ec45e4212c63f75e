/* A file for each layer that is not in an image yet:
 *
 *      MAGIC  whole  done  hash  state...  SHA-256 of all before it
 *
 * Renamed into place, never synced: after a crash of the machine it is the one before, or not what
 * its digest says, and is passed over. Nothing in it is trusted for the content itself: what a part
 * leads to is held against the layer's digest in the end, as if it had come at once. */
#include "oci_part_priv.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <synor/base/str.h>
#include <synor/infra/oci_layout.h>

#define MAGIC     "synpart1"
#define MAGIC_LEN 8
#define PART_MAX  ((size_t)16 << 20)

struct head {
    char magic[MAGIC_LEN];
    int64_t whole;
    int64_t done;
    struct syn_sha256 hash;
};

static bool
path_of(const char *dir, const char *hex, const char *suffix, char out[SYN_OCI_PATH_MAX])
{
    return snprintf(out, SYN_OCI_PATH_MAX, "%s/%s%s", dir, hex, suffix) < SYN_OCI_PATH_MAX;
}

static bool
write_all(int fd, const char *at, size_t len)
{
    while (len > 0) {
        ssize_t put = write(fd, at, len);

        if (put <= 0)
            return false;
        at += put;
        len -= (size_t)put;
    }
    return true;
}

void
syn_oci_part_write(const char *dir, const char *hex, const struct syn_oci_part *part)
{
    const struct head head = {MAGIC, part->whole, part->done, part->hash};
    char path[SYN_OCI_PATH_MAX], fresh[SYN_OCI_PATH_MAX];
    uint8_t digest[SYN_SHA256_LEN];
    SYN_BUF(text);
    bool done;
    int fd;

    syn_buf_add(&text, &head, sizeof(head));
    syn_buf_add(&text, syn_buf_text(&part->state), part->state.len);
    syn_sha256(syn_buf_text(&text), text.len, digest);
    syn_buf_add(&text, digest, sizeof(digest));
    if (syn_buf_ok(&text, NULL) < 0 || !path_of(dir, hex, "", path) ||
        !path_of(dir, hex, ".XXXXXX", fresh))
        return;
    fd = mkostemp(fresh, O_CLOEXEC);
    if (fd < 0)
        return;
    done = write_all(fd, syn_buf_text(&text), text.len);
    (void)close(fd);
    if (!done || rename(fresh, path) != 0)
        (void)unlink(fresh);
}

static bool
read_file(const char *path, struct syn_buf *out)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    char piece[16384];
    ssize_t got = -1;

    while (fd >= 0 && out->len <= PART_MAX && (got = read(fd, piece, sizeof(piece))) > 0)
        syn_buf_add(out, piece, (size_t)got);
    if (fd >= 0)
        (void)close(fd);
    return got == 0 && syn_buf_ok(out, NULL) == SYN_OK;
}

bool
syn_oci_part_read(const char *dir, const char *hex, struct syn_oci_part *ret)
{
    char path[SYN_OCI_PATH_MAX];
    uint8_t digest[SYN_SHA256_LEN];
    struct head head;
    SYN_BUF(text);
    size_t len;

    if (!path_of(dir, hex, "", path) || !read_file(path, &text) ||
        text.len < sizeof(head) + sizeof(digest))
        return false;
    len = text.len - sizeof(digest);
    syn_sha256(syn_buf_text(&text), len, digest);
    memcpy(&head, syn_buf_text(&text), sizeof(head));
    if (memcmp(digest, syn_buf_text(&text) + len, sizeof(digest)) != 0 ||
        memcmp(head.magic, MAGIC, MAGIC_LEN) != 0 || head.done < 0)
        return false;
    ret->whole = head.whole != 0;
    ret->done = head.done;
    ret->hash = head.hash;
    syn_buf_add(&ret->state, syn_buf_text(&text) + sizeof(head), len - sizeof(head));
    return syn_buf_ok(&ret->state, NULL) == SYN_OK;
}

void
syn_oci_part_fini(struct syn_oci_part *part)
{
    syn_buf_fini(&part->state);
}

void
syn_oci_part_remove(const char *dir, const char *hex)
{
    char path[SYN_OCI_PATH_MAX];

    if (path_of(dir, hex, "", path))
        (void)unlink(path);
}
