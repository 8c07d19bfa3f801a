-- What the friends graph adds to the roster.

ALTER TABLE roster_item ADD COLUMN message {text}; -- of the pending request; NULL for none

CREATE TABLE roster_note (
    user  {localpart} NOT NULL PRIMARY KEY,
    notes {bytes}     NOT NULL -- netstrings without the commas, four for each: JID, text, created and modified in Unix seconds
) {heap};

CREATE TABLE privacy (
    user     {localpart} NOT NULL PRIMARY KEY,
    messages {int}       NOT NULL, -- who may: 0 everyone, 1 friends of friends, 2 friends, 3 nobody
    requests {int}       NOT NULL  -- likewise
) {keyed};
