"""In-band registration (XEP-0077): account, password change, cancel."""

from client import Client, equal, error_of, run
from newcomer import Newcomer, set_account


async def sign_up_and_in():
    """a new account is made and used on one stream"""
    c = await Newcomer("dora", password="first words").login()
    equal(c.answer.get("type"), "result", "registration")
    await c.ping()
    await c.logout()


async def taken_name():
    """a name that is taken is a conflict, and its owner keeps the password"""
    c = Newcomer("alice", password="mine now")
    assert not await c.attempt(), "took over an account"
    equal(error_of(c.answer), "conflict", "registration of a taken name")
    await (await Client("alice").login()).logout()


async def bad_fields():
    """no name or no password is not acceptable"""
    for user, password in ("", "words"), ("frank", ""), ("fr@nk", "words"):
        c = Newcomer("frank", password="words")

        async def sign_up(form, c=c, user=user, password=password):
            c.answer = await set_account(c, user, password)
        c.del_event_handler("register", c.sign_up)
        c.add_event_handler("register", sign_up)
        assert not await c.attempt(), f"registered {user!r} {password!r}"
        assert error_of(c.answer) in ("not-acceptable", "bad-request", "jid-malformed"), error_of(c.answer)


async def change_password():
    """the new password works and the old one no longer"""
    c = await Client("dora", password="first words").login()
    answer = await set_account(c, "alice", "mine now")
    equal(answer.get("type"), "error", "change of somebody else's password")
    answer = await set_account(c, "dora", "second words")
    equal(answer.get("type"), "result", "password change")
    await c.ping()
    await c.logout()
    old = Client("dora", password="first words")
    assert not await old.attempt(), "the old password still works"
    await (await Client("dora", password="second words").login()).logout()


async def cancel():
    """a cancelled account is gone, with its other sessions"""
    c = await Client("dora", password="second words", resource="one").login()
    other = await Client("dora", password="second words", resource="two").login()
    answer = await c.iq("set", "<query xmlns='jabber:iq:register'><remove/></query>")
    equal(answer.get("type"), "result", "cancel")
    await other.gone()
    again = Client("dora", password="second words")
    assert not await again.attempt(), "a cancelled account logged in"


run(sign_up_and_in, taken_name, bad_fields, change_password, cancel)
