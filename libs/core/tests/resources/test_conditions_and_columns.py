"""Ready follows from what was observed, and tables read like kubectl's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from astromesh_core.resources.columns import PLURALS, Observed, age, cells, headings, refused_cells
from astromesh_core.resources.conditions import CONDITION_TYPES, Condition, Status, derive_ready, merge, not_supported
from astromesh_core.resources.loading import load_text

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def observed(**statuses: Status) -> list[Condition]:
    return [Condition(name, status, f"{name}{status}") for name, status in statuses.items()]


def test_ready_when_everything_is_true() -> None:
    conditions = [Condition(name, "True", "Fine") for name in CONDITION_TYPES["Agent"]]
    assert derive_ready("Agent", conditions, NOW).status == "True"


def test_false_wins_over_unknown_and_says_why() -> None:
    ready = derive_ready("Provider", observed(EndpointReachable="False", ModelsAvailable="Unknown"), NOW)
    assert (ready.status, ready.reason) == ("False", "EndpointReachableFalse")


def test_what_was_not_observed_yet_is_unknown() -> None:
    ready = derive_ready("RAGPipeline", observed(StoreConnected="True"), NOW)
    assert ready.status == "Unknown"
    assert "IngestionComplete" in ready.message


def test_settings_are_ready_as_they_are() -> None:
    assert derive_ready("RuntimeConfig", [], NOW).status == "True"


def test_not_supported_names_each_field() -> None:
    ready = not_supported(["a.yaml:3: spec.x: is not built yet"], NOW)
    assert (ready.status, ready.reason, ready.message) == (
        "False",
        "NotSupported",
        "a.yaml:3: spec.x: is not built yet",
    )


def test_a_transition_keeps_its_time_until_the_status_changes() -> None:
    later = NOW + timedelta(hours=1)
    old = [Condition("A", "True", "Fine", last_transition_time=NOW), Condition("B", "True", "Fine")]
    new = [Condition("A", "True", "StillFine", last_transition_time=later)]
    assert [(c.reason, c.last_transition_time) for c in merge(old, new)] == [("StillFine", NOW), ("Fine", None)]
    changed = [Condition("A", "False", "Gone", last_transition_time=later)]
    assert merge(old, changed)[0].last_transition_time == later


def test_prints_pipelines_as_kubectl_does() -> None:
    text = "apiVersion: astromesh/v1\nkind: RAGPipeline\nmetadata: {name: kb}\nspec: {store: {backend: pgvector}}\n"
    (pipeline,) = load_text(text, "f").resources
    ingested = int((NOW - timedelta(hours=2)).timestamp())
    figures = {"documents": 142, "chunks": 3847, "last_ingested_unix_seconds": ingested}
    row = Observed(pipeline, True, NOW - timedelta(days=14), NOW, figures)
    assert headings("RAGPipeline") == [
        "NAME",
        "STORE",
        "EMBEDDING MODEL",
        "DOCUMENTS",
        "CHUNKS",
        "LAST INGESTED",
        "AGE",
    ]
    assert cells(row) == ["kb", "pgvector", "all-MiniLM-L6-v2", "142", "3,847", "2h ago", "14d"]


def test_of_what_was_never_good_the_table_says_its_name_and_that_it_is_not_ready() -> None:
    for kind in set(PLURALS.values()):
        row = dict(zip(headings(kind), refused_cells(kind, "x", timedelta(minutes=3)), strict=True))
        known = {"NAME": "x", "READY": "false", "HEALTHY": "false", "CONNECTED": "false", "AGE": "3m"}
        assert row == {heading: known.get(heading, "—") for heading in headings(kind)}


def test_ages_are_short() -> None:
    spans = [timedelta(seconds=-1), timedelta(seconds=59), timedelta(minutes=60), timedelta(days=3)]
    assert [age(span) for span in spans] == ["0s", "59s", "1h", "3d"]
