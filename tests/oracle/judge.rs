//! Whether an answer is right: every byte of one version and at its offset, an end that says what it
//! is, and nothing that is older than it may be.

use std::time::Duration;

use tokio::time::Instant;

use crate::page::{Body, Lifetime, Page, Validator};
use crate::wire::{End, Got};
use crate::wish::Wish;
use crate::world::{Floor, World};

#[path = "judge/several.rs"]
mod several;

/// What a clock and two processes are forgiven.
const SLACK: Duration = Duration::from_millis(250);

/// What the client knew when it asked.
#[derive(Debug, Clone, Copy)]
pub struct Before {
    pub at: Instant,
    /// The least version by the purges until then.
    pub floor: Floor,
}

/// What is wrong with an answer, if anything is.
pub fn judge(world: &World, wish: &Wish, before: Before, got: &Got) -> Result<(), String> {
    let page = &world.pages[wish.page];
    if let End::Wrong(what) = &got.end {
        return Err(format!("no HTTP: {what}"));
    }
    world.saw(&format!("{}{}", got.status, if got.end == End::Broken { " broken" } else { "" }));
    match got.status {
        // The origin's own, or what is made of its faults.
        502..=504 if world.may_fail(page.number, before.at) => return Ok(()),
        416 => return refused(wish, got),
        200 | 206 | 304 => {}
        status => {
            return Err(format!("{status} for no reason: {}", String::from_utf8_lossy(&got.content)));
        }
    }
    // What turns out too large is fetched once more, and may be another version by then.
    let other = page.route == "little" && world.changed_since(page.number, before.at);
    if got.end == End::Broken && !other && !world.may_fail(page.number, before.at) {
        return Err(format!("broken off after {} bytes for no reason", got.content.len()));
    }
    let shared = got.said().contains("; hit") || got.said().contains("; collapsed");
    if got.field("x-lie").is_some() {
        let told = "what says of itself what is not so was given to others or stored";
        return if shared || got.said().contains("; stored") { Err(told.to_owned()) } else { Ok(()) };
    }
    let body = got.field("x-body").and_then(Body::named).ok_or("an answer of no body")?;
    if body.page != page.number || body.variant != page.variant(wish.variant) {
        return Err(format!("another's body: {body:?}"));
    }
    if got.field("etag") != page.tag(body).as_deref() {
        return Err(format!("a tag that is not the body's: {:?}", got.field("etag")));
    }
    // What was purged softly is only stale, and that counts from the end of its lifetime.
    let last_resort = got.said().contains("detail=stale-if-error");
    let floor = if last_resort { before.floor.hard } else { before.floor.soft };
    is_new_enough(world, page, body, before.at, floor)?;
    world.saw(if shared { "shared" } else { "own" });
    if wish.head {
        return head(page, body, got);
    }
    match got.status {
        304 => not_modified(wish, got),
        200 => whole(world, page, body, wish, got),
        _ => parts(world, page, body, wish, got, shared),
    }?;
    // With an instance gone, another goes on with what it began under its head.
    if !world.killed_since(before.at) {
        ends_as_it_must(world, page, body, got)?;
    }
    Ok(())
}

fn refused(wish: &Wish, got: &Got) -> Result<(), String> {
    if wish.ranges.is_empty() {
        return Err("416 to who asked for no range".to_owned());
    }
    let range = got.field("content-range").unwrap_or_default();
    if range.starts_with("bytes */") { Ok(()) } else { Err(format!("416 with {range:?}")) }
}

/// Whether it may still be given, by the lifetime of its page and by purges.
fn is_new_enough(world: &World, page: &Page, body: Body, asked: Instant, floor: usize) -> Result<(), String> {
    if body.version < floor {
        return Err(format!("version {} is from before a purge: {floor} now", body.version));
    }
    let Some(retired) = world.retired(page.number, body.version) else { return Ok(()) };
    let lasts = match page.lifetime {
        Lifetime::Seconds(seconds) => Duration::from_secs(seconds) + SLACK,
        Lifetime::Never => Duration::ZERO,
    };
    if asked > retired + lasts {
        let over = asked - retired;
        return Err(format!("version {} was over {over:?} before it was asked for", body.version));
    }
    Ok(())
}

fn head(page: &Page, body: Body, got: &Got) -> Result<(), String> {
    let length = got.field("content-length").and_then(|length| length.parse::<usize>().ok());
    if got.status == 200 && length.is_some_and(|length| length != page.len(body)) {
        return Err(format!("HEAD says {length:?} of {}", page.len(body)));
    }
    Ok(())
}

fn not_modified(wish: &Wish, got: &Got) -> Result<(), String> {
    let Some(asked) = &wish.if_none_match else { return Err("304 to who asked nothing".to_owned()) };
    let bare = |tag: &str| tag.trim_start_matches("W/").to_owned();
    let told = got.field("etag").unwrap_or_default();
    if bare(told) == bare(asked) { Ok(()) } else { Err(format!("304 for {told} where {asked} was held")) }
}

