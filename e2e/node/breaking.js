// What scripts do with connections that break.

import { ask, assert, xml } from "./client.js";

export async function befriend(a, b) {
  for (const [asker, asked, from] of [[a, b, a.bare], [b, a, b.bare]]) {
    await asker.send(xml("presence", { to: asked.bare, type: "subscribe" }));
    await asked.presence(from, "subscribe");
    await asked.send(xml("presence", { to: asker.bare, type: "subscribed" }));
    await asker.presence(asked.bare, "subscribed");
    await asker.presence(asked.full);
  }
}

// Unlike once of node:events it does not take the error of a connection that
// was broken on purpose for a failure.
export function happens(emitter, event) {
  return new Promise((resolve) => emitter.once(event, resolve));
}

// The client's connection ends; if the relay holds it the server does not know.
export async function lose(client, how) {
  const gone = client.xmpp.status === "disconnect" ? null : happens(client.xmpp, "disconnect");
  await ask(how);
  const socket = client.xmpp.socket?.socket; // of Node or of a WebSocket
  socket?.terminate ? socket.terminate() : socket?.destroy();
  await gone;
}

export async function resume(client) {
  const resumed = happens(client.xmpp.streamManagement, "resumed");
  await client.xmpp.reconnect.reconnect();
  await resumed;
}

export async function inOrder(client, count) {
  for (let i = 0; i < count; i++) {
    const got = await client.expect(`message ${i}`, (s) => s.is("message"));
    assert.equal(got.getChildText("body"), `number ${i}`, "order");
  }
  await client.ping();
  assert.ok(!client.has("message"), "more than was sent");
}
