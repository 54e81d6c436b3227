"""Inventories: files, host specifications, ssh_config and Ansible, and every way they can be wrong."""

import importlib.util
import os
import sys
from pathlib import Path
from socket import gethostname

import pytest

from virtvet.errors import BadInput
from virtvet.inventory import from_hostspecs, load_inventory


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Files an inventory may name: id, known_hosts, pki/, old/."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("id", "gw_id", "known_hosts"):
        Path(name).write_text(name)
    for name in ("pki", "old"):
        Path(name).mkdir()
    return tmp_path


def _load(text, only=()):
    Path("inv.yaml").write_text("virtvet: 1\n" + text)
    return load_inventory(Path("inv.yaml"), only=only)


def _said(action, *arguments, **options):
    with pytest.raises(BadInput) as caught:
        action(*arguments, **options)
    return str(caught.value).splitlines()


FULL = """\
defaults:
  ssh: {user: ops, key: id, known_hosts: ~/known_hosts}
  libvirt: {pki: pki}
  guests: {"*": {ssh: {key: id, port: 2022}}}
hosts:
  hv1:
    ssh: {address: 192.0.2.1, port: 2222, jump: "ssh://jo@[2001:db8::9]:23", sudo: true}
    libvirt: {uri: "qemu+tls://192.0.2.1/system", expired_client: old}
    names: [hv1.example.com]
    profile: site.yaml
    guests:
      web1: {ssh: {user: admin, via: direct, address: 192.0.2.7}}
      web*: {}
  hv2: {profile: lab, ssh: {user: root}}
  here: {local: true}
"""


def test_a_whole_file(folder):
    Path("site.yaml").write_text("virtvet: 1\n")
    hosts = _load(FULL).hosts
    assert list(hosts) == ["hv1", "hv2", "here"]
    hv1, hv2, here = hosts.values()
    assert (hv1.name, hv1.names, hv1.profile) == ("hv1", ("hv1.example.com",), "site.yaml")
    assert (hv1.ssh.address, hv1.ssh.port, hv1.ssh.user, hv1.ssh.sudo) == ("192.0.2.1", 2222, "ops", True)
    assert (hv1.ssh.key, hv1.ssh.known_hosts) == (Path("id"), folder / "known_hosts")
    assert (hv1.ssh.jump.user, hv1.ssh.jump.address, hv1.ssh.jump.port) == ("jo", "2001:db8::9", 23)
    assert str(hv1.ssh.jump) == "ssh://jo@[2001:db8::9]:23"
    assert (hv1.libvirt.uri, hv1.libvirt.pki, hv1.libvirt.expired_client) == (
        "qemu+tls://192.0.2.1/system",
        Path("pki"),
        Path("old"),
    )
    assert str(hv1) == "ssh://ops@192.0.2.1:2222"
    assert (hv2.ssh.address, hv2.ssh.port, hv2.ssh.user, hv2.names, hv2.profile) == ("hv2", 22, "root", ("hv2",), "lab")
    assert (hv2.libvirt.uri, hv2.libvirt.pki) == (None, Path("pki"))
    assert (here.ssh, here.names, str(here)) == (None, ("here",), "local://")


def test_the_first_pattern_that_matches_is_a_guests():
    Path("site.yaml").write_text("virtvet: 1\n")
    hv1 = _load(FULL).hosts["hv1"]
    assert list(hv1.guests) == ["web1", "web*", "*"]
    assert (hv1.guest("web1").ssh.user, hv1.guest("web2").ssh, hv1.guest("db").ssh.port) == ("admin", None, 2022)
    alone = _load("hosts: {h: {guests: {web1: {ssh: {address: arp}}, web*: {}}}}").hosts["h"]
    assert alone.guest("web1").ssh.address == "arp"
    assert (alone.guest("web1").ssh.user, alone.guest("web1").ssh.via, alone.guest("web1").ssh.port) == (
        "root",
        "host",
        22,
    )
    assert alone.guest("web2").ssh is None
    assert alone.guest("db") is None


