//! A failover to a copy that lacks a purge, where another instance purges before the one that knows of the
//! lost purge is back.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_trait::async_trait;
use dustgate::clock::Dice;
use dustgate::dust::{Dust, Number};
use dustgate::key::KeyHash;
use dustgate::record::{Record, Tag};
use dustgate::tier::stamps::{Force, Named, Scope, TagName, Within};
use dustgate::tier::{
    Covered, Host, Member, News, Numbers, Own, Stamps, Stored, Tier, Trust, WhenUnsure, member,
};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::support::relay::{Mode, Relay};
use crate::support::server::{Server, open};
use crate::support::{PATIENCE, until};

const LIVES: Duration = Duration::from_hours(1);

#[derive(Default)]
struct Quiet(AtomicU64);

#[async_trait]
impl Host for Quiet {
    fn stored(&self, _: Record) -> Option<Stored> {
        None
    }

    fn seen(&self) -> Number {
        self.0.load(Ordering::Relaxed)
    }

    fn saw(&self, number: Number) {
        self.0.fetch_max(number, Ordering::Relaxed);
    }

    async fn moves(&self, _: &str, _: bool) -> Result<(), String> {
        Ok(())
    }

    fn hears(&self, _: News) {}
}

/// An instance without a proxy: it follows the store, and is trusted.
struct Instance {
    dust: Arc<dyn Dust>,
    stamps: Arc<Stamps>,
    _tasks: JoinSet<()>,
}

impl Instance {
    async fn start(name: &str, port: u16) -> Self {
        let line = open(&format!("redis://dustgate:secret@127.0.0.1:{port}")).await.expect("it is there");
        let life = line.life(Some("one")).await.expect("it is answered").expect("it has one");
        let numbers = Numbers::new("dustgate");
        let dust: Arc<dyn Dust> = Arc::new(Own::new(Arc::new(line), numbers.clone()));
        let stamps = Arc::new(Stamps::new("dustgate", LIVES));
        let settings = member::Settings {
            prefix: "dustgate".into(),
            instance: name.into(),
            trust: Duration::from_secs(3),
            call_bound: Duration::from_millis(500),
            life,
        };
        let parts = member::Parts {
            dust: dust.clone(),
            tier: Arc::new(Tier::in_fleet(1 << 20, numbers.clone())),
            stamps: stamps.clone(),
            numbers,
            trust: Arc::new(Trust::shared(WhenUnsure::Validate)),
            dice: Arc::new(Dice::new()),
        };
        let member = Member::new(settings, parts, Arc::new(Quiet::default()));
        let mut tasks = JoinSet::new();
        tasks.spawn(member.clone().follow());
        tasks.spawn(member.clone().keep_trust());
        timeout(PATIENCE, member.is_sure()).await.expect("it is sure soon");
        Self { dust, stamps, _tasks: tasks }
    }

    async fn purge(&self, url: KeyHash) -> Number {
        let write = self.stamps.write(&*self.dust, Scope::Url(url), Force::Hard, LIVES, true);
        write.await.expect("it is taken")
    }
}

static MENU: LazyLock<Tag> = LazyLock::new(|| Tag::new("menu").expect("a tag"));

/// How the stamps cover a response with the tag.
fn of_menu(stamps: &Stamps, born: Number) -> Covered {
    let key = "http://h/tagged";
    let tags = [MENU.clone()];
    stamps.covers(Named { key, tags: &tags, ..Named::from(KeyHash::of(key)) }, born, born)
}

#[tokio::test]
async fn it_is_written_again() {
    let user = "user dustgate on >secret ~* &* +@all";
    let mut primary = Server::start(&[user]).await;
    let copies = Relay::to(primary.port);
    let replica = Server::start(&[user, &format!("replicaof 127.0.0.1 {}", copies.at.port())]).await;
    let (early, lost) = (KeyHash::of("http://h/early"), KeyHash::of("http://h/lost"));
    let relay = Relay::to(primary.port);
    let one = Instance::start("one", relay.at.port()).await;
    let number = one.purge(early).await;
    let has = || replica.admin(&format!("GET {{dustgate}}:dustgate/1/s/u/{early}/h"));
    until("the copy", async || has().contains(&number.to_string()).then_some(())).await;
    // The copy hears no more; then the primary is gone, and it takes its place.
    copies.set(Mode::LoseAnswers);
    let number = one.purge(lost).await;
    let write =
        one.stamps.write_tag(&*one.dust, TagName { within: Within::ANYWHERE, tag: MENU.hash() }, Force::Hard);
    let (tagged, _) = write.await.expect("it is taken");
    primary.kill();
    replica.admin("REPLICAOF NO ONE");
    let two = Instance::start("two", replica.port).await;
    assert_eq!(two.stamps.hard(lost), 0, "it was lost");
    assert_eq!(of_menu(&two.stamps, tagged - 1), Covered::No, "and so was this");
    assert!(two.purge(early).await > number);
    relay.leads_to(replica.port);
    // It hears of it as of every purge.
    until("the purge", async || (two.stamps.hard(lost) > number).then_some(())).await;
    let three = Stamps::new("dustgate", LIVES);
    three.load(&*two.dust).await.expect("they are read");
    assert!(three.hard(lost) > number);
    assert_eq!(of_menu(&three, tagged - 1), Covered::Hard, "what was born before the purge by tag");
}

/// Not only the one that wrote it knows when it ends.
#[tokio::test]
async fn all_know_how_long_a_stamp_lives() {
    let server = Server::least().await;
    let (one, two) = (Instance::start("one", server.port).await, Instance::start("two", server.port).await);
    let url = KeyHash::of("http://h/a");
    let write = one.stamps.write(&*one.dust, Scope::Url(url), Force::Hard, LIVES / 4, true);
    write.await.expect("it is taken");
    until("the purge", async || (two.stamps.hard(url) > 0).then_some(())).await;
    let now = two.dust.now_ms();
    let at = |part: f64| now + u64::try_from(LIVES.mul_f64(part).as_millis()).expect("an hour");
    assert_eq!((two.stamps.known(at(0.2)).len(), two.stamps.known(at(0.3)).len()), (1, 0));
}
