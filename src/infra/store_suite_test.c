/* The conformance suite over the SQLite engine. */
#include <unistd.h>

#include <synor/base/test.h>
#include <synor/infra/store_sqlite.h>

#include "store_suite.h"

static char path[512];

static void
wipe(void *self)
{
    static const char *const ends[] = {"", "-wal", "-shm", ".lock"};
    char name[600];

    (void)self;
    (void)snprintf(path, sizeof(path), "%s/store.db", syn_test_dir());
    for (size_t i = 0; i < SYN_LEN(ends); i++) {
        (void)snprintf(name, sizeof(name), "%s%s", path, ends[i]);
        (void)unlink(name);
    }
}

static int
open_store(void *self, struct syn_store **ret_store, struct syn_err *err)
{
    struct syn_store_sqlite_options options = {.path = path};

    (void)self;
    return syn_store_sqlite_open(&options, ret_store, err);
}

int
main(void)
{
    const struct syn_store_factory factory = {
        .wipe = wipe, .open = open_store, .ttl_min_ms = 200, .seeds = 15};

    return syn_store_suite("store/suite/sqlite", &factory);
}
