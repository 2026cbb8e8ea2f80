//! Bodies in a directory: one file per segment, and the disk space they take.
//!
//! A segment's name is `<store id>/<key hash>/<token>/<n>` as in every store. Its file is `<store
//! id>/<x>/<key hash>.<token>.<n>`, where `x` is the first digit of the hash: a directory for each body would
//! take as much of the disk as the body. Files under their whole names, as older versions wrote them, are
//! found, listed and removed like the others.

use std::fmt;
use std::fs::{DirEntry, Metadata};
use std::ops::Range;
use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt as _, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result,
};
use tokio::sync::mpsc;

use crate::body;

/// The unit of disk space, on systems that do not say how much a file takes.
const BLOCK: u64 = 4096;
/// The bytes that a file or a directory takes beside its blocks: its inode, and its name.
const INODE: u64 = 256;
/// The file that is written at the start to see whether that works. If a crash leaves it, the next start
/// removes it.
const PROBE: &str = ".write-probe";
/// How many listed objects may wait for the reader of a listing.
const QUEUE: usize = 256;

/// The object store in a directory. The sizes in its listings are the disk space that the files take.
#[derive(Debug)]
pub(super) struct Shelf {
    files: Arc<dyn ObjectStore>,
    root: PathBuf,
}

/// The disk space that a file of `len` bytes will take, as an estimate.
pub(super) fn takes(len: u64) -> u64 {
    len.div_ceil(BLOCK).saturating_mul(BLOCK).saturating_add(INODE)
}

/// The disk space that an existing file or directory takes.
fn taken(meta: &Metadata) -> u64 {
    #[cfg(unix)]
    let blocks = std::os::unix::fs::MetadataExt::blocks(meta).saturating_mul(512);
    #[cfg(not(unix))]
    let blocks = meta.len().div_ceil(BLOCK) * BLOCK;
    blocks.saturating_add(INODE)
}

/// The disk space below the directory of a life that is not segments: directories, and half-written files.
/// Its marker exists without any body, and is not counted.
pub(super) fn overhead(dir: &FsPath) -> u64 {
    let mut bytes = 0;
    for entry in entries(dir) {
        let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_dir || name(&entry).contains('#') {
            bytes += entry.metadata().as_ref().map_or(0, taken);
        }
        if is_dir {
            bytes += overhead(&entry.path());
        }
    }
    bytes
}

/// Writes a file and removes it. Other instances may do the same at the same time.
fn probe(dir: &FsPath) -> std::io::Result<()> {
    let file = dir.join(PROBE);
    std::fs::File::create(&file)?;
    match std::fs::remove_file(&file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// What an operator does about a directory that can't be written.
fn unwritable(path: &FsPath, cause: &std::io::Error) -> Option<String> {
    let (path, user) = (path.display(), rustix::process::geteuid().as_raw());
    match cause.kind() {
        std::io::ErrorKind::PermissionDenied => Some(format!(
            "user {user} can't write to {path}: give it the directory (install -d -o {user} {path}, or chown {user} {path})"
        )),
        std::io::ErrorKind::AlreadyExists | std::io::ErrorKind::NotADirectory => {
            Some(format!("{path}: file:PATH names a directory, and a file is in its place"))
        }
        std::io::ErrorKind::ReadOnlyFilesystem => Some(format!(
            "{path} is on a read-only file system: mount a volume there that user {user} can write to"
        )),
        _ => None,
    }
}

fn entries(dir: &FsPath) -> impl Iterator<Item = DirEntry> {
    std::fs::read_dir(dir).into_iter().flatten().flatten()
}

fn name(entry: &DirEntry) -> String {
    entry.file_name().to_string_lossy().into_owned()
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit())
}

/// The key hash, token and n in a file's name.
fn split(name: &str) -> Option<(&str, &str, &str)> {
    let (rest, n) = name.rsplit_once('.')?;
    let (hash, token) = rest.rsplit_once('.')?;
    (!hash.is_empty() && is_number(token) && is_number(n)).then_some((hash, token, n))
}

/// The path of an object's file. An object that is not a segment is where its name says.
fn file_of(object: &Path) -> Path {
    let parts: Vec<_> = object.parts().collect();
    match parts.as_slice() {
        [life, hash, token, n] => {
            let hash = hash.as_ref();
            let shelf = hash.get(..1).unwrap_or("_");
            let file = format!("{hash}.{}.{}", token.as_ref(), n.as_ref());
            Path::from_iter([life.as_ref(), shelf, file.as_str()])
        }
        _ => object.clone(),
    }
}

// === impl Shelf ===

impl Shelf {
    /// Opens a directory, and makes it. Without room for that, the first put makes it.
    ///
    /// # Errors
    /// [`body::Error::Unwritable`] if nothing can be written there: better now than at the first fill.
    pub(super) fn open(path: &FsPath) -> std::result::Result<Self, body::Error> {
        let failed = |cause: &(dyn std::error::Error + 'static)| body::Error::store(cause);
        let (files, root): (Arc<dyn ObjectStore>, _) =
            match std::fs::create_dir_all(path).and_then(|()| probe(path)) {
                Ok(()) => {
                    let files = LocalFileSystem::new_with_prefix(path).map_err(|cause| failed(&cause))?;
                    (Arc::new(files.with_automatic_cleanup(true)), path.to_owned())
                }
                Err(cause) => match failed(&cause) {
                    body::Error::NoRoom => {
                        let root = std::path::absolute(path).map_err(|cause| failed(&cause))?;
                        let below = Path::from_absolute_path(&root).map_err(|cause| failed(&cause))?;
                        (Arc::new(PrefixStore::new(LocalFileSystem::new(), below)), root)
                    }
                    other => return Err(unwritable(path, &cause).map_or(other, body::Error::Unwritable)),
                },
            };
        Ok(Self { files, root })
    }
}

impl fmt::Display for Shelf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bodies in {}", self.root.display())
    }
}