def test_guests_without_a_network():
    hv = _load("hosts: {h: {guests: {vault: {agent: true}, '*': {ssh: {}}}}}").hosts["h"]
    assert (hv.guest("vault").agent, hv.guest("vault").ssh, hv.guest("web").agent) == (True, None, False)
    ssh_by_default = "defaults: {guests: {'*': {ssh: {}}}}\nhosts: {h: {guests: {'*': {agent: true, ssh: null}}}}"
    assert _load(ssh_by_default).hosts["h"].guest("web").agent


def test_names_default_to_name_and_address():
    assert _load("hosts: {hv1: {ssh: {address: 192.0.2.1}}}").hosts["hv1"].names == ("hv1", "192.0.2.1")


def test_paths_are_relative_to_the_file(folder):
    Path("there").mkdir()
    Path("there/k").write_text("k")
    Path("there/inv.yaml").write_text("virtvet: 1\nhosts: {h: {ssh: {key: k}}, g: {ssh: {key: ../id}}}\n")
    hosts = load_inventory(Path("there/inv.yaml")).hosts
    assert (hosts["h"].ssh.key, hosts["g"].ssh.key) == (Path("there/k"), Path("there/../id"))


def test_only_the_named_hosts_in_the_order_of_the_file():
    text = "hosts: {a: {}, b: {}, c: {}}"
    assert list(_load(text, only=["c", "a"]).hosts) == ["a", "c"]
    assert list(_load(text).hosts) == ["a", "b", "c"]


def test_unknown_host():
    assert _said(_load, "hosts: {hv1: {}, hv2: {}}", only=["hv11", "hv2"]) == [
        'inv.yaml: there is no host "hv11" in the inventory (did you mean "hv1"? allowed: hv1, hv2)'
    ]


