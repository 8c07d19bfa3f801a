-- Rooms that outlive their occupants, and what names a message that waits.
-- MySQL runs these migrations too: keys hold at most 3072 bytes, and no statement is SQLite's alone.

ALTER TABLE offline_message ADD COLUMN id {text}; -- NULL for none

CREATE TABLE room (
    room    {localpart} NOT NULL PRIMARY KEY,
    config  {bytes}     NOT NULL,
    subject {bytes},              -- NULL: never set
    created {int}       NOT NULL  -- Unix seconds
) {heap};

-- The number of the newest message in a room's history. Every write to a room locks this row first,
-- so one room's messages commit in the order of their seq, and none comes behind the room's end. A row
-- outlives its room, so that no seq is used twice.
CREATE TABLE room_counter (
    room     {localpart} NOT NULL PRIMARY KEY,
    last_seq {int}       NOT NULL
) {keyed};

CREATE TABLE room_affiliation (
    room        {localpart} NOT NULL,
    digest      {digest}    NOT NULL, -- of jid
    jid         {jid}       NOT NULL,
    affiliation {text}      NOT NULL,
    nick        {text}      NOT NULL,
    reason      {text}      NOT NULL,
    PRIMARY KEY (room, digest)
) {keyed};

-- The seqs of one room's rows are a run without holes: only the oldest go.
CREATE TABLE room_history (
    room   {localpart} NOT NULL,
    seq    {int}       NOT NULL,
    digest {digest}    NOT NULL, -- of id
    id     {text}      NOT NULL,
    stored {int}       NOT NULL, -- Unix milliseconds
    stanza {bytes}     NOT NULL,
    PRIMARY KEY (room, seq),
    UNIQUE (room, digest)
) {heap};
