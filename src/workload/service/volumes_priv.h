/* Volumes of a service: where they make its replicas run, and who may start beside whom. What is
 * known of them is {NAME: {id, node, size_bytes, shared}}, the node "" until one is chosen. */
#ifndef SYN_WORKLOAD_SERVICE_VOLUMES_PRIV_H
#define SYN_WORKLOAD_SERVICE_VOLUMES_PRIV_H

#include <synor/orchestration/place.h>

/* What a version's volumes ask of the placement. Text is borrowed from where it was read. */
struct service_volumes {
    const char *missing; /* one that there is not; or NULL */
    const char *pinned;  /* one that is on a node already, and that node; or NULL */
    const char *node;
    const char *apart;   /* another one, which is on another node; or NULL */
    int64_t fresh_bytes; /* of those that are on no node yet */
    char label[SYN_LABEL_KEY_MAX + SYN_LABEL_VALUE_MAX + 2];
};

void service_volumes_look(const json_t *volumes, const json_t *spec, struct service_volumes *ret);
/* Put it into the request, which borrows `look`. */
void service_volumes_ask(const struct service_volumes *look, struct syn_place_request *request);
/* Why no replica can be placed at all, into out[cap]; false when one may. */
bool service_volumes_refuse(const struct service_volumes *look, char *out, size_t cap);
/* Does it write to one that only one instance may write to? */
bool service_volumes_exclusive(const json_t *volumes, const json_t *spec);
/* Would two with these specs both write to such a one? */
bool service_volumes_clash(const json_t *volumes, const json_t *spec, const json_t *other);
/* Say in an instance's spec which volumes its mounts are. Those that had no node have this one from
 * now on, in `volumes` and in `bound` as {NAME: node}. */
SYN_MUST int service_volumes_give(json_t *volumes, const char *node, json_t *spec, json_t *bound,
                                  struct syn_err *err);

#endif
