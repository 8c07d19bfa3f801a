// Friends, presence and messages as a web developer's client sees them.

import { Client, assert, domain, run, services, xml } from "./client.js";

const alice = `alice@${domain}`;
const bob = `bob@${domain}`;

async function befriend() {
  const a = await new Client("alice", { resource: "a" }).login();
  const b = await new Client("bob", { resource: "b", service: services.direct }).login();
  await a.send(xml("presence", { to: bob, type: "subscribe" }));
  await b.presence(alice, "subscribe");
  await b.send(xml("presence", { to: alice, type: "subscribed" }));
  await a.presence(bob, "subscribed");
  await a.presence(b.full);
  await b.send(xml("presence", { to: alice, type: "subscribe" }));
  await a.presence(bob, "subscribe");
  await a.send(xml("presence", { to: bob, type: "subscribed" }));
  await b.presence(a.full);
  await a.logout();
  await b.presence(a.full, "unavailable");
  await b.logout();
}

async function talk() {
  const a = await new Client("alice", { resource: "a" }).login();
  const b = await new Client("bob", { resource: "b", service: services.websocket }).login();
  await a.presence(b.full);
  await a.say(bob, "hello <Bob> & \u{1f642}");
  const heard = await b.message("hello <Bob> & \u{1f642}");
  assert.equal(heard.attrs.from, a.full);
  await b.say(a.full, "hello yourself");
  await a.message("hello yourself", b.full);
  await a.logout();
  await b.logout();
}

async function roster() {
  const a = await new Client("alice").login();
  const query = xml("query", "jabber:iq:roster");
  const item = xml("item", { jid: bob, name: "Bob" }, xml("group", {}, "Friends"));
  await a.ask("set", xml("query", "jabber:iq:roster", item));
  const answer = await a.ask("get", query);
  const got = answer.getChild("query").getChild("item");
  assert.deepEqual(
    [got.attrs.jid, got.attrs.name, got.attrs.subscription, got.getChildText("group")],
    [bob, "Bob", "both", "Friends"],
  );
  await a.logout();
}

async function whileAway() {
  const a = await new Client("alice").login();
  for (let i = 0; i < 20; i++) await a.say(bob, `number ${i}`);
  await a.ping();
  const b = await new Client("bob").login();
  for (let i = 0; i < 20; i++) {
    const got = await b.expect(`message ${i}`, (s) => s.is("message"));
    assert.equal(got.getChildText("body"), `number ${i}`, "order");
    assert.ok(got.getChild("delay", "urn:xmpp:delay"), "delay");
  }
  await b.ping();
  assert.ok(!b.has("message"), "more than was kept");
  await a.logout();
  await b.logout();
}

async function errors() {
  const a = await new Client("alice").login();
  await assert.rejects(a.ask("get", xml("query", "no:such:thing"), domain), { condition: "service-unavailable" });
  await a.say(`nobody@${domain}`, "lost");
  const refused = await a.expect("an error", (s) => s.is("message") && s.attrs.type === "error");
  assert.ok(refused.getChild("error").getChild("service-unavailable"));
  await a.logout();
}

await run(befriend, talk, roster, whileAway, errors);
