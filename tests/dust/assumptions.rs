//! What the client assumes of the server (`docs/dust.md`): each line of a recording that is named there says it.

use std::collections::BTreeMap;
use std::fs;

/// What the named lines say.
const SAY: &[(&str, &str)] = &[
    ("01:15", "capver=3&vsn=2.0.0"),
    ("01:18", r#""permissions":{"read":true,"write":true}"#),
    ("01:21", r#"[null,"2","phoenix","phx_reply""#),
    ("01:23", r#"[null,"3","phoenix","phx_reply""#),
    ("01:30", r#"["1","1","store:acme/scn1","phx_close",{}]"#),
    ("01:50", r#"["6","6","store:acme/scn1","phx_close",{}]"#),
    ("01b:7", r#""close":1002"#),
    ("02:14", r#""client_op_id":"op0002""#),
    ("02:15", r#""holder":"node-a","store_seq":1,"token":1"#),
    ("02:18", r#""store_seq":2,"token":1"#),
    ("02:22", r#""store_seq":3"#),
    (
        "02:25",
        r#""op":"release","path":"_dust:sf/k1","path_segments":["_dust:sf","k1"],"store_seq":4,"value":null"#,
    ),
    ("02:29", r#""released":false"#),
    ("02:31", r#""reason":"fenced""#),
    ("03:19", r#""reason":"held""#),
    ("03:25", r#""released":false"#),
    ("03:33", r#""store_seq":4,"token":4"#),
    ("04:17", r#""reason":"fenced""#),
    ("04:19", r#""reason":"not_held""#),
    ("04:22", r#""holder":"node-b","store_seq":2,"token":2"#),
    ("04:37", r#"{"store_seq":4},"status":"ok""#),
    ("04:44", r#""reason":"held""#),
    ("05:17", r#""reason":"exists""#),
    ("05:23", r#""reason":"conflict""#),
    ("06:29", r#""op":"delete","path":"solo""#),
    ("06:34", r#""op":"delete","path":"d""#),
    ("06:42", r#""op":"set","path":"e""#),
    ("07:42", r#""store_seq":8"#),
    ("07:67", r#""through_seq":9999"#),
    ("07:73", r#"[null,null,"store:acme/scn7","event""#),
    ("07d:148", r#""store_seq":368"#),
    ("07d:158", r#""store_seq":376"#),
    ("08:20", r#""status":403"#),
    ("08:22", r#""status":403"#),
    ("08:28", r#""reason":"unauthorized""#),
    ("08:58", r#""scope":"entries:read""#),
    ("08:63", r#""permissions":{"read":true,"write":false}"#),
    ("08:66", r#""scope":"entries:write""#),
    ("08:137", r#""reason":"fenced""#),
    ("08:174", r#""reason":"occupied""#),
    ("08:198", r#""phx_error",{}"#),
    ("08:272", r#""current":1000,"dimension":"keys","limit":1000"#),
    ("09:17", r#""op":"set","path":"page/1""#),
    ("09:58", r#""path":"a~1b/c~0d/e.f/sp ace/%2F""#),
    ("10:308", r#""reason":"rate_limited""#),
    ("10:335", r#""x-ratelimit-remaining":"0""#),
    ("10:340", r#"{"store_seq":102},"status":"ok""#),
    ("12:8", r#""store_seq":1"#),
    ("12:10", r#""store_seq":2"#),
    ("12:13", r#""value":"rest-value""#),
    ("12:15", r#""status":404"#),
    ("12:23", r#""next_cursor":null"#),
    ("12:27", r#""status":401"#),
    ("12:31", r#""ops":[{"#),
    ("13:14", r#""close":1012"#),
    ("13:28", r#""store_seq":3,"token":1"#),
];

/// The lines that a table of the page names.
fn named(page: &str) -> Vec<String> {
    let (_, list) = page.split_once("| assumption | shown by |").expect("the page has the list");
    let rows: Vec<_> = list.lines().skip(2).take_while(|line| line.starts_with('|')).collect();
    assert!(rows.len() > 30, "{}", rows.len());
    let mut named = Vec::new();
    for row in rows {
        let shown = row.trim_end_matches('|').rsplit('|').next().unwrap();
        let words: Vec<_> = shown.split([' ', ',', ';']).filter(|word| !word.is_empty()).collect();
        let lines: Vec<_> = words
            .iter()
            .filter(|word| word.split_once(':').is_some_and(|(_, line)| line.parse::<usize>().is_ok()))
            .collect();
        assert!(!lines.is_empty() || shown.trim().starts_with("not shown"), "{row}: by which line?");
        named.extend(lines.into_iter().map(|line| (*line).to_owned()));
    }
    named.sort();
    named.dedup();
    named
}

#[test]
fn each_line_that_the_list_of_assumptions_names_says_it() {
    let named = named(&fs::read_to_string("docs/dust.md").unwrap());
    let say: BTreeMap<_, _> = SAY.iter().copied().collect();
    assert_eq!(named, say.keys().map(|line| (*line).to_owned()).collect::<Vec<_>>());
    for (line, words) in say {
        let (name, number) = line.split_once(':').unwrap();
        let file = fs::read_dir("tests/dust/transcripts")
            .unwrap()
            .map(|file| file.unwrap().path())
            .find(|path| path.file_name().unwrap().to_str().unwrap().starts_with(&format!("{name}-")));
        let text = fs::read_to_string(file.unwrap_or_else(|| panic!("{line}"))).unwrap();
        let says = text.lines().nth(number.parse::<usize>().unwrap() - 1).unwrap_or_default();
        assert!(says.contains(words), "{line} does not say {words}: {says}");
    }
}
