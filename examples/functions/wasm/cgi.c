/* The other contract: any program for WASI preview 1 is a function, as CGI has it. Standard input
 * is the request's body, standard output the answer, standard error the log; REQUEST_METHOD,
 * PATH_INFO, QUERY_STRING, HTTP_... are in the environment.
 *
 *     clang --target=wasm32-wasi --sysroot=/usr -O2 -o cgi.wasm cgi.c      (Debian: wasi-libc)
 */
#include <stdio.h>
#include <stdlib.h>

int
main(void)
{
    const char *method = getenv("REQUEST_METHOD");
    int c;

    printf("Content-Type: text/plain\n\n"); /* or nothing: then all of it is the body */
    printf("%s: ", method != NULL ? method : "?");
    while ((c = getchar()) != EOF)
        putchar(c);
    return 0;
}
