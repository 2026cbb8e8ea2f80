//! The database file: its tables, its statements and its errors.

use std::cell::Cell;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use rusqlite::{Connection, ErrorCode, OptionalExtension, Transaction, TransactionBehavior, params};

use crate::clock::WallMs;
use crate::dust::entries::{Body, Carried, Deed, Kept, Row, RowWithBody, Usage, View};
use crate::dust::{Error, Number, Result};

use super::pace::Pace;
pub use super::schema::FileState;
use super::schema::prepare;

/// How many bytes in the log make a checkpoint due.
const LONG: u64 = 16 << 20;
/// What a deed adds to the log beside its bytes: pages of the tables and of their indices.
const PAGES: u64 = 6 << 10;

/// The bytes that a body of a row counts for.
const BODY_WEIGHT: &str = "coalesce(octet_length(tail) + octet_length(body), 0)";

/// A connection that reads. It sees what is committed.
#[derive(Debug)]
pub struct Reader {
    connection: Connection,
    path: Arc<PathBuf>,
    pace: Option<Arc<Pace>>,
    /// The commit whose snapshot it keeps open.
    snapshot: Cell<Option<u64>>,
}

/// The connection that writes, with the lock that keeps other processes out.
#[derive(Debug)]
pub struct Writer {
    connection: Connection,
    path: Arc<PathBuf>,
    /// About how many bytes the log has got since the last checkpoint.
    logged: u64,
    /// Released after the connection is closed (fields drop in order).
    _lock: File,
}

/// A transaction under way.
#[derive(Debug)]
pub struct Open<'a> {
    transaction: Transaction<'a>,
    kept: Kept,
    logged: u64,
}

/// Opens the file in the directory `path`, made if missing; a new one gets the id `new_id`. Reserves
/// `reserve` numbers. Returns two connections that read: one for calls, at this `pace`, and one to read ahead.
pub fn open(
    path: &Path,
    new_id: &str,
    reserve: Number,
    pace: &Arc<Pace>,
) -> Result<([Reader; 2], Writer, FileState)> {
    let refused = |error: std::io::Error| {
        let text = format!("{}: {error}", path.display());
        if is_full(&error) { Error::Unavailable(text) } else { Error::Refused(text) }
    };
    fs::create_dir_all(path).map_err(refused)?;
    let lock =
        File::options().create(true).truncate(false).write(true).open(path.join("lock")).map_err(refused)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(Error::Refused(format!("{} is in use by another process", path.display())));
        }
        Err(TryLockError::Error(error)) => return Err(refused(error)),
    }
    let file = Arc::new(path.join("dust.sqlite"));
    let opened = || -> rusqlite::Result<_> {
        let mut writer = Connection::open(&*file)?;
        let state = prepare(&mut writer, new_id, reserve)?;
        Ok(([reader(&file, 16, Some(pace.clone()))?, reader(&file, 1, None)?], writer, state))
    };
    let (readers, writer, state) = opened().map_err(|error| match told(&file, &error) {
        // SQLite does not say why it can't make a file.
        Error::Refused(text) if has_no_room(path) => Error::Unavailable(text),
        other => other,
    })?;
    let state = state.ok_or_else(|| {
        Error::Refused(format!("{} was written by another version of dustgate", file.display()))
    })?;
    Ok((readers, Writer { connection: writer, path: file, logged: 0, _lock: lock }, state))
}

