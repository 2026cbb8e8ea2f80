//! Several parts in one answer (RFC 9110 §14.6).

use super::{content_range, is_at};
use crate::page::{Body, Page};
use crate::wire::Got;
use crate::wish::Wish;
use crate::world::World;

/// Whether the parts are those that were asked for, as far as they came.
pub fn judge(
    world: &World,
    page: &Page,
    body: Body,
    wish: &Wish,
    got: &Got,
    kind: &str,
) -> Result<(), String> {
    let boundary = kind.split_once("boundary=").ok_or("no boundary")?.1.trim_matches('"');
    let len = page.len(body);
    let asked: Vec<_> = wish.ranges.iter().filter_map(|range| range.of(len)).collect();
    let mut rest = got.content.as_slice();
    let (opening, closing) = (format!("\r\n--{boundary}\r\n"), format!("\r\n--{boundary}--"));
    let mut given = Vec::new();
    loop {
        if rest.starts_with(closing.as_bytes()) {
            break;
        }
        let end = rest.windows(4).position(|four| four == b"\r\n\r\n");
        let Some(end) = end.filter(|_| rest.starts_with(opening.as_bytes())) else {
            return cut_off(got, rest, &opening);
        };
        let head = String::from_utf8_lossy(&rest[opening.len()..end]).into_owned();
        let range = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-range").then(|| value.trim().to_owned())
        });
        let range = range.ok_or_else(|| format!("a part without a range: {head}"))?;
        let (first, last, total) = content_range(&range).ok_or_else(|| format!("a part of {range}"))?;
        if total != len || last >= len {
            return Err(format!("a part of {range}, of {len}"));
        }
        rest = &rest[end + 4..];
        let some = rest.len().min(last + 1 - first);
        is_at(world, page, body, first, &rest[..some])?;
        given.push((first, last));
        rest = &rest[some..];
        if some < last + 1 - first {
            return cut_off(got, rest, &opening);
        }
    }
    if given == asked { Ok(()) } else { Err(format!("parts {given:?} where {asked:?} was asked for")) }
}

fn cut_off(got: &Got, rest: &[u8], opening: &str) -> Result<(), String> {
    if got.is_clean() {
        return Err(format!("a clean end in a part, {} bytes left", rest.len()));
    }
    let some = rest.len().min(opening.len());
    if rest[..some] == opening.as_bytes()[..some]
        || rest.starts_with(&opening.as_bytes()[..opening.len() - 2])
    {
        return Ok(());
    }
    Err(format!("what is no part: {:?}", String::from_utf8_lossy(&rest[..rest.len().min(80)])))
}
