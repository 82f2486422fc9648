-- Accounts and their API tokens. Names are sealed (label) and found by a keyed hash (login): nothing here names anybody.
CREATE TABLE account (
    id          TEXT PRIMARY KEY,
    login       BLOB NOT NULL UNIQUE,
    label       BLOB NOT NULL,
    role        TEXT NOT NULL,
    -- A JSON list of ids; NULL: all.
    conferences TEXT,
    -- A PHC string.
    password    TEXT NOT NULL,
    -- The shared secret of RFC 6238, and the last step that was used.
    totp        BLOB,
    totp_step   INTEGER NOT NULL DEFAULT 0,
    -- Milliseconds since 1970, UTC; here and below.
    created_at  INTEGER NOT NULL,
    disabled    INTEGER NOT NULL DEFAULT 0,
    -- Grows with each change that ends what was allowed before.
    version     INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE api_token (
    id          TEXT PRIMARY KEY,
    account     TEXT NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    -- SHA-256 of it: it has 32 random octets.
    hash        BLOB NOT NULL UNIQUE,
    role        TEXT NOT NULL,
    conferences TEXT,
    created_at  INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL
) STRICT;
CREATE INDEX api_token_account ON api_token (account);
