/* plot: pictures by gnuplot, a program found on PATH. */
#include "cli.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NO_GNUPLOT = 127 };

/* Told apart by colour-blind readers too (Okabe and Ito), and none of them pale on white. */
static const char *const colors[] = {"#0072b2", "#d55e00", "#009e73", "#cc79a7",
                                     "#e69f00", "#56b4e9", "#000000", "#8c6d31"};

/* Becomes gnuplot with `script` as input, in `dir`: names of pictures need no quoting then. */
static void become_gnuplot(FILE *script, FILE *errors, const char *dir)
{
    if (dup2(fileno(script), STDIN_FILENO) >= 0 && dup2(fileno(errors), STDERR_FILENO) >= 0 && chdir(dir) == 0)
        execlp("gnuplot", "gnuplot", (char *)NULL);
    _exit(errno == ENOENT ? NO_GNUPLOT : NO_GNUPLOT - 1);
}

/* Runs the script, which is closed. */
static bool run_gnuplot(FILE *script, const char *dir)
{
    FILE *errors = tmpfile();
    int status = -1;
    if (!script || !errors || fflush(script) || fseek(script, 0, SEEK_SET)) {
        cli_complain("no temporary file for gnuplot: %s", strerror(errno));
    } else {
        fflush(stdout);
        pid_t child = fork();
        if (child == 0)
            become_gnuplot(script, errors, dir);
        char line[256] = "it could not be started", safe[256];
        if (child < 0 || waitpid(child, &status, 0) != child)
            status = -1;
        rewind(errors);
        while (fgets(line, sizeof line, errors) && strspn(line, " \t\n^") == strlen(line))
            ;
        line[strcspn(line, "\n")] = 0;
        if (status != -1 && WIFEXITED(status) && WEXITSTATUS(status) == NO_GNUPLOT)
            cli_complain("--plot: there is no gnuplot; Debian's package gnuplot-nox has it");
        else if (status)
            cli_complain("--plot: gnuplot failed: %s", cli_printable(safe, sizeof safe, line));
    }
    if (script)
        fclose(script);
    if (errors)
        fclose(errors);
    return status == 0;
}

bool cli_plot_ready(const char *dir)
{
    char safe[512];
    if (mkdir(dir, 0777) != 0 && errno != EEXIST) {
        cli_complain("%s: %s", cli_printable(safe, sizeof safe, dir), strerror(errno));
        return false;
    }
    return run_gnuplot(tmpfile(), dir);
}

/* Text between gnuplot's single quotes, which know no escape but the quote itself. */
static void write_text(FILE *f, const char *s)
{
    char safe[256];
    fputc('\'', f);
    for (const char *p = cli_printable(safe, sizeof safe, s); *p; p++)
        fputs(*p == '\'' ? "''" : (char[]){*p, 0}, f);
    fputc('\'', f);
}

static void write_data(FILE *f, const struct cli_panel *panels, size_t n)
{
    for (size_t p = 0; p < n; p++) {
        for (size_t s = 0; s < panels[p].n; s++) {
            fprintf(f, "$data_%zu_%zu << END\n", p, s);
            for (size_t i = 0; i < panels[p].series[s].n; i++)
                fprintf(f, "%.9g %.9g\n", panels[p].series[s].x[i], panels[p].series[s].y[i]);
            fprintf(f, "END\n");
        }
    }
}

static void write_panel(FILE *f, const struct cli_panel *panel, size_t p)
{
    fprintf(f, "set title ");
    write_text(f, panel->title);
    fprintf(f, "\nset xlabel ");
    write_text(f, panel->x_label);
    fprintf(f, "\nset ylabel ");
    write_text(f, panel->y_label);
    fprintf(f, "\n%s logscale x\n%s logscale y\nset autoscale\nset xtics auto\nset ytics auto\n%s\nplot ",
            panel->log_x ? "set" : "unset", panel->log_y ? "set" : "unset",
            panel->unit_y ? "set yrange [0:1.02]; set ytics 0.2" : "");
    for (size_t s = 0; s < panel->n; s++) {
        fprintf(f, "%s$data_%zu_%zu using 1:2 with %s lw 2 dt %zu lc rgb '%s' title ", s ? ", " : "", p, s,
                panel->series[s].n == 1 ? "points" : "lines", s / CLI_COUNT(colors) + 1, colors[s % CLI_COUNT(colors)]);
        write_text(f, panel->series[s].title);
    }
    fprintf(f, "\n");
}

bool cli_plot(const char *dir, const char *name, const char *title, const struct cli_panel *panels, size_t n)
{
    static const char *const terminals[][2] = {{"svg", "svg"}, {"pngcairo", "png"}};
    FILE *f = tmpfile();
    if (!f)
        return run_gnuplot(f, dir);
    write_data(f, panels, n);
    fprintf(f, "set grid lc rgb '#dddddd'\nset border 3\nset tics nomirror\nset key below vertical maxcols 2 samplen 2 "
               "height 1\n");
    for (size_t i = 0; i < CLI_COUNT(terminals); i++) {
        fprintf(f,
                "set terminal %s noenhanced size %zu,%zu font 'sans,12' background rgb 'white'\nset output '%s.%s'\n",
                terminals[i][0], 540 * n, 460 + 19 * panels[0].n, name, terminals[i][1]);
        fprintf(f, "set multiplot layout 1,%zu title ", n);
        write_text(f, title);
        fputc('\n', f);
        for (size_t p = 0; p < n; p++)
            write_panel(f, &panels[p], p);
        fprintf(f, "unset multiplot\nunset output\n");
    }
    return run_gnuplot(f, dir);
}
