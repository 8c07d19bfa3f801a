"""What a client must not send: each has its stream error and hurts nobody else."""

from client import Client, equal, run

FAULTS = {
    "not well-formed": ("<message></presence>", ("not-well-formed",)),
    "a comment": ("<message><!-- hello --></message>", ("restricted-xml",)),
    "a processing instruction": ("<?php x?>", ("restricted-xml",)),
    "a document type": ("<!DOCTYPE x [<!ENTITY y 'z'>]>", ("restricted-xml",)),
    "an entity": ("<message><body>&nbsp;</body></message>", ("restricted-xml", "not-well-formed")),
    "an undeclared prefix": ("<message><x:y/></message>", ("bad-namespace-prefix", "not-well-formed")),
    "bytes that are not UTF-8": (b"<message><body>\xff\xfe</body></message>",
                                 ("not-well-formed", "bad-format", "unsupported-encoding")),
    "no stanza": ("<letter xmlns='jabber:client'/>", ("unsupported-stanza-type",)),
    "a foreign namespace": ("<message xmlns='jabber:server'/>", ("invalid-namespace", "unsupported-stanza-type")),
    "an endless stanza": ("<message><body>" + "x" * 600_000, ("policy-violation",)),
    "deep nesting": ("<message>" + "<a xmlns='x'>" * 2_000, ("policy-violation", "not-well-formed")),
    "endless attributes": ("<message " + " ".join(f"a{i}='1'" for i in range(5_000)) + "/>",
                           ("policy-violation", "not-well-formed")),
}


async def each_fault():
    """every fault ends its own stream with the right error and no other"""
    bystander = await Client("bob").login()
    for what, (xml, errors) in FAULTS.items():
        c = await Client("alice", resource="faulty").login()
        c.send_raw(xml)
        await c.gone()
        assert c.stream_error in errors, f"{what}: got {c.stream_error}, want one of {errors}"
        await bystander.ping()
    await bystander.logout()


async def far_smaller_before_login():
    """before login much less is too much"""
    for size, refused in (1_000, False), (200_000, True):
        c = Client("alice", mech="PLAIN", password="x" * size)
        assert not await c.attempt(), "logged in"
        if refused:
            equal(c.stream_error, "policy-violation", f"a password of {size} bytes")
        else:
            equal(c.failures, ["not-authorized"], f"a password of {size} bytes")


run(each_fault, far_smaller_before_login)
