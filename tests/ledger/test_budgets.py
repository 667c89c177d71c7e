"""What budgets select, how their totals live, and which settings make no sense."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.carbon.records import CarbonState
from exporter.ledger import LedgerSettings, Snapshot
from exporter.ledger.budget_settings import BudgetSelector, BudgetSettings
from exporter.ledger.budgets import budget_problems, overlaps, selects
from exporter.ledger.snapshot import BudgetTotals
from exporter.workloads.records import LeafUsage, RunFacts, RunKey, UsageSample, WorkloadId
from tests.attribution.samples import component_energy, energy_sample, unit, usage_sample
from tests.ledger.accounted_node import AccountedNode, intensity, with_facts

R, S = RunKey("r"), RunKey("s")
POD = WorkloadId("pod", "ml", "trainer-0", "main")
STATE = CarbonState(average=intensity(100.0))
KWH = energy_sample(component_energy(3.6e6))
A, B = LeafUsage(unit("a"), R, 10.0), LeafUsage(unit("b"), None, 10.0)  # half of 4 CPUs each, over 5 s
BOTH = usage_sample([A, B])


def budget(name: str, *, limit_kg: float = 1.0, **select: object) -> BudgetSettings:
    return BudgetSettings(name=name, limit_kg=limit_kg, select=BudgetSelector(**select))  # type: ignore[arg-type]


def of(page: Snapshot, name: str) -> BudgetTotals:
    return next(one for one in page.budgets if one.name == name)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[AccountedNode]:
    node = AccountedNode(tmp_path / "state.db", budgets=[budget("a", workload="a"), budget("all", everything=True)])
    node.tick(usage_sample([]), energy_sample(), state=STATE)
    yield node
    node.close()


def tick(node: AccountedNode, usage: UsageSample = BOTH) -> Snapshot:
    return node.tick(usage, KWH, state=STATE)


def test_a_budget_has_the_grams_of_what_it_selects_and_everything_those_of_the_node(node: AccountedNode) -> None:
    page = tick(node)

    assert of(page, "a").emissions_g == pytest.approx(50.0)
    assert of(page, "all").emissions_g == pytest.approx(100.0)
    assert (of(page, "a").matched, of(page, "all").matched) == (1, 2)


def test_a_new_budget_starts_at_zero_and_counts_from_then_on(node: AccountedNode) -> None:
    tick(node)
    node.reload(budgets=[budget("b", workload="b")], state=STATE)
    first, second = tick(node), tick(node)

    assert [of(page, "b").emissions_g for page in (first, second)] == pytest.approx([0.0, 100.0])


def test_everything_counts_what_nobody_is_charged_for_and_time_without_an_agent(node: AccountedNode) -> None:
    before = of(node.tick(usage_sample([]), KWH, state=STATE), "all").emissions_g
    after = node.restart(down_j=3.6e6, state=STATE)

    assert before == pytest.approx(100.0)
    assert of(after, "all").emissions_g == pytest.approx(200.0)
    assert of(after, "a").emissions_g == 0.0


@pytest.mark.parametrize("killed", [True, False])
def test_a_restart_goes_on_where_the_last_page_was(node: AccountedNode, *, killed: bool) -> None:
    before = tick(node)
    after = node.restart(killed=killed, down_j=0.0, state=STATE)

    assert of(after, "a").emissions_g == of(before, "a").emissions_g > 0


def test_a_changed_selector_counts_from_then_on_and_loses_nothing(node: AccountedNode) -> None:
    tick(node)
    node.reload(budgets=[budget("a", workload="*")], state=STATE)
    page = tick(node)

    assert of(page, "a").emissions_g == pytest.approx(150.0)


def test_a_raised_limit_changes_the_limit_alone(node: AccountedNode) -> None:
    before = of(tick(node), "a")
    node.reload(budgets=[budget("a", limit_kg=5.0, workload="a")], state=STATE)
    after = of(node.ledger.snapshot(), "a")

    assert after == before._replace(limit_g=5000.0, matched=0)


@pytest.mark.parametrize("restarts", [True, False])
def test_a_removed_budget_disappears_and_continues_when_it_comes_back(node: AccountedNode, *, restarts: bool) -> None:
    tick(node)
    if restarts:
        gone = node.restart(budgets=(), down_j=0.0, state=STATE)
    else:
        node.reload(budgets=(), state=STATE)
        gone = node.ledger.snapshot()
    tick(node)
    node.reload(budgets=[budget("a", workload="a")], state=STATE)
    page = tick(node)

    assert gone.budgets == []
    assert of(page, "a").emissions_g == pytest.approx(100.0), "before it was removed, and after it came back"


def test_a_fact_that_is_learned_late_counts_from_then_on(node: AccountedNode) -> None:
    node.reload(budgets=[budget("physics", slurm_account="phys*"), budget("ann", user="ann")], state=STATE)
    without = tick(node)
    usage = with_facts(BOTH, account={R: "physics"}, user={R: "ann"})
    page = tick(node, usage)

    assert [one.matched for one in without.budgets] == [0, 0]
    assert [one.matched for one in page.budgets] == [1, 1]
    assert [one.emissions_g for one in page.budgets] == pytest.approx([50.0, 50.0])


def test_a_fact_that_changes_no_longer_counts(node: AccountedNode) -> None:
    node.reload(budgets=[budget("named", run="old")], state=STATE)
    tick(node, with_facts(BOTH, name={R: "old"}))
    page = tick(node, with_facts(BOTH, name={R: "new"}))

    assert of(page, "named").matched == 0
    assert of(page, "named").emissions_g == pytest.approx(50.0)


def test_a_run_that_is_no_longer_selected_is_no_longer_named(node: AccountedNode) -> None:
    node.reload(budgets=[BudgetSettings(name="each", limit_g=1, period="run", select=BudgetSelector(run="old"))])
    before = of(tick(node, with_facts(BOTH, name={R: "old"})), "each").runs
    after = of(tick(node, with_facts(BOTH, name={R: "new"})), "each").runs

    assert (before, after) == (["r"], [])


def test_labels_that_come_and_go_are_followed(node: AccountedNode) -> None:
    node.reload(budgets=[budget("team", pod_labels={"team": "vision*"})], state=STATE)
    bare = usage_sample([LeafUsage(POD, R, 20.0)])
    pod = POD._replace(container="")
    matched = [
        of(tick(node, replace(bare, labels=labels)), "team").matched
        for labels in ({}, {pod: {"team": "vision-2"}}, {pod: {"team": "speech"}}, {POD: {"team": "vision"}})
    ]

    assert matched == [0, 1, 0, 1]


def test_what_overflows_is_still_told_apart(tmp_path: Path) -> None:
    """The account is the overflow's; the budget goes by who it was."""
    settings = LedgerSettings(max_workloads=1, max_runs=1)
    node = AccountedNode(tmp_path / "state.db", settings=settings, budgets=[budget("c", workload="c", run="t")])
    usage = usage_sample([LeafUsage(unit(name), RunKey(run), 5.0) for name, run in ("ar", "bs", "ct", "du")])
    tick(node, usage)
    page = tick(node, usage)
    node.close()

    assert of(page, "c").emissions_g == pytest.approx(2 * 25.0)


