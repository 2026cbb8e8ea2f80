//! The standing subscription of an instance.

/// The changes of some keys.
#[derive(Debug)]
pub struct Changes;
/// Every change.
#[derive(Debug)]
pub struct Feed;
/// What happened since one last looked.
#[derive(Debug)]
pub struct Wake;
