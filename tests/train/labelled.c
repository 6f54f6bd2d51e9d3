/* Compiled at several levels when the tests are built; not part of any program. What is special about a function is said with it. */
int count_words(const char *s);
int also_counts_words(const char *s);
int twin_one(int x);
int twin_two(int x);
int half_of(int x) __asm__("half_of.constprop.0"); /* the name of a clone: its label is half_of */
void nothing(void);
int sum_of_squares(const int *v, int n);
int long_one(int x);
volatile int sink;

int count_words(const char *s)
{
    int n = 0, inside = 0;
    for (; *s; s++) {
        if (*s == ' ' || *s == '\n')
            inside = 0;
        else if (!inside) {
            inside = 1;
            n++;
        }
    }
    return n;
}

/* Two names of one address are one function. */
int also_counts_words(const char *s) __attribute__((alias("count_words")));

/* The same words under two labels. */
int twin_one(int x)
{
    return x * 5 - 3;
}

int twin_two(int x)
{
    return x * 5 - 3;
}

int half_of(int x)
{
    return x / 2 + sink;
}

void nothing(void) {}

static __attribute__((noinline)) int hidden(int x)
{
    sink = x;
    return sink * x;
}

int sum_of_squares(const int *v, int n)
{
    int sum = 0;
    for (int i = 0; i < n; i++)
        sum += hidden(v[i]);
    return sum;
}

#define X10(x)   x x x x x x x x x x
#define X1000(x) X10(X10(X10(x)))

/* More instructions than a data set keeps. */
int long_one(int x)
{
    X1000(sink += x;)
    return sink;
}
