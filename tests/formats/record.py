"""Records anew what real producers write: `python -m tests.formats.record [PROGRAM ...]`, each a name or a path.

Without arguments every producer that is installed is run for some seconds, against an embedded broker. No package
brings Telegraf (it needs the inputs mem and system, the outputs file and kafka) and the OpenTelemetry collector (the
receivers hostmetrics and otlp, the exporters file and kafka): they are built from source. What is written by hand, its
producer being out of reach, stays as it is.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from daemon.embedded import EmbeddedBroker
from tests.formats.producers import PRODUCERS, Place
from tests.formats.recording import GOLDEN, check, written


def main(programs: list[str]) -> None:
    """Run the producers and write a file for each topic that they filled."""
    with EmbeddedBroker() as broker:
        for program in programs or [name for name in PRODUCERS if shutil.which(name)]:
            name = Path(program).name
            with tempfile.TemporaryDirectory() as folder:
                place = Place(broker.bootstrap, f"{name}-", Path(folder))
                for each in PRODUCERS[name][1](shutil.which(program) or program, place):
                    check(each)
                    suffix = "-cloudevents" if each.input.get("envelope") else ""
                    (GOLDEN / f"{name}-{each.format}{suffix}.json").write_text(written(each), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
