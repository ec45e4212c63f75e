/* A function in C: a server for HTTP on $PORT, and nothing else.
 *
 *     cc -O2 -static -o main main.c
 *     synor compute function deploy --name hello --runtime c --code main --trigger http:/hello
 *
 * One request at a time, which is what an instance gets unless --concurrency says otherwise.
 * Without -static the node's C library is used, which may be an older one. */
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define REQUEST_MAX 65536

static void
stop(int signo)
{
    (void)signo;
    _exit(0);
}

static void
answer(FILE *client, const char *status, const char *type, const char *body)
{
    (void)dprintf(fileno(client),
                  "HTTP/1.1 %s\r\ncontent-type: %s\r\ncontent-length: %zu\r\n"
                  "connection: close\r\n\r\n%s",
                  status, type, strlen(body), body);
}

static void
serve(FILE *client)
{
    char line[REQUEST_MAX], method[16] = "", path[1024] = "", text[2048];
    long length = 0;

    if (!fgets(line, sizeof(line), client) || sscanf(line, "%15s %1023s", method, path) != 2)
        return;
    while (fgets(line, sizeof(line), client) && line[0] != '\r' && line[0] != '\n')
        if (strncasecmp(line, "content-length:", 15) == 0)
            length = strtol(line + 15, NULL, 10);
    for (long at = 0; at < length && fgetc(client) != EOF;
         at++) /* the body, which we do not need */
        continue;
    if (strcmp(path, "/_synor/health") == 0) { /* asked until it answers 200: then calls come */
        answer(client, "200 OK", "text/plain", "ok\n");
        return;
    }
    (void)printf("%s %s\n", method, path); /* what is printed is the function's log */
    (void)fflush(stdout);
    (void)snprintf(text, sizeof(text), "Hello from C: %s\n", path);
    answer(client, "200 OK", "text/plain", text);
}

int
main(void)
{
    const char *port = getenv("PORT");
    struct sockaddr_in address = {.sin_family = AF_INET};
    int door = socket(AF_INET, SOCK_STREAM, 0), on = 1;

    (void)signal(SIGTERM, stop);
    (void)signal(SIGPIPE, SIG_IGN);
    address.sin_port = htons((unsigned short)strtol(port ? port : "8080", NULL, 10));
    (void)setsockopt(door, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(door, (struct sockaddr *)&address, sizeof(address)) != 0 || listen(door, 128) != 0) {
        perror("listening");
        return 1;
    }
    for (;;) {
        int fd = accept(door, NULL, NULL);
        FILE *client = fd >= 0 ? fdopen(fd, "r") : NULL;

        if (client) {
            serve(client);
            (void)fclose(client);
        }
    }
}
