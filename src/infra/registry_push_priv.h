/* The part of the registry of tests that takes what is sent. */
#ifndef SYN_REGISTRY_PUSH_PRIV_H
#define SYN_REGISTRY_PUSH_PRIV_H

#include <synor/infra/registry_testing.h>

/** A request as it came: its head, and what came of its body with it. */
struct fake_request {
    char method[8];
    char path[1024];
    const char *head, *body;
    size_t body_len;
};

/** Under the lock. False: it is none of a push. */
bool fake_push(struct fake *fake, int fd, const struct fake_request *request);
void fake_head(int fd, int status, int64_t length, const char *more);
void fake_wait_gone(struct fake *fake, int fd);
void fake_header_of(const char *request, const char *name, char *out, size_t cap);
struct fake_resource *fake_add_locked(struct fake *fake, const char *path, const void *body,
                                      size_t len);
struct fake_resource *fake_find_locked(struct fake *fake, const char *path, size_t len);

#endif
