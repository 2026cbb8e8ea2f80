//! The origin: right in all it says unless the dice want a fault.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;

use crate::fault::Fault;
use crate::page::{Body, PAGES, Page, Validator};
use crate::range::Spec;
use crate::support::origin::Seen;
use crate::support::{Answer, Origin};
use crate::world::{Drips, World};

/// A body with such pauses drips: it is under way long enough for its instance to be lost.
const DRIPS: Duration = Duration::from_millis(200);
/// What was sent before a reset is given time to arrive: it is thrown away else.
const ARRIVES: Duration = Duration::from_millis(20);

/// How the end of a body is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Length,
    Chunked,
    Close,
}

/// What goes back.
struct Given {
    status: u16,
    fields: Vec<(&'static str, String)>,
    framing: Framing,
    content: Vec<u8>,
    /// Breaks off after so many bytes of it.
    cut: Option<usize>,
}

/// An answer that is being played.
struct Played {
    world: Arc<World>,
    page: usize,
    fault: Fault,
    drips: Mutex<Option<Drips>>,
}

/// Starts it.
pub async fn start(world: Arc<World>) -> Origin {
    let origin = Origin::start().await;
    origin.on_each("*", move |seen| answer(&world, seen));
    origin
}

fn answer(world: &Arc<World>, seen: &Seen) -> Answer {
    let number: usize =
        seen.path().rsplit('/').next().and_then(|number| number.parse().ok()).unwrap_or(PAGES);
    let Some(page) = world.pages.get(number) else { return Answer::status(404) };
    let nth = world.nth(number);
    let mut rng = Rng::with_seed(world.seed ^ ((number as u64) << 32 | nth as u64));
    // Pinned before it takes its time: what is asked for later may be newer.
    let version = world.version(number);
    let is_head = seen.method == "HEAD";
    let (given, fault) = Given::to(seen, page, version, &mut rng);
    let told = given.as_ref().map_or("closed".to_owned(), Given::told);
    let fields: Vec<_> = seen.fields.0.iter().filter(|(name, _)| is_telling(name)).collect();
    world.log(number, &format!("asked #{nth} {} {fields:?} -> {fault:?} {told}", seen.method));
    let delay = Duration::from_millis([0, 0, 5, 40, 150][rng.usize(..5)]);
    let pause = Duration::from_millis([0, 0, 3, 30, 90, 250][rng.usize(..6)]);
    let has_body = given.as_ref().is_some_and(|given| given.content.len() > 10_000) && !is_head;
    let drips_into = instance(seen).filter(|_| has_body && pause >= DRIPS);
    let played = Arc::new(Played { world: world.clone(), page: number, fault, drips: Mutex::default() });
    let begun = played.clone();
    let answer = match given {
        None => Answer::raw(""),
        Some(given) => given.answer(pause, &mut rng),
    };
    answer.after(delay).calling(move || begun.begin(drips_into)).holding(played)
}

/// The instance that asks, as Via names it.
fn instance(seen: &Seen) -> Option<usize> {
    seen.field("via").rsplit("instance-").next()?.parse().ok()
}

fn is_telling(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    matches!(&*name, "range" | "if-range" | "if-none-match" | "if-modified-since" | "x-variant")
}

// === impl Played ===

impl Played {
    fn begin(&self, drips_into: Option<usize>) {
        if self.fault != Fault::None {
            self.world.fails(self.page);
        }
        *self.drips.lock().unwrap() = drips_into.map(|instance| self.world.drips(self.page, instance));
    }
}

impl Drop for Played {
    fn drop(&mut self) {
        if self.fault != Fault::None {
            self.world.fails(self.page);
        }
    }
}

// === impl Given ===

impl Given {
    /// What a request is given, if it is given anything, and what is wrong with that.
    fn to(seen: &Seen, page: &Page, version: usize, rng: &mut Rng) -> (Option<Self>, Fault) {
        let field = |name: &str| seen.fields.get(name);
        let is_head = seen.method == "HEAD";
        let body = page.body(field("x-variant").and_then(|name| name.chars().next()), version);
        let (tag, modified) = (page.tag(body), page.modified(body));
        let bare = |tag: &str| tag.trim_start_matches("W/").to_owned();
        let unchanged = match (field("if-none-match"), field("if-modified-since")) {
            (Some(held), _) => {
                tag.as_deref().is_some_and(|tag| held.split(", ").any(|held| bare(held) == bare(tag)))
            }
            (None, Some(held)) => modified.as_deref() == Some(held),
            (None, None) => false,
        };
        let len = page.len(body);
        let holds = field("if-range").is_none_or(|held| {
            (page.validator == Validator::Strong && tag.as_deref() == Some(held))
                || modified.as_deref() == Some(held)
        });
        let spec = field("range").filter(|_| holds && !is_head);
        let spec = spec.and_then(|range| Spec::parse(range.strip_prefix("bytes=")?));
        let completes = page.route == "segment" && field("if-range").is_some();
        let fault = match Fault::of(rng, spec.is_some(), completes) {
            // What a HEAD says of a body is of one that is whole.
            Fault::Cut(_) if is_head => Fault::None,
            _ if page.honest => Fault::None,
            fault => fault,
        };
        if fault == Fault::Closes {
            return (None, fault);
        }
        if fault == Fault::Fails {
            return (Some(Self::bare(503, &[])), fault);
        }
        let mut answer = Self::bare(200, &[("Cache-Control", page.cache_control())]);
        answer.describes(page, body);
        if unchanged {
            answer.status = 304;
            return (Some(answer), Fault::None);
        }
        answer.fields.push(("X-Kind", "whole".to_owned()));
        answer.framing = match rng.usize(..5) {
            0 => Framing::Close,
            1 | 2 => Framing::Chunked,
            _ => Framing::Length,
        };
        let part = spec.filter(|_| fault != Fault::Whole).map(|spec| spec.of(len));
        match part {
            None => answer.content = body.bytes(0, len),
            Some(part) => {
                let refused = part.is_none() || fault == Fault::Refuses;
                if refused {
                    let total = ("Content-Range", format!("bytes */{len}"));
                    return (Some(Self::bare(416, &[total])), fault);
                }
                let (first, last) = part.expect("it is not refused");
                answer.gives_part(page, body, (first, last), fault);
            }
        }
        if let Fault::Cut(thousandths) = fault {
            answer.cut = Some(answer.content.len() * thousandths / 1000);
        }
        answer.says_where_it_ends(part.flatten().map_or(0, |(first, _)| first), part.flatten(), fault);
        (Some(answer), fault)
    }

