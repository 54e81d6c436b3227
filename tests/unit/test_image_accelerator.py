"""KVM is tried: the guest of the probe ends where guests run, and a guest that hangs is noticed."""

from __future__ import annotations

import shutil

import pytest

from virtvet.errors import BadInput
from virtvet.image import accelerator

needs_qemu = pytest.mark.skipif(shutil.which("qemu-system-x86_64") is None, reason="QEMU is not installed")


@needs_qemu
def test_the_probe_gets_to_its_end_where_guests_run() -> None:
    assert accelerator.probe(("-accel", "tcg"), 20) == ""


@needs_qemu
def test_a_guest_that_hangs_is_noticed() -> None:
    """-S: QEMU starts, and its CPU never runs."""
    assert accelerator.probe(("-accel", "tcg", "-S"), 0.4) == "a guest of 181 bytes hung for 0.4 s"


@needs_qemu
def test_what_qemu_says_is_passed_on() -> None:
    assert "nonesuch" in accelerator.probe(("-accel", "nonesuch"), 20)


def test_tcg_is_not_asked_why() -> None:
    assert accelerator.choose("tcg") == accelerator.Accelerator("tcg", "")


def test_without_the_device_there_is_no_kvm(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accelerator, "KVM", accelerator.Path(f"{tmp_path}/kvm"))
    assert accelerator.choose(None).name == "tcg"
    assert accelerator.choose(None).why == f"KVM is not usable here: there is no {tmp_path}/kvm"
    with pytest.raises(BadInput, match=r"KVM is not usable here.*--accel tcg"):
        accelerator.choose("kvm")


def test_tcg_runs_in_one_thread_and_offers_what_systems_are_compiled_for() -> None:
    options = " ".join(accelerator.Accelerator("tcg", "").options)
    assert "thread=single" in options
    assert "-cpu max" in options
