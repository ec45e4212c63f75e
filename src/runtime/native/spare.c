#include "spare_priv.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "file_priv.h"
#include "scratch_priv.h"

int
syn_spare_init(struct syn_spare *spare, struct syn_err *err)
{
    *spare = (struct syn_spare){.image = -1, .mounted = -1};
    if (pthread_mutex_init(&spare->lock, NULL) != 0)
        return SYN_FAIL(err, SYN_E_NOMEM, "spare scratch space");
    return SYN_OK;
}

/* Under the lock. The mount goes first: it is what uses the image. */
static void
drop(struct syn_spare *spare)
{
    syn_fd_scope(&spare->mounted);
    syn_fd_scope(&spare->image);
    spare->bytes = 0;
}

void
syn_spare_fini(struct syn_spare *spare)
{
    drop(spare);
    (void)pthread_mutex_destroy(&spare->lock);
}

bool
syn_spare_take(struct syn_spare *spare, int64_t bytes, const char *image, const char *at)
{
    SYN_FD(file);
    SYN_FD(mounted);
    char open_file[64];

    (void)pthread_mutex_lock(&spare->lock);
    spare->wanted_bytes = bytes;
    if (spare->bytes == bytes) {
        file = syn_fd_take(&spare->image);
        mounted = syn_fd_take(&spare->mounted);
        spare->bytes = 0;
    }
    (void)pthread_mutex_unlock(&spare->lock);
    if (mounted < 0)
        return false;
    (void)snprintf(open_file, sizeof(open_file), "/proc/self/fd/%d", file);
    if (linkat(AT_FDCWD, open_file, AT_FDCWD, image, AT_SYMLINK_FOLLOW) < 0)
        return false; /* on another file system, perhaps */
    if (syn_scratch_place(mounted, at, NULL) == SYN_OK)
        return true;
    (void)unlink(image);
    return false;
}

/* A new space of `bytes`, in the two descriptors. */
static int
make(const char *cache, int64_t bytes, int *ret_image, int *ret_mounted)
{
    SYN_FD(file);
    SYN_FD(mounted);
    int rc;

    file = open(cache, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (file < 0)
        return SYN_E_UNSUPPORTED;
    rc = syn_scratch_fill(cache, bytes, file, NULL);
    if (rc == SYN_OK)
        rc = syn_scratch_attach(file, &mounted, NULL);
    if (rc < 0)
        return rc;
    *ret_image = syn_fd_take(&file);
    *ret_mounted = syn_fd_take(&mounted);
    return SYN_OK;
}

void
syn_spare_refill(struct syn_spare *spare, const char *cache)
{
    SYN_FD(file);
    SYN_FD(mounted);
    int64_t bytes;

    (void)pthread_mutex_lock(&spare->lock);
    bytes = spare->wanted_bytes;
    if (spare->bytes == bytes)
        bytes = 0;
    (void)pthread_mutex_unlock(&spare->lock);
    if (bytes == 0 || make(cache, bytes, &file, &mounted) < 0)
        return;
    (void)pthread_mutex_lock(&spare->lock);
    if (spare->bytes != bytes) { /* else somebody else was faster, and ours goes */
        drop(spare);
        spare->bytes = bytes;
        spare->image = syn_fd_take(&file);
        spare->mounted = syn_fd_take(&mounted);
    }
    (void)pthread_mutex_unlock(&spare->lock);
}
