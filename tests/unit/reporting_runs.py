"""Runs for the tests of reports: a realistic one of two hosts with every outcome, a hostile one, and large ones."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from virtvet import __version__
from virtvet.check import ATTRIBUTE, Case, Check, Control, Layer, PerLayer, Reading, Severity, check
from virtvet.expect import AtLeast, matches
from virtvet.judge import Observed, Outcome, Seen
from virtvet.reporting.run import Host, Mending, ProfileUsed, Result, Run, Summary, result_of

STARTED = datetime(2026, 11, 22, 22, 15, tzinfo=UTC)
LIBVIRT = "https://libvirt.org/"

HOSTILE = (
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(1)>",
    "]]>&amp;<!--",
    "nul\0 and \x1b[31mred\x1b[0m\r\a",
    "\u202egnp.exe \u2066hidden\u200b",
    "lone \udc80 surrogate, \ufffe noncharacter",
    "[bold red]markup[/] :bomb:",
    "{{ 7*7 }} {% raw %}",
    "a; reboot; `reboot` $(reboot) 'x' \"y\"",
    "\u2028line\u2029separators\n\tand lines",
)


def made(ident: str, title: str, area: str, severity: str, requirement: str, hint: str, *layers: str) -> Check:
    """A check as `@check` makes it; its probes are never run."""
    about = {"rationale": f"Without it, one guest can take what was promised to another ({requirement}).", "hint": hint}
    control = Control(
        ident, title, area, Severity(severity), requirement, references=(LIBVIRT + "formatdomain.html",), **about
    )

    def test_it(case: Case, observed: Observed) -> None: ...

    check(control, cases=lambda _host: (), **dict.fromkeys(layers, never))(test_it)
    return getattr(test_it, ATTRIBUTE)


def never(_snapshot: Any) -> Reading:
    raise AssertionError("no probe runs in these tests")


def seen(layer: str, expected: Any, *readings: Reading, **reason: Any) -> Seen:
    """One layer, its readings judged as virtvet.judge does."""
    return Seen(Layer(layer), expected, tuple((one, matches(expected, one.value)) for one in readings), **reason)


def result(made_of: Check, case: Case, layers: Iterable[Seen], host: str = "hv1", **more: Any) -> Result:
    """What the plugin makes of one case."""
    nodeid = f"checks/{made_of.control.area}.py::test_{made_of.control.id.lower()}[{host}/{case.subject}]"
    return result_of(made_of, case, Observed(case, tuple(layers)), nodeid, host, 0.0004, **more)


PIN = made(
    "CPU-PIN-1",
    "A vCPU runs only on its host CPUs",
    "cpu",
    "high",
    "R15",
    "virsh -c qemu:///system vcpupin {guest} {vcpu} {expected} --live --config",
    "config",
    "live",
    "actual",
)
QUOTA = made(
    "CPU-QUOTA-1",
    "vCPU quota is as stated",
    "cpu",
    "medium",
    "R16",
    "virsh schedinfo {guest} --set vcpu_quota={expected} --live --config",
    "config",
    "live",
    "actual",
)
CERTIFICATE = made(
    "TLS-CERT-2",
    "The server certificate is valid for 30 more days",
    "tls",
    "critical",
    "R1",
    "certtool --generate-certificate --load-privkey serverkey.pem --outfile {path}",
    "config",
)
HANDSHAKE = made(
    "TLS-SHAKE-3",
    "A client of a foreign CA is refused",
    "tls",
    "critical",
    "R5",
    "sed -i 's/^tls_no_verify_certificate.*//' /etc/libvirt/libvirtd.conf",
    "actual",
)
KEYMODE = made(
    "TLS-KEY-1",
    "The server's private key is readable by its owner only",
    "tls",
    "critical",
    "R1",
    "chmod {expected} /etc/pki/libvirt/private/serverkey.pem",
    "config",
)
PLAIN = made(
    "LISTEN-PLAIN-1",
    "No plaintext libvirt port listens",
    "listeners",
    "critical",
    "R4",
    "systemctl disable --now libvirtd-tcp.socket",
    "config",
    "actual",
)
PARTITION = made(
    "PART-LIMIT-1",
    "A partition's memory ceiling is as stated",
    "partitions",
    "high",
    "R9",
    "echo {expected} > /sys/fs/cgroup/memory{subject}.partition/memory.limit_in_bytes",
    "actual",
)
PLACE = made(
    "PART-PLACE-1",
    "Every thread of the guest is in its partition",
    "partitions",
    "high",
    "R10",
    "virsh edit {guest}",
    "config",
    "live",
    "actual",
)
LIMIT = made(
    "MEM-LIMIT-1",
    "The guest's hard memory limit is as stated",
    "memory",
    "high",
    "R19",
    "virsh memtune {guest} --hard-limit {kib} --live --config",
    "config",
    "live",
    "actual",
)
SHARE = made(
    "SHARE-MOUNT-1",
    "The shared folder is mounted in the guest as stated",
    "shares",
    "medium",
    "R38",
    "mount -t 9p -o trans=virtio,version=9p2000.L {tag} {target}",
    "guest",
)
KVM = made(
    "HOST-KVM-1", "Hardware virtualization is usable", "validation", "critical", "R33", "modprobe kvm_intel", "actual"
)
REACH = made("HOST-REACH-1", "The host answers", "reach", "critical", "R41", "ssh {host} virsh list", "actual")
STATE = made(
    "GUEST-STATE-1", "The guest is in the state it must be in", "reach", "high", "R41", "virsh start {guest}", "live"
)


def pins(guest: str, vcpu: int, want: set[int], actual: set[int], host: str = "hv1") -> Result:
    expected, pid = frozenset(want), 4711 + vcpu
    status = f"Name:\tCPU {vcpu}/KVM\nCpus_allowed_list:\t{min(actual)}-{max(actual)}"
    case = Case(f"{guest}/vcpu{vcpu}", expected, guest=guest, words={"vcpu": vcpu})
    layers = (
        seen(
            "config",
            expected,
            Reading(expected, f"inactive XML of {guest}", f"<vcpupin vcpu='{vcpu}' cpuset='{min(want)}'/>"),
        ),
        seen(
            "live",
            expected,
            Reading(expected, f"live XML of {guest}", f"<vcpupin vcpu='{vcpu}' cpuset='{min(want)}'/>"),
        ),
        seen(
            "actual",
            expected,
            Reading(frozenset(actual), f"/proc/4700/task/{pid}/status", status),
            Reading(
                frozenset(actual), f"/sys/fs/cgroup/cpuset/machine/{guest}/vcpu{vcpu}/cpuset.cpus", f"{min(actual)}"
            ),
        ),
    )
    return result(PIN, case, layers, host)


def limit(guest: str, kib: int, actual: int, host: str = "hv1") -> Result:
    expected = PerLayer(config=kib, live=kib, actual=kib * 1024)
    layers = (
        seen("config", kib, Reading(kib, f"inactive XML of {guest}", f"<hard_limit unit='KiB'>{kib}</hard_limit>")),
        seen("live", kib, Reading(kib, f"live XML of {guest}", f"<hard_limit unit='KiB'>{kib}</hard_limit>")),
        seen(
            "actual",
            kib * 1024,
            Reading(actual, f"/sys/fs/cgroup/memory/machine/{guest}/memory.limit_in_bytes", f"{actual}\n"),
        ),
    )
    return result(LIMIT, Case(guest, expected, guest=guest, words={"kib": kib}), layers, host)


def one(
    check_: Check, subject: str, expected: Any, value: Any, source: str, text: str = "", host: str = "hv1", **more: Any
) -> Result:
    """A case that one reading on each of its layers decides."""
    layers = [seen(layer, expected, Reading(value, source, text)) for layer in check_.layers]
    return result(check_, Case(subject, expected, **more), layers, host)


def hv1() -> Iterator[Result]:
    yield one(REACH, "hv1", True, True, "ssh://root@hv1")
    for guest in ("web1", "web2", "db1"):
        yield one(STATE, guest, "running", "running", f"virsh domstate {guest}", guest=guest)
    for fact, source in (
        ("svm or vmx", "/proc/cpuinfo"),
        ("/dev/kvm", "stat /dev/kvm"),
        ("cgroup memory", "/proc/self/mounts"),
    ):
        yield one(KVM, fact, "usable", "usable", source)
    yield one(
        CERTIFICATE,
        "servercert.pem",
        AtLeast(30, "days"),
        812,
        "/etc/pki/libvirt/servercert.pem",
        "notAfter=Feb 11 09:00:00 2029 GMT",
        words={"path": "/etc/pki/libvirt/servercert.pem"},
    )
    yield one(
        KEYMODE,
        "serverkey.pem",
        "0600",
        "0644",
        "stat /etc/pki/libvirt/private/serverkey.pem",
        "regular file 644 root root",
    )
    yield one(HANDSHAKE, "foreign CA", "refused", "refused", "TLS handshake on port 16514", "alert unknown_ca")
    off, open_ = (
        Reading(False, "/etc/libvirt/libvirtd.conf:22", "listen_tcp = 0"),
        Reading(True, "/proc/net/tcp", "00000000:407D 0A"),
    )
    yield result(PLAIN, Case("port 16509", False), (seen("config", False, off), seen("actual", False, open_)))
    yield one(
        PARTITION,
        "/machine/openstack",
        8 << 30,
        8 << 30,
        "/sys/fs/cgroup/memory/machine/openstack.partition/memory.limit_in_bytes",
    )
    lost = "/sys/fs/cgroup/pids/machine: Permission denied"
    for subject in ("/machine/openstack/pids", "/machine/batch/pids"):
        yield result(PARTITION, Case(subject, 4096), (seen("actual", 4096, error=lost),))
    for guest in ("web1", "web2"):
        yield one(PLACE, guest, "/machine/openstack", "/machine/openstack", f"live XML of {guest}", guest=guest)
    for vcpu in range(4):
        yield pins("web1", vcpu, {vcpu + 1}, {0, 1, 2, 3} if vcpu == 0 else {vcpu + 1})
        yield pins("db1", vcpu, {4 + vcpu}, {4 + vcpu})
    for vcpu in range(4):
        yield one(QUOTA, f"web1/vcpu{vcpu}", 50000, 50000, "schedinfo of web1", "vcpu_quota: 50000", guest="web1")
    yield limit("web1", 1000001, 1024000000 + 1024)
    yield limit("db1", 4194304, 4294967296)
    mended = Mending(
        mode="try",
        changes=(
            "mount the share data at /srv/data in web1 (risk: live)",
            "  hv1/web1$ mount -t 9p -o trans=virtio,version=9p2000.L,cache=none data /srv/data",
        ),
        outcome="tried",
    )
    case = Case("web1/data", "9p2000.L, cache=none", guest="web1", words={"tag": "data", "target": "/srv/data"})
    yield result(
        SHARE,
        case,
        (seen("guest", "9p2000.L, cache=none", Reading(None, "/proc/mounts in web1", "/dev/vda1 / ext4 rw 0 0")),),
        mending=mended,
    )


def hv2() -> Iterator[Result]:
    yield one(REACH, "hv2", True, True, "ssh://root@hv2", host="hv2")
    stopped = "shut off"
    yield one(STATE, "web3", "running", stopped, "virsh domstate web3", host="hv2", guest="web3")
    for fact, source in (
        ("svm or vmx", "/proc/cpuinfo"),
        ("/dev/kvm", "stat /dev/kvm"),
        ("cgroup memory", "/proc/self/mounts"),
    ):
        yield one(KVM, fact, "usable", "usable", source, host="hv2")
    waived = one(
        CERTIFICATE,
        "servercert.pem",
        AtLeast(30, "days"),
        12,
        "/etc/pki/libvirt/servercert.pem",
        "notAfter=Dec  4 09:00:00 2026 GMT",
        host="hv2",
        words={"path": "/etc/pki/libvirt/servercert.pem"},
    )
    reason = f"{waived.message} — waived by Kim until 2026-12-01: new CA in December (OPS-4411)"
    yield waived.model_copy(update={"outcome": Outcome.WAIVED, "message": reason})
    yield one(KEYMODE, "serverkey.pem", "0600", "0600", "stat /etc/pki/libvirt/private/serverkey.pem", host="hv2")
    yield one(
        HANDSHAKE, "foreign CA", "refused", "refused", "TLS handshake on port 16514", "alert unknown_ca", host="hv2"
    )
    yield one(PLAIN, "port 16509", False, False, "/proc/net/tcp", host="hv2")
    for vcpu in range(2):
        config = seen("config", frozenset({vcpu}), Reading(frozenset({vcpu}), "inactive XML of web3"))
        off = [seen(layer, frozenset({vcpu}), not_applicable="guest is shut off") for layer in ("live", "actual")]
        yield result(
            PIN, Case(f"web3/vcpu{vcpu}", frozenset({vcpu}), guest="web3", words={"vcpu": vcpu}), (config, *off), "hv2"
        )
    case = Case("web3/data", "9p2000.L", guest="web3", words={"tag": "data", "target": "/srv/data"})
    yield result(SHARE, case, (seen("guest", "9p2000.L", not_applicable="guest is shut off"),), "hv2")


def run_of(results: Iterable[Result], hosts: Iterable[Host], **more: Any) -> Run:
    results = tuple(results)
    about: dict[str, Any] = {
        "virtvet": __version__,
        "id": "20261122T221500Z-4f2a",
        "started": STARTED,
        "finished": STARTED + timedelta(seconds=3.84),
        "argv": ("virtvet", "check", "lab.yaml", "-H", "ssh://root@hv1", "-H", "ssh://root@hv2"),
        "profiles": (ProfileUsed(name="lab", path="profiles/lab.yaml", sha256="5e" * 32),),
        "exit_code": 1,
    }
    return Run(hosts=tuple(hosts), results=results, summary=Summary.of(results), **about | more)


def host(name: str, guests: Iterable[str] = (), **more: Any) -> Host:
    reached = f"ssh://root@{name}, qemu+tls://{name}/system"
    about = {"libvirt": "9.0.0", "qemu": "7.2.22", "taken": STARTED + timedelta(seconds=1), "seconds": 0.412}
    return Host(name=name, reached=reached, profile="lab", guests=tuple(guests), **about | more)


def sample() -> Run:
    """Two hosts, every outcome."""
    return run_of((*hv1(), *hv2()), (host("hv1", ("bare", "db1", "web1", "web2")), host("hv2", ("web3",))))


def hostile() -> Run:
    """Every text of the run is one that wants to break out of its format."""
    results = [
        result(
            made(f"EVIL-{number}", text, text, "high", text, "echo {subject} {guest} {expected}", "config", "actual"),
            Case(text, text, guest=text),
            (
                seen("config", text, Reading(text, text, text)),
                seen("actual", text, Reading(text + "!", text, text * 9)),
            ),
            text,
        )
        for number, text in enumerate(HOSTILE)
    ]
    hosts = [host(text, HOSTILE, unreachable=text, libvirt=text) for text in HOSTILE]
    profile = ProfileUsed(name=HOSTILE[1], path=HOSTILE[0], sha256="0" * 64)
    return run_of(results, hosts, argv=HOSTILE, profiles=(profile,), virtvet=HOSTILE[1])


def blind(count: int) -> Run:
    """`count` errors on one host, each with a reason of its own."""
    errors = (result(PARTITION, Case(f"/p{n}", 1), (seen("actual", 1, error=f"reason {n}"),)) for n in range(count))
    return run_of(errors, (host("hv1"),))


def large(count: int, hosts: int = 20) -> Run:
    """`count` results on `hosts` hosts; every 50th fails."""
    names = [f"hv{number:03}" for number in range(hosts)]

    def made_results() -> Iterator[Result]:
        for number in range(count):
            actual = {0, 1} if number % 50 == 0 else {1}
            yield pins(f"guest{number // hosts}", number % 8, {1}, actual, names[number % hosts])

    return run_of(made_results(), map(host, names))
