"""Two groups that share the input: one scores with a model that was published before, the other without any."""

from __future__ import annotations

import csv
import os
import sys
from pathlib import Path
from typing import Any

from daemon.commands.train import TrainArguments, train
from tests.e2e import feed
from tests.e2e.process import group

LEARNT, UNTAUGHT = "learnt", "untaught"
STREAMS = 6
HISTORY_TICKS = 400


def halves() -> list[dict[str, Any]]:
    """Return the settings of both groups; the first streams belong to the one with the model."""
    training = {"min_samples": 1000, "epochs_max": 3}
    selected = [f'name=~"load_0[0-{STREAMS - 1}]"']
    return [group(name=LEARNT, select=selected, training=training), group(name=UNTAUGHT)]


def publish_model(config: Path, folder: Path) -> None:
    """Learn from the first streams as they are without faults, and publish what was learnt."""
    files = []
    for stream in range(STREAMS):
        path = folder / f"{feed.name(stream)}.csv"
        with path.open("w", encoding="utf-8", newline="") as out:
            rows = csv.writer(out)
            rows.writerow(("timestamp", "value"))
            for tick, value in enumerate(feed.values(stream, HISTORY_TICKS, faults=False)):
                rows.writerow((feed.START_MS + tick * feed.INTERVAL_MS, value))
        files.append(path)
    assert train(TrainArguments(config, LEARNT, tuple(files)), os.environ, sys.stdout, sys.stderr) == 0
