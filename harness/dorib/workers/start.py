"""A run by this process alone, or by the workers that were asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dorib import runner
from dorib.config import RunConfig
from dorib.host.registry import Registry
from dorib.report.run_result import RunResult
from dorib.reporting import Reporter


def run_shared(
    config: RunConfig,
    registry: Registry,
    reporter: Reporter | None = None,
    plugins: Sequence[Path] = (),
) -> RunResult:
    """Score every mitigation of `config` against every attack; see `runner.run`.

    Args:
        config: the run's options; `workers` and `ray` say who does the work.
        registry: where names are looked up.
        reporter: hears of the progress.
        plugins: the files among the registry's plugins: each worker finds its own plugins.

    Raises:
        DoribError: something the user can mend.
    """
    if config.workers is None and config.ray is None:
        return runner.run(config, registry, reporter)
    # Ray is an extra, and slow to import.
    from dorib.workers.by_ray import run_by_ray

    return run_by_ray(config, plugins, reporter)
