"""``wattribute report``: what a run used and emitted, from the state file or a Prometheus-compatible server."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from exporter import __version__
from exporter.cli.arguments import Options
from exporter.cli.csv_output import print_csv
from exporter.cli.report_arguments import add_report_flags, read_arguments
from exporter.cli.screen import open_console, printable
from exporter.cli.state_path import with_state_path
from exporter.clock import Clock, SystemClock
from exporter.config import Settings
from exporter.errors import ConfigError, StateError
from exporter.reports.report import ReportError

if TYPE_CHECKING:
    from exporter.cli.report_arguments import ReportArguments
    from exporter.reports.report import RunReport
    from exporter.reports.report_counters import Progress

__all__ = ["add_report_flags", "run_report"]

_MOST_LISTED = 20
_WIDTH = 100


def run_report(
    options: Options, settings: Settings, *, clock: Clock | None = None, environ: Mapping[str, str] | None = None
) -> int:
    """Print the report of a run, or of several.

    Raises:
        ConfigError: the command line cannot be used, or names several runs.
        ReportError: no run matches, or what is known of it cannot be reported.
        StateError: there is no readable state file.
        PrometheusError: the server gave no usable answer.
    """
    environment = os.environ if environ is None else environ
    now_s = (clock or SystemClock()).wall_s()
    arguments = read_arguments(options.values, environment, now_s=now_s)
    if arguments.access is None:
        reports = _from_history(arguments, with_state_path(settings, environment), now_s)
    else:
        reports = _from_prometheus(arguments)
    _write(reports, arguments, options.values.output, now_s)
    return 0


def _from_history(arguments: ReportArguments, settings: Settings, now_s: float) -> Sequence[RunReport]:
    from exporter.reports.report_history import history_reports

    path = settings.ledger.state_path
    if not path:
        raise StateError("there is no state file: give one with --state.file, or a server with --prometheus.url")
    found = history_reports(
        Path(path), since_s=arguments.since_s, until_s=arguments.until_s, now_s=now_s, wanted=arguments.run
    )
    numbers = _selected(arguments, [(run.key, run.name, run.seen_s) for run in found], f"state file {path}")
    return [found[number] for number in numbers]


def _from_prometheus(arguments: ReportArguments) -> Sequence[RunReport]:
    from exporter.reports.prometheus_api import PrometheusApi
    from exporter.reports.report_counters import Span
    from exporter.reports.report_prometheus import PrometheusRuns

    if arguments.access is None:
        return ()
    api = PrometheusApi(arguments.access)
    with _progress() as progress:
        searched = Span(arguments.since_s, arguments.until_s)
        runs = PrometheusRuns(api, searched, matchers=arguments.matchers, progress=progress)
        found = runs.find(arguments.run)
        numbers = _selected(arguments, [(run.key, run.name, run.seen_s) for run in found], api.where)
        return runs.reports([found[number] for number in numbers])


def _selected(arguments: ReportArguments, found: Sequence[tuple[str, str, float]], where: str) -> Sequence[int]:
    """Return the numbers of the runs to report, of (key, name, last seen), the last seen first."""
    from exporter.reports.report_document import utc_text

    since, until = utc_text(arguments.since_s), utc_text(arguments.until_s)
    if not found:
        wanted = (
            f"no run is called, or has the key, {printable(arguments.run)!r}" if arguments.run else "no run was seen"
        )
        looks = "wattribute report --all" if arguments.access else "wattribute runs"
        raise ReportError(
            f"{wanted} in {where} between {since} and {until}; look further back with --since=90d, or list runs with "
            f"{looks}"
        )
    if len(found) == 1 or arguments.takes_all:
        return range(len(found))
    if arguments.takes_last:
        return (0,)
    listed = [f"  {key}  last seen {utc_text(seen_s)}  {printable(name)}" for key, name, seen_s in found[:_MOST_LISTED]]
    more = len(found) - len(listed)
    raise ConfigError(
        [
            f"wattribute: {len(found)} runs match {printable(arguments.run)!r}; give a key, --last or --all:",
            *listed,
            *([f"  and {more} more"] if more else []),
        ]
    )


def _write(reports: Sequence[RunReport], arguments: ReportArguments, output: str, now_s: float) -> None:
    from exporter.reports import report_document

    if output == "json":
        print(json.dumps(report_document.report_document(reports, made_s=now_s), indent=2, allow_nan=False))
    elif output == "csv":
        print_csv(report_document.CSV_NAMES, map(report_document.csv_row, reports))
    elif output == "model-card":
        from exporter.reports.model_card import model_card

        (report,) = reports
        print(
            model_card(report, version=__version__, training_type=arguments.training_type, location=arguments.location),
            end="",
        )
    else:
        _write_text(reports)


def _write_text(reports: Sequence[RunReport]) -> None:
    from exporter.reports.report_text import report_lines

    console = open_console()
    width = console.width if console.is_terminal else _WIDTH
    for number, report in enumerate(reports):
        if number:
            print()
        print("\n".join(printable(line) for line in report_lines(report, width=width)))


@contextmanager
def _progress() -> Iterator[Progress | None]:
    """Show how far a long query is, where standard error is a terminal; nothing of it stays."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("reading"), BarColumn(), TextColumn("{task.percentage:.0f} %"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("reading", total=1.0)
        yield lambda share: bar.advance(task, share)
