//! The length that a response's head states (RFC 9112 §6.3): one number, however often it is repeated in
//! lines and lists. A response that states different ones cannot be framed.

use http::header::{CONTENT_LENGTH, HeaderMap, HeaderValue};

use super::{Error, ErrorKind};

/// Returns the length that these fields state, if they state one.
///
/// # Errors
/// [`ErrorKind::Protocol`]: it is no number, or several that differ.
pub(super) fn stated(fields: &HeaderMap) -> Result<Option<u64>, Error> {
    let lines = fields.get_all(CONTENT_LENGTH).iter();
    let mut members = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    let Some(first) = members.next() else { return Ok(None) };
    let first = number(first)?;
    for member in members {
        if number(member)? != first {
            return Err(unclear());
        }
    }
    Ok(Some(first))
}

/// Folds the length into one line with one number: some recipients accept no list. A head without a valid
/// length stays as it is.
pub(super) fn fold(fields: &mut HeaderMap) {
    if let Ok(Some(length)) = stated(fields) {
        fields.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
}

fn number(member: &[u8]) -> Result<u64, Error> {
    let digits = member.trim_ascii();
    let plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(digits).ok().filter(|_| plain);
    text.and_then(|text| text.parse().ok()).ok_or_else(unclear)
}

fn unclear() -> Error {
    Error { kind: ErrorKind::Protocol, detail: "a Content-Length that is not one number".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_lengths_are_one_and_others_are_none() {
        for (lines, want) in [
            (&[][..], Ok(None)),
            (&["5"], Ok(Some(5))),
            (&["5", "5"], Ok(Some(5))),
            (&["5, 5"], Ok(Some(5))),
            (&["5,5 , 05", "5"], Ok(Some(5))),
            (&["5, 6"], Err(())),
            (&["5", "6"], Err(())),
            (&["5,"], Err(())),
            (&[""], Err(())),
            (&["+5"], Err(())),
            (&["99999999999999999999999"], Err(())),
        ] {
            let mut fields: HeaderMap =
                lines.iter().map(|line| (CONTENT_LENGTH, HeaderValue::from_static(line))).collect();
            assert_eq!(stated(&fields).map_err(|_| ()), want, "{lines:?}");
            if let Ok(Some(length)) = want {
                fold(&mut fields);
                let folded: Vec<_> = fields.get_all(CONTENT_LENGTH).iter().collect();
                assert_eq!(folded, [&HeaderValue::from(length)], "{lines:?}");
            }
        }
    }
}
