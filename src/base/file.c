#include "base/base.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

static int fail_path(struct bk_error *err, int code, const char *path, const char *message)
{
    bk_error_file(err, path, NULL);
    return bk_fail(err, code, BK_NO_OFFSET, "%s", message);
}

static int fail_errno(struct bk_error *err, const char *path, const char *what, int number)
{
    bk_error_file(err, path, NULL);
    return bk_fail(err, BK_EIO, BK_NO_OFFSET, "%s: %s", what, strerrordesc_np(number));
}

/* ---- reading ---------------------------------------------------------- */

static const char *why_not_regular(mode_t mode)
{
    return S_ISDIR(mode) ? "is a directory" : "is not a regular file";
}

/* For file systems without mmap: the same bytes in anonymous memory, so that closing is the same too. */
static void *read_whole(int fd, size_t size)
{
    uint8_t *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return MAP_FAILED;
    for (size_t done = 0; done < size;) {
        ssize_t n = pread(fd, p + done, size - done, (off_t)done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            int number = n < 0 ? errno : EIO;
            munmap(p, size);
            errno = number;
            return MAP_FAILED;
        }
        done += (size_t)n;
    }
    return p;
}

int bk_map_open(struct bk_map *out, const char *path, struct bk_error *err)
{
    static const uint8_t nothing[1] = {0};
    *out = (struct bk_map){nothing, 0};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* without NONBLOCK a FIFO waits for its writer */
    if (fd < 0)
        return fail_errno(err, path, "cannot open", errno);
    struct stat st;
    int rc = BK_OK;
    if (fstat(fd, &st) < 0) {
        rc = fail_errno(err, path, "cannot stat", errno);
    } else if (!S_ISREG(st.st_mode)) {
        rc = fail_path(err, BK_EIO, path, why_not_regular(st.st_mode));
    } else if ((uint64_t)st.st_size > SIZE_MAX / 2) {
        rc = fail_path(err, BK_ELIMIT, path, "too large to map");
    } else if (st.st_size > 0) {
        size_t size = (size_t)st.st_size;
        void *p = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED)
            p = read_whole(fd, size);
        if (p == MAP_FAILED && errno == ENOMEM) {
            bk_error_file(err, path, NULL);
            rc = bk_fail_nomem(err, size);
        } else if (p == MAP_FAILED)
            rc = fail_errno(err, path, "cannot read", errno);
        else
            *out = (struct bk_map){p, size};
    }
    close(fd);
    return rc;
}

void bk_map_close(struct bk_map *m)
{
    if (m == NULL)
        return;
    if (m->size) {
        union { /* munmap takes away what is const to everyone else */
            const uint8_t *in;
            void *out;
        } p = {m->data};
        munmap(p.out, m->size);
    }
    *m = (struct bk_map){NULL, 0};
}

/* ---- writing ---------------------------------------------------------- */

struct bk_save {
    FILE *stream;
    char *path; /* with symbolic links followed */
    char *temp;
};

/* Creates a file beside `s->path` that did not exist before. */
static int open_temp(struct bk_save *s)
{
    for (int attempt = 0; attempt < 100; attempt++) {
        uint32_t r;
        if (getrandom(&r, sizeof r, 0) != (ssize_t)sizeof r)
            return -1;
        free(s->temp);
        if (asprintf(&s->temp, "%s.%08x.tmp", s->path, (unsigned)r) < 0) {
            s->temp = NULL;
            return -1;
        }
        int fd = open(s->temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd >= 0 || errno != EEXIST)
            return fd;
    }
    return -1;
}

static void save_free(struct bk_save *s)
{
    if (s->stream)
        fclose(s->stream);
    free(s->temp);
    free(s->path);
    free(s);
}

int bk_save_open(struct bk_save **out, const char *path, struct bk_error *err)
{
    *out = NULL;
    struct bk_save *s = calloc(1, sizeof *s);
    if (s == NULL)
        return bk_fail_nomem(err, sizeof *s);
    struct stat st;
    bool exists = stat(path, &st) == 0;
    if (exists && !S_ISREG(st.st_mode)) { /* a rename would put a file in the place of a device */
        save_free(s);
        return fail_path(err, BK_EIO, path, why_not_regular(st.st_mode));
    }
    s->path = exists ? realpath(path, NULL) : strdup(path);
    int fd = s->path ? open_temp(s) : -1;
    if (fd < 0) {
        int number = errno;
        save_free(s);
        return fail_errno(err, path, "cannot create", number);
    }
    if (exists && fchmod(fd, st.st_mode & 0777) < 0) {
        /* a file system without modes: nothing to keep */
    }
    s->stream = fdopen(fd, "wb");
    if (s->stream == NULL) {
        int number = errno;
        close(fd);
        unlink(s->temp);
        save_free(s);
        return fail_errno(err, path, "cannot create", number);
    }
    *out = s;
    return BK_OK;
}

FILE *bk_save_stream(struct bk_save *s)
{
    return s->stream;
}

/* Makes a rename last. The file stands either way, so a file system that cannot is no error. */
static void sync_folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *folder = slash == NULL ? strdup(".") : strndup(path, slash == path ? 1 : (size_t)(slash - path));
    int fd = folder ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    free(folder);
    if (fd < 0)
        return;
    fsync(fd);
    close(fd);
}

int bk_save_commit(struct bk_save *s, struct bk_error *err)
{
    errno = 0;
    bool written = !ferror(s->stream) && fflush(s->stream) == 0 && fsync(fileno(s->stream)) == 0;
    int number = errno;
    if (fclose(s->stream) != 0 && written) {
        written = false;
        number = errno;
    }
    s->stream = NULL;
    if (written && rename(s->temp, s->path) != 0) {
        written = false;
        number = errno;
    }
    int rc = BK_OK;
    if (written) {
        sync_folder_of(s->path);
    } else {
        unlink(s->temp);
        rc = fail_errno(err, s->path, "cannot write", number ? number : EIO);
    }
    save_free(s);
    return rc;
}

void bk_save_abort(struct bk_save *s)
{
    if (s == NULL)
        return;
    unlink(s->temp);
    save_free(s);
}
