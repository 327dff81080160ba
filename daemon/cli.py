"""The command line: `longwatch run|demo|check-config|train|models|backtest|look|forecast|explain|version`.

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
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from daemon.commands.past import Choice

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
        "models": _models,
        "backtest": _backtest,
        "look": _look,
        "forecast": _forecast,
        "explain": _explain,
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
    run.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    demo = verbs.add_parser("demo", help="a real Kafka broker, a simulated fleet with faults, and the daemon on them")
    demo.add_argument("--seconds", type=float, default=75.0, help="how long the live part takes (default %(default)g)")
    demo.add_argument("--keep", action="store_true", help="leave the working directory for a look")
    check = verbs.add_parser("check-config", help="say everything that is wrong with a configuration")
    check.add_argument("config", type=Path, metavar="CONFIG")
    check.add_argument("--connect", action="store_true", help="also ask the broker about the topics")
    _add_train(verbs.add_parser("train", help="learn a model from a topic's history or from files"))
    _add_models(verbs.add_parser("models", help="list the trained models, look at one, promote one, or go back"))
    _add_backtest(verbs.add_parser("backtest", help="score a file through the same step as the daemon's"))
    _add_look(verbs.add_parser("look", help="show what went on inside the detector while it read a file"))
    _add_forecast(verbs.add_parser("forecast", help="say what a file's stream will do next, with bounds"))
    _add_explain(verbs.add_parser("explain", help="say why an alert opened, and compute its score again"))
    verbs.add_parser("version", help="print the version")
    return parser


def _add_train(train: argparse.ArgumentParser) -> None:
    train.add_argument("config", type=Path, metavar="CONFIG")
    train.add_argument("--group", help="which group (default: the first)")
    train.add_argument("--input", type=Path, action="append", metavar="FILE", help="CSV, JSON lines or Parquet; repeat")
    train.add_argument("--output", type=Path, metavar="FILE", help="write the artefact here; without it, publish it")
    train.add_argument("--from-offset", type=int, metavar="N", help="first input offset of each partition")
    train.add_argument("--to-offset", type=int, metavar="N", help="input offset after the last of each partition")
    train.add_argument("--checkpoint", type=Path, metavar="FILE", help="keep here, after each epoch, how far it is")
    train.add_argument("--resume", type=Path, metavar="FILE", help="go on from a checkpoint, and keep it up to date")
    train.add_argument("--plot", type=Path, metavar="FILE", help="draw losses and gradient norms here, as SVG")
    train.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    train.add_argument("--cause", choices=("schedule", "drift", "operator"), default="operator", help=argparse.SUPPRESS)


def _add_models(models: argparse.ArgumentParser) -> None:
    actions = models.add_subparsers(dest="action", required=True, metavar="ACTION")
    helps = {
        "list": "all models of the topic, the current one marked",
        "show": "where a model came from, and what its trial found",
        "promote": "let a group score with this model, refused or not",
        "rollback": "let a group score with the model before the current one",
    }
    for name, text in helps.items():
        action = actions.add_parser(name, help=text)
        action.add_argument("config", type=Path, metavar="CONFIG")
        if name in {"show", "promote"}:
            action.add_argument("model_id", metavar="MODEL", help="its id, or enough of it")
        action.add_argument("--group", help="which group (rollback: needed when there are several)")
        action.add_argument("--json", action="store_true", help="for programs")


def _add_backtest(backtest: argparse.ArgumentParser) -> None:
    backtest.add_argument(
        "--input", type=Path, required=True, metavar="FILE", help="CSV (also .gz), JSON lines or Parquet"
    )
    backtest.add_argument("--output", type=Path, required=True, metavar="FILE", help="rows of timestamp,score,alert")
    backtest.add_argument("--config", type=Path, metavar="FILE", help="default: the shipped settings")
    backtest.add_argument("--train-rows", type=int, default=0, metavar="N", help="learn from the first N rows")


def _add_past(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--input", type=Path, required=True, metavar="FILE", help="CSV (also .gz), JSON lines or Parquet")
    verb.add_argument("--config", type=Path, metavar="FILE", help="default: the shipped settings")
    model = verb.add_mutually_exclusive_group()
    model.add_argument("--model", type=Path, metavar="FILE", help="an artefact of `longwatch train --output`")
    model.add_argument("--train-rows", type=int, default=0, metavar="N", help="learn from the first N rows")
    model.add_argument("--day-zero", action="store_true", help="never train (default: on the way, as the daemon does)")


def _add_look(look: argparse.ArgumentParser) -> None:
    _add_past(look)
    look.add_argument("--rows", metavar="FIRST:END", help="which rows, from 0 (default: the last 500)")
    look.add_argument("--plot", type=Path, metavar="FILE.svg", help="values, scores and the cell's inside, to look at")
    look.add_argument("--output", type=Path, metavar="FILE", help="the same as numbers: .npz, .json or .csv")


def _add_forecast(forecast: argparse.ArgumentParser) -> None:
    _add_past(forecast)
    forecast.add_argument("--steps", type=int, default=12, metavar="K", help="samples ahead (default %(default)d)")
    forecast.add_argument(
        "--coverage", type=float, default=0.9, metavar="SHARE", help="of the time the bounds hold (default %(default)g)"
    )
    forecast.add_argument("--channel", action="append", metavar="NAME", help="print and plot only this one; repeat")
    forecast.add_argument("--plot", type=Path, metavar="FILE.svg", help="the end of the past and what comes next")
    forecast.add_argument("--output", type=Path, metavar="FILE.csv", help="all channels as numbers")


def _add_explain(explain: argparse.ArgumentParser) -> None:
    explain.add_argument("alert_id", nargs="?", default="", metavar="ALERT", help="its id, or enough of it")
    explain.add_argument("--config", type=Path, metavar="FILE", help="where its topics are: alerts and models")
    explain.add_argument("--file", type=Path, metavar="FILE", help="take the event from here; - is standard input")
    explain.add_argument("--model", type=Path, metavar="FILE", help="the artefact that scored, if its topic lost it")
    explain.add_argument("--plot", type=Path, metavar="FILE.svg", help="the last samples and what had been expected")
    explain.add_argument("--json", action="store_true", help="for programs")


def _run(arguments: argparse.Namespace) -> int:
    from daemon.commands.run import run

    return run(arguments.config, os.environ, sys.stderr, arguments.worker)


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
    from daemon.commands.saves import Saves
    from daemon.commands.train import TrainArguments, train

    chosen = TrainArguments(
        config=arguments.config,
        group=arguments.group,
        files=tuple(arguments.input or ()),
        output=arguments.output,
        first_offset=arguments.from_offset,
        end_offset=arguments.to_offset,
        saves=Saves(arguments.checkpoint or arguments.resume, arguments.resume, arguments.plot),
        child=arguments.child,
        cause=arguments.cause,
    )
    return train(chosen, os.environ, sys.stdout, sys.stderr)


def _models(arguments: argparse.Namespace) -> int:
    from daemon.commands.models import ModelsArguments, models

    name = getattr(arguments, "model_id", "")
    chosen = ModelsArguments(arguments.action, arguments.config, name, arguments.group, arguments.json)
    return models(chosen, os.environ, sys.stdout, sys.stderr)


def _backtest(arguments: argparse.Namespace) -> int:
    from daemon.commands.backtest import main as backtest

    return backtest(arguments.input, arguments.output, arguments.config, arguments.train_rows)


def _past(arguments: argparse.Namespace) -> Choice:
    from daemon.commands.past import Choice

    return Choice(arguments.input, arguments.config, arguments.model, arguments.train_rows, arguments.day_zero)


def _look(arguments: argparse.Namespace) -> int:
    from daemon.commands.look import LookArguments, look

    return look(LookArguments(_past(arguments), arguments.rows, arguments.plot, arguments.output))


def _forecast(arguments: argparse.Namespace) -> int:
    from daemon.commands.forecast import ForecastArguments, forecast

    chosen = ForecastArguments(
        choice=_past(arguments),
        steps=arguments.steps,
        coverage=arguments.coverage,
        channels=tuple(arguments.channel or ()),
        plot=arguments.plot,
        output=arguments.output,
    )
    return forecast(chosen)


def _explain(arguments: argparse.Namespace) -> int:
    from daemon.commands.explain import ExplainArguments, Streams, explain

    chosen = ExplainArguments(
        alert_id=arguments.alert_id,
        config=arguments.config,
        file=arguments.file,
        model=arguments.model,
        plot=arguments.plot,
        json=arguments.json,
    )
    return explain(chosen, os.environ, Streams(sys.stdin.buffer, sys.stdout, sys.stderr))


def _version(_arguments: argparse.Namespace) -> int:
    from daemon import __version__

    print(__version__)
    return 0
