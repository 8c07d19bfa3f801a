// Two people with Converse.js in Chromium in a room (XEP-0045): one makes and configures it and invites the other, they talk,
// one takes another nick and is kicked and comes back, and the room is destroyed. Alice is connected by WebSocket, Bob by BOSH.

import { accept, entered, html, login, order, shown, subject, submit, texts, told, write } from "./conversepage.js";
import { assert, domain, eventually, screenshot, services, withPages } from "./web.js";

const room = `round-table@conference.${domain}`;

// What is in the dialog in front.
const field = (name) => `.modal.show [name='${name}']`;

// Fills a field; keys would be lost while the dialog takes the focus.
async function fill(page, name, text) {
  const input = await page.waitForSelector(field(name), { visible: true });
  await input.evaluate((e, text) => (e.value = text), text);
}

async function configure(page) {
  await page.evaluate((jid) => void api.rooms.open(jid, { nick: "Alice" }, true), room);
  await fill(page, "muc#roomconfig_roomname", "Round table");
  await page.$eval(field("muc#roomconfig_persistentroom"), (box) => box.click());
  await page.select(field("muc#roomconfig_whois"), "anyone");
  await submit(page);
  await eventually(page, () => !document.querySelector(".modal.show"));
  await eventually(page, () => document.querySelector("converse-muc .chatbox-title__text")?.textContent.trim() === "Round table");
}

async function invite(page, user, reason) {
  await page.evaluate(() => document.querySelector("a.open-invite-modal").click());
  await fill(page, "invitee_jids", `${user}@${domain}`);
  await fill(page, "reason", reason);
  await submit(page);
}

// Waits until those who are in the room are these, by nick: members who are not are listed as well.
const occupants = (page, ...nicks) =>
  eventually(
    page,
    async (jid, nicks) =>
      (await api.rooms.get(jid)).occupants
        .filter((o) => o.get("presence") === "online")
        .map((o) => o.get("nick"))
        .sort()
        .join() === nicks,
    room,
    nicks.sort().join(),
  );

await withPages(html, "converse.js/dist", async (open) => {
  const [alice, bob] = await Promise.all([open("alice"), open("bob")]);
  await Promise.all([
    login(alice, "alice", { websocket_url: services.websocket }, { muc_instant_rooms: false }),
    login(bob, "bob", { bosh_service_url: services.bosh }, { nickname: "Bob" }),
  ]);
  await alice.bringToFront();
  await configure(alice);
  await order(alice, "/topic Who tanks <tonight> & who heals?");
  await subject(alice, "Who tanks <tonight> & who heals?");
  await invite(alice, "bob", "We need a healer");
  await accept(bob, "alice@", room, "We need a healer");
  await entered(bob, room);
  await subject(bob, "Who tanks <tonight> & who heals?");
  await Promise.all([occupants(alice, "Alice", "Bob"), occupants(bob, "Alice", "Bob")]);

  await write(alice, "Three of us are here already.");
  await shown(bob, "Three of us are here already.");
  await write(bob, "I bring two friends & my <best> staff.");
  await shown(alice, "I bring two friends & my <best> staff.");
  await order(bob, "/nick Robert");
  await Promise.all([occupants(alice, "Alice", "Robert"), occupants(bob, "Alice", "Robert")]);
  await write(bob, "It is me.");
  await shown(alice, "It is me.");
  await Promise.all([screenshot(alice, "converse-room-websocket"), screenshot(bob, "converse-room-bosh")]);

  await order(alice, "/kick Robert too late");
  await told(bob, "converse-muc-disconnected", "kicked", "Alice", "too late");
  await occupants(alice, "Alice");
  await bob.evaluate(async (jid) => (await api.rooms.get(jid)).rejoin(), room);
  await entered(bob, room);
  await shown(bob, "It is me.");
  const said = ["Three of us are here already.", "I bring two friends & my <best> staff.", "It is me."];
  await occupants(alice, "Alice", "Robert");
  for (const page of [alice, bob]) assert.deepEqual(await texts(page), said);

  await alice.evaluate(async (jid) => void (await api.rooms.get(jid)).sendDestroyIQ("The raid is over", ""), room);
  await occupants(bob, "Alice"); // all that Converse makes of XEP-0045 §10.9
});
