/* Files that say what is to run: our own documents, docker-compose files, and the part of
 * Kubernetes' Deployment and Service that docs/apply.md lists. All become the same: named specs,
 * for their kind's own check to judge. Pure: text and variables in, documents out. */
#ifndef SYNOR_WORKLOAD_MANIFEST_H
#define SYNOR_WORKLOAD_MANIFEST_H

#include <synor/base/json.h>

#define SYN_MANIFEST_ITEMS_MAX     256
#define SYN_MANIFEST_BYTES_MAX     ((size_t)256 << 10)
#define SYN_MANIFEST_VARIABLES_MAX 256 /* that a compose file may use */

/**
 * Read a file of one or several YAML documents. `variables` (an object of texts, or NULL) stand for
 * what a compose file writes as ${NAME}.
 *
 * *ret = {"app": name that the file gives itself, or null,
 *         "items": [{"kind": "service", "name", "spec": {}, "from": "services.web",
 *                    "after": [{"name", "ready": bool}]}],
 *         "unknown": [{"path": "services.web.privileged", "message"}],
 *         "notes":   [the same]}
 *
 * `items` stand in an order in which whatever one comes after stands before it. A spec has only the
 * keys that the file gave. `unknown` is what has no meaning here, so that the workload would be
 * another than the file says; `notes` are told and harm nothing. Nothing of a file is passed over
 * in silence.
 *
 * Returns 0; SYN_E_INVALID with line and column, or with the path of what is wrong; SYN_E_TOOBIG;
 * SYN_E_NOMEM.
 */
SYN_MUST int syn_manifest_read(const char *text, size_t len, const json_t *variables, json_t **ret,
                               struct syn_err *err);

/** What is other in `now` than in `before` (NULL: there was nothing): a list of {"path", "from",
 *  "to"} in the order of the keys, null where one has nothing. */
SYN_MUST int syn_manifest_diff(json_t *before, json_t *now, json_t **ret, struct syn_err *err);

#endif
