/* DNS messages (RFC 1035, 2782, 6891): what a name server needs to read a question and to write an
 * answer. Pure: bytes in, bytes out; who sends and receives them is elsewhere. */
#ifndef SYNOR_INFRA_DNS_H
#define SYNOR_INFRA_DNS_H

#include <stdint.h>

#include <synor/base/core.h>
#include <synor/base/err.h>

#define SYN_DNS_NAME_MAX    255 /* bytes of a name on the wire */
#define SYN_DNS_LABELS_MAX  127
#define SYN_DNS_HEADER      12
#define SYN_DNS_PLAIN_MAX   512  /* bytes over UDP to who does not say that it takes more */
#define SYN_DNS_UDP_MAX     1232 /* to anybody: what no path has to cut up */
#define SYN_DNS_MESSAGE_MAX 16384
#define SYN_DNS_PORT        53

enum syn_dns_type {
    SYN_DNS_A = 1,
    SYN_DNS_SOA = 6,
    SYN_DNS_AAAA = 28,
    SYN_DNS_SRV = 33,
    SYN_DNS_OPT = 41,
    SYN_DNS_ANY = 255
};

enum syn_dns_code {
    SYN_DNS_NOERROR = 0,
    SYN_DNS_FORMERR = 1,
    SYN_DNS_SERVFAIL = 2,
    SYN_DNS_NXDOMAIN = 3,
    SYN_DNS_NOTIMP = 4,
    SYN_DNS_REFUSED = 5,
    SYN_DNS_BADVERS = 16
};

/** A question. Plain values. */
struct syn_dns_query {
    uint16_t id, flags, type;
    enum syn_dns_code
        code;            /* other than NOERROR: it is answered with that, and with nothing else */
    bool internet;       /* of class IN */
    bool edns;           /* it speaks EDNS, and gets it back */
    size_t limit;        /* of an answer over UDP */
    size_t question_len; /* bytes of the question, as they came, behind the header */
    uint8_t question[SYN_DNS_NAME_MAX + 4];
    /** In small letters, without the last dot: "web.acme.synor"; "" is the root. Bytes that stand
     *  in no name of ours are '?', a dot within a label as well. */
    char name[SYN_DNS_NAME_MAX + 1];
};

#define SYN_DNS_IGNORED 1
/**
 * Read a question. Whatever follows it but an EDNS record is passed over.
 *
 * Returns 0; SYN_DNS_IGNORED for what is none and must not be answered (an answer, a fragment).
 */
SYN_MUST int syn_dns_query_parse(const uint8_t *data, size_t len, struct syn_dns_query *ret);

/** An answer in the making. What does not fit is left out, and the answer says so (TC). */
struct syn_dns_answer {
    uint8_t *data; /* the caller's, of `limit` bytes */
    size_t len, limit;
    uint16_t answers, authorities, extras;
    bool cut;
    const struct syn_dns_query *query;
};

/** Begin the answer of `query` in `data`. `limit` is at least SYN_DNS_PLAIN_MAX. */
void syn_dns_answer_begin(struct syn_dns_answer *answer, const struct syn_dns_query *query,
                          uint8_t *data, size_t limit);
/** An address of the name that was asked for: 4 bytes, or 16. */
void syn_dns_answer_address(struct syn_dns_answer *answer, const uint8_t *address, size_t len,
                            uint32_t ttl_s);
/** It is served at `port` of `target`, a name as in a query. Before any syn_dns_answer_extra(). */
void syn_dns_answer_srv(struct syn_dns_answer *answer, const char *target, uint16_t port,
                        uint32_t ttl_s);
/** The address of a target, for who would ask next. Left out silently where it does not fit. */
void syn_dns_answer_extra(struct syn_dns_answer *answer, const char *target, const uint8_t *address,
                          size_t len, uint32_t ttl_s);
/** Whose the answer is, "synor", and how long it holds that there is no more: after the answers. */
void syn_dns_answer_authority(struct syn_dns_answer *answer, const char *zone, uint32_t ttl_s);
/** Returns the length of the message. `own`: what was asked for is in a zone of ours. */
size_t syn_dns_answer_end(struct syn_dns_answer *answer, enum syn_dns_code code, bool own);

/** Is `data` the answer to the question `asked` (both whole messages)? */
bool syn_dns_answers(const uint8_t *data, size_t len, const uint8_t *asked, size_t asked_len);

#endif
