//! The tables of the database file, and what the file says of itself.

use rusqlite::{Connection, TransactionBehavior};

use super::file::{signed, unsigned};
use crate::dust::Number;
use crate::dust::entries::{Kept, Usage};

/// The format that this build reads and writes.
const VERSION: i64 = 2;
/// "dust", so that `file` and `sqlite3` identify it.
const APPLICATION: i64 = 0x6475_7374;

/// A body beside a row is in its last column, so that the row is read without it.
const SCHEMA: &str = "
    CREATE TABLE entries (key TEXT NOT NULL UNIQUE, value TEXT NOT NULL, number INTEGER NOT NULL, expires_at INTEGER,
        tail TEXT, body BLOB);
    CREATE INDEX entries_by_expiry ON entries (expires_at) WHERE expires_at IS NOT NULL;
    CREATE TABLE carried (name TEXT NOT NULL UNIQUE, expires_at INTEGER, bytes BLOB NOT NULL);
    CREATE INDEX carried_by_expiry ON carried (expires_at) WHERE expires_at IS NOT NULL;
    CREATE TABLE store (id TEXT NOT NULL, ceiling INTEGER NOT NULL, count INTEGER NOT NULL, bytes INTEGER NOT NULL,
        carried INTEGER NOT NULL);
";

/// Makes a file of version 1 one of this version.
const UPGRADE: &str = "
    ALTER TABLE entries ADD COLUMN tail TEXT;
    ALTER TABLE entries ADD COLUMN body BLOB;
    CREATE TABLE carried (name TEXT NOT NULL UNIQUE, expires_at INTEGER, bytes BLOB NOT NULL);
    CREATE INDEX carried_by_expiry ON carried (expires_at) WHERE expires_at IS NOT NULL;
    ALTER TABLE store ADD COLUMN carried INTEGER NOT NULL DEFAULT 0;
";

/// What a file records about itself.
#[derive(Debug)]
pub struct FileState {
    /// The id of this life of the store.
    pub store_id: String,
    /// No earlier start gave a number above this.
    pub last: Number,
    /// The next start begins here: numbers below may be given until then.
    pub ceiling: Number,
    /// How much there is.
    pub kept: Kept,
}

/// Makes or checks the tables. Returns `None` for a file of another version.
pub(super) fn prepare(
    connection: &mut Connection,
    new_id: &str,
    reserve: Number,
) -> rusqlite::Result<Option<FileState>> {
    // The writing job calls for checkpoints. It keeps few pages: keys are hashes, so the next commit seldom
    // needs the pages of the last.
    connection.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0;
         PRAGMA journal_size_limit = 67108864; PRAGMA cache_size = -2048; PRAGMA temp_store = MEMORY;",
    )?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let pragma = |name: &str| transaction.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    match (pragma("user_version")?, pragma("schema_version")?) {
        (VERSION, _) => {}
        (1, _) => {
            transaction.execute_batch(UPGRADE)?;
            transaction.pragma_update(None, "user_version", VERSION)?;
        }
        (0, 0) => {
            transaction.execute_batch(SCHEMA)?;
            transaction.execute("INSERT INTO store VALUES (?1, 0, 0, 0, 0)", [new_id])?;
            transaction.pragma_update(None, "user_version", VERSION)?;
            transaction.pragma_update(None, "application_id", APPLICATION)?;
        }
        _ => return Ok(None),
    }
    let state = transaction.query_row("SELECT id, ceiling, count, bytes, carried FROM store", [], |row| {
        let entries = Usage { count: unsigned(row.get(2)?), bytes: unsigned(row.get(3)?) };
        let kept = Kept { entries, carried: unsigned(row.get(4)?) };
        let last = unsigned(row.get(1)?);
        Ok(FileState { store_id: row.get(0)?, last, ceiling: last.saturating_add(reserve), kept })
    })?;
    transaction.execute("UPDATE store SET ceiling = ?1", [signed(state.ceiling)])?;
    transaction.commit()?;
    Ok(Some(state))
}
