"""`longwatch run`: the daemon, until it is told to stop."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

from daemon.config import Config, load
from daemon.errors import ConfigError, Fenced, InputUnusable, RestoreStalled, TopicMismatch
from daemon.logs import Log, configure
from daemon.workers import Plan, supervise
from daemon.workers import count as workers_wanted

EXIT_OK, EXIT_FAILED, EXIT_CONFIG = 0, 1, 78


def run(config_path: Path, env: Mapping[str, str], err: TextIO, worker: int | None = None) -> int:
    """Run with the configuration at `config_path` and return the exit code: 0, 1 when fenced, 78 when it is wrong.

    Where it asks for several workers, this process looks after them, unless it is the `worker` of that number.
    """
    try:
        config = load(config_path, env)
    except ConfigError as error:
        err.writelines(f"{problem}\n" for problem in error.problems)
        return EXIT_CONFIG
    log = configure(config.logging.level, config.logging.format, err, {} if worker is None else {"worker": str(worker)})
    workers = workers_wanted(config.workers)
    if worker is None and workers > 1:
        plan = Plan(workers, config_path, config.server.listen, config.server.access(), config.shutdown_seconds)
        return supervise(plan, env, os.getpid(), log)
    return _run(config, config_path, log, worker)


def _run(config: Config, config_path: Path, log: Log, worker: int | None) -> int:
    from daemon import app  # torch is loaded only once the configuration is known to be good

    try:
        app.run(config, config_path, log, worker)
    except TopicMismatch as error:
        log.error("topic_mismatch", why=str(error))
        return EXIT_CONFIG
    except ConfigError as error:
        # the file is sound, but the broker refuses what it says: a password, a right, a limit
        log.error("settings_refused", why="; ".join(error.problems))
        return EXIT_CONFIG
    except InputUnusable as error:
        # starting again would read the same records again
        log.error("input_unusable", why=str(error))
        return EXIT_CONFIG
    except Fenced as error:
        log.error("fenced", why=str(error))
        return EXIT_FAILED
    except RestoreStalled as error:
        log.error("restore_stalled", why=str(error))
        return EXIT_FAILED
    return EXIT_OK
