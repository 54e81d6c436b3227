"""The one POSIX sh script that asks a machine everything: pure, no I/O.

It runs under dash and busybox ash and needs no python on the machine. Answers come as frames on both streams: a
newline, the boundary, a space, a header and a NUL, then the body up to the next frame. The boundary is 128 random bits
made for one look, so no content can forge a frame. Files are read by one GNU grep for all (`grep -azHZ ''`: path, NUL,
then the content up to its next NUL, NUL); where grep is not GNU's (busybox in a guest), by `head -c` in a loop. A
command has its own deadline only by coreutils' timeout(1): busybox's leaves a watcher behind that keeps the pipes open
for a second. Commands run one after the other while files are read, and their frames come after those of the files.

Frames (I: the source's place in `sources`):
    lacks TOOL                 a tool that this script cannot do without is missing
    odd PATH                   stdout: why it is no regular file; or stderr: why it cannot be opened
    list I                     stdout: a Glob's paths, or Processes' directories; stderr: why it cannot be listed
    grep I … grepped I RC      the lines of a Glob with `containing`, by GNU grep: path, NUL, line, newline
    line I PATH                the same, by any grep: the lines of one file
    read … rest RC             what was read, see `collector._records`; or, inside, `file PATH` each
    stat                       one record a path: "%a %u %g %s %U %G %F:%n", a space, the boundary, newline
    run I … ran I RC, none I   a command's two streams and how it ended; no such command
    end                        nothing was cut off
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Sequence
from typing import TypeGuard, TypeVar

from virtvet.snapshot.sources import MAX_FILE, Command, File, Glob, HostSource, Processes, Stat, Tree

MAX_BULK = 32 << 20
"""Bytes that all files together, and each stream of all commands together, may have; more is the fact `TooLarge` for
those that were cut off."""

COMMAND_SECONDS = 10
"""How long one command may take; more is the fact `Unreadable`."""

ONE_GREP = r"""find -L "$@" -maxdepth 0 -type f \( \
-size +{limit}c -exec printf '!%s\0' {{}} + -o -exec sh -c "$READ" sh {{}} + \)"""

HEAD = r"""
LC_ALL=C B={boundary} PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin"
READ='printf "(\0"; printf "%s\0" "$@"; printf "\0"; grep -azHZ -D skip -d skip "" -- "$@"; printf "\0%s\0" "$?"'
FILES={files}
export LC_ALL B PATH READ
exec </dev/null 5>&1 6>&2
f() {{ printf '\n%s %s\0' "$B" "$1"; printf '\n%s %s\0' "$B" "$1" >&2; }}
odd() {{
  f "odd $1"
  if [ -d "$1" ]; then printf 'is a directory'
  elif [ -e "$1" ]; then printf 'is not a regular file'
  else true <"$1"; fi
}}
run() {{
  i=$1; shift
  command -v "$1" >/dev/null 2>&1 || {{ f "none $i"; return; }}
  f "run $i"
  $T "$@" 5>&- 6>&- 7>&-
  f "ran $i $?"
}}
for t in find xargs head tail cat grep stat sort; do command -v "$t" >/dev/null 2>&1 || f "lacks $t"; done
G= ONCE=cat; grep -azHZ '' /dev/null >/dev/null 2>&1; [ "$?" -gt 1 ] || {{ G=1 ONCE='sort -zu' FILES={one_grep}; }}
T=; case $(timeout --version 2>/dev/null) in *coreutils*) T='timeout -k 1 {seconds}';; esac
"""

A_FILE_EACH = r"""for p do
  [ -f "$p" ] || continue
  printf '\n%s file %s\0' "$B" "$p"; printf '\n%s file %s\0' "$B" "$p" >&2
  head -c {most} <"$p"
done"""

LINES = r"""f 'list {i}'; true <{directory}/.
set --; for p in {pattern}; do if [ -f "$p" ]; then set -- "$@" "$p"; printf '%s\0' "$p"; fi; done
if [ -z "$G" ]; then
  for p do f "line {i} $p"; grep -F -e {text} <"$p" | head -c {most}; done
