"""Domain XML is parsed closed to everything but the text itself."""

from __future__ import annotations

import pytest

from tests.looks import V1, look
from virtvet.errors import CannotLook, NotApplicable
from virtvet.probes import domain_xml

LIVE, CONFIG = "virsh dumpxml web1", "virsh dumpxml --inactive web1"


def test_live_and_config_are_two_documents() -> None:
    assert domain_xml.live(look(V1), "web1").get("id") is not None
    assert domain_xml.config(look(V1), "web1").get("id") is None


def test_a_layer_that_does_not_exist_says_why() -> None:
    with pytest.raises(NotApplicable, match="shut off"):
        domain_xml.live(look(V1, {LIVE: None}), "web1")
    with pytest.raises(NotApplicable, match="transient"):
        domain_xml.config(look(V1, {CONFIG: None}), "web1")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not XML"),
        ("<domain>", "not XML"),
        ("<network/>", "not <domain>"),
        ("<domain>" + " " * domain_xml.MAX_XML + "</domain>", "larger"),
        ("<domain>\x01</domain>", "not XML"),
    ],
)
def test_what_is_no_domain_is_an_error(text: str, reason: str) -> None:
    with pytest.raises(CannotLook, match=reason):
        domain_xml.parse(text, "virsh")


def test_entities_stay_unread() -> None:
    text = '<!DOCTYPE domain [<!ENTITY x SYSTEM "file:///etc/hostname">]><domain><name>&x;</name></domain>'
    assert not domain_xml.parse(text, "virsh").findtext("name")
