"""The manifests are valid, admit the restricted pod security level, and fit the configuration they carry."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from daemon.config import Config, loads

Manifest = dict[str, Any]
VERSIONS = ("1.29", "1.34")


@pytest.fixture
def folder(deploy: Path) -> Path:
    return deploy / "kubernetes"


@pytest.fixture
def manifests(folder: Path) -> dict[str, Manifest]:
    """Return every resource of the kustomization, by kind."""
    found = [yaml.safe_load((folder / name).read_text(encoding="utf-8")) for name in resources(folder)]
    by_kind = {one["kind"]: one for one in found}
    assert len(by_kind) == len(found)
    return by_kind


@pytest.fixture
def pod(manifests: dict[str, Manifest]) -> Manifest:
    spec: Manifest = manifests["StatefulSet"]["spec"]["template"]["spec"]
    return spec


@pytest.fixture
def container(pod: Manifest) -> Manifest:
    (one,) = pod["containers"]
    assert isinstance(one, dict)
    return one


@pytest.fixture
def config(manifests: dict[str, Manifest], tmp_path: Path) -> Config:
    """Load the configuration as a pod would, with its secret somewhere else."""
    (tmp_path / "password").write_text("secret\n", encoding="utf-8")
    text = manifests["ConfigMap"]["data"]["longwatch.yaml"].replace("/run/secrets/longwatch", str(tmp_path))
    return loads(text, "configmap.yaml", {"HOSTNAME": "longwatch-0", "KAFKA_USERNAME": "longwatch"})


def resources(folder: Path) -> list[str]:
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text(encoding="utf-8"))
    names: list[str] = kustomization["resources"]
    return names


def secret_keys(pod: Manifest, container: Manifest) -> Iterator[str]:
    yield from (item["key"] for volume in pod["volumes"] for item in volume.get("secret", {}).get("items", ()))
    for variable in container["env"]:
        if "secretKeyRef" in variable["valueFrom"]:
            yield variable["valueFrom"]["secretKeyRef"]["key"]


def test_every_manifest_is_part_of_the_kustomization(folder: Path) -> None:
    assert sorted(resources(folder)) == sorted(
        path.name for path in folder.glob("*.yaml") if path.name != "kustomization.yaml"
    )


@pytest.mark.parametrize("version", VERSIONS)
def test_every_manifest_is_valid(manifests: dict[str, Manifest], version: str) -> None:
    for manifest in manifests.values():
        kubernetes_validate.validate(manifest, version, strict=True)


def test_the_validation_would_see_a_misspelt_key(manifests: dict[str, Manifest]) -> None:
    manifest = manifests["PodDisruptionBudget"]
    manifest["spec"]["maxUnavailabel"] = 1
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(manifest, VERSIONS[-1], strict=True)


def test_all_live_in_the_namespace_that_enforces_the_restricted_level(manifests: dict[str, Manifest]) -> None:
    namespace = manifests.pop("Namespace")["metadata"]
    assert namespace["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert {one["metadata"]["namespace"] for one in manifests.values()} == {namespace["name"]}


def test_the_pod_meets_the_restricted_level(pod: Manifest, container: Manifest) -> None:
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert {kind for volume in pod["volumes"] for kind in volume if kind != "name"} <= {
        "configMap",
        "secret",
        "emptyDir",
    }
    assert pod["automountServiceAccountToken"] is False


def test_the_root_is_read_only_and_temporary_files_have_a_place(pod: Manifest, container: Manifest) -> None:
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    places = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    emptied = [volume["name"] for volume in pod["volumes"] if "emptyDir" in volume]
    assert [places[name] for name in emptied] == ["/tmp"]


def test_the_user_is_the_one_of_the_image(pod: Manifest, deploy: Path) -> None:
    containerfile = (deploy / "container" / "Containerfile").read_text(encoding="utf-8")
    context = pod["securityContext"]
    assert f"\nUSER {context['runAsUser']}:{context['runAsGroup']}\n" in containerfile


def test_the_configuration_is_found_where_the_daemon_is_told_to_look(pod: Manifest, container: Manifest) -> None:
    mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert container["args"] == ["run", f"{mounted['config']}/longwatch.yaml"]
    (volume,) = [one for one in pod["volumes"] if one["name"] == "config"]
    assert volume["configMap"]["name"] == "longwatch"


def test_every_pod_has_its_own_lasting_name(config: Config, container: Manifest) -> None:
    (name,) = [one for one in container["env"] if one["name"] == "HOSTNAME"]
    assert name["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.name"
    assert config.kafka.instance_id == "longwatch-0"


def test_the_secret_holds_what_the_pod_takes_from_it(
    manifests: dict[str, Manifest], pod: Manifest, container: Manifest
) -> None:
    assert set(secret_keys(pod, container)) == set(manifests["Secret"]["stringData"])


def test_the_pages_are_where_probes_and_the_service_look(
    config: Config, container: Manifest, manifests: dict[str, Manifest]
) -> None:
    address = config.server.address()
    assert address is not None
    assert address == ("0.0.0.0", container["ports"][0]["containerPort"])
    names = {container["ports"][0]["name"]}
    assert {port["targetPort"] for port in manifests["Service"]["spec"]["ports"]} == names
    assert {container[f"{kind}Probe"]["httpGet"]["port"] for kind in ("startup", "liveness", "readiness")} == names
    (rule,) = manifests["NetworkPolicy"]["spec"]["ingress"]
    assert {port["port"] for port in rule["ports"]} == names


def test_each_probe_asks_what_it_is_for(container: Manifest) -> None:
    asked = {kind: container[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "liveness", "readiness")}
    assert asked == {"startup": "/-/ready", "liveness": "/-/healthy", "readiness": "/-/ready"}


def test_kubernetes_waits_longer_than_the_daemon_may_take(config: Config, pod: Manifest, container: Manifest) -> None:
    startup = container["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] > config.state.restore_seconds_max
    assert pod["terminationGracePeriodSeconds"] > config.shutdown_seconds


def test_everything_selects_the_same_pods(manifests: dict[str, Manifest]) -> None:
    labels = manifests["StatefulSet"]["spec"]["template"]["metadata"]["labels"]
    assert manifests["StatefulSet"]["spec"]["selector"]["matchLabels"] == labels
    assert manifests["Service"]["spec"]["selector"] == labels
    assert manifests["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    assert manifests["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"] == labels
    assert manifests["StatefulSet"]["spec"]["serviceName"] == manifests["Service"]["metadata"]["name"]


def test_the_brokers_can_be_reached(config: Config, manifests: dict[str, Manifest]) -> None:
    allowed = {port["port"] for rule in manifests["NetworkPolicy"]["spec"]["egress"] for port in rule["ports"]}
    assert {int(server.rpartition(":")[2]) for server in config.kafka.bootstrap_servers} <= allowed