WRONG = {
    "hosts: {}": ["inv.yaml:2:1: hosts: must have at least 1 item"],
    "defaults: {}": ['inv.yaml:1:1: "hosts" is missing'],
    "host: {}": ['inv.yaml:1:1: "hosts" is missing', 'inv.yaml:2:1: unknown key "host" (did you mean "hosts"?'],
    "hosts: {h: }": ["inv.yaml:2:11: hosts.h: must be a mapping, not null (write {} when there is nothing to state)"],
    "hosts: {1: {}}": ["inv.yaml:2:9: hosts[1]: must be a text, not 1"],
    "hosts: {'a b': {}}": ['inv.yaml:2:9: hosts.a b: "a b" does not match'],
    "hosts: {h: {}, h: {}}": ['inv.yaml:2:16: the key "h" stands twice'],
    "hosts: {h: {ssh: {key: nope}}}": ['inv.yaml:2:24: ssh.key: there is no "nope"'],
    "hosts: {h: {ssh: {key: pki}}}": ['inv.yaml:2:24: ssh.key: "pki" is no file that can be read'],
    "hosts: {h: {ssh: {key: 5}}}": ["inv.yaml:2:24: ssh.key: must be a path, not 5"],
    "hosts: {h: {ssh: {known_hosts: ~/nope}}}": ['inv.yaml:2:32: ssh.known_hosts: there is no "'],
    "hosts: {h: {ssh: {key: ~nobody-at-all/id}}}": [
        'inv.yaml:2:24: ssh.key: "~nobody-at-all/id" names no user\'s home directory'
    ],
    "hosts: {h: {profile: ~nobody-at-all/p.yaml}}": ['inv.yaml:2:22: h.profile: "~nobody-at-all/p.yaml" names no user'],
    "hosts: {h: {libvirt: {pki: id}}}": ['inv.yaml:2:28: libvirt.pki: "id" is no directory'],
    "hosts: {h: {libvirt: {expired_client: nope}}}": ['inv.yaml:2:39: libvirt.expired_client: there is no "nope"'],
    "defaults: {ssh: {key: nope}}\nhosts: {a: {}, b: {}}": ['inv.yaml:2:23: ssh.key: there is no "nope"'],
    "hosts: {h: {ssh: {port: 0}}}": ["inv.yaml:2:25: ssh.port: must be at least 1, not 0"],
    "hosts: {h: {ssh: {port: '22'}}}": ['inv.yaml:2:25: ssh.port: must be a whole number, not "22"'],
    "hosts: {h: {ssh: {sudo: yes}}}": ['inv.yaml:2:25: ssh.sudo: must be true or false, not "yes" (YAML 1.2'],
    "hosts: {h: {ssh: {user: '-oProxyCommand=x'}}}": ["inv.yaml:2:25: ssh.user: "],
    "hosts: {h: {ssh: {address: 'a b'}}}": ['inv.yaml:2:28: ssh.address: "a b" does not match'],
    "hosts: {h: {ssh: {adress: x}}}": [
        'inv.yaml:2:19: unknown key "adress" (did you mean "address"? allowed: address, port'
    ],
    "hosts: {h: {ssh: {password: hunter2}}}": [
        'inv.yaml:2:19: unknown key "password" (an inventory holds no secrets: name a key file with key:'
    ],
    "hosts: {h: {guests: {w: {ssh: {passphrase: hunter2}}}}}": [
        'inv.yaml:2:32: unknown key "passphrase" (an inventory holds no secrets'
    ],
    "hosts: {h: {ssh: {jump: 'jo:hunter2@gw'}}}": ["inv.yaml:2:25: ssh.jump: there is a password in it"],
    "hosts: {h: {ssh: {jump: 'ssh://a/b'}}}": ['inv.yaml:2:25: ssh.jump: "ssh://a/b" is no SSH destination'],
    "hosts: {h: {ssh: {jump: 'gw:99999'}}}": ["inv.yaml:2:25: ssh.jump: must be at most 65535, not 99999"],
    "hosts: {h: {libvirt: {uri: 'qemu+tls://jo:hunter2@h/system'}}}": [
        "inv.yaml:2:28: libvirt.uri: the URI has a password in it: an inventory holds no secrets"
    ],
    "hosts: {h: {libvirt: {uri: h}}}": ['inv.yaml:2:28: libvirt.uri: "h" is no libvirt URI: write one such as'],
    "hosts: {h: {local: true, ssh: {}}}": ["inv.yaml:2:9: hosts.h: states both local: true and ssh"],
    "hosts: {h: {guests: {w: {agent: true, ssh: {}}}}}": [
        "inv.yaml:2:22: guests.w: states both ssh: and agent: true: a guest is reached in one way"
    ],
    "hosts: {h: {profile: nope}}": ['inv.yaml:2:22: h.profile: there is no shipped profile "nope"'],
    "hosts: {h: {profile: nope.yaml}}": ['inv.yaml:2:22: h.profile: there is no "nope.yaml"'],
    "hosts: {h: {names: [1]}}": ["inv.yaml:2:21: names[0]: must be a text, not 1"],
    "hosts: {h: {guests: {w: {ssh: {via: hots}}}}}": ['inv.yaml:2:37: ssh.via: must be "host" or "direct", not "hots"'],
}


@pytest.mark.parametrize("text", WRONG)
def test_wrong(text):
    lines = _said(_load, text)
    assert len(lines) == len(WRONG[text]), lines
    for line, beginning in zip(lines, WRONG[text], strict=True):
        assert line.startswith(beginning)
    assert "hunter2" not in "".join(lines)


def test_no_such_file():
    assert _said(load_inventory, Path("nope.yaml")) == ["nope.yaml: cannot be read: No such file or directory"]


# --- -H and --hosts


def _one(spec, **options):
    (access,) = from_hostspecs([spec], **options).hosts.values()
    return access


@pytest.mark.parametrize(
    ("spec", "name", "shown"),
    [
        ("hv1", "hv1", "ssh://me@hv1"),
        ("jo@hv1", "hv1", "ssh://jo@hv1"),
        ("hv1:2222", "hv1", "ssh://me@hv1:2222"),
        ("ssh://jo@hv1.Example.com:22", "hv1.Example.com", "ssh://jo@hv1.Example.com"),
        ("paramiko://192.0.2.1", "192.0.2.1", "ssh://me@192.0.2.1"),
        ("ssh://jo@[2001:db8::1]:2222", "2001:db8::1", "ssh://jo@[2001:db8::1]:2222"),
        ("local://", gethostname(), "local://"),
    ],
)
def test_hostspec(spec, name, shown, monkeypatch):
    monkeypatch.setenv("LOGNAME", "me")
    access = _one(spec)
    assert (access.name, str(access), access.names, access.profile) == (name, shown, (name,), None)
    assert access.libvirt.uri is None


