/* Reading a whole file, for benchmarks that take lists. */
#ifndef SYN_BENCH_FILE_H
#define SYN_BENCH_FILE_H

#include <errno.h>
#include <stdio.h>

#include <synor/base/buf.h>
#include <synor/base/err.h>

static inline int
bench_read_file(const char *path, struct syn_buf *out, struct syn_err *err)
{
    FILE *file = fopen(path, "r");
    char block[16384];
    size_t got;
    int failed;

    if (file == NULL)
        return SYN_FAIL_SYS(err, errno, "opening %s", path);
    while ((got = fread(block, 1, sizeof(block), file)) > 0)
        syn_buf_add(out, block, got);
    failed = ferror(file) ? errno : 0;
    (void)fclose(file);
    return failed != 0 ? SYN_FAIL_SYS(err, failed, "reading %s", path) : syn_buf_ok(out, err);
}

#endif
