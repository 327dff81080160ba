"""The command line: `longwatch run|demo|check-config|train|backtest|version`.

Exit codes: 0 done; 1 the work failed, the text says why; 2 wrong usage; 75 draining took longer than
`shutdown_seconds` (nothing is lost); 78 the configuration or a topic is wrong, trying again will not help.
Whatever a verb needs is imported when it runs, so that `longwatch --help` answers at once.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

EXIT_FAILED = 1
EXIT_CONFIG = 78


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit code."""
    arguments = _parser().parse_args(argv)
    verbs = {
        "run": _run,
        "demo": _demo,
        "check-config": _check_config,
        "train": _train,
        "backtest": _backtest,
        "version": _version,
    }
    return verbs[arguments.verb](arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="longwatch",
        description="Watches metrics as they flow through Kafka and says which stopped behaving as they used to.",
        epilog="Exit codes: 0 done, 1 failed, 2 usage, 75 draining took too long, 78 configuration or topic is wrong.",
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    run = verbs.add_parser("run", help="run the daemon")
    run.add_argument("config", type=Path, metavar="CONFIG")
    demo = verbs.add_parser("demo", help="a real Kafka broker, a simulated fleet with faults, and the daemon on them")
    demo.add_argument("--seconds", type=float, default=75.0, help="how long the live part takes (default %(default)g)")
    demo.add_argument("--keep", action="store_true", help="leave the working directory for a look")
    check = verbs.add_parser("check-config", help="say everything that is wrong with a configuration")
    check.add_argument("config", type=Path, metavar="CONFIG")
    check.add_argument("--connect", action="store_true", help="also ask the broker about the topics")
    _add_train(verbs.add_parser("train", help="learn a model from a topic's history or from files"))
    _add_backtest(verbs.add_parser("backtest", help="score a file through the same step as the daemon's"))
    verbs.add_parser("version", help="print the version")
    return parser


def _add_train(train: argparse.ArgumentParser) -> None:
    train.add_argument("config", type=Path, metavar="CONFIG")
    train.add_argument("--group", help="which group (default: the first)")
    train.add_argument("--input", type=Path, action="append", metavar="FILE", help="CSV, JSON lines or Parquet; repeat")
    train.add_argument("--output", type=Path, metavar="FILE", help="write the artefact here; without it, publish it")
    train.add_argument("--from-offset", type=int, metavar="N", help="first input offset of each partition")
    train.add_argument("--to-offset", type=int, metavar="N", help="input offset after the last of each partition")
    train.add_argument("--child", action="store_true", help=argparse.SUPPRESS)


def _add_backtest(backtest: argparse.ArgumentParser) -> None:
    backtest.add_argument(
        "--input", type=Path, required=True, metavar="FILE", help="CSV (also .gz), JSON lines or Parquet"
    )
    backtest.add_argument("--output", type=Path, required=True, metavar="FILE", help="rows of timestamp,score,alert")
    backtest.add_argument("--config", type=Path, metavar="FILE", help="default: the shipped settings")
    backtest.add_argument("--train-rows", type=int, default=0, metavar="N", help="learn from the first N rows")


def _run(arguments: argparse.Namespace) -> int:
    from daemon.commands.run import run

    return run(arguments.config, os.environ, sys.stderr)


def _demo(arguments: argparse.Namespace) -> int:
    from daemon.demo.run import demo

    return demo(arguments.seconds, keep=arguments.keep)


def _check_config(arguments: argparse.Namespace) -> int:
    from daemon.commands.check_config import check_config

    if not arguments.connect:
        return check_config(arguments.config, None, os.environ, sys.stdout)
    from daemon.assembly import connected

    return check_config(arguments.config, connected, os.environ, sys.stdout)


def _train(arguments: argparse.Namespace) -> int:
    from daemon.commands.train import TrainArguments, train

    chosen = TrainArguments(
        config=arguments.config,
        group=arguments.group,
        files=tuple(arguments.input or ()),
        output=arguments.output,
        first_offset=arguments.from_offset,
        end_offset=arguments.to_offset,
        child=arguments.child,
    )
    return train(chosen, os.environ, sys.stdout, sys.stderr)


def _backtest(arguments: argparse.Namespace) -> int:
    from daemon.commands.backtest import main as backtest

    return backtest(arguments.input, arguments.output, arguments.config, arguments.train_rows)


def _version(_arguments: argparse.Namespace) -> int:
    from daemon import __version__

    print(__version__)
    return 0
