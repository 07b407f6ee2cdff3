"""The judges of the fault matrix: what is right passes, and each invariant can be seen to break.

No cluster is needed: evidence is written down by hand.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from client import WriteLog
from faults import checks
from faults.evidence import Evidence, figures, late_writes, lost_ages, measured_words, moves
from faults.history import Grant, HistoryLog, Served, grant_of, served_of
from faults.kinds import KindLog
from faults.rows import ROWS, by_name
from faults.scenario import Expect, Start, stretched
from group import Incarnation
from observer import ObserverLog, Ok

OLD, NEW = "g-001/aaaaaaaa", "g-002/bbbbbbbb"
EXPECT = Expect("a replica takes over", 1.0)
CALM = Expect("nothing happens", 0.5, (0, 0), restarts="none", lost_s=0, refused=False)


def oks(label: str, *times: float) -> list[Ok]:
    return [Ok(when - 0.001, when, label) for when in times]


def clean_failover() -> Evidence:
    """Killed at 10.0, granted at 10.05, taking writes from 10.1, whole at 12."""
    acks = [(9.0 + n / 100, n) for n in range(101)]
    acks += [(10.1 + n / 100, 200 + n) for n in range(290)]
    return Evidence(
        fault_at=10.0, healed_at=11.0, whole_at=12.0, why_not_whole="",
        client=WriteLog("p", acks, [(10.02, "refused")], 9.0, 13.0), lost=[],
        observer=ObserverLog(oks(OLD, 9.0, 9.5, 9.99) + oks(NEW, 10.1, 10.5, 12.5),
                             [(10.05, OLD, "refused")]),
        history=HistoryLog([Grant(8.0, 1, "a", OLD, ""), Grant(10.05, 2, "b", NEW, "promoting"),
                            Grant(10.2, 2, "b", NEW, "")],
                           [Served(8.0, 1, ("g-001",)), Served(10.08, 2, ("g-002",))]),
        epoch_before=1, primary_before=OLD,
        lives_before={"g-001": Incarnation("a", 0), "g-002": Incarnation("b", 0)},
        lives_after={"g-001": Incarnation("a", 1), "g-002": Incarnation("b", 0)},
        victims={"g-001"}, missing_seeds={},
        kinds={"pooled": KindLog([9.0, 9.9, 10.2, 11.5, 12.9], stopped=13.0),
               "idle": KindLog(last_word="closed")})


def calm() -> Evidence:
    one = clean_failover()
    acks = [(9.0 + n / 100, n) for n in range(401)]
    return replace(
        one, client=WriteLog("p", acks, [], 9.0, 13.0), observer=ObserverLog(oks(OLD, 9.0, 12.9)),
        history=HistoryLog([Grant(8.0, 1, "a", OLD, "")], [Served(8.0, 1, ("g-001",))]),
        lives_after=one.lives_before)


def test_a_clean_failover_and_a_calm_row_pass() -> None:
    assert checks.violations(clean_failover(), EXPECT) == []
    assert checks.violations(calm(), CALM) == []


def test_figures_and_words() -> None:
    one = clean_failover()
    seen = figures(one)
    assert seen["gap"] == pytest.approx(0.1) and seen["promoted"] == pytest.approx(0.1)
    assert seen["silence"] == pytest.approx(0.11) and seen["whole"] == pytest.approx(1.0)
    assert "gap 100 ms; promoted after 100 ms; silence 110 ms; 1 role move;" in measured_words(one)


def broken(**changes: object) -> list[str]:
    return checks.violations(replace(clean_failover(), **changes), EXPECT)  # type: ignore[arg-type]


def names(found: list[str]) -> set[str]:
    return {text.split(":")[0] for text in found}


def test_each_invariant_can_break() -> None:
    one = clean_failover()
    log = one.history
    both = HistoryLog(log.grants, [*log.served, Served(11.0, 2, ("g-001", "g-002"))])
    assert names(broken(history=both)) == {"S1"}
    assert names(broken(missing_seeds={"g-002": 7})) == {"S3"}
    assert names(broken(lost=[(7.0, 1)])) == {"S5"}
    assert names(broken(lost=[(12.0, 300)])) == {"S5"}
    assert names(broken(torn=1)) == {"S5"}
    assert names(broken(deletes=["persistentvolumeclaims data-g-001", "pods g-001"])) == {"S7"}
    assert names(broken(lives_after={"g-001": Incarnation("a", 1)})) == {"S10"}
    assert names(broken(whole_at=None, why_not_whole="2 of 3")) == {"L1"}
    assert broken(findings=["S9: told by the row"]) == ["S9: told by the row"]
    slow = {"pooled": KindLog([9.0], stopped=13.0), "idle": KindLog(last_word="READONLY")}
    assert names(broken(kinds=slow)) == {"L2", "S2"}


def test_epochs_never_go_back_and_have_one_primary() -> None:
    grants = clean_failover().history.grants
    back = HistoryLog([*grants, Grant(11.0, 1, "a", OLD, "")])
    assert "S6" in names(broken(history=back))
    double = HistoryLog([*grants, Grant(11.0, 2, "a", OLD, "")])
    assert "S6" in names(broken(history=double))
    one = replace(clean_failover(), history=back)
    assert "S6" not in names(checks.violations(one, replace(EXPECT, rewound=True)))


def test_a_late_write_counts_against_the_declared_limit() -> None:
    one = clean_failover()
    late = ObserverLog(one.observer.oks + oks(OLD, 11.0, 11.6),
                       [*one.observer.others, (10.9, OLD, "timeout")])
    found = late_writes(late, one.history.grants)
    assert len(found) == 2 and found[1].after_s == pytest.approx(1.5)
    assert names(broken(observer=late)) == {"S2"}
    frozen = replace(one, observer=late)
    assert checks.violations(frozen, replace(EXPECT, late_s=1.2)) == []
    assert names(checks.violations(frozen, replace(EXPECT, late_s=0.5))) == {"S2"}


def test_a_member_without_a_grant_is_no_writer() -> None:
    one = clean_failover()
    seen = ObserverLog(one.observer.oks + oks("g-003/cccccccc", 9.6, 9.7), one.observer.others)
    assert names(broken(observer=seen)) == {"S2"}
    short = replace(one, observer=seen)
    assert checks.violations(short, replace(EXPECT, late_s=0.5)) == []
    assert names(checks.violations(short, replace(EXPECT, late_s=0.05))) == {"S2"}


def test_the_role_comes_back_to_the_first_one() -> None:
    one = clean_failover()
    log = HistoryLog([*one.history.grants, Grant(12.0, 3, "a", OLD, "")])
    assert [grant.epoch for grant in moves(replace(one, history=log))] == [2, 3]
    back = ObserverLog(one.observer.oks + oks(OLD, 12.7), one.observer.others)
    assert late_writes(back, log.grants) == []


def test_a_hand_over_that_is_given_up_is_no_move() -> None:
    one = clean_failover()
    log = HistoryLog([Grant(1.0, 1, "a", OLD, ""), Grant(10.0, 2, "c", "g-003/cccccccc", "switching"),
                      Grant(10.4, 3, "a", OLD, ""), Grant(10.5, 4, "b", NEW, "promoting")])
    assert [grant.epoch for grant in moves(replace(one, history=log))] == [4]
    wrote = ObserverLog(one.observer.oks + oks("g-003/cccccccc", 10.2), one.observer.others)
    assert [grant.epoch for grant in moves(replace(one, history=log, observer=wrote))] == [2, 3, 4]


def test_losses_are_as_old_as_the_gap_is_far() -> None:
    one = replace(clean_failover(), lost=[(9.5, 50), (9.99, 99)])
    assert lost_ages(one) == pytest.approx([0.5, 0.01])
    assert checks.losses(one, EXPECT) == []
    assert names(checks.losses(one, replace(EXPECT, lost_s=0.2))) == {"S5"}
    assert names(checks.losses(one, replace(EXPECT, lost_s=0))) == {"S5"}


def test_a_calm_row_that_is_not() -> None:
    assert names(checks.violations(clean_failover(), CALM)) == {"S8", "S10"}
    refused = replace(calm(), client=replace(calm().client, failures=[(11.0, "NOREPLICAS")]))
    assert names(checks.violations(refused, CALM)) == {"S10"}
    silent = replace(calm(), client=replace(calm().client, acks=calm().client.acks[:100]))
    assert names(checks.violations(silent, CALM)) == {"L2"}


def test_a_kind_that_never_came_back() -> None:
    assert KindLog([1.0, 2.0], stopped=9.0).longest_gap_s(1.5) == pytest.approx(7.0)
    assert KindLog([1.0, 2.0, 8.9], stopped=9.0).longest_gap_s(8.95) == pytest.approx(0.1)
    assert KindLog([], stopped=9.0).longest_gap_s(4.0) == pytest.approx(5.0)


def test_what_the_api_says() -> None:
    node_group = {"epoch": 4, "primary": {"uid": "0123456789", "name": "g-001"},
                  "transition": {"stage": "promoting"}}
    item = {"status": {"nodeGroups": [node_group]}}
    assert grant_of(1.0, item) == Grant(1.0, 4, "0123456789", "g-001/01234567", "promoting")
    assert grant_of(1.0, {"status": {}}) is None
    endpoints = [{"addresses": ["10.0.0.1"], "targetRef": {"name": "g-001"}},
                 {"addresses": ["10.0.0.2"]}]
    assert served_of(2.0, {"metadata": {"annotations": {"regroup.dev/epoch": "4"}},
                           "endpoints": endpoints}) == Served(2.0, 4, ("g-001", "10.0.0.2"))
    assert served_of(2.0, {"metadata": {}}) == Served(2.0, 0, ())


def test_rows_are_well_formed() -> None:
    assert len(by_name()) == len(ROWS)
    for row in ROWS:
        assert len(row.name) <= 40 and row.name[0].isalpha(), row.name  # it names the group, too
        manifest = row.start.manifest(row.name)
        assert manifest["spec"]["replicasPerNodeGroup"] == row.start.replicas
    assert 6 <= sum(row.quick for row in ROWS) <= 12


def test_a_start_says_what_it_is() -> None:
    assert Start().words() == "1 + 2, memory"
    spec = Start(replicas=1, storage=True, guard=False).manifest("g")["spec"]
    assert spec["failover"] == {"writeGuard": "Off"}
    assert spec["storage"] and spec["deletionPolicy"] == "Delete"


def test_long_faults_scale_and_short_ones_stay() -> None:
    assert stretched(300, 1.0) == 300 and stretched(300, 0.1) == 30
    assert stretched(60, 0.1) == 10 and stretched(5, 0.1) == 5


