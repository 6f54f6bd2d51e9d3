#include "base/base.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

#if defined(__SSE__)
#include <xmmintrin.h>
#endif

#define MAX_THREADS 256

struct job {
    bk_par_fn *fn;
    void *ctx;
    size_t n;
    atomic_size_t next; /* the first item nobody has taken */
};

struct worker {
    struct job *job;
    unsigned index;
    pthread_t thread;
};

/* Never moves `next` beyond n, so that it cannot wrap for an n near SIZE_MAX. */
static bool take_item(struct job *job, size_t *item)
{
    size_t i = atomic_load_explicit(&job->next, memory_order_relaxed);
    do {
        if (i >= job->n)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&job->next, &i, i + 1, memory_order_relaxed, memory_order_relaxed));
    *item = i;
    return true;
}

static void *work(void *arg)
{
    struct worker *w = arg;
    for (size_t item; take_item(w->job, &item);)
        w->job->fn(w->job->ctx, item, w->index);
    return NULL;
}

void bk_par_for(size_t n, unsigned threads, bk_par_fn *fn, void *ctx)
{
    struct job job = {.fn = fn, .ctx = ctx, .n = n};
    struct worker worker[MAX_THREADS];
    unsigned want = bk_par_threads(threads);
    if (want > n)
        want = n ? (unsigned)n : 1;
    worker[0] = (struct worker){.job = &job, .index = 0};
    unsigned running = 1; /* worker 0 is the caller */
    for (; running < want; running++) {
        struct worker *w = &worker[running];
        *w = (struct worker){.job = &job, .index = running};
        /* A thread starts with the floating-point state of its creator (POSIX, pthread_create). */
        if (pthread_create(&w->thread, NULL, work, w))
            break; /* the work is taken by those that run */
    }
    work(&worker[0]);
    for (unsigned i = 1; i < running; i++)
        pthread_join(worker[i].thread, NULL);
}

unsigned bk_par_threads(unsigned asked)
{
    if (asked == 0) {
        cpu_set_t set;
        long n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : sysconf(_SC_NPROCESSORS_ONLN);
        asked = n < 1 ? 1 : n > MAX_THREADS ? MAX_THREADS : (unsigned)n;
    }
    return asked < MAX_THREADS ? asked : MAX_THREADS;
}

bool bk_once(struct bk_once *once, bool (*fn)(void *ctx), void *ctx)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    if (__atomic_load_n(&once->done, __ATOMIC_ACQUIRE))
        return true;
    pthread_mutex_lock(&lock);
    bool done = once->done || fn(ctx);
    __atomic_store_n(&once->done, done, __ATOMIC_RELEASE);
    pthread_mutex_unlock(&lock);
    return done;
}

#if defined(__SSE__)
#define MXCSR_FTZ 0x8000u
#define MXCSR_DAZ 0x0040u

unsigned bk_fpu_flush_denormals(void)
{
    unsigned state = _mm_getcsr();
    _mm_setcsr(state | MXCSR_FTZ | MXCSR_DAZ);
    return state;
}

void bk_fpu_restore(unsigned state)
{
    _mm_setcsr(state);
}

#elif defined(__aarch64__)
#define FPCR_FZ (1u << 24)

static uint64_t fpcr(void)
{
    uint64_t v;
    __asm__ volatile("mrs %0, fpcr" : "=r"(v));
    return v;
}

static void set_fpcr(uint64_t v)
{
    __asm__ volatile("msr fpcr, %0" : : "r"(v));
}

unsigned bk_fpu_flush_denormals(void)
{
    unsigned state = (unsigned)fpcr();
    set_fpcr(state | FPCR_FZ);
    return state;
}

void bk_fpu_restore(unsigned state)
{
    set_fpcr(state);
}

#else

unsigned bk_fpu_flush_denormals(void)
{
    return 0;
}
void bk_fpu_restore(unsigned state)
{
    (void)state;
}

#endif

double bk_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}
