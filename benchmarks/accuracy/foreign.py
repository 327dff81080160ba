"""Run by the packages' own interpreter: reads scaled values, writes one score for each sample. Imports nothing of ours.

python foreign.py NAME SEED GIVEN.npz MADE.npz
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

F = NDArray[np.float64]

LAGS = 3  # samples of a single channel seen at once
TREES_FOREST, TREES_HALF_SPACE, TREES_CUT = 100, 10, 8
SAMPLES_CUT, WINDOW_HALF_SPACE = 128, 250
EPOCHS, BATCH, SEQUENCE, EMBEDDING = 30, 64, 12, 16  # of the LSTM autoencoder


def seen(z: F) -> F:
    """Return what a detector sees at once: all channels, or the last samples of a single one."""
    if z.shape[1] > 1:
        return z
    padded = np.concatenate([np.repeat(z[:1], LAGS - 1, axis=0), z])
    return np.concatenate([padded[lag : lag + len(z)] for lag in range(LAGS)], axis=1)


def half_space_trees(z: F, fit_rows: int, seed: int) -> F:
    """Return the scores of river's half-space trees, which go on learning."""
    from river.anomaly import HalfSpaceTrees

    low, high = z[:fit_rows].min(axis=0), z[:fit_rows].max(axis=0)
    unit = np.clip((z - low) / np.maximum(high - low, 1e-9) * 0.5 + 0.25, 0.0, 1.0)  # room above and below
    model: Any = HalfSpaceTrees(n_trees=TREES_HALF_SPACE, window_size=min(WINDOW_HALF_SPACE, fit_rows), seed=seed)
    names, scores = [f"{i:02}" for i in range(z.shape[1])], np.empty(len(z))
    for t, row in enumerate(unit.tolist()):
        sample = dict(zip(names, row, strict=True))
        scores[t] = model.score_one(sample)
        model.learn_one(sample)
    return scores


def cut_forest(z: F, _fit_rows: int, seed: int) -> F:
    """Return the displacements that a robust random cut forest of the last samples sees in the next one."""
    import rrcf

    trees: list[Any] = [rrcf.RCTree(random_state=seed * TREES_CUT + i) for i in range(TREES_CUT)]
    scores = np.zeros(len(z))
    for t, point in enumerate(z):
        for tree in trees:
            if len(tree.leaves) >= SAMPLES_CUT:
                tree.forget_point(t - SAMPLES_CUT)
            tree.insert_point(point, index=t)
            scores[t] += tree.codisp(t) / TREES_CUT
    return scores


def isolation_forest(z: F, fit_rows: int, seed: int) -> F:
    """Return the scores of scikit-learn's isolation forest of the first rows."""
    from sklearn.ensemble import IsolationForest

    model: Any = IsolationForest(n_estimators=TREES_FOREST, random_state=seed).fit(z[:fit_rows])
    return -np.asarray(model.score_samples(z), dtype=np.float64)


def numalogic_autoencoder(z: F, fit_rows: int, seed: int) -> F:
    """Return the errors of the newest sample of each window, as numalogic's LSTM autoencoder of the first rows sees it.

    Its trainer's own prediction averages over all windows that hold a sample, the later ones too: that looks ahead.
    """
    import torch
    from numalogic.models.autoencoder import TimeseriesTrainer
    from numalogic.models.autoencoder.variants import LSTMAE
    from numalogic.tools.data import StreamingDataset
    from torch.utils.data import DataLoader

    torch.manual_seed(seed)
    torch.set_num_threads(1)
    data = np.concatenate([np.repeat(z[:1], SEQUENCE - 1, axis=0), z]).astype(np.float32)
    model: Any = LSTMAE(seq_len=SEQUENCE, no_features=z.shape[1], embedding_dim=EMBEDDING)
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    trainer: Any = TimeseriesTrainer(max_epochs=EPOCHS, accelerator="cpu", logger=False, **quiet)
    first = StreamingDataset(data[: fit_rows + SEQUENCE - 1], seq_len=SEQUENCE)
    trainer.fit(model, train_dataloaders=DataLoader(first, batch_size=BATCH))
    errors = []
    with torch.no_grad():
        for batch in DataLoader(StreamingDataset(data, seq_len=SEQUENCE), batch_size=16 * BATCH):
            _, told = model.eval()(batch)
            errors.append((told - batch)[:, -1].square().mean(dim=1))
    return torch.cat(errors).numpy().astype(np.float64)


DETECTORS: dict[str, Callable[[F, int, int], F]] = {
    "hst": half_space_trees,
    "rrcf": cut_forest,
    "iforest": isolation_forest,
    "numalogic": numalogic_autoencoder,
}


def main(name: str, seed: int, given: str, made: str) -> None:
    """Score every series of `given` and write the scores to `made`."""
    with np.load(given) as held:
        fit_rows = held["fit_rows"].tolist()
        series = [held[f"z{i}"] for i in range(len(fit_rows))]
    scores = [DETECTORS[name](seen(z), rows, seed) for z, rows in zip(series, fit_rows, strict=True)]
    np.savez(made, allow_pickle=False, **{f"s{i}": score for i, score in enumerate(scores)})


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4])
