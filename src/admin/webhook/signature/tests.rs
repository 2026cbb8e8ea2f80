use super::*;
use crate::secret::Secret;

const NOW: WallMs = 1_700_000_000_000;
const BODY: &[u8] = br#"{"id":1}"#;

fn webhook(form: &str) -> Webhook {
    Webhook { secret: Secret::here("s3cret"), form: form.to_owned(), ..Webhook::default() }
}

fn signing(settings: &Webhook) -> Signing {
    let mut wrong = |name: &str, reason: String| panic!("{name}: {reason}");
    Signing::new(settings, &mut wrong).expect("nothing is wrong")
}

fn mac(text: &[u8]) -> [u8; LENGTH] {
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"s3cret");
    hmac::sign(&key, text).as_ref().try_into().expect("32 bytes")
}

fn in_hex(text: &[u8]) -> String {
    use std::fmt::Write as _;
    mac(text).iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

fn headers(lines: &[(&'static str, String)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in lines {
        map.append(*name, value.parse().expect("a value"));
    }
    map
}

fn checked(settings: &Webhook, lines: &[(&'static str, String)]) -> Result<(), Unsigned> {
    signing(settings).check(&headers(lines), BODY, NOW)
}

const FIELD: &str = "x-hub-signature-256";

#[test]
fn a_known_signature_is_that_of_its_text() {
    // RFC 4231 §4.3.
    let settings = Webhook { secret: Secret::here("Jefe"), form: "hex".to_owned(), ..Webhook::default() };
    let signature = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843".to_owned();
    let body = b"what do ya want for nothing?";
    let (signing, headers) = (signing(&settings), headers(&[(FIELD, signature)]));
    assert_eq!(signing.check(&headers, body, NOW), Ok(()));
    assert_eq!(signing.check(&headers, b"what do ya want for nothing!", NOW), Err(Unsigned::Signature));
}

#[test]
fn a_signature_is_read_in_the_form_that_is_set_and_in_no_other() {
    let url_safe = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(mac(BODY));
    let padded = BASE64.encode(mac(BODY));
    let hex = in_hex(BODY);
    for (form, value, is) in [
        ("sha256=hex", format!("sha256={hex}"), true),
        ("sha256=hex", format!("sha256={}", hex.to_uppercase()), true),
        ("sha256=hex", format!("sha1=00, sha256={hex}"), true),
        ("sha256=hex", hex.clone(), false),
        ("sha256=hex", format!("sha256={padded}"), false),
        ("hex", hex.clone(), true),
        ("hex", format!("{hex}00"), false),
        ("hex", hex[2..].to_owned(), false),
        ("hex", "g".repeat(64), false),
        ("hex", String::new(), false),
        ("base64", padded, true),
        ("base64", url_safe.clone(), true),
        ("v1=base64", format!("v1={url_safe}"), true),
        ("v1=base64", format!("v0={url_safe}"), false),
    ] {
        let found = checked(&webhook(form), &[(FIELD, value.clone())]);
        assert_eq!(found.is_ok(), is, "{form}: {value}");
    }
    assert_eq!(checked(&webhook("hex"), &[]), Err(Unsigned::Signature));
}

#[test]
fn a_time_is_signed_and_near() {
    let settings = Webhook { timestamp: Some("x-sent".to_owned()), ..webhook("hex") };
    for (time, is) in [
        ("1700000000", Ok(())),
        ("1699999700", Ok(())),
        ("1700000300", Ok(())),
        ("1700000000000", Ok(())),
        ("1699999699", Err(Unsigned::Time)),
        ("1700000301", Err(Unsigned::Time)),
        ("18446744073709551615", Err(Unsigned::Time)),
        ("now", Err(Unsigned::Time)),
    ] {
        let signature = in_hex(&[time.as_bytes(), b".", BODY].concat());
        let found = checked(&settings, &[(FIELD, signature), ("x-sent", time.to_owned())]);
        assert_eq!(found, is, "{time}");
    }
    // The time is another than the signed one, is missing, or is there twice.
    let signature = (FIELD, in_hex(&[b"1700000000.", BODY].concat()));
    let other = ("x-sent", "1700000001".to_owned());
    assert_eq!(checked(&settings, &[signature.clone(), other.clone()]), Err(Unsigned::Signature));
    assert_eq!(checked(&settings, std::slice::from_ref(&signature)), Err(Unsigned::Time));
    assert_eq!(checked(&settings, &[signature, other.clone(), other]), Err(Unsigned::Time));
}

#[test]
fn a_time_may_stand_beside_the_signature() {
    let timestamp = Some(FIELD.to_owned());
    let before = Webhook { timestamp: timestamp.clone(), ..webhook("v1=hex") };
    let signature = in_hex(&[b"1700000000.", BODY].concat());
    assert_eq!(checked(&before, &[(FIELD, format!("t=1700000000,v1={signature}"))]), Ok(()));
    let after = Webhook { timestamp, signed: Some("{body}{timestamp}".to_owned()), ..webhook("sha256=hex") };
    let signature = in_hex(&[BODY, b"1700000000"].concat());
    assert_eq!(checked(&after, &[(FIELD, format!("sha256={signature}, t=1700000000"))]), Ok(()));
    assert_eq!(
        checked(&after, &[(FIELD, format!("sha256={signature}, t=1700000001"))]),
        Err(Unsigned::Signature)
    );
}

#[test]
fn what_is_wrong_is_told_by_name() {
    let timed = |signed: &str| Webhook {
        timestamp: Some("x-sent".to_owned()),
        signed: Some(signed.to_owned()),
        ..webhook("hex")
    };
    for (settings, name) in [
        (webhook("sha512"), "form"),
        (webhook("=hex"), "form"),
        (Webhook { signature: "no field".to_owned(), ..webhook("hex") }, "signature"),
        (Webhook { timestamp: Some(String::new()), ..webhook("hex") }, "timestamp"),
        (timed("{body}"), "signed"),
        (timed("{timestamp}"), "signed"),
        (timed("{timestamp}{timestamp}{body}"), "signed"),
        (Webhook { signed: Some("{timestamp}.{body}".to_owned()), ..webhook("hex") }, "signed"),
        (Webhook { within: Duration::ZERO, ..timed("{timestamp}.{body}") }, "within"),
    ] {
        let mut named = Vec::new();
        Signing::new(&settings, &mut |name, _| named.push(name.to_owned()));
        assert_eq!(named, [name], "{settings:?}");
    }
}
