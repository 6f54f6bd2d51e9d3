#!/usr/bin/env python3
"""Writes golden_schedule.h: the rates of PyTorch's schedulers LinearLR, then CosineAnnealingLR.

Run by hand with Debian's python3-torch; the tests read only what it wrote.
    python3 golden_schedule.py > golden_schedule.h
"""
import warnings

import torch

warnings.simplefilter("ignore")  # no optimizer steps here


def rates(rate, steps, scheduler, *args, **options):
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=rate)
    s, out = scheduler(optimizer, *args, **options), []
    for _ in range(steps):
        out.append(optimizer.param_groups[0]["lr"])
        s.step()
    return out


def schedule(rate, steps, warmup):
    rising = []
    if warmup:
        rising = rates(rate, warmup, torch.optim.lr_scheduler.LinearLR, start_factor=1 / warmup, total_iters=max(warmup - 1, 1))
    falling = rates(rate, steps - warmup + 1, torch.optim.lr_scheduler.CosineAnnealingLR, steps - warmup, eta_min=rate / 100)
    return rising + falling[1:]


print("/* Written by golden_schedule.py with PyTorch; not edited by hand. */")
print("static const struct golden goldens[] = {")
for rate, steps, warmup in ((0.001, 20, 5), (0.25, 13, 0), (3e-4, 11, 1), (1.0, 9, 8)):
    numbers = ", ".join(f"{x:.15g}" for x in schedule(rate, steps, warmup))
    print(f"    {{{rate!r}, {steps}, {warmup}, {{{numbers}}}}},")
print("};")
