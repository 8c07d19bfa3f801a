"""chatd user add, passwd and remove while the server runs."""

from client import Client, equal, run, server


async def add_passwd_remove():
    """each takes effect at the next login"""
    assert not await Client("eve", password="first").attempt(), "logged in before there was an account"
    await server.ask("user", "add", "eve@chat.test", "-password", "first")
    await (await Client("eve", password="first").login()).logout()
    await server.ask("user", "passwd", "eve@chat.test", "-password", "second")
    old = Client("eve", password="first")
    assert not await old.attempt(), "the old password still works"
    equal(old.failures, ["not-authorized"], "the old password")
    await (await Client("eve", password="second").login()).logout()
    await server.ask("user", "remove", "eve@chat.test")
    assert not await Client("eve", password="second").attempt(), "logged in to a removed account"
    await (await Client("alice").login()).logout()


run(add_passwd_remove)
