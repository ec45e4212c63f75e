/* A gRPC server that knows the health protocol and nothing else: the service whose name is its
 * argument serves, every other one does not. It speaks just as much HTTP/2 as one question takes.
 */
#include <netinet/in.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PREFACE 24
#define HEAD    9
#define ENDS    1

static int
take(int fd, unsigned char *out, size_t len)
{
    for (size_t n = 0; n < len;) {
        ssize_t got = read(fd, out + n, len - n);

        if (got <= 0)
            return 0;
        n += (size_t)got;
    }
    return 1;
}

static void
frame(int fd, int type, int flags, int stream, const void *data, size_t len)
{
    unsigned char out[256] = {
        0, 0, (unsigned char)len,   (unsigned char)type, (unsigned char)flags, 0,
        0, 0, (unsigned char)stream};

    memcpy(out + HEAD, data, len);
    if (write(fd, out, HEAD + len) < 0)
        exit(1);
}

static void
answer(int fd, int stream, int serves)
{
    static const char head[] = "\x88\x0f\x10\x10"
                               "application/grpc";
    static const char tail[] = "\x00\x0b"
                               "grpc-status\x01"
                               "0";
    const char data[] = {0, 0, 0, 0, 2, 8, serves ? 1 : 2};

    frame(fd, 4, 0, 0, "", 0);
    frame(fd, 4, 1, 0, "", 0);
    frame(fd, 1, 4, stream, head, sizeof(head) - 1);
    frame(fd, 0, 0, stream, data, sizeof(data));
    frame(fd, 1, 4 | ENDS, stream, tail, sizeof(tail) - 1);
}

/* One question: the message is a frame's head of five bytes, a key, a length, and the name. */
static void
serve(int fd, const char *name)
{
    unsigned char in[PREFACE], head[HEAD], body[4096];

    if (!take(fd, in, PREFACE))
        return;
    while (take(fd, head, HEAD)) {
        size_t len = (size_t)head[0] << 16 | (size_t)head[1] << 8 | head[2];

        if (len > sizeof(body) || !take(fd, body, len))
            return;
        if (head[3] == 0 && (head[4] & ENDS))
            answer(fd, head[8],
                   len == 7 + strlen(name) && memcmp(body + 7, name, strlen(name)) == 0);
    }
}

int
main(int argc, char **argv)
{
    struct sockaddr_in where = {.sin_family = AF_INET,
                                .sin_port = htons((uint16_t)atoi(getenv("PORT")))};
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;

    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (argc != 2 || bind(fd, (struct sockaddr *)&where, sizeof(where)) != 0 || listen(fd, 8) != 0)
        return 1;
    for (;;) {
        int peer = accept(fd, NULL, NULL);

        serve(peer, argv[1]);
        close(peer);
    }
}
