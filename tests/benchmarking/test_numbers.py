"""The numbers that the scripts of benchmarks/ say are those that a reader finds by hand, from flows, errors and times that
are known."""

from itertools import count
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from media import moving_frames, write_clip
from tables import rows, rows_without_times

from flowgru.config.way import Way
from flowgru.data.sample import FlowSample
from flowgru.model.weight_files.loading import load_model

SIZE = (4, 5)


def everywhere(u: float, v: float) -> torch.Tensor:
    """The flow [2, 4, 5] that is the same in all pixels."""
    return torch.tensor([float(u), float(v)])[:, None, None].expand(2, *SIZE)


def still(**known) -> FlowSample:
    """A pair in which nothing moves, but for what is given."""
    picture = torch.zeros(3, *SIZE)
    known = {"flow": everywhere(0, 0), "valid": torch.ones(SIZE, dtype=torch.bool), "occlusion": None} | known
    return FlowSample(picture, picture, name="known", **known)


@pytest.fixture
def json(tmp_path):
    return tmp_path / "rows.jsonl"


@pytest.fixture
def seconds(monkeypatch):
    """Has a script find that its actions took these seconds in their turns, one list for each action."""

    def give(module, *times: list[float]) -> None:
        measured = lambda actions, *given, **more: dict(zip(actions, times, strict=True))  # noqa: E731
        monkeypatch.setattr(module, "interleaved_seconds", measured)

    return give


def ratio(found: dict, name: str = "times as fast (range)") -> tuple[float, float, float]:
    return found[name]["median"], found[name]["lowest"], found[name]["highest"]


def test_precision_is_of_what_is_named_and_recall_of_what_is_hidden(script, monkeypatch):
    occlusion = script("occlusion")
    named, hidden = (torch.zeros(SIZE, dtype=torch.bool) for _ in range(2))
    named[0], hidden[:2, 0] = True, True  # five are named, of which one is hidden, and two are hidden
    monkeypatch.setattr(occlusion, "occlusion_mask", lambda forward, backward: named)
    pairs = [still(occlusion=hidden), still(occlusion=hidden)]
    assert occlusion.precision_and_recall(lambda first, second: (None, None), pairs) == (1 / 5, 1 / 2)


def test_a_ways_time_is_that_of_a_pair_and_its_ratio_goes_round_by_round(script, seconds, model, tmp_path, json):
    write_clip(tmp_path / "walk.mp4", moving_frames(3, 128, 136))
    ways = script("ways", tmp_path / "walk.mp4", "--model", model, "--frames", 3, "--json", json)
    seconds(ways, [4.0, 8.0, 6.0], [2.0, 2.0, 1.0])
    ways.main()
    alone, own = rows(json)
    assert (alone["s a pair"], alone["frames/s"], own["s a pair"], own["frames/s"]) == (3.0, 1 / 3, 1.0, 1.0)
    assert ratio(alone) == (1, 1, 1) and ratio(own) == (4, 2, 6)


def test_torchvisions_time_is_that_of_a_pair(script, seconds, json):
    few = ("--networks", "small", "--size", "128x128", "--rounds", 1, "--iterations", 1, "--frames", 3)
    against = script("against_torchvision", *few, "--json", json)
    seconds(against, [6.0], [3.0])
    against.main()
    theirs, ours = rows(json)
    assert (theirs["s a pair"], ours["s a pair"]) == (3.0, 1.5)
    assert ratio(ours, "times as fast as torchvision (range)") == (2, 2, 2)


def test_the_look_up_that_takes_half_the_time_is_twice_as_fast(script, seconds, json):
    lookup = script("lookup", "--sizes", "64x72", "--channels", 8, "--json", json)
    seconds(lookup, [0.004, 0.006], [0.002, 0.002])
    lookup.main()
    for found in rows(json):
        assert (found["all_pairs, ms"], found["on_demand, ms"]) == pytest.approx((5, 2))
        assert ratio(found, "on_demand is times as fast (range)") == (2.5, 2, 3)


def test_tiles_are_measured_from_the_truth_and_from_the_whole(script, model, monkeypatch, json):
    tiles = script("tiles", "--model", model, "--tiles", "1x2", "--json", json)
    picture = torch.zeros(3, *SIZE)
    monkeypatch.setattr(tiles, "pairs", lambda root: [("one", picture, picture, everywhere(0, 4))])
    flows = lambda frames, network, tiles=None, **way: [everywhere(*((3, 4) if tiles else (0, 0)))]  # noqa: E731
    monkeypatch.setattr(tiles, "estimate_flow", flows)
    tiles.main()
    (found,) = rows_without_times(json)
    assert (found["longest true motion"], found["EPE whole"], found["EPE tiles"]) == (4, 4, 3)
    assert found["from the whole's flow: mean / 99 %"] == [5, 5]


