//! Pointers and notes as the store may hold them: any bytes, and what is read is written the same.
#![no_main]

use dustgate_fuzz::policy::{ReuseTerms, Rules, current_age};
use dustgate_fuzz::record::{Pointer, codec};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(pointer) = codec::decode(text, &codec::Limits::NONE) {
        if let Pointer::Record(record) = &pointer {
            let _ = (ReuseTerms::of(record, &Rules::default()), current_age(record, u64::MAX));
            let _ = (record.end(), record.fresh_until(), record.weight(), record.body.is_whole());
        }
        if let Ok(written) = codec::encode(&pointer) {
            assert_eq!(
                codec::decode(&written, &codec::Limits::NONE).as_ref().ok(),
                Some(&pointer),
                "{written}"
            );
        }
    }
    if let Ok(note) = codec::decode_note(text, &codec::Limits::NONE)
        && let Ok(written) = codec::encode_note(&note)
    {
        assert_eq!(
            codec::decode_note(&written, &codec::Limits::NONE).as_ref().ok(),
            Some(&note),
            "{written}"
        );
    }
    let _ = codec::unhex(text);
});
