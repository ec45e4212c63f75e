/* The program of the images of names.py and mesh.py: an HTTP server that does what programs do with
 * names.
 *
 *     /NAME               look it up: a line for each address, or why there is none
 *     /:call/NAME:PORT    ask it for /:me, and answer with all that comes
 *     /:call/NAME:PORT/X  the same, for /:me/X
 *     /:me                its own name, and who is said to call
 *     /:fail, /:well      answer /:me with 500 from now on, or no more
 */
#include <netdb.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void
look_up(const char *name, char *out, size_t cap)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *all = NULL;
    int rc = getaddrinfo(name, NULL, &hints, &all);
    size_t used = 0;

    if (rc != 0) {
        snprintf(out, cap, "error %d %s\n", rc, gai_strerror(rc));
        return;
    }
    for (const struct addrinfo *one = all; one != NULL && used < cap; one = one->ai_next) {
        char text[64] = "?";

        getnameinfo(one->ai_addr, one->ai_addrlen, text, sizeof(text), NULL, 0, NI_NUMERICHOST);
        used += (size_t)snprintf(out + used, cap - used, "%s\n", text);
    }
    freeaddrinfo(all);
}

/* A connection to the first address that takes one, or -1. */
static int
dial(const char *name, const char *port)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    const struct timeval patience = {.tv_sec = 20};
    struct addrinfo *all = NULL;
    int fd = -1;

    if (getaddrinfo(name, port, &hints, &all) != 0)
        return -1;
    for (const struct addrinfo *one = all; one != NULL && fd < 0; one = one->ai_next) {
        fd = socket(one->ai_family, SOCK_STREAM, 0);
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
        if (connect(fd, one->ai_addr, one->ai_addrlen) != 0) {
            close(fd);
            fd = -1;
        }
    }
    freeaddrinfo(all);
    return fd;
}

static void
call(char *where, char *out, size_t cap)
{
    char *colon = strchr(where, ':'), *path = strchr(where, '/'), request[512];
    size_t used = 0;
    ssize_t got;
    int fd;

    if (colon != NULL)
        *colon = '\0';
    if (path != NULL)
        *path++ = '\0';
    fd = dial(where, colon != NULL ? colon + 1 : "80");
    if (fd < 0) {
        snprintf(out, cap, "error: no connection\n");
        return;
    }
    snprintf(request, sizeof(request),
             "GET /:me%s%s HTTP/1.1\r\nHost: %s\r\nX-Mesh-Caller: forged\r\n"
             "Connection: close\r\n\r\n",
             path != NULL ? "/" : "", path != NULL ? path : "", where);
    if (write(fd, request, strlen(request)) < 0)
        perror("write");
    while (used < cap - 1 && (got = read(fd, out + used, cap - 1 - used)) > 0)
        used += (size_t)got;
    out[used] = '\0';
    if (used == 0)
        snprintf(out, cap, "error: closed\n");
    close(fd);
}

static void
tell(const char *request, char *out, size_t cap)
{
    const char *caller = strcasestr(request, "\r\nx-mesh-caller: ");
    char own[128] = "?";

    gethostname(own, sizeof(own) - 1);
    snprintf(out, cap, "%s %.*s\n", own, caller != NULL ? (int)strcspn(caller + 17, "\r") : 1,
             caller != NULL ? caller + 17 : "-");
}

static int failing;

static void
serve(int fd)
{
    char request[4096], name[256] = "", body[4096] = "", head[128];
    ssize_t got = read(fd, request, sizeof(request) - 1);

    request[got > 0 ? got : 0] = '\0';
    if (sscanf(request, "GET /%255[^ ]", name) != 1)
        strcpy(body, "well\n");
    else if (strncmp(name, ":call/", 6) == 0)
        call(name + 6, body, sizeof(body));
    else if (strcmp(name, ":fail") == 0 || strcmp(name, ":well") == 0)
        failing = name[1] == 'f';
    else if (strncmp(name, ":me", 3) == 0)
        tell(request, body, sizeof(body));
    else
        look_up(name, body, sizeof(body));
    snprintf(head, sizeof(head),
             "HTTP/1.1 %d OK\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n",
             failing && strncmp(name, ":me", 3) == 0 ? 500 : 200, strlen(body));
    if (write(fd, head, strlen(head)) < 0 || write(fd, body, strlen(body)) < 0)
        perror("write");
    shutdown(fd, SHUT_WR);
    close(fd);
}

static void
on_term(int signo)
{
    (void)signo;
    _exit(0);
}

int
main(void)
{
    const char *port = getenv("PORT");
    struct sockaddr_in6 addr = {.sin6_family = AF_INET6,
                                .sin6_port = htons((unsigned short)atoi(port ? port : "8080"))};
    int fd = socket(AF_INET6, SOCK_STREAM, 0), on = 1;

    signal(SIGPIPE, SIG_IGN);
    signal(SIGTERM, on_term); /* the first process has no default */
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (fd < 0 || bind(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0 ||
        listen(fd, 64) < 0) {
        perror("listening");
        return 1;
    }
    for (;;) {
        int one = accept(fd, NULL, NULL);

        if (one >= 0)
            serve(one);
    }
}
