#include "gateway_priv.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <synor/base/str.h>

bool
gtw_address_join(const char *host, unsigned port, char ret[GTW_ADDRESS_SIZE])
{
    uint8_t bin[16];
    bool six = inet_pton(AF_INET6, host, bin) == 1;

    if ((!six && inet_pton(AF_INET, host, bin) != 1) || port == 0 || port > 65535)
        return false;
    return snprintf(ret, GTW_ADDRESS_SIZE, six ? "[%s]:%u" : "%s:%u", host, port) <
           GTW_ADDRESS_SIZE;
}

unsigned
gtw_address_port(const char *address)
{
    const char *colon = strrchr(address, ':');
    uint64_t port;

    if (colon == NULL || syn_parse_u64(colon + 1, 1, 65535, "the port", &port, NULL) < 0)
        return 0;
    return (unsigned)port;
}

/* Without SO_REUSEPORT, so that another balancer's is found as well. */
static bool
try_bind(const struct sockaddr *address, socklen_t len)
{
    int one = 1;
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool taken;

    if (fd < 0)
        return false;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (address->sa_family == AF_INET6)
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
    taken = (bind(fd, address, len) < 0 || listen(fd, 1) < 0) && errno == EADDRINUSE;
    (void)close(fd);
    return taken;
}

unsigned
gtw_address_split(const char *address, char host[GTW_ADDRESS_SIZE])
{
    unsigned port = gtw_address_port(address);
    char again[GTW_ADDRESS_SIZE];
    bool brackets = address[0] == '[';
    size_t len;

    if (port == 0)
        return 0;
    len = (size_t)(strrchr(address, ':') - address);
    if (len >= GTW_ADDRESS_SIZE || (brackets && len < 2))
        return 0;
    len -= brackets ? 2 : 0;
    memcpy(host, address + (brackets ? 1 : 0), len);
    host[len] = '\0';
    return gtw_address_join(host, port, again) && syn_str_eq(again, address) ? port : 0;
}

bool
gtw_address_taken(const char *address)
{
    struct sockaddr_in four = {.sin_family = AF_INET};
    struct sockaddr_in6 six = {.sin6_family = AF_INET6};
    char host[GTW_ADDRESS_SIZE];
    unsigned port = gtw_address_split(address, host);

    if (port == 0)
        return false;
    four.sin_port = six.sin6_port = htons((uint16_t)port);
    if (inet_pton(AF_INET, host, &four.sin_addr) == 1)
        return try_bind((const struct sockaddr *)&four, sizeof(four));
    if (inet_pton(AF_INET6, host, &six.sin6_addr) != 1)
        return false;
    /* "[::]" is every address of both families. */
    return try_bind((const struct sockaddr *)&six, sizeof(six)) ||
           (IN6_IS_ADDR_UNSPECIFIED(&six.sin6_addr) &&
            try_bind((const struct sockaddr *)&four, sizeof(four)));
}
