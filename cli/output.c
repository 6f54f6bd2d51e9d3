/* What the commands print: troubles, JSON, readable names, the progress bar. */
#include "cli.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define BAR_CELLS   20
#define BAR_SECONDS 0.1 /* between two drawings */

/* ---- troubles ----------------------------------------------------------- */

int cli_trouble(const struct bk_error *err)
{
    char line[1024], safe[2048];
    bk_error_format(line, sizeof line, err);
    fprintf(stderr, "binkin: %s\n", cli_printable(safe, sizeof safe, line));
    return EXIT_TROUBLE;
}

int cli_complain(const char *fmt, ...)
{
    char line[1024], safe[2048];
    va_list args;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    fprintf(stderr, "binkin: %s\n", cli_printable(safe, sizeof safe, line));
    return EXIT_TROUBLE;
}

void cli_note(const char *fmt, ...)
{
    char line[1024], safe[2048];
    va_list args;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    fprintf(stderr, "%s\n", cli_printable(safe, sizeof safe, line));
}

int cli_finish(int status)
{
    bool failed = ferror(stdout);
    if (fclose(stdout) != 0 || failed)
        return cli_complain("standard output: could not be written in full");
    return status;
}

/* ---- text of any bytes --------------------------------------------------- */

/* Length of the UTF-8 character at `s`, 0 when there is none. */
static size_t utf8_len(const unsigned char *s)
{
    static const struct {
        unsigned char mask, lead;
        uint32_t least;
    } forms[] = {{0x80, 0x00, 0}, {0xe0, 0xc0, 0x80}, {0xf0, 0xe0, 0x800}, {0xf8, 0xf0, 0x10000}};
    for (size_t n = 0; n < 4; n++) {
        if ((s[0] & forms[n].mask) != forms[n].lead)
            continue;
        uint32_t c = s[0] & (unsigned char)~forms[n].mask;
        for (size_t i = 1; i <= n; i++) {
            if ((s[i] & 0xc0) != 0x80)
                return 0;
            c = c << 6 | (s[i] & 0x3f);
        }
        return c < forms[n].least || c > 0x10ffff || (c >= 0xd800 && c < 0xe000) ? 0 : n + 1;
    }
    return 0;
}

/* Bytes that must not reach a terminal as they are: controls, also the two-byte ones of Latin-1. */
static bool is_control(const unsigned char *s, size_t len)
{
    return s[0] < 0x20 || s[0] == 0x7f || (len == 2 && s[0] == 0xc2 && s[1] < 0xa0);
}

/* Writes `s` with its bad bytes as \xNN into `out`; false when it did not fit. */
static bool escape(char *out, size_t size, const char *s, bool controls)
{
    size_t used = 0;
    const unsigned char *p = (const unsigned char *)s;
    while (*p) {
        size_t len = utf8_len(p);
        bool bad = !len || (controls && is_control(p, len));
        if (used + (bad ? 4 : len) >= size)
            break;
        if (bad) {
            snprintf(out + used, 5, "\\x%02x", p[0]);
            used += 4;
            p++;
        } else {
            memcpy(out + used, p, len);
            used += len;
            p += len;
        }
    }
    out[used] = 0;
    return !*p;
}

char *cli_printable(char *out, size_t size, const char *s)
{
    if (!escape(out, size, s, true) && size > 4) {
        size_t n = strlen(out);
        n = n > size - 4 ? size - 4 : n;
        memcpy(out + n, "...", 4);
    }
    return out;
}

char *cli_function_label(char *out, size_t size, const struct bk_binary *b, size_t i)
{
    struct bk_function_info f;
    struct bk_member_info m;
    char text[512], addr[24];
    bk_binary_function(&f, b, i);
    bk_binary_member(&m, b, f.member);
    snprintf(addr, sizeof addr, "0x%llx", (unsigned long long)f.addr);
    snprintf(text, sizeof text, "%s%s%s", m.member ? m.member : "", m.member ? ":" : "", f.name ? f.name : addr);
    return cli_printable(out, size, text);
}

const char *const cli_size_names[BK_SIZE_CLASSES] = {"1", "2-4", "5-9", "10-49", "50+"};

bool cli_color(FILE *stream)
{
    const char *no = getenv("NO_COLOR");
    return isatty(fileno(stream)) && !(no && *no);
}

