"""The short form of the reliability benchmark: workers killed, damaged, starved and cancelled."""

from benchmarks.reliability import Amounts, measure

ONE_MINUTE = Amounts(runs=1, kills=3, servers=1, damages=2, disks=1, cancels=2, epochs=40)


def test_whatever_happens_no_record_is_lost_and_every_run_ends_with_the_same_weights() -> None:
    tally = measure(ONE_MINUTE, {"kills", "servers", "disks", "cancels"})
    assert tally.problems == []
    assert tally.counts["worker kills"] >= 1
    assert tally.counts["server kills"] == 1
    assert tally.counts["cancels"] == 2
    assert tally.counts["runs that ended with the same weights"] >= 2
