"""Market-based grams, water, cost and embodied emissions: conserved, monotonic, and integrated tick by tick."""

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter.carbon.records import NO_CARBON, CarbonState
from exporter.carbon.settings import EmbodiedSettings
from exporter.ledger import LedgerSettings
from exporter.ledger.budget_settings import BudgetSelector, BudgetSettings
from exporter.sensors.records import Component
from exporter.workloads.records import LeafUsage, RunKey
from tests.attribution.samples import component_energy, energy_sample, joules, leaves, unit, usage_sample
from tests.ledger.accounted_node import COLUMNS, EMBODIED, NO_EMBODIED, AccountedNode, counters, intensity

R = RunKey("r")
ALONE = usage_sample([LeafUsage(unit("a"), R, 20.0)], cpu_count=4)  # uses all CPUs: all energy is its own
KWH = energy_sample(component_energy(3.6e6))
MARKET_G, WATER_L, COST = 0, 1, 2


@pytest.fixture
def node(tmp_path: Path) -> Iterator[AccountedNode]:
    node = AccountedNode(tmp_path / "state.db")
    yield node
    node.close()


_known = st.none() | st.floats(0, 2000)
states = st.builds(
    CarbonState,
    average=_known.map(lambda g: None if g is None else intensity(g)),
    market=_known.map(lambda g: None if g is None else intensity(g, "market")),
    interval_average_g_per_kwh=_known,
    interval_market_g_per_kwh=_known,
    pue_ratio=st.floats(1, 3),
    wue_l_per_kwh=st.none() | st.floats(0, 20),
    price_per_kwh=st.none() | st.floats(-1, 5),
    currency=st.just("EUR"),
)
BUDGETS = (
    BudgetSettings(name="all", limit_g=1, scopes=("operational", "embodied"), select=BudgetSelector(everything=True)),
    BudgetSettings(name="node", limit_g=1, select=BudgetSelector(everything=True)),
    BudgetSettings(name="some", limit_g=1, select=BudgetSelector(workload="w[0-2]")),
    BudgetSettings(name="made", limit_g=1, scopes=("embodied",), select=BudgetSelector(kind="unit")),
    BudgetSettings(name="runs", limit_g=1, period="run", select=BudgetSelector(run="r*", workload="w1")),
)
ticks = st.tuples(
    leaves(names=5, runs=3),
    st.dictionaries(st.sampled_from([Component.CPU, Component.DRAM, Component.OTHER]), joules),
    st.sampled_from([0.5, 5.0, 40.0, 2000.0]),
    states,
    st.dictionaries(st.sampled_from(["GPU-0", "GPU-1"]), st.floats(0, 1)),
    st.sampled_from(["", "", "", "", "stop", "kill", "reload", "off", "on"]),
)


def _of_budget(name: str, node: AccountedNode) -> float:
    amounts = node.leaf_amounts.items()
    match name:
        case "all":
            return node.node_amounts[0] + node.node_amounts[1]
        case "node":
            return node.node_amounts[0]
        case "some":
            return math.fsum(a[0] for leaf, a in amounts if leaf[0].name in {"w0", "w1", "w2"})
        case "made":
            return math.fsum(a[1] for _, a in amounts)
    return math.fsum(a[0] for leaf, a in amounts if leaf[0].name == "w1" and leaf[1] is not None)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(trace=st.lists(ticks, max_size=10), max_workloads=st.integers(1, 5), max_runs=st.integers(1, 3))
