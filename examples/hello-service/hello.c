/* A service as small as one can be: it answers every request with who it is.
 *
 *     GET /health    200, or what HEALTH says
 *     GET /metrics   what it tells of itself in Prometheus' text format: requests answered, and
 * LEVEL GET /anything  200, or what ANSWER says: "hello from replica 0 of version 1 (inst-...)"
 *     hello has FILE is a check to be run within it: is FILE there?
 *
 * PORT is where it listens; on SIGTERM it takes no new connections and ends. Built static it is the
 * whole image: cc -static -O2 -o hello hello.c */
#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define REQUEST_MAX 4096

static volatile sig_atomic_t stopping;

static void
on_term(int signo)
{
    (void)signo;
    stopping = 1;
}

static const char *
env(const char *name, const char *otherwise)
{
    const char *value = getenv(name);

    return value != NULL && value[0] != '\0' ? value : otherwise;
}

static void
answer(int fd)
{
    static unsigned long long answered;
    char request[REQUEST_MAX] = "", body[256], head[512];
    const char *status = "200 OK";
    size_t len = 0;
    ssize_t got;

    while (len + 1 < sizeof(request) && strstr(request, "\r\n\r\n") == NULL) {
        got = read(fd, request + len, sizeof(request) - 1 - len);
        if (got <= 0)
            return;
        len += (size_t)got;
        request[len] = '\0';
    }
    status = env(strncmp(request, "GET /health ", 12) == 0 ? "HEALTH" : "ANSWER", status);
    (void)snprintf(body, sizeof(body), "%s from replica %s of version %s (%s)\n",
                   env("GREETING", "hello"), env("SYNOR_REPLICA", "?"), env("SYNOR_VERSION", "?"),
                   env("SYNOR_INSTANCE_ID", "?"));
    if (strncmp(request, "GET /metrics ", 13) == 0)
        (void)snprintf(body, sizeof(body),
                       "# TYPE hello_answers_total counter\nhello_answers_total %llu\n"
                       "# TYPE hello_level gauge\nhello_level{replica=\"%s\"} %s\n",
                       answered, env("SYNOR_REPLICA", "?"), env("LEVEL", "1"));
    answered++;
    (void)snprintf(head, sizeof(head),
                   "HTTP/1.1 %s\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n"
                   "Connection: close\r\n\r\n%s",
                   status, strlen(body), body);
    if (write(fd, head, strlen(head)) < 0)
        perror("hello: answering");
    (void)shutdown(fd, SHUT_WR);
    while (read(fd, request, sizeof(request)) > 0)
        continue;
}

static int
has(const char *file)
{
    if (access(file, F_OK) == 0)
        return 0;
    fprintf(stderr, "there is no %s\n", file);
    return 1;
}

int
main(int argc, char **argv)
{
    struct sigaction term = {.sa_handler = on_term}; /* no SA_RESTART: accept() returns */
    struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_addr = in6addr_any};
    const int on = 1;
    int listener = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (argc == 3 && strcmp(argv[1], "has") == 0)
        return has(argv[2]);
    if (getenv("CRASH") != NULL) {
        fprintf(stderr, "hello: told to crash\n");
        return 3;
    }
    (void)sigaction(SIGTERM, &term, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    address.sin6_port = htons((unsigned short)atoi(env("PORT", "8080")));
    if (listener < 0 || setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
        bind(listener, (struct sockaddr *)&address, sizeof(address)) != 0 ||
        listen(listener, 128) != 0) {
        perror("hello: listening");
        return 1;
    }
    printf("hello: listening on port %s\n", env("PORT", "8080"));
    (void)fflush(stdout);
    while (!stopping) {
        int fd = accept(listener, NULL, NULL);

        if (fd < 0)
            continue;
        answer(fd);
        (void)close(fd);
    }
    printf("hello: ending\n");
    return 0;
}
