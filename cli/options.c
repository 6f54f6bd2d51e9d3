/* Options: one table a command, read by the parser and by --help. */
#include "cli.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_OPTIONS 48
#define HELP_COLUMN 28
#define HELP_WIDTH  96

static const struct cli_option help_option = {"help", 'h', CLI_FLAG, NULL, NULL, "show this help"};

/* ---- --help --------------------------------------------------------------- */

/* Prints `text` wrapped, from HELP_COLUMN on; `at` is the column the line stands at. */
static void print_wrapped(const char *text, int at)
{
    if (at > HELP_COLUMN - 2) {
        putchar('\n');
        at = 0;
    }
    printf("%*s", HELP_COLUMN - at, "");
    at = HELP_COLUMN;
    while (*text) {
        int n = (int)strcspn(text, " ");
        if (at > HELP_COLUMN && at + 1 + n > HELP_WIDTH) {
            printf("\n%*s", HELP_COLUMN, "");
            at = HELP_COLUMN;
        } else if (at > HELP_COLUMN) {
            putchar(' ');
            at++;
        }
        printf("%.*s", n, text);
        at += n;
        text += n;
        text += strspn(text, " ");
    }
    putchar('\n');
}

static void print_option(const struct cli_option *o)
{
    char letter[4] = "";
    if (o->letter)
        snprintf(letter, sizeof letter, "-%c,", o->letter);
    int at = printf("  %-3s --%s%s%s", letter, o->name, o->arg ? " " : "", o->arg ? o->arg : "");
    print_wrapped(o->help, at);
}

static void print_help(const struct cli_command *cmd, const struct cli_option *options, size_t n)
{
    printf("Usage: binkin %s [options] %s\n%s\n", cmd->name, cmd->operands, cmd->summary);
    if (*cmd->about)
        printf("\n%s\n", cmd->about);
    printf("\nOptions:\n");
    for (size_t i = 0; i < n; i++)
        print_option(&options[i]);
    print_option(&help_option);
    printf("\nExample:\n%s\n", cmd->example);
}

/* ---- values ---------------------------------------------------------------- */

static bool parse_u64(uint64_t *out, const char *s, uint64_t max)
{
    char *end;
    if (!isdigit((unsigned char)*s))
        return false;
    errno = 0;
    unsigned long long v = strtoull(s, &end, 10);
    if (errno || *end || v > max)
        return false;
    *out = v;
    return true;
}

static bool parse_real(double *out, const char *s)
{
    char *end;
    if (isspace((unsigned char)*s))
        return false;
    *out = strtod(s, &end);
    return end != s && !*end && isfinite(*out);
}

static bool parse_parts(struct bk_split *out, const char *s)
{
    unsigned parts[3];
    for (int i = 0; i < 3; i++) {
        char *end;
        if (!isdigit((unsigned char)*s))
            return false;
        unsigned long v = strtoul(s, &end, 10);
        if (v > 1000000 || *end != (i < 2 ? ':' : 0))
            return false;
        parts[i] = (unsigned)v;
        s = end + 1;
    }
    out->train = parts[0];
    out->validation = parts[1];
    out->test = parts[2];
    return parts[0] + parts[1] + parts[2] > 0;
}

/* Stores the value; NULL, or what was expected in its place. */
static const char *store(const struct cli_option *o, const char *s)
{
    uint64_t v = 0;
    switch (o->kind) {
    case CLI_FLAG:
        *(bool *)o->to = true;
        return NULL;
    case CLI_TEXT:
        *(const char **)o->to = s;
        return *s ? NULL : "a text";
    case CLI_TEXTS: {
        struct cli_texts *texts = o->to;
        if (texts->n == CLI_COUNT(texts->v))
            return "at most 16 of this option";
        texts->v[texts->n++] = s;
        return *s ? NULL : "a text";
    }
    case CLI_UNSIGNED:
        if (!parse_u64(&v, s, UINT32_MAX))
            return "a whole number";
        *(unsigned *)o->to = (unsigned)v;
        return NULL;
    case CLI_SIZE:
        if (!parse_u64(&v, s, SIZE_MAX))
            return "a whole number";
        *(size_t *)o->to = (size_t)v;
        return NULL;
    case CLI_U64:
        return parse_u64(o->to, s, UINT64_MAX) ? NULL : "a whole number";
    case CLI_REAL:
        return parse_real(o->to, s) ? NULL : "a number";
    case CLI_SIZES: {
        struct cli_sizes *sizes = o->to;
        if (!parse_u64(&v, s, SIZE_MAX) || !v)
            return "a whole number above 0";
        if (sizes->n == CLI_COUNT(sizes->v))
            return "at most 8 of this option";
        sizes->v[sizes->n++] = (size_t)v;
        return NULL;
    }
    case CLI_SPLIT_BY:
        return bk_split_parse(o->to, s) ? NULL : "function, source, file or project";
    case CLI_PARTS:
        return parse_parts(o->to, s) ? NULL : "TRAIN:VALIDATION:TEST, for example 8:1:1";
    }
    return "something else";
}

