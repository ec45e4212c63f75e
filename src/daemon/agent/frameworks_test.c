#include <synor/base/test.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent_priv.h"

/* Folders below the test's own, as far as they are missing. */
static void
make_folders(const char *root, const char *path)
{
    char whole[1024];

    (void)snprintf(whole, sizeof(whole), "%s%s", root, path);
    for (char *at = whole + strlen(root) + 1; (at = strchr(at, '/')) != NULL; at++) {
        *at = '\0';
        (void)mkdir(whole, 0700);
        *at = '/';
    }
}

static void
make_file(const char *root, const char *path)
{
    char whole[1024];
    int fd;

    make_folders(root, path);
    (void)snprintf(whole, sizeof(whole), "%s%s", root, path);
    fd = open(whole, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    (void)close(fd);
}

static void
test_what_python_finds_is_told_with_its_version(void **state)
{
    static const struct {
        const char *what, *link, *files[3], *want;
    } cases[] = {
        {"no python", NULL, {"/usr/lib/python3/dist-packages/torch/__init__.py"}, "{}"},
        {"nothing", "python3.11", {NULL}, "{}"},
        {"debian",
         "python3.11",
         {"/usr/lib/python3/dist-packages/torch/__init__.py",
          "/usr/lib/python3/dist-packages/torchgen-9.egg-info",
          "/usr/lib/python3/dist-packages/torch-1.13.0a0+git.egg-info"},
         "{\"pytorch\":\"1.13.0a0+git\"}"},
        {"pip before debian",
         "python3.12",
         {"/usr/lib/python3/dist-packages/torch/__init__.py",
          "/usr/local/lib/python3.12/dist-packages/torch/__init__.py",
          "/usr/local/lib/python3.12/dist-packages/torch-2.4.1.dist-info/METADATA"},
         "{\"pytorch\":\"2.4.1\"}"},
        {"of another python",
         "python3.12",
         {"/usr/local/lib/python3.11/dist-packages/torch/__init__.py"},
         "{}"},
        {"without metadata",
         "python3.11",
         {"/usr/lib/python3.11/site-packages/jax/__init__.py"},
         "{\"jax\":\"\"}"},
        {"a folder that is no package",
         "python3.11",
         {"/usr/lib/python3/dist-packages/tensorflow/readme"},
         "{}"},
        {"runtime of onnx",
         "python3.11",
         {"/usr/lib/python3/dist-packages/onnxruntime/__init__.py",
          "/usr/lib/python3/dist-packages/onnxruntime-1.17.1-py3.11.egg-info"},
         "{\"onnx\":\"1.17.1\"}"},
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(cases); i++) {
        char root[512], python[600];
        struct syn_err err;
        SYN_JSON(found);
        SYN_BUF(text);

        print_message("# %s\n", cases[i].what);
        (void)snprintf(root, sizeof(root), "%s/%zu", syn_test_dir(), i);
        (void)snprintf(python, sizeof(python), "%s/usr/bin/python3", root);
        assert_int_equal(mkdir(root, 0700), 0);
        make_folders(root, "/usr/bin/");
        if (cases[i].link)
            assert_int_equal(symlink(cases[i].link, python), 0);
        for (size_t f = 0; f < SYN_LEN(cases[i].files) && cases[i].files[f]; f++)
            make_file(root, cases[i].files[f]);
        assert_done(agt_frameworks(root, &found, &err), &err);
        assert_done(syn_json_write(found, &text, &err), &err);
        assert_string_equal(syn_buf_text(&text), cases[i].want);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_python_finds_is_told_with_its_version),
    };

    syn_json_init();
    return cmocka_run_group_tests_name("frameworks", tests, NULL, NULL);
}
