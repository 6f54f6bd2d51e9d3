/* The container file: what is written, and what a damaged or hostile one does to the reader. */
#include "base/base.h"
#include "temp_dir.h"

#define HEADER 40
#define ENTRY  56

/* Reference value of the xxHash specification. */
static void hash_is_xxh3(void **state)
{
    (void)state;
    assert_int_equal(bk_hash64("", 0), 0x2d06800538d394c2u);
}

/* A pack of three entries, the middle one empty; free() it. */
static uint8_t *sample(void **state, size_t *size)
{
    char *path = temp_path(state, "p");
    struct bk_pack_writer *w;
    assert_int_equal(bk_pack_create(&w, path, "test", 3, 7, NULL), BK_OK);
    assert_int_equal(bk_pack_add(w, "first", "0123456789", 10, NULL), BK_OK);
    assert_int_equal(bk_pack_add(w, "empty", NULL, 0, NULL), BK_OK);
    assert_int_equal(bk_pack_add(w, "an entry name of 31 characters.", "abc", 3, NULL), BK_OK);
    assert_int_equal(bk_pack_commit(w, NULL), BK_OK);
    uint8_t *p = read_file(path, size);
    free(path);
    return p;
}

static void expect_entry(const struct bk_pack *p, const char *name, const char *text)
{
    struct bk_cursor c;
    assert_int_equal(bk_pack_entry(&c, p, name, NULL), BK_OK);
    assert_int_equal(c.size, strlen(text));
    assert_int_equal(c.pos, 0);
    assert_memory_equal(c.data, text, c.size);
}

static void expect_sample(const struct bk_pack *p)
{
    expect_entry(p, "first", "0123456789");
    expect_entry(p, "empty", "");
    expect_entry(p, "an entry name of 31 characters.", "abc");
}

static void round_trip(void **state)
{
    size_t size;
    free(sample(state, &size));
    char *path = temp_path(state, "p");
    struct bk_pack *p;
    assert_int_equal(bk_pack_open(&p, path, "test", 3, NULL), BK_OK);
    expect_sample(p);
    struct bk_cursor c;
    struct bk_error err = {0};
    assert_int_equal(bk_pack_entry(&c, p, "firs", &err), BK_EFORMAT);
    assert_string_equal(err.message, "no entry \"firs\"");
    assert_string_equal(err.file, path);
    bk_read_u8(&c);
    assert_true(c.failed);
    bk_pack_close(p);
    bk_pack_close(NULL);
    free(path);
}

/* The layout of doc/format.md, byte by byte. */
static void layout_is_the_documented_one(void **state)
{
    size_t size;
    uint8_t *d = sample(state, &size);
    struct bk_cursor c = bk_cursor_at(d, size, 0, false);
    assert_memory_equal(bk_read_bytes(&c, 12), "BINKIN\r\ntest", 12);
    assert_int_equal(bk_read_u16(&c), 3);
    assert_int_equal(bk_read_u16(&c), 7);
    assert_int_equal(bk_read_u32(&c), 3);
    assert_int_equal(bk_read_u32(&c), 0);
    assert_int_equal(bk_read_u64(&c), size);
    bk_read_u64(&c);
    static const struct {
        const char name[32];
        uint64_t offset, size;
    } want[] = {{"first", 256, 10}, {"empty", 320, 0}, {"an entry name of 31 characters.", 320, 3}};
    for (int i = 0; i < 3; i++) {
        assert_memory_equal(bk_read_bytes(&c, 32), want[i].name, 32);
        assert_int_equal(bk_read_u64(&c), want[i].offset);
        assert_int_equal(bk_read_u64(&c), want[i].size);
        assert_int_equal(bk_read_u64(&c), bk_hash64(d + want[i].offset, want[i].size));
    }
    assert_int_equal(c.pos, HEADER + 3 * ENTRY);
    assert_int_equal(size, 323);
    free(d);
}

static void every_flipped_bit_is_found_or_harmless(void **state)
{
    size_t size, harmless = 0;
    uint8_t *d = sample(state, &size);
    for (size_t i = 0; i < size; i++)
        for (int bit = 0; bit < 8; bit++) {
            struct bk_pack *p;
            d[i] ^= (uint8_t)(1 << bit);
            int rc = bk_pack_open_bytes(&p, d, size, "test", 3, NULL);
            if (rc == BK_OK) {
                harmless++;
                expect_sample(p);
                bk_pack_close(p);
            } else {
                assert_null(p);
            }
            d[i] ^= (uint8_t)(1 << bit);
        }
    /* only the gaps in front of entries are not read: 208..256 and 266..320 */
    assert_int_equal(harmless, 8 * (48 + 54));
    free(d);
}

static void every_cut_is_found(void **state)
{
    size_t size;
    uint8_t *d = sample(state, &size);
    for (size_t cut = 0; cut < size; cut++) {
        uint8_t *exact = malloc(cut ? cut : 1);
        memcpy(exact, d, cut);
        struct bk_pack *p;
        struct bk_error err = {0};
        int rc = bk_pack_open_bytes(&p, exact, cut, "test", 3, &err);
        assert_int_equal(rc, cut < 8 ? BK_EFORMAT : BK_ETRUNCATED);
        assert_true(err.offset <= cut);
        free(exact);
    }
    free(d);
}

