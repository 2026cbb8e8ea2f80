//! Dates as the server writes them.

use std::time::{Duration, UNIX_EPOCH};

use crate::clock::WallMs;

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// `2026-11-23T13:42:53.475Z`.
pub(super) fn iso(at: WallMs) -> String {
    let http = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_millis(at));
    let mut words = http.split(' ').skip(1);
    let mut word = || words.next().unwrap_or_default();
    let (day, month, year, time) = (word(), word(), word(), word());
    let month = MONTHS.iter().position(|name| *name == month).map_or(0, |at| at + 1);
    format!("{year}-{month:02}-{day}T{time}.{:03}Z", at % 1000)
}
