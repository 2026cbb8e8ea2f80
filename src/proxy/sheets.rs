//! Large bodies in memory that the system sends without a copy.
//!
//! A sheet is a body in a file that exists in memory alone. To everything that reads the body it is ordinary
//! [`Bytes`]: the file is mapped. But a socket can find out that bytes lie in a sheet, and then has the system
//! send that part of the file. The pages go to the client as they are, where a write copies them first: that
//! copy was more than half of what a hit of 1 MiB costs.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{self, IoSlice, Write as _};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use bytes::Bytes;
use memmap2::Mmap;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create, sendfile};
use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};
use rustix::process::{Resource, getrlimit};

/// The shortest body that is worth a sheet, and the fewest bytes that are worth a send from one: for less, a
/// copy is cheaper than a second call of the system.
pub(crate) const LEAST: usize = 32 << 10;
/// The most sheets: each has a file descriptor.
const MOST: usize = 4096;

/// The sheets of a process.
#[derive(Debug)]
pub(crate) struct Sheets {
    most: usize,
    table: Arc<Table>,
    /// Bodies that are being copied, by address.
    begun: Mutex<HashSet<usize>>,
    /// The system refused one, so that no other is tried.
    refused: AtomicBool,
}

/// Where sheets lie in memory: address, length, and file.
#[derive(Debug, Default)]
struct Table(RwLock<BTreeMap<usize, (usize, Arc<File>)>>);

/// A mapped sheet.
struct Sheet {
    map: Mmap,
    table: Arc<Table>,
}

/// Bytes in a sheet, as a part of its file.
#[derive(Debug)]
pub(crate) struct Part {
    file: Arc<File>,
    at: u64,
    len: usize,
}

// === impl Sheets ===

impl Sheets {
    /// No sheets yet. There will be none if the process has not many more descriptors than its clients take.
    pub(crate) fn beside(clients: usize) -> Self {
        let limit = getrlimit(Resource::Nofile).current;
        let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
        let spare = limit.saturating_sub(clients);
        Self::at_most(if spare < MOST { 0 } else { (spare / 8).min(MOST) })
    }

    fn at_most(most: usize) -> Self {
        Self { most, table: Arc::default(), begun: Mutex::default(), refused: AtomicBool::new(false) }
    }

    /// Begins the copy of a body into a sheet: returns whether the caller is to make it. It is not if the
    /// body lies in a sheet, is too short, or is being copied, or if there can be no more sheets.
    pub(crate) fn begins(&self, body: &Bytes) -> bool {
        body.len() >= LEAST
            && !self.refused.load(Ordering::Relaxed)
            && !self.table.is_full(self.most)
            && self.find(body).is_none()
            && self.begun.lock().unwrap_or_else(PoisonError::into_inner).insert(address(body))
    }

    /// Copies a body into a sheet, after [`Sheets::begins`]. Takes time in proportion to its length. Returns
    /// none if the system refuses one.
    pub(crate) fn copy(&self, body: &Bytes) -> Option<Bytes> {
        let copied = self.table.copy(body);
        if copied.is_err() {
            self.refused.store(true, Ordering::Relaxed);
        }
        self.begun.lock().unwrap_or_else(PoisonError::into_inner).remove(&address(body));
        copied.ok()
    }

    /// The part of a sheet that these bytes are; none if they do not lie in one.
    pub(crate) fn find(&self, bytes: &[u8]) -> Option<Part> {
        let sheets = self.table.0.read().unwrap_or_else(PoisonError::into_inner);
        let (first, (len, file)) = sheets.range(..=address(bytes)).next_back()?;
        let at = address(bytes) - first;
        let is_inside = at.checked_add(bytes.len()).is_some_and(|end| end <= *len);
        is_inside.then(|| Part { file: file.clone(), at: at as u64, len: bytes.len() })
    }
}

// === impl Table ===

impl Table {
    fn is_full(&self, most: usize) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).len() >= most
    }

    fn copy(self: &Arc<Self>, body: &[u8]) -> io::Result<Bytes> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let memory = match memfd_create(c"body", flags | MemfdFlags::NOEXEC_SEAL) {
            // Linux before 6.3 does not know the flag, and later ones may insist on it.
            Err(rustix::io::Errno::INVAL) => memfd_create(c"body", flags)?,
            memory => memory?,
        };
        let mut file = File::from(memory);
        file.write_all(body)?;
        fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
        let map = map(&file)?;
        let place = (map.len(), Arc::new(file));
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(address(&map), place);
        Ok(Bytes::from_owner(Sheet { map, table: self.clone() }))
    }
}

/// Maps a sealed file.
#[allow(unsafe_code, reason = "the only way to read a file as a slice")]
fn map(sealed: &File) -> io::Result<Mmap> {
    // SAFETY: a mapping is sound as long as nobody changes or shortens its file. The system refuses both for
    // a file with the seals WRITE and SHRINK, to every process and through every descriptor, and the seal SEAL
    // keeps the others from being taken off. The caller has set all three.
    unsafe { Mmap::map(sealed) }
}

