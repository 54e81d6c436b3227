"""`virtvet image`: a hypervisor image booted under QEMU on an overlay, checked as any host, and thrown away.

`disk` and `firmware` say what the image is, `accelerator` how it can run here, `credentials` and `iso9660` how one logs
in without touching it, `machine` and `console` run it, `gate` is the whole.
"""
