#include <synor/base/test.h>
#include <synor/base/tree.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

/* cmocka 1.1 reports a skipped test as "not ok 3 # SKIP name", which TAP readers count as a
 * failure. Line-buffered, so every write to the real output is whole lines. */
static ssize_t
write_tap(void *cookie, const char *data, size_t len)
{
    size_t skip = 0;

    (void)cookie;
    if (len > 7 && memcmp(data, "not ok ", 7) == 0 && memmem(data, len, " # SKIP ", 8) != NULL)
        skip = 4;
    for (size_t done = skip; done < len;) {
        ssize_t n = write(STDOUT_FILENO, data + done, len - done);

        if (n <= 0)
            return 0;
        done += (size_t)n;
    }
    return (ssize_t)len;
}

__attribute__((constructor)) static void
repair_tap(void)
{
    static const cookie_io_functions_t io = {.write = write_tap};
    const char *format = getenv("CMOCKA_MESSAGE_OUTPUT");
    FILE *out = NULL;

    if (format == NULL || strcasecmp(format, "TAP") != 0)
        return;
    out = fopencookie(NULL, "w", io);
    if (out == NULL || setvbuf(out, NULL, _IOLBF, BUFSIZ) != 0)
        abort();
    stdout = out;
}

unsigned
syn_test_sweep_alloc(int (*scenario)(void *arg, struct syn_err *err), void *arg)
{
    for (unsigned nth = 1;; nth++) {
        struct syn_err err = {0};
        int64_t before = syn_mem_live();
        bool reached;
        int rc;

        syn_mem_fault_arm(nth, false);
        rc = scenario(arg, &err);
        reached = syn_mem_fault_count() >= nth;
        syn_mem_fault_arm(0, false);
        if (syn_mem_live() != before)
            fail_msg("allocation %u failed: %lld blocks leaked (rc %d: %s)", nth,
                     (long long)(syn_mem_live() - before), rc, err.msg);
        if (!reached) {
            if (rc != 0)
                fail_msg("the scenario fails without a fault: %d: %s", rc, err.msg);
            return nth - 1;
        }
        if (rc == 0)
            continue; /* the scenario did without that block */
        if (rc != SYN_E_NOMEM || err.msg[0] == '\0')
            fail_msg("allocation %u failed: got %d (%s), want out-of-memory with a message", nth,
                     rc, err.msg);
    }
}

static char test_dir[256];
static pid_t test_dir_owner;

static void
remove_test_dir(void)
{
    /* A forked child that exits in order leaves the folder to its parent. */
    if (getpid() != test_dir_owner)
        return;
    syn_tree_remove(test_dir);
}

const char *
syn_test_dir(void)
{
    const char *base = getenv("TMPDIR");

    if (test_dir[0] != '\0')
        return test_dir;
    (void)snprintf(test_dir, sizeof(test_dir), "%s/synor-test-XXXXXX",
                   base != NULL ? base : "/tmp");
    if (mkdtemp(test_dir) == NULL)
        fail_msg("cannot make %s", test_dir);
    test_dir_owner = getpid();
    (void)atexit(remove_test_dir);
    return test_dir;
}

uint64_t
syn_test_random(uint64_t *state)
{
    uint64_t x = *state != 0 ? *state : 0x9e3779b97f4a7c15U;

    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    *state = x;
    return x * 0x2545f4914f6cdd1dU;
}
