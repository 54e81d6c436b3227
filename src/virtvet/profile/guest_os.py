"""Which operating system a guest runs: `guests.NAME.os` (libosinfo's id in the domain's metadata).

What Windows does when memory comes or goes by ACPI: Server 2003, 2008 and 2008 R2 take more in their Enterprise and
Datacenter editions (https://learn.microsoft.com/en-us/previous-versions/windows/hardware/design/dn613970(v=vs.85)), so
do all editions of Server 2012 and later, and of the client's Windows 10 and later; none gives any back.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from virtvet.profile.base import Wants, worded
from virtvet.profile.memory_hotplug import MemoryHotplug
from virtvet.units import as_written

WINDOWS = "http://microsoft.com/win/"
"""How libosinfo's ids of Windows begin: http://microsoft.com/win/2k8r2, http://microsoft.com/win/10."""
SERVERS = ("2000", "2003", "2003r2", "2008", "2008r2", "2012", "2012r2", "2016", "2019", "2022", "2025")
CLIENTS = ("xp", "vista", "7", "8", "8.1", "10", "11")
BY_EDITION = ("2003", "2003r2", "2008", "2008r2")
ABLE_EDITIONS = ("enterprise", "datacenter")
FIRST_SERVER, FIRST_CLIENT = 2012, 10


def parse_version(written: object) -> str:
    """`2012` -> "2012", `8.1` -> "8.1", `"2008 R2"` -> "2008r2": YAML reads most versions as numbers.

    Raises ValueError for what is no Windows.
    """
    version = str(written).lower().replace(" ", "")
    if version not in (*SERVERS, *CLIENTS):
        raise ValueError(f"{as_written(written)} is no Windows: use one of {', '.join((*SERVERS, *CLIENTS))}")
    return version


_NUMBERS = [float(one) if "." in one else int(one) for one in (*SERVERS, *CLIENTS) if re.fullmatch(r"[\d.]+", one)]
_SPACED = [one.replace("r2", " R2") for one in SERVERS if one.endswith("r2")]
Version = Annotated[
    str,
    BeforeValidator(parse_version),
    WithJsonSchema({"enum": [*SERVERS, *CLIENTS, *_SPACED, *_NUMBERS]}),
]
OsId = Annotated[
    str,
    Field(pattern=r"^https?://[a-z0-9.-]{1,100}/[A-Za-z0-9._/-]{1,100}$"),
    worded("id of libosinfo: use a URL such as http://debian.org/debian/12 (osinfo-query os -f id lists them)"),
]


class Windows(Wants):
    """A Windows by its version and edition."""

    version: Version
    """`2008r2`, `2022`, `11` …"""
    edition: Literal["standard", "enterprise", "datacenter", "web", "foundation", "essentials"] | None = None
    """Of a server."""


class GuestOs(Wants):
    """What the domain says its system is; what is not stated is not checked."""

    id: OsId | None = None
    """libosinfo's (`osinfo-query os`): `http://debian.org/debian/12`."""
    windows: Windows | None = None
    """The id follows from its version; no id tells its edition."""

    @model_validator(mode="after")
    def _is_one_system(self) -> GuestOs:
        if self.id and self.windows and windows_version(self.id) != self.windows.version:
            raise ValueError(f"windows: {self.windows.version} is not what the id {self.id} names")
        return self

    @property
    def named(self) -> str | None:
        """The id, stated or by the version of Windows: "2008r2" -> http://microsoft.com/win/2k8r2."""
        return windows_id(self.windows.version) if self.windows and not self.id else self.id

    @property
    def is_windows(self) -> bool:
        """By what is stated."""
        return bool(self.named and windows_version(self.named))

    @property
    def edition(self) -> str | None:
        """Of a Windows, where stated."""
        return self.windows.edition if self.windows else None


def windows_id(version: str) -> str:
    """libosinfo's: "2008r2" -> http://microsoft.com/win/2k8r2, "2000" -> …/2k, "8.1" -> …/8.1."""
    if version not in SERVERS:
        return WINDOWS + version
    return f"{WINDOWS}2k{int(version[2:4]) or ''}{version[4:]}"


def windows_version(os_id: str) -> str | None:
    """The Windows of an id: http://microsoft.com/win/2k8r2 -> "2008r2"; None of any other system."""
    if not os_id.startswith(WINDOWS):
        return None
    name = os_id.removeprefix(WINDOWS)
    server = re.fullmatch(r"2k(\d{0,2})(r2)?", name, re.ASCII)
    return f"20{int(server[1] or 0):02}{server[2] or ''}" if server else name


def no_plugging(version: str, edition: str | None) -> str:
    """Why this Windows takes no more memory while it runs; "" when it does.

    ("2008", "standard") -> "Windows 2008 standard takes no memory while it runs: only Enterprise and Datacenter do"
    """
    if version in BY_EDITION:
        if edition in ABLE_EDITIONS:
            return ""
        which = edition or "of an edition that the profile does not state (os.windows.edition)"
        return f"Windows {version} {which} takes no memory while it runs: only Enterprise and Datacenter do"
    year, client = re.match(r"20\d\d", version), re.fullmatch(r"\d{1,3}", version)
    able = (year and int(year[0]) >= FIRST_SERVER) or (client and int(version) >= FIRST_CLIENT)
    return "" if able else f"Windows {version} takes no memory while it runs"


def refusal(os_id: str, edition: str | None, unplug: bool) -> str:
    """Why the system of this id takes no memory while it runs or, with `unplug`, gives none back; "" when it does."""
    if (version := windows_version(os_id)) is None:
        return ""
    if unplug:
        return f"Windows {version} gives no memory back while it runs: no Windows does"
    return no_plugging(version, edition)


def suits(system: GuestOs | None, hotplug: MemoryHotplug | None) -> None:
    """Raises ValueError where memory is to come or go while a guest runs, and the profile's Windows cannot do that."""
    if system is None or system.named is None or hotplug is None or not hotplug.is_wanted:
        return
    if reason := refusal(system.named, system.edition, bool(hotplug.unplug)):
        raise ValueError(f"hotplug: {reason}")
