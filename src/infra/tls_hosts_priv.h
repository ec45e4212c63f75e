#ifndef SYNOR_INFRA_TLS_HOSTS_PRIV_H
#define SYNOR_INFRA_TLS_HOSTS_PRIV_H

#include <openssl/types.h>

#include <synor/infra/tls_hosts.h>

/** Give the connection, whose client has said hello, its certificate. False: there is none. */
bool tls_hosts_apply(struct syn_tls_hosts *hosts, SSL *ssl);

#endif