else
  f 'grep {i}'
  {{ if [ "$#" -gt 0 ]; then grep -aHZF -D skip -e {text} -- "$@"; fi; f "grepped {i} $?"; }} | head -c {bulk}
fi
"""

REGULAR = r"""for p in {paths}; do if [ -f "$p" ]; then set -- "$@" "$p"; else odd "$p"; fi; done
"""

MATCHING = r"""f 'list {i}'; true <{directory}/.
for p in {pattern}; do if [ -f "$p" ]; then set -- "$@" "$p"; printf '%s\0' "$p"; fi; done
"""

RUNNING = r"""f 'list {i}'
for p in /proc/[0-9]*; do
  {{ IFS= read -r c <"$p/comm"; }} 2>/dev/null || continue
  case $c in {pattern}) printf '%s\0' "$p"; set -- "$@" {files};; esac
done
"""

ROOT = r"""f 'list {i}'; true <{directory}/.
"""

READ = r"""f read
{{
  {{ if [ "$#" -gt 0 ]; then printf '%s\0' "$@"; fi; {trees} }} | $ONCE | xargs -0 -r sh -c "$FILES" sh
  f "rest $?"
}} | head -c {bulk}
"""

TREE = r"find -H {root} -type f \( {paths} \) -print0;"

STATS = r"""set --; for p in {paths}; do if [ -e "$p" ]; then set -- "$@" "$p"; else odd "$p"; fi; done
f stat; if [ "$#" -gt 0 ]; then stat -L -c "%a %u %g %s %U %G %F:%n $B" -- "$@"; fi
"""

BESIDE = r"""{{
  {{
{runs}  }} 2>&7 | head -c {bulk} | tail -c {bulk} | {{
{{
{files}}} </dev/null
    cat
  }} >&5 2>&6
}} 7>&1 | head -c {bulk} | tail -c {bulk} >&6
"""
"""tail(1) holds back what commands say until its input ends: that of their standard error ends with the files, too."""

S = TypeVar("S")


def script(sources: Sequence[HostSource], boundary: str) -> bytes:
    """The script for these sources. Sources that cannot be asked (see `askable`) are left out."""
    most, bulk = limit_of(sources) + 1, MAX_BULK + 1
    quoted = {
        "boundary": shlex.quote(boundary),
        "files": shlex.quote(A_FILE_EACH.format(most=most)),
        "one_grep": shlex.quote(ONE_GREP.format(limit=most - 1)),
        "seconds": COMMAND_SECONDS,
    }
    asked = [(i, source) for i, source in enumerate(sources) if askable(source)]
    files = "".join([*_lines(asked, bulk), "set --\n", *_files(asked), _read(asked, bulk), *_stats(asked)])
    # One compound command: a shell that got only half of it runs nothing.
    whole = "{\n" + HEAD.format(**quoted) + _beside(files, asked, bulk) + "f end\nexit 0\n}\n"
    return whole.encode("utf-8", "surrogateescape")


def askable(source: HostSource) -> bool:
    """Whether every word of it can be a word of a script: absolute paths, no NUL, encodable."""
    words, paths = _words(source)
    try:
        "".join(words).encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return all(path.startswith("/") for path in paths) and not any("\0" in word for word in words)


def _words(source: HostSource) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """All its words, and those that must be absolute paths."""
    match source:
        case File(path) | Stat(path):
            return (path,), (path,)
        case Glob(pattern, containing):
            return (pattern, containing), (pattern,)
        case Tree(root, names, within):
            return (root, within, *names), (root,)
        case Processes(comm, files, task_files):
            return (comm, *files, *task_files), ()
    return (*source.argv, *source.about), ()


def limit_of(sources: Iterable[HostSource]) -> int:
    """The largest limit of any file: the script reads no more of each; parsing applies each source's own."""
    return max([MAX_FILE, *(source.limit for source in sources if isinstance(source, File))])


Asked = Sequence[tuple[int, HostSource]]


