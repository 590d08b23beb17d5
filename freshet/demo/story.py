"""The story, in order.

    the past streams in -> a first model -> live events stream in -> a feed changes because of an event ->
    a brand-new item is recommended -> cycles publish or refuse -> models swap under constant requests -> figures

A second run goes on where the first stopped: everything lies in the data folder.
"""

import contextlib
import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from consumers.learning.cycle_events import CycleEvent
from freshet.client import Client
from freshet.demo.probe import FeedProbe, FreshnessProbe
from freshet.demo.scenes import VISITOR, change_a_feed, recommend_a_new_item
from freshet.demo.screen import Screen
from freshet.demo.script import Script
from freshet.demo.summary import MIN_CYCLES, Summary, checks, closing_table, cycle_rows, probes
from freshet.demo.tape import Tape
from freshet.http_server import HttpServer
from freshet.left_out import say_left_out
from freshet.service import Service
from freshet.settings import Settings
from stream.replay.player import Player, ReplayCounts
from stream.replay.timeline import Played

SUMMARY_FILE = "demo-summary.json"
DRAIN_TIMEOUT_S = 180.0
FIRST_MODEL_TIMEOUT_S = 1_200.0
CYCLES_TIMEOUT_S = 300.0  # after the last live event
MAX_LAG = 2_000  # events the slowest reader may be behind while data is played as fast as it goes
N_PROBED_USERS = 200
PLAYER_TIMEOUT_S = 10.0  # for what it has taken to be durable
WATCH_S = 0.25
PACE_ROWS = 50  # rows between two looks at the clock or at the lag


class DemoFailed(Exception):
    """The demo cannot go on; the message says why."""