def test_every_account_is_conserved_and_no_counter_falls_whatever_happens(
    tmp_path_factory: pytest.TempPathFactory, trace: list[tuple[object, ...]], max_workloads: int, max_runs: int
) -> None:
    """Exits, expiry, caps, providers that come and go, stops, kills and reloads: each budget has what it selects."""
    node = AccountedNode(
        tmp_path_factory.mktemp("state") / "state.db",
        settings=LedgerSettings(max_workloads=max_workloads, max_runs=max_runs, retention_s=60.0),
        budgets=BUDGETS,
        embodied=EMBODIED,
    )
    seen: dict[object, float] = {}
    for present, energies, after_s, state, held_first, event in trace:
        usage = usage_sample(present, memory_total_bytes=1e12)  # type: ignore[arg-type]
        energy = energy_sample(*(component_energy(j, component=c) for c, j in energies.items()))  # type: ignore[attr-defined]
        held = {uuid: {0: share} for uuid, share in held_first.items() if usage.leaves}  # type: ignore[attr-defined]
        pages = [node.tick(usage, energy, state=state, held=held, after_s=after_s)]  # type: ignore[arg-type]
        if event in {"stop", "kill"}:
            pages.append(node.restart(killed=event == "kill", state=state))  # type: ignore[arg-type]
        elif event:
            node.reload(budgets=BUDGETS, embodied={"off": NO_EMBODIED, "on": EMBODIED}.get(str(event)), state=state)  # type: ignore[arg-type]
        for page in pages:
            shown = dict(counters(page))
            assert len(shown) == len(list(counters(page))), "a series appears twice"
            for key, value in shown.items():
                assert value >= seen.get(key, 0.0), key
            seen = shown
    final = node.tick(usage_sample([]), energy_sample())
    accounts = node.accounts()
    node.close()

    for budget in final.budgets:
        assert budget.emissions_g == pytest.approx(_of_budget(budget.name, node) if trace else 0.0, rel=1e-9, abs=1e-12)
    for column in range(5):
        of_leaves = math.fsum(amounts[column] for amounts in node.leaf_amounts.values())
        booked = math.fsum([*a.emissions_g, *a.footprint][column] for a in accounts)
        assert booked == pytest.approx(of_leaves, rel=1e-9, abs=1e-12)
        assert booked <= node.node_amounts[column] * (1 + 1e-9) + 1e-12, "holders pay for more than there is"
    of_node: dict[str, float] = {str(scope): grams for scope, grams in final.emissions_g.items()}
    of_node |= final.footprint
    for name, column in {"operational": 0, "embodied": 1, **COLUMNS}.items():
        assert of_node.get(name, 0.0) == pytest.approx(node.node_amounts[column], rel=1e-9, abs=1e-12)


def test_market_water_and_cost_follow_their_own_rates(node: AccountedNode) -> None:
    """One kilowatt-hour of IT energy: PUE raises grams and cost, and not the water."""
    state = CarbonState(
        average=intensity(400.0),
        market=intensity(50.0, "market"),
        pue_ratio=1.5,
        wue_l_per_kwh=1.8,
        price_per_kwh=0.2,
        currency="EUR",
    )
    node.tick(ALONE, KWH, state=state)
    page = node.tick(ALONE, KWH, state=state)

    assert page.currency == "EUR"
    assert page.footprint == pytest.approx({"market_g": 2 * 75.0, "water_l": 2 * 1.8, "cost": 2 * 0.3})
    assert page.workloads[0].footprint == pytest.approx((150.0, 3.6, 0.6))
    assert page.runs[0].footprint == pytest.approx((150.0, 3.6, 0.6))
    assert page.emissions_g["operational"] == pytest.approx(2 * 600.0)


def test_the_mean_over_the_interval_counts_before_the_value_at_its_end(node: AccountedNode) -> None:
    node.tick(ALONE, KWH, state=CarbonState(average=intensity(0.0)))
    state = CarbonState(average=intensity(900.0), interval_average_g_per_kwh=300.0)
    page = node.tick(ALONE, KWH, state=state)

    assert page.emissions_g["operational"] == pytest.approx(300.0)


def test_an_intensity_that_ended_within_the_interval_still_counts_for_its_part(node: AccountedNode) -> None:
    node.tick(ALONE, KWH, state=CarbonState(average=intensity(0.0)))
    page = node.tick(ALONE, KWH, state=CarbonState(average=None, interval_average_g_per_kwh=120.0))

    assert page.emissions_g["operational"] == pytest.approx(120.0)


def test_a_column_appears_at_zero_when_its_rate_is_first_known(node: AccountedNode) -> None:
    node.tick(ALONE, KWH)
    without = node.tick(ALONE, KWH)
    priced = CarbonState(average=None, price_per_kwh=1.0, currency="EUR")
    first, second = node.tick(ALONE, KWH, state=priced), node.tick(ALONE, KWH, state=priced)

    assert (without.footprint, without.currency) == ({}, "")
    assert first.footprint == {"cost": 0.0}
    assert first.workloads[0].footprint[COST] == first.runs[0].footprint[COST] == 0.0
    assert second.footprint == pytest.approx({"cost": 2.0})
    assert second.workloads[0].footprint[COST] == pytest.approx(2.0)


def test_while_a_rate_is_not_known_its_column_stays(node: AccountedNode) -> None:
    watered = CarbonState(average=None, wue_l_per_kwh=1.0)
    node.tick(ALONE, KWH, state=watered)
    before = node.tick(ALONE, KWH, state=watered)
    after = node.tick(ALONE, KWH)

    assert after.footprint == before.footprint == pytest.approx({"water_l": 2.0})


