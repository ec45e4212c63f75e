/* What tests of images stand on: a content store of their own, and two registries that do what a
 * test says. */
#ifndef SYN_OCI_TESTING_H
#define SYN_OCI_TESTING_H

#include <synor/infra/oci_content.h>
#include <synor/infra/registry_testing.h>

#define OCI_LAYER_BYTES ((size_t)100000)
#define OCI_PATIENT_MS  60000 /* where something else than time must end it */

struct oci_world {
    struct syn_content *content;
    struct syn_oci_move move; /* into it */
    json_t *made;             /* the image that came last */
    struct syn_err err;
    struct syn_oci_progress last;
    unsigned told;
    /* registries */
    struct fake *fake, *other;
    struct fake_image image; /* of two layers, the fake's a/b:1 */
    struct syn_oci_remote remote;
    json_t *rules;
};

/** The store alone. */
void oci_world_init(struct oci_world *world);
void oci_world_fini(struct oci_world *world);
/** All of it, for cmocka. */
int oci_world_setup(void **state);
int oci_world_teardown(void **state);
/** A reference to what is at the fake's host under `rest`. */
void oci_world_ref(struct oci_world *world, const char *rest, struct syn_image_ref *ret);
/** Pull it. */
int oci_world_pull(struct oci_world *world, const char *rest);
/** {"registries": {HOST: {KEY: [ITEM]}}} */
void oci_world_rules(struct oci_world *world, const char *key, const char *host, const char *item);

#endif
