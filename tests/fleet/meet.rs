//! Where the instances of shared cases meet: in a Redis.

use crate::support::fleet::Fleet;
use crate::support::proxy::Setup;

pub async fn fleet(many: usize, adjust: impl FnOnce(Setup) -> Setup) -> Fleet {
    Fleet::with(many, adjust).await
}