def test_a_negative_price_never_lowers_a_counter(node: AccountedNode) -> None:
    node.tick(ALONE, KWH, state=CarbonState(average=None, price_per_kwh=1.0, currency="EUR"))
    before = node.tick(ALONE, KWH, state=CarbonState(average=None, price_per_kwh=1.0, currency="EUR"))
    after = node.tick(ALONE, KWH, state=CarbonState(average=None, price_per_kwh=-3.0, currency="EUR"))

    assert after.footprint["cost"] == before.footprint["cost"] == pytest.approx(2.0)


@pytest.mark.parametrize("killed", [True, False])
def test_another_currency_starts_every_cost_at_zero_and_stays_so_over_a_restart(
    node: AccountedNode, *, killed: bool
) -> None:
    """Amounts of two currencies have no sum; grams and water go on."""
    euros = CarbonState(average=intensity(100.0), price_per_kwh=1.0, currency="EUR")
    crowns = CarbonState(average=intensity(100.0), price_per_kwh=10.0, currency="SEK")
    node.tick(ALONE, KWH, state=euros)
    node.tick(ALONE, KWH, state=euros)
    first = node.tick(ALONE, KWH, state=crowns)
    node.restart(killed=killed, down_j=0.0, state=crowns)
    second = node.tick(ALONE, KWH, state=crowns)

    assert (first.currency, first.footprint["cost"], first.workloads[0].footprint[COST]) == ("SEK", 0.0, 0.0)
    assert second.currency == "SEK"
    assert second.footprint["cost"] == pytest.approx(20.0)
    assert second.runs[0].footprint[COST] == pytest.approx(20.0)
    assert second.emissions_g["operational"] == pytest.approx(400.0)


def test_another_currency_reaches_what_has_ended_even_over_a_kill(node: AccountedNode) -> None:
    euros = CarbonState(average=None, price_per_kwh=1.0, currency="EUR")
    crowns = CarbonState(average=None, price_per_kwh=10.0, currency="SEK")
    node.tick(ALONE, KWH, state=euros)
    before = node.tick(ALONE, KWH, state=euros)
    node.tick(usage_sample([]), KWH, state=crowns)
    after = node.restart(killed=True, down_j=0.0, state=crowns)

    assert before.workloads[0].footprint[COST] == pytest.approx(2.0)
    assert after.workloads[0].footprint[COST] == after.runs[0].footprint[COST] == 0.0


def test_time_without_an_agent_writes_off_the_hardware_at_the_expense_of_the_node_alone(tmp_path: Path) -> None:
    node = AccountedNode(tmp_path / "state.db", embodied=EMBODIED)
    node.tick(ALONE)
    before = node.tick(ALONE, held={"GPU-0": {0: 1.0}}, after_s=3600.0)
    after = node.restart(down_s=7200.0)
    node.close()

    per_hour_g = (1000.0 + 2 * 200.0) * 1000 / (4 * 365.25 * 24)
    assert before.emissions_g["embodied"] == pytest.approx(per_hour_g)
    assert after.emissions_g["embodied"] == pytest.approx(3 * per_hour_g)
    assert after.workloads[0].emissions_g == before.workloads[0].emissions_g
    assert before.workloads[0].emissions_g[1] == pytest.approx(1200.0 * 1000 / (4 * 365.25 * 24))


def test_the_hardware_is_shown_with_its_range_and_stays_while_a_driver_is_let_go(tmp_path: Path) -> None:
    node = AccountedNode(tmp_path / "state.db", embodied=EmbodiedSettings(enabled=True))
    page = node.tick(ALONE)
    node.ledger.book(energy_sample(), (), ALONE, NO_CARBON, now_s=node.now_s + 5, wall_s=0.0, gpu_models={})
    let_go = node.ledger.snapshot()
    node.close()

    assert [(one.item, one.value_g, one.low_g, one.high_g) for one in page.hardware] == [
        ("server", 2_500_000, 1_000_000, 5_700_000),
        ("GPU-0", 164_000, 164_000, 575_000),
        ("GPU-1", 164_000, 164_000, 575_000),
    ]
    assert let_go.hardware == page.hardware


def test_without_embodied_settings_there_is_no_such_scope(node: AccountedNode) -> None:
    page = node.tick(ALONE, KWH, state=CarbonState(average=intensity(1.0)))

    assert "embodied" not in page.emissions_g
    assert page.hardware == ()
