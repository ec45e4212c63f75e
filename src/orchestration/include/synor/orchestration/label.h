/* Labels of nodes, and what requests say of them. */
#ifndef SYNOR_ORCHESTRATION_LABEL_H
#define SYNOR_ORCHESTRATION_LABEL_H

#include <synor/base/core.h>
#include <synor/base/err.h>

#define SYN_LABEL_KEY_MAX      64 /* with its zero, as all of these */
#define SYN_LABEL_VALUE_MAX    64
#define SYN_LABEL_SELECTOR_MAX (SYN_LABEL_KEY_MAX + SYN_LABEL_VALUE_MAX + 2)

/** Begins what means something to the platform itself. */
#define SYN_LABEL_RESERVED "synor.io/"
#define SYN_LABEL_ZONE     "synor.io/zone"
#define SYN_LABEL_RACK     "synor.io/rack"
/** These two every node has, and nobody sets: spec.region, and its id. */
#define SYN_LABEL_REGION "synor.io/region"
#define SYN_LABEL_NODE   "synor.io/node"

/** Check a label that is to be set: a key is 1..63 letters, digits and ".-_/", beginning and ending
 *  with a letter or digit; a value is 0..63 of the same. Of the reserved ones only zone and rack
 *  may be set, and their values are not empty. Returns 0; SYN_E_INVALID. */
SYN_MUST int syn_label_check(const char *key, const char *value, struct syn_err *err);

enum syn_selector_op {
    SYN_SELECTOR_IS,     /* "key=value" */
    SYN_SELECTOR_IS_NOT, /* "key!=value"; also where there is no such key */
    SYN_SELECTOR_HAS,    /* "key" */
};

struct syn_selector {
    char key[SYN_LABEL_KEY_MAX];
    char value[SYN_LABEL_VALUE_MAX];
    enum syn_selector_op op;
};

/** Read what a request says of a label. Returns 0; SYN_E_INVALID. */
SYN_MUST int syn_selector_parse(const char *text, struct syn_selector *ret, struct syn_err *err);
/** Does a label of this value (NULL: there is none) do? The selector's key is the label's. */
bool syn_selector_match(const struct syn_selector *selector, const char *value);

#endif