/// Returns whether room is missing: on the disk, in a quota, or under a limit of this process.
fn is_full(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

/// Returns whether a new file in that directory finds no room.
fn has_no_room(path: &Path) -> bool {
    let probe = path.join("room");
    let written = fs::write(&probe, [0; 4096]);
    // If it stays behind, the next call overwrites it.
    let _ = fs::remove_file(&probe);
    written.is_err_and(|error| is_full(&error))
}

fn reader(file: &Arc<PathBuf>, cache_mib: u32, pace: Option<Arc<Pace>>) -> rusqlite::Result<Reader> {
    let connection = Connection::open(&**file)?;
    let cache = format!("PRAGMA query_only = 1; PRAGMA cache_size = -{};", cache_mib * 1024);
    connection.execute_batch(&cache)?;
    Ok(Reader { connection, path: file.clone(), pace, snapshot: Cell::new(None) })
}

// === impl Reader ===

impl Reader {
    /// Reads from a snapshot of the newest commit. It is kept open until there is a newer one, for to open
    /// and close one takes locks of the file.
    fn fresh(&self) -> rusqlite::Result<&Connection> {
        let newest = self.pace.as_ref().and_then(|pace| pace.newest());
        if self.snapshot.get() != newest {
            self.close_snapshot()?;
            if newest.is_some() {
                self.connection.prepare_cached("BEGIN")?.execute([])?;
                self.snapshot.set(newest);
            }
        }
        Ok(&self.connection)
    }

    fn close_snapshot(&self) -> rusqlite::Result<()> {
        self.snapshot.set(None);
        if !self.connection.is_autocommit() {
            self.connection.prepare_cached("ROLLBACK")?.execute([])?;
        }
        Ok(())
    }

    /// Closes its snapshot, which keeps a checkpoint from completing.
    pub fn let_go(&self) -> Result<()> {
        self.close_snapshot().map_err(|error| told(&self.path, &error))
    }

    /// What is at `key`.
    pub fn get(&self, key: &str) -> Result<Option<Row>> {
        let read = || {
            let sql = "SELECT value, number, expires_at FROM entries WHERE key = ?1";
            self.fresh()?.prepare_cached(sql)?.query_row([key], |row| row_of(row, 0)).optional()
        };
        read().map_err(|error| told(&self.path, &error))
    }

    /// What is at `key`, with the body beside it unless it has the number `known`.
    pub fn get_with_body(&self, key: &str, known: Number) -> Result<Option<RowWithBody>> {
        let read = || {
            let sql = "SELECT value, number, expires_at, tail, iif(number <> ?2, body, NULL) FROM entries
                WHERE key = ?1";
            self.fresh()?
                .prepare_cached(sql)?
                .query_row(params![key, signed(known)], row_with_body)
                .optional()
        };
        read().map_err(|error| told(&self.path, &error))
    }

    /// Reads what is at the keys of a value, its verdict and its lock into `view`: in one statement, for
    /// each one locks and unlocks the file.
    pub fn look(&self, keys: [Option<&str>; 3], known: Number, view: &mut View) -> Result<()> {
        let mut read = || {
            // A long body is read only if it is wanted. Three seeks, as a list to look in would be a table
            // that is made and dropped each time.
            let sql = "SELECT value, number, expires_at, tail, iif(number <> ?4, body, NULL), 1
                FROM entries WHERE key = ?1
                UNION ALL SELECT value, number, expires_at, NULL, NULL, 2 FROM entries WHERE key = ?2
                UNION ALL SELECT value, number, expires_at, NULL, NULL, 3 FROM entries WHERE key = ?3";
            let mut statement = self.fresh()?.prepare_cached(sql)?;
            let mut rows = statement.query(params![keys[0], keys[1], keys[2], signed(known)])?;
            while let Some(row) = rows.next()? {
                match row.get_ref(5)?.as_i64()? {
                    1 => view.value = Some(row_with_body(row)?),
                    2 => view.verdict = Some(row_of(row, 0)?),
                    _ => view.lock = Some(row_of(row, 0)?),
                }
            }
            Ok(())
        };
        read().map_err(|error| told(&self.path, &error))
    }

    /// The bytes under a name of their own.
    pub fn bytes(&self, name: &str) -> Result<Option<Carried>> {
        let read = || {
            let sql = "SELECT expires_at, bytes FROM carried WHERE name = ?1";
            let found = |row: &rusqlite::Row<'_>| {
                let bytes = Bytes::copy_from_slice(row.get_ref(1)?.as_blob()?);
                Ok(Carried { bytes, expires_at: row.get::<_, Option<i64>>(0)?.map(unsigned) })
            };
            self.fresh()?.prepare_cached(sql)?.query_row([name], found).optional()
        };
        read().map_err(|error| told(&self.path, &error))
    }

    /// All names of bytes under names of their own.
    pub fn names(&self) -> Result<Vec<Arc<str>>> {
        let read = || {
            let mut statement = self.fresh()?.prepare_cached("SELECT name FROM carried")?;
            let names = statement.query_map([], |row| Ok(row.get_ref(0)?.as_str()?.into()))?;
            names.collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(|error| told(&self.path, &error))
    }

    /// All rows whose key begins with `prefix`.
    pub fn range(&self, prefix: &str) -> Result<Vec<(String, Row)>> {
        let read = || {
            let sql = "SELECT key, value, number, expires_at FROM entries WHERE key >= ?1 ORDER BY key";
            let mut statement = self.fresh()?.prepare_cached(sql)?;
            let mut rows = statement.query([prefix])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                let key: String = row.get(0)?;
                if !key.starts_with(prefix) {
                    break;
                }
                found.push((key, row_of(row, 1)?));
            }
            Ok(found)
        };
        read().map_err(|error| told(&self.path, &error))
    }
}

