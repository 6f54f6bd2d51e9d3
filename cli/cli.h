/* The command line: one table of commands (main.c), each in its cmd_*.c, over options.c, target.c, plot.c and output.c.
 * Includes include/ and jansson only.
 *
 * Exit status: 0 fine, 1 a comparison or threshold said no, 2 trouble. A trouble is one line on stderr and
 * does not keep other inputs from being processed. */
#ifndef BK_CLI_H
#define BK_CLI_H

#include "binkin.h"
#include "binkin_train.h"

#include <jansson.h>
#include <stdio.h>

enum { EXIT_FINE = 0, EXIT_NO = 1, EXIT_TROUBLE = 2 };

/* ---- commands (main.c) -------------------------------------------------- */

struct cli_command {
    const char *name;                                                 /* "match", "train model" */
    int (*run)(const struct cli_command *cmd, int argc, char **argv); /* argv[0] is the command */
    const char *summary;                                              /* one line */
    const char *operands;                                             /* "A B" */
    const char *about;   /* what --help says between usage and options; may be empty */
    const char *example; /* lines of shell */
};

extern const struct cli_command cli_info, cli_functions, cli_embed, cli_compare, cli_match, cli_dataset, cli_train_i2v,
    cli_train_model, cli_train_calibrate, cli_eval;

/* ---- options (options.c) ------------------------------------------------ */

enum cli_option_kind {
    CLI_FLAG,     /* bool */
    CLI_TEXT,     /* const char * */
    CLI_TEXTS,    /* struct cli_texts: may be given several times */
    CLI_UNSIGNED, /* unsigned or uint32_t */
    CLI_SIZE,     /* size_t */
    CLI_U64,      /* uint64_t */
    CLI_REAL,     /* double */
    CLI_SIZES,    /* struct cli_sizes: may be given several times */
    CLI_SPLIT_BY, /* enum bk_split_by */
    CLI_PARTS     /* struct bk_split: its train:validation:test */
};
struct cli_sizes {
    size_t v[8], n;
};
#define CLI_MAX_TEXTS 16
struct cli_texts {
    const char *v[CLI_MAX_TEXTS];
    size_t n;
};
/* The one description of an option: parsing and --help both read it. */
struct cli_option {
    const char *name; /* long */
    char letter;      /* short, 0: none */
    enum cli_option_kind kind;
    void *to;
    const char *arg; /* what the argument is called; NULL for a flag */
    const char *help;
};
enum { CLI_RUN, CLI_HELPED, CLI_BAD };
/* Reads options up to the operands, whose first is argv[*operand]. CLI_HELPED: --help was given and answered.
 * CLI_BAD: a trouble was printed. `min` operands at least, `max` at most (0: no end). */
int cli_parse(int *operand, const struct cli_command *cmd, int argc, char **argv, const struct cli_option *options,
              size_t n_options, int min, int max);

#define CLI_COUNT(array) (sizeof(array) / sizeof *(array))
#define CLI_OPT_JSON(to)                                                                                               \
    {                                                                                                                  \
        "json", 0, CLI_FLAG, to, NULL, "print JSON, one object a line"                                                 \
    }
#define CLI_OPT_THREADS(to)                                                                                            \
    {                                                                                                                  \
        "threads", 't', CLI_UNSIGNED, to, "N", "threads to use (default: one for each core)"                           \
    }
#define CLI_OPT_MODEL(to)                                                                                              \
    {                                                                                                                  \
        "model", 'm', CLI_TEXT, to, "FILE", "model file (default: $BINKIN_MODEL, else the one that came with binkin)"  \
    }
#define CLI_OPT_INT8(to)                                                                                               \
    {                                                                                                                  \
        "int8", 0, CLI_FLAG, to, NULL,                                                                                 \
            "multiply in eight bits where the processor can: half the time, vectors nearly equal"                      \
    }
#define CLI_OPT_ANY_ARCH(to)                                                                                           \
    {                                                                                                                  \
        "any-arch", 0, CLI_FLAG, to, NULL,                                                                             \
            "take architectures the model was not trained for, where it knows their words"                             \
    }

