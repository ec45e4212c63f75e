/* The library is loaded when the first network is opened: a node without networks does not need it,
 * and neither does a server. */
#include "nft_priv.h"

#include <dlfcn.h>
#include <string.h>

#include <synor/base/mem.h>

#include "netlink_priv.h"

#define LIBRARY "libnftables.so.1"

/* Of <nftables/libnftables.h>, whose functions have kept their form since its first version. */
struct nft_ctx;

struct syn_nft {
    void *library;
    struct nft_ctx *ctx;
    struct nft_ctx *(*ctx_new)(uint32_t flags);
    void (*ctx_free)(struct nft_ctx *ctx);
    int (*buffer_output)(struct nft_ctx *ctx);
    int (*buffer_error)(struct nft_ctx *ctx);
    const char *(*error_text)(struct nft_ctx *ctx);
    int (*run)(struct nft_ctx *ctx, const char *commands);
};

static bool
load(struct syn_nft *nft)
{
    const struct {
        const char *name;
        void *slot;
    } symbols[] = {
        {"nft_ctx_new", &nft->ctx_new},
        {"nft_ctx_free", &nft->ctx_free},
        {"nft_ctx_buffer_output", &nft->buffer_output},
        {"nft_ctx_buffer_error", &nft->buffer_error},
        {"nft_ctx_get_error_buffer", &nft->error_text},
        {"nft_run_cmd_from_buffer", &nft->run},
    };

    for (size_t i = 0; i < SYN_LEN(symbols); i++) {
        void *found = dlsym(nft->library, symbols[i].name);

        if (!found)
            return false;
        memcpy(symbols[i].slot, &found, sizeof(found));
    }
    return true;
}

int
syn_nft_open(struct syn_nft **ret_nft, struct syn_err *err)
{
    struct syn_nft *nft = syn_calloc(1, sizeof(*nft));

    if (!nft)
        return SYN_FAIL(err, SYN_E_NOMEM, "nftables");
    /* Never unloaded: what it keeps for itself (symbol tables, locale) is made once. */
    nft->library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!nft->library || !load(nft)) {
        (void)syn_nft_close(nft);
        return SYN_FAIL(err, SYN_E_UNSUPPORTED,
                        "instance networks need " LIBRARY ": apt-get install libnftables1");
    }
    nft->ctx = nft->ctx_new(0);
    if (!nft->ctx || nft->buffer_output(nft->ctx) != 0 || nft->buffer_error(nft->ctx) != 0) {
        (void)syn_nft_close(nft);
        return SYN_FAIL(err, SYN_E_NOMEM, "nftables");
    }
    *ret_nft = nft;
    return SYN_OK;
}

struct syn_nft *
syn_nft_close(struct syn_nft *nft)
{
    if (!nft)
        return NULL;
    if (nft->ctx)
        nft->ctx_free(nft->ctx);
    if (nft->library)
        (void)dlclose(nft->library);
    syn_free(nft);
    return NULL;
}

int
syn_nft_run(struct syn_nft *nft, const char *commands, struct syn_err *err)
{
    const char *text;

    syn_nl_step("nftables");
    if (nft->run(nft->ctx, commands) == 0)
        return SYN_OK;
    text = nft->error_text(nft->ctx);
    return SYN_FAIL(err, SYN_E_IO, "nftables: %.*s", (int)strcspn(text ? text : "", "\n"),
                    text ? text : "");
}