def test_a_budget_per_run_names_the_runs_that_have_series(node: AccountedNode) -> None:
    per_run = BudgetSettings(name="each", limit_g=500.0, period="run", select=BudgetSelector(kind="unit"))
    node.reload(budgets=[per_run], state=STATE)
    usage = usage_sample([A, LeafUsage(unit("b"), S, 10.0)])
    page = tick(node, usage)
    ended = tick(node, usage_sample([A]))
    for _ in range(5):
        expired = node.tick(usage_sample([A]), KWH, state=STATE, after_s=400.0)

    assert (of(page, "each").runs, of(page, "each").period_s) == (["r", "s"], None)
    assert of(ended, "each").runs == ["r", "s"], "within retention"
    assert of(expired, "each").runs == ["r"]


def test_memory_of_leaves_that_are_gone_is_bounded(node: AccountedNode) -> None:
    for turn in range(12):
        tick(node, usage_sample([LeafUsage(unit(f"a{turn}-{i}"), None, 0.01) for i in range(100)]))

    assert len(node.ledger._budgets._matches) <= 2 * 100 + 256


USAGE = UsageSample(
    interval_s=5.0,
    cpu_count=4,
    busy_cpu_s=0.0,
    system_cpu_s=0.0,
    runs={R: RunFacts(key=R, name="llama-ft", framework="torchrun", user="ann", account="physics")},
    labels={POD: {"team": "vision", "example.org/tier": ""}},
)


