/* Netlink messages, written by hand: one request, its answer, nothing kept in between. */
#ifndef SYNOR_RUNTIME_NETLINK_PRIV_H
#define SYNOR_RUNTIME_NETLINK_PRIV_H

#include <linux/netlink.h>

#include <synor/base/core.h>
#include <synor/base/err.h>

#define SYN_NL_BYTES_MAX 1024

/** One request. Plain memory; everything built here is far below SYN_NL_BYTES_MAX (asserted). */
struct syn_nl {
    struct nlmsghdr head;
    char body[SYN_NL_BYTES_MAX];
};

/** A socket of NETLINK_ROUTE or NETLINK_NETFILTER in the calling thread's network namespace, where
 *  it stays whatever the thread does later. Owner: *ret_fd is the caller's. */
SYN_MUST int syn_nl_open(int protocol, int *ret_fd, struct syn_err *err);

void syn_nl_init(struct syn_nl *nl, uint16_t type, uint16_t flags, const void *body, size_t len);
void syn_nl_add(struct syn_nl *nl, uint16_t type, const void *data, size_t len);
/** With its NUL. */
void syn_nl_add_text(struct syn_nl *nl, uint16_t type, const char *text);
void syn_nl_add_u32(struct syn_nl *nl, uint16_t type, uint32_t value);
/** Begin an attribute that holds others; syn_nl_end() takes what this returns. */
SYN_MUST struct nlattr *syn_nl_begin(struct syn_nl *nl, uint16_t type);
void syn_nl_end(const struct syn_nl *nl, struct nlattr *nest);

/** Send it and wait for the acknowledgement. `what` is the beginning of the error.
 *  Returns 0; the kernel's errno by SYN_FAIL_SYS, kept in err->sys. */
SYN_MUST int syn_nl_do(int fd, struct syn_nl *nl, const char *what, struct syn_err *err);

/** Called for every message of an answer; `body` has `len` bytes behind the netlink header. */
typedef void (*syn_nl_fn)(void *arg, uint16_t type, const void *body, size_t len);
/** Send it and hand every message of the answer to `fn`: of a dump (NLM_F_DUMP) or of one object.
 *  Returns as syn_nl_do(); CONFLICT when what is listed changed meanwhile: ask again. */
SYN_MUST int syn_nl_ask(int fd, struct syn_nl *nl, const char *what, syn_nl_fn fn, void *arg,
                        struct syn_err *err);

/** The attribute `type` among `len` bytes of attributes, or NULL. Nothing outside is read. */
const struct nlattr *syn_nl_find(const void *attrs, size_t len, uint16_t type);
const void *syn_nl_data(const struct nlattr *attr);
size_t syn_nl_size(const struct nlattr *attr);

/** Tests end the process before step N. NULL: nobody listens. */
extern void (*syn_nl_step_hook)(const char *what);
/** A step that leaves something in the world is about to be taken. */
void syn_nl_step(const char *what);

#endif
