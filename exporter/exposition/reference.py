"""The metric reference of the docs, made from the catalogue: ``python -m exporter.exposition.reference``."""

from __future__ import annotations

import sys

from exporter.exposition.catalogue import CATALOGUE
from exporter.exposition.family import Family

__all__ = ["reference_markdown"]

_HEAD = """# Metrics

Generated from `exporter/exposition/catalogue.py` by `python -m exporter.exposition.reference`; do not edit.
Counters of joules and grams start at 0 when their subject is first seen and never decrease on one boot.
"""


def reference_markdown() -> str:
    """Return the whole page as Markdown."""
    return "\n".join([_HEAD, *map(_section, CATALOGUE)])


def _section(family: Family) -> str:
    labels = ", ".join(f"`{label}`" for label in family.labels) or "none"
    unit = f"{family.unit.replace('_', ' ')}" if family.unit else "none"
    return (
        f"## `{family.name}`\n\n{family.help}\n\n"
        f"| type | unit | labels | from |\n| --- | --- | --- | --- |\n"
        f"| {family.type} | {unit} | {labels} | {family.source} |\n"
    )


if __name__ == "__main__":
    sys.stdout.write(reference_markdown())
