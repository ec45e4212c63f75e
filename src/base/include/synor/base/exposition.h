/* What a program tells of itself in Prometheus' text format, read for one series: the sum of the
 * samples that have its name and its labels. The text is a stranger's. */
#ifndef SYNOR_BASE_EXPOSITION_H
#define SYNOR_BASE_EXPOSITION_H

#include <synor/base/err.h>

#define SYN_SERIES_TEXT_MAX      256 /* of a series as people write it, with the NUL */
#define SYN_SERIES_LABELS_MAX    8
#define SYN_EXPOSITION_BYTES_MAX ((size_t)1 << 20)

/** A part of a series' text, or of its unescaped values. */
struct syn_series_part {
    uint16_t at, len;
};

/** `NAME` or `NAME{LABEL="VALUE",...}`. */
struct syn_series {
    char bytes[2 * SYN_SERIES_TEXT_MAX];
    struct syn_series_part name;
    struct syn_series_label {
        struct syn_series_part name, value;
    } labels[SYN_SERIES_LABELS_MAX];
    size_t labels_count;
};

/** INVALID says what is wrong. */
SYN_MUST int syn_series_parse(const char *text, struct syn_series *ret, struct syn_err *err);
/** Its name alone. Returns out. */
const char *syn_series_name(const struct syn_series *series, char out[SYN_SERIES_TEXT_MAX]);

struct syn_series_value {
    size_t samples; /* that match; 0: there are none, and `sum` is 0 */
    double sum;     /* a number; never NaN, may be infinite */
    bool counter;   /* the text says that its name is a counter's */
};

/** The sum over the samples that have the name, and all the labels that are asked for (and may have
 *  others). What is NaN counts as no sample. Lines of other names are not read.
 *  TOOBIG; INVALID names the line. */
SYN_MUST int syn_exposition_read(const char *text, size_t len, const struct syn_series *series,
                                 struct syn_series_value *ret, struct syn_err *err);

#endif
