/* Function bounds and names from symbols and unwind ranges; decodes nothing. */
#include "code/code_int.h"

#include <stdlib.h>
#include <string.h>

enum origin { FROM_SYMBOL, FROM_PIECE, FROM_ENTRY, FROM_UNWIND }; /* at one address the first wins */

/* Something that begins at `addr` inside code section `section`. */
struct start {
    uint64_t addr, size; /* size 0: until the next start */
    uint32_t section;
    uint32_t symbol; /* FROM_SYMBOL, FROM_PIECE: index of the symbol */
    uint8_t origin;
    bool thumb, exact; /* exact: the range of an .eh_frame entry */
};
struct starts {
    struct start *v;
    size_t n, cap;
};

struct finder {
    const struct bk_image *img;
    struct functions *out;
    struct starts starts;
    bool *code; /* per section: holds functions */
    struct {
        uint64_t *v; /* sorted addresses of symbols that end a function of unknown size */
        size_t n, cap;
    } stops;
};

/* ---- names ------------------------------------------------------------ */

/* Suffixes that GCC and LLVM put behind the name of a source function; a counter ".N" may follow. */
static const char *const clone_suffixes[] = {
    ".isra",     ".constprop",  ".part",      ".cold",      ".hot",       ".warm",    ".lto_priv",
    ".llvm",     ".localalias", ".clone",     ".resolver",  ".ifunc",     ".default", ".specialized",
    ".__uniq",   ".avx",        ".avx2",      ".avx512f",   ".sse2",      ".sse4_2",  ".fma",
    ".arch_x86", ".bmi",        ".simdclone", ".extracted", ".coldclone",
};

static bool is_digits(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (s[i] < '0' || s[i] > '9')
            return false;
    return n > 0;
}

static bool is_clone_suffix(const char *s, size_t n)
{
    if (n > 1 && is_digits(s + 1, n - 1))
        return true;
    for (size_t i = 0; i < sizeof clone_suffixes / sizeof *clone_suffixes; i++)
        if (strlen(clone_suffixes[i]) == n && !memcmp(clone_suffixes[i], s, n))
            return true;
    return n > 6 && !memcmp(s, ".arch_", 6); /* target_clones: .arch_x86_64_v3 */
}

size_t bk_source_name_len(const char *name)
{
    size_t n = strlen(name);
    for (;;) {
        size_t dot = n;
        while (dot > 0 && name[dot - 1] != '.')
            dot--;
        if (dot < 2 || !is_clone_suffix(name + dot - 1, n - dot + 1))
            return n;
        n = dot - 1;
    }
}

/* NAME.cold, NAME.cold.N */
static bool is_piece_name(const char *name)
{
    size_t n = strlen(name), end = n;
    while (end > 0 && name[end - 1] >= '0' && name[end - 1] <= '9')
        end--;
    if (end < n && end > 0 && name[end - 1] == '.')
        n = end - 1;
    return n > 5 && !memcmp(name + n - 5, ".cold", 5);
}

static int compare_names(const void *pa, const void *pb)
{
    const struct bk_symbol *a = *(const struct bk_symbol *const *)pa, *b = *(const struct bk_symbol *const *)pb;
    int ra = a->weak ? 1 : a->global ? 0 : 2, rb = b->weak ? 1 : b->global ? 0 : 2;
    if (ra != rb)
        return ra - rb;
    size_t la = strlen(a->name), lb = strlen(b->name);
    if (la != lb)
        return la < lb ? -1 : 1;
    return strcmp(a->name, b->name);
}

/* ---- starts ----------------------------------------------------------- */

static bool in_section(const struct bk_section *s, uint64_t addr)
{
    return addr >= s->addr && addr - s->addr < s->size;
}

static bool push_start(struct finder *f, struct start s)
{
    if (!BK_GROW(f->starts))
        return false;
    f->starts.v[f->starts.n++] = s;
    return true;
}

