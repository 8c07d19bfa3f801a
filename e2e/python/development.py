"""Development mode: register, become friends, talk."""

from client import PASSWORD, Client, bare, befriend, run
from newcomer import Newcomer


async def try_it():
    """two newcomers and an account made on the command line"""
    alice = await Newcomer("alice", password=PASSWORD, resource="a").login()
    bob = await Newcomer("bob", password=PASSWORD, resource="b").login()
    carol = await Client("carol", resource="c", direct=True).login()
    await befriend(alice, bob)
    alice.say(bare("bob"), "it works")
    await bob.message("it works", alice.boundjid.full)
    bob.say(bare("carol"), "does it?")
    await carol.message("does it?", bob.boundjid.full)
    for c in alice, bob, carol:
        await c.logout()


run(try_it)
