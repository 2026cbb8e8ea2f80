//! The two steps of a flight, one script each.

use bytes::Bytes;
use redis::Value as Reply;

use super::super::entrance::{self, Findings, Inquiry, Landing, Lock, Publication};
use super::super::{Entry, Error, Holder, Lease, Number, Result};
use super::state::Shared;
use super::{Redis, left, ms, value};

// === impl Redis ===

impl Redis {
    pub(super) async fn inquire(&self, inquiry: Inquiry<'_>) -> Result<Findings> {
        let Inquiry { value, verdict, lock, known, lease } = inquiry;
        let Shared { scripts, names, .. } = &*self.shared;
        let seen = self.seen(lease.map_or(0, |lease| lease.seen))?;
        let call = scripts.enter.call(names, lock, seen, &[value, verdict]);
        let call = match lease {
            Some(lease) => call.number(ms(lease.ttl)).arg(&*lease.holder.0),
            None => call.arg("").arg(""),
        };
        let answer: Vec<Reply> = self.shared.run(call.number(known.value).number(known.verdict)).await?;
        let mut parts = answer.into_iter();
        let mut part = || parts.next().unwrap_or(Reply::Nil);
        let (value, verdict, body) = (self.found(part())?, self.found(part())?, bytes(part())?);
        let state = self.lock((text(part())?, part(), part(), part()))?;
        let lock = match (state, lease) {
            (State::Granted(token), Some(lease)) => {
                Lock::Granted(Lease { key: lock.into(), token, holder: lease.holder.clone() })
            }
            (State::Held(lock), _) => lock,
            // What the script took for new is none, as it is no text at all: it is not in the way.
            (State::Free, Some(_)) if known.covers(value.as_ref(), verdict.as_ref()) => {
                return entrance::enter(self, inquiry).await;
            }
            _ => Lock::Free,
        };
        Ok(Findings { value, body, verdict, lock })
    }

    pub(super) async fn conclude(&self, publication: Publication<'_>) -> Result<Landing> {
        let Publication { lease, value: result, verdict } = publication;
        if result.is_none() && verdict.is_none() {
            return entrance::publish(self, publication).await;
        }
        let Shared { scripts, names, .. } = &*self.shared;
        let body = result.and_then(|result| result.body);
        let tail = match (result, body) {
            (Some(result), Some(body)) => Self::carried(body.bytes).and_then(|()| {
                let refused = || Error::Refused(format!("{} is no name beside {}", body.name, result.key));
                value::tail(result.key, body.name).ok_or_else(refused)
            })?,
            _ => "",
        };
        let text = result.map_or("", |result| result.text);
        let bytes = body.map_or(&[][..], |body| body.bytes);
        let keys =
            [result.map_or(&*lease.key, |result| result.key), verdict.map_or(&*lease.key, |note| note.key)];
        let room = text.len() + bytes.len() + verdict.map_or(0, |note| note.text.len());
        let limit = |time: Option<_>| time.map_or(String::new(), |time| ms(time).to_string());
        let lives = result.and_then(|result| result.expires_in);
        let call = scripts.publish.with_room(names, &lease.key, self.seen(0)?, &keys, room);
        let call = call.lease(lease).number(lease.token).arg(limit(lives)).arg(text).arg(tail).arg(bytes);
        let call = call.number(ms(lives.unwrap_or(super::MAX_TTL)));
        let call = call.arg(limit(verdict.and_then(|note| note.expires_in)));
        let mut call = call.arg(verdict.map_or("", |note| note.text));
        for name in result.map_or(&[][..], |result| result.keeps) {
            call = call.arg(name);
        }
        Ok(match self.shared.run::<Option<String>>(call).await? {
            Some(number) => Landing::At(self.number(&number)?),
            None => Landing::Fenced,
        })
    }

    /// Reads an entry as a script returns it.
    pub(super) fn found(&self, reply: Reply) -> Result<Option<Entry>> {
        Ok(bytes(reply)?.map(|bytes| self.taken(value::read(&bytes, || None))))
    }

    fn lock(&self, (word, token, rest, holder): (String, Reply, Reply, Reply)) -> Result<State> {
        let token = || self.number(&text(token)?);
        Ok(match &*word {
            "granted" => State::Granted(token()?),
            "held" => {
                let Reply::Int(rest) = rest else { return Err(no_part(&rest)) };
                let holder = Some(Holder(text(holder)?.into()));
                State::Held(Lock::Held { rest: left(rest), token: Some(token()?), holder })
            }
            "occupied" => State::Held(Lock::Occupied),
            _ => State::Free,
        })
    }
}

/// The state of a lock as the script returns it.
enum State {
    Granted(Number),
    Held(Lock),
    Free,
}

/// Reads bytes that a script returns, or none.
pub(super) fn bytes(reply: Reply) -> Result<Option<Bytes>> {
    match reply {
        Reply::BulkString(bytes) => Ok(Some(bytes.into())),
        Reply::Nil | Reply::Boolean(false) => Ok(None),
        other => Err(no_part(&other)),
    }
}

fn text(reply: Reply) -> Result<String> {
    match reply {
        Reply::BulkString(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Reply::Nil => Ok(String::new()),
        other => Err(no_part(&other)),
    }
}

fn no_part(reply: &Reply) -> Error {
    Error::Broken(format!("a script's answer has {reply:?} in it"))
}
