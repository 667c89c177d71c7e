"""Settings from a file and from flags; flags win."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from exporter.carbon import validate
from exporter.carbon.tariff import tariff_problems
from exporter.config.build import Builder
from exporter.config.document import Listing, Node, Place, Scalar, Section, read_document
from exporter.config.gateway_problems import gateway_problems
from exporter.config.settings import Settings
from exporter.errors import ConfigError
from exporter.exposition.listen import ListenError, parse_address
from exporter.exposition.web_settings import FIXED_ROUTES
from exporter.ledger.budgets import budget_problems
from exporter.workloads.rules import rule_problems

__all__ = ["Flag", "load_settings"]

_AFTER_THE_FILE = 1_000_000_000

Flag = tuple[str, str | Sequence[str]]
"""The flag as written and its value or values."""


def load_settings(path: Path | None = None, flags: Mapping[str, Flag] | None = None) -> Settings:
    """Return the settings of the file at ``path`` with ``flags`` (by path of the setting) over them.

    Raises:
        ConfigError: with every mistake, in file order, those of flags last.
    """
    section, problems = read_document(path) if path else (Section(Place(1, "defaults")), [])
    for key, (flag, value) in (flags or {}).items():
        _override(section, key, flag, value)
    builder = Builder(problems=list(problems))
    settings = builder.record(Settings, section)
    if not builder.problems:
        builder.problems.extend(_joint_problems(settings, section))
    if builder.problems:
        raise ConfigError([sentence for _, sentence in sorted(builder.problems, key=lambda item: item[0])])
    return settings


def _override(section: Section, key: str, flag: str, value: str | Sequence[str]) -> None:
    place = Place(_AFTER_THE_FILE, flag)
    *parents, name = key.split(".")
    for parent in parents:
        below = section.entries.get(parent)
        if not isinstance(below, Section):
            if (isinstance(below, Scalar) and below.text) or isinstance(below, Listing):
                return  # the file has no section there, which is reported anyway
            below = Section(place)
        section.entries[parent] = below
        section.keys.setdefault(parent, place)
        section = below
    node: Node
    if isinstance(value, str):
        node = Scalar(place, value, is_plain=bool(value))
    else:
        node = Listing(place, [Scalar(place, item, is_plain=bool(item)) for item in value])
    section.entries[name] = node
    section.keys[name] = place


def _joint_problems(settings: Settings, section: Section) -> list[tuple[int, str]]:
    """Return mistakes that only show when settings are seen together."""
    sentences = [f"carbon.{sentence}" for sentence in validate(settings.carbon)]
    sentences += [f"costs.{sentence}" for sentence in tariff_problems(settings.costs)]
    sentences += budget_problems(settings.budgets)
    sentences += gateway_problems(settings)
    sentences += rule_problems(settings.runs.rules, where="runs.rules")
    sentences += _web_problems(settings)
    if settings.ledger.retention_s < 3 * settings.sampling.interval_s:
        sentences.append(
            f"ledger.retention_s: expected at least three sampling intervals, found {settings.ledger.retention_s:g} "
            f"with sampling.interval_s {settings.sampling.interval_s:g}, or no scrape would see the end of a workload."
        )
    return [(place.line, f"{place.text}: {text}") for text in sentences for place in [_place_of(text, section)]]


def _web_problems(settings: Settings) -> list[str]:
    web = settings.web
    sentences = []
    if not web.listen_addresses:
        sentences.append("web.listen_addresses: expected at least one address, found none.")
    for index, address in enumerate(web.listen_addresses):
        try:
            parse_address(address)
        except ListenError as exc:
            sentences.append(f"web.listen_addresses[{index}]: {exc}.")
    if web.health_address:
        try:
            parse_address(web.health_address)
        except ListenError as exc:
            sentences.append(f"web.health_address: {exc}.")
    if web.config_file:
        from exporter.config.web_config import load_web_config

        try:
            load_web_config(Path(web.config_file))
        except ConfigError as exc:
            sentences += [f"web.config_file: {problem}" for problem in exc.problems]
    if not web.telemetry_path.startswith("/") or web.telemetry_path in FIXED_ROUTES:
        taken = ", ".join(sorted(FIXED_ROUTES))
        sentences.append(f"web.telemetry_path: expected a path that begins with a slash and is none of {taken}.")
    return sentences


def _place_of(sentence: str, section: Section) -> Place:
    """Return the place of the deepest key that ``sentence`` begins with."""
    place: Place = section.place
    node: Node | None = section
    for word in sentence.split(" ", 1)[0].rstrip(":").replace("[", ".").replace("]", "").split("."):
        if isinstance(node, Section) and word in node.entries:
            place, node = node.keys[word], node.entries[word]
        elif isinstance(node, Listing) and word.isdigit():
            node = node.items[int(word)]
            place = node.place
        else:
            break
    return place
