"""Values: documented, checked, and explained after the installation."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from tests.helm.chart import CHART, HELMS, MATRIX, ROOT, Object, find, render, run_helm
from tests.helm.values_table import VALUES, markdown, read_values

system = pytest.mark.system


def test_the_reference_is_what_the_values_say() -> None:
    """docs/reference/chart.md is generated; ``make docs`` writes it again."""
    assert (ROOT / "docs" / "reference" / "chart.md").read_text() == markdown()


def test_every_value_is_explained() -> None:
    """No value is without the comment that the reference is made from."""
    values = list(read_values(VALUES.read_text()))

    assert len(values) > 60
    assert [value.path for value in values if not value.text.endswith(".")] == []


def test_the_table_is_made_of_comments_and_defaults() -> None:
    """A comment may run over lines; what is below a value that is explained is part of its default."""
    text = "# -- One,\n# two.\na:\n  b: 1\nc:\n  # -- Three.\n  d: x\n  e: []\n"

    assert [tuple(value) for value in read_values(text)] == [
        ("a", {"b": 1}, "One, two."),
        ("c.d", "x", "Three."),
        ("c.e", [], ""),
    ]


def test_schema_and_values_have_the_same_keys() -> None:
    """Whatever can be set is in both, and the schema refuses everything else on every level of the chart's own."""
    values = yaml.safe_load(VALUES.read_text())
    schema = json.loads((CHART / "values.schema.json").read_text())
    explained = {value.path for value in read_values(VALUES.read_text())}

    assert list(_differences(values, schema, "", explained)) == []


def _differences(values: Object, schema: Object, path: str, explained: set[str]) -> list[str]:
    if schema.get("additionalProperties") is not False:
        return [f"{path}: the schema takes any key"]
    found = [f"{path}{key}: not in both" for key in set(values) ^ set(schema["properties"])]
    for key in set(values) & set(schema["properties"]):
        if isinstance(values[key], dict) and f"{path}{key}" not in explained:
            found += _differences(values[key], schema["properties"][key], f"{path}{key}.", explained)
    return found


@system
@pytest.mark.parametrize("helm", HELMS)
@pytest.mark.parametrize(
    ("value", "named"),
    [
        ("agnet.port=1", "agnet"),
        ("agent.prot=1", "prot"),
        ("web.configFile.a=b", "web"),
        ("agent.port=0", "port"),
        ("kubernetes.identity=proxy", "identity"),
        ("image.digest=latest", "digest"),
        ("prometheus.interval=often", "interval"),
    ],
)
def test_a_wrong_value_is_refused_by_name(helm: str, value: str, named: str) -> None:
    """Helm refuses what the chart does not know, and says which value it was."""
    done = run_helm(helm, "template", "x", str(CHART), f"--set={value}")

    assert done.returncode != 0
    assert named in done.stderr


def _notes(tmp_path: Path, values: Object, kubernetes: str = "1.35") -> str:
    """Return NOTES.txt, which Helm renders at an installation only, as the text of an object."""
    chart = tmp_path / "wattribute"
    if not chart.exists():
        shutil.copytree(CHART, chart, ignore=shutil.ignore_patterns("files"))
        text = (chart / "templates" / "NOTES.txt").read_text()
        (chart / "templates" / "NOTES.txt").unlink()
        body = 'apiVersion: v1\nkind: Notes\nmetadata: {name: notes}\ntext: |\n  {{- include "notes" . | nindent 2 }}\n'
        (chart / "templates" / "notes.yaml").write_text(f'{{{{ define "notes" }}}}{text}{{{{ end }}}}{body}')
    return str(find(render(values, chart=chart, kubernetes=kubernetes), "Notes")["text"])


@system
def test_notes_say_what_is_still_to_do(tmp_path: Path) -> None:
    """After the installation one reads how to see the first watt, and what keeps pods or emissions away."""
    text = _notes(tmp_path, {})

    assert "port-forward daemonset/wattribute 10187" in text
    assert "pod-security.kubernetes.io/enforce=privileged" in text
    assert "grid zone" in text
    assert "prometheus.podMonitor.enabled=true" in text
    assert "WARNING" not in text


@system
def test_notes_leave_out_what_is_done(tmp_path: Path) -> None:
    """A zone that is set and a monitor that is made are not asked for again."""
    assert "grid zone" not in _notes(tmp_path, MATRIX["grid"])
    assert "podMonitor.enabled" not in _notes(tmp_path, MATRIX["pod-monitor"])


@system
def test_notes_warn_of_values_that_do_not_go_together(tmp_path: Path) -> None:
    """Two monitors count twice, GPUs need the node's process ids, old kubelets another source of names."""
    twice: Object = {"prometheus": {"podMonitor": {"enabled": True}, "serviceMonitor": {"enabled": True}}}
    unsplit: Object = {**MATRIX["no-host-pid"], **MATRIX["nvidia"]}

    assert "scraped twice" in _notes(tmp_path, twice)
    assert "cannot be split" in _notes(tmp_path, unsplit)
    assert "nodes/proxy" in _notes(tmp_path, {}, kubernetes="1.32")
    assert "nodes/proxy" not in _notes(tmp_path, MATRIX["logs"], kubernetes="1.32")
