/* names: what splits, axes, filters and baselines are called. */
#include "train.h"

#include <string.h>

#define NAME(id, name, about)  name,
#define ABOUT(id, name, about) about,

static const char *const splits[BK_SPLIT_BY_COUNT] = {"function", "source", "project", "file"};
static const char *const axes[] = {BK_AXES(NAME)}, *const axes_about[] = {BK_AXES(ABOUT)};
static const char *const identical_names[BK_IDENTICAL_COUNT] = {"keep", "words", "opcodes"};
static const char *const baselines[] = {BK_BASELINES(NAME)}, *const baselines_about[] = {BK_BASELINES(ABOUT)};

/* Of the n names that which is `name`; n: none. */
static unsigned find(const char *const *names, unsigned n, const char *name)
{
    unsigned i = 0;
    while (i < n && strcmp(names[i], name) != 0)
        i++;
    return i;
}

const char *bk_split_name(enum bk_split_by by)
{
    return splits[by];
}

bool bk_split_parse(enum bk_split_by *out, const char *name)
{
    *out = (enum bk_split_by)find(splits, BK_SPLIT_BY_COUNT, name);
    return *out != BK_SPLIT_BY_COUNT;
}

const char *bk_axis_name(enum bk_axis axis)
{
    return axes[axis];
}

const char *bk_axis_about(enum bk_axis axis)
{
    return axes_about[axis];
}

bool bk_axis_parse(enum bk_axis *out, const char *name)
{
    *out = (enum bk_axis)find(axes, BK_AXIS_COUNT, name);
    return *out != BK_AXIS_COUNT;
}

const char *bk_identical_name(enum bk_identical identical)
{
    return identical_names[identical];
}

bool bk_identical_parse(enum bk_identical *out, const char *name)
{
    *out = (enum bk_identical)find(identical_names, BK_IDENTICAL_COUNT, name);
    return *out != BK_IDENTICAL_COUNT;
}

const char *bk_baseline_name(enum bk_baseline baseline)
{
    return baselines[baseline];
}

const char *bk_baseline_about(enum bk_baseline baseline)
{
    return baselines_about[baseline];
}

bool bk_baseline_parse(enum bk_baseline *out, const char *name)
{
    *out = (enum bk_baseline)find(baselines, BK_BASELINE_COUNT, name);
    return *out != BK_BASELINE_COUNT;
}