class Demo:
    """One run of the story.

    Args:
        settings: In force, with what suits the data's size.
        script: What is played.
        is_check: End by itself and judge.
        summary: Where the JSON summary goes; None is in the data folder.
    """

    def __init__(
        self, settings: Settings, script: Script, *, is_check: bool = False, summary: Path | None = None
    ) -> None:
        self.settings = settings
        self.script = script
        self.is_check = is_check
        self._summary_file = summary or settings.data_dir / SUMMARY_FILE
        self.screen = Screen()
        self.cycles: list[CycleEvent] = []
        self.tape = Tape(script.dataset, settings.data_dir)
        self.service = Service(settings, on_cycle=self._note_cycle, has_rivals=True)
        self._stopping = threading.Event()
        self._player: threading.Thread | None = None
        self._player_failed: Exception | None = None
        self._is_training = False
        self._live = ReplayCounts()

    def run(self) -> int:
        """Play everything, then go on serving until Ctrl-C, or judge and end."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: self._interrupt())
        self.screen.say(f"everything is kept in {self.settings.data_dir}")
        server: HttpServer | None = None
        try:
            server = HttpServer(self.service.app(), host=self.settings.host, port=self.settings.port)
            self.service.start()
            server.start()
            summary = self._story(server.url)
            if self.is_check:
                return self._judge(summary)
            self.screen.step(f"Serving at {server.url} until Ctrl-C")
            self._stopping.wait()
            return 0
        except _Interrupted:
            return 130
        finally:
            self._stopping.set()
            self.screen.say("stopping; the next run goes on from here")
            if self._player is not None:
                self._player.join(PLAYER_TIMEOUT_S)
            if server is not None:
                server.stop()
            self.service.close()

    def _interrupt(self) -> None:
        """Ctrl-C: end what waits; a second one ends at once."""
        if self._stopping.is_set():
            raise KeyboardInterrupt
        self._stopping.set()

    def _story(self, url: str) -> Summary:
        self.screen.say(f"the page, the feeds and the API's documentation (/docs) are at {url}")
        self._play_the_past()
        users = self.service.sequences.recent_users(N_PROBED_USERS)
        feeds = FeedProbe(url, [user for user in users if user != VISITOR])
        feeds.start()
        self._first_model()
        with Client(url) as client:
            freshness = FreshnessProbe(client, "freshness-probe")
            self.screen.step(f"Live events stream in: {self.script.live:,} at most, while people ask for feeds")
            player = self._player = threading.Thread(target=self._play_live, name="player", daemon=True)
            player.start()
            change = change_a_feed(self.service, client, self.screen)
            new_item = recommend_a_new_item(self.service, client, self.screen, self.script.dataset)
            self.screen.step("The model goes on learning from what streams in")
            self._watch(player, freshness)
        feeds.stop()
        self._drain()
        summary = self._summary() | probes(feeds, freshness) | {"feed_change": change, "new_item": new_item}
        self._show(summary)
        return summary

    # The past -----------------------------------------------------------------------------------------------

    def _play_the_past(self) -> None:
        past = self.script.past - self.tape.place
        if past <= 0:
            self.screen.step(
                f"Going on from where the last run stopped, {self.tape.place:,} events into {self.tape.name}"
            )
        else:
            self.screen.step(f"The past streams in: {past:,} events of {self.tape.name}")
            counts = self._play(self._until_interrupted(self.tape.take(past)), self._show_past)
            self._pause(0.0)
            self.screen.say(
                f"{counts.n_interactions:,} events and {counts.n_items:,} items in {counts.elapsed_s:.1f} s"
            )
            say_left_out(self.script.dataset.bad_rows, counts.n_unknown_items, self.screen.say)
        self._drain()
        self.screen.say(f"{self.service.sequences.n_users:,} users, {self.service.catalog.n_items:,} items")

    def _until_interrupted(self, rows: Iterator[Played]) -> Iterator[Played]:
        """No more rows after Ctrl-C; what the tape gave is played, so that its place is right."""
        for row in rows:
            yield row
            if self._stopping.is_set():
                return

    def _show_past(self, counts: ReplayCounts) -> None:
        rate = counts.n_interactions / max(counts.elapsed_s, 1e-3)
        self.screen.progress(f"{counts.n_interactions:>9,} events, {counts.n_items:,} items, {rate:,.0f} events/s")

    def _play(self, rows: Iterator[Played], on_progress: Callable[[ReplayCounts], None]) -> ReplayCounts:
        player = Player(self.service.log, self.service.images, bad_rows=self.script.dataset.bad_rows)
        counts = player.play(rows, on_progress)
        self.tape.save()
        return counts

    def _drain(self) -> None:
        """Wait until the sequences, the catalogue and the training buffer have everything published so far."""
        deadline = time.monotonic() + DRAIN_TIMEOUT_S
        while behind := self.service.behind():
            if time.monotonic() > deadline:
                raise DemoFailed(f"not everything was read within {DRAIN_TIMEOUT_S:.0f} s: {behind}")
            self._pause(WATCH_S)

    # The models ---------------------------------------------------------------------------------------------

    def _first_model(self) -> None:
        if self.service.registry.current() is None:
            self.screen.step("A first model learns from the past: content towers, contrastive pretraining, fine-tuning")
        else:
            self.screen.step("The model of the last run answers again")
        self.service.start_trainer()
        deadline = time.monotonic() + FIRST_MODEL_TIMEOUT_S
        while (ranker := self.service.slot.current()) is None:
            if time.monotonic() > deadline:
                raise DemoFailed(f"no model within {FIRST_MODEL_TIMEOUT_S:.0f} s: {self.service.not_ready()}")
            self._pause(WATCH_S)
        self.screen.say(f"{ranker.version} answers, {ranker.n_items:,} items can be recommended")

    def _note_cycle(self, event: CycleEvent) -> None:
        """Shown as it happens, from the trainer's thread."""
        self._is_training = event.state not in ("published", "refused", "failed")
        line = f"training run {event.cycle} {event.state}"
        if not self._is_training:
            self.cycles.append(event)
            line += f" after {event.seconds:.0f} s" + (f" as {event.version}" if event.version else "")
        if event.state == "started":
            line += f" on {event.n_events:,} fresh events"
        self.screen.say(f"{line}: {event.detail}")

    # Live ---------------------------------------------------------------------------------------------------

    def _play_live(self) -> None:
        def note(counts: ReplayCounts) -> None:
            self._live = counts

        try:
            self._play(self._paced(self.tape.take(self.script.live)), note)
        except Exception as exc:  # this thread has no caller to raise to; `_watch` does
            self._player_failed = exc

    def _paced(self, rows: Iterator[Played]) -> Iterator[Played]:
        """Rows at the script's rate, or as fast as the slowest reader follows; no more of them after Ctrl-C."""
        started = time.monotonic()
        with contextlib.suppress(_Interrupted):
            for n, row in enumerate(rows, start=1):
                yield row  # what the tape gave is played, so that its place is right
                if n % PACE_ROWS == 0:
                    if self.script.rate is not None:
                        self._pause(n / self.script.rate - (time.monotonic() - started))
                    self._let_the_watcher_follow()

    def _let_the_watcher_follow(self) -> None:
        deadline = time.monotonic() + DRAIN_TIMEOUT_S
        while (lag := self.service.watcher_lag()) > MAX_LAG:
            if time.monotonic() > deadline:
                raise DemoFailed(f"after {DRAIN_TIMEOUT_S:.0f} s {lag:,} events were still to be predicted")
            self._pause(0.02)

    def _watch(self, player: threading.Thread, freshness: FreshnessProbe) -> None:
        """Show how it goes until everything live is played and predicted, and the cycles have ended.

        Raises:
            Exception: what ended the player.
        """
        deadline: float | None = None
        while self._is_playing(player) or self._is_unfinished():
            if not player.is_alive():
                deadline = deadline or time.monotonic() + CYCLES_TIMEOUT_S
                if time.monotonic() > deadline or not (self._live.n_interactions or self._is_training):
                    break
            freshness.measure_next()
            self._show_live()
            self._pause(WATCH_S)

    def _is_playing(self, player: threading.Thread) -> bool:
        is_alive = player.is_alive()
        if self._player_failed is not None:
            raise self._player_failed
        return is_alive

    def _is_unfinished(self) -> bool:
        n_continual = sum(event.cycle > 1 for event in self.cycles)
        return self._is_training or self.service.watcher_lag() > 0 or n_continual < MIN_CYCLES

    def _show_live(self) -> None:
        model = self.service.watcher.report()["organic"]["model"]["filtered"]
        quality = f"Recall@10 {model['recall_at_10']:.3f} over {model['n']:,}" if model["n"] else "predicting"
        rate = self._live.n_interactions / max(self._live.elapsed_s, 1e-3)
        ranker = self.service.slot.current()
        self.screen.progress(
            f"{self._live.n_interactions:>7,} live events, {rate:,.0f}/s, {ranker.version if ranker else 'no model'}, "
            f"{quality}{', training' if self._is_training else ''}"
        )

    def _pause(self, seconds: float) -> None:
        if self._stopping.wait(max(0.0, seconds)):
            raise _Interrupted

    # The figures --------------------------------------------------------------------------------------------

    def _summary(self) -> Summary:
        ranker = self.service.slot.current()
        return {
            "dataset": self.tape.name,
            "seconds": self.screen.elapsed_s,
            "stream": {
                "n_past": min(self.script.past, self.tape.place),
                "n_live": self._live.n_interactions,
                "live_s": self._live.elapsed_s,
                "n_users": self.service.sequences.n_users,
                "n_items": self.service.catalog.n_items,
                "lag": sum(self.service.behind().values()),
                "bad_rows": self.script.dataset.bad_rows.total,
            },
            "cycles": cycle_rows(self.cycles),
            "models": {"n_swaps": self.service.slot.n_swaps, "current": ranker.version if ranker else None},
            "prequential": self.service.watcher.report(),
            "blend": self.service.blending.report(),
        }

    def _show(self, summary: Summary) -> None:
        self.screen.step("What was measured")
        self.screen.table(closing_table(summary))
        path = self._summary_file
        held = checks(summary)
        path.write_text(json.dumps(summary | {"checks": held, "ok": all(held.values())}, indent=2), encoding="utf-8")
        self.screen.say(f"all figures: {path}")

    def _judge(self, summary: Summary) -> int:
        self.screen.step("Every promise, checked")
        held = checks(summary)
        for promise, is_held in held.items():
            self.screen.say(f"{'held' if is_held else 'BROKEN'}  {promise}")
        return 0 if all(held.values()) else 1


class _Interrupted(Exception):
    """Ctrl-C while something waited."""
