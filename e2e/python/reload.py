"""Reload: new settings and a new certificate, and nobody is disconnected."""

import os
import ssl

from client import Client, bare, equal, run, server


async def offers_registration():
    """Whether a new connection is offered in-band registration."""
    c = await Client("alice", mech="PLAIN").login()
    await c.logout()
    return c.has(lambda x: x.find("{http://jabber.org/features/iq-register}register") is not None)


async def settings():
    """a setting changes by SIGHUP, and by the change of the file alone; sessions stay"""
    a = await Client("alice", resource="a").login()
    b = await Client("bob", resource="b", direct=True).login()
    equal(await offers_registration(), True, "registration at first")
    await server.ask("configure", "registration", "false")
    equal(await offers_registration(), False, "registration after SIGHUP")
    await server.ask("edit", "registration", "true")
    equal(await offers_registration(), True, "registration after the file changed")
    a.say(bare("bob"), "still here?")
    await b.message("still here?")
    for c in a, b:
        await c.ping()
        await c.logout()


async def certificate():
    """another certificate is shown to new connections; sessions stay"""
    a = await Client("alice", resource="a").login()
    before = a.socket.getpeercert(True)
    await server.ask("certificate")
    b = await Client("bob", resource="b").login()  # trusts the new one only
    after = b.socket.getpeercert(True)
    assert before != after, "the certificate is the old one"
    equal(ssl.DER_cert_to_PEM_cert(after).split(), open(os.environ["CHATD_CA"]).read().split(), "the certificate")
    a.say(bare("bob"), "still here?")
    await b.message("still here?")
    for c in a, b:
        await c.ping()
        await c.logout()


run(settings, certificate)
