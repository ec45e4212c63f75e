/* Reading is bounded by the message alone: a question's name is never compressed (nothing comes
 * before it that it could point to), so no pointer is ever followed. Writing knows one pointer, to
 * the question's name behind the header. */
#include <synor/infra/dns.h>

#include <string.h>

#include <synor/base/str.h>

#define FLAG_ANSWER    0x8000u
#define FLAG_OPCODE    0x7800u
#define FLAG_AUTHORITY 0x0400u
#define FLAG_CUT       0x0200u
#define FLAG_RECURSE   0x0100u /* wished: goes back as it came */
#define FLAG_RECURSES  0x0080u /* done here: others' names are passed on */
#define CLASS_IN       1
#define LABEL_MAX      63
#define QUESTION_NAME  0xc00cu /* a pointer to it */
#define OPT_LEN        11
#define SOA_REFRESH_S  60
#define SOA_EXPIRE_S   86400
#define EXTENDED_BITS  4

static unsigned
get16(const uint8_t *at)
{
    return (unsigned)at[0] << 8 | at[1];
}

static void
set16(uint8_t *at, unsigned value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

/* ---- reading ---- */

static char
plain(uint8_t byte)
{
    if (byte >= 'A' && byte <= 'Z')
        return (char)(byte + 32);
    if ((byte >= 'a' && byte <= 'z') || (byte >= '0' && byte <= '9') || byte == '-' || byte == '_')
        return (char)byte;
    return '?';
}

/* The name at data[0], into out[SYN_DNS_NAME_MAX + 1]. Returns its length on the wire; 0: none. */
static size_t
read_name(const uint8_t *data, size_t len, char *out)
{
    size_t at = 0, text = 0;

    while (at < len && data[at] != 0) {
        size_t label = data[at];

        if (label > LABEL_MAX || at + 1 + label >= len || at + 1 + label >= SYN_DNS_NAME_MAX)
            return 0;
        if (text > 0)
            out[text++] = '.';
        for (size_t i = 1; i <= label; i++)
            out[text++] = plain(data[at + i]);
        at += 1 + label;
    }
    if (at >= len)
        return 0;
    out[text] = '\0';
    return at + 1;
}

/* The length of any name, which may end in a pointer. 0: there is none. */
static size_t
skip_name(const uint8_t *data, size_t len)
{
    size_t at = 0;

    while (at < len && data[at] != 0) {
        if (data[at] >= 0xc0)
            return at + 2 <= len ? at + 2 : 0;
        if (data[at] > LABEL_MAX)
            return 0;
        at += 1 + (size_t)data[at];
    }
    return at < len ? at + 1 : 0;
}

/* Find the EDNS record among `count` records. False where they are not whole, or it is there
 * twice. */
static bool
read_records(const uint8_t *data, size_t len, unsigned count, struct syn_dns_query *query)
{
    for (; count > 0; count--) {
        size_t name = skip_name(data, len), size;

        if (name == 0 || len - name < 10)
            return false;
        size = name + 10 + get16(data + name + 8);
        if (size > len)
            return false;
        if (get16(data + name) == SYN_DNS_OPT) {
            if (query->edns || name != 1)
                return false;
            query->edns = true;
            query->limit = SYN_MIN(SYN_MAX(get16(data + 3), (unsigned)SYN_DNS_PLAIN_MAX),
                                   (unsigned)SYN_DNS_UDP_MAX);
            if (data[name + 5] != 0)
                query->code = SYN_DNS_BADVERS;
        }
        data += size;
        len -= size;
    }
    return true;
}

static enum syn_dns_code
read_question(const uint8_t *data, size_t len, struct syn_dns_query *query)
{
    unsigned records = get16(data + 6) + get16(data + 8) + get16(data + 10);
    size_t name;

    if ((query->flags & FLAG_OPCODE) != 0)
        return SYN_DNS_NOTIMP;
    if (get16(data + 4) != 1)
        return SYN_DNS_FORMERR;
    name = read_name(data + SYN_DNS_HEADER, len - SYN_DNS_HEADER, query->name);
    if (name == 0 || len - SYN_DNS_HEADER - name < 4)
        return SYN_DNS_FORMERR;
    query->question_len = name + 4;
    memcpy(query->question, data + SYN_DNS_HEADER, query->question_len);
    query->type = (uint16_t)get16(query->question + name);
    query->internet = get16(query->question + name + 2) == CLASS_IN;
    if (!read_records(data + SYN_DNS_HEADER + query->question_len,
                      len - SYN_DNS_HEADER - query->question_len, records, query))
        return SYN_DNS_FORMERR;
    return query->code;
}

int
syn_dns_query_parse(const uint8_t *data, size_t len, struct syn_dns_query *ret)
{
    memset(ret, 0, sizeof(*ret));
    ret->limit = SYN_DNS_PLAIN_MAX;
    if (len < SYN_DNS_HEADER || (get16(data + 2) & FLAG_ANSWER) != 0)
        return SYN_DNS_IGNORED;
    ret->id = (uint16_t)get16(data);
    ret->flags = (uint16_t)get16(data + 2);
    ret->code = read_question(data, len, ret);
    return SYN_OK;
}

bool
syn_dns_answers(const uint8_t *data, size_t len, const uint8_t *asked, size_t asked_len)
{
    size_t name;

    if (len < SYN_DNS_HEADER || asked_len < SYN_DNS_HEADER || get16(data) != get16(asked) ||
        (get16(data + 2) & FLAG_ANSWER) == 0)
        return false;
    if (get16(data + 4) == 0) /* servers that refuse may leave the question out */
        return (data[3] & 0xf) != SYN_DNS_NOERROR;
    name = skip_name(asked + SYN_DNS_HEADER, asked_len - SYN_DNS_HEADER);
    return name > 0 && SYN_DNS_HEADER + name + 4 <= SYN_MIN(len, asked_len) &&
           memcmp(data + SYN_DNS_HEADER, asked + SYN_DNS_HEADER, name + 4) == 0;
}

/* ---- writing ---- */

static size_t
room_for_end(const struct syn_dns_answer *answer)
{
    return answer->query->edns ? OPT_LEN : 0;
}

/* "web.acme" as labels. Returns behind them. */
static uint8_t *
put_name(uint8_t *at, const char *name)
{
    while (*name != '\0') {
        size_t label = strcspn(name, ".");

        assert(label > 0 && label <= LABEL_MAX);
        *at++ = (uint8_t)label;
        memcpy(at, name, label);
        at += label;
        name += label + (name[label] == '.');
    }
    *at++ = 0;
    return at;
}

static size_t
name_len(const char *name)
{
    return name[0] == '\0' ? 1 : strlen(name) + 2;
}

/* A record of `size` bytes of data; where they go, or NULL. `owner` NULL: the question's name. */
static uint8_t *
begin_record(struct syn_dns_answer *answer, const char *owner, unsigned type, uint32_t ttl_s,
             size_t size)
{
    size_t whole = (owner == NULL ? 2 : name_len(owner)) + 10 + size;
    uint8_t *at = answer->data + answer->len;

    if (answer->len + whole + room_for_end(answer) > answer->limit)
        return NULL;
    answer->len += whole;
    if (owner == NULL)
        set16(at, QUESTION_NAME);
    at = owner == NULL ? at + 2 : put_name(at, owner);
    set16(at, type);
    set16(at + 2, CLASS_IN);
    set16(at + 4, ttl_s >> 16);
    set16(at + 6, ttl_s & 0xffff);
    set16(at + 8, (unsigned)size);
    return at + 10;
}

void
syn_dns_answer_begin(struct syn_dns_answer *answer, const struct syn_dns_query *query,
                     uint8_t *data, size_t limit)
{
    assert(limit >= SYN_DNS_PLAIN_MAX);
    *answer = (struct syn_dns_answer){.data = data, .limit = limit, .query = query};
    memset(data, 0, SYN_DNS_HEADER);
    memcpy(data + SYN_DNS_HEADER, query->question, query->question_len);
    answer->len = SYN_DNS_HEADER + query->question_len;
}

void
syn_dns_answer_address(struct syn_dns_answer *answer, const uint8_t *address, size_t len,
                       uint32_t ttl_s)
{
    uint8_t *at = NULL;

    assert(len == 4 || len == 16);
    if (!answer->cut)
        at = begin_record(answer, NULL, len == 4 ? SYN_DNS_A : SYN_DNS_AAAA, ttl_s, len);
    answer->cut = at == NULL;
    if (at == NULL)
        return;
    memcpy(at, address, len);
    answer->answers++;
}

void
syn_dns_answer_srv(struct syn_dns_answer *answer, const char *target, uint16_t port, uint32_t ttl_s)
{
    uint8_t *at = NULL;

    assert(answer->extras == 0);
    if (!answer->cut)
        at = begin_record(answer, NULL, SYN_DNS_SRV, ttl_s, 6 + name_len(target));
    answer->cut = at == NULL;
    if (at == NULL)
        return;
    memset(at, 0, 4); /* priority and weight: all alike */
    set16(at + 4, port);
    (void)put_name(at + 6, target);
    answer->answers++;
}

void
syn_dns_answer_extra(struct syn_dns_answer *answer, const char *target, const uint8_t *address,
                     size_t len, uint32_t ttl_s)
{
    uint8_t *at = NULL;

    assert(len == 4 || len == 16);
    if (!answer->cut)
        at = begin_record(answer, target, len == 4 ? SYN_DNS_A : SYN_DNS_AAAA, ttl_s, len);
    if (at == NULL)
        return;
    memcpy(at, address, len);
    answer->extras++;
}

void
syn_dns_answer_authority(struct syn_dns_answer *answer, const char *zone, uint32_t ttl_s)
{
    static const char who[] = "hostmaster";
    const uint32_t numbers[] = {1, SOA_REFRESH_S, SOA_REFRESH_S, SOA_EXPIRE_S, ttl_s};
    uint8_t *at = NULL;

    assert(answer->extras == 0);
    if (!answer->cut)
        at = begin_record(answer, zone, SYN_DNS_SOA, ttl_s,
                          2 * name_len(zone) + sizeof(who) + sizeof(numbers));
    if (at == NULL)
        return;
    at = put_name(at, zone);
    *at++ = sizeof(who) - 1;
    memcpy(at, who, sizeof(who) - 1);
    at = put_name(at + sizeof(who) - 1, zone);
    for (size_t i = 0; i < SYN_LEN(numbers); i++, at += 4) {
        set16(at, numbers[i] >> 16);
        set16(at + 2, numbers[i] & 0xffff);
    }
    answer->authorities++;
}

static void
put_edns(struct syn_dns_answer *answer, enum syn_dns_code code)
{
    uint8_t *at = answer->data + answer->len;

    memset(at, 0, OPT_LEN);
    set16(at + 1, SYN_DNS_OPT);
    set16(at + 3, SYN_DNS_UDP_MAX);
    at[5] = (uint8_t)(code >> EXTENDED_BITS);
    answer->len += OPT_LEN;
    answer->extras++;
}

size_t
syn_dns_answer_end(struct syn_dns_answer *answer, enum syn_dns_code code, bool own)
{
    const struct syn_dns_query *query = answer->query;
    unsigned flags = FLAG_ANSWER | FLAG_RECURSES | (query->flags & (FLAG_OPCODE | FLAG_RECURSE));

    if (query->edns)
        put_edns(answer, code);
    if (own)
        flags |= FLAG_AUTHORITY;
    if (answer->cut)
        flags |= FLAG_CUT;
    set16(answer->data, query->id);
    set16(answer->data + 2, flags | ((unsigned)code & 0xf));
    set16(answer->data + 4, query->question_len > 0 ? 1 : 0);
    set16(answer->data + 6, answer->answers);
    set16(answer->data + 8, answer->authorities);
    set16(answer->data + 10, answer->extras);
    return answer->len;
}
