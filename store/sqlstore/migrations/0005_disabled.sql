-- Accounts that are kept and may not log in.

ALTER TABLE account ADD COLUMN disabled {int} NOT NULL DEFAULT 0; -- 0 or 1
