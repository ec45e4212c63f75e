/* The node's line: how fast its way out is, and how far the server is.
 *
 * The distance is the time a TCP connection takes to be made: one round trip, and nothing of what
 * the server has to do then. The least of a few counts, once a minute; and since the server keeps
 * what it is told, only what differs by more than a tenth is told. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <synor/base/clock.h>
#include <synor/base/str.h>

#include "agent_priv.h"

#define CONNECT_MS  2000
#define TRIES       3
#define EVERY_MS    60000
#define HOST_MAX    256
#define SOURCE_SIZE 64
#define LINE_MAX_MB 1000000 /* Mbit/s; what claims more is wrong */

/* ---- how fast ---- */

/* The interface of the default route, "" when there is none. */
static void
way_out(const char *routes, char *out, size_t cap)
{
    FILE *file = fopen(routes, "re");
    char line[256];

    out[0] = '\0';
    while (file != NULL && out[0] == '\0' && fgets(line, sizeof(line), file) != NULL) {
        char name[32], to[16];

        if (sscanf(line, "%31s %15s", name, to) == 2 && syn_str_eq(to, "00000000"))
            (void)syn_str_copy(out, cap, name);
    }
    if (file != NULL)
        (void)fclose(file);
}

int64_t
agt_line_bps(const char *root)
{
    char path[AGT_PATH_MAX], name[32], text[32] = "";
    FILE *file;
    int64_t mbit = 0;

    (void)snprintf(path, sizeof(path), "%.200s/proc/net/route", root);
    way_out(path, name, sizeof(name));
    if (name[0] == '\0' || strchr(name, '/') != NULL)
        return 0;
    (void)snprintf(path, sizeof(path), "%.200s/sys/class/net/%s/speed", root, name);
    file = fopen(path, "re");
    if (file != NULL && fgets(text, sizeof(text), file) == NULL)
        text[0] = '\0';
    if (file != NULL)
        (void)fclose(file);
    text[strcspn(text, "\n")] = '\0';
    /* "-1": the driver does not know. */
    if (syn_parse_i64(text, 1, LINE_MAX_MB, "speed", &mbit, NULL) < 0)
        return 0;
    return mbit * 1000000;
}

/* ---- how far ---- */

/* "https://[::1]:7700/" -> "::1", "7700". False for what is no URL with a host: a socket's path. */
static bool
split_url(const char *url, char *host, char *port)
{
    const char *at = strstr(url, "://");
    size_t len;

    if (at == NULL || url[0] == '/')
        return false;
    (void)snprintf(port, 8, "%s", syn_str_starts(url, "https") ? "443" : "80");
    at += 3;
    if (*at == '[') {
        len = strcspn(++at, "]");
        if (at[len] == '\0')
            return false;
    } else {
        len = strcspn(at, ":/");
    }
    if (len == 0 || len >= HOST_MAX)
        return false;
    (void)snprintf(host, HOST_MAX, "%.*s", (int)len, at);
    at += len + (at[len] == ']');
    if (*at == ':')
        (void)snprintf(port, 8, "%.*s", (int)SYN_MIN(strcspn(at + 1, "/"), (size_t)7), at + 1);
    return true;
}

/* The address of this machine on the way to there. */
static bool
source_to(const struct addrinfo *info, char *out)
{
    char host[INET6_ADDRSTRLEN];
    struct sockaddr_storage own = {0};
    socklen_t len = sizeof(own);
    int fd = socket(info->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0); /* sends nothing */
    bool found = fd >= 0 && connect(fd, info->ai_addr, info->ai_addrlen) == 0 &&
                 getsockname(fd, (struct sockaddr *)&own, &len) == 0 &&
                 getnameinfo((const struct sockaddr *)&own, len, host, sizeof(host), NULL, 0,
                             NI_NUMERICHOST) == 0 &&
                 strchr(host, '%') == NULL;

    if (fd >= 0)
        (void)close(fd);
    if (found)
        (void)snprintf(out, SOURCE_SIZE, own.ss_family == AF_INET6 ? "[%s]" : "%s", host);
    return found;
}

void
agt_line_source(const char *url, char *out)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *info = NULL;
    char host[HOST_MAX], port[8];
    bool found = split_url(url, host, port) && getaddrinfo(host, port, &hints, &info) == 0 &&
                 source_to(info, out);

    if (info != NULL)
        freeaddrinfo(info);
    if (!found)
        (void)snprintf(out, SOURCE_SIZE, "127.0.0.1");
}

/* Microseconds that a connection took, or 0. */
static int64_t
connect_us(const struct addrinfo *info)
{
    int fd = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct pollfd wait = {.fd = fd, .events = POLLOUT};
    int64_t start_ns = syn_clock_ns(), took_ns = 0;
    socklen_t len = sizeof(int);
    int error = 1;

    if (fd < 0)
        return 0;
    (void)connect(fd, info->ai_addr, info->ai_addrlen);
    if (poll(&wait, 1, CONNECT_MS) == 1 &&
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) == 0 && error == 0)
        took_ns = syn_clock_ns() - start_ns;
    (void)close(fd);
    return took_ns > 0 ? took_ns / 1000 + 1 : 0;
}

int64_t
agt_line_rtt_us(const char *url)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *info = NULL;
    char host[HOST_MAX], port[8];
    int64_t least = 0;

    if (!split_url(url, host, port) || getaddrinfo(host, port, &hints, &info) != 0)
        return 0;
    for (int i = 0; i < TRIES; i++) {
        int64_t us = connect_us(info);

        if (us > 0 && (least == 0 || us < least))
            least = us;
    }
    freeaddrinfo(info);
    return least;
}

int
agt_line_report(struct syn_agent *agent, json_t *report, struct syn_err *err)
{
    int64_t now_ms = syn_clock_ns() / 1000000;

    if (now_ms >= agent->rtt_due_ms) {
        int64_t us = agt_line_rtt_us(agent->server);
        int64_t off = us > agent->rtt_us ? us - agent->rtt_us : agent->rtt_us - us;

        if (us > 0 && off * 10 > agent->rtt_us)
            agent->rtt_us = us;
        agent->rtt_due_ms = now_ms + EVERY_MS;
    }
    return agent->rtt_us > 0 ? syn_json_set_i64(report, "rtt_us", agent->rtt_us, err) : SYN_OK;
}
