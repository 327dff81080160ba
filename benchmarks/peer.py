"""Run by a peer's own interpreter: lets it score samples, one after the other as they come. Imports nothing of ours.

python peer.py NAME SAMPLES [BOOTSTRAP TOPIC]

It prints the processor seconds of a sample; of a pipeline on Kafka the seconds.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any

WINDOW, HIDDEN, CODE, CHANNELS = 16, 16, 6, 1
TREES_CUT, SAMPLES_CUT = 40, 256  # as its documentation has it

Score = Callable[[float], float]


def autoencoder() -> Any:  # noqa: ANN401  # a torch module, which this may not import before it is wanted
    """Return an LSTM autoencoder of the size that Longwatch ships: encoder, code, window told at once."""
    import torch

    class Autoencoder(torch.nn.Module):
        """Reads windows (W, B, D) and tells them."""

        def __init__(self) -> None:
            super().__init__()
            self.encoder = torch.nn.LSTM(CHANNELS, HIDDEN)
            self.code, self.wide = torch.nn.Linear(HIDDEN, CODE), torch.nn.Linear(CODE, HIDDEN)
            self.out = torch.nn.Linear(HIDDEN, WINDOW * CHANNELS)

        def forward(self, x: Any) -> Any:  # noqa: ANN401
            """Return what is told of `x`."""
            _, (h, _) = self.encoder(x)
            told = self.out(torch.tanh(self.wide(torch.tanh(self.code(h[0])))))
            return told.view(x.shape[1], -1, CHANNELS).transpose(0, 1)[: len(x)]

    torch.manual_seed(0)
    torch.set_num_threads(1)
    return Autoencoder().eval()


def half_space_trees() -> Score:
    """Return river's half-space trees as they are shipped, which score and learn."""
    from river.anomaly import HalfSpaceTrees

    return _scored_and_learnt(HalfSpaceTrees(seed=0))


def cut_forest() -> Score:
    """Return a robust random cut forest of a few trees of the last samples."""
    import rrcf

    trees: list[Any] = [rrcf.RCTree(random_state=number) for number in range(TREES_CUT)]
    count = 0

    def score(value: float) -> float:
        nonlocal count
        found = 0.0
        for tree in trees:
            if len(tree.leaves) >= SAMPLES_CUT:
                tree.forget_point(count - SAMPLES_CUT)
            tree.insert_point((value,), index=count)
            found += tree.codisp(count) / TREES_CUT
        count += 1
        return found

    return score


def rolling_autoencoder() -> Score:
    """Return deep-river's rolling autoencoder, which scores and learns from each window."""
    from deep_river.anomaly import RollingAutoencoder

    return _scored_and_learnt(RollingAutoencoder(module=autoencoder(), window_size=WINDOW, optimizer_fn="adam"))


def _scored_and_learnt(model: Any) -> Score:  # noqa: ANN401  # river's way, which is typed in its own environment only
    def score(value: float) -> float:
        sample = {"value": value}
        found: float = model.score_one(sample)
        model.learn_one(sample)
        return found

    return score


def numalogic() -> Score:
    """Return numalogic's steps for one message: scaler, LSTM autoencoder, threshold, and its own idea of a score."""
    import numpy as np
    import torch
    from numalogic.models.autoencoder.variants import LSTMAE
    from numalogic.models.threshold import StdDevThreshold
    from numalogic.transforms import TanhNorm
    from sklearn.preprocessing import StandardScaler

    torch.manual_seed(0)
    torch.set_num_threads(1)
    past = np.random.default_rng(0).normal(50.0, 5.0, (500, CHANNELS))
    scaler, model = (
        StandardScaler().fit(past),
        LSTMAE(seq_len=WINDOW, no_features=CHANNELS, embedding_dim=HIDDEN).eval(),
    )
    threshold, norm = StdDevThreshold().fit(np.abs(past - 50.0)), TanhNorm()
    window: deque[float] = deque([50.0] * WINDOW, WINDOW)

    def score(value: float) -> float:
        window.append(value)
        x = scaler.transform(np.array(window)[:, None]).astype(np.float32)
        with torch.no_grad():
            _, told = model(torch.from_numpy(x[None]))
        error = np.abs(told[0].numpy() - x)
        return float(norm.transform(threshold.score_samples(error))[-1].mean())

    return score


def quixstreams(samples: int, bootstrap: str, topic: str) -> float:
    """Return the seconds of a message in a quixstreams pipeline that calls a torch model with each stream's window."""
    import uuid

    import torch
    from quixstreams import Application

    model, seen, began, windows = autoencoder(), 0, 0.0, dict[str, deque[float]]()
    app = Application(
        broker_address=bootstrap,
        consumer_group=uuid.uuid4().hex,
        auto_offset_reset="earliest",
        loglevel="ERROR",
        auto_create_topics=False,
    )

    def score(message: dict[str, Any]) -> None:
        nonlocal seen, began
        began = began or time.perf_counter()
        window = windows.setdefault(message["labels"]["host"], deque([50.0] * WINDOW, WINDOW))
        window.append(message["value"])
        x = torch.tensor(list(window))[:, None, None]
        with torch.no_grad():
            float((model(x) - x)[-1].abs().mean())
        seen += 1

    app.dataframe(app.topic(topic, value_deserializer="json")).apply(score)
    app.run(count=samples, timeout=60.0)
    return (time.perf_counter() - began) / seen


DETECTORS: dict[str, Callable[[], Score]] = {
    "hst": half_space_trees,
    "rrcf": cut_forest,
    "deep-river": rolling_autoencoder,
    "numalogic": numalogic,
}


def main(name: str, samples: int, *more: str) -> None:
    """Score so many samples and print what each took."""
    if name == "quixstreams":
        print(quixstreams(samples, *more))
        return
    score = DETECTORS[name]()
    for number in range(300):  # until its windows and trees are full
        score(50.0 + number * 7 % 101 / 10)
    began = time.process_time()
    for number in range(samples):
        score(50.0 + number * 13 % 101 / 10)
    print((time.process_time() - began) / samples)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
