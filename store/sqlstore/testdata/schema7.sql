-- A database as schema version 7 left it. Never changed.
CREATE TABLE schema_version (version INTEGER NOT NULL);
CREATE TABLE account (
user TEXT NOT NULL PRIMARY KEY,
credentials TEXT NOT NULL,
created INTEGER NOT NULL
, tokens TEXT, disabled INTEGER NOT NULL DEFAULT 0) STRICT, WITHOUT ROWID;
CREATE TABLE roster (
user TEXT NOT NULL PRIMARY KEY,
version INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE roster_item (
user TEXT NOT NULL,
digest BLOB NOT NULL,
contact TEXT NOT NULL,
name TEXT NOT NULL,
in_groups BLOB NOT NULL,
sub INTEGER NOT NULL,
flags INTEGER NOT NULL,
request BLOB,
created INTEGER NOT NULL, message TEXT,
PRIMARY KEY (user, digest)
) STRICT, WITHOUT ROWID;
CREATE TABLE blocked (
user TEXT NOT NULL,
digest BLOB NOT NULL,
jid TEXT NOT NULL,
PRIMARY KEY (user, digest)
) STRICT, WITHOUT ROWID;
CREATE TABLE offline_queue (
user TEXT NOT NULL PRIMARY KEY,
last_seq INTEGER NOT NULL,
waiting INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE offline_message (
user TEXT NOT NULL,
seq INTEGER NOT NULL,
stored INTEGER NOT NULL,
stanza BLOB NOT NULL, id TEXT,
PRIMARY KEY (user, seq)
) STRICT;
CREATE TABLE private_xml (
user TEXT NOT NULL,
digest BLOB NOT NULL,
space TEXT NOT NULL,
local TEXT NOT NULL,
xml BLOB NOT NULL,
PRIMARY KEY (user, digest)
) STRICT;
CREATE TABLE vcard (
user TEXT NOT NULL PRIMARY KEY,
xml BLOB NOT NULL
) STRICT;
CREATE TABLE last_activity (
user TEXT NOT NULL PRIMARY KEY,
seen INTEGER NOT NULL,
status TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE roster_note (
user TEXT NOT NULL PRIMARY KEY,
notes BLOB NOT NULL
) STRICT;
CREATE TABLE privacy (
user TEXT NOT NULL PRIMARY KEY,
messages INTEGER NOT NULL,
requests INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE outbox_queue (
queue TEXT NOT NULL PRIMARY KEY,
last_seq INTEGER NOT NULL,
waiting INTEGER NOT NULL,
holder TEXT NOT NULL,
held_until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE outbox_event (
queue TEXT NOT NULL,
seq INTEGER NOT NULL,
event TEXT NOT NULL,
type TEXT NOT NULL,
about TEXT NOT NULL,
queued INTEGER NOT NULL,
fault TEXT NOT NULL,
body BLOB NOT NULL,
PRIMARY KEY (queue, seq)
) STRICT;
CREATE TABLE room (
room TEXT NOT NULL PRIMARY KEY,
config BLOB NOT NULL,
subject BLOB,
created INTEGER NOT NULL
) STRICT;
CREATE TABLE room_counter (
room TEXT NOT NULL PRIMARY KEY,
last_seq INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE room_affiliation (
room TEXT NOT NULL,
digest BLOB NOT NULL,
jid TEXT NOT NULL,
affiliation TEXT NOT NULL,
nick TEXT NOT NULL,
reason TEXT NOT NULL,
PRIMARY KEY (room, digest)
) STRICT, WITHOUT ROWID;
CREATE TABLE room_history (
room TEXT NOT NULL,
seq INTEGER NOT NULL,
digest BLOB NOT NULL,
id TEXT NOT NULL,
stored INTEGER NOT NULL,
stanza BLOB NOT NULL,
PRIMARY KEY (room, seq),
UNIQUE (room, digest)
) STRICT;
INSERT INTO schema_version VALUES (7);
INSERT INTO account VALUES ('anna', '[{"Mechanism":"SCRAM-SHA-256","Salt":"AAEC","Iterations":4096,"StoredKey":"AwQ=","ServerKey":"BQY="}]', 1700000000, '[{"Client":"phone","Mechanism":"HT-SHA-256-NONE","Nonce":"AAEC","Issued":"2023-11-14T22:13:20Z","Expires":"2023-12-05T22:13:20Z","Used":true,"Limited":false}]', 1);
INSERT INTO roster VALUES ('anna', 1700000000000001);
INSERT INTO roster_item VALUES ('anna', X'27aa3271abd49c3cfdd008633af7bd9d', 'bob@chat.test', 'Bob', CAST('7:Friends4:Work' AS BLOB), 3, 4, NULL, 1700000001, NULL);
INSERT INTO blocked VALUES ('anna', X'5a092ae9ba4357ebe79c19e59b1aabb4', 'troll@chat.test');
INSERT INTO offline_queue VALUES ('anna', 3, 2);
INSERT INTO offline_message VALUES ('anna', 1, 1700000002000, CAST('<message>1</message>' AS BLOB), NULL);
INSERT INTO offline_message VALUES ('anna', 3, 1700000002500, CAST('<message>3</message>' AS BLOB), 'three');
INSERT INTO private_xml VALUES ('anna', X'80a4278c6b3bee40bd292688275dde43', 'urn:notes', 'notes', CAST('<notes/>' AS BLOB));
INSERT INTO vcard VALUES ('anna', CAST('<vCard/>' AS BLOB));
INSERT INTO last_activity VALUES ('anna', 1700000003, 'bye');
INSERT INTO roster_note VALUES ('anna', CAST('13:bob@chat.test3:duo10:17000000040:' AS BLOB));
INSERT INTO privacy VALUES ('anna', 2, 3);
INSERT INTO outbox_queue VALUES ('hook game', 9, 1, 'a', 1700000009000);
INSERT INTO outbox_event VALUES ('hook game', 8, 'e8', 'account.made', 'anna', 1700000005123, 'HTTP 500', CAST('{}' AS BLOB));
INSERT INTO room VALUES ('lobby', CAST('{"v":1}' AS BLOB), CAST('<message><subject>s</subject></message>' AS BLOB), 1700000006);
INSERT INTO room VALUES ('quiet', CAST('' AS BLOB), NULL, 1700000007);
INSERT INTO room_counter VALUES ('gone', 4);
INSERT INTO room_counter VALUES ('lobby', 12);
INSERT INTO room_counter VALUES ('quiet', 0);
INSERT INTO room_affiliation VALUES ('lobby', X'a05521e47d4df4287f92e7f71f922931', 'anna@chat.test', 'owner', 'Anna', 'made it');
INSERT INTO room_history VALUES ('lobby', 11, X'19cfa16de3759c761505cf2692c1e090', 'h11', 1700000008123, CAST('<message>11</message>' AS BLOB));
INSERT INTO room_history VALUES ('lobby', 12, X'd71dbbe25cee988d738f92436983c677', 'h12', 1700000008456, CAST('<message>12</message>' AS BLOB));
