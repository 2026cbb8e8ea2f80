//! Of several things that are wrong, the server names the first one in its order.

use serde_json::{Value, json};

use super::super::{DustServer, Next, Setup, Token};
use super::{Client, NOW, STORE, server};

/// A write in which everything is wrong that still can be, once the first `mended` things are put right.
fn wrong(mended: usize) -> Value {
    let mut write = json!({ "op": "frob", "path": "a//b", "value": "text", "if_match": 7, "if_absent": true,
        "fence": { "key": "lk", "token": 1 } });
    let mends: [(&str, Value); 5] = [
        ("op", json!("merge")),
        ("path", json!("full")),
        ("value", json!({ "x": 1 })),
        ("op", json!("set")),
        ("value", json!("text")),
    ];
    for (field, value) in mends.into_iter().take(mended) {
        write[field] = value;
    }
    write
}

#[test]
fn the_first_thing_that_is_wrong_is_named() {
    let server = server();
    server.write(STORE, &json!({ "op": "set", "path": "k", "value": 1 })).expect("it is set");
    server.limit_keys(STORE, 1);
    let named: Vec<_> =
        (0..=5).map(|mended| server.write(STORE, &wrong(mended)).expect_err("it is wrong")).collect();
    let by_the_way = ["invalid op", "empty_segment", "merge_requires_map_value", "limit_exceeded"];
    assert_eq!(named[..4], by_the_way);
    assert_eq!(named[4..], ["limit_exceeded", "limit_exceeded"], "the plan comes before all conditions");
    server.limit_keys(STORE, 10);
    let named: Vec<_> =
        (3..=5).map(|mended| server.write(STORE, &wrong(mended)).expect_err("it is wrong")).collect();
    assert_eq!(named, ["if_match_unsupported_op", "if_match_multi_leaf", "invalid_precondition"]);

    let fence = json!({ "key": "lk", "token": 1 });
    let mut set = json!({ "op": "set", "path": "k", "value": 2, "fence": fence, "if_match": 7 });
    assert_eq!(server.write(STORE, &set), Err("conflict".to_owned()));
    set["if_match"] = Value::Null;
    set["if_absent"] = true.into();
    assert_eq!(server.write(STORE, &set), Err("exists".to_owned()), "a fence is looked at last");
    set["if_absent"] = "true".into();
    assert_eq!(server.write(STORE, &set), Err("fenced".to_owned()));
    set["client_op_id"] = Value::Null;
    set["fence"]["token"] = "1".into();
    assert!(server.write(STORE, &set).expect_err("it has no name").contains("NOT NULL"));
    server.archive(STORE);
    assert_eq!(server.write(STORE, &wrong(1)), Err("store_archived".to_owned()), "before the path");
    assert_eq!(server.write(STORE, &wrong(0)), Err("invalid op".to_owned()), "before the store");
}

#[test]
fn conditions_belong_to_sets_and_deletes() {
    let server = server();
    let refused = |op: &str, field: &str, value: Value| {
        let mut write = json!({ "op": op, "path": "k", "value": 1, "token": 1 });
        write[field] = value;
        server.write(STORE, &write).expect_err("it is wrong")
    };
    for op in ["lease", "renew", "release", "increment", "add", "remove"] {
        assert_eq!(refused(op, "if_match", json!(1)), "if_match_unsupported_op", "{op}");
        assert_eq!(refused(op, "if_absent", json!(true)), "if_absent_unsupported_op", "{op}");
    }
    assert_eq!(refused("delete", "if_absent", json!(true)), "if_absent_unsupported_op");
    assert_eq!(refused("delete", "if_match", json!(1)), "conflict");
}

#[tokio::test(start_paused = true)]
async fn scopes_come_before_the_budget_and_the_budget_before_all_else() {
    let reader = Token::new("dust_tok_reader", "acme").read_only().limited(0, 0);
    let poor = Token::new("dust_tok_poor", "acme").limited(2, 0);
    let server = DustServer::in_memory(Setup::cranked(NOW).store(STORE).token(reader).token(poor));
    for (token, reasons) in [
        ("dust_tok_reader", ["missing_scope", "missing_scope", "missing_scope"]),
        ("dust_tok_poor", ["invalid op", "invalid op", "rate_limited"]),
    ] {
        let mut client = Client::open(&server, token, "a").await.expect("it is accepted");
        client.push("1", "phx_join", json!({ "last_store_seq": 0 })).await;
        client.told().await;
        for reason in reasons {
            client.write(reason, wrong(0)).await;
            assert_eq!(client.next().await.expect("a reply")[4]["response"]["reason"], reason);
        }
    }
    server.faults(|faults| faults.rate_limited = Next::all());
    let mut client = Client::join(&server, "a", 0).await;
    client.told().await;
    client.write("2", wrong(0)).await;
    assert_eq!(client.next().await.expect("a reply")[4]["response"]["reason"], "rate_limited");
}