#[async_trait]
impl ObjectStore for Shelf {
    async fn put_opts(&self, path: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        self.files.put_opts(&file_of(path), payload, opts).await
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.files.put_multipart_opts(&file_of(path), opts).await
    }

    async fn get_opts(&self, path: &Path, opts: GetOptions) -> Result<GetResult> {
        let file = file_of(path);
        match self.files.get_opts(&file, opts.clone()).await {
            Err(Error::NotFound { .. }) if file != *path => self.files.get_opts(path, opts).await,
            other => other,
        }
    }

    async fn get_ranges(&self, path: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let file = file_of(path);
        match self.files.get_ranges(&file, ranges).await {
            Err(Error::NotFound { .. }) if file != *path => self.files.get_ranges(path, ranges).await,
            other => other,
        }
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let files = Arc::clone(&self.files);
        let remove = move |path: Result<Path>| {
            let files = Arc::clone(&files);
            async move {
                let path = path?;
                let file = file_of(&path);
                match files.delete(&file).await {
                    Err(Error::NotFound { .. }) if file != path => files.delete(&path).await?,
                    other => other?,
                }
                Ok(path)
            }
        };
        paths.map(remove).buffered(10).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (root, prefix) = (self.root.clone(), prefix.cloned().unwrap_or_default());
        let (found, taker) = mpsc::channel(QUEUE);
        // Ends when all is listed, or the listing is dropped.
        tokio::task::spawn_blocking(move || {
            let mut walk = Walk { prefix, found };
            let _ = walk.all(&root);
        });
        stream::unfold(taker, |mut taker| async move { Some((taker.recv().await?, taker)) }).boxed()
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let offset = offset.clone();
        let behind = move |object: &Result<ObjectMeta>| {
            let is_behind = object.as_ref().map_or(true, |object| object.location > offset);
            std::future::ready(is_behind)
        };
        self.list(prefix).filter(behind).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.files.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, opts: CopyOptions) -> Result<()> {
        self.files.copy_opts(&file_of(from), &file_of(to), opts).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, opts: RenameOptions) -> Result<()> {
        self.files.rename_opts(&file_of(from), &file_of(to), opts).await
    }
}

/// A listing under way.
struct Walk {
    prefix: Path,
    found: mpsc::Sender<Result<ObjectMeta>>,
}

/// The listing was dropped.
struct Unwanted;

// === impl Walk ===

