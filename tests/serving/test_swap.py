"""A model swap under constant requests: no failed answer, and none of two versions."""

import threading

from tests.serving.world import AppClient, HandRanker, World
from tests.waiting import wait_until

N_SWAPS = 20
ITEMS = [f"item-{number}" for number in range(50)]


def _ranker(number: int) -> HandRanker:
    return HandRanker(f"v{number}", ITEMS, score=float(number))


def test_no_answer_fails_or_mixes_versions_over_twenty_swaps(client: AppClient, world: World) -> None:
    world.serve_model(_ranker(0))
    position = client.post("/v1/events", json={"user_id": "ada", "item_id": "item-0"}).json()["position"]
    client.get("/v1/feeds/ada", params={"after": position})
    stop = threading.Event()
    answers: list[tuple[int, str, set[str]]] = []

    def ask() -> None:
        while not stop.is_set():
            answer = client.get("/v1/feeds/ada?k=10")
            feed = answer.json()
            scores = {f"v{item['score']:.0f}" for item in feed["items"]}
            answers.append((answer.status_code, feed["model_version"], scores))

    askers = [threading.Thread(target=ask) for _ in range(4)]
    for asker in askers:
        asker.start()
    for number in range(1, N_SWAPS + 1):
        wanted = len(answers) + 5
        wait_until(lambda wanted=wanted: len(answers) >= wanted, "five more answers")
        world.serve_model(_ranker(number))
    stop.set()
    for asker in askers:
        asker.join(10)

    assert {status for status, _, _ in answers} == {200}
    assert all(scores == {version} for _, version, scores in answers)
    assert len({version for _, version, _ in answers}) >= N_SWAPS // 2


def test_all_requests_of_one_batch_are_answered_by_one_version(world: World) -> None:
    """The slot is swapped while a batch is being scored; the batch stays with the version it began with."""
    new = _ranker(2)
    old = HandRanker("v1", ITEMS, score=1.0, before=lambda requests: world.serve_model(new))
    world.serve_model(old)
    with world.client() as client:
        first = client.post("/v1/feeds", json={"items": ["item-0"], "k": 5}).json()
        second = client.post("/v1/feeds", json={"items": ["item-0"], "k": 5}).json()

    assert (first["model_version"], {item["score"] for item in first["items"]}) == ("v1", {1.0})
    assert (second["model_version"], {item["score"] for item in second["items"]}) == ("v2", {2.0})
