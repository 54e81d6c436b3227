"""Mount a share inside its guest, and have the next boot mount it again where the profile wants that."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

from virtvet.check import Case
from virtvet.probes import kernel, mounts, v9fs
from virtvet.profile.shares import Mount, Share
from virtvet.remedies.change import CannotMend, Change, Remedy, Step
from virtvet.remedies.modes import Risk
from virtvet.remedies.operations import EditLine, Given, Run, WriteFile
from virtvet.snapshot.model import Snapshot
from virtvet.snapshot.sources import Stat
from virtvet.target import GuestTarget, HostTarget


def folders(guest: GuestTarget) -> Iterable[Stat]:
    """The directories a share needs to be mounted at, with those above them."""
    return {Stat(path) for share in guest.wants.shares.values() if share.mount for path in _path(share.mount)}


def _path(mount: Mount) -> list[str]:
    """ "/mnt/share" -> ["/mnt", "/mnt/share"]."""
    at = PurePosixPath(mount.at)
    return [str(one) for one in (*reversed(at.parents), at)][1:]


def plan(snapshot: Snapshot, case: Case, target: HostTarget) -> tuple[Change, ...]:
    """One change of the guest: the directory, the mount, the line of fstab, as far as each is missing."""
    guest, at = case.args[:2]
    wanted = target.guests_by_name()[guest].wants.shares
    tag, share = next((tag, one) for tag, one in wanted.items() if one.mount and one.mount.at == at)
    inside = snapshot.guest(guest)
    steps = (*_mounted(inside, tag, share), *_at_boot(inside, tag, share))
    return (Change(f"mount the share {tag} at {at} in {guest}", Risk.LIVE, steps),) if steps else ()


MOUNT = Remedy("mount the share in the guest, and at its next boot", Risk.LIVE, plan, guest_sources=folders)


def _mounted(inside: Snapshot, tag: str, share: Share) -> Iterator[Step]:
    mount = _mount(share)
    if found := mounts.mounted(inside, mount.at):
        if (found.fstype, found.source) != (share.driver, tag):
            raise CannotMend(f"{found.source} ({found.fstype}) is mounted at {mount.at}: see why, and umount it first")
        return
    for path in _path(mount):
        if inside.maybe_stat(Stat(path)) is None:
            yield Step(Run(inside.machine, ("mkdir", path)), (Run(inside.machine, ("rmdir", path), given=Given(path)),))
    done = Run(inside.machine, ("mount", "-t", share.driver, "-o", v9fs.options(share), tag, mount.at))
    there = Given("/proc/mounts", " ".join(("", mounts.escaped(mounts.folder(mount.at)), share.driver, "")))
    yield Step(done, (Run(inside.machine, ("umount", mount.at), given=there),))


def _at_boot(inside: Snapshot, tag: str, share: Share) -> Iterator[Step]:
    mount = _mount(share)
    if not mount.persistent or _boots(inside, tag, share):
        return
    line = mounts.fstab_line(tag, mount.at, share.driver, v9fs.options(share))
    text = inside.maybe(mounts.FSTAB)
    path = mounts.FSTAB.path
    if text is None:
        new = WriteFile(inside.machine, path, None, line + "\n")
        yield Step(new, (new.back(),))
    else:
        edited = EditLine(inside.machine, path, _line_at(text, mount.at), line)
        yield Step(edited, (edited.back(),))


def _boots(inside: Snapshot, tag: str, share: Share) -> bool:
    """Whether the next boot mounts the share as stated. Raises CannotMend when a mount unit says otherwise."""
    mount = _mount(share)
    if (found := mounts.next_boot(inside, mount.at)) is None:
        return False
    if (found.source, found.fstype) == (tag, share.driver) and _options_hold(inside, found, mount, share):
        return True
    if found.where != str(mounts.FSTAB):
        raise CannotMend(f"{found.where} mounts {mount.at} otherwise, and goes before {mounts.FSTAB}")
    return False


def _options_hold(inside: Snapshot, found: mounts.Mounted, mount: Mount, share: Share) -> bool:
    if share.driver != "9p":
        return mount.readonly in (None, "ro" in found.options)
    release = kernel.version(inside.read(kernel.OSRELEASE).decode("ascii", "replace"), kernel.OSRELEASE)
    seen = v9fs.settings(found.options, release)
    stated = mount.model_dump(include=set(v9fs.KEYS), exclude_none=True)
    return all(seen[key] == value for key, value in stated.items())


def _line_at(text: bytes, at: str) -> str | None:
    """The line of fstab for a directory, exactly; None when there is none. Raises CannotMend when there are several."""
    where = str(mounts.FSTAB)
    lines = text.decode("utf-8", "backslashreplace").split("\n")
    found = [line for line in lines if any(one.at == mounts.folder(at) for one in mounts.table(line, where))]
    if len(found) > 1:
        raise CannotMend(f"{where} has {len(found)} lines for {at}")
    return found[0] if found else None


def _mount(share: Share) -> Mount:
    assert share.mount, "only a share with a mount has a case of this remedy"
    return share.mount
