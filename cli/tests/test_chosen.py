"""Who has a say in how a mesh starts: options before environment, environment before runtime.yaml."""

from __future__ import annotations

from pathlib import Path

import pytest

from astromesh_cli.serving.chosen import chosen
from astromesh_core.errors import Denied, InvalidInput

HEAD = "apiVersion: astromesh/v1\nkind: RuntimeConfig\nmetadata: {name: mesh}\nspec:\n"


@pytest.fixture(autouse=True)
def _no_settings_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOST", "PORT", "GRPC_PORT"):
        monkeypatch.delenv(f"ASTROMESH_{name}", raising=False)


def folder(tmp_path: Path, spec: str) -> dict[str, object]:
    (tmp_path / "runtime.yaml").write_text(f"{HEAD}{spec}", encoding="utf-8")
    return {"config_dir": tmp_path}


def test_without_runtime_yaml_the_defaults_hold(tmp_path: Path) -> None:
    how = chosen({"config_dir": tmp_path})

    assert (how.settings.host, how.settings.port, how.settings.grpc_port) == ("127.0.0.1", 8000, 8001)
    assert len(how.services) == 9


def test_runtime_yaml_says_where_the_mesh_listens(tmp_path: Path) -> None:
    how = chosen(folder(tmp_path, "  api: {host: localhost, port: 8100, grpc_port: 8101}\n"))

    assert (how.settings.host, how.settings.port, how.settings.grpc_port) == ("localhost", 8100, 8101)


def test_the_environment_outweighs_runtime_yaml_and_options_outweigh_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASTROMESH_PORT", "8200")
    monkeypatch.setenv("ASTROMESH_GRPC_PORT", "8201")
    given = folder(tmp_path, "  api: {port: 8100, grpc_port: 8101}\n")

    how = chosen({**given, "port": 8300})

    assert (how.settings.port, how.settings.grpc_port) == (8300, 8201)


def test_a_service_that_is_switched_off_is_not_started(tmp_path: Path) -> None:
    assert "history" not in chosen(folder(tmp_path, "  services: {history: false}\n")).services


def test_a_mesh_without_services_is_refused(tmp_path: Path) -> None:
    names = ["gateway", "runtime", "router", "memory", "tools", "guardrails", "rag", "history", "operator"]
    off = ", ".join(f"{name}: false" for name in names)

    with pytest.raises(InvalidInput, match="switches every service off"):
        chosen(folder(tmp_path, f"  services: {{{off}}}\n"))


def test_an_address_that_others_reach_is_refused_at_once_where_nobody_has_a_key(tmp_path: Path) -> None:
    with pytest.raises(Denied, match=r"0\.0\.0\.0 .*spec\.api_keys"):
        chosen({"config_dir": tmp_path, "data_dir": tmp_path / "data", "host": "0.0.0.0"})
    with pytest.raises(Denied, match=r"spec\.api_keys to .*runtime\.yaml"):
        chosen(folder(tmp_path, "  api: {host: mesh.example.com}\n"))


def test_an_address_that_others_reach_is_served_where_somebody_has_a_key(tmp_path: Path) -> None:
    key = f"  api_keys: [{{name: ann, hash: 'sha256:{'0' * 64}'}}]\n"

    assert chosen({**folder(tmp_path, key), "host": "0.0.0.0"}).settings.host == "0.0.0.0"
    assert chosen(folder(tmp_path, "  api: {host: '::1'}\n")).settings.host == "::1"
    assert "gateway" not in chosen(folder(tmp_path, "  api: {host: '::'}\n  services: {gateway: false}\n")).services


def test_keys_that_may_be_stored_already_are_for_the_gateway_to_find(tmp_path: Path) -> None:
    stored = {"data_dir": tmp_path / "data", "host": "0.0.0.0"}
    (tmp_path / "data" / "nats").mkdir(parents=True)

    assert chosen({"config_dir": tmp_path, **stored}).settings.host == "0.0.0.0"
    assert chosen({**folder(tmp_path, "  api: {prot: 1}\n"), **stored}).settings.host == "0.0.0.0"
    with pytest.raises(Denied):
        chosen({**folder(tmp_path, "  api: {port: 1}\n"), **stored})


def test_spans_and_content_are_switched_by_runtime_yaml(tmp_path: Path) -> None:
    spec = "  telemetry: {record_content: true, otlp: {endpoint: 'http://127.0.0.1:4318'}}\n"

    how = chosen(folder(tmp_path, spec))

    assert (how.settings.record_content, how.settings.otlp_endpoint) == (True, "http://127.0.0.1:4318")


def test_a_port_of_0_becomes_a_free_one_that_can_be_told(tmp_path: Path) -> None:
    settings = chosen({"config_dir": tmp_path, "port": 0, "grpc_port": 0}).settings

    assert 0 not in (settings.port, settings.grpc_port)
    assert settings.port != settings.grpc_port


def test_a_runtime_yaml_that_cannot_be_read_leaves_the_defaults(tmp_path: Path) -> None:
    assert chosen(folder(tmp_path, "  api: {prot: 1}\n")).settings.port == 8000