static bool add_symbol(struct finder *f, uint32_t i)
{
    const struct bk_image *img = f->img;
    const struct bk_symbol *sym = &img->symbols[i];
    if (sym->kind == BK_SYM_EXTERN)
        return true;
    bool placed = sym->section < img->n_sections && in_section(&img->sections[sym->section], sym->addr);
    if (sym->kind != BK_SYM_FUNC) {
        /* A global label or an object ends a function whose own symbol does not say where it ends; local labels lie inside functions. */
        if (!placed || !f->code[sym->section] || !(sym->global || sym->kind == BK_SYM_OBJECT))
            return true;
        if (!BK_GROW(f->stops))
            return false;
        f->stops.v[f->stops.n++] = sym->addr;
        return true;
    }
    if (!placed || !f->code[sym->section]) {
        f->out->pub.n_dropped += !placed || !bk_section_is_plt(&img->sections[sym->section]);
        return true;
    }
    struct start s = {.addr = sym->addr, .section = sym->section, .symbol = i, .thumb = sym->thumb};
    s.origin = is_piece_name(sym->name) ? FROM_PIECE : FROM_SYMBOL;
    const struct bk_section *sec = &img->sections[sym->section];
    if (bk_range_inside(sym->addr - sec->addr, sym->size, sec->size))
        s.size = sym->size;
    else
        f->out->pub.n_cut++;
    return push_start(f, s);
}

/* The code section at `addr`, BK_NO_SECTION when there is none. */
static uint32_t code_section_at(const struct finder *f, uint64_t addr)
{
    const struct bk_section *s = bk_image_section_at(f->img, addr);
    if (!s || !f->code[s - f->img->sections])
        return BK_NO_SECTION;
    return (uint32_t)(s - f->img->sections);
}

static bool add_unwind(struct finder *f, const struct bk_unwind *u)
{
    uint32_t k = code_section_at(f, u->addr);
    if (k == BK_NO_SECTION)
        return true; /* of a stub, or the mark that ends the table */
    const struct bk_section *sec = &f->img->sections[k];
    struct start s = {.addr = u->addr, .section = k, .origin = FROM_UNWIND, .thumb = u->thumb, .exact = u->size > 0};
    s.size = u->size;
    if (!bk_range_inside(u->addr - sec->addr, u->size, sec->size)) {
        f->out->pub.n_cut++;
        s.size = sec->addr + sec->size - u->addr;
    }
    return push_start(f, s);
}

static int compare_starts(const void *pa, const void *pb)
{
    const struct start *a = pa, *b = pb;
    if (a->addr != b->addr)
        return a->addr < b->addr ? -1 : 1;
    if (a->origin != b->origin)
        return a->origin < b->origin ? -1 : 1;
    return a->symbol < b->symbol ? -1 : a->symbol > b->symbol;
}

static int compare_u64(const void *pa, const void *pb)
{
    uint64_t a = *(const uint64_t *)pa, b = *(const uint64_t *)pb;
    return a < b ? -1 : a > b;
}

static bool collect(struct finder *f)
{
    const struct bk_image *img = f->img;
    f->code = bk_calloc(img->n_sections + 1, sizeof *f->code);
    if (!f->code)
        return false;
    for (size_t i = 0; i < img->n_sections; i++) {
        const struct bk_section *s = &img->sections[i];
        f->code[i] = s->exec && s->alloc && s->data && s->addr + s->size >= s->addr && !bk_section_is_plt(s);
    }
    for (size_t i = 0; i < img->n_symbols && i < UINT32_MAX; i++)
        if (!add_symbol(f, (uint32_t)i))
            return false;
    for (size_t i = 0; i < img->n_unwinds; i++)
        if (!add_unwind(f, &img->unwinds[i]))
            return false;
    uint32_t k = img->entry ? code_section_at(f, img->entry) : BK_NO_SECTION;
    struct start entry = {.addr = img->entry, .section = k, .origin = FROM_ENTRY, .thumb = img->entry_thumb};
    if (k != BK_NO_SECTION && !push_start(f, entry))
        return false;
    if (f->starts.n > 0)
        qsort(f->starts.v, f->starts.n, sizeof *f->starts.v, compare_starts);
    if (f->stops.n > 0)
        qsort(f->stops.v, f->stops.n, sizeof *f->stops.v, compare_u64);
    return true;
}

