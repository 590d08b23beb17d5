"""What each arm showed, as it is asked for."""

from dataclasses import replace

from serving.app import create_app
from stream.events import ArmCount
from tests.serving.world import AppClient, World


def test_arms_are_given_with_the_start_of_their_hour(world: World) -> None:
    count = ArmCount(
        experiment="layout", arm="b", hour=2, n_feeds=3, n_items=30, n_outcomes=4, kinds={"click": 4, "like": 1}
    )
    with AppClient(create_app(replace(world.parts(), arms=lambda: [count]))) as client:
        assert client.get("/v1/arms").json() == {
            "arms": [
                {
                    "experiment": "layout",
                    "arm": "b",
                    "hour_ms": 7_200_000,
                    "n_feeds": 3,
                    "n_items": 30,
                    "n_outcomes": 4,
                    "kinds": {"click": 4, "like": 1},
                }
            ]
        }


def test_without_anything_closed_there_are_no_arms(world: World) -> None:
    with world.client() as client:
        assert client.get("/v1/arms").json() == {"arms": []}
