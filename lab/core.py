"""The lab as a whole: up, down, attach."""

import os
import subprocess
import sys
import time
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from pathlib import Path
from types import TracebackType

from lab import access, by_hand, cgroups, domain, hostroot, keys, network, preflight, shell, state, teardown, userland
from lab.errors import LabError
from lab.kernel import Kernel, kernel
from lab.machine import CHECKER, Guest, Host, wait_until
from lab.progress import Progress
from lab.spec import HOSTS, MIB, NETWORK, GuestSpec, HostSpec

INIT = Path(__file__).with_name("init.py")


class Lab:
    """Two libvirt hosts and their guests: ``with Lab() as lab: lab.hosts["hv1"].run(["virsh", "list"])``."""

    def __init__(
        self, *, logs: Path | None = None, keep: bool | None = None, wait: float = 0, quiet: bool = False
    ) -> None:
        shell.find_system_commands()
        self.root = state.ROOT
        self.logs = logs or state.default_logs()
        self.keep = os.environ.get("KEEP", "0") not in ("", "0") if keep is None else keep
        self.wait = wait
        self.say = Progress(quiet)
        self.lock: state.Lock | None = None
        self.inventory = self.root / "inventory.yaml"
        self.ssh_config = self.root / "ssh" / "config"
        self.known_hosts = self.root / "ssh" / "known_hosts"
        self.key = self.root / "ssh" / "id"
        self.pki = self.root / "pki" / "client"
        self.expired_pki = self.root / "pki" / "expired"
        self._name_machines()

    def _name_machines(self) -> None:
        self.hosts = {spec.name: Host(spec, self.root / spec.name, self.logs / spec.name) for spec in HOSTS}
        guests = [Guest(g, host, self.ssh_config) for host in self.hosts.values() for g in host.spec.guests]
        self.guests = {guest.id: guest for guest in guests}

    @property
    def ca(self) -> keys.Authority:
        """The authority that both hosts trust."""
        return keys.Authority.load(self.root / "pki" / "ca", state.cache() / "keys")

    @property
    def foreign_ca(self) -> keys.Authority:
        """An authority that nobody trusts."""
        return keys.Authority.create("foreign", state.cache() / "keys")

    def uri(self, host: str) -> str:
        """The libvirt URI of a host over TLS, with the client's certificates."""
        return f"qemu+tls://{self.hosts[host].address}/system?pkipath={self.pki}"

    # the life of a lab

    @classmethod
    def attach(cls, quiet: bool = True) -> "Lab":
        """The lab that is up now; one whose starter or hosts have ended is none."""
        found = state.load()
        if found is None or found.phase != "up":
            raise LabError("no lab is up: `python -m lab up`")
        lab = cls(logs=Path(found.logs), quiet=quiet)
        if not found.in_hands or not lab.stands:
            raise LabError(f"process {found.owner} left a lab behind: `python -m lab down` takes it away")
        return lab

    @property
    def stands(self) -> bool:
        """Whether its hosts run: its files outlive them where a session or container ends without a reboot."""
        try:
            return all(host.init for host in self.hosts.values())
        except LabError:
            return False

    def __enter__(self) -> "Lab":
        return self.up()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.keep:
            self.leave_up()
        else:
            self.down()

    def up(self) -> "Lab":
        """Bring everything up and return when hosts and guests answer; on failure leave nothing behind."""
        self._acquire()
        try:
            Bringup(self).run()
        except BaseException as error:
            self._failed(error)
            raise
        return self

    def _acquire(self) -> None:
        preflight.check()
        end = time.monotonic() + self.wait
        while holder := self._kept_by(end - time.monotonic()):
            if time.monotonic() > end:
                raise LabError(f"a lab is up already (left up by {holder}): `python -m lab down` takes it down")
            time.sleep(0.5)
        if teardown.sweep():
            self.say("swept what an earlier lab left behind")

    def _kept_by(self, wait: float) -> str:
        """Take the lock; if a lab was left up on purpose, give it back and say by whom."""
        self.lock = state.Lock()
        self.lock.acquire(wait)
        found = state.load()
        if found and found.kept and found.phase == "up" and self.stands:
            self._release()
            return found.command
        return ""

    def _failed(self, error: BaseException) -> None:
        """Say so and clean up; what failed is in the exception."""
        self.say("interrupted" if isinstance(error, KeyboardInterrupt) else "failed")
        if self.keep:
            self.say("left as it is: `python -m lab down` takes it down")
            self._release()
        else:
            self.down()

    def leave_up(self) -> None:
        """Let the lab outlive this process."""
        found = state.load()
        if found:
            found.kept = True
            found.save()
        self._release()

    def down(self) -> None:
        """Take everything down, also what an earlier lab left behind."""
        if self.lock is None:
            self.lock = state.Lock()
            self.lock.acquire(self.wait)
        found = state.load()
        if found and found.owner != os.getpid():
            self.say(f"taking down the lab of process {found.owner} ({found.command})")
        teardown.sweep()
        self._release()
        self.say("down")

    def _release(self) -> None:
        if self.lock:
            self.lock.release()
            self.lock = None


