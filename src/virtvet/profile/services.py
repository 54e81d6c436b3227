"""`host.services`: systemd's units, and packages."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, model_validator

from virtvet.profile.base import Wants, worded
from virtvet.versions import parse_constraint

UnitName = Annotated[
    str,
    StringConstraints(
        pattern=r"^[A-Za-z0-9_][A-Za-z0-9:_.\\-]*(@[A-Za-z0-9:_.\\-]+)?"
        r"\.(service|socket|timer|mount|automount|swap|path|target|slice)$",
        max_length=255,
    ),
    worded("unit of systemd: use its whole name, such as libvirtd.service; of a template one instance"),
]
"""`libvirtd.service`, `serial-getty@ttyS0.service`."""

Enabled = Literal["enabled", "disabled", "masked", "static", "indirect", "generated", "linked"]
"""What `systemctl is-enabled` says."""
Active = Literal["active", "inactive", "failed", "activating", "deactivating", "reloading"]
"""What `systemctl is-active` says."""


class UnitWants(Wants):
    """Whether a unit is started at boot, and whether it runs; what is not stated is not checked."""

    enabled: bool | Enabled | None = None
    """true: enabled; false: disabled, masked, or not there at all; or systemd's own word."""
    active: bool | Active | None = None
    """true: active; false: inactive, failed, or not there at all; or systemd's own word."""

    @model_validator(mode="after")
    def _can_be(self) -> Self:
        if self.enabled == "masked" and self.active is True:
            raise ValueError("a unit that is masked cannot be started: with enabled: masked state active: false")
        return self


def _as_both(written: object) -> object:
    """`true` is enabled and active, `false` neither, `masked` masked and not active."""
    if isinstance(written, bool):
        return {"enabled": written, "active": written}
    return {"enabled": "masked", "active": False} if written == "masked" else written


Unit = Annotated[UnitWants, BeforeValidator(_as_both, json_schema_input_type=bool | Literal["masked"] | UnitWants)]
"""UnitWants, or one word for both."""

PackageName = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9+._-]*$", max_length=128),
    worded("name of a package: use letters, digits and + . _ -"),
]
"""As dpkg and rpm have it: `libvirt-daemon-system`."""


def _version(written: str) -> str:
    if written not in ("installed", "absent"):
        parse_constraint(written)
    return written


Version = Annotated[str, AfterValidator(_version), Field(examples=[">= 9.0", ">= 9.0, < 10", "installed", "absent"])]
"""`installed`, `absent`, or bounds; `9.0.0-4` alone is exactly that. An epoch or revision that a bound does not name is
not compared."""


class Services(Wants):
    """What is installed, enabled and active."""

    units: dict[UnitName, Unit] = Field(default_factory=dict)
    """Units by their whole name; `true`, `false` and `masked` are short for both enabled and active."""
    no_failed_units: bool = False
    """Whether a unit that failed, whichever it is, is a departure."""
    packages: dict[PackageName, Version] = Field(default_factory=dict)
    """Packages by the name that dpkg or rpm has for them."""