def _of(asked: Asked, kind: Callable[[HostSource], TypeGuard[S]]) -> list[tuple[int, S]]:
    return [(i, source) for i, source in asked if kind(source)]


def _is_lines(source: HostSource) -> TypeGuard[Glob]:
    return isinstance(source, Glob) and bool(source.containing)


def _lines(asked: Asked, bulk: int) -> Iterable[str]:
    for i, source in _of(asked, _is_lines):
        words = {"pattern": shell_pattern(source.pattern), "directory": shlex.quote(fixed_directory(source.pattern))}
        yield LINES.format(i=i, text=shlex.quote(source.containing), most=MAX_FILE + 1, bulk=bulk, **words)


def _files(asked: Asked) -> Iterable[str]:
    """Gather the paths to read as the script's positional parameters."""
    if paths := [source.path for _i, source in asked if isinstance(source, File)]:
        yield REGULAR.format(paths=_quoted(paths))
    for i, source in asked:
        match source:
            case Glob(pattern, ""):
                directory = shlex.quote(fixed_directory(pattern))
                yield MATCHING.format(i=i, pattern=shell_pattern(pattern), directory=directory)
            case Processes(comm, files, task_files):
                names = [f'"$p"/{shlex.quote(name)}' for name in files]
                names += [f'"$p"/task/*/{shlex.quote(name)}' for name in task_files]
                yield RUNNING.format(i=i, pattern=shell_pattern(comm), files=" ".join(names))
            case Tree(root):
                yield ROOT.format(i=i, directory=shlex.quote(root))


def _read(asked: Asked, bulk: int) -> str:
    trees = (_tree(source) for _i, source in asked if isinstance(source, Tree))
    return READ.format(trees=" ".join(trees), bulk=bulk)


def _tree(tree: Tree) -> str:
    root = tree.root.rstrip("/") or "/"
    paths = " -o ".join(f"-path {shlex.quote(f'{tree.within}/{name}')}" for name in tree.names)
    return TREE.format(root=shlex.quote(root), paths=paths)


def _stats(asked: Asked) -> Iterable[str]:
    if paths := [source.path for _i, source in asked if isinstance(source, Stat)]:
        yield STATS.format(paths=_quoted(paths))


def _beside(files: str, asked: Asked, bulk: int) -> str:
    """The commands run while files are read, and are heard after that. One bound for all of them: a pipe for each would
    cost more than most commands do."""
    runs = [f"run {same[0][0]} {_quoted(_words_of_all(same))}\n" for same in run_once(asked)]
    return BESIDE.format(runs="".join(runs), files=files, bulk=bulk) if runs else files


def run_once(asked: Asked) -> Iterable[Sequence[tuple[int, Command]]]:
    """The commands that differ only in what they are about, together: the first one's place is that of the answer.

    One that is about nothing may be about everything, and is by itself.
    """
    found: dict[tuple[tuple[str, ...], bool], list[tuple[int, Command]]] = {}
    for i, source in _of(asked, _is_command):
        found.setdefault((source.argv, bool(source.about)), []).append((i, source))
    return found.values()


def _is_command(source: HostSource) -> TypeGuard[Command]:
    return isinstance(source, Command)


def _words_of_all(same: Sequence[tuple[int, Command]]) -> Sequence[str]:
    names = {name for _i, command in same for name in command.about}
    return (*same[0][1].argv, *sorted(names))


def _quoted(words: Iterable[str]) -> str:
    return " ".join(map(shlex.quote, words))


def shell_pattern(pattern: str) -> str:
    """A pattern with everything quoted but its pattern characters: "/a b/*" -> "'/a b/'*"."""
    return "".join(
        part if part[:1] in "*?[]!" else shlex.quote(part) for part in re.split(r"([*?\[\]!]+)", pattern) if part
    )


def fixed_directory(pattern: str) -> str:
    """The directory above a pattern's first wildcard: "/sys/bus/pci/devices/*/vendor" -> "/sys/bus/pci/devices"."""
    return re.split(r"[*?\[]", pattern, maxsplit=1)[0].rpartition("/")[0]
