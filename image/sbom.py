"""Writes what is installed beside this interpreter as a CycloneDX 1.5 document to standard output.

Format: https://cyclonedx.org/docs/1.5/json/. Licences are what the packages state of themselves.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import Distribution, distributions

__all__ = ["document"]


def document() -> dict[str, object]:
    """Return the document, components sorted by name; the package ``wattribute`` is what it describes."""
    found = {distribution.name.lower(): distribution for distribution in distributions()}
    own = found.pop("wattribute", None)
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": _component(own, "application")} if own else {},
        "components": [_component(found[name], "library") for name in sorted(found)],
    }


def _component(distribution: Distribution, kind: str) -> dict[str, object]:
    metadata = distribution.metadata
    purl = f"pkg:pypi/{distribution.name.lower()}@{distribution.version}"
    licence = metadata.get("License-Expression") or metadata.get("License") or ""
    described: dict[str, object] = {
        "type": kind,
        "bom-ref": purl,
        "name": distribution.name,
        "version": distribution.version,
        "purl": purl,
    }
    if licence and "\n" not in licence:
        described["licenses"] = [{"license": {"name": licence}}]
    return described


if __name__ == "__main__":
    json.dump(document(), sys.stdout, indent=2)
