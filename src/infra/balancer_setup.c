/* What does not change while a balancer is open: its limits, and the secret of its cookies. */
#include "balancer_priv.h"

#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <synor/base/str.h>
#include <synor/infra/secret_file.h>

#define CONNECTIONS     20000
#define THREADS_MAX     8
#define FILES_FOR_OTHER 512 /* open files that are no connections */

/* The secret behind the cookies of sticky backends stays what it is, or clients would lose theirs.
 */
int
lb_setup_cookie_key(struct lb_setup *setup, int dir, struct syn_err *err)
{
    char *key = setup->cookie_key;
    uint8_t secret[(LB_COOKIE_KEY - 1) / 2];
    int fd = openat(dir, "cookie-key", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    ssize_t len = 0;

    if (fd >= 0) {
        len = read(fd, key, LB_COOKIE_KEY - 1);
        (void)close(fd);
    }
    key[LB_COOKIE_KEY - 1] = '\0';
    if (len == LB_COOKIE_KEY - 1 && syn_hex_decode(key, secret, sizeof(secret), NULL) == SYN_OK)
        return SYN_OK;
    syn_secret_random(secret, sizeof(secret));
    syn_hex_encode(secret, sizeof(secret), key);
    return lb_file_write(dir, "cookie-key", key, LB_COOKIE_KEY - 1, err);
}

int
lb_setup_fill(struct lb_setup *setup, const struct syn_balancer_options *options,
              struct syn_err *err)
{
    struct rlimit files = {.rlim_max = 1024};
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    char address[LB_ADDRESS_SIZE];
    uint64_t connections = options->connections_max == 0 ? CONNECTIONS : options->connections_max;
    uint64_t limit;

    (void)getrlimit(RLIMIT_NOFILE, &files);
    limit = SYN_MIN((uint64_t)files.rlim_max, 1u << 24);
    limit -= SYN_MIN(limit / 2, FILES_FOR_OTHER + (uint64_t)options->spare_count);
    setup->connections = (unsigned)SYN_MIN(connections, limit);
    setup->threads = options->threads != 0 ? options->threads
                                           : (unsigned)SYN_MIN(SYN_MAX(processors, 1), THREADS_MAX);
    setup->privileged = geteuid() == 0;
    if (options->spare_host == NULL || options->spare_count == 0)
        return SYN_OK;
    if (strlen(options->spare_host) + 8 > sizeof(address) || options->spare_count > 4096 ||
        options->spare_port == 0 || options->spare_port + options->spare_count > 65536)
        return SYN_FAIL(err, SYN_E_INVALID, "no such spare addresses");
    (void)snprintf(address, sizeof(address), "%s:1", options->spare_host);
    if (lb_address(address, setup->spare_host, NULL) < 0)
        return SYN_FAIL(err, SYN_E_INVALID, "the spare address is none");
    setup->spare_host[strlen(setup->spare_host) - 2] = '\0';
    setup->spare_port = options->spare_port;
    setup->spare_count = options->spare_count;
    return SYN_OK;
}
