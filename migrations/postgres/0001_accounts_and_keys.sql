-- Who pays: one row an account, kept when it is deleted so that its ledger still has an owner. Texts that are looked
-- up or put in order are compared by their bytes, whatever the database's own order is.
CREATE TABLE accounts (
    id                    TEXT COLLATE "C" PRIMARY KEY,
    email                 TEXT NOT NULL,
    email_key             TEXT COLLATE "C" NOT NULL,
    name                  TEXT,
    created_at_us         BIGINT NOT NULL,
    assigned_plan         TEXT,
    banned_at_us          BIGINT,
    ban_reason            TEXT,
    deleted_at_us         BIGINT,
    rolling_anchor_us     BIGINT NOT NULL,
    subscription_start_us BIGINT,
    subscription_end_us   BIGINT,
    stripe_customer       TEXT,
    stripe_subscription   TEXT
);

CREATE UNIQUE INDEX accounts_email ON accounts (email_key) WHERE deleted_at_us IS NULL;

-- What opens the gate: one row a key, found by its hash, never with the key itself; `lineage` is the first key of its
-- chain of rotations, whose own limits all of the chain shares.
CREATE TABLE keys (
    id              TEXT COLLATE "C" PRIMARY KEY,
    account         TEXT COLLATE "C" NOT NULL REFERENCES accounts (id),
    lineage         TEXT COLLATE "C" NOT NULL,
    hash            BYTEA NOT NULL CHECK (length(hash) = 32),
    prefix          TEXT NOT NULL,
    last_four       TEXT NOT NULL,
    name            TEXT,
    created_at_us   BIGINT NOT NULL,
    expires_at_us   BIGINT,
    revoked_at_us   BIGINT,
    superseded_by   TEXT COLLATE "C",
    grace_until_us  BIGINT,
    scopes          TEXT NOT NULL,
    read_only       BOOLEAN NOT NULL,
    ip_allow        TEXT NOT NULL,
    ip_deny         TEXT NOT NULL,
    bucket_tokens   BIGINT,
    bucket_micros   BIGINT,
    bucket_burst    BIGINT,
    cap             BIGINT,
    last_used_at_us BIGINT
) WITH (fillfactor = 80);

CREATE UNIQUE INDEX keys_hash ON keys (hash);
CREATE INDEX keys_account ON keys (account, id);
CREATE INDEX keys_lineage ON keys (lineage, id);
CREATE INDEX keys_superseded_by ON keys (superseded_by) WHERE superseded_by IS NOT NULL;
