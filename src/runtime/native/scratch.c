/* Scratch space: why an image file.
 *
 * A job must meet a real ENOSPC at its own limit and must not fill the node's disk. Project quotas
 * would be cheapest but need ext4 or xfs built and mounted for them; btrfs needs btrfs; a tmpfs
 * eats memory. A sparse ext4 image on a loop device works on every kernel.
 *
 * mkfs takes tens of milliseconds, so each size is made once and copied: the template's data is a
 * few hundred KiB of metadata in a sparse file, copied extent by extent (or shared by reflink).
 * Mounting writes the superblock; with barriers that is an fsync of the host's disk on the way to
 * the first instruction. So it is mounted without, and the supervisor turns them on once the job
 * runs. LO_FLAGS_AUTOCLEAR ties the device to the mount: a crash anywhere leaks nothing. */
#include "scratch_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <synor/base/child.h>

#include "file_priv.h"

#define LOOP_MAJOR       7
#define LOOP_TRIES_MAX   64
#define UMOUNT_DEPTH_MAX 16
#define MIB              ((int64_t)1 << 20)
#define MOUNT_FLAGS      (MS_NOSUID | MS_NODEV | MS_NOATIME)
#define JOURNAL_FROM     (128 * MIB)

/* What ext4 needs beside the promised bytes: inode tables and bitmaps, the journal, and the 2 % (at
 * most 16 MiB) that it keeps for delayed allocation. */
static int64_t
image_bytes(int64_t bytes, bool journal)
{
    int64_t total = bytes + bytes / 64 + SYN_MIN(bytes / 49, 17 * MIB) + MIB;

    if (journal)
        total += 4 * MIB;
    return (total + 4095) / 4096 * 4096;
}

/* Run a program of e2fsprogs that may exit with at most `status_max`. */
static int
run_tool(const char *const argv[], int status_max, struct syn_err *err)
{
    static const char *const env[] = {"PATH=/usr/sbin:/sbin:/usr/bin:/bin", "LC_ALL=C", NULL};
    const struct syn_child_options options = {.argv = argv,
                                              .env = env,
                                              .in = SYN_CHILD_NULL,
                                              .out = SYN_CHILD_NULL,
                                              .err = SYN_CHILD_NULL,
                                              .passed = SYN_CHILD_NULL};
    static const char *const folders[] = {"/usr/sbin", "/sbin"};
    struct syn_err why = {0};
    pid_t pid = -1;
    int status, rc = SYN_E_NOTFOUND;

    for (size_t i = 0; rc == SYN_E_NOTFOUND && i < SYN_LEN(folders); i++) {
        char path[64];

        (void)snprintf(path, sizeof(path), "%s/%s", folders[i], argv[0]);
        rc = syn_child_spawn(path, &options, &pid, &why);
    }
    if (rc < 0)
        return SYN_FAIL(err, SYN_E_UNSUPPORTED, "%.120s: apt-get install e2fsprogs", why.msg);
    status = syn_child_wait(pid);
    if (!WIFEXITED(status) || WEXITSTATUS(status) > status_max)
        return SYN_FAIL(err, SYN_E_IO, "%s failed (status %d)", argv[0], status);
    return SYN_OK;
}

static int
run_mkfs(const char *image, bool journal, struct syn_err *err)
{
    static const char extended[] =
        "lazy_itable_init=1,lazy_journal_init=1,nodiscard,root_owner=0:0";
    const char *features =
        journal ? "^resize_inode,^metadata_csum" : "^resize_inode,^metadata_csum,^has_journal";
    const char *const argv[] = {
        "mkfs.ext4", "-q",  "-F", "-b",     "4096", "-m",     "0",   "-i", "65536",
        "-I",        "256", "-E", extended, "-O",   features, image, NULL,
    };
    int rc = run_tool(argv, 0, err);

    return rc < 0 ? syn_err_wrap(err, rc, "%s", image) : SYN_OK;
}

int64_t
syn_scratch_image_bytes(int64_t bytes)
{
    return image_bytes(bytes, true);
}

int
syn_scratch_grow(const char *image, int64_t file_bytes, bool broken_off, struct syn_err *err)
{
    const char *const check[] = {"e2fsck", "-f", "-y", image, NULL};
    const char *const grow[] = {"resize2fs", "-f", image, NULL}; /* unmounted well: no check */
    int rc = broken_off ? run_tool(check, 1, err) : SYN_OK;

    if (rc == SYN_OK && truncate(image, file_bytes) < 0)
        rc = SYN_FAIL_SYS(err, errno, "growing %s", image);
    if (rc == SYN_OK)
        rc = run_tool(grow, 0, err);
    return rc < 0 ? syn_err_wrap(err, rc, "%s", image) : SYN_OK;
}

