-- Tokens by which clients log in again. They live and die with the credentials.
ALTER TABLE account ADD COLUMN tokens {text}; -- JSON array of store.LoginToken; NULL for none
