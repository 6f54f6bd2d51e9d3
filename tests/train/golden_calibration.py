#!/usr/bin/env python3
"""Writes golden_calibration.h: isotonic fits as scikit-learn's IsotonicRegression makes them, reliability as its calibration_curve.

Run by hand with Debian's python3-sklearn; the tests read only what it wrote.
    python3 golden_calibration.py > golden_calibration.h
"""
import numpy as np
from sklearn.calibration import calibration_curve
from sklearn.isotonic import IsotonicRegression


def numbers(values):
    return ", ".join("%.17g" % v for v in values)


rng = np.random.RandomState(3)
fits = [("noisy", np.sort(rng.rand(25)) + rng.randn(25) * 0.3, rng.rand(25) + 0.1),
        ("falling", -np.arange(25.0), rng.rand(25) + 0.1),
        ("rising", np.arange(25.0), rng.rand(25) + 0.1),
        ("ties", rng.randint(0, 4, 25).astype(float), np.ones(25)),
        ("halving weights", np.exp(np.linspace(-5, 5, 25) + rng.randn(25)), 0.5 ** np.arange(25))]
print("/* Written by golden_calibration.py with scikit-learn; not edited by hand. */")
print("static const struct golden_fit golden_fits[] = {")
for name, y, w in fits:
    fit = IsotonicRegression().fit_transform(np.arange(25), y, sample_weight=w)
    print('    {"%s", {%s}, {%s}, {%s}},' % (name, numbers(y), numbers(w), numbers(fit)))
print("};")
p = np.concatenate([rng.rand(190) ** 2, np.arange(10) / 10.0])
p = np.where((p > 0.6) & (p <= 0.7), 0.65 - 0.2, p)  # one bin stays empty
y = rng.rand(200) < p ** 1.5
right, predicted = calibration_curve(y, p, n_bins=10, strategy="uniform")
bins = np.searchsorted(np.linspace(0, 1, 11)[1:-1], p)
filled = [b for b in range(10) if (bins == b).any()]
n = np.bincount(bins, minlength=10)
print("static const double golden_probability[200] = {%s};" % numbers(p))
print("static const bool golden_right[200] = {%s};" % ", ".join(str(int(v)) for v in y))
print("static const size_t golden_n[10] = {%s};" % ", ".join(str(v) for v in n))
full = np.zeros((2, 10))
full[0][filled], full[1][filled] = predicted, right
print("static const double golden_predicted[10] = {%s};" % numbers(full[0]))
print("static const double golden_share[10] = {%s};" % numbers(full[1]))
print("static const double golden_ece = %.17g;" % np.average(np.abs(full[0] - full[1]), weights=n))