/* Make the file under a name of our own, then rename: concurrent makers do not meet. */
static int
make_file(const char *path, int64_t bytes, bool journal, struct syn_err *err)
{
    char tmp[SYN_PATH_MAX];
    SYN_FD(fd);
    int rc = syn_path_format(tmp, sizeof(tmp), err, "%s.%d.%p", path, (int)getpid(), (void *)&tmp);

    if (rc < 0)
        return rc;
    fd = open(tmp, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return SYN_FAIL_SYS(err, errno, "creating %s", tmp);
    if (ftruncate(fd, image_bytes(bytes, journal)) < 0) {
        rc = SYN_FAIL_SYS(err, errno, "sizing %s", tmp);
        goto fail;
    }
    rc = run_mkfs(tmp, journal, err);
    if (rc < 0)
        goto fail;
    if (rename(tmp, path) < 0) {
        rc = SYN_FAIL_SYS(err, errno, "renaming %s", tmp);
        goto fail;
    }
    return SYN_OK;
fail:
    (void)unlink(tmp);
    return rc;
}

static int
copy_extents(int from, int to, off_t size, struct syn_err *err)
{
    off_t at = 0;

    if (ioctl(to, FICLONE, from) == 0)
        return SYN_OK;
    if (ftruncate(to, size) < 0)
        return SYN_FAIL_SYS(err, errno, "sizing the scratch image");
    while (at < size) {
        off_t data = lseek(from, at, SEEK_DATA), in, out;
        off_t hole;

        if (data < 0 && errno == ENXIO)
            break;
        hole = data < 0 ? -1 : lseek(from, data, SEEK_HOLE);
        if (hole < 0)
            return SYN_FAIL_SYS(err, errno, "reading the scratch template");
        in = out = data;
        while (in < hole) {
            ssize_t put = copy_file_range(from, &in, to, &out, (size_t)(hole - in), 0);

            if (put <= 0)
                return SYN_FAIL_SYS(err, put < 0 ? errno : EIO, "copying the scratch template");
        }
        at = hole;
    }
    return SYN_OK;
}

/* The template for `bytes`, made when missing. */
static int
template_open(const char *cache, int64_t bytes, int *ret_fd, struct syn_err *err)
{
    char path[SYN_PATH_MAX];
    SYN_FD(fd);
    int rc;

    if (bytes < SYN_SCRATCH_BYTES_MIN || bytes > SYN_SCRATCH_BYTES_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "scratch size %lld: expected 1 MiB to 16 TiB",
                        (long long)bytes);
    rc = syn_path_format(path, sizeof(path), err, "%s/scratch-%lld.ext4", cache, (long long)bytes);
    if (rc < 0)
        return rc;
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        rc = make_file(path, bytes, bytes >= JOURNAL_FROM, err);
        if (rc < 0)
            return rc;
        fd = open(path, O_RDONLY | O_CLOEXEC);
    }
    if (fd < 0)
        return SYN_FAIL_SYS(err, errno, "opening %s", path);
    *ret_fd = syn_fd_take(&fd);
    return SYN_OK;
}

int
syn_scratch_make(const char *image, int64_t bytes, struct syn_err *err)
{
    return make_file(image, bytes, true, err);
}

int
syn_scratch_fill(const char *cache, int64_t bytes, int image, struct syn_err *err)
{
    SYN_FD(from);
    struct stat st;
    int rc = template_open(cache, bytes, &from, err);

    if (rc < 0)
        return rc;
    if (fstat(from, &st) < 0)
        return SYN_FAIL_SYS(err, errno, "looking at the scratch template");
    return copy_extents(from, image, st.st_size, err);
}

