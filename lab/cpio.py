"""A file tree in memory, and the two shapes a guest boots from: a newc archive or an ext4 image."""

import stat
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from lab import shell


@dataclass(frozen=True)
class Node:
    """A directory, file or symbolic link: its mode with type bits, and its bytes."""

    mode: int
    data: bytes = b""


class Tree:
    """Paths without leading slash to nodes; parents come by themselves."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}

    def directory(self, path: str, mode: int = 0o755) -> None:
        """Add a directory."""
        self._add(path, Node(stat.S_IFDIR | mode))

    def file(self, path: str, data: bytes | str, mode: int = 0o644) -> None:
        """Add a file."""
        content = data.encode() if isinstance(data, str) else data
        self._add(path, Node(stat.S_IFREG | mode, content))

    def link(self, path: str, target: str) -> None:
        """Add a symbolic link."""
        self._add(path, Node(stat.S_IFLNK | 0o777, target.encode()))

    def _add(self, path: str, node: Node) -> None:
        parent = str(Path(path).parent)
        if parent != "." and parent not in self.nodes:
            self.directory(parent)
        self.nodes[path] = node

    def update(self, other: "Tree") -> None:
        """Take over all of ``other``."""
        self.nodes.update(other.nodes)

    def archive(self) -> bytes:
        """The tree as a newc archive; the kernel unpacks several of them one after the other."""
        entries = [_entry(ino, path, node) for ino, (path, node) in enumerate(self.nodes.items(), 1)]
        return b"".join([*entries, _entry(0, "TRAILER!!!", Node(0))])

    def ext4(self, image: Path, mib: int) -> None:
        """The tree as the root of a new ext4 file system in ``image``."""
        with tempfile.TemporaryDirectory(dir=image.parent) as folder:
            self._write(Path(folder))
            quick = ["-q", "-F", "-t", "ext4", "-m", "0", "-L", "root", "-E", "lazy_itable_init=1"]
            shell.run(["mke2fs", *quick, "-d", folder, str(image), f"{mib}M"])

    def _write(self, folder: Path) -> None:
        for path, node in self.nodes.items():
            _write_node(folder / path, node)


def _write_node(path: Path, node: Node) -> None:
    if stat.S_ISLNK(node.mode):
        path.symlink_to(node.data.decode())
        return
    if stat.S_ISDIR(node.mode):
        path.mkdir(exist_ok=True)
    else:
        path.write_bytes(node.data)
    path.chmod(stat.S_IMODE(node.mode))


def _entry(ino: int, path: str, node: Node) -> bytes:
    name = path.encode() + b"\0"
    links = 2 if stat.S_ISDIR(node.mode) else 1
    # magic, then: inode, mode, uid, gid, links, mtime, size, device and rdevice majors and minors, name size, checksum
    numbers = (ino, node.mode, 0, 0, links, 0, len(node.data), 0, 0, 0, 0, len(name), 0)
    header = b"070701" + b"".join(b"%08X" % number for number in numbers)
    return _padded(header + name) + _padded(node.data)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)


def libraries(binary: str) -> list[str]:
    """The shared libraries ``binary`` needs, with the loader: ``/lib/x86_64-linux-gnu/libc.so.6``."""
    output = subprocess.run(["ldd", binary], capture_output=True, text=True, check=False).stdout
    return [word for line in output.splitlines() for word in line.split() if word.startswith("/")]
