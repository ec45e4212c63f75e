/* YAML as a way to write JSON: no aliases, no tags, duplicate keys refused; plain
 * scalars become null/bool/integer/real/string by the YAML 1.2 core schema. */
#ifndef SYNOR_BASE_YAML_H
#define SYNOR_BASE_YAML_H

#include <synor/base/json.h>

#define SYN_YAML_BYTES_MAX ((size_t)1 << 20)
#define SYN_YAML_DEPTH_MAX 32

/** INVALID with line and column. An empty document is null. */
SYN_MUST int syn_yaml_parse(const char *data, size_t len, json_t **ret, struct syn_err *err);
/** The same for a stream of up to `most` documents, as a list of them; empty ones are left out. */
SYN_MUST int syn_yaml_parse_all(const char *data, size_t len, unsigned most, json_t **ret,
                                struct syn_err *err);

#endif