fn whole(world: &World, page: &Page, body: Body, wish: &Wish, got: &Got) -> Result<(), String> {
    let len = page.len(body);
    if got.field("content-range").is_some() {
        return Err("200 with Content-Range".to_owned());
    }
    if wish.if_none_match.is_some() && got.field("etag") == wish.if_none_match.as_deref() {
        let is_strong = page.validator == Validator::Strong;
        world.saw(if is_strong { "200 to a tag that is current" } else { "200 to a weak tag" });
    }
    is_at(world, page, body, 0, &got.content)?;
    ends(world, got, len)
}

fn parts(world: &World, page: &Page, body: Body, wish: &Wish, got: &Got, shared: bool) -> Result<(), String> {
    if wish.ranges.is_empty() {
        return Err("206 to who asked for no range".to_owned());
    }
    if let Some(held) = &wish.if_range {
        let strong = page.tag(body).filter(|_| page.validator == Validator::Strong);
        if strong.as_deref() != Some(held) && page.modified(body).as_deref() != Some(held) {
            return Err(format!("206 though If-Range has {held}"));
        }
    }
    if let Some(kind) = got.field("content-type").and_then(|kind| kind.strip_prefix("multipart/byteranges")) {
        world.saw("several parts");
        return several::judge(world, page, body, wish, got, kind);
    }
    let len = page.len(body);
    let said = got.field("content-range").ok_or("206 without Content-Range")?;
    let (first, last, total) = content_range(said).ok_or_else(|| format!("Content-Range: {said}"))?;
    if total != len {
        return Err(format!("{said} of {len}"));
    }
    let asked: Vec<_> = wish.ranges.iter().filter_map(|range| range.of(len)).collect();
    if asked != [(first, last)] {
        return Err(format!("{said} where {asked:?} was asked for (shared: {shared})"));
    }
    is_at(world, page, body, first, &got.content)?;
    ends(world, got, last + 1 - first)
}

/// First byte, last byte and total.
fn content_range(text: &str) -> Option<(usize, usize, usize)> {
    let (span, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = span.split_once('-')?;
    Some((first.parse().ok()?, last.parse().ok()?, total.parse().ok()?))
}

/// Whether these are the bytes of a body from there on.
fn is_at(world: &World, page: &Page, body: Body, first: usize, bytes: &[u8]) -> Result<(), String> {
    let want = body.bytes(first, first + bytes.len());
    if want == bytes {
        return Ok(());
    }
    let Some(wrong) = want.iter().zip(bytes).position(|(want, got)| want != got) else { return Ok(()) };
    Err(format!(
        "byte {} is not {body:?}'s: {}",
        first + wrong,
        origin_of(world, page, body, first + wrong, &bytes[wrong..])
    ))
}

/// Where bytes are from that are not what they should be.
fn origin_of(world: &World, page: &Page, body: Body, at: usize, bytes: &[u8]) -> String {
    let Some(sample) = bytes.get(..16) else { return format!("{bytes:02x?}") };
    for version in (0..=world.version(page.number) + 1).rev() {
        for variant in ['-', 'a', 'b', 'c'] {
            let other = Body { variant, version, ..body };
            let all = other.bytes(0, page.len(other) + 301_000);
            if let Some(found) = all.windows(16).position(|some| some == sample) {
                return format!("it is byte {found} of {other:?}, not {at}");
            }
        }
    }
    format!("nobody's: {sample:02x?}")
}

/// Whether it ends cleanly with all that it should have, and else breaks off.
fn ends(world: &World, got: &Got, len: usize) -> Result<(), String> {
    let came = got.content.len();
    if let Some(length) = got.field("content-length").map(str::parse::<usize>)
        && length != Ok(len)
    {
        return Err(format!("Content-Length {length:?} of {len}"));
    }
    match got.end {
        End::Clean if came < len && got.by_close && world.skips("http10") => Ok(()),
        End::Clean if came != len => {
            Err(format!("a clean end{} after {came} of {len}", if got.by_close { " by close" } else { "" }))
        }
        End::Broken if came > len => Err(format!("{came} bytes of {len}")),
        _ => Ok(()),
    }
}

/// What the origin marked as faulty never ends cleanly, but for who had asked for less of it.
fn ends_as_it_must(world: &World, page: &Page, body: Body, got: &Got) -> Result<(), String> {
    let Some(at) = got.field("x-ends").and_then(|at| at.parse::<usize>().ok()) else { return Ok(()) };
    if !got.is_clean()
        || got.status == 304
        || got.field("content-type").is_some_and(|kind| kind.starts_with("multipart/"))
    {
        return Ok(());
    }
    let range = got.field("content-range").and_then(content_range);
    let needs = range.map_or(page.len(body), |(_, last, _)| last + 1);
    if needs > at && !(got.by_close && world.skips("http10")) {
        return Err(format!("it ends cleanly at {needs}, where the origin's answer ended at {at}"));
    }
    Ok(())
}