def test_where_nothing_moves_the_error_is_the_length_of_the_flow(script, model, monkeypatch, json):
    still_pairs = script("still_pairs", "--model", model, "--json", json)
    monkeypatch.setattr(still_pairs, "pairs", lambda: [("one", still().first, still().second)])
    flows = lambda frames, network, **way: [everywhere(*((0, 2) if way else (3, 4)))]  # noqa: E731
    monkeypatch.setattr(still_pairs, "estimate_flow", flows)
    monkeypatch.setattr(still_pairs, "dis_flow", lambda first, second: np.full((*SIZE, 2), (0.0, 1.0), np.float32))
    still_pairs.main()
    (found,) = rows_without_times(json)
    assert (found["default way"], found["network alone"], found["DIS"]) == (5, 2, 1)


@pytest.mark.parametrize("knows", [True, False])
def test_a_confidence_that_is_high_where_the_error_is_small_is_a_good_one(script, monkeypatch, json, knows):
    confidence = script("confidence", "--json", json)
    error = torch.linspace(0.1, 2.0, 20).reshape(SIZE)
    sure = 1 - error / 4 if knows else error / 4  # from 0.5 to 1, or from 0 to 0.5
    network = SimpleNamespace(mixture_head=True, card={"iterations": 6})
    found = SimpleNamespace(forward=torch.stack([error, 0 * error]), confidence=sure)
    monkeypatch.setattr(confidence, "load_model", lambda *given: network)
    monkeypatch.setattr(confidence, "SyntheticPairs", lambda *given, **more: [still()])
    monkeypatch.setattr(confidence, "PairMatcher", lambda *given: SimpleNamespace(match=lambda *pair: found))
    confidence.main()
    of_all, *bins = (row for row in rows_without_times(json) if row["way"] == str(Way(12)))
    assert of_all["EPE, px"] == pytest.approx(1.05)
    assert of_all["AUSE"] == pytest.approx(0, abs=1e-6) if knows else of_all["AUSE"] > 0.8
    # Half of the errors are at most 1 px: those whose stated probability is above 0.75, 0.86 in the mean, or below 0.25.
    close = [row["within 1 px"] for row in bins]
    assert close == sorted(close, reverse=not knows) and {0, 1} <= {*close}
    assert of_all["calibration error"] == pytest.approx(0.33 if knows else 0.6, abs=0.03)


def test_a_choice_in_the_polish_that_doubles_the_error_has_a_ratio_of_two(script, model, monkeypatch, json):
    polish = script("polish", "--model", model, "--pairs", 2, "--json", json)
    flow_of = lambda u: lambda first, second, flow, initial: np.full((*SIZE, 2), (u, 0.0), np.float32)  # noqa: E731
    monkeypatch.setattr(polish, "ROWS", {polish.AS_IT_IS: flow_of(1.0), "another": flow_of(2.005)})
    monkeypatch.setattr(polish, "held_out_pairs", lambda given: [still(), still()])
    monkeypatch.setattr(polish, "begun", lambda first, second: None)
    network = lambda *given: lambda *pair: SimpleNamespace(flow=everywhere(9, 9)[None])  # noqa: E731
    monkeypatch.setattr(polish, "NetworkEstimator", network)
    clock = count()
    monkeypatch.setattr(polish, "time", SimpleNamespace(perf_counter=lambda: next(clock) ** 2 / 1000))
    polish.main()
    as_it_is, another = rows_without_times(json)
    assert (as_it_is["mean, px"], as_it_is["ratio"]) == (1, 1)
    assert (another["mean, px"], another["ratio"]) == pytest.approx((2.005, 2))
    # The clock's differences: 1 and 9 ms of both rows for one pair, 5 and 13 ms for the other.
    assert (as_it_is["ms"], another["ms"]) == pytest.approx((5, 9))


def test_weights_are_better_on_the_pairs_whose_error_is_smaller(script, monkeypatch, json):
    paired = script("paired_models", "old", "new", "--json", json)
    known = {"old": np.array([0.995, 0.995, 3.995]), "new": np.array([1.995, 0.495, 1.995])}
    monkeypatch.setattr(paired, "load_model", lambda name, device: name)
    monkeypatch.setattr(paired, "WAYS", (Way(1), Way(2)))
    errors = lambda network, pairs, way: way.iterations * (known[network] + 0.005) - 0.005  # noqa: E731
    monkeypatch.setattr(paired, "errors", errors)
    paired.main()
    old, old_twice, new, new_twice = rows_without_times(json)
    assert (old["mean, px"], old["median, px"], new["mean, px"], new["median, px"]) == pytest.approx(
        (1.995, 0.995, 1.495, 1.995)
    )
    assert [row["better pairs"] for row in (old, new)] == [0, 2]
    assert (new["ratio"], new_twice["ratio"]) == pytest.approx((0.5 ** (1 / 3), 0.5 ** (1 / 3)))
    assert old_twice["ratio to the first row"] == pytest.approx(2)
    assert new_twice["ratio to the first row"] == pytest.approx(2 * 0.5 ** (1 / 3))
    # Logarithms of 2, 1/2 and 1/2: their mean, and 4.303 (Student's t of two degrees) times 1.155 / sqrt(3), times ln(2).
    assert new["95 % interval"] == "0.109 to 5.796"


