"""The API fuzzed from its own OpenAPI document: no 500 ever, and every answer is one that is documented."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from tests.serving.live import serve
from tests.serving.world import HandRanker, running_world

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
    unsupported_method,
]
FUZZED = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@schemathesis.serializer("application/x-ndjson")
def ndjson(context: schemathesis.SerializationContext, value: object) -> bytes:
    """The fuzzer's text as it is; it may be no NDJSON at all."""
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    root: Path = tmp_path_factory.mktemp("fuzzed")
    with running_world(root) as world, serve(world) as running:
        world.serve_model(HandRanker("v1", ["0", "a", "b"]))
        world.publish_model()
        yield running


@pytest.fixture(scope="module")
def api(address: str) -> schemathesis.BaseSchema:
    return schemathesis.openapi.from_url(f"{address}/openapi.json")


def takes_anything(operation: schemathesis.APIOperation) -> bool:
    """Whether there is something to get wrong."""
    return any((list(operation.path_parameters), list(operation.query), list(operation.body)))


@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode))
def test_every_answer_is_documented_and_none_is_a_500(
    api: schemathesis.BaseSchema, mode: schemathesis.GenerationMode
) -> None:
    for result in api.get_all_operations():
        operation = result.ok()
        if mode.is_negative and not takes_anything(operation):
            continue

        @FUZZED
        @given(case=operation.as_strategy(generation_mode=mode))
        def answers(case: Case) -> None:
            is_form = case.media_type == "multipart/form-data"  # where a wrong type becomes text, which is right
            case.call_and_validate(checks=CHECKS, excluded_checks=[negative_data_rejection] if is_form else [])

        answers()
