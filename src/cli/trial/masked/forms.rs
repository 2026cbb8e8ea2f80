//! The forms in which a credential may be repeated.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::readings::readings;

/// Padding is left out, and may be there when it is read.
const LAX: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_encode_padding(false)
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const ENGINES: [GeneralPurpose; 2] =
    [GeneralPurpose::new(&STANDARD, LAX), GeneralPurpose::new(&URL_SAFE, LAX)];

/// A shorter text is not looked for in other codes: it would be found in what has nothing to do with it.
const CODED: usize = 4;
/// A shorter part of a token is none.
const PART: usize = 16;

/// What the value of a field may be repeated by: the whole of it, what stands behind its scheme, and the values of
/// its parameters or cookies, each in all its forms.
pub(super) fn of_field(value: &str, cookies: bool) -> Vec<String> {
    let mut parts = vec![value.to_owned()];
    let behind = value.trim().split_once(' ').filter(|_| !cookies);
    if let Some((scheme, behind)) = behind {
        let behind = behind.trim();
        parts.push(behind.to_owned());
        if scheme.eq_ignore_ascii_case("basic") {
            parts.extend(user_and_password(behind));
        }
    }
    let pairs = value.split(if cookies { &[';'][..] } else { &[',', ';'][..] });
    for value in pairs.filter_map(|pair| Some(pair.split_once('=')?.1.trim())) {
        let bare = value.trim_matches('"');
        // The padding of a token is no value.
        if bare.bytes().any(|byte| byte != b'=') {
            parts.push(bare.to_owned());
        }
    }
    forms(parts)
}

/// These texts in all their forms.
pub(super) fn forms(parts: Vec<String>) -> Vec<String> {
    let mut found = parts;
    let tokens: Vec<String> = found.iter().flat_map(|text| text.split('.')).map(str::to_owned).collect();
    found.extend(tokens.into_iter().filter(|token| token.len() >= PART));
    // What is sent encoded may come back as what it means.
    let decoded = found.iter().flat_map(|text| {
        let read = readings(text).into_iter().skip(1).map(|reading| text_of(reading.bytes));
        read.chain(from_base64(text).filter(|plain| plain.len() >= CODED * 2)).collect::<Vec<_>>()
    });
    found.extend(decoded.collect::<Vec<_>>());
    let encoded = found.iter().filter(|text| text.len() >= CODED).flat_map(|text| encoded(text));
    found.extend(encoded.collect::<Vec<_>>());
    found.retain(|text| !text.trim().is_empty());
    found.sort_unstable_by(|one, other| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
    found.dedup();
    found
}

/// What Basic stands for (RFC 7617). An API may take its key as the user, without a password.
fn user_and_password(code: &str) -> Vec<String> {
    let Some(plain) = from_base64(code) else { return Vec::new() };
    let pair = plain.split_once(':').map(|(user, password)| [user.to_owned(), password.to_owned()]);
    [plain].into_iter().chain(pair.into_iter().flatten()).collect()
}

fn from_base64(text: &str) -> Option<String> {
    let decoded = ENGINES.iter().find_map(|engine| engine.decode(text.trim()).ok())?;
    String::from_utf8(decoded).ok().filter(|plain| !plain.chars().any(char::is_control))
}

/// A text in other codes: hexadecimal, and base64, alone or in the middle of a longer text.
fn encoded(text: &str) -> Vec<String> {
    let mut hex = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        // Writing into a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
    }
    let mut found = vec![hex];
    for engine in ENGINES {
        found.push(engine.encode(text));
        for before in 0..3 {
            // Three bytes are four characters. Those at the edges depend on what stands beside the text.
            let code = engine.encode([&[0; 3][..before], text.as_bytes()].concat());
            let (begin, end) = ((before * 4).div_ceil(3), (before + text.len()) * 4 / 3);
            found.extend(code.get(begin..end).filter(|code| code.len() >= CODED * 2).map(str::to_owned));
        }
    }
    found
}

fn text_of(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn basic_is_a_user_and_a_password() {
        let forms = of_field("Basic bWU6cHcvMQ==", false);
        for form in ["Basic bWU6cHcvMQ==", "bWU6cHcvMQ==", "me:pw/1", "me", "pw/1"] {
            assert!(forms.iter().any(|known| known == form), "{form}: {forms:?}");
        }
        assert!(forms.is_sorted_by(|one, next| one.len() >= next.len()));
    }

    #[test]
    fn what_was_sent_encoded_may_come_back_decoded_and_the_other_way_round() {
        let forms = of_field("session=s%2F7777; t=czo4ODg4ODg4", true);
        for form in ["s%2F7777", "s/7777", "s:8888888", "cy83Nzc3", "732f37373737"] {
            assert!(forms.iter().any(|known| known == form), "{form}: {forms:?}");
        }
    }

    #[test]
    fn base64_shows_what_stands_in_the_middle_of_a_longer_text() {
        let [standard, _] = ENGINES;
        let forms = forms(vec!["tok-5f2d.9c41".to_owned()]);
        for (before, behind) in [("", ""), ("u:", ""), ("me:", "x"), ("user:", "\n")] {
            let code = standard.encode(format!("{before}tok-5f2d.9c41{behind}"));
            assert!(forms.iter().any(|form| code.contains(form)), "{code}: {forms:?}");
        }
    }
}
