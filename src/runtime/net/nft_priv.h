/* libnftables, loaded at run time. */
#ifndef SYNOR_RUNTIME_NFT_PRIV_H
#define SYNOR_RUNTIME_NFT_PRIV_H

#include <synor/base/core.h>
#include <synor/base/err.h>

struct syn_nft;

/** Owner: *ret_nft is the caller's. It works in the network namespace of the thread that opens it.
 *  Returns 0; UNSUPPORTED when the library is not there; NOMEM. */
SYN_MUST int syn_nft_open(struct syn_nft **ret_nft, struct syn_err *err);
/** NULL is fine. Returns NULL. */
struct syn_nft *syn_nft_close(struct syn_nft *nft);
/** Run commands as one transaction: all of it holds afterwards, or nothing of it.
 *  Thread: one at a time. Returns 0; IO with nft's first words. */
SYN_MUST int syn_nft_run(struct syn_nft *nft, const char *commands, struct syn_err *err);

#endif
