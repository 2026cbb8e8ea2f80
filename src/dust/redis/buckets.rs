//! Buckets of tokens: one string each, which expires once the bucket is full.

use std::time::Duration;

use super::super::bucket::{BucketTerms, Draw, Drawn, FILLS_FIRST};
use super::super::{Error, Result};
use super::Redis;
use super::state::Shared;

// === impl Redis ===

impl Redis {
    pub(super) async fn draw_of(&self, name: &str, terms: BucketTerms, draw: Draw) -> Result<Drawn> {
        let Shared { scripts, names, .. } = &*self.shared;
        let call = scripts.draw.at_bucket(names, name);
        let call = call.number(terms.tokens).number(terms.period_us).number(terms.burst);
        let call = call.number(draw.fills).number(draw.passes).number(draw.spent);
        let (tokens, wait): (u64, u64) = self.shared.run(call.number(FILLS_FIRST.as_micros())).await?;
        if tokens > draw.wanted() {
            return Err(Error::Broken(format!("a bucket gave {tokens} tokens, of {}", draw.wanted())));
        }
        Ok(Drawn { tokens, wait: Duration::from_micros(wait) })
    }
}
