/* What becomes of a place whose replica has ended by itself: with `restart: always` another one
 * comes, with `on-failure` not where it ended well, with `never` not at all.
 *
 * A place is a replica's number in its version and run. It is *done* when the newest replica that
 * had it ended so; the documents say that, and nothing else has to be remembered. A new version, or
 * run, has places of its own. What ends with its node, or must leave it, did not end by itself:
 * another one comes under any policy. */
#include "step_priv.h"

#include <synor/base/str.h>

static bool
same_place(const struct member *a, const struct member *b)
{
    return a->run == b->run && a->rank == b->rank && service_version_of(a) == service_version_of(b);
}

bool
service_ended_well(const struct member *member)
{
    return service_failed(member) && syn_str_eq(member->reason, "completed");
}

bool
service_done(const struct step *step, const struct member *member)
{
    if (step->spec.restart == SYN_SERVICE_RESTART_ALWAYS || !service_failed(member) ||
        service_leaving(member) || member->run != step->run ||
        service_version_of(member) != step->target ||
        (step->spec.restart == SYN_SERVICE_RESTART_ON_FAILURE && !service_ended_well(member)))
        return false;
    for (size_t i = 0; i < step->members_count; i++)
        if (step->members[i].attempt > member->attempt && same_place(&step->members[i], member))
            return false;
    return true;
}

void
service_count_done(struct step *step)
{
    step->done = step->done_badly = 0;
    for (size_t i = 0; i < step->members_count; i++)
        if (service_done(step, &step->members[i])) {
            step->done++;
            step->done_badly += !service_ended_well(&step->members[i]);
        }
}
