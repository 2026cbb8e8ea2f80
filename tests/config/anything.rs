//! Whatever a settings file holds: settings or problems, and never a panic.

use proptest::prelude::*;

use super::load;

/// Pieces that settings are made of, whole and broken.
const PIECES: [&str; 40] = [
    "[server]\n",
    "[[routes]]\n",
    "[upstreams.a]\n",
    "[dust]\n",
    "[[",
    "name = ",
    "upstream = ",
    "url = ",
    "path = ",
    "host = ",
    "vary_on = ",
    "query = ",
    "ignore = ",
    "status_ttl = ",
    "default_ttl = ",
    "max_object_size = ",
    "grace = { while_revalidate = ",
    "trusted_proxies = ",
    "tls = { ca = ",
    "\"r\"",
    "\"http://o\"",
    "\"http://u:p@o/?#\"",
    "\"/v1/*\"",
    "\"*.a.test:0\"",
    "\"cookie:\"",
    "\"10.0.0.0/33\"",
    "\"99999999999999999999d\"",
    "\"1.5h\"",
    "\"-1s\"",
    "\"18446744073709551616KiB\"",
    "{ env = \"PATH\" }",
    "{ file = \"/\" }",
    "[",
    "]",
    "}",
    ", ",
    "true",
    "-9223372036854775808",
    "\n",
    "é\u{0}\"",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_pieces_are_settings_or_problems(pieces in prop::collection::vec(prop::sample::select(&PIECES[..]), 0..24)) {
        if let Err(problems) = load(&pieces.concat()) {
            prop_assert!(!problems.is_empty());
            prop_assert!(problems.iter().all(|problem| !problem.to_string().is_empty()));
        }
    }

    #[test]
    fn a_letter_changed_is_settings_or_problems(at: prop::sample::Index, letter in "[ -~\n\"]", gone in 0usize..3) {
        let whole = include_str!("../../config/reference.toml");
        let at = at.index(whole.len());
        let Some((before, after)) = whole.split_at_checked(at) else { return Ok(()) };
        let after = after.get(gone.min(after.len())..).unwrap_or_default();
        if let Err(problems) = load(&format!("{before}{letter}{after}")) {
            prop_assert!(!problems.is_empty());
        }
    }
}