/* ---- functions -------------------------------------------------------- */

/* Names of the symbols among starts [a, b), all of one address. */
static bool set_names(struct finder *f, struct bk_function *fn, const struct start *a, const struct start *b)
{
    size_t n = 0;
    while (a + n < b && a[n].origin == FROM_SYMBOL)
        n++;
    if (n == 0)
        return true;
    const struct bk_symbol **syms = bk_calloc(n, sizeof *syms);
    const char **names = bk_arena_alloc(f->out->arena, n, sizeof *names);
    if (syms && names) {
        for (size_t i = 0; i < n; i++)
            syms[i] = &f->img->symbols[a[i].symbol];
        qsort(syms, n, sizeof *syms, compare_names);
        for (size_t i = 0; i < n; i++) {
            if (i == 0 || strcmp(syms[i]->name, syms[i - 1]->name) != 0)
                names[fn->n_names++] = syms[i]->name;
            fn->file = fn->file ? fn->file : syms[i]->file;
        }
        fn->names = names;
    }
    free(syms);
    return fn->names != NULL;
}

/* The function (or piece) that the starts [a, b), all of one address, stand for; it must end before `limit`. */
static struct bk_function measure(struct finder *f, const struct start *a, const struct start *b, uint64_t limit)
{
    static const enum bk_bound_source known[] = {BK_BOUND_SYMBOL, BK_BOUND_SYMBOL, BK_BOUND_NEXT_SYMBOL,
                                                 BK_BOUND_EH_FRAME};
    static const enum bk_bound_source unknown[] = {BK_BOUND_NEXT_SYMBOL, BK_BOUND_NEXT_SYMBOL, BK_BOUND_NEXT_SYMBOL,
                                                   BK_BOUND_EXIDX};
    struct bk_function fn = {.addr = a->addr, .thumb = a->thumb, .bound = unknown[a->origin]};
    uint64_t size = 0;
    for (const struct start *s = a; s < b; s++) {
        if (s->origin == a->origin || (s->origin == FROM_UNWIND && size == 0 && s->exact)) {
            if (s->size > size) {
                size = s->size;
                fn.bound = known[s->origin];
            }
            fn.thumb |= s->thumb;
        }
    }
    if (size > limit - fn.addr) {
        f->out->pub.n_cut++;
        size = limit - fn.addr;
    }
    fn.size = size;
    return fn;
}

/* An ARM range of which nothing says whether it is A32 or T32: four of five A32 words bear the condition "always", 0xe, on top;
 * words of two T32 halves seldom do. */
static bool looks_thumb(const struct bk_image *img, uint64_t addr, uint64_t size)
{
    size_t avail = 0;
    const uint8_t *p = bk_image_bytes(img, addr, &avail);
    if (!p || addr % 4 != 0)
        return true;
    if (avail > size)
        avail = (size_t)size;
    if (avail > 64)
        avail = 64;
    size_t n = avail / 4, always = 0;
    for (size_t i = 0; i < n; i++)
        always += p[4 * i + (img->code_big_endian ? 0 : 3)] >> 4 == 0xe;
    return always * 5 < n * 2 || n == 0;
}

/* The first stop in (addr, limit), or limit. */
static uint64_t stop_before(const struct finder *f, uint64_t addr, uint64_t limit)
{
    size_t lo = 0, hi = f->stops.n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (f->stops.v[mid] <= addr)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < f->stops.n && f->stops.v[lo] < limit ? f->stops.v[lo] : limit;
}