def test_hostspec_options_win_over_those_of_the_command_line():
    access = _one("hv1?sudo=true&ssh_identity_file=gw_id&known_hosts=~/known_hosts&jump=jo@gw:23", identity="id")
    assert (access.ssh.sudo, access.ssh.key) == (True, Path("gw_id"))
    assert access.ssh.known_hosts.name == "known_hosts"
    assert str(access.ssh.jump) == "ssh://jo@gw:23"
    assert _one("hv1", identity="id", sudo=True).ssh.key == Path("id")
    assert _one("hv1", identity="id", sudo=True).ssh.sudo is True
    assert _one("hv1?sudo=false", sudo=True).ssh.sudo is False
    assert _one("local://", identity="id", sudo=True).ssh is None


WRONG_SPECS = {
    "http://hv1": '-H http://hv1: "http://" cannot be used to reach a host: allowed: ssh, paramiko, local, ansible',
    "shh://hv1": '-H shh://hv1: "shh://" cannot be used to reach a host: did you mean "ssh"?',
    "ssh://": '-H ssh://: "" is no SSH destination: write ssh://user@host:port',
    "": '-H : "" is no SSH destination',
    "ssh://jo:hunter2@hv1": "-H ssh://jo:…@hv1: there is a password in it: use key files or an SSH agent",
    "hv1:port": '-H hv1:port: "hv1:port" is no SSH destination',
    "hv1:0": "-H hv1:0: ssh.port: must be at least 1, not 0",
    "hv1 -oProxyCommand=x": '-H hv1 -oProxyCommand=x: ssh.address: "hv1 -oProxyCommand=x" does not match',
    "hv1?sudoo=1": '-H hv1?sudoo=1: unknown option "sudoo": did you mean "sudo"? allowed: sudo, ssh_config',
    "hv1?sudo=maybe": '-H hv1?sudo=maybe: "maybe" is neither true nor false',
    "hv1?ssh_identity_file=nope": '-H hv1?ssh_identity_file=nope: ssh.key: there is no "nope"',
    "local://?sudo=true": '-H local://?sudo=true: unknown option "sudo"',
    "ansible://?ansible_inventory=nope": '-H ansible://?ansible_inventory=nope: there is no Ansible inventory "nope"',
}


@pytest.mark.parametrize("spec", WRONG_SPECS)
def test_wrong_hostspec(spec):
    (line,) = _said(from_hostspecs, [spec])
    assert line.startswith(WRONG_SPECS[spec])


def test_every_wrong_hostspec_is_told_and_the_same_one_twice_is_one():
    assert len(_said(from_hostspecs, ["http://a", "ok", "http://b"])) == 2
    assert list(from_hostspecs(["a", "a", "b"]).hosts) == ["a", "b"]
    assert _said(from_hostspecs, ["a:1", "a:2"]) == [
        '-H a:2: "a" stands twice (an inventory file can give each a name of its own)'
    ]
    assert _said(from_hostspecs, ["a"], identity="nope") == ['an option: ssh.key: there is no "nope"']


# --- ssh_config

SSH_CONFIG = """\
Host hv1
    HostName 192.0.2.1
    User jo
    Port 2222
    IdentityFile ~/nope
    IdentityFile ~/id
    UserKnownHostsFile ~/nope ~/known_hosts
    ProxyJump gw

Host gw
    HostName 192.0.2.9
    IdentityFile ~/gw_id

Host far
    ProxyJump hv1

Host chain
    ProxyJump a,b

Host odd
    Port many

Host free
    ProxyJump none
"""


@pytest.fixture
def ssh_config(folder):
    Path("ssh_config").write_text(SSH_CONFIG)
    return "ssh_config"


def test_ssh_config_fills_in_what_is_not_stated(ssh_config, folder):
    access = _one("hv1", ssh_config=ssh_config)
    assert (access.name, access.names) == ("hv1", ("hv1", "192.0.2.1"))
    assert (access.ssh.address, access.ssh.user, access.ssh.port) == ("192.0.2.1", "jo", 2222)
    assert (access.ssh.key, access.ssh.known_hosts) == (folder / "id", folder / "known_hosts")
    assert (access.ssh.jump.address, access.ssh.jump.key, access.ssh.jump.port) == ("192.0.2.9", folder / "gw_id", 22)


