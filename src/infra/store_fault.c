#include "store_fault.h"

#include <sqlite3.h>
#include <stdatomic.h>

static atomic_uint left; /* calls until the first failure; 0: disarmed */
static atomic_uint hits;
static atomic_uint syncs;
static atomic_int fault_code;
static atomic_bool fault_sticky;

struct fault_file {
    sqlite3_file base;
    sqlite3_file *real;
};

static sqlite3_file *
real_of(sqlite3_file *file)
{
    return ((struct fault_file *)(void *)file)->real;
}

static int
due(void)
{
    unsigned before = atomic_load(&left);

    while (before > 1 && !atomic_compare_exchange_weak(&left, &before, before - 1))
        ;
    if (before != 1)
        return SQLITE_OK;
    if (!atomic_load(&fault_sticky))
        atomic_store(&left, 0);
    atomic_fetch_add(&hits, 1);
    return atomic_load(&fault_code);
}

#define CALL(file, fn, ...) real_of(file)->pMethods->fn(real_of(file), ##__VA_ARGS__)

static int
fault_close(sqlite3_file *file)
{
    return CALL(file, xClose);
}

static int
fault_read(sqlite3_file *file, void *out, int len, sqlite3_int64 at)
{
    return CALL(file, xRead, out, len, at);
}

static int
fault_write(sqlite3_file *file, const void *data, int len, sqlite3_int64 at)
{
    int code = due();

    if (code == SQLITE_OK)
        return CALL(file, xWrite, data, len, at);
    (void)CALL(file, xWrite, data, len / 2, at);
    return code;
}

static int
fault_truncate(sqlite3_file *file, sqlite3_int64 len)
{
    int code = due();
    return code ? code : CALL(file, xTruncate, len);
}

static int
fault_sync(sqlite3_file *file, int flags)
{
    int code = due();
    if (code != SQLITE_OK)
        return code;
    atomic_fetch_add(&syncs, 1);
    return CALL(file, xSync, flags);
}

static int
fault_size(sqlite3_file *file, sqlite3_int64 *ret)
{
    return CALL(file, xFileSize, ret);
}

static int
fault_lock(sqlite3_file *file, int level)
{
    return CALL(file, xLock, level);
}

static int
fault_unlock(sqlite3_file *file, int level)
{
    return CALL(file, xUnlock, level);
}

static int
fault_reserved(sqlite3_file *file, int *ret)
{
    return CALL(file, xCheckReservedLock, ret);
}

static int
fault_control(sqlite3_file *file, int op, void *arg)
{
    return CALL(file, xFileControl, op, arg);
}

static int
fault_sector(sqlite3_file *file)
{
    return CALL(file, xSectorSize);
}

static int
fault_traits(sqlite3_file *file)
{
    return CALL(file, xDeviceCharacteristics);
}

static int
fault_shm_map(sqlite3_file *file, int page, int size, int extend, void volatile **ret)
{
    return CALL(file, xShmMap, page, size, extend, ret);
}

static int
fault_shm_lock(sqlite3_file *file, int offset, int count, int flags)
{
    return CALL(file, xShmLock, offset, count, flags);
}

static void
fault_shm_barrier(sqlite3_file *file)
{
    CALL(file, xShmBarrier);
}

static int
fault_shm_unmap(sqlite3_file *file, int drop)
{
    return CALL(file, xShmUnmap, drop);
}

static const sqlite3_io_methods fault_methods = {
    .iVersion = 2,
    .xClose = fault_close,
    .xRead = fault_read,
    .xWrite = fault_write,
    .xTruncate = fault_truncate,
    .xSync = fault_sync,
    .xFileSize = fault_size,
    .xLock = fault_lock,
    .xUnlock = fault_unlock,
    .xCheckReservedLock = fault_reserved,
    .xFileControl = fault_control,
    .xSectorSize = fault_sector,
    .xDeviceCharacteristics = fault_traits,
    .xShmMap = fault_shm_map,
    .xShmLock = fault_shm_lock,
    .xShmBarrier = fault_shm_barrier,
    .xShmUnmap = fault_shm_unmap,
};

static int
fault_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *ret_flags)
{
    struct fault_file *mine = (struct fault_file *)(void *)file;
    sqlite3_vfs *under = vfs->pAppData;

    mine->real = (sqlite3_file *)(void *)(mine + 1);
    mine->real->pMethods = NULL;
    int code = under->xOpen(under, name, mine->real, flags, ret_flags);
    mine->base.pMethods = code == SQLITE_OK ? &fault_methods : NULL;
    return code;
}

const char *
syn_store_fault_vfs(void)
{
    static sqlite3_vfs vfs;

    if (!vfs.zName) {
        sqlite3_vfs *under = sqlite3_vfs_find(NULL);
        vfs =
            *under; /* all else goes straight to the machine's; pAppData too is not its own here */
        vfs.pAppData = under;
        vfs.zName = "synor-fault";
        vfs.pNext = NULL;
        vfs.szOsFile = (int)sizeof(struct fault_file) + under->szOsFile;
        vfs.xOpen = fault_open;
        int code = sqlite3_vfs_register(&vfs, 0);
        assert(code == SQLITE_OK);
        (void)code;
    }
    return vfs.zName;
}

void
syn_store_fault_arm(unsigned nth, int code, bool sticky)
{
    atomic_store(&left, 0);
    atomic_store(&hits, 0);
    atomic_store(&fault_code, code);
    atomic_store(&fault_sticky, sticky);
    atomic_store(&left, nth);
}

unsigned
syn_store_fault_hits(void)
{
    return atomic_load(&hits);
}

unsigned
syn_store_fault_syncs(void)
{
    return atomic_load(&syncs);
}
