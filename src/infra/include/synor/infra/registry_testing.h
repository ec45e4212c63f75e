/* A registry that does what a test says, on a loopback port: resources in a table, and misdeeds. */
#ifndef SYNOR_INFRA_REGISTRY_TESTING_H
#define SYNOR_INFRA_REGISTRY_TESTING_H

#include <pthread.h>
#include <stdatomic.h>

#include <synor/base/test.h>

#include <synor/base/buf.h>
#include <synor/base/image_ref.h>
#include <synor/infra/crypto.h>

#define FAKE_RESOURCES_MAX 64
#define FAKE_TEXT_MAX      1024

enum fake_deed {
    FAKE_GIVE,       /* as it should be */
    FAKE_STALL,      /* half of it, and then nothing until the client goes */
    FAKE_SILENT,     /* not even a status */
    FAKE_BREAK_ONCE, /* half of it the first time, then what is asked for */
    FAKE_BREAK_MORE, /* the same, and from then on all of it, whatever part is asked for */
    FAKE_SHORT,      /* half of it, each time */
    FAKE_ENDLESS,    /* without a length, and more than there is */
    FAKE_LIE_LENGTH, /* says that there is one byte more */
    FAKE_WRONG_PART, /* another part than asked for, after a break */
    FAKE_TOGETHER,   /* the first: not before something else is asked for as well (`met`) */
};

/* What goes wrong with what is sent. */
enum fake_push_deed {
    FAKE_PUSH_TAKE,        /* nothing */
    FAKE_PUSH_BREAK_ONCE,  /* half of the first body, kept; then the connection ends */
    FAKE_PUSH_FORGET_ONCE, /* the same, and the session is forgotten */
    FAKE_PUSH_LOSE,        /* takes each body, and says that nothing is there */
    FAKE_PUSH_MORE,        /* says that it has more than came */
    FAKE_PUSH_STALL,       /* no answer to a body until the client goes */
    FAKE_PUSH_NOWHERE,     /* opens a session and does not say where */
    FAKE_PUSH_AWAY,        /* leads to `fake->away` */
    FAKE_PUSH_LIE,         /* says that it has another manifest */
    FAKE_PUSH_NO_MOUNT,    /* 403 to a mount */
};

#define FAKE_UPLOADS_MAX 16

struct fake_upload {
    char name[256]; /* of its repository */
    struct syn_buf body;
    bool gone;
};

struct fake_resource {
    char path[512];
    enum fake_deed deed;
    int status;                  /* 0: 200 */
    int fail_first;              /* so many times `status`, then 200 */
    char headers[FAKE_TEXT_MAX]; /* more headers, each with its end of line */
    char *body;
    size_t len;
    bool needs_auth; /* 401 without the token or credentials that `fake` wants */
    unsigned asked;
    uint64_t from; /* the last time: the first byte */
};

struct fake {
    int listener;
    char host[SYN_IMAGE_HOST_MAX]; /* "127.0.0.1:PORT" */
    pthread_t thread;
    atomic_bool stop;
    pthread_mutex_t lock;
    struct fake_resource resources[FAKE_RESOURCES_MAX];
    size_t count;
    bool met;
    char wants[FAKE_TEXT_MAX];     /* value of Authorization that lets in */
    char challenge[FAKE_TEXT_MAX]; /* what is said to the others */
    struct syn_buf seen;           /* "PATH|AUTHORIZATION\n" of every request */
    /* pushes (registry_push_testing.c): what comes becomes resources */
    enum fake_push_deed push_deed;
    bool push_auth;       /* needs what `wants` says */
    int push_status;      /* of each body and session that comes; 0: as it should be */
    int push_fail_first;  /* so many times, then as it should be; 0: each time */
    char away[256];       /* where sessions are */
    unsigned push_bodies; /* so many have come */
    struct fake_upload uploads[FAKE_UPLOADS_MAX];
    size_t upload_count;
};

struct fake *fake_new(void);
struct fake *fake_free(struct fake *fake);
/** Owner of the result: the fake. `body` is copied. */
struct fake_resource *fake_add(struct fake *fake, const char *path, const void *body, size_t len);
/** What is at `path`, or NULL. */
struct fake_resource *fake_find(struct fake *fake, const char *path);
/** Between what a test changes in the table and a request, and back: no request is under way. */
void fake_settle(struct fake *fake);
/** How often was something asked for that has `text` in it (path and authorization)? */
unsigned fake_seen(struct fake *fake, const char *text);
/** "sha256:..." of bytes into out. Returns out. */
const char *fake_digest(const void *data, size_t len, char out[SYN_IMAGE_DIGEST_MAX]);

/** An image of `layers` layers of `size` bytes each, served as /v2/NAME at tag "1". */
struct fake_image {
    char manifest[SYN_IMAGE_DIGEST_MAX];
    char layers[4][SYN_IMAGE_DIGEST_MAX];
    struct fake_resource *tag, *by_digest, *config, *blobs[4];
};
void fake_image(struct fake *fake, const char *name, unsigned layers, size_t size,
                const char *architecture, struct fake_image *ret);

#endif
