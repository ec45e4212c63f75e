/* What any workload may ask for of cards: whole ones, a share of one, or a partition. The keys are
 * the same in every kind's spec. */
#ifndef SYNOR_WORKLOAD_CARD_H
#define SYNOR_WORKLOAD_CARD_H

#include <synor/base/schema.h>
#include <synor/orchestration/place.h>

/** Rows of a spec's schema. */
/* clang-format off */
#define SYN_CARD_FIELDS \
    {.name = "gpu_share", .kind = SYN_FIELD_REAL, .min = 0, .max = 1, \
     .help = "instead of whole GPUs, this part of one's time, as 0.25; in thousandths"}, \
    {.name = "gpu_memory_bytes", .kind = SYN_FIELD_BYTES, .min = 1, .max = SYN_NODE_QUANTITY_MAX, \
     .help = "memory of the GPU that the share has; default as much as of its time"}, \
    {.name = "gpu_mig", .kind = SYN_FIELD_STR, .min = 0, .max = SYN_NODE_CUT_MAX - 1, \
     .help = "instead of whole GPUs, one partition (MIG) of this name, as 1g.10gb"}
/* clang-format on */

struct syn_card {
    uint32_t share;      /* thousandths of its time; 0: no share */
    int64_t share_bytes; /* 0: as its time */
    const char *mig;     /* borrowed from the spec; "": no partition */
};

/** Fill in what follows: who asks for a part asks for one GPU. Before the schema's own defaults are
 *  looked at. SYN_E_NOMEM. */
SYN_MUST int syn_card_derive(json_t *spec, struct syn_err *err);
/** Check the keys against each other. `members`: how many share a node. INVALID names the key. */
SYN_MUST int syn_card_check(const json_t *spec, int64_t members, struct syn_err *err);
/** Read what was checked. */
struct syn_card syn_card_read(const json_t *spec);
/** What it is at least of `gpus` cards, in thousandths of one: of a partition, whose part of its
 * card only a node can tell, next to nothing. */
int64_t syn_card_least(const struct syn_card *card, int64_t gpus);
/** Put it into the request. */
void syn_card_request(const struct syn_card *card, struct syn_place_request *request);

#endif