    fn bare(status: u16, fields: &[(&'static str, String)]) -> Self {
        let (fields, framing) = (fields.to_vec(), Framing::Length);
        Self { status, fields, framing, content: Vec::new(), cut: None }
    }

    /// The fields that every answer of a body has.
    fn describes(&mut self, page: &Page, body: Body) {
        self.fields.push(("X-Body", body.name()));
        if page.varies {
            self.fields.push(("Vary", "X-Variant".to_owned()));
        }
        self.fields.extend(page.tag(body).map(|tag| ("ETag", tag)));
        self.fields.extend(page.modified(body).map(|date| ("Last-Modified", date)));
        if self.status != 304 {
            self.fields.push(("Content-Type", "application/x-oracle".to_owned()));
        }
    }

    /// Takes the part in, with what is wrong with it.
    fn gives_part(&mut self, page: &Page, body: Body, (first, last): (usize, usize), fault: Fault) {
        let len = page.len(body);
        self.status = 206;
        let mut said = (first, last, len);
        let mut bytes = (first, last + 1);
        let mut of = body;
        match fault {
            Fault::Short(by) => bytes.1 -= by.min(bytes.1 - bytes.0),
            Fault::Long(by) => bytes.1 += by,
            Fault::OtherPart if first >= 7 => {
                said.0 = first - 7;
                bytes.0 = said.0;
            }
            Fault::OtherPart | Fault::OtherTotal => said.2 += 5,
            Fault::OtherVersion => {
                of.version += 1;
                let newer = page.tag(of);
                self.fields.retain(|(name, _)| *name != "ETag" && *name != "X-Body");
                self.fields.extend(newer.map(|tag| ("ETag", tag)));
                self.fields.push(("X-Body", of.name()));
            }
            Fault::OtherLength => {
                bytes.1 = bytes.1.saturating_sub(1).max(bytes.0);
                self.framing = Framing::Length;
            }
            _ => {}
        }
        if matches!(fault, Fault::Short(_) | Fault::Long(_)) && self.framing == Framing::Length {
            self.framing = Framing::Chunked;
        }
        self.fields.push(("Content-Range", format!("bytes {}-{}/{}", said.0, said.1, said.2)));
        self.content = of.bytes(bytes.0, bytes.1);
        if fault == Fault::Several {
            self.fields.retain(|(name, _)| *name != "Content-Type");
            self.fields.push(("Content-Type", "multipart/byteranges; boundary=x".to_owned()));
        }
        if fault.lies() {
            self.fields.push(("X-Lie", "1".to_owned()));
        }
    }

    /// Says in a field of its own from which byte of the body on nobody can have had anything.
    fn says_where_it_ends(&mut self, first: usize, part: Option<(usize, usize)>, fault: Fault) {
        let at = match (fault, part) {
            (Fault::Cut(_), _) => self.cut.map(|cut| first + cut),
            (Fault::Short(by), Some((first, last))) => Some((last + 1).saturating_sub(by).max(first)),
            (Fault::Long(_), Some((_, last))) => Some(last),
            _ => None,
        };
        self.fields.push(("X-Ends", at.map_or("well".to_owned(), |at| at.to_string())));
    }

    fn told(&self) -> String {
        let cut = self.cut.map(|cut| format!(" cut at {cut} of {}", self.content.len())).unwrap_or_default();
        format!("{} {:?} {:?}{cut}", self.status, self.fields, self.framing)
    }

    /// As the origin plays it, with a pause behind each piece.
    fn answer(self, pause: Duration, rng: &mut Rng) -> Answer {
        let fields = self.fields.iter();
        let mut answer =
            fields.fold(Answer::status(self.status), |answer, (name, value)| answer.field(name, value));
        if self.status == 304 {
            return answer;
        }
        answer = match self.framing {
            Framing::Length => answer.declaring(self.content.len() as u64),
            Framing::Chunked => answer.chunked(),
            Framing::Close => answer.until_close(),
        };
        let end = self.cut.unwrap_or(self.content.len());
        let piece = (end / rng.usize(1..9)).max(1000);
        for bytes in self.content[..end].chunks(piece) {
            answer = answer.part(bytes.to_vec());
            if !pause.is_zero() {
                answer = answer.wait(pause);
            }
        }
        match self.cut {
            None => answer,
            // Where the close is the end, nothing but a reset tells that it is not.
            Some(_) if self.framing == Framing::Close || rng.bool() => answer.wait(ARRIVES).then_reset(),
            Some(_) => answer.then_close(),
        }
    }
}