def test_pairs_that_begin_again_are_better_where_their_error_is_smaller(script, monkeypatch, json):
    restarts = script("restarts", "--json", json)
    card = {"iterations": 1, "initial_flow": "dis", "hold": 1, "scales": 2}
    monkeypatch.setattr(restarts, "load_model", lambda *given: SimpleNamespace(card=card))
    moved, from_dis, again = (0.5, 0.025, 0.0), np.array([4.0, 1.0, 1.0]), np.array([1.0, 2.0, 3.0])

    def errors(network, pairs, way):
        begins_again = [restarts.matcher.was_wrong(share, None) for share in moved]
        return np.where(begins_again, again, from_dis)

    monkeypatch.setattr(restarts, "errors", errors)
    monkeypatch.setattr(restarts, "share_moved", lambda initial, refined: initial)
    restarts.main()
    found = {row["begins again above"]: row for row in rows_without_times(json)}
    known = {"never": (0, 2, 0, 0), "3.00%": (1 / 3, 1, 1, 0), "2.00%": (2 / 3, 4 / 3, 1, 1), "always": (1, 2, 1, 2)}
    for rule, expected in known.items():
        row = found[rule]
        assert (row["of the pairs"], row["mean, px"], row["better"], row["worse"]) == pytest.approx(expected), rule
    assert found["never"]["ratio"] == 1 and found["3.00%"]["ratio"] == pytest.approx((1.005 / 4.005) ** (1 / 3))


def test_the_time_of_an_early_exit_is_of_all_pairs_whose_error_it_has(script, model, monkeypatch, json):
    """Two pairs need 1 and 3 refinements, and the time is taken on the first of them alone."""
    few = ("--pairs", 2, "--size", "128x136", "--iterations", 1, 4, "--below", 0.5, "--timed-pairs", 1)
    early_exit = script("early_exit", "--models", model, *few, "--json", json)
    pairs = [still(flow=everywhere(0, moves)) for moves in (1, 3)]
    monkeypatch.setattr(early_exit, "generated_pairs", lambda *given: pairs)

    def run(self, pair, iterations):
        moves = int(pair.flow.max())
        self.found = [1.0 if number < moves else 0.4 for number in range(1, iterations + 1)]
        return tuple(everywhere(0, number)[None] for number in range(1, iterations + 1))

    def measured(actions, rounds, device, *, clock):
        ways = [action.args[-1] for action in actions.values()]
        return {name: [way.most + 0.5 * (way.below is not None)] for name, way in zip(actions, ways, strict=True)}

    monkeypatch.setattr(early_exit.Lengths, "run", run)
    monkeypatch.setattr(early_exit, "check", lambda *given: None)
    monkeypatch.setattr(early_exit, "interleaved_seconds", measured)
    early_exit.main()
    found = {row["pair"]: row for row in rows(json)}
    numbers = ("refinements, mean", "EPE per image, px", "ms a pair")
    assert [found["1 refinements"][name] for name in numbers] == [1, 1, 1000]
    assert [found["4 refinements"][name] for name in numbers] == [4, 2, 4000]
    assert [found["below 0.5 px"][name] for name in numbers] == [2, 0, 2500]


def test_watched_refinements_are_all_done(script, model):
    early_exit = script("early_exit")
    network, picture = load_model(model, "cpu"), torch.rand(3, 128, 136)
    pair = FlowSample(picture, picture.roll(2, 2), torch.zeros(2, 128, 136), torch.ones(128, 136) > 0, None, "one")
    with torch.inference_mode():
        found = early_exit.estimate(network, pair, early_exit.Way(4, below=1e6).of(3))
    assert found.num_refinements == 3


def test_workers_are_at_work_only_between_the_first_row_and_the_last(script, monkeypatch):
    """One worker: rows at 10, 12 and 15 s, of clips of 9, 4 and 1.5 s, of which 2 and 1.5 s are in these five seconds."""
    corpus = script("corpus", "engine", "--folder", "unused")
    clock = iter([10.0, 12.0, 15.0])
    monkeypatch.setattr(corpus, "time", SimpleNamespace(perf_counter=lambda: next(clock), process_time=lambda: 0.0))
    run = SimpleNamespace(_keep=lambda self, engine, clip, result: None)
    monkeypatch.setattr(corpus.driver, "_Run", run)

    def driven(inputs, settings):
        for took in (9.0, 4.0, 1.5):
            run._keep(None, None, None, SimpleNamespace(seconds=took))

    monkeypatch.setattr(corpus.driver, "run_corpus", driven)
    speed = corpus._by_workers("clips", None, 1)
    assert (speed.clips_per_second, speed.at_work) == (2 / 5, 3.5 / 5)


def test_one_clip_gives_a_difference_without_an_interval(script):
    tracks = script("tracks")
    assert tracks.difference(np.array([1.5])) == "+1.50 points of percent"
    assert tracks.difference(np.array([1.0, 2.0])).startswith("+1.50 points of percent, 95 % interval +1.00 to +2.00")


def test_no_time_can_be_taken_on_no_pair(script, capsys):
    with pytest.raises(SystemExit):
        script("early_exit", "--timed-pairs", 0).main()
    assert "--timed-pairs is 0: expected 1 at least, or --no-times" in capsys.readouterr().err
