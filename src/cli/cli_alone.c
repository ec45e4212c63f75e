/* The command line client without the daemon: what its own tests, the man pages and the completion
 * scripts are made with. */
#include <synor/cli/cli.h>

int
main(int argc, char **argv)
{
    static const struct syn_cli_host nobody;

    return syn_cli_main(argc, argv, &nobody);
}
