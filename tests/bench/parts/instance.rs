//! One instance in this process with both stores in memory, and an origin without sockets.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dustgate::body::{self, Bodies};
use dustgate::clock::{Clock, Dice, ManualClock};
use dustgate::dust::{Dust, Embedded};
use dustgate::flight;
use dustgate::node::{self, Node, Opened, Seams, Upstreams};
use dustgate::proxy::{self, Client, listener};
use dustgate::route::{Route, Table};
use dustgate::tasks::Tasks;
use dustgate::telemetry::{Log, Metrics};
use dustgate::testkit::scripted::{Reply, Scripted};
use dustgate::tier::WhenUnsure;
use http::Request;
use http_body_util::{BodyExt as _, Empty};
use object_store::memory::InMemory;
use tokio::net::{TcpListener, TcpStream};

use super::objects::{FIELDS, NOW};

/// The instance.
pub struct Instance {
    node: Arc<Node>,
}

impl Instance {
    /// An instance whose origin answers everything with 1 KiB.
    pub async fn new() -> Self {
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(NOW));
        let dust: Arc<dyn Dust> = Arc::new(Embedded::memory(clock.clone()));
        let settings = node::Settings {
            proxy: proxy::Settings {
                server: proxy::Server::default(),
                instance: "bench".into(),
                prefix: "dustgate".to_owned(),
                max_life: Duration::from_hours(24),
            },
            flight: flight::Settings::default(),
            memory: 256 << 20,
            trust: Duration::from_secs(10),
            when_unsure: WhenUnsure::Serve(Duration::from_mins(5)),
        };
        let dice = Arc::new(Dice::seeded(7));
        let life = dust.life(Some("life")).await.unwrap().unwrap();
        let objects = Arc::new(InMemory::new());
        let bodies = Bodies::open_over(objects, &life, body::Settings::default(), clock).await.unwrap();
        let stores = Opened::there(Seams::open(dust), bodies, life).read(&settings, &dice).await.unwrap();
        let origin = Scripted::by(|_, _| {
            let reply = Reply::new(200).bytes(Bytes::from_static(&[b'x'; 1024]));
            FIELDS.iter().fold(reply, |reply, (name, value)| reply.header(name, value))
        });
        let node = Node::new(node::Parts {
            settings,
            stores,
            routes: Arc::new(Table::new(vec![Route::new("all", "origin")]).unwrap()),
            upstreams: Upstreams::without_budgets(vec![Arc::new(origin)]),
            dice,
            log: Log::null(),
            metrics: Metrics::new("bench"),
            tasks: Tasks::null(),
        });
        Self { node }
    }

    /// Asks for a path, and reads the response. Returns how long it is.
    pub async fn get(&self, path: &str) -> usize {
        let request =
            Request::builder().uri(path).header("host", "h.test").body(Empty::<Bytes>::new()).unwrap();
        let response = self.node.proxy.handle(&Client::at(([192, 0, 2, 1], 1).into()), request).await;
        response.into_body().collect().await.unwrap().to_bytes().len()
    }

    /// A connection to its data port.
    pub async fn connection(&self) -> TcpStream {
        let listening = Arc::new(TcpListener::bind("127.0.0.1:0").await.unwrap());
        let at = listening.local_addr().unwrap();
        let guard = self.node.signal.guard();
        tokio::spawn(listener::serve(listening, self.node.proxy.clone(), Arc::default(), guard));
        TcpStream::connect(at).await.unwrap()
    }
}