// === impl Writer ===

impl Writer {
    /// Runs `deeds` as one transaction, all or nothing. If `durable`, it and all earlier ones are on the
    /// disk itself when this returns. Returns how much is stored then.
    pub fn transaction(
        &mut self,
        durable: bool,
        kept: Kept,
        deeds: impl FnOnce(&mut Open<'_>) -> rusqlite::Result<()>,
    ) -> Result<Kept> {
        let run = || {
            let level = if durable { "PRAGMA synchronous = FULL" } else { "PRAGMA synchronous = NORMAL" };
            self.connection.execute_batch(level)?;
            let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let mut open = Open { transaction, kept, logged: 0 };
            deeds(&mut open)?;
            self.logged += open.logged;
            open.commit()
        };
        run().map_err(|error| told(&self.path, &error))
    }

    /// Returns whether so much was written since the last checkpoint that another one is due.
    pub fn log_is_long(&self) -> bool {
        self.logged >= LONG
    }

    /// Writes what was committed from the log into the file.
    pub fn checkpoint(&mut self) -> Result<()> {
        self.logged = 0;
        let run = || self.connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
        run().map_err(|error| told(&self.path, &error))
    }

    /// Makes the disk full, or gives it room again.
    #[cfg(test)]
    pub fn fill_disk(&self, full: bool) {
        let pages = if full { 1 } else { 1_000_000 };
        self.connection.pragma_update(None, "max_page_count", pages).expect("it takes any number");
    }
}

// === impl Open ===

impl Open<'_> {
    /// Does a deed.
    pub fn apply(&mut self, deed: &Deed) -> rusqlite::Result<()> {
        let mut new = Kept::default();
        new.add(deed);
        self.logged += PAGES + new.entries.bytes + new.carried;
        match deed {
            Deed::Put { key, row, body } => self.put(key, row, body.as_ref()),
            Deed::Remove { key } => self.remove(key),
            Deed::Carry { name, carried } => self.carry(name, carried),
            Deed::Prolong { name, expires_at } => {
                // The greater of two is null if one of them is: never.
                let sql = "UPDATE carried SET expires_at = max(expires_at, ?2) WHERE name = ?1";
                self.transaction.prepare_cached(sql)?.execute(params![name, expires_at.map(signed)])?;
                Ok(())
            }
            Deed::Discard { name } => {
                if self.uncount_bytes(name)? {
                    self.transaction
                        .prepare_cached("DELETE FROM carried WHERE name = ?1")?
                        .execute([name])?;
                }
                Ok(())
            }
        }
    }

    fn put(&mut self, key: &str, row: &Row, body: Option<&Body>) -> rusqlite::Result<()> {
        let sql = "INSERT INTO entries (key, value, number, expires_at, tail, body)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (key) DO NOTHING";
        let values = params![
            key,
            &*row.value,
            signed(row.number),
            row.expires_at.map(signed),
            body.map(|body| &*body.tail),
            body.map(|body| &*body.bytes),
        ];
        // Most keys are new: they are looked for once.
        if self.transaction.prepare_cached(sql)?.execute(values)? == 0 {
            self.uncount(key)?;
            let sql = "UPDATE entries SET value = ?2, number = ?3, expires_at = ?4, tail = ?5, body = ?6
                WHERE key = ?1";
            self.transaction.prepare_cached(sql)?.execute(values)?;
        }
        self.kept.add_row(key, row, body);
        Ok(())
    }

    fn remove(&mut self, key: &str) -> rusqlite::Result<()> {
        if self.uncount(key)? {
            self.transaction.prepare_cached("DELETE FROM entries WHERE key = ?1")?.execute([key])?;
        }
        Ok(())
    }

    fn carry(&mut self, name: &str, carried: &Carried) -> rusqlite::Result<()> {
        self.uncount_bytes(name)?;
        let sql = "INSERT OR REPLACE INTO carried (name, expires_at, bytes) VALUES (?1, ?2, ?3)";
        let expires_at = carried.expires_at.map(signed);
        self.transaction.prepare_cached(sql)?.execute(params![name, expires_at, &*carried.bytes])?;
        self.kept.carried += carried.weight(name);
        Ok(())
    }