class Bringup:
    """The way from nothing to a lab that answers: hosts side by side, then their guests side by side."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.say = lab.say
        self.cache = state.cache()
        self.ssh = lab.ssh_config.parent
        self.images = lab.root / "images"  # storage that both hosts share, so that guests can migrate
        self.guest_keys: dict[str, str] = {}
        self.host_keys: dict[str, str] = {}
        self.started: dict[str, subprocess.Popen[str]] = {}

    def run(self) -> None:
        """Start everything; come back when everything answers."""
        self._prepare()
        pool = ThreadPoolExecutor(max_workers=8)
        try:
            self._side_by_side(pool)
        except BaseException:
            cgroups.kill_members()  # what the other threads wait for will not come: let them notice at once
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
        found = state.load()
        assert found
        found.phase = "up"
        found.save()
        self.say(f"up: {len(self.lab.hosts)} hosts, {len(self.lab.guests)} guests")

    def _prepare(self) -> None:
        lab = self.lab
        for folder in (lab.root, self.ssh, self.images, *(host.logs / "console" for host in lab.hosts.values())):
            folder.mkdir(parents=True, mode=0o700, exist_ok=True)
        state.State(os.getpid(), state.own_command(), str(lab.logs)).save()
        self.authority = keys.Authority.create("lab", self.cache / "keys")
        self.authority.save(lab.root / "pki" / "ca")
        keys.write_client(self.authority, lab.pki)
        keys.write_client(self.authority, lab.expired_pki, self.authority.client(valid=(-30, -1)))
        self.client_key = keys.ssh_key(lab.key)
        cgroups.create(CHECKER)
        self.switch = self._spawn("switch", network.SWITCH).pid
        wait_until(lambda: _has_own_net(self.switch), 5, "the switch's namespace", every=0.01)
        network.make_switch(self.switch)

    def _side_by_side(self, pool: ThreadPoolExecutor) -> None:
        guests = [(host, guest) for host in HOSTS for guest in host.guests]
        self.kernel: Future[Kernel] = pool.submit(kernel, self.cache, self.say)
        self.base = pool.submit(lambda: userland.cached_base(self.cache, self.kernel.result()))
        boots = {guest.name: pool.submit(self._guest_files, host, guest) for host, guest in guests}
        _all([pool.submit(self._start_host, host, boots) for host in HOSTS])
        self._write_access()
        _all([pool.submit(self._await_guest, guest) for guest in self.lab.guests.values()])

    def _spawn(self, name: str, argv: list[str]) -> subprocess.Popen[str]:
        """Start a process of the lab: in its own cgroups and session, with a log."""
        groups = cgroups.create(name)
        with (self.lab.logs / f"{name}.log").open("a") as log:
            return subprocess.Popen(
                cgroups.joined(groups, argv),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )

    # guests' files, while the hosts start

    def _guest_files(self, host: HostSpec, guest: GuestSpec) -> None:
        folder = self.images
        host_key = self.ssh / f"{guest.name}.{host.name}.key"
        self.guest_keys[guest.address] = keys.dropbear_key(host_key)
        own = userland.own(guest, self.client_key, host_key.read_bytes())
        if guest.disk_mib:
            userland.disk_root(own).ext4(folder / f"{guest.name}.img", guest.disk_mib)
        if guest.empty_mib:
            with (folder / f"{guest.name}.img").open("wb") as image:
                image.truncate(guest.empty_mib * MIB)
        archive = self.base.result().read_bytes()
        (folder / f"{guest.name}.cpio").write_bytes(archive + (b"" if guest.disk_mib else own.archive()))

    # hosts

    def _start_host(self, spec: HostSpec, boots: dict[str, Future[None]]) -> None:
        host = self.lab.hosts[spec.name]
        self.host_keys[spec.name] = hostroot.fill(spec, host.root, self.authority, self.client_key)
        hostroot.reuse_capabilities(host.root, self.cache)
        self._start_init(host)
        wait_until(lambda: self._daemons_up(host), 30, f"{host.name}: libvirtd, sshd", every=0.02)
        host.wait_for_tls()
        self.say(f"{host.name} listens for TLS and SSH")
        for guest in spec.guests:
            boots[guest.name].result()
        self._start_guests(host)
        self.say(f"{host.name} has started its guests")

    def _start_init(self, host: Host) -> None:
        config = host.folder / "init.json"
        binds = hostroot.init_config(host.spec, host.root, self.kernel.result().folder, host.logs, self.images)
        config.write_text(binds)
        isolate = ["unshare", "--mount", "--uts", "--net", "--pid", "--cgroup", "--fork", "--kill-child"]
        process = self._spawn(host.name, [*isolate, sys.executable, "-I", "-S", str(INIT), str(config)])
        self.started[host.name] = process
        assert process.stdin
        assert process.stdout
        if process.stdout.readline() != "ready\n":
            raise LabError(f"{host.name} did not start: {_tail(self.lab.logs / f'{host.name}.log')}")
        init = _only_child(process.pid)
        (host.folder / "init").write_text(str(init))
        network.plug_in(host.spec, init, self.switch)
        process.stdin.write("go\n")
        process.stdin.close()

    def _daemons_up(self, host: Host) -> bool:
        if self.started[host.name].poll() is not None:
            raise LabError(f"{host.name} ended: {_tail(self.lab.logs / f'{host.name}.log')}")
        return (host.root / "run" / "lab-started").exists()

    def _start_guests(self, host: Host) -> None:
        lines = [
            "set -e",
            "cd /run",
            *_define("net", NETWORK, domain.network_xml(host.spec)),
            f"virsh -q net-start {NETWORK}",
        ]
        known = [guest for guest in host.spec.guests if not guest.by_hand]
        for guest in known:
            lines += _define("", guest.name, domain.domain_xml(guest))
        for guest in host.spec.guests:
            lines += by_hand.start(guest) if guest.by_hand else []
        # side by side, and the first that fails is what the script says
        names = " ".join(guest.name for guest in known)
        lines.append(f'pids=; for name in {names}; do virsh -q start $name & pids="$pids $!"; done')
        lines.append("for pid in $pids; do wait $pid; done")
        host.sh("\n".join(lines), timeout=90)
        hostroot.keep_capabilities(host.root, self.cache)

    def _write_access(self) -> None:
        lab = self.lab
        lab.known_hosts.write_text(access.known_hosts(self.host_keys, self.guest_keys))
        lab.ssh_config.write_text(access.ssh_config(self.ssh))
        lab.inventory.write_text(access.inventory(self.ssh, lab.pki, lab.expired_pki))
        for name in lab.hosts:
            shell.run(["ssh", "-F", str(lab.ssh_config), name, "true"], timeout=20)

    # guests

    def _await_guest(self, guest: Guest) -> None:
        try:
            self._await_boot(guest)
            guest.wait(60)
        except LabError as error:
            raise LabError(f"{error}\n{_tail(guest.console)}") from error
        self._tune(guest)
        self.say(f"{guest.id} answers")

    def _await_boot(self, guest: Guest) -> None:
        """One boot of several vCPUs in a dozen hangs under TCG (the kernel patches itself while others run it)."""
        for attempt in (1, 2, 3):
            try:
                return wait_until(lambda: self._has_booted(guest), 45, f"{guest.id}: the end of its boot")
            except LabError:
                if attempt == 3 or guest.spec.by_hand:
                    raise
            self.say(f"{guest.id} hangs in its boot: started again")
            guest.virsh("destroy")
            guest.virsh("start")
        return None

    def _has_booted(self, guest: Guest) -> bool:
        """Whether it has its address from DHCP, or has started its agent."""
        said = f"virtvet-lab: address {guest.address}" if guest.address else "virtvet-lab: agent"
        return guest.host.init > 0 and guest.console.exists() and said in guest.console.read_text(errors="replace")

    def _tune(self, guest: Guest) -> None:
        """Limits that would slow the boot or that are refused at the start; set live and for the next start."""
        for name, value in guest.spec.bandwidth.items():
            guest.virsh("schedinfo", "--live", "--config", "--set", f"{name}={value}")
        for name, value in guest.spec.memtune.items():
            guest.virsh("memtune", "--live", "--config", f"--{name}", str(value))


def _define(kind: str, name: str, xml: str) -> list[str]:
    """Shell lines that define a domain or network from XML and leave no file."""
    command = f"{kind}-define" if kind else "define"
    return [f"cat >{name}.xml <<'XML'", xml, "XML", f"virsh -q {command} {name}.xml", f"rm {name}.xml"]


def _all(futures: list[Future[None]]) -> None:
    """Wait for all, or until one fails; raise what it raised."""
    done, _ = wait(futures, return_when=FIRST_EXCEPTION)
    for future in done:
        future.result()


def _has_own_net(pid: int) -> bool:
    return Path(f"/proc/{pid}/ns/net").readlink() != Path("/proc/self/ns/net").readlink()


def _only_child(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def _tail(path: Path, lines: int = 15) -> str:
    try:
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return f"(no {path})"
