/* binkin: finds the table entry of a command and runs it. */
#include "cli.h"

#include <string.h>

static const struct cli_command *const commands[] = {
    &cli_info,    &cli_functions, &cli_embed,       &cli_compare,         &cli_match,
    &cli_dataset, &cli_train_i2v, &cli_train_model, &cli_train_calibrate, &cli_eval,
};

static void print_usage(FILE *out, const char *group)
{
    size_t len = group ? strlen(group) : 0;
    for (size_t i = 0; i < CLI_COUNT(commands); i++)
        if (!group || (strncmp(commands[i]->name, group, len) == 0 && commands[i]->name[len] == ' '))
            fprintf(out, "  %-12s %s\n", commands[i]->name, commands[i]->summary);
}

static int help(FILE *out)
{
    fprintf(out, "Usage: binkin COMMAND [options] ...\n"
                 "Finds the kin of a binary function: same source, other compiler, level or processor.\n\n"
                 "Commands:\n");
    print_usage(out, NULL);
    fprintf(out, "  %-12s %s\n  %-12s %s\n", "help", "Show this, or the help of a command.", "version",
            "Show the version, and which BLAS answers.");
    fprintf(out, "\nFILE:NAME and FILE:0xADDRESS name one function. 'binkin COMMAND --help' tells more.\n"
                 "\nExample:\n"
                 "  binkin match --truth /usr/lib/x86_64-linux-gnu/libz.a /usr/lib/x86_64-linux-gnu/libz.so.1\n");
    return out == stdout ? EXIT_FINE : EXIT_TROUBLE;
}

/* The entry whose words argv begins with; *n_words of them. */
static const struct cli_command *find(int *n_words, int argc, char **argv)
{
    char two[64] = "";
    if (argc > 1)
        snprintf(two, sizeof two, "%s %s", argv[0], argv[1]);
    for (size_t i = 0; i < CLI_COUNT(commands); i++) {
        *n_words = strchr(commands[i]->name, ' ') ? 2 : 1;
        if (strcmp(commands[i]->name, *n_words == 2 ? two : argv[0]) == 0)
            return commands[i];
    }
    return NULL;
}

/* The first word of commands of two: lists them. */
static bool is_group(const char *word)
{
    size_t len = strlen(word);
    for (size_t i = 0; i < CLI_COUNT(commands); i++)
        if (strncmp(commands[i]->name, word, len) == 0 && commands[i]->name[len] == ' ')
            return true;
    return false;
}

static int run_command(int argc, char **argv)
{
    int n_words;
    const struct cli_command *cmd = find(&n_words, argc, argv);
    if (cmd)
        return cmd->run(cmd, argc - n_words + 1, argv + n_words - 1);
    if (is_group(argv[0])) {
        bool asked = argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0);
        FILE *out = asked ? stdout : stderr;
        if (!asked)
            cli_complain("%s: which of these?", argv[0]);
        print_usage(out, argv[0]);
        fprintf(out, "Each has its own --help.\n");
        return asked ? EXIT_FINE : EXIT_TROUBLE;
    }
    cli_complain("unknown command '%s'", argv[0]);
    fprintf(stderr, "Try 'binkin --help'.\n");
    return EXIT_TROUBLE;
}

/* binkin help COMMAND is binkin COMMAND --help. */
static int help_of(int argc, char **argv)
{
    char ask[] = "--help";
    char *args[4] = {NULL};
    int n = 0;
    for (; n < argc && n < 2; n++)
        args[n] = argv[n];
    args[n++] = ask;
    return run_command(n, args);
}

int main(int argc, char **argv)
{
    const char *word = argc > 1 ? argv[1] : "";
    if (argc < 2) {
        cli_complain("no command");
        return cli_finish(help(stderr));
    }
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || (strcmp(word, "help") == 0 && argc == 2))
        return cli_finish(help(stdout));
    if (strcmp(word, "help") == 0)
        return cli_finish(help_of(argc - 2, argv + 2));
    if (strcmp(word, "--version") == 0 || strcmp(word, "version") == 0) {
        printf("binkin %s (%s)\n", bk_version(), bk_instructions());
        return cli_finish(EXIT_FINE);
    }
    return cli_finish(run_command(argc - 1, argv + 1));
}