/* ---- hostile: everything right but one thing ------------------------- */

static void put(uint8_t *p, uint64_t v, int n)
{
    for (int i = 0; i < n; i++)
        p[i] = (uint8_t)(v >> 8 * i);
}

/* Makes the header's checksum right again. */
static void reseal(uint8_t *d, unsigned entries)
{
    memset(d + 32, 0, 8);
    put(d + 32, bk_hash64(d, HEADER + entries * ENTRY), 8);
}

static void expect_refused(const uint8_t *d, size_t size, int code, const char *message)
{
    struct bk_pack *p;
    struct bk_error err = {0};
    assert_int_equal(bk_pack_open_bytes(&p, d, size, "test", 3, &err), code);
    assert_string_equal(err.message, message);
    assert_null(p);
}

static void foreign_files_are_refused(void **state)
{
    size_t size;
    uint8_t *d = sample(state, &size);
    struct bk_pack *p;
    struct bk_error err = {0};
    assert_int_equal(bk_pack_open_bytes(&p, d, size, "modl", 3, &err), BK_EMISMATCH);
    assert_string_equal(err.message, "a \"test\" file where a \"modl\" file is needed");
    assert_int_equal(bk_pack_open_bytes(&p, d, size, "test", 2, &err), BK_EUNSUPPORTED);
    assert_string_equal(err.message, "format version 3.7; this program reads up to 2");
    assert_int_equal(bk_pack_open_bytes(&p, d, size, "test", 4, &err), BK_OK);
    bk_pack_close(p);
    d[0] = 'X';
    expect_refused(d, size, BK_EFORMAT, "not a Binkin file");
    expect_refused((const uint8_t *)"\177ELF", 4, BK_EFORMAT, "not a Binkin file");
    free(d);
    char *path = temp_path(state, "empty");
    write_file(path, "", 0);
    assert_int_equal(bk_pack_open(&p, path, "test", 3, &err), BK_EFORMAT);
    assert_string_equal(err.file, path);
    free(path);
}

static void hostile_header_is_refused(void **state)
{
    size_t size;
    uint8_t *d = sample(state, &size);
    uint8_t *longer = calloc(1, size + 1);
    memcpy(longer, d, size);
    expect_refused(longer, size + 1, BK_EFORMAT, "bytes after the end of the file");
    free(longer);
    put(d + 16, 0xffffffff, 4);
    expect_refused(d, size, BK_ELIMIT, "4294967295 entries, at most 4096 are read");
    put(d + 16, 4096, 4);
    expect_refused(d, size, BK_EFORMAT, "the file is too short for 4096 entries");
    put(d + 16, 3, 4);
    put(d + 20, 1, 4);
    expect_refused(d, size, BK_EFORMAT, "reserved field is not 0");
    free(d);
}

/* Writes `v` at `at` of the sample's directory and expects the sealed file to be refused. */
static void expect_entry_refused(void **state, size_t at, uint64_t v, const char *message)
{
    size_t size;
    uint8_t *d = sample(state, &size);
    put(d + HEADER + at, v, 8);
    reseal(d, 3);
    expect_refused(d, size, BK_EFORMAT, message);
    free(d);
}

static void hostile_directory_is_refused(void **state)
{
    enum { OFFSET = 32, SIZE = 40, SUM = 48 };
    static const char nowhere[] = "entry \"first\" does not lie where an entry may";
    expect_entry_refused(state, OFFSET, 0, nowhere);
    expect_entry_refused(state, OFFSET, 192, nowhere); /* inside the directory */
    expect_entry_refused(state, OFFSET, 257, nowhere);
    expect_entry_refused(state, OFFSET, 1u << 20, nowhere);
    expect_entry_refused(state, OFFSET, UINT64_MAX - 63, nowhere);
    expect_entry_refused(state, SIZE, 68, nowhere);
    expect_entry_refused(state, SIZE, UINT64_MAX, nowhere);
    expect_entry_refused(state, SIZE, 9, "entry \"first\" is damaged (checksum)");
    expect_entry_refused(state, SUM, 0, "entry \"first\" is damaged (checksum)");
    expect_entry_refused(state, ENTRY + OFFSET, 256, "entry \"empty\" does not lie where an entry may");
    expect_entry_refused(state, 0, 0, "entry without a proper name");
    expect_entry_refused(state, 8, 1, "entry name is not padded with NUL");
    expect_entry_refused(state, 2 * ENTRY + 24, UINT64_MAX, "entry without a proper name");
    size_t size;
    uint8_t *d = sample(state, &size);
    memcpy(d + HEADER + ENTRY, "first", 5);
    reseal(d, 3);
    expect_refused(d, size, BK_EFORMAT, "a second entry \"first\"");
    free(d);
}

/* ---- writer ------------------------------------------------------------ */

