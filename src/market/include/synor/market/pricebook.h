/* The price book: what each metered thing costs, and how the money is shared. One JSON file
 * (data/pricebook.json) holds every table of the product; this reads it, strictly.
 *
 * A price is base units of SYNOR for one *unit*; a unit is `per` of a *measure*, the integer that
 * metering counts in. So quantity * price / per is the exact charge, a fraction of integers:
 *
 *     1.5 cores for 20 s = 1500 * 20000 millicore-ms; core-hour = 3.6e9 millicore-ms at 0.02 SYNOR
 *     30000000 * 20000000 / 3600000000 = 166666.6... base units
 *
 * A GB is 2^30 bytes everywhere in it, since memory and disk are asked for in powers of 1024. A
 * month is 730 hours. Both stand in the file and are checked. Pure. */
#ifndef SYNOR_MARKET_PRICEBOOK_H
#define SYNOR_MARKET_PRICEBOOK_H

#include <synor/base/core.h>
#include <synor/base/err.h>

#define SYN_PRICEBOOK_VERSION   1
#define SYN_PRICEBOOK_ITEMS_MAX 512
#define SYN_PRICEBOOK_BYTES_MAX ((size_t)1 << 20)
#define SYN_PRICEBOOK_ID_MAX    64 /* with terminator; so are the next three */
#define SYN_ITEM_MAX            48
#define SYN_SHARE_NAME_MAX      24
#define SYN_TITLE_MAX           96
#define SYN_SHARES_MAX          16
#define SYN_GB_BYTES            INT64_C(1073741824)
#define SYN_HOUR_MS             INT64_C(3600000)
#define SYN_MONTH_HOURS         INT64_C(730)
#define SYN_MONTH_MS            (SYN_MONTH_HOURS * SYN_HOUR_MS)

/** What metering counts. */
enum syn_measure {
    SYN_MEASURE_MILLICORE_MS,
    SYN_MEASURE_BYTE_MS,
    SYN_MEASURE_GPU_MS,
    SYN_MEASURE_GPU_PERMILLE_MS, /* of parts of cards; sold at the price of a whole one */
    SYN_MEASURE_MS,
    SYN_MEASURE_BYTE,
    SYN_MEASURE_TOKEN,
    SYN_MEASURE_REQUEST,
};

/** One row of the unit table; static. */
struct syn_unit {
    const char *name; /* "core-hour" */
    enum syn_measure measure;
    int64_t per; /* so much of the measure is one unit */
};

/** How a class of charges is divided; the two sum to 10000. */
struct syn_share {
    char name[SYN_SHARE_NAME_MAX]; /* "compute" */
    int64_t provider_bps;
    int64_t protocol_bps;
};

/** What a machine of a fixed size contains. */
struct syn_vm_size {
    int64_t cpu_millicores;
    int64_t memory_bytes;
    int64_t disk_bytes;
    char disk[SYN_SHARE_NAME_MAX];      /* "ssd", "nvme" */
    char gpu_model[SYN_SHARE_NAME_MAX]; /* "" without GPUs */
    int64_t gpus;
};

struct syn_price {
    char item[SYN_ITEM_MAX]; /* "cpu", "gpu:h100", "vm:micro" */
    char title[SYN_TITLE_MAX];
    const struct syn_unit *unit;
    const struct syn_share *share; /* borrowed from the book */
    int64_t price;                 /* base units for one unit; 0 is free */
    bool sized;                    /* `size` is set */
    struct syn_vm_size size;
};

struct syn_pricebook;

/** Parse and check a whole book. INVALID names the item and the rule; UNSUPPORTED: another version;
 *  TOOBIG; NOMEM. */
SYN_MUST int syn_pricebook_parse(const char *data, size_t len, struct syn_pricebook **ret_book,
                                 struct syn_err *err);
struct syn_pricebook *syn_pricebook_free(struct syn_pricebook *book);
void syn_pricebook_free_scope(struct syn_pricebook **slot);

/** The book's own name, which invoices carry. Borrowed. */
const char *syn_pricebook_id(const struct syn_pricebook *book);
/** Borrowed until the book is freed, or NULL. */
const struct syn_price *syn_pricebook_find(const struct syn_pricebook *book, const char *item);
/** The same, but NOTFOUND says what is missing, and INVALID when the item is not measured so. */
SYN_MUST int syn_pricebook_get(const struct syn_pricebook *book, const char *item,
                               enum syn_measure measure, const struct syn_price **ret_price,
                               struct syn_err *err);
const struct syn_share *syn_pricebook_share(const struct syn_pricebook *book, const char *name);
/** Items in the file's order; `*ret_count` of them. Borrowed. */
const struct syn_price *syn_pricebook_items(const struct syn_pricebook *book, size_t *ret_count);

/** "millicore-ms", ... */
const char *syn_measure_name(enum syn_measure measure);
/** False when there is none of that name. */
bool syn_measure_find(const char *name, enum syn_measure *ret);
/** The row, or NULL. */
const struct syn_unit *syn_unit_find(const char *name);
/** The unit in which what is sold by `unit` is sold in that measure, at the same price: itself, or
 *  of cards that of their parts. NULL: in none. */
const struct syn_unit *syn_unit_in(const struct syn_unit *unit, enum syn_measure measure);

#endif
