"""Both memories and their blend on a data set's last fifth, streamed: every event is predicted, then learned.

Command:   python -m benchmarks.stream --data PATH --json FILE [--model m2se-long] [--seeds N] [--tune] [--without PART]
           Seeds that FILE has already, of the same command, settings and data, are not run again.
Data:      a data set (`stream.replay.dataset`) whose items are there from its first event on. The model is trained
           once, on the first 80 % of the events by time; the fast memory and the blend learn on, from each event after
           it was predicted. What the blend learns on the last tenth of the 80 %, beside a model that was not trained
           on it, is where it starts on the stream. With --tune the model sees the first 72 %, and the next 8 % are
           streamed; nothing is ever chosen on the last 20 %.
Hardware:  2 CPU cores, 25 minutes beside what --tune has kept, which takes 25.
Asked:     MovieLens-1M, filtered, Recall@10 / NDCG@10 of the blend at least .215 / .111, and 2.5 % above the better of
           the two memories.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import machine
from freshet.evaluation.content import catalogue_towers, encode_catalogue, towers_here
from freshet.evaluation.data import EvaluationData, read_data
from models.content.features import content_hash
from models.content.table import ContentTable
from models.encoder.batches import SequenceData
from models.evaluation.ranks import Excluded
from models.evaluation.report import RankingReport, compare
from models.memory.blend import PARTS, BlendConfig, Part, utilities
from models.memory.blocks import Block, blocks_by_time
from models.memory.learner import OnlineLearner
from models.rivals.build import BLEND, MEMORY, build, settings_of
from models.rivals.recommender import Catalogue, Recommender
from models.towers.building import TowerConfig
from stream.kinds import DEFAULT_KINDS
from stream.replay.dataset import open_dataset

Scores = NDArray[np.float32]

NAMES = ("model", "memory", "blend")
CHUNK = 256  # blocks scored by the model at once
K = 10


class Stream:
    """Predicts and learns blocks in the order of time.

    Args:
        data: histories of all users.
    """

    def __init__(self, data: SequenceData) -> None:
        self.reports = {name: RankingReport(K) for name in NAMES}
        self._data = data

    def warm_up(self, learner: OnlineLearner, blocks: Sequence[Block]) -> None:
        """Learn without predicting."""
        for block in blocks:
            self._apply(learner, block)

    def run(self, learner: OnlineLearner, scores: Scores, blocks: Sequence[Block]) -> None:
        """Predict each block from the state before it, then learn it; the model's data end where the blocks begin.

        Args:
            learner: both memories' and the blend's state.
            scores: (B, N) of the model before each block.
            blocks: in the order of time.
        """
        n_events = 0
        for start in range(0, len(blocks), CHUNK):
            chunk = blocks[start : start + CHUNK]
            rows: dict[str, list[Scores]] = {name: [] for name in NAMES}
            for block, row in zip(chunk, scores[start : start + CHUNK], strict=True):
                if block.begin > block.first:
                    self._predict(learner, block, row, age=learner.blend.age(n_events), rows=rows)
                self._apply(learner, block)
                n_events += block.end - block.begin
            self._rank([block for block in chunk if block.begin > block.first], rows)

    def result(self) -> dict[str, Any]:
        """Figures by name, with intervals over users, and what the blend gains over each memory."""
        figures: dict[str, Any] = {name: report.to_dict() for name, report in self.reports.items()}
        for name, report in self.reports.items():
            intervals = report.filtered.intervals()
            figures[name]["filtered"]["intervals"] = {key: value._asdict() for key, value in intervals.items()}
            if name != "blend":
                gains = compare(self.reports["blend"].filtered, report.filtered)
                figures[name]["blend_gains"] = {key: value._asdict() for key, value in gains.items()}
        return figures

    def _apply(self, learner: OnlineLearner, block: Block) -> None:
        items, times = self._data.rows[block.begin : block.end], self._data.ts_ms[block.begin : block.end]
        learner.apply(self._data.rows[block.first : block.begin], items.tolist(), times.tolist())

    def _predict(
        self,
        learner: OnlineLearner,
        block: Block,
        scores: Scores,
        *,
        age: float,
        rows: dict[str, list[Scores]],
    ) -> None:
        parts = learner.parts(scores, self._data.rows[block.first : block.begin])
        rows["model"].append(scores)
        rows["memory"].append(parts.values[PARTS.index("memory")])
        rows["blend"].append(utilities(learner.blend.weights, parts, age=age))
        for target in self._data.rows[block.begin : block.end].tolist():
            learner.blend.learn(parts, target, age=age)

    def _rank(self, blocks: Sequence[Block], rows: dict[str, list[Scores]]) -> None:
        if not blocks:
            return
        repeats = np.repeat(np.arange(len(blocks)), [block.end - block.begin for block in blocks])
        targets = np.concatenate([self._data.rows[block.begin : block.end] for block in blocks])
        users = [blocks[at].first for at in repeats.tolist()]
        seen = Excluded.of([self._data.rows[blocks[at].first : blocks[at].begin] for at in repeats.tolist()])
        for name, report in self.reports.items():
            report.add(users, np.stack(rows[name])[repeats], targets, seen=seen)


def trained(name: str, data: SequenceData, until_ms: int, *, content: ContentTable, seed: int) -> Recommender:
    """A model that learned from the events before `until_ms` alone."""
    train = data.subset(data.ts_ms < until_ms, data.is_target)
    has_id = np.bincount(train.rows, minlength=len(content)) > 0
    model = build(name, Catalogue(len(content), content, has_id), seed=seed)
    model.fit(train, validation=None, on_epoch=lambda report: print(f"  {report}", flush=True))
    return model


def kept_scores(path: Path, model: Callable[[], Recommender], data: SequenceData, blocks: Sequence[Block]) -> Scores:
    """(B, N) what a model says before each block; as an earlier run left it in `path`, if one did."""
    if not path.exists():
        trained_model, part = model(), path.with_suffix(".part")
        with part.open("wb") as file:
            for start in range(0, len(blocks), CHUNK):
                spans = [slice(block.first, block.begin) for block in blocks[start : start + CHUNK]]
                scores = trained_model.scores([data.rows[span] for span in spans], [data.ts_ms[span] for span in spans])
                scores.astype(np.float32).tofile(file)
        part.rename(path)
    return np.memmap(path, np.float32, "r").reshape(len(blocks), -1)


def check_items(data: EvaluationData) -> None:
    """Refuse items that come later: all are ranked, all the time.

    Raises:
        ValueError: there are some.
    """
    n_later = int((data.live_from_ms > data.events.ts_ms.min()).sum())
    if n_later:
        raise ValueError(
            f"{n_later} of {len(data.items)} items of {data.name} come after its first event; take another data set"
        )


def content_of(data: EvaluationData, folder: Path) -> ContentTable:
    """The items' content by the product's towers, kept in `folder`."""
    known = np.ones(len(data.items), np.bool_)
    config = towers_here(TowerConfig(), say=print)
    towers = catalogue_towers(data, is_known=known, folder=folder, say=print, config=config)
    return encode_catalogue(data, towers, folder=folder, say=lambda _: None)


def seed_runs(
    data: SequenceData, content: ContentTable, options: argparse.Namespace, *, kept: Path, done: Container[int] = ()
) -> Iterator[dict[str, Any]]:
    """One result a seed that is not in `done`; what the model scored lies in `kept`."""
    kept.mkdir(parents=True, exist_ok=True)
    by_time = np.sort(data.ts_ms)
    cut = [int(by_time[int(len(by_time) * share)]) for share in (0.72, 0.8)] + [int(by_time[-1]) + 1]
    past = blocks_by_time(data, since_ms=0, until_ms=cut[0])
    for seed in range(options.seeds):
        if seed in done:
            continue
        started = time.perf_counter()
        learner = OnlineLearner.new(memory=MEMORY, blend=without(options.without) if options.without else BLEND)
        Stream(data).warm_up(learner, past)
        for since_ms, until_ms in pairwise(cut[:2] if options.tune else cut):
            blocks = blocks_by_time(data, since_ms=since_ms, until_ms=until_ms)
            make = partial(trained, options.model, data, since_ms, content=content, seed=seed)
            scores = kept_scores(kept / f"{since_ms}-{seed}.f32", make, data, blocks)
            stream = Stream(data)
            stream.run(learner, scores, blocks)
        weights = learner.blend.weights
        yield {
            "seed": seed,
            "machine": machine(),
            "weights": {"steady": weights.steady, "ageing": weights.ageing},
            "seconds": round(time.perf_counter() - started, 1),
            **stream.result(),
        }


def without(part: Part) -> BlendConfig:
    """The blend in which a part has no say."""
    at = PARTS.index(part)
    start, least, most = ((*bound[:at], 0.0, *bound[at + 1 :]) for bound in (BLEND.start, BLEND.least, BLEND.most))
    return replace(BLEND, start=start, least=least, most=most)


def finished(path: Path, of: dict[str, str]) -> list[dict[str, Any]]:
    """The runs of an earlier result; none where its command, settings or data were others."""
    if not path.exists():
        return []
    earlier = json.loads(path.read_text())
    runs: list[dict[str, Any]] = earlier["runs"] if {name: earlier[name] for name in of} == of else []
    return runs


def main() -> None:
    """Run, print a table, keep the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--json", type=Path, required=True, help="result file")
    parser.add_argument("--model", default="m2se-long", help="the slow memory (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path("build/stream"),
        help="keeps vectors and scores; another when the models' code changes",
    )
    parser.add_argument("--tune", action="store_true", help="judge the last tenth of the first 80 %%")
    parser.add_argument("--without", choices=PARTS[1:], help="a part that is to have no say in the blend")
    arguments = parser.parse_args()
    flags = (" --tune" if arguments.tune else "") + (f" --without {arguments.without}" if arguments.without else "")
    model = [part for part in settings_of(arguments.model) if not isinstance(part, int)]  # patience has no say here
    settings = repr((*model, MEMORY, without(arguments.without) if arguments.without else BLEND))
    data = read_data(open_dataset(arguments.data), kinds=DEFAULT_KINDS)
    check_items(data)
    content = content_of(data, arguments.folder)
    vectors = (part.numpy().tobytes() for part in (content.text, content.image))
    what = content_hash(data.fingerprint, *vectors)[:8]
    kept = arguments.folder / f"{arguments.model}-{content_hash(repr(model))[:8]}-{what}"
    command = f"python -m benchmarks.stream --model {arguments.model}{flags}"
    head = {"command": command, "settings": settings, "data": f"{data.name}, {what}"}
    runs = finished(arguments.json, head)
    for run in seed_runs(data.events, content, arguments, kept=kept, done=[run["seed"] for run in runs]):
        runs.append(run)
        for name in NAMES:
            figures = run[name]["filtered"]
            print(f"seed {run['seed']}  {name:8} {figures['recall_at_10']:.4f} {figures['ndcg_at_10']:.4f}", flush=True)
        arguments.json.write_text(json.dumps(head | {"runs": runs}, indent=2) + "\n")


if __name__ == "__main__":
    main()