impl Walk {
    /// Lists the lives below the root.
    fn all(&mut self, root: &FsPath) -> std::result::Result<(), Unwanted> {
        let first = self.prefix.parts().next().map(|part| part.as_ref().to_owned());
        for life in self.sorted(root)? {
            if first.as_ref().is_none_or(|first| *first == life) {
                self.below(&root.join(&life), &[&life])?;
            }
        }
        Ok(())
    }

    /// Lists a directory; `names` are the parts of its path below the root. Files of one key come one after
    /// another.
    fn below(&mut self, dir: &FsPath, names: &[&str]) -> std::result::Result<(), Unwanted> {
        for name in self.sorted(dir)? {
            let path = dir.join(&name);
            // Skips what was removed meanwhile.
            let Ok(meta) = path.symlink_metadata() else { continue };
            if meta.is_dir() {
                let names: Vec<&str> = names.iter().copied().chain([&*name]).collect();
                self.below(&path, &names)?;
                continue;
            }
            let location = match (split(&name), names) {
                (Some((hash, token, n)), [life, _]) => Path::from_iter([*life, hash, token, n]),
                _ => names.iter().copied().chain([&*name]).collect(),
            };
            let is_staged = name.contains('#');
            if !is_staged && location.prefix_matches(&self.prefix) {
                self.tell(Ok(of(location, &meta)))?;
            }
        }
        Ok(())
    }

    fn sorted(&self, dir: &FsPath) -> std::result::Result<Vec<String>, Unwanted> {
        let read = std::fs::read_dir(dir).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
        let mut names: Vec<String> = match read {
            Ok(entries) => entries.iter().map(name).collect(),
            Err(cause)
                if matches!(
                    cause.kind(),
                    std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
                ) =>
            {
                Vec::new()
            }
            Err(cause) => {
                self.tell(Err(Error::Generic { store: "bodies", source: Box::new(cause) }))?;
                Vec::new()
            }
        };
        names.sort_unstable();
        Ok(names)
    }

    fn tell(&self, object: Result<ObjectMeta>) -> std::result::Result<(), Unwanted> {
        self.found.blocking_send(object).map_err(|_| Unwanted)
    }
}

fn of(location: Path, meta: &Metadata) -> ObjectMeta {
    let written = meta.modified().unwrap_or(std::time::UNIX_EPOCH);
    ObjectMeta { location, last_modified: written.into(), size: taken(meta), e_tag: None, version: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_files() {
        let hash = "a0112233445566778899aabbccddeeff";
        let object = Path::from(format!("life/{hash}/17/3"));
        assert_eq!(file_of(&object).as_ref(), format!("life/a/{hash}.17.3"));
        assert_eq!(split(&format!("{hash}.17.3")), Some((hash, "17", "3")));
        for other in ["life/here", "life"] {
            assert_eq!(file_of(&Path::from(other)).as_ref(), other);
        }
        for name in ["here", "3#1", "a.17.3#1", "a.3", ".1.2", "a.b.1"] {
            assert_eq!(split(name), None, "{name}");
        }
    }

    #[test]
    fn a_directory_is_written_to_when_it_is_opened_and_what_keeps_that_is_told() {
        let directory = tempfile::tempdir().expect("a directory");
        Shelf::open(directory.path()).expect("it can be written");
        assert_eq!(entries(directory.path()).count(), 0, "nothing is left");
        let told = |kind: std::io::ErrorKind| unwritable(FsPath::new("/data/bodies"), &kind.into());
        let text = told(std::io::ErrorKind::PermissionDenied).expect("a remedy");
        assert!(text.starts_with("user ") && text.contains("can't write to /data/bodies"), "{text}");
        assert!(text.contains("(install -d -o ") && text.ends_with(" /data/bodies)"), "{text}");
        let text = told(std::io::ErrorKind::AlreadyExists).expect("a remedy");
        assert_eq!(text, "/data/bodies: file:PATH names a directory, and a file is in its place");
        let text = told(std::io::ErrorKind::ReadOnlyFilesystem).expect("a remedy");
        assert!(text.starts_with("/data/bodies is on a read-only file system: mount a volume"), "{text}");
        assert_eq!(told(std::io::ErrorKind::NotFound), None);
    }

    #[test]
    fn a_byte_takes_a_block_and_an_inode() {
        assert_eq!([0, 1, 4096, 4097].map(takes), [256, 4352, 4352, 8448]);
    }
}
