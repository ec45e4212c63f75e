#include "netlink_priv.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ANSWER_BYTES_MAX ((size_t)32768) /* what the kernel packs into one datagram of a dump */
#define ANSWER_S         10
#define HEAD_LEN         sizeof(struct nlattr)
#define ALIGNED(len)     (((size_t)(len) + 3) & ~(size_t)3)

void (*syn_nl_step_hook)(const char *what);

void
syn_nl_step(const char *what)
{
    if (syn_nl_step_hook)
        syn_nl_step_hook(what);
}

int
syn_nl_open(int protocol, int *ret_fd, struct syn_err *err)
{
    const struct timeval limit = {.tv_sec = ANSWER_S};
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);

    if (fd < 0)
        return SYN_FAIL_SYS(err, errno, "opening a netlink socket");
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    *ret_fd = fd;
    return SYN_OK;
}

void
syn_nl_init(struct syn_nl *nl, uint16_t type, uint16_t flags, const void *body, size_t len)
{
    memset(nl, 0, sizeof(*nl));
    assert(NLMSG_LENGTH(len) <= sizeof(*nl));
    nl->head.nlmsg_len = (uint32_t)NLMSG_LENGTH(len);
    nl->head.nlmsg_type = type;
    nl->head.nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
    if (len > 0)
        memcpy(NLMSG_DATA(&nl->head), body, len);
}

static struct nlattr *
add(struct syn_nl *nl, uint16_t type, const void *data, size_t len)
{
    size_t at = NLMSG_ALIGN(nl->head.nlmsg_len);
    struct nlattr *attr = (struct nlattr *)(void *)((char *)nl + at);

    assert(at + HEAD_LEN + ALIGNED(len) <= sizeof(*nl));
    attr->nla_type = type;
    attr->nla_len = (uint16_t)(HEAD_LEN + len);
    if (len > 0)
        memcpy((char *)attr + HEAD_LEN, data, len);
    nl->head.nlmsg_len = (uint32_t)(at + HEAD_LEN + ALIGNED(len));
    return attr;
}

void
syn_nl_add(struct syn_nl *nl, uint16_t type, const void *data, size_t len)
{
    (void)add(nl, type, data, len);
}

void
syn_nl_add_text(struct syn_nl *nl, uint16_t type, const char *text)
{
    (void)add(nl, type, text, strlen(text) + 1);
}

void
syn_nl_add_u32(struct syn_nl *nl, uint16_t type, uint32_t value)
{
    (void)add(nl, type, &value, sizeof(value));
}

struct nlattr *
syn_nl_begin(struct syn_nl *nl, uint16_t type)
{
    return add(nl, type, NULL, 0);
}

void
syn_nl_end(const struct syn_nl *nl, struct nlattr *nest)
{
    nest->nla_len = (uint16_t)((const char *)nl + nl->head.nlmsg_len - (char *)nest);
}

static bool
is_dump(const struct syn_nl *nl)
{
    return (nl->head.nlmsg_flags & NLM_F_DUMP) == NLM_F_DUMP;
}

struct question {
    const struct syn_nl *nl;
    const char *what;
    syn_nl_fn fn;
    void *arg;
};

/* One message that answers the question. Returns 1 when it was the last, 0 when more
 * comes. */
static int
take_message(const char *data, const struct nlmsghdr *head, const struct question *question,
             struct syn_err *err)
{
    uint16_t flags = question->nl->head.nlmsg_flags;
    struct nlmsgerr result;

    if (head->nlmsg_type == NLMSG_ERROR && head->nlmsg_len >= NLMSG_LENGTH(sizeof(result))) {
        memcpy(&result, data + NLMSG_HDRLEN, sizeof(result));
        return result.error == 0 ? 1 : SYN_FAIL_SYS(err, -result.error, "%s", question->what);
    }
    if (head->nlmsg_type == NLMSG_DONE)
        return 1;
    if (question->fn)
        question->fn(question->arg, head->nlmsg_type, data + NLMSG_HDRLEN,
                     head->nlmsg_len - NLMSG_HDRLEN);
    return !is_dump(question->nl) && !(flags & NLM_F_ACK);
}

/* One datagram of the answer; the same result. */
static int
take_answer(const char *data, size_t len, const struct question *question, bool *changed,
            struct syn_err *err)
{
    int rc = 0;

    while (rc == 0 && len >= NLMSG_HDRLEN) {
        struct nlmsghdr head;

        memcpy(&head, data, sizeof(head));
        if (head.nlmsg_len < NLMSG_HDRLEN || head.nlmsg_len > len)
            return SYN_FAIL(err, SYN_E_IO, "%s: a broken answer from the kernel", question->what);
        /* What a call before this one left unread is not ours. */
        if (head.nlmsg_seq == question->nl->head.nlmsg_seq) {
            *changed = *changed || (head.nlmsg_flags & NLM_F_DUMP_INTR);
            rc = take_message(data, &head, question, err);
        }
        data += SYN_MIN(NLMSG_ALIGN((size_t)head.nlmsg_len), len);
        len -= SYN_MIN(NLMSG_ALIGN((size_t)head.nlmsg_len), len);
    }
    return rc;
}

int
syn_nl_ask(int fd, struct syn_nl *nl, const char *what, syn_nl_fn fn, void *arg,
           struct syn_err *err)
{
    static _Thread_local uint32_t sequence;
    const struct question question = {nl, what, fn, arg};
    _Alignas(struct nlmsghdr) char data[ANSWER_BYTES_MAX];
    bool changed = false;
    int rc = 0;

    nl->head.nlmsg_seq = ++sequence;
    if (send(fd, nl, nl->head.nlmsg_len, 0) < 0)
        return SYN_FAIL_SYS(err, errno, "%s: asking the kernel", what);
    while (rc == 0) {
        ssize_t got = recv(fd, data, sizeof(data), 0);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return SYN_FAIL_SYS(err, errno, "%s: no answer from the kernel", what);
        rc = take_answer(data, (size_t)got, &question, &changed, err);
    }
    if (rc >= 0 && changed)
        return SYN_FAIL(err, SYN_E_CONFLICT, "%s: it changed while it was read", what);
    return rc < 0 ? rc : SYN_OK;
}

int
syn_nl_do(int fd, struct syn_nl *nl, const char *what, struct syn_err *err)
{
    syn_nl_step(what);
    nl->head.nlmsg_flags |= NLM_F_ACK;
    return syn_nl_ask(fd, nl, what, NULL, NULL, err);
}

const struct nlattr *
syn_nl_find(const void *attrs, size_t len, uint16_t type)
{
    const char *at = attrs;

    while (len >= HEAD_LEN) {
        const struct nlattr *attr = (const struct nlattr *)(const void *)at;

        if (attr->nla_len < HEAD_LEN || attr->nla_len > len)
            return NULL;
        if ((attr->nla_type & NLA_TYPE_MASK) == type)
            return attr;
        at += SYN_MIN(ALIGNED((size_t)attr->nla_len), len);
        len -= SYN_MIN(ALIGNED((size_t)attr->nla_len), len);
    }
    return NULL;
}

const void *
syn_nl_data(const struct nlattr *attr)
{
    return (const char *)attr + HEAD_LEN;
}

size_t
syn_nl_size(const struct nlattr *attr)
{
    return (size_t)attr->nla_len - HEAD_LEN;
}
