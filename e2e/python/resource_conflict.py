"""The same resource twice, under each policy; the Go test configures it."""

import asyncio

from client import Client, equal, error_of, run, server


async def replace():
    """replace: the newer session wins, the older is told"""
    old = await Client("alice", resource="home").login()
    new = await Client("alice", resource="home").login()
    await old.gone()
    equal(old.stream_error, "conflict", "stream error of the replaced")
    equal(new.boundjid.resource, "home", "resource of the new session")
    await new.ping()
    await new.logout()


async def refuse():
    """refuse: the older session stays, the newer gets a conflict"""
    await server.ask("configure", "resource_conflict", "refuse")
    old = await Client("alice", resource="home").login()
    new = Client("alice", resource="home")
    refusing = asyncio.ensure_future(new.attempt())
    refused = await new.expect("an answer to the bind request", lambda x: x.tag == "{jabber:client}iq")
    equal(error_of(refused), "conflict", "bind of a resource that is taken")
    new.abort()
    await refusing
    await old.ping()
    await old.logout()


async def rename():
    """rename: both stay, the newer under another resource"""
    await server.ask("configure", "resource_conflict", "rename")
    old = await Client("alice", resource="home").login()
    new = await Client("alice", resource="home").login()
    assert new.boundjid.resource not in ("", "home"), new.boundjid.full
    await old.ping()
    await new.ping()
    await old.logout()
    await new.logout()


run(replace, refuse, rename)