def test_what_is_stated_wins_over_ssh_config(ssh_config):
    access = _one("root@hv1:22?ssh_identity_file=gw_id", ssh_config=ssh_config)
    assert (access.ssh.address, access.ssh.user, access.ssh.port) == ("192.0.2.1", "root", 22)
    assert access.ssh.key == Path("gw_id")


def test_ssh_config_of_a_file(ssh_config):
    access = _load("hosts: {first: {ssh: {address: hv1, ssh_config: ssh_config}}}").hosts["first"]
    assert (access.ssh.address, access.names) == ("192.0.2.1", ("first", "192.0.2.1"))


def test_a_host_ssh_config_does_not_know(ssh_config):
    access = _one("other", ssh_config=ssh_config)
    assert (access.ssh.address, access.ssh.port, access.ssh.key, access.ssh.jump) == ("other", 22, None, None)
    assert _one("free", ssh_config=ssh_config).ssh.jump is None


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("far", "ssh_config: for far: ProxyJump hv1: only one host to jump through is supported"),
        ("chain", "ssh_config: for chain: ProxyJump a,b: only one host to jump through is supported"),
        ("odd", "ssh_config: for odd: invalid literal for int()"),
    ],
)
def test_ssh_config_that_cannot_be_used(host, message, ssh_config):
    (line,) = _said(_one, host, ssh_config=ssh_config)
    assert line.startswith(message)


def test_ssh_config_that_cannot_be_read():
    Path("ssh_config").write_text("Host a\nnonsense\n")
    assert _said(_one, "a", ssh_config="ssh_config") == ["ssh_config: for a: Unparsable line nonsense"]
    assert _said(_one, "a", ssh_config="nope") == ['an option: ssh.ssh_config: there is no "nope"']
    Path("ssh_config").write_bytes(b"")
    assert _said(_one, "a", ssh_config="ssh_config") == ["ssh_config: is empty"]


# --- Ansible, by its own ansible-inventory

ANSIBLE = """\
[hypervisors]
hv1 ansible_host=192.0.2.1 ansible_user=jo ansible_port=2222 ansible_become=true ansible_ssh_private_key_file=id
hv2
here ansible_connection=local

[others]
web1
"""
needs_ansible = pytest.mark.skipif(not importlib.util.find_spec("ansible"), reason="ansible-core is not installed")


@needs_ansible
def test_ansible_group(monkeypatch):
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.setenv("LOGNAME", "me")
    Path("hosts.ini").write_text(ANSIBLE)
    hosts = from_hostspecs(["ansible://hypervisors?ansible_inventory=hosts.ini"]).hosts
    assert {name: str(access) for name, access in hosts.items()} == {
        "hv1": "ssh://jo@192.0.2.1:2222",
        "hv2": "ssh://me@hv2",
        "here": "local://",
    }
    assert (hosts["hv1"].ssh.sudo, hosts["hv1"].ssh.key) == (True, Path("id"))
    assert hosts["hv1"].names == ("hv1", "192.0.2.1")
    assert _said(from_hostspecs, ["ansible://hypervisor?ansible_inventory=hosts.ini"]) == [
        '-H ansible://hypervisor?ansible_inventory=hosts.ini: no host of the Ansible inventory matches "hypervisor"'
    ]


def test_ansible_that_fails(monkeypatch, folder):
    """An ansible-inventory that ends with an error, as when the inventory cannot be parsed."""
    tool = folder / "bin" / "ansible-inventory"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\nexit 4\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")
    assert _said(from_hostspecs, ["ansible://?ansible_inventory=id"]) == [
        "-H ansible://?ansible_inventory=id: the Ansible inventory cannot be read: see ansible-inventory --list -i id"
    ]


def test_ansible_that_is_not_installed(monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    assert _said(from_hostspecs, ["ansible://all?ansible_inventory=id"]) == [
        "-H ansible://all?ansible_inventory=id: Ansible is not installed: ansible-inventory is not on the PATH "
        "(pip install ansible-core)"
    ]
