/* Time zones: which offset from UTC holds when. A zone is read from the bytes of a zoneinfo file
 * (TZif, RFC 8536) or from a POSIX rule; which file, and whether there is one, is the caller's. */
#ifndef SYNOR_BASE_ZONE_H
#define SYNOR_BASE_ZONE_H

#include <synor/base/core.h>
#include <synor/base/err.h>

#define SYN_ZONE_BYTES_MAX       65536 /* of a file; the largest there is has 4 KiB */
#define SYN_ZONE_TRANSITIONS_MAX 2048
/** Bytes of a zone's name, with the NUL. */
#define SYN_ZONE_NAME_MAX 64

struct syn_zone;

/** A time within which the offset stays the same, [from, until). */
struct syn_zone_span {
    int64_t from_s;  /* INT64_MIN: always before */
    int64_t until_s; /* INT64_MAX: for ever */
    int32_t offset_s;
    int32_t before_s; /* the offset until `from_s`; the same when there is none */
};

/** Static. */
const struct syn_zone *syn_zone_utc(void);
/** From a zoneinfo file's bytes. Owner: *ret is the caller's. Returns 0; INVALID, TOOBIG, NOMEM. */
SYN_MUST int syn_zone_read(const void *bytes, size_t len, struct syn_zone **ret,
                           struct syn_err *err);
/** From a POSIX rule such as "CET-1CEST,M3.5.0,M10.5.0/3". INVALID; NOMEM. */
SYN_MUST int syn_zone_rule(const char *text, struct syn_zone **ret, struct syn_err *err);
struct syn_zone *syn_zone_free(struct syn_zone *zone);
void syn_zone_free_scope(struct syn_zone **slot);

/** The span that a time (seconds since the epoch) lies in. */
struct syn_zone_span syn_zone_at(const struct syn_zone *zone, int64_t unix_s);
/** A name as zoneinfo has them ("Europe/Berlin"): no absolute path, no way up, printable. */
bool syn_zone_name_ok(const char *name);

/** Where zones come from: files in the daemon, made ones in tests. What is found lasts as long as
 *  the source. */
struct syn_zone_source {
    const struct syn_zone *(*find)(void *self, const char *name); /* NULL: there is none */
    void *self;
};

#endif
