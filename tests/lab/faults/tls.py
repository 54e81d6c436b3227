"""Certificates, keys, libvirtd's configuration, its ports and handshakes, broken on hv2.

A certificate that is replaced on disk is not what the daemon presents until it loads it: both are told.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from cryptography import x509

from lab import Lab
from lab.hostroot import START_LIBVIRTD
from lab.machine import STOP_LIBVIRTD, Host
from tests.lab.faults import Fault
from tests.unit import certificate_maker as maker

ON = "hv2"
FOLDER = "/run/faults"
PKI = "/etc/pki/libvirt"
CERTIFICATE, KEY, CA = f"{PKI}/servercert.pem", f"{PKI}/private/serverkey.pem", "/etc/pki/CA/cacert.pem"
CLIENT, CLIENT_KEY = f"{PKI}/clientcert.pem", f"{PKI}/private/clientkey.pem"
CRL = "/etc/pki/CA/cacrl.pem"
CONF, ARGUMENTS, SOCKET = "/etc/libvirt/libvirtd.conf", "/etc/default/libvirtd", "/run/libvirt/libvirt-sock"
KEPT = (CERTIFICATE, KEY, CA, CRL, CLIENT, CLIENT_KEY, CONF, ARGUMENTS)

LOAD = "virt-admin server-update-tls libvirtd"
RESTART = f"( {STOP_LIBVIRTD} ); ( {START_LIBVIRTD} ); sleep 0.5"
SERVER = "server certificate"
KEYS = f"{PKI}/private"
SERVER_KEY = {"TLS-KEY-1 server key": "config"}
ADDRESS = {f"TLS-NAME-1 {SERVER}/10.77.0.2": "config"}
REFUSED_LINE = {f"DAEMON-CONF-{number}": "error" for number in (1, 2, 3)}
OPEN_SOCKET = {"DAEMON-CONF-2 unix_sock_rw_perms": "config"}
PRESENTED = {"TLS-SHAKE-3": "actual"}
OF_THE_SERVER = ("TLS-VALID-1", "TLS-CHAIN-1", "TLS-USAGE-1", "TLS-WEAK-1", "TLS-CRL-2", "TLS-SHAKE-3")
UNREADABLE = {**{f"{one} {SERVER}": "error" for one in OF_THE_SERVER}, "TLS-NAME-1": "error", "TLS-KEY-2": "error"}
LIST = {"TLS-CRL-1": "config"}
SHUT_OUT = {"TLS-SHAKE-1": "actual", "TLS-HOST-1": "error"}
SILENT = {"LISTEN-TLS-1": "actual", "TLS-SHAKE-1": "actual", "TLS-HOST-1": "actual"}


@contextmanager
def prepared(lab: Lab) -> Iterator[None]:
    """What the faults need is on the host meanwhile: what they change, as it was, and the bad certificates."""
    host = lab.hosts[ON]
    host.sh(f"mkdir -p {FOLDER}/kept; cp -a {' '.join(KEPT)} {FOLDER}/kept")
    for name, pem in _pems(lab, host).items():
        host.path(f"{FOLDER}/{name}").write_bytes(pem)
    try:
        yield
    finally:
        host.sh(f"rm -r {FOLDER}")


def _pems(lab: Lab, host: Host) -> Mapping[str, bytes]:
    ca, names = lab.ca, host.spec.names
    authority = maker.Issued.load(ca.pair.cert, ca.pair.key)
    own_key = maker.Issued.load(*(host.path(path).read_bytes() for path in (CERTIFICATE, KEY))).key
    how: dict[str, Any] = {"at": datetime.now(UTC), "days": (-1, 365)}
    weak = maker.server(authority, names, key=maker.rsa_key("weak", 1024), **how)
    unflagged = [x509.BasicConstraints(ca=False, path_length=None)]
    return {
        "foreign": lab.foreign_ca.server(names).cert,
        "expired": ca.server(names, valid=(-100, -1)).cert,
        "soon": ca.server(names, valid=(-1, 10)).cert,
        "future": ca.server(names, valid=(5, 300)).cert,
        "elsewhere": ca.server(["hv9", "10.77.0.99"]).cert,
        "addressless": ca.server([host.name]).cert,
        "renewed": ca.server(names).cert,
        "clients": maker.server(authority, names, purposes=(maker.CLIENT,), key=own_key, **how).pem,
        "weak": weak.pem,
        "weak.key": weak.key_pem,
        "client-expired": ca.client(host.name, valid=(-100, -1)).cert,
        "list-old": ca.revocations(valid=(-60, -1)),
        "list-foreign": lab.foreign_ca.revocations(),
        "list-of-server": ca.revocations(host.path(CERTIFICATE).read_bytes()),
        "list-of-client": ca.revocations((lab.pki / "clientcert.pem").read_bytes()),
        "foreign-ca": lab.foreign_ca.cert,
        "unflagged-ca": maker.make(authority.certificate.subject, None, unflagged, key=authority.key, **how).pem,
        "proxy.py": PROXY.encode(),
    }


PROXY = """\
import asyncio, sys

