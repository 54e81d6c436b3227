"""libvirtd.conf is read as libvirt reads it: what it takes we take, what it refuses is an error with the line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.certificate_maker import TAKEN
from virtvet.errors import CannotLook
from virtvet.probes import daemon_config
from virtvet.profile.daemon import DaemonConfig
from virtvet.snapshot.model import Absent, Answer, Content, Snapshot, Unreadable
from virtvet.snapshot.sources import File

DATA = Path(__file__).parents[1] / "probes" / "daemon_config"
PATH = "/etc/libvirt/libvirtd.conf"


def looked(answer: Answer | str, path: str = PATH) -> Snapshot:
    content = Content(answer.encode()) if isinstance(answer, str) else answer
    return Snapshot("hv1", TAKEN, {File(path): content})


def _stems(folder: str) -> list[str]:
    return sorted(file.stem for file in (DATA / folder).glob("*.conf"))


@pytest.mark.parametrize("case", _stems("read"))
def test_read(case: str) -> None:
    text = (DATA / "read" / f"{case}.conf").read_bytes().decode()
    entries = daemon_config.parse(text, PATH)
    seen = {key: list(one.value) if isinstance(one.value, tuple) else one.value for key, one in entries.items()}
    assert seen == json.loads((DATA / "read" / f"{case}.json").read_text())


@pytest.mark.parametrize("case", _stems("refused"))
def test_refused(case: str) -> None:
    text = (DATA / "refused" / f"{case}.conf").read_text()
    line = next(number for number, line in enumerate(text.splitlines(), 1) if "refused" in line)
    with pytest.raises(CannotLook) as error:
        daemon_config.parse(text, PATH)
    assert error.value.source == f"{PATH}:{line}"


def test_reading_says_where() -> None:
    reading = daemon_config.setting(looked("# one\n\nlisten_tls = 0  # off\n"), PATH, "listen_tls")
    assert (reading.value, reading.source, reading.excerpt) == (False, f"{PATH}:3", "listen_tls = 0  # off")


def test_absent_key_has_libvirts_default() -> None:
    reading = daemon_config.setting(looked(""), PATH, "listen_tcp")
    assert (reading.value, reading.source) == (False, f"{PATH}: absent, so libvirt's default")


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("listen_tls = 1", "listen_tls", True),
        ('tls_port = "16514"', "tls_port", 16514),
        ('tls_port = "libvirt-tls"', "tls_port", "libvirt-tls"),
        ('unix_sock_rw_perms = "770"', "unix_sock_rw_perms", "0770"),
        ('tls_allowed_dn_list = ["CN=b", "CN=a"]', "tls_allowed_dn_list", frozenset({"CN=a", "CN=b"})),
        ("tls_allowed_dn_list = []", "tls_allowed_dn_list", frozenset()),
        ("keepalive_interval = -1", "keepalive_interval", -1),
        ('auth_tls = "sasl"', "auth_tls", "sasl"),
        ("", "listen_tls", True),
        ("", "listen_addr", None),
        ("", "tls_port", 16514),
        ("", "tls_allowed_dn_list", None),
        ("", "unix_sock_rw_perms", "0777"),
        ('auth_unix_rw = "polkit"', "unix_sock_rw_perms", "0777"),
        ('auth_unix_rw = "none"', "unix_sock_rw_perms", "0700"),
        ("", "cert_file", "/etc/pki/libvirt/servercert.pem"),
        ('ca_file = "/ca.pem"', "cert_file", None),
    ],
)
def test_value(text: str, key: str, value: Any) -> None:
    found = daemon_config.setting(looked(text), PATH, key).value
    assert (found, type(found)) == (value, type(value))


def test_virtproxyd_does_not_listen_by_itself() -> None:
    path = "/etc/libvirt/virtproxyd.conf"
    assert daemon_config.setting(looked("", path), path, "listen_tls").value is False


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("tls_port = 16514", "tls_port"),
        ('listen_tls = "1"', "listen_tls"),
        ("listen_tls = 2", "listen_tls"),
        ("listen_tls = -1", "listen_tls"),
        ('tls_allowed_dn_list = "CN=a"', "tls_allowed_dn_list"),
        ("tls_allowed_dn_list = [1]", "tls_allowed_dn_list"),
        ('max_clients = "5"', "max_clients"),
        ("max_clients = -5", "max_clients"),
        ('unix_sock_rw_perms = "0o70"', "unix_sock_rw_perms"),
        ('unix_sock_rw_perms = "0789"', "unix_sock_rw_perms"),
        ('auth_tls = ["none"]', "auth_tls"),
    ],
)
def test_value_libvirt_refuses(text: str, key: str) -> None:
    with pytest.raises(CannotLook, match="libvirt refuses"):
        daemon_config.setting(looked(text), PATH, key)


def test_no_file_at_the_usual_place_means_defaults() -> None:
    assert daemon_config.setting(looked(Absent()), PATH, "tls_port").value == 16514


@pytest.mark.parametrize("answer", [Absent(), Unreadable("Permission denied")])
def test_no_file_where_the_profile_names_one(answer: Answer) -> None:
    with pytest.raises(CannotLook):
        daemon_config.setting(looked(answer, "/srv/libvirtd.conf"), "/srv/libvirtd.conf", "tls_port")


VALID: dict[str, Any] = {
    **dict.fromkeys(("ca_file", "cert_file", "key_file", "crl_file", "unix_sock_dir"), "/a"),
    **dict.fromkeys(("auth_unix_ro", "auth_unix_rw", "auth_tcp", "auth_tls"), "none"),
    **dict.fromkeys(("unix_sock_ro_perms", "unix_sock_rw_perms", "unix_sock_admin_perms"), 0o770),
    **{key: ["x"] for key in ("access_drivers", "tls_allowed_dn_list", "sasl_allowed_username_list")},
    **dict.fromkeys(("tls_port", "tcp_port"), 1),
    "host_uuid_source": "machine-id",
}
WRITTEN = {str: '"{}"', bool: "{:d}", int: "{}", frozenset: '["x"]'}


@pytest.mark.parametrize("key", DaemonConfig.model_fields)
def test_every_key_of_the_profile_is_understood_in_the_file(key: str) -> None:
    """Any value of a type the profile takes, written as libvirt wants it, is read back as expected."""
    stated = VALID[key] if key in VALID else next(value for value in ("x", True, 1) if _takes(key, value))
    expected = daemon_config.expected(key, stated)
    quoted = '"{}"' if key in ("tls_port", "tcp_port") else WRITTEN[type(expected)]
    text = f"{key} = {quoted.format(expected)}"
    assert daemon_config.setting(looked(text), PATH, key).value == expected


def _takes(key: str, value: Any) -> bool:
    annotation = str(DaemonConfig.model_fields[key].annotation)
    return type(value).__name__ in annotation


def test_stated_as_absent() -> None:
    assert daemon_config.expected("crl_file", None) is None
    assert DaemonConfig(crl_file=None).model_fields_set == {"crl_file"}
