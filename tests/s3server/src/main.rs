//! An S3 server over a directory: `s3server DIRECTORY ACCESS_KEY SECRET_KEY [ADDRESS]`. A bucket is a
//! directory in it, an object a file. Listens on ADDRESS, else on a port of 127.0.0.1 that the system chose, says
//! `listening on http://…`, and `read N …` of each object that is read, while N are; ends when its input does.
//!
//! What it reads is told line by line how to go wrong:
//!
//! | line | from then on |
//! |---|---|
//! | `delay MS` | every answer takes that much longer |
//! | `reads hang` | a read of an object gets no answer |
//! | `reads slow_down` | it gets 503 SlowDown |
//! | `reads pass` | it gets what it asked for |

use std::io::BufRead as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::Body;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use s3s_fs::FileSystem;
use tokio::net::TcpListener;

const PASS: u8 = 0;
const HANG: u8 = 1;
const SLOW_DOWN: u8 = 2;

const SLOW_DOWN_SAYS: &str = "<?xml version=\"1.0\"?><Error><Code>SlowDown</Code><Message>Please reduce your \
                              request rate.</Message></Error>";

#[derive(Default)]
struct Faults {
    delay_ms: AtomicU64,
    reads: AtomicU8,
    under_way: AtomicUsize,
}

/// One read that is under way.
struct Reading(Arc<Faults>);

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A read of an object, and not of the bucket or of the marker of a life.
fn is_read(request: &Request<Incoming>) -> bool {
    let path = request.uri().path();
    request.method() == Method::GET && path.matches('/').count() > 2 && !path.ends_with("/here")
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [directory, access, secret, listen @ ..] = arguments.as_slice() else {
        panic!("s3server DIRECTORY ACCESS_KEY SECRET_KEY [ADDRESS]");
    };
    let listen = listen.first().map_or("127.0.0.1:0", String::as_str);
    let files = FileSystem::new(directory).expect("the directory can be opened");
    let mut service = S3ServiceBuilder::new(files);
    service.set_auth(SimpleAuth::from_single(access.as_str(), secret.as_str()));
    let service = service.build();
    let faults = Arc::new(Faults::default());
    let listener = TcpListener::bind(listen).await.expect("a port is free");
    println!("listening on http://{}", listener.local_addr().expect("it is bound"));
    // Whoever started it holds the other end: it does not outlive them.
    let told = Arc::clone(&faults);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            match line.split_once(' ') {
                Some(("delay", ms)) => told.delay_ms.store(ms.parse().expect("a number"), Ordering::SeqCst),
                Some(("reads", "pass")) => told.reads.store(PASS, Ordering::SeqCst),
                Some(("reads", "hang")) => told.reads.store(HANG, Ordering::SeqCst),
                Some(("reads", "slow_down")) => told.reads.store(SLOW_DOWN, Ordering::SeqCst),
                _ => panic!("{line}"),
            }
            println!("told {line}");
        }
        std::process::exit(0);
    });
    loop {
        let Ok((socket, _)) = listener.accept().await else { continue };
        let _ = socket.set_nodelay(true);
        let (service, faults) = (service.clone(), Arc::clone(&faults));
        let service = service_fn(move |request: Request<Incoming>| {
            let (service, faults) = (service.clone(), Arc::clone(&faults));
            async move {
                let mut goes = PASS;
                let mut _reading = None;
                if is_read(&request) {
                    let many = faults.under_way.fetch_add(1, Ordering::SeqCst) + 1;
                    _reading = Some(Reading(Arc::clone(&faults)));
                    println!("read {many} {}", request.uri().path());
                    goes = faults.reads.load(Ordering::SeqCst);
                }
                tokio::time::sleep(Duration::from_millis(faults.delay_ms.load(Ordering::SeqCst))).await;
                match goes {
                    HANG => std::future::pending().await,
                    SLOW_DOWN => {
                        let mut answer = Response::new(Body::from(SLOW_DOWN_SAYS.to_owned()));
                        *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                        Ok(answer)
                    }
                    _ => service.call(request.map(Body::from)).await,
                }
            }
        });
        tokio::spawn(async move {
            let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(socket), service).await;
        });
    }
}
