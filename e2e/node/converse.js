// Two people with Converse.js in Chromium, one over WebSocket and one over BOSH: they become contacts, see
// each other come, write to each other, and one sees the other go.

import { html, login, openChat, shown, texts, write } from "./conversepage.js";
import { assert, domain, eventually, screenshot, services, withPages } from "./web.js";

// Waits until a page shows a contact as one who is there, or is not.
const sees = (page, user, status) =>
  eventually(page, async (jid, status) => (await api.contacts.get(jid))?.getStatus() === status, `${user}@${domain}`, status);

await withPages(html, "converse.js/dist", async (open) => {
  const [alice, bob] = await Promise.all([open("alice"), open("bob")]);
  await Promise.all([
    login(alice, "alice", { websocket_url: services.websocket }),
    login(bob, "bob", { bosh_service_url: services.bosh }),
  ]);
  await alice.evaluate((jid) => api.contacts.add({ jid, name: "Bob" }), `bob@${domain}`);
  await Promise.all([sees(alice, "bob", "online"), sees(bob, "alice", "online")]);

  await openChat(alice, "bob");
  await write(alice, "Ready for the next round?");
  await openChat(bob, "alice");
  await shown(bob, "Ready for the next round?");
  await write(bob, "Give me a minute. \u{1F600}");
  await shown(alice, "Give me a minute. \u{1F600}");
  await write(alice, "We lost the last one at <the bridge> & \"the gate\"");
  await shown(bob, "We lost the last one at <the bridge> & \"the gate\"");
  await write(bob, "I know. I have asked our healer, she is online.");
  await shown(alice, "I know. I have asked our healer, she is online.");
  await Promise.all([screenshot(alice, "converse-websocket"), screenshot(bob, "converse-bosh")]);

  const counted = (name) => [1, 2, 3, 4, 5].map((i) => `${name} ${i}`);
  for (const text of counted("Map")) await write(alice, text);
  for (const text of counted("Seat")) await write(bob, text);
  for (const page of [alice, bob]) {
    await Promise.all([shown(page, "Map 5"), shown(page, "Seat 5")]);
    assert.deepEqual((await texts(page)).filter((t) => t.startsWith("Map")), counted("Map"));
    assert.deepEqual((await texts(page)).filter((t) => t.startsWith("Seat")), counted("Seat"));
  }

  await bob.evaluate(() => api.user.logout());
  await sees(alice, "bob", "offline");
});
