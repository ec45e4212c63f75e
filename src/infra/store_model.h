/* The store as a child would write it, and random histories played on both. */
#ifndef SYN_INFRA_STORE_MODEL_H
#define SYN_INFRA_STORE_MODEL_H

#include <synor/infra/store.h>

/** Play one history on the empty `*store`, now and then through `reopen`; fails the cmocka test,
 *  naming the seed, at the first difference. */
void syn_store_model_run(struct syn_store **store,
                         int (*reopen)(void *self, struct syn_store **store, struct syn_err *err),
                         void *self, unsigned seed);

#endif