@pytest.mark.parametrize(
    ("select", "workload", "run", "expected"),
    [
        ({"everything": True}, unit("a"), None, True),
        ({"kind": "pod"}, POD, None, True),
        ({"kind": "unit"}, POD, None, False),
        ({"namespace": "m?"}, POD, None, True),
        ({"namespace": "*"}, unit("a"), None, False),
        ({"workload": "trainer-*"}, POD, None, True),
        ({"workload": "Trainer-*"}, POD, None, False),
        ({"run": "llama-*"}, POD, R, True),
        ({"run": "r"}, POD, R, True),
        ({"run": "*"}, POD, None, False),
        ({"user": "ann"}, POD, R, True),
        ({"user": "ann"}, WorkloadId("session", "ann", "3"), None, True),
        ({"user": "ann"}, WorkloadId("user_unit", "ann", "jupyter.service"), None, True),
        ({"user": "ml"}, POD, None, False),
        ({"slurm_account": "physics"}, unit("a"), R, True),
        ({"slurm_account": "*"}, unit("a"), S, False),
        ({"pod_labels": {"team": "vis*"}}, POD, None, True),
        ({"pod_labels": {"team": "vis*", "stage": "*"}}, POD, None, False),
        ({"pod_labels": {"team": "*"}}, unit("a"), None, False),
        ({"kind": "pod", "run": "other"}, POD, R, False),
        ({}, POD, R, False),
    ],
)
def test_all_keys_that_are_given_must_fit_and_what_is_not_known_fits_nothing(
    select: Mapping[str, object], workload: WorkloadId, run: RunKey | None, *, expected: bool
) -> None:
    assert selects(BudgetSelector(**select), workload, run, USAGE) is expected  # type: ignore[arg-type]


def test_settings_that_make_sense_have_no_problems() -> None:
    assert budget_problems([budget("a-1.b_c", kind="pod"), budget("all", everything=True)]) == []
    assert budget_problems([budget("t", pod_labels={"team": "*", "example.org/team": "x"})]) == []


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        (budget("", kind="pod"), "budgets[0].name: expected 1 to 63 letters"),
        (budget("a b", kind="pod"), "found 'a b'"),
        (budget("x" * 64, kind="pod"), "budgets[0].name: expected"),
        (BudgetSettings(name="a", select=BudgetSelector(kind="pod")), "budgets[0].limit_g: no limit; give one of"),
        (
            BudgetSettings(name="a", limit_g=1, limit_t=1, select=BudgetSelector(kind="pod")),
            "budgets[0].limit_t: one limit is enough, found limit_g and limit_t",
        ),
        (budget("a"), "budgets[0].select: selects nothing; give one of kind, namespace"),
        (budget("a", everything=True, user="ann", pod_labels={"a": "*"}), "stands alone, found user, pod_labels"),
        (budget("a", pod_labels={"-x": "*"}), "'-x' is no label key"),
        (budget("a", pod_labels={"x": ""}), "'x' has no pattern"),
        (replace(budget("a", kind="pod"), scopes=()), "budgets[0].scopes: expected operational, embodied or both"),
        (replace(budget("a", kind="pod"), scopes=("operational",) * 2), "each scope counts once"),
    ],
)
def test_each_mistake_is_named_with_its_key_and_the_remedy(settings: BudgetSettings, problem: str) -> None:
    [found] = budget_problems([settings])

    assert problem in found


def test_all_mistakes_are_told_at_once() -> None:
    found = budget_problems([budget("a", kind="pod"), BudgetSettings(name="a")])

    assert [text.partition(":")[0] for text in found] == ["budgets[1].name", "budgets[1].limit_g", "budgets[1].select"]


@given(
    st.builds(
        BudgetSettings,
        name=st.text(max_size=70),
        limit_g=st.none() | st.floats(),
        select=st.builds(BudgetSelector, kind=st.text(max_size=5), pod_labels=st.dictionaries(st.text(), st.text())),
    )
)
def test_any_settings_are_judged_and_matched_without_an_error(settings: BudgetSettings) -> None:
    assert isinstance(budget_problems([settings, settings]), list)
    selects(settings.select, POD, R, USAGE)


def test_the_check_says_what_selects_nothing_and_what_is_shared() -> None:
    budgets = [budget("a", workload="a"), budget("any", kind="unit"), budget("none", kind="pod")]
    one, two, three, four = overlaps([*budgets, budget("all", everything=True)], BOTH)

    assert (one.source, one.item, one.state) == ("budget", "a", "up")
    assert one.detail == "selects 1 of 2 workloads here now; shares 1 with any"
    assert two.detail == "selects 2 of 2 workloads here now; shares 1 with a"
    assert (three.state, three.detail) == ("absent", "selects nothing here now")
    assert "patterns" in three.remedy
    assert (four.state, four.detail) == ("up", "selects 2 of 2 workloads here now")


def test_the_check_says_where_a_scope_is_not_counted_at_all() -> None:
    made = replace(budget("made", kind="unit"), scopes=("embodied",))
    [found] = overlaps([made], BOTH, with_embodied=False)

    assert found.state == "absent"
    assert found.remedy == "set embodied.enabled, or remove embodied from its scopes"
