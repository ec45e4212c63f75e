/* The health protocol of gRPC (grpc.health.v1): what a server says of itself, or of one of its
 * services. Messages alone; grpc.h carries them. */
#ifndef SYNOR_INFRA_GRPC_HEALTH_H
#define SYNOR_INFRA_GRPC_HEALTH_H

#include <synor/base/buf.h>

#define SYN_GRPC_HEALTH_METHOD      "/grpc.health.v1.Health/Check"
#define SYN_GRPC_HEALTH_SERVICE_MAX ((size_t)255) /* bytes of a service's name */

enum syn_grpc_health {
    SYN_GRPC_HEALTH_UNKNOWN,
    SYN_GRPC_HEALTH_SERVING,
    SYN_GRPC_HEALTH_NOT_SERVING,
    SYN_GRPC_HEALTH_SERVICE_UNKNOWN,
};

/** Append the question; "" is the server as a whole. At most SYN_GRPC_HEALTH_SERVICE_MAX bytes. */
void syn_grpc_health_ask(const char *service, struct syn_buf *out);
/** What the answer says. CORRUPT for bytes that are no such message. */
SYN_MUST int syn_grpc_health_read(const void *data, size_t len, enum syn_grpc_health *ret,
                                  struct syn_err *err);
/** "SERVING", ... */
const char *syn_grpc_health_name(enum syn_grpc_health health);

#endif
