-- Conferences that accounts have made, and PINs for one person each. PINs are here as keyed hashes only.
CREATE TABLE booking (
    id         TEXT PRIMARY KEY,
    owner      TEXT NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    -- What callers enter for it: digits.
    entry      TEXT NOT NULL UNIQUE,
    -- JSON.
    settings   TEXT NOT NULL,
    guest_pin  BLOB NOT NULL,
    host_pin   BLOB NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX booking_owner ON booking (owner);

CREATE TABLE booking_pin (
    id         TEXT PRIMARY KEY,
    booking    TEXT NOT NULL REFERENCES booking (id) ON DELETE CASCADE,
    hash       BLOB NOT NULL,
    host       INTEGER NOT NULL,
    -- Good once.
    once       INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    UNIQUE (booking, hash)
) STRICT;
