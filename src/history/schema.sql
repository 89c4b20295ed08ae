-- Starling's history, version 1. Read it with `sqlite3 history.db`; the views below are for the eye.
-- Write nothing into it: the agent may set the file aside. Instants are milliseconds since 1970 by
-- the clock of the fleet; where a column is called `node` or ends in `_node`, 0 is nobody.

-- Nodes that have been members, as they were last seen.
CREATE TABLE members (
    number        INTEGER PRIMARY KEY,      -- what the other tables call it
    id            TEXT    NOT NULL UNIQUE,  -- 32 hex digits
    name          TEXT    NOT NULL,
    api_address   TEXT    NOT NULL,
    weight        INTEGER NOT NULL,
    zone          TEXT    NOT NULL,
    state         TEXT    NOT NULL,         -- alive, suspect, left, dead; '' of one that was only named
    first_seen_ms INTEGER NOT NULL,
    last_seen_ms  INTEGER NOT NULL          -- when it last changed, or had to do with a move
) STRICT;

CREATE TABLE member_changes (
    number      INTEGER PRIMARY KEY,
    at_ms       INTEGER NOT NULL,
    node        INTEGER NOT NULL,
    step        TEXT    NOT NULL,  -- joined, left, crashed, suspected, recovered, changed
    name        TEXT    NOT NULL,  -- as it was after the change, as are the next four
    api_address TEXT    NOT NULL,
    weight      INTEGER NOT NULL,
    zone        TEXT    NOT NULL,
    state       TEXT    NOT NULL,
    detail      TEXT,              -- what has changed
    UNIQUE (node, at_ms, step)
) STRICT;
CREATE INDEX member_changes_at ON member_changes (at_ms);

-- All targets of all jobs, divided or not, that were there at any time.
CREATE TABLE targets (
    number        INTEGER PRIMARY KEY,  -- what the other tables call it
    id            TEXT    NOT NULL,     -- 16 hex digits; two jobs may have a target in common
    job           TEXT    NOT NULL,
    url           TEXT    NOT NULL,     -- without credentials and parameters
    labels        TEXT    NOT NULL,     -- JSON: those that samples get
    slot          INTEGER,              -- what it moves with; NULL: its job is not divided
    first_seen_ms INTEGER NOT NULL,
    last_seen_ms  INTEGER NOT NULL,     -- when it last came, went or changed its health
    UNIQUE (id, job)
) STRICT;
CREATE INDEX targets_place ON targets (job, url, number);
CREATE INDEX targets_slot ON targets (slot);

-- When each target was there.
CREATE TABLE presences (
    number   INTEGER PRIMARY KEY,
    target   INTEGER NOT NULL,
    from_ms  INTEGER NOT NULL,
    came     TEXT    NOT NULL,  -- discovered, config, unseen (while nobody looked)
    until_ms INTEGER,           -- NULL: it still is
    went     TEXT,              -- vanished, config, unseen
    UNIQUE (target, from_ms)
) STRICT;
CREATE INDEX presences_from ON presences (from_ms);
CREATE INDEX presences_until ON presences (until_ms, target);

-- How many targets came or went at once, and why.
CREATE TABLE target_changes (
    number  INTEGER PRIMARY KEY,
    at_ms   INTEGER NOT NULL,
    job     TEXT    NOT NULL,
    came    INTEGER NOT NULL,  -- 1: came, 0: went
    reason  TEXT    NOT NULL,  -- discovered, vanished, config, unseen
    targets INTEGER NOT NULL,
    UNIQUE (at_ms, job, came, reason)
) STRICT;

-- Who took a slot over from whom. Targets move with their slot, so that a burst which moves 100,000
-- of them is 4,096 rows at most. The owner at an instant is `to_node` of the slot's last row that is
-- not void; the view `moves` has it by target.
CREATE TABLE slot_moves (
    slot        INTEGER NOT NULL,
    at_ms       INTEGER NOT NULL,  -- from when on
    from_node   INTEGER NOT NULL,
    to_node     INTEGER NOT NULL,
    reason      TEXT    NOT NULL,  -- start, join, leave, crash, rebalance, weight, unseen
    recorded_ms INTEGER NOT NULL,  -- when it was learnt: of a death that is later
    void        INTEGER NOT NULL,  -- 1: later news has another owner for this instant
    PRIMARY KEY (slot, at_ms, from_node, to_node)
) STRICT, WITHOUT ROWID;

-- The same, by instant, way and reason.
CREATE TABLE move_groups (
    number      INTEGER PRIMARY KEY,
    at_ms       INTEGER NOT NULL,
    reason      TEXT    NOT NULL,
    from_node   INTEGER NOT NULL,
    to_node     INTEGER NOT NULL,
    recorded_ms INTEGER NOT NULL,
    slots       INTEGER NOT NULL,  -- how many
    targets     INTEGER,           -- on them, as far as was known
    slot_list   BLOB    NOT NULL,  -- two bytes each, the lower first
    UNIQUE (at_ms, reason, from_node, to_node)
) STRICT;
CREATE INDEX move_groups_from ON move_groups (from_node, at_ms);
CREATE INDEX move_groups_to ON move_groups (to_node, at_ms);