    /// Removes up to `step` expired rows, and as many expired bytes. Returns whether there may be more.
    pub fn sweep(&mut self, now: WallMs, step: usize) -> rusqlite::Result<bool> {
        let (now, most) = (signed(now), signed(step as u64));
        let sql = format!(
            "DELETE FROM entries WHERE rowid IN
            (SELECT rowid FROM entries WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2)
            RETURNING octet_length(key) + octet_length(value), {BODY_WEIGHT}"
        );
        let mut statement = self.transaction.prepare_cached(&sql)?;
        let mut rows = statement.query([now, most])?;
        let mut swept = 0;
        while let Some(row) = rows.next()? {
            let bytes = unsigned(row.get(0)?);
            self.kept =
                self.kept.minus(Kept { entries: Usage { count: 1, bytes }, carried: unsigned(row.get(1)?) });
            swept += 1;
        }
        let sql = "DELETE FROM carried WHERE rowid IN
            (SELECT rowid FROM carried WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2)
            RETURNING octet_length(name) + octet_length(bytes)";
        let mut statement = self.transaction.prepare_cached(sql)?;
        let mut bytes = statement.query([now, most])?;
        let mut discarded = 0;
        while let Some(row) = bytes.next()? {
            self.kept.carried = self.kept.carried.saturating_sub(unsigned(row.get(0)?));
            discarded += 1;
        }
        self.logged += PAGES * (swept + discarded) as u64;
        Ok(swept == step || discarded == step)
    }

    /// Makes a restart begin at `ceiling` or above.
    pub fn reserve(&mut self, ceiling: Number) -> rusqlite::Result<()> {
        self.transaction
            .prepare_cached("UPDATE store SET ceiling = max(ceiling, ?1)")?
            .execute([signed(ceiling)])?;
        Ok(())
    }

    /// Subtracts the row at `key` from what is kept. Returns whether there is one.
    fn uncount(&mut self, key: &str) -> rusqlite::Result<bool> {
        let sql = format!(
            "SELECT octet_length(key) + octet_length(value), {BODY_WEIGHT} FROM entries WHERE key = ?1"
        );
        let weights = |row: &rusqlite::Row<'_>| Ok((unsigned(row.get(0)?), unsigned(row.get(1)?)));
        let found = self.transaction.prepare_cached(&sql)?.query_row([key], weights).optional()?;
        if let Some((bytes, carried)) = found {
            self.kept = self.kept.minus(Kept { entries: Usage { count: 1, bytes }, carried });
        }
        Ok(found.is_some())
    }

    /// Subtracts the bytes under `name` from what is kept. Returns whether there are any.
    fn uncount_bytes(&mut self, name: &str) -> rusqlite::Result<bool> {
        let sql = "SELECT octet_length(name) + octet_length(bytes) FROM carried WHERE name = ?1";
        let found = self.transaction.prepare_cached(sql)?.query_row([name], |row| row.get(0)).optional()?;
        if let Some(bytes) = found {
            self.kept.carried = self.kept.carried.saturating_sub(unsigned(bytes));
        }
        Ok(found.is_some())
    }

    fn commit(self) -> rusqlite::Result<Kept> {
        let Kept { entries: Usage { count, bytes }, carried } = self.kept;
        self.transaction
            .prepare_cached("UPDATE store SET count = ?1, bytes = ?2, carried = ?3")?
            .execute([signed(count), signed(bytes), signed(carried)])?;
        self.transaction.commit()?;
        Ok(self.kept)
    }
}

fn row_of(row: &rusqlite::Row<'_>, from: usize) -> rusqlite::Result<Row> {
    Ok(Row {
        value: row.get_ref(from)?.as_str()?.into(),
        number: unsigned(row.get(from + 1)?),
        expires_at: row.get::<_, Option<i64>>(from + 2)?.map(unsigned),
    })
}

fn row_with_body(row: &rusqlite::Row<'_>) -> rusqlite::Result<RowWithBody> {
    let kept = row_of(row, 0)?;
    let body = match (row.get_ref(3)?.as_str_or_null()?, row.get_ref(4)?.as_blob_or_null()?) {
        (Some(tail), Some(bytes)) => Some(Body { tail: tail.into(), bytes: Bytes::copy_from_slice(bytes) }),
        _ => None,
    };
    Ok((kept, body))
}

/// The error for the caller.
fn told(path: &Path, error: &rusqlite::Error) -> Error {
    let text = format!("{}: {error}", path.display());
    match error.sqlite_error_code() {
        Some(
            ErrorCode::DiskFull
            | ErrorCode::SystemIoFailure
            | ErrorCode::OutOfMemory
            | ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::OperationInterrupted
            | ErrorCode::OperationAborted,
        ) => Error::Unavailable(text),
        Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied | ErrorCode::ReadOnly) => {
            Error::Refused(text)
        }
        _ => Error::Broken(format!("{text} (move the file away to begin with an empty store)")),
    }
}

/// SQLite's integers are signed; what does not fit becomes the highest.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