int
syn_scratch_create(const char *cache, int64_t bytes, const char *image, struct syn_err *err)
{
    SYN_FD(to);
    int rc;

    to = open(image, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (to < 0)
        return SYN_FAIL_SYS(err, errno, "creating %s", image);
    rc = syn_scratch_fill(cache, bytes, to, err);
    if (rc < 0)
        (void)unlink(image);
    return rc;
}

/* Bind `image` to a free loop device. The device goes when its last user, the mount, goes. */
static int
loop_attach(int image, char *device, size_t cap, int *ret_fd, struct syn_err *err)
{
    SYN_FD(control);
    struct loop_config config = {.fd = (uint32_t)image, .info = {.lo_flags = LO_FLAGS_AUTOCLEAR}};

    control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    if (control < 0)
        return SYN_FAIL_SYS(err, errno, "opening /dev/loop-control (is the loop module loaded?)");
    for (int i = 0; i < LOOP_TRIES_MAX; i++) {
        SYN_FD(fd);
        int number = ioctl(control, LOOP_CTL_GET_FREE);

        if (number < 0)
            return SYN_FAIL_SYS(err, errno, "getting a free loop device");
        (void)snprintf(device, cap, "/dev/loop%d", number);
        fd = open(device, O_RDWR | O_CLOEXEC);
        if (fd < 0 && errno == ENOENT) {
            /* A /dev that is no devtmpfs does not grow by itself. */
            (void)mknod(device, S_IFBLK | 0600, makedev(LOOP_MAJOR, (unsigned)number));
            fd = open(device, O_RDWR | O_CLOEXEC);
        }
        if (fd < 0)
            return SYN_FAIL_SYS(err, errno, "opening %s", device);
        if (ioctl(fd, LOOP_CONFIGURE, &config) == 0) {
            *ret_fd = syn_fd_take(&fd);
            return SYN_OK;
        }
        if (errno != EBUSY)
            return SYN_FAIL_SYS(err, errno, "configuring %s", device);
    }
    return SYN_FAIL(err, SYN_E_CONFLICT, "no loop device could be had in %d tries", LOOP_TRIES_MAX);
}

/* Say what the kernel noted about a file system that it would not make. */
static int
fail_mount(int fs, const char *what, struct syn_err *err)
{
    char note[128] = "";
    int sys = errno;
    ssize_t got = read(fs, note, sizeof(note) - 1);

    note[got > 0 ? got : 0] = '\0';
    note[strcspn(note, "\n")] = '\0';
    return SYN_FAIL_SYS(err, sys, "mounting a scratch image (%s) %s", what, note);
}

int
syn_scratch_attach(int image, int *ret_mount, struct syn_err *err)
{
    char device[32];
    SYN_FD(loop);
    SYN_FD(fs);
    SYN_FD(mounted);
    int rc = loop_attach(image, device, sizeof(device), &loop, err);

    if (rc < 0)
        return rc;
    fs = fsopen("ext4", FSOPEN_CLOEXEC);
    if (fs < 0)
        return SYN_FAIL_SYS(err, errno, "mounting %s: fsopen (Linux 5.2 or later)", device);
    if (fsconfig(fs, FSCONFIG_SET_STRING, "source", device, 0) < 0 ||
        fsconfig(fs, FSCONFIG_SET_FLAG, "nobarrier", NULL, 0) < 0 ||
        fsconfig(fs, FSCONFIG_SET_FLAG, "noinit_itable", NULL, 0) < 0 ||
        fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
        return fail_mount(fs, device, err);
    mounted =
        fsmount(fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOATIME);
    if (mounted < 0)
        return fail_mount(fs, device, err);
    *ret_mount = syn_fd_take(&mounted);
    return SYN_OK;
}

int
syn_scratch_place(int mounted, const char *at, struct syn_err *err)
{
    if (move_mount(mounted, "", AT_FDCWD, at, MOVE_MOUNT_F_EMPTY_PATH) < 0)
        return SYN_FAIL_SYS(err, errno, "mounting the scratch image on %s", at);
    return SYN_OK;
}

int
syn_scratch_mount(const char *image, const char *at, struct syn_err *err)
{
    SYN_FD(fd);
    SYN_FD(mounted);
    int rc;

    fd = open(image, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return SYN_FAIL_SYS(err, errno, "opening %s", image);
    rc = syn_scratch_attach(fd, &mounted, err);
    return rc < 0 ? rc : syn_scratch_place(mounted, at, err);
}

void
syn_scratch_harden(const char *at)
{
    (void)mount(NULL, at, NULL, MS_REMOUNT | MOUNT_FLAGS, "barrier");
}

int
syn_scratch_unmount(const char *at, struct syn_err *err)
{
    for (int i = 0; i < UMOUNT_DEPTH_MAX; i++) {
        if (umount2(at, UMOUNT_NOFOLLOW) == 0)
            continue;
        if (errno == EINVAL || errno == ENOENT)
            return SYN_OK;
        if (errno == EBUSY && umount2(at, MNT_DETACH | UMOUNT_NOFOLLOW) == 0)
            continue;
        return SYN_FAIL_SYS(err, errno, "unmounting %s", at);
    }
    return SYN_FAIL(err, SYN_E_IO, "%s is mounted over and over", at);
}

int
syn_scratch_usage_read(const char *at, struct syn_scratch_usage *ret, struct syn_err *err)
{
    struct statvfs fs;

    if (statvfs(at, &fs) < 0)
        return SYN_FAIL_SYS(err, errno, "reading the usage of %s", at);
    ret->used_bytes = (int64_t)((fs.f_blocks - fs.f_bfree) * fs.f_frsize);
    ret->free_bytes = (int64_t)(fs.f_bavail * fs.f_frsize);
    ret->free_files = (int64_t)fs.f_favail;
    return SYN_OK;
}