/* What a data set holds, as `dataset` and `info` print it (cmd_dataset.c). */
void cli_dataset_info(const struct bk_dataset_info *d, const struct bk_dataset *set, const char *path, bool json,
                      int *status);

/* ---- targets: FILE, FILE:NAME, FILE:0xADDR (target.c) -------------------- */

struct cli_target {
    struct bk_binary *binary;
    bool borrowed;     /* `binary` is another target's */
    bool whole;        /* no function was named */
    size_t *functions; /* n of them: all, or those named */
    size_t n;
};
/* Opens what `text` names. Troubles are printed: those that end it (false) and, once a file, those that do not (*status
 * becomes EXIT_TROUBLE). A path that exists as a whole is never taken apart. */
bool cli_target_open(struct cli_target *t, const char *text, int *status);
/* The same of a second operand: of the same file as `first`, it uses what is open, and must be closed before it. */
bool cli_target_open_second(struct cli_target *t, const struct cli_target *first, const char *text, int *status);
void cli_target_close(struct cli_target *t);

/* ---- pictures (plot.c) ---------------------------------------------------- */

/* One line of a panel: y over x. Borrowed. */
struct cli_series {
    const char *title;
    const double *x, *y;
    size_t n;
};
struct cli_panel {
    const char *title, *x_label, *y_label;
    bool log_x, unit_y, log_y; /* unit_y: from 0 to 1 */
    const struct cli_series *series;
    size_t n;
};
/* Draws panels side by side into DIR/NAME.svg and DIR/NAME.png by gnuplot. False: a trouble was printed. */
bool cli_plot(const char *dir, const char *name, const char *title, const struct cli_panel *panels, size_t n);
/* Makes the directory where it is missing, and sees that there is a gnuplot. False: a trouble was printed. */
bool cli_plot_ready(const char *dir);

/* ---- output (output.c) --------------------------------------------------- */

/* One line on stderr, "binkin: FILE: cause (at offset 0x..)"; returns EXIT_TROUBLE. */
int cli_trouble(const struct bk_error *err);
int cli_complain(const char *fmt, ...) BK_PRINTF(1, 2);
/* A line on stderr that is no trouble. */
void cli_note(const char *fmt, ...) BK_PRINTF(1, 2);
/* Ends the output: a trouble when stdout could not take all of it. */
int cli_finish(int status);

/* Prints the object as one line and frees it. NULL (no memory) is a trouble of *status. */
void cli_json(json_t *object, int *status);
json_t *cli_json_record(void); /* {"schema": 1} */
/* A JSON string of any bytes: what is no UTF-8 is written as \xNN. NULL gives null. */
json_t *cli_json_text(const char *s);
json_t *cli_json_number(double x);    /* null for NaN */
json_t *cli_json_addr(uint64_t addr); /* "0x1234" */
json_t *cli_json_names(const struct bk_function_info *f);
/* A record that says file, member, address, size and names of function `i`. */
json_t *cli_json_function(const struct bk_binary *b, size_t i);

/* `s` with control characters and broken UTF-8 as \xNN, in `out`; cut with "..." to `size`. Returns `out`. */
char *cli_printable(char *out, size_t size, const char *s);
/* "name", "member:name" in an archive; the address where there is no name. */
char *cli_function_label(char *out, size_t size, const struct bk_binary *b, size_t i);

extern const char *const cli_size_names[BK_SIZE_CLASSES]; /* "2-4": basic blocks */
bool cli_color(FILE *stream);                             /* a terminal, and NO_COLOR is not set */

/* A bar on stderr, drawn only on a terminal. `ctx` of cli_progress is a struct cli_bar, zero-initialised. */
struct cli_bar {
    const char *label; /* in front; NULL: none */
    bool tells_time;   /* `what` says how much is left */
    const char *what;  /* NULL before the first call */
    size_t done;       /* of the last call: less of it starts the clock anew */
    double began, drawn;
    bool shown;
};
void cli_progress(void *ctx, const char *what, size_t done, size_t total);
void cli_bar_clear(struct cli_bar *bar);          /* before other output, and at the end */
char *cli_duration(char out[16], double seconds); /* "1:02:03", "2:03", "4 s" */

#endif