// === impl Sheet ===

impl AsRef<[u8]> for Sheet {
    fn as_ref(&self) -> &[u8] {
        &self.map
    }
}

impl Drop for Sheet {
    fn drop(&mut self) {
        // Before it is unmapped: then other bytes may lie at its address.
        self.table.0.write().unwrap_or_else(PoisonError::into_inner).remove(&address(&self.map));
    }
}

// === impl Part ===

impl Part {
    /// Sends these bytes, and then those of the part, without waiting. Returns how many the system has taken.
    pub(crate) fn send_after(&self, first: &[IoSlice<'_>], socket: impl AsFd) -> io::Result<usize> {
        let len: usize = first.iter().map(|bytes| bytes.len()).sum();
        let mut sent = 0;
        if len > 0 {
            let flags = SendFlags::MORE | SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            sent = sendmsg(&socket, first, &mut SendAncillaryBuffer::default(), flags)?;
            if sent < len {
                return Ok(sent);
            }
        }
        let mut at = self.at;
        match sendfile(&socket, &*self.file, Some(&mut at), self.len) {
            Ok(more) => Ok(sent + more),
            Err(rustix::io::Errno::AGAIN) if sent > 0 => Ok(sent),
            Err(error) => Err(error.into()),
        }
    }
}

fn address(bytes: &[u8]) -> usize {
    bytes.as_ptr().addr()
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::unix::net::UnixStream;

    use super::*;

    fn body() -> Bytes {
        (0..LEAST + 4097).map(|n| u8::try_from(n % 251).expect("it is less")).collect()
    }

    #[test]
    fn a_copy_has_the_same_bytes_and_is_found_by_any_of_them() {
        let (sheets, body) = (Sheets::at_most(8), body());
        assert!(sheets.begins(&body));
        let copied = sheets.copy(&body).expect("a sheet");
        assert_eq!(copied, body);
        assert!(sheets.find(&body).is_none());
        let part = sheets.find(&copied[5000..6000]).expect("in the sheet");
        assert_eq!((part.at, part.len), (5000, 1000));
        assert!(sheets.find(&copied.slice(LEAST..)).is_some());
        drop(copied);
        assert!(sheets.table.0.read().expect("no panic").is_empty());
    }

    #[test]
    fn a_body_is_copied_once_at_a_time_and_never_from_a_sheet() {
        let (sheets, body) = (Sheets::at_most(8), body());
        assert!(sheets.begins(&body));
        assert!(!sheets.begins(&body.clone()), "it is being copied");
        let copied = sheets.copy(&body).expect("a sheet");
        assert!(!sheets.begins(&copied));
        assert!(!sheets.begins(&copied.slice(..LEAST)));
        assert!(!sheets.begins(&body.slice(1..LEAST)), "it is too short");
    }

    #[test]
    fn there_are_no_more_sheets_than_allowed() {
        let (sheets, body) = (Sheets::at_most(1), body());
        assert!(sheets.begins(&body));
        let copied = sheets.copy(&body).expect("a sheet");
        let other = Bytes::copy_from_slice(&body);
        assert!(!sheets.begins(&other));
        drop(copied);
        assert!(sheets.begins(&other));
    }

    #[test]
    fn a_sheet_can_be_neither_written_nor_cut() {
        let sheets = Sheets::at_most(1);
        let copied = sheets.copy(&body()).expect("a sheet");
        let part = sheets.find(&copied).expect("in the sheet");
        assert!((&*part.file).write_all(b"x").is_err());
        assert!(part.file.set_len(1).is_err());
        assert!(part.file.set_len(1 << 20).is_err());
        assert!(fcntl_add_seals(&part.file, SealFlags::FUTURE_WRITE).is_err());
    }

    #[test]
    fn a_part_is_sent_behind_the_bytes_that_come_first() {
        let (sheets, body) = (Sheets::at_most(1), body());
        let copied = sheets.copy(&body).expect("a sheet");
        let (here, mut there) = UnixStream::pair().expect("a pair");
        let part = sheets.find(&copied[100..]).expect("in the sheet");
        let reader = std::thread::spawn(move || {
            let mut all = Vec::new();
            there.read_to_end(&mut all).map(|_| all)
        });
        let sent = part.send_after(&[IoSlice::new(b"head"), IoSlice::new(b": ")], &here).expect("sent");
        assert!(sent > 6, "{sent}");
        drop((here, copied, part));
        let all = reader.join().expect("no panic").expect("bytes");
        assert_eq!(all.len(), sent);
        assert_eq!(all, [b"head: ", &body[100..]].concat()[..sent]);
    }
}
