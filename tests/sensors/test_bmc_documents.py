from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from exporter.sensors import bmc_documents
from exporter.sensors.bmc_poll import HIGHEST_POWER_W

_NAMES = [
    *("PowerWatts", "EnergykWh", "Reading", "PowerControl", "PowerConsumedWatts", "Status", "State", "Links"),
    *("Members", "@odata.id", "Chassis", "ReadingType", "PhysicalContext", "EnvironmentMetrics"),
]
_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["/a", "//b", "Power"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(_NAMES),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


def _check_extractors(document: bmc_documents.Document) -> None:
    for extract in (
        bmc_documents.environment_power_w,
        bmc_documents.control_power_w,
        bmc_documents.sensor_power_w,
    ):
        value = extract(document)
        assert value is None or 0 < value <= HIGHEST_POWER_W
    energy_j = bmc_documents.environment_energy_j(document)
    assert energy_j is None or energy_j >= 0
    paths = (bmc_documents.link(document, "Links", "Chassis"), *bmc_documents.links(document, "Members"))
    assert all(path == "" or (path.startswith("/") and not path.startswith("//")) for path in paths)


@given(document=_JSON)
def test_no_document_makes_a_power_that_no_machine_has(document: object) -> None:
    """Whatever a service answers, the parsers give a plausible number or nothing, and never fail."""
    try:
        parsed = bmc_documents.parse_document(json.dumps(document).encode())
    except bmc_documents.DocumentError:
        return
    _check_extractors(parsed)


@given(body=st.binary(max_size=200))
def test_no_bytes_make_the_parser_fail_otherwise_than_it_says(body: bytes) -> None:
    try:
        parsed = bmc_documents.parse_document(body)
    except bmc_documents.DocumentError:
        return
    _check_extractors(parsed)
