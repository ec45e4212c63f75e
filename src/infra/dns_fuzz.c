/* Messages from strangers: a question is answered with everything there is, into as little room as
 * there may be; the answer is never longer, is one, and is the question's. */
#include <stdlib.h>
#include <string.h>

#include <synor/infra/dns.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t
answer_all(const struct syn_dns_query *query, uint8_t *out)
{
    static const uint8_t address[16] = {0xfd, 1};
    struct syn_dns_answer answer;
    unsigned many = query->type % 64;

    syn_dns_answer_begin(&answer, query, out, query->limit);
    for (unsigned i = 0; i < many; i++)
        syn_dns_answer_address(&answer, address, i % 2 == 0 ? 4 : 16, 1);
    for (unsigned i = 0; i < many; i++)
        syn_dns_answer_srv(&answer, "1.web.acme.synor", 8080, 1);
    syn_dns_answer_authority(&answer, "synor", 1);
    for (unsigned i = 0; i < many; i++)
        syn_dns_answer_extra(&answer, "1.web.acme.synor", address, 16, 1);
    return syn_dns_answer_end(&answer, query->code, true);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct syn_dns_query query, again;
    uint8_t *out;
    size_t len;

    if (size > SYN_DNS_MESSAGE_MAX || syn_dns_query_parse(data, size, &query) != SYN_OK)
        return 0;
    if (strlen(query.name) > SYN_DNS_NAME_MAX - 2 || query.limit < SYN_DNS_PLAIN_MAX ||
        query.limit > SYN_DNS_UDP_MAX)
        abort();
    out = malloc(query.limit); /* of exactly that: what writes beyond is found out */
    if (out == NULL)
        return 0;
    len = answer_all(&query, out);
    if (len > query.limit || syn_dns_query_parse(out, len, &again) != SYN_DNS_IGNORED)
        abort();
    if (query.code == SYN_DNS_NOERROR && !syn_dns_answers(out, len, data, size))
        abort();
    out[2] &= 0x7f; /* read as a question it is the same one */
    if (syn_dns_query_parse(out, len, &again) != SYN_OK ||
        (query.code == SYN_DNS_NOERROR && strcmp(query.name, again.name) != 0))
        abort();
    free(out);
    return 0;
}
