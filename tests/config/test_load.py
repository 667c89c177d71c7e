from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.config import Settings, load_settings
from exporter.config.document import parse_document
from exporter.config.limits import LIMITS
from exporter.config.reference import example, keys, markdown
from exporter.errors import ConfigError

DOCS = Path(__file__).parents[2] / "docs"


def problems_of(tmp_path: Path, data: bytes) -> list[str]:
    path = tmp_path / "w.yaml"
    path.write_bytes(data)
    with pytest.raises(ConfigError) as caught:
        load_settings(path)
    return [problem.removeprefix(f"{path}:") for problem in caught.value.problems]


def test_an_empty_file_is_the_defaults(tmp_path: Path) -> None:
    """F69."""
    (tmp_path / "w.yaml").write_bytes(b"")

    assert Settings() == load_settings(tmp_path / "w.yaml")


def test_all_mistakes_are_told_at_once_in_file_order(tmp_path: Path) -> None:
    """F69: unknown key, value out of range, duplicate key, wrong type."""
    text = b"web:\n  max_request: 1\nsampling:\n  interval_s: 15m\n  interval_s: 3\nledger:\n  max_runs: x\n"

    found = problems_of(tmp_path, text)

    assert [problem.split(":")[0] for problem in found] == ["2", "4", "5", "7"]
    assert "did you mean 'max_requests'" in found[0]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"web:\n\tmax_requests: 1\n", "2: expected spaces, found a tab"),
        (b"#" * 1_048_577, "expected at most 1048576 bytes"),
        (b"web: \xff\xfe", "1: expected UTF-8 text"),
        (b"web: \x00", "1: expected text"),
        (b"a: &a [1]\nb: *a\n", "1: expected plain values, found an anchor or alias"),
        (b"web: !!python/object:os.system {}\n", "1: expected plain values, found a tag"),
        (b"a: " + b"[" * 10_000, "expected at most 16 levels"),
        (b"a: [" + b"1," * 30_000 + b"]", "expected at most 20000 YAML items"),
        (b"- 1\n", "1: expected sections"),
    ],
)
def test_a_hostile_or_mistaken_file_is_one_clear_error(tmp_path: Path, data: bytes, words: str) -> None:
    """F69, S-20."""
    assert words in problems_of(tmp_path, data)[0]


def test_a_zone_named_no_stays_a_zone(tmp_path: Path) -> None:
    (tmp_path / "w.yaml").write_text("carbon: {grid_zone: NO}")

    assert load_settings(tmp_path / "w.yaml").carbon.grid_zone == "NO"


def test_flags_win_over_the_file(tmp_path: Path) -> None:
    (tmp_path / "w.yaml").write_text("sampling: {interval_s: 2s}")

    settings = load_settings(tmp_path / "w.yaml", {"sampling.interval_s": ("--sampling.interval", "3")})

    assert settings.sampling.interval_s == 3


@given(st.binary(max_size=200))
def test_any_bytes_are_a_tree_or_a_config_error(data: bytes) -> None:
    try:
        parse_document(data, name="f")
    except ConfigError as exc:
        assert exc.problems  # noqa: PT017 - both outcomes are allowed


def test_the_example_is_current_and_equals_the_defaults() -> None:
    path = DOCS / "examples/wattribute.yaml"

    assert example() == path.read_text("utf-8")
    assert Settings() == load_settings(path)


def test_the_reference_is_current() -> None:
    assert markdown() == (DOCS / "reference/configuration.md").read_text("utf-8")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("web: {listen_addresses: ['127.0.0.1:9', nonsense]}", "web.listen_addresses[1]: cannot listen on 'nonsense'"),
        ("web: {listen_addresses: []}", "web.listen_addresses: expected at least one address"),
        ("web: {telemetry_path: metrics}", "web.telemetry_path: expected a path that begins with a slash"),
        ("web: {telemetry_path: /-/healthy}", "and is none of"),
        ("ledger: {retention_s: 5s}", "ledger.retention_s: expected at least three sampling intervals"),
        ("carbon: {grid_zone: Atlantis}", "carbon.grid_zone"),
        ("runs: {rules: [{name: x}]}", "runs.rules[0]"),
        ("runs: {environment_readable: true}", "unknown key 'environment_readable'"),
        ("sensors: {required_sources: [rapl, rpal]}", "sensors.required_sources[1]: expected one of rapl"),
    ],
)
def test_settings_that_contradict_their_meaning_are_mistakes(tmp_path: Path, text: str, words: str) -> None:
    (problem,) = problems_of(tmp_path, text.encode())

    assert problem.startswith("1: ")
    assert words in problem


@pytest.mark.parametrize(
    ("text", "seconds"), [("250ms", 0.25), ("90", 90), ("15m", 900), ("24h", 86_400), ("7d", 604_800)]
)
def test_durations_are_seconds_or_have_a_unit(tmp_path: Path, text: str, seconds: float) -> None:
    (tmp_path / "w.yaml").write_text(f"baseline: {{min_learning_s: {text}}}")

    assert load_settings(tmp_path / "w.yaml").baseline.min_learning_s == seconds


@pytest.mark.parametrize("text", ["1e400", ".inf", "nan", "5 s", "-1s", "5x", "'5s'", "[5]", "true"])
def test_what_is_no_duration_is_a_mistake(tmp_path: Path, text: str) -> None:
    (problem,) = problems_of(tmp_path, f"baseline: {{min_learning_s: {text}}}".encode())

    assert "expected" in problem


def test_every_numeric_setting_says_its_limits() -> None:
    """STYLE.md §5: and no limit is left of a setting that has gone."""
    numbers = {key.path for key in keys() if isinstance(key.default, int | float) and not isinstance(key.default, bool)}

    assert numbers <= LIMITS.keys()
    assert {path.removesuffix("[]") for path in LIMITS} <= {key.path for key in keys()}


def test_a_control_character_in_text_is_a_mistake(tmp_path: Path) -> None:
    r"""A ``\0`` in a path would only fail when it is opened."""
    (problem,) = problems_of(tmp_path, rb'ledger: {state_path: "a\0b"}')

    assert "1: ledger.state_path: expected printable text" in problem