/* Unwind ranges and the entry point count only where no symbol's range covers them: removes the rest, in place. */
static void drop_covered(struct finder *f)
{
    uint64_t covered = 0; /* addresses below it belong to a symbol */
    size_t n = 0;
    for (size_t i = 0; i < f->starts.n; i++) {
        const struct start *s = &f->starts.v[i];
        bool first = n == 0 || f->starts.v[n - 1].addr != s->addr;
        if (first && s->origin >= FROM_ENTRY && s->addr < covered)
            continue;
        if (s->origin <= FROM_PIECE && s->addr + s->size > covered)
            covered = s->addr + s->size;
        f->starts.v[n++] = *s;
    }
    f->starts.n = n;
}

static bool push_function(struct finder *f, const struct bk_function *fn)
{
    struct functions *out = f->out;
    if (!BK_GROW(out->list))
        return false;
    out->list.v[out->list.n++] = *fn;
    return true;
}

static bool push_piece(struct finder *f, const struct bk_function *fn)
{
    struct functions *out = f->out;
    if (!BK_GROW(out->pieces))
        return false;
    out->pieces.v[out->pieces.n++] = (struct piece){fn->addr, fn->addr + fn->size};
    return true;
}

static bool build(struct finder *f)
{
    for (size_t i = 0, j; i < f->starts.n; i = j) {
        const struct start *a = &f->starts.v[i];
        const struct bk_section *sec = &f->img->sections[a->section];
        for (j = i + 1; j < f->starts.n && f->starts.v[j].addr == a->addr; j++)
            ;
        uint64_t limit = sec->addr + sec->size;
        if (j < f->starts.n && f->starts.v[j].addr < limit)
            limit = f->starts.v[j].addr;
        struct bk_function fn = measure(f, a, f->starts.v + j, limit);
        if (fn.size == 0)
            fn.size = stop_before(f, fn.addr, limit) - fn.addr;
        enum bk_mark_kind mark;
        if (a->origin == FROM_UNWIND && f->img->arch == BK_ARCH_ARM && !fn.thumb &&
            !bk_image_mark_at(&mark, f->img, fn.addr))
            fn.thumb = looks_thumb(f->img, fn.addr, fn.size);
        bool ok = a->origin == FROM_PIECE ? push_piece(f, &fn)
                                          : set_names(f, &fn, a, f->starts.v + j) && push_function(f, &fn);
        if (!ok)
            return false;
    }
    return true;
}

int bk_functions_find(struct bk_functions **out, const struct bk_image *img, struct bk_error *err)
{
    *out = NULL;
    struct finder f = {.img = img, .out = bk_calloc(1, sizeof *f.out)};
    if (!f.out)
        return bk_fail_nomem(err, sizeof *f.out);
    f.out->pub.image = img;
    f.out->arena = bk_arena_new();
    bool ok = f.out->arena && collect(&f);
    if (ok) {
        drop_covered(&f);
        ok = build(&f);
    }
    free(f.starts.v);
    free(f.stops.v);
    free(f.code);
    f.out->pub.v = f.out->list.v;
    f.out->pub.n = f.out->list.n;
    if (!ok) {
        bk_functions_free(&f.out->pub);
        return bk_fail_nomem(err, img->n_symbols * sizeof(struct start));
    }
    *out = &f.out->pub;
    return BK_OK;
}

void bk_functions_free(struct bk_functions *pub)
{
    if (!pub)
        return;
    struct functions *f = (struct functions *)pub;
    free(f->list.v);
    free(f->pieces.v);
    bk_arena_free(f->arena);
    free(f);
}

size_t bk_functions_at(const struct bk_functions *f, uint64_t addr)
{
    size_t lo = 0, hi = f->n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (f->v[mid].addr <= addr)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo > 0 && addr - f->v[lo - 1].addr < f->v[lo - 1].size ? lo - 1 : SIZE_MAX;
}

bool bk_in_piece(const struct bk_functions *pub, uint64_t addr)
{
    const struct functions *f = (const struct functions *)pub;
    size_t lo = 0, hi = f->pieces.n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (f->pieces.v[mid].begin <= addr)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo > 0 && addr < f->pieces.v[lo - 1].end;
}
