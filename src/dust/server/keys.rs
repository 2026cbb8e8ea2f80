//! Removes all keys of a fleet, for drills: no instance does this.

use super::super::{Error, Result};
use super::Target;
use super::http::Reads;
use super::names::{Named, Names, parsed};
use super::state::Place;

/// Removes all keys that begin with a prefix.
///
/// # Errors
/// The server does not answer, or refuses.
pub async fn sweep(url: &str, token: &str, prefix: &str) -> Result<()> {
    let target = Target::parse(url).map_err(Error::Refused)?.with_token(token);
    let (names, reads) = (Names::new(prefix), Reads::new(token, target.stores.len())?);
    for store in 0..target.stores.len() {
        let entries = target.entries(store);
        let mut ranges = names.ranges(prefix);
        ranges.extend(names.ranges(&format!("_dust:sf/{prefix}")));
        // Keys that are one segment are in the first store only.
        ranges.retain(|(from, _)| store == 0 || !Names::is_flat_path(from));
        for (from, to) in ranges {
            let rows = reads.rows(&entries, &Place { store, from, to }).await?;
            let is_ours = |path: &str| matches!(names.named(&parsed(path)), Named::Key(_));
            let paths: Vec<_> = rows.into_iter().map(|row| row.path).filter(|path| is_ours(path)).collect();
            reads.remove(&entries, &paths).await?;
        }
    }
    Ok(())
}
