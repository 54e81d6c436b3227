"""A guest's network interfaces: `guests.NAME.interfaces.KEY`, where KEY is a MAC address or a position (`net0`)."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, WithJsonSchema, model_validator

from virtvet.profile.base import Wants, worded
from virtvet.profile.nic_bandwidth import Inbound, Outbound
from virtvet.units import as_written

_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", re.ASCII)
_POSITION = re.compile(r"net(0|[1-9][0-9]{0,2})", re.ASCII)
_MAC_TEXT = "[0-9a-f]{2}(:[0-9a-f]{2}){5}"


def parse_mac(written: object) -> str:
    """A unicast MAC address as libvirt writes it. Raises ValueError."""
    if not isinstance(written, str) or not _MAC.fullmatch(written):
        raise ValueError(f"{as_written(written)} is no MAC address: write it as libvirt does, 52:54:00:ab:cd:ef")
    if int(written[:2], 16) & 1:
        raise ValueError(f"{written} is the address of a group of machines (multicast): no interface can have it")
    return written


def parse_key(written: object) -> str:
    """A MAC address or a position. Raises ValueError."""
    if isinstance(written, str) and _POSITION.fullmatch(written):
        return written
    try:
        return parse_mac(written)
    except ValueError as mistake:
        raise ValueError(f"{mistake}; or use its position in the domain XML: net0, net1 …") from None


def position(key: str) -> int | None:
    """`net1` -> 1; None for a MAC address."""
    return int(key[3:]) if _POSITION.fullmatch(key) else None


Mac = Annotated[str, BeforeValidator(parse_mac), WithJsonSchema({"type": "string", "pattern": f"^{_MAC_TEXT}$"})]
"""Lower case, with colons."""
Key = Annotated[
    str,
    BeforeValidator(parse_key),
    WithJsonSchema({"type": "string", "pattern": f"^({_MAC_TEXT}|net(0|[1-9][0-9]{{0,2}}))$"}),
]
"""A MAC address, or a position in the domain XML."""
Device = Annotated[
    str,
    StringConstraints(pattern=r"^[^/:\s]{1,15}$"),
    worded("network device: 1 to 15 characters without / : or spaces"),
]
"""A network device of the host (dev_valid_name, net/core/dev.c)."""
Name = Annotated[str, StringConstraints(pattern=r"^[^/\x00-\x1f]{1,255}$")]
VlanTag = Annotated[int, Field(ge=0, le=4095)]

SOURCES = {"bridge": "bridge", "network": "network", "dev": "direct"}
"""The key that names what an interface is connected to -> the type of interface that is."""


class Interface(Wants):
    """One interface; what is not stated is not checked."""

    mac: Mac | None = None
    """Its MAC address; needs no mention where it is the key."""
    type: Literal["network", "bridge", "direct", "user", "ethernet", "vhostuser", "hostdev", "vdpa"] | None = None
    """`<interface type=…>` as it is configured."""
    network: Name | None = None
    """The libvirt network it is connected to."""
    bridge: Device | None = None
    """The bridge of the host it is connected to: also that of a network, while the guest runs."""
    dev: Device | None = None
    """Type direct: the host's network device below it; of a network that has one, while the guest runs."""
    model: (
        Annotated[
            str,
            StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$"),
            worded("interface model: use virtio, e1000, e1000e, rtl8139 …"),
        ]
        | None
    ) = None
    """`virtio`, `e1000`, `e1000e`, `rtl8139` …"""
    target: Device | None = None
    """Its end on the host (`<target dev=…>`)."""
    mtu: Annotated[int, Field(ge=68, le=65535)] | None = None
    """Bytes."""
    link: Literal["up", "down"] | None = None
    """Whether its cable is plugged in; with up, its end on the host must be up, too."""
    vlan: VlanTag | list[VlanTag] | None = None
    """`<vlan><tag id=…>`: one tag, or all of a trunk in their order."""
    inbound: Inbound | None = None
    """What comes to the guest."""
    outbound: Outbound | None = None
    """What the guest sends."""

    @model_validator(mode="after")
    def _sources_fit_the_type(self) -> Interface:
        stated = [key for key in SOURCES if getattr(self, key) is not None]
        if wrong := [key for key in stated if self.type not in (None, "network", SOURCES[key])]:
            raise ValueError(f"{', '.join(wrong)}: no interface of type {self.type} is connected to that")
        if self.bridge and self.dev:
            raise ValueError("dev: an interface that is on a bridge is not above a device of the host by itself")
        return self

    @model_validator(mode="after")
    def _bandwidth_fits_the_type(self) -> Interface:
        if self.inbound and self.inbound.floor is not None and self.type not in (None, "network"):
            raise ValueError(f"inbound.floor needs type network, and this is {self.type}: libvirt refuses it")
        limited = [key for key in ("inbound", "outbound") if getattr(self, key)]
        if limited and self.type in ("user", "vhostuser", "hostdev", "vdpa"):
            raise ValueError(f"{', '.join(limited)}: libvirt cannot limit an interface of type {self.type}")
        return self


def key_agrees(interfaces: dict[str, Interface]) -> dict[str, Interface]:
    """The interfaces, if none states another MAC than its key. Raises ValueError."""
    for key, interface in interfaces.items():
        if position(key) is None and interface.mac not in (None, key):
            raise ValueError(f"{key}: its mac is {interface.mac}; use a position (net0) as the key, or leave mac out")
    return interfaces


def for_virsh(key: str, interface: Interface) -> str:
    """What virsh takes for the interface, its address or its end on the host; else a word to be replaced by that."""
    return interface.mac or (key if position(key) is None else interface.target or f"MAC_OF_{key}")


Interfaces = Annotated[dict[Key, Interface], AfterValidator(key_agrees)]
"""By MAC address or position."""
