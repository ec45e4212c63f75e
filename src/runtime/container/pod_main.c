/* The supervisor of one instance that is a pod; asked as a CNI plugin, it is that. */
#include <stdlib.h>
#include <string.h>

#include <synor/runtime/container.h>

#include "pod_priv.h"

int
main(int argc, char **argv)
{
    const char *command = getenv("CNI_COMMAND");
    const char *slash = strrchr(argv[0], '/');

    if (command)
        return syn_cni_main(command, slash ? slash + 1 : argv[0]);
    return syn_pod_main(argc, argv);
}
