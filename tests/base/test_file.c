/* Mapped files and files written whole or not at all. */
#include "base/base.h"
#include "temp_dir.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

static void maps_a_file(void **state)
{
    char *path = temp_path(state, "f");
    write_file(path, "bytes", 5);
    struct bk_map m;
    assert_int_equal(bk_map_open(&m, path, NULL), BK_OK);
    assert_int_equal(m.size, 5);
    assert_memory_equal(m.data, "bytes", 5);
    bk_map_close(&m);
    assert_null(m.data);
    bk_map_close(&m);
    bk_map_close(NULL);
    free(path);
}

static void maps_an_empty_file(void **state)
{
    char *path = temp_path(state, "f");
    write_file(path, "", 0);
    struct bk_map m;
    assert_int_equal(bk_map_open(&m, path, NULL), BK_OK);
    assert_int_equal(m.size, 0);
    assert_non_null(m.data);
    bk_map_close(&m);
    free(path);
}

static void expect_no_map(const char *path, const char *message)
{
    struct bk_map m;
    struct bk_error err = {0};
    assert_int_equal(bk_map_open(&m, path, &err), BK_EIO);
    assert_string_equal(err.message, message);
    assert_string_equal(err.file, path);
    assert_int_equal(err.offset, BK_NO_OFFSET);
    assert_int_equal(m.size, 0);
    bk_map_close(&m);
}

static void maps_nothing_else(void **state)
{
    expect_no_map(((struct temp_dir *)*state)->path, "is a directory");
    char *fifo = temp_path(state, "fifo"), *missing = temp_path(state, "missing");
    assert_int_equal(mkfifo(fifo, 0600), 0);
    expect_no_map(fifo, "is not a regular file");
    expect_no_map("/dev/zero", "is not a regular file");
    expect_no_map(missing, "cannot open: No such file or directory");
    free(fifo);
    free(missing);
}

static void expect_file(const char *path, const char *text)
{
    size_t size;
    uint8_t *p = read_file(path, &size);
    assert_string_equal((char *)p, text);
    free(p);
}

static void save_replaces_at_commit(void **state)
{
    char *path = temp_path(state, "f");
    write_file(path, "old", 3);
    assert_int_equal(chmod(path, 0640), 0);
    struct bk_save *s;
    assert_int_equal(bk_save_open(&s, path, NULL), BK_OK);
    fputs("newer", bk_save_stream(s));
    fflush(bk_save_stream(s));
    expect_file(path, "old");
    assert_int_equal(bk_save_commit(s, NULL), BK_OK);
    expect_file(path, "newer");
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0640);
    assert_int_equal(temp_dir_count(*state), 1);
    free(path);
}

static void save_creates_under_umask(void **state)
{
    char *path = temp_path(state, "f");
    mode_t before = umask(027);
    struct bk_save *s;
    assert_int_equal(bk_save_open(&s, path, NULL), BK_OK);
    assert_int_equal(bk_save_commit(s, NULL), BK_OK);
    umask(before);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0640);
    free(path);
}

static void abort_leaves_the_old_file(void **state)
{
    char *path = temp_path(state, "f");
    write_file(path, "old", 3);
    struct bk_save *s;
    assert_int_equal(bk_save_open(&s, path, NULL), BK_OK);
    fputs("new", bk_save_stream(s));
    bk_save_abort(s);
    bk_save_abort(NULL);
    expect_file(path, "old");
    assert_int_equal(temp_dir_count(*state), 1);
    free(path);
}

/* A limit on the size of files stands in for a full disk. */
static void failed_write_leaves_the_old_file(void **state)
{
    char *path = temp_path(state, "f");
    write_file(path, "old", 3);
    struct rlimit before, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    struct bk_save *s;
    assert_int_equal(bk_save_open(&s, path, NULL), BK_OK);
    small = (struct rlimit){4096, before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    for (int i = 0; i < 20000; i++)
        fputs("new", bk_save_stream(s));
    struct bk_error err = {0};
    setrlimit(RLIMIT_FSIZE, &before); /* what comes after the lost bytes could be written */
    signal(SIGXFSZ, handler);
    int rc = bk_save_commit(s, &err);
    assert_int_equal(rc, BK_EIO);
    assert_string_equal(err.file, path);
    expect_file(path, "old");
    assert_int_equal(temp_dir_count(*state), 1);
    free(path);
}

static void save_follows_a_link(void **state)
{
    char *path = temp_path(state, "f"), *link = temp_path(state, "link");
    write_file(path, "old", 3);
    assert_int_equal(symlink(path, link), 0);
    struct bk_save *s;
    assert_int_equal(bk_save_open(&s, link, NULL), BK_OK);
    fputs("new", bk_save_stream(s));
    assert_int_equal(bk_save_commit(s, NULL), BK_OK);
    expect_file(path, "new");
    struct stat st;
    assert_int_equal(lstat(link, &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    free(path);
    free(link);
}

static void save_refuses_what_is_no_file(void **state)
{
    struct bk_save *s;
    struct bk_error err = {0};
    assert_int_equal(bk_save_open(&s, "/dev/null", &err), BK_EIO);
    assert_string_equal(err.message, "is not a regular file");
    assert_int_equal(bk_save_open(&s, ((struct temp_dir *)*state)->path, &err), BK_EIO);
    assert_string_equal(err.message, "is a directory");
    char *path = temp_path(state, "no/such/folder");
    assert_int_equal(bk_save_open(&s, path, &err), BK_EIO);
    assert_string_equal(err.message, "cannot create: No such file or directory");
    assert_string_equal(err.file, path);
    assert_null(s);
    free(path);
}

#define IN_TEMP_DIR(f) cmocka_unit_test_setup_teardown(f, temp_dir_setup, temp_dir_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_TEMP_DIR(maps_a_file),
        IN_TEMP_DIR(maps_an_empty_file),
        IN_TEMP_DIR(maps_nothing_else),
        IN_TEMP_DIR(save_replaces_at_commit),
        IN_TEMP_DIR(save_creates_under_umask),
        IN_TEMP_DIR(abort_leaves_the_old_file),
        IN_TEMP_DIR(failed_write_leaves_the_old_file),
        IN_TEMP_DIR(save_follows_a_link),
        IN_TEMP_DIR(save_refuses_what_is_no_file),
    };
    return cmocka_run_group_tests_name("base_file", tests, NULL, NULL);
}
