/* A gRPC server for tests that does as its method's name says, or misbehaves as it says. */
#ifndef SYNOR_INFRA_GRPC_TESTING_H
#define SYNOR_INFRA_GRPC_TESTING_H

#include <synor/base/buf.h>
#include <synor/base/core.h>

struct grpc_server;

/** Start one on a Unix socket in `dir` (or on a loopback port when NULL), in a thread.
 *
 *  /t/Echo      the request, once          /t/Many       the request, 100 times
 *  /t/Fail      NOT_FOUND, with a text     /t/Word       its last header x-word
 *  /t/Two       two messages               /t/None       no message, and OK
 *  /t/Stall     no answer                  /t/Half       half a message, and no more
 *  /t/Cut       half a message, and OK     /t/Big        a head that promises a gigabyte
 *  /t/Packed    a compressed message       /t/Silent     a message without a status
 *  /t/Page      an HTML page               /t/Missing    HTTP 404
 *  /t/Reset     INTERNAL_ERROR             /t/RefuseOnce REFUSED_STREAM, later an echo
 *  /t/Leave     an echo and GOAWAY         /t/HangUp     the connection is closed
 *  /t/Garbage   bytes that are no frame    /t/Flood      messages without end
 *
 *  What is canned under a path of a service's own; of such a path without it UNIMPLEMENTED.
 *  And /grpc.health.v1.Health/Check: "" serves, "down" does not, "stall" gets no answer, of another
 *  name nothing is known. */
struct grpc_server *grpc_server_start(const char *dir);
/** "unix:..." or "tcp:..." */
const char *grpc_server_address(const struct grpc_server *server);
/** From now on this message answers every call of `path`. Thread: any. */
void grpc_server_can(struct grpc_server *server, const char *path, const void *message, size_t len);
/** The requests to `path` since it was canned, one after the other. Thread: any. */
void grpc_server_asked(struct grpc_server *server, const char *path, struct syn_buf *ret);
/** Connections accepted so far. */
unsigned grpc_server_connections(const struct grpc_server *server);
/** Bytes of messages sent so far. */
uint64_t grpc_server_sent(const struct grpc_server *server);
/** Close every connection, as a server that dies. */
void grpc_server_drop(struct grpc_server *server);
void grpc_server_stop(struct grpc_server *server);

#endif