async def pipe(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()

async def pass_on(reader, writer):
    behind, before = await asyncio.open_connection(sys.argv[1], 16515)
    await asyncio.gather(pipe(reader, before), pipe(behind, writer), return_exceptions=True)

async def main():
    await (await asyncio.start_server(pass_on, "0.0.0.0", 16514)).serve_forever()

asyncio.run(main())
"""
"""In front of libvirtd, so that everything still works: only the listener is not libvirtd's."""


def kept(*paths: str) -> str:
    """Shell: these files as they were, owners and modes too."""
    return "; ".join(f"cp -a {FOLDER}/kept/{path.rpartition('/')[2]} {path}" for path in paths)


def server(control: str) -> dict[str, str]:
    """This control departs for the server certificate."""
    return {f"{control} {SERVER}": "config"}


def replaced(name: str, path: str, by: str, departs: Mapping[str, str], load: bool = False) -> Fault:
    """A certificate replaced in place (owner and mode stay), and loaded by the daemon if wanted."""
    breaks = f"cat {FOLDER}/{by} >{path}" + (f"; {LOAD}" if load else "")
    return Fault(name, ON, breaks, f"{kept(path)}; {LOAD}", departs)


def changed(name: str, breaks: str, path: str, departs: Mapping[str, str]) -> Fault:
    """A file changed in some way, and nothing loaded."""
    return Fault(name, ON, breaks, kept(path), departs)


def written(name: str, setting: str, departs: Mapping[str, str]) -> Fault:
    """A setting in libvirtd.conf that the daemon does not run with."""
    return Fault(name, ON, _set(setting), kept(CONF), departs)


def running(name: str, setting: str, departs: Mapping[str, str], also: str = ":", undo: str = ":") -> Fault:
    """A daemon that runs with a setting its file no longer has."""
    return Fault(
        name, ON, f"{_set(setting)}; {RESTART}; {kept(CONF)}; {also}", f"{undo}; {RESTART}", departs, anew=True
    )


def _set(setting: str) -> str:
    """Shell: one line of libvirtd.conf, in place of what stood there for its key."""
    key = setting.partition(" ")[0]
    return f"sed -i '/^{key} /d' {CONF}; echo '{setting}' >>{CONF}"


CERTIFICATES = [
    replaced("server certificate of another CA", CERTIFICATE, "foreign", server("TLS-CHAIN-1") | PRESENTED),
    replaced("server certificate expired", CERTIFICATE, "expired", server("TLS-VALID-1") | PRESENTED),
    replaced("server certificate not yet valid", CERTIFICATE, "future", server("TLS-VALID-1") | PRESENTED),
    replaced("server certificate about to expire", CERTIFICATE, "soon", server("TLS-VALID-1"), load=True),
    replaced("server certificate for another name", CERTIFICATE, "elsewhere", {"TLS-NAME-1": "config"} | PRESENTED),
    replaced("server certificate without the address", CERTIFICATE, "addressless", ADDRESS | PRESENTED),
    replaced("server certificate is a client's", CERTIFICATE, "clients", server("TLS-USAGE-1") | PRESENTED),
    replaced("server certificate renewed, not loaded", CERTIFICATE, "renewed", PRESENTED),
    replaced("server certificate is none", CERTIFICATE, "proxy.py", UNREADABLE),
    replaced("CA file of another CA", CA, "foreign-ca", {"TLS-CHAIN-1": "config"} | LIST),
    replaced("CA without the CA flag", CA, "unflagged-ca", {"TLS-USAGE-1 ca certificate": "config"}),
    replaced("client certificate expired", CLIENT, "client-expired", {"TLS-VALID-1 client certificate": "config"}),
    replaced("server key of another certificate", KEY, "weak.key", {"TLS-KEY-2 server key": "config"}),
    Fault(
        "server key of 1024 bits",
        ON,
        f"cat {FOLDER}/weak >{CERTIFICATE}; cat {FOLDER}/weak.key >{KEY}",
        kept(CERTIFICATE, KEY),
        server("TLS-WEAK-1") | PRESENTED,
    ),
]

REVOCATIONS = [
    replaced("revocation list out of date", CRL, "list-old", LIST),
    replaced("revocation list of another CA", CRL, "list-foreign", LIST),
    replaced("revocation list names the server certificate", CRL, "list-of-server", server("TLS-CRL-2")),
    replaced("revocation list out of date, and loaded: nobody is turned away", CRL, "list-old", LIST, load=True),
    replaced("our client is revoked", CRL, "list-of-client", SHUT_OUT, load=True),
    changed(
        "revocation list gone",
        f"rm {CRL}",
        CRL,
        {"TLS-FILE-1 revocation list": "config", "TLS-CRL-1": "error", "TLS-CRL-2": "error"},
    ),
]

FILES = [
    changed("server key readable by all", f"chmod 644 {KEY}", KEY, SERVER_KEY),
    changed("server key of another owner", f"chown 1:1 {KEY}", KEY, SERVER_KEY),
    changed("server key gone", f"rm {KEY}", KEY, SERVER_KEY | {"TLS-KEY-2 server key": "error"}),
    changed(
        "client key readable by its group", f"chmod 640 {CLIENT_KEY}", CLIENT_KEY, {"TLS-KEY-1 client key": "config"}
    ),
    changed("server certificate gone", f"rm {CERTIFICATE}", CERTIFICATE, server("TLS-FILE-1") | UNREADABLE),
    changed("server certificate writable by all", f"chmod 666 {CERTIFICATE}", CERTIFICATE, server("TLS-FILE-1")),
    Fault("keys' directory for all", ON, f"chmod 777 {KEYS}", f"chmod 750 {KEYS}", {f"TLS-DIR-1 {KEYS}": "config"}),
    Fault("socket for all", ON, f"chmod 777 {SOCKET}", f"chmod 770 {SOCKET}", {"DAEMON-SOCK-1": "actual"}),
    Fault("socket's group", ON, f"chgrp root {SOCKET}", f"chgrp libvirt {SOCKET}", {"DAEMON-SOCK-1": "actual"}),
]

CONFIGURATION = [
    written("listen_tls off in the file, the daemon listens", "listen_tls = 0", {"DAEMON-CONF-1 listen_tls": "config"}),
    written("plaintext on in the file only", "listen_tcp = 1", {"DAEMON-CONF-1 listen_tcp": "config"}),
    written("another port in the file only", 'tls_port = "16515"', {"DAEMON-CONF-1 tls_port": "config"}),
    written("a port that libvirtd refuses to read", "tls_port = 16514", {"DAEMON-CONF-1 tls_port": "error"}),
    written(
        "any client in the file only",
        "tls_no_verify_certificate = 1",
        {"DAEMON-CONF-2 tls_no_verify_certificate": "config"},
    ),
    written(
        "socket for all in the file only", 'unix_sock_rw_perms = "0777"', {"DAEMON-CONF-2 unix_sock_rw_perms": "config"}
    ),
    written(
        "a line that libvirtd refuses to read",
        "max_clients = many",
        REFUSED_LINE,
    ),
    written("another log level in the file only", "log_level = 1", {"DAEMON-CONF-3 log_level": "config"}),
    changed("--listen gone from the arguments file", f"echo >{ARGUMENTS}", ARGUMENTS, {"DAEMON-START-1": "config"}),
]

DAEMON = [
    Fault(
        "libvirtd runs without --listen",
        ON,
        f"echo LIBVIRTD_ARGS= >{ARGUMENTS}; {RESTART}; {kept(ARGUMENTS)}",
        RESTART,
        {"DAEMON-START-1": "live", **SILENT},
        anew=True,
    ),
    running("the daemon does not listen, the file says so", "listen_tls = 0", SILENT),
    running("listens on one address only", 'listen_addr = "10.77.0.2"', {"LISTEN-TLS-1": "actual"}),
    running("plaintext port open", "listen_tcp = 1", {"LISTEN-TCP-1": "actual"}),
    running(
        "the port is another process's",
        'tls_port = "16515"',
        {"LISTEN-OWNER-1": "actual"},
        also=f"python3 -I {FOLDER}/proxy.py 10.77.0.2 </dev/null >/dev/null 2>&1 & echo $! >{FOLDER}/pid; sleep 1",
        undo=f"kill $(cat {FOLDER}/pid)",
    ),
    running("any client is let in", "tls_no_verify_certificate = 1", {"TLS-REFUSE-1": "actual"}),
    running(
        "our client is shut out",
        'tls_allowed_dn_list = ["CN=nobody"]',
        SHUT_OUT,
    ),
    running("TLS 1.1 is spoken, too", 'tls_priority = "NORMAL"', {"TLS-SHAKE-2": "actual"}),
    running(
        "TLS 1.1 is all that is spoken",
        'tls_priority = "NORMAL:-VERS-ALL:+VERS-TLS1.1"',
        {"TLS-SHAKE-1": "actual", "TLS-SHAKE-2": "actual"},
    ),
    Fault("another host name", ON, "hostname elsewhere", f"hostname {ON}", {"TLS-HOST-1": "actual"}),
]

FAULTS = [*CERTIFICATES, *REVOCATIONS, *FILES, *CONFIGURATION, *DAEMON]
