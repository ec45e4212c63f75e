#include <synor/runtime/shim.h>

int
main(int argc, char **argv)
{
    return syn_shim_main(argc, argv);
}
