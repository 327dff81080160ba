"""The words around the tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from benchmarks.accuracy.corpora import Series
from benchmarks.accuracy.table import Table

NAMES: Final = {
    "nab": "NAB, the Numenta Anomaly Benchmark",
    "asd": "ASD, application servers",
    "smd": "SMD, server machines",
    "skab": "SKAB, the Skoltech benchmark",
}


def title(corpus: str, series: Sequence[Series]) -> str:
    """Return what stands above a corpus' table."""
    judged = sum(len(each.labels) - each.judged_from for each in series)
    stretches = sum(sum(end >= each.judged_from for _, end in each.spans) for each in series)
    return f"{NAMES[corpus]}: {len(series)} files, {judged:,} samples judged, {stretches} labelled stretches"


def document(tables: Sequence[Table]) -> str:
    """Return the page of the documentation with `tables` in it."""
    return "\n\n".join([HEAD.strip(), *(table.markdown() for table in tables), FOOT.strip()]) + "\n"


HEAD: Final = """
# Accuracy

Written by `make accuracy DATA=DIR ARGS="--write docs/accuracy.md"`; see
[benchmarks/accuracy](../benchmarks/README.md#accuracy). Every detector goes through the same smoothing, tail, threshold
and alarm logic, causally and with one setting for all files: the shipped one. A value is the median over the seeds. The
last column is how far `ours` is ahead, with the interval that holds 95 of 100 draws when files and seeds are drawn
anew, for both together.
"""

FOOT: Final = """
## What the columns are

- **standard, low_fp, low_fn**: the score of NAB's three profiles; what counts is the sample at which an alert opens, at
  the shipped level 1.0. **swept**: at the one level, for all files, that would have been best for these very labels.
- **windows hit**: labelled windows in which an alert opened.
- **VUS-PR**: the volume under the precision-recall surface (Paparrizos et al. 2022), with buffers up to 100 samples.
- **best F1**: F1 by samples at each file's best threshold, which nobody can know. **F1/best**: what is reached of it
  without labels, by the samples under an open alert or by those with a score of at least 1.
- **recall**: labelled stretches during which an alert was open; **recall opened**: in which one opened.
- **false/1440**: alerts that touched no labelled sample, for every 1,440 samples; on NAB, those that opened outside the
  windows. **worst**: on the file where it is highest.
- **F1, FAR, MAR** (SKAB): samples with a score of at least 1, all files together; in per cent, how many of the good
  ones were flagged and how many of the bad ones were not.

No figure is point-adjusted: with that adjustment a random score looks excellent.

`ours` is trained as `longwatch backtest` trains it; `ours-day-zero` goes on with the random weights of the first hours,
and `lstm-alone` has nothing but the errors of the trained network's forecasts. `ours-pooled` is trained once on all
files of a corpus together, as a group of streams is. Where a name says `continual`, the weights are each file's own and
learn on (`model.scope: stream`, `learning: continual`). The others: Hotelling's T-squared, principal components,
nearest neighbours, ridge VAR(3) and the same by recursive least squares, AR(12) by channel, persistence, a moving
Gaussian, an exponential average; half-space trees (river), random cut forest (rrcf), isolation forest (scikit-learn)
and an LSTM autoencoder (numalogic).
"""
