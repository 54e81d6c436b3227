"""The profile applied to the names that a look found."""

from __future__ import annotations

from virtvet.inventory import HostAccess, Libvirt
from virtvet.profile import Profile
from virtvet.target import HostTarget

ACCESS = HostAccess("hv1", None, Libvirt(), ("hv1",), None, {})
ENTRIES = {"web*": {}, "db": {"optional": True}, "hand": {}, "old": {}}
UNSEEN = HostTarget.unseen(ACCESS, Profile.model_validate({"virtvet": 1, "guests": ENTRIES}))


def guests(target: HostTarget) -> dict[str, bool]:
    return {guest.name: guest.matched for guest in target.guests}


def test_before_the_look_entries_stand_for_themselves() -> None:
    assert guests(UNSEEN) == {"web*": True, "db": True, "hand": True, "old": True}


def test_entries_that_match_no_name_are_missed_unless_they_are_optional() -> None:
    assert guests(UNSEEN.seen(["web1", "web2", "hand", "other"])) == {
        "hand": True,
        "web1": True,
        "web2": True,
        "old": False,
    }


def test_without_libvirts_names_nothing_is_missed() -> None:
    assert guests(UNSEEN.seen(["hand"], all_of_them=False)) == {"hand": True, "web*": True, "db": True, "old": True}
