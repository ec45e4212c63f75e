/* The program of names.py's image: an HTTP server that looks up the name in the path, as any
 * program does, and answers with a line for each address, or why there is none. */
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

static void
serve(int fd)
{
    char request[4096], name[256] = "", body[4096] = "", head[128];
    ssize_t got = read(fd, request, sizeof(request) - 1);

    request[got > 0 ? got : 0] = '\0';
    if (sscanf(request, "GET /%255[^ ]", name) != 1)
        strcpy(body, "well\n");
    else
        look_up(name, body, sizeof(body));
    snprintf(head, sizeof(head),
             "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n", strlen(body));
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