static void writer_checks_its_caller(void **state)
{
    char *path = temp_path(state, "p");
    struct bk_pack_writer *w;
    assert_int_equal(bk_pack_create(&w, path, "test", 65536, 0, NULL), BK_EINVAL);
    assert_int_equal(bk_pack_create(&w, path, "test", 1, 0, NULL), BK_OK);
    assert_int_equal(bk_pack_add(w, "", "", 0, NULL), BK_EINVAL);
    assert_int_equal(bk_pack_add(w, "a name of thirty-two characters.", "", 0, NULL), BK_EINVAL);
    assert_int_equal(bk_pack_add(w, "twice", "", 0, NULL), BK_OK);
    assert_int_equal(bk_pack_add(w, "twice", "", 0, NULL), BK_EINVAL);
    bk_pack_abort(w);
    bk_pack_abort(NULL);
    assert_int_equal(temp_dir_count(*state), 0);
    free(path);
}

static void no_entries_and_the_most_entries(void **state)
{
    char *path = temp_path(state, "p");
    uint64_t hash[2];
    for (int most = 0; most < 2; most++) {
        struct bk_pack_writer *w;
        assert_int_equal(bk_pack_create(&w, path, "test", 1, 0, NULL), BK_OK);
        for (int i = 0; most && i < 4096; i++) {
            char name[32];
            snprintf(name, sizeof name, "%d", i);
            assert_int_equal(bk_pack_add(w, name, &"0123456789"[i % 10], 1, NULL), BK_OK);
        }
        if (most)
            assert_int_equal(bk_pack_add(w, "more", "", 0, NULL), BK_ELIMIT);
        assert_int_equal(bk_pack_commit(w, NULL), BK_OK);
        struct bk_pack *p;
        assert_int_equal(bk_pack_open(&p, path, "test", 1, NULL), BK_OK);
        if (most)
            expect_entry(p, "4095", "5");
        hash[most] = bk_pack_hash(p);
        bk_pack_close(p);
    }
    assert_true(hash[0] != hash[1]);
    free(path);
}

/* Names content: the same for the same bytes, another for one other byte. */
static void hash_names_the_content(void **state)
{
    char *path = temp_path(state, "p");
    uint64_t hash[3];
    for (int i = 0; i < 3; i++) {
        struct bk_pack_writer *w;
        assert_int_equal(bk_pack_create(&w, path, "test", 1, 0, NULL), BK_OK);
        assert_int_equal(bk_pack_add(w, "e", i < 2 ? "same" : "Same", 4, NULL), BK_OK);
        assert_int_equal(bk_pack_commit(w, NULL), BK_OK);
        struct bk_pack *p;
        assert_int_equal(bk_pack_open(&p, path, "test", 1, NULL), BK_OK);
        hash[i] = bk_pack_hash(p);
        bk_pack_close(p);
    }
    assert_int_equal(hash[0], hash[1]);
    assert_true(hash[0] != hash[2]);
    free(path);
}

/* Kind, version and all entries but one, to which another may be added; also onto the file that is read. */
static void copied_with_an_entry_exchanged(void **state)
{
    size_t size;
    free(sample(state, &size));
    char *path = temp_path(state, "p");
    struct bk_pack *p;
    struct bk_pack_writer *w;
    assert_int_equal(bk_pack_open(&p, path, "test", 3, NULL), BK_OK);
    assert_int_equal(bk_pack_copy(&w, p, path, "empty", NULL), BK_OK);
    assert_int_equal(bk_pack_add(w, "empty", "full", 4, NULL), BK_OK);
    assert_int_equal(bk_pack_commit(w, NULL), BK_OK);
    expect_sample(p);
    bk_pack_close(p);
    assert_int_equal(bk_pack_open(&p, path, "test", 2, NULL), BK_EUNSUPPORTED);
    assert_int_equal(bk_pack_open(&p, path, "test", 3, NULL), BK_OK);
    expect_entry(p, "first", "0123456789");
    expect_entry(p, "empty", "full");
    expect_entry(p, "an entry name of 31 characters.", "abc");
    bk_pack_close(p);
    uint8_t *bytes = read_file(path, &size);
    assert_int_equal(bytes[14], 7); /* the minor version */
    free(bytes);
    free(path);
}

#define IN_TEMP_DIR(f) cmocka_unit_test_setup_teardown(f, temp_dir_setup, temp_dir_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hash_is_xxh3),
        IN_TEMP_DIR(round_trip),
        IN_TEMP_DIR(layout_is_the_documented_one),
        IN_TEMP_DIR(every_flipped_bit_is_found_or_harmless),
        IN_TEMP_DIR(every_cut_is_found),
        IN_TEMP_DIR(foreign_files_are_refused),
        IN_TEMP_DIR(hostile_header_is_refused),
        IN_TEMP_DIR(hostile_directory_is_refused),
        IN_TEMP_DIR(writer_checks_its_caller),
        IN_TEMP_DIR(no_entries_and_the_most_entries),
        IN_TEMP_DIR(hash_names_the_content),
        IN_TEMP_DIR(copied_with_an_entry_exchanged),
    };
    return cmocka_run_group_tests_name("base_pack", tests, NULL, NULL);
}