-- A target that was up is down, or the other way round, as who scraped it saw it.
CREATE TABLE health_changes (
    number  INTEGER PRIMARY KEY,
    at_ms   INTEGER NOT NULL,
    target  INTEGER NOT NULL,
    is_up   INTEGER NOT NULL,  -- 1: up, 0: down
    error   TEXT,
    by_node INTEGER NOT NULL,
    UNIQUE (target, at_ms, by_node)
) STRICT;
CREATE INDEX health_changes_at ON health_changes (at_ms);
CREATE INDEX health_changes_by ON health_changes (by_node, at_ms);

CREATE TABLE config_versions (
    number  INTEGER PRIMARY KEY,
    at_ms   INTEGER NOT NULL,
    by_node INTEGER NOT NULL,  -- which member loaded it
    digest  TEXT    NOT NULL,  -- of what all members must have alike
    cause   TEXT    NOT NULL,  -- start, file, signal, order
    changes TEXT    NOT NULL,  -- the lines that changed, secrets removed
    refused TEXT,              -- why it did not come into force
    UNIQUE (by_node, at_ms, digest, cause)
) STRICT;
CREATE INDEX config_versions_at ON config_versions (at_ms);

-- How many slots each member had from then on.
CREATE TABLE placements (
    number INTEGER PRIMARY KEY,
    at_ms  INTEGER NOT NULL UNIQUE,
    reason TEXT    NOT NULL,
    shares TEXT    NOT NULL  -- JSON: slots by the id of the node
) STRICT;

-- States that someone should look at: when they began and ended.
CREATE TABLE notices (
    number     INTEGER PRIMARY KEY,
    at_ms      INTEGER NOT NULL,
    by_node    INTEGER NOT NULL,  -- who showed it
    about_node INTEGER NOT NULL,
    kind       TEXT    NOT NULL,
    text       TEXT    NOT NULL,
    is_raised  INTEGER NOT NULL,  -- 1: began, 0: ended
    UNIQUE (at_ms, by_node, about_node, kind, text, is_raised)
) STRICT;

-- Samples that a queue gave up.
CREATE TABLE drops (
    number      INTEGER PRIMARY KEY,
    at_ms       INTEGER NOT NULL,
    by_node     INTEGER NOT NULL,
    destination TEXT    NOT NULL,
    reason      TEXT    NOT NULL,
    samples     INTEGER NOT NULL,
    UNIQUE (at_ms, by_node, destination, reason)
) STRICT;

-- When this member was looking, or had what others saw. What lies between is not known.
CREATE TABLE watches (
    number   INTEGER PRIMARY KEY,
    from_ms  INTEGER NOT NULL,
    until_ms INTEGER NOT NULL,
    fetched  INTEGER NOT NULL  -- 1: from other members, afterwards
) STRICT;
CREATE INDEX watches_until ON watches (until_ms);

-- Each move of each target, for the eye: `SELECT * FROM moves WHERE url LIKE '%db7%' ORDER BY at`.
CREATE VIEW moves AS
SELECT strftime('%Y-%m-%d %H:%M:%f', m.at_ms / 1000.0, 'unixepoch') AS at,
       t.job, t.url, t.id AS target, coalesce(f.name, '') AS "from", coalesce(o.name, '') AS "to",
       m.reason
  FROM slot_moves m
  JOIN targets t ON t.slot = m.slot
  JOIN presences p ON p.target = t.number AND p.from_ms <= m.at_ms
                  AND (p.until_ms IS NULL OR p.until_ms > m.at_ms)
  LEFT JOIN members f ON f.number = m.from_node
  LEFT JOIN members o ON o.number = m.to_node
 WHERE m.void = 0
UNION ALL
SELECT strftime('%Y-%m-%d %H:%M:%f', p.from_ms / 1000.0, 'unixepoch'), t.job, t.url, t.id, '',
       coalesce((SELECT o.name FROM slot_moves m JOIN members o ON o.number = m.to_node
                  WHERE m.slot = t.slot AND m.at_ms <= p.from_ms AND m.void = 0
                  ORDER BY m.at_ms DESC LIMIT 1), ''),
       p.came
  FROM presences p JOIN targets t ON t.number = p.target
UNION ALL
SELECT strftime('%Y-%m-%d %H:%M:%f', p.until_ms / 1000.0, 'unixepoch'), t.job, t.url, t.id,
       coalesce((SELECT o.name FROM slot_moves m JOIN members o ON o.number = m.to_node
                  WHERE m.slot = t.slot AND m.at_ms <= p.until_ms AND m.void = 0
                  ORDER BY m.at_ms DESC LIMIT 1), ''),
       '', p.went
  FROM presences p JOIN targets t ON t.number = p.target
 WHERE p.until_ms IS NOT NULL;

CREATE VIEW health AS
SELECT strftime('%Y-%m-%d %H:%M:%f', h.at_ms / 1000.0, 'unixepoch') AS at, t.job, t.url,
       CASE h.is_up WHEN 1 THEN 'up' ELSE 'down' END AS state, h.error, coalesce(m.name, '') AS "by"
  FROM health_changes h
  LEFT JOIN targets t ON t.number = h.target
  LEFT JOIN members m ON m.number = h.by_node;

CREATE VIEW membership AS
SELECT strftime('%Y-%m-%d %H:%M:%f', c.at_ms / 1000.0, 'unixepoch') AS at, c.name, c.step, c.detail,
       c.weight, c.zone, m.id
  FROM member_changes c LEFT JOIN members m ON m.number = c.node;
