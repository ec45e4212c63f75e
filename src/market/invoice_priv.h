/* What the invoice's files share. */
#ifndef SYNOR_MARKET_INVOICE_PRIV_H
#define SYNOR_MARKET_INVOICE_PRIV_H

#include <synor/market/invoice.h>

/** Copy a name of at most SYN_INVOICE_NAME_MAX - 1 bytes; INVALID names `what`. */
SYN_MUST int syn_invoice_copy_name(char *dst, const char *text, const char *what,
                                   struct syn_err *err);

#endif