/* ---- parsing ---------------------------------------------------------------- */

static int hint(const struct cli_command *cmd)
{
    fprintf(stderr, "Try 'binkin %s --help'.\n", cmd->name);
    return CLI_BAD;
}

/* The long option that a mistyped one begins like, or NULL. */
static const struct cli_option *resembling(const char *word, const struct cli_option *options, size_t n)
{
    const struct cli_option *best = NULL;
    size_t best_len = 1;
    while (*word == '-')
        word++;
    for (size_t i = 0; i < n; i++) {
        size_t len = 0;
        while (word[len] && word[len] == options[i].name[len])
            len++;
        if (len > best_len) {
            best = &options[i];
            best_len = len;
        }
    }
    return best;
}

static int bad_option(const struct cli_command *cmd, char **argv, int c, const struct cli_option *options, size_t n)
{
    char word[64], letter[3] = {'-', (char)optopt, 0};
    bool is_long = strncmp(argv[optind - 1], "--", 2) == 0;
    cli_printable(word, sizeof word, is_long ? argv[optind - 1] : letter);
    if (c == ':')
        cli_complain("%s: option %s needs a value", cmd->name, word);
    else if (is_long && optopt) /* a flag with =VALUE, as getopt_long tells it */
        cli_complain("%s: option %s takes no value", cmd->name, word);
    else {
        const struct cli_option *like = is_long ? resembling(word, options, n) : NULL;
        cli_complain("%s: unknown or ambiguous option %s%s%s%s", cmd->name, word, like ? "; did you mean --" : "",
                     like ? like->name : "", like ? "?" : "");
    }
    return hint(cmd);
}

static int check_operands(const struct cli_command *cmd, int n, int min, int max)
{
    if (n < min)
        cli_complain("%s: %s", cmd->name, n ? "an operand is missing" : "nothing to work on");
    else if (max && n > max)
        cli_complain("%s: %d operands are too many", cmd->name, n);
    else
        return CLI_RUN;
    fprintf(stderr, "Usage: binkin %s [options] %s\n", cmd->name, cmd->operands);
    return hint(cmd);
}

int cli_parse(int *operand, const struct cli_command *cmd, int argc, char **argv, const struct cli_option *options,
              size_t n_options, int min, int max)
{
    struct option longs[MAX_OPTIONS + 2] = {{0}};
    char shorts[2 * MAX_OPTIONS + 4] = ":h";
    size_t len = 2;
    for (size_t i = 0; i < n_options && i < MAX_OPTIONS; i++) {
        longs[i] =
            (struct option){options[i].name, options[i].arg ? required_argument : no_argument, NULL, 256 + (int)i};
        if (!options[i].letter)
            continue;
        shorts[len++] = options[i].letter;
        if (options[i].arg)
            shorts[len++] = ':';
    }
    longs[n_options] = (struct option){"help", no_argument, NULL, 'h'};
    optind = 0; /* start anew, GNU */
    opterr = 0;
    for (int c; (c = getopt_long(argc, argv, shorts, longs, NULL)) != -1;) {
        const struct cli_option *o = NULL;
        if (c == 'h') {
            print_help(cmd, options, n_options);
            return CLI_HELPED;
        }
        if (c == '?' || c == ':')
            return bad_option(cmd, argv, c, options, n_options);
        for (size_t i = 0; i < n_options && !o; i++)
            if (c == 256 + (int)i || (options[i].letter && c == options[i].letter))
                o = &options[i];
        const char *expected = o ? store(o, optarg) : "an option of this command";
        if (expected) {
            char value[64];
            cli_complain("%s: --%s %s: expected %s", cmd->name, o ? o->name : "?",
                         cli_printable(value, sizeof value, optarg ? optarg : ""), expected);
            return hint(cmd);
        }
    }
    *operand = optind;
    return check_operands(cmd, argc - optind, min, max);
}
