use super::*;
use crate::units::List;

fn list(texts: &[&str]) -> List<String> {
    List(texts.iter().map(|&text| text.to_owned()).collect())
}

fn webhook() -> Webhook {
    Webhook {
        path: "/hooks/cms".to_owned(),
        secret: Secret::here("s3cret"),
        tags: list(&["$.ids[*]"]),
        ..Webhook::default()
    }
}

fn wrong(settings: &Webhook) -> Vec<String> {
    let mut named = Vec::new();
    check(settings, &mut |name, _| named.push(name.to_owned()));
    named
}

fn ordered(settings: &Webhook, document: &Value) -> Result<Vec<Purge>, String> {
    let hook = Hook::new("cms", settings, &mut |name, reason| panic!("{name}: {reason}")).expect("a hook");
    hook.order(document).map(|order| order.what).map_err(|problem| problem.detail)
}

#[test]
fn each_setting_that_is_wrong_is_named() {
    assert_eq!(wrong(&webhook()), [""; 0]);
    for (settings, name) in [
        (Webhook { path: String::new(), ..webhook() }, "path"),
        (Webhook { path: "/v1/purge".to_owned(), ..webhook() }, "path"),
        (Webhook { path: "/hooks/".to_owned(), ..webhook() }, "path"),
        (Webhook { path: "/hooks/{name}".to_owned(), ..webhook() }, "path"),
        (Webhook { path: "/hooks/a//b".to_owned(), ..webhook() }, "path"),
        (Webhook { secret: Secret::default(), ..webhook() }, "secret"),
        (Webhook { form: "md5".to_owned(), ..webhook() }, "form"),
        (Webhook { tags: list(&["a", "$.ids["]), ..webhook() }, "tags.1"),
        (Webhook { urls: list(&["https://h/{id}"]), ..webhook() }, "urls.0"),
        (Webhook { prefixes: list(&[""]), ..webhook() }, "prefixes.0"),
        (Webhook { tags: List::default(), ..webhook() }, "tags"),
        (Webhook { tags: List::default(), urls: list(&["a"]), host: Some("h".into()), ..webhook() }, "host"),
        (Webhook { host: Some("a b".to_owned()), ..webhook() }, "host"),
    ] {
        assert_eq!(wrong(&settings), [name], "{settings:?}");
    }
}

#[test]
fn what_is_named_twice_is_purged_once() {
    let settings = Webhook {
        tags: list(&["post-{$.id}", "$.list[*]", "post-7"]),
        urls: list(&["https://h/{$.slug}"]),
        prefixes: list(&["https://h/blog/"]),
        host: Some("h".to_owned()),
        ..webhook()
    };
    let tag = |tag: &str| Purge::Tag { tag: tag.to_owned(), host: Some("h".to_owned()) };
    let document = json!({"id": 7, "slug": "a", "list": ["b", "b"]});
    assert_eq!(
        ordered(&settings, &document),
        Ok(vec![
            tag("b"),
            tag("post-7"),
            Purge::Url("https://h/a".to_owned()),
            Purge::Prefix("https://h/blog/".to_owned()),
        ])
    );
    assert_eq!(ordered(&webhook(), &json!({"event": "ping"})), Ok(Vec::new()));
}

#[test]
fn no_request_names_more_than_a_thousand_things() {
    let ids = |many: usize| json!({ "ids": (0..many).collect::<Vec<_>>() });
    assert_eq!(ordered(&webhook(), &ids(1000)).map(|what| what.len()), Ok(1000));
    assert!(ordered(&webhook(), &ids(1001)).is_err());
    let both = Webhook { urls: list(&["https://h/{$.ids[*]}"]), ..webhook() };
    assert_eq!(ordered(&both, &ids(500)).map(|what| what.len()), Ok(1000));
    assert!(ordered(&both, &ids(501)).is_err());
}
