/* The documents of an image from strangers: what is accepted keeps to the bounds that the rest
 * relies on. */
#include "oci_image_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_blob(const struct syn_oci_blob *blob)
{
    if (strlen(blob->hex) != SYN_OCI_HEX_SIZE - 1 || blob->size < 0)
        abort();
}

static void
check_list(const char *const *list)
{
    size_t count = 0;

    while (list[count] != NULL)
        count++;
    if (count > SYN_OCI_LIST_MAX)
        abort();
}

static void
try_image(const char *text, size_t size)
{
    struct syn_oci_image image;

    if (syn_oci_image_parse(text, size, &image, NULL) < 0)
        return;
    check_list(image.config.entrypoint);
    check_list(image.config.cmd);
    check_list(image.config.env);
    if (image.config.os == NULL || image.config.architecture == NULL ||
        image.config.working_dir == NULL || image.config.user == NULL ||
        image.config.stop_signal == NULL || image.count > SYN_OCI_LAYERS_MAX)
        abort();
    for (size_t i = 0; image.config.env[i] != NULL; i++) {
        if (strchr(image.config.env[i], '=') == NULL)
            abort();
    }
    syn_oci_image_fini(&image);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    static struct syn_oci_manifest manifest;
    struct syn_oci_index index;

    (void)!syn_oci_marker_parse(text, size, NULL);
    if (syn_oci_index_parse(text, size, &index, NULL) == 0) {
        if (index.count > SYN_OCI_MANIFESTS_MAX)
            abort();
        for (size_t i = 0; i < index.count; i++)
            check_blob(&index.entries[i].blob);
        syn_oci_index_fini(&index);
    }
    if (syn_oci_manifest_parse(text, size, &manifest, NULL) == 0) {
        check_blob(&manifest.config);
        for (size_t i = 0; i < manifest.count; i++) {
            check_blob(&manifest.layers[i]);
            if (manifest.layers[i].kind < SYN_OCI_TAR)
                abort();
        }
    }
    try_image(text, size);
    return 0;
}
