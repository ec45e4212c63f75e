/* `synor doctor`: what this machine can run, tried out in a folder of its own that is gone
 * afterwards. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include <synor/base/mem.h>
#include <synor/base/tree.h>
#include <synor/daemon/daemon.h>
#include <synor/runtime/probe.h>
#include <synor/runtime/shim.h>

int
syn_daemon_doctor(json_t **ret, struct syn_err *err)
{
    char root[] = "/tmp/synor-doctor-XXXXXX";
    struct syn_native_options options = {
        .root = root, .shim_image = syn_shim_image, .shim_image_len = syn_shim_image_len};
    struct syn_native *native = NULL;
    struct syn_probe *probe = syn_calloc(1, sizeof(*probe));
    json_t *checks = NULL;
    int rc;

    if (probe == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory to look at this machine");
    if (mkdtemp(root) == NULL) {
        syn_free(probe);
        return SYN_FAIL_SYS(err, errno, "making %s", root);
    }
    rc = syn_native_new(&options, &native, err);
    if (rc == SYN_OK) {
        syn_probe_run(native, probe);
        rc = syn_probe_json(probe, &checks, err);
    }
    if (rc == SYN_OK)
        rc = syn_json_pack(ret, err, "{s:o, s:s}", "checks", checks, "version", SYN_VERSION);
    (void)syn_native_free(native);
    syn_tree_remove(root);
    syn_free(probe);
    return rc;
}
