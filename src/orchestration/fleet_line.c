/* Lines of those that wait.
 *
 * Requests with the same ask, account, priority and number of members stand in one line, the oldest
 * first. Where the first of a line does not fit, none of it does, so that a round looks at lines,
 * not at all that waits: a queue of ten thousand is a few dozen lines. */
#include "fleet_priv.h"

#include <synor/base/mem.h>

static bool
same(const struct line *line, const struct request *request)
{
    return line->shape == request->shape && line->account == request->account &&
           line->members == request->members && line->priority == request->priority;
}

static uint64_t
hash_of(const struct request *request)
{
    const uint32_t parts[] = {request->shape, request->account, request->members,
                              (uint32_t)request->priority};

    return hash_bytes(parts, sizeof(parts), 0) >> 1;
}

int
line_reserve(struct syn_fleet *fleet, size_t more, struct syn_err *err)
{
    int rc = table_reserve(&fleet->line_hashes, more, err);

    if (rc < 0)
        return rc;
    if (!syn_grow(&fleet->lines.items, &fleet->lines.cap, fleet->standing.count + more,
                  sizeof(struct line)) ||
        !syn_grow(&fleet->standing.items, &fleet->standing.cap, fleet->standing.count + more,
                  sizeof(uint32_t)))
        return SYN_FAIL(err, SYN_E_NOMEM, "queueing a request: out of memory");
    return SYN_OK;
}

static uint32_t
line_open(struct syn_fleet *fleet, const struct request *request)
{
    uint64_t hash = hash_of(request);
    uint32_t head = table_get(&fleet->line_hashes, hash), number = head;
    int rc;

    while (number != NONE && !same(&fleet->lines.items[number], request))
        number = fleet->lines.items[number].next;
    if (number != NONE)
        return number;
    number = fleet->line_free;
    if (number != NONE)
        fleet->line_free = fleet->lines.items[number].next;
    else
        number = (uint32_t)fleet->lines.count++;
    assert(fleet->lines.count <= fleet->lines.cap && fleet->standing.count < fleet->standing.cap);
    fleet->lines.items[number] = (struct line){.shape = request->shape,
                                               .account = request->account,
                                               .members = request->members,
                                               .priority = request->priority,
                                               .first = NONE,
                                               .last = NONE,
                                               .place = (uint32_t)fleet->standing.count,
                                               .next = head};
    fleet->standing.items[fleet->standing.count++] = number;
    rc = table_put(&fleet->line_hashes, hash, number, NULL);
    assert(rc == SYN_OK); /* there is room for it */
    (void)rc;
    return number;
}

static void
line_close(struct syn_fleet *fleet, uint32_t number, uint64_t hash)
{
    struct line *lines = fleet->lines.items;
    uint32_t before = table_get(&fleet->line_hashes, hash);
    uint32_t last = fleet->standing.items[--fleet->standing.count];
    int rc;

    fleet->standing.items[lines[number].place] = last;
    lines[last].place = lines[number].place;
    if (before == number && lines[number].next == NONE) {
        table_remove(&fleet->line_hashes, hash);
    } else if (before == number) {
        rc = table_put(&fleet->line_hashes, hash, lines[number].next, NULL);
        assert(rc == SYN_OK); /* it is there */
        (void)rc;
    } else {
        while (lines[before].next != number)
            before = lines[before].next;
        lines[before].next = lines[number].next;
    }
    lines[number].next = fleet->line_free;
    fleet->line_free = number;
}

/* New ones go to the end; what was evicted is older than some. */
void
line_join(struct syn_fleet *fleet, uint32_t at)
{
    struct request *requests = fleet->requests.items, *request = &requests[at];
    uint32_t number = line_open(fleet, request);
    struct line *line = &fleet->lines.items[number];
    uint32_t before = line->last;

    assert(request->line == NONE);
    if (line->first != NONE && request->sequence < requests[line->first].sequence)
        before = NONE;
    while (before != NONE && requests[before].sequence > request->sequence)
        before = requests[before].before;
    request->before = before;
    request->after = before == NONE ? line->first : requests[before].after;
    *(before == NONE ? &line->first : &requests[before].after) = at;
    *(request->after == NONE ? &line->last : &requests[request->after].before) = at;
    request->line = number;
    line->count++;
    fleet->waiting++;
}

void
line_leave(struct syn_fleet *fleet, uint32_t at)
{
    struct request *requests = fleet->requests.items, *request = &requests[at];
    struct line *line = &fleet->lines.items[request->line];

    *(request->before == NONE ? &line->first : &requests[request->before].after) = request->after;
    *(request->after == NONE ? &line->last : &requests[request->after].before) = request->before;
    line->over_quota -= request->cause == SYN_FLEET_CAUSE_QUOTA;
    line->count--;
    fleet->waiting--;
    if (line->count == 0)
        line_close(fleet, request->line, hash_of(request));
    request->line = NONE;
}