/* ---- JSON ----------------------------------------------------------------- */

void cli_json(json_t *object, int *status)
{
    char *line = object ? json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    if (line)
        puts(line);
    else
        *status = cli_complain("out of memory");
    free(line);
    json_decref(object);
}

json_t *cli_json_record(void)
{
    return json_pack("{s:i}", "schema", 1);
}

json_t *cli_json_number(double x)
{
    return isnan(x) ? json_null() : json_real(x);
}

json_t *cli_json_text(const char *s)
{
    if (!s)
        return json_null();
    size_t size = 4 * strlen(s) + 1;
    char *safe = malloc(size);
    if (safe)
        escape(safe, size, s, false);
    json_t *text = safe ? json_string(safe) : NULL;
    free(safe);
    return text;
}

json_t *cli_json_addr(uint64_t addr)
{
    return json_sprintf("0x%llx", (unsigned long long)addr);
}

json_t *cli_json_names(const struct bk_function_info *f)
{
    json_t *names = json_array();
    for (size_t i = 0; i < f->n_names; i++)
        json_array_append_new(names, cli_json_text(f->names[i]));
    return names;
}

json_t *cli_json_function(const struct bk_binary *b, size_t i)
{
    struct bk_function_info f;
    struct bk_member_info m;
    bk_binary_function(&f, b, i);
    bk_binary_member(&m, b, f.member);
    json_t *o = json_object();
    json_object_set_new(o, "file", cli_json_text(bk_binary_path(b)));
    if (m.member)
        json_object_set_new(o, "member", cli_json_text(m.member));
    json_object_set_new(o, "addr", cli_json_addr(f.addr));
    json_object_set_new(o, "size", json_integer((json_int_t)f.size));
    json_object_set_new(o, "arch", cli_json_text(f.arch));
    json_object_set_new(o, "names", cli_json_names(&f));
    return o;
}

/* ---- progress --------------------------------------------------------------- */

char *cli_duration(char out[16], double seconds)
{
    unsigned s = seconds > 0 && seconds < 3.5e8 ? (unsigned)(seconds + 0.5) : 0;
    if (s < 60)
        snprintf(out, 16, "%u s", s);
    else if (s < 3600)
        snprintf(out, 16, "%u:%02u", s / 60, s % 60);
    else
        snprintf(out, 16, "%u:%02u:%02u", s / 3600, s / 60 % 60, s % 60);
    return out;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Columns of the terminal at stderr. */
static size_t columns(void)
{
    struct winsize size;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col ? size.ws_col : 80;
}

static void draw(const struct cli_bar *bar, const char *what, double share, double seconds)
{
    char line[512], cells[BAR_CELLS + 1], left[16] = "";
    for (int i = 0; i < BAR_CELLS; i++)
        cells[i] = i < (int)(share * BAR_CELLS) ? '#' : '.';
    cells[BAR_CELLS] = 0;
    if (!bar->tells_time && share > 0 && share < 1 && seconds > 1)
        cli_duration(left, seconds / share * (1 - share));
    const char *label = bar->label ? bar->label : "";
    snprintf(line, sizeof line, "[%s] %3.0f %%  %s%s%s%s%s%s", cells, 100 * share, what, *label ? ", " : "", label,
             *left ? ", " : "", left, *left ? " left" : "");
    size_t width = columns() - 1;
    if (width < sizeof line)
        line[width] = 0;
    fprintf(stderr, "\r\033[K%s", line);
    fflush(stderr);
}

void cli_progress(void *ctx, const char *what, size_t done, size_t total)
{
    struct cli_bar *bar = ctx;
    double t = now();
    if (!isatty(STDERR_FILENO) || !total)
        return;
    if (!bar->what || done < bar->done) {
        bar->began = t;
        bar->drawn = 0;
    }
    bar->what = what;
    bar->done = done;
    if (t - bar->drawn < BAR_SECONDS && done < total)
        return;
    bar->drawn = t;
    bar->shown = true;
    draw(bar, what, (double)done / (double)total, t - bar->began);
}

void cli_bar_clear(struct cli_bar *bar)
{
    if (bar->shown)
        fputs("\r\033[K", stderr);
    *bar = (struct cli_bar){.label = bar->label, .tells_time = bar->tells_time};
}
